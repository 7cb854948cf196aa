//! Owns rows of a CSV file with a header: the value of one column, according to RFC 4180, separated
//! by commas, semicolons or tabs.
//!
//! It must not know what the column means.

use std::fs::File;
use std::io::{Error, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::{ByteRecord, Position, Reader, ReaderBuilder};

use super::DatasetError;
use super::file_list::read_error;
use super::item::{MOST_ITEM_BYTES, Wrong, not_json};

/// Separators, the most common first.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// Rows after the header.
pub(super) struct CsvRows {
    path: PathBuf,
    name: String,
    reader: Reader<Metered>,
    /// Bytes read for the current row.
    read: Arc<AtomicUsize>,
    column: usize,
    row: ByteRecord,
    /// Start of the current row, or of blank lines before it.
    begun: Option<Position>,
    /// The file is damaged: nothing more can be read.
    ended: bool,
}

impl std::fmt::Debug for CsvRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvRows")
            .field("path", &self.path)
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

impl CsvRows {
    /// Open a file whose header must have this column.
    pub(super) fn open(path: &Path, name: &str) -> Result<Self, DatasetError> {
        let mut first = None;
        for separator in SEPARATORS {
            let read = Arc::new(AtomicUsize::new(0));
            let file = File::open(path).map_err(read_error(path))?;
            let file = Metered {
                file,
                read: Arc::clone(&read),
            };
            let mut reader = ReaderBuilder::new().delimiter(separator).from_reader(file);
            let header = match reader.byte_headers() {
                Ok(header) => header,
                Err(error) => return Err(broken(path, 1, &error)),
            };
            let column = header
                .iter()
                .position(|field| field.trim_ascii() == name.as_bytes());
            if let Some(column) = column {
                return Ok(Self {
                    path: path.to_owned(),
                    name: name.to_owned(),
                    reader,
                    read,
                    column,
                    row: ByteRecord::new(),
                    begun: None,
                    ended: false,
                });
            }
            first.get_or_insert_with(|| header.clone());
        }
        let header = first.unwrap_or_default();
        let named: Vec<String> = header
            .iter()
            .take(MOST_NAMED)
            .map(|field| {
                let text = String::from_utf8_lossy(field);
                let short: String = text.chars().take(MOST_NAME_CHARS).collect();
                format!("`{short}`")
            })
            .collect();
        Err(DatasetError::Broken {
            path: path.to_owned(),
            place: "line 1".to_owned(),
            reason: format!(
                "no column `{name}` in the header; there {} {}",
                if header.len() == 1 { "is" } else { "are" },
                named.join(", ")
            ),
        })
    }

    /// The value in the next row, or what is wrong with the row.
    pub(super) fn next(&mut self) -> Result<Option<&str>, DatasetError> {
        if self.ended {
            return Ok(None);
        }
        self.read.store(0, Ordering::Relaxed);
        match self.reader.read_byte_record(&mut self.row) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                if let csv::ErrorKind::UnequalLengths {
                    pos,
                    expected_len,
                    len,
                } = error.kind()
                {
                    self.begun.clone_from(pos);
                    let reason = format!("{len} values in a row, but {expected_len} in the header");
                    return Err(self.error(reason.into()));
                }
                self.ended = true;
                return Err(broken(&self.path, self.reader.position().line(), &error));
            }
        }
        self.begun = self.row.position().cloned();
        let value = self.row.get(self.column).unwrap_or_default();
        match std::str::from_utf8(value) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let reason = format!("`{}` is not UTF-8: {error}", self.name);
                Err(self.error(reason.into()))
            }
        }
    }

    /// An error in the current row.
    pub(super) fn error(&self, wrong: Wrong) -> DatasetError {
        let reason = match wrong {
            Wrong::Json(error) => not_json(&error),
            Wrong::Said(reason) => reason,
        };
        DatasetError::Item {
            path: self.path.clone(),
            place: format!("line {}", self.line()),
            reason,
        }
    }

    /// The line in which the current row starts.
    fn line(&self) -> u64 {
        let Some(begun) = &self.begun else {
            return 1;
        };
        let mut head = Vec::new();
        let blank = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(begun.byte()))?;
            file.take(BLANK_BYTES).read_to_end(&mut head)
        });
        let ends = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let blank = blank.map_or(0, |_| ends.filter(|byte| **byte == b'\n').count());
        begun.line() + blank as u64
    }

    pub(super) fn rewind(&mut self) -> Result<(), DatasetError> {
        *self = Self::open(&self.path, &self.name)?;
        Ok(())
    }
}

/// How many bytes of blank lines before a row are examined to find its line number.
const BLANK_BYTES: u64 = 4096;

/// Maximum number of columns named in an error, and maximum length of their names.
const MOST_NAMED: usize = 20;
const MOST_NAME_CHARS: usize = 60;

fn broken(path: &Path, line: u64, error: &csv::Error) -> DatasetError {
    DatasetError::Broken {
        path: path.to_owned(),
        place: format!("line {line}"),
        reason: error.to_string(),
    }
}

/// A file in which rows have a maximum size: otherwise an unclosed quote would load the whole rest
/// into memory.
struct Metered {
    file: File,
    read: Arc<AtomicUsize>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.read.load(Ordering::Relaxed) > MOST_ITEM_BYTES {
            return Err(Error::other(
                "the row is larger than 256 MiB: a quote is not closed",
            ));
        }
        let n = self.file.read(buffer)?;
        self.read.fetch_add(n, Ordering::Relaxed);
        Ok(n)
    }
}
