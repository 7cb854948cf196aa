//! `evalscope compare`: exit codes, rules, files. What the statistics do is tested in the model crate, what
//! each format looks like in the report crate.

use evalscope_sim::{Profile, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::context::{Context, Outcome};

/// A context with a run of 40 requests in `outputs/run`.
fn measured() -> Context {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 5.0,
            itl_ms: 5.0,
            ..Profile::default()
        },
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
        "p",
        "--parallel",
        "2",
        "--number",
        "40",
        "--max-tokens",
        "4",
        "--no-test-connection",
    ]);
    context
}

/// A busy machine is not held against the client.
const ANY_CLIENT: [&str; 2] = ["--allow-different", "client"];

/// Repeats made of one run: `result.json` files in which TTFT and throughput are so many percent.
fn repeats(context: &Context, name: &str, percents: &[f64]) -> String {
    let result = context.result();
    let paths = percents.iter().enumerate().map(|(nth, percent)| {
        let mut result = result.clone();
        let run = &mut result["runs"][0];
        run["client"]["verdict"] = json!("ok");
        for stat in run["metrics"]["ttft_ms"]
            .as_object_mut()
            .unwrap()
            .values_mut()
        {
            if let Some(ms) = stat.as_f64() {
                *stat = json!(ms * percent / 100.0);
            }
        }
        let rate = &mut run["throughput"]["output_tokens_per_s"];
        *rate = json!(rate.as_f64().unwrap() * 100.0 / percent);
        let file = format!("{name}{nth}.json");
        context.write(&file, &result.to_string());
        file
    });
    paths.collect::<Vec<_>>().join(",")
}

const ALIKE: [f64; 3] = [99.5, 100.0, 100.5];
const SLOWER: [f64; 3] = [119.5, 120.0, 120.5];

fn compare(context: &Context, args: &[&str]) -> Outcome {
    context.run(&[&["compare"], args].concat())
}

fn json_of(context: &Context, file: &str) -> Value {
    crate::context::json(&context.path().join(file))
}

