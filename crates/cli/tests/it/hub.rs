//! Data sets and tokenizers from a hub: what is asked for and when, what is kept, and what is said
//! when nothing comes.
//!
//! The hub here is a server of the test's own; the real ones are never reached, because every
//! command gets addresses of this machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::context::{CACHE, Context, FILTERS, Outcome, no_secret_like};
use crate::datasets::{PNG, bytes, tar};
use crate::server::{Recorder, Request, good, reply};
use crate::tokenizer;

type Files = BTreeMap<String, Vec<u8>>;

/// Names and contents of what a hub has.
type Stored<'a> = &'a [(&'a str, &'a [u8])];

/// A hub of both kinds that has these files in every repository.
fn hub(files: Stored<'_>) -> Recorder {
    let files: Files = files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
        .collect();
    Recorder::start(move |request, _| answer(request, &files))
}

fn answer(request: &Request, files: &Files) -> Vec<u8> {
    let target = request.line.split(' ').nth(1).unwrap();
    let url = url::Url::parse("http://hub").unwrap().join(target).unwrap();
    let path = url.path();
    if path.ends_with("/tree/main") {
        let list: Vec<Value> = files
            .iter()
            .map(|(name, content)| json!({"type": "file", "path": name, "size": content.len(), "oid": "0"}))
            .collect();
        return reply("200 OK", "application/json", &json!(list).to_string());
    }
    if path.ends_with("/repo/tree") || path.ends_with("/repo/files") {
        let list: Vec<Value> = files
            .iter()
            .map(|(name, content)| json!({"Name": name, "Path": name, "Type": "blob", "Size": content.len()}))
            .collect();
        let list = json!({"Code": 200, "Success": true, "Data": {"Files": list}});
        return reply("200 OK", "application/json", &list.to_string());
    }
    let asked = url
        .query_pairs()
        .find(|(name, _)| name == "FilePath")
        .map(|(_, value)| value.into_owned())
        .or_else(|| {
            path.split_once("/resolve/main/")
                .map(|(_, file)| file.to_owned())
        });
    match asked.and_then(|name| files.get(&name)) {
        Some(content) => {
            let mut bytes = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
                content.len()
            )
            .into_bytes();
            bytes.extend_from_slice(content);
            bytes
        }
        None if path.contains("/resolve/") => {
            b"HTTP/1.1 404 Not Found\r\nx-error-code: EntryNotFound\r\ncontent-length: 0\r\n\r\n"
                .to_vec()
        }
        None => reply(
            "404 Not Found",
            "application/json",
            r#"{"Code":404,"Message":"not found"}"#,
        ),
    }
}

/// A folder in which both hubs are this one.
fn context(hub: &Recorder) -> Context {
    let url = format!("http://{}", hub.address());
    Context::new()
        .with_env("MODELSCOPE_ENDPOINT", &url)
        .with_env("HF_ENDPOINT", &url)
}

/// Short runs against a server that answers anything.
fn run(context: &Context, more: &[&str]) -> Outcome {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let base = [
        "--url",
        &url,
        "--model",
        "m",
        "--number",
        "2",
        "--no-test-connection",
    ];
    let _ = std::fs::remove_dir_all(context.path().join("outputs"));
    context.perf(&[base.as_slice(), more].concat())
}

fn measured(context: &Context, more: &[&str]) -> Outcome {
    let outcome = run(context, more);
    assert_eq!(outcome.code, Some(0), "{more:?}: {outcome:#?}");
    outcome
}

fn lines(hub: &Recorder) -> Vec<String> {
    hub.requests()
        .into_iter()
        .map(|request| request.line)
        .collect()
}

const SOURCES: [&str; 2] = ["modelscope", "huggingface"];
const QUESTIONS: &[u8] = b"{\"question\": \"from the hub\"}\n";

#[test]
fn a_data_set_is_fetched_once() {
    let mut told = String::new();
    for source in SOURCES {
        let hub = hub(&[("open_qa.jsonl", QUESTIONS)]);
        let context = context(&hub);
        // `openqa` is the data set where none is named
        let outcome = measured(&context, &["--data-source", source]);
        assert_eq!(
            context.bodies()[0]["messages"][0]["content"],
            "from the hub"
        );
        assert!(
            outcome
                .stderr
                .contains("downloading open_qa.jsonl (29 bytes)"),
            "{}",
            outcome.stderr
        );
        let asked = lines(&hub);
        write!(told, "{source}\n  {}\n", asked.join("\n  ")).unwrap();

        let outcome = measured(&context, &["--data-source", source, "--dataset", "openqa"]);
        assert_eq!(lines(&hub), asked, "the second time nothing is asked for");
        assert!(!outcome.stderr.contains("fetching"), "{}", outcome.stderr);
        // and no hub is needed any more
        drop(hub);
        measured(&context, &["--data-source", source]);
    }
    insta::assert_snapshot!("asked_for_openqa", told);
}

