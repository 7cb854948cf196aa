//! Owns valid settings, together with the tokenizer that they name and the words that suit it.
//!
//! It must not know requests or sockets.

use std::sync::Arc;

use crate::config::{CacheBlocks, SimConfig};
use crate::error::SimError;
use crate::lexicon::Lexicon;
use crate::tokens::{Counter, Encoder};

/// Valid settings, with the tokenizer that they name.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) config: SimConfig,
    pub(crate) counter: Counter,
    pub(crate) lexicon: Arc<Lexicon>,
}

impl Prepared {
    /// Check the settings and load the tokenizer, if they name one; a large one takes a second.
    ///
    /// # Errors
    /// If a number is out of range or a name of a header invalid, or the tokenizer or its template
    /// cannot be read.
    pub fn new(config: SimConfig) -> Result<Self, SimError> {
        config.profile.check()?;
        config.check_header_names()?;
        let encoder = match &config.tokenizer {
            None => None,
            Some(path) => Some(Encoder::load(path).map_err(|error| SimError::Tokenizer {
                path: path.clone(),
                message: error.to_string(),
            })?),
        };
        let lexicon = match &encoder {
            None => Lexicon::built_in(),
            Some(encoder) => Lexicon::of(encoder),
        };
        let wants_ids = config.cache_blocks != CacheBlocks::None;
        Ok(Prepared {
            counter: Counter::new(encoder, config.image_tokens.into(), wants_ids),
            lexicon: Arc::new(lexicon),
            config,
        })
    }
}
