//! Owns turning one answer into a record: it puts the arrivals that the
//! transport reports beside what the protocol says the bytes mean.

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::dispatch::Dispatch;
use super::framer::Framer;
use crate::http1::Head;
use crate::protocol::openai::error_text;
use crate::protocol::{AnswerReader, Api, AskedInputs, Choices, Reply, error_in, json};
use crate::transport::{Arrival, ResponseHandler, SendTimes, TransportError};
use evalscope_model::record::{
    ArrivalClock, Bodies, CountedTokens, EXCERPT_BYTES, Ending, EventLog, Exchange, Failure,
    FailureKind, PluginTokens, RecordBodies, RequestRecord, RequestTimes, Texts,
};
use evalscope_model::time::Timestamp;

/// After its last event a stream should end at once. A server that keeps it
/// open gets this long before the connection is given up.
const END_GRACE: Duration = Duration::from_millis(250);

/// After its `finish_reason` an answer is whole, but for its token counts and the end marker. Servers
/// without either that keep the connection open get this long without a data event: those that were
/// seen send both within a second.
const FINISH_GRACE: Duration = Duration::from_secs(2);

/// A whole answer may not be larger than this.
const MAX_WHOLE_BYTES: usize = 64 << 20;

/// A stream may not be larger than this, nor have more events: what is kept of it grows with both.
const MAX_STREAM_BYTES: usize = 256 << 20;
const MAX_STREAM_EVENTS: usize = 4_000_000;

/// The fields that an event stream begins with; JSON begins with none of them.
const FIRST_FIELDS: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];

/// How a body reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A stream was asked for, and neither head nor bytes have shown yet whether this is one.
    Open,
    Stream,
    Whole,
}

/// Collects one answer.
#[derive(Debug)]
pub struct Collector {
    keep: RecordBodies,
    stream_asked: bool,
    form: Form,
    /// Bytes of the body so far.
    body_bytes: usize,
    splitter: Framer,
    answer: Answer,
    head: Option<Head>,
    headers_at: Option<Timestamp>,
    /// Arrival of the last byte of anything.
    last_byte: Option<Timestamp>,
    /// The read that brought it.
    last_read: u64,
    /// Some read was stamped by the user clock.
    user_clock: bool,
    /// Body of an answer that is no stream.
    whole: Vec<u8>,
    /// The answer's first bytes, a text for each piece that came: the pieces of
    /// a stream resemble each other, and thousands of streams wait at a time.
    excerpt: Texts,
    excerpt_bytes: usize,
    /// A whole answer had output.
    whole_output: bool,
    /// Why reading on is useless.
    lost: Option<Failure>,
}

impl Collector {
    /// A collector for one answer of an API, which was asked for as a stream or not.
    #[must_use]
    pub fn new(reader: Box<dyn AnswerReader>, keep: RecordBodies, stream_asked: bool) -> Self {
        Self {
            keep,
            stream_asked,
            form: Form::Whole,
            body_bytes: 0,
            splitter: Framer::new(reader.framing()),
            answer: Answer {
                keeps_all: reader.keeps_all(),
                reader,
                // most answers fit; a longer one grows
                events: EventLog::with_capacity(64),
                last_data: None,
                last_news: None,
                seen: Choices::NONE,
                finished: Choices::NONE,
                token_reads: Vec::new(),
                keeps_texts: keep != RecordBodies::None,
                responses: Texts::default(),
                final_event: Vec::new(),
                kept: None,
            },
            head: None,
            headers_at: None,
            last_byte: None,
            last_read: 0,
            user_clock: false,
            whole: Vec::new(),
            excerpt: Texts::default(),
            excerpt_bytes: 0,
            whole_output: false,
            lost: None,
        }
    }

    fn is_stream(&self) -> bool {
        self.form == Form::Stream
    }

