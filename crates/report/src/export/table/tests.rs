//! Tables of databases whose figures are known, and the same table in all formats.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use evalscope_model::conversation::TurnPlace;
use evalscope_model::metrics::{Metric, token_neighbours};
use evalscope_model::record::{EventLog, EventStamp, Exchange, FailureKind, Phase, RequestRecord};
use evalscope_model::shard::Shard;
use evalscope_model::time::Timestamp;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::io::Write as _;

use proptest::prelude::*;
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::cell::{Kind, optional, required};
use super::*;
use crate::model::{RecordBodies, RunMeta};
use crate::samples;
use crate::sqlite::Outcome;

/// A request of each kind, out of order.
fn varied() -> Vec<Exchange> {
    let mut not_sent = samples::failure(3, FailureKind::NotSent, "the run ended first", "");
    let times = &mut not_sent.record.times;
    times.ended = times.dispatched;
    (times.connected, times.write_begun, times.write_done) = (None, None, None);
    (times.first_byte, times.headers) = (None, None);
    let mut in_turn = samples::success(4);
    in_turn.record.turn = Some(TurnPlace {
        conversation: 4,
        turn: 0,
        delay: Duration::ZERO,
        asked_increment: Some(60),
    });
    let mut second_turn = samples::success(5);
    second_turn.record.turn = Some(TurnPlace {
        conversation: 4,
        turn: 1,
        delay: Duration::from_millis(250),
        asked_increment: Some(30),
    });
    let mut warmup = samples::success(0);
    warmup.record.phase = Phase::Warmup;
    vec![
        warmup,
        samples::success(1),
        samples::failure(
            0,
            FailureKind::Status(503),
            "the server answered \"503\",\nService Unavailable",
            "",
        ),
        samples::failure(2, FailureKind::Unfinished, "given up", ""),
        not_sent,
        in_turn,
        second_turn,
    ]
}

fn chosen(exchanges: Vec<Exchange>) -> (TempDir, Chosen) {
    let folder = tempfile::tempdir().unwrap();
    samples::finished(folder.path(), &samples::open_loop_meta(), exchanges);
    let chosen = Chosen::find(folder.path(), None).unwrap();
    (folder, chosen)
}

const CSV: TableFormat = TableFormat::Csv { for_excel: false };

fn bytes(table: Table, format: TableFormat, chosen: &Chosen, rows: &Rows<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write(table, format, chosen, rows, &mut out).unwrap();
    out
}

fn text(table: Table, format: TableFormat, chosen: &Chosen, rows: &Rows<'_>) -> String {
    let text = String::from_utf8(bytes(table, format, chosen, rows)).unwrap();
    text.replace("\r\n", "\n")
}

