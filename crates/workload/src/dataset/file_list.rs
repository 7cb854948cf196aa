//! Owns which files of a directory belong to a dataset, in an order that is the same on every
//! machine.
//!
//! It must not know what is in the files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::DatasetError;

/// Hubs put files at the top level, in `data/` or a folder named after the split, possibly inside a
/// folder for the subset: three levels at most.
const DEPTH: usize = 3;

/// Number of names kept at a time: 6 MB with names of 100 bytes. A larger directory is read again
/// for each further batch.
const NAMES_AT_ONCE: usize = 65_536;

pub(super) fn read_error(path: &Path) -> impl FnOnce(Error) -> DatasetError + '_ {
    |source| DatasetError::Read {
        path: path.to_owned(),
        source,
    }
}

/// The file itself, or the file with this name in a directory.
pub(super) fn file_or_named(path: &Path, name: &str) -> Result<PathBuf, DatasetError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let file = path.join(name);
    if holds(path, name) {
        Ok(file)
    } else {
        Err(holds_no(path, &format!("`{name}`")))
    }
}

/// Whether a directory has an entry with this name, even an unreadable one: opening it gives a
/// better error.
pub(super) fn holds(folder: &Path, name: &str) -> bool {
    match fs::symlink_metadata(folder.join(name)) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// A directory has none of the files searched for.
pub(super) fn holds_no(folder: &Path, files: &str) -> DatasetError {
    let reason = format!(
        "the folder contains no {files}; for a file with another name, give the file instead of the folder"
    );
    read_error(folder)(Error::new(ErrorKind::NotFound, reason))
}

/// All files under `root` whose name ends with `ending`, sorted. If some are named after the split,
/// by a folder (`test/0.tar`) or as the first part of their names
/// (`data/test-00000-of-00001.parquet`), only these.
pub(super) fn files_of_split(
    root: &Path,
    ending: &str,
    split: &str,
) -> Result<Vec<PathBuf>, DatasetError> {
    let mut found = Vec::new();
    collect(root, ending, DEPTH, &mut found)?;
    found.sort();
    let of_split = |path: &PathBuf| {
        let inside = path.strip_prefix(root).unwrap_or(path);
        inside.iter().any(|part| {
            let part = part.to_string_lossy();
            part.strip_prefix(split)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '_']))
        })
    };
    if found.iter().any(of_split) {
        found.retain(of_split);
    }
    Ok(found)
}

fn collect(
    folder: &Path,
    ending: &str,
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), DatasetError> {
    for entry in entries(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // caches of the hub clients
        if name.starts_with('.') {
            continue;
        }
        // follow links: the hubs' caches consist of them
        let kind = fs::metadata(entry.path()).map_err(read_error(&entry.path()))?;
        if kind.is_dir() {
            if depth > 1 {
                collect(&entry.path(), ending, depth - 1, found)?;
            }
        } else if name.ends_with(ending) {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn entries(
    folder: &Path,
) -> Result<impl Iterator<Item = Result<DirEntry, DatasetError>> + '_, DatasetError> {
    let entries = fs::read_dir(folder).map_err(read_error(folder))?;
    Ok(entries.map(|entry| entry.map_err(read_error(folder))))
}

/// Names in one directory, sorted, with a bounded number in memory.
#[derive(Debug)]
pub(super) struct SortedNames {
    folder: PathBuf,
    wanted: fn(&Path) -> bool,
    at_once: usize,
    ahead: BTreeSet<OsString>,
    /// The last name returned; the next one is greater.
    last: Option<OsString>,
    /// Whether there may be names that did not fit into `ahead`.
    more: bool,
}

impl SortedNames {
    pub(super) fn new(folder: PathBuf, wanted: fn(&Path) -> bool) -> Self {
        Self {
            folder,
            wanted,
            at_once: NAMES_AT_ONCE,
            ahead: BTreeSet::new(),
            last: None,
            more: true,
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<PathBuf>, DatasetError> {
        if self.ahead.is_empty() && self.more {
            self.look()?;
        }
        let name = self.ahead.pop_first();
        if name.is_some() {
            self.last.clone_from(&name);
        }
        Ok(name.map(|name| self.folder.join(name)))
    }

    pub(super) fn rewind(&mut self) {
        *self = Self {
            at_once: self.at_once,
            ..Self::new(std::mem::take(&mut self.folder), self.wanted)
        };
    }

    fn look(&mut self) -> Result<(), DatasetError> {
        self.more = false;
        for entry in entries(&self.folder)? {
            let name = entry?.file_name();
            if self.last.as_ref().is_some_and(|last| name <= *last)
                || !(self.wanted)(Path::new(&name))
            {
                continue;
            }
            self.ahead.insert(name);
            if self.ahead.len() > self.at_once {
                self.ahead.pop_last();
                self.more = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    fn found(files: &[&str]) -> Vec<String> {
        let folder = folder(files);
        let found = files_of_split(folder.path(), ".tar", "test").unwrap();
        let inside = |p: &PathBuf| p.strip_prefix(folder.path()).unwrap().display().to_string();
        found.iter().map(inside).collect()
    }

    #[test]
    fn the_split_is_taken_where_files_are_named_for_one() {
        assert_eq!(
            found(&["train/0.tar", "test/1.tar", "test/0.tar", "test/n.txt"]),
            ["test/0.tar", "test/1.tar"]
        );
        assert_eq!(
            found(&["data/train-0.tar", "data/test-0.tar", ".cache/test/9.tar"]),
            ["data/test-0.tar"]
        );
        assert_eq!(
            found(&["b.tar", "a.tar", "tester.tar"]),
            ["a.tar", "b.tar", "tester.tar"]
        );
    }

    #[test]
    fn names_come_sorted_however_few_fit() {
        let files = ["d", "b", "a", "c", "e", "no.txt"];
        let folder = folder(&files);
        for at_once in [1, 2, 5, 100] {
            let mut names =
                SortedNames::new(folder.path().to_owned(), |name| name.extension().is_none());
            names.at_once = at_once;
            for _ in 0..2 {
                let mut all = Vec::new();
                while let Some(path) = names.next().unwrap() {
                    all.push(path.file_name().unwrap().to_owned());
                }
                assert_eq!(all, ["a", "b", "c", "d", "e"]);
                names.rewind();
            }
        }
    }
}
