//! Owns the JSON and the event-stream text of the simulated interface: what a request asks for and
//! how each part of an answer is written down, with every oddity that is a matter of text.
//!
//! Must not know about sockets, chunked framing or time. It shares no types with any client: a
//! misreading on one side must not be cancelled out by the same misreading on the other.

use std::io::Write;

use serde_json::{Value, json};

use crate::fault::Fault;

/// Which of the two generating endpoints a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
}

/// Longest answer of one choice, in tokens: the simulated context window.
const CONTEXT_TOKENS: u64 = 1 << 20;

/// Most choices of one answer.
const MOST_CHOICES: u64 = 128;

/// The `stream_options` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
    /// vLLM's `continuous_usage_stats`.
    pub(crate) usage_in_each: bool,
}

/// What a request asks for; all else in it is ignored, as a real server ignores most of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) endpoint: Endpoint,
    pub(crate) model: Option<String>,
    pub(crate) stream: bool,
    pub(crate) stream_options: Option<StreamOptions>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) choices: u32,
    pub(crate) prompt_tokens: u64,
}

/// A request that is answered with an error status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Refusal {
            status,
            message: message.into(),
            param: None,
        }
    }

    fn of(param: &'static str, message: String) -> Self {
        Refusal {
            status: 400,
            message,
            param: Some(param),
        }
    }

    /// The OpenAI-style body.
    pub(crate) fn body(&self) -> Vec<u8> {
        json!({"error": {
            "message": self.message,
            "type": error_type(self.status),
            "param": self.param,
            "code": self.status,
        }})
        .to_string()
        .into_bytes()
    }
}

fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

impl Request {
    pub(crate) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Self, Refusal> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Refusal::new(400, format!("request body is not JSON: {error}")))?;
        let Value::Object(body) = body else {
            return Err(Refusal::new(400, "request body is not a JSON object"));
        };
        // An explicit null means the same as a missing field.
        let field = |name: &str| body.get(name).filter(|value| !value.is_null());
        let flag = |value: Option<&Value>, name: &'static str| match value {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(got) => Err(Refusal::of(
                name,
                format!("{name} must be a boolean, got {got}"),
            )),
        };
        let count = |name: &'static str, highest: u64| match field(name) {
            None => Ok(None),
            Some(got) => got
                .as_u64()
                .filter(|number| (1..=highest).contains(number))
                .and_then(|number| u32::try_from(number).ok())
                .map(Some)
                .ok_or_else(|| {
                    Refusal::of(
                        name,
                        format!("{name} must be from 1 to {highest}, got {got}"),
                    )
                }),
        };

        let (prompt_tokens, prompts) = match endpoint {
            Endpoint::Chat => (chat_tokens(field("messages"))?, 1),
            Endpoint::Completions => prompt_tokens(field("prompt"))?,
        };
        let model = match field("model") {
            None => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(got) => {
                return Err(Refusal::of(
                    "model",
                    format!("model must be a string, got {got}"),
                ));
            }
        };
        let stream_options = match field("stream_options") {
            None => None,
            Some(Value::Object(options)) => Some(options),
            Some(got) => {
                return Err(Refusal::of(
                    "stream_options",
                    format!("stream_options must be an object, got {got}"),
                ));
            }
        };
        let option = |options: &serde_json::Map<String, Value>, name| {
            flag(options.get(name).filter(|value| !value.is_null()), name)
        };
        let stream_options = stream_options
            .map(|options| {
                Ok::<_, Refusal>(StreamOptions {
                    include_usage: option(options, "include_usage")?,
                    usage_in_each: option(options, "continuous_usage_stats")?,
                })
            })
            .transpose()?;
        let max_tokens = match endpoint {
            Endpoint::Chat => match count("max_completion_tokens", CONTEXT_TOKENS)? {
                Some(limit) => Some(limit),
                None => count("max_tokens", CONTEXT_TOKENS)?,
            },
            Endpoint::Completions => count("max_tokens", CONTEXT_TOKENS)?,
        };
        let choices = u64::from(count("n", MOST_CHOICES)?.unwrap_or(1)) * prompts;
        let choices = u32::try_from(choices)
            .ok()
            .filter(|choices| u64::from(*choices) <= MOST_CHOICES)
            .ok_or_else(|| {
                Refusal::of(
                    "n",
                    format!("prompts times n must be at most {MOST_CHOICES}, got {choices}"),
                )
            })?;
        let stream = flag(field("stream"), "stream")?;
        if stream_options.is_some() && !stream {
            return Err(Refusal::of(
                "stream_options",
                "stream_options is only allowed when stream is true".to_owned(),
            ));
        }
        Ok(Request {
            endpoint,
            model,
            stream,
            stream_options,
            max_tokens,
            choices,
            prompt_tokens,
        })
    }
}

