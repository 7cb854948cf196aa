//! Owns the client-side tokenizer: loading one, counting with it, rendering its chat template, and
//! the words of its vocabulary from which prompts of exact length are made.
//!
//! It must not know datasets, APIs or HTTP, and it never runs where arrivals are stamped: prompts
//! are made in advance, responses are counted after they have ended.

mod config;
mod error;
mod files;
mod frame;
mod template;
mod turn_frame;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use config::Config;
use files::read;

pub use error::TokenizerError;
pub use files::{
    CONFIG_FILE, PROCESSOR_TEMPLATE_FILE, TEMPLATE_FILE, TOKENIZER_FILE, TokenizerFiles,
};
pub use frame::Frame;
pub use template::{Asked, ChatTemplate, TemplateError};
pub use turn_frame::TurnFrame;
pub use words::{Prefix, Words};
pub(crate) use words::{below, shuffle};

/// A tokenizer in the format of Hugging Face's `tokenizers`, with its chat
/// template if there is one.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    template: Option<Placed>,
    asked: Asked,
    path: PathBuf,
}

/// A chat template and the file it is from.
struct Placed {
    template: ChatTemplate,
    path: PathBuf,
}

impl fmt::Debug for Tokenizer {
    // a vocabulary is too long to print
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("template", &self.template.is_some())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Load a tokenizer from a directory or a `tokenizer.json`, with its chat
    /// template: `chat_template.jinja`, else `chat_template.json`, else in
    /// `tokenizer_config.json`, each beside it.
    ///
    /// # Errors
    /// If a file is missing or invalid.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        Self::load_files(&TokenizerFiles::at(path)?)
    }

    /// Load a tokenizer from files that may be in different directories.
    ///
    /// # Errors
    /// If a file is missing or invalid.
    pub fn load_files(files: &TokenizerFiles) -> Result<Self, TokenizerError> {
        let bytes = read(&files.tokenizer)?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| TokenizerError::Invalid {
                path: files.tokenizer.clone(),
                what: "tokenizer",
                reason: error.to_string(),
            })?;
        // counts must not be truncated
        let _ = inner.with_truncation(None);
        inner.with_padding(None);
        Ok(Self {
            inner,
            template: load_template(files)?,
            asked: Asked::default(),
            path: files.tokenizer.clone(),
        })
    }

    /// The same tokenizer, with these template options for all conversations.
    #[must_use]
    pub fn asking(mut self, asked: Asked) -> Self {
        self.asked = asked;
        self
    }

    /// The path it was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The chat template.
    #[must_use]
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref().map(|placed| &placed.template)
    }

    /// The ids of a text, without special tokens around it.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.ids(text, false)
    }

    /// The ids of a text as a server reads a plain prompt: with the special tokens that the
    /// tokenizer adds.
    #[must_use]
    pub fn encode_prompt(&self, text: &str) -> Vec<u32> {
        self.ids(text, true)
    }

    /// The ids of a conversation as a server reads it: rendered, including the start of the reply,
    /// without further special tokens.
    ///
    /// # Errors
    /// If there is no template, or it rejects the messages.
    pub fn encode_chat(&self, messages: &[Value]) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.encode(&self.render_chat(messages, &self.asked)?))
    }

    /// The same for the conversation in a request body, which may have its own template options.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_chat`].
    pub fn encode_chat_of(
        &self,
        body: &Map<String, Value>,
        messages: &[Value],
    ) -> Result<Vec<u32>, TokenizerError> {
        let asked = Asked::of(body).or(&self.asked);
        Ok(self.encode(&self.render_chat(messages, &asked)?))
    }

    /// The text of a conversation as a server reads it.
    fn render_chat(&self, messages: &[Value], asked: &Asked) -> Result<String, TokenizerError> {
        let (path, rendered) = match &self.template {
            Some(placed) => (&placed.path, placed.template.render(messages, asked)),
            None => (&self.path, Err(TemplateError::None)),
        };
        rendered.map_err(|source| TokenizerError::Template {
            path: path.clone(),
            source,
        })
    }

    /// The text of ids, without special tokens.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).unwrap_or_default()
    }

    /// The ids that represent text: no special tokens, no added ones, no single bytes; in order.
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
        // fails only for a broken configuration, and then nothing is counted
        self.inner
            .encode_fast(text, with_special)
            .map(|encoding| encoding.get_ids().to_vec())
            .unwrap_or_default()
    }
}

/// `<0x0A>`: the token of a byte that has no other.
fn is_byte(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

/// Load the template and note the file it is from.
fn load_template(files: &TokenizerFiles) -> Result<Option<Placed>, TokenizerError> {
    let config = match &files.config {
        Some(file) => Config::parse(file, &read(file)?)?,
        None => Config::default(),
    };
    let (source, path) = if let Some(file) = &files.template {
        (text_of(file)?, file)
    } else {
        let processor = match &files.processor_template {
            Some(file) => Config::parse(file, &read(file)?)?
                .chat_template(file)?
                .map(|source| (source, file)),
            None => None,
        };
        let of_config = || match &files.config {
            Some(file) => Ok(config.chat_template(file)?.map(|source| (source, file))),
            None => Ok(None),
        };
        match processor.map_or_else(of_config, |found| Ok(Some(found)))? {
            Some(found) => found,
            None => return Ok(None),
        }
    };
    match ChatTemplate::new(&source, config.fields()) {
        Ok(template) => Ok(Some(Placed {
            template,
            path: path.clone(),
        })),
        Err(source) => Err(TokenizerError::Template {
            path: path.clone(),
            source,
        }),
    }
}

fn text_of(file: &Path) -> Result<String, TokenizerError> {
    String::from_utf8(read(file)?).map_err(|error| TokenizerError::Template {
        path: file.to_owned(),
        source: TemplateError::Syntax(format!("it is not UTF-8: {}", error.utf8_error())),
    })
}

#[cfg(test)]
pub(crate) mod tests;
