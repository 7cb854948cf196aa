//! Data sets that lie on the disk, in each of their forms: what becomes of them on the wire.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evalscope_sim::{SimConfig, Simulator};
use serde_json::{Value, json};

use crate::context::{Context, Outcome};
use crate::server::{Recorder, good};
use crate::tokenizer;

/// A PNG of one red pixel.
pub(crate) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
/// A GIF of one pixel.
const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

pub(crate) fn bytes(encoded: &str) -> Vec<u8> {
    STANDARD.decode(encoded).unwrap()
}

/// Write a file, with the folders it is in.
pub(crate) fn put(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A tar in the oldest form, which every reader knows.
pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in members {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        for (at, field) in [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0")] {
            header[at..at + 8].copy_from_slice(field.as_bytes());
        }
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = b'0';
        // the sum is made with blanks in its own place
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// The messages of a run over a data set of this folder, from a simulator that looks at images.
fn messages(context: &Context, dataset: &str, path: &str, number: &str) -> Vec<Value> {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let url = simulator.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--dataset",
        dataset,
        "--dataset-path",
        path,
        "--number",
        number,
        "--max-tokens",
        "2",
    ]);
    let counts = &context.result()["runs"][0]["counts"];
    assert_eq!(counts["failed"], 0, "{dataset}: {counts}");
    let bodies = context.bodies();
    bodies.iter().map(|body| body["messages"].clone()).collect()
}

#[test]
fn conversations_are_sent_with_their_history_up_to_the_last_question() {
    let lines = [
        json!({"conversation_id": "1", "conversation": [
            {"human": "what is a?", "assistant": "a is a letter"},
            {"human": "and b?", "assistant": "another"},
        ]}),
        json!({"conversation": [{"human": "你好", "assistant": "你好！"}]}),
    ]
    .map(|line| line.to_string())
    .join("\n");
    for (dataset, file) in [
        ("share_gpt_en", "common_en_70k.jsonl"),
        ("share_gpt_zh", "common_zh_70k.jsonl"),
    ] {
        // the file, or the folder that a hub's tool has filled
        for path in [file, "."] {
            let context = Context::new();
            context.write(file, &lines);
            assert_eq!(
                messages(&context, dataset, path, "2"),
                [
                    json!([
                        {"role": "user", "content": "what is a?"},
                        {"role": "assistant", "content": "a is a letter"},
                        {"role": "user", "content": "and b?"},
                    ]),
                    json!([{"role": "user", "content": "你好"}]),
                ],
                "{dataset} {path}"
            );
        }
    }
}

#[test]
fn conversations_are_one_text_for_a_server_that_completes_texts() {
    let context = Context::new();
    let line = json!({"conversation": [{"human": "a?", "assistant": "b"}, {"human": "and c?"}]});
    context.write("common_en_70k.jsonl", &line.to_string());
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let url = format!("http://{}/v1/completions", simulator.addr());
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--dataset",
        "share_gpt_en",
        "--dataset-path",
        ".",
        "--number",
        "1",
    ]);
    assert_eq!(context.bodies()[0]["prompt"], "a?\nb\nand c?");
}

/// A message of a text and an image.
fn with_image(text: &str, mime: &str, encoded: &str) -> Value {
    json!([{"role": "user", "content": [
        {"type": "text", "text": text},
        {"type": "image_url", "image_url": {"url": format!("data:{mime};base64,{encoded}")}},
    ]}])
}

#[test]
fn photographs_come_from_folders_lists_and_shards() {
    let wanted = [
        with_image("a red dot", "image/png", PNG),
        with_image("一只猫", "image/gif", GIF),
    ];
    let (png, gif) = (bytes(PNG), bytes(GIF));
    let folder: &[(&str, &[u8])] = &[
        ("set/1.png", &png),
        ("set/1.txt", b"a red dot"),
        ("set/2.gif", &gif),
        ("set/2.txt", "一只猫".as_bytes()),
    ];
    let listed = [
        json!({"file_name": "x/red.png", "text": "a red dot"}),
        json!({"file_name": "cat.gif", "text": "一只猫"}),
    ]
    .map(|line| line.to_string())
    .join("\n");
    let list: &[(&str, &[u8])] = &[
        ("set/metadata.jsonl", listed.as_bytes()),
        ("set/x/red.png", &png),
        ("set/cat.gif", &gif),
    ];
    let first = tar(&[("s0.png", &png), ("s0.txt", b"a red dot")]);
    let second = tar(&[("s1.txt", "一只猫".as_bytes()), ("s1.gif", &gif)]);
    let shards: &[(&str, &[u8])] = &[("set/test/0.tar", &first), ("set/test/1.tar", &second)];
    for (form, files) in [("folder", folder), ("list", list), ("shards", shards)] {
        let context = Context::new();
        for (name, content) in files {
            put(context.path(), name, content);
        }
        assert_eq!(messages(&context, "flickr8k", "set", "2"), wanted, "{form}");
    }
    let context = Context::new();
    put(context.path(), "one.tar", &second);
    assert_eq!(messages(&context, "flickr8k", "one.tar", "1"), wanted[1..]);
}

