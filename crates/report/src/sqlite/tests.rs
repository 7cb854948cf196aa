use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evalscope_model::conversation::{EndedBy, TurnPlace};
use evalscope_model::events::{LoadSnapshot, NamedModel, RunEvent, Snapshot};
use evalscope_model::mix::{ModelId, UrlId};
use evalscope_model::prompt::TraceEntry;
use evalscope_model::record::{
    ArrivalClock, ConnectCost, ConversationRecord, CountedTokens, Ending, EventLog, EventStamp,
    Exchange, Failure, FailureKind, Phase, PluginTokens, RequestRecord, RequestTimes, Usage,
};
use evalscope_model::time::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rusqlite::Connection;

use super::*;
use crate::findings::{Finding, FindingId};
use crate::model::{RecordBodies, RunMeta, RunState};
use crate::samples;
use crate::series::{MOST_BINS, RunSeries};

fn write(path: &Path, meta: &RunMeta, exchanges: &[Exchange]) {
    let database = Database::create(path, meta).unwrap();
    let events = exchanges.iter().cloned().map(Box::new);
    database.run(events.map(RunEvent::Exchange)).unwrap();
}

fn read(path: &Path, phase: Phase) -> Vec<RequestRecord> {
    let mut records = Vec::new();
    Reader::open(path)
        .unwrap()
        .for_each(phase, |_, record| {
            records.push(record.clone());
            Ok(())
        })
        .unwrap();
    records
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_nanos)
}

prop_compose! {
    fn times()(
        required in prop::array::uniform4(timestamp()),
        optional in prop::array::uniform6(prop::option::of(timestamp())),
    ) -> RequestTimes {
        let [scheduled, slot_free, dispatched, ended] = required;
        let [connected, write_begun, write_done, first_byte, headers, last_data] = optional;
        RequestTimes {
            scheduled, slot_free, dispatched, connected, write_begun, write_done,
            first_byte, headers, last_data, ended,
        }
    }
}

prop_compose! {
    fn events()(
        gaps in prop::collection::vec((0u64..1 << 40, any::<[bool; 5]>(), 0u8..4), 0..20)
    ) -> EventLog {
        let mut log = EventLog::default();
        let mut at = 0;
        for (gap, [token, answer, finish, coalesced, continued], choice) in gaps {
            at += gap;
            let at = Timestamp::from_nanos(at);
            log.push(EventStamp { at, token, answer, finish, coalesced, choice, continued });
        }
        log
    }
}

fn kind() -> impl Strategy<Value = FailureKind> {
    prop_oneof![
        any::<u16>().prop_map(FailureKind::Status),
        Just(FailureKind::Reset),
        Just(FailureKind::EmptyOutput),
        Just(FailureKind::TotalTimeout),
    ]
}

type Place = (Option<TurnPlace>, Option<TraceEntry>, Option<u64>);

/// Where a request stands.
fn place() -> impl Strategy<Value = Place> {
    let turn = any::<(u64, u32, u64, Option<u64>)>().prop_map(|own| TurnPlace {
        conversation: own.0,
        turn: own.1,
        delay: Duration::from_nanos(own.2),
        asked_increment: own.3,
    });
    let trace = any::<(u64, Option<u64>)>().prop_map(|own| TraceEntry {
        line: own.0,
        possible_cached_tokens: own.1,
    });
    let (turn, trace) = (prop::option::of(turn), prop::option::of(trace));
    (turn, trace, any::<Option<u64>>())
}