#[test]
fn rules_decide_the_exit_code() {
    let context = measured();
    let base = repeats(&context, "base", &ALIKE);
    let same = repeats(&context, "same", &[100.5, 99.5, 100.0]);
    let slow = repeats(&context, "slow", &SLOWER);
    let wide = repeats(&context, "wide", &[80.0, 110.0, 140.0]);
    for (new, args, code) in [
        (&same, vec![], 0),
        (&slow, vec![], 0),
        (&same, vec!["--fail-if", "ttft_p99>+5%"], 0),
        (&slow, vec!["--fail-if", "ttft_p99>+5%"], 3),
        (&slow, vec!["--fail-if", "ttft_p99>+5%", "error_rate>1%"], 3),
        (
            &slow,
            vec!["--fail-if", "ttft_p99>+5%", "--fail-if", "error_rate>1%"],
            3,
        ),
        (
            &slow,
            vec!["--fail-if", "ttft_p99>+5% and error_rate>1%"],
            0,
        ),
        (&slow, vec!["--fail-if", "ttft_p99>+50%"], 0),
        (&slow, vec!["--fail-if", "output_tokens_per_s<-3%"], 3),
        (&slow, vec!["--fail-if", "ttft_p50>10s"], 0),
        (&slow, vec!["--fail-if", "ttft_p50>1us"], 3),
        (&slow, vec!["--fail-if", "ttft_p99@parallel=2>+5%"], 3),
        (&wide, vec!["--fail-if", "ttft_p99>+5%"], 0),
        (&wide, vec!["--fail-if", "ttft_p99>+5%", "--strict"], 4),
        (&same, vec!["--fail-if", "ttft_p99>+5%", "--strict"], 0),
        // a usage error, never a pass
        (&same, vec!["--fail-if", "goodput<95%"], 2),
        (&same, vec!["--fail-if", "ttft_p99@parallel=3>+5%"], 2),
        (&same, vec!["--fail-if", "ttft>+5%"], 2),
        (&same, vec!["--strict"], 2),
        (&same, vec!["--at", "parallel=3"], 2),
        (&same, vec!["--allow-different", "colour"], 2),
        (&same, vec!["--out", "pdf=a.pdf"], 2),
        (&same, vec!["--metric", "power"], 2),
        (&same, vec!["--noise", "ttft=3%"], 2),
    ] {
        let args = [&[base.as_str(), new.as_str()], args.as_slice()].concat();
        let outcome = compare(&context, &args);
        assert_eq!(outcome.code, Some(code), "{args:?}: {outcome:#?}");
    }
    let outcome = compare(&context, &[&base, &same, "--fail-if", "tfft_p99>+5%"]);
    assert!(
        outcome.stderr.contains("rule `tfft_p99>+5%`, character 1: no figure is called `tfft_p99`; did you mean ttft_p99?"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn several_new_sides_are_compared_each_or_as_one() {
    let context = measured();
    let base = repeats(&context, "base", &ALIKE);
    repeats(&context, "slow", &SLOWER);
    let new = ["slow0.json", "slow1.json", "slow2.json"];
    let args = [
        &[base.as_str()],
        new.as_slice(),
        &["--out", "json=c.json", "--no-ci"],
    ]
    .concat();
    assert_eq!(compare(&context, &args).code, Some(0));
    let result = json_of(&context, "c.json");
    assert_eq!(result["comparisons"].as_array().unwrap().len(), 3);
    assert_eq!(result["comparisons"][0]["points"][0]["is_indicative"], true);
    let one = [args.as_slice(), &["--repeats-as-one"]].concat();
    assert_eq!(compare(&context, &one).code, Some(0));
    let result = json_of(&context, "c.json");
    assert_eq!(result["comparisons"].as_array().unwrap().len(), 1);
    let point = &result["comparisons"][0]["points"][0];
    assert_eq!(
        (&point["base_runs"], &point["new_runs"]),
        (&json!(3), &json!(3))
    );
    let cells = point["cells"].as_array().unwrap();
    let ttft = cells
        .iter()
        .find(|cell| cell["figure"] == "ttft_p50")
        .unwrap();
    assert_eq!(
        (&ttft["verdict"], &ttft["method"]),
        (&json!("worse"), &json!("repeats"))
    );
}

#[test]
fn a_run_beside_itself_is_the_same() {
    let context = measured();
    let top = context.top();
    let top = top.to_str().unwrap();
    let args = [top, top, "--fail-if", "ttft_p99>+5%", "--out", "json=-"];
    let outcome = compare(&context, &[args.as_slice(), &ANY_CLIENT].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let result: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let point = &result["comparisons"][0]["points"][0];
    assert_eq!(point["point"], "parallel=2 number=40");
    for cell in point["cells"].as_array().unwrap() {
        assert_eq!(cell["change"].as_f64(), Some(0.0), "{cell}");
        // how much it varies within is known from the database
        assert!(cell["change_ci"].is_array(), "{cell}");
    }
}

#[test]
fn what_is_not_comparable_is_2_and_says_why() {
    let context = measured();
    let base = repeats(&context, "base", &ALIKE);
    let changed = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut result = json_of(&context, "base1.json");
        change(&mut result);
        context.write(name, &result.to_string());
        name.to_owned()
    };
    let longer = changed("longer.json", &|result| {
        result["runs"][0]["metrics"]["input_tokens"]["mean"] = json!(1024.0);
    });
    let limited = changed("limited.json", &|result| {
        result["runs"][0]["client"]["verdict"] = json!("client_limited");
    });
    let cut = changed("cut.json", &|result| {
        result["runs"][0]["state"] = json!("interrupted");
    });
    let other = changed("other.json", &|result| {
        result["settings"]["temperature"] = json!(1.5);
    });
    let load = changed("load.json", &|result| {
        result["runs"][0]["load"]["concurrency"] = json!(3);
    });
    for (new, why) in [
        (&longer, "workload differs: "),
        (&limited, "the client was limited"),
        (&cut, "its state is `interrupted`"),
        (&other, "temperature: "),
    ] {
        let outcome = compare(&context, &[&base, new, "--fail-if", "ttft_p99>+5%"]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(outcome.stdout.contains(why), "{}", outcome.stdout);
    }
    let outcome = compare(&context, &[&base, &load]);
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome
            .stderr
            .contains("no load was measured on both sides"),
        "{}",
        outcome.stderr
    );
    for (new, key) in [(&longer, "workload"), (&other, "temperature,seed")] {
        let outcome = compare(&context, &[&base, new, "--allow-different", key]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert!(outcome.stdout.contains("differs: "), "{}", outcome.stdout);
    }
}

#[test]
fn a_baseline_is_saved_and_compared_with() {
    let context = measured();
    let top = context.top();
    let saved = compare(
        &context,
        &[top.to_str().unwrap(), "--save-baseline", "base.json"],
    );
    assert_eq!(saved.code, Some(0), "{saved:#?}");
    let baseline = json_of(&context, "base.json");
    assert_eq!(baseline["kind"], "evalscope-baseline");
    let text = std::fs::read_to_string(context.path().join("base.json")).unwrap();
    assert!(
        !text.contains("127.0.0.1"),
        "a baseline is committed: it has no addresses"
    );
    for args in [
        vec!["--baseline", "base.json", top.to_str().unwrap()],
        vec!["base.json", top.to_str().unwrap()],
    ] {
        let outcome = compare(
            &context,
            &[
                args.as_slice(),
                &ANY_CLIENT,
                &["--fail-if", "ttft_p99>+50%"],
            ]
            .concat(),
        );
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    }
    let outcome = compare(&context, &["--baseline", "base.json"]);
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("nothing to compare"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn rules_come_from_a_file_and_results_go_into_files() {
    let context = measured();
    let base = repeats(&context, "base", &ALIKE);
    let slow = repeats(&context, "slow", &SLOWER);
    let rules =
        "[[rule]]\nfail_if = \"ttft_p99>+5%\"\nseverity = \"warning\"\nwhy = \"the page waits\"\n";
    context.write("rules.toml", rules);
    let formats = [
        "table=a.txt",
        "html=a.html",
        "markdown=a.md",
        "json=a.json",
        "junit=a.xml",
        "github=a.github",
        "openmetrics=a.om",
        "github-benchmark=a.gb",
        "github-benchmark-bigger=b.gb",
    ];
    let args = [
        &[base.as_str(), &slow, "--rules", "rules.toml", "--out"],
        formats.as_slice(),
    ]
    .concat();
    let outcome = compare(&context, &args);
    assert_eq!(
        outcome.code,
        Some(0),
        "a warning fails nothing: {outcome:#?}"
    );
    assert!(
        outcome.stdout.contains("(the page waits)"),
        "{}",
        outcome.stdout
    );
    for format in formats {
        let file = format.split_once('=').unwrap().1;
        let text = std::fs::read_to_string(context.path().join(file)).unwrap();
        assert!(!text.is_empty(), "{file}");
    }
    context.write("bad.toml", "[[rule]]\nfail_if = \"ttft>1\"\n");
    let outcome = compare(&context, &[&base, &slow, "--rules", "bad.toml"]);
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("needs a statistic"),
        "{}",
        outcome.stderr
    );
    let outcome = compare(
        &context,
        &[&base, &slow, "--out", "json=no/such/folder.json"],
    );
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
}

#[test]
fn a_job_of_github_gets_annotations_and_a_summary() {
    let context = measured()
        .with_env("GITHUB_ACTIONS", "true")
        .with_env("GITHUB_STEP_SUMMARY", "summary.md");
    let base = repeats(&context, "base", &ALIKE);
    let slow = repeats(&context, "slow", &SLOWER);
    let args = [base.as_str(), &slow, "--fail-if", "ttft_p99>+5%"];
    let outcome = compare(&context, &args);
    assert_eq!(outcome.code, Some(3));
    let error = "::error title=ttft_p99 at parallel=2 number=40::ttft_p99>+5%25: ";
    assert!(outcome.stderr.contains(error), "{}", outcome.stderr);
    let summary = || std::fs::read_to_string(context.path().join("summary.md")).unwrap();
    assert!(summary().starts_with("**1 rule failed: "), "{}", summary());
    let before = summary();
    let outcome = compare(&context, &[args.as_slice(), &["--no-ci"]].concat());
    assert!(!outcome.stderr.contains("::error"));
    assert_eq!(summary(), before);
}

#[test]
fn what_cannot_be_read_is_2() {
    let context = Context::new();
    context.write("a.json", "{}");
    std::fs::create_dir(context.path().join("empty")).unwrap();
    for (args, why) in [
        (vec!["no", "no"], "`no`"),
        (vec!["a.json", "a.json"], "it has no runs"),
        (vec!["empty", "empty"], "holds no `benchmark_data.db`"),
        (vec!["a.json"], "nothing to compare the base with"),
        (vec![], "`BASE` is missing"),
    ] {
        let outcome = compare(&context, &args);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(outcome.stderr.contains(why), "{args:?}: {}", outcome.stderr);
    }
}
