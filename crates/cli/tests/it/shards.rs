//! Several processes that make one run, and putting their results together.

use std::path::{Path, PathBuf};

use evalscope_model::time::wall_ns;
use evalscope_sim::{Profile, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::command_line::told;
use crate::context::{Context, FILTERS, Running, json, open, wait_for};
use crate::server::{Recorder, good};

fn simulator() -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 3.0,
            itl_ms: 1.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap()
}

/// The command of a shard, or of all of them with `--shard 0/1`.
fn words<'a>(url: &'a str, shard: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let all = [
        "perf",
        "--url",
        url,
        "--model",
        "sim",
        "--no-timestamp",
        "--name",
        "run",
        "--run-id",
        "job 7",
        "--max-tokens",
        "4",
        "--shard",
        shard,
    ];
    [&all[..], more].concat()
}

/// The database of the only run in or below a folder.
fn database(folder: &Path) -> PathBuf {
    let own = folder.join("benchmark_data.db");
    if own.is_file() {
        return own;
    }
    let entries = std::fs::read_dir(folder).unwrap();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    database(&folders.remove(0))
}

/// A request: its phase, its number, its conversation and turn, its body, and when it was due after the
/// first one.
type Row = (String, i64, Option<i64>, Option<i64>, String, i64);

/// All requests of a database.
fn rows(path: &Path) -> Vec<Row> {
    let database = open(path);
    let mut statement = database
        .prepare(
            "SELECT phase, idx, conversation, turn, request, \
             scheduled_ns - (SELECT min(scheduled_ns) FROM record) FROM record ORDER BY phase, idx",
        )
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
        ))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// The rows without moments, which in a closed loop are up to the server.
fn without_moments(rows: Vec<Row>) -> Vec<Row> {
    let at_zero =
        |(phase, idx, conversation, turn, body, _)| (phase, idx, conversation, turn, body, 0);
    rows.into_iter().map(at_zero).collect()
}

/// Start processes that wait for a common start, and give them one.
fn begun_together(context: &Context, lines: &[Vec<&str>]) -> Vec<Running> {
    let mut all: Vec<Running> = lines
        .iter()
        .map(|line| context.begin_with_stdin(&[line, &["--start-at", "stdin"][..]].concat()))
        .collect();
    for running in &mut all {
        running.wait_for_stderr("ready: waiting for `start` on stdin");
    }
    let start_ns = wall_ns() + 2_000_000_000;
    let start = format!(
        "start {}.{:09}",
        start_ns / 1_000_000_000,
        start_ns % 1_000_000_000
    );
    for running in &mut all {
        running.tell(&start);
    }
    all
}

