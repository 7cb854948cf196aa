//! Owns the counting of prompt tokens: with a tokenizer as a real server does, and without one by
//! the rules of `words`.
//!
//! # The frame of a message
//!
//! A response of n tokens that comes back as the content of an assistant's message is n tokens of the
//! next prompt. What else the message costs is its frame. With a tokenizer, the template decides: in
//! `ChatML` it is `<|im_start|>assistant` and a line end before the content, which the prompt before
//! has counted already, and `<|im_end|>` and a line end after it. Without a tokenizer there is no
//! frame: each message is a token for each of its four characters, the last ones rounded up, and an
//! assistant's message that consists of the simulator's own words is a token for each word.
//!
//! It must not know requests, protocols or sockets.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use crate::template::{ChatTemplate, Conversation, TemplateError};
use crate::words;

/// Longer bodies take longer to tokenize than other connections should have to wait, in bytes: this
/// many take 0.9 ms (a release build, a byte-level tokenizer, English text), and the timer's
/// resolution is 1 ms.
const QUICK_BODY: usize = 4 << 10;

/// The same without a tokenizer, where parsing and hashing remain.
const QUICK_BODY_WITHOUT_TOKENIZER: usize = 64 << 10;

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

    /// The words of the vocabulary, each after a space, in the order of their ids.
    pub(crate) fn vocabulary(&self) -> impl Iterator<Item = String> {
        (0..=self.highest_id).filter_map(|id| {
            let text = self.decode(&[id]).ok()?;
            let word = text.trim();
            let is_word = !word.is_empty() && word.chars().all(char::is_alphabetic);
            is_word.then(|| format!(" {word}"))
        })
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

/// The tokens of one prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Prompt {
    pub(crate) tokens: u64,
    /// The tokens themselves, if they are wanted and the prompt has no images.
    pub(crate) ids: Option<Vec<u64>>,
}

impl Prompt {
    /// Put another prompt after this one.
    pub(crate) fn append(&mut self, other: Prompt) {
        self.tokens += other.tokens;
        self.ids = self.ids.take().zip(other.ids).map(|(mut ids, others)| {
            ids.extend(others);
            ids
        });
    }
}

/// Counts the tokens of prompts.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    encoder: Option<Encoder>,
    /// Tokens per image.
    image_tokens: u64,
    wants_ids: bool,
}

impl Counter {
    pub(crate) fn new(encoder: Option<Encoder>, image_tokens: u64, wants_ids: bool) -> Self {
        Counter {
            encoder,
            image_tokens,
            wants_ids,
        }
    }

    pub(crate) fn encoder(&self) -> Option<&Encoder> {
        self.encoder.as_ref()
    }

    /// Whether counting takes too long to be done between the writes of other responses.
    pub(crate) fn takes_long(&self, body_bytes: usize) -> bool {
        let quick = match self.encoder {
            Some(_) => QUICK_BODY,
            None => QUICK_BODY_WITHOUT_TOKENIZER,
        };
        body_bytes > quick
    }

    fn encoded(&self, ids: &[u32]) -> Prompt {
        Prompt {
            tokens: ids.len() as u64,
            ids: self
                .wants_ids
                .then(|| ids.iter().copied().map(u64::from).collect()),
        }
    }

    /// Tokens of a plain prompt, including those added by the tokenizer.
    pub(crate) fn text(&self, text: &str) -> Result<Prompt, CountError> {
        Ok(match &self.encoder {
            Some(encoder) => self.encoded(&encoder.text(text, true)?),
            None => Prompt {
                tokens: words::count("", &[text]).max(1),
                ids: self.wants_ids.then(|| words::ids(None, &[text])),
            },
        })
    }

    /// Tokens of a prompt given as ids.
    pub(crate) fn ids(&self, ids: impl Iterator<Item = u64>) -> Result<Prompt, CountError> {
        let mut prompt = Prompt {
            tokens: 0,
            ids: self.wants_ids.then(Vec::new),
        };
        for id in ids {
            if let Some(encoder) = &self.encoder {
                encoder.known(id)?;
            }
            prompt.tokens += 1;
            if let Some(ids) = &mut prompt.ids {
                ids.push(id);
            }
        }
        Ok(prompt)
    }

    /// Tokens of a conversation and of the start of the reply. The template writes the special
    /// tokens, so the tokenizer must not add them again.
    pub(crate) fn chat(&self, conversation: &Conversation<'_>) -> Result<Prompt, CountError> {
        let mut prompt = match &self.encoder {
            Some(encoder) => self.encoded(&encoder.chat(conversation, true, false)?),
            None => self.unframed(conversation),
        };
        if conversation.images > 0 {
            prompt.tokens += conversation.images * self.image_tokens;
            prompt.ids = None;
        }
        Ok(prompt)
    }

    /// Without a tokenizer, the tokens of the messages alone, at least one.
    fn unframed(&self, conversation: &Conversation<'_>) -> Prompt {
        let messages = &conversation.messages;
        let counted = messages
            .iter()
            .map(|message| words::count(message.role, &message.texts));
        Prompt {
            tokens: counted.sum::<u64>().max(1),
            ids: self.wants_ids.then(|| {
                let ids = messages
                    .iter()
                    .map(|message| words::ids(Some(message.role), &message.texts));
                ids.flatten().collect()
            }),
        }
    }
}
