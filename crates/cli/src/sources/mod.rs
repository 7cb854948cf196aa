//! Owns the dataset of a command: it downloads files, loads the tokenizer, and makes prompts that
//! can be opened once for each run.
//!
//! It must not know the server.

pub(crate) mod fetch;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use evalscope_model::prompt::{Item, Prompt};
use evalscope_workload::dataset::{
    Ahead, Canvas, Chars, DatasetError, Flickr8k, KontextBench, LengthFilter, Lengths, LineByLine,
    LongAlpaca, Measure, OpenQa, OwnField, PromptSource, PromptStream, Random, RandomPrompts,
    Sample, ShareGpt, ShareGptLanguage, Single, SpeedBenchmark, Tally, TextLines, TokenLength,
    Tokenized, data_url, user_message,
};
use evalscope_workload::tokens::{Asked, Frame, Tokenizer, TokenizerError, TokenizerFiles, Words};

use evalscope_hub::Source;
use evalscope_plugin::{Place, Plugin, PluginDataset};

use crate::failure::hinted;
use crate::flags::choices::{Dataset, shown_plugin};

use fetch::Fetcher;

/// A dataset as it was asked for.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag or what follows from one"
)]
pub(crate) struct PromptPlan {
    pub(crate) set: DatasetKind,
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
    /// `--skip-bad-lines`.
    pub(crate) skip_bad: bool,
    /// A body on a line may be any object: the API is a custom one.
    pub(crate) any_body: bool,
    /// What requests ask of the chat template.
    pub(crate) asked: Asked,
}

/// Which dataset.
#[derive(Clone, Debug)]
pub(crate) enum DatasetKind {
    /// `--prompt`.
    Single(String),
    Sample,
    Openqa,
    Longalpaca,
    LineByLine,
    /// A text a line, or this field of records.
    Custom(Option<String>),
    ShareGpt(ShareGptLanguage),
    Flickr8k,
    KontextBench,
    SpeedBenchmark,
    SpeedBenchmarkLong,
    Random,
    RandomVl(Images),
    Plugin(Place),
}

/// The images of a prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Images {
    pub(crate) canvas: Canvas,
    pub(crate) each: u32,
}

/// A dataset that can be opened, once for each run.
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
    /// The dataset, where it is a plugin.
    plugin: Option<Arc<Plugin>>,
    /// Prompts were taken from it before.
    used: AtomicBool,
    /// What the files hold, where they were read through.
    surveyed: Option<Tally>,
}

impl DatasetKind {
    /// Its name on the command line.
    pub(crate) fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Single(_) => "prompt",
            Self::Sample => "sample",
            Self::Openqa => "openqa",
            Self::Longalpaca => "longalpaca",
            Self::LineByLine => "line_by_line",
            Self::Custom(_) => "custom",
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
    pub(crate) fn is_random(&self) -> bool {
        matches!(self, Self::Random | Self::RandomVl(_))
    }

    /// Whether it is read from files of texts, line by line or item by item.
    pub(crate) fn is_text_file(&self) -> bool {
        matches!(
            self,
            Self::Openqa
                | Self::Longalpaca
                | Self::LineByLine
                | Self::Custom(_)
                | Self::ShareGpt(_)
        )
    }
}