/// Which names are asked for: they must be those that the hubs have.
#[test]
fn each_data_set_asks_for_its_own_files() {
    let png = bytes(PNG);
    let shard = tar(&[("a.png", &png), ("a.txt", b"a dot")]);
    let talk = br#"{"conversation": [{"human": "hi", "assistant": "ho"}]}"#;
    let parquet = include_bytes!("../../../workload/src/dataset/fixtures/images.parquet");
    let cases: [(&str, Stored<'_>); 5] = [
        (
            "longalpaca",
            &[
                (".gitattributes", b"x"),
                ("LongAlpaca-12k.json", b"[{\"instruction\": \"read this\"}]"),
                ("dataset_infos.json", b"{}"),
            ],
        ),
        ("share_gpt_zh", &[("common_zh_70k.jsonl", talk)]),
        ("share_gpt_en", &[("common_en_70k.jsonl", talk)]),
        (
            "flickr8k",
            &[
                ("test/0.tar", &shard),
                ("test/1.tar", &shard),
                ("train/0.tar", b"not this"),
                ("test/nshards.txt", b"2"),
            ],
        ),
        (
            "kontext_bench",
            &[
                ("data/test-00000-of-00001.parquet", parquet),
                ("README.md", b"x"),
            ],
        ),
    ];
    let mut told = String::new();
    for (dataset, files) in cases {
        for source in SOURCES {
            let hub = hub(files);
            let context = context(&hub);
            measured(&context, &["--data-source", source, "--dataset", dataset]);
            write!(told, "{dataset} {source}\n  {}\n", lines(&hub).join("\n  ")).unwrap();
        }
    }
    insta::assert_snapshot!("asked_for_each", told);
}

#[test]
fn a_dataset_in_folders_is_fetched_whole_or_one_of_them() {
    let art = include_bytes!("../../../../fixtures/hub/mmmu/Art/validation-00000-of-00001.parquet");
    let music =
        include_bytes!("../../../../fixtures/hub/mmmu/Music/validation-00000-of-00001.parquet");
    let files: Stored<'_> = &[
        ("Art/dev-00000-of-00001.parquet", b"not this"),
        ("Art/validation-00000-of-00001.parquet", art),
        ("Music/validation-00000-of-00001.parquet", music),
    ];
    let mut told = String::new();
    for (options, first) in [("{}", "Which of "), (r#"{"subset": "Music"}"#, "Compare ")] {
        for source in SOURCES {
            let hub = hub(files);
            let context = context(&hub);
            let dataset = ["--dataset", "mmmu_multi_image", "--dataset-args", options];
            measured(
                &context,
                &[&["--data-source", source], &dataset[..]].concat(),
            );
            let body = &context.bodies()[0];
            assert_eq!(body["messages"][0]["content"][0]["text"], first);
            write!(told, "{options} {source}\n  {}\n", lines(&hub).join("\n  ")).unwrap();
        }
    }
    insta::assert_snapshot!("asked_for_folders", told);
}

#[test]
fn a_tokenizer_is_fetched_by_its_id() {
    let text = tokenizer::json_text();
    let config = tokenizer::config(Some(tokenizer::CHATML));
    let random = [
        "--dataset",
        "random",
        "--seed",
        "7",
        "--tokenizer-path",
        "owner/name",
        "--min-prompt-length",
        "30",
        "--max-prompt-length",
        "30",
        "--seed",
        "1",
    ];
    let mut told = String::new();
    for source in SOURCES {
        let hub = hub(&[
            ("tokenizer.json", text.as_bytes()),
            ("tokenizer_config.json", config.as_bytes()),
        ]);
        let context = context(&hub);
        let args = [random.as_slice(), &["--data-source", source]].concat();
        measured(&context, &args);
        let prompt = context.bodies()[0]["messages"][0]["content"].clone();
        assert_eq!(tokenizer::chat_ids(prompt.as_str().unwrap()).len(), 30);
        write!(told, "{source}\n  {}\n", lines(&hub).join("\n  ")).unwrap();
        // what is there, and what the hub said it has not, is known without it
        drop(hub);
        measured(&context, &args);
        assert_eq!(context.bodies()[0]["messages"][0]["content"], prompt);
    }
    insta::assert_snapshot!("asked_for_tokenizer", told);

    // a template in a file of its own goes first
    let hub = hub(&[
        ("tokenizer.json", text.as_bytes()),
        ("tokenizer_config.json", config.as_bytes()),
        ("chat_template.jinja", b"{{ messages[0].content }}"),
    ]);
    let context = context(&hub);
    measured(&context, &random);
    let prompt = context.bodies()[0]["messages"][0]["content"].clone();
    assert_eq!(tokenizer::ids(prompt.as_str().unwrap()).len(), 30);
}

#[test]
fn nothing_is_fetched_that_is_not_needed() {
    let hub = hub(&[]);
    let context = context(&hub);
    context.write("qa.jsonl", "{\"question\": \"mine\"}\n");
    let folder = tokenizer::in_folder(&context);
    for more in [
        &["--dataset", "sample"] as &[&str],
        &["--prompt", "p"],
        &["--dataset", "openqa", "--dataset-path", "qa.jsonl"],
        &["--dataset", "sample", "--tokenizer-path", &folder],
        &["--dataset", "sample", "--tokenizer-path", "tokenizer"],
        &[
            "--dataset",
            "speed_benchmark",
            "--data-source",
            "huggingface",
        ],
    ] {
        measured(&context, more);
        assert!(lines(&hub).is_empty(), "{more:?}: {:?}", lines(&hub));
    }
    assert!(
        !context.path().join(CACHE).exists(),
        "not even a cache is made"
    );
}

/// A mirror is named by its variable alone, as Hugging Face's own tools have it.
#[test]
fn the_hub_follows_from_the_variables() {
    let hub = hub(&[("open_qa.jsonl", QUESTIONS)]);
    let url = format!("http://{}", hub.address());
    let asked = |context: &Context, more: &[&str]| {
        let before = hub.requests().len();
        measured(context, more);
        let lines = lines(&hub);
        lines[before..].join(" ").contains("/api/v1/")
    };
    let both = || context(&hub);
    assert!(!asked(&both(), &[]), "HF_ENDPOINT is set: Hugging Face");
    assert!(asked(&both(), &["--data-source", "modelscope"]));
    let only = Context::new()
        .with_env("MODELSCOPE_ENDPOINT", &url)
        .with_env("HF_ENDPOINT", "");
    assert!(asked(&only, &[]), "else ModelScope");
}

/// The end of stderr, from the error on.
fn error(outcome: &Outcome) -> String {
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let at = outcome.stderr.find("error: ");
    outcome.stderr[at.unwrap_or_else(|| panic!("{outcome:#?}"))..].to_owned()
}

#[test]
fn what_to_do_without_a_hub_is_said() {
    let mut told = String::new();
    for (what, more) in [
        ("openqa", &[] as &[&str]),
        ("openqa of modelscope", &["--data-source", "modelscope"]),
        ("a set of several files", &["--dataset", "flickr8k"]),
        (
            "a tokenizer",
            &["--dataset", "random", "--tokenizer-path", "owner/name"],
        ),
        (
            "a tokenizer of modelscope",
            &[
                "--dataset",
                "sample",
                "--tokenizer-path",
                "owner/name",
                "--data-source",
                "modelscope",
            ],
        ),
        ("nothing may be fetched", &["--data-source", "local"]),
        (
            "nothing may be fetched: a tokenizer",
            &[
                "--dataset",
                "random",
                "--tokenizer-path",
                "owner/name",
                "--data-source",
                "local",
            ],
        ),
    ] {
        // nobody listens where the hubs are said to be
        let context = Context::new();
        let outcome = run(&context, more);
        write!(told, "{what}\n{}", error(&outcome)).unwrap();
        if !more.contains(&"local") && !more.contains(&"modelscope") {
            let context = Context::new().with_env("HF_HUB_OFFLINE", "1");
            let outcome = run(&context, more);
            write!(told, "{what}, HF_HUB_OFFLINE=1\n{}", error(&outcome)).unwrap();
        }
        told.push('\n');
    }
    insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true }, {
        insta::assert_snapshot!("without_a_hub", told);
    });
}