/// Four characters a token, and at least one token.
fn text_tokens(chars: usize) -> u64 {
    (chars as u64).div_ceil(4).max(1)
}

fn chat_tokens(messages: Option<&Value>) -> Result<u64, Refusal> {
    let refused = |got: &str| {
        Refusal::of(
            "messages",
            format!("messages must be a non-empty list of messages, got {got}"),
        )
    };
    let Some(Value::Array(messages)) = messages else {
        return Err(refused("none"));
    };
    if messages.is_empty() {
        return Err(refused("an empty list"));
    }
    let mut chars = 0;
    for message in messages {
        let Value::Object(message) = message else {
            return Err(refused(&message.to_string()));
        };
        if !message.get("role").is_some_and(Value::is_string) {
            return Err(refused("a message without a role"));
        }
        chars += match message.get("content") {
            None | Some(Value::Null) => 0,
            Some(Value::String(text)) => text.chars().count(),
            // Images and the like cost nothing: their size in tokens is any server's own affair.
            Some(Value::Array(parts)) => parts
                .iter()
                .filter_map(|part| part.get("text").and_then(Value::as_str))
                .map(|text| text.chars().count())
                .sum(),
            Some(_) => return Err(refused("a content that is neither text nor parts")),
        };
    }
    Ok(text_tokens(chars))
}

