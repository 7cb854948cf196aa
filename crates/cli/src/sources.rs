//! Owns the data set of a command: from what was asked for, by way of files that
//! are fetched and a tokenizer that is loaded, to prompts that can be opened
//! once for each run.
//!
//! It must not know the server.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use evalscope_core::dataset::{
    Ahead, Canvas, Chars, Flickr8k, Item, KontextBench, LengthFilter, Lengths, LineByLine,
    LongAlpaca, Measure, OpenQa, Prompt, PromptSource, PromptStream, Random, RandomPrompts, Sample,
    ShareGpt, ShareGptLanguage, Single, SpeedBenchmark, TokenLength, Tokenized, data_url,
    user_message,
};
use evalscope_core::tokens::{Frame, Tokenizer, TokenizerError, TokenizerFiles, Words};

use evalscope_plugin::{Place, Plugin, PluginDataset};

use crate::args::Dataset;
use crate::choices::shown_plugin;
use crate::failure::hinted;
use crate::fetch::{self, Fetcher};

/// A data set as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct PromptPlan {
    pub(crate) set: Set,
    /// `--dataset-path`.
    pub(crate) path: Option<PathBuf>,
    /// `--min-prompt-length` and `--max-prompt-length`.
    pub(crate) lengths: (usize, usize),
    /// `--prefix-length`.
    pub(crate) prefix: u64,
    /// `--prefix-count`.
    pub(crate) prefixes: u64,
    /// Messages are wanted, not plain prompts.
    pub(crate) chat: bool,
    /// `--tokenize-prompt`.
    pub(crate) as_ids: bool,
    /// `--tokenizer-path`.
    pub(crate) tokenizer: Option<String>,
    /// Root of the random draws.
    pub(crate) seed: u64,
}

/// Which data set.
#[derive(Clone, Debug)]
pub(crate) enum Set {
    /// `--prompt`.
    Single(String),
    Sample,
    Openqa,
    Longalpaca,
    LineByLine,
    ShareGpt(ShareGptLanguage),
    Flickr8k,
    KontextBench,
    SpeedBenchmark,
    SpeedBenchmarkLong,
    Random,
    RandomVl(Pictures),
    Plugin(Place),
}

/// The pictures of a prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pictures {
    pub(crate) canvas: Canvas,
    pub(crate) each: u32,
}

/// A data set that can be opened, once for each run.
#[derive(Debug)]
pub(crate) struct Prompts {
    /// For messages and for the record.
    pub(crate) name: String,
    /// The tokenizer, where one was given.
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    /// How prompts reach the model.
    pub(crate) frame: Frame,
    plan: PromptPlan,
    /// File or folder, where the set has one.
    place: PathBuf,
    /// Words of random sets.
    words: Option<Arc<Words>>,
    filter: LengthFilter,
    /// The data set, where it is a plugin.
    plugin: Option<Arc<Plugin>>,
    /// Prompts were taken from it before.
    used: AtomicBool,
}

impl Set {
    /// Its name on the command line.
    pub(crate) fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Single(_) => "prompt",
            Self::Sample => "sample",
            Self::Openqa => "openqa",
            Self::Longalpaca => "longalpaca",
            Self::LineByLine => "line_by_line",
            Self::ShareGpt(ShareGptLanguage::Chinese) => "share_gpt_zh",
            Self::ShareGpt(ShareGptLanguage::English) => "share_gpt_en",
            Self::Flickr8k => "flickr8k",
            Self::KontextBench => "kontext_bench",
            Self::SpeedBenchmark => "speed_benchmark",
            Self::SpeedBenchmarkLong => "speed_benchmark_long",
            Self::Random => "random",
            Self::RandomVl(_) => "random_vl",
            Self::Plugin(place) => return shown_plugin::<Dataset>(place).into(),
        })
    }

    /// Requests that go once through a set that is meant to be sent whole.
    pub(crate) fn whole(&self) -> Option<u64> {
        match self {
            Self::SpeedBenchmark => Some(SpeedBenchmark::short().requests()),
            Self::SpeedBenchmarkLong => Some(SpeedBenchmark::long().requests()),
            _ => None,
        }
    }

    fn remote(&self) -> Option<fetch::RemoteDataset> {
        match self {
            Self::Openqa => Some(fetch::OPENQA),
            Self::Longalpaca => Some(fetch::LONGALPACA),
            Self::ShareGpt(ShareGptLanguage::Chinese) => Some(fetch::SHARE_GPT_ZH),
            Self::ShareGpt(ShareGptLanguage::English) => Some(fetch::SHARE_GPT_EN),
            Self::Flickr8k => Some(fetch::FLICKR8K),
            Self::KontextBench => Some(fetch::KONTEXT_BENCH),
            _ => None,
        }
    }

    /// Whether it is made rather than read: its lengths are asked for, not
    /// filtered.
    fn is_random(&self) -> bool {
        matches!(self, Self::Random | Self::RandomVl(_))
    }
}

