//! Owns `mmmu_multi_image`: questions about several images each, from the subjects of MMMU in turn
//! (`MMMU/MMMU`, split validation).
//!
//! It must not know how files are downloaded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::{ArgsError, ArgsReader};
use super::file_list::{files_of_split, read_error};
use super::image_parts::data_url;
use super::item::Wrong;
use super::jpeg::as_jpeg;
use super::options_list::lettered;
use super::parquet_rows::{Column, Names, ParquetRows, Row};
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

const SPLIT: &str = "validation";

/// Images of a question.
const MOST_IMAGES: usize = 7;

const fn optional(names: &'static [&'static str]) -> Column {
    Column {
        names: Names::Known(names),
        required: false,
    }
}

static COLUMNS: [Column; 2 + MOST_IMAGES] = [
    Column {
        names: Names::Known(&["question"]),
        required: true,
    },
    optional(&["options"]),
    Column {
        names: Names::Known(&["image_1.bytes", "image_1"]),
        required: true,
    },
    optional(&["image_2.bytes", "image_2"]),
    optional(&["image_3.bytes", "image_3"]),
    optional(&["image_4.bytes", "image_4"]),
    optional(&["image_5.bytes", "image_5"]),
    optional(&["image_6.bytes", "image_6"]),
    optional(&["image_7.bytes", "image_7"]),
];

/// Options of the dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MmmuArgs {
    /// The only subject to use.
    pub subset: Option<String>,
    /// The fewest images of a question.
    pub min_images: usize,
}

