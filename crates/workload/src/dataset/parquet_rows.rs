//! Owns reading selected columns of Parquet files row by row: strings and bytes, also inside
//! structs (`image.bytes`), as the hubs store datasets. For each column, only its dictionary and a
//! page or two are in memory, however many rows the file has; the size of pages is up to the writer
//! of the file.
//!
//! It must not know what columns mean.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::DatasetError;
use super::file_list::read_error;
use super::item::{Wrong, no_text_field, not_json, text_prompt};
use evalscope_model::prompt::Prompt;

/// A column to read.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its path, with dots; the first of these names that the file has.
    pub names: Names,
    /// Whether a file without it is an error; otherwise its values are missing.
    pub required: bool,
}

/// Possible names of a column.
#[derive(Clone, Debug)]
pub(super) enum Names {
    /// For a known dataset.
    Known(&'static [&'static str]),
    /// As named by the user.
    Own(String),
}

/// One value per column; `None` if the file has none.
pub(super) type Row = Vec<Option<ByteArray>>;

/// Rows of several files, one file after another.
#[derive(Debug)]
pub(super) struct ParquetRows {
    paths: Vec<PathBuf>,
    columns: Cow<'static, [Column]>,
    /// Index of the file being read.
    at: usize,
    file: Option<OneFile>,
}

impl ParquetRows {
    /// Open files; each is checked when its turn comes, the first one now.
    pub(super) fn open(
        paths: Vec<PathBuf>,
        columns: impl Into<Cow<'static, [Column]>>,
    ) -> Result<Self, DatasetError> {
        let mut rows = Self {
            paths,
            columns: columns.into(),
            at: 0,
            file: None,
        };
        rows.rewind()?;
        Ok(rows)
    }

    pub(super) fn next(&mut self) -> Result<Option<Row>, DatasetError> {
        loop {
            let Some(file) = &mut self.file else {
                return Ok(None);
            };
            if let Some(row) = file.next()? {
                return Ok(Some(row));
            }
            self.at += 1;
            self.open_file()?;
        }
    }

    pub(super) fn rewind(&mut self) -> Result<(), DatasetError> {
        self.at = 0;
        self.open_file()
    }

    /// An error in the current row.
    pub(super) fn error(&self, wrong: Wrong) -> DatasetError {
        let (path, place) = self.place();
        let reason = match wrong {
            Wrong::Json(error) => not_json(&error),
            Wrong::Said(reason) => reason,
        };
        DatasetError::Item {
            path,
            place,
            reason,
        }
    }

    /// File and place of the current row.
    pub(super) fn place(&self) -> (PathBuf, String) {
        let file = self.file.as_ref().expect("a row has been given");
        (file.path.clone(), format!("row {}", file.row))
    }

    fn open_file(&mut self) -> Result<(), DatasetError> {
        let path = self.paths.get(self.at);
        self.file = path
            .map(|path| OneFile::open(path, &self.columns))
            .transpose()?;
        Ok(())
    }
}

/// The text in a row of one column, as a prompt; `name` is for messages.
pub(super) fn text_of_row(mut row: Row, name: &str) -> Result<Prompt, Wrong> {
    let bytes = row.pop().flatten().ok_or_else(|| no_text_field(name))?;
    let text = std::str::from_utf8(bytes.data());
    let text = text.map_err(|error| format!("`{name}` is not UTF-8: {error}"))?;
    Ok(text_prompt(text)?)
}

/// Whether a file starts like a Parquet file.
pub(super) fn is_parquet(path: &Path) -> Result<bool, DatasetError> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(read_error(path))?;
    file.take(4)
        .read_to_end(&mut start)
        .map_err(read_error(path))?;
    Ok(start == b"PAR1")
}

struct OneFile {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    leaves: Vec<Option<Leaf>>,
    next_group: usize,
    left_in_group: i64,
    /// The current row, from 1.
    row: u64,
    values: Vec<ByteArray>,
    levels: Vec<i16>,
}

/// A column of the file.
struct Leaf {
    name: String,
    index: usize,
    /// A value at this definition level is present; below it is null.
    full_level: i16,
    /// For the current row group.
    reader: Option<ColumnReaderImpl<ByteArrayType>>,
}

impl fmt::Debug for OneFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneFile")
            .field("path", &self.path)
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

