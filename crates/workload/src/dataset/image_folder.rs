//! Owns reading images with texts from plain directories: images with captions of the same name
//! (`cat.jpg`, `cat.txt`), or images listed by `file_name` in a `metadata.jsonl`, as in Hugging
//! Face's imagefolder.
//!
//! It must not know what images and texts are used for.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::DatasetError;
use super::file_list::{SortedNames, read_error};
use super::image_sample::{ImageSample, is_image_ending};
use super::item::not_json;
use super::lines::Lines;

/// Images of one directory, sorted by name.
#[derive(Debug)]
pub(super) struct CaptionedImages {
    images: SortedNames,
}

impl CaptionedImages {
    pub(super) fn open(folder: PathBuf) -> Self {
        Self {
            images: SortedNames::new(folder, is_image),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<ImageSample>, DatasetError> {
        let Some(path) = self.images.next()? else {
            return Ok(None);
        };
        let image = fs::read(&path).map_err(read_error(&path))?;
        let caption = path.with_extension("txt");
        let text = match fs::read_to_string(&caption) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(read_error(&caption)(error)),
        };
        Ok(Some(ImageSample {
            path,
            place: "the image".to_owned(),
            image,
            text,
        }))
    }

    pub(super) fn rewind(&mut self) {
        self.images.rewind();
    }
}

pub(super) fn is_image(name: &Path) -> bool {
    let hidden = name.to_string_lossy().starts_with('.');
    let ending = name.extension().unwrap_or_default().to_string_lossy();
    !hidden && is_image_ending(&ending)
}

/// Images in the order of a `metadata.jsonl`; file names are relative to it.
#[derive(Debug)]
pub(super) struct ListedImages {
    lists: Vec<PathBuf>,
    /// Index of the list being read.
    at: usize,
    lines: Lines,
}

impl ListedImages {
    /// Open lists; there must be at least one.
    pub(super) fn open(lists: Vec<PathBuf>) -> Result<Self, DatasetError> {
        let lines = Lines::open(&lists[0])?;
        Ok(Self {
            lists,
            at: 0,
            lines,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<ImageSample>, DatasetError> {
        loop {
            let list = &self.lists[self.at];
            if let Some(line) = self.lines.next()? {
                let sample = listed(list, line);
                return sample
                    .map(Some)
                    .map_err(|reason| self.lines.error(reason.into()));
            }
            if self.at + 1 == self.lists.len() {
                return Ok(None);
            }
            self.at += 1;
            self.lines = Lines::open(&self.lists[self.at])?;
        }
    }

    pub(super) fn rewind(&mut self) -> Result<(), DatasetError> {
        self.at = 0;
        self.lines = Lines::open(&self.lists[0])?;
        Ok(())
    }
}

fn listed(list: &Path, line: &str) -> Result<ImageSample, String> {
    let item: Value = serde_json::from_str(line).map_err(|error| not_json(&error))?;
    let name = item
        .get("file_name")
        .and_then(Value::as_str)
        .ok_or("no string field `file_name`")?;
    // the list may be from an untrusted source, and the files it names are sent to a server
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(name).components().all(inside) {
        return Err(format!("`file_name` is outside the directory: {name}"));
    }
    let path = list.with_file_name(name);
    let image = fs::read(&path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let text = ["instruction", "text"]
        .iter()
        .find_map(|field| item.get(*field)?.as_str());
    Ok(ImageSample {
        path,
        place: "the image".to_owned(),
        image,
        text: text.map(str::to_owned),
    })
}
