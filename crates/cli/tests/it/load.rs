//! The shapes of load: data sets that end, warm-up, a limit in time, arrivals at a rate, and what
//! is kept.

use std::collections::BTreeSet;

use evalscope_core::schedule::Arrivals;
use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator, When};
use serde_json::{Value, json};

use crate::context::{Context, perf_snapshot};
use crate::server::{Recorder, good, reply};
use evalscope_model::profile::Schedule;

fn simulator(profile: Profile) -> Simulator {
    Simulator::start(SimConfig {
        profile,
        ..SimConfig::default()
    })
    .unwrap()
}

/// 2 ms to the first token, 1 ms between two.
fn quick() -> Profile {
    Profile {
        ttft_ms: 2.0,
        itl_ms: 1.0,
        ..Profile::default()
    }
}

#[test]
fn a_short_data_set_begins_again_and_says_so() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    context.write("lines.txt", "one\ntwo\nthree\n");
    let url = server.url();
    let outcome = context.measure(&[
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "line_by_line",
        "--dataset-path",
        "lines.txt",
        "--number",
        "7",
        "--no-test-connection",
    ]);
    let prompts: Vec<String> = server
        .requests()
        .iter()
        .map(|request| {
            request.json()["messages"][0]["content"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        prompts,
        ["one", "two", "three", "one", "two", "three", "one"]
    );
    let said = "the dataset `line_by_line` has fewer prompts than the run has requests: it was started over 2 times";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    let warnings = context.result()["runs"][0]["warnings"].clone();
    assert!(
        warnings
            .as_array()
            .unwrap()
            .iter()
            .any(|w| w["id"] == "prompts_repeated" && w["text"].as_str().unwrap().contains(said))
    );
    assert!(context.column::<String>("SELECT text FROM warning")[0].contains(said));
}

/// Three prompts from a program, which begins anew when it is asked to.
const THREE_PROMPTS: &str = r#"
import json, sys
at = 0
for line in sys.stdin:
    request = json.loads(line)
    method, result = request["method"], {}
    if method == "hello":
        result = {"protocol": 1, "name": "three"}
    elif method == "rewind":
        at = 0
    elif method == "next":
        to = min(3, at + request["params"]["max"])
        result = {"items": [{"text": ["one", "two", "three"][i]} for i in range(at, to)], "end": to == 3}
        at = to
    print(json.dumps({"id": request["id"], "result": result}), flush=True)
"#;

/// What each run of a sweep over three prompts says of prompts that were sent before.
fn repeated(dataset: &[&str], numbers: &[&str]) -> Vec<String> {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new().with_env("PATH", "/usr/local/bin:/usr/bin:/bin");
    context.write("lines.txt", "one\ntwo\nthree\n");
    context.write("three.py", THREE_PROMPTS);
    let url = server.url();
    let base = ["--url", &url, "--model", "m", "--sleep-interval", "0"];
    let parallel = ["1"].repeat(numbers.len());
    let outcome = context.measure(
        &[
            base.as_slice(),
            dataset,
            &["--parallel"],
            &parallel,
            &["--number"],
            numbers,
        ]
        .concat(),
    );
    let result = context.result();
    let said = |number: &&str| {
        let name = format!("parallel_1_number_{number}");
        let runs = result["runs"].as_array().unwrap();
        let run = runs.iter().find(|run| run["name"] == name).unwrap();
        let warnings = run["warnings"].as_array().unwrap().iter();
        let mut said = warnings.filter_map(|warning| {
            let text = warning["text"].as_str().unwrap();
            text.contains("the dataset").then_some(text)
        });
        let text = said.next().unwrap_or("nothing").to_owned();
        assert_eq!(said.next(), None);
        assert!(text == "nothing" || outcome.stderr.contains(&text));
        text.replace(&format!("`{}`", dataset[1]), "[SET]")
    };
    numbers.iter().map(said).collect()
}

/// A run tells of itself: what the runs before it have sent is passed over.
#[test]
fn each_run_of_a_sweep_says_how_often_it_began_again_itself() {
    let lines = ["--dataset", "line_by_line", "--dataset-path", "lines.txt"];
    let plugin = ["--dataset", "exec:python3 three.py"];
    for dataset in [lines.as_slice(), &plugin] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(repeated(dataset, &["5", "6", "1"]).join("\n"), @r"
            the dataset [SET] has fewer prompts than the run has requests: it was started over once, so the server's prefix cache may be warm
            the dataset [SET] has fewer prompts than the runs so far have requests: it was started over 2 times in this one, so the server's prefix cache may be warm
            the dataset [SET] has fewer prompts than the runs so far have requests: this one reused their prompts, so the server's prefix cache may be warm
            ");
            insta::assert_snapshot!(repeated(dataset, &["2", "1", "3"]).join("\n"), @r"
            nothing
            nothing
            the dataset [SET] has fewer prompts than the runs so far have requests: it was started over once in this one, so the server's prefix cache may be warm
            ");
        }
    }
}

#[test]
fn the_points_of_a_sweep_share_no_prompt() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    let url = server.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "sample",
        "--parallel",
        "1",
        "2",
        "--number",
        "20",
        "30",
        "--warmup-num",
        "5",
        "--sleep-interval",
        "0",
        "--no-test-connection",
    ]);
    let requests = server.requests();
    let prompts: BTreeSet<String> = requests
        .iter()
        .map(|request| request.json()["messages"].to_string())
        .collect();
    assert_eq!((requests.len(), prompts.len()), (60, 60));
}