prop_compose! {
    fn record()(
        (index, warmup, streamed, kernel) in any::<(u64, bool, bool, bool)>(),
        failure in prop::option::of((kind(), any::<String>())),
        times in times(),
        events in events(),
        connect in any::<(bool, u64, u64, u64)>(),
        http_status in any::<Option<u16>>(),
        usage in any::<[Option<u64>; 4]>(),
        texts in any::<[Option<String>; 3]>(),
        (grace, compressed, from_total, skipped) in any::<(bool, bool, bool, u64)>(),
        peer in prop::option::of(any::<std::net::SocketAddrV4>()),
        (turn, trace, asked_output_tokens) in place(),
        inputs in any::<Option<u64>>(),
        (asked_model, url) in any::<(Option<u16>, Option<u16>)>(),
    ) -> RequestRecord {
        let [finish_reason, response_id, model] = texts;
        RequestRecord {
            index,
            phase: if warmup { Phase::Warmup } else { Phase::Measured },
            failure: failure.map(|(kind, message)| Failure::new(kind, message)),
            streamed,
            times,
            connect: ConnectCost {
                reused: connect.0,
                dns_ns: connect.1,
                tcp_ns: connect.2,
                tls_ns: connect.3,
            },
            clock: if kernel { ArrivalClock::Kernel } else { ArrivalClock::User },
            events,
            http_status,
            usage: Usage {
                prompt_tokens: usage[0],
                completion_tokens: usage[1],
                cached_tokens: usage[2],
                reasoning_tokens: usage[3],
                reasoning_from_total: from_total,
            },
            plugin: PluginTokens::default(),
            asked_prompt_tokens: None,
            asked_output_tokens,
            inputs,
            turn,
            trace,
            counted: CountedTokens::default(),
            finish_reason,
            response_id,
            model,
            ending: if grace { Ending::Grace } else { Ending::Marked },
            skipped_events: skipped,
            compressed,
            peer: peer.map(Into::into),
            asked_model: asked_model.map(ModelId),
            url: url.map(UrlId),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_record_is_read_back_as_it_was(records in prop::collection::vec(record(), 1..8)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let exchanges: Vec<_> = records
            .iter()
            .map(|record| Exchange { record: record.clone(), bodies: evalscope_model::record::Bodies::default() })
            .collect();
        write(&path, &samples::meta("m"), &exchanges);
        for phase in [Phase::Measured, Phase::Warmup] {
            let mut wrote: Vec<_> = records.iter().filter(|r| r.phase == phase).cloned().collect();
            wrote.sort_by_key(|r| r.index.cast_signed());
            prop_assert_eq!(read(&path, phase), wrote);
        }
    }
}

#[test]
fn what_is_known_of_a_run_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let meta = samples::meta("模型");
    let path = samples::finished(folder.path(), &meta, samples::mixed(10));
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.meta(), &meta);
    assert_eq!(reader.state(), RunState::Finished);
    assert_eq!(reader.count(Phase::Measured).unwrap(), 10);
    assert_eq!(reader.count(Phase::Warmup).unwrap(), 0);
    assert!(reader.client().unwrap().is_some());
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "the file stands alone: {files:?}");
}

/// What the documented analysis script does, step by step.
#[test]
fn bodies_can_be_unpickled() {
    let folder = tempfile::tempdir().unwrap();
    let path = samples::finished(folder.path(), &samples::meta("m"), samples::mixed(15));
    let connection = Connection::open(&path).unwrap();
    let mut statement = connection
        .prepare(
            "SELECT request, response_messages, prompt_tokens, completion_tokens \
             FROM result WHERE success='True'",
        )
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut count = 0;
    while let Some(row) = rows.next().unwrap() {
        let unpickled = |column: usize| -> serde_json::Value {
            let bytes = STANDARD
                .decode(row.get::<_, String>(column).unwrap())
                .unwrap();
            serde_pickle::from_slice(&bytes, serde_pickle::DeOptions::new()).unwrap()
        };
        let request = unpickled(0);
        assert!(
            request["messages"][0]["content"]
                .as_str()
                .unwrap()
                .starts_with("问题")
        );
        assert_eq!(request["temperature"], 0.5);
        assert!(request["n"].is_null());
        let mut content = String::new();
        for response in unpickled(1).as_array().unwrap() {
            let response: serde_json::Value =
                serde_json::from_str(response.as_str().unwrap()).unwrap();
            content += response["choices"][0]["delta"]["content"].as_str().unwrap();
        }
        assert!(content.starts_with("片0 片1 "));
        assert_eq!(row.get::<_, i64>(3).unwrap(), 20);
        count += 1;
    }
    assert_eq!(count, 13);
}

