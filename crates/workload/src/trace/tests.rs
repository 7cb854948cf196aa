//! What is true of all formats: what is read, in which order and when; what is refused; what prompts
//! share.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::replay::spread;
use super::*;
use crate::dataset::{ArgsReader, PromptSource, check_shards};
use crate::tokens::tests::{CHATML, Family, trained};
use crate::tokens::{Frame, Tokenizer, Words};
use evalscope_model::prompt::{Item, Prompt};

static TOKENIZER: LazyLock<Arc<Tokenizer>> =
    LazyLock::new(|| trained(Family::ByteLevel, Some(CHATML)));
static CHAT: LazyLock<Arc<Words>> = LazyLock::new(|| words(Frame::Chat));
static PLAIN: LazyLock<Arc<Words>> = LazyLock::new(|| words(Frame::Plain));
static IDS: LazyLock<Arc<Words>> = LazyLock::new(|| words(Frame::Ids));

fn words(frame: Frame) -> Arc<Words> {
    Arc::new(Words::find(Arc::clone(&TOKENIZER), frame).unwrap())
}

fn blocks(frame: Frame, seed: u64) -> Arc<Blocks> {
    let words = match frame {
        Frame::Chat => &CHAT,
        Frame::Plain => &PLAIN,
        Frame::Ids => &IDS,
    };
    Arc::new(Blocks::new(Arc::clone(words), frame, seed))
}

fn file(bytes: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes.as_ref()).unwrap();
    file
}

fn settings(args: Value) -> TraceSettings {
    let Value::Object(args) = args else {
        panic!("expected an object")
    };
    let mut reader = ArgsReader::new(args);
    let settings = TraceSettings::take(&mut reader).unwrap();
    reader.finish().unwrap();
    settings
}

fn scan(path: &Path, kind: Option<TraceKind>, args: Value) -> Result<Trace, TraceError> {
    Trace::scan(path, kind, settings(args), false, 1, || true)
}

/// All requests of a trace.
fn items(trace: Trace) -> Vec<Item> {
    let prompts = TracePrompts {
        blocks: Some(blocks(Frame::Plain, 1)),
        typed_headers: vec!["X-Typed".to_owned()],
    };
    let trace = Arc::new(trace);
    let open = || TraceSource::open(Arc::clone(&trace), prompts.clone()).unwrap();
    let mut source = open();
    let items: Vec<Item> = std::iter::from_fn(|| source.next().unwrap()).collect();
    check_shards(open, items.len());
    items
}

fn offsets_s(trace: &Trace) -> Vec<f64> {
    let offsets = trace.recording().offsets_ns.iter();
    offsets.map(|at| *at as f64 / 1e9).collect()
}

/// What is said about a file that is refused, with the hint.
fn refusal(bytes: impl AsRef<[u8]>, kind: Option<TraceKind>, args: Value) -> String {
    let file = file(bytes);
    let error = scan(file.path(), kind, args).unwrap_err();
    let text = format!("{error}\n  hint: {}", error.hint().unwrap_or("-"));
    text.replace(&file.path().display().to_string(), "FILE")
}

