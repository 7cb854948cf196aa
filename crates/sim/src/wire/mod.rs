//! Owns the JSON and the event-stream text of the simulated interfaces: what a request asks for and
//! how each part of a response is written, with every oddity that affects text.
//!
//! It must not know about sockets, chunked framing or time. It shares no types with any client: a
//! mistake on one side must not be cancelled out by the same mistake on the other.
//!
//! Each protocol is one implementation of [`Protocol`]. What they have in common is here and in
//! `ask` (reading requests) and `script` (the order of a stream's events).

mod ask;
pub(crate) mod dashscope;
pub(crate) mod openai;
mod script;
pub(crate) mod tokenize;
pub(crate) mod zhipu;

use std::fmt;

use serde_json::{Value, json};

pub(crate) use ask::{Asked, StreamOptions};
pub(crate) use script::{Beat, Script};
use script::{Chunk, Page};

use crate::fault::Fault;
use crate::tokens::Counter;

/// The simulated context window, in tokens; also the maximum output of one choice.
pub(crate) const CONTEXT_TOKENS: u64 = 1 << 20;

/// The message of a failure during generation, in all protocols.
const DECODING_FAILED: &str = "simulated failure while decoding";

/// A request that gets an error status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
    /// The protocol's own code, if the status does not imply it.
    pub(crate) code: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Refusal {
            status,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    pub(crate) fn of(param: &'static str, message: impl Into<String>) -> Self {
        Refusal {
            param: Some(param),
            ..Refusal::new(400, message)
        }
    }
}

/// How a protocol's event stream is structured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Each choice starts with an event that has the role and no text.
    roles: bool,
    /// The usage has its own event, if requested.
    usage: bool,
    /// The stream ends with `[DONE]`.
    done: bool,
}

/// One protocol: how requests are read, and how each part of a response is written.
pub(crate) trait Protocol: fmt::Debug + Send + Sync {
    /// Prefix of the ids of its responses.
    fn id_prefix(&self) -> &'static str;

    /// What a request asks for. `by_header` says whether a header requests an event stream.
    fn read(&self, body: &[u8], by_header: bool, counter: &Counter) -> Result<Asked, Refusal>;

    /// Check a request's token on a server whose key is `key`. `now_ms` is the time in milliseconds
    /// since the Unix epoch.
    fn admit(&self, key: &str, bearer: Option<&str>, now_ms: u64) -> Result<(), Refusal> {
        let _ = now_ms;
        if bearer == Some(key) {
            return Ok(());
        }
        let message = "missing or wrong API key in the Authorization header";
        Err(Refusal::new(401, message))
    }

    /// The body of an error response; `id` is the one that the response would have had.
    fn refusal(&self, refusal: &Refusal, id: &str) -> Vec<u8>;

    /// The complete response as one JSON document, for a non-streaming request.
    fn document(&self, answer: &Answer) -> Vec<u8>;

    fn parts(&self) -> Parts;

    /// The start of every event's payload.
    fn opening(&self, answer: &Answer) -> Vec<u8>;

    /// Append an ordinary event without the line ends after it.
    fn chunk(&self, page: &mut Page<'_>, out: &mut Vec<u8>, chunk: &Chunk);

    /// Append the event with only the usage; see [`Parts`].
    fn usage_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        let _ = (page, out);
    }

    /// Append an event with truncated JSON.
    fn broken_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>);

    /// Append the event of faults that occur in the middle of a stream. Returns whether `[DONE]`
    /// may follow.
    fn error_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) -> bool;

    /// The start of an event whose text never ends.
    fn endless_event(&self) -> &'static [u8];
}

/// The protocol of a path, for errors that occur before the path has been checked.
pub(crate) fn protocol_of(path: &str) -> &'static dyn Protocol {
    if path.starts_with("/api/v1/services/") {
        &dashscope::TEXT
    } else if path.starts_with("/api/paas/") {
        &zhipu::Zhipu
    } else {
        &openai::CHAT
    }
}

/// The words of every response. None needs escaping in JSON; half of them are multi-byte. The two
/// halves have the same size, a power of two.
const WORDS: [&str; 64] = [
    " the", " of", " and", " to", " a", " in", " is", " that", " it", " was", " for", " on",
    " with", " as", " be", " at", " by", " model", " server", " token", " time", " latency",
    " queue", " batch", " cache", " first", " last", " each", " over", " long", ".", ",", "的",
    "是", "在", "了", "有", "和", "人", "这", "中", "大", "为", "上", "个", "国", "我", "以", "要",
    "他", "时间", "模型", "服务", "延迟", "首个", "词元", "队列", "批次", "缓存", "测试", "。",
    "，", "🙂", "…",
];

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
    pub(crate) choices: u32,
    /// Tokens of each choice.
    pub(crate) tokens: u32,
    /// Whether the response ends because of its length.
    pub(crate) at_length: bool,
    pub(crate) stream_options: StreamOptions,
    pub(crate) fault: Option<Fault>,
    /// Start position of the text in the vocabulary.
    pub(crate) salt: u64,
}

