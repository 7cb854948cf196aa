//! Owns the lines: requests go out in order, each answer is given to whoever
//! asked, and an output that is not a plugin's ends the conversation.
//!
//! It must not know processes, sockets, or what a request is about.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evalscope_model::time::{RunClock, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Longest line, its end included.
pub(crate) const MAX_LINE_BYTES: usize = 64 << 20;
/// Requests on their way to the plugin: more than all who may ask at a time have.
const REQUESTS_AHEAD: usize = 16;
/// How often whoever waits looks whether it still should.
const LOOK: Duration = Duration::from_millis(20);
/// How much of a wrong line is shown.
const SHOWN_CHARS: usize = 120;

/// One conversation.
#[derive(Debug)]
pub(crate) struct Wire {
    shared: Arc<Shared>,
    clock: RunClock,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// When the last answer came.
    answered_ns: AtomicU64,
}

#[derive(Debug)]
struct State {
    next_id: u64,
    /// `None`: nothing more is asked.
    out: Option<SyncSender<Vec<u8>>>,
    /// Who waits, in the order of the answers to come.
    waiting: VecDeque<(u64, SyncSender<Answer>)>,
    /// Why there will be no more answers.
    broken: Option<Broken>,
}

/// Why a conversation is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The plugin's output has ended.
    Ended,
    /// The plugin did not answer in time.
    Hung,
    /// The plugin's output is not what it must be.
    Rubbish(String),
}

/// What a plugin answers to one request.
pub(crate) type Answer = Result<Box<RawValue>, Refused>;

/// A request that the plugin could not serve.
#[derive(Debug, Deserialize)]
pub(crate) struct Refused {
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) traceback: Option<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    Broken(Broken),
    TimedOut,
    GivenUp,
    TooMuch(usize),
}

/// An answer that is to come.
#[derive(Debug)]
pub(crate) struct Expected {
    answer: Receiver<Answer>,
}

#[derive(Serialize)]
struct Request<'a, P> {
    id: u64,
    method: &'a str,
    params: P,
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<u64>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Refused>,
}

