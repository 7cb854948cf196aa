//! Owns OpenAI's Responses, as OpenAI and vLLM serve them: `/v1/responses`, whose streams have named
//! and numbered events.
//!
//! It must not know about other protocols, except for OpenAI's form of errors.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::ask::{self, Asked, Fields, Output};
use super::openai;
use super::protocol::{Answer, Chunk, DECODING_FAILED, Delta, Page, Parts, Protocol, Start};
use super::refusal::Refusal;
use crate::fault::Fault;
use crate::image;
use crate::kept::{KeptResponses, Past};
use crate::template::{Conversation, Message};
use crate::tokens::Counter;

/// `/v1/responses`.
#[derive(Debug)]
pub(crate) struct Responses;

/// What an item of a response consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Reasoning,
    Call,
    Text,
    Refusal,
}

impl Item {
    /// The name of the events with a piece of it, and of the one with all of it.
    fn event(self) -> &'static str {
        match self {
            Item::Reasoning => "response.reasoning_text",
            Item::Call => "response.function_call_arguments",
            Item::Text => "response.output_text",
            Item::Refusal => "response.refusal",
        }
    }

    /// The field of the event with all of it.
    fn whole(self) -> &'static str {
        match self {
            Item::Reasoning | Item::Text => "text",
            Item::Call => "arguments",
            Item::Refusal => "refusal",
        }
    }

    /// The part that holds it; a call has none.
    fn part(self, text: &str) -> Option<Value> {
        match self {
            Item::Reasoning => Some(json!({"type": "reasoning_text", "text": text})),
            Item::Call => None,
            Item::Text => Some(json!({
                "type": "output_text", "text": text, "annotations": [], "logprobs": [],
            })),
            Item::Refusal => Some(json!({"type": "refusal", "refusal": text})),
        }
    }
}

/// The items of a response, and the tokens of each.
fn items(answer: &Answer) -> Vec<(Item, Range<u32>)> {
    let tokens = answer.emitted_tokens();
    let reasoning = answer.reasoning_tokens().min(tokens);
    let said = if answer.calls_tool() {
        Item::Call
    } else if answer.has(Fault::Refusal) {
        Item::Refusal
    } else {
        Item::Text
    };
    [(Item::Reasoning, 0..reasoning), (said, reasoning..tokens)]
        .into_iter()
        .filter(|(_, tokens)| !tokens.is_empty())
        .collect()
}

/// Where an item is in a response, and what it says.
struct Placed<'a> {
    answer: &'a Answer,
    item: Item,
    tokens: Range<u32>,
    index: usize,
}

impl Placed<'_> {
    fn id(&self) -> String {
        let kind = match self.item {
            Item::Reasoning => "rs",
            Item::Call => "fc",
            Item::Text | Item::Refusal => "msg",
        };
        format!("{kind}_{}", self.answer.id)
    }

    /// All that it says; the arguments of a call are a JSON object with it.
    fn text(&self) -> String {
        let text = self.answer.words(0, self.tokens.clone());
        match self.item {
            Item::Call => json!({"text": text}).to_string(),
            _ => text,
        }
    }

    fn to_json(&self, status: &str, text: Option<&str>) -> Value {
        let id = self.id();
        let content: Vec<Value> = text
            .and_then(|text| self.item.part(text))
            .into_iter()
            .collect();
        match self.item {
            Item::Reasoning => json!({
                "id": id, "type": "reasoning", "status": status, "summary": [], "content": content,
            }),
            Item::Call => json!({
                "id": id, "type": "function_call", "status": status,
                "call_id": self.answer.tool_call_id(0), "name": self.answer.tool_name(),
                "arguments": text.unwrap_or_default(),
            }),
            Item::Text | Item::Refusal => json!({
                "id": id, "type": "message", "status": status, "role": "assistant", "content": content,
            }),
        }
    }
}

/// Placed items of an answer, in order.
fn placed(answer: &Answer) -> impl Iterator<Item = Placed<'_>> {
    let items = items(answer).into_iter().enumerate();
    items.map(|(index, (item, tokens))| Placed {
        answer,
        item,
        tokens,
        index,
    })
}

/// The object of a response that has not begun, or has ended.
fn response(answer: &Answer, ended: bool) -> Value {
    let (status, reason) = match answer.finish_reason() {
        _ if !ended => ("in_progress", Value::Null),
        "error" => ("failed", Value::Null),
        "length" => ("incomplete", json!({"reason": "max_output_tokens"})),
        _ => ("completed", Value::Null),
    };
    let output = if ended { output(answer) } else { Vec::new() };
    let mut response = json!({
        "id": answer.id,
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "model": answer.model,
        "error": null,
        "incomplete_details": reason,
        "output": output,
        "parallel_tool_calls": true,
        "usage": null,
    });
    if status == "failed" {
        response["error"] = json!({"code": "server_error", "message": DECODING_FAILED});
    }
    if ended && !answer.has(Fault::NoUsage) {
        response["usage"] = usage(answer);
    }
    response
}