/// What the events of [`samples::success`] say.
fn content(_: &RunMeta, events: &[String]) -> Option<GeneratedText> {
    let events = events
        .iter()
        .map(|event| -> Value { serde_json::from_str(event).unwrap() });
    let answer: String = events
        .map(|event| {
            event["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    (!answer.is_empty()).then(|| GeneratedText {
        answer,
        reasoning: String::new(),
    })
}

#[test]
fn requests_as_text() {
    let (_folder, chosen) = chosen(varied());
    let rows = Rows {
        warmup: true,
        ..Rows::default()
    };
    insta::assert_snapshot!("requests_csv", text(Table::Requests, CSV, &chosen, &rows));
    let rows = Rows {
        bodies: Some(&content),
        ..Rows::default()
    };
    let lines = text(Table::Requests, TableFormat::JsonLines, &chosen, &rows);
    insta::assert_snapshot!("requests_jsonl", lines);
}

#[test]
fn events_and_series_as_text() {
    let (_folder, found) = chosen(varied());
    let rows = Rows::default();
    insta::assert_snapshot!("events_csv", text(Table::Events, CSV, &found, &rows));
    let (_folder, found) = chosen(samples::mixed(60));
    let series = text(Table::Series, CSV, &found, &rows);
    // one bin of each
    let mut names = std::collections::BTreeSet::new();
    let first: Vec<&str> = series
        .lines()
        .filter(|line| names.insert(line.split(',').nth(3)))
        .collect();
    insta::assert_snapshot!("series_csv", first.join("\n"));
}

#[test]
fn only_what_is_wanted() {
    let (_folder, chosen) = chosen(varied());
    let indexes = |rows: Rows<'_>, table| -> Vec<i64> {
        let lines = text(table, TableFormat::JsonLines, &chosen, &rows);
        let lines = lines
            .lines()
            .map(|line| -> Value { serde_json::from_str(line).unwrap() });
        let mut indexes: Vec<i64> = lines.map(|row| row["idx"].as_i64().unwrap()).collect();
        indexes.dedup();
        indexes
    };
    let ended = |outcome| Rows {
        outcome: Some(outcome),
        ..Rows::default()
    };
    assert_eq!(
        indexes(Rows::default(), Table::Requests),
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!(indexes(ended(Outcome::Failed), Table::Requests), [0, 2, 3]);
    assert_eq!(
        indexes(ended(Outcome::Succeeded), Table::Requests),
        [1, 4, 5]
    );
    assert_eq!(indexes(ended(Outcome::Succeeded), Table::Events), [1, 4, 5]);
    let some = Rows {
        indexes: &[4, 0],
        ..Rows::default()
    };
    assert_eq!(indexes(some, Table::Requests), [0, 4]);
    assert_eq!(indexes(some, Table::Events), [4]);
    assert!(some.check(&chosen).is_ok());
    let missing = Rows {
        indexes: &[4, 17],
        ..Rows::default()
    };
    let error = missing.check(&chosen).unwrap_err();
    assert!(matches!(
        error,
        ExportError::NoSuchRequest { index: 17, .. }
    ));
}

#[test]
fn requests_know_their_shard() {
    let shards = |meta: &RunMeta| {
        let folder = tempfile::tempdir().unwrap();
        samples::finished(folder.path(), meta, samples::successes(5));
        let chosen = Chosen::find(folder.path(), None).unwrap();
        let lines = text(
            Table::Requests,
            TableFormat::JsonLines,
            &chosen,
            &Rows::default(),
        );
        let lines = lines
            .lines()
            .map(|line| -> Value { serde_json::from_str(line).unwrap() });
        let shards: Vec<Option<i64>> = lines.map(|row| row["shard"].as_i64()).collect();
        shards
    };
    let mut meta = samples::meta("m");
    assert_eq!(shards(&meta), [None; 5]);
    meta.shards = vec![samples::shard(0), samples::shard(2)];
    meta.missing_shards = vec![1];
    assert_eq!(shards(&meta), [0, 1, 2, 0, 1].map(Some));
    let mut part = samples::meta("m");
    part.load.shard = Shard::new(1, 2).unwrap();
    assert_eq!(shards(&part), [Some(1); 5]);
}

#[test]
fn bodies_that_were_not_recorded_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    let mut meta = samples::meta("m");
    meta.record_bodies = RecordBodies::None;
    samples::finished(folder.path(), &meta, samples::successes(2));
    let chosen = Chosen::find(folder.path(), None).unwrap();
    let rows = Rows {
        bodies: Some(&content),
        ..Rows::default()
    };
    assert!(matches!(rows.check(&chosen), Err(ExportError::NoBodies)));
    assert!(Rows::default().check(&chosen).is_ok());
}

#[test]
fn a_parquet_file_says_what_it_is() {
    let (_folder, chosen) = chosen(samples::mixed(4));
    for table in Table::ALL {
        let file = bytes(table, TableFormat::Parquet, &chosen, &Rows::default());
        let reader = opened(&file);
        let about = reader
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .unwrap();
        let value = |key: &str| {
            let found = about.iter().find(|one| one.key == key).unwrap();
            found.value.clone().unwrap()
        };
        assert_eq!(value("evalscope.version"), env!("CARGO_PKG_VERSION"));
        let runs: Value = serde_json::from_str(&value("evalscope.meta")).unwrap();
        assert_eq!(runs[0]["run"], "rate_20.0_number_600");
        assert_eq!(runs[0]["settings"]["api_key"], "***");
    }
}

