//! Runs that are followed elsewhere, by a stand-in for the Python side of trackers.

#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::context::{Context, Outcome, no_secret_like};

/// Stands for the interpreter: it is started as `… -c CODE --role tracker --kind KIND`
/// and keeps what it was told, its arguments and its keys.
const STANDIN: &str = r#"#!/usr/bin/env python3
import json, os, sys, time
how = os.environ["HOW"]
told = open("told.jsonl", "w")
def keep(word):
    told.write(json.dumps(word) + "\n")
    told.flush()
# a library may repeat its key wherever it likes
key = os.environ.get("WANDB_API_KEY") if how.startswith("tells") else None
keep({"argv": sys.argv[1:], "wandb": os.environ.get("WANDB_API_KEY"), "swanlab": os.environ.get("SWANLAB_API_KEY")})
if key:
    print("found the key " + key, file=sys.stderr, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    method = request["method"]
    keep(request)
    answer = {"id": request["id"], "result": {}}
    if method == "hello":
        answer["result"] = {"protocol": 1, "name": "wandb"}
        if how == "missing":
            del answer["result"]
            answer["error"] = {"message": "`--visualizer wandb` needs its client library: pip install wandb", "traceback": None}
    elif method == "start":
        answer["result"] = {"url": "https://board.example/run/1" + ("?apiKey=" + key if key else "")}
        if how in ("login", "login_and_hangs"):
            del answer["result"]
            answer["error"] = {"message": "no API key configured", "traceback": "Traceback:\n  in login"}
        elif how == "tells_at_login":
            del answer["result"]
            answer["error"] = {"message": "401 for " + key, "traceback": "Traceback:\n  login(" + repr(key) + ")"}
    elif method == "metrics" and how == "tells_later":
        del answer["result"]
        answer["error"] = {"message": "403 for " + key, "traceback": "Traceback:\n  send(" + repr(key) + ")"}
    elif method == "metrics" and how == "dies":
        print("killed by a cosmic ray", file=sys.stderr, flush=True)
        os._exit(3)
    elif method == "bye" and how == "uploads":
        # more than who has not logged in is given
        time.sleep(3)
        keep({"method": "uploaded", "params": {}})
    elif method == "bye" and how == "login_and_hangs":
        time.sleep(1000)
    print(json.dumps(answer), flush=True)
    if method == "bye":
        break
"#;

fn follow(how: &str, flags: &[&str]) -> (Context, Outcome) {
    let context = standing_in(how);
    let outcome = context.perf(&[&LOAD[..], flags].concat());
    (context, outcome)
}

/// A folder with the stand-in.
fn standing_in(how: &str) -> Context {
    let context = Context::new();
    let python = context.write("python", STANDIN);
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    context
        .with_env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .with_env("HOW", how)
        .with_env("EVALSCOPE_PYTHON", &python.display().to_string())
}

const LOAD: [&str; 15] = [
    "--api",
    "local_sim",
    "--dataset",
    "sample",
    "--parallel",
    "2",
    "4",
    "--number",
    "20",
    "30",
    "--max-tokens",
    "4",
    "--sleep-interval",
    "0",
    "--log-every-n-query=10",
];

fn told(context: &Context) -> Vec<Value> {
    std::fs::read_to_string(context.path().join("told.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of_method<'a>(told: &'a [Value], method: &str) -> Vec<&'a Value> {
    told.iter()
        .filter(|word| word["method"] == method)
        .map(|word| &word["params"])
        .collect()
}

#[test]
fn a_tracker_hears_settings_figures_percentiles_and_files() {
    let key = "wandb-secret-0123456789";
    let (context, outcome) = follow("well", &["--wandb-api-key", key]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let told = told(&context);
    let argv = told[0]["argv"].as_array().unwrap();
    let code = argv[1].as_str().unwrap();
    assert!(code.contains("evalscope.perf.serve"), "{code}");
    assert!(argv.iter().any(|word| word == "wandb"));
    // the key is in the environment of the child, and nowhere else
    assert_eq!(told[0]["wandb"], key);
    std::fs::remove_file(context.path().join("told.jsonl")).unwrap();
    no_secret_like(&context, &outcome, &[key]);
    let methods: Vec<&str> = told[1..]
        .iter()
        .map(|w| w["method"].as_str().unwrap())
        .collect();
    assert_eq!(methods[..2], ["hello", "start"]);
    assert_eq!(methods[methods.len() - 2..], ["files", "bye"]);
    let start = of_method(&told, "start")[0];
    assert_eq!(start["name"], "run");
    assert_eq!(start["settings"]["parallel"], json!([2, 4]));
    assert_eq!(start["settings"]["wandb_api_key"], "***");
    assert!(outcome.stderr.contains("https://board.example/run/1"));
    let live = of_method(&told, "metrics");
    let steps = |run: &str| -> Vec<u64> {
        let of_run = live.iter().filter(|word| word["run"] == run);
        of_run.map(|word| word["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps("parallel_2_number_20"), [10, 20]);
    assert_eq!(steps("parallel_4_number_30"), [10, 20, 30]);
    assert!(live[0]["values"]["Avg TTFT (ms)"].as_f64().unwrap() > 0.0);
    let summaries = of_method(&told, "summary");
    assert_eq!(summaries.len(), 2);
    assert_eq!(summaries[1]["metrics"]["Success Requests"], 30);
    assert_eq!(summaries[1]["percentiles"][0]["Percentiles"], "min");
    let files = of_method(&told, "files")[0]["paths"].as_array().unwrap();
    for name in ["result.json", "performance_summary.txt", "benchmark.log"] {
        let is = |path: &&Value| path.as_str().unwrap().ends_with(name);
        assert!(files.iter().any(|path| is(&path)), "{name}: {files:?}");
    }
    // where requests went, and not where nobody was
    let url = start["settings"]["url"].as_str().unwrap();
    assert_eq!(url, context.result()["runs"][0]["url"]);
}

/// Endings of the files that a tracker was given.
fn given(flags: &[&str]) -> Vec<String> {
    let (context, outcome) = follow("well", &[&["--visualizer", "wandb"], flags].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let told = told(&context);
    let mut endings: Vec<String> = of_method(&told, "files")
        .iter()
        .flat_map(|params| params["paths"].as_array().unwrap())
        .map(|path| {
            path.as_str()
                .unwrap()
                .rsplit('.')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    endings.sort();
    endings.dedup();
    endings
}

/// Prompts and answers leave the machine only if that was asked for.
#[test]
fn a_tracker_is_given_bodies_only_if_that_was_asked_for() {
    assert_eq!(given(&[]), ["json", "log", "txt"]);
    assert_eq!(given(&["--debug"]), ["json", "txt"]);
    let all = ["db", "json", "log", "txt"];
    assert_eq!(given(&["--tracker-files", "db", "--debug"]), all);
    assert_eq!(given(&["--tracker-files", "none"]), [""; 0]);
}

/// A tracker's library is the code of others: of all keys it gets its own.
#[test]
fn a_tracker_gets_its_own_key_alone() {
    let key = "wandb-secret-0123456789";
    let context = standing_in("well")
        .with_env("WANDB_API_KEY", key)
        .with_env("SWANLAB_API_KEY", "swanlab-secret-0123456789");
    let outcome = context.perf(&[&LOAD[..], &["--visualizer", "wandb"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let told = told(&context);
    assert_eq!(told[0]["wandb"], key);
    assert_eq!(told[0]["swanlab"], Value::Null);
}

#[test]
fn what_fails_before_the_load_ends_the_command() {
    for (how, said) in [
        ("missing", "pip install wandb"),
        ("login", "no API key configured"),
    ] {
        let (context, outcome) = follow(how, &["--visualizer", "wandb"]);
        assert_eq!(outcome.code, Some(2), "{how}: {outcome:#?}");
        assert!(outcome.stderr.contains(said), "{outcome:#?}");
        assert!(outcome.stderr.contains("no load was sent"), "{outcome:#?}");
        let made = context.files();
        assert!(
            !made.iter().any(|(name, _)| name.contains("benchmark_data")),
            "{how}"
        );
    }
}

#[test]
fn a_tracker_that_dies_costs_a_warning_and_not_the_run() {
    let (context, outcome) = follow("dies", &["--visualizer", "clearml"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("nothing more is reported to clearml"),
        "{outcome:#?}"
    );
    assert!(
        outcome.stderr.contains("killed by a cosmic ray"),
        "{outcome:#?}"
    );
    let result = context.result();
    assert_eq!(result["runs"][1]["counts"]["succeeded"], 30);
}

#[test]
fn the_key_of_swanlab_may_be_local() {
    let (context, outcome) = follow("well", &["--swanlab-api-key", "local"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let told = told(&context);
    assert_eq!(told[0]["swanlab"], "local");
    assert!(
        told[0]["argv"]
            .as_array()
            .unwrap()
            .iter()
            .any(|word| word == "swanlab")
    );
    // a word that short is no secret: it must not be masked out of every text
    assert!(outcome.stderr.contains("local_sim"), "{outcome:#?}");
}

/// On stderr, as an error of the login and as one of a figure.
#[test]
fn a_key_that_a_library_repeats_is_masked() {
    let key = "wandb-secret-0123456789";
    for (how, code, said) in [
        (
            "tells_at_login",
            2,
            &["found the key ***", "401 for ***", "login('***')"][..],
        ),
        (
            "tells_later",
            0,
            &[
                "found the key ***",
                "run/1?apiKey=***",
                "403 for ***",
                "send('***')",
            ],
        ),
    ] {
        for from_environment in [false, true] {
            let context = standing_in(how);
            let (context, flags) = if from_environment {
                (
                    context.with_env("WANDB_API_KEY", key),
                    ["--visualizer", "wandb"],
                )
            } else {
                (context, ["--wandb-api-key", key])
            };
            let outcome = context.perf(&[&LOAD[..], &flags].concat());
            assert_eq!(outcome.code, Some(code), "{how}: {outcome:#?}");
            for text in said {
                assert!(outcome.stderr.contains(text), "{text}: {}", outcome.stderr);
            }
            std::fs::remove_file(context.path().join("told.jsonl")).unwrap();
            no_secret_like(&context, &outcome, &[key]);
        }
    }
}

/// What is uploaded at the end may take its time; where nobody has logged in, there is nothing to
/// upload, and a library that hangs is not waited for. (That would take minutes.)
#[test]
fn only_a_tracker_that_has_logged_in_may_take_its_leave_slowly() {
    let (context, outcome) = follow("uploads", &["--visualizer", "wandb"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(told(&context).last().unwrap()["method"], "uploaded");

    let context = standing_in("login_and_hangs");
    let running = context.start(&[&LOAD[..], &["--visualizer", "wandb"]].concat());
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert_eq!(told(&context).last().unwrap()["method"], "bye");
    assert!(
        outcome.stderr.contains("no API key configured"),
        "{outcome:#?}"
    );
}