/// The items of a response that has ended.
fn output(answer: &Answer) -> Vec<Value> {
    placed(answer)
        .map(|item| item.to_json("completed", Some(&item.text())))
        .collect()
}

fn usage(answer: &Answer) -> Value {
    if answer.has(Fault::PartialUsage) {
        return json!({"input_tokens": answer.prompt_tokens});
    }
    let output_tokens = answer.completion_tokens();
    json!({
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens},
        "output_tokens": output_tokens,
        "output_tokens_details": {
            "reasoning_tokens": u64::from(answer.reasoning_tokens()).min(output_tokens),
        },
        "total_tokens": answer.prompt_tokens + output_tokens,
    })
}

impl Protocol for Responses {
    fn id_prefix(&self) -> &'static str {
        "resp"
    }

    fn read(&self, body: &[u8], by_header: bool, counter: &Counter) -> Result<Asked, Refusal> {
        let (asked, _) = self.read_after(body, by_header, counter, &KeptResponses::default())?;
        Ok(asked)
    }

    fn read_after(
        &self,
        body: &[u8],
        _by_header: bool,
        counter: &Counter,
        kept: &KeptResponses,
    ) -> Result<(Asked, Option<Past>), Refusal> {
        let body = ask::parse(body)?;
        let fields = Fields::new(&body);
        if fields.get("max_tokens").is_some() {
            return Err(Refusal::of(
                "max_tokens",
                "Unsupported parameter: 'max_tokens'. In the Responses API, this parameter has moved to \
                 'max_output_tokens'.",
            ));
        }
        let before = before(fields, kept)?;
        let (conversation, items) = input(fields, before.as_deref())?;
        let asked = Asked {
            model: fields.model()?,
            stream: fields.flag("stream")?.unwrap_or(false),
            stream_options: None,
            min_tokens: 0,
            max_tokens: fields.max_tokens("max_output_tokens")?,
            end_of_text: fields.end_of_text()?,
            choices: 1,
            prompts: vec![counter.chat(&conversation)?],
            tools: offered(fields),
            message_count: Some(items),
            messages: true,
            repeats: false,
            output: Output::Text,
        };
        let is_kept = fields.flag("store")?.unwrap_or(true);
        Ok((asked, is_kept.then(|| Past::new(before, added(fields)))))
    }

    fn items(&self, answer: &Answer) -> Vec<Value> {
        output(answer)
    }

    fn refusal(&self, refusal: &Refusal, id: &str) -> Vec<u8> {
        openai::CHAT.refusal(refusal, id)
    }

    fn document(&self, answer: &Answer) -> Vec<u8> {
        response(answer, true).to_string().into_bytes()
    }

    fn parts(&self) -> Parts {
        Parts {
            start: Start::AtOnce,
            usage: false,
            done: false,
        }
    }

    fn chunk(&self, page: &mut Page<'_>, out: &mut Vec<u8>, chunk: &Chunk) {
        let answer = page.answer;
        match chunk.delta {
            Delta::Role => {
                let response = json!({"response": response(answer, false)});
                event(page, out, "response.created", response.clone());
                blank_line(page, out);
                event(page, out, "response.in_progress", response);
            }
            Delta::Tokens { at, count } => {
                let mut closed = None;
                for item in placed(answer) {
                    if item.tokens.contains(&at) {
                        if item.tokens.start == at {
                            if let Some(closed) = &closed {
                                close(page, out, closed);
                            }
                            open(page, out, &item);
                        }
                        if answer.has(Fault::EmptyDeltas) && item.item != Item::Call {
                            piece(page, out, &item, at..at);
                            blank_line(page, out);
                        }
                        piece(page, out, &item, at..at + count);
                    }
                    closed = Some(item);
                }
                if chunk.finish {
                    blank_line(page, out);
                    end(page, out);
                }
            }
            Delta::Nothing => end(page, out),
        }
    }

    fn broken_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        page.named_event(out, "response.output_text.delta");
        out.extend_from_slice(b"{\"type\":\"response.output_text.delta\",\"delta\":\" bro");
    }

    fn error_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) -> bool {
        match page.answer.fault {
            Some(Fault::ErrorEvent) => {
                let error =
                    json!({"code": "server_error", "message": DECODING_FAILED, "param": null});
                event(page, out, "error", error);
            }
            Some(Fault::ErrorEventNamed) => {
                let mut response = response(page.answer, false);
                response["status"] = "failed".into();
                response["error"] = json!({"code": "server_error", "message": DECODING_FAILED});
                event(page, out, "response.failed", json!({"response": response}));
            }
            fault => openai::bare_error(out, fault, page.end_of_line),
        }
        false
    }

    fn endless_event(&self) -> &'static [u8] {
        b"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\""
    }
}

