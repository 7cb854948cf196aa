//! What is said to a command whose tokenizer, data set or mixture of flags cannot work: before
//! anything is sent, and with what can be done.

use std::os::unix::fs::symlink;

use crate::command_line::told;
use crate::context::{Context, FILTERS};
use crate::datasets::{PNG, bytes, put, tar};
use crate::server::{Recorder, good};
use crate::tokenizer::{self, CHATML};

/// What several commands lead to, as one text.
fn said(context: &Context, lines: &[Vec<&str>]) -> String {
    let lines: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| [&["perf", "--model", "m"], line.as_slice()].concat())
        .collect();
    let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
    told(context, &lines).replace("evalscope perf --model m ", "… ")
}

macro_rules! said_snapshot {
    ($name:expr, $context:expr, $lines:expr) => {
        let told = said(&$context, $lines);
        assert!(
            !told.contains("[exit code 0]") && !told.contains("[exit code 1]"),
            "found before anything is sent: {told}"
        );
        insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true }, {
            insta::assert_snapshot!($name, told);
        });
        assert!(
            !$context.path().join("outputs").exists(),
            "a wrong command leaves nothing behind"
        );
    };
}

const PLAIN_URL: [&str; 2] = ["--url", "http://127.0.0.1:9/v1/completions"];

