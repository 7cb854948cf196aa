//! Owns a conversation as it is sent: a body that only grows at its end, with a tail of its own for each
//! turn.
//!
//! It must not know when a turn is due, nor how a body reaches the server.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Map, Value};

use super::api::Items;
use super::reply::{Reply, append_json};
use evalscope_model::conversation::History;

/// What a conversation is besides the body of its current turn.
#[derive(Clone, Debug, Default)]
pub struct Conversing {
    /// What stands for the responses.
    pub history: History,
    /// Its name in the dataset.
    pub session: Option<String>,
    /// A header of responses that every request after them sends back.
    pub token_header: Option<String>,
    /// Turns that it has, the first one included.
    pub turns_planned: u32,
    /// It had more turns than it may have.
    pub is_cut: bool,
    /// The turns to come.
    pub turns: VecDeque<PreparedTurn>,
    /// What the server has responded to the current turn.
    pub reply: Reply,
    /// Empty responses in the history.
    pub empty_replies: u32,
    /// Tool results without a call, and calls without a result.
    pub tools_unmatched: u32,
    /// What makes the API's messages.
    pub(super) items: Option<Items>,
    /// Bytes of the body before its first message.
    pub(super) opening: usize,
    /// Where the messages of the current turn begin in the body.
    pub(super) turn_from: usize,
}

/// A turn that is ready but for the response before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreparedTurn {
    /// The recorded response to the turn before, as JSON.
    pub recorded_reply: Option<Vec<u8>>,
    /// Its messages.
    pub messages: Vec<NewMessage>,
    /// What follows the list of messages in the body.
    pub tail: Vec<u8>,
    /// How long to wait before it.
    pub delay: Duration,
    /// Tokens that it was to add to the prompt.
    pub asked_increment: Option<u64>,
    /// The most tokens to generate.
    pub max_tokens: Option<u64>,
}

/// A message of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewMessage {
    /// As JSON.
    Fixed(Vec<u8>),
    /// The result of a tool: its content as JSON, for the call that the server makes.
    ToolResult(Vec<u8>),
}

impl NewMessage {
    /// A message of a dataset. Results of tools belong to the calls of real responses only.
    pub(super) fn new(message: &Value, history: History) -> Self {
        let mut json = Vec::new();
        if history.needs_reply() && message.get("role").and_then(Value::as_str) == Some("tool") {
            append_json(message.get("content").unwrap_or(&Value::Null), &mut json);
            return Self::ToolResult(json);
        }
        append_json(message, &mut json);
        Self::Fixed(json)
    }

    fn len(&self) -> usize {
        match self {
            Self::Fixed(json) | Self::ToolResult(json) => json.len(),
        }
    }
}

impl PreparedTurn {
    /// Its bytes.
    pub(super) fn bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(NewMessage::len).sum();
        messages + self.tail.len() + self.recorded_reply.as_ref().map_or(0, Vec::len)
    }
}

impl PreparedTurn {
    /// Tokens of its prompt and its output together, at most: those of the turn before where the server
    /// has counted them, otherwise one for three bytes of the body so far.
    #[must_use]
    pub fn context_tokens(&self, before: Option<u64>, body: &[u8]) -> u64 {
        let messages: usize = self.messages.iter().map(NewMessage::len).sum();
        let added = self.asked_increment.unwrap_or((messages / 3) as u64);
        let before = before.unwrap_or((body.len() / 3) as u64);
        before + added + self.max_tokens.unwrap_or(0)
    }
}

/// Whether a server has refused a prompt because it is too long: the words of vLLM, SGLang, TGI,
/// llama.cpp and OpenAI.
#[must_use]
pub fn is_context_limit(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "maximum context length",
        "context_length_exceeded",
        "context length",
        "context size",
        "longer than the model's context",
    ]
    .iter()
    .any(|words| message.contains(words))
}

impl Conversing {
    /// Append the response and the messages of the next turn to a body. Returns the turn; `None`: there
    /// are no more.
    pub(super) fn grow(&mut self, body: &mut Vec<u8>) -> Option<PreparedTurn> {
        let mut turn = self.turns.pop_front()?;
        let reply = std::mem::take(&mut self.reply);
        if self.history == History::KeptByServer {
            body.truncate(self.opening);
            turn.tail = referring_to(reply.id.as_deref(), &turn.tail);
        }
        // it doubles, so that a long history is hardly ever moved; what is not written to yet takes no
        // memory
        body.reserve(turn.bytes() + 256 + 2 * reply.bytes());
        self.turn_from = body.len();
        match self.items {
            None => self.append_turn(&mut turn, &reply, body),
            Some(items) => {
                let mut messages = Vec::new();
                self.append_turn(&mut turn, &reply, &mut messages);
                append_items(items, messages, body);
            }
        }
        if self.turn_from == self.opening && body.len() > self.opening {
            // there is no message before it
            body.remove(self.opening);
        }
        Some(turn)
    }