/// The tokens of all prompts, and how many prompts there are.
fn prompt_tokens(prompt: Option<&Value>) -> Result<(u64, u64), Refusal> {
    let refused = || {
        Refusal::of(
            "prompt",
            "prompt must be a text, a list of texts, a list of token ids, or a list of these lists"
                .to_owned(),
        )
    };
    let ids = |list: &[Value]| list.iter().all(Value::is_u64);
    match prompt {
        Some(Value::String(text)) => Ok((text_tokens(text.chars().count()), 1)),
        Some(Value::Array(list)) if !list.is_empty() && ids(list) => Ok((list.len() as u64, 1)),
        Some(Value::Array(list)) if !list.is_empty() => {
            let mut tokens = 0;
            for prompt in list {
                tokens += match prompt {
                    Value::String(text) => text_tokens(text.chars().count()),
                    Value::Array(list) if !list.is_empty() && ids(list) => list.len() as u64,
                    _ => return Err(refused()),
                };
            }
            Ok((tokens, list.len() as u64))
        }
        _ => Err(refused()),
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
    pub(crate) id: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) model: String,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) choices: u32,
    /// Tokens of each choice.
    pub(crate) tokens: u32,
    /// Whether the answer ends for its length.
    pub(crate) at_length: bool,
    pub(crate) include_usage: bool,
    pub(crate) usage_in_each: bool,
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

    fn is_chat(&self) -> bool {
        self.endpoint == Endpoint::Chat
    }

    /// Whether the answer is the pieces of a tool call.
    fn calls_tool(&self) -> bool {
        self.is_chat() && self.has(Fault::ToolCalls)
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

    fn object(&self, streamed: bool) -> &'static str {
        match (self.endpoint, streamed) {
            (Endpoint::Chat, true) => "chat.completion.chunk",
            (Endpoint::Chat, false) => "chat.completion",
            (Endpoint::Completions, _) => "text_completion",
        }
    }

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

    /// llama.cpp's account of its own speed; the durations are made up.
    fn timings(&self, completion_tokens: u64) -> Value {
        json!({
            "prompt_n": self.prompt_tokens,
            "prompt_ms": 10.0,
            "prompt_per_token_ms": 10.0 / self.prompt_tokens as f64,
            "prompt_per_second": self.prompt_tokens as f64 * 100.0,
            "predicted_n": completion_tokens,
            "predicted_ms": 20.0,
            "predicted_per_token_ms": 20.0 / (completion_tokens.max(1)) as f64,
            "predicted_per_second": completion_tokens as f64 * 50.0,
        })
    }

    fn words(&self, choice: u32, tokens: std::ops::Range<u32>) -> String {
        tokens.map(|at| self.word(choice, at)).collect()
    }

    /// How many of the first tokens of each choice are reasoning.
    fn reasoning_tokens(&self) -> u32 {
        match self.fault {
            Some(Fault::Reasoning | Fault::ReasoningContent | Fault::ReasoningDetails)
                if self.is_chat() =>
            {
                self.tokens.div_ceil(3)
            }
            _ => 0,
        }
    }

    /// The whole answer as one JSON document, for a request that asked for no stream.
    pub(crate) fn document(&self) -> Vec<u8> {
        let tokens = self.emitted_tokens();
        let choices: Vec<Value> = (0..self.choices)
            .map(|choice| {
                let finish_reason = self.finish_reason();
                if !self.is_chat() {
                    return json!({
                        "index": choice,
                        "text": self.words(choice, 0..tokens),
                        "logprobs": null,
                        "finish_reason": finish_reason,
                        "stop_reason": null,
                    });
                }
                json!({
                    "index": choice,
                    "message": self.message(choice, tokens),
                    "logprobs": null,
                    "finish_reason": finish_reason,
                    "stop_reason": null,
                })
            })
            .collect();
        let completion_tokens = u64::from(tokens) * u64::from(self.choices);
        let mut document = json!({
            "id": self.id,
            "object": self.object(false),
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        let fields = document
            .as_object_mut()
            .expect("made as an object just above");
        if self.has(Fault::NoObject) {
            fields.shift_remove("object");
        }
        if self.has(Fault::ErrorNull) {
            fields.insert("error".to_owned(), Value::Null);
        }
        if !self.has(Fault::NoUsage) {
            fields.insert("usage".to_owned(), self.usage(completion_tokens));
        }
        if self.has(Fault::Timings) {
            fields.insert("timings".to_owned(), self.timings(completion_tokens));
        }
        document.to_string().into_bytes()
    }

    fn message(&self, choice: u32, tokens: u32) -> Value {
        let reasoning = self.reasoning_tokens().min(tokens);
        let thought = self.words(choice, 0..reasoning);
        let text = self.words(choice, reasoning..tokens);
        match self.fault {
            Some(Fault::Reasoning) => {
                json!({"role": "assistant", "content": text, "reasoning": thought})
            }
            Some(Fault::ReasoningContent) => {
                json!({"role": "assistant", "content": text, "reasoning_content": thought})
            }
            Some(Fault::ReasoningDetails) => json!({
                "role": "assistant",
                "content": text,
                "reasoning_details": [{"type": "reasoning.text", "text": thought}],
            }),
            Some(Fault::ToolCalls) => json!({
                "role": "assistant",
                "content": null,
                "tool_calls": [{
                    "id": format!("call-{}", self.id),
                    "type": "function",
                    "function": {
                        "name": TOOL,
                        "arguments": json!({"text": text}).to_string(),
                    },
                }],
            }),
            Some(Fault::Refusal) => {
                json!({"role": "assistant", "content": null, "refusal": text})
            }
            _ => json!({"role": "assistant", "content": text}),
        }
    }
}

/// The function that the `tool-calls` oddity calls.
const TOOL: &str = "look_up";

/// What an event, just written by a [`Script`], means for the one who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Comes right before the first token.
    Opening,
    /// Carries tokens.
    Tokens {
        /// How many tokens of its choice it carries.
        count: u32,
        /// Whether it is the first event of a decoding step; the others (of the other choices)
        /// are due at the same time.
        new_step: bool,
    },
    /// Comes right after the last token.
    Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Prelude,
    Role(u32),
    Tokens { at: u32, choice: u32 },
    Finish(u32),
    Usage,
    Error,
    Done,
    End,
}