#[test]
fn a_warm_up_is_in_no_figure() {
    // the first five requests fail, and only they
    let server = Recorder::start(|request, number| {
        if number < 5 {
            crate::server::refusal("500 Internal Server Error", "cold")
        } else {
            good(request)
        }
    });
    let url = server.url();
    let context = Context::new();
    let outcome = context.measure(&[
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "12",
        "--parallel",
        "1",
        "--warmup-num",
        "5",
        "--no-test-connection",
    ]);
    assert_eq!(server.requests().len(), 17);
    assert!(
        outcome
            .stdout
            .contains("5 of 5 warm-up requests failed (http_500 5)"),
        "{}",
        outcome.stdout
    );
    assert!(!outcome.stdout.contains("500: cold"), "{}", outcome.stdout);
    let run = &context.result()["runs"][0];
    assert_eq!(run["counts"]["total"], 12);
    assert_eq!(run["counts"]["failed"], 0);
    assert_eq!(run["load"]["warmup_requests"], 5);
    assert_eq!(run["metrics"]["latency_s"]["count"], 12);
    let rows = |table: &str| {
        let query = format!("SELECT count(*) || ' ' || group_concat(DISTINCT phase) FROM {table}");
        context.column::<String>(&query).remove(0)
    };
    assert_eq!(rows("result"), "12 measured");
    assert_eq!(rows("warmup"), "5 warmup");
    let last = context.column::<i64>("SELECT max(dispatched_ns) FROM warmup")[0];
    let first = context.column::<i64>("SELECT min(dispatched_ns) FROM result")[0];
    assert!(last <= first, "the warm-up is sent first");

    let context = Context::new();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "20",
        "--warmup-num",
        "0.1",
    ]);
    assert_eq!(context.column::<i64>("SELECT count(*) FROM warmup"), [2]);
}

#[test]
fn a_duration_stops_sending_and_lets_requests_end() {
    let simulator = simulator(quick());
    let context = Context::new();
    let url = simulator.url();
    let outcome = context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--number",
        "100000",
        "--parallel",
        "3",
        "--max-tokens",
        "20",
        "--duration",
        "0.5",
    ]);
    let run = &context.result()["runs"][0];
    assert_eq!(
        run["state"], "finished",
        "a run that was to end so has not been interrupted"
    );
    assert_eq!(run["counts"]["failed"], 0, "{outcome:#?}");
    let (first, last, rows): (i64, i64, i64) = context
        .database()
        .query_row(
            "SELECT min(dispatched_ns), max(dispatched_ns), count(*) FROM result",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert!(last - first < 500_000_000, "{} ns", last - first);
    assert!((3..100_000).contains(&rows), "{rows}");
}

#[test]
fn arrivals_follow_the_schedule_of_the_seed() {
    let simulator = simulator(quick());
    let context = Context::new();
    let url = simulator.url();
    let outcome = context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--number",
        "60",
        "--parallel",
        "2",
        "--max-tokens",
        "10",
        "--rate",
        "150",
        "--seed",
        "7",
    ]);
    assert!(
        outcome.stderr.contains("Poisson arrivals at 150/s"),
        "{}",
        outcome.stderr
    );
    let scheduled = context.column::<i64>("SELECT scheduled_ns FROM result ORDER BY idx");
    let seed = context.result()["runs"][0]["load"]["seed"]
        .as_u64()
        .unwrap();
    let mut arrivals = Arrivals::new(Schedule::poisson(150.0), seed);
    let offsets: Vec<i64> = scheduled
        .iter()
        .map(|_| i64::try_from(arrivals.next_offset().unwrap().as_nanos()).unwrap())
        .collect();
    let start = scheduled[0] - offsets[0];
    for (at, offset) in scheduled.iter().zip(&offsets) {
        assert!(
            (at - start - offset).abs() <= 2,
            "{at} is not {start} + {offset}"
        );
    }
    // nothing leaves before its time, and how late it left is on record
    let early = "SELECT count(*) FROM requests WHERE dispatch_lag_ms < 0";
    assert_eq!(context.column::<i64>(early), [0]);
    let run = &context.result()["runs"][0];
    assert_eq!(run["metrics"]["dispatch_lag_ms"]["count"], 60);
    // 150/s of 12 ms each are nearly all that two slots can take: some had to wait for one
    let waited = "SELECT count(*) FROM requests WHERE waited_for_slot AND dispatch_lag_ms > 1";
    assert!(context.column::<i64>(waited)[0] > 0);
    let longer = "SELECT count(*) FROM requests WHERE latency_from_schedule_ms < latency_ms";
    assert_eq!(context.column::<i64>(longer), [0]);
    let busiest = busiest(&context);
    assert!(busiest <= 2, "{busiest} requests at a time in two slots");
}

