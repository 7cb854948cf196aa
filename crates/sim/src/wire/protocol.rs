//! Owns what a protocol is: how a request is read, and how each part of a response is written; and
//! the response itself, with the words it consists of.
//!
//! It must not know any protocol, nor the order of a stream's events.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use super::ask::{Asked, Output, StreamOptions};
use super::refusal::Refusal;
use crate::fault::Fault;
use crate::kept::{KeptResponses, Past};
use crate::lexicon::{Lexicon, Place};
use crate::tokens::Counter;
use crate::words::WORDS;

/// The message of a failure during generation, in all protocols.
pub(super) const DECODING_FAILED: &str = "simulated failure while decoding";

/// When each choice has an event without text, at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Start {
    #[default]
    Never,
    /// Together with the first token: the role.
    WithFirstToken,
    /// Before the first token is due.
    AtOnce,
}

/// How a protocol's event stream is structured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Parts {
    pub(super) start: Start,
    /// The usage has its own event, if requested.
    pub(super) usage: bool,
    /// The stream ends with `[DONE]`.
    pub(super) done: bool,
}

/// The header with a request's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyHeader {
    /// `Authorization: Bearer`.
    Bearer,
    /// `x-api-key`.
    ApiKey,
}

/// One protocol: how requests are read, and how each part of a response is written.
pub(crate) trait Protocol: fmt::Debug + Send + Sync {
    /// Prefix of the ids of its responses.
    fn id_prefix(&self) -> &'static str;

    /// What a request asks for. `by_header` says whether a header requests an event stream.
    fn read(&self, body: &[u8], by_header: bool, counter: &Counter) -> Result<Asked, Refusal>;

    /// The same where the request may refer to a response that the server has kept; and what to keep
    /// of this one, but for its own items.
    fn read_after(
        &self,
        body: &[u8],
        by_header: bool,
        counter: &Counter,
        kept: &KeptResponses,
    ) -> Result<(Asked, Option<Past>), Refusal> {
        let _ = kept;
        Ok((self.read(body, by_header, counter)?, None))
    }

    /// A response as later requests of its conversation repeat it.
    fn items(&self, answer: &Answer) -> Vec<Value> {
        let _ = answer;
        Vec::new()
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader::Bearer
    }

    /// Check a request's token on a server whose key is `key`. `now_ms` is the time in milliseconds
    /// since the Unix epoch.
    fn admit(&self, key: &str, bearer: Option<&str>, now_ms: u64) -> Result<(), Refusal> {
        let _ = now_ms;
        if bearer == Some(key) {
            return Ok(());
        }
        Err(Refusal::new(
            401,
            match self.key_header() {
                KeyHeader::Bearer => "missing or wrong API key in the Authorization header",
                KeyHeader::ApiKey => "missing or wrong API key in the x-api-key header",
            },
        ))
    }

    /// The body of an error response; `id` is the one that the response would have had.
    fn refusal(&self, refusal: &Refusal, id: &str) -> Vec<u8>;

    /// The complete response as one JSON document, for a non-streaming request.
    fn document(&self, answer: &Answer) -> Vec<u8>;

    // What follows is only for protocols with streams.

    fn parts(&self) -> Parts {
        Parts::default()
    }

    /// The start of every event's payload, if all have the same.
    fn opening(&self, answer: &Answer) -> Vec<u8> {
        let _ = answer;
        Vec::new()
    }

    /// Append an ordinary event without the line ends after it. It may be several events, with line
    /// ends between them.
    fn chunk(&self, page: &mut Page<'_>, out: &mut Vec<u8>, chunk: &Chunk) {
        let _ = (page, out, chunk);
    }

    /// Append the event with only the usage; see [`Parts`].
    fn usage_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        let _ = (page, out);
    }

    /// Append an event with truncated JSON.
    fn broken_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        let _ = (page, out);
    }

    /// Append the event of faults that occur in the middle of a stream. Returns whether `[DONE]`
    /// may follow.
    fn error_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) -> bool {
        let _ = (page, out);
        false
    }

    /// The start of an event whose text never ends.
    fn endless_event(&self) -> &'static [u8] {
        b""
    }
}

