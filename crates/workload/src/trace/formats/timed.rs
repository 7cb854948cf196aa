//! Owns vLLM's `timed_trace`: `timestamp` in seconds, `input_length`, `output_length`, and `hash_ids`
//! for blocks of 16 tokens.

use super::super::row::{Depth, Moment, Row};
use super::super::settings::{TimeUnit, TraceSettings};
use super::block_line::ColumnNames;
use super::reader::TraceReader;

#[derive(Debug)]
pub(super) struct Timed {
    names: ColumnNames,
    unit: TimeUnit,
}

impl Timed {
    pub(super) fn new(settings: &TraceSettings) -> Self {
        Self {
            names: ColumnNames::new(&settings.columns),
            unit: settings.timestamp_unit.unwrap_or(TimeUnit::S),
        }
    }
}

impl TraceReader for Timed {
    fn read(&self, line: &[u8], depth: Depth, row: &mut Row) -> Result<(), String> {
        let said = self.names.read(line, depth == Depth::Full, &mut row.ids)?;
        let at = self.names.time("timestamp", &said.timestamp, self.unit)?;
        row.moment = Moment::At(at);
        row.input_tokens = Some(self.names.needed_input(said.input_length)?);
        row.output_tokens = Some(self.names.needed("output_length", said.output_length)?);
        self.names.needed("hash_ids", said.has_ids.then_some(()))
    }
}
