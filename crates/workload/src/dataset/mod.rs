//! Owns where prompts come from. One file for each kind of data set, all
//! streaming: memory does not grow with the number of requests.
//!
//! It must not know APIs, HTTP or timing.

mod ahead;
mod csv_rows;
mod file_list;
mod flickr8k;
mod image_folder;
mod image_parts;
mod image_text;
mod json_list;
mod kontext_bench;
mod line_by_line;
mod longalpaca;
mod openqa;
mod own_field;
mod parquet_rows;
mod random;
mod records;
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

use evalscope_model::prompt::Item;

use crate::tokens::TokenizerError;

pub use ahead::{Ahead, Generator};
pub use flickr8k::Flickr8k;
pub use image_parts::{content_parts, data_url, image_mime, image_tokens, user_message};
pub use kontext_bench::KontextBench;
pub use line_by_line::{LineByLine, TextLines};
pub use longalpaca::LongAlpaca;
pub use openqa::OpenQa;
pub use own_field::OwnField;
pub use random::{Lengths, Random, RandomPrompts};
pub use sample::{SAMPLE_PROMPTS, Sample};
pub use share_gpt::{ShareGpt, ShareGptLanguage};
pub use single::Single;
pub use speed_benchmark::SpeedBenchmark;
pub use stream::{Chars, LengthFilter, Measure, PromptStream, Tally};
pub use synthetic_image::{Canvas, ImageError, PixelMode};
pub use token_length::{TokenLength, Tokenized, prompt_ids};

/// A data set: its prompts in order, again and again.
pub trait PromptSource: fmt::Debug + Send {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// When the next item cannot be read or lacks what it must have.
    fn next(&mut self) -> Result<Option<Item>, DatasetError>;

    /// Go back to the beginning.
    ///
    /// # Errors
    /// When the data set cannot be opened again.
    fn rewind(&mut self) -> Result<(), DatasetError>;

    /// Begin `n` items further on, where the source can do so without making
    /// them; says whether it did.
    fn jump(&mut self, _n: u64) -> bool {
        false
    }
}

/// Why a data set gives no prompt.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file cannot be read.
    #[error("cannot read the data set {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An item is not what it must be.
    #[error("{path}, {place}: {reason}", path = path.display())]
    Item {
        /// The file.
        path: PathBuf,
        /// Line or item.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A file is damaged, so that nothing behind this place can be read.
    #[error("{path}, {place}: {reason}", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A source outside of this program failed.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// A prompt cannot be made or counted with the tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The data set holds nothing at all.
    #[error("the data set {name} is empty")]
    Empty {
        /// Its name or file.
        name: String,
    },
    /// Blank prompts and items that were passed over are all there is.
    #[error("the data set {name} has no prompt: {}", nothing_but(*blank, *bad, first_bad.as_deref()))]
    NothingUsable {
        /// Its name or file.
        name: String,
        /// Prompts of nothing, or of blanks.
        blank: u64,
        /// Items that were passed over because they are not what they must be.
        bad: u64,
        /// What is wrong with the first of them.
        first_bad: Option<String>,
    },
    /// The length filters leave nothing.
    #[error(
        "no prompt of the data set {name} is between {min} and {max} {unit} long: {short} are shorter, {long} are longer"
    )]
    NothingFits {
        /// Its name or file.
        name: String,
        /// `--min-prompt-length`.
        min: usize,
        /// `--max-prompt-length`.
        max: usize,
        /// What both count.
        unit: &'static str,
        /// Prompts dropped as too short.
        short: u64,
        /// Prompts dropped as too long.
        long: u64,
    },
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