fn blank_line(page: &Page<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(page.blank_line.as_bytes());
}

/// Append an event with these fields after its type and number.
fn event(page: &mut Page<'_>, out: &mut Vec<u8>, name: &str, fields: Value) {
    let mut payload = json!({"type": name, "sequence_number": page.events});
    if let (Some(payload), Value::Object(fields)) = (payload.as_object_mut(), fields) {
        payload.extend(fields);
    }
    page.named_event(out, name);
    write!(out, "{payload}").expect("writing to a Vec cannot fail");
}

/// Append the events that begin an item, each with a blank line after it.
fn open(page: &mut Page<'_>, out: &mut Vec<u8>, item: &Placed<'_>) {
    let added = json!({"output_index": item.index, "item": item.to_json("in_progress", None)});
    event(page, out, "response.output_item.added", added);
    blank_line(page, out);
    if let Some(part) = item.item.part("") {
        let added = json!({
            "item_id": item.id(), "output_index": item.index, "content_index": 0, "part": part,
        });
        event(page, out, "response.content_part.added", added);
        blank_line(page, out);
    }
}

/// Append the event with some tokens of an item.
fn piece(page: &mut Page<'_>, out: &mut Vec<u8>, item: &Placed<'_>, tokens: Range<u32>) {
    let name = item.item.event();
    let number = page.events;
    page.named_event(out, &format!("{name}.delta"));
    write!(
        out,
        "{{\"type\":\"{name}.delta\",\"sequence_number\":{number},\"item_id\":\"{}\",\
         \"output_index\":{},",
        item.id(),
        item.index
    )
    .expect("writing to a Vec cannot fail");
    if item.item == Item::Call {
        out.extend_from_slice(b"\"delta\":\"");
        page.arguments(out, 0, tokens);
        out.extend_from_slice(b"\"}");
    } else {
        out.extend_from_slice(b"\"content_index\":0,\"delta\":\"");
        page.text(out, 0, tokens);
        out.extend_from_slice(b"\",\"logprobs\":[]}");
    }
}

/// Append the events that end an item, each with a blank line after it.
fn close(page: &mut Page<'_>, out: &mut Vec<u8>, item: &Placed<'_>) {
    let text = item.text();
    let mut done = json!({"item_id": item.id(), "output_index": item.index});
    let part = item.item.part(&text);
    if part.is_some() {
        done["content_index"] = 0.into();
    }
    done[item.item.whole()] = text.as_str().into();
    event(page, out, &format!("{}.done", item.item.event()), done);
    blank_line(page, out);
    if let Some(part) = part {
        let done = json!({
            "item_id": item.id(), "output_index": item.index, "content_index": 0, "part": part,
        });
        event(page, out, "response.content_part.done", done);
        blank_line(page, out);
    }
    let done = json!({
        "output_index": item.index, "item": item.to_json("completed", Some(&text)),
    });
    event(page, out, "response.output_item.done", done);
    blank_line(page, out);
}

/// Append the events that end the stream.
fn end(page: &mut Page<'_>, out: &mut Vec<u8>) {
    let answer = page.answer;
    if let Some(last) = placed(answer).last() {
        close(page, out, &last);
    }
    let response = response(answer, true);
    let name = match response["status"].as_str() {
        Some("failed") => "response.failed",
        Some("incomplete") => "response.incomplete",
        _ => "response.completed",
    };
    event(page, out, name, json!({"response": response}));
}

/// The names of the functions that a response may call.
fn offered(fields: Fields<'_>) -> Vec<String> {
    let name = |tool: &Value| tool["name"].as_str().map(str::to_owned);
    match fields.get("tool_choice") {
        Some(choice) if choice == "none" => return Vec::new(),
        Some(choice) if choice.is_object() => return name(choice).into_iter().collect(),
        _ => {}
    }
    let tools = fields.get("tools").and_then(Value::as_array);
    tools.into_iter().flatten().filter_map(name).collect()
}

