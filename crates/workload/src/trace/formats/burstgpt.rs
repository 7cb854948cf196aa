//! Owns `BurstGPT`'s traces (HPMLL/BurstGPT): CSV with `Timestamp` in seconds since midnight of the
//! first day, `Request tokens`, `Response tokens`, and from version 3 `Session ID`. Failures have no
//! response tokens.

use super::super::row::{Depth, Moment, Row, Session};
use super::super::settings::{TimeUnit, TraceSettings};
use super::csv_line::Columns;
use super::reader::TraceReader;
use super::times::{clipped, nanos_of_float};

pub(super) const MUST: [&str; 3] = ["Timestamp", "Request tokens", "Response tokens"];
const SESSION: usize = MUST.len();

#[derive(Debug)]
pub(super) struct BurstGpt {
    columns: Columns,
    unit: TimeUnit,
}

impl BurstGpt {
    pub(super) fn new(settings: &TraceSettings, header: &[u8]) -> Result<Self, String> {
        Ok(Self {
            columns: Columns::find(header, &MUST, &["Session ID"], &settings.columns)?,
            unit: settings.timestamp_unit.unwrap_or(TimeUnit::S),
        })
    }
}

impl TraceReader for BurstGpt {
    fn read(&self, line: &[u8], _: Depth, row: &mut Row) -> Result<(), String> {
        let values = self.columns.read(line)?;
        let text = values.text(0);
        let at = text.parse().ok();
        let at = at.and_then(|units| nanos_of_float(units, self.unit));
        row.moment = Moment::At(at.ok_or_else(|| {
            format!(
                "`{}` is \"{}\": expected a number, 0 or greater",
                values.name(0),
                clipped(text)
            )
        })?);
        let (input, output) = (values.tokens(1)?, values.tokens(2)?);
        row.has_failed = output == 0;
        if input == 0 && !row.has_failed {
            return Err(format!(
                "`{}` is 0: a prompt has at least one token",
                values.name(1)
            ));
        }
        row.input_tokens = Some(input);
        row.output_tokens = Some(output);
        if !values.text(SESSION).is_empty() {
            row.session = Session::Named(values.text(SESSION).to_owned());
        }
        Ok(())
    }
}