const MOONCAKE: &str = r#"{"timestamp": 0, "input_length": 700, "output_length": 52, "hash_ids": [46, 47]}
{"timestamp": 3000, "input_length": 900, "output_length": 0, "hash_ids": [46, 48]}
{"timestamp": 3000, "input_length": 1400, "output_length": 7, "hash_ids": [46, 48, 49]}
{"timestamp": 6500, "input_length": 30, "output_length": 1, "hash_ids": []}
"#;
const TIMED: &str = r#"{"timestamp": 0.5, "input_length": 40, "output_length": 5, "hash_ids": [1, 2]}
{"timestamp": 1, "input_length": 32, "output_length": 5, "hash_ids": [1, 3]}
"#;
const BAILIAN: &str = r#"{"chat_id": 55, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 40, "output_length": 132, "type": "text", "turn": 1, "hash_ids": [1089, 1090, 1091]}
{"chat_id": 159, "parent_chat_id": 55, "timestamp": 70.5, "input_length": 70, "output_length": 3, "type": "text", "turn": 2, "hash_ids": [1089, 1090, 6326, 1091, 13148]}
{"chat_id": 160, "parent_chat_id": -1, "timestamp": 71, "input_length": 16, "output_length": 3, "type": "file", "turn": 1, "hash_ids": [1090]}
"#;
const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109";
const MULTIMODAL: &str = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2025-05-01 00:00:00.000000,0,10,4\n2025-05-01 00:00:01.500000,2,396,109\n";
const BURSTGPT: &str = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n118,GPT-4,417,276,693,API log\n";
const WORKLOAD: &str = r#"{"timestamp": "2026-05-01T08:00:00Z", "body": {"model": "a", "messages": [{"role": "user", "content": "hi"}]}, "headers": {"x-tenant": "t1", "x-typed": "no", "Host": "h"}, "request_id": "r-1", "completion_tokens": 12}
{"timestamp": 1777622401.5, "body": "{\"model\": \"b\", \"prompt\": \"once\", \"max_tokens\": 5}"}

{"timestamp": "1777622400.5", "body": {"model": "b", "prompt": "twice"}}
"#;

#[test]
fn every_format_is_read() {
    for (text, kind, moments_s, asked, possible) in [
        (
            MOONCAKE,
            TraceKind::Mooncake,
            vec![0.0, 3.0, 3.0, 6.5],
            vec![(700, 52), (900, 1), (1400, 7), (30, 1)],
            vec![Some(0), Some(512), Some(900), Some(0)],
        ),
        (
            TIMED,
            TraceKind::Timed,
            vec![0.0, 0.5],
            vec![(40, 5), (32, 5)],
            vec![Some(0), Some(16)],
        ),
        // an id names a block wherever it is, but only a beginning is shared
        (
            BAILIAN,
            TraceKind::Bailian,
            vec![0.0, 9.386, 9.886],
            vec![(40, 132), (70, 3), (16, 3)],
            vec![Some(0), Some(32), Some(0)],
        ),
        (
            AZURE,
            TraceKind::Azure,
            vec![0.0, 4.314_579],
            vec![(374, 44), (396, 109)],
            vec![None, None],
        ),
        (
            BURSTGPT,
            TraceKind::BurstGpt,
            vec![0.0, 113.0],
            vec![(472, 18), (417, 276)],
            vec![None, None],
        ),
    ] {
        let marked = format!("\u{feff}{}", text.trim_end().replace('\n', "\r\n"));
        for text in [text.to_owned(), marked] {
            let file = file(&text);
            let trace = scan(file.path(), Some(kind), json!({})).unwrap();
            assert_eq!(offsets_s(&trace), moments_s, "{kind:?}");
            let left_out = trace.report().left_out;
            assert_eq!(
                left_out.without_response,
                u64::from(kind == TraceKind::BurstGpt)
            );
            let items = items(trace);
            let told: Vec<_> = items
                .iter()
                .map(|item| (item.asked_tokens.unwrap(), item.with.max_tokens.unwrap()))
                .collect();
            assert_eq!(told, asked, "{kind:?}");
            let shared: Vec<_> = items
                .iter()
                .map(|item| item.with.trace.unwrap().possible_cached_tokens)
                .collect();
            assert_eq!(shared, possible, "{kind:?}");
            assert!(items.iter().all(|item| item.with.exact_output));
            for item in &items {
                let seen = Frame::Plain.count(&TOKENIZER, &item.prompt.text()).unwrap();
                assert_eq!(Some(seen), item.asked_tokens, "{kind:?}");
            }
        }
        // vLLM's looks like Mooncake's or nothing
        if kind != TraceKind::Timed {
            let file = file(text);
            assert_eq!(scan(file.path(), None, json!({})).unwrap().kind(), kind);
        }
    }
}

