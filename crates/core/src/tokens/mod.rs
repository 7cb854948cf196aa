//! Owns the tokenizer on the client's side: loading one, counting with it,
//! rendering its chat template, and the words of its vocabulary from which
//! prompts of exact length are made.
//!
//! It must not know data sets, APIs or HTTP, and it never runs where arrivals
//! are stamped: prompts are made ahead of the clock, answers are counted after
//! they have ended.

mod frame;
mod template;
mod words;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use frame::Frame;
pub use template::{ChatTemplate, TemplateError};
pub use words::{Prefix, Words};

/// The file every tokenizer has.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Special tokens, and often the chat template.
pub const CONFIG_FILE: &str = "tokenizer_config.json";
/// The chat template, where it has a file of its own.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";

/// A tokenizer in the format of Hugging Face's `tokenizers`, with its chat
/// template if there is one.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    template: Option<ChatTemplate>,
    path: PathBuf,
}

impl fmt::Debug for Tokenizer {
    // a vocabulary is no reading matter
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("template", &self.template.is_some())
            .finish_non_exhaustive()
    }
}

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// There is nothing at the path.
    #[error("no tokenizer at {path}: {what}", path = path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What was looked for.
        what: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it must be.
    #[error("{path} is no tokenizer: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The chat template cannot be used.
    #[error("the chat template of {path}", path = path.display())]
    Template {
        /// The tokenizer.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: TemplateError,
    },
    /// No prompt can be as short as is asked for.
    #[error("prompts of at most {max} tokens cannot be made: {}", takes(*overhead))]
    NoRoom {
        /// The longest prompt asked for.
        max: u64,
        /// Tokens around an empty prompt.
        overhead: u64,
    },
    /// The vocabulary has no ordinary tokens.
    #[error("the vocabulary of {path} has no ordinary tokens to make prompts of", path = path.display())]
    NoWords {
        /// The tokenizer.
        path: PathBuf,
    },
}

/// The files of a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// `tokenizer_config.json`.
    pub config: Option<PathBuf>,
    /// `chat_template.jinja`; goes before the configuration's template.
    pub template: Option<PathBuf>,
}

impl TokenizerFiles {
    /// The files in a directory, or beside a `tokenizer.json`.
    ///
    /// # Errors
    /// When there is no `tokenizer.json`.
    pub fn at(path: &Path) -> Result<Self, TokenizerError> {
        let tokenizer = if path.is_dir() {
            path.join(TOKENIZER_FILE)
        } else {
            path.to_owned()
        };
        if !tokenizer.exists() {
            return Err(missing(path));
        }
        let folder = tokenizer.parent().unwrap_or(Path::new("."));
        let there = |name| Some(folder.join(name)).filter(|file| file.exists());
        Ok(Self {
            config: there(CONFIG_FILE),
            template: there(TEMPLATE_FILE),
            tokenizer,
        })
    }
}

impl Tokenizer {
    /// Load a tokenizer from a directory or a `tokenizer.json`, with its chat
    /// template: `chat_template.jinja`, else in `tokenizer_config.json`, both
    /// beside it.
    ///
    /// # Errors
    /// When a file is missing or broken.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        Self::load_files(&TokenizerFiles::at(path)?)
    }

    /// Load a tokenizer from files that may lie apart.
    ///
    /// # Errors
    /// When a file is missing or broken.
    pub fn load_files(files: &TokenizerFiles) -> Result<Self, TokenizerError> {
        let bytes = read(&files.tokenizer)?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| TokenizerError::Invalid {
                path: files.tokenizer.clone(),
                reason: error.to_string(),
            })?;
        // a count is a count of everything
        let _ = inner.with_truncation(None);
        inner.with_padding(None);
        Ok(Self {
            inner,
            template: load_template(files)?,
            path: files.tokenizer.clone(),
        })
    }

    /// Where it was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The chat template.
    #[must_use]
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The ids of a text, without special tokens around it.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.ids(text, false)
    }

    /// The ids of a text as a server reads a plain prompt: with the special
    /// tokens that the tokenizer puts around it.
    #[must_use]
    pub fn encode_prompt(&self, text: &str) -> Vec<u32> {
        self.ids(text, true)
    }

    /// The ids of a conversation as a server reads it: rendered, with the
    /// beginning of the answer, and nothing put around it again.
    ///
    /// # Errors
    /// When there is no template, or it refuses the messages.
    pub fn encode_chat(&self, messages: &[Value]) -> Result<Vec<u32>, TokenizerError> {
        let template = self.template.as_ref().ok_or(TemplateError::None);
        let rendered = template.and_then(|template| template.render(messages));
        match rendered {
            Ok(text) => Ok(self.encode(&text)),
            Err(source) => Err(TokenizerError::Template {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// The text of ids, special tokens left out.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).unwrap_or_default()
    }

    /// The ids that stand for text: neither special tokens, nor added ones, nor
    /// single bytes; in order.
    #[must_use]
    pub fn ordinary_ids(&self) -> Vec<u32> {
        let added = self.inner.get_added_tokens_decoder();
        let mut ids: Vec<u32> = self
            .inner
            .get_vocab(false)
            .into_iter()
            .filter(|(token, id)| !added.contains_key(id) && !is_byte(token))
            .map(|(_, id)| id)
            .collect();
        ids.sort_unstable();
        ids
    }

    fn ids(&self, text: &str, with_special: bool) -> Vec<u32> {
        // only a broken configuration fails here, and then nothing is counted
        self.inner
            .encode_fast(text, with_special)
            .map(|encoding| encoding.get_ids().to_vec())
            .unwrap_or_default()
    }
}

fn takes(overhead: u64) -> String {
    if overhead == 0 {
        "a prompt of nothing is none".to_owned()
    } else {
        format!("the chat template or the special tokens alone take {overhead}")
    }
}

/// `<0x0A>`: a token for a byte that has no other.
fn is_byte(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    fs::read(path).map_err(|source| TokenizerError::Read {
        path: path.to_owned(),
        source,
    })
}

fn missing(path: &Path) -> TokenizerError {
    let what = if !path.exists() {
        "there is no such file or directory".to_owned()
    } else if path.join("tokenizer.model").exists() {
        format!("it holds a SentencePiece `tokenizer.model`, but no `{TOKENIZER_FILE}`")
    } else if path.join("vocab.json").exists() {
        format!("it holds a `vocab.json`, but no `{TOKENIZER_FILE}`")
    } else {
        format!("it holds no `{TOKENIZER_FILE}`")
    };
    TokenizerError::Missing {
        path: path.to_owned(),
        what,
    }
}

fn load_template(files: &TokenizerFiles) -> Result<Option<ChatTemplate>, TokenizerError> {
    let config: Value = match &files.config {
        Some(file) => {
            serde_json::from_slice(&read(file)?).map_err(|error| TokenizerError::Invalid {
                path: file.clone(),
                reason: error.to_string(),
            })?
        }
        None => Value::Null,
    };
    let source = match &files.template {
        Some(file) => Some(String::from_utf8_lossy(&read(file)?).into_owned()),
        None => template_of(&config),
    };
    source
        .map(|source| ChatTemplate::new(&source, &config))
        .transpose()
        .map_err(|source| TokenizerError::Template {
            path: files.tokenizer.clone(),
            source,
        })
}

/// The template of a configuration: a text, or a list of named ones.
fn template_of(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => named
            .iter()
            .find(|item| item.get("name").and_then(Value::as_str) == Some("default"))
            .or(named.first())?
            .get("template")?
            .as_str()
            .map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