/// The place that the error names is where the file is then found.
#[test]
fn a_file_put_where_the_error_says_is_taken() {
    for source in SOURCES {
        let context = Context::new();
        let said = error(&run(&context, &["--data-source", source]));
        let place = said.split("put the file at ").nth(1).unwrap();
        let place = std::path::Path::new(place.split(',').next().unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, QUESTIONS).unwrap();
        measured(&context, &["--data-source", source]);
        assert_eq!(
            context.bodies()[0]["messages"][0]["content"],
            "from the hub"
        );
    }
}

#[test]
fn what_a_hub_refuses_is_said() {
    let mut told = String::new();
    let status = |status: &'static str| {
        Recorder::start(move |_, _| reply(status, "text/plain", "the hub says no"))
    };
    for source in SOURCES {
        let tokenizer = ["--dataset", "sample", "--tokenizer-path", "owner/name"];
        for (what, hub, more) in [
            ("no such file", hub(&[("other.txt", b"x")]), &[] as &[&str]),
            (
                "no fitting file",
                hub(&[("other.txt", b"x")]),
                &["--dataset", "flickr8k"],
            ),
            (
                "no tokenizer.json",
                hub(&[("vocab.json", b"{}")]),
                &tokenizer,
            ),
            (
                "broken tokenizer.json",
                hub(&[("tokenizer.json", b"{}")]),
                &tokenizer,
            ),
            ("no right", status("403 Forbidden"), &[]),
            ("no login", status("401 Unauthorized"), &tokenizer),
        ] {
            let context = context(&hub);
            let outcome = run(&context, &[more, &["--data-source", source]].concat());
            write!(told, "{source}: {what}\n{}\n", error(&outcome)).unwrap();
        }
    }
    insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true }, {
        insta::assert_snapshot!("refused_by_a_hub", told);
    });
}

