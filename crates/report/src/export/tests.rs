//! Exports of databases whose figures are known: every file as a snapshot.

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use evalscope_model::plan::Pacing;
use evalscope_model::record::{Exchange, FailureKind};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

use super::*;
use crate::files::FilesError;
use crate::model::RunMeta;
use crate::samples;
use crate::sqlite::FILE_NAME;
use evalscope_model::profile::Schedule;

/// Where the command of [`samples::meta`] goes: the second of its start.
const TIME: &str = "20260131_120000";

/// A command's folder with one run.
fn command(meta: &RunMeta, exchanges: Vec<Exchange>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("in").join("m");
    add_run(&top, meta, exchanges);
    (folder, top)
}

fn add_run(top: &Path, meta: &RunMeta, exchanges: Vec<Exchange>) -> PathBuf {
    let run = top.join(&meta.name);
    fs::create_dir_all(&run).unwrap();
    samples::finished(&run, meta, exchanges)
}

fn exported(folder: &TempDir, from: &Path) -> (PathBuf, Exported) {
    let out = folder.path().join("out");
    let export = Export::prepare(from, &out).unwrap();
    (out, export.write(Format::EvalScope).unwrap())
}

/// Every file of a run but its database, and the rows of that.
fn shown(run: &Path) -> String {
    let mut names: Vec<_> = fs::read_dir(run).unwrap().flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let mut text = String::new();
    for entry in names {
        let name = entry.file_name().into_string().unwrap();
        writeln!(text, "===== {name}").unwrap();
        if name == FILE_NAME {
            text.push_str(&rows(&entry.path()));
        } else {
            let content = fs::read_to_string(entry.path()).unwrap();
            assert!(!content.ends_with('\n'), "{name}");
            let own = run.display().to_string();
            writeln!(text, "{}", content.replace(&own, "[FOLDER]")).unwrap();
        }
    }
    text
}