/// The event stream of an [`Answer`], one event at a time.
#[derive(Debug, Clone)]
pub(crate) struct Script<'a> {
    answer: &'a Answer,
    /// A chunk's text up to and with `"choices":[`, the same for all of them.
    opening: Vec<u8>,
    end_of_line: &'static str,
    tokens_per_event: u32,
    emitted_tokens: u32,
    /// Where the broken event comes, until it came.
    broken_at: Option<u32>,
    phase: Phase,
    events: u64,
    completion_tokens: u64,
}

enum Delta {
    Role,
    Tokens { at: u32, count: u32 },
    Nothing,
}

impl<'a> Script<'a> {
    pub(crate) fn new(answer: &'a Answer) -> Self {
        let mut opening = Vec::with_capacity(160 + answer.model.len());
        let object = if answer.has(Fault::NoObject) {
            String::new()
        } else {
            format!("\"object\":\"{}\",", answer.object(true))
        };
        let error = if answer.has(Fault::ErrorNull) {
            "\"error\":null,"
        } else {
            ""
        };
        let model = Value::String(answer.model.clone());
        write!(
            opening,
            "{{\"id\":\"{}\",{object}\"created\":{},\"model\":{model},{error}\"choices\":[",
            answer.id, answer.created
        )
        .expect("a Vec takes all");
        Script {
            answer,
            opening,
            end_of_line: match answer.fault {
                // Split writes are to split this pair as well.
                Some(Fault::Crlf | Fault::SplitUtf8) => "\r\n",
                Some(Fault::Cr) => "\r",
                _ => "\n",
            },
            tokens_per_event: if answer.has(Fault::MultiToken) { 3 } else { 1 },
            emitted_tokens: answer.emitted_tokens(),
            broken_at: answer.has(Fault::BrokenJson).then_some(answer.tokens / 2),
            phase: Phase::Prelude,
            events: 0,
            completion_tokens: 0,
        }
    }

    /// Length of the whole stream in bytes.
    pub(crate) fn length(&self) -> usize {
        let mut rest = self.clone();
        let mut buffer = Vec::new();
        let mut length = 0;
        while rest.write_next(&mut buffer).is_some() {
            length += buffer.len();
            buffer.clear();
        }
        length
    }

    /// Appends the next event to `out`; `None` at the end of the stream.
    pub(crate) fn write_next(&mut self, out: &mut Vec<u8>) -> Option<Beat> {
        loop {
            match self.phase {
                Phase::Prelude => {
                    self.phase = if self.answer.is_chat() {
                        Phase::Role(0)
                    } else {
                        self.tokens_from(0)
                    };
                    if self.answer.has(Fault::RetryLine) {
                        out.extend_from_slice(b"retry: 3000");
                        self.blank_line(out);
                        return Some(Beat::Opening);
                    }
                }
                Phase::Role(choice) => {
                    self.phase = if choice + 1 < self.answer.choices {
                        Phase::Role(choice + 1)
                    } else {
                        self.tokens_from(0)
                    };
                    self.chunk(out, choice, &Delta::Role, false);
                    return Some(Beat::Opening);
                }
                Phase::Tokens { at, choice } => return Some(self.token_event(out, at, choice)),
                Phase::Finish(choice) => {
                    self.phase = if choice + 1 < self.answer.choices {
                        Phase::Finish(choice + 1)
                    } else {
                        Phase::Usage
                    };
                    self.chunk(out, choice, &Delta::Nothing, true);
                    return Some(Beat::Closing);
                }
                Phase::Usage => {
                    self.phase = Phase::Done;
                    let unwanted =
                        self.answer.has(Fault::NoUsage) || self.answer.has(Fault::UsageWithChoices);
                    if self.answer.include_usage && !unwanted {
                        self.usage_chunk(out);
                        return Some(Beat::Closing);
                    }
                }
                Phase::Error => {
                    self.error_event(out);
                    return Some(Beat::Closing);
                }
                Phase::Done => {
                    self.phase = Phase::End;
                    if !self.answer.has(Fault::NoDone) {
                        self.before_payload(out);
                        out.extend_from_slice(b"[DONE]");
                        if self.answer.has(Fault::NoBlankEnd) {
                            out.extend_from_slice(self.end_of_line.as_bytes());
                        } else {
                            self.blank_line(out);
                        }
                        return Some(Beat::Closing);
                    }
                }
                Phase::End => return None,
            }
        }
    }