#[test]
fn derived_columns_are_in_seconds_and_failures_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = samples::finished(folder.path(), &samples::meta("m"), samples::mixed(15));
    let connection = Connection::open(&path).unwrap();
    let row: (f64, f64, f64, f64, f64, f64, i64) = connection
        .query_row(
            "SELECT start_time, completed_time, latency, first_chunk_latency, time_per_output_token, \
             chunk_time, n_chunks FROM result WHERE idx = 0",
            [],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?)),
        )
        .unwrap();
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    assert!(near(row.0, 1_769_832_000.124_457), "{row:?}");
    assert!(near(row.1 - row.0, row.2), "{row:?}");
    assert!(
        near(row.2, 0.047) && near(row.3, 0.020) && near(row.4, 0.027 / 19.0),
        "{row:?}"
    );
    assert!(near(row.5, 0.0032) && row.6 == 11, "{row:?}");
    let failed: i64 = connection
        .query_row(
            "SELECT count(*) FROM result WHERE success = 'False' AND latency IS NULL \
             AND completion_tokens IS NULL AND error_kind IN ('http_503', 'reset')",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert_eq!(failed, 2);
    let view: (i64, f64, f64, i64) = connection
        .query_row(
            "SELECT succeeded, ttft_ms, dispatch_lag_ms, output_tokens FROM requests WHERE idx = 1",
            [],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)),
        )
        .unwrap();
    assert!(
        view.0 == 1 && near(view.1, 20.1) && near(view.2, 0.05) && view.3 == 20,
        "{view:?}"
    );
}

#[test]
fn bodies_are_kept_as_asked() {
    for (bodies, kept) in [
        (RecordBodies::All, [13, 2, 13, 1]),
        (RecordBodies::Failed, [0, 2, 0, 1]),
        (RecordBodies::None, [0, 0, 0, 1]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut meta = samples::meta("m");
        meta.record_bodies = bodies;
        let path = samples::finished(folder.path(), &meta, samples::mixed(15));
        let connection = Connection::open(&path).unwrap();
        let count = |condition: &str| -> i64 {
            connection
                .query_row(
                    &format!("SELECT count(*) FROM result WHERE {condition}"),
                    [],
                    |r| r.get(0),
                )
                .unwrap()
        };
        let found = [
            count("success = 'True' AND request <> '' AND response_messages <> ''"),
            count("success = 'False' AND request <> '' AND response_messages <> ''"),
            count("final_event IS NOT NULL"),
            count("error_excerpt IS NOT NULL"),
        ];
        assert_eq!(found, kept, "{bodies:?}");
    }
}

#[test]
fn an_existing_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    fs::write(&path, "precious").unwrap();
    let error = Database::create(&path, &samples::meta("m")).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }));
    assert!(error.to_string().contains("hint:"));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

