//! Owns the text of a response in the format of the Messages API: for a tokenizer to count, and for
//! the next turn of a conversation to repeat.
//!
//! It must not know when an event came.

use serde_json::Value;

use super::super::json;
use super::super::reply::{Reply, ToolCall};
use super::super::text::AnswerText;

/// Whether the `content` of a message has reasoning, and anything else.
pub(super) fn content_in(message: &str) -> (bool, bool) {
    let mut text = AnswerText::default();
    read_text(message.as_bytes(), &mut text);
    let said = text.choices.first();
    let has = |channel: Option<&String>| channel.is_some_and(|text| !text.is_empty());
    (
        has(said.map(|said| &said.reasoning)),
        has(said.map(|said| &said.content)),
    )
}

/// Add the text of a token-bearing event, or of a message.
pub(super) fn read_text(answer: &[u8], text: &mut AnswerText) {
    let Ok(answer) = json::value(answer) else {
        return;
    };
    let delta = &answer["delta"];
    add(delta, text);
    push(&delta["partial_json"], &mut text.choice(0).content);
    for block in blocks(&answer) {
        add(block, text);
        if block["type"] == "tool_use" {
            let content = &mut text.choice(0).content;
            push(&block["name"], content);
            content.push_str(&block["input"].to_string());
        }
    }
}

/// Add what an event or a message says to the next turn.
pub(super) fn read_reply(answer: &[u8], reply: &mut Reply) {
    let Ok(answer) = json::value(answer) else {
        return;
    };
    let delta = &answer["delta"];
    add(delta, &mut reply.text);
    if let Some(call) = reply.calls.last_mut() {
        push(&delta["partial_json"], &mut call.arguments);
    }
    let begun = std::iter::once(&answer["content_block"]);
    for block in begun.chain(blocks(&answer)) {
        add(block, &mut reply.text);
        if block["type"] != "tool_use" {
            continue;
        }
        let mut call = ToolCall::default();
        push(&block["id"], &mut call.id);
        push(&block["name"], &mut call.name);
        // that of the event with which a call begins is empty
        if block["input"]
            .as_object()
            .is_some_and(|input| !input.is_empty())
        {
            call.arguments = block["input"].to_string();
        }
        reply.calls.push(call);
    }
}

/// The blocks of a message.
fn blocks(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["content"].as_array().into_iter().flatten()
}

/// Add the text of a block or of a piece of one.
fn add(block: &Value, text: &mut AnswerText) {
    let to = text.choice(0);
    push(&block["thinking"], &mut to.reasoning);
    push(&block["text"], &mut to.content);
}

fn push(value: &Value, to: &mut String) {
    to.push_str(value.as_str().unwrap_or_default());
}