impl Wire {
    /// A conversation over an input and an output of a plugin.
    pub(crate) fn start(
        to_plugin: impl Write + Send + 'static,
        from_plugin: impl Read + Send + 'static,
    ) -> std::io::Result<Self> {
        let (out, lines) = sync_channel(REQUESTS_AHEAD);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                next_id: 1,
                out: Some(out),
                waiting: VecDeque::new(),
                broken: None,
            }),
            answered_ns: AtomicU64::new(0),
        });
        let clock = RunClock::start();
        // writing has a thread of its own: a plugin that writes before it reads
        // must not hold up whoever would read
        std::thread::Builder::new()
            .name("evalscope-plugin-write".to_owned())
            .spawn(move || write_lines(to_plugin, &lines))?;
        let reading = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("evalscope-plugin-read".to_owned())
            .spawn(move || reading.read_lines(from_plugin, &clock))?;
        Ok(Self { shared, clock })
    }

    /// Ask for something; the answer is waited for later.
    pub(crate) fn ask(&self, method: &str, params: impl Serialize) -> Result<Expected, NoAnswer> {
        let mut state = self.shared.state();
        if let Some(broken) = &state.broken {
            return Err(NoAnswer::Broken(broken.clone()));
        }
        let id = state.next_id;
        let request = Request { id, method, params };
        let mut line = serde_json::to_vec(&request).expect("a request can be written as JSON");
        line.push(b'\n');
        if line.len() > MAX_LINE_BYTES {
            return Err(NoAnswer::TooMuch(line.len()));
        }
        let sent = state
            .out
            .as_ref()
            .is_some_and(|out| out.try_send(line).is_ok());
        if !sent {
            return Err(NoAnswer::Broken(Broken::Ended));
        }
        let (to_asker, answer) = sync_channel(1);
        state.next_id += 1;
        state.waiting.push_back((id, to_asker));
        Ok(Expected { answer })
    }

    /// Wait for an answer. `limit` is for the plugin's silence: what it is asked
    /// meanwhile by others does not count against it.
    pub(crate) fn wait(
        &self,
        expected: &Expected,
        limit: Duration,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Answer, NoAnswer> {
        let begun = self.clock.now();
        loop {
            match expected.answer.recv_timeout(LOOK.min(limit)) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => {
                    let broken = self.shared.state().broken.clone();
                    return Err(NoAnswer::Broken(broken.unwrap_or(Broken::Ended)));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if given_up() {
                return Err(NoAnswer::GivenUp);
            }
            let answered = self.shared.answered_ns.load(Ordering::Acquire);
            let silent_since = begun.max(Timestamp::from_nanos(answered));
            if self.clock.now().since(silent_since) >= limit {
                self.shared.break_off(Broken::Hung);
                return Err(NoAnswer::TimedOut);
            }
        }
    }

    /// Whether the plugin may still answer.
    pub(crate) fn is_whole(&self) -> bool {
        self.shared.state().broken.is_none()
    }

    /// Ask nothing more: the plugin's input ends.
    pub(crate) fn close(&self) {
        self.shared.state().out = None;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn break_off(&self, why: Broken) {
        let mut state = self.state();
        state.broken.get_or_insert(why);
        // whoever waits hears of it
        state.waiting.clear();
    }

    fn read_lines(&self, from_plugin: impl Read, clock: &RunClock) {
        let mut reader = BufReader::with_capacity(1 << 16, from_plugin);
        let mut line = Vec::new();
        let why = loop {
            line.clear();
            let most = MAX_LINE_BYTES as u64 + 1;
            match reader.by_ref().take(most).read_until(b'\n', &mut line) {
                Ok(_) if line.len() > MAX_LINE_BYTES => {
                    let limit = MAX_LINE_BYTES >> 20;
                    break Broken::Rubbish(format!("its answer is longer than {limit} MiB"));
                }
                Ok(_) if line.ends_with(b"\n") => {}
                _ => break Broken::Ended,
            }
            if let Err(why) = self.answer(&line) {
                break Broken::Rubbish(why);
            }
            let now = clock.now().as_nanos();
            self.answered_ns.store(now, Ordering::Release);
        };
        self.break_off(why);
    }

    /// Give a line to whoever asked for it.
    fn answer(&self, line: &[u8]) -> Result<(), String> {
        let parsed: Message<'_> = serde_json::from_slice(line)
            .map_err(|error| format!("its output is no answer ({error}): {}", shown(line)))?;
        // whoever waits stays in the queue until the answer is sound: they must
        // not see that they are left before it is known why
        let first = self.state().waiting.front().map(|(id, _)| *id);
        let id = first.ok_or_else(|| format!("it answered without a question: {}", shown(line)))?;
        // a request that it could not even read has no id
        let unread = parsed.id.is_none() && parsed.error.is_some();
        if parsed.id != Some(id) && !unread {
            return Err(format!(
                "it answered out of turn, not to id {id}: {}",
                shown(line)
            ));
        }
        let answer = match (parsed.error, parsed.result) {
            (Some(refused), _) => Err(refused),
            (None, Some(result)) => Ok(result.to_owned()),
            (None, None) => {
                return Err(format!(
                    "its answer has neither `result` nor `error`: {}",
                    shown(line)
                ));
            }
        };
        if let Some((_, asker)) = self.state().waiting.pop_front() {
            // who asked may have gone
            let _ = asker.send(answer);
        }
        Ok(())
    }
}

fn write_lines(mut to_plugin: impl Write, lines: &Receiver<Vec<u8>>) {
    while let Ok(line) = lines.recv() {
        // that the plugin is gone is found by its output
        if to_plugin
            .write_all(&line)
            .and_then(|()| to_plugin.flush())
            .is_err()
        {
            break;
        }
    }
}

/// What a plugin's output was taken for.
#[derive(Debug)]
pub struct Conversation {
    /// For each request the JSON text of its result or what was refused; `None`: no answer came.
    pub answers: Vec<Option<Result<String, String>>>,
    /// The conversation ended because of the output, for this reason, and not with it.
    pub rubbish: Option<String>,
}

/// Read a plugin's whole output, in answer to so many requests. For the fuzz target, which has no
/// use for a process and threads.
#[must_use]
pub fn conversation(output: &[u8], requests: u8) -> Conversation {
    let (waiting, expected): (VecDeque<_>, Vec<_>) = (1..=u64::from(requests))
        .map(|id| {
            let (to_asker, answer) = sync_channel(1);
            ((id, to_asker), answer)
        })
        .unzip();
    let shared = Shared {
        state: Mutex::new(State {
            next_id: u64::from(requests) + 1,
            out: None,
            waiting,
            broken: None,
        }),
        answered_ns: AtomicU64::new(0),
    };
    shared.read_lines(output, &RunClock::start());
    let answers = expected.iter().map(|answer| {
        let answer = answer.try_recv().ok()?;
        Some(match answer {
            Ok(result) => Ok(result.get().to_owned()),
            Err(refused) => Err(refused.message),
        })
    });
    Conversation {
        answers: answers.collect(),
        rubbish: match &shared.state().broken {
            Some(Broken::Rubbish(why)) => Some(why.clone()),
            _ => None,
        },
    }
}

/// The beginning of a line, for people.
pub(crate) fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(4 * SHOWN_CHARS)]);
    let mut start: String = text.trim_end().chars().take(SHOWN_CHARS).collect();
    if line.len() > start.len() + 1 {
        start.push('…');
    }
    start.replace(char::is_control, " ")
}