#[test]
fn three_shards_of_an_open_loop_are_one_run() {
    let server = simulator();
    let url = server.url();
    let context = Context::new();
    let prompts: Vec<String> = (0..17).map(|k| format!("prompt {k}\n")).collect();
    let prompts = prompts.concat();
    let prompts = context.write("prompts.txt", &prompts).display().to_string();
    let load = [
        "--dataset",
        "line_by_line",
        "--dataset-path",
        &prompts,
        "--rate",
        "60",
        "--number",
        "50",
        "--warmup-num",
        "8",
        "--max-tokens",
        "2",
        "7",
    ];
    let shards = ["0/3", "1/3", "2/3"].map(|shard| words(&url, shard, &load));
    for running in begun_together(&context, &shards) {
        let outcome = running.finish();
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    }
    let one = words(&url, "0/1", &load);
    assert_eq!(context.run(&one).code, Some(0));

    let parts = ["0", "1", "2"].map(|index| format!("outputs/shard-{index}-of-3"));
    let [first, second, third] = parts.each_ref().map(String::as_str);
    let outcome = context.run(&["merge", "-o", "merged", third, first, second]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("merged 50 requests"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stdout.contains("Shards:"), "{}", outcome.stdout);

    // number, body and moment, the last to the nanosecond
    let merged = rows(&database(&context.path().join("merged")));
    assert_eq!(merged.len(), 58);
    let one = rows(&database(&context.path().join("outputs/shard-0-of-1")));
    assert!(merged == one, "the requests differ");

    let result = json(&context.path().join("merged/result.json"));
    let run = &result["runs"][0];
    assert_eq!(run["state"], "finished");
    assert_eq!(run["counts"]["succeeded"], 50);
    assert_eq!(run["load"]["rate_per_s"], 60.0);
    let indices = |list: &Value| -> Vec<u64> {
        let list = list.as_array().unwrap().iter();
        list.map(|one| one["index"].as_u64().unwrap()).collect()
    };
    assert_eq!(indices(&run["shards"]), [0, 1, 2]);
    assert_eq!(indices(&run["client"]["shards"]), [0, 1, 2]);
    let requests: Vec<_> = run["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["requests"].as_u64())
        .collect();
    assert_eq!(requests, [17, 17, 16].map(Some));

    // everything that reads a run reads this one
    let page = std::fs::read_to_string(context.path().join("merged/perf_report.html")).unwrap();
    assert!(page.contains("Shards: the processes of this run"));
    let before = context.path().join("merged/result.json");
    let before = std::fs::read_to_string(before).unwrap();
    assert_eq!(context.run(&["report", "merged"]).code, Some(0));
    let after = std::fs::read_to_string(context.path().join("merged/result.json")).unwrap();
    assert_eq!(before, after);
    let exported = context.run(&["export", "--as", "evalscope", "-o", "exported", "merged"]);
    assert_eq!(exported.code, Some(0), "{exported:#?}");
    let exported = context.run(&["export", "-o", "requests.csv", "merged"]);
    assert_eq!(exported.code, Some(0), "{exported:#?}");
    let table = std::fs::read_to_string(context.path().join("requests.csv")).unwrap();
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').take(6).collect();
    assert_eq!(header[4..], ["shard", "idx"]);
    for line in lines {
        let cells: Vec<&str> = line.split(',').take(6).collect();
        let [shard, idx] = [cells[4], cells[5]].map(|cell| cell.parse::<u64>().unwrap());
        assert_eq!(shard, idx % 3, "{line}");
    }
}

#[test]
fn shards_of_conversations_are_one_run() {
    let server = simulator();
    let url = server.url();
    let context = Context::new();
    let talk = |turns: usize| {
        let messages = (0..turns).flat_map(|turn| {
            [
                json!({"role": "user", "content": format!("{turns} {turn}")}),
                json!({"role": "assistant", "content": "yes"}),
            ]
        });
        format!("{}\n", Value::from(messages.collect::<Vec<_>>()))
    };
    let talks: String = [1, 4, 2, 6, 3].map(talk).concat();
    let talks = context.write("talks.jsonl", &talks).display().to_string();
    let load = [
        "--multi-turn",
        "--dataset",
        "custom_multi_turn",
        "--dataset-path",
        &talks,
        "--history",
        "none",
        "--parallel",
        "5",
        "--number",
        "13",
        "--warmup-num",
        "3",
        "--max-turns",
        "5",
        "--max-tokens",
        "2",
    ];
    for shard in ["0/4", "1/4", "2/4", "3/4", "0/1"] {
        let outcome = context.run(&words(&url, shard, &load));
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    }
    let parts = [0, 1, 2, 3].map(|index| format!("outputs/shard-{index}-of-4"));
    let mut merge = vec!["merge", "-o", "merged", "--no-html"];
    merge.extend(parts.iter().map(String::as_str));
    let outcome = context.run(&merge);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let (merged, one) = (
        database(&context.path().join("merged")),
        database(&context.path().join("outputs/shard-0-of-1")),
    );
    let same = without_moments(rows(&merged)) == without_moments(rows(&one));
    assert!(same, "the requests differ");
    let conversations = |path: &Path| -> Vec<(i64, i64)> {
        let database = open(path);
        let sql = "SELECT idx, turns_sent FROM conversation WHERE phase = 'measured' ORDER BY idx";
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(conversations(&merged), conversations(&one));
    assert_eq!(conversations(&merged).len(), 13);
}

/// A command of a shard that cannot work is refused before anything is sent or written.
#[test]
fn a_shard_that_cannot_be_is_refused() {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let context = Context::new()
        .with_env("PMI_SIZE", "4")
        .with_env("RANK", "1")
        .with_env("WORLD_SIZE", "2");
    let perf = |more: &[&'static str]| {
        let line = [
            "perf",
            "--url",
            &url,
            "--model",
            "m",
            "--dataset",
            "sample",
            "--number",
            "9",
        ];
        [&line[..], more].concat()
    };
    let lines = [
        perf(&["--shard", "env"]),
        perf(&["--shard", "4/4"]),
        perf(&["--shard", "one"]),
        perf(&["--shard", "1/4", "--parallel", "8"]),
        perf(&["--shard", "1/4", "--parallel", "3", "--seed", "1"]),
        perf(&["--shard", "1/10", "--parallel", "20", "--seed", "1"]),
        perf(&["--shard", "1/4", "--parallel", "4", "8", "--seed", "1"]),
        perf(&[
            "--shard",
            "1/4",
            "--rate",
            "5",
            "--seed",
            "1",
            "--stop-when-saturated",
        ]),
        perf(&[
            "--shard",
            "1/4",
            "--rate",
            "5",
            "--seed",
            "1",
            "--max-in-flight",
            "9",
            "--when-full",
            "stop",
        ]),
        perf(&[
            "--shard",
            "1/4",
            "--parallel",
            "4",
            "--seed",
            "1",
            "--repeats",
            "3",
        ]),
        perf(&["--start-at", "2000000000", "--parallel", "4", "8"]),
        perf(&["--start-at", "soon"]),
        perf(&["--start-at", "stdin", "--prompt", "@-"]),
    ];
    let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
    let shown = told(&context, &lines).replace(&url, "URL");
    assert!(
        !shown.contains("[exit code 0]") && !shown.contains("[exit code 1]"),
        "{shown}"
    );
    insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true }, {
        insta::assert_snapshot!("shards_refused", shown);
    });
    let past = context.run(&perf(&["--start-at", "1500000000.5"]));
    assert_eq!(past.code, Some(2));
    assert!(
        past.stderr.contains("the load was to begin"),
        "{}",
        past.stderr
    );
    let bare = Context::new();
    let outcome = bare.run(&perf(&["--shard", "env"]));
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("SLURM_PROCID/SLURM_NTASKS"),
        "{}",
        outcome.stderr
    );
    assert!(server.requests().is_empty(), "nothing is sent");
    assert!(!context.path().join("outputs").exists());
}