fn rows(database: &Path) -> String {
    let database = Connection::open(database).unwrap();
    let mut statement = database
        .prepare("SELECT * FROM result ORDER BY rowid")
        .unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([]).unwrap();
    let mut text = String::new();
    while let Some(row) = rows.next().unwrap() {
        for (at, name) in names.iter().enumerate() {
            let value = match row.get_ref(at).unwrap() {
                ValueRef::Null => "NULL".to_owned(),
                ValueRef::Integer(value) => value.to_string(),
                ValueRef::Real(value) => format!("{value:?}"),
                ValueRef::Text(value) => String::from_utf8(value.to_vec()).unwrap(),
                ValueRef::Blob(_) => panic!("{name} is a blob"),
            };
            writeln!(text, "{name}: {value}").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn streams_and_a_failure() {
    let mut exchanges = samples::successes(3);
    exchanges.push(samples::failure(3, FailureKind::Status(503), "503", "busy"));
    let mut meta = samples::meta("org/m");
    meta.settings = serde_json::json!({
        "model": "org/m", "api_key": "***", "headers": {"x-key": "***", "user-agent": "a"},
        "total_timeout": 21600.0, "sleep_interval": 5.0, "warmup_num": 0.1, "temperature": 0,
        "number": [10, 30], "parallel": [1, 5], "rate": [-1.0], "max_tokens": [64],
        "stop_token_ids": [7], "logprobs": false, "alias": "ours", "not_in_evalscope": 1,
        "query_template": {"model": "%m", "key": "***"}, "extra_args": null,
    });
    let (folder, top) = command(&meta, exchanges);
    let (out, exported) = exported(&folder, &top);
    assert_eq!(exported.notes, Vec::<String>::new());
    let run = out.join(TIME).join("m").join("parallel_5_number_30");
    insta::assert_snapshot!("evalscope_streams", shown(&run));
}

#[test]
fn whole_responses() {
    let (folder, top) = command(&samples::meta("m"), samples::whole_answers(2));
    let (out, exported) = exported(&folder, &top);
    assert_eq!(
        exported.notes,
        [
            "`parallel_5_number_30`: the number of tokens of 2 of 2 responses is not known: it is written as 0"
        ]
    );
    let run = out.join(TIME).join("m").join("parallel_5_number_30");
    insta::assert_snapshot!("evalscope_whole", shown(&run));
}

#[test]
fn nothing_succeeded() {
    let (folder, top) = command(&samples::meta("m"), samples::all_failed(2));
    let (out, _) = exported(&folder, &top);
    let run = out.join(TIME).join("m").join("parallel_5_number_30");
    insta::assert_snapshot!("evalscope_failed", shown(&run));
}

#[test]
fn nothing_was_sent() {
    let (folder, top) = command(&samples::meta("m"), Vec::new());
    let (out, exported) = exported(&folder, &top);
    assert_eq!((exported.runs, exported.notes.len()), (1, 0));
    let run = out.join(TIME).join("m").join("parallel_5_number_30");
    assert_eq!(rows(&run.join(FILE_NAME)), "");
    assert!(!run.join("workload_timeline.json").exists());
}

#[test]
fn a_speed_benchmark_has_its_table() {
    let mut meta = samples::meta("m");
    meta.dataset = "speed_benchmark".to_owned();
    let (folder, top) = command(&meta, samples::successes(3));
    let (out, _) = exported(&folder, &top);
    let run = out.join(TIME).join("m").join("parallel_5_number_30");
    let text = fs::read_to_string(run.join("speed_benchmark.json")).unwrap();
    insta::assert_snapshot!("evalscope_speeds", text);
}

fn folders_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let mut inside = fs::read_dir(&next).unwrap().flatten().map(|e| e.path());
        if inside.by_ref().any(|path| path.is_file()) {
            let below = next.strip_prefix(folder).unwrap();
            found.push(below.display().to_string());
        } else {
            let inside = fs::read_dir(&next).unwrap().flatten();
            folders.extend(inside.map(|entry| entry.path()));
        }
    }
    found.sort();
    found
}

/// EvalScope names runs by concurrency or rate and a number, and nothing else.
#[test]
fn runs_have_the_names_of_evalscope() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("in").join("m");
    let add = |name: &str, slots, requests, rate: Option<f64>| {
        let mut meta = samples::meta("m");
        meta.name = name.to_owned();
        meta.load.concurrency = NonZeroUsize::new(slots);
        meta.load.requests = requests;
        if let Some(rate_per_s) = rate {
            meta.load.pacing = Pacing::Arrivals(Schedule::poisson(rate_per_s));
        }
        add_run(&top, &meta, samples::successes(4));
    };
    add("parallel_2_number_4", 2, Some(4), None);
    add("parallel_2_number_4_2", 2, Some(4), None);
    add("parallel_2_duration_3s", 2, None, None);
    add("parallel_8_number_4_rate_5", 8, Some(4), Some(5.0));
    add("rate_10_number_4", 0, Some(4), Some(10.0));
    add("rate_0.5_number_4", 0, Some(4), Some(0.5));
    let (out, exported) = exported(&folder, &top);
    assert_eq!(exported.runs, 6);
    assert_eq!(
        folders_below(&out),
        [
            format!("{TIME}/m/parallel_2_number_4"),
            format!("{TIME}/m/parallel_8_number_4"),
            format!("{TIME}/m/rate_0.5_number_4"),
            format!("{TIME}/m/rate_10.0_number_4"),
            format!("{TIME}/m_2/parallel_2_number_4"),
            format!("{TIME}/m_3/parallel_2_number_4"),
        ]
    );
    assert!(
        exported.notes.contains(
            &"`rate_10_number_4` is called `rate_10.0_number_4`, as EvalScope names runs"
                .to_owned()
        ),
        "{:?}",
        exported.notes
    );
    let args = out.join(format!("{TIME}/m/rate_0.5_number_4/benchmark_args.json"));
    let args: serde_json::Value = serde_json::from_slice(&fs::read(args).unwrap()).unwrap();
    assert_eq!(
        [&args["parallel"], &args["rate"], &args["open_loop"]],
        [
            &serde_json::json!(-1),
            &serde_json::json!(0.5),
            &serde_json::json!(true)
        ]
    );
}

#[test]
fn of_a_runs_folder_only_the_run_is_exported() {
    let (folder, top) = command(&samples::sweep_meta(2, 3), samples::successes(3));
    add_run(&top, &samples::sweep_meta(4, 3), samples::successes(3));
    let (_, exported) = exported(&folder, &top.join("parallel_4_number_3"));
    assert_eq!(exported.runs, 1);
    assert!(exported.folders[0].ends_with("20260131_120400/m"));
}

