//! Owns the lists of `--save-detailed`: an item for each request that succeeded or failed, by index in
//! all of them.
//!
//! It must not know the other keys. The database is read once for each list, so that no list is ever
//! in memory.

use evalscope_model::metrics::{Metric, token_neighbours};
use evalscope_model::record::{Phase, RequestRecord};
use serde_json::{Value, json};

use super::super::chosen::ChosenRun;
use super::super::runs::{ExportError, unwritten};
use super::super::table::TextReader;
use super::object::Object;
use crate::bodies;
use crate::sqlite::Reader;

/// What a list has of a request, by its key.
type Item = fn(&RequestRecord) -> Value;

const BEFORE_TEXTS: [(&str, Item); 4] = [
    ("input_lens", |record| json!(record.prompt_tokens().0)),
    ("output_lens", output),
    ("ttfts", |record| {
        json!(Metric::Ttft.of_request(record).map(seconds))
    }),
    ("itls", |record| {
        let mut gaps_s = Vec::new();
        token_neighbours(&record.events, |from, to| {
            gaps_s.push(seconds(to.nanos_since(from) as f64));
        });
        json!(gaps_s)
    }),
];

const AFTER_TEXTS: [(&str, Item); 2] = [
    ("errors", |record| {
        let failure = record.failure.as_ref();
        failure
            .map_or("", |failure| failure.message.as_str())
            .into()
    }),
    ("start_times", |record| {
        let times = &record.times;
        let start = times.write_begun.unwrap_or(times.dispatched);
        json!(seconds(start.as_nanos() as f64))
    }),
];

fn seconds(nanos: f64) -> f64 {
    nanos / 1e9
}

/// An estimate is only useful where the whole response came.
fn output(record: &RequestRecord) -> Value {
    let is_whole = record.succeeded() || record.usage.completion_tokens.is_some();
    json!(record.output_tokens().0.filter(|_| is_whole))
}

pub(super) fn write(
    run: &ChosenRun,
    text: &TextReader<'_>,
    object: &mut Object<'_>,
) -> Result<(), ExportError> {
    let reader = Reader::open(&run.database)?;
    for (key, item) in BEFORE_TEXTS {
        list(&reader, key, object, |record| Ok(item(record)))?;
    }
    list(&reader, "generated_texts", object, |record| {
        let stored = reader.stored(record.index)?;
        let generated = stored.and_then(|(_, stored)| {
            let events = bodies::texts(&stored.response_messages);
            text(&run.meta, &events)
        });
        Ok(json!(generated.map(|text| text.answer)))
    })?;
    for (key, item) in AFTER_TEXTS {
        list(&reader, key, object, |record| Ok(item(record)))?;
    }
    Ok(())
}

fn list(
    reader: &Reader,
    key: &str,
    object: &mut Object<'_>,
    item: impl Fn(&RequestRecord) -> Result<Value, ExportError>,
) -> Result<(), ExportError> {
    object.key(key)?;
    let mut before = "[";
    reader.for_each_record(Phase::Measured, |_, record| {
        let given_up = record.failure.as_ref();
        let given_up = given_up.is_some_and(|failure| failure.kind.is_given_up());
        if !record.dispatched() || given_up {
            return Ok(());
        }
        let item = item(&record)?;
        let written = write!(object.out, "{before}{item}");
        before = ", ";
        written.map_err(unwritten)
    })?;
    let end = if before == "[" { "[]" } else { "]" };
    write!(object.out, "{end}").map_err(unwritten)
}
