//! Owns Anthropic's Messages: `/v1/messages`, whose streams have named events and blocks of content.
//!
//! It must not know about other protocols.

use std::io::Write;
use std::ops::Range;

use serde_json::{Map, Value, json};

use super::ask::{self, Asked, EndOfText, Fields, Output};
use super::protocol::{
    Answer, Chunk, DECODING_FAILED, Delta, KeyHeader, Page, Parts, Protocol, Start,
};
use super::refusal::Refusal;
use crate::fault::Fault;
use crate::image;
use crate::template::{Conversation, Message};
use crate::tokens::Counter;

/// `/v1/messages`.
#[derive(Debug)]
pub(crate) struct Messages;

fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// What a block of content consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    ToolUse,
    Text,
}

/// The blocks of a response, and the tokens of each.
fn blocks(answer: &Answer) -> Vec<(Block, Range<u32>)> {
    let tokens = answer.emitted_tokens();
    let reasoning = answer.reasoning_tokens().min(tokens);
    let said = if answer.calls_tool() {
        Block::ToolUse
    } else {
        Block::Text
    };
    [(Block::Thinking, 0..reasoning), (said, reasoning..tokens)]
        .into_iter()
        .filter(|(_, tokens)| !tokens.is_empty())
        .collect()
}

/// A made-up signature of thinking.
const SIGNATURE: &str = "c2ltdWxhdGVk";

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.finish_reason() {
        _ if answer.has(Fault::Refusal) => "refusal",
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        _ => "end_turn",
    }
}

/// A block as it begins, or with all of its text.
fn block(answer: &Answer, kind: Block, text: &str, ended: bool) -> Value {
    match kind {
        Block::Thinking => {
            let signature = if ended { SIGNATURE } else { "" };
            json!({"type": "thinking", "thinking": text, "signature": signature})
        }
        Block::ToolUse => {
            let input = if ended {
                json!({"text": text})
            } else {
                json!({})
            };
            let id = answer.tool_call_id(0).replacen("call_", "toolu_", 1);
            json!({"type": "tool_use", "id": id, "name": answer.tool_name(), "input": input})
        }
        Block::Text => json!({"type": "text", "text": text}),
    }
}

/// The tokens of the prompt: those of the cache are not among the input tokens.
fn usage(answer: &Answer, output_tokens: u64) -> Value {
    let input_tokens = answer.prompt_tokens - answer.cached_tokens;
    if answer.has(Fault::PartialUsage) {
        return json!({"input_tokens": input_tokens});
    }
    json!({
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.cached_tokens,
        "output_tokens": output_tokens,
    })
}

impl Protocol for Messages {
    fn id_prefix(&self) -> &'static str {
        "msg"
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader::ApiKey
    }

    fn read(&self, body: &[u8], _by_header: bool, counter: &Counter) -> Result<Asked, Refusal> {
        let body = ask::parse(body)?;
        let fields = Fields::new(&body);
        let Some(model) = fields.model()? else {
            return Err(Refusal::of("model", "model: Field required"));
        };
        let Some(max_tokens) = fields.max_tokens("max_tokens")? else {
            return Err(Refusal::of("max_tokens", "max_tokens: Field required"));
        };
        let (conversation, messages) = conversation(fields)?;
        Ok(Asked {
            model: Some(model),
            stream: fields.flag("stream")?.unwrap_or(false),
            stream_options: None,
            min_tokens: 0,
            max_tokens: Some(max_tokens),
            end_of_text: EndOfText::EndsResponse,
            choices: 1,
            prompts: vec![counter.chat(&conversation)?],
            tools: offered(fields),
            message_count: Some(messages),
            messages: true,
            repeats: false,
            output: Output::Text,
        })
    }

    fn refusal(&self, refusal: &Refusal, id: &str) -> Vec<u8> {
        json!({
            "type": "error",
            "error": {"type": error_type(refusal.status), "message": refusal.message},
            "request_id": id,
        })
        .to_string()
        .into_bytes()
    }

    fn document(&self, answer: &Answer) -> Vec<u8> {
        let content: Vec<Value> = blocks(answer)
            .into_iter()
            .map(|(kind, tokens)| block(answer, kind, &answer.words(0, tokens), true))
            .collect();
        let mut document = json!({
            "id": answer.id,
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": content,
            "stop_reason": stop_reason(answer),
            "stop_sequence": null,
        });
        if !answer.has(Fault::NoUsage) {
            document["usage"] = usage(answer, answer.completion_tokens());
        }
        document.to_string().into_bytes()
    }

    fn parts(&self) -> Parts {
        Parts {
            start: Start::AtOnce,
            usage: false,
            done: false,
        }
    }

    fn chunk(&self, page: &mut Page<'_>, out: &mut Vec<u8>, chunk: &Chunk) {
        match chunk.delta {
            Delta::Role => start(page, out),
            Delta::Tokens { at, count } => {
                tokens(page, out, at..at + count);
                if chunk.finish {
                    blank_line(page, out);
                    end(page, out);
                }
            }
            Delta::Nothing => end(page, out),
        }
    }

    fn broken_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        page.named_event(out, "content_block_delta");
        out.extend_from_slice(
            b"{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"te",
        );
    }

    fn error_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) -> bool {
        let kind = match page.answer.fault {
            Some(Fault::ErrorEventNamed) => "overloaded_error",
            _ => "api_error",
        };
        let error = match page.answer.fault {
            Some(Fault::ErrorString) => json!(DECODING_FAILED),
            _ => json!({"type": kind, "message": DECODING_FAILED}),
        };
        event(
            page,
            out,
            "error",
            &json!({"type": "error", "error": error}),
        );
        false
    }

    fn endless_event(&self) -> &'static [u8] {
        b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\
          \"type\":\"text_delta\",\"text\":\""
    }
}

