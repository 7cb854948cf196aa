//! Owns the JSON and the event-stream text of the simulated interfaces: what a request asks for and
//! how each part of an answer is written down, with every oddity that is a matter of text.
//!
//! Must not know about sockets, chunked framing or time. It shares no types with any client: a
//! misreading on one side must not be cancelled out by the same misreading on the other.
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

/// The simulated context window, in tokens: also the longest answer of one choice.
pub(crate) const CONTEXT_TOKENS: u64 = 1 << 20;

/// What a generating failure says, in all protocols.
const DECODING_FAILED: &str = "simulated failure while decoding";

/// A request that is answered with an error status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
    /// The protocol's own code, where the status does not say it.
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

/// How a protocol's event stream is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Each choice begins with an event that has the role and no text.
    roles: bool,
    /// The usage has an event of its own, if it was asked for.
    usage: bool,
    /// The stream ends with `[DONE]`.
    done: bool,
}

/// One protocol: how a request is read, and how each part of an answer is written.
pub(crate) trait Protocol: fmt::Debug + Send + Sync {
    /// What the ids of its answers begin with.
    fn id_prefix(&self) -> &'static str;

    /// What a request asks for. `by_header` says whether a header asks for an event stream.
    fn read(&self, body: &[u8], by_header: bool, counter: &Counter) -> Result<Asked, Refusal>;

    /// Whether the token of a request opens a server whose key is `key`. `now_ms` is the time in
    /// milliseconds since the Unix epoch.
    fn admit(&self, key: &str, bearer: Option<&str>, now_ms: u64) -> Result<(), Refusal> {
        let _ = now_ms;
        if bearer == Some(key) {
            return Ok(());
        }
        let message = "missing or wrong API key in the Authorization header";
        Err(Refusal::new(401, message))
    }

    /// The body of an error response; `id` is that of the answer there would have been.
    fn refusal(&self, refusal: &Refusal, id: &str) -> Vec<u8>;

    /// The whole answer as one JSON document, for a request that asked for no stream.
    fn document(&self, answer: &Answer) -> Vec<u8>;

    fn parts(&self) -> Parts;

    /// What the payload of every event begins with.
    fn opening(&self, answer: &Answer) -> Vec<u8>;

    /// Appends an ordinary event without the line ends behind it.
    fn chunk(&self, page: &mut Page<'_>, out: &mut Vec<u8>, chunk: &Chunk);

    /// Appends the event that has nothing but the usage; see [`Parts`].
    fn usage_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        let _ = (page, out);
    }

    /// Appends an event whose JSON breaks off.
    fn broken_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>);

    /// Appends the event of the faults that fail in the middle of a stream. Says whether `[DONE]`
    /// may follow.
    fn error_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) -> bool;

    /// How an event begins whose text never ends.
    fn endless_event(&self) -> &'static [u8];
}

/// The protocol of a path, for errors that come before it is known whether there is such a path.
pub(crate) fn protocol_of(path: &str) -> &'static dyn Protocol {
    if path.starts_with("/api/v1/services/") {
        &dashscope::TEXT
    } else if path.starts_with("/api/paas/") {
        &zhipu::Zhipu
    } else {
        &openai::CHAT
    }
}

/// The words of every answer. None needs escaping in JSON; half of them are multi-byte. The two
/// halves have the same size, a power of two.
const WORDS: [&str; 64] = [
    " the", " of", " and", " to", " a", " in", " is", " that", " it", " was", " for", " on",
    " with", " as", " be", " at", " by", " model", " server", " token", " time", " latency",
    " queue", " batch", " cache", " first", " last", " each", " over", " long", ".", ",", "的",
    "是", "在", "了", "有", "和", "人", "这", "中", "大", "为", "上", "个", "国", "我", "以", "要",
    "他", "时间", "模型", "服务", "延迟", "首个", "词元", "队列", "批次", "缓存", "测试", "。",
    "，", "🙂", "…",
];

/// All facts about one answer that its text depends on.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) protocol: &'static dyn Protocol,
    pub(crate) id: String,
    pub(crate) model: String,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    /// Whether choices are messages rather than bare texts.
    pub(crate) messages: bool,
    /// Whether each event repeats all text before it.
    pub(crate) repeats: bool,
    pub(crate) prompt_tokens: u64,
    pub(crate) choices: u32,
    /// Tokens of each choice.
    pub(crate) tokens: u32,
    /// Whether the answer ends for its length.
    pub(crate) at_length: bool,
    pub(crate) stream_options: StreamOptions,
    pub(crate) fault: Option<Fault>,
    /// Where in the vocabulary the text starts.
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
        // There must be a multi-byte character in each event to split.
        if self.has(Fault::SplitUtf8) {
            WORDS[32 + index % 32]
        } else {
            WORDS[index]
        }
    }

    fn words(&self, choice: u32, tokens: std::ops::Range<u32>) -> String {
        tokens.map(|at| self.word(choice, at)).collect()
    }

    /// Whether the answer is the pieces of a tool call.
    fn calls_tool(&self) -> bool {
        self.messages && self.has(Fault::ToolCalls)
    }

    /// How many tokens each choice emits before the fault, if any, ends the stream.
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

    /// The usage in the form of OpenAI, which others took over.
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

    /// The tool call of the `tool-calls` oddity, whole.
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

/// The function that the `tool-calls` oddity calls.
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

    /// The payloads of a stream, line ends of any kind.
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