    fn is_success(&self) -> bool {
        let status = self.head.as_ref().map(|head| head.status);
        status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Bytes of a body whose form is not known yet.
    fn open_bytes(&mut self, bytes: &[u8], at: Timestamp, read: u64) {
        self.whole.extend_from_slice(bytes);
        self.form = form_of(&self.whole);
        match self.form {
            // no event can have been completed before: all of them came with this read
            Form::Stream => {
                let begun = std::mem::take(&mut self.whole);
                self.answer.last_data = None;
                self.stream_bytes(json::unmarked(&begun).trim_ascii_start(), at, read);
            }
            Form::Open if self.whole.trim_ascii_start().is_empty() => self.whole.clear(),
            Form::Open | Form::Whole => {}
        }
    }

    fn stream_bytes(&mut self, bytes: &[u8], at: Timestamp, read: u64) {
        let answer = &mut self.answer;
        if let Err(error) = self
            .splitter
            .push(bytes, |event| answer.take(event, at, read))
        {
            self.lose(FailureKind::TooLarge, error.to_string());
        }
        if self.body_bytes > MAX_STREAM_BYTES {
            let limit = MAX_STREAM_BYTES >> 20;
            self.lose(
                FailureKind::TooLarge,
                format!("the stream is larger than {limit} MiB"),
            );
        } else if self.answer.events.len() > MAX_STREAM_EVENTS {
            self.lose(
                FailureKind::TooLarge,
                format!("the stream has more than {MAX_STREAM_EVENTS} events"),
            );
        }
    }

    fn lose(&mut self, kind: FailureKind, message: impl Into<String>) {
        self.lost.get_or_insert_with(|| Failure::new(kind, message));
    }

    /// The request was ended while nothing came any more of an answer that lacked its end marker
    /// only.
    fn ends_silently(&self, result: &Result<(), TransportError>, now: Timestamp) -> bool {
        use FailureKind::{Cancelled, ReadTimeout, TotalTimeout};
        let cut = match result {
            Ok(()) => self.ends_at().is_some_and(|at| now >= at),
            Err(error) => matches!(error.kind, Cancelled | ReadTimeout | TotalTimeout),
        };
        cut && self.is_stream() && self.answer.is_finished() && !self.answer.reader.state().done
    }

    /// Keep what the answer says, for the next turn of its conversation.
    pub fn keep_reply(&mut self, api: Arc<dyn Api>) {
        self.answer.kept = Some(Box::new((api, Reply::default())));
    }

    /// What the answer has said, if that was to be kept.
    pub fn take_reply(&mut self) -> Option<Reply> {
        let (api, mut reply) = *self.answer.kept.take()?;
        if !self.is_stream() {
            api.read_reply(&self.whole, &mut reply);
        }
        Some(reply)
    }

    /// The value of the header that was wanted.
    pub fn take_kept_header(&mut self) -> Option<String> {
        self.head.as_mut()?.kept.take()
    }

    /// The answer has ended, in whatever way: make the record.
    #[must_use]
    pub fn finish(
        mut self,
        dispatch: Dispatch,
        inputs: Option<AskedInputs>,
        sent: &SendTimes,
        result: Result<(), TransportError>,
        body: impl FnOnce() -> Vec<u8>,
        now: Timestamp,
    ) -> Exchange {
        let streamed = match &self.head {
            Some(_) => self.is_stream(),
            None => dispatch.stream,
        };
        let silent = self.ends_silently(&result, now);
        let failure = self.judge(&dispatch, inputs, result, silent);
        let state = self.answer.reader.take();
        let ending = if failure.is_none() && silent && !state.done {
            Ending::Grace
        } else {
            Ending::Marked
        };
        let mut usage = state.usage;
        if self.whole_output && usage.completion_tokens == Some(0) {
            // there was output: that is no count
            usage.completion_tokens = None;
        }
        if inputs.is_some() && usage.prompt_tokens.is_none() {
            let counted = self.head.as_mut().and_then(|head| head.kept.take());
            usage.prompt_tokens = counted.and_then(|count| count.trim().parse().ok());
        }
        let keep = match self.keep {
            RecordBodies::All => true,
            RecordBodies::Failed => failure.is_some(),
            RecordBodies::None => false,
        };
        let location = self.head.as_mut().and_then(|head| head.location.take());
        // why a request failed is worth its 4 KiB in any mode
        let error_excerpt = if failure.is_some() {
            joined(&self.excerpt)
        } else {
            Vec::new()
        };
        let mut bodies = Bodies {
            error_excerpt,
            location,
            ..Bodies::default()
        };
        if keep {
            bodies.request = body();
            bodies.responses = self.answer.responses;
            bodies.final_event = self.answer.final_event;
        }
        // a place is free when the last byte has arrived, not when this program sees it: what lies
        // between is the client's own lag
        let last_data = match ending {
            Ending::Grace => self.answer.last_news,
            Ending::Marked => self.answer.last_data,
        };
        let ended = match (&failure, ending, self.last_byte) {
            // what came after it were heartbeats
            (None, Ending::Grace, _) => last_data.unwrap_or(now),
            (None, Ending::Marked, Some(at)) => at,
            _ => now,
        };
        let record = RequestRecord {
            index: dispatch.index,
            phase: dispatch.phase,
            failure,
            streamed,
            times: RequestTimes {
                scheduled: dispatch.scheduled,
                slot_free: dispatch.slot_free,
                dispatched: dispatch.dispatched,
                connected: sent.connected,
                write_begun: sent.write_begun,
                write_done: sent.write_done,
                first_byte: sent.first_byte,
                headers: self.headers_at,
                last_data,
                ended,
            },
            connect: sent.cost,
            clock: if self.user_clock || self.last_byte.is_none() {
                ArrivalClock::User
            } else {
                ArrivalClock::Kernel
            },
            events: self.answer.events,
            http_status: self.head.as_ref().map(|head| head.status),
            usage,
            asked_prompt_tokens: dispatch.asked_tokens,
            asked_output_tokens: dispatch.asked_output_tokens,
            inputs: inputs.map(|inputs| inputs.count.into()),
            plugin: PluginTokens::default(),
            counted: CountedTokens::default(),
            finish_reason: state.finish_reason,
            response_id: state.response_id,
            model: state.model,
            ending,
            skipped_events: state.skipped_events,
            compressed: self
                .head
                .as_ref()
                .is_some_and(|head| !head.content_encoding.is_empty()),
            peer: sent.peer,
            turn: dispatch.turn,
            trace: dispatch.trace,
            asked_model: dispatch.model,
            url: dispatch.url,
        };
        Exchange { record, bodies }
    }

    /// Why the request failed, if it did.
    fn judge(
        &mut self,
        dispatch: &Dispatch,
        inputs: Option<AskedInputs>,
        result: Result<(), TransportError>,
        silent: bool,
    ) -> Option<Failure> {
        let Some(head) = &self.head else {
            return Some(result.err().or(self.lost.take()).unwrap_or_else(|| {
                Failure::new(FailureKind::Truncated, "the answer has no head")
            }));
        };
        if !self.is_success() {
            let mut message = error_text(&joined(&self.excerpt));
            if self.excerpt.is_empty() && head.content_encoding.is_empty() {
                "(no body)".clone_into(&mut message);
            } else if self.excerpt.is_empty() {
                message = format!("(a body encoded as {})", head.content_encoding);
            }
            if let Some(after) = &head.retry_after {
                message = format!("{message} [retry-after: {after}]");
            }
            if let Some(location) = &head.location {
                message = format!("{message} [location: {location}]");
            }
            return Some(Failure::new(
                FailureKind::Status(head.status),
                format!("status {}: {}", head.status, message.trim()),
            ));
        }
        let whole = !self.is_stream();
        let mut output = self.answer.events.tokens().next().is_some();
        if whole {
            if let Err(error) = result {
                return Some(error);
            }
            if let Some(lost) = self.lost.take() {
                return Some(lost);
            }
            output = self.answer.reader.whole(&self.whole).has_token();
            self.whole_output = output;
            if self.answer.keeps_texts {
                let kept = match inputs {
                    // vectors are large and say nothing to people
                    Some(_) => &self.whole[..self.whole.len().min(EXCERPT_BYTES)],
                    None => &self.whole,
                };
                self.answer.responses.push(kept);
            }
        } else {
            // an event that lacks its blank line came with the last read
            let (at, read) = (self.last_byte.unwrap_or_default(), self.last_read);
            if result.is_ok() && self.lost.is_none() {
                let answer = &mut self.answer;
                self.splitter.finish(|event| answer.take(event, at, read));
                output |= answer.events.tokens().next().is_some();
                if !silent {
                    answer.reader.body_ended();
                }
            } else {
                // what may be cut is no event, but it may be words
                self.splitter.finish(|_| {});
            }
        }
        let state = self.answer.reader.state();
        if let Some(failure) = &state.failure {
            return Some(failure.clone());
        }
        if let Some(lost) = self.lost.take() {
            return Some(lost);
        }
        if let Some(inputs) = inputs {
            return inputs.failure(self.answer.reader.results());
        }
        // when generation has ended, how the connection does not matter
        if let Err(error) = result
            && !state.done
            && !self.answer.is_finished()
        {
            use FailureKind::{Reset, Truncated};
            let broken = matches!(error.kind, Reset | Truncated);
            return Some(if broken && !output {
                self.explained(error)
            } else {
                error
            });
        }
        if !state.done && state.finish_reason.is_none() {
            let end = self.answer.reader.missing_end();
            let message = format!("the stream ended without {end}");
            return Some(self.explained(Failure::new(FailureKind::Truncated, message)));
        }
        if output || state.usage.completion_tokens.unwrap_or(0) > 0 {
            return None;
        }
        if dispatch.output_asked {
            return Some(self.explained(Failure::new(
                FailureKind::EmptyOutput,
                "the answer has no output though some was asked for",
            )));
        }
        if self.answer.reader.answered() {
            return None;
        }
        Some(self.explained(Failure::new(
            FailureKind::EmptyOutput,
            "this is no answer of the API",
        )))
    }

    /// The failure of an answer that is empty or has no end, with what the server said instead of it.
    fn explained(&self, mut failure: Failure) -> Failure {
        let reader = &self.answer.reader;
        let aside = reader.aside();
        if let Some(unread) = aside.filter(|aside| aside.kind == FailureKind::Malformed) {
            return unread.clone();
        }
        let stray = self.splitter.stray();
        if let Some(words) = error_in(stray) {
            return Failure::new(FailureKind::ServerError, words);
        }
        let words = match aside {
            Some(notice) => notice.message.clone(),
            None if !stray.is_empty() => error_text(stray),
            // comments and ends of lines are no words
            None if !reader.answered() && (self.answer.last_data.is_some()) => {
                error_text(&joined(&self.excerpt))
            }
            None => return failure,
        };
        failure.message = format!("{}; the server said: {}", failure.message, words.trim());
        failure
    }
}

/// What the beginning of a body shows of its form.
fn form_of(begun: &[u8]) -> Form {
    if json::BYTE_ORDER_MARK.starts_with(begun) {
        return Form::Open;
    }
    let begun = json::unmarked(begun).trim_ascii_start();
    if FIRST_FIELDS.iter().any(|field| begun.starts_with(field)) {
        Form::Stream
    } else if FIRST_FIELDS.iter().any(|field| field.starts_with(begun)) {
        Form::Open
    } else {
        Form::Whole
    }
}

impl ResponseHandler for Collector {
    fn head(&mut self, head: Head, at: Arrival) {
        self.headers_at = Some(at.at);
        self.user_clock |= at.clock == ArrivalClock::User;
        self.last_byte = Some(at.at);
        self.form = if head.is_event_stream() || self.stream_asked && self.splitter.is_lines() {
            Form::Stream
        } else if self.stream_asked {
            Form::Open
        } else {
            Form::Whole
        };
        self.head = Some(head);
        if !self.is_success() {
            self.form = Form::Whole;
        }
    }