impl MmmuArgs {
    /// Take the options that the dataset knows.
    ///
    /// # Errors
    /// If one has a value that is not allowed.
    pub fn take(args: &mut ArgsReader) -> Result<Self, ArgsError> {
        let subset = args.take(
            "subset",
            "the name of a subject, such as \"Music\"",
            |name: &String| !name.is_empty(),
        )?;
        let min_images = args.take("min_images", "a whole number from 1 to 7", |n| {
            (1..=MOST_IMAGES).contains(n)
        })?;
        Ok(Self {
            subset,
            min_images: min_images.unwrap_or(2),
        })
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Mmmu {
    subjects: Vec<Subject>,
    /// The subject whose turn it is.
    at: usize,
    min_images: usize,
}

#[derive(Debug)]
struct Subject {
    rows: ParquetRows,
    has_ended: bool,
}

impl Mmmu {
    /// Open a Parquet file, or a directory with a folder of them for each subject.
    ///
    /// # Errors
    /// If there is nothing of this kind, or it cannot be read.
    pub fn open(path: &Path, args: &MmmuArgs) -> Result<Self, DatasetError> {
        let mut subjects = Vec::new();
        for files in files_by_subject(path, args.subset.as_deref())? {
            subjects.push(Subject {
                rows: ParquetRows::open(files, &COLUMNS[..])?,
                has_ended: false,
            });
        }
        Ok(Self {
            subjects,
            at: 0,
            min_images: args.min_images,
        })
    }
}

/// The files of each subject, which are in a folder of its name.
fn files_by_subject(path: &Path, subset: Option<&str>) -> Result<Vec<Vec<PathBuf>>, DatasetError> {
    if !std::fs::metadata(path).map_err(read_error(path))?.is_dir() {
        return Ok(vec![vec![path.to_owned()]]);
    }
    let mut subjects: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for file in files_of_split(path, ".parquet", SPLIT)? {
        let folder = file.parent().unwrap_or(path).to_owned();
        subjects.entry(folder).or_default().push(file);
    }
    let name = |folder: &Path| {
        let name = folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let missing = |reason: String| read_error(path)(Error::new(ErrorKind::NotFound, reason));
    if subjects.is_empty() {
        return Err(missing("it contains no Parquet files".to_owned()));
    }
    let Some(subset) = subset else {
        return Ok(subjects.into_values().collect());
    };
    let known: BTreeSet<String> = subjects.keys().map(|folder| name(folder)).collect();
    subjects.retain(|folder, _| name(folder) == subset);
    if subjects.is_empty() {
        let known: Vec<String> = known.into_iter().collect();
        return Err(missing(format!(
            "it has no folder of the subject `{subset}`; there are {}",
            known.join(", ")
        )));
    }
    Ok(subjects.into_values().collect())
}

impl PromptSource for Mmmu {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        while self.subjects.iter().any(|subject| !subject.has_ended) {
            let at = self.at;
            self.at = (at + 1) % self.subjects.len();
            let subject = &mut self.subjects[at];
            if subject.has_ended {
                continue;
            }
            let Some(row) = subject.rows.next()? else {
                subject.has_ended = true;
                continue;
            };
            let message = message_of(&row, self.min_images);
            let error = |reason| subject.rows.error(Wrong::Said(reason));
            if let Some(message) = message.map_err(error)? {
                return Ok(Some(Prompt::Messages(vec![message]).into()));
            }
        }
        Ok(None)
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.at = 0;
        for subject in &mut self.subjects {
            subject.rows.rewind()?;
            subject.has_ended = false;
        }
        Ok(())
    }
}

/// The message of a row; `None` if it has too few images.
fn message_of(row: &Row, min_images: usize) -> Result<Option<Value>, String> {
    let [question, options, images @ ..] = &row[..] else {
        unreachable!("a row has all columns");
    };
    let images: Vec<Option<&[u8]>> = images
        .iter()
        .map(|image| Some(image.as_ref()?.data()).filter(|file| !file.is_empty()))
        .collect();
    if images.iter().flatten().count() < min_images {
        return Ok(None);
    }
    let text = |name: &str, value: &Option<parquet::data_type::ByteArray>| match value {
        None => Ok(None),
        Some(value) => match std::str::from_utf8(value.data()) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(error) => Err(format!("`{name}` is not UTF-8: {error}")),
        },
    };
    let mut prompt = text("question", question)?.ok_or("`question` is missing")?;
    if let Some(options) = text("options", options)?
        && let Some(options) = lettered(&options)
    {
        prompt.push_str("\nOptions:\n");
        prompt.push_str(&options);
    }
    let urls = images.iter().enumerate().map(|(at, file)| {
        let Some(file) = file else { return Ok(None) };
        let jpeg = as_jpeg(file).map_err(|error| format!("`image_{}`: {error}", at + 1))?;
        Ok(Some(data_url(jpeg.0, &jpeg.1)))
    });
    let urls: Vec<Option<String>> = urls.collect::<Result<_, String>>()?;
    Ok(Some(
        json!({"role": "user", "content": parts(&prompt, &urls)}),
    ))
}

/// Pieces of text, and images where the text has their places; images without a place come last.
fn parts(text: &str, urls: &[Option<String>]) -> Vec<Value> {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let mut parts = Vec::new();
    let say = |parts: &mut Vec<Value>, text: &str| {
        if !text.trim().is_empty() {
            parts.push(json!({"type": "text", "text": text}));
        }
    };
    let mut placed = BTreeSet::new();
    let mut rest = text;
    while let Some((before, at, behind)) = next_place(rest, urls) {
        say(&mut parts, before);
        parts.extend(urls[at].as_deref().map(image));
        placed.insert(at);
        rest = behind;
    }
    say(&mut parts, rest);
    let left = urls
        .iter()
        .enumerate()
        .filter(|(at, _)| !placed.contains(at));
    parts.extend(left.filter_map(|(_, url)| Some(image(url.as_deref()?))));
    parts
}

/// The text before the next place of an image that there is, the index of the image, and what follows:
/// `<image 2>` or `<image_2>`.
fn next_place<'a>(text: &'a str, urls: &[Option<String>]) -> Option<(&'a str, usize, &'a str)> {
    text.match_indices("<image").find_map(|(from, opening)| {
        let inside = text[from + opening.len()..].strip_prefix([' ', '_'])?;
        let (number, behind) = inside.split_once('>')?;
        let at = number.parse::<usize>().ok()?.checked_sub(1)?;
        urls.get(at)?.as_ref()?;
        Some((&text[..from], at, behind))
    })
}

#[cfg(test)]
mod tests;
