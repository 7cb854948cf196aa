//! Owns what a conversation in OpenAI's format must be like, and where its turns begin.
//!
//! It must not know which dataset it is from.

use serde_json::Value;

use super::exchange::Exchange;

/// The turns of a list of messages. A message of the assistant ends a turn: it is the response. Before
/// the first message of a user or a tool it is something the client sends.
pub(super) fn turns_of(messages: Vec<Value>) -> Result<Vec<Exchange>, String> {
    let mut order = Order::default();
    let mut turns: Vec<Exchange> = Vec::new();
    let mut current = Exchange::default();
    let mut asks = false;
    for (message, number) in messages.into_iter().zip(1..) {
        let role = role_of(&message).and_then(|role| order.next(role).map(|()| role));
        let role = role.map_err(|reason| format!("message {number} {reason}"))?;
        if role == Role::Assistant && asks {
            current.reply = Some(message);
            turns.push(std::mem::take(&mut current));
            asks = false;
        } else {
            asks |= role == Role::Asking;
            current.messages.push(message);
        }
    }
    order.end()?;
    if asks {
        turns.push(current);
    }
    Ok(turns)
}

/// Check the messages that a client adds in each turn. `has_reply` says for each turn whether its response
/// follows.
pub(super) fn check_turns<'a>(turns: impl Iterator<Item = &'a Exchange>) -> Result<(), String> {
    let mut order = Order::default();
    for (turn, number) in turns.zip(1..) {
        for (message, at) in turn.messages.iter().zip(1..) {
            let checked = role_of(message).and_then(|role| order.next(role));
            checked.map_err(|reason| format!("turn {number}: message {at} {reason}"))?;
        }
        match turn.messages.last() {
            None => return Err(format!("turn {number} has no messages")),
            Some(last) if last["role"] == "assistant" => {
                return Err(format!(
                    "turn {number} ends with a message of the assistant, so there is nothing to respond to"
                ));
            }
            Some(_) => {}
        }
    }
    order.end()
}

/// Check the response that a dataset has recorded.
pub(super) fn check_reply(reply: &Value) -> Result<(), String> {
    match role_of(reply) {
        Ok(Role::Assistant) => Ok(()),
        Ok(_) => Err("is not a message of the assistant".to_owned()),
        Err(reason) => Err(reason),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    System,
    /// A user or a tool: the server is to respond.
    Asking,
    Assistant,
}

/// The order of messages so far.
#[derive(Debug, Default)]
struct Order {
    last: Option<Role>,
    has_user: bool,
}

impl Order {
    fn next(&mut self, role: Role) -> Result<(), String> {
        match (self.last, role) {
            (Some(Role::Asking | Role::Assistant), Role::System) => {
                return Err(
                    "is a system message behind other messages: it must be first".to_owned(),
                );
            }
            (Some(Role::Assistant), Role::Assistant) => {
                return Err(
                    "is the second message of the assistant in a row: put both into one".to_owned(),
                );
            }
            _ => {}
        }
        self.has_user |= role == Role::Asking;
        self.last = Some(role);
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        if self.has_user {
            Ok(())
        } else {
            Err("the conversation has no message of a user".to_owned())
        }
    }
}

fn role_of(message: &Value) -> Result<Role, String> {
    let Some(role) = message.get("role").and_then(Value::as_str) else {
        return Err("has no `role`: messages are objects with `role` and `content`".to_owned());
    };
    let known = match role {
        "system" | "developer" => Role::System,
        "user" | "tool" | "function" => Role::Asking,
        "assistant" => Role::Assistant,
        _ => {
            return Err(format!(
                "has the role {role:?}; known are system, developer, user, assistant, tool and function"
            ));
        }
    };
    let calls = || {
        let calls = message.get("tool_calls").and_then(Value::as_array);
        known == Role::Assistant && calls.is_some_and(|calls| !calls.is_empty())
    };
    match message.get("content") {
        Some(Value::String(_) | Value::Array(_)) => Ok(known),
        Some(Value::Null) | None if calls() => Ok(known),
        Some(Value::Null) | None => Err("has no `content` and no `tool_calls`".to_owned()),
        Some(_) => Err("has a `content` that is neither a text nor a list of parts".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn turns(messages: Value) -> Result<Vec<(usize, bool)>, String> {
        let Value::Array(messages) = messages else {
            panic!("expected a list")
        };
        let turns = turns_of(messages)?;
        Ok(turns
            .iter()
            .map(|turn| (turn.messages.len(), turn.reply.is_some()))
            .collect())
    }

    fn one(role: &str) -> Value {
        json!({"role": role, "content": "x"})
    }

    #[test]
    fn the_assistant_ends_a_turn() {
        let roles = |roles: &[&str]| turns(roles.iter().map(|role| one(role)).collect());
        assert_eq!(
            roles(&["system", "user", "assistant", "user"]),
            Ok(vec![(2, true), (1, false)])
        );
        // an odd last response is not a turn
        assert_eq!(roles(&["user", "assistant"]), Ok(vec![(1, true)]));
        assert_eq!(
            roles(&["user", "assistant", "tool", "user", "assistant"]),
            Ok(vec![(1, true), (2, true)])
        );
        // a greeting
        assert_eq!(
            roles(&["system", "assistant", "user", "assistant", "user"]),
            Ok(vec![(3, true), (1, false)])
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_moved(
            roles in prop::collection::vec(prop::sample::select(vec!["system", "user", "assistant", "tool"]), 0..8),
        ) {
            let messages: Vec<Value> = roles
                .iter()
                .zip(0..)
                .map(|(role, n)| json!({"role": role, "content": n.to_string()}))
                .collect();
            if let Ok(turns) = turns_of(messages.clone()) {
                let is_asking = |turn: &Exchange| turn.messages.iter().any(|m| m["role"] != "system" && m["role"] != "assistant");
                prop_assert!(turns.iter().all(is_asking));
                prop_assert!(turns.iter().rev().skip(1).all(|turn| turn.reply.is_some()));
                let said: Vec<Value> = turns
                    .into_iter()
                    .flat_map(|turn| turn.messages.into_iter().chain(turn.reply))
                    .collect();
                prop_assert_eq!(said, messages);
            }
        }
    }

    #[test]
    fn what_no_server_takes_is_refused() {
        let error = |messages: Value| turns(messages).unwrap_err();
        insta::assert_snapshot!(error(json!([one("user"), one("system")])), @"message 2 is a system message behind other messages: it must be first");
        insta::assert_snapshot!(error(json!([one("user"), one("assistant"), one("assistant")])), @"message 3 is the second message of the assistant in a row: put both into one");
        insta::assert_snapshot!(error(json!([one("system")])), @"the conversation has no message of a user");
        insta::assert_snapshot!(error(json!([])), @"the conversation has no message of a user");
        insta::assert_snapshot!(error(json!([{"role": "assistant", "content": null}])), @"message 1 has no `content` and no `tool_calls`");
        insta::assert_snapshot!(error(json!([{"role": "user", "content": 5}])), @"message 1 has a `content` that is neither a text nor a list of parts");
        insta::assert_snapshot!(error(json!([{"role": "bot", "content": "x"}])), @r#"message 1 has the role "bot"; known are system, developer, user, assistant, tool and function"#);
        insta::assert_snapshot!(error(json!(["x"])), @"message 1 has no `role`: messages are objects with `role` and `content`");
        let calls = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "a"}]});
        assert!(turns(json!([one("user"), calls, one("tool")])).is_ok());
    }
}
