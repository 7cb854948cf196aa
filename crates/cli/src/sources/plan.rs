//! Owns a dataset as it was asked for. Nothing of it is opened or downloaded yet.
//!
//! It must not know the server.

use std::path::PathBuf;
use std::sync::Arc;

use evalscope_model::conversation::History;
use evalscope_plugin::Place;
use evalscope_workload::dataset::TextArgs;
use evalscope_workload::tokens::Asked;
use evalscope_workload::trace::Trace;
use serde_json::{Map, Value};

use crate::catalog::datasets::{DATASETS, DatasetRow, DrawnImages, Feeds, Origin, RemoteDataset};

/// `--min-prompt-length` and `--max-prompt-length` when they are not given.
pub(crate) const DEFAULT_LENGTHS: (usize, usize) = (0, 131_072);

/// A dataset as it was asked for.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag or what follows from one"
)]
pub(crate) struct PromptPlan {
    pub(crate) set: DatasetKind,
    /// `--prompt-field`.
    pub(crate) field: Option<String>,
    /// The images of random prompts, if they have any.
    pub(crate) images: Option<DrawnImages>,
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
    /// The server completes texts: it takes no messages.
    pub(crate) plain: bool,
    /// `--tokenize-prompt`.
    pub(crate) as_ids: bool,
    /// `--tokenizer-path`.
    pub(crate) tokenizer: Option<String>,
    /// Root of the random draws.
    pub(crate) seed: u64,
    /// `--skip-bad-lines`.
    pub(crate) skip_bad: bool,
    /// `--dataset-args`, known to be good for a built-in dataset.
    pub(crate) args: Map<String, Value>,
    /// The options that give its prompts a length.
    pub(crate) fit: Option<TextArgs>,
    /// `--min-turns`.
    pub(crate) min_turns: u32,
    /// `--max-turns`.
    pub(crate) max_turns: Option<u32>,
    /// `--history`; `None`: the run sends single requests.
    pub(crate) history: Option<History>,
    /// `--max-tokens`: the fewest and the most.
    pub(crate) output_tokens: (u64, u64),
    /// The trace, where the dataset is one. It was read once.
    pub(crate) trace: Option<Arc<Trace>>,
    /// Names of headers that all requests have.
    pub(crate) shared_headers: Vec<String>,
    /// A body on a line may be any object: the API is a custom one.
    pub(crate) any_body: bool,
    /// What requests ask of the chat template.
    pub(crate) asked: Asked,
}

impl PromptPlan {
    /// Whether texts are made rather than read.
    pub(super) fn makes_texts(&self) -> bool {
        let trace = self.trace.as_ref();
        self.set.makes_texts() || trace.is_some_and(|trace| trace.needs_words())
    }

    /// The option that picks a part of a dataset on a hub.
    pub(super) fn subset(&self) -> Option<&str> {
        self.args.get("subset")?.as_str()
    }

    /// Whether prompts begin where they should by themselves, and are as long as they should be.
    pub(super) fn is_placed(&self) -> bool {
        self.set.is_random() || self.trace.is_some()
    }
}

/// Which dataset.
#[derive(Clone, Debug)]
pub(crate) enum DatasetKind {
    /// `--prompt`.
    Single(String),
    BuiltIn(&'static DatasetRow),
    Plugin(Place),
}

impl DatasetKind {
    /// Its name on the command line.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Single(_) => "prompt".to_owned(),
            Self::BuiltIn(row) => row.name.to_owned(),
            Self::Plugin(place) => DATASETS.shown_plugin(place),
        }
    }

    fn row(&self) -> Option<&'static DatasetRow> {
        match self {
            Self::BuiltIn(row) => Some(row),
            Self::Single(_) | Self::Plugin(_) => None,
        }
    }

    /// Requests that go once through a dataset that is meant to be sent whole.
    pub(crate) fn whole(&self) -> Option<u64> {
        Some(self.row()?.whole?())
    }

    /// Where the hubs have it.
    pub(crate) fn hub(&self) -> Option<RemoteDataset> {
        self.row()?.hub
    }

    /// Whether it is made rather than read: its lengths are asked for, not
    /// filtered.
    pub(crate) fn is_random(&self) -> bool {
        self.row().is_some_and(|row| row.origin.is_random())
    }

    /// Whether texts are made of the tokenizer's words.
    pub(crate) fn makes_texts(&self) -> bool {
        self.row().is_some_and(|row| row.origin.makes_texts())
    }

    /// What a person should know before it is used.
    pub(crate) fn note(&self) -> Option<&'static str> {
        self.row()?.note
    }

    /// Whether its items are more than a text: their lengths are not filtered.
    pub(crate) fn is_grouped(&self) -> bool {
        self.row()
            .is_some_and(|row| row.feeds == Feeds::Rankings || !row.extra_keys.is_empty())
    }

    pub(crate) fn has_images(&self) -> bool {
        self.row().is_some_and(|row| row.origin.has_images())
    }

    /// Whether it is read from text files, line by line or item by item.
    pub(crate) fn is_text_file(&self) -> bool {
        let origin = self.row().map(|row| row.origin);
        matches!(
            origin,
            Some(Origin::Texts | Origin::Lengths | Origin::Trace(_))
        )
    }
}
