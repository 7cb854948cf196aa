//! Owns the counting of prompt tokens: with a tokenizer as a real server does, and without one by
//! the rule that four characters are one token.
//!
//! It must not know requests, protocols or sockets.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use crate::template::{ChatTemplate, Conversation, TemplateError};

/// Longer bodies take longer to tokenize than other connections should have to wait, in bytes: this
/// many take 0.9 ms (a release build, a byte-level tokenizer, English text), and the timer's
/// resolution is 1 ms.
const QUICK_BODY: usize = 4 << 10;

/// Why there is no usable tokenizer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{} does not exist", path.display())]
    Missing { path: PathBuf },
    #[error("{message}")]
    Tokenizer { message: String },
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Why a prompt has no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CountError {
    #[error("the chat template rejects these messages: {0}")]
    Template(#[from] minijinja::Error),
    #[error("the prompt cannot be tokenized: {0}")]
    Tokenizer(String),
    #[error("token id {got} is not in the vocabulary; allowed are 0 to {highest}")]
    OutOfVocabulary { got: u64, highest: u32 },
}

/// A tokenizer with its chat template.
#[derive(Debug)]
pub(crate) struct Encoder {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    highest_id: u32,
}

impl Encoder {
    /// `path` is a `tokenizer.json`, or a directory with one and its template. For a file, nothing
    /// next to it is read.
    pub(crate) fn load(path: &Path) -> Result<Self, LoadError> {
        let (file, directory) = if path.is_dir() {
            (path.join("tokenizer.json"), Some(path))
        } else {
            (path.to_owned(), None)
        };
        if !file.exists() {
            return Err(LoadError::Missing { path: file });
        }
        let failed = |error: tokenizers::Error| LoadError::Tokenizer {
            message: error.to_string(),
        };
        let mut tokenizer = Tokenizer::from_file(&file).map_err(failed)?;
        // Some files contain the limits used in training; servers count whole prompts.
        tokenizer.with_truncation(None).map_err(failed)?;
        tokenizer.with_padding(None);
        let highest_id = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        Ok(Encoder {
            tokenizer,
            template: ChatTemplate::load(directory)?,
            highest_id,
        })
    }

    pub(crate) fn text(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>, CountError> {
        self.tokenizer
            .encode_fast(text, special_tokens)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| CountError::Tokenizer(error.to_string()))
    }

    pub(crate) fn chat(
        &self,
        conversation: &Conversation<'_>,
        generation_prompt: bool,
        special_tokens: bool,
    ) -> Result<Vec<u32>, CountError> {
        let text = self.template.render(conversation, generation_prompt)?;
        self.text(&text, special_tokens)
    }

    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String, CountError> {
        self.tokenizer
            .decode(ids, false)
            .map_err(|error| CountError::Tokenizer(error.to_string()))
    }

    /// The tokens as spelled in the vocabulary.
    pub(crate) fn spellings(&self, ids: &[u32]) -> Vec<String> {
        ids.iter()
            .map(|id| self.tokenizer.id_to_token(*id).unwrap_or_default())
            .collect()
    }

    /// `id`, if it is within the vocabulary.
    pub(crate) fn known(&self, id: u64) -> Result<u32, CountError> {
        u32::try_from(id)
            .ok()
            .filter(|id| *id <= self.highest_id)
            .ok_or(CountError::OutOfVocabulary {
                got: id,
                highest: self.highest_id,
            })
    }
}

/// Counts the tokens of prompts.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    encoder: Option<Encoder>,
    /// Tokens per image.
    image_tokens: u64,
}

impl Counter {
    pub(crate) fn new(encoder: Option<Encoder>, image_tokens: u64) -> Self {
        Counter {
            encoder,
            image_tokens,
        }
    }

    pub(crate) fn encoder(&self) -> Option<&Encoder> {
        self.encoder.as_ref()
    }

    /// Whether counting takes too long to be done between the writes of other responses.
    pub(crate) fn takes_long(&self, body_bytes: usize) -> bool {
        self.encoder.is_some() && body_bytes > QUICK_BODY
    }

    /// Tokens of a plain prompt, including those added by the tokenizer.
    pub(crate) fn text(&self, text: &str) -> Result<u64, CountError> {
        match &self.encoder {
            Some(encoder) => Ok(encoder.text(text, true)?.len() as u64),
            None => Ok(text_tokens(text.chars().count())),
        }
    }

    /// Tokens of a prompt given as ids.
    pub(crate) fn ids(&self, ids: impl Iterator<Item = u64>) -> Result<u64, CountError> {
        let mut count = 0;
        for id in ids {
            if let Some(encoder) = &self.encoder {
                encoder.known(id)?;
            }
            count += 1;
        }
        Ok(count)
    }

    /// Tokens of a conversation and of the start of the reply. The template writes the special
    /// tokens, so the tokenizer must not add them again.
    pub(crate) fn chat(&self, conversation: &Conversation<'_>) -> Result<u64, CountError> {
        let text = match &self.encoder {
            Some(encoder) => encoder.chat(conversation, true, false)?.len() as u64,
            None => text_tokens(
                conversation
                    .messages
                    .iter()
                    .flat_map(|message| &message.texts)
                    .map(|text| text.chars().count())
                    .sum(),
            ),
        };
        Ok(text + conversation.images * self.image_tokens)
    }
}

/// Four characters per token, and at least one token.
fn text_tokens(chars: usize) -> u64 {
    (chars as u64).div_ceil(4).max(1)
}