    /// Append the response to the turn before and the messages of this one, each behind a comma.
    fn append_turn(&mut self, turn: &mut PreparedTurn, reply: &Reply, body: &mut Vec<u8>) {
        match self.history {
            History::None | History::KeptByServer => {}
            History::Real | History::RealWithReasoning => {
                body.push(b',');
                self.empty_replies += u32::from(reply.is_empty());
                reply.append_to(self.history, body);
            }
            History::Recorded => {
                if let Some(recorded) = turn.recorded_reply.take() {
                    body.push(b',');
                    body.extend_from_slice(&recorded);
                }
            }
        }
        self.append(turn, reply, body);
    }

    fn append(&mut self, turn: &PreparedTurn, reply: &Reply, body: &mut Vec<u8>) {
        let mut calls = reply.calls.iter();
        let mut left = Vec::new();
        for message in &turn.messages {
            let NewMessage::ToolResult(content) = message else {
                continue;
            };
            match calls.next() {
                Some(call) => append_result(&call.id, content, body),
                None => left.push(content),
            }
        }
        // servers refuse a history with open calls
        for call in calls {
            self.tools_unmatched += 1;
            append_result(&call.id, br#""""#, body);
        }
        for content in left {
            self.tools_unmatched += 1;
            body.extend_from_slice(br#",{"role":"user","content":"#);
            body.extend_from_slice(content);
            body.push(b'}');
        }
        for message in &turn.messages {
            if let NewMessage::Fixed(json) = message {
                body.push(b',');
                body.extend_from_slice(json);
            }
        }
    }

    /// What is stored of the current turn: of the first one the whole body, of a later one the
    /// same with its own messages only.
    pub(super) fn recorded(&self, body: &[u8], tail: &[u8]) -> Vec<u8> {
        let (opening, mut own) = (&body[..self.opening], &body[self.turn_from..]);
        if self.turn_from > self.opening {
            // the comma behind the messages before; a turn may add nothing
            own = own.get(1..).unwrap_or_default();
        }
        [opening, own, tail].concat()
    }
}

fn append_result(id: &str, content: &[u8], body: &mut Vec<u8>) {
    body.extend_from_slice(br#",{"role":"tool","tool_call_id":"#);
    append_json(id, body);
    body.extend_from_slice(br#","content":"#);
    body.extend_from_slice(content);
    body.push(b'}');
}

/// The tail of a body with the id of the response before it. A response without an id has left
/// nothing to refer to: the server will say so.
fn referring_to(id: Option<&str>, tail: &[u8]) -> Vec<u8> {
    let end = tail.strip_suffix(b"}").unwrap_or(tail);
    let mut with_id = [end, br#","previous_response_id":"#].concat();
    append_json(id.unwrap_or_default(), &mut with_id);
    with_id.push(b'}');
    with_id
}

/// Append messages, each behind a comma, as the API has them.
fn append_items(items: Items, mut messages: Vec<u8>, body: &mut Vec<u8>) {
    let Some(first) = messages.first_mut() else {
        return;
    };
    *first = b'[';
    messages.push(b']');
    let messages: Vec<Value> = serde_json::from_slice(&messages).expect("messages are JSON");
    for item in items(messages) {
        body.push(b',');
        append_json(&item, body);
    }
}

/// Stands for the messages while a body is made.
const MARK: &str = "\u{1}messages\u{1}";

/// The mark in JSON, where messages go.
const MARKED: &[u8] = br#""\u0001messages\u0001""#;

/// Take the messages out of the fields of a body; a mark is left in their place.
pub(super) fn take_messages(fields: &mut Map<String, Value>) -> Vec<Value> {
    let mark = Value::Array(vec![MARK.into()]);
    match fields.insert("messages".to_owned(), mark) {
        Some(Value::Array(messages)) => messages,
        Some(_) | None => Vec::new(),
    }
}

/// The bytes of a body before and behind its messages, which are moved to the front. `None`: the API has
/// no list of messages.
pub(super) fn around_messages(mut body: Map<String, Value>) -> Option<(Vec<u8>, Vec<u8>)> {
    let key = body.iter().find(|(_, value)| is_marked(value))?.0.clone();
    let marked = body.shift_remove(&key)?;
    let mut ordered = Map::with_capacity(body.len() + 1);
    ordered.insert(key, marked);
    ordered.extend(body);
    let json = serde_json::to_vec(&ordered).expect("a JSON value can be serialised");
    let at = memchr::memmem::find(&json, MARKED)?;
    Some((json[..at].to_vec(), json[at + MARKED.len()..].to_vec()))
}

fn is_marked(value: &Value) -> bool {
    match value {
        Value::String(text) => text == MARK,
        Value::Array(items) => items.iter().any(is_marked),
        Value::Object(fields) => fields.values().any(is_marked),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
