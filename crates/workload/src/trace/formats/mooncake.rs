//! Owns Mooncake's traces (kvcache-ai/Mooncake, `FAST25-release/README.md`): `timestamp` in
//! milliseconds, `input_length`, `output_length`, and `hash_ids` for blocks of 512 tokens. An id stands
//! for a block and all before it.
//!
//! Of `AIPerf`'s extensions it reads `session_id`, `delay` (milliseconds after the request before it in
//! its session), `messages` and `text_input`.

use serde_json::Value;

use super::super::row::{Content, Depth, Moment, Row, Session};
use super::super::settings::{TimeUnit, TraceSettings};
use super::block_line::{BlockLine, ColumnNames};
use super::reader::TraceReader;
use super::times::shown;

#[derive(Debug)]
pub(super) struct Mooncake {
    names: ColumnNames,
    unit: TimeUnit,
}

impl Mooncake {
    pub(super) fn new(settings: &TraceSettings) -> Self {
        Self {
            names: ColumnNames::new(&settings.columns),
            unit: settings.timestamp_unit.unwrap_or(TimeUnit::Ms),
        }
    }
}

impl TraceReader for Mooncake {
    fn read(&self, line: &[u8], depth: Depth, row: &mut Row) -> Result<(), String> {
        let mut said = self.names.read(line, depth == Depth::Full, &mut row.ids)?;
        row.session = match &said.session_id {
            Value::Null => Session::None,
            Value::String(name) => Session::Named(name.clone()),
            other => Session::Named(other.to_string()),
        };
        row.moment = match (&said.timestamp, &said.delay) {
            (Value::Null, delay) if !delay.is_null() && row.session != Session::None => {
                Moment::After(self.names.time("delay", delay, TimeUnit::Ms)?)
            }
            (timestamp, _) => Moment::At(self.names.time("timestamp", timestamp, self.unit)?),
        };
        row.content = content(&self.names, &mut said)?;
        row.output_tokens = said.output_length;
        row.input_tokens = match row.content {
            Content::Made => {
                self.names.needed("output_length", said.output_length)?;
                Some(self.names.needed_input(said.input_length)?)
            }
            _ => None,
        };
        if row.input_tokens.is_none() {
            row.ids.clear();
        }
        Ok(())
    }
}

/// What a request says, if that is recorded.
fn content(names: &ColumnNames, said: &mut BlockLine) -> Result<Content, String> {
    if said.has_messages {
        return Ok(Content::Skipped);
    }
    match (said.messages.take(), said.text_input.take()) {
        (Value::Null, Value::Null) => Ok(Content::Made),
        (Value::Null, Value::String(text)) if !text.trim().is_empty() => Ok(Content::Text(text)),
        (Value::Null, other) => Err(format!(
            "`{}` is {}: expected a text that is not blank",
            names.shown("text_input"),
            shown(&other)
        )),
        (Value::Array(messages), _)
            if !messages.is_empty() && messages.iter().all(|own| own["role"].is_string()) =>
        {
            Ok(Content::Messages(messages))
        }
        (other, _) => Err(format!(
            "`{}` is {}: expected a list of messages, each with a `role`",
            names.shown("messages"),
            shown(&other)
        )),
    }
}
