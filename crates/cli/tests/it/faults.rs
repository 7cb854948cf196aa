//! The fault table: for each fault and each oddity of the simulated server, what becomes of the
//! requests that meet it, and of those beside them.

use std::fmt::Write as _;
use std::sync::Mutex;

use evalscope_core::record::{EventLog, EventLogFormat};
use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator, When};

use crate::context::Context;

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