/// A database of format 2 has tables in place of views, and stamps with three flags.
#[test]
fn a_database_of_the_format_before_is_exported() {
    let (folder, top) = command(&samples::meta("m"), samples::successes(2));
    let database = top.join("parallel_5_number_30").join(FILE_NAME);
    let old = Connection::open(&database).unwrap();
    old.execute_batch(
        "DROP VIEW requests; DROP VIEW result; DROP VIEW warmup; DROP VIEW conversations;
         CREATE TABLE result AS SELECT * FROM record WHERE phase = 'measured';
         CREATE INDEX result_by_idx ON result (idx);
         CREATE TABLE warmup AS SELECT * FROM record WHERE phase = 'warmup';
         CREATE INDEX warmup_by_idx ON warmup (idx);
         DROP TABLE record;",
    )
    .unwrap();
    for column in [
        "answer_model",
        "ending",
        "skipped_events",
        "compressed",
        "peer",
        "reasoning_from_total",
        "conversation",
        "turn",
        "turn_delay_ns",
        "asked_increment_tokens",
        "asked_output_tokens",
        "trace_line",
        "possible_cached_tokens",
    ] {
        for table in ["result", "warmup"] {
            old.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}"))
                .unwrap();
        }
    }
    // tokens at 20 ms, and 5 ms later
    let (mut events, mut rest) = (Vec::new(), [20_000_000_u64, 5_000_000]);
    for gap in &mut rest {
        let mut value = (*gap << 3) + 3;
        while value >= 0x80 {
            events.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        events.push(u8::try_from(value).unwrap());
    }
    old.execute("UPDATE result SET events = ?", [events])
        .unwrap();
    old.pragma_update(None, "user_version", 2).unwrap();
    drop(old);
    let (out, _) = exported(&folder, &top);
    let run = out.join(TIME).join("m").join("parallel_5_number_30");
    let rows = rows(&run.join(FILE_NAME));
    assert_eq!(rows.matches("inter_token_latencies: [0.005]").count(), 2);
    assert_eq!(rows.matches("success: 1").count(), 2);
    assert!(
        rows.contains("request: {\"model\": \"m\", \"messages\""),
        "{rows}"
    );
}

#[test]
fn what_is_read_stays_as_it_is_and_what_is_there_is_not_touched() {
    let (folder, top) = command(&samples::meta("m"), samples::successes(2));
    let prepare = |out: &Path| Export::prepare(&top, out).map(|_| ()).unwrap_err();
    for inside in ["x", "new/deep", "new/../x"] {
        let error = prepare(&top.join(inside));
        assert!(matches!(error, ExportError::Inside { .. }), "{error}");
    }
    let full = folder.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "").unwrap();
    assert!(matches!(
        prepare(&full),
        ExportError::Files(FilesError::NotEmpty { .. })
    ));
    let file = full.join("mine");
    assert!(matches!(
        prepare(&file),
        ExportError::Files(FilesError::NotAFolder { .. })
    ));
    let error = Export::prepare(&full, &folder.path().join("out")).unwrap_err();
    assert!(matches!(
        error,
        ExportError::Files(FilesError::NoRuns { .. })
    ));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn turns_are_exported_with_their_whole_bodies() {
    let (exchanges, _) = samples::conversations(5);
    let (folder, top) = command(&samples::conversations_meta(), exchanges);
    let (out, _) = exported(&folder, &top);
    let run = out.join(TIME).join("m").join("parallel_5_number_40");
    let requests: Vec<String> = Connection::open(run.join(FILE_NAME))
        .unwrap()
        .prepare("SELECT request FROM result ORDER BY start_time")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut messages: Vec<usize> = requests
        .iter()
        .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap())
        .map(|body| body["messages"].as_array().unwrap().len())
        .collect();
    messages.sort_unstable();
    // conversations of one to five turns, each with a message of its own
    assert_eq!(messages, [1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5]);
    assert!(run.join("trace_summary.json").is_file());
}

/// A database that breaks between the look at it and the export.
#[test]
fn a_failed_export_leaves_nothing() {
    let (folder, top) = command(&samples::sweep_meta(2, 3), samples::successes(3));
    let broken = add_run(&top, &samples::sweep_meta(4, 3), samples::successes(3));
    let out = folder.path().join("out");
    let export = Export::prepare(&top, &out).unwrap();
    fs::write(broken, "no database").unwrap();
    let error = export.write(Format::EvalScope).unwrap_err();
    assert!(matches!(error, ExportError::Store(_)), "{error}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}
