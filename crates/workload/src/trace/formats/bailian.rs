//! Owns Qwen-Bailian's traces (alibaba-edu/qwen-bailian-usagetraces-anon): `timestamp` in seconds,
//! `chat_id` and `parent_chat_id` (-1 at a root), `input_length`, `output_length`, and `hash_ids` for
//! blocks of 16 tokens. An id stands for a block alone, so it may be at several places.

use serde_json::Value;

use super::super::row::{Depth, Moment, Row, Session};
use super::super::settings::{TimeUnit, TraceSettings};
use super::block_line::ColumnNames;
use super::reader::TraceReader;
use super::times::shown;

#[derive(Debug)]
pub(super) struct Bailian {
    names: ColumnNames,
    unit: TimeUnit,
}

impl Bailian {
    pub(super) fn new(settings: &TraceSettings) -> Self {
        Self {
            names: ColumnNames::new(&settings.columns),
            unit: settings.timestamp_unit.unwrap_or(TimeUnit::S),
        }
    }

    fn chat(&self, name: &str, value: &Value) -> Result<i64, String> {
        if value.is_null() {
            return self.names.needed(name, None);
        }
        value.as_i64().ok_or_else(|| {
            format!(
                "`{}` is {}: expected a whole number",
                self.names.shown(name),
                shown(value)
            )
        })
    }
}

impl TraceReader for Bailian {
    fn read(&self, line: &[u8], depth: Depth, row: &mut Row) -> Result<(), String> {
        let said = self.names.read(line, depth == Depth::Full, &mut row.ids)?;
        let at = self.names.time("timestamp", &said.timestamp, self.unit)?;
        row.moment = Moment::At(at);
        row.input_tokens = Some(self.names.needed_input(said.input_length)?);
        row.output_tokens = Some(self.names.needed("output_length", said.output_length)?);
        self.names.needed("hash_ids", said.has_ids.then_some(()))?;
        let parent = self.chat("parent_chat_id", &said.parent_chat_id)?;
        row.session = Session::Chat {
            id: self.chat("chat_id", &said.chat_id)?,
            parent: Some(parent).filter(|parent| *parent >= 0),
        };
        Ok(())
    }
}
