//! Owns the ground truth: what is known about each request, and the log with one JSON line for
//! each, written by a separate thread.
//!
//! It must not know how responses are made. Without a log nothing here runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{monotonic_ns, monotonic_ns_at};
use crate::error::SimError;
use crate::fault::Fault;
use crate::slots::Start;

/// Maximum time that a finished line waits before it is passed to the operating system.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// Number of finished responses that may wait for the writer. If the channel is full, a response
/// delays its own connection, but never the timestamps of others.
const WAITING_LINES: usize = 8192;

/// What is known about one request. Timestamps are raw monotonic nanoseconds
/// ([`monotonic_ns`]).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TrueRequest {
    /// The id in its response.
    pub id: String,
    /// Length of the prompt, in tokens.
    pub prompt_tokens: u64,
    /// How long it waited for a slot, and in a batch for the prefill of earlier requests, in
    /// nanoseconds.
    pub queued_ns: u64,
    /// When the last byte of the request was read.
    pub request_read_ns: u64,
    /// When its first bytes were read; 0 in logs of older versions.
    #[serde(default)]
    pub request_began_ns: u64,
    /// Just before and just after the write of each token-bearing event of a stream.
    pub tokens: Vec<(u64, u64)>,
    /// The fault of its response.
    pub fault: Option<Fault>,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// When its service began; `None` if it was never served.
    pub service_began_ns: Option<u64>,
    /// When its response ended: after the last write, or when its client had left.
    pub ended_ns: u64,
    /// Number of requests in service when its own began, itself included.
    pub busy_slots: Option<u64>,
    /// Number of generated tokens, of all choices; fewer were sent if the response ended early.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Number of leading blocks of the prompt that were in the prefix cache.
    #[serde(default)]
    pub hit_blocks: u64,
    /// Number of prompt tokens in these blocks, which needed no prefill.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Number of messages; `None` for a plain prompt.
    #[serde(default)]
    pub messages: Option<u64>,
    /// Length of the body, in bytes, without chunk framing.
    #[serde(default)]
    pub body_bytes: u64,
    /// SHA-256 of these bytes, in lower-case hexadecimal, with
    /// [`SimConfig::truth_bodies`](crate::SimConfig::truth_bodies).
    #[serde(default)]
    pub body_sha256: Option<String>,
    /// The client's port.
    #[serde(default)]
    pub peer_port: u16,
    /// Number of the connection, from 1, in the order in which they were accepted.
    #[serde(default)]
    pub connection: u64,
    /// The value of [`SimConfig::conversation_header`](crate::SimConfig::conversation_header), if
    /// the request had one.
    #[serde(default)]
    pub conversation: Option<String>,
    /// The headers of the request that are in
    /// [`SimConfig::log_headers`](crate::SimConfig::log_headers), by their name in lower case. The
    /// values of a repeated header are joined by a comma and a space.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The token that the response gave in
    /// [`SimConfig::session_token_header`](crate::SimConfig::session_token_header).
    #[serde(default)]
    pub session_token: Option<String>,
    /// Whether the request sent back the token of the response before it.
    #[serde(default)]
    pub session_token_echo: Option<Echo>,
    /// The model that the request names.
    #[serde(default)]
    pub model: Option<String>,
}

/// What a request did with the session token of the previous response of its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Echo {
    /// There was no token to send back, and it sent none.
    First,
    /// It sent back the latest token.
    Echoed,
    /// It sent none.
    Missing,
    /// It sent another one, or one although it was given none.
    Wrong,
}

/// The truth of a run by the server's own clock.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// In the order in which the requests were read.
    pub requests: Vec<TrueRequest>,
}

impl Truth {
    /// Sort the requests of a run, given in any order.
    #[must_use]
    pub fn new(mut requests: Vec<TrueRequest>) -> Self {
        requests.sort_by_key(|request| request.request_read_ns);
        Truth { requests }
    }