#[test]
fn recorded_bodies_are_sent_as_they_were() {
    let file = file(WORKLOAD);
    let trace = scan(file.path(), None, json!({"speed": 0.5})).unwrap();
    assert_eq!(trace.kind(), TraceKind::Workload);
    assert!(!trace.needs_words());
    assert_eq!(offsets_s(&trace), [0.0, 1.0, 3.0]);
    let items = items(trace);
    let bodies: Vec<Value> = items
        .iter()
        .map(|item| match &item.prompt {
            Prompt::Body(body) => Value::Object(body.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        bodies,
        [
            json!({"model": "a", "messages": [{"role": "user", "content": "hi"}]}),
            json!({"model": "b", "prompt": "twice"}),
            json!({"model": "b", "prompt": "once", "max_tokens": 5}),
        ]
    );
    assert!(items.iter().all(|item| item.with.verbatim));
    assert_eq!(items[0].with.max_tokens, None);
    assert_eq!(
        items[0].with.headers.fields(),
        [("x-tenant".to_owned(), "t1".to_owned())]
    );
    let lines: Vec<u64> = items
        .iter()
        .map(|item| item.with.trace.unwrap().line)
        .collect();
    assert_eq!(lines, [1, 4, 2]);
}

/// As `EvalScope`'s tests of `workload_trace` have it (Apache-2.0, `tests/perf/test_workload_trace.py`).
#[test]
fn models_and_lengths_are_rewritten_as_evalscope_does() {
    let record = |body: Value| json!({"timestamp": 0, "body": body, "completion_tokens": 42});
    let body_of = |body: Value, args: Value| {
        let file = file(record(body).to_string());
        let trace = scan(file.path(), Some(TraceKind::Workload), args).unwrap();
        let constrained = trace.report().constrained;
        let item = items(trace).remove(0);
        let Prompt::Body(body) = item.prompt else {
            panic!("expected a body")
        };
        (Value::Object(body), item.with.max_tokens, constrained)
    };
    let model = |args: Value| {
        let (body, _, _) = body_of(json!({"model": "qwen-72b", "messages": []}), args);
        body["model"].as_str().unwrap().to_owned()
    };
    assert_eq!(model(json!({})), "qwen-72b");
    assert_eq!(model(json!({"model_override": "new"})), "new");
    assert_eq!(model(json!({"model_mapping": {"qwen-72b": "v2"}})), "v2");
    assert_eq!(model(json!({"model_mapping": {"other": "x"}})), "qwen-72b");
    assert_eq!(
        model(json!({"model_mapping": {"other": "x"}, "model_override": "fallback"})),
        "fallback"
    );
    assert_eq!(
        model(json!({"model_mapping": {"qwen-72b": "v2"}, "model_override": "no"})),
        "v2"
    );
    let tools = json!([{"type": "function", "function": {"name": "get_weather"}}]);
    let named = json!({"type": "function", "function": {"name": "get_weather"}});
    for (body, is_free) in [
        (json!({"messages": [], "max_tokens": 999}), true),
        (
            json!({"messages": [], "response_format": {"type": "text"}}),
            true,
        ),
        (
            json!({"messages": [], "response_format": {"type": "json_object"}}),
            false,
        ),
        (
            json!({"messages": [], "response_format": {"type": "json_schema"}}),
            false,
        ),
        (json!({"messages": [], "tools": tools}), true),
        (
            json!({"messages": [], "tools": tools, "tool_choice": "auto"}),
            true,
        ),
        (
            json!({"messages": [], "tools": tools, "tool_choice": "none"}),
            true,
        ),
        (
            json!({"messages": [], "tools": tools, "tool_choice": "required"}),
            false,
        ),
        (
            json!({"messages": [], "tools": tools, "tool_choice": named}),
            false,
        ),
    ] {
        let (sent, max_tokens, constrained) =
            body_of(body.clone(), json!({"match_output_length": true}));
        assert_eq!(max_tokens, Some(42), "{body}");
        assert_eq!(
            sent.get("ignore_eos") == Some(&true.into()),
            is_free,
            "{body}"
        );
        assert_eq!(constrained, u64::from(!is_free), "{body}");
        let (sent, max_tokens, _) = body_of(body.clone(), json!({}));
        assert_eq!((sent, max_tokens), (body, None));
    }
}

#[test]
fn aiperf_lines_have_sessions_delays_and_texts() {
    let text = r#"{"session_id": "a", "timestamp": 0, "text_input": "hello", "output_length": 5}
{"session_id": "b", "timestamp": 500, "messages": [{"role": "user", "content": "hi"}]}
{"session_id": "a", "delay": 2000, "input_length": 40, "output_length": 5}
{"session_id": "b", "delay": 100, "text_input": "more", "output_length": 1}
"#;
    let file = file(text);
    let refused = scan(file.path(), Some(TraceKind::Mooncake), json!({})).unwrap_err();
    assert!(
        refused.to_string().contains("line 3 has a `delay`"),
        "{refused}"
    );
    let trace = scan(
        file.path(),
        Some(TraceKind::Mooncake),
        json!({"sort": true}),
    )
    .unwrap();
    assert!(trace.needs_words());
    assert_eq!(offsets_s(&trace), [0.0, 0.5, 0.6, 2.0]);
    let items = items(trace);
    assert_eq!(items[0].prompt, Prompt::Text("hello".to_owned()));
    assert!(matches!(&items[1].prompt, Prompt::Messages(messages) if messages.len() == 1));
    assert_eq!(items[1].with.max_tokens, None);
    assert_eq!(items[2].prompt, Prompt::Text("more".to_owned()));
    assert_eq!(items[3].asked_tokens, Some(40));
    let sessions: Vec<_> = items
        .iter()
        .map(|item| item.with.session.clone().unwrap())
        .collect();
    assert_eq!(sessions, ["a", "b", "b", "a"]);
}

#[test]
fn bad_lines_are_named() {
    let lines = [
        r#"{"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": [1]}"#,
        r#"{"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": [1, 2]}"#,
        r#"{"timestamp": NaN, "input_length": 10, "output_length": 5, "hash_ids": [1]}"#,
        r#"{"timestamp": -1, "input_length": 10, "output_length": 5, "hash_ids": [1]}"#,
        r#"{"timestamp": "2026-01-01", "input_length": 10, "output_length": 5, "hash_ids": [1]}"#,
        r#"{"timestamp": 0, "input_length": 0, "output_length": 5, "hash_ids": []}"#,
        r#"{"timestamp": 0, "input_length": 1.5, "output_length": 5, "hash_ids": []}"#,
        r#"{"timestamp": 0, "output_length": 5, "hash_ids": []}"#,
        r#"{"timestamp": 0, "input_length": 10, "hash_ids": []}"#,
        r#"{"input_length": 10, "output_length": 5, "hash_ids": []}"#,
        r#"{"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": ["a"]}"#,
        r#"{"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": [-1]}"#,
        r#"{"timestamp": 0, "input_length": 10, "payload": {}}"#,
        r#"{"timestamp": 0, "messages": ["no"], "output_length": 5}"#,
        r#"{"timestamp": 0, "text_input": " ", "output_length": 5}"#,
        r#"{"timestamp": 0"#,
        "[1]",
        "plain",
    ];
    insta::assert_snapshot!(refusal(
        lines.join("\n"),
        Some(TraceKind::Mooncake),
        json!({})
    ));
    let many = "plain\n".repeat(30);
    let text = refusal(many, Some(TraceKind::Timed), json!({}));
    assert_eq!(text.lines().count(), 1 + 20 + 1 + 1, "{text}");
    assert!(text.contains("\n  and 10 more"), "{text}");
    let rows = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,2,3\nyesterday,1,2\n2023-11-16 18:15:46,NaN,2\n2023-11-16 18:15:46,0,2\n2023-11-16 18:15:46,\"1\",2";
    insta::assert_snapshot!("azure_bad_lines", refusal(rows, None, json!({})));
    let rows = "Timestamp,Request tokens,Response tokens\nnan,1,2\n-5,1,2\n1,-1,2\n1,2.0,1e3";
    insta::assert_snapshot!("burstgpt_bad_lines", refusal(rows, None, json!({})));
    insta::assert_snapshot!("multimodal", refusal(MULTIMODAL, None, json!({})));
}

/// As `EvalScope`'s tests have it, and what it refuses besides.
#[test]
fn bad_lines_of_recorded_bodies_are_named() {
    let lines = [
        "not json",
        r#"{"timestamp": 0.0}"#,
        r#"{"body": {"model": "m", "messages": []}}"#,
        r#"{"body": {"model": "m"}, "timestamp": "not-a-date"}"#,
        r#"{"body": "not valid json", "timestamp": 0}"#,
        r#"{"body": "[1, 2, 3]", "timestamp": 0}"#,
        r#"{"body": {"__evalscope_headers": {}}, "timestamp": 0}"#,
        r#"{"body": {}, "timestamp": 0, "completion_tokens": 0}"#,
        r#"{"body": {}, "timestamp": 0, "completion_tokens": -1}"#,
        r#"{"body": {}, "timestamp": 0, "complete_tokens": 1}"#,
        r#"{"body": {}, "timestamp": 0, "headers": {"a": 1}}"#,
        r#"{"body": {}, "timestamp": 0, "headers": {"a b": "1"}}"#,
        r#"{"body": {}, "timestamp": 0, "request_id": 1}"#,
        r#"{"body": {}, "timestamp": true}"#,
    ];
    insta::assert_snapshot!(refusal(
        lines.join("\n"),
        Some(TraceKind::Workload),
        json!({})
    ));
}

#[test]
fn files_that_are_no_traces_are_refused() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea423c2713d436b5ee50593a9640e0018c1550b5a0002f74190d6caea8\nsize 12345\n";
    let texts = [
        refusal("", None, json!({})),
        refusal("\n \r\n", Some(TraceKind::Mooncake), json!({})),
        refusal(pointer, Some(TraceKind::BurstGpt), json!({})),
        refusal(b"\x28\xb5\x2f\xfd....", None, json!({})),
        refusal(b"PAR1....", None, json!({})),
        refusal("a,b\n1,2\n", None, json!({})),
        refusal("a,b\n1,2\n", Some(TraceKind::Azure), json!({})),
        refusal(TIMED, None, json!({})),
        refusal(r#"{"a": 1}"#, None, json!({})),
        refusal(r#"{"id": "s", "hash_id_scope": "local"}"#, None, json!({})),
        refusal(AZURE, None, json!({"start": 100})),
        refusal("TIMESTAMP,ContextTokens,GeneratedTokens\n", None, json!({})),
    ];
    insta::assert_snapshot!(texts.join("\n"));
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), &folder.path().join("none")] {
        let error = scan(path, None, json!({})).unwrap_err();
        assert!(matches!(error, TraceError::Read { .. }), "{error}");
    }
}

#[test]
fn time_that_goes_back_is_refused_or_sorted() {
    let lines = [5000, 1800, 5000, 0].map(|at| {
        format!(
            "{{\"timestamp\": {at}, \"input_length\": 20, \"output_length\": 1, \"hash_ids\": []}}\n"
        )
    });
    insta::assert_snapshot!("goes_back", refusal(lines.concat(), None, json!({})));
    let file = file(lines.concat());
    let sorted = |args: Value| scan(file.path(), None, args).unwrap();
    let trace = sorted(json!({"sort": true}));
    assert_eq!(offsets_s(&trace), [0.0, 1.8, 5.0, 5.0]);
    let lines: Vec<u64> = items(trace)
        .iter()
        .map(|item| item.with.trace.unwrap().line)
        .collect();
    assert_eq!(lines, [4, 2, 1, 3]);
    let trace = sorted(json!({"sort": true, "start": 1, "length": 2}));
    assert_eq!(offsets_s(&trace), [0.8]);
    assert_eq!(trace.report().left_out.outside_window, 3);
    // a compressed file cannot be read in another order
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(WORKLOAD.as_bytes()).unwrap();
    let text = refusal(
        packed.finish().unwrap(),
        Some(TraceKind::Workload),
        json!({}),
    );
    assert!(text.ends_with("unpack it first: `gunzip FILE`"), "{text}");
}

#[test]
fn a_compressed_trace_is_read() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(MOONCAKE.as_bytes()).unwrap();
    let packed = file(packed.finish().unwrap());
    let plain = file(MOONCAKE);
    let [a, b] = [&packed, &plain].map(|file| items(scan(file.path(), None, json!({})).unwrap()));
    assert_eq!(a, b);
}