/// What a killed process leaves: the files as they are, copied away while the
/// writer still has them open.
#[test]
fn a_killed_run_is_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let database = Database::create(&path, &samples::meta("m")).unwrap();
    let (tx, rx) = std::sync::mpsc::sync_channel(1);
    let sink = std::thread::spawn(move || database.run(rx));
    let send = |message| tx.send(message).unwrap();
    let warning = |text| Finding::new(FindingId::ServerEnded, text).into();
    for exchange in samples::successes(8) {
        send(RunEvent::Exchange(Box::new(exchange)));
    }
    send(warning("a warning"));
    let snapshot: evalscope_model::metrics::ClientSnapshot = {
        let json = r#"{"handling":{"bits":5,"counts":[]},"kernel_reads":0,"user_reads":0,"clock_steps":0,
            "cpu_s":0.0,"elapsed_s":0.0,"max_rss_bytes":0,"client_threads":1}"#;
        serde_json::from_str(json).unwrap()
    };
    send(RunEvent::Snapshot(Box::new(Snapshot {
        client: snapshot,
        load: LoadSnapshot::default(),
    })));
    // taken up only after the commit; the second waits in the channel until then
    send(warning("not committed"));
    send(warning("nor this"));
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let left = copy.path().join(FILE_NAME);
    let alone = copy.path().join("alone.db");
    fs::copy(&left, &alone).unwrap();
    let error = Reader::open(&alone).unwrap_err().to_string();
    assert!(error.contains("its `-wal` file"), "{error}");
    let journal = fs::metadata(copy.path().join(format!("{FILE_NAME}-wal"))).unwrap();
    assert!(journal.len() > 0, "the rows are still in the journal");
    let reader = Reader::open(&left).unwrap();
    assert_eq!(reader.state(), RunState::Running);
    assert_eq!(reader.count(Phase::Measured).unwrap(), 8);
    let stored = Finding::new(FindingId::ServerEnded, "a warning");
    assert_eq!(reader.warnings().unwrap(), [stored]);
    drop(reader);
    let report = crate::RunReport::load(&left).unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.id == FindingId::RunNotEnded),
        "{:?}",
        report.warnings
    );
    drop(tx);
    sink.join().unwrap().unwrap();
    assert_eq!(Reader::open(&path).unwrap().warnings().unwrap().len(), 3);
}

/// The first files of format 3: warnings without ids, and no end.
#[test]
fn a_file_without_ids_of_warnings_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = samples::finished(folder.path(), &samples::meta("m"), samples::successes(3));
    assert!(Reader::open(&path).unwrap().ended_at().is_some());
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "DROP TABLE warning;
             CREATE TABLE warning (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
             INSERT INTO warning (text) VALUES ('an old warning');
             DELETE FROM run WHERE key = 'ended_at';
             UPDATE run SET value = json_remove(value, '$.host', '$.command_line', '$.metadata', '$.folder')
               WHERE key = 'meta';",
        )
        .unwrap();
    drop(connection);
    let report = crate::RunReport::load(&path).unwrap();
    let old = Finding::new(FindingId::Other, "an old warning");
    assert_eq!(report.warnings[0], old);
    assert_eq!((report.ended_at, report.meta.host), (None, None));
}

#[test]
fn other_files_are_told_from_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    assert!(matches!(
        Reader::open(&path).unwrap_err(),
        StoreError::Missing { .. }
    ));
    fs::write(
        &path,
        "no database at all, but long enough to be looked at ".repeat(20),
    )
    .unwrap();
    assert!(matches!(
        Reader::open(&path).unwrap_err(),
        StoreError::NotOurs { .. }
    ));
    fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE result (request)")
        .unwrap();
    assert!(matches!(
        Reader::open(&path).unwrap_err(),
        StoreError::NotOurs { .. }
    ));
    fs::remove_file(&path).unwrap();
    write(&path, &samples::meta("m"), &[]);
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = Reader::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 99,
                known: 6,
                ..
            }
        ),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    assert!(matches!(
        Reader::open(&path).unwrap_err(),
        StoreError::NotOurs { .. }
    ));
}

#[test]
fn damage_is_named_by_row_and_column() {
    let folder = tempfile::tempdir().unwrap();
    for (sql, column) in [
        ("UPDATE record SET events = x'ff' WHERE idx = 3", "`events`"),
        ("UPDATE record SET clock = 'sun' WHERE idx = 3", "`clock`"),
        (
            "UPDATE record SET ended_ns = NULL WHERE idx = 3",
            "`ended_ns`",
        ),
        (
            "UPDATE record SET error_kind = 'bad luck' WHERE idx = 3",
            "`error_kind`",
        ),
        (
            "UPDATE record SET http_status = 'x' WHERE idx = 3",
            "`http_status`",
        ),
    ] {
        let path = folder.path().join("x.db");
        write(&path, &samples::meta("m"), &samples::successes(5));
        Connection::open(&path).unwrap().execute(sql, []).unwrap();
        let error = crate::RunReport::load(&path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(column), "{error}");
        fs::remove_file(&path).unwrap();
    }
    let path = folder.path().join("y.db");
    write(&path, &samples::meta("m"), &samples::successes(50));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    crate::RunReport::load(&path).unwrap_err();
}