    /// The phase in which token number `at` and all after it remain.
    fn tokens_from(&self, at: u32) -> Phase {
        if at < self.emitted_tokens {
            return Phase::Tokens { at, choice: 0 };
        }
        match self.answer.fault {
            Some(
                Fault::Cut
                | Fault::CutChunked
                | Fault::Reset
                | Fault::GarbageChunk
                | Fault::Stall
                | Fault::OversizedEvent,
            ) => Phase::End,
            Some(Fault::ErrorEvent | Fault::ErrorEventNamed | Fault::ErrorString) => Phase::Error,
            // The content had it.
            Some(Fault::FinishWithContent) if at > 0 => Phase::Usage,
            _ => Phase::Finish(0),
        }
    }

    fn token_event(&mut self, out: &mut Vec<u8>, at: u32, choice: u32) -> Beat {
        if self.broken_at == Some(at) {
            self.broken_at = None;
            self.before_payload(out);
            out.extend_from_slice(&self.opening);
            out.extend_from_slice(b"{\"index\":0,\"delta\":{\"content\":\" bro");
            self.blank_line(out);
            return if at == 0 {
                Beat::Opening
            } else {
                Beat::Closing
            };
        }
        let count = self.tokens_per_event.min(self.emitted_tokens - at);
        self.phase = if choice + 1 < self.answer.choices {
            Phase::Tokens {
                at,
                choice: choice + 1,
            }
        } else {
            self.tokens_from(at + count)
        };
        self.completion_tokens += u64::from(count);
        let finish = self.answer.has(Fault::FinishWithContent) && at + count == self.emitted_tokens;
        self.chunk(out, choice, &Delta::Tokens { at, count }, finish);
        Beat::Tokens {
            count,
            new_step: choice == 0,
        }
    }