#[test]
fn bad_lines_are_skipped_where_that_is_wanted() {
    let text = MOONCAKE.replacen('\n', "\nbroken\n", 1);
    let file = file(text);
    let trace = Trace::scan(file.path(), None, settings(json!({})), true, 1, || true).unwrap();
    assert_eq!(trace.report().left_out.bad, 1);
    assert_eq!(trace.report().requests, 4);
    let lines: Vec<u64> = items(trace)
        .iter()
        .map(|item| item.with.trace.unwrap().line)
        .collect();
    assert_eq!(lines, [1, 3, 4, 5]);
}

#[test]
fn a_window_and_limits_leave_lines_out() {
    let mooncake = file(MOONCAKE);
    let trace = |args: Value| scan(mooncake.path(), None, args).unwrap();
    let window = trace(json!({"start": 1, "length": 3, "speed": 2}));
    assert_eq!(offsets_s(&window), [1.0, 1.0]);
    assert_eq!(window.report().left_out.outside_window, 2);
    let shared: Vec<_> = items(window)
        .iter()
        .map(|item| item.with.trace.unwrap().possible_cached_tokens)
        .collect();
    // what came before the window was not sent
    assert_eq!(shared, [Some(0), Some(900)]);
    let short = trace(json!({"max_input": 900}));
    assert_eq!(
        (short.report().requests, short.report().left_out.too_long),
        (3, 1)
    );
    assert_eq!(items(short).len(), 3);
    let short = trace(json!({"max_context": 752}));
    assert_eq!(short.report().requests, 2);
    let free = trace(json!({"force_output": false}));
    assert!(
        items(free)
            .iter()
            .all(|item| !item.with.exact_output && item.with.max_tokens.is_some())
    );
    let named = file(MOONCAKE.replace("input_length", "prompt_len"));
    let columns = json!({"columns": {"input_length": "prompt_len"}});
    assert_eq!(
        scan(named.path(), None, columns).unwrap().report().requests,
        4
    );
}