impl OneFile {
    fn open(path: &Path, columns: &[Column]) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(read_error(path))?;
        let reader = guarded(|| SerializedFileReader::new(file))
            .map_err(|reason| footer_error(path, reason))?;
        let leaves = columns
            .iter()
            .map(|column| leaf(&reader, column))
            .collect::<Result<_, _>>()
            .map_err(|reason| footer_error(path, reason))?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            leaves,
            next_group: 0,
            left_in_group: 0,
            row: 0,
            values: Vec::new(),
            levels: Vec::new(),
        })
    }

    fn next(&mut self) -> Result<Option<Row>, DatasetError> {
        while self.left_in_group <= 0 {
            if self.next_group == self.reader.num_row_groups() {
                return Ok(None);
            }
            self.open_group()?;
        }
        self.left_in_group -= 1;
        self.row += 1;
        let mut row = Row::with_capacity(self.leaves.len());
        for leaf in &mut self.leaves {
            let Some(leaf) = leaf else {
                row.push(None);
                continue;
            };
            self.values.clear();
            self.levels.clear();
            match leaf.read(&mut self.values, &mut self.levels) {
                Ok(value) => row.push(value),
                Err(reason) => {
                    let place = format!("row {}, column `{}`", self.row, leaf.name);
                    return Err(self.error(&place, reason));
                }
            }
        }
        Ok(Some(row))
    }

    fn open_group(&mut self) -> Result<(), DatasetError> {
        let opened = guarded(|| {
            let group = self.reader.get_row_group(self.next_group)?;
            self.left_in_group = group.metadata().num_rows();
            for leaf in self.leaves.iter_mut().flatten() {
                leaf.reader = match group.get_column_reader(leaf.index)? {
                    ColumnReader::ByteArrayColumnReader(reader) => Some(reader),
                    _ => unreachable!("the type was checked when the file was opened"),
                };
            }
            Ok(())
        });
        self.next_group += 1;
        opened.map_err(|reason| {
            let place = format!("row group {}", self.next_group);
            self.error(&place, reason)
        })
    }

    fn error(&self, place: &str, reason: String) -> DatasetError {
        DatasetError::Broken {
            path: self.path.clone(),
            place: place.to_owned(),
            reason,
        }
    }
}

impl Leaf {
    /// Read the value of the next row; both lists must be empty.
    fn read(
        &mut self,
        values: &mut Vec<ByteArray>,
        levels: &mut Vec<i16>,
    ) -> Result<Option<ByteArray>, String> {
        let reader = self.reader.as_mut().expect("a row group is open");
        let read = || reader.read_records(1, Some(levels), None, values);
        let (rows, _, _) = guarded(read)?;
        if rows == 0 {
            return Err("it has fewer rows than the file says".to_owned());
        }
        let null = self.full_level > 0 && levels.first() != Some(&self.full_level);
        Ok(values.pop().filter(|_| !null))
    }
}

/// Read, with the reason on failure. For some damage the crate panics instead of returning an
/// error; whatever was being read is then dropped.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    let said = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its numbers are inconsistent".to_owned(),
    };
    // remove the error category, such as "Parquet error: "
    let said = said.split_once("rror: ").map_or(&*said, |(_, said)| said);
    Err(format!("it is damaged or truncated: {said}"))
}

fn footer_error(path: &Path, reason: String) -> DatasetError {
    DatasetError::Broken {
        path: path.to_owned(),
        place: "footer".to_owned(),
        reason,
    }
}

fn leaf(reader: &SerializedFileReader<File>, column: &Column) -> Result<Option<Leaf>, String> {
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let find = |name: &str| {
        let index = schema
            .columns()
            .iter()
            .position(|c| c.path().string() == name);
        index.map(|index| (name.to_owned(), index))
    };
    let (first, found) = match &column.names {
        Names::Known(names) => (names[0], names.iter().find_map(|name| find(name))),
        Names::Own(name) => (name.as_str(), find(name)),
    };
    let Some((name, index)) = found else {
        if column.required {
            let all: Vec<String> = schema
                .columns()
                .iter()
                .map(|c| format!("`{}`", c.path().string()))
                .collect();
            return Err(format!(
                "no column `{}`; there are {}",
                first,
                all.join(", ")
            ));
        }
        return Ok(None);
    };
    let described = schema.column(index);
    if described.physical_type() != Type::BYTE_ARRAY || described.max_rep_level() > 0 {
        return Err(format!(
            "the column `{name}` must hold a single string or bytes, but holds {}{}",
            if described.max_rep_level() > 0 {
                "lists of "
            } else {
                ""
            },
            described.physical_type()
        ));
    }
    for group in metadata.row_groups() {
        let codec = group.column(index).compression();
        if !matches!(
            codec,
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_)
        ) {
            // "ZSTD(ZstdLevel(1))": the level is made up, so drop it
            let codec = codec.to_string();
            let codec = codec.split('(').next().unwrap_or_default();
            return Err(format!(
                "the column `{name}` is compressed with {codec}; supported are SNAPPY, GZIP and no compression"
            ));
        }
    }
    Ok(Some(Leaf {
        name,
        index,
        full_level: described.max_def_level(),
        reader: None,
    }))
}

#[cfg(test)]
pub(super) mod tests;