/// Everything about one response that its text depends on.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) protocol: &'static dyn Protocol,
    pub(crate) id: String,
    pub(crate) model: String,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    /// Whether choices are messages rather than plain texts.
    pub(crate) messages: bool,
    /// Whether each event repeats all text before it.
    pub(crate) repeats: bool,
    pub(crate) prompt_tokens: u64,
    /// How many of them were in the prefix cache.
    pub(crate) cached_tokens: u64,
    pub(crate) choices: u32,
    /// Tokens of each choice.
    pub(crate) tokens: u32,
    /// Whether the response ends because of its length.
    pub(crate) at_length: bool,
    pub(crate) stream_options: StreamOptions,
    pub(crate) fault: Option<Fault>,
    /// Start position of the text in the vocabulary; differs for each request.
    pub(crate) salt: u64,
    pub(crate) lexicon: Arc<Lexicon>,
    /// Where the first token after the reasoning is: a completion follows its prompt.
    pub(crate) opens: Place,
    /// How many of the first tokens of a message are reasoning, if others are left.
    pub(crate) reasoning: u32,
    /// The function that it calls instead of having text.
    pub(crate) tool: Option<String>,
    pub(crate) output: Output,
}

impl Answer {
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The number of a word in the lexicon, and its place.
    fn choose(&self, choice: u32, at: u32) -> (u64, Place) {
        let number = self
            .salt
            .wrapping_add(u64::from(at) * 7)
            .wrapping_add(u64::from(choice) * 13);
        let place = if at == self.reasoning_tokens() {
            self.opens
        } else {
            Place::Follows
        };
        (number, place)
    }

    pub(super) fn word(&self, choice: u32, at: u32) -> &str {
        let (number, place) = self.choose(choice, at);
        // Each event must have a multi-byte character to split.
        if self.has(Fault::SplitUtf8) {
            WORDS[32 + usize::try_from(number % 32).expect("below 32")]
        } else {
            self.lexicon.text(number, place)
        }
    }

    /// The tokens of the reply to one prompt.
    pub(crate) fn token_ids(&self, choice: u32) -> impl Iterator<Item = u64> {
        (0..self.emitted_tokens()).map(move |at| {
            let (number, place) = self.choose(choice, at);
            self.lexicon.id(number, place)
        })
    }

    pub(super) fn words(&self, choice: u32, tokens: std::ops::Range<u32>) -> String {
        tokens.map(|at| self.word(choice, at)).collect()
    }

    /// Whether the response consists of pieces of a tool call.
    pub(super) fn calls_tool(&self) -> bool {
        let own = self.tool.is_some() && !self.has(Fault::Refusal) && !self.has(Fault::Empty);
        self.messages && (own || self.has(Fault::ToolCalls))
    }

    /// How many tokens each choice emits before a fault, if any, ends the stream.
    pub(crate) fn emitted_tokens(&self) -> u32 {
        match self.fault {
            Some(
                Fault::Cut
                | Fault::CutChunked
                | Fault::Reset
                | Fault::GarbageChunk
                | Fault::Stall
                | Fault::OversizedEvent
                | Fault::FinishError,
            ) => self.tokens.div_ceil(2),
            Some(Fault::ErrorEvent | Fault::ErrorEventNamed | Fault::ErrorString) => {
                self.tokens.min(3)
            }
            Some(Fault::Empty) => 0,
            _ => self.tokens,
        }
    }

    pub(super) fn finish_reason(&self) -> &'static str {
        if self.has(Fault::FinishError) {
            "error"
        } else if self.calls_tool() {
            "tool_calls"
        } else if self.at_length && !self.has(Fault::Empty) {
            "length"
        } else {
            "stop"
        }
    }

    /// How many of the first tokens of each choice are reasoning.
    pub(super) fn reasoning_tokens(&self) -> u32 {
        match self.fault {
            Some(Fault::Reasoning | Fault::ReasoningContent | Fault::ReasoningDetails)
                if self.messages =>
            {
                self.tokens.div_ceil(3)
            }
            _ if self.messages => self.reasoning.min(self.tokens.saturating_sub(1)),
            _ => 0,
        }
    }

    pub(crate) fn completion_tokens(&self) -> u64 {
        u64::from(self.emitted_tokens()) * u64::from(self.choices)
    }

    /// The usage in OpenAI's format, which others have adopted.
    pub(super) fn usage(&self, completion_tokens: u64) -> Value {
        if self.has(Fault::PartialUsage) {
            return json!({"prompt_tokens": self.prompt_tokens});
        }
        json!({
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        })
    }

    /// Unique among all calls of the server.
    pub(super) fn tool_call_id(&self, choice: u32) -> String {
        format!("call_{:016x}{choice:08x}", self.salt)
    }

    pub(super) fn tool_name(&self) -> &str {
        self.tool.as_deref().unwrap_or(TOOL)
    }

    /// The complete tool call.
    pub(super) fn tool_call(&self, choice: u32, text: &str) -> Value {
        json!({
            "id": self.tool_call_id(choice),
            "type": "function",
            "function": {
                "name": self.tool_name(),
                "arguments": json!({"text": text}).to_string(),
            },
        })
    }
}