    /// The content of a truth log.
    ///
    /// # Errors
    /// If a line is not one of a truth log.
    pub fn parse(log: &str) -> Result<Self, serde_json::Error> {
        let requests: Result<Vec<_>, _> = log.lines().map(serde_json::from_str).collect();
        requests.map(Truth::new)
    }

    /// The prompt tokens of all requests.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.requests.iter().map(|line| line.prompt_tokens).sum()
    }

    /// How many of them were in the prefix cache.
    #[must_use]
    pub fn cached_tokens(&self) -> u64 {
        self.requests.iter().map(|line| line.cached_tokens).sum()
    }

    /// The gaps between arrivals: one fewer than there are requests.
    #[must_use]
    pub fn arrival_gaps_ns(&self) -> Vec<u64> {
        self.requests
            .windows(2)
            .map(|pair| pair[1].request_read_ns - pair[0].request_read_ns)
            .collect()
    }

    /// The requests of each conversation, in the order in which they were read. Those that name none
    /// are left out.
    #[must_use]
    pub fn conversations(&self) -> BTreeMap<&str, Vec<&TrueRequest>> {
        let mut conversations: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for request in &self.requests {
            if let Some(name) = &request.conversation {
                conversations
                    .entry(name.as_str())
                    .or_default()
                    .push(request);
            }
        }
        conversations
    }

    /// The number of conversations whose first request had begun to arrive and whose last response
    /// had not ended, at this time: with the pauses between their turns.
    #[must_use]
    pub fn conversations_in_flight(&self, at_ns: u64) -> usize {
        let in_flight = |turns: &Vec<&TrueRequest>| {
            let began_ns = turns.iter().map(|turn| turn.request_began_ns).min();
            let ended_ns = turns.iter().map(|turn| turn.ended_ns).max();
            began_ns.is_some_and(|ns| ns <= at_ns) && ended_ns.is_some_and(|ns| ns > at_ns)
        };
        self.conversations()
            .values()
            .filter(|turns| in_flight(turns))
            .count()
    }

    /// N(t): the number of requests that were read and have not ended, at this time.
    #[must_use]
    pub fn in_system(&self, at_ns: u64) -> usize {
        self.requests
            .iter()
            .filter(|request| (request.request_read_ns..request.ended_ns).contains(&at_ns))
            .count()
    }

    /// The number of requests in service at this time.
    #[must_use]
    pub fn in_service(&self, at_ns: u64) -> usize {
        self.requests
            .iter()
            .filter(|request| {
                request
                    .service_began_ns
                    .is_some_and(|began_ns| (began_ns..request.ended_ns).contains(&at_ns))
            })
            .count()
    }
}

/// What a server has served, without the requests that it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Number of requests to the generating endpoints.
    pub requests: u64,
    /// Number of their prompt tokens.
    pub prompt_tokens: u64,
    /// How many of these were in the prefix cache.
    pub cached_tokens: u64,
}

/// Where finished requests are also kept, if asked for.
pub(crate) type Kept = Arc<Mutex<Vec<TrueRequest>>>;

/// The log's thread; [`TruthLog::finish`] waits until everything is written.
#[derive(Debug)]
pub(crate) struct TruthLog {
    sender: SyncSender<TrueRequest>,
    writer: JoinHandle<io::Result<()>>,
}

impl TruthLog {
    /// Log to a file, to memory, or to both.
    pub(crate) fn create(path: Option<&Path>, kept: Option<Kept>) -> Result<Self, SimError> {
        let failed = |source| SimError::TruthLog {
            path: path.unwrap_or(Path::new("")).to_owned(),
            source,
        };
        let file: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(File::create(path).map_err(failed)?),
            None => Box::new(io::sink()),
        };
        let (sender, receiver) = sync_channel(WAITING_LINES);
        let writer = std::thread::Builder::new()
            .name("truth-log".to_owned())
            .spawn(move || write_lines(&receiver, file, kept.as_ref()))
            .map_err(failed)?;
        Ok(TruthLog { sender, writer })
    }

    pub(crate) fn sender(&self) -> SyncSender<TrueRequest> {
        self.sender.clone()
    }

    /// Block until every line is written. All other senders must be gone.
    pub(crate) fn finish(self) -> io::Result<()> {
        drop(self.sender);
        self.writer
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the log's thread panicked")))
    }
}