fn blank_line(page: &Page<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(page.blank_line.as_bytes());
}

/// Append an event with this payload.
fn event(page: &mut Page<'_>, out: &mut Vec<u8>, name: &str, payload: &Value) {
    page.named_event(out, name);
    write!(out, "{payload}").expect("writing to a Vec cannot fail");
}

/// Append the start of the message, and a ping.
fn start(page: &mut Page<'_>, out: &mut Vec<u8>) {
    let answer = page.answer;
    let mut message = json!({
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    });
    if !answer.has(Fault::NoUsage) {
        // Anthropic counts the first token here already.
        message["usage"] = usage(answer, 1);
    }
    let payload = json!({"type": "message_start", "message": message});
    event(page, out, "message_start", &payload);
    blank_line(page, out);
    event(page, out, "ping", &json!({"type": "ping"}));
}

/// Append the event with some tokens, after those that begin its block and end the one before.
fn tokens(page: &mut Page<'_>, out: &mut Vec<u8>, tokens: Range<u32>) {
    let answer = page.answer;
    for (index, (kind, all)) in blocks(answer).into_iter().enumerate() {
        if !all.contains(&tokens.start) {
            continue;
        }
        if all.start == tokens.start {
            if index > 0 {
                close(page, out, index - 1, Block::Thinking);
            }
            let begun = json!({
                "type": "content_block_start", "index": index,
                "content_block": block(answer, kind, "", false),
            });
            event(page, out, "content_block_start", &begun);
            blank_line(page, out);
            if kind == Block::ToolUse {
                let nothing = json!({"type": "input_json_delta", "partial_json": ""});
                let delta =
                    json!({"type": "content_block_delta", "index": index, "delta": nothing});
                event(page, out, "content_block_delta", &delta);
                blank_line(page, out);
            }
        }
        if answer.has(Fault::EmptyDeltas) && kind != Block::ToolUse {
            piece(page, out, index, kind, tokens.start..tokens.start);
            blank_line(page, out);
        }
        piece(page, out, index, kind, tokens.clone());
    }
}

/// Append the event with some tokens of a block.
fn piece(page: &mut Page<'_>, out: &mut Vec<u8>, index: usize, kind: Block, tokens: Range<u32>) {
    page.named_event(out, "content_block_delta");
    let (name, field) = match kind {
        Block::Thinking => ("thinking_delta", "thinking"),
        Block::ToolUse => ("input_json_delta", "partial_json"),
        Block::Text => ("text_delta", "text"),
    };
    write!(
        out,
        "{{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"{name}\",\
         \"{field}\":\""
    )
    .expect("writing to a Vec cannot fail");
    match kind {
        Block::ToolUse => page.arguments(out, 0, tokens),
        Block::Thinking | Block::Text => page.text(out, 0, tokens),
    }
    out.extend_from_slice(b"\"}}");
}

/// Append the events that end a block, each with a blank line after it.
fn close(page: &mut Page<'_>, out: &mut Vec<u8>, index: usize, kind: Block) {
    if kind == Block::Thinking {
        let delta = json!({
            "type": "content_block_delta", "index": index,
            "delta": {"type": "signature_delta", "signature": SIGNATURE},
        });
        event(page, out, "content_block_delta", &delta);
        blank_line(page, out);
    }
    let stop = json!({"type": "content_block_stop", "index": index});
    event(page, out, "content_block_stop", &stop);
    blank_line(page, out);
}