#[test]
fn columns_stand_once() {
    let names: std::collections::BTreeSet<_> =
        schema::COLUMNS.into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), schema::COLUMNS.len());
    // reading records never goes beyond this one
    assert_eq!(schema::record_columns().last(), Some("events"));
}

#[test]
fn every_column_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/files.md");
    let text = fs::read_to_string(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    write(&path, &samples::meta("m"), &[]);
    let connection = Connection::open(&path).unwrap();
    for table in [
        "result",
        "requests",
        "conversation",
        "conversations",
        "run",
        "client",
        "warning",
    ] {
        let statement = connection
            .prepare(&format!("SELECT * FROM {table}"))
            .unwrap();
        for column in statement.column_names() {
            assert!(text.contains(&format!("`{column}`")), "{table}.{column}");
        }
    }
}

/// The rows of the view `requests` as the program reads them, without what came with format 3.
fn request_rows(path: &Path) -> Vec<Vec<rusqlite::types::Value>> {
    let mut rows = Vec::new();
    let reader = Reader::open(path).unwrap();
    let new = [
        schema::SINCE_3.as_slice(),
        &schema::SINCE_4,
        &schema::SINCE_5,
        &schema::SINCE_6,
    ]
    .concat();
    let is_old = |at: &usize| {
        let name = REQUEST_COLUMNS.get(*at).map_or("", |column| column.name);
        !new.contains(&name)
    };
    reader
        .for_each_request(Phase::Measured, &Wanted::default(), |row| {
            let columns = (0..REQUEST_COLUMNS.len() + 2).filter(is_old);
            rows.push(columns.map(|at| row.get(at).unwrap()).collect());
            Ok::<_, StoreError>(())
        })
        .unwrap();
    rows
}

#[test]
fn the_view_of_requests_is_what_the_program_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = samples::finished(folder.path(), &samples::meta("m"), samples::mixed(20));
    let reader = Reader::open(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    let mut statement = connection
        .prepare("SELECT * FROM requests ORDER BY idx")
        .unwrap();
    let names = REQUEST_COLUMNS.map(|column| column.name);
    assert!(statement.column_names().eq(names));
    let cells = |row: &rusqlite::Row<'_>| -> Vec<rusqlite::types::Value> {
        (0..names.len()).map(|at| row.get(at).unwrap()).collect()
    };
    let rows = statement.query_map([], |row| Ok(cells(row))).unwrap();
    let wanted: Vec<_> = rows.map(Result::unwrap).collect();
    let mut found = Vec::new();
    reader
        .for_each_request(Phase::Measured, &Wanted::default(), |row| {
            found.push(cells(row));
            Ok::<_, StoreError>(())
        })
        .unwrap();
    assert_eq!(found.len(), 20);
    assert_eq!(found, wanted);
}

/// Nothing is sorted or put aside, which would take memory, and the lists of moments are not made.
#[test]
fn requests_are_read_as_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let path = samples::finished(folder.path(), &samples::meta("m"), samples::mixed(3));
    let connection = Connection::open(&path).unwrap();
    for phase in [Phase::Measured, Phase::Warmup] {
        let select = schema::select_requests(phase, schema::VERSION, 7, &Wanted::default());
        let mut plan = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {select}"))
            .unwrap();
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        let name = |table| {
            [
                "CORRELATED SCALAR SUBQUERY".to_owned(),
                format!("SEARCH {table} USING INTEGER PRIMARY KEY (rowid=?)"),
            ]
        };
        let mut wanted = vec!["SEARCH record USING INDEX record_by_idx (phase=?)".to_owned()];
        wanted.extend(["model", "url"].into_iter().flat_map(name));
        // subqueries are numbered
        let unnumbered = |step: &String| {
            step.trim_end_matches(|c: char| c.is_ascii_digit())
                .trim()
                .to_owned()
        };
        let steps: Vec<String> = steps.iter().map(unnumbered).collect();
        assert_eq!(steps, wanted);
    }
}