/// The most requests in flight at a time.
fn busiest(context: &Context) -> i64 {
    let begun = context.column::<i64>("SELECT dispatched_ns FROM result");
    let ended = context.column::<i64>("SELECT ended_ns FROM result");
    let mut steps: Vec<(i64, i64)> = begun.iter().map(|at| (*at, 1)).collect();
    // one that ends at the moment at which another begins makes room for it
    steps.extend(ended.iter().map(|at| (*at, -1)));
    steps.sort_unstable();
    let mut now = 0;
    let levels = steps.iter().map(|(_, step)| {
        now += step;
        now
    });
    levels.max().unwrap()
}

#[test]
fn a_closed_loop_fills_its_slots_and_no_more() {
    let simulator = simulator(quick());
    let context = Context::new();
    let url = simulator.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--number",
        "60",
        "--parallel",
        "6",
        "--max-tokens",
        "10",
    ]);
    assert_eq!(busiest(&context), 6);
    let new = context.column::<i64>("SELECT count(*) FROM requests WHERE NOT connection_reused");
    assert_eq!(new, [6], "each slot has one connection");
}

#[test]
fn bodies_are_kept_as_asked() {
    for (mode, kept) in [("all", [8, 8]), ("failed", [0, 2]), ("none", [0, 0])] {
        let simulator = Simulator::start(SimConfig {
            faults: vec![FaultRule {
                fault: Fault::ErrorEvent,
                when: When::Every(5),
            }],
            ..SimConfig::default()
        })
        .unwrap();
        let context = Context::new();
        let url = simulator.url();
        context.measure(&[
            "--url",
            &url,
            "--model",
            "sim",
            "--prompt",
            "the prompt",
            "--number",
            "10",
            "--max-tokens",
            "8",
            "--record-bodies",
            mode,
            "--no-test-connection",
        ]);
        let count = |what: &str| -> [i64; 2] {
            let query = format!(
                "SELECT count(*) FROM result WHERE success = ? AND {what} IS NOT NULL AND {what} <> ''"
            );
            ["True", "False"].map(|success| {
                let row = context
                    .database()
                    .query_row(&query, [success], |row| row.get(0));
                row.unwrap()
            })
        };
        let all: [i64; 2] = [kept[0], kept[1].min(2)];
        assert_eq!(count("request"), all, "{mode}");
        assert_eq!(count("response_messages"), all, "{mode}");
        // why a request failed is kept in any mode
        assert_eq!(count("error_text"), [0, 2], "{mode}");
        assert_eq!(count("error_excerpt"), [0, 2], "{mode}");
        let metrics = context.result()["runs"][0]["metrics"].clone();
        assert_eq!(metrics["output_tokens"]["mean"], 8.0, "{mode}");
        assert_eq!(metrics["ttft_ms"]["count"], 8, "{mode}");
        assert_eq!(metrics["itl_ms"]["count"], 8 * 7, "{mode}");
    }
}

#[test]
fn an_answer_that_is_no_stream_has_no_ttft() {
    let simulator = simulator(quick());
    let context = Context::new();
    let url = simulator.url();
    let outcome = context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--number",
        "5",
        "--max-tokens",
        "8",
        "--no-stream",
    ]);
    perf_snapshot!("no_stream", outcome);
    let run = &context.result()["runs"][0];
    for metric in [
        "ttft_ms",
        "ttfat_ms",
        "tpot_ms",
        "itl_ms",
        "decode_tok_per_s",
    ] {
        assert_eq!(run["metrics"][metric]["count"], 0, "{metric}");
        assert_eq!(run["metrics"][metric]["mean"], Value::Null, "{metric}");
    }
    assert_eq!(run["metrics"]["output_tokens"]["mean"], 8.0);
    assert_eq!(run["metrics"]["latency_s"]["count"], 5);
    let summary = crate::context::json(&context.run_folder().join("benchmark_summary.json"));
    assert_eq!(summary.get("Avg TTFT (ms)"), None);
    assert_eq!(summary["Non-Stream Requests"], 5);
}

