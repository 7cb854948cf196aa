//! Owns the response of a turn as the next turn repeats it: text, reasoning and tool calls of the
//! first choice.
//!
//! It must not know the conversation that it becomes part of.

use serde::Deserialize;
use serde_json::json;

use super::text::AnswerText;
use evalscope_model::conversation::History;

/// What the server has said in one response, read while it arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its text. Without structure: tool calls are in [`Self::calls`] where the API has them.
    pub text: AnswerText,
    /// Its tool calls, in their order.
    pub calls: Vec<ToolCall>,
    /// Its id, where the next turn can refer to it.
    pub id: Option<String>,
}

/// A tool call of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// What the tool's result refers to.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments: JSON in a text.
    pub arguments: String,
}

impl Reply {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.content().is_empty()
    }

    fn content(&self) -> &str {
        let first = self.text.choices.first();
        first.map_or("", |choice| &choice.content)
    }

    fn reasoning(&self) -> &str {
        let first = self.text.choices.first();
        first.map_or("", |choice| &choice.reasoning)
    }

    /// Bytes of its texts.
    pub(super) fn bytes(&self) -> usize {
        let calls = self.calls.iter();
        self.content().len()
            + self.reasoning().len()
            + calls.map(|call| call.arguments.len() + 128).sum::<usize>()
    }

    /// Append it to a list of messages, as an assistant message in OpenAI's format.
    pub fn append_to(&self, history: History, messages: &mut Vec<u8>) {
        messages.extend_from_slice(br#"{"role":"assistant","content":"#);
        if self.content().is_empty() && !self.calls.is_empty() {
            messages.extend_from_slice(b"null");
        } else {
            append_json(self.content(), messages);
        }
        if history == History::RealWithReasoning && !self.reasoning().is_empty() {
            messages.extend_from_slice(br#","reasoning_content":"#);
            append_json(self.reasoning(), messages);
        }
        if !self.calls.is_empty() {
            let calls = self.calls.iter().map(|call| {
                json!({
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                })
            });
            messages.extend_from_slice(br#","tool_calls":"#);
            append_json(&calls.collect::<Vec<_>>(), messages);
        }
        messages.push(b'}');
    }
}

/// Append a value as JSON.
pub(super) fn append_json(value: &(impl serde::Serialize + ?Sized), to: &mut Vec<u8>) {
    serde_json::to_writer(to, value).expect("a text can be serialised");
}

/// An event, or a whole response, as far as tool calls are concerned.
#[derive(Deserialize)]
struct CallsEvent {
    #[serde(default)]
    choices: Vec<CallsChoice>,
}

#[derive(Deserialize)]
struct CallsChoice {
    #[serde(default)]
    index: usize,
    #[serde(default)]
    delta: Option<CallsMessage>,
    #[serde(default)]
    message: Option<CallsMessage>,
}

#[derive(Deserialize)]
struct CallsMessage {
    #[serde(default)]
    tool_calls: Option<Vec<CallPart>>,
}

/// A tool call, or a piece of one.
#[derive(Deserialize)]
struct CallPart {
    #[serde(default)]
    index: Option<usize>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<CallFunction>,
}

#[derive(Deserialize)]
struct CallFunction {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

/// No response calls more tools; what is beyond counts as the last.
const MOST_CALLS: usize = 1024;

/// Add the tool calls of the first choice of an event, or of a non-streaming response, in OpenAI's
/// format.
pub(super) fn read_calls(answer: &[u8], calls: &mut Vec<ToolCall>) {
    let has_any = memchr::memmem::find(answer, b"\"tool_calls\"").is_some();
    let Some(event) = has_any
        .then(|| serde_json::from_slice::<CallsEvent>(answer).ok())
        .flatten()
    else {
        return;
    };
    let first = event.choices.into_iter().filter(|choice| choice.index == 0);
    for message in first
        .flat_map(|choice| [choice.delta, choice.message])
        .flatten()
    {
        for (position, part) in message.tool_calls.into_iter().flatten().enumerate() {
            let at = part.index.unwrap_or(position).min(MOST_CALLS);
            if calls.len() <= at {
                calls.resize_with(at + 1, ToolCall::default);
            }
            let call = &mut calls[at];
            // the id and the name come once, the arguments in pieces
            if let Some(id) = part.id.filter(|id| !id.is_empty()) {
                call.id = id;
            }
            if let Some(function) = part.function {
                if let Some(name) = function.name.filter(|name| !name.is_empty()) {
                    call.name = name;
                }
                call.arguments += &function.arguments.unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Api, OpenAi};

    fn reply(events: &[&str]) -> Reply {
        let mut reply = Reply::default();
        for event in events {
            OpenAi.read_reply(event.as_bytes(), &mut reply);
        }
        reply
    }

    fn message(reply: &Reply, history: History) -> String {
        let mut messages = Vec::new();
        reply.append_to(history, &mut messages);
        String::from_utf8(messages).unwrap()
    }

    #[test]
    fn reasoning_is_left_out_unless_it_is_wanted() {
        let reply = reply(&[
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"so "}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a \"b\""}},{"index":1,"delta":{"content":"x"}}]}"#,
        ]);
        assert_eq!(
            message(&reply, History::Real),
            r#"{"role":"assistant","content":"a \"b\""}"#
        );
        assert_eq!(
            message(&reply, History::RealWithReasoning),
            r#"{"role":"assistant","content":"a \"b\"","reasoning_content":"so "}"#
        );
    }

    #[test]
    fn tool_calls_come_in_pieces_and_keep_their_ids() {
        let pieces = reply(&[
            r#"{"choices":[{"index":0,"delta":{"content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get","arguments":""}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}}]}"#,
        ]);
        let whole = reply(&[
            r#"{"choices":[{"index":0,"message":{"content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get","arguments":"{\"a\":1}"}}]}}]}"#,
        ]);
        let expected = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get","arguments":"{\"a\":1}"}}]}"#;
        assert_eq!(message(&pieces, History::Real), expected);
        assert_eq!(message(&whole, History::Real), expected);
    }

    #[test]
    fn an_empty_reply_is_an_empty_text() {
        let empty = Reply::default();
        assert!(empty.is_empty());
        assert_eq!(
            message(&empty, History::Real),
            r#"{"role":"assistant","content":""}"#
        );
    }
}
