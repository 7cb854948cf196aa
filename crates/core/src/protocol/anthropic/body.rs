//! Owns requests of the Messages API: from fields with the names of OpenAI's chat completions, and back.
//!
//! It must not know responses.

use serde_json::{Map, Value, json};

/// Fields of chat completions that the API does not have.
pub(super) const UNKNOWN: [&str; 9] = [
    "frequency_penalty",
    "ignore_eos",
    "logprobs",
    "min_tokens",
    "n",
    "repetition_penalty",
    "seed",
    "stop_token_ids",
    "stream_options",
];

/// From the API's own format.
pub(super) fn fields(body: Map<String, Value>) -> Map<String, Value> {
    let mut fields = Map::with_capacity(body.len());
    let mut system = None;
    for (key, value) in body {
        match key.as_str() {
            "system" => system = Some(value),
            "stop_sequences" => {
                fields.insert("stop".to_owned(), value);
            }
            _ => {
                fields.insert(key, value);
            }
        }
    }
    match (fields.get_mut("messages"), system) {
        (_, None | Some(Value::Null)) => {}
        (Some(Value::Array(messages)), Some(system)) => {
            messages.insert(0, json!({"role": "system", "content": system}));
        }
        (_, Some(system)) => {
            fields.insert("system".to_owned(), system);
        }
    }
    fields
}

/// To the API's own format.
pub(super) fn body(mut fields: Map<String, Value>) -> Map<String, Value> {
    let mut messages = match fields.get_mut("messages") {
        Some(Value::Array(messages)) => std::mem::take(messages),
        _ => Vec::new(),
    };
    lift(&mut messages, &mut fields);
    let mut body = Map::with_capacity(fields.len());
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("messages", Value::Array(_)) => {
                body.insert(key, items(std::mem::take(&mut messages)).into());
            }
            ("max_completion_tokens", limit) => {
                body.insert("max_tokens".to_owned(), limit);
            }
            ("stop", stop) => {
                let stop = match stop {
                    Value::String(text) => json!([text]),
                    other => other,
                };
                body.insert("stop_sequences".to_owned(), stop);
            }
            ("tools", Value::Array(tools)) => {
                let tools: Vec<Value> = tools.into_iter().map(tool).collect();
                body.insert(key, tools.into());
            }
            ("tool_choice", chosen) => {
                body.insert(key, choice(chosen));
            }
            (_, value) => {
                body.insert(key, value);
            }
        }
    }
    body
}

/// Move system messages to `system`.
pub(super) fn lift(messages: &mut Vec<Value>, fields: &mut Map<String, Value>) {
    let is_system = |message: &Value| {
        let role = message.get("role").and_then(Value::as_str);
        matches!(role, Some("system" | "developer"))
    };
    let mut all: Vec<Value> = fields.get("system").cloned().into_iter().collect();
    messages.retain_mut(|message| {
        if !is_system(message) {
            return true;
        }
        all.extend(message.get_mut("content").map(Value::take));
        false
    });
    let system = match all.as_slice() {
        [] => return,
        [one] => one.clone(),
        more if more.iter().all(Value::is_string) => {
            let texts: Vec<&str> = more.iter().filter_map(Value::as_str).collect();
            texts.join("\n\n").into()
        }
        more => more.iter().flat_map(blocks).collect(),
    };
    fields.insert("system".to_owned(), system);
}

/// A content as a list of blocks.
fn blocks(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) if !text.is_empty() => vec![json!({"type": "text", "text": text})],
        Value::Array(parts) => parts.iter().cloned().map(block).collect(),
        _ => Vec::new(),
    }
}

/// A part of a message as the API has it.
fn block(mut part: Value) -> Value {
    if part["type"] != "image_url" {
        return part;
    }
    let image = &mut part["image_url"];
    let url = match image {
        Value::String(url) => std::mem::take(url),
        image => image["url"].as_str().unwrap_or_default().to_owned(),
    };
    let inline = url
        .strip_prefix("data:")
        .and_then(|data| data.split_once(";base64,"));
    let source = match inline {
        Some((kind, data)) => json!({"type": "base64", "media_type": kind, "data": data}),
        None => json!({"type": "url", "url": url}),
    };
    json!({"type": "image", "source": source})
}

/// Messages as the API has them: the results of all calls of a message are in one, and there is none
/// without content, which servers refuse.
pub(super) fn items(messages: Vec<Value>) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::with_capacity(messages.len());
    let mut after_result = false;
    for message in messages {
        let is_result = message.get("role").and_then(Value::as_str) == Some("tool");
        if is_result {
            let result = result(&message);
            let before = items.last_mut().filter(|_| after_result);
            match before.and_then(|before| before["content"].as_array_mut()) {
                Some(results) => results.push(result),
                None => items.push(json!({"role": "user", "content": [result]})),
            }
        } else {
            items.extend(item(message));
        }
        after_result = is_result;
    }
    items
}

/// The result of a tool.
fn result(message: &Value) -> Value {
    let content = match &message["content"] {
        Value::String(text) => text.as_str().into(),
        other => Value::from(blocks(other)),
    };
    json!({
        "type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content,
    })
}

fn item(mut message: Value) -> Option<Value> {
    let Some(fields) = message.as_object_mut() else {
        return Some(message);
    };
    let is_reply = fields.get("role").and_then(Value::as_str) == Some("assistant");
    // thinking goes back only with a signature of the server's
    fields.shift_remove("reasoning_content");
    let calls = fields.shift_remove("tool_calls");
    let calls: Vec<Value> = calls
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(call)
        .collect();
    let content = fields.get("content").cloned().unwrap_or_default();
    let content = match content {
        Value::String(text) if calls.is_empty() && !text.is_empty() => text.into(),
        other => {
            let mut blocks = blocks(&other);
            blocks.extend(calls);
            Value::from(blocks)
        }
    };
    if is_reply && content.as_array().is_some_and(Vec::is_empty) {
        return None;
    }
    fields.insert("content".to_owned(), content);
    Some(message)
}

/// A tool call of an assistant's message.
fn call(call: &Value) -> Value {
    let function = &call["function"];
    let arguments = function["arguments"].as_str().unwrap_or_default();
    let input: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
    json!({"type": "tool_use", "id": call["id"], "name": function["name"], "input": input})
}

fn tool(mut tool: Value) -> Value {
    let Some(Value::Object(mut function)) = tool.get_mut("function").map(Value::take) else {
        return tool;
    };
    let schema = function.shift_remove("parameters");
    let schema = schema.unwrap_or_else(|| json!({"type": "object"}));
    function.shift_remove("strict");
    function.insert("input_schema".to_owned(), schema);
    function.into()
}

fn choice(choice: Value) -> Value {
    match choice.as_str() {
        Some("required") => return json!({"type": "any"}),
        Some(word) => return json!({"type": word}),
        None => {}
    }
    match choice.pointer("/function/name") {
        Some(name) => json!({"type": "tool", "name": name}),
        None => choice,
    }
}
