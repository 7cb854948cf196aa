//! Owns `kontext_bench`: images with instructions for editing them
//! (`black-forest-labs/kontext-bench`, split test).

use std::path::Path;

use super::image_text::{ImageText, NoText};
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::Item;

/// Used if the instruction is missing.
const NO_INSTRUCTION: &str = "Describe the image";

/// See the module documentation.
#[derive(Debug)]
pub struct KontextBench {
    samples: ImageText,
}

impl KontextBench {
    /// Open Parquet files with the columns `image` and `instruction`, tar shards, a directory of
    /// images with texts of the same name or a `metadata.jsonl`, or a single such file.
    ///
    /// # Errors
    /// If there is nothing of this kind, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let samples = ImageText::open(path, NoText::Ask(NO_INSTRUCTION))?;
        Ok(Self { samples })
    }
}

impl PromptSource for KontextBench {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        self.samples.next()
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.samples.rewind()
    }
}
