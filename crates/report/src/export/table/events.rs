//! Owns the table of events: when each event of a stream arrived and what it carried. An event with
//! several choices has a row for each.
//!
//! It must not know how a database keeps events.

use evalscope_model::metrics::{output_by_time, token_neighbours};
use evalscope_model::record::{Phase, RequestRecord};

use super::cell::{Cell, Column, Kind, optional, required};
use super::rows::{Put, Rows};
use crate::export::chosen::ChosenRun;
use crate::export::runs::ExportError;
use crate::sqlite::{Outcome, Reader};

pub(super) const COLUMNS: [Column; 10] = [
    required("run", Kind::Text),
    required("idx", Kind::Whole),
    required("seq", Kind::Small),
    required("t_ns", Kind::Whole),
    optional("since_send_ms", Kind::Number),
    optional("gap_ms", Kind::Number),
    required("token", Kind::Flag),
    required("answer", Kind::Flag),
    required("coalesced", Kind::Flag),
    optional("tokens", Kind::Single),
];

pub(super) fn write(
    run: &ChosenRun,
    rows: &Rows<'_>,
    put: &mut Put<'_>,
) -> Result<(), ExportError> {
    let reader = Reader::open(&run.database)?;
    reader.for_each_record(Phase::Measured, |_, record| {
        if is_wanted(&record, rows) {
            events(&run.name, &record, put)
        } else {
            Ok(())
        }
    })
}

fn is_wanted(record: &RequestRecord, rows: &Rows<'_>) -> bool {
    let has_outcome = rows.outcome.is_none_or(|outcome| match outcome {
        Outcome::Succeeded => record.succeeded(),
        Outcome::Failed => !record.succeeded(),
    });
    has_outcome && (rows.indexes.is_empty() || rows.indexes.contains(&record.index))
}

pub(super) fn events(
    run: &str,
    record: &RequestRecord,
    put: &mut Put<'_>,
) -> Result<(), ExportError> {
    let mut neighbours = Vec::new();
    token_neighbours(&record.events, |from, to| {
        neighbours.push(to.nanos_since(from));
    });
    let mut shares = Vec::new();
    output_by_time(record, |_, tokens| shares.push(tokens));
    let (mut neighbours, mut shares) = (neighbours.into_iter(), shares.into_iter());
    let mut seq = -1;
    let mut seen_choices = 0u64;
    for stamp in record.events.stamps() {
        seq += i64::from(!stamp.continued);
        let choice = 1 << stamp.choice;
        // the first token of a choice follows none
        let gap_ns = if stamp.token && seen_choices & choice > 0 {
            neighbours.next()
        } else {
            None
        };
        seen_choices |= if stamp.token { choice } else { 0 };
        let tokens = shares.by_ref().take(usize::from(stamp.token)).next();
        let since_send = record
            .times
            .write_begun
            .map(|sent| stamp.at.nanos_since(sent));
        let ms = |nanos: u64| nanos as f64 / 1e6;
        put(&[
            Cell::Text(run),
            Cell::Whole(record.index.cast_signed()),
            Cell::small(Some(seq)),
            Cell::Whole(stamp.at.as_nanos().cast_signed()),
            Cell::number(since_send.map(ms)),
            Cell::number(gap_ns.map(ms)),
            Cell::Flag(stamp.token),
            Cell::Flag(stamp.answer),
            Cell::Flag(stamp.coalesced),
            tokens.map_or(Cell::Missing, single),
        ])?;
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a share of tokens; the column has 32 bits"
)]
fn single(tokens: f64) -> Cell<'static> {
    Cell::Single(tokens as f32)
}