/// The file was written by another library than the one that reads it.
#[test]
fn images_with_instructions_come_from_parquet() {
    let context = Context::new();
    let fixture = include_bytes!("../../../workload/src/dataset/fixtures/images.parquet");
    put(context.path(), "data/test-00000-of-00001.parquet", fixture);
    for path in ["data", "data/test-00000-of-00001.parquet"] {
        let messages = messages(&context, "kontext_bench", path, "3");
        let wanted = ["Make it blue", "Describe the image", "变成黑白"];
        for (message, text) in messages.iter().zip(wanted) {
            let parts = message[0]["content"].as_array().unwrap();
            assert_eq!((parts.len(), parts[0]["text"].as_str()), (2, Some(text)));
            let url = parts[1]["image_url"]["url"].as_str().unwrap();
            assert!(url.starts_with("data:image/png;base64,"), "{url}");
        }
        std::fs::remove_dir_all(context.path().join("outputs")).unwrap();
    }
}

#[test]
fn a_image_without_an_instruction_is_to_be_described() {
    let context = Context::new();
    put(context.path(), "set/1.png", &bytes(PNG));
    let wanted = [with_image("Describe the image", "image/png", PNG)];
    assert_eq!(messages(&context, "kontext_bench", "set", "1"), wanted);
}

#[test]
fn the_speed_benchmark_sends_plain_prompts_of_its_lengths_once() {
    for (dataset, lengths) in [
        (
            "speed_benchmark",
            vec![1, 1, 6144, 6144, 14336, 14336, 30720, 30720],
        ),
        ("speed_benchmark_long", vec![63488, 63488, 129_024, 129_024]),
    ] {
        for path in ["/v1/chat/completions", "/v1/completions", ""] {
            let server = Recorder::start(|request, _| good(request));
            let url = format!("http://{}{path}", server.address());
            let context = Context::new();
            // limits of length are for other sets: these lengths are the measurement
            let outcome = context.measure(&[
                "--url",
                &url,
                "--model",
                "m",
                "--dataset",
                dataset,
                "--max-prompt-length",
                "100",
            ]);
            let said = format!(
                "`--dataset {dataset}` sends plain prompts: requests go to http://{}/v1/completions",
                server.address()
            );
            assert_eq!(
                outcome.stderr.contains(&said),
                path != "/v1/completions",
                "{path}: {}",
                outcome.stderr
            );
            let requests = server.requests();
            assert!(
                requests
                    .iter()
                    .all(|request| request.line == "POST /v1/completions HTTP/1.1")
            );
            let sent: Vec<usize> = context
                .bodies()
                .iter()
                .map(|body| body["prompt"].as_str().unwrap().chars().count())
                .collect();
            assert_eq!(sent, lengths, "{dataset} {path}");
            // the test request is one more
            assert_eq!(requests.len(), lengths.len() + 1);
        }
    }
}

/// Plain prompts are plain as ids, too, and a tokenizer leaves none of them out.
#[test]
fn the_speed_benchmark_can_be_sent_as_ids() {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    context.measure(&[
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "speed_benchmark",
        "--tokenizer-path",
        &folder,
        "--tokenize-prompt",
    ]);
    let bodies = context.bodies();
    assert_eq!(bodies.len(), 8);
    assert_eq!(bodies[0]["prompt"], json!(tokenizer::ids("熵")));
}

/// A number that is given counts, and each point of a sweep is a whole round.
#[test]
fn the_speed_benchmark_can_be_sent_in_part_and_in_a_sweep() {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let base = [
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "speed_benchmark",
    ];
    let context = Context::new();
    context.measure(&[base.as_slice(), &["--number", "3"]].concat());
    assert_eq!(context.bodies().len(), 3);

    let context = Context::new();
    let sweep = ["--parallel", "1", "2", "--sleep-interval", "0"];
    context.measure(&[base.as_slice(), &sweep].concat());
    let result = context.result();
    let runs = result["runs"].as_array().unwrap();
    let counts: Vec<&Value> = runs.iter().map(|run| &run["counts"]["succeeded"]).collect();
    assert_eq!(counts, [8, 8]);
}

