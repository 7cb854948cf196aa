//! The fault table: for each fault and each oddity of the simulated server, what becomes of the
//! requests that meet it, and of those beside them.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use evalscope_model::record::{EventLog, EventLogFormat};
use evalscope_model::time::RunClock;
use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator, When};

use crate::context::Context;
use crate::server::{Recorder, reply};

const REQUESTS: i64 = 40;
const HIT: i64 = 10;
const TOKENS: i64 = 16;

/// A run of 40 requests, four at a time; each fourth meets the fault.
fn run(fault: Fault) -> Context {
    // long enough that a busy machine does not reach it, but for those that wait for it
    let patience = match fault {
        Fault::Stall | Fault::StallBefore => ["--read-timeout", "0.5"],
        _ => ["--read-timeout", "20"],
    };
    run_with(fault, &patience)
}

fn run_with(fault: Fault, patience: &[&str]) -> Context {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            itl_ms: 1.0,
            ..Profile::default()
        },
        faults: vec![FaultRule {
            fault,
            when: When::Every(4),
        }],
        ..SimConfig::default()
    })
    .unwrap();
    let url = simulator.url();
    let context = Context::new();
    let outcome = context.perf(
        &[
            &["--url", &url, "--model", "sim", "--prompt", "p"],
            ["--number", "40", "--parallel", "4", "--max-tokens", "16"].as_slice(),
            &["--no-test-connection"],
            patience,
        ]
        .concat(),
    );
    assert_eq!(outcome.code, Some(0), "{fault}: {outcome:#?}");
    assert_eq!(
        simulator.requests().cast_signed(),
        REQUESTS,
        "{fault}: every request is sent, and sent once"
    );
    context
}

