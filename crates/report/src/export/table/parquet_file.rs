//! Owns tables as Parquet files: the schema, the encodings, and when a row group is full.
//!
//! It must not know what the columns mean. Memory: one row group.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::cell::{Cell, Column, Kind};
use crate::export::runs::{ExportError, unwritten};

/// Rows in a row group: readers skip and share work by these.
const MOST_ROWS: usize = 1 << 20;
/// Bytes of a row group in memory, before it is encoded. A row of events has 45.
const MOST_BYTES: usize = 48 << 20;
/// Values passed to the encoder at once.
const BATCH: usize = 8192;

/// A Parquet file that is being written.
pub(super) struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Buffer>,
    rows: usize,
    most_rows: usize,
}

impl<W: Write + Send> Parquet<W> {
    /// With what is said of the file itself, as keys and values.
    pub(super) fn new(
        out: W,
        columns: &[Column],
        about: Vec<(&'static str, String)>,
    ) -> std::result::Result<Self, ExportError> {
        let fields = columns.iter().map(field);
        let schema = format!("message table {{ {} }}", fields.collect::<String>());
        let schema = Arc::new(parse_message_type(&schema).map_err(unwritten)?);
        let about = about
            .into_iter()
            .map(|(key, value)| KeyValue::new(key.to_owned(), value));
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(about.collect()));
        for column in columns {
            let path = ColumnPath::from(column.name);
            properties = match column.kind {
                // counters and moments rise by little
                Kind::Whole | Kind::Moment => properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
                // hardly one is there twice
                Kind::Number => properties.set_column_dictionary_enabled(path, false),
                _ => properties,
            };
        }
        let properties = Arc::new(properties.build());
        let writer = SerializedFileWriter::new(out, schema, properties).map_err(unwritten)?;
        Ok(Self {
            writer,
            columns: columns.iter().map(Buffer::new).collect(),
            rows: 0,
            most_rows: MOST_ROWS,
        })
    }

    #[cfg(test)]
    pub(super) fn with_most_rows(mut self, rows: usize) -> Self {
        self.most_rows = rows;
        self
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> std::result::Result<(), ExportError> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell);
        }
        self.rows += 1;
        // looking at the bytes of each row would take longer than the row
        let is_full = self.rows.is_multiple_of(64)
            && self.columns.iter().map(Buffer::bytes).sum::<usize>() >= MOST_BYTES;
        if is_full || self.rows == self.most_rows {
            self.write_group().map_err(unwritten)?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let writer = group.next_column()?;
            let writer = writer.expect("the schema has as many columns");
            column.write(self.rows, writer)?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }

    pub(super) fn finish(mut self) -> std::result::Result<(), ExportError> {
        if self.rows > 0 {
            self.write_group().map_err(unwritten)?;
        }
        self.writer.close().map_err(unwritten)?;
        Ok(())
    }
}

/// A column in the language of Parquet's schemas.
fn field(column: &Column) -> String {
    let repetition = if column.is_required {
        "required"
    } else {
        "optional"
    };
    let (kind, meaning) = match column.kind {
        Kind::Flag => ("boolean", ""),
        Kind::Small => ("int32", ""),
        Kind::Whole => ("int64", ""),
        Kind::Number => ("double", ""),
        Kind::Single => ("float", ""),
        Kind::Moment => ("int64", " (TIMESTAMP(NANOS,true))"),
        Kind::Text => ("binary", " (STRING)"),
    };
    format!("{repetition} {kind} {}{meaning}; ", column.name)
}

/// The values of a column in a row group: those that are there, and which these are.
struct Buffer {
    /// `None` where none may be missing.
    present: Option<Vec<bool>>,
    values: Values,
}

enum Values {
    Flag(Vec<bool>),
    Small(Vec<i32>),
    Whole(Vec<i64>),
    Number(Vec<f64>),
    Single(Vec<f32>),
    Text(Texts),
}

/// Texts, of which neighbours that are the same are there once.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    /// Where a text ends, and how often it is repeated.
    ends: Vec<(usize, usize)>,
}

impl Buffer {
    fn new(column: &Column) -> Self {
        Self {
            present: (!column.is_required).then(Vec::new),
            values: match column.kind {
                Kind::Flag => Values::Flag(Vec::new()),
                Kind::Small => Values::Small(Vec::new()),
                Kind::Whole | Kind::Moment => Values::Whole(Vec::new()),
                Kind::Number => Values::Number(Vec::new()),
                Kind::Single => Values::Single(Vec::new()),
                Kind::Text => Values::Text(Texts::default()),
            },
        }
    }