fn keep(kept: Option<&Kept>, line: TrueRequest) {
    if let Some(kept) = kept {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(line);
    }
}

fn write_lines(
    receiver: &Receiver<TrueRequest>,
    file: impl Write,
    kept: Option<&Kept>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 18, file);
    let mut outcome = Ok(());
    let mut last_flush = monotonic_ns();
    let mut dirty = false;
    loop {
        let line = receiver.recv_timeout(FLUSH_EVERY);
        // After a failed write, lines are still received: a full disk must not stop the responses.
        if outcome.is_ok() {
            let wrote = match &line {
                Ok(line) => {
                    dirty = true;
                    serde_json::to_writer(&mut out, line)
                        .map_err(io::Error::from)
                        .and_then(|()| out.write_all(b"\n"))
                }
                Err(_) => Ok(()),
            };
            let flush_due = Duration::from_nanos(monotonic_ns() - last_flush) >= FLUSH_EVERY;
            outcome = wrote.and_then(|()| {
                if dirty && (flush_due || line.is_err()) {
                    last_flush = monotonic_ns();
                    dirty = false;
                    return out.flush();
                }
                Ok(())
            });
        }
        match line {
            Ok(line) => keep(kept, line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return outcome,
        }
    }
}

/// Collects the truth of one response and passes it to the log however the response ends, even if
/// the task is dropped halfway.
#[derive(Debug)]
pub(crate) struct Recorder {
    line: Option<TrueRequest>,
    sender: SyncSender<TrueRequest>,
}

impl Recorder {
    pub(crate) fn new(sender: SyncSender<TrueRequest>, line: TrueRequest) -> Self {
        Recorder {
            line: Some(line),
            sender,
        }
    }

    /// Note when the service began; only the first call has an effect.
    pub(crate) fn began(&mut self, start: Start) {
        if let Some(line) = &mut self.line
            && line.service_began_ns.is_none()
        {
            line.queued_ns = u64::try_from(start.queued.as_nanos()).unwrap_or(u64::MAX);
            let began_ns = monotonic_ns_at(start.began);
            line.service_began_ns = Some(began_ns.max(line.request_read_ns));
            line.busy_slots = Some(start.busy as u64);
        }
    }

    pub(crate) fn tokens(&mut self, events: usize, before_ns: u64, after_ns: u64) {
        if let Some(line) = &mut self.line {
            line.tokens
                .extend(std::iter::repeat_n((before_ns, after_ns), events));
        }
    }

    fn ended(&mut self) {
        if let Some(line) = &mut self.line
            && line.ended_ns == 0
        {
            line.ended_ns = monotonic_ns();
        }
    }