/// The events of a log as format 2 had them: times 8, three flags.
fn events_of_format_2(log: &EventLog) -> Vec<u8> {
    let (mut bytes, mut last) = (Vec::new(), 0);
    for stamp in log.stamps() {
        let at = stamp.at.as_nanos();
        let flags = u64::from(stamp.token) + 2 * u64::from(stamp.answer);
        let mut value = ((at - last) << 3) + flags + 4 * u64::from(stamp.coalesced);
        last = at;
        while value >= 0x80 {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
    }
    bytes
}

#[test]
fn a_database_of_the_format_before_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let exchanges = samples::mixed(12);
    write(&path, &samples::meta("m"), &exchanges);
    let charts = || RunSeries::load(&crate::RunReport::load(&path).unwrap(), MOST_BINS).unwrap();
    let new = charts();
    let new_rows = request_rows(&path);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP VIEW requests; DROP VIEW result; DROP VIEW warmup; DROP VIEW conversations;
         DROP TABLE conversation",
    )
    .unwrap();
    for (table, phase) in [("result", "measured"), ("warmup", "warmup")] {
        old.execute_batch(&format!(
            "CREATE TABLE {table} AS SELECT * FROM record WHERE phase = '{phase}';
             CREATE INDEX {table}_by_idx ON {table} (idx)"
        ))
        .unwrap();
        for column in (schema::SINCE_3.iter())
            .chain(&schema::SINCE_4)
            .chain(&schema::SINCE_5)
            .chain(&schema::SINCE_6)
        {
            old.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}"))
                .unwrap();
        }
    }
    old.execute_batch("DROP TABLE record").unwrap();
    for exchange in &exchanges {
        let events = events_of_format_2(&exchange.record.events);
        old.execute(
            "UPDATE result SET events = ? WHERE idx = ?",
            rusqlite::params![events, exchange.record.index.cast_signed()],
        )
        .unwrap();
    }
    old.pragma_update(None, "user_version", 2).unwrap();
    drop(old);
    let mut wanted: Vec<RequestRecord> = exchanges.into_iter().map(|e| e.record).collect();
    wanted.sort_by_key(|record| record.index);
    assert_eq!(read(&path, Phase::Measured), wanted);
    assert!(charts() == new, "the charts are others");
    assert_eq!(request_rows(&path), new_rows);
}

#[test]
fn a_database_of_format_3_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = samples::finished(folder.path(), &samples::meta("m"), samples::mixed(12));
    let wanted = read(&path, Phase::Measured);
    let new_rows = request_rows(&path);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP VIEW conversations; DROP VIEW requests; DROP VIEW result; DROP VIEW warmup;
         DROP TABLE conversation",
    )
    .unwrap();
    for column in (schema::SINCE_4.iter())
        .chain(&schema::SINCE_5)
        .chain(&schema::SINCE_6)
    {
        old.execute_batch(&format!("ALTER TABLE record DROP COLUMN {column}"))
            .unwrap();
    }
    old.execute_batch("CREATE VIEW result AS SELECT * FROM record WHERE phase = 'measured'")
        .unwrap();
    old.pragma_update(None, "user_version", 3).unwrap();
    drop(old);
    assert_eq!(read(&path, Phase::Measured), wanted);
    let mut conversations = 0;
    let reader = Reader::open(&path).unwrap();
    reader
        .for_each_conversation(Phase::Measured, |_| conversations += 1)
        .unwrap();
    assert_eq!(conversations, 0);
    assert_eq!(reader.stored(3).unwrap().unwrap().0, wanted[3]);
    assert_eq!(request_rows(&path), new_rows);
    assert!(crate::RunReport::load(&path).is_ok());
}