    fn body(&mut self, bytes: &[u8], at: Arrival, read: u64) {
        self.user_clock |= at.clock == ArrivalClock::User;
        self.last_byte = Some(at.at);
        self.last_read = read;
        if self.excerpt_bytes < EXCERPT_BYTES {
            let n = bytes.len().min(EXCERPT_BYTES - self.excerpt_bytes);
            self.excerpt.push(&bytes[..n]);
            self.excerpt_bytes += n;
        }
        if !self.is_success() {
            // an error's body without end tells nothing more
            if self.excerpt_bytes >= EXCERPT_BYTES {
                self.lose(FailureKind::TooLarge, "a long error body was cut");
            }
            return;
        }
        self.body_bytes = self.body_bytes.saturating_add(bytes.len());
        if self.is_stream() {
            self.stream_bytes(bytes, at.at, read);
            return;
        }
        self.answer.last_data = Some(at.at);
        if self.body_bytes > MAX_WHOLE_BYTES {
            let limit = MAX_WHOLE_BYTES >> 20;
            self.lose(
                FailureKind::TooLarge,
                format!("the answer is larger than {limit} MiB"),
            );
            return;
        }
        if self.form == Form::Open {
            self.open_bytes(bytes, at.at, read);
        } else {
            self.whole.extend_from_slice(bytes);
        }
    }

    fn is_satisfied(&self) -> bool {
        // an error is known by its status: what it says is welcome, but nobody
        // waits long for it
        let refused = self.head.is_some() && !self.is_success();
        refused || self.answer.reader.state().done
    }

    fn ends_at(&self) -> Option<Timestamp> {
        if self.is_satisfied() {
            return Some(self.last_byte.unwrap_or_default().after(END_GRACE));
        }
        let news = self.answer.last_news.filter(|_| self.answer.is_finished());
        news.map(|at| at.after(FINISH_GRACE))
    }

    fn is_lost(&self) -> bool {
        self.lost.is_some()
    }
}

fn joined(texts: &Texts) -> Vec<u8> {
    let mut bytes = Vec::new();
    texts.for_each(|text| bytes.extend_from_slice(text));
    bytes
}

#[cfg(test)]
mod tests;
