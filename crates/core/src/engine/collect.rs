//! Owns turning one answer into a record: it puts the arrivals that the
//! transport reports beside what the protocol says the bytes mean.

use std::time::Duration;

use crate::http1::Head;
use crate::protocol::{AnswerReader, Choices, EventMeaning};
use crate::record::{
    ArrivalClock, Bodies, CountedTokens, EXCERPT_BYTES, Ending, EventLog, EventStamp, Exchange,
    Failure, FailureKind, Phase, PluginTokens, RecordBodies, RequestRecord, RequestTimes, Texts,
};
use crate::sse::{Event, Splitter};
use crate::time::Timestamp;
use crate::transport::{Arrival, ResponseHandler, SendTimes, TransportError};

/// After its last event a stream should end at once. A server that keeps it
/// open gets this long before the connection is given up.
const END_GRACE: Duration = Duration::from_millis(250);

/// A whole answer may not be larger than this.
const MAX_WHOLE_BYTES: usize = 64 << 20;

/// What is known of a request before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch {
    /// Position in its phase.
    pub index: u64,
    /// Whether it counts.
    pub phase: Phase,
    /// When the schedule wanted it sent.
    pub scheduled: Timestamp,
    /// When its slot had become free.
    pub slot_free: Timestamp,
    /// When the slot took it up.
    pub dispatched: Timestamp,
    /// A stream was asked for.
    pub stream: bool,
    /// Output was asked for.
    pub output_asked: bool,
    /// Tokens that the prompt was to have.
    pub asked_tokens: Option<u64>,
}

/// Collects one answer.
#[derive(Debug)]
pub struct Collector {
    keep: RecordBodies,
    splitter: Splitter,
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
    /// Why reading on is useless.
    lost: Option<Failure>,
}

impl Collector {
    /// A collector for one answer of an API.
    #[must_use]
    pub fn new(reader: Box<dyn AnswerReader>, keep: RecordBodies) -> Self {
        Self {
            keep,
            splitter: Splitter::default(),
            answer: Answer {
                keeps_all: reader.keeps_all(),
                reader,
                // most answers fit; a longer one grows
                events: EventLog::with_capacity(64),
                last_data: None,
                token_reads: Vec::new(),
                keeps_texts: keep != RecordBodies::None,
                responses: Texts::default(),
                final_event: Vec::new(),
            },
            head: None,
            headers_at: None,
            last_byte: None,
            last_read: 0,
            user_clock: false,
            whole: Vec::new(),
            excerpt: Texts::default(),
            excerpt_bytes: 0,
            lost: None,
        }
    }

    fn is_stream(&self) -> bool {
        self.head
            .as_ref()
            .is_some_and(|head| head.status == 200 && head.is_event_stream())
    }

    fn stream_bytes(&mut self, bytes: &[u8], at: Timestamp, read: u64) {
        let answer = &mut self.answer;
        if let Err(error) = self
            .splitter
            .push(bytes, |event| answer.take(event, at, read))
        {
            self.lost
                .get_or_insert_with(|| Failure::new(FailureKind::Malformed, error.to_string()));
        }
    }

    /// The answer has ended, in whatever way: make the record.
    #[must_use]
    pub fn finish(
        mut self,
        dispatch: Dispatch,
        sent: &SendTimes,
        result: Result<(), TransportError>,
        body: Vec<u8>,
        now: Timestamp,
    ) -> Exchange {
        let streamed = match &self.head {
            Some(_) => self.is_stream(),
            None => dispatch.stream,
        };
        let failure = self.judge(&dispatch, result);
        let state = self.answer.reader.take();
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
            bodies.request = body;
            bodies.responses = self.answer.responses;
            bodies.final_event = self.answer.final_event;
        }
        // a slot is free when the last byte has arrived, not when we come round
        // to seeing it: what lies between is the client's own lag
        let ended = match (&failure, self.last_byte) {
            (None, Some(at)) => at,
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
                last_data: self.answer.last_data,
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
            usage: state.usage,
            asked_prompt_tokens: dispatch.asked_tokens,
            plugin: PluginTokens::default(),
            counted: CountedTokens::default(),
            finish_reason: state.finish_reason,
            response_id: state.response_id,
            model: state.model,
            ending: Ending::Marked,
            skipped_events: state.skipped_events,
            compressed: self
                .head
                .as_ref()
                .is_some_and(|head| !head.content_encoding.is_empty()),
            peer: sent.peer,
        };
        Exchange { record, bodies }
    }

    /// Why the request failed, if it did.
    fn judge(
        &mut self,
        dispatch: &Dispatch,
        result: Result<(), TransportError>,
    ) -> Option<Failure> {
        let Some(head) = &self.head else {
            return Some(result.err().or(self.lost.take()).unwrap_or_else(|| {
                Failure::new(FailureKind::Truncated, "the answer has no head")
            }));
        };
        if head.status != 200 {
            let mut message = crate::protocol::openai::error_text(&joined(&self.excerpt));
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
            if self.answer.keeps_texts {
                self.answer.responses.push(&self.whole);
            }
        } else {
            // an event that lacks its blank line came with the last read
            let (at, read) = (self.last_byte.unwrap_or_default(), self.last_read);
            if result.is_ok() && self.lost.is_none() {
                let answer = &mut self.answer;
                self.splitter.finish(|event| answer.take(event, at, read));
                output |= answer.events.tokens().next().is_some();
                answer.reader.body_ended();
            }
        }
        let state = self.answer.reader.state();
        if let Some(failure) = &state.failure {
            return Some(failure.clone());
        }
        if let Some(lost) = self.lost.take() {
            return Some(lost);
        }
        if let Err(error) = result {
            return Some(error);
        }
        if !state.done && state.finish_reason.is_none() {
            return Some(Failure::new(
                FailureKind::Truncated,
                "the stream ended without `[DONE]` and without a finish_reason",
            ));
        }
        let counted = state.usage.completion_tokens.unwrap_or(0) > 0;
        if dispatch.output_asked && !output && !counted {
            return Some(Failure::new(
                FailureKind::EmptyOutput,
                "the answer has no output though some was asked for",
            ));
        }
        None
    }
}

