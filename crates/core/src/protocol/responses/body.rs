//! Owns requests of the Responses API: from fields with the names of OpenAI's chat completions, and
//! back.
//!
//! It must not know responses.

use serde_json::{Map, Value, json};

/// Fields of chat completions that the API does not have.
pub(super) const UNKNOWN: [&str; 11] = [
    "frequency_penalty",
    "ignore_eos",
    "logprobs",
    "min_tokens",
    "n",
    "repetition_penalty",
    "seed",
    "stop",
    "stop_token_ids",
    "stream_options",
    "top_k",
];

/// Types of parts of a message in chat completions, and of the same parts here.
const PARTS: [(&str, &str); 2] = [("text", "input_text"), ("image_url", "input_image")];

/// From the API's own format.
pub(super) fn fields(body: Map<String, Value>) -> Map<String, Value> {
    let mut fields = Map::with_capacity(body.len());
    for (key, value) in body {
        match (key.as_str(), value) {
            ("input", Value::String(text)) => {
                let message = json!([{"role": "user", "content": text}]);
                fields.insert("messages".to_owned(), message);
            }
            ("input", Value::Array(mut items)) => {
                items.iter_mut().for_each(from_item);
                fields.insert("messages".to_owned(), items.into());
            }
            ("max_output_tokens", limit) => {
                fields.insert("max_tokens".to_owned(), limit);
            }
            (_, value) => {
                fields.insert(key, value);
            }
        }
    }
    fields
}

/// Name the parts of an item as chat completions do.
fn from_item(item: &mut Value) {
    let parts = item.get_mut("content").and_then(Value::as_array_mut);
    for part in parts.into_iter().flatten() {
        match part["type"].as_str() {
            Some("input_text" | "output_text") => part["type"] = "text".into(),
            Some("input_image") => {
                part["type"] = "image_url".into();
                let url = part["image_url"].take();
                part["image_url"] = json!({"url": url});
            }
            _ => {}
        }
    }
}

/// To the API's own format.
pub(super) fn body(fields: Map<String, Value>) -> Map<String, Value> {
    let mut body = Map::with_capacity(fields.len());
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("messages", Value::Array(messages)) => {
                body.insert("input".to_owned(), items(messages).into());
            }
            ("messages", value) => {
                body.insert("input".to_owned(), value);
            }
            ("max_tokens" | "max_completion_tokens", limit) => {
                body.insert("max_output_tokens".to_owned(), limit);
            }
            ("tools", Value::Array(tools)) => {
                let tools: Vec<Value> = tools.into_iter().map(flat).collect();
                body.insert(key, tools.into());
            }
            ("tool_choice", choice) => {
                body.insert(key, flat(choice));
            }
            (_, value) => {
                body.insert(key, value);
            }
        }
    }
    body
}

/// A tool, or the choice of one, whose `function` is not an object of its own.
fn flat(mut tool: Value) -> Value {
    let inner = tool
        .as_object_mut()
        .and_then(|tool| tool.shift_remove("function"));
    if let (Some(tool), Some(Value::Object(inner))) = (tool.as_object_mut(), inner) {
        tool.extend(inner);
    }
    tool
}

/// The items of `input` that messages become: each tool call is one.
pub(super) fn items(messages: Vec<Value>) -> Vec<Value> {
    messages.into_iter().flat_map(items_of).collect()
}

fn items_of(mut message: Value) -> Vec<Value> {
    let Some(fields) = message.as_object_mut() else {
        return vec![message];
    };
    if fields.get("role").and_then(Value::as_str) == Some("tool") {
        let output = fields.shift_remove("content").unwrap_or_default();
        let output = match output {
            Value::String(text) => text,
            other => other.to_string(),
        };
        return vec![json!({
            "type": "function_call_output", "call_id": fields.get("tool_call_id"), "output": output,
        })];
    }
    // reasoning goes back only with an id of the server's
    fields.shift_remove("reasoning_content");
    let calls = fields.shift_remove("tool_calls");
    let is_reply = fields.get("role").and_then(Value::as_str) == Some("assistant");
    let parts = fields.get_mut("content").and_then(Value::as_array_mut);
    for part in parts.into_iter().flatten() {
        to_part(part, is_reply);
    }
    let content = fields.get("content").unwrap_or(&Value::Null);
    let is_empty = content.is_null() || content == "";
    let mut items = Vec::new();
    let calls = calls.as_ref().and_then(Value::as_array);
    if !is_empty || calls.is_none() {
        items.push(message);
    }
    for call in calls.into_iter().flatten() {
        let function = &call["function"];
        items.push(json!({
            "type": "function_call", "call_id": call["id"], "name": function["name"],
            "arguments": function["arguments"],
        }));
    }
    items
}

/// Name a part of a message as the API does.
fn to_part(part: &mut Value, is_reply: bool) {
    let Some(kind) = part["type"].as_str() else {
        return;
    };
    let Some((from, to)) = PARTS.iter().find(|(from, _)| *from == kind) else {
        return;
    };
    part["type"] = if is_reply && *from == "text" {
        "output_text".into()
    } else {
        (*to).into()
    };
    let Some(image) = part.get_mut("image_url").map(Value::take) else {
        return;
    };
    match image {
        Value::Object(mut image) => {
            part["image_url"] = image.shift_remove("url").unwrap_or_default();
            if let Some(detail) = image.shift_remove("detail") {
                part["detail"] = detail;
            }
        }
        other => part["image_url"] = other,
    }
}