#[test]
fn a_database_of_format_4_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = samples::finished(folder.path(), &samples::meta("m"), samples::mixed(12));
    let (wanted, new_rows) = (read(&path, Phase::Measured), request_rows(&path));
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP VIEW conversations; DROP VIEW requests; DROP VIEW result; DROP VIEW warmup",
    )
    .unwrap();
    for column in schema::SINCE_5.iter().chain(&schema::SINCE_6) {
        old.execute_batch(&format!("ALTER TABLE record DROP COLUMN {column}"))
            .unwrap();
    }
    old.execute_batch("CREATE VIEW result AS SELECT * FROM record WHERE phase = 'measured'")
        .unwrap();
    old.pragma_update(None, "user_version", 4).unwrap();
    drop(old);
    assert_eq!(read(&path, Phase::Measured), wanted);
    assert_eq!(request_rows(&path), new_rows);
    assert!(crate::RunReport::load(&path).is_ok());
}

#[test]
fn a_database_of_format_5_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = samples::finished(folder.path(), &samples::meta("m"), samples::mixed(12));
    let (wanted, new_rows) = (read(&path, Phase::Measured), request_rows(&path));
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP VIEW conversations; DROP VIEW requests; DROP VIEW result; DROP VIEW warmup;
         DROP TABLE model; DROP TABLE url",
    )
    .unwrap();
    for column in schema::SINCE_6 {
        old.execute_batch(&format!("ALTER TABLE record DROP COLUMN {column}"))
            .unwrap();
    }
    old.execute_batch("CREATE VIEW result AS SELECT * FROM record WHERE phase = 'measured'")
        .unwrap();
    old.pragma_update(None, "user_version", 5).unwrap();
    drop(old);
    assert_eq!(read(&path, Phase::Measured), wanted);
    assert_eq!(request_rows(&path), new_rows);
    assert!(Reader::open(&path).unwrap().models().unwrap().is_empty());
    assert!(crate::RunReport::load(&path).unwrap().by_model.is_empty());
}

#[test]
fn requests_have_the_names_of_their_model_and_url() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let mut exchanges = samples::successes(3);
    for (id, exchange) in (0..).zip(&mut exchanges) {
        exchange.record.asked_model = (id < 2).then_some(ModelId(id));
        exchange.record.url = id.checked_sub(1).map(UrlId);
    }
    let mut meta = samples::meta("a,b");
    meta.urls = vec!["http://x/".to_owned(), "http://y/".to_owned()];
    let names = (0..).zip(["a", "b"]).map(|(id, name)| {
        RunEvent::Model(NamedModel {
            id: ModelId(id),
            name: name.to_owned(),
        })
    });
    let events = exchanges.into_iter().map(Box::new).map(RunEvent::Exchange);
    let database = Database::create(&path, &meta).unwrap();
    database.run(names.chain(events)).unwrap();
    let rows: Vec<String> = Connection::open(&path)
        .unwrap()
        .prepare("SELECT json_array(model, url) FROM requests ORDER BY idx")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        rows,
        [
            r#"["a",null]"#,
            r#"["b","http://x/"]"#,
            r#"[null,"http://y/"]"#
        ]
    );
    assert_eq!(Reader::open(&path).unwrap().models().unwrap(), ["a", "b"]);
}

fn conversation(index: u64, phase: Phase, ended_by: EndedBy) -> ConversationRecord {
    ConversationRecord {
        index,
        phase,
        session: (index == 0).then(|| "a1".to_owned()),
        turns_planned: 3,
        turns_sent: 2,
        ended_by,
        scheduled: Timestamp::from_nanos(1_000_000_000),
        ended: Timestamp::from_nanos(3_500_000_000),
        empty_replies: 1,
        tools_unmatched: 2,
    }
}