#[test]
fn without_a_scan_only_moments_and_lengths_are_read() {
    let text = MOONCAKE.replace("[46, 48, 49]", "[46, 48, \"x\"]");
    let file = file(text);
    let trace = scan(file.path(), None, json!({"no_scan": true})).unwrap();
    assert_eq!(trace.report().requests, 4);
    assert_eq!(trace.report().possible_cached_share, None);
    let prompts = TracePrompts {
        blocks: Some(blocks(Frame::Plain, 1)),
        typed_headers: Vec::new(),
    };
    let mut source = TraceSource::open(Arc::new(trace), prompts).unwrap();
    assert!(source.next().unwrap().is_some());
    assert!(source.next().unwrap().is_some());
    let error = source.next().unwrap_err().to_string();
    assert!(error.contains("line 3"), "{error}");
}

#[test]
fn doubtful_moments_are_pointed_out() {
    let line = |at: u64| {
        format!(
            "{{\"timestamp\": {at}, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": []}}\n"
        )
    };
    let warnings = |moments: &[u64], args: Value| {
        let text: String = moments.iter().map(|at| line(*at)).collect();
        let file = file(text);
        scan(file.path(), None, args)
            .unwrap()
            .report()
            .warnings
            .clone()
    };
    let grid: Vec<u64> = (0..40).map(|n| n / 8 * 3000).collect();
    insta::assert_snapshot!("grid", warnings(&grid, json!({})).join("\n"));
    assert_eq!(
        warnings(&grid, json!({"spread": true})),
        Vec::<String>::new()
    );
    let long = [0, 61 * 86_400 * 1000];
    insta::assert_snapshot!("long_span", warnings(&long, json!({})).join("\n"));
    let dense: Vec<u64> = (0..10_002).map(|n| n / 11).collect();
    insta::assert_snapshot!(
        "crowd",
        warnings(&dense, json!({"spread": true})).join("\n")
    );
}

