//! Owns how the turns that a dataset has become a session.
//!
//! It must not know the form of a dataset.

use std::time::Duration;

use serde_json::{Value, json};

use evalscope_model::conversation::Turn;
use evalscope_model::prompt::{Item, Prompt};

/// Whether the responses that a dataset has recorded are needed (`--history recorded`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// They are left out.
    Unused,
    /// Every turn but the last needs one.
    Needed,
}

/// A turn as a dataset has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchange {
    /// What the client says.
    pub messages: Vec<Value>,
    /// What was responded: an assistant message.
    pub reply: Option<Value>,
    /// Tokens that the messages are to add to the prompt, as the server counts them.
    pub asked_tokens: Option<u64>,
    /// The most tokens to generate.
    pub max_tokens: Option<u64>,
    /// How long the client waits before it; of no meaning for the first turn.
    pub delay: Option<Duration>,
}

/// The session of these turns. Without any it has no messages, so it counts as blank.
///
/// # Errors
/// If a response is needed and there is none.
pub fn session(turns: Vec<Exchange>, replies: Replies) -> Result<Item, String> {
    let mut turns = turns.into_iter();
    let first = turns.next().unwrap_or_default();
    let mut before = first.reply;
    let mut item = Item::from(Prompt::Messages(first.messages));
    item.asked_tokens = first.asked_tokens;
    item.with.max_tokens = first.max_tokens;
    for (turn, number) in turns.zip(1..) {
        let reply = std::mem::replace(&mut before, turn.reply);
        let recorded_reply = match replies {
            Replies::Unused => None,
            Replies::Needed => Some(reply.ok_or_else(|| {
                format!("turn {number} has no recorded response, which `--history recorded` needs")
            })?),
        };
        item.later.push(Turn {
            recorded_reply,
            messages: turn.messages,
            asked_tokens: turn.asked_tokens,
            max_tokens: turn.max_tokens,
            delay: turn.delay,
        });
    }
    Ok(item)
}

/// A message with a text.
pub(super) fn message(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

/// A delay of a dataset.
pub(super) fn delay_of(seconds: f64) -> Result<Duration, String> {
    // a day is more than any client waits
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!(
            "a delay of {seconds} s: it must be between 0 and 86400 s"
        ))
    }
}