impl PromptPlan {
    /// Fetch and load the tokenizer, if one is wanted.
    pub(crate) fn tokenizer(
        &self,
        fetcher: &Fetcher<'_>,
    ) -> anyhow::Result<Option<Arc<Tokenizer>>> {
        let load = |place| load_tokenizer(place, fetcher).map(Arc::new);
        self.tokenizer.as_deref().map(load).transpose()
    }

    /// Fetch and load what else the data set needs. `plugin` is the one of
    /// [`Set::Plugin`], which runs.
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
        let place = match (&self.path, self.set.remote()) {
            (Some(path), _) => path.clone(),
            (None, Some(remote)) => fetcher.dataset(&self.set.name(), remote)?,
            (None, None) => PathBuf::new(),
        };
        // random ids need none: nobody has to read them
        if let Some(tokenizer) = &tokenizer
            && self.as_ids
            && self.chat
            && !self.set.is_random()
            && tokenizer.template().is_none()
        {
            return Err(hinted(
                format!(
                    "{} has no chat template, so the ids that a chat endpoint would make are not known",
                    tokenizer.path().display()
                ),
                "put the model's chat_template.jinja or tokenizer_config.json beside it, or give a URL \
                 that ends in /v1/completions: then prompts are encoded as they are",
            ));
        }
        let words = match &tokenizer {
            Some(tokenizer) if self.set.is_random() => Some(self.words(tokenizer, frame, say)?),
            _ => None,
        };
        let filter = self.filter(tokenizer.as_ref(), frame, say);
        Ok(Prompts {
            name: self.set.name().into_owned(),
            tokenizer,
            frame,
            plan: self,
            place,
            words,
            filter,
            plugin,
            used: AtomicBool::new(false),
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
                "put the model's chat_template.jinja or tokenizer_config.json beside it, or send plain \
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
        if !words.is_exact() {
            say(format!(
                "the vocabulary of {} has too few words: random prompts are made slowly, and some may be \
                 a token off",
                tokenizer.path().display()
            ));
        }
        let (min, max) = self.lengths;
        let around = words.overhead();
        say(format!(
            "random prompts of {min} to {max} tokens{}{}, of {} distinct tokens",
            if around > 0 {
                format!(", {around} of them around the text")
            } else {
                String::new()
            },
            if self.prefix > 0 {
                match self.prefixes {
                    1 => format!(", behind {} that all share", self.prefix),
                    n => format!(", behind one of {n} prefixes of {}", self.prefix),
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
        // a fixed set is sent whole, a random one is made to measure
        if self.set.is_random() || self.set.whole().is_some() {
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
                "prompts of {min} to {max} {} are taken",
                measure.unit()
            ));
        }
        LengthFilter { min, max, measure }
    }
}

/// `--min-prompt-length` and `--max-prompt-length` when they are not given.
pub(crate) const DEFAULT_LENGTHS: (usize, usize) = (0, 131_072);

impl Prompts {
    /// Open the data set and pass over what earlier runs have used. `spare` is
    /// how many threads may make pictures ahead of need.
    pub(crate) fn open(&self, offset: u64, spare: NonZeroUsize) -> anyhow::Result<PromptStream> {
        let place = self.place.as_path();
        let source: Box<dyn PromptSource> = match &self.plan.set {
            Set::Single(text) => Box::new(Single::new(text.clone())),
            Set::Sample => Box::new(Sample::default()),
            Set::Openqa => Box::new(OpenQa::open(place)?),
            Set::Longalpaca => Box::new(LongAlpaca::open(place)?),
            Set::LineByLine => Box::new(LineByLine::open(place)?),
            Set::ShareGpt(language) => Box::new(ShareGpt::open(place, *language)?),
            Set::Flickr8k => Box::new(Flickr8k::open(place)?),
            Set::KontextBench => Box::new(KontextBench::open(place)?),
            Set::SpeedBenchmark => Box::new(SpeedBenchmark::short()),
            Set::SpeedBenchmarkLong => Box::new(SpeedBenchmark::long()),
            Set::Plugin(_) => {
                let plugin = self.plugin.as_ref().expect("it was started for this set");
                let used = self.used.swap(true, Ordering::Relaxed);
                Box::new(PluginDataset::new(Arc::clone(plugin), used))
            }
            Set::Random => Box::new(Random::new(self.random(offset)?, offset)),
            Set::RandomVl(pictures) => {
                let generator = with_pictures(self.random(offset)?, *pictures, self.plan.seed);
                Box::new(Ahead::new(Arc::new(generator), offset, spare.get()))
            }
        };
        let source = match (
            &self.tokenizer,
            self.plan.as_ids && !self.plan.set.is_random(),
        ) {
            (Some(tokenizer), true) => {
                let frame = if self.plan.chat {
                    Frame::Chat
                } else {
                    Frame::Plain
                };
                Box::new(Tokenized::new(source, Arc::clone(tokenizer), frame))
            }
            _ => source,
        };
        let mut stream = PromptStream::new(self.name.clone(), source, self.filter.clone());
        // one prompt has no next one, and random ones begin at their index
        let starts_over = matches!(self.plan.set, Set::Single(_)) || self.plan.set.is_random();
        if !starts_over {
            stream.skip(offset)?;
        }
        Ok(stream)
    }

    fn random(&self, start: u64) -> anyhow::Result<RandomPrompts> {
        let words = self.words.as_ref().expect("random sets have words");
        let (min, max) = self.plan.lengths;
        let lengths = Lengths {
            min: min as u64,
            max: max as u64,
            prefix: self.plan.prefix,
            prefixes: self.plan.prefixes,
        };
        let seed = self.plan.seed;
        RandomPrompts::new(Arc::clone(words), self.frame, lengths, seed, start)
            .map_err(|error| hinted(error.to_string(), "raise `--max-prompt-length`"))
    }
}

/// Prompts with their pictures, by index.
fn with_pictures(
    prompts: RandomPrompts,
    pictures: Pictures,
    seed: u64,
) -> impl Fn(u64) -> Item + Send + Sync {
    move |index| {
        let (text, tokens) = prompts.text(index);
        let urls = (0..u64::from(pictures.each)).map(|n| {
            let at = index * u64::from(pictures.each) + n;
            data_url("image/png", &pictures.canvas.picture(seed, at))
        });
        let message = user_message(&text, urls);
        Item {
            prompt: Prompt::Messages(vec![message]),
            // what the server makes of pictures is not known: only the text is asked for
            asked_tokens: (pictures.each == 0).then_some(tokens),
        }
    }
}

/// A tokenizer here, or on the hub.
fn load_tokenizer(place: &str, fetcher: &Fetcher<'_>) -> anyhow::Result<Tokenizer> {
    let path = Path::new(place);
    // a link that leads nowhere is not a hub's id
    if path.symlink_metadata().is_ok() || !looks_like_id(place) {
        let files = TokenizerFiles::at(path).map_err(|error| {
            hinted(
                error.to_string(),
                "give a folder that holds a tokenizer.json, that file, or a hub's id such as \
                 Qwen/Qwen2.5-0.5B-Instruct",
            )
        })?;
        return Ok(Tokenizer::load_files(&files)?);
    }
    Tokenizer::load_files(&fetcher.tokenizer(place)?).map_err(|error| match error {
        TokenizerError::Invalid { .. } => hinted(
            error.to_string(),
            "this is what the hub has; if it was mended there, delete the file, and it is \
             fetched again",
        ),
        error => error.into(),
    })
}

/// `owner/name`, and no path.
fn looks_like_id(text: &str) -> bool {
    let mut parts = text.split('/');
    let named = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && !part.starts_with(['.', '~']))
    };
    named(parts.next()) && named(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        for id in ["Qwen/Qwen2.5-0.5B-Instruct", "a/b"] {
            assert!(looks_like_id(id), "{id}");
        }
        for path in [
            "qwen",
            "./a/b",
            "/a/b",
            "a/b/c",
            "../x",
            "~/x",
            "a/",
            "THE/PATH/x/",
        ] {
            assert!(!looks_like_id(path), "{path}");
        }
    }
}