    fn blank_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.end_of_line.as_bytes());
        out.extend_from_slice(self.end_of_line.as_bytes());
    }

    /// All of an event that comes before its payload.
    fn before_payload(&mut self, out: &mut Vec<u8>) {
        let line = self.end_of_line;
        match self.answer.fault {
            Some(Fault::Comments) => {
                write!(out, ": ping{line}{line}data: ").expect("a Vec takes all");
            }
            Some(Fault::EventIdLines) => {
                write!(out, "event: message{line}id: {}{line}data: ", self.events)
                    .expect("a Vec takes all");
            }
            Some(Fault::NoSpace) => out.extend_from_slice(b"data:"),
            _ => out.extend_from_slice(b"data: "),
        }
        self.events += 1;
    }

    fn chunk(&mut self, out: &mut Vec<u8>, choice: u32, delta: &Delta, finish: bool) {
        self.before_payload(out);
        out.extend_from_slice(&self.opening);
        out.extend_from_slice(b"{\"index\":");
        number(out, choice);
        if self.answer.is_chat() {
            out.extend_from_slice(b",\"delta\":");
            self.delta(out, choice, delta);
        } else {
            out.extend_from_slice(b",\"text\":\"");
            if let Delta::Tokens { at, count } = *delta {
                self.text(out, choice, at, count);
            }
            out.push(b'"');
        }
        if finish {
            write!(
                out,
                ",\"logprobs\":null,\"finish_reason\":\"{}\",\"stop_reason\":null}}]",
                self.answer.finish_reason()
            )
            .expect("a Vec takes all");
        } else {
            out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":null}]");
        }
        let last = finish && choice + 1 == self.answer.choices;
        let with_usage = match self.answer.fault {
            Some(Fault::NoUsage) => false,
            Some(Fault::UsageEverywhere) => true,
            Some(Fault::UsageWithChoices) => last,
            _ => self.answer.usage_in_each,
        };
        if with_usage {
            let usage = self.answer.usage(self.completion_tokens);
            write!(out, ",\"usage\":{usage}").expect("a Vec takes all");
        }
        if last && self.answer.has(Fault::Timings) {
            let timings = self.answer.timings(self.completion_tokens);
            write!(out, ",\"timings\":{timings}").expect("a Vec takes all");
        }
        out.push(b'}');
        self.blank_line(out);
    }

    fn text(&self, out: &mut Vec<u8>, choice: u32, at: u32, count: u32) {
        for token in at..at + count {
            out.extend_from_slice(self.answer.word(choice, token).as_bytes());
        }
    }

    fn delta(&self, out: &mut Vec<u8>, choice: u32, delta: &Delta) {
        let fault = self.answer.fault;
        let (at, count) = match (delta, fault) {
            (Delta::Role, Some(Fault::ContentNull)) => {
                out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":null}");
                return;
            }
            (Delta::Role, _) => {
                out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\"}");
                return;
            }
            (Delta::Nothing, Some(Fault::DeltaNull)) => {
                out.extend_from_slice(b"null");
                return;
            }
            (Delta::Nothing, Some(Fault::ContentNull)) => {
                out.extend_from_slice(b"{\"content\":null}");
                return;
            }
            (Delta::Nothing, _) => {
                out.extend_from_slice(b"{}");
                return;
            }
            (Delta::Tokens { at, count }, _) => (*at, *count),
        };
        let thinks = at < self.answer.reasoning_tokens();
        let (before, after): (&[u8], &[u8]) = match fault {
            Some(Fault::Reasoning) if thinks => (b"{\"reasoning\":\"", b"\"}"),
            Some(Fault::ReasoningContent) if thinks => (b"{\"reasoning_content\":\"", b"\"}"),
            Some(Fault::ReasoningDetails) if thinks => (
                b"{\"reasoning_details\":[{\"type\":\"reasoning.text\",\"text\":\"",
                b"\"}]}",
            ),
            Some(Fault::Refusal) => (b"{\"refusal\":\"", b"\"}"),
            Some(Fault::ToolCalls) => return self.tool_piece(out, choice, at, count),
            _ => (b"{\"content\":\"", b"\"}"),
        };
        out.extend_from_slice(before);
        self.text(out, choice, at, count);
        out.extend_from_slice(after);
    }

    /// The pieces of the arguments, put together, are the JSON text of `{"text":"…"}`.
    fn tool_piece(&self, out: &mut Vec<u8>, choice: u32, at: u32, count: u32) {
        out.extend_from_slice(b"{\"tool_calls\":[{\"index\":0,");
        if at == 0 {
            write!(
                out,
                "\"id\":\"call-{}\",\"type\":\"function\",\"function\":{{\"name\":\"{TOOL}\",\
                 \"arguments\":\"{{\\\"text\\\":\\\"",
                self.answer.id
            )
            .expect("a Vec takes all");
        } else {
            out.extend_from_slice(b"\"function\":{\"arguments\":\"");
        }
        self.text(out, choice, at, count);
        if at + count == self.emitted_tokens {
            out.extend_from_slice(b"\\\"}");
        }
        out.extend_from_slice(b"\"}}]}");
    }

    fn usage_chunk(&mut self, out: &mut Vec<u8>) {
        self.before_payload(out);
        out.extend_from_slice(&self.opening);
        let usage = self.answer.usage(self.completion_tokens);
        write!(out, "],\"usage\":{usage}}}").expect("a Vec takes all");
        self.blank_line(out);
    }

    fn error_event(&mut self, out: &mut Vec<u8>) {
        let line = self.end_of_line;
        match self.answer.fault {
            Some(Fault::ErrorEvent) => {
                self.phase = Phase::Done;
                out.extend_from_slice(
                    b"data: {\"error\":{\"message\":\"simulated failure while decoding\",\
                      \"type\":\"InternalServerError\",\"param\":null,\"code\":500}}",
                );
            }
            Some(Fault::ErrorEventNamed) => {
                self.phase = Phase::End;
                write!(
                    out,
                    "event: error{line}data: {{\"message\":\"simulated failure while decoding\"}}"
                )
                .expect("a Vec takes all");
            }
            _ => {
                self.phase = Phase::End;
                out.extend_from_slice(b"data: {\"error\":\"simulated failure while decoding\"}");
            }
        }
        self.blank_line(out);
    }
}

