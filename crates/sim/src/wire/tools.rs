//! Owns tool calls in requests: the functions that may be called, and whether a history has a
//! result for each call.
//!
//! It must not know how a tool call is written in a response.

use serde_json::Value;

use super::ask::Fields;
use super::refusal::Refusal;
use crate::template::Conversation;

/// The names of the functions that a response may call: those of `tools`, or the one of
/// `tool_choice`.
pub(super) fn offered(fields: Fields<'_>) -> Vec<String> {
    let name = |tool: &Value| tool["function"]["name"].as_str().map(str::to_owned);
    let choice = fields.get("tool_choice");
    if choice.is_some_and(|choice| choice == "none") {
        return Vec::new();
    }
    let Some(Value::Array(tools)) = fields.get("tools") else {
        return Vec::new();
    };
    match choice.and_then(name) {
        Some(chosen) => vec![chosen],
        None => tools.iter().filter_map(name).collect(),
    }
}

/// The ids of the calls in a message.
fn calls(message: &crate::template::Message<'_>) -> Vec<String> {
    let calls = message.fields.and_then(|fields| fields.get("tool_calls"));
    let calls = calls.and_then(Value::as_array).into_iter().flatten();
    calls
        .map(|call| call["id"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Check that the calls of each message are followed by their results, in any order, and that
/// there are no other results. The messages of the refusals are OpenAI's.
pub(super) fn check_history(conversation: &Conversation<'_>) -> Result<(), Refusal> {
    let mut open: Vec<String> = Vec::new();
    let mut after_calls = false;
    for message in &conversation.messages {
        if message.role == "tool" {
            if !after_calls {
                // The spelling is OpenAI's.
                return Err(Refusal::of(
                    "messages",
                    "Invalid parameter: messages with role 'tool' must be a response to a \
                     preceeding message with 'tool_calls'.",
                ));
            }
            let id = message.fields.and_then(|fields| fields.get("tool_call_id"));
            open.retain(|call| id.and_then(Value::as_str) != Some(call));
            continue;
        }
        all_closed(&open)?;
        open = calls(message);
        after_calls = !open.is_empty();
    }
    all_closed(&open)
}

fn all_closed(open: &[String]) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    Err(Refusal::of(
        "messages",
        format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to \
             each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
            open.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::ask::Content;
    use super::*;
    use serde_json::json;

    fn check(messages: &Value) -> Option<String> {
        let body = json!({"messages": messages});
        let fields = Fields::new(body.as_object().expect("an object"));
        let conversation = fields.conversation(Content::TextOnly).expect("messages");
        check_history(&conversation)
            .err()
            .map(|refusal| refusal.message)
    }

    #[test]
    fn each_call_needs_its_result() {
        let user = json!({"role": "user", "content": "x"});
        let calls = |ids: &[&str]| {
            let calls: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
            json!({"role": "assistant", "content": null, "tool_calls": calls})
        };
        let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": ""});
        let whole = json!([user, calls(&["a", "b"]), result("b"), result("a"), user]);
        assert_eq!(check(&whole), None);
        assert_eq!(check(&json!([user, calls(&[]), user])), None);
        for (messages, named) in [
            (json!([user, calls(&["a"])]), "messages: a"),
            (
                json!([user, calls(&["a"]), user, result("a")]),
                "messages: a",
            ),
            (
                json!([calls(&["a", "b"]), result("a"), user]),
                "messages: b",
            ),
            (json!([calls(&["a", "b"]), result("c")]), "messages: a, b"),
            (
                json!([calls(&["a"]), calls(&["b"]), result("b")]),
                "messages: a",
            ),
            (json!([user, result("a")]), "role 'tool' must be"),
            (
                json!([calls(&["a"]), result("a"), user, result("a")]),
                "role 'tool'",
            ),
        ] {
            let message = check(&messages).unwrap_or_default();
            assert!(message.contains(named), "{messages}: {message}");
        }
    }

    #[test]
    fn offered_are_the_tools_that_may_be_chosen() {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        let names = |choice: Value| {
            let body = json!({"tools": [tool("a"), tool("b")], "tool_choice": choice});
            offered(Fields::new(body.as_object().expect("an object")))
        };
        assert_eq!(names(Value::Null), ["a", "b"]);
        assert_eq!(names(json!("auto")), ["a", "b"]);
        assert_eq!(names(tool("b")), ["b"]);
        assert!(names(json!("none")).is_empty());
        assert!(offered(Fields::new(&serde_json::Map::new())).is_empty());
    }
}
