//! Several models and several servers: where requests go, and what is said of each.

use std::collections::BTreeMap;
use std::path::Path;

use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator, Truth};
use serde_json::{Value, json};

use crate::command_line::told;
use crate::context::{Context, FILTERS, json as read, no_secret_like, open};
use crate::server::{Recorder, good, refusal};

fn simulator(change: impl FnOnce(&mut SimConfig)) -> Simulator {
    let mut config = SimConfig {
        profile: Profile {
            ttft_ms: 3.0,
            itl_ms: 1.0,
            ..Profile::default()
        },
        keeps_truth: true,
        ..SimConfig::default()
    };
    change(&mut config);
    Simulator::start(config).unwrap()
}

fn simulators(n: usize) -> Vec<Simulator> {
    (0..n).map(|_| simulator(|_| {})).collect()
}

/// A command against these servers, behind `--url`.
fn words<'a>(urls: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--url"];
    all.extend(urls.iter().map(String::as_str));
    all.extend(["--dataset", "sample", "--max-tokens", "4", "--seed", "7"]);
    all.extend(more);
    all
}

fn urls(servers: &[Simulator]) -> Vec<String> {
    servers.iter().map(Simulator::url).collect()
}

/// Requests by the model that they name.
fn by_model(truth: &Truth) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for request in &truth.requests {
        *counts.entry(request.model.clone().unwrap()).or_insert(0) += 1;
    }
    counts
}

/// What the report says of each: requests that were sent, by name.
fn reported(run: &Value, key: &str) -> BTreeMap<String, u64> {
    let all = run[key].as_array().unwrap().iter();
    all.map(|own| {
        let name = own["name"].as_str().unwrap().to_owned();
        (name, own["total"].as_u64().unwrap())
    })
    .collect()
}

/// The report counts by URL and by model what the servers have counted themselves.
#[test]
fn counts_are_those_of_the_servers() {
    let servers = simulators(3);
    let all = urls(&servers);
    let context = Context::new();
    context.measure(&words(
        &all,
        &[
            "--model",
            "base",
            "adapter-1",
            "adapter-2",
            "--model-weights",
            "3",
            "1",
            "1",
            "--number",
            "90",
            "--parallel",
            "6",
            "--no-test-connection",
        ],
    ));
    let result = context.result();
    let run = &result["runs"][0];
    let by_url = reported(run, "by_url");
    let mut models: BTreeMap<String, u64> = BTreeMap::new();
    for (url, server) in all.iter().zip(servers) {
        let truth = server.stop().unwrap();
        assert_eq!(truth.requests.len(), 30);
        // a slot that alternates between servers stays connected to each
        let connections = truth.requests.iter().map(|request| request.connection);
        assert!(connections.max().unwrap() <= 6);
        assert_eq!(by_url[&format!("{url}/v1/chat/completions")], 30);
        for (model, n) in by_model(&truth) {
            *models.entry(model).or_insert(0) += n;
        }
    }
    assert_eq!(reported(run, "by_model"), models);
    // three fifths of 90, within what chance does
    assert!((36..=72).contains(&models["base"]), "{models:?}");
    assert_eq!(run["model"], "base,adapter-1,adapter-2");
    assert_eq!(result["settings"]["model_weights"], json!([3.0, 1.0, 1.0]));
    for key in ["by_model", "by_url"] {
        let rates = run[key].as_array().unwrap().iter();
        let sum: f64 = rates
            .map(|own| own["throughput"]["requests_per_s"].as_f64().unwrap())
            .sum();
        let whole = run["throughput"]["requests_per_s"].as_f64().unwrap();
        assert!((sum - whole).abs() < 1e-6 * whole, "{sum} {whole}");
    }
    // every request has both names, and goes where its number says
    let wrong: Vec<i64> = context.column(
        "SELECT count(*) FROM requests WHERE model IS NULL OR url <> (SELECT name FROM url WHERE id = idx % 3)",
    );
    assert_eq!(wrong, [0]);
}

