//! Owns `flickr8k`: photographs with captions, sent as the text (`clip-benchmark/wds_flickr8k`,
//! split test).

use std::path::Path;

use super::image_text::{ImageText, NoText};
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::Item;

/// See the module documentation.
#[derive(Debug)]
pub struct Flickr8k {
    samples: ImageText,
}

impl Flickr8k {
    /// Open tar shards (`test/*.tar`), Parquet files, a directory of images with captions of the
    /// same name or a `metadata.jsonl`, or a single such file.
    ///
    /// # Errors
    /// If there is nothing of this kind, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let samples = ImageText::open(path, NoText::Refuse)?;
        Ok(Self { samples })
    }
}

impl PromptSource for Flickr8k {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        self.samples.next()
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.samples.rewind()
    }
}
