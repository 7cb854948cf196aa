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
            } else if stat.is_array() {
                // the interval of the one run there was, as wide as this machine was busy
                *stat = Value::Null;
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
fn percentiles_beyond_those_of_a_report_are_computed() {
    let context = measured();
    let top = context.top();
    let top = top.to_str().unwrap();
    compare(&context, &[top, "--save-baseline", "base.json"]);
    let rule = ["--fail-if", "ttft_p99.9>+10%", "ttft_p2.5>10s"];
    let shown = ["--metric", "ttft", "--stat", "p99.99,p7"];
    for base in [top, "base.json"] {
        let args = [
            &[base, top][..],
            &rule,
            &shown,
            &ANY_CLIENT,
            &["--out", "json=-"],
        ]
        .concat();
        let outcome = compare(&context, &args);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let result: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let cells = &result["comparisons"][0]["points"][0]["cells"];
        assert_eq!(cells[0]["figure"], "ttft_p99.99");
        assert_eq!(cells[1]["figure"], "ttft_p7");
    }
    let context = Context::new();
    context.write("a.json", &result_of_vllm());
    let args = ["a.json", "a.json", "--fail-if", "ttft_p99.9>+10%"];
    let outcome = compare(&context, &args);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    for why in [
        "has no ttft_p99.9\n",
        "hint: percentiles other than p1, p5,",
    ] {
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
    }
}

/// Without lists.
fn result_of_vllm() -> String {
    json!({
        "model_id": "m", "num_prompts": 100, "max_concurrency": 8, "completed": 100, "request_throughput": 9.8,
        "output_throughput": 196.0, "mean_ttft_ms": 30.0, "median_ttft_ms": 25.0, "p99_ttft_ms": 60.0,
    })
    .to_string()
}

#[test]
fn few_runs_are_marked_as_indicative_in_every_format() {
    let context = measured();
    let top = context.top();
    let top = top.to_str().unwrap();
    let formats = [
        "table",
        "html",
        "markdown",
        "json",
        "junit",
        "github",
        "openmetrics",
        "github-benchmark",
    ];
    let out: Vec<String> = formats
        .iter()
        .map(|name| format!("{name}={name}.out"))
        .collect();
    let out: Vec<&str> = out.iter().map(String::as_str).collect();
    // a rule that fails, so that there is an annotation
    let args = [
        &[top, top, "--fail-if", "ttft_p50>1us", "--out"][..],
        &out,
        &ANY_CLIENT,
    ]
    .concat();
    let outcome = compare(&context, &args);
    assert_eq!(outcome.code, Some(3), "{outcome:#?}");
    for format in formats {
        let text = std::fs::read_to_string(context.path().join(format!("{format}.out"))).unwrap();
        assert!(text.contains("indicative"), "{format}: {text}");
    }
}

#[test]
fn what_has_no_interval_says_why() {
    let context = Context::new();
    context.write("a.json", &result_of_vllm());
    let outcome = compare(&context, &["a.json", "a.json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let lines = outcome
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let why = "no interval for requests_per_s, output_tokens_per_s, ttft_mean, ttft_p50, ttft_p99: a result of vLLM \
               has intervals only with the lists of `--save-detailed`";
    assert!(lines.contains(why), "{lines}");
}

#[test]
fn the_page_overlays_all_sides() {
    let context = measured();
    let top = context.top();
    let top = top.to_str().unwrap();
    let args = [&[top, top, top, "--out", "html=a.html"][..], &ANY_CLIENT].concat();
    assert_eq!(compare(&context, &args).code, Some(0));
    let page = std::fs::read_to_string(context.path().join("a.html")).unwrap();
    for id in ["o1", "point1-o3", "point1-o4"] {
        assert!(
            page.contains(&format!("<svg class=\"chart\" id=\"{id}\"")),
            "{id}"
        );
    }
    for side in [">base<", ">new 1<", ">new 2<"] {
        assert!(page.contains(side), "{side}");
    }
    assert!(!page.contains("<script"), "it runs nothing");
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