#[test]
fn excel_is_given_its_mark() {
    let (_folder, chosen) = chosen(Vec::new());
    let format = TableFormat::Csv { for_excel: true };
    let file = bytes(Table::Events, format, &chosen, &Rows::default());
    assert!(file.starts_with(b"\xef\xbb\xbfrun,idx,"));
    assert!(file.ends_with(b",tokens\r\n"));
}

#[test]
fn runs_of_several_commands_have_the_names_of_these() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["b", "a"] {
        for (parallel, requests) in [(10, 40), (2, 20)] {
            let meta = samples::sweep_meta(parallel, requests);
            let own = folder.path().join(command).join(&meta.name);
            fs::create_dir_all(&own).unwrap();
            samples::finished(&own, &meta, samples::successes(1));
        }
    }
    let found = |folder: &Path, name: Option<&str>| -> Vec<String> {
        let chosen = Chosen::find(folder, name).unwrap();
        chosen.runs.into_iter().map(|run| run.name).collect()
    };
    let both = ["parallel_2_number_20", "parallel_10_number_40"];
    assert_eq!(found(&folder.path().join("a"), None), both);
    assert_eq!(
        found(&folder.path().join("a").join(both[1]), None),
        [both[1]]
    );
    let all = ["a", "a", "b", "b"].iter().zip(both.iter().cycle());
    let all: Vec<String> = all
        .map(|(command, run)| format!("{command}/{run}"))
        .collect();
    assert_eq!(found(folder.path(), None), all);
    assert_eq!(found(folder.path(), Some(&all[3])), [all[3].as_str()]);
    assert!(matches!(
        Chosen::find(folder.path(), Some(both[0])),
        Err(ExportError::SeveralRuns { .. })
    ));
    assert!(matches!(
        Chosen::find(folder.path(), Some("no")),
        Err(ExportError::NoSuchRun { .. })
    ));
}

#[test]
fn every_column_is_documented_with_its_type() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/export.md");
    let page = fs::read_to_string(path).unwrap();
    let rows = Rows {
        bodies: Some(&content),
        ..Rows::default()
    };
    for table in Table::ALL {
        let heading = format!("\n## `{}`\n", table.name());
        let section = page.split(&heading).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        for column in table.columns(&rows) {
            let kind = match column.kind {
                Kind::Flag => "bool",
                Kind::Small => "i32",
                Kind::Whole => "i64",
                Kind::Number => "f64",
                Kind::Single => "f32",
                Kind::Moment => "timestamp",
                Kind::Text => "str",
            };
            let mark = if column.is_required { "" } else { "?" };
            let name = format!("`{}`", column.name);
            let row = section
                .lines()
                .find(|line| line.starts_with('|') && line.contains(&name));
            let row = row.unwrap_or_else(|| panic!("{}: {name}", table.name()));
            let documented = row.split('|').nth(2).unwrap().trim();
            assert_eq!(
                documented,
                format!("{kind}{mark}"),
                "{}: {name}",
                table.name()
            );
        }
    }
}

fn opened(parquet: &[u8]) -> SerializedFileReader<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(parquet).unwrap();
    SerializedFileReader::new(file).unwrap()
}

