//! Owns preparing the dataset of a command: it downloads files, loads the tokenizer, and finds the
//! words of random prompts.
//!
//! It must not know the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use evalscope_plugin::Plugin;
use evalscope_workload::dataset::{Chars, LengthFilter, Measure, TokenLength};
use evalscope_workload::tokens::{Frame, Tokenizer, TokenizerError, TurnFrame, Words};

use crate::failure::hinted;

use super::fetch::Fetcher;
use super::plan::{DEFAULT_LENGTHS, DatasetKind, PromptPlan};
use super::prompts::Prompts;
use super::tokenizer;

impl PromptPlan {
    /// Fetch and load the tokenizer, if one is wanted.
    pub(crate) fn tokenizer(
        &self,
        fetcher: &Fetcher<'_>,
    ) -> anyhow::Result<Option<Arc<Tokenizer>>> {
        let load = |place| {
            let tokenizer = tokenizer::load(place, fetcher)?;
            Ok(Arc::new(tokenizer.asking(self.asked.clone())))
        };
        self.tokenizer.as_deref().map(load).transpose()
    }

    /// Fetch and load what else the dataset needs. `plugin` is the one of
    /// [`DatasetKind::Plugin`], which runs.
    pub(crate) fn prepare(
        self,
        tokenizer: Option<Arc<Tokenizer>>,
        fetcher: &Fetcher<'_>,
        plugin: Option<Arc<Plugin>>,
        say: &mut dyn FnMut(String),
    ) -> anyhow::Result<Prompts> {
        let frame = match (self.as_ids, self.chat) {
            (true, _) => Frame::Ids,
            (false, true) => Frame::Chat,
            (false, false) => Frame::Plain,
        };
        let place = match (&self.path, self.set.hub()) {
            (Some(path), _) => path.clone(),
            (None, Some(remote)) => fetcher.dataset(&self.set.name(), remote, self.subset())?,
            (None, None) => PathBuf::new(),
        };
        // random ids need none: they are not text
        if let Some(tokenizer) = &tokenizer
            && self.as_ids
            && self.chat
            && !self.makes_texts()
            && tokenizer.template().is_none()
        {
            return Err(hinted(
                format!(
                    "{} has no chat template, so the token ids of chat messages are unknown",
                    tokenizer.path().display()
                ),
                "put the model's chat_template.jinja or tokenizer_config.json next to it, or use a URL \
                 that ends in /v1/completions, which encodes prompts without a template",
            ));
        }
        let words = match &tokenizer {
            Some(tokenizer) if self.makes_texts() => Some(self.words(tokenizer, frame, say)?),
            _ => None,
        };
        let filter = self.filter(tokenizer.as_ref(), frame, say);
        Ok(Prompts {
            name: self.set.name(),
            tokenizer,
            frame,
            plan: self,
            place,
            words,
            filter,
            plugin,
            used: AtomicBool::new(false),
            surveyed: None,
        })
    }

    fn words(
        &self,
        tokenizer: &Arc<Tokenizer>,
        frame: Frame,
        say: &mut dyn FnMut(String),
    ) -> anyhow::Result<Arc<Words>> {
        if frame == Frame::Chat && tokenizer.template().is_none() {
            return Err(hinted(
                format!(
                    "{} has no chat template, so prompts of exact length cannot be made for a chat endpoint",
                    tokenizer.path().display()
                ),
                "put the model's chat_template.jinja or tokenizer_config.json next to it, or send plain \
                 prompts to a URL that ends in /v1/completions, or ids with `--tokenize-prompt`",
            ));
        }
        let words = Words::find(Arc::clone(tokenizer), frame).map_err(|error| match error {
            TokenizerError::Unfaithful { .. } => hinted(
                error.to_string(),
                "send plain prompts to a URL that ends in /v1/completions, or ids with \
                 `--tokenize-prompt`",
            ),
            error => error.into(),
        })?;
        if let Some(trace) = &self.trace {
            self.check_words(trace, &words, say)?;
            return Ok(Arc::new(words));
        }
        if !words.is_exact() {
            say(format!(
                "the vocabulary of {} has too few usable words: random prompts are slow to make, and some may \
                 be a token too long or too short",
                tokenizer.path().display()
            ));
        }
        if self.history.is_some() {
            let frame = TurnFrame::measure(&words)?;
            if frame.spread > 0 {
                say(format!(
                    "the chat template adds {} to {} tokens for a turn: some turns may be longer than requested",
                    frame.tokens,
                    frame.tokens + frame.spread
                ));
            }
        }
        if !self.set.is_random() {
            return Ok(Arc::new(words));
        }
        let (min, max) = self.lengths;
        let around = words.overhead();
        let source = match frame {
            Frame::Chat => "from the chat template",
            Frame::Plain | Frame::Ids => "special tokens",
        };
        say(format!(
            "random prompts: {min} to {max} tokens{}{}, drawn from {} distinct tokens",
            if around > 0 {
                format!(", {around} of them {source}")
            } else {
                String::new()
            },
            if self.prefix > 0 {
                match self.prefixes {
                    1 => format!(", after a shared prefix of {}", self.prefix),
                    n => format!(", after one of {n} prefixes of {}", self.prefix),
                }
            } else {
                String::new()
            },
            words.variety()
        ));
        Ok(Arc::new(words))
    }

    fn filter(
        &self,
        tokenizer: Option<&Arc<Tokenizer>>,
        frame: Frame,
        say: &mut dyn FnMut(String),
    ) -> LengthFilter {
        let (min, max) = self.lengths;
        // a fixed dataset is sent in full, a random one has the right lengths, and a prompt on the
        // command line is sent as it is
        let typed = matches!(self.set, DatasetKind::Single(_));
        let is_made = self.is_placed() || self.makes_texts() && (min, max) == DEFAULT_LENGTHS;
        if typed
            || is_made
            || self.set.is_grouped()
            || self.fit.is_some()
            || self.set.whole().is_some()
        {
            return LengthFilter {
                min: 0,
                max: usize::MAX,
                measure: Arc::new(Chars),
            };
        }
        let measure: Arc<dyn Measure> = match tokenizer {
            Some(tokenizer) => Arc::new(TokenLength {
                tokenizer: Arc::clone(tokenizer),
                frame: match frame {
                    Frame::Chat if tokenizer.template().is_none() => Frame::Plain,
                    frame => frame,
                },
                strict: (min, max) != DEFAULT_LENGTHS,
            }),
            None => Arc::new(Chars),
        };
        if (min, max) != DEFAULT_LENGTHS {
            say(format!(
                "only prompts of {min} to {max} {} are used",
                measure.unit()
            ));
        }
        LengthFilter { min, max, measure }
    }
}