#[test]
fn a_token_is_sent_to_the_hub_and_shown_nowhere() {
    const TOKEN: &str = "hf_secretOfTheTest";
    for (source, variable) in [
        ("huggingface", "HF_TOKEN"),
        ("modelscope", "MODELSCOPE_API_TOKEN"),
    ] {
        let hub = hub(&[("open_qa.jsonl", QUESTIONS)]);
        let context = context(&hub).with_env(variable, TOKEN);
        let outcome = measured(&context, &["--data-source", source, "--debug"]);
        no_secret_like(&context, &outcome, &[TOKEN]);
        let sent = hub
            .requests()
            .iter()
            .all(|request| format!("{request:?}").contains(TOKEN));
        assert!(sent, "{source}: {:#?}", hub.requests());

        // a hub that repeats what it refuses
        let echo = Recorder::start(|request, _| {
            reply(
                "403 Forbidden",
                "text/plain",
                &format!("no: {:?}", request.headers),
            )
        });
        let url = format!("http://{}", echo.address());
        let context = Context::new()
            .with_env("HF_ENDPOINT", &url)
            .with_env("MODELSCOPE_ENDPOINT", &url)
            .with_env(variable, TOKEN);
        let outcome = run(&context, &["--data-source", source]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        no_secret_like(&context, &outcome, &[TOKEN]);
    }
}

#[cfg(unix)]
#[test]
fn a_download_can_be_interrupted_and_goes_on_later() {
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::sys::signal::Signal;

    static SLOW: AtomicBool = AtomicBool::new(true);
    let blanks = vec![b' '; 100_000];
    let whole = [QUESTIONS, &blanks, b"\n"].concat();
    let stored = whole.clone();
    let hub = Recorder::start(move |request, _| {
        let from = request.header("range").map_or(0, |range| {
            let from = range.trim_start_matches("bytes=").trim_end_matches('-');
            from.parse::<usize>().unwrap()
        });
        let (until, status) = if SLOW.load(Ordering::Acquire) {
            // half of it, and then silence
            (stored.len() / 2, "200 OK".to_owned())
        } else {
            let total = stored.len();
            let range = format!(
                "206 Partial Content\r\ncontent-range: bytes {from}-{}/{total}",
                total - 1
            );
            (
                total,
                if from == 0 {
                    "200 OK".to_owned()
                } else {
                    range
                },
            )
        };
        let length = stored.len() - from;
        let head = format!("HTTP/1.1 {status}\r\netag: \"e\"\r\ncontent-length: {length}\r\n\r\n");
        [head.as_bytes(), &stored[from..until]].concat()
    });
    let context = context(&hub);
    // the server that would be measured is never reached
    let running = context.start(&["--model", "m", "--data-source", "huggingface"]);
    let partial = |context: &Context| {
        let cached = context.files().into_iter();
        let mut large =
            cached.filter(|(name, bytes)| name.starts_with(CACHE) && bytes.len() > 40_000);
        large.next()
    };
    crate::context::wait_for("half of the file", || partial(&context));
    running.signal(Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("stopped before any load was sent"),
        "{}",
        outcome.stderr
    );
    assert!(
        !context.path().join("outputs").exists(),
        "nothing was begun"
    );
    let kept = partial(&context).expect("what has arrived is kept");
    assert_eq!(kept.1, whole[..kept.1.len()]);

    SLOW.store(false, Ordering::Release);
    let before = hub.requests().len();
    measured(&context, &["--data-source", "huggingface"]);
    let rest = hub.requests()[before..]
        .iter()
        .find_map(|request| request.header("range").map(str::to_owned));
    assert_eq!(
        rest,
        Some(format!("bytes={}-", kept.1.len())),
        "only the rest"
    );
    let file = context.files().into_iter();
    let mut file = file.filter(|(name, _)| name.ends_with("/open_qa.jsonl"));
    assert_eq!(file.next().unwrap().1, whole);
}