/// Images are estimated where the server tells nothing.
#[test]
fn images_count_by_their_squares_where_the_server_tells_nothing() {
    for (patch, squares) in [("28", 4), ("14", 16)] {
        let context = Context::new();
        let folder = tokenizer::in_folder(&context);
        let simulator = Simulator::start(SimConfig {
            faults: vec![evalscope_sim::FaultRule::always(
                evalscope_sim::Fault::NoUsage,
            )],
            ..SimConfig::default()
        })
        .unwrap();
        let url = simulator.url();
        context.measure(&[
            "--url",
            &url,
            "--model",
            "sim",
            "--dataset",
            "random_vl",
            "--tokenizer-path",
            &folder,
            "--min-prompt-length",
            "30",
            "--max-prompt-length",
            "30",
            "--image-width",
            "56",
            "--image-height",
            "56",
            "--image-patch-size",
            patch,
            "--number",
            "2",
            "--max-tokens",
            "2",
        ]);
        let counted = context.column::<i64>("SELECT prompt_tokens FROM result");
        assert_eq!(counted, [30 + squares; 2]);
    }
}

/// What a command over a file sends to the simulator it starts.
fn over(context: &Context, dataset: &[&str], more: &[&str]) -> Outcome {
    let base = ["--api", "local_sim", "--max-tokens", "2"];
    context.measure(&[base.as_slice(), dataset, more].concat())
}

