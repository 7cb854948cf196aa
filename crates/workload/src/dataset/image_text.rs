//! Owns what datasets of image-text pairs have in common: their formats on disk, and the request
//! made from a sample. Images are sent unchanged, byte for byte.
//!
//! It must not know which dataset it reads.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use parquet::data_type::ByteArray;

use super::file_list::{files_of_split, read_error};
use super::image_folder::{CaptionedImages, ListedImages, is_image};
use super::image_parts::{data_url, image_mime, user_message};
use super::image_sample::ImageSample;
use super::parquet_rows::{Column, Names, ParquetRows, is_parquet};
use super::tar_shards::TarShards;
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

/// All datasets of this kind use their test split.
const SPLIT: &str = "test";

/// Images as stored by Hugging Face, or as plain bytes.
const COLUMNS: [Column; 2] = [
    Column {
        names: Names::Known(&["image.bytes", "image", "jpg.bytes"]),
        required: true,
    },
    Column {
        names: Names::Known(&["instruction", "text", "txt"]),
        required: false,
    },
];

/// What to do with a sample that has no text.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoText {
    /// Report an error.
    Refuse,
    /// Use this text.
    Ask(&'static str),
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct ImageText {
    form: Form,
    no_text: NoText,
}

#[derive(Debug)]
enum Form {
    Tar(TarShards),
    Parquet(ParquetRows),
    Listed(ListedImages),
    Captioned(CaptionedImages),
}

impl ImageText {
    /// Open a directory or a file; its content determines the format.
    pub(super) fn open(path: &Path, no_text: NoText) -> Result<Self, DatasetError> {
        let form = if std::fs::metadata(path).map_err(read_error(path))?.is_dir() {
            Form::of_folder(path)?
        } else {
            Form::of_file(path)?
        };
        Ok(Self { form, no_text })
    }

    fn sample(&mut self) -> Result<Option<ImageSample>, DatasetError> {
        match &mut self.form {
            Form::Tar(shards) => shards.next(),
            Form::Listed(images) => images.next(),
            Form::Captioned(images) => images.next(),
            Form::Parquet(rows) => {
                let Some(row) = rows.next()? else {
                    return Ok(None);
                };
                let (path, place) = rows.place();
                let error = |reason: String| rows.error(reason.into());
                sample_of_row(row, path, place).map_err(error).map(Some)
            }
        }
    }
}

impl Form {
    fn of_folder(folder: &Path) -> Result<Self, DatasetError> {
        let files = |ending| files_of_split(folder, ending, SPLIT);
        let shards = files(".tar")?;
        if !shards.is_empty() {
            return Ok(Self::Tar(TarShards::open(shards)?));
        }
        let parquet = files(".parquet")?;
        if !parquet.is_empty() {
            return Ok(Self::Parquet(ParquetRows::open(parquet, &COLUMNS)?));
        }
        let lists = files("metadata.jsonl")?;
        if !lists.is_empty() {
            return Ok(Self::Listed(ListedImages::open(lists)?));
        }
        let split = folder.join(SPLIT);
        for folder in [&split, folder] {
            let holds_images = folder.is_dir()
                && std::fs::read_dir(folder)
                    .map_err(read_error(folder))?
                    .flatten()
                    .any(|entry| is_image(Path::new(&entry.file_name())));
            if holds_images {
                return Ok(Self::Captioned(CaptionedImages::open(folder.to_owned())));
            }
        }
        let reason = "it contains no tar shards, Parquet files, `metadata.jsonl` or images";
        Err(read_error(folder)(Error::new(ErrorKind::NotFound, reason)))
    }

    fn of_file(path: &Path) -> Result<Self, DatasetError> {
        let ending = path.extension().unwrap_or_default();
        let path = vec![path.to_owned()];
        if is_parquet(&path[0])? {
            Ok(Self::Parquet(ParquetRows::open(path, &COLUMNS)?))
        } else if ending == "tar" {
            Ok(Self::Tar(TarShards::open(path)?))
        } else if ending == "jsonl" {
            Ok(Self::Listed(ListedImages::open(path)?))
        } else {
            let reason = "it is not a directory, Parquet file, `.tar` or `.jsonl`";
            Err(read_error(&path[0])(Error::other(reason)))
        }
    }
}

impl PromptSource for ImageText {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let sample = self.sample()?;
        let no_text = self.no_text;
        sample.map(|sample| item(&sample, no_text)).transpose()
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        match &mut self.form {
            Form::Tar(shards) => shards.rewind(),
            Form::Parquet(rows) => rows.rewind(),
            Form::Listed(images) => images.rewind(),
            Form::Captioned(images) => {
                images.rewind();
                Ok(())
            }
        }
    }
}

fn sample_of_row(
    row: Vec<Option<ByteArray>>,
    path: PathBuf,
    place: String,
) -> Result<ImageSample, String> {
    let [image, text] = row.try_into().expect("as many values as columns");
    let image = image.ok_or("no bytes in the field `image`")?;
    let text = text
        .map(|text| std::str::from_utf8(text.data()).map(str::to_owned))
        .transpose()
        .map_err(|error| format!("the text is not UTF-8: {error}"))?;
    Ok(ImageSample {
        path,
        place,
        image: image.data().to_vec(),
        text,
    })
}

fn item(sample: &ImageSample, no_text: NoText) -> Result<Item, DatasetError> {
    let error = |reason: &str| DatasetError::Item {
        path: sample.path.clone(),
        place: sample.place.clone(),
        reason: reason.to_owned(),
    };
    let mime = image_mime(&sample.image)
        .ok_or_else(|| error("it is not a JPEG, PNG, GIF, WebP or BMP image"))?;
    let text = sample.text.as_deref().filter(|t| !t.trim().is_empty());
    let text = match (text, no_text) {
        (Some(text), _) | (None, NoText::Ask(text)) => text,
        (None, NoText::Refuse) => return Err(error("it has no text")),
    };
    let message = user_message(text, [data_url(mime, &sample.image)]);
    Ok(Prompt::Messages(vec![message]).into())
}

#[cfg(test)]
mod tests;
