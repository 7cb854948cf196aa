//! Owns what a row of a dataset says: what it is made from, what it gives to a run, where a hub has it,
//! how it is opened. What [`TEXTS`] has need not be repeated.
//!
//! It must not know which datasets there are, nor flags.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use evalscope_workload::dataset::{
    ArgsError, ArgsReader, Canvas, PromptSource, RandomPrompts, Replies, TextLines,
};
use evalscope_workload::tokens::{Tokenizer, Words};
use evalscope_workload::trace::{TraceKind, TraceSettings, TraceSource};
use serde_json::{Map, Value};

use super::row::Row;

/// A built-in dataset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DatasetRow {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) help: &'static str,
    /// What prompts are made from.
    pub(crate) origin: Origin,
    /// Where the hubs have it, if they do.
    pub(crate) hub: Option<RemoteDataset>,
    /// What it gives to a run.
    pub(crate) sessions: Sessions,
    /// Checks `--dataset-args`: takes every key that the dataset knows. The dataset takes them again
    /// when it is opened.
    pub(crate) args: fn(&mut ArgsReader) -> Result<(), ArgsError>,
    /// What its items are for.
    pub(crate) feeds: Feeds,
    /// Options that EvalScope takes from `--extra-args`.
    pub(crate) extra_keys: &'static [&'static str],
    /// Options give its prompts a length (`target_input_len`).
    pub(crate) fits: bool,
    /// `--prompt-field` reads a field of its records.
    pub(crate) reads_fields: bool,
    /// Requests of one pass, if the dataset is meant to be sent whole and as it is: as plain
    /// prompts, whatever the URL.
    pub(crate) whole: Option<fn() -> u64>,
    /// What a person should know before it is used.
    pub(crate) note: Option<&'static str>,
    /// Open it.
    pub(crate) open: fn(&Opening<'_>) -> anyhow::Result<Box<dyn PromptSource>>,
}

impl Row for DatasetRow {
    fn name(&self) -> &'static str {
        self.name
    }

    fn aliases(&self) -> &'static [&'static str] {
        self.aliases
    }

    fn help(&self) -> &'static str {
        self.help
    }
}

impl DatasetRow {
    /// Whether `--dataset-path` must be given.
    pub(crate) fn needs_file(&self) -> bool {
        self.origin.has_file() && self.hub.is_none()
    }
}

/// What the items of a dataset are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feeds {
    /// Prompts of any API that reads texts.
    Prompts,
    /// Texts of embeddings, one or several in a request.
    Texts,
    /// Queries with documents to rank.
    Rankings,
}

/// What a dataset gives to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// Single requests: `--multi-turn` is an error.
    Requests,
    /// Conversations: they imply `--multi-turn`.
    Conversations,
    /// Both: `--multi-turn` decides.
    Either,
}

/// What prompts are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This program.
    BuiltIn,
    /// Files of texts, read line by line or item by item.
    Texts,
    /// Files of images with texts.
    Images,
    /// Random words.
    Random,
    /// Random words and random images.
    RandomImages,
    /// Files that say how long prompts were: a text is made for each.
    Lengths,
    /// Files that say when requests came, and how long they were or what they said; of this format, or
    /// of one that is found out.
    Trace(Option<TraceKind>),
}

impl Origin {
    /// Whether prompts are made rather than read: lengths are asked for, not filtered.
    pub(crate) fn is_random(self) -> bool {
        matches!(self, Self::Random | Self::RandomImages)
    }

    /// Whether texts are made of words: a tokenizer is needed.
    pub(crate) fn makes_texts(self) -> bool {
        self.is_random() || self == Self::Lengths
    }

    pub(crate) fn has_images(self) -> bool {
        matches!(self, Self::Images | Self::RandomImages)
    }

    pub(crate) fn has_file(self) -> bool {
        matches!(
            self,
            Self::Texts | Self::Images | Self::Lengths | Self::Trace(_)
        )
    }
}

/// A dataset on the hubs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteDataset {
    /// Its id at `ModelScope` and at Hugging Face.
    pub(crate) ids: [&'static str; 2],
    pub(crate) files: Files,
}

/// Which files of a repository make a dataset.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Files {
    /// This one.
    One(&'static str),
    /// Those whose path has this in it and ends like this; all of the first
    /// ending that any has.
    Matching(&'static str, &'static [&'static str]),
    /// Those whose path has this in it and ends like this, in a folder for each subset; the option
    /// `subset` picks one.
    Subsets(&'static str, &'static str),
}

/// What a dataset is opened with.
pub(crate) struct Opening<'a> {
    /// File or folder; empty where there is none.
    pub(crate) place: &'a Path,
    /// `--prompt-field`.
    pub(crate) field: Option<&'a str>,
    /// A body on a line may be any object.
    pub(crate) any_body: bool,
    /// Prompts are given a length.
    pub(crate) fits: bool,
    /// `--dataset-args`.
    pub(crate) args: &'a Map<String, Value>,
    /// `--min-turns` and `--max-turns`.
    pub(crate) turns: (u32, Option<u32>),
    /// Whether recorded responses are needed.
    pub(crate) replies: Replies,
    /// Tokens of a response: the fewest and the most.
    pub(crate) output_tokens: (u64, u64),
    /// The tokenizer, where one was given.
    pub(crate) tokenizer: Option<&'a Arc<Tokenizer>>,
    /// Its words, for datasets that make texts.
    pub(crate) words: Option<&'a Arc<Words>>,
    /// Opens the trace of the command.
    pub(crate) trace: &'a dyn Fn() -> anyhow::Result<TraceSource>,
    /// Makes random prompts.
    pub(crate) random: &'a dyn Fn() -> anyhow::Result<RandomPrompts>,
    /// The images of a random prompt.
    pub(crate) images: Option<DrawnImages>,
    /// Root of the random draws.
    pub(crate) seed: u64,
    /// Prompts that earlier runs have used; only random prompts begin there by themselves.
    pub(crate) offset: u64,
    /// Threads that may make images ahead of need.
    pub(crate) spare: NonZeroUsize,
}

/// The images of a random prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrawnImages {
    pub(crate) canvas: Canvas,
    pub(crate) each: u32,
}

/// What most datasets are like: a file of texts.
pub(crate) const TEXTS: DatasetRow = DatasetRow {
    name: "",
    aliases: &[],
    help: "",
    origin: Origin::Texts,
    hub: None,
    sessions: Sessions::Requests,
    args: |_| Ok(()),
    feeds: Feeds::Prompts,
    extra_keys: &[],
    fits: false,
    reads_fields: false,
    whole: None,
    note: None,
    open: |with| Ok(Box::new(TextLines::open(with.place)?)),
};

/// What traces are like.
pub(super) const TRACES: DatasetRow = DatasetRow {
    origin: Origin::Trace(None),
    args: |args| TraceSettings::take(args).map(drop),
    open: |with| Ok(Box::new((with.trace)()?)),
    ..TEXTS
};
