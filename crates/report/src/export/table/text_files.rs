//! Owns tables as text: CSV by RFC 4180, and a JSON object in each line.
//!
//! It must not know what the columns mean.

use std::io::Write;

use csv::{Terminator, WriterBuilder};

use super::cell::{Cell, Column};
use crate::export::runs::{ExportError, unwritten};

/// The mark of UTF-8 that Excel needs.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A CSV file. A missing value is an empty one.
pub(super) struct Csv<W: Write> {
    writer: csv::Writer<W>,
    text: String,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(
        mut out: W,
        columns: &[Column],
        for_excel: bool,
    ) -> Result<Self, ExportError> {
        if for_excel {
            out.write_all(BYTE_ORDER_MARK).map_err(unwritten)?;
        }
        let mut builder = WriterBuilder::new();
        let mut writer = builder.terminator(Terminator::CRLF).from_writer(out);
        let names = columns.iter().map(|column| column.name);
        writer.write_record(names).map_err(unwritten)?;
        Ok(Self {
            writer,
            text: String::new(),
        })
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), ExportError> {
        for cell in cells {
            self.text.clear();
            cell.push_to(&mut self.text);
            self.writer.write_field(&self.text).map_err(unwritten)?;
        }
        let end: [&[u8]; 0] = [];
        self.writer.write_record(end).map_err(unwritten)
    }

    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        self.writer.flush().map_err(unwritten)
    }
}

/// A file with a JSON object in each line. A missing value has no key.
pub(super) struct JsonLines<W: Write> {
    out: W,
    /// What stands before the value of each column, without the comma.
    keys: Vec<String>,
    line: Vec<u8>,
    text: String,
}

impl<W: Write> JsonLines<W> {
    pub(super) fn new(out: W, columns: &[Column]) -> Self {
        let keys = columns.iter().map(|column| format!("\"{}\":", column.name));
        Self {
            out,
            keys: keys.collect(),
            line: Vec::new(),
            text: String::new(),
        }
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), ExportError> {
        self.line.clear();
        self.line.push(b'{');
        for (key, cell) in self.keys.iter().zip(cells) {
            if *cell == Cell::Missing {
                continue;
            }
            if self.line.len() > 1 {
                self.line.push(b',');
            }
            self.line.extend_from_slice(key.as_bytes());
            self.text.clear();
            let written = match cell {
                Cell::Text(text) => serde_json::to_writer(&mut self.line, text),
                Cell::Number(number) => serde_json::to_writer(&mut self.line, number),
                Cell::Single(number) => serde_json::to_writer(&mut self.line, number),
                Cell::Moment(_) => {
                    cell.push_to(&mut self.text);
                    serde_json::to_writer(&mut self.line, &self.text)
                }
                Cell::Missing | Cell::Flag(_) | Cell::Whole(_) => {
                    cell.push_to(&mut self.text);
                    self.line.extend_from_slice(self.text.as_bytes());
                    Ok(())
                }
            };
            written.map_err(unwritten)?;
        }
        self.line.extend_from_slice(b"}\n");
        self.out.write_all(&self.line).map_err(unwritten)
    }

    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        self.out.flush().map_err(unwritten)
    }
}
