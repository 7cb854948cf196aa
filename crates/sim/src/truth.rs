//! Owns the ground-truth log: one JSON line per streaming response, written by a separate thread.
//!
//! It must not know how responses are made. Without a log nothing here runs, and no clock is read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::error::SimError;
use crate::fault::Fault;

/// Maximum time that a finished line waits before it is passed to the operating system.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// Number of finished responses that may wait for the writer. If the channel is full, a response
/// delays its own connection, but never the timestamps of others.
const WAITING_LINES: usize = 8192;

/// What is known about one streaming response. Timestamps are raw monotonic nanoseconds.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) prompt_tokens: u64,
    /// How long the request waited for a slot, in nanoseconds.
    pub(crate) queued_ns: u64,
    /// When the last byte of the request was read.
    pub(crate) request_read_ns: u64,
    /// Just before and just after the write of each token-bearing event.
    pub(crate) tokens: Vec<(u64, u64)>,
    pub(crate) fault: Option<Fault>,
}

impl Line {
    /// Hand-written: a response can have a million timestamps.
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write!(
            out,
            "{{\"id\":\"{}\",\"prompt_tokens\":{},\"queued_ns\":{},\"request_read_ns\":{},\"tokens\":[",
            self.id, self.prompt_tokens, self.queued_ns, self.request_read_ns
        )?;
        for (at, (before, after)) in self.tokens.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(out, "{comma}[{before},{after}]")?;
        }
        match self.fault {
            Some(fault) => writeln!(out, "],\"fault\":\"{fault}\"}}"),
            None => writeln!(out, "],\"fault\":null}}"),
        }
    }
}

/// The log's thread; [`TruthLog::finish`] waits until everything is written.
#[derive(Debug)]
pub(crate) struct TruthLog {
    sender: SyncSender<Line>,
    writer: JoinHandle<io::Result<()>>,
}

impl TruthLog {
    pub(crate) fn create(path: &Path) -> Result<Self, SimError> {
        let failed = |source| SimError::TruthLog {
            path: path.to_owned(),
            source,
        };
        let file = File::create(path).map_err(failed)?;
        let (sender, receiver) = sync_channel(WAITING_LINES);
        let writer = std::thread::Builder::new()
            .name("truth-log".to_owned())
            .spawn(move || write_lines(&receiver, file))
            .map_err(failed)?;
        Ok(TruthLog { sender, writer })
    }

    pub(crate) fn sender(&self) -> SyncSender<Line> {
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

fn write_lines(receiver: &Receiver<Line>, file: File) -> io::Result<()> {
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
                    line.write(&mut out)
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
        if matches!(line, Err(RecvTimeoutError::Disconnected)) {
            return outcome;
        }
    }
}

/// Collects the truth of one response and passes it to the log however the response ends, even if
/// the task is dropped halfway.
#[derive(Debug)]
pub(crate) struct Recorder {
    line: Option<Line>,
    sender: SyncSender<Line>,
}

impl Recorder {
    pub(crate) fn new(sender: SyncSender<Line>, line: Line) -> Self {
        Recorder {
            line: Some(line),
            sender,
        }
    }

    pub(crate) fn queued(&mut self, queued: Duration) {
        if let Some(line) = &mut self.line {
            line.queued_ns = u64::try_from(queued.as_nanos()).unwrap_or(u64::MAX);
        }
    }

    pub(crate) fn tokens(&mut self, events: usize, before_ns: u64, after_ns: u64) {
        if let Some(line) = &mut self.line {
            line.tokens
                .extend(std::iter::repeat_n((before_ns, after_ns), events));
        }
    }

    /// Pass on the line, waiting without blocking the thread while the log is behind.
    pub(crate) async fn finish(mut self) {
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
        if let Some(line) = self.line.take() {
            // Only fails if the writer is gone, and then there is nothing to write to.
            let _ = self.sender.send(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_the_documented_shape() {
        let mut line = Line {
            id: "chatcmpl-sim-7".to_owned(),
            prompt_tokens: 3,
            queued_ns: 0,
            request_read_ns: 10,
            tokens: vec![(11, 12), (13, 14)],
            fault: None,
        };
        let mut out = Vec::new();
        line.write(&mut out).expect("writing to a Vec cannot fail");
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "{\"id\":\"chatcmpl-sim-7\",\"prompt_tokens\":3,\"queued_ns\":0,\"request_read_ns\":10,\
             \"tokens\":[[11,12],[13,14]],\"fault\":null}\n"
        );
        line.fault = Some(Fault::Cut);
        let mut out = Vec::new();
        line.write(&mut out).expect("writing to a Vec cannot fail");
        assert!(
            String::from_utf8(out)
                .expect("UTF-8")
                .ends_with("\"fault\":\"cut\"}\n")
        );
    }
}
