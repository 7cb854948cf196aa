//! Random prompts: that the server counts what was asked for, what prompts of a run, of a sweep and
//! of two commands have in common, ids in place of text, and images.
//!
//! The server here counts with code of its own.

use base64::Engine as _;
use evalscope_sim::{SimConfig, Simulator};
use serde_json::Value;

use crate::context::{Context, Outcome, bodies, json, open};
use crate::tokenizer;

/// A server with the tokenizer of the folder.
fn simulator(folder: &str) -> Simulator {
    Simulator::start(SimConfig {
        tokenizer: Some(folder.into()),
        ..SimConfig::default()
    })
    .unwrap()
}

/// A run of short random prompts against a server with the same tokenizer.
fn measure(context: &Context, path: &str, more: &[&str]) -> Outcome {
    let folder = tokenizer::in_folder(context);
    let simulator = simulator(&folder);
    let url = format!("http://{}{path}", simulator.addr());
    let base = [
        "--url",
        &url,
        "--model",
        "sim",
        "--tokenizer-path",
        &folder,
        "--max-tokens",
        "2",
        "--sleep-interval",
        "0",
    ];
    context.measure(&[&base, more].concat())
}

const CHAT: &str = "/v1/chat/completions";
const PLAIN: &str = "/v1/completions";

/// The prompts of bodies, whichever form they have.
fn prompts(bodies: &[Value]) -> Vec<String> {
    let prompt = |body: &Value| {
        let text = body["prompt"].as_str();
        let text = text.or_else(|| body["messages"][0]["content"].as_str());
        text.unwrap_or_else(|| panic!("{body}")).to_owned()
    };
    bodies.iter().map(prompt).collect()
}

/// How many tokens all of them begin with.
fn shared(prompts: &[String]) -> usize {
    let ids: Vec<Vec<u32>> = prompts.iter().map(|text| tokenizer::ids(text)).collect();
    let first = &ids[0];
    (0..first.len())
        .take_while(|at| ids.iter().all(|ids| ids.get(*at) == Some(&first[*at])))
        .count()
}

#[test]
fn the_server_counts_what_was_asked_for() {
    for (path, prefix, min, max) in [(CHAT, 12, 40, 90), (PLAIN, 12, 20, 60), (PLAIN, 0, 7, 7)] {
        let context = Context::new();
        let [prefix_text, min_text, max_text] = [prefix, min, max].map(|n: i64| n.to_string());
        let outcome = measure(
            &context,
            path,
            &[
                "--dataset",
                "random",
                "--number",
                "200",
                "--parallel",
                "8",
                "--prefix-length",
                &prefix_text,
                "--min-prompt-length",
                &min_text,
                "--max-prompt-length",
                &max_text,
            ],
        );
        let database = context.database();
        let query = "SELECT asked_prompt_tokens, prompt_tokens FROM result ORDER BY idx";
        let mut statement = database.prepare(query).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let counts: Vec<(i64, i64)> = rows.unwrap().map(Result::unwrap).collect();
        assert_eq!(counts.len(), 200);
        let equal = counts.iter().filter(|(asked, seen)| asked == seen).count();
        assert!(equal >= 198, "{path}: {equal} of 200");
        for (asked, seen) in &counts {
            assert!((asked - seen).abs() <= 1, "{path}: {asked} {seen}");
            assert!((prefix + min..=prefix + max).contains(asked), "{asked}");
        }
        let asked: std::collections::BTreeSet<i64> = counts.iter().map(|(n, _)| *n).collect();
        assert!(
            asked.len() > usize::try_from((max - min) / 2).unwrap(),
            "the range is drawn from: {asked:?}"
        );

        // that the bodies are what was counted, by a third count
        let texts = prompts(&bodies(&database));
        for (text, (_, seen)) in texts.iter().zip(&counts) {
            let ids = if path == CHAT {
                tokenizer::chat_ids(text)
            } else {
                tokenizer::plain_ids(text)
            };
            assert_eq!(i64::try_from(ids.len()).unwrap(), *seen, "{text:?}");
        }
        assert_eq!(
            i64::try_from(shared(&texts)).unwrap(),
            prefix,
            "one beginning for all"
        );

        let tokens = &context.result()["runs"][0]["tokens"];
        let lengths = &tokens["prompt_lengths"];
        assert_eq!(lengths["requests"], 200, "{tokens}");
        assert!(lengths["equal_share"].as_f64() >= Some(0.99), "{tokens}");
        let mean = counts.iter().map(|(_, seen)| *seen as f64).sum::<f64>() / 200.0;
        let told = lengths["server_mean_tokens"].as_f64().unwrap();
        assert!((mean - told).abs() < 1e-6, "{mean} {lengths}");
        assert!(
            outcome.stdout.contains("Prompt lengths: ")
                && outcome
                    .stdout
                    .replace('\n', " ")
                    .contains(&format!("{equal} of 200 exact")),
            "{}",
            outcome.stdout
        );
        let around = if path == CHAT {
            let of_template = tokenizer::chat_ids("a").len() - 1;
            format!("{of_template} of them from the chat template")
        } else {
            "1 of them special tokens".to_owned()
        };
        let said = format!("random prompts: {min} to {max} tokens, {around}");
        assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    }
}

