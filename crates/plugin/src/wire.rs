//! Owns the lines: requests are sent in order, each response goes to the thread that waits for it,
//! and invalid output ends the conversation.
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

/// Maximum length of a line, including its end.
pub(crate) const MAX_LINE_BYTES: usize = 64 << 20;
/// Number of requests on their way to the plugin: more than all threads can have at a time.
const REQUESTS_AHEAD: usize = 16;
/// How often a waiting thread checks whether to go on.
const LOOK: Duration = Duration::from_millis(20);
/// How much of an invalid line is shown.
const SHOWN_CHARS: usize = 120;

/// One conversation with a plugin.
#[derive(Debug)]
pub(crate) struct Wire {
    shared: Arc<Shared>,
    clock: RunClock,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// When the last response arrived.
    answered_ns: AtomicU64,
}

#[derive(Debug)]
struct State {
    next_id: u64,
    /// `None`: no more requests are sent.
    out: Option<SyncSender<Vec<u8>>>,
    /// Waiting requests, in the order of their responses.
    waiting: VecDeque<(u64, SyncSender<Answer>)>,
    /// Why there will be no more responses.
    broken: Option<Broken>,
}

/// Why a conversation is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The plugin's output has ended.
    Ended,
    /// The plugin did not respond in time.
    Hung,
    /// The plugin's output is invalid.
    Rubbish(String),
}

/// A plugin's response to one request.
pub(crate) type Answer = Result<Box<RawValue>, Refused>;

/// A request that the plugin could not fulfil.
#[derive(Debug, Deserialize)]
pub(crate) struct Refused {
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) traceback: Option<String>,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    Broken(Broken),
    TimedOut,
    GivenUp,
    TooMuch(usize),
}

/// A response to come.
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
    /// A conversation over a plugin's input and output.
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
        // writing has its own thread: a plugin that writes before it reads must not block the
        // reader
        std::thread::Builder::new()
            .name("evalscope-plugin-write".to_owned())
            .spawn(move || write_lines(to_plugin, &lines))?;
        let reading = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("evalscope-plugin-read".to_owned())
            .spawn(move || reading.read_lines(from_plugin, &clock))?;
        Ok(Self { shared, clock })
    }

    /// Send a request; wait for its response later.
    pub(crate) fn ask(&self, method: &str, params: impl Serialize) -> Result<Expected, NoAnswer> {
        let mut state = self.shared.state();
        if let Some(broken) = &state.broken {
            return Err(NoAnswer::Broken(broken.clone()));
        }
        let id = state.next_id;
        let request = Request { id, method, params };
        let mut line = serde_json::to_vec(&request).expect("a request can be serialised");
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

    /// Wait for a response. `limit` applies to the plugin's silence: time it spends on requests of
    /// other threads does not count.
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

    /// Whether the plugin may still respond.
    pub(crate) fn is_whole(&self) -> bool {
        self.shared.state().broken.is_none()
    }

    /// Send no more requests: the plugin's input ends.
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
        // wakes up the waiting threads
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
                    break Broken::Rubbish(format!("its response is longer than {limit} MiB"));
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

    /// Pass a line to the thread that waits for it.
    fn answer(&self, line: &[u8]) -> Result<(), String> {
        let parsed: Message<'_> = serde_json::from_slice(line)
            .map_err(|error| format!("its output is not a response ({error}): {}", shown(line)))?;
        // a waiting request stays in the queue until its response is known to be valid: otherwise
        // its thread could be woken before the reason is known
        let first = self.state().waiting.front().map(|(id, _)| *id);
        let id = first.ok_or_else(|| format!("it responded without a request: {}", shown(line)))?;
        // for a request that the plugin could not even parse there is no id
        let unread = parsed.id.is_none() && parsed.error.is_some();
        if parsed.id != Some(id) && !unread {
            return Err(format!(
                "it responded out of order, not to id {id}: {}",
                shown(line)
            ));
        }
        let answer = match (parsed.error, parsed.result) {
            (Some(refused), _) => Err(refused),
            (None, Some(result)) => Ok(result.to_owned()),
            (None, None) => {
                return Err(format!(
                    "its response has neither `result` nor `error`: {}",
                    shown(line)
                ));
            }
        };
        if let Some((_, asker)) = self.state().waiting.pop_front() {
            // the waiting thread may be gone
            let _ = asker.send(answer);
        }
        Ok(())
    }
}

fn write_lines(mut to_plugin: impl Write, lines: &Receiver<Vec<u8>>) {
    while let Ok(line) = lines.recv() {
        // a dead plugin is noticed by its output
        if to_plugin
            .write_all(&line)
            .and_then(|()| to_plugin.flush())
            .is_err()
        {
            break;
        }
    }
}

/// How a plugin's output was interpreted.
#[derive(Debug)]
pub struct Conversation {
    /// For each request the JSON text of its result, or the error; `None`: no response came.
    pub answers: Vec<Option<Result<String, String>>>,
    /// The conversation ended because of invalid output, for this reason.
    pub rubbish: Option<String>,
}

/// Read a plugin's whole output, with this many requests waiting. Public for the fuzz target, which
/// has no process and threads.
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

/// The start of a line, for display.
pub(crate) fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(4 * SHOWN_CHARS)]);
    let mut start: String = text.trim_end().chars().take(SHOWN_CHARS).collect();
    if line.len() > start.len() + 1 {
        start.push('…');
    }
    start.replace(char::is_control, " ")
}