    /// Pass on the line, waiting without blocking the thread while the log is behind.
    pub(crate) async fn finish(mut self) {
        self.ended();
        while let Some(line) = self.line.take() {
            match self.sender.try_send(line) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(line)) => {
                    self.line = Some(line);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.ended();
        if let Some(line) = self.line.take() {
            // Only fails if the writer is gone, and then there is nothing to write to.
            let _ = self.sender.send(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str, read: u64, began: Option<u64>, ended: u64) -> TrueRequest {
        TrueRequest {
            id: id.to_owned(),
            prompt_tokens: 3,
            queued_ns: 0,
            request_read_ns: read,
            request_began_ns: read - 1,
            tokens: vec![(11, 12), (13, 14)],
            fault: None,
            stream: true,
            service_began_ns: began,
            ended_ns: ended,
            busy_slots: began.map(|_| 1),
            completion_tokens: 2,
            hit_blocks: 2,
            cached_tokens: 32,
            messages: Some(1),
            body_bytes: 90,
            body_sha256: None,
            peer_port: 4711,
            connection: 1,
            conversation: None,
            headers: BTreeMap::from([("x-a".to_owned(), "1".to_owned())]),
            session_token: None,
            session_token_echo: Some(Echo::First),
            model: Some("m".to_owned()),
        }
    }

    #[test]
    fn line_has_the_documented_shape() {
        let mut line = request("chatcmpl-sim-7", 10, Some(10), 20);
        assert_eq!(
            serde_json::to_string(&line).expect("JSON"),
            "{\"id\":\"chatcmpl-sim-7\",\"prompt_tokens\":3,\"queued_ns\":0,\"request_read_ns\":10,\
             \"request_began_ns\":9,\"tokens\":[[11,12],[13,14]],\"fault\":null,\"stream\":true,\"service_began_ns\":10,\
             \"ended_ns\":20,\"busy_slots\":1,\"completion_tokens\":2,\"hit_blocks\":2,\
             \"cached_tokens\":32,\"messages\":1,\"body_bytes\":90,\"body_sha256\":null,\
             \"peer_port\":4711,\"connection\":1,\"conversation\":null,\"headers\":{\"x-a\":\"1\"},\
             \"session_token\":null,\"session_token_echo\":\"first\",\"model\":\"m\"}"
        );
        line.fault = Some(Fault::Cut);
        let text = serde_json::to_string(&line).expect("JSON");
        assert!(text.contains("\"fault\":\"cut\""), "{text}");
        assert_eq!(Truth::parse(&text).expect("a log").requests, [line]);
    }

    #[test]
    fn lines_of_older_logs_are_read() {
        let old = "{\"id\":\"chatcmpl-sim-7\",\"prompt_tokens\":3,\"queued_ns\":0,\
                   \"request_read_ns\":10,\"tokens\":[],\"fault\":null,\"stream\":true,\
                   \"service_began_ns\":10,\"ended_ns\":20,\"busy_slots\":1}";
        let truth = Truth::parse(old).expect("a log");
        assert_eq!(truth.requests[0].session_token_echo, None);
        assert_eq!((truth.prompt_tokens(), truth.cached_tokens()), (3, 0));
    }

    #[test]
    fn conversations_last_from_their_first_request_to_their_last_response() {
        let turn = |name: &str, read, ended| TrueRequest {
            conversation: (!name.is_empty()).then(|| name.to_owned()),
            ..request("", read, None, ended)
        };
        let truth = Truth::new(vec![
            turn("a", 40, 50),
            turn("a", 10, 20),
            turn("b", 30, 35),
            turn("", 10, 90),
        ]);
        let conversations = truth.conversations();
        assert_eq!(conversations.len(), 2);
        assert_eq!(conversations["a"][0].ended_ns, 20);
        let counts = [8, 9, 25, 29, 34, 35, 49, 50].map(|at| truth.conversations_in_flight(at));
        assert_eq!(counts, [0, 1, 1, 2, 2, 1, 1, 0]);
    }

    #[test]
    fn arrivals_and_requests_in_the_system_are_counted() {
        let truth = Truth::new(vec![
            request("2", 30, None, 40),
            request("1", 10, Some(20), 50),
            request("3", 45, Some(50), 60),
        ]);
        assert_eq!(truth.requests[0].id, "1");
        assert_eq!(truth.arrival_gaps_ns(), [20, 15]);
        let counts = |at_ns| (truth.in_system(at_ns), truth.in_service(at_ns));
        assert_eq!(
            [9, 10, 20, 30, 40, 45, 50, 60].map(counts),
            [
                (0, 0),
                (1, 0),
                (1, 1),
                (2, 1),
                (1, 1),
                (2, 1),
                (1, 1),
                (0, 0)
            ]
        );
    }
}
