//! Traces: when their requests leave, what they carry, what their prompts share by the server's own
//! count, and what is refused before anything is sent.

use std::fmt::Write as _;
use std::num::NonZeroUsize;

use evalscope_sim::{CacheBlocks, Profile, SimConfig, Simulator, TrueRequest};
use serde_json::{Value, json};

use crate::context::{Context, Outcome, bodies, open, perf_snapshot};
use crate::tokenizer;

fn simulator(config: SimConfig) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 0.0,
            itl_ms: 0.0,
            ..Profile::default()
        },
        keeps_truth: true,
        threads: NonZeroUsize::MIN,
        ..config
    })
    .unwrap()
}

fn perf(context: &Context, simulator: &Simulator, path: &str, flags: &[&str]) -> Outcome {
    let url = format!("{}{path}", simulator.url());
    context.perf(&[&["--url", &url], flags].concat())
}

/// Recorded bodies, 10 ms apart.
fn recorded(requests: u64) -> String {
    let mut text = String::new();
    for n in 0..requests {
        let body = json!({"model": "a", "messages": [{"role": "user", "content": n.to_string()}], "max_tokens": 2});
        let at = 1000.0 + n as f64 / 100.0;
        let line = json!({"timestamp": at, "body": body, "headers": {"x-tenant": format!("t{n}"), "Connection": "close"}});
        writeln!(text, "{line}").unwrap();
    }
    text
}

#[test]
fn recorded_bodies_leave_at_their_moments() {
    let simulator = simulator(SimConfig {
        log_headers: vec!["x-tenant".to_owned(), "connection".to_owned()],
        ..SimConfig::default()
    });
    let context = Context::new();
    context.write("trace.jsonl", &recorded(12));
    let outcome = perf(
        &context,
        &simulator,
        "/v1/chat/completions",
        &[
            "--dataset",
            "workload_trace",
            "--dataset-path",
            "trace.jsonl",
            "--dataset-args",
            r#"{"speed": 2}"#,
            "--open-loop",
            "--warmup-num",
            "3",
            "--temperature",
            "0.5",
        ],
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let database = context.database();
    let mut rows = database
        .prepare(
            "SELECT phase, scheduled_ns FROM (SELECT * FROM warmup UNION ALL SELECT * FROM result)
             ORDER BY scheduled_ns",
        )
        .unwrap();
    let rows: Vec<(String, i64)> = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 12);
    for (n, (phase, scheduled)) in (0_i64..).zip(&rows) {
        assert_eq!(phase == "warmup", n < 3, "{rows:?}");
        // a double of seconds has a quarter of a microsecond at most
        let off = scheduled - rows[0].1 - n * 5_000_000;
        assert!(off.abs() < 300, "request {n}: {off} ns");
    }
    let truth = simulator.stop().unwrap();
    // the test request has the first body; others may be read in another order on a busy machine
    let mut tenants: Vec<&str> = truth
        .requests
        .iter()
        .map(|line| line.headers["x-tenant"].as_str())
        .collect();
    assert_eq!(tenants[0], "t0");
    tenants.sort_unstable();
    let mut want: Vec<String> = std::iter::once(0)
        .chain(0..12)
        .map(|n| format!("t{n}"))
        .collect();
    want.sort_unstable();
    assert_eq!(tenants, want);
    assert!(truth.requests.iter().all(|line| {
        line.headers
            .get("connection")
            .is_none_or(|value| value != "close")
    }));
    // nothing was added to the bodies
    let recorded = recorded(12);
    let recorded = recorded.lines().skip(3).map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["body"].clone()
    });
    assert_eq!(bodies(&database), recorded.collect::<Vec<_>>());
    let note = "`--temperature` has no effect: recorded bodies are sent as they are";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    assert_eq!(context.result()["runs"][0]["model"], "workload_trace");
}