#[test]
fn launchers_say_which_shard_it_is() {
    let server = simulator();
    let url = server.url();
    let context = Context::new()
        .with_env("OMPI_COMM_WORLD_RANK", "1")
        .with_env("OMPI_COMM_WORLD_SIZE", "2")
        .with_env("RANK", "7");
    let line = words(
        &url,
        "env",
        &["--prompt", "p", "--parallel", "2", "--number", "4"],
    );
    let outcome = context.run(&line);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(context.path().join("outputs/shard-1-of-2/run").is_dir());
    // all shards draw the same
    assert!(
        outcome.stderr.contains("from `--run-id job 7`"),
        "{}",
        outcome.stderr
    );
}

/// What is stopped before the common start, or is late for it, sends nothing.
#[test]
fn nothing_is_sent_before_or_after_the_start() {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let context = Context::new();
    let load = [
        "--prompt",
        "p",
        "--no-test-connection",
        "--start-at",
        "stdin",
    ];
    let line = words(&url, "0/1", &load);
    let ready = |more: &[&str]| {
        let mut running = context.begin_with_stdin(&[&line, more].concat());
        running.wait_for_stderr("ready");
        running
    };
    let mut stopped = ready(&[]);
    stopped.tell("begin now");
    stopped.tell("stop");
    let outcome = stopped.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("`begin now` on stdin is neither"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("stopped before any load was sent"));

    let mut left = ready(&[]);
    left.tell_no_more();
    let outcome = left.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(outcome.stderr.contains("stdin ended without a `start`"));

    let mut late = ready(&["--progress", "json"]);
    late.tell("start 1500000000");
    let outcome = late.finish();
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let events: Vec<Value> = outcome
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let late: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "late")
        .collect();
    assert!(
        late.len() == 1 && late[0]["by_s"].as_f64() > Some(1e8),
        "{late:?}"
    );
    assert_eq!(events.last().unwrap()["event"], "error");

    assert!(server.requests().is_empty(), "nothing is sent");
    assert!(
        !context.path().join("outputs/shard-0-of-1").exists(),
        "nor left behind"
    );
}

#[test]
fn a_stop_ends_a_load_that_has_begun() {
    let server = simulator();
    let url = server.url();
    let context = Context::new();
    let load = ["--prompt", "p", "--parallel", "2", "--number", "1000000"];
    let mut running = begun_together(&context, &[words(&url, "0/2", &load)]);
    let mut running = running.remove(0);
    let path = context
        .path()
        .join("outputs/shard-0-of-2/run/parallel_2_number_1000000/benchmark_data.db");
    wait_for("rows", || {
        let rows = "SELECT count(*) FROM result";
        open(&path)
            .query_row(rows, [], |row| row.get::<_, i64>(0))
            .ok()
            .filter(|rows| *rows > 9)
    });
    running.tell("stop");
    assert_eq!(running.finish().code, Some(130));
}

