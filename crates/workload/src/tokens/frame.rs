//! Owns what a server adds around a prompt before it counts tokens.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Tokenizer, TokenizerError};

/// How a prompt reaches the model, and so what the server counts besides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// As a user's message, through the chat template.
    Chat,
    /// As text, with the tokenizer's special tokens.
    Plain,
    /// As ids: nothing is added.
    Ids,
}

/// Rendered with a chat template to see what it does to a prompt. No template contains this text;
/// the mixed case reveals rewriting.
const MARKER: &str = "Quokka zephyr WOMBAT";

/// Length in characters of a prompt that reveals whether a template truncates: as large as the
/// context of most models. Rendering it takes milliseconds.
const LONG_CHARS: usize = 1 << 20;

impl Frame {
    /// Check that the frame leaves a prompt unchanged: otherwise no prompt can have an exact
    /// length.
    ///
    /// # Errors
    /// If the chat template is missing, rejects the message, or does not contain the prompt exactly
    /// once and complete.
    pub fn check(self, tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
        let (Self::Chat, Some(placed)) = (self, &tokenizer.template) else {
            return Ok(());
        };
        let times = |text: &str| {
            let rendered = tokenizer.render_chat(&[user(text)], &tokenizer.asked)?;
            Ok::<_, TokenizerError>(rendered.matches(text).count())
        };
        let what = match times(MARKER)? {
            1 => {
                let long = vec![MARKER; LONG_CHARS / MARKER.len()].join(" ");
                if times(&long)? == 1 {
                    return Ok(());
                }
                format!("changes or cuts a prompt of {} characters", long.len())
            }
            n => format!("does not contain the prompt exactly once ({n} times)"),
        };
        Err(TokenizerError::Unfaithful {
            path: placed.path.clone(),
            what,
        })
    }

    /// The ids of a prompt with everything around it.
    ///
    /// # Errors
    /// If the chat template is missing or rejects the message.
    pub fn encode(self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self {
            Self::Chat => tokenizer.encode_chat(&[user(text)]),
            Self::Plain => Ok(tokenizer.encode_prompt(text)),
            Self::Ids => Ok(tokenizer.encode(text)),
        }
    }

    /// Tokens of a prompt as the server counts them.
    ///
    /// # Errors
    /// As [`Frame::encode`].
    pub fn count(self, tokenizer: &Tokenizer, text: &str) -> Result<u64, TokenizerError> {
        Ok(self.encode(tokenizer, text)?.len() as u64)
    }
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}