/// The rows of all faults, in their order, from a few runs at a time.
fn table(faults: &[Fault], row: impl Fn(Fault) -> String + Sync) -> String {
    let rows: Mutex<Vec<(usize, String)>> = Mutex::new(Vec::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(fault) = faults.get(i) else { return };
                    let row = row(*fault);
                    rows.lock().unwrap().push((i, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort();
    rows.into_iter().fold(String::new(), |mut table, (_, row)| {
        writeln!(table, "{}", row.trim_end()).unwrap();
        table
    })
}

fn faults(oddities: bool) -> Vec<Fault> {
    let all = Fault::ALL.iter().copied();
    all.filter(|fault| fault.is_oddity() == oddities).collect()
}

#[test]
fn every_error_is_counted_once_and_by_its_kind() {
    let rows = table(&faults(false), |fault| {
        let context = run(fault);
        let result = context.result();
        let counts = &result["runs"][0]["counts"];
        assert_eq!(counts["total"], REQUESTS, "{fault}: {counts}");
        assert_eq!(counts["failed"], HIT, "{fault}: {counts}");
        assert_eq!(counts["succeeded"], REQUESTS - HIT, "{fault}: {counts}");
        let kinds = counts["by_kind"].as_object().unwrap();
        assert_eq!(kinds.len(), 1, "{fault}: {kinds:?}");
        let kind = kinds.keys().next().unwrap();
        // the others are as if nothing had been
        let whole = "SELECT count(*) FROM result WHERE success = 'True' AND completion_tokens = 16 \
                     AND json_array_length(chunk_times) = 16 AND first_chunk_latency > 0";
        assert_eq!(context.column::<i64>(whole), [REQUESTS - HIT], "{fault}");
        // a failure has no latency, and what it got is kept
        let odd = "SELECT count(*) FROM result WHERE success = 'False' AND (latency IS NOT NULL \
                   OR first_chunk_latency IS NOT NULL OR error_text IS NULL OR request = '')";
        assert_eq!(context.column::<i64>(odd), [0], "{fault}");
        let kept = context.column::<i64>(
            "SELECT DISTINCT json_array_length(chunk_times) FROM result WHERE success = 'False'",
        );
        let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
        let said = context.column::<i64>(
            "SELECT count(*) FROM result WHERE success = 'False' AND error_excerpt <> ''",
        )[0];
        let text = context.column::<String>(
            "SELECT error_text FROM result WHERE success = 'False' ORDER BY idx LIMIT 1",
        );
        format!(
            "{:<18} {kind:<14} {HIT:>6} {:>9} {:>6} {said:>7}  {}",
            fault.name(),
            REQUESTS - HIT,
            kept.join("/"),
            text[0]
        )
    });
    let table = format!(
        "{:<18} {:<14} failed succeeded tokens excerpt  text\n{rows}",
        "fault", "kind"
    );
    println!("{table}");
    // which request met the fault first, and when, is left to chance
    insta::with_settings!({
        filters => vec![
            (r"chatcmpl-sim-\d+", "[ID]"),
            (r"column \d+", "column [N]"),
            (r#""created":\d+"#, r#""created":[TIME]"#),
            (r"(connection reset by peer) while .*", "$1 [WHEN]"),
        ],
    }, {
        insta::assert_snapshot!("errors", table);
    });
}

/// A server that keeps sending, but too slowly: no silence is long, the whole is.
#[test]
fn an_answer_without_end_is_given_up() {
    let context = run_with(Fault::SlowHeaders, &["--total-timeout", "1"]);
    assert_eq!(
        context.result()["runs"][0]["counts"]["by_kind"],
        serde_json::json!({"total_timeout": HIT})
    );
}

#[test]
fn no_oddity_is_an_error() {
    let rows = table(&faults(true), |fault| {
        let context = run(fault);
        let result = context.result();
        let run = &result["runs"][0];
        assert_eq!(run["counts"]["failed"], 0, "{fault}: {}", run["counts"]);
        assert_eq!(run["counts"]["succeeded"], REQUESTS, "{fault}");
        let tokens = context.column::<i64>("SELECT DISTINCT completion_tokens FROM result");
        assert_eq!(tokens, [TOKENS], "{fault}: every token is counted");
        let order = "SELECT count(*) FROM result WHERE latency <= 0 OR first_chunk_latency <= 0 \
                     OR first_chunk_latency > latency OR latency IS NULL";
        assert_eq!(context.column::<i64>(order), [0], "{fault}");

        let [odd, plain] = [0, 1].map(|rest| {
            let hit = "CAST(substr(request_id, 14) AS INTEGER) % 4 = 0";
            let database = context.database();
            let mut statement = database
                .prepare(&format!(
                    "SELECT token_source, finish_reason, prompt_tokens IS NOT NULL, \
                     first_chunk_latency IS NOT NULL, events FROM result WHERE ({hit}) = {}",
                    1 - rest
                ))
                .unwrap();
            let rows = statement.query_map([], |row| {
                let log =
                    EventLog::from_bytes(&row.get::<_, Vec<u8>>(4)?, EventLogFormat::V2).unwrap();
                let answer = log.tokens().position(|event| event.answer);
                Ok(format!(
                    "{:<12}  {:<13} {:>6} {:>4}  {:>6} {:>6}  {:>12}",
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    if row.get(2)? { "yes" } else { "no" },
                    if row.get(3)? { "yes" } else { "no" },
                    log.len(),
                    log.tokens().count(),
                    answer.map_or("-".to_owned(), |i| i.to_string()),
                ))
            });
            let mut rows: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
            let expected = if rest == 0 { HIT } else { REQUESTS - HIT };
            assert_eq!(i64::try_from(rows.len()).unwrap(), expected, "{fault}");
            rows.dedup();
            assert_eq!(rows.len(), 1, "{fault}: all are alike: {rows:#?}");
            rows.remove(0)
        });
        assert_eq!(plain, PLAIN, "{fault}: those beside it are plain");
        if is_reasoning(fault) {
            let mean = |metric: &str| run["metrics"][metric]["mean"].as_f64().unwrap();
            assert!(mean("ttfat_ms") > mean("ttft_ms"), "{fault}");
        }
        format!("{:<22} {:>6} {:>9}  {odd}", fault.name(), 0, REQUESTS)
    });
    let table = format!(
        "{:<22} failed succeeded  tokens from   finish        prompt TTFT  events tokens  first answer\n{rows}",
        "oddity"
    );
    println!("{table}");
    insta::assert_snapshot!("oddities", table);
}

/// An answer without any oddity: a role, 16 tokens, a finish reason, a usage.
const PLAIN: &str = "server_usage  length           yes  yes      19     16             0";

fn is_reasoning(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Reasoning | Fault::ReasoningContent | Fault::ReasoningDetails
    )
}

/// Two requests of a few tokens to a server that answers everything in one way.
fn asked(context: &Context, url: &str, more: &[&str]) -> crate::context::Outcome {
    let args = [
        "--url", url, "--model", "m", "--prompt", "p", "--number", "2",
    ];
    context.perf(
        &[
            &args,
            ["--max-tokens", "4", "--no-test-connection"].as_slice(),
            more,
        ]
        .concat(),
    )
}

const TWO_TOKENS: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_stream_is_one_whatever_its_head_says() {
    for head in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n",
        "HTTP/1.1 201 Created\r\ncontent-type: text/event-stream\r\n",
    ] {
        let body = format!("{TWO_TOKENS}{STOP}data: \"[DONE]\"\n\n");
        let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let server = Recorder::start(move |_, _| answer.clone().into_bytes());
        let context = Context::new();
        let outcome = asked(&context, &server.url(), &[]);
        assert_eq!(outcome.code, Some(0), "{head}: {outcome:#?}");
        let seen = "SELECT count(*) FROM result WHERE success = 'True' AND completion_tokens = 2 \
                    AND first_chunk_latency > 0";
        assert_eq!(context.column::<i64>(seen), [2], "{head}");
    }
}

/// It finishes each answer and then sends a comment now and then, for ever.
#[test]
#[expect(clippy::disallowed_methods, reason = "a server that waits")]
fn heartbeats_do_not_hold_a_finished_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://{}/v1/chat/completions",
        listener.local_addr().unwrap()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                let _ = stream.write_all(format!("{head}{TWO_TOKENS}{STOP}").as_bytes());
                while stream.write_all(b": heartbeat\n\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    let context = Context::new();
    let clock = RunClock::start();
    let outcome = asked(&context, &url, &["--read-timeout", "30"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(clock.now().as_nanos() < 25_000_000_000, "{:?}", clock.now());
    let short = "SELECT count(*) FROM result WHERE success = 'True' AND latency < 1.5";
    assert_eq!(context.column::<i64>(short), [2]);
    let lag = &context.result()["runs"][0]["metrics"]["client_lag_ms"]["max"];
    assert!(
        lag.as_f64().unwrap() < 1500.0,
        "the wait is no lag of the client: {lag}"
    );
}

#[test]
fn failures_in_other_words_are_failures_with_these_words() {
    let event_stream = "text/event-stream";
    let json = "application/json";
    for (kind, body, words) in [
        (
            json,
            r#"{"choices":null,"base_resp":{"status_code":1004,"status_msg":"login fail: check your API key"}}"#
                .to_owned(),
            "login fail: check your API key (1004)",
        ),
        (json, r#"{"code":500,"msg":"no room"}"#.to_owned(), "no room (500)"),
        (
            event_stream,
            "{\"error\":{\"message\":\"the cluster is overloaded\"}}\n".to_owned(),
            "the cluster is overloaded",
        ),
        (
            event_stream,
            format!("{TWO_TOKENS}{}{DONE}", STOP.replace("stop", "abort")),
            "the server ended generation with finish_reason `abort`",
        ),
    ] {
        let answer = reply("200 OK", kind, &body);
        let server = Recorder::start(move |_, _| answer.clone());
        let context = Context::new();
        asked(&context, &server.url(), &[]);
        let counts = &context.result()["runs"][0]["counts"]["by_kind"];
        assert_eq!(*counts, serde_json::json!({"server_error": 2}), "{body}");
        let told = context.column::<String>("SELECT DISTINCT error_text FROM result");
        assert_eq!(told, [words]);
        // and the test request ends the command
        let outcome = Context::new().perf(&[
            "--url", &server.url(), "--model", "m", "--prompt", "p", "--number", "1",
        ]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(outcome.stderr.contains(words), "{outcome:#?}");
    }
}

#[test]
fn counts_of_nothing_are_not_believed() {
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\n";
    let body = format!("{TWO_TOKENS}{STOP}{usage}{DONE}");
    let server = Recorder::start(move |_, _| reply("200 OK", "text/event-stream", &body));
    let context = Context::new();
    let outcome = asked(&context, &server.url(), &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let run = &context.result()["runs"][0];
    assert_eq!(run["tokens"]["sources"]["event_count"], 2);
    assert_eq!(run["metrics"]["output_tokens"]["mean"], 2.0);
}