#[test]
fn conversations_come_back_and_have_the_sums_of_their_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let records = [
        conversation(1, Phase::Measured, EndedBy::ContextLimit),
        conversation(0, Phase::Measured, EndedBy::Completed),
        conversation(0, Phase::Warmup, EndedBy::Failed),
    ];
    let mut turns = samples::successes(2);
    for (turn, exchange) in (0..).zip(&mut turns) {
        exchange.record.turn = Some(TurnPlace {
            conversation: 0,
            turn,
            delay: Duration::from_millis(750 * u64::from(turn)),
            asked_increment: Some(5),
        });
    }
    let events = turns
        .into_iter()
        .map(|turn| RunEvent::Exchange(Box::new(turn)));
    let ends = records
        .iter()
        .cloned()
        .map(|record| RunEvent::Conversation(Box::new(record)));
    let database = Database::create(&path, &samples::meta("m")).unwrap();
    database.run(events.chain(ends)).unwrap();
    let reader = Reader::open(&path).unwrap();
    let read = |phase| {
        let mut found = Vec::new();
        reader
            .for_each_conversation(phase, |record| found.push(record))
            .unwrap();
        found
    };
    assert_eq!(
        read(Phase::Measured),
        [records[1].clone(), records[0].clone()]
    );
    assert_eq!(read(Phase::Warmup), records[2..]);
    let rows: Vec<String> = Connection::open(&path)
        .unwrap()
        .prepare(
            "SELECT json_array(idx, session_id, turns_succeeded, ended_by, whole, duration_s,
               round(busy_s, 4), think_s, first_turn_ttft_ms, input_tokens, output_tokens, cached_tokens)
             FROM conversations ORDER BY idx",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        rows,
        [
            r#"[0,"a1",2,"completed",1,2.5,0.0941,0.75,20.0,81,40,32]"#,
            r#"[1,null,null,"context_limit",0,2.5,null,null,null,null,null,null]"#,
        ]
    );
    let think: Vec<Option<f64>> = Connection::open(&path)
        .unwrap()
        .prepare("SELECT think_s FROM requests ORDER BY idx")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(think, [None, Some(0.75)]);
}

#[test]
fn bodies_that_cannot_be_stored_cost_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let mut exchanges = samples::mixed(6);
    exchanges[2].bodies.request = vec![b'x'; 5000];
    let database = Database::create(&path, &samples::meta("m"))
        .unwrap()
        .with_most_body_bytes(4000);
    let events = exchanges.iter().cloned().map(Box::new);
    database.run(events.map(RunEvent::Exchange)).unwrap();
    let index = exchanges[2].record.index;
    let records = read(&path, Phase::Measured);
    assert_eq!(records.len(), 6);
    let reader = Reader::open(&path).unwrap();
    let warnings = reader.warnings().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].id == FindingId::BodiesNotStored
            && warnings[0].text.starts_with(&format!(
                "the bodies of request {index} could not be stored"
            )),
        "{warnings:?}"
    );
    let kept: Vec<i64> = Connection::open(&path)
        .unwrap()
        .prepare("SELECT idx FROM result WHERE request = ''")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(kept, [index.cast_signed()]);
}

/// The lists that views make of `events`, against the log itself.
#[test]
fn views_read_events_as_the_program_does() {
    let mut runner = TestRunner::deterministic();
    let logs: Vec<EventLog> = (0..60)
        .map(|_| events().new_tree(&mut runner).unwrap().current())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let mut exchange = samples::successes(1).remove(0);
    let exchanges: Vec<Exchange> = (0..)
        .zip(&logs)
        .map(|(index, log)| {
            exchange.record.index = index;
            exchange.record.events = log.clone();
            exchange.clone()
        })
        .collect();
    let meta = samples::meta("m");
    write(&path, &meta, &exchanges);
    let connection = Connection::open(&path).unwrap();
    let mut statement = connection
        .prepare("SELECT chunk_times, inter_token_latencies FROM result ORDER BY idx")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::<(String, String), _>::unwrap);
    for ((times, gaps), log) in rows.zip(&logs) {
        let want: Vec<String> = log
            .token_events()
            .map(|at| meta.clock.unix_ns(at))
            .map(|ns| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000))
            .collect();
        assert_eq!(times, format!("[{}]", want.join(", ")));
        let mut want = Vec::new();
        evalscope_model::metrics::Metric::Itl.samples(
            &RequestRecord {
                events: log.clone(),
                ..exchange.record.clone()
            },
            |gap| want.push(format!("{:.9}", gap / 1e9)),
        );
        assert_eq!(gaps, format!("[{}]", want.join(", ")));
    }
}