/// Append the events that end the stream. There is no stop reason for an error.
fn end(page: &mut Page<'_>, out: &mut Vec<u8>) {
    let answer = page.answer;
    let all = blocks(answer);
    if let Some((kind, _)) = all.last() {
        close(page, out, all.len() - 1, *kind);
    }
    if answer.has(Fault::FinishError) {
        let error = json!({"type": "api_error", "message": DECODING_FAILED});
        event(
            page,
            out,
            "error",
            &json!({"type": "error", "error": error}),
        );
        return;
    }
    let mut delta = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null},
    });
    if !answer.has(Fault::NoUsage) && !answer.has(Fault::PartialUsage) {
        delta["usage"] = json!({"output_tokens": page.completion_tokens});
    }
    event(page, out, "message_delta", &delta);
    blank_line(page, out);
    event(page, out, "message_stop", &json!({"type": "message_stop"}));
}

/// The names of the functions that a response may call.
fn offered(fields: Fields<'_>) -> Vec<String> {
    let name = |tool: &Value| tool["name"].as_str().map(str::to_owned);
    match fields
        .get("tool_choice")
        .map(|choice| (choice, choice["type"].as_str()))
    {
        Some((_, Some("none"))) => return Vec::new(),
        Some((choice, Some("tool"))) => return name(choice).into_iter().collect(),
        _ => {}
    }
    let tools = fields.get("tools").and_then(Value::as_array);
    tools.into_iter().flatten().filter_map(name).collect()
}

/// The texts of a `system` or `content`: a string, or the texts of blocks.
fn texts<'a>(content: Option<&'a Value>, images: &mut u64) -> Result<Vec<&'a str>, Refusal> {
    let blocks = match content {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![text]),
        Some(Value::Array(blocks)) => blocks,
        Some(got) => {
            let message =
                format!("messages: content must be a string or a list of blocks, got {got}");
            return Err(Refusal::of("messages", message));
        }
    };
    let mut found = Vec::new();
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => found.extend(block["text"].as_str()),
            Some("tool_result") => found.extend(texts(block.get("content"), images)?),
            Some("image") => {
                let checked = match block["source"]["data"].as_str() {
                    Some(data) => image::check_base64(data),
                    None => image::check_url(block["source"]["url"].as_str().unwrap_or_default()),
                };
                checked.map_err(|error| Refusal::of("messages", error.to_string()))?;
                *images += 1;
            }
            Some(_) => {}
            None => {
                let message = format!("messages: a block of content has no type: {block}");
                return Err(Refusal::of("messages", message));
            }
        }
    }
    Ok(found)
}

/// The values of `field` of the blocks of this type.
fn named<'a>(message: &'a Map<String, Value>, kind: &str, field: &str) -> Vec<&'a str> {
    let blocks = message.get("content").and_then(Value::as_array);
    let blocks = blocks.into_iter().flatten();
    let blocks = blocks.filter(|block| block["type"] == kind);
    blocks.filter_map(|block| block[field].as_str()).collect()
}

/// The conversation in `system` and `messages`, and the number of messages.
fn conversation(fields: Fields<'_>) -> Result<(Conversation<'_>, u64), Refusal> {
    let messages = match fields.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        _ => {
            return Err(Refusal::of(
                "messages",
                "messages: at least one message is required",
            ));
        }
    };
    let mut conversation = Conversation {
        messages: Vec::new(),
        images: 0,
        tools: fields.get("tools"),
        variables: None,
    };
    let system = texts(fields.get("system"), &mut conversation.images)?;
    if !system.is_empty() {
        conversation.messages.push(Message {
            role: "system",
            texts: system,
            fields: None,
        });
    }
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        let Value::Object(message) = message else {
            let text = format!("messages: a message must be an object, got {message}");
            return Err(Refusal::of("messages", text));
        };
        let role = match message.get("role").and_then(Value::as_str) {
            Some(role @ ("user" | "assistant")) => role,
            got => {
                let text = format!(
                    "messages: Unexpected role {:?}. Allowed roles are \"user\" or \"assistant\"; the \
                     Messages API accepts a top-level `system` parameter",
                    got.unwrap_or_default()
                );
                return Err(Refusal::of("messages", text));
            }
        };
        let results = named(message, "tool_result", "tool_use_id");
        open.retain(|id| !results.contains(id));
        results_for_all(&open)?;
        open = named(message, "tool_use", "id");
        let texts = texts(message.get("content"), &mut conversation.images)?;
        conversation.messages.push(Message {
            role,
            texts,
            fields: None,
        });
    }
    results_for_all(&open)?;
    Ok((conversation, messages.len() as u64))
}

/// The words are Anthropic's.
fn results_for_all(open: &[&str]) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    Err(Refusal::of(
        "messages",
        format!(
            "messages: `tool_use` ids were found without `tool_result` blocks immediately after: {}. \
             Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
            open.join(", ")
        ),
    ))
}