/// Shards that do not belong together are not merged, and nothing is written.
#[test]
fn what_is_no_whole_run_is_not_merged() {
    let server = simulator();
    let url = server.url();
    let context = Context::new();
    let run = |folder: &str, shard: &str, more: &[&str]| {
        let load = [
            "--prompt",
            "p",
            "--parallel",
            "2",
            "--number",
            "4",
            "--outputs-dir",
            folder,
        ];
        let line = words(&url, shard, &load);
        let outcome = context.run(&[&line, more].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    };
    run("a", "0/2", &[]);
    run("a", "1/2", &[]);
    run("seed", "1/2", &["--seed", "3"]);
    run("id", "1/2", &["--run-id", "job 8", "--seed", "1"]);
    run("count", "1/3", &["--parallel", "3"]);
    run("flags", "1/2", &["--max-tokens", "9"]);
    let whole = [
        "perf", "--url", &url, "--model", "sim", "--prompt", "p", "--number", "2",
    ];
    let whole = [
        &whole[..],
        &["--no-timestamp", "--name", "run", "--outputs-dir", "whole"],
    ]
    .concat();
    assert_eq!(context.run(&whole).code, Some(0));
    context.write("offsets.json", r#"{"shards":[{"index":0,"offset_ns":5}]}"#);
    context.write(
        "twice.json",
        r#"{"shards":[{"index":0,"offset_ns":5},{"index":0,"offset_ns":6}]}"#,
    );
    let merge =
        |more: &[&'static str]| [&["merge", "-o", "merged", "a/shard-0-of-2"], more].concat();
    let lines = [
        merge(&["seed/shard-1-of-2"]),
        merge(&["id/shard-1-of-2"]),
        merge(&["count/shard-1-of-3"]),
        merge(&["flags/shard-1-of-2"]),
        merge(&["a/shard-0-of-2"]),
        merge(&[]),
        merge(&["whole"]),
        merge(&["no"]),
        merge(&["a/shard-1-of-2", "--offsets", "offsets.json"]),
        merge(&["a/shard-1-of-2", "--offsets", "twice.json"]),
        vec!["merge", "-o", "a", "a/shard-0-of-2", "a/shard-1-of-2"],
    ];
    let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
    let shown = told(&context, &lines);
    assert!(
        !shown.contains("[exit code 0]") && !shown.contains("[exit code 1]"),
        "{shown}"
    );
    insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true }, {
        insta::assert_snapshot!("shards_not_merged", shown);
    });
    assert!(
        !context.path().join("merged").exists(),
        "nothing is left behind"
    );
    // the folder that holds them is as good as their names
    let outcome = context.run(&["merge", "-o", "merged", "a"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
}

/// The database of a killed shard has its last rows in a file beside it.
#[test]
fn a_killed_shard_is_merged_if_that_is_wanted() {
    let server = simulator();
    let url = server.url();
    let context = Context::new();
    let load = [
        "--prompt",
        "p",
        "--parallel",
        "4",
        "--number",
        "1000000",
        "--duration",
        "3",
    ];
    let killed = context.begin(&words(&url, "2/4", &load));
    let path = context
        .path()
        .join("outputs/shard-2-of-4/run/parallel_4_number_1000000/benchmark_data.db");
    let rows_of = |path: &Path| {
        let rows = "SELECT count(*) FROM result";
        open(path)
            .query_row(rows, [], |row| row.get::<_, i64>(0))
            .unwrap_or(0)
    };
    wait_for("rows", || {
        (path.is_file() && rows_of(&path) > 5).then_some(())
    });
    drop(killed);
    let kept = rows_of(&path);
    assert!(path.with_extension("db-wal").is_file());
    for shard in ["0/4", "1/4"] {
        let outcome = context.run(&words(&url, shard, &load));
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    }
    let refused = context.run(&["merge", "-o", "merged", "outputs"]);
    assert_eq!(refused.code, Some(2));
    insta::assert_snapshot!(refused.stderr, @"
    error: the run is not whole: shard 3 of 4 is missing, shard 2 was killed or is still under way
      hint: give all shards; `--allow-partial` merges what is there, and everything made from it says that it is partial
    ");
    assert!(!context.path().join("merged").exists());

    let outcome = context.run(&["merge", "-o", "merged", "--allow-partial", "outputs"]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("the merged run is partial"),
        "{}",
        outcome.stderr
    );
    let said = outcome
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        said.contains("the run is partial: shard 3 of 4 is missing, and shard 2 did not finish"),
        "{said}"
    );
    let run = &json(&context.path().join("merged/result.json"))["runs"][0];
    assert_eq!(run["state"], "partial");
    assert_eq!(run["missing_shards"], json!([3]));
    assert_eq!(run["shards"][2]["state"], "running");
    assert_eq!(run["shards"][2]["requests"], kept);
    let page = std::fs::read_to_string(context.path().join("merged/perf_report.html")).unwrap();
    assert!(page.contains("A run is partial"));
    let summary =
        std::fs::read_to_string(context.path().join("merged/performance_summary.txt")).unwrap();
    assert!(summary.contains("(partial) ==="), "{summary}");
    // what was merged is as it was
    assert_eq!(rows_of(&path), kept);
    assert!(path.with_extension("db-wal").is_file());
}