/// The texts of the last message of each body.
fn last_texts(context: &Context) -> Vec<String> {
    let text = |body: &Value| {
        let messages = body["messages"].as_array().unwrap();
        messages.last().unwrap()["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    context.bodies().iter().map(text).collect()
}

#[test]
fn every_common_form_of_sharegpt_is_sent() {
    let turns = [
        json!([{"human": "what is a?", "assistant": "a letter"}, {"human": "and b?", "assistant": "x"}]),
        json!([{"from": "human", "value": "what is a?"}, {"from": "gpt", "value": "a letter"},
               {"from": "human", "value": "and b?"}, {"from": "gpt", "value": "x"}]),
    ];
    for turns in &turns {
        for field in ["conversation", "conversations"] {
            let item = json!({"id": "1", field: turns});
            for file in [item.to_string(), json!([item]).to_string()] {
                let context = Context::new();
                context.write("talks", &file);
                assert_eq!(
                    messages(&context, "share_gpt_en", "talks", "1"),
                    [json!([
                        {"role": "user", "content": "what is a?"},
                        {"role": "assistant", "content": "a letter"},
                        {"role": "user", "content": "and b?"},
                    ])],
                    "{file}"
                );
            }
        }
    }
}

#[test]
fn files_of_ones_own_are_read_by_a_field() {
    for (name, file) in [
        (
            "own.json",
            "[{\"text\": \"one\"},\n {\"text\": \"two, or\\nmore\"}]",
        ),
        (
            "own.jsonl",
            "{\"text\": \"one\"}\n{\"text\": \"two, or\\nmore\"}\n",
        ),
        (
            "own.csv",
            "\u{feff}id,text\r\n1,one\r\n2,\"two, or\nmore\"\r\n",
        ),
        ("own.tsv", "id\ttext\n1\tone\n2\t\"two, or\nmore\"\n"),
    ] {
        // the name of the data set may be left out
        for dataset in [&["--dataset", "custom"] as &[&str], &[]] {
            let context = Context::new();
            context.write(name, file);
            let field = [
                "--dataset-path",
                name,
                "--prompt-field",
                "text",
                "--number",
                "2",
            ];
            over(&context, dataset, &field);
            assert_eq!(last_texts(&context), ["one", "two, or\nmore"], "{name}");
            assert_eq!(context.result()["runs"][0]["dataset"], "custom");
        }
    }
    let context = Context::new();
    let fixture = include_bytes!("../../../workload/src/dataset/fixtures/images.parquet");
    put(context.path(), "own.parquet", fixture);
    let field = [
        "--dataset-path",
        "own.parquet",
        "--prompt-field",
        "instruction",
    ];
    let outcome = context.perf(&[&["--api", "local_sim"], field.as_slice()].concat());
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("own.parquet, row 2: no string field `instruction`"),
        "{outcome:#?}"
    );
    over(&context, &field, &["--skip-bad-lines", "--number", "2"]);
    assert_eq!(last_texts(&context), ["Make it blue", "变成黑白"]);
}

#[test]
fn lines_of_custom_are_texts_whatever_they_look_like() {
    let context = Context::new();
    context.write("lines", "\u{feff} one \r\n\n{\"prompt\": 2}\n[3]\n");
    let lines = ["--dataset", "custom", "--dataset-path", "lines"];
    over(&context, &lines, &["--number", "3"]);
    assert_eq!(last_texts(&context), ["one", "{\"prompt\": 2}", "[3]"]);
}

#[test]
fn lists_of_openqa_and_of_lines_are_read_too() {
    let context = Context::new();
    context.write(
        "list",
        "[\n {\"question\": \"a\"},\n {\"question\": \"b\"}\n]\n",
    );
    over(&context, &["--dataset-path", "list"], &["--number", "2"]);
    assert_eq!(last_texts(&context), ["a", "b"]);
    let context = Context::new();
    let file = json!(["a", [{"role": "user", "content": "b"}], {"messages": [{"role": "user", "content": "c"}]}]);
    context.write("list", &file.to_string());
    let list = ["--dataset", "line_by_line", "--dataset-path", "list"];
    over(&context, &list, &["--number", "3"]);
    assert_eq!(last_texts(&context), ["a", "b", "c"]);
}

/// A file is read through first: nothing is sent where a line is not what it must be, and the
/// whole of it is told.
#[test]
fn a_bad_line_is_found_before_anything_is_sent() {
    let context = Context::new();
    context.write(
        "lines",
        "{\"question\": \"a\"}\n{\"question\": \" \"}\n{\"quest\n{\"q\": 1}\n{\"question\": \"b\"}\n",
    );
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let base = [
        "--url",
        &url,
        "--model",
        "m",
        "--dataset-path",
        "lines",
        "--number",
        "1",
    ];
    let outcome = context.perf(&base);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let said = "error: 2 items of the dataset openqa cannot be used:\n  lines, line 3: not JSON: EOF while parsing a string at column 7\n";
    assert!(outcome.stderr.contains(said), "{outcome:#?}");
    assert!(server.requests().is_empty());
    assert!(!context.path().join("outputs").exists());

    let outcome = context.measure(&[base.as_slice(), &["--skip-bad-lines"]].concat());
    let said = "the dataset `openqa` has 2 prompts; left out: 1 blank, 2 unreadable\n";
    assert!(outcome.stderr.contains(said), "{outcome:#?}");
    let result = context.result();
    let warnings = result["runs"][0]["warnings"].to_string();
    let said =
        "`--skip-bad-lines` skipped 2 items of the dataset `openqa`; the first: lines, line 3";
    assert!(warnings.contains(said), "{warnings}");
    assert_eq!(result["settings"]["skip_bad_lines"], true);
}

#[test]
fn a_prompt_of_ones_own_is_sent_as_long_as_it_is() {
    let context = Context::new();
    let long = "long ".repeat(40_000);
    context.write("long", &format!("\u{feff}{long}"));
    over(
        &context,
        &["--prompt", "@long"],
        &["--number", "1", "--max-prompt-length", "10"],
    );
    // and without the mark that an editor has put before it
    assert_eq!(last_texts(&context), [long]);
}

#[test]
fn built_in_prompts_last_for_a_thousand_requests() {
    let context = Context::new();
    let outcome = over(
        &context,
        &["--dataset", "sample"],
        &["--parallel", "8", "--number", "1000"],
    );
    assert!(
        !outcome.stderr.contains("it was started over"),
        "{outcome:#?}"
    );
    let distinct: std::collections::BTreeSet<String> = last_texts(&context).into_iter().collect();
    assert_eq!(distinct.len(), 1000);
}

#[test]
fn flags_that_do_nothing_are_told() {
    let context = Context::new();
    context.write("lines", "a\n");
    let idle = [
        "--prefix-length",
        "3",
        "--image-format",
        "XYZ",
        "--dataset-path",
        "lines",
        "--skip-bad-lines",
        "--number",
        "1",
    ];
    let outcome = over(&context, &["--dataset", "sample"], &idle);
    for flag in [
        "--prefix-length",
        "--image-format",
        "--dataset-path",
        "--skip-bad-lines",
    ] {
        let said = format!("`{flag}` has no effect");
        assert!(outcome.stderr.contains(&said), "{flag}: {outcome:#?}");
    }
}