impl Answer {
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn word(&self, choice: u32, at: u32) -> &'static str {
        let hashed = self
            .salt
            .wrapping_add(u64::from(at) * 7)
            .wrapping_add(u64::from(choice) * 13)
            % 64;
        let index = usize::try_from(hashed).expect("below 64");
        // Each event must have a multi-byte character to split.
        if self.has(Fault::SplitUtf8) {
            WORDS[32 + index % 32]
        } else {
            WORDS[index]
        }
    }

    fn words(&self, choice: u32, tokens: std::ops::Range<u32>) -> String {
        tokens.map(|at| self.word(choice, at)).collect()
    }

    /// Whether the response consists of pieces of a tool call.
    fn calls_tool(&self) -> bool {
        self.messages && self.has(Fault::ToolCalls)
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

    fn finish_reason(&self) -> &'static str {
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
    fn reasoning_tokens(&self) -> u32 {
        match self.fault {
            Some(Fault::Reasoning | Fault::ReasoningContent | Fault::ReasoningDetails)
                if self.messages =>
            {
                self.tokens.div_ceil(3)
            }
            _ => 0,
        }
    }

    fn completion_tokens(&self) -> u64 {
        u64::from(self.emitted_tokens()) * u64::from(self.choices)
    }

    /// The usage in OpenAI's format, which others have adopted.
    fn usage(&self, completion_tokens: u64) -> Value {
        if self.has(Fault::PartialUsage) {
            return json!({"prompt_tokens": self.prompt_tokens});
        }
        json!({
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        })
    }

    /// The complete tool call of the `tool-calls` oddity.
    fn tool_call(&self, text: &str) -> Value {
        json!({
            "id": format!("call-{}", self.id),
            "type": "function",
            "function": {
                "name": TOOL,
                "arguments": json!({"text": text}).to_string(),
            },
        })
    }
}

/// The function called by the `tool-calls` oddity.
const TOOL: &str = "look_up";

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn answer(protocol: &'static dyn Protocol, fault: Option<Fault>) -> Answer {
        Answer {
            protocol,
            id: "sim-7".to_owned(),
            model: "sim".to_owned(),
            created: 5,
            messages: true,
            repeats: false,
            prompt_tokens: 3,
            choices: 1,
            tokens: 2,
            at_length: true,
            stream_options: StreamOptions {
                include_usage: true,
                usage_in_each: false,
            },
            fault,
            salt: 0,
        }
    }

    pub(super) fn stream(answer: &Answer) -> String {
        let mut script = Script::new(answer);
        let length = script.length();
        let mut out = Vec::new();
        while script.write_next(&mut out).is_some() {}
        assert_eq!(out.len(), length);
        String::from_utf8(out).expect("UTF-8")
    }

    /// The payloads of a stream, with any kind of line ends.
    pub(super) fn payloads(stream: &str) -> Vec<Value> {
        stream
            .split(['\r', '\n'])
            .filter_map(|line| line.strip_prefix("data:"))
            .filter(|payload| payload.trim() != "[DONE]")
            .map(|payload| serde_json::from_str(payload).expect(payload))
            .collect()
    }

    #[test]
    fn every_oddity_is_still_json() {
        let protocols: [&dyn Protocol; 5] = [
            &openai::CHAT,
            &openai::COMPLETIONS,
            &dashscope::TEXT,
            &dashscope::MULTIMODAL,
            &zhipu::Zhipu,
        ];
        for protocol in protocols {
            for fault in Fault::ALL
                .iter()
                .filter(|fault| **fault != Fault::BrokenJson)
            {
                for (choices, messages, repeats) in
                    [(1, true, false), (12, true, true), (2, false, true)]
                {
                    let answer = Answer {
                        choices,
                        messages,
                        repeats,
                        tokens: 7,
                        ..answer(protocol, Some(*fault))
                    };
                    payloads(&stream(&answer));
                    serde_json::from_slice::<Value>(&protocol.document(&answer)).expect("JSON");
                }
            }
        }
    }
}
