//! Owns what stands around a prompt when a server counts its tokens.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Tokenizer, TokenizerError};

/// How a prompt reaches the model, and so what the server counts beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// As a user's message, through the chat template.
    Chat,
    /// As a text, with the tokenizer's special tokens.
    Plain,
    /// As ids: nothing is added.
    Ids,
}

impl Frame {
    /// The ids of a prompt with all that stands around it.
    ///
    /// # Errors
    /// When the chat template is missing or refuses the message.
    pub fn encode(self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self {
            Self::Chat => tokenizer.encode_chat(&[json!({"role": "user", "content": text})]),
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
