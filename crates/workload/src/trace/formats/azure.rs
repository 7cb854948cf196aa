//! Owns Azure's traces of inference (Azure/AzurePublicDataset): CSV with `TIMESTAMP`, `ContextTokens`
//! and `GeneratedTokens` (2023 and 2024), and `NumImages` (multimodal, 2025). Timestamps are dates
//! without a zone, read as UTC.

use super::super::row::{Depth, Moment, Row};
use super::super::settings::TraceSettings;
use super::csv_line::Columns;
use super::reader::TraceReader;
use super::times::{clipped, nanos_of_date};

pub(super) const MUST: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];
const IMAGES: usize = MUST.len();

#[derive(Debug)]
pub(super) struct Azure(Columns);

impl Azure {
    pub(super) fn new(settings: &TraceSettings, header: &[u8]) -> Result<Self, String> {
        Columns::find(header, &MUST, &["NumImages"], &settings.columns).map(Self)
    }
}

impl TraceReader for Azure {
    fn read(&self, line: &[u8], _: Depth, row: &mut Row) -> Result<(), String> {
        let values = self.0.read(line)?;
        let at = nanos_of_date(values.text(0)).ok_or_else(|| {
            format!(
                "`{}` is \"{}\": expected a date and time, as in 2023-11-16 18:15:46.6805900",
                values.name(0),
                clipped(values.text(0))
            )
        })?;
        row.moment = Moment::At(at);
        let input = values.tokens(1)?;
        if input == 0 {
            return Err(format!(
                "`{}` is 0: a prompt has at least one token",
                values.name(1)
            ));
        }
        row.input_tokens = Some(input);
        row.output_tokens = Some(values.tokens(2)?);
        if self.0.has(IMAGES) && values.tokens(IMAGES)? > 0 {
            return Err(format!(
                "`{}` is {}: requests with images are not built yet",
                values.name(IMAGES),
                values.text(IMAGES)
            ));
        }
        Ok(())
    }
}