#[test]
fn tables_are_shown_only_for_several() {
    let servers = simulators(2);
    let all = urls(&servers);
    let context = Context::new();
    let outcome = context.measure(&words(&all, &["--model", "a", "b", "--number", "12"]));
    assert!(outcome.stdout.contains("By model:"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("By URL:"), "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("(round-robin)"),
        "{}",
        outcome.stderr
    );
    let page = std::fs::read_to_string(context.top().join("perf_report.html")).unwrap();
    assert!(page.contains("Requests by model") && page.contains("Requests by URL"));
    let context = Context::new();
    let outcome = context.measure(&words(&all[..1], &["--model", "a", "--number", "4"]));
    assert!(!outcome.stdout.contains("By model:") && !outcome.stdout.contains("By URL:"));
    let run = &context.result()["runs"][0];
    assert_eq!((&run["by_model"], &run["by_url"]), (&json!([]), &json!([])));
}

/// The test request goes to every server for every model, and a server that lacks a model is named.
#[test]
fn every_model_is_tested_on_every_server() {
    let servers = simulators(2);
    let all = urls(&servers);
    let context = Context::new();
    context.measure(&words(&all, &["--model", "a", "b", "c", "--number", "6"]));
    let asked: Vec<u64> = servers
        .into_iter()
        .map(|server| server.stop().unwrap().requests.len() as u64)
        .collect();
    assert_eq!(asked, [6, 6]);

    let complete = simulator(|_| {});
    let lacking = Recorder::start(|request, _| {
        if request.json()["model"] == "b" {
            refusal("404 Not Found", "The model `b` does not exist.")
        } else {
            good(request)
        }
    });
    let all = [complete.url(), lacking.url()];
    let context = Context::new();
    let outcome = context.perf(&words(&all, &["--model", "a", "b", "--number", "6"]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let said = format!("testing the model `b` at {} failed", lacking.url());
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("The model `b` does not exist."),
        "{}",
        outcome.stderr
    );
}

/// A line that names a model keeps it, and counts under its name.
#[test]
fn a_line_keeps_its_own_model() {
    let servers = simulators(2);
    let all = urls(&servers);
    let context = Context::new();
    let own = json!({"model": "own", "messages": [{"role": "user", "content": "hi"}]});
    let lines = format!("{own}\nplain\nplain\n");
    let path = context.write("prompts.jsonl", &lines).display().to_string();
    context.measure(&words(
        &all,
        &[
            "--dataset",
            "line_by_line",
            "--dataset-path",
            &path,
            "--model",
            "a",
            "b",
            "--number",
            "30",
            "--no-test-connection",
        ],
    ));
    let mut models: BTreeMap<String, u64> = BTreeMap::new();
    for server in servers {
        for (model, n) in by_model(&server.stop().unwrap()) {
            *models.entry(model).or_insert(0) += n;
        }
    }
    assert_eq!(models["own"], 10);
    assert_eq!(models.values().sum::<u64>(), 30);
    assert_eq!(reported(&context.result()["runs"][0], "by_model"), models);
}

/// Every turn of a conversation goes to one server and asks for one model.
#[test]
fn conversations_stay_where_they_began() {
    for strategy in ["round-robin", "least-in-flight"] {
        let servers: Vec<Simulator> = (0..3)
            .map(|_| simulator(|config| config.conversation_header = Some("x-session".to_owned())))
            .collect();
        let all = urls(&servers);
        let context = Context::new();
        let talk: Vec<Value> = (0..4)
            .flat_map(|turn| {
                [
                    json!({"role": "user", "content": format!("turn {turn}")}),
                    json!({"role": "assistant", "content": "yes"}),
                ]
            })
            .collect();
        let path = context.write("talks.jsonl", &format!("{}\n", Value::from(talk)));
        let path = path.display().to_string();
        context.measure(&words(
            &all,
            &[
                "--dataset",
                "custom_multi_turn",
                "--dataset-path",
                &path,
                "--model",
                "a",
                "b",
                "--number",
                "12",
                "--parallel",
                "4",
                "--session-header",
                "x-session",
                "--url-strategy",
                strategy,
                "--no-test-connection",
            ],
        ));
        let mut seen = BTreeMap::new();
        for (at, server) in servers.into_iter().enumerate() {
            let truth = server.stop().unwrap();
            assert!(truth.requests.len() >= 4, "{strategy}: server {at}");
            for (name, turns) in truth.conversations() {
                assert_eq!(turns.len(), 4, "{strategy}: {name}");
                assert!(turns.iter().all(|turn| turn.model == turns[0].model));
                assert_eq!(seen.insert(name.to_owned(), at), None);
            }
        }
        assert_eq!(seen.len(), 12);
    }
}

/// A server that is not there has its share of the failures, the others have none, and the run ends.
#[test]
fn a_dead_server_costs_its_share() {
    for strategy in ["round-robin", "least-in-flight"] {
        let alive = simulator(|_| {});
        let gone = simulator(|_| {});
        let all = [gone.url(), alive.url()];
        gone.stop().unwrap();
        let context = Context::new();
        let outcome = context.perf(&words(
            &all,
            &[
                "--model",
                "a",
                "--number",
                "20",
                "--parallel",
                "2",
                "--url-strategy",
                strategy,
                "--no-test-connection",
            ],
        ));
        assert!(outcome.stdout.contains("By URL:"), "{outcome:#?}");
        let run = &context.result()["runs"][0];
        let [dead, well] = [0, 1].map(|at| &run["by_url"][at]);
        assert_eq!(dead["succeeded"], 0);
        assert_eq!(well["failed"], 0);
        assert_eq!(dead["failed"], run["counts"]["failed"]);
        let failed = dead["failed"].as_u64().unwrap();
        let succeeded = well["succeeded"].as_u64().unwrap();
        assert_eq!(failed + succeeded, 20);
        // a server that refuses is soonest free of requests, but who waits for it still counts
        assert!((1..=10).contains(&failed), "{strategy}: {failed}");
        assert_eq!(alive.stop().unwrap().requests.len() as u64, succeeded);
    }
}

/// The faults of one server are under its URL only.
#[test]
fn failures_are_counted_where_they_happen() {
    let servers = [
        simulator(|_| {}),
        simulator(|config| config.faults = vec![FaultRule::always(Fault::Http500)]),
    ];
    let all = urls(&servers);
    let context = Context::new();
    context.perf(&words(
        &all,
        &["--model", "a", "--number", "20", "--no-test-connection"],
    ));
    let run = &context.result()["runs"][0];
    assert_eq!(
        (&run["by_url"][0]["failed"], &run["by_url"][1]["failed"]),
        (&json!(0), &json!(10))
    );
}

/// Model, URL and body of every request of a database.
fn rows(path: &Path) -> Vec<(i64, String, String, String)> {
    let database = open(path);
    let mut statement = database
        .prepare(
            "SELECT r.idx, r.model, r.url, b.request FROM requests r JOIN result b ON b.idx = r.idx ORDER BY r.idx",
        )
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Shards together ask for the models, at the URLs, that one process asks for. Each of them sees models in
/// an order of its own.
#[test]
fn shards_are_one_mixed_run() {
    let servers = simulators(2);
    let all = urls(&servers);
    let context = Context::new();
    let own = json!({"model": "own", "messages": [{"role": "user", "content": "hi"}]});
    let other = json!({"model": "other", "messages": [{"role": "user", "content": "hi"}]});
    let lines = format!("plain\n{own}\n{other}\nplain\nplain\n");
    let path = context.write("prompts.jsonl", &lines).display().to_string();
    let run = |shard: &str| {
        let line = words(
            &all,
            &[
                "--dataset",
                "line_by_line",
                "--dataset-path",
                &path,
                "--model",
                "a",
                "b",
                "--number",
                "23",
                "--parallel",
                "6",
                "--warmup-num",
                "5",
                "--run-id",
                "job",
                "--no-timestamp",
                "--name",
                "run",
                "--shard",
                shard,
            ],
        );
        let outcome = context.run(&[&["perf"], &line[..]].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    };
    for shard in ["0/3", "1/3", "2/3", "0/1"] {
        run(shard);
    }
    let outcome = context.run(&[
        "merge",
        "-o",
        "merged",
        "--no-html",
        "outputs/shard-0-of-3",
        "outputs/shard-1-of-3",
        "outputs/shard-2-of-3",
    ]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let name = "parallel_6_number_23/benchmark_data.db";
    let merged = rows(&context.path().join("merged").join(name));
    let one = rows(&context.path().join("outputs/shard-0-of-1/run").join(name));
    assert_eq!(merged.len(), 23);
    assert!(merged == one, "the requests differ");
    let of = |place: &str| {
        let result = read(&context.path().join(place).join("result.json"));
        (
            reported(&result["runs"][0], "by_model"),
            reported(&result["runs"][0], "by_url"),
        )
    };
    assert_eq!(of("merged"), of("outputs/shard-0-of-1/run"));
}

/// What makes no mixed run is refused before anything is sent.
#[test]
fn a_mix_that_cannot_be_is_refused() {
    let context = Context::new();
    let perf = |more: &[&'static str]| {
        let line = [
            "perf",
            "--dataset",
            "sample",
            "--number",
            "4",
            "--no-timestamp",
        ];
        [&line[..], more].concat()
    };
    let two = ["--url", "http://a:1", "http://b:2"];
    let lines = [
        perf(&[
            "--url",
            "http://a:1",
            "--model",
            "m",
            "--model-weights",
            "1",
        ]),
        perf(&[
            "--url",
            "http://a:1",
            "--model",
            "m",
            "n",
            "--model-weights",
            "1",
        ]),
        perf(&[
            "--url",
            "http://a:1",
            "--model",
            "m",
            "n",
            "--model-weights",
            "1",
            "-1",
        ]),
        perf(&[
            "--url",
            "http://a:1",
            "--model",
            "m",
            "n",
            "--model-weights",
            "0",
            "0",
        ]),
        perf(&["--url", "http://a:1", "--model", "m", "n", "m"]),
        perf(&[
            "--url",
            "http://a:1/v1/chat/completions",
            "http://b:2/v1/completions",
            "--model",
            "m",
        ]),
        perf(&[
            "--url",
            "http://a:1",
            "http://b:2/v1/messages",
            "--model",
            "m",
        ]),
        perf(&["--url", "http://u:pw@a:1", "http://b:2", "--model", "m"]),
        perf(&[&two[..], &["--model", "m", "--api", "local_sim"]].concat()),
        perf(&[&two[..], &["--model", "m", "--url-strategy", "random"]].concat()),
    ];
    let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
    let shown = told(&context, &lines);
    assert_eq!(
        shown.matches("[exit code 2]").count(),
        lines.len(),
        "{shown}"
    );
    insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true }, {
        insta::assert_snapshot!("mixed_refused", shown);
    });
}

/// What is secret in any of the URLs stands nowhere.
#[test]
fn secrets_of_every_url_are_masked() {
    let servers = simulators(2);
    let hosts: Vec<String> = servers.iter().map(|own| own.addr().to_string()).collect();
    let urls = [
        format!(
            "http://user:hidden-pass@{}/v1?api_key=first-secret",
            hosts[0]
        ),
        format!(
            "http://user:hidden-pass@{}/v1?api_key=second-secret",
            hosts[1]
        ),
    ];
    let context = Context::new();
    let outcome = context.measure(&words(&urls, &["--model", "a", "--number", "6", "--debug"]));
    no_secret_like(
        &context,
        &outcome,
        &["hidden-pass", "first-secret", "second-secret"],
    );
    let counts = servers
        .into_iter()
        .map(|own| own.stop().unwrap().requests.len());
    assert_eq!(counts.collect::<Vec<_>>(), [4, 4]);
}