#[test]
fn a_seed_is_a_set_of_prompts() {
    let prompts = |seed| {
        let blocks = blocks(Frame::Chat, seed);
        [46_u64, 47, 1 << 40].map(|id| blocks.prompt(&[0, id], 512, 1, 900).0.text())
    };
    assert_eq!(prompts(1), prompts(1));
    let all: BTreeSet<String> = [prompts(1), prompts(2)].concat().into_iter().collect();
    assert_eq!(all.len(), 6);
}

/// The tokens of a prompt, without what the frame adds.
fn tokens(frame: Frame, prompt: &Prompt) -> Vec<u32> {
    match prompt {
        Prompt::TokenIds(ids) => ids.clone(),
        // words are told apart by what stands before them: the tokens of the text alone
        prompt => {
            assert_ne!(frame, Frame::Ids);
            TOKENIZER.encode(&prompt.text())
        }
    }
}

fn common(a: &[u32], b: &[u32]) -> u64 {
    a.iter().zip(b).take_while(|(a, b)| a == b).count() as u64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the ids are, prompts share what their ids share, and one word at most by chance; they
    /// have the length that the server is to count.
    #[test]
    fn prompts_share_what_their_ids_share(
        seed: u64,
        head in prop::collection::vec(0_u64..50, 0..4),
        tails in prop::array::uniform2(prop::collection::vec(50_u64..1_000_000, 0..3)),
        more in prop::array::uniform2(1_u64..16),
        which in 0_usize..3,
    ) {
        let size = 16;
        let frame = [Frame::Chat, Frame::Plain, Frame::Ids][which];
        let around = match frame {
            Frame::Chat => CHAT.overhead(),
            Frame::Plain => PLAIN.overhead(),
            Frame::Ids => 0,
        };
        let blocks = blocks(frame, seed);
        let made: Vec<(Vec<u64>, u64, Vec<u32>)> = tails
            .iter()
            .zip(more)
            .enumerate()
            .map(|(line, (tail, more))| {
                let ids = [head.clone(), tail.clone()].concat();
                // what the ids reach, and a little more of its own
                let wanted = ids.len() as u64 * size + more;
                let (prompt, counted) = blocks.prompt(&ids, size, line as u64, wanted + around);
                assert_eq!(counted, wanted + around);
                if frame != Frame::Ids {
                    let seen = frame.count(&TOKENIZER, &prompt.text()).unwrap();
                    assert_eq!(seen, counted);
                }
                (ids, wanted, tokens(frame, &prompt))
            })
            .collect();
        let [(a, _, one), (b, _, other)] = made.as_slice() else { unreachable!() };
        let ids = a.iter().zip(b).take_while(|(a, b)| a == b).count() as u64;
        let shared = common(one, other);
        prop_assert!((ids * size..=ids * size + 2).contains(&shared), "{shared} of {ids} blocks");
    }

    /// A partial block is the beginning of the whole one.
    #[test]
    fn a_shorter_prompt_of_the_same_ids_is_a_beginning(
        seed: u64, ids in prop::collection::vec(any::<u64>(), 1..4), cut in 0_u64..16,
    ) {
        let blocks = blocks(Frame::Plain, seed);
        let around = PLAIN.overhead();
        let whole = ids.len() as u64 * 16;
        let text = |tokens: u64| blocks.prompt(&ids, 16, 1, tokens + around).0.text();
        prop_assert!(text(whole).starts_with(&text(whole - cut.min(whole - 1))));
    }

    #[test]
    fn spreading_keeps_the_order_and_each_first(
        gaps in prop::collection::vec(0_u64..5, 1..60),
    ) {
        let mut at = 0;
        let stamps: Vec<u64> = gaps.iter().map(|gap| { at += gap * 1000; at }).collect();
        let mut moments = stamps.clone();
        spread(&mut moments);
        prop_assert!(moments.windows(2).all(|two| two[0] <= two[1]));
        for (n, (stamp, moment)) in stamps.iter().zip(&moments).enumerate() {
            prop_assert!(moment >= stamp);
            if n == 0 || stamps[n - 1] != *stamp {
                prop_assert_eq!(moment, stamp);
            }
            // not beyond the next stamp
            if let Some(next) = stamps[n..].iter().find(|next| *next > stamp) {
                prop_assert!(moment < next);
            }
        }
    }

    /// A sample keeps whole sessions, the same in each pass.
    #[test]
    fn a_sample_has_whole_sessions(seed: u64, share in 0.05_f64..0.95) {
        let lines: Vec<String> = (0..120)
            .map(|n| {
                let session = n % 30;
                format!("{{\"timestamp\": {n}, \"text_input\": \"t\", \"session_id\": \"{session}\", \"output_length\": 1}}\n")
            })
            .collect();
        let file = file(lines.concat());
        let scanned = Trace::scan(
            file.path(),
            Some(TraceKind::Mooncake),
            settings(json!({"sample": share})),
            false,
            seed,
            || true,
        );
        let trace = match scanned {
            Ok(trace) => trace,
            Err(error) => {
                prop_assert!(matches!(error, TraceError::Nothing { .. }), "{error}");
                return Ok(());
            }
        };
        let requests = trace.report().requests;
        let items = items(trace);
        prop_assert_eq!(items.len() as u64, requests);
        let sessions: BTreeSet<_> = items.iter().map(|item| item.with.session.clone()).collect();
        prop_assert_eq!(items.len(), 4 * sessions.len());
    }

    /// Damaged files are refused or read, and the second pass has the requests of the first one.
    #[test]
    fn both_passes_agree_whatever_the_file_is(
        which in 0_usize..6,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        skip_bad: bool,
        sort: bool,
        named: bool,
    ) {
        let (text, kind) = [
            (MOONCAKE, TraceKind::Mooncake),
            (TIMED, TraceKind::Timed),
            (BAILIAN, TraceKind::Bailian),
            (AZURE, TraceKind::Azure),
            (BURSTGPT, TraceKind::BurstGpt),
            (WORKLOAD, TraceKind::Workload),
        ][which];
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte) in cuts {
            let at = at.index(bytes.len());
            // digits and line ends do more harm than most
            bytes[at] = if byte < 128 { b"0123456789\n,\"-."[usize::from(byte) % 15] } else { byte };
        }
        let file = file(bytes);
        // a damaged length may ask for a text of gigabytes
        let args = settings(json!({"sort": sort, "max_input": if kind == TraceKind::Workload { Value::Null } else { json!(5000) }}));
        let kind = named.then_some(kind);
        if let Ok(trace) = Trace::scan(file.path(), kind, args, skip_bad, 1, || true) {
            let offsets = &trace.recording().offsets_ns;
            prop_assert!(offsets.windows(2).all(|two| two[0] <= two[1]));
            let requests = trace.report().requests;
            prop_assert_eq!(offsets.len() as u64, requests);
            prop_assert_eq!(items(trace).len() as u64, requests);
        }
    }
}