/// Wherever a chat template stands in front of the model, also where the body has no messages.
#[test]
fn every_chat_api_counts_what_was_asked_for() {
    let text = "/api/v1/services/aigc/text-generation/generation";
    let multimodal = "/api/v1/services/aigc/multimodal-generation/generation";
    for (api, path, more) in [
        ("dashscope", text, ""),
        ("dashscope", text, "--no-apply-chat-template"),
        ("dashscope", multimodal, ""),
        ("dashscope", "/compatible-mode/v1/chat/completions", ""),
        ("zhipu", "/api/paas/v4/chat/completions", ""),
    ] {
        let context = Context::new();
        let lengths = ["--min-prompt-length", "30", "--max-prompt-length", "40"];
        let base = ["--api", api, "--dataset", "random", "--number", "10"];
        let more: Vec<&str> = more.split_whitespace().collect();
        measure(&context, path, &[base.as_slice(), &lengths, &more].concat());
        let query = "SELECT count(*) FROM result WHERE asked_prompt_tokens = prompt_tokens";
        assert_eq!(context.column::<i64>(query), [10], "{api} {path} {more:?}");
    }
}

/// A server that counts otherwise is not believed in silence.
#[test]
fn a_server_with_another_tokenizer_is_found_out() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    // four characters are a token
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let url = simulator.url();
    let outcome = context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--tokenizer-path",
        &folder,
        "--dataset",
        "random",
        "--number",
        "100",
        "--max-tokens",
        "2",
        "--min-prompt-length",
        "50",
        "--max-prompt-length",
        "60",
    ]);
    let lengths = &context.result()["runs"][0]["tokens"]["prompt_lengths"];
    assert!(lengths["equal_share"].as_f64() < Some(0.5), "{lengths}");
    assert!(
        outcome
            .stdout
            .replace("\n  ", " ")
            .replace('\n', " ")
            .contains("of the prompts do not have the length that was asked for"),
        "{}",
        outcome.stdout
    );
}

/// The prompts of both runs of a sweep.
fn sweep(more: &[&str]) -> [Vec<String>; 2] {
    let context = Context::new();
    let args = [
        "--dataset",
        "random",
        "--seed",
        "7",
        "--parallel",
        "1",
        "2",
        "--number",
        "20",
        "20",
        "--warmup-num",
        "3",
        "--prefix-length",
        "8",
        "--min-prompt-length",
        "30",
        "--max-prompt-length",
        "40",
    ];
    measure(&context, CHAT, &[&args, more].concat());
    ["parallel_1_number_20", "parallel_2_number_20"].map(|run| {
        let database = open(&context.top().join(run).join("benchmark_data.db"));
        prompts(&bodies(&database))
    })
}

#[test]
fn runs_of_a_sweep_share_nothing_unless_told_to() {
    let [first, second] = sweep(&[]);
    assert_eq!((shared(&first), shared(&second)), (8, 8));
    assert!(first.iter().all(|prompt| !second.contains(prompt)));
    let both = [first.clone(), second].concat();
    let distinct: std::collections::BTreeSet<&String> = both.iter().collect();
    assert_eq!(distinct.len(), 40);
    assert_eq!(shared(&both), 0, "not even the beginning is shared");

    let [again, same] = sweep(&["--repeat-prompts"]);
    assert_eq!(again, same);
    assert_eq!(again, first, "the first run is what it was");
}