/// What was said up to the response that a request refers to.
fn before(fields: Fields<'_>, kept: &KeptResponses) -> Result<Option<Arc<Past>>, Refusal> {
    const FIELD: &str = "previous_response_id";
    let Some(id) = fields.text(FIELD)? else {
        return Ok(None);
    };
    match kept.find(id) {
        Some(past) => Ok(Some(past)),
        None => Err(Refusal {
            status: 404,
            ..Refusal::of(
                FIELD,
                format!("Previous response with id '{id}' not found."),
            )
        }),
    }
}

/// The items that a request adds to a conversation.
fn added(fields: Fields<'_>) -> Vec<Value> {
    match fields.get("input") {
        Some(Value::Array(items)) => items.clone(),
        Some(Value::String(text)) => vec![json!({"role": "user", "content": text})],
        _ => Vec::new(),
    }
}

/// The conversation in `instructions`, what was said before, and `input`; and the number of its items.
fn input<'a>(
    fields: Fields<'a>,
    before: Option<&'a Past>,
) -> Result<(Conversation<'a>, u64), Refusal> {
    let refused = |got: &str| {
        Refusal::of(
            "input",
            format!("input must be a string or a non-empty list of items, got {got}"),
        )
    };
    let mut conversation = Conversation {
        messages: Vec::new(),
        images: 0,
        tools: fields.get("tools"),
        variables: None,
    };
    let plain = |role, text| Message {
        role,
        texts: vec![text],
        fields: None,
    };
    if let Some(text) = fields.text("instructions")? {
        conversation.messages.push(plain("system", text));
    }
    let mut items = before.map(Past::items).unwrap_or_default();
    let mut own_text = None;
    match fields.get("input") {
        Some(Value::String(text)) => own_text = Some(text),
        Some(Value::Array(own)) if !own.is_empty() => items.extend(own),
        Some(got) => return Err(refused(&got.to_string())),
        None => return Err(refused("none")),
    }
    let mut open: Vec<&str> = Vec::new();
    for item in &items {
        let Value::Object(item) = item else {
            return Err(refused(&item.to_string()));
        };
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        match item.get("type").and_then(Value::as_str) {
            Some("function_call") => {
                open.push(text("call_id"));
                conversation
                    .messages
                    .push(plain("assistant", text("arguments")));
            }
            Some("function_call_output") => {
                let id = text("call_id");
                let calls = open.len();
                open.retain(|call| *call != id);
                if open.len() == calls {
                    let message =
                        format!("No tool call found for function call output with call_id {id}.");
                    return Err(Refusal::of("input", message));
                }
                conversation.messages.push(plain("tool", text("output")));
            }
            Some("message") | None => message(item, &mut conversation)?,
            // Reasoning is not part of the prompt.
            Some(_) => {}
        }
    }
    if let Some(id) = open.first() {
        let message = format!("No tool output found for function call {id}.");
        return Err(Refusal::of("input", message));
    }
    if let Some(text) = own_text {
        conversation.messages.push(plain("user", text));
    }
    let count = items.len() + usize::from(own_text.is_some());
    Ok((conversation, count as u64))
}

/// Add a message to the conversation.
fn message<'a>(
    item: &'a Map<String, Value>,
    conversation: &mut Conversation<'a>,
) -> Result<(), Refusal> {
    let Some(role) = item.get("role").and_then(Value::as_str) else {
        return Err(Refusal::of("input", "a message of input has no role"));
    };
    let mut texts = Vec::new();
    match item.get("content") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => texts.push(text.as_str()),
        Some(Value::Array(parts)) => {
            for part in parts {
                match part["type"].as_str() {
                    Some("input_text" | "output_text") => texts.extend(part["text"].as_str()),
                    Some("input_image") => {
                        check_image(&part["image_url"])?;
                        conversation.images += 1;
                    }
                    Some("text" | "image_url") | None => {
                        let message = format!(
                            "a part of a message must have the type input_text, output_text or \
                             input_image, got {part}"
                        );
                        return Err(Refusal::of("input", message));
                    }
                    Some(_) => {}
                }
            }
        }
        Some(got) => {
            let message = format!("content must be a string or a list of parts, got {got}");
            return Err(Refusal::of("input", message));
        }
    }
    conversation.messages.push(Message {
        role,
        texts,
        fields: Some(item),
    });
    Ok(())
}

fn check_image(url: &Value) -> Result<(), Refusal> {
    let Some(url) = url.as_str() else {
        return Err(Refusal::of("input", "an input_image has no image_url"));
    };
    image::check_url(url).map_err(|error| Refusal::of("input", error.to_string()))
}