impl PromptPlan {
    /// Fetch and load the tokenizer, if one is wanted.
    pub(crate) fn tokenizer(
        &self,
        fetcher: &Fetcher<'_>,
    ) -> anyhow::Result<Option<Arc<Tokenizer>>> {
        let load = |place| {
            let tokenizer = load_tokenizer(place, fetcher)?;
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
        let place = match (&self.path, self.set.remote()) {
            (Some(path), _) => path.clone(),
            (None, Some(remote)) => fetcher.dataset(&self.set.name(), remote)?,
            (None, None) => PathBuf::new(),
        };
        // random ids need none: they are not text
        if let Some(tokenizer) = &tokenizer
            && self.as_ids
            && self.chat
            && !self.set.is_random()
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
        if !words.is_exact() {
            say(format!(
                "the vocabulary of {} has too few usable words: random prompts are slow to make, and some may \
                 be a token too long or too short",
                tokenizer.path().display()
            ));
        }
        let (min, max) = self.lengths;
        let around = words.overhead();
        say(format!(
            "random prompts: {min} to {max} tokens{}{}, drawn from {} distinct tokens",
            if around > 0 {
                format!(", {around} of them from the chat template")
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
        if typed || self.set.is_random() || self.set.whole().is_some() {
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

/// `--min-prompt-length` and `--max-prompt-length` when they are not given.
pub(crate) const DEFAULT_LENGTHS: (usize, usize) = (0, 131_072);

/// Files of this size and more are not read through ahead of the load: that would
/// take longer than a person likes to wait.
const SURVEYED_BYTES: u64 = 1 << 30;

/// Folders in folders that are looked into for their size, as datasets are.
const DEPTH: usize = 3;

impl Prompts {
    /// Read the text files once, so that a line that cannot be used is found before anything is sent.
    /// Says what they contain. `go_on` is asked now and then.
    pub(crate) fn survey(
        &mut self,
        go_on: impl FnMut() -> bool,
        say: &mut dyn FnMut(String),
    ) -> anyhow::Result<()> {
        let small = bytes_of(&self.place, DEPTH).is_some_and(|bytes| bytes < SURVEYED_BYTES);
        if !self.plan.set.is_text_file() || !small {
            return Ok(());
        }
        let source = self.source(0, NonZeroUsize::MIN)?;
        // to count the tokens of all prompts would take minutes
        let filter = match &self.tokenizer {
            Some(_) => LengthFilter {
                min: 0,
                max: usize::MAX,
                measure: Arc::new(Chars),
            },
            None => self.filter.clone(),
        };
        let stream =
            PromptStream::new(self.name.clone(), source, filter).skipping_bad(self.plan.skip_bad);
        let tally = stream
            .survey(go_on)
            .map_err(|error| self.explained(error))?;
        say(self.described(&tally));
        self.surveyed = Some(tally);
        Ok(())
    }

    /// What the files contain.
    fn described(&self, tally: &Tally) -> String {
        let (min, max) = self.plan.lengths;
        let unit = self.filter.measure.unit();
        let left_out: Vec<String> = [
            (tally.blank, "blank".to_owned()),
            (tally.short, format!("shorter than {min} {unit}")),
            (tally.long, format!("longer than {max} {unit}")),
            (tally.bad, "unreadable".to_owned()),
        ]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
        format!(
            "the dataset `{}` has {} prompt{}{}{}",
            self.name,
            tally.taken,
            if tally.taken == 1 { "" } else { "s" },
            if left_out.is_empty() {
                ""
            } else {
                "; left out: "
            },
            left_out.join(", ")
        )
    }

    /// A warning about skipped lines, for a run whose prompts came to `tally`.
    pub(crate) fn passed_over(&self, tally: &Tally) -> Option<String> {
        let tally = self.surveyed.as_ref().unwrap_or(tally);
        let first = tally.first_bad.as_ref()?;
        Some(format!(
            "`--skip-bad-lines` skipped {} of the dataset `{}`; the first: {first}",
            if tally.bad == 1 {
                "1 item".to_owned()
            } else {
                format!("{} items", tally.bad)
            },
            self.name
        ))
    }

    /// What is wrong with the dataset, and what can be done.
    pub(crate) fn explained(&self, error: DatasetError) -> anyhow::Error {
        let hint = match &error {
            DatasetError::Item { .. } if self.plan.set.is_text_file() => BAD_LINE,
            DatasetError::NothingFits { .. } => {
                "see `--min-prompt-length` and `--max-prompt-length`"
            }
            _ => return error.into(),
        };
        hinted(error.to_string(), hint)
    }

    /// Open the dataset and pass over what earlier runs have used. `spare` is
    /// how many threads may make images ahead of need.
    pub(crate) fn open(&self, offset: u64, spare: NonZeroUsize) -> anyhow::Result<PromptStream> {
        let source = self.source(offset, spare)?;
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
        let mut stream = PromptStream::new(self.name.clone(), source, self.filter.clone())
            .skipping_bad(self.plan.skip_bad);
        // one prompt has no next one, and random ones begin at their index
        let starts_over =
            matches!(self.plan.set, DatasetKind::Single(_)) || self.plan.set.is_random();
        if !starts_over {
            stream.skip(offset).map_err(|error| self.explained(error))?;
        }
        Ok(stream)
    }

    /// The prompts as they stand in the dataset.
    fn source(&self, offset: u64, spare: NonZeroUsize) -> anyhow::Result<Box<dyn PromptSource>> {
        let place = self.place.as_path();
        Ok(match &self.plan.set {
            DatasetKind::Single(text) => Box::new(Single::new(text.clone())),
            DatasetKind::Sample => Box::new(Sample::default()),
            DatasetKind::Openqa => Box::new(OpenQa::open(place)?),
            DatasetKind::Longalpaca => {
                Box::new(LongAlpaca::open(place).map_err(|e| self.explained(e))?)
            }
            DatasetKind::LineByLine => Box::new(LineByLine::open(place, self.plan.any_body)?),
            DatasetKind::Custom(None) => Box::new(TextLines::open(place)?),
            DatasetKind::Custom(Some(field)) => Box::new(OwnField::open(place, field)?),
            DatasetKind::ShareGpt(language) => Box::new(ShareGpt::open(place, *language)?),
            DatasetKind::Flickr8k => Box::new(Flickr8k::open(place)?),
            DatasetKind::KontextBench => Box::new(KontextBench::open(place)?),
            DatasetKind::SpeedBenchmark => Box::new(SpeedBenchmark::short()),
            DatasetKind::SpeedBenchmarkLong => Box::new(SpeedBenchmark::long()),
            DatasetKind::Plugin(_) => {
                let plugin = self.plugin.as_ref().expect("it was started for this set");
                let used = self.used.swap(true, Ordering::Relaxed);
                Box::new(PluginDataset::new(Arc::clone(plugin), used))
            }
            DatasetKind::Random => Box::new(Random::new(self.random(offset)?, offset)),
            DatasetKind::RandomVl(images) => {
                let generator = with_images(self.random(offset)?, *images, self.plan.seed);
                Box::new(Ahead::new(Arc::new(generator), offset, spare.get()))
            }
        })
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

/// What to do about a line that cannot be used.
pub(crate) const BAD_LINE: &str = "correct the file, or skip such lines with `--skip-bad-lines`";

/// Bytes of a file, or of all files in a folder; `None` where that is not known.
fn bytes_of(place: &Path, depth: usize) -> Option<u64> {
    let found = std::fs::metadata(place).ok()?;
    if found.is_file() {
        return Some(found.len());
    }
    if !found.is_dir() || depth == 0 {
        return None;
    }
    let entries = std::fs::read_dir(place).ok()?;
    entries
        .map(|entry| bytes_of(&entry.ok()?.path(), depth - 1))
        .sum()
}

/// Prompts with their images, by index.
fn with_images(
    prompts: RandomPrompts,
    images: Images,
    seed: u64,
) -> impl Fn(u64) -> Item + Send + Sync {
    move |index| {
        let (text, tokens) = prompts.text(index);
        let urls = (0..u64::from(images.each)).map(|n| {
            let at = index * u64::from(images.each) + n;
            data_url("image/png", &images.canvas.image(seed, at))
        });
        let message = user_message(&text, urls);
        Item {
            prompt: Prompt::Messages(vec![message]),
            // what the server makes of images is not known: only the text is asked for
            asked_tokens: (images.each == 0).then_some(tokens),
        }
    }
}

/// A tokenizer here, or on the hub.
fn load_tokenizer(place: &str, fetcher: &Fetcher<'_>) -> anyhow::Result<Tokenizer> {
    let path = Path::new(place);
    // a link that leads nowhere is not a hub's id
    if path.symlink_metadata().is_ok() || !looks_like_id(place, fetcher.source) {
        let files = TokenizerFiles::at(path).map_err(|error| {
            let hint = match &error {
                TokenizerError::Missing {
                    other_form: false, ..
                } => {
                    "give a folder that contains a tokenizer.json, the file itself, or a hub id such as \
                     Qwen/Qwen2.5-0.5B-Instruct"
                }
                _ => fetch::NO_TOKENIZER,
            };
            hinted(error.to_string(), hint)
        })?;
        return Ok(Tokenizer::load_files(&files)?);
    }
    Tokenizer::load_files(&fetcher.tokenizer(place)?).map_err(|error| match error {
        TokenizerError::Invalid { .. } => hinted(
            error.to_string(),
            "the file on the hub is invalid; if it has been corrected there, delete the local copy to \
             download it again",
        ),
        error => error.into(),
    })
}

/// `owner/name`, and no path; at Hugging Face old models have no owner. What ends
/// as files of tokenizers do is a path with a slip in it.
fn looks_like_id(text: &str, hub: Option<Source>) -> bool {
    let file = Path::new(text).extension().is_some_and(|ending| {
        ["json", "model", "jinja", "tiktoken"]
            .iter()
            .any(|known| ending == *known)
    });
    let mut parts = text.split('/');
    let named = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && !part.starts_with(['.', '~']))
    };
    let first = named(parts.next());
    let second = match parts.next() {
        None => hub == Some(Source::HuggingFace),
        part => named(part),
    };
    !file && first && second && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        for id in ["Qwen/Qwen2.5-0.5B-Instruct", "a/b"] {
            assert!(looks_like_id(id, None), "{id}");
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
            "tok/nope.json",
            "tok/tokenizer.model",
        ] {
            assert!(!looks_like_id(path, Some(Source::ModelScope)), "{path}");
        }
        assert!(looks_like_id("gpt2", Some(Source::HuggingFace)));
        assert!(!looks_like_id("tokenizer.json", Some(Source::HuggingFace)));
    }
}