/// Commands without a seed send prompts of their own, and say with which seed they can be had
/// again; the server is not told a seed that nobody has typed.
#[test]
fn without_a_seed_each_command_has_its_own_prompts() {
    let command = |more: &[&str]| {
        let context = Context::new();
        let args = [
            "--dataset",
            "random",
            "--number",
            "10",
            "--max-prompt-length",
            "50",
        ];
        let outcome = measure(&context, PLAIN, &[args.as_slice(), more].concat());
        let seed = context.result()["runs"][0]["load"]["seed"]
            .as_u64()
            .unwrap();
        let bodies = context.bodies();
        assert_eq!(bodies[0].get("seed").is_some(), !more.is_empty());
        (prompts(&bodies), seed, outcome.stderr)
    };
    let (first, seed, said) = command(&[]);
    let (second, other, _) = command(&[]);
    assert_ne!(first, second);
    assert_ne!(seed, other);
    assert!(
        said.contains(&format!("repeat this load with `--seed {seed}`")),
        "{said}"
    );
    let (again, same, said) = command(&["--seed", &seed.to_string()]);
    assert_eq!((again, same), (first, seed));
    assert!(!said.contains("random seed"), "{said}");
}

#[test]
fn a_seed_is_a_set_of_prompts() {
    let sent = |seed: &str| {
        let context = Context::new();
        let args = ["--dataset", "random", "--number", "10", "--seed", seed];
        let lengths = ["--min-prompt-length", "20", "--max-prompt-length", "40"];
        measure(&context, CHAT, &[args.as_slice(), &lengths].concat());
        context.bodies()
    };
    let one = sent("1");
    assert_eq!(one, sent("1"), "whole bodies are the same");
    let other = sent("2");
    let texts = prompts(&other);
    assert!(prompts(&one).iter().all(|text| !texts.contains(text)));
}

#[test]
fn ids_go_to_completions_and_are_as_many_as_asked() {
    let context = Context::new();
    let outcome = measure(
        &context,
        CHAT,
        &[
            "--dataset",
            "random",
            "--tokenize-prompt",
            "--number",
            "20",
            "--prefix-length",
            "4",
            "--min-prompt-length",
            "5",
            "--max-prompt-length",
            "9",
        ],
    );
    for where_from in [
        outcome.stderr.as_str(),
        &std::fs::read_to_string(context.top().join("benchmark.log")).unwrap(),
    ] {
        assert!(
            where_from
                .contains("`--tokenize-prompt` sends token ids: requests go to http://127.0.0.1:"),
            "{where_from}"
        );
    }
    let asked = context.column::<u32>("SELECT asked_prompt_tokens FROM result ORDER BY idx");
    let seen = context.column::<u32>("SELECT prompt_tokens FROM result ORDER BY idx");
    assert_eq!(asked, seen);
    let mut heads = std::collections::BTreeSet::new();
    for (body, asked) in context.bodies().iter().zip(asked) {
        assert_eq!(body.get("messages"), None);
        let ids: Vec<u32> = serde_json::from_value(body["prompt"].clone()).unwrap();
        assert_eq!(ids.len(), asked as usize);
        assert!((9..=13).contains(&asked), "{asked}");
        heads.insert(ids[..4].to_vec());
    }
    assert_eq!(heads.len(), 1, "one beginning for all: {heads:?}");
}

/// A question is templated as the chat endpoint would have done it, or left as it is.
#[test]
fn prompts_of_a_file_are_sent_as_ids() {
    for (path, chat) in [(CHAT, true), (PLAIN, false)] {
        let context = Context::new();
        context.write("qa.jsonl", "{\"question\": \"what is a token?\"}\n");
        measure(
            &context,
            path,
            &[
                "--dataset",
                "openqa",
                "--dataset-path",
                "qa.jsonl",
                "--tokenize-prompt",
                "--number",
                "1",
            ],
        );
        let body = &context.bodies()[0];
        let ids: Vec<u32> = serde_json::from_value(body["prompt"].clone()).unwrap();
        let wanted = if chat {
            tokenizer::chat_ids("what is a token?")
        } else {
            tokenizer::ids("what is a token?")
        };
        assert_eq!(ids, wanted, "{}", tokenizer::text(&ids));
        let counts = "SELECT prompt_tokens FROM result";
        let seen = context.column::<u32>(counts);
        assert_eq!(seen, [u32::try_from(wanted.len()).unwrap()]);
    }
}