/// A server that does not stream, though it is asked to: every second answer is whole.
#[test]
fn whole_answers_in_place_of_streams_are_told() {
    let server = Recorder::start(|request, number| {
        if number % 2 == 0 {
            return good(request);
        }
        let choice = json!({"message": {"content": "ab"}, "finish_reason": "stop"});
        let whole = json!({"choices": [choice], "usage": {"completion_tokens": 2}});
        reply("200 OK", "application/json", &whole.to_string())
    });
    let url = server.url();
    let warnings = |more: &[&str]| {
        let context = Context::new();
        let base = ["--url", &url, "--model", "m", "--prompt", "p"];
        let load = ["--number", "6", "--no-test-connection"];
        context.measure(&[base.as_slice(), &load, more].concat());
        context.result()["runs"][0]["warnings"].to_string()
    };
    let said =
        "3 of 6 successful responses were not event streams, although `--no-stream` was not given";
    assert!(warnings(&[]).contains(said), "{}", warnings(&[]));
    let meant = warnings(&["--no-stream"]);
    assert!(!meant.contains("not event streams"), "{meant}");
}

#[test]
fn several_choices_are_one_answer() {
    let simulator = simulator(quick());
    let context = Context::new();
    let url = simulator.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--number",
        "4",
        "--max-tokens",
        "8",
        "--n-choices",
        "3",
    ]);
    let metrics = context.result()["runs"][0]["metrics"].clone();
    assert_eq!(metrics["output_tokens"]["mean"], 24.0);
    assert_eq!(metrics["ttft_ms"]["count"], 4);
}

#[test]
fn a_folder_that_cannot_be_written_is_found_before_the_load() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    context.write("file", "in the way");
    let url = server.url();
    let outcome = context.perf(&[
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "p",
        "--outputs-dir",
        "file/outputs",
    ]);
    perf_snapshot!("unwritable", outcome);
    assert_eq!(outcome.code, Some(2));
    assert!(server.requests().is_empty(), "nothing was sent");
}

#[test]
fn settings_are_on_record() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    let url = server.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "org/m",
        "--prompt",
        "p",
        "--number",
        "1",
        "--extra-args",
        r#"{"ignore_eos": true}"#,
        "--api-key",
        "sk-secret",
        "--headers",
        "X-A=b",
        "User-Agent=mine",
    ]);
    let settings = context.result()["settings"].clone();
    assert_eq!(settings["model"], "org/m");
    assert_eq!(settings["extra_args"], json!({"ignore_eos": true}));
    assert_eq!(settings["api_key"], "***");
    assert_eq!(
        settings["headers"],
        json!({"X-A": "***", "User-Agent": "mine"})
    );
    let args = crate::context::json(&context.run_folder().join("benchmark_args.json"));
    assert_eq!(args["model"], "org/m");
}

/// A command's settings, and the URL of its first run.
fn settings_of(context: &Context, args: &[&str]) -> (Value, String) {
    context.measure(args);
    let result = context.result();
    let args = crate::context::json(&context.run_folder().join("benchmark_args.json"));
    assert_eq!(args["url"], result["settings"]["url"]);
    let url = result["runs"][0]["url"].as_str().unwrap().to_owned();
    (result["settings"].clone(), url)
}