/// The cells of a Parquet file as CSV has them.
fn parquet_cells(file: &[u8]) -> Vec<Vec<String>> {
    let reader = opened(file);
    let cell = |field: &Field| match field {
        Field::Null => String::new(),
        Field::Bool(flag) => flag.to_string(),
        Field::Int(whole) => whole.to_string(),
        Field::Long(whole) => whole.to_string(),
        Field::Float(number) => number.to_string(),
        Field::Double(number) => number.to_string(),
        Field::Str(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| {
        row.unwrap()
            .get_column_iter()
            .map(|(_, field)| cell(field))
            .collect()
    })
    .collect()
}

/// Those of a CSV file, with moments as Parquet has them.
fn csv_cells(file: &[u8], columns: &[Column]) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_reader(file);
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    assert_eq!(reader.headers().unwrap(), names);
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| {
        let cells = row.iter().zip(columns);
        cells
            .map(|(cell, column)| match column.kind {
                Kind::Moment if !cell.is_empty() => {
                    let at: jiff::Timestamp = cell.parse().unwrap();
                    at.as_nanosecond().to_string()
                }
                _ => cell.to_owned(),
            })
            .collect()
    })
    .collect()
}

/// Each line says what a row of CSV does; a key that is not there is empty.
fn assert_lines(file: &[u8], rows: &[Vec<String>], columns: &[Column]) {
    let lines = std::str::from_utf8(file).unwrap().lines();
    let lines: Vec<Map<String, Value>> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), rows.len());
    for (line, row) in lines.iter().zip(rows) {
        for (cell, column) in row.iter().zip(columns) {
            let value = line.get(column.name);
            match (column.kind, value) {
                (_, None) => assert_eq!(cell, ""),
                (Kind::Number, Some(value)) => {
                    assert_eq!(
                        value.as_f64().unwrap().to_bits(),
                        cell.parse::<f64>().unwrap().to_bits()
                    );
                }
                (Kind::Single, Some(value)) => {
                    let near = value.to_string().parse::<f32>().unwrap();
                    assert_eq!(near.to_bits(), cell.parse::<f32>().unwrap().to_bits());
                }
                (Kind::Moment, Some(value)) => {
                    let at: jiff::Timestamp = value.as_str().unwrap().parse().unwrap();
                    assert_eq!(&at.as_nanosecond().to_string(), cell);
                }
                (_, Some(Value::String(text))) => assert_eq!(text, cell),
                (_, Some(value)) => assert_eq!(&value.to_string(), cell),
            }
        }
    }
}

#[test]
fn all_formats_of_a_run_have_the_same_cells() {
    let (_folder, chosen) = chosen(varied());
    let with_bodies = Rows {
        bodies: Some(&content),
        warmup: true,
        ..Rows::default()
    };
    for table in Table::ALL {
        let columns = table.columns(&with_bodies);
        let file = |format| bytes(table, format, &chosen, &with_bodies);
        let rows = csv_cells(&file(CSV), &columns);
        assert!(rows.len() > 6, "{table:?}");
        assert_eq!(
            parquet_cells(&file(TableFormat::Parquet)),
            rows,
            "{table:?}"
        );
        assert_lines(&file(TableFormat::JsonLines), &rows, &columns);
    }
}

/// A column of each kind, once required and once not.
const ANY: [Column; 14] = [
    required("flag", Kind::Flag),
    required("small", Kind::Small),
    required("whole", Kind::Whole),
    required("number", Kind::Number),
    required("single", Kind::Single),
    required("moment", Kind::Moment),
    required("text", Kind::Text),
    optional("flag_or_not", Kind::Flag),
    optional("small_or_not", Kind::Small),
    optional("whole_or_not", Kind::Whole),
    optional("number_or_not", Kind::Number),
    optional("single_or_not", Kind::Single),
    optional("moment_or_not", Kind::Moment),
    optional("text_or_not", Kind::Text),
];

#[derive(Clone, Debug)]
struct AnyRow {
    flag: bool,
    small: i32,
    whole: i64,
    number: f64,
    single: f32,
    moment: i64,
    text: String,
    missing: [bool; 7],
}