/// The function that is called if the request offers none.
pub(crate) const TOOL: &str = "look_up";

/// The content of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delta {
    Role,
    Tokens { at: u32, count: u32 },
    Nothing,
}

/// One event of one choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(super) choice: u32,
    pub(super) delta: Delta,
    /// Whether it carries the choice's finish reason.
    pub(super) finish: bool,
    /// Whether it is the last event with a choice.
    pub(super) last: bool,
}

/// The state of a stream that protocols write from.
#[derive(Debug, Clone)]
pub(crate) struct Page<'a> {
    pub(super) answer: &'a Answer,
    /// The start of every payload.
    pub(super) opening: Vec<u8>,
    pub(super) end_of_line: &'static str,
    /// Two line ends.
    pub(super) blank_line: &'static str,
    /// Number of events with a payload so far.
    pub(super) events: u64,
    /// Number of tokens of all choices so far.
    pub(super) completion_tokens: u64,
    pub(super) emitted_tokens: u32,
}

impl Page<'_> {
    /// Everything in an event before its payload, for protocols without other lines.
    pub(super) fn before_payload(&mut self, out: &mut Vec<u8>) {
        let line = self.end_of_line;
        match self.answer.fault {
            Some(Fault::Comments) => {
                write!(out, ": ping{line}{line}data: ").expect("writing to a Vec cannot fail");
            }
            Some(Fault::EventIdLines) => {
                write!(out, "event: message{line}id: {}{line}data: ", self.events)
                    .expect("writing to a Vec cannot fail");
            }
            Some(Fault::NoSpace) => out.extend_from_slice(b"data:"),
            _ => out.extend_from_slice(b"data: "),
        }
        self.events += 1;
    }

    pub(super) fn text(&self, out: &mut Vec<u8>, choice: u32, tokens: std::ops::Range<u32>) {
        for token in tokens {
            out.extend_from_slice(self.answer.word(choice, token).as_bytes());
        }
    }

    /// A list with one piece of a tool call. The concatenated pieces of the arguments are the JSON
    /// text of `{"text":"…"}`.
    pub(super) fn tool_piece(&self, out: &mut Vec<u8>, choice: u32, tokens: std::ops::Range<u32>) {
        out.extend_from_slice(b"[{\"index\":0,");
        if tokens.start == self.answer.reasoning_tokens() {
            write!(
                out,
                "\"id\":\"{}\",\"type\":\"function\",\"function\":{{\"name\":{},\
                 \"arguments\":\"",
                self.answer.tool_call_id(choice),
                Value::from(self.answer.tool_name())
            )
            .expect("writing to a Vec cannot fail");
        } else {
            out.extend_from_slice(b"\"function\":{\"arguments\":\"");
        }
        self.arguments(out, choice, tokens);
        out.extend_from_slice(b"\"}}]");
    }

    /// A piece of the arguments of a tool call, escaped for a JSON string.
    pub(super) fn arguments(&self, out: &mut Vec<u8>, choice: u32, tokens: std::ops::Range<u32>) {
        if tokens.start == self.answer.reasoning_tokens() {
            out.extend_from_slice(b"{\\\"text\\\":\\\"");
        }
        let ends = tokens.end == self.emitted_tokens;
        self.text(out, choice, tokens);
        if ends {
            out.extend_from_slice(b"\\\"}");
        }
    }

    /// Everything in an event before its payload, for protocols whose events have names.
    pub(super) fn named_event(&mut self, out: &mut Vec<u8>, name: &str) {
        let line = self.end_of_line;
        if self.answer.has(Fault::Comments) {
            write!(out, ": ping{line}{line}").expect("writing to a Vec cannot fail");
        }
        if self.answer.has(Fault::UnknownEvents) {
            let blank = self.blank_line;
            write!(
                out,
                "event: sim.unknown{line}data: {{\"type\":\"sim.unknown\",\"delta\":\"?\"}}{blank}"
            )
            .expect("writing to a Vec cannot fail");
        }
        write!(out, "event: {name}{line}").expect("writing to a Vec cannot fail");
        if self.answer.has(Fault::EventIdLines) {
            write!(out, "id: {}{line}", self.events).expect("writing to a Vec cannot fail");
        }
        let data = if self.answer.has(Fault::NoSpace) {
            "data:"
        } else {
            "data: "
        };
        out.extend_from_slice(data.as_bytes());
        self.events += 1;
    }
}

/// Most numbers here have one digit, and formatting one takes longer than everything else.
pub(super) fn number(out: &mut Vec<u8>, number: u32) {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => out.push(b'0' + digit),
        _ => write!(out, "{number}").expect("writing to a Vec cannot fail"),
    }
}