/// What was used is on record, and not what was typed.
#[test]
fn settings_are_those_that_were_used() {
    let server = Recorder::start(|request, _| {
        if request.line.starts_with("POST /new/") {
            good(request)
        } else {
            b"HTTP/1.1 308 Permanent Redirect\r\nlocation: /new/chat/completions\r\ncontent-length: 0\r\n\r\n"
                .to_vec()
        }
    });
    let address = server.address().to_string();
    let base = ["--model", "m", "--prompt", "p", "--number", "1"];
    let (settings, url) = settings_of(&Context::new(), &[&base[..], &["--url", &address]].concat());
    assert_eq!(url, format!("http://{address}/new/chat/completions"));
    assert_eq!(settings["url"], url.as_str());

    let context = Context::new();
    let (settings, url) = settings_of(
        &context,
        &[
            "--api",
            "local_sim",
            "--prompt",
            "p",
            "--number",
            "2",
            "--max-tokens",
            "4",
        ],
    );
    assert_eq!(settings["url"], url.as_str());
    assert_eq!(settings["model"], "sim");
    assert_eq!(settings["number"], json!([2]));
    let port = url.split([':', '/']).nth(4).unwrap();
    assert_ne!(port, "8877", "it has a port of its own");

    // a plugin is told the same
    let context = Context::new().with_env("PATH", "/usr/local/bin:/usr/bin:/bin");
    context.write(
        "tells.py",
        r#"
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "hello":
        json.dump(request["params"]["options"], open("options.json", "w"))
    results = {"hello": {"protocol": 1, "name": "tells"}, "next": {"items": [{"text": "p"}], "end": True}}
    answer = {"id": request["id"], "result": results.get(request["method"], {})}
    print(json.dumps(answer), flush=True)
"#,
    );
    let set = [
        "--dataset",
        "exec:python3 tells.py",
        "--number",
        "1",
        "--max-tokens",
        "4",
    ];
    let (settings, url) = settings_of(&context, &[&["--api", "local_sim"][..], &set].concat());
    let options = crate::context::json(&context.path().join("options.json"));
    assert_eq!(options["url"], url.as_str());
    assert_eq!(options, settings);

    let server = Recorder::start(|request, _| good(request));
    let template = json!({"stream": false, "temperature": 0.7, "max_tokens": 7}).to_string();
    let context = Context::new();
    let (settings, url) = settings_of(
        &context,
        &[
            "--url",
            &server.url(),
            "--model",
            "m",
            "--dataset",
            "speed_benchmark",
            "--query-template",
            &template,
            "--extra-args",
            r#"{"temperature": 0.5}"#,
            "--top-p",
            "0.9",
        ],
    );
    assert_eq!(url, format!("http://{}/v1/completions", server.address()));
    assert_eq!(settings["url"], url.as_str());
    assert_eq!(settings["number"], json!([8]));
    assert_eq!(settings["stream"], false);
    assert_eq!(settings["temperature"], 0.5);
    assert_eq!(settings["max_tokens"], json!([7]));
    assert_eq!(settings["top_p"], 0.9);
    let body = &context.bodies()[0];
    for field in ["stream", "temperature", "top_p"] {
        assert_eq!(body[field], settings[field], "{field}");
    }
    assert_eq!(body["max_tokens"], 7);
}

/// Rates count from the first request on, and a warm-up is told from the measurement.
#[test]
fn the_log_tells_true_rates_and_names_the_warm_up() {
    let profile = Profile {
        ttft_ms: 40.0,
        itl_ms: 1.0,
        ..Profile::default()
    };
    let simulator = Simulator::start(SimConfig {
        profile,
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    context.measure(&[
        "--url",
        &simulator.url(),
        "--model",
        "m",
        "--prompt",
        "p",
        "--max-tokens",
        "4",
        "--number",
        "20",
        "--warmup-num",
        "15",
        "--log-every-n-query",
        "5",
    ]);
    let log = std::fs::read_to_string(context.top().join("benchmark.log")).unwrap();
    let warmup = log.lines().filter(|line| line.contains("/15 requests: "));
    assert!(warmup.clone().count() > 0, "{log}");
    for line in warmup {
        assert!(line.contains("INFO - warm-up: "), "{line}");
    }
    let lines = log.lines().filter(|line| line.contains("/20 requests: "));
    let rates: Vec<f64> = lines
        .map(|line| {
            let rate = line.split("requests: ").nth(1).unwrap();
            rate.split(' ').next().unwrap().parse().unwrap()
        })
        .collect();
    assert!(!rates.is_empty(), "{log}");
    let run = &context.result()["runs"][0];
    let rate = run["throughput"]["requests_per_s"].as_f64().unwrap();
    // a line may come up to a request after the last that it counts, and never too early
    for told in rates {
        assert!(
            told < 1.1 * rate && told > 0.5 * rate,
            "{told}, not {rate}: {log}"
        );
    }
}

#[test]
fn debug_logs_every_request_and_answer() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    let url = server.url();
    let outcome = context.measure(&[
        "--url", &url, "--model", "m", "--prompt", "p", "--number", "1", "--debug",
    ]);
    for text in [
        "Starting request: POST http://127.0.0.1:",
        "Request sent: {\"model\":\"m\"",
        "Response received: data: {\"id\":\"stream\"",
        "Request succeeded",
    ] {
        assert!(outcome.stderr.contains(text), "{text}: {}", outcome.stderr);
        let log = std::fs::read_to_string(context.top().join("benchmark.log")).unwrap();
        assert!(log.contains(text), "{text}: {log}");
    }
}