#[test]
fn a_trace_is_not_cut_unless_somebody_says_so() {
    let simulator = simulator(SimConfig::default());
    let context = Context::new();
    context.write("trace.jsonl", &recorded(1100));
    let flags = [
        "--dataset",
        "trace",
        "--dataset-path",
        "trace.jsonl",
        "--dataset-args",
        r#"{"speed": 100}"#,
        "--model",
        "m",
        "--record-bodies",
        "none",
    ];
    let outcome = perf(&context, &simulator, "/v1/chat/completions", &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let count = "SELECT count(*) FROM result";
    assert_eq!(context.column::<i64>(count), [1100]);
    let note = "`--model m` does not change recorded bodies";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    let shorter = Context::new();
    shorter.write("trace.jsonl", &recorded(1100));
    let outcome = perf(
        &shorter,
        &simulator,
        "/v1/chat/completions",
        &[&flags[..], &["--number", "7"]].concat(),
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(shorter.column::<i64>(count), [7]);
}

/// A closed loop sends each request of a trace once at every point, as fast as responses come, and
/// with other texts at each.
#[test]
fn a_closed_loop_replays_the_trace_at_each_point() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    let simulator = simulator(SimConfig {
        tokenizer: Some(folder.clone().into()),
        ..SimConfig::default()
    });
    let lines: String = (0..20)
        .map(|n| format!("{{\"timestamp\": {}, \"input_length\": 60, \"output_length\": {}, \"hash_ids\": [1]}}\n", n * 100_000, n % 3))
        .collect();
    context.write("trace.jsonl", &lines);
    let outcome = perf(
        &context,
        &simulator,
        "/v1/chat/completions",
        &[
            "--model",
            "sim",
            "--dataset",
            "mooncake_trace",
            "--dataset-path",
            "trace.jsonl",
            "--tokenizer-path",
            &folder,
            "--parallel",
            "1",
            "5",
            "--sleep-interval",
            "0",
        ],
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let note = "the moments of the trace are not used";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    let mut firsts = Vec::new();
    for run in ["parallel_1_number_20", "parallel_5_number_20"] {
        let database = open(&context.top().join(run).join("benchmark_data.db"));
        let query = "SELECT count(*), min(prompt_tokens), max(prompt_tokens), sum(completion_tokens) FROM result";
        let sums: (i64, i64, i64, i64) = database
            .query_row(query, [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .unwrap();
        // an output of 0 tokens is one of 1
        assert_eq!(sums, (20, 60, 60, 7 + 7 + 12), "{run}");
        let sent = bodies(&database);
        assert!(sent.iter().all(|body| body["ignore_eos"] == true));
        assert!(
            sent.iter()
                .all(|body| body["min_tokens"] == body["max_tokens"])
        );
        let texts: Vec<&Value> = sent.iter().map(|body| &body["messages"]).collect();
        // one block of all
        assert!(texts.iter().all(|text| *text == texts[0]));
        firsts.push(texts[0].clone());
    }
    assert_ne!(firsts[0], firsts[1]);
}

/// A trace in Mooncake's form with small blocks: prompts that grow, behind one block of all.
fn growing(requests: u64) -> Vec<(u64, Vec<u64>)> {
    let mut fresh = 1;
    let mut before: Vec<(u64, Vec<u64>)> = Vec::new();
    for n in 0..requests {
        let (length, mut ids) = match before.get(usize::try_from(n / 2).unwrap()) {
            Some((length, ids)) if n % 3 > 0 => {
                let whole = usize::try_from(length / BLOCK).unwrap();
                (length + 11 * (n % 5) + 1, ids[..whole].to_vec())
            }
            _ => (50 + n * 7 % 90, vec![0]),
        };
        while (ids.len() as u64) * BLOCK < length {
            ids.push(fresh);
            fresh += 1;
        }
        before.push((length, ids));
    }
    before
}

const BLOCK: u64 = 48;

/// The most tokens that an earlier prompt begins with too, by the ids.
fn possible(trace: &[(u64, Vec<u64>)], at: usize) -> u64 {
    let (length, ids) = &trace[at];
    let shared = |(other_length, other): &(u64, Vec<u64>)| {
        let blocks = ids.iter().zip(other).take_while(|(a, b)| a == b).count() as u64;
        (blocks * BLOCK).min(*length).min(*other_length)
    };
    trace[..at].iter().map(shared).max().unwrap_or(0)
}

/// The server's own cache finds what the trace says: exactly so for ids, and within one of its blocks
/// of 16 where a chat template shifts them.
#[test]
fn the_server_finds_what_the_trace_says_is_shared() {
    let trace = growing(60);
    let lines: String = trace
        .iter()
        .enumerate()
        .map(|(n, (length, ids))| {
            format!("{{\"timestamp\": {n}, \"input_length\": {length}, \"output_length\": 1, \"hash_ids\": {ids:?}}}\n")
        })
        .collect();
    for as_ids in [true, false] {
        let context = Context::new();
        let folder = tokenizer::in_folder(&context);
        context.write("trace.jsonl", &lines);
        let simulator = simulator(SimConfig {
            tokenizer: Some(folder.clone().into()),
            cache_blocks: CacheBlocks::Unlimited,
            ..SimConfig::default()
        });
        let args = format!("{{\"block_size\": {BLOCK}}}");
        let flags = [
            "--model",
            "sim",
            "--dataset",
            "mooncake_trace",
            "--dataset-path",
            "trace.jsonl",
            "--dataset-args",
            &args,
            "--tokenizer-path",
            &folder,
            // one after the other: a prompt is in the cache when it has been served
            "--parallel",
            "1",
            "--no-test-connection",
            "--seed",
            "3",
        ];
        let (path, more): (_, &[&str]) = if as_ids {
            ("/v1/completions", &["--tokenize-prompt"])
        } else {
            ("/v1/chat/completions", &[])
        };
        let outcome = perf(&context, &simulator, path, &[&flags[..], more].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let served: Vec<TrueRequest> = simulator.stop().unwrap().requests;
        assert_eq!(served.len(), trace.len());
        let mut found = 0;
        for (at, line) in served.iter().enumerate() {
            assert_eq!(line.prompt_tokens, trace[at].0, "request {at}");
            let possible = possible(&trace, at);
            found += line.cached_tokens;
            if as_ids {
                // the last token is always computed
                let most = (line.prompt_tokens - 1) / 16 * 16;
                assert_eq!(
                    line.cached_tokens,
                    (possible / 16 * 16).min(most),
                    "request {at}"
                );
            } else {
                let off = line.cached_tokens.abs_diff(possible);
                assert!(
                    off <= 32,
                    "request {at}: {} of {possible}",
                    line.cached_tokens
                );
            }
        }
        assert!(found > 1000, "{found} tokens");
    }
}

#[test]
fn requests_of_one_moment_leave_together_or_are_spread() {
    let simulator = simulator(SimConfig::default());
    for spread in [false, true] {
        let context = Context::new();
        let lines: String = (0..30)
            .map(|n| format!("{{\"timestamp\": {}, \"text_input\": \"t\", \"output_length\": 1, \"hash_ids\": []}}\n", n / 10 * 300))
            .collect();
        context.write("trace.jsonl", &lines);
        let args = format!("{{\"spread\": {spread}, \"speed\": 2}}");
        let flags = [
            "--model",
            "sim",
            "--dataset",
            "mooncake_trace",
            "--dataset-path",
            "trace.jsonl",
            "--dataset-args",
            &args,
        ];
        let outcome = perf(&context, &simulator, "/v1/chat/completions", &flags);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let warned = outcome.stderr.contains("3 stamps for 30 requests");
        assert_eq!(warned, !spread, "{}", outcome.stderr);
        let query = "SELECT scheduled_ns FROM result ORDER BY scheduled_ns";
        let moments = context.column::<i64>(query);
        let gaps: Vec<i64> = moments.windows(2).map(|two| two[1] - two[0]).collect();
        for (n, gap) in (1..).zip(gaps) {
            let want = match (spread, n % 10) {
                (true, _) => 15_000_000,
                (false, 0) => 150_000_000,
                (false, _) => 0,
            };
            assert_eq!(gap, want, "spread {spread}, gap {n}");
        }
    }
}

/// What is refused costs no request.
#[test]
fn what_does_not_go_with_a_trace_is_refused() {
    let context = Context::new();
    context.write("w.jsonl", &recorded(3));
    context.write(
        "pointer.csv",
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    );
    context.write("bad.jsonl", "{\"timestamp\": 1}\nno\n");
    context.write(
        "m.jsonl",
        "{\"timestamp\": 0, \"input_length\": 9, \"output_length\": 1, \"hash_ids\": [1]}\n",
    );
    let mut shown = String::new();
    let cases: [&[&str]; 15] = [
        &["workload_trace", "w.jsonl", "{}", "--rate", "5"],
        &["workload_trace", "w.jsonl", "{}", "--stop-when-saturated"],
        &["workload_trace", "w.jsonl", "{}", "--dataset-offset", "1"],
        &["workload_trace", "w.jsonl", "{}", "--warmup-num", "3"],
        &["workload_trace", "w.jsonl", "{}", "--multi-turn"],
        &["workload_trace", "w.jsonl", "{\"sped\": 2}"],
        &["workload_trace", "w.jsonl", "{\"speed\": 0}"],
        &["workload_trace", "w.jsonl", "{\"sessions\": \"after\"}"],
        &["workload_trace", "w.jsonl", "{\"max_input\": 5}"],
        &["mooncake_trace", "m.jsonl", "{\"model_override\": \"x\"}"],
        &["mooncake_trace", "m.jsonl", "{}"],
        &["burstgpt_trace", "pointer.csv", "{}"],
        &["trace", "bad.jsonl", "{}"],
        &[
            "trace",
            "m.jsonl",
            "{\"no_scan\": true}",
            "--skip-bad-lines",
        ],
        &["workload_trace", "bad.jsonl", "{}"],
    ];
    for case in cases {
        let [dataset, path, args, more @ ..] = case else {
            unreachable!()
        };
        let flags = [
            "--url",
            "http://127.0.0.1:9",
            "--model",
            "m",
            "--dataset",
            dataset,
            "--dataset-path",
            path,
            "--dataset-args",
            args,
            "--seed",
            "1",
        ];
        let outcome = context.perf(&[&flags[..], more].concat());
        assert_eq!(outcome.code, Some(2), "{case:?}: {outcome:#?}");
        writeln!(shown, "{}\n{}", case.join(" "), outcome.stderr).unwrap();
    }
    for name in ["workload_trace", "weka_trace"] {
        let outcome = context.perf(&[
            "--url",
            "http://127.0.0.1:9",
            "--model",
            "m",
            "--dataset",
            name,
        ]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        writeln!(shown, "{name}\n{}", outcome.stderr).unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn what_a_replay_shows() {
    let simulator = simulator(SimConfig::default());
    let context = Context::new();
    let rows = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,47,3,50,API log\n5,ChatGPT,10,0,10,API log\n6,GPT-4,41,2,43,API log\n";
    context.write("burst.csv", rows);
    let folder = tokenizer::in_folder(&context);
    let flags = [
        "--model",
        "sim",
        "--dataset",
        "trace",
        "--dataset-path",
        "burst.csv",
        "--dataset-args",
        "{\"speed\": 10}",
        "--tokenizer-path",
        &folder,
    ];
    let outcome = perf(&context, &simulator, "/v1/chat/completions", &flags);
    let notes: Vec<&str> = outcome.stderr.lines().take(9).collect();
    let outcome = Outcome {
        code: outcome.code,
        stdout: String::new(),
        stderr: notes.join("\n"),
    };
    perf_snapshot!("notes_of_a_trace", outcome);
}