#[test]
fn flags_that_do_not_go_together() {
    let context = Context::new();
    tokenizer::in_folder(&context);
    let tokenizer = ["--tokenizer-path", "tokenizer"];
    let with = |parts: &[&[&'static str]]| parts.concat();
    let random = ["--dataset", "random"];
    let images = ["--dataset", "random_vl"];
    let ids = ["--tokenize-prompt"];
    let dashscope = ["--api", "dashscope"];
    said_snapshot!(
        "flags",
        context,
        &[
            with(&[&random]),
            with(&[&images]),
            with(&[&["--dataset", "sample"], &ids]),
            with(&[&images, &tokenizer, &ids]),
            with(&[&["--dataset", "flickr8k"], &tokenizer, &ids]),
            with(&[&["--dataset", "flickr8k"], &tokenizer, &ids, &PLAIN_URL]),
            with(&[&random, &tokenizer, &ids, &dashscope]),
            with(&[&random, &tokenizer, &ids, &["--api", "zhipu"]]),
            with(&[&["--dataset", "speed_benchmark"], &dashscope]),
            with(&[&images, &tokenizer, &PLAIN_URL]),
            with(&[&["--dataset", "flickr8k"], &PLAIN_URL]),
            with(&[
                &["--dataset", "kontext_bench"],
                &["--no-apply-chat-template"]
            ]),
            with(&[&["--dataset", "openqa"], &["--data-source", "local"]]),
            with(&[&["--dataset", "flickr8k"], &["--data-source", "local"]]),
            with(&[&["--data-source", "nowhere"]]),
            // the template alone takes more
            with(&[&random, &tokenizer, &["--max-prompt-length", "5"]]),
            with(&[&images, &tokenizer, &["--max-prompt-length", "5"]]),
            with(&[
                &random,
                &tokenizer,
                &["--max-prompt-length", "1"],
                &PLAIN_URL
            ]),
            with(&[&random, &tokenizer, &ids, &["--max-prompt-length", "0"]]),
            with(&[&images, &tokenizer, &["--image-format", "CMYK"]]),
            with(&[&images, &tokenizer, &["--image-width", "0"]]),
            with(&[&images, &tokenizer, &["--image-height", "20000"]]),
            with(&[&images, &tokenizer, &["--image-patch-size", "0"]]),
        ]
    );
}

#[test]
fn tokenizers_that_are_none() {
    let context = Context::new();
    let folder = context.path();
    put(folder, "empty/readme.txt", b"x");
    put(folder, "sentencepiece/tokenizer.model", b"x");
    put(folder, "broken/tokenizer.json", b"{");
    put(folder, "other/tokenizer.json", b"{\"a\": 1}");
    tokenizer::write(&folder.join("no_template"), None);
    tokenizer::write(&folder.join("wrong_template"), Some("{% if %}"));
    let raising = "{{ raise_exception('the conversation must begin with a system message') }}";
    tokenizer::write(&folder.join("raising"), Some(raising));
    tokenizer::write(&folder.join("wrong_config"), Some(CHATML));
    put(folder, "wrong_config/tokenizer_config.json", b"{]");
    tokenizer::write(&folder.join("listed_config"), Some(CHATML));
    put(folder, "listed_config/tokenizer_config.json", b"[1]");
    tokenizer::write(&folder.join("number_template"), None);
    let five = br#"{"chat_template": 5}"#;
    put(folder, "number_template/tokenizer_config.json", five);
    tokenizer::write(&folder.join("looped"), Some(CHATML));
    std::fs::remove_file(folder.join("looped/tokenizer.json")).unwrap();
    symlink("tokenizer.json", folder.join("looped/tokenizer.json")).unwrap();
    tokenizer::write(&folder.join("dangling"), None);
    symlink("../gone", folder.join("dangling/chat_template.jinja")).unwrap();
    for (name, template) in [
        ("deaf", "[INST] hello [/INST]"),
        (
            "twice",
            "{{ messages[0].content }} / {{ messages[0].content }}",
        ),
        ("cutting", "{{ messages[0].content[:2000] }}"),
    ] {
        tokenizer::write(&folder.join(name), Some(template));
    }
    let turn = br#"{"conversation": [{"human": "hi", "assistant": "ho"}]}"#;
    put(folder, "talk.jsonl", turn);
    let with = |dataset: &[&'static str], tokenizer: &'static str, more: &[&'static str]| {
        [dataset, &["--tokenizer-path", tokenizer], more].concat()
    };
    let random = ["--dataset", "random"];
    let sample = ["--dataset", "sample"];
    let talk = ["--dataset", "share_gpt_en", "--dataset-path", "talk.jsonl"];
    said_snapshot!(
        "tokenizers",
        context,
        &[
            with(&random, "./nowhere", &[]),
            with(&random, "nowhere", &[]),
            with(&random, "empty", &[]),
            with(&sample, "sentencepiece", &[]),
            with(&sample, "broken", &[]),
            with(&sample, "other/tokenizer.json", &[]),
            with(&sample, "talk.jsonl", &[]),
            with(&sample, "wrong_template", &[]),
            with(&sample, "wrong_config", &[]),
            with(&sample, "listed_config", &[]),
            with(&sample, "number_template", &[]),
            with(&sample, "looped", &[]),
            with(&sample, "dangling", &[]),
            // no template
            with(&random, "no_template", &[]),
            with(&["--dataset", "random_vl"], "no_template", &[]),
            with(&sample, "no_template", &["--tokenize-prompt"]),
            // one that refuses what it is given
            with(&random, "raising", &[]),
            with(&sample, "raising", &["--tokenize-prompt"]),
            with(&sample, "raising", &["--min-prompt-length", "2"]),
            with(&talk, "raising", &["--max-prompt-length", "100"]),
            // ones that lose what they are given
            with(&random, "deaf", &[]),
            with(&["--dataset", "random_vl"], "twice", &[]),
            with(&random, "cutting", &[]),
        ]
    );
}

/// Without a template a conversation is as long as its texts. One that refuses everything is no
/// hindrance where nobody asked for lengths: the tokenizer still counts the answers.
#[test]
fn conversations_have_a_length_without_a_template() {
    let context = Context::new();
    tokenizer::write(&context.path().join("no_template"), None);
    let raising = Some("{{ raise_exception('no') }}");
    tokenizer::write(&context.path().join("raising"), raising);
    context.write(
        "talk.jsonl",
        r#"{"conversation": [{"human": "the the the", "assistant": "the the"}, {"human": "the"}]}"#,
    );
    for more in [
        &[
            "no_template",
            "--min-prompt-length",
            "5",
            "--max-prompt-length",
            "12",
        ] as &[&str],
        &["raising"],
    ] {
        let server = Recorder::start(|request, _| good(request));
        let url = server.url();
        let base = [
            "--url",
            &url,
            "--model",
            "m",
            "--dataset",
            "share_gpt_en",
            "--dataset-path",
            "talk.jsonl",
            "--number",
            "1",
            "--tokenizer-path",
        ];
        let _ = std::fs::remove_dir_all(context.path().join("outputs"));
        context.measure(&[base.as_slice(), more].concat());
        let messages = context.bodies()[0]["messages"].clone();
        assert_eq!(messages.as_array().unwrap().len(), 3);
        let counted = context.column::<Option<i64>>("SELECT counted_completion_tokens FROM result");
        assert!(counted[0].is_some());
    }
}

#[test]
fn files_that_hold_something_else() {
    let context = Context::new();
    let folder = context.path();
    put(folder, "list.jsonl", b"{\"conversations\": []}\n");
    put(
        folder,
        "turn.jsonl",
        b"{\"conversation\": [{\"human\": 1}]}\n",
    );
    put(folder, "cut.jsonl", b"{\"conversation\": [{\"hum\n");
    put(folder, "silent.jsonl", b"{\"conversation\": []}\n");
    put(folder, "alpaca.jsonl", b"{\"instruction\": \"x\n");
    put(
        folder,
        "zstd.parquet",
        include_bytes!("../../../workload/src/dataset/fixtures/zstd.parquet"),
    );
    put(
        folder,
        "images.parquet",
        include_bytes!("../../../workload/src/dataset/fixtures/images.parquet"),
    );
    put(folder, "broken.parquet", b"PAR1 and no more PAR1");
    put(folder, "text.png", b"no image at all");
    put(folder, "fake/1.png", b"no image at all");
    put(folder, "fake/1.txt", b"text");
    put(folder, "silent/1.png", &bytes(PNG));
    put(folder, "none/readme.md", b"x");
    std::fs::create_dir(folder.join("vacant")).unwrap();
    put(
        folder,
        "listed/metadata.jsonl",
        b"{\"file_name\": \"gone.png\", \"text\": \"x\"}\n",
    );
    put(
        folder,
        "outside/metadata.jsonl",
        b"{\"file_name\": \"../text.png\", \"text\": \"x\"}\n",
    );
    put(folder, "unnamed/metadata.jsonl", b"{\"text\": \"x\"}\n");
    let png = bytes(PNG);
    let whole = tar(&[("1.png", &png), ("1.txt", b"x")]);
    put(folder, "cut.tar", &whole[..600]);
    put(folder, "alone.tar", &tar(&[("1.txt", b"x")]));
    put(folder, "noise.tar", &[b'x'; 2048]);
    let with = |dataset: &'static str, path: &'static str| {
        vec!["--dataset", dataset, "--dataset-path", path]
    };
    said_snapshot!(
        "files",
        context,
        &[
            with("share_gpt_en", "list.jsonl"),
            with("share_gpt_zh", "turn.jsonl"),
            with("share_gpt_zh", "cut.jsonl"),
            with("share_gpt_zh", "silent.jsonl"),
            with("share_gpt_zh", "missing.jsonl"),
            with("share_gpt_zh", "."),
            with("longalpaca", "alpaca.jsonl"),
            with("longalpaca", "images.parquet.gone"),
            with("longalpaca", "zstd.parquet"),
            with("longalpaca", "broken.parquet"),
            with("longalpaca", "silent"),
            with("share_gpt_en", "vacant"),
            with("longalpaca", "vacant"),
            with("openqa", "zstd.parquet"),
            with("flickr8k", "text.png"),
            with("flickr8k", "fake"),
            with("flickr8k", "silent"),
            with("flickr8k", "none"),
            with("flickr8k", "gone"),
            with("flickr8k", "listed"),
            with("flickr8k", "outside"),
            with("flickr8k", "unnamed"),
            with("flickr8k", "cut.tar"),
            with("flickr8k", "alone.tar"),
            with("flickr8k", "noise.tar"),
            with("kontext_bench", "zstd.parquet"),
            with("kontext_bench", "broken.parquet"),
            with("kontext_bench", "fake"),
        ]
    );
}
