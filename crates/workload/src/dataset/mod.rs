//! Owns the sources of prompts: one file per kind of dataset, all streaming, so that memory does
//! not grow with the number of requests.
//!
//! It must not know APIs, HTTP or timing.

mod ahead;
mod args;
mod conversation;
mod csv_rows;
mod embedding;
mod file_list;
mod fitted;
mod flickr8k;
mod image_folder;
mod image_parts;
mod image_sample;
mod image_text;
mod item;
mod jpeg;
mod json_list;
mod kontext_bench;
mod line_by_line;
mod lines;
mod longalpaca;
mod mmmu;
mod openqa;
mod options_list;
mod own_field;
mod parquet_rows;
mod plain;
mod random;
mod records;
mod rerank;
mod sample;
mod share_gpt;
mod single;
mod speed_benchmark;
mod stream;
mod synthetic_image;
mod tar_shards;
mod token_length;

use std::fmt;
use std::path::PathBuf;

use evalscope_model::conversation::Turn;
use evalscope_model::prompt::{Item, Prompt};

use crate::tokens::TokenizerError;

pub use ahead::{Ahead, Generator};
pub use args::{ArgsError, ArgsReader};
pub use conversation::{
    CustomMultiTurn, DelayUnit, Exchange, RandomTurns, Replies, ShareGptMultiTurn, SweArgs,
    SwePrebuilt, SweTrajectories, Trie, TrieWorkload, TurnNumbers, session,
};
pub use embedding::{Batches, EmbeddingTexts};
pub use fitted::{Fitted, PrefixRole, Shorter, TextArgs};
pub use flickr8k::Flickr8k;
pub use image_parts::{content_parts, data_url, image_mime, image_tokens, user_message};
pub use kontext_bench::KontextBench;
pub use line_by_line::{LineByLine, TextLines};
pub use longalpaca::LongAlpaca;
pub use mmmu::{Mmmu, MmmuArgs};
pub use openqa::OpenQa;
pub use own_field::OwnField;
pub use plain::Plain;
pub use random::{Lengths, Random, RandomPrompts};
pub use rerank::{RandomDocuments, RandomRerank, RerankFile};
pub use sample::{SAMPLE_PROMPTS, Sample};
pub use share_gpt::{ShareGpt, ShareGptLanguage};
pub use single::Single;
pub use speed_benchmark::SpeedBenchmark;
pub use stream::{Chars, LengthFilter, Measure, PromptStream, Tally};
pub use synthetic_image::{Canvas, ImageError, PixelMode};
pub use token_length::{TokenLength, Tokenized, prompt_ids};

/// A dataset: its prompts in order, repeatable.
pub trait PromptSource: fmt::Debug + Send {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// If the next item cannot be read or lacks a required field.
    fn next(&mut self) -> Result<Option<Item>, DatasetError>;

    /// Go back to the start.
    ///
    /// # Errors
    /// If the dataset cannot be opened again.
    fn rewind(&mut self) -> Result<(), DatasetError>;

    /// Whether its items take so long to make that they are not all made ahead of the load, to check
    /// them.
    fn is_costly(&self) -> bool {
        false
    }

    /// The next item, which is not used: what is generated of it may be missing, but not its turns.
    ///
    /// # Errors
    /// As for [`PromptSource::next`].
    fn pass(&mut self) -> Result<Option<Item>, DatasetError> {
        self.next()
    }

    /// Skip `n` items if the source can do so without generating them; returns whether it did.
    fn jump(&mut self, _n: u64) -> bool {
        false
    }
}

/// What stands for a generated item that is passed over, with this number of turns after the first.
pub(crate) fn passed(later: usize) -> Item {
    let mut item = Item::from(Prompt::Text("passed over".to_owned()));
    item.later = vec![Turn::default(); later];
    item
}