/// Width, height, bits and colour type of a PNG, from its header.
fn header(url: &str) -> (u32, u32, u8, u8) {
    let encoded = url.strip_prefix("data:image/png;base64,");
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.unwrap());
    let bytes = bytes.unwrap();
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"));
    assert!(bytes.ends_with(b"IEND\xae\x42\x60\x82"), "it is whole");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20), bytes[24], bytes[25])
}

#[test]
fn images_have_the_size_and_the_mode_asked_for() {
    for (mode, bits, colour) in [
        ("RGB", 8, 2),
        ("RGBA", 8, 6),
        ("L", 8, 0),
        ("LA", 8, 4),
        ("P", 8, 3),
        ("1", 1, 0),
        ("I;16", 16, 0),
    ] {
        let context = Context::new();
        measure(
            &context,
            CHAT,
            &[
                "--dataset",
                "random_vl",
                "--number",
                "4",
                "--image-num",
                "3",
                "--image-width",
                "33",
                "--image-height",
                "17",
                "--image-format",
                mode,
                "--min-prompt-length",
                "20",
                "--max-prompt-length",
                "25",
            ],
        );
        let result = context.result();
        // the simulator looks at what it is sent
        assert_eq!(result["runs"][0]["counts"]["succeeded"], 4, "{mode}");
        let mut images = std::collections::BTreeSet::new();
        for body in context.bodies() {
            let parts = body["messages"][0]["content"].as_array().unwrap();
            assert_eq!(parts.len(), 4, "a text and three images");
            assert_eq!(parts[0]["type"], "text");
            for part in &parts[1..] {
                let url = part["image_url"]["url"].as_str().unwrap();
                assert_eq!(header(url), (33, 17, bits, colour), "{mode}");
                images.insert(url.to_owned());
            }
        }
        assert!(images.len() > 9, "{mode}: hardly two are alike");
        // its images cost nothing, so that the text is all that is counted
        let seen = context.column::<i64>("SELECT prompt_tokens FROM result");
        assert!(seen.iter().all(|n| (20..=25).contains(n)), "{seen:?}");
        let asked = context.column::<Option<i64>>("SELECT asked_prompt_tokens FROM result");
        assert_eq!(asked, [None; 4], "nobody knows what images cost");
    }
}

/// The command that people run: a simulator of its own process counts, too.
#[test]
fn the_simulator_command_counts_with_the_tokenizer() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    let mut command = context.command(&["sim", "--port", "0", "--tokenizer-path", &folder]);
    command.stdin(std::process::Stdio::piped());
    command.arg("--exit-with-parent");
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    let address = line
        .split_whitespace()
        .find_map(|word| word.find("127.0.0.1:").map(|at| &word[at..]))
        .unwrap_or_else(|| panic!("{line}"));
    let address = address.split('/').next().unwrap();
    let url = format!("http://{address}");
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--tokenizer-path",
        &folder,
        "--dataset",
        "random",
        "--number",
        "5",
        "--max-tokens",
        "2",
        "--min-prompt-length",
        "33",
        "--max-prompt-length",
        "33",
    ]);
    // the end of its input is the end of it
    drop(child.stdin.take());
    child.wait().unwrap();
    let seen = context.column::<i64>("SELECT prompt_tokens FROM result");
    assert_eq!(seen, [33; 5]);
    let result = json(&context.top().join("result.json"));
    assert_eq!(
        result["runs"][0]["tokens"]["prompt_lengths"]["equal_share"],
        1.0
    );
}