impl AnyRow {
    fn cells(&self) -> Vec<Cell<'_>> {
        let all = [
            Cell::Flag(self.flag),
            Cell::Whole(self.small.into()),
            Cell::Whole(self.whole),
            Cell::Number(self.number),
            Cell::Single(self.single),
            Cell::Moment(self.moment),
            Cell::Text(&self.text),
        ];
        let some = all.iter().zip(self.missing);
        let some = some.map(|(cell, missing)| if missing { Cell::Missing } else { *cell });
        all.into_iter().chain(some).collect()
    }
}

prop_compose! {
    fn any_row()(
        flag: bool,
        small: i32,
        whole: i64,
        number in prop::num::f64::NORMAL | prop::num::f64::ZERO,
        single in prop::num::f32::NORMAL,
        moment: i64,
        // an empty text is a missing value in CSV
        text in "[a-c\",\r\n ü\u{1f600}]{1,6}",
        missing: [bool; 7],
    ) -> AnyRow {
        AnyRow { flag, small, whole, number, single, moment, text, missing }
    }
}

proptest! {
    #[test]
    fn formats_agree(
        rows in prop::collection::vec(any_row(), 0..40),
        most_rows in 1usize..20,
    ) {
        let (mut parquet, mut csv, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        let about = vec![("key", "value".to_owned())];
        let file = Parquet::new(&mut parquet, &ANY, about).unwrap().with_most_rows(most_rows);
        let files = [
            Format::Parquet(Box::new(file)),
            Format::Csv(Box::new(Csv::new(&mut csv, &ANY, false).unwrap())),
            Format::JsonLines(JsonLines::new(&mut lines, &ANY)),
        ];
        for file in files {
            let mut sheet = Sheet { file, rows: 0 };
            for row in &rows {
                sheet.row(&row.cells()).unwrap();
            }
            prop_assert_eq!(sheet.finish().unwrap(), rows.len() as u64);
        }
        let cells = csv_cells(&csv, &ANY);
        prop_assert_eq!(&parquet_cells(&parquet), &cells);
        assert_lines(&lines, &cells, &ANY);
    }

    /// Gaps are those of ITL, tokens are those of the request, and each stamp has a row.
    #[test]
    fn events_add_up(
        stamps in prop::collection::vec((0u64..1 << 30, any::<[bool; 4]>(), 0u8..3), 0..60),
        output in prop::option::of(0u64..1000),
    ) {
        let mut exchange = samples::success(0);
        let record: &mut RequestRecord = &mut exchange.record;
        record.usage.completion_tokens = output;
        let mut log = EventLog::default();
        let mut at = record.times.write_begun.unwrap();
        for (gap_ns, [token, answer, coalesced, continued], choice) in &stamps {
            at = at.after(Duration::from_nanos(*gap_ns));
            log.push(EventStamp {
                at, token: *token, answer: *answer, coalesced: *coalesced, choice: *choice,
                continued: *continued, ..EventStamp::empty(Timestamp::ZERO)
            });
        }
        record.events = log;
        let mut wanted = Vec::new();
        token_neighbours(&record.events, |from, to| wanted.push(to.nanos_since(from) as f64 / 1e6));
        let mut of_metric = Vec::new();
        Metric::Itl.samples(record, |gap| of_metric.push(gap / 1e6));
        let (mut gaps, mut tokens, mut count) = (Vec::new(), 0.0, 0);
        events::events("r", record, &mut |cells| {
            count += 1;
            if let Cell::Number(gap) = cells[5] {
                gaps.push(gap);
            }
            if let Cell::Single(share) = cells[9] {
                tokens += f64::from(share);
            }
            Ok(())
        }).unwrap();
        prop_assert_eq!(count, stamps.len());
        prop_assert_eq!(&gaps, &wanted);
        prop_assert_eq!(&gaps, &of_metric);
        let output = record.output_tokens().0;
        if let Some(output) = output.filter(|_| record.events.tokens().count() > 0) {
            prop_assert!((tokens - output as f64).abs() <= 1e-6 * output as f64, "{} {}", tokens, output);
        }
    }
}