/// Check that one of several processes that passes over the items of the others has the same items as
/// one process, and knows how many turns each of the others has.
#[cfg(test)]
pub(crate) fn check_shards<S: PromptSource>(open: impl Fn() -> S, items: usize) {
    let mut whole = open();
    let whole: Vec<Item> = (0..items).map(|_| whole.next().unwrap().unwrap()).collect();
    for of in 1..5 {
        for own in 0..of {
            let mut source = open();
            for (k, want) in whole.iter().enumerate() {
                if k % of == own {
                    assert_eq!(
                        source.next().unwrap().as_ref(),
                        Some(want),
                        "{k} of {own}/{of}"
                    );
                } else {
                    let passed = source.pass().unwrap().unwrap();
                    assert_eq!(passed.later.len(), want.later.len(), "{k} of {own}/{of}");
                }
            }
        }
    }
}

/// Why a dataset provides no prompt.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file cannot be read.
    #[error("cannot read the dataset {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: std::io::Error,
    },
    /// An item is invalid.
    #[error("{path}, {place}: {reason}", path = path.display())]
    Item {
        /// The file.
        path: PathBuf,
        /// The line or item.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A file is damaged, so that nothing after this place can be read.
    #[error("{path}, {place}: {reason}", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The place in the file.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A source outside this program failed.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// A prompt cannot be built or counted with the tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The dataset has no items.
    #[error("the dataset {name} is empty")]
    Empty {
        /// Its name or file.
        name: String,
    },
    /// There are only blank prompts and skipped items.
    #[error("the dataset {name} has no prompt: {}", nothing_but(*blank, *bad, first_bad.as_deref()))]
    NothingUsable {
        /// Its name or file.
        name: String,
        /// Number of empty or blank prompts.
        blank: u64,
        /// Number of invalid items that were skipped.
        bad: u64,
        /// What is wrong with the first of them.
        first_bad: Option<String>,
    },
    /// No trajectory can be made into a conversation of the requested length.
    #[error(
        "none of the {read} trajectories in {name} is long enough for {turns} turns of {first} tokens and then {later}"
    )]
    NoneLongEnough {
        /// Its file.
        name: String,
        /// Number of trajectories.
        read: u64,
        /// `--max-turns`.
        turns: u32,
        /// `first_turn_length`.
        first: u64,
        /// `subsequent_turn_length`.
        later: u64,
    },
    /// No prompt can be given the requested length.
    #[error("none of the {read} prompts can be given a length of {target} tokens")]
    NoneFits {
        /// `target_input_len`.
        target: u64,
        /// Number of prompts.
        read: u64,
    },
    /// Several items are invalid.
    #[error("{}", several(name, shown, *more))]
    Items {
        /// Its name.
        name: String,
        /// What is wrong with the first of them.
        shown: Vec<String>,
        /// How many more there are.
        more: u64,
    },
    /// The dataset has no recorded responses.
    #[error("the dataset {name} has no recorded responses, which `--history recorded` sends")]
    NoReplies {
        /// Its name.
        name: String,
    },
    /// Items are conversations, which the run does not send.
    #[error("the dataset {name} has conversations, but `--multi-turn` is not given")]
    Conversations {
        /// Its name.
        name: String,
    },
    /// The length filters leave no prompt.
    #[error(
        "no prompt of the dataset {name} is between {min} and {max} {unit} long: {short} are shorter, {long} are longer"
    )]
    NothingFits {
        /// Its name or file.
        name: String,
        /// `--min-prompt-length`.
        min: usize,
        /// `--max-prompt-length`.
        max: usize,
        /// The unit of both.
        unit: &'static str,
        /// Number of prompts that were too short.
        short: u64,
        /// Number of prompts that were too long.
        long: u64,
    },
}

fn several(name: &str, shown: &[String], more: u64) -> String {
    let all = shown.len() as u64 + more;
    let mut text = format!("{all} items of the dataset {name} cannot be used:");
    for line in shown {
        text.push_str("\n  ");
        text.push_str(line);
    }
    if more > 0 {
        text.push_str("\n  and ");
        text.push_str(&more.to_string());
        text.push_str(" more");
    }
    text
}

fn nothing_but(blank: u64, bad: u64, first_bad: Option<&str>) -> String {
    let mut parts = Vec::new();
    if blank > 0 {
        parts.push(format!("{blank} blank"));
    }
    if bad > 0 {
        let first = first_bad.map(|why| format!(", the first: {why}"));
        parts.push(format!(
            "{bad} that cannot be read{}",
            first.unwrap_or_default()
        ));
    }
    parts.join(", ")
}
