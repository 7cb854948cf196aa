//! Owns a JSON object that goes to a file key by key.
//!
//! It must not know any key.

use std::io::Write;

use serde_json::Value;

use super::super::runs::{ExportError, unwritten};

/// A JSON object that is being written, a key on each line.
pub(super) struct Object<'a> {
    pub(super) out: &'a mut dyn Write,
    has_keys: bool,
}

impl<'a> Object<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Result<Self, ExportError> {
        out.write_all(b"{").map_err(unwritten)?;
        Ok(Self {
            out,
            has_keys: false,
        })
    }

    pub(super) fn put(&mut self, key: &str, value: &Value) -> Result<(), ExportError> {
        self.key(key)?;
        serde_json::to_writer(&mut *self.out, value).map_err(unwritten)
    }

    /// Begin a value, which is written to `out`.
    pub(super) fn key(&mut self, key: &str) -> Result<(), ExportError> {
        let comma = if self.has_keys { "," } else { "" };
        self.has_keys = true;
        write!(self.out, "{comma}\n  {}: ", Value::from(key)).map_err(unwritten)
    }

    pub(super) fn finish(self) -> Result<(), ExportError> {
        self.out.write_all(b"\n}\n").map_err(unwritten)?;
        self.out.flush().map_err(unwritten)
    }
}