    fn push(&mut self, cell: &Cell<'_>) {
        if let Some(present) = &mut self.present {
            present.push(*cell != Cell::Missing);
        }
        match (&mut self.values, *cell) {
            (_, Cell::Missing) => {
                debug_assert!(self.present.is_some(), "a required cell is missing");
            }
            (Values::Flag(values), Cell::Flag(flag)) => values.push(flag),
            (Values::Small(values), Cell::Whole(whole)) => {
                values.push(i32::try_from(whole).expect("`Cell::small` looks at this"));
            }
            (Values::Whole(values), Cell::Whole(whole) | Cell::Moment(whole)) => values.push(whole),
            (Values::Number(values), Cell::Number(number)) => values.push(number),
            (Values::Single(values), Cell::Single(number)) => values.push(number),
            (Values::Text(texts), Cell::Text(text)) => texts.push(text.as_bytes()),
            (_, cell) => unreachable!("{cell:?} is of another kind than its column"),
        }
    }

    fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Flag(values) => values.len(),
            Values::Small(values) => values.len() * 4,
            Values::Single(values) => values.len() * 4,
            Values::Whole(values) => values.len() * 8,
            Values::Number(values) => values.len() * 8,
            Values::Text(texts) => texts.bytes.len() + texts.ends.len() * 16,
        };
        values + self.present.as_ref().map_or(0, Vec::len)
    }

    /// Write the column of so many rows, and be empty again.
    fn write(&mut self, rows: usize, mut writer: SerializedColumnWriter<'_>) -> Result<()> {
        let present = self.present.as_mut().map(std::mem::take);
        let present = present.as_deref();
        macro_rules! write_all {
            ($kind:ty, $values:expr) => {{
                let values = std::mem::take($values).into_iter();
                write(writer.typed::<$kind>(), rows, present, values)?;
            }};
        }
        match &mut self.values {
            Values::Flag(values) => write_all!(BoolType, values),
            Values::Small(values) => write_all!(Int32Type, values),
            Values::Whole(values) => write_all!(Int64Type, values),
            Values::Number(values) => write_all!(DoubleType, values),
            Values::Single(values) => write_all!(FloatType, values),
            Values::Text(texts) => write_all!(ByteArrayType, texts),
        }
        writer.close()
    }
}

impl Texts {
    fn last(&self) -> Option<&[u8]> {
        let (end, _) = self.ends.last()?;
        let before = self.ends.len().checked_sub(2).map(|at| self.ends[at].0);
        Some(&self.bytes[before.unwrap_or(0)..*end])
    }

    fn push(&mut self, text: &[u8]) {
        if self.last() == Some(text) {
            let (_, times) = self.ends.last_mut().expect("there is a last one");
            *times += 1;
        } else {
            self.bytes.extend_from_slice(text);
            self.ends.push((self.bytes.len(), 1));
        }
    }

    /// All of them, which share one buffer.
    fn into_iter(self) -> impl Iterator<Item = ByteArray> {
        let bytes = ByteArray::from(self.bytes);
        let mut start = 0;
        self.ends.into_iter().flat_map(move |(end, times)| {
            let text = bytes.slice(start, end - start);
            start = end;
            std::iter::repeat_n(text, times)
        })
    }
}

/// Write the values that are there, a batch at a time.
fn write<T: DataType>(
    writer: &mut ColumnWriterImpl<'_, T>,
    rows: usize,
    present: Option<&[bool]>,
    mut values: impl Iterator<Item = T::T>,
) -> Result<()> {
    for start in (0..rows).step_by(BATCH) {
        let end = rows.min(start + BATCH);
        let levels = present.map(|all| -> Vec<i16> {
            let own = all[start..end].iter();
            own.map(|is_there| i16::from(*is_there)).collect()
        });
        let count = levels.as_ref().map_or(end - start, |levels| {
            levels.iter().filter(|level| **level > 0).count()
        });
        let batch: Vec<T::T> = values.by_ref().take(count).collect();
        writer.write_batch(&batch, levels.as_deref(), None)?;
    }
    Ok(())
}