/// Most numbers here have one digit, and formatting one takes longer than all the rest.
fn number(out: &mut Vec<u8>, number: u32) {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => out.push(b'0' + digit),
        _ => write!(out, "{number}").expect("a Vec takes all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fault: Option<Fault>) -> Answer {
        Answer {
            id: "chatcmpl-sim-7".to_owned(),
            endpoint: Endpoint::Chat,
            model: "sim".to_owned(),
            created: 5,
            prompt_tokens: 3,
            choices: 1,
            tokens: 2,
            at_length: true,
            include_usage: true,
            usage_in_each: false,
            fault,
            salt: 0,
        }
    }

    fn stream(answer: &Answer) -> String {
        let mut script = Script::new(answer);
        let length = script.length();
        let mut out = Vec::new();
        while script.write_next(&mut out).is_some() {}
        assert_eq!(out.len(), length);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn plain_chat_stream_golden() {
        let head = r#"data: {"id":"chatcmpl-sim-7","object":"chat.completion.chunk","created":5,"model":"sim","choices":["#;
        let expected = format!(
            concat!(
                "{0}{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
                "{0}{{\"index\":0,\"delta\":{{\"content\":\" the\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
                "{0}{{\"index\":0,\"delta\":{{\"content\":\" that\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
                "{0}{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null}}]}}\n\n",
                "{0}],\"usage\":{{\"prompt_tokens\":3,\"total_tokens\":5,\"completion_tokens\":2,\"prompt_tokens_details\":{{\"cached_tokens\":0}}}}}}\n\n",
                "data: [DONE]\n\n"
            ),
            head
        );
        assert_eq!(stream(&answer(None)), expected);
    }

    #[test]
    fn completions_stream_has_text() {
        let answer = Answer {
            endpoint: Endpoint::Completions,
            tokens: 1,
            at_length: false,
            include_usage: false,
            ..answer(None)
        };
        assert_eq!(
            stream(&answer),
            "data: {\"id\":\"chatcmpl-sim-7\",\"object\":\"text_completion\",\"created\":5,\
             \"model\":\"sim\",\"choices\":[{\"index\":0,\"text\":\" the\",\"logprobs\":null,\
             \"finish_reason\":null}]}\n\n\
             data: {\"id\":\"chatcmpl-sim-7\",\"object\":\"text_completion\",\"created\":5,\
             \"model\":\"sim\",\"choices\":[{\"index\":0,\"text\":\"\",\"logprobs\":null,\
             \"finish_reason\":\"stop\",\"stop_reason\":null}]}\n\ndata: [DONE]\n\n"
        );
    }

    /// The payloads of a stream, line ends of any kind.
    fn payloads(stream: &str) -> Vec<Value> {
        stream
            .split(['\r', '\n'])
            .filter_map(|line| line.strip_prefix("data:"))
            .filter(|payload| payload.trim() != "[DONE]")
            .map(|payload| serde_json::from_str(payload).expect("JSON"))
            .collect()
    }

    #[test]
    fn every_oddity_is_still_json() {
        for fault in Fault::ALL
            .iter()
            .filter(|fault| **fault != Fault::BrokenJson)
        {
            for choices in [1, 12] {
                let answer = Answer {
                    choices,
                    tokens: 7,
                    ..answer(Some(*fault))
                };
                payloads(&stream(&answer));
                serde_json::from_slice::<Value>(&answer.document()).expect("JSON");
            }
        }
    }

    #[test]
    fn tool_call_arguments_join_to_json() {
        for tokens in [1, 5] {
            let answer = Answer {
                tokens,
                ..answer(Some(Fault::ToolCalls))
            };
            let arguments: String = payloads(&stream(&answer))
                .iter()
                .filter_map(|chunk| {
                    chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
                })
                .collect();
            let parsed: Value = serde_json::from_str(&arguments).expect("JSON");
            assert_eq!(parsed["text"], answer.words(0, 0..tokens));
        }
    }

    #[test]
    fn choices_are_interleaved() {
        let answer = Answer {
            choices: 2,
            ..answer(None)
        };
        let order: Vec<u64> = payloads(&stream(&answer))
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["index"].as_u64())
            .collect();
        assert_eq!(order, [0, 1, 0, 1, 0, 1, 0, 1]);
    }

    fn parse(endpoint: Endpoint, body: &str) -> Result<Request, Refusal> {
        Request::parse(endpoint, body.as_bytes())
    }

    #[test]
    fn prompt_tokens_are_counted() {
        let chat = |body: &str| parse(Endpoint::Chat, body).expect(body).prompt_tokens;
        assert_eq!(
            chat(r#"{"messages":[{"role":"user","content":"12345"}]}"#),
            2
        );
        assert_eq!(chat(r#"{"messages":[{"role":"user","content":""}]}"#), 1);
        assert_eq!(
            chat(
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"四个字啊"},{"type":"image_url"}]}]}"#
            ),
            1
        );
        let completion = |body: &str| {
            let request = parse(Endpoint::Completions, body).expect(body);
            (request.prompt_tokens, request.choices)
        };
        assert_eq!(completion(r#"{"prompt":"123456789"}"#), (3, 1));
        assert_eq!(completion(r#"{"prompt":[5,6,7],"n":2}"#), (3, 2));
        assert_eq!(completion(r#"{"prompt":["12345","1"],"n":2}"#), (3, 4));
        assert_eq!(completion(r#"{"prompt":[[1,2],[3]]}"#), (3, 2));
    }

    #[test]
    fn bad_requests_name_the_field() {
        let messages = r#""messages":[{"role":"user","content":"x"}]"#;
        for (body, param) in [
            (format!("{{{messages},\"max_tokens\":0}}"), "max_tokens"),
            (format!("{{{messages},\"max_tokens\":-1}}"), "max_tokens"),
            (format!("{{{messages},\"max_tokens\":\"9\"}}"), "max_tokens"),
            (format!("{{{messages},\"n\":0}}"), "n"),
            (format!("{{{messages},\"stream\":1}}"), "stream"),
            (
                format!("{{{messages},\"stream_options\":{{}}}}"),
                "stream_options",
            ),
            ("{\"messages\":[]}".to_owned(), "messages"),
            ("{}".to_owned(), "messages"),
        ] {
            let refusal = parse(Endpoint::Chat, &body).expect_err(&body);
            assert_eq!(
                (refusal.status, refusal.param),
                (400, Some(param)),
                "{body}"
            );
        }
        assert_eq!(
            parse(Endpoint::Chat, "{\"a\":").expect_err("cut").status,
            400
        );
    }

    #[test]
    fn null_fields_count_as_missing() {
        let body = r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":null,"n":null,"stream":null,"stream_options":null,"model":null}"#;
        let request = parse(Endpoint::Chat, body).expect("nulls");
        assert_eq!(
            (request.max_tokens, request.choices, request.stream),
            (None, 1, false)
        );
    }
}