impl ResponseHandler for Collector {
    fn head(&mut self, head: Head, at: Arrival) {
        self.headers_at = Some(at.at);
        self.user_clock |= at.clock == ArrivalClock::User;
        self.last_byte = Some(at.at);
        self.head = Some(head);
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
        if self.is_stream() {
            self.stream_bytes(bytes, at.at, read);
            return;
        }
        if self.head.as_ref().is_some_and(|head| head.status != 200) {
            // an error's body without end tells nothing more
            if self.excerpt_bytes >= EXCERPT_BYTES {
                self.lost.get_or_insert_with(|| {
                    Failure::new(FailureKind::Malformed, "a long error body was cut")
                });
            }
            return;
        }
        self.answer.last_data = Some(at.at);
        if self.whole.len() + bytes.len() > MAX_WHOLE_BYTES {
            self.lost.get_or_insert_with(|| {
                Failure::new(
                    FailureKind::Malformed,
                    format!("the answer is larger than {} MiB", MAX_WHOLE_BYTES >> 20),
                )
            });
            return;
        }
        self.whole.extend_from_slice(bytes);
    }

    fn is_satisfied(&self) -> bool {
        // an error is known by its status: what it says is welcome, but nobody
        // waits long for it
        let refused = self.head.as_ref().is_some_and(|head| head.status != 200);
        refused || self.answer.reader.state().done
    }

    fn ends_at(&self) -> Option<Timestamp> {
        self.is_satisfied()
            .then(|| self.last_byte.unwrap_or_default().after(END_GRACE))
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

/// What the events of a stream said, each with the arrival that completed it.
#[derive(Debug)]
struct Answer {
    reader: Box<dyn AnswerReader>,
    events: EventLog,
    last_data: Option<Timestamp>,
    /// The read that brought the last token-bearing event of each choice; reads
    /// count from 1.
    token_reads: Vec<u64>,
    keeps_texts: bool,
    /// Texts of events without a token too.
    keeps_all: bool,
    responses: Texts,
    final_event: Vec<u8>,
}

impl Answer {
    /// Note an event: a stamp for each choice that it speaks of.
    fn stamp(&mut self, meaning: &EventMeaning, at: Timestamp, read: u64) {
        let choices = meaning.choices();
        if choices.is_empty() {
            self.events.push(EventStamp::empty(at));
            return;
        }
        let mut continued = false;
        for choice in choices.iter() {
            let own = Choices::one(usize::from(choice));
            let token = meaning.tokens.contains(own);
            let last = self.token_reads.get(usize::from(choice)).copied();
            self.events.push(EventStamp {
                at,
                token,
                answer: meaning.answers.contains(own),
                finish: meaning.finished.contains(own),
                coalesced: last == Some(read),
                choice,
                continued,
            });
            continued = true;
            if token {
                let reads = usize::from(choice) + 1;
                if self.token_reads.len() < reads {
                    self.token_reads.resize(reads, 0);
                }
                self.token_reads[usize::from(choice)] = read;
            }
        }
    }

    fn take(&mut self, event: Event<'_>, at: Timestamp, read: u64) {
        let Some(meaning) = self.reader.event(event.name, event.data) else {
            return;
        };
        self.stamp(&meaning, at, read);
        self.last_data = Some(at);
        if !self.keeps_texts {
            return;
        }
        self.final_event.clear();
        if meaning.has_token() || self.keeps_all {
            self.responses.push(event.data);
        } else {
            self.final_event.extend_from_slice(event.data);
        }
    }
}