/// What no model reads and no memory holds is refused in its own words, before a byte is sent.
#[test]
fn absurd_lengths_and_counts_are_refused_before_any_load() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{CHAT}", listener.local_addr().unwrap());
    let tokens = "is above the limit for random prompts, 16777216 tokens";
    for (dataset, flag, value, want) in [
        ("random", "--prefix-length", "16777217", tokens),
        (
            "random_vl",
            "--prefix-length",
            "18446744073709551615",
            tokens,
        ),
        ("random", "--max-prompt-length", "16777217", tokens),
        (
            "random_vl",
            "--max-prompt-length",
            "9223372036854775807",
            tokens,
        ),
        (
            "random_vl",
            "--image-num",
            "1025",
            "expected a whole number from 0 to 1024",
        ),
        (
            "random_vl",
            "--image-num",
            "4294967295",
            "expected a whole number from 0 to 1024",
        ),
        (
            "random",
            "--prefix-length",
            "-1",
            "expected a whole number, 0 or greater",
        ),
        (
            "random",
            "--prefix-length",
            "18446744073709551616",
            "expected a whole number, 0 or greater",
        ),
    ] {
        let context = Context::new();
        let folder = tokenizer::in_folder(&context);
        let typed = format!("{flag}={value}");
        let outcome = context.perf(&[
            "--url",
            &url,
            "--model",
            "sim",
            "--tokenizer-path",
            &folder,
            "--dataset",
            dataset,
            &typed,
        ]);
        assert_eq!(outcome.code, Some(2), "{typed}: {outcome:#?}");
        assert!(outcome.stderr.contains(want), "{typed}: {}", outcome.stderr);
        for part in [flag, value] {
            assert!(outcome.stderr.contains(part), "{typed}: {}", outcome.stderr);
        }
        assert!(!context.top().exists(), "{typed}: nothing was made");
    }
    listener.set_nonblocking(true).unwrap();
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

/// The limits are for what is made at random; a file's prompts are as long as they are.
#[test]
fn limits_of_random_prompts_concern_no_other() {
    let server = Simulator::start(SimConfig::default()).unwrap();
    let url = format!("http://{}{CHAT}", server.addr());
    let context = Context::new();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--dataset",
        "sample",
        "--number",
        "1",
        "--max-prompt-length",
        "9223372036854775807",
    ]);
}

/// Thinking that is switched off is written into the prompt by the template, and so are tools.
#[test]
fn what_requests_ask_of_the_template_is_part_of_the_length() {
    let template = format!(
        "{{% if tools %}}{{{{ tools | tojson }}}}{{% endif %}}{}{{% if enable_thinking is defined and not enable_thinking %}}<think>\n\n</think>\n\n{{% endif %}}",
        tokenizer::CHATML
    );
    let asks = [
        [
            "--extra-args",
            r#"{"chat_template_kwargs": {"enable_thinking": false}}"#,
        ],
        [
            "--query-template",
            r#"{"tools": [{"type": "function", "function": {"name": "get"}}]}"#,
        ],
    ];
    // in the configuration, and where processors have it
    for (asked, file) in asks
        .iter()
        .flat_map(|asked| [(asked, false), (asked, true)])
    {
        let context = Context::new();
        let folder = tokenizer::write(
            &context.path().join("tokenizer"),
            (!file).then_some(template.as_str()),
        );
        if file {
            let text = serde_json::json!({"chat_template": template}).to_string();
            std::fs::write(folder.join("chat_template.json"), text).unwrap();
        }
        context.measure(
            &[
                &[
                    "--api",
                    "local_sim",
                    "--dataset",
                    "random",
                    "--tokenizer-path",
                    "tokenizer",
                ],
                asked.as_slice(),
                &["--min-prompt-length", "90", "--max-prompt-length", "90"],
                &["--number", "3", "--max-tokens", "2"],
            ]
            .concat(),
        );
        let counted = context.column::<i64>("SELECT prompt_tokens FROM result");
        assert_eq!(counted, [90; 3], "{asked:?} {file}");
    }
}

#[test]
fn without_a_length_random_prompts_have_a_length_that_is_told() {
    for (flags, said, lengths) in [
        (
            &[] as &[&str],
            "random prompts have 1024 tokens each",
            1024..=1024,
        ),
        (
            &["--min-prompt-length", "1000"],
            "random prompts have at most 1024 tokens",
            1000..=1024,
        ),
        (&["--max-prompt-length", "40"], "", 0..=40),
    ] {
        let context = Context::new();
        tokenizer::in_folder(&context);
        let base = [
            "--api",
            "local_sim",
            "--dataset",
            "random",
            "--tokenizer-path",
            "tokenizer",
        ];
        let few = ["--number", "3", "--max-tokens", "2"];
        let outcome = context.measure(&[base.as_slice(), flags, &few].concat());
        assert!(outcome.stderr.contains(said), "{outcome:#?}");
        for tokens in context.column::<i64>("SELECT prompt_tokens FROM result") {
            assert!(lengths.contains(&tokens), "{flags:?} {tokens}");
        }
        let settings = &context.result()["settings"];
        assert_eq!(settings["max_prompt_length"], *lengths.end());
    }
}
