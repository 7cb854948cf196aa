//! Conversations as the server sees them: by the simulator's own truth log.

use std::collections::BTreeMap;

use evalscope_sim::{Echo, Profile, SimConfig, Simulator, ToolCalls, TrueRequest, Truth};
use serde_json::json;

use crate::context::Context;

const SESSION: &str = "x-session";

fn simulator(config: SimConfig) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 5.0,
            itl_ms: 1.0,
            seed: 5,
            ..Profile::default()
        },
        keeps_truth: true,
        conversation_header: Some(SESSION.to_owned()),
        ..config
    })
    .unwrap()
}

/// Three conversations of three turns each.
fn talks(context: &Context) -> String {
    let line = |name: &str| {
        let said =
            |who: &str, what: &str| json!({"role": who, "content": format!("{what}, {name}")});
        let talk = [
            said("system", "be brief"),
            said("user", "hello"),
            said("assistant", "hi"),
            said("user", "and now"),
            said("assistant", "nothing"),
            said("user", "go on"),
        ];
        format!("{}\n", json!(talk))
    };
    let lines = ["Ann", "Bob", "Eve"].map(line).concat();
    context.write("talks.jsonl", &lines).display().to_string()
}

/// Measure 12 conversations, 3 at a time, and what the server saw of them.
fn measured(context: &Context, config: SimConfig, file: &str, more: &[&str]) -> Truth {
    measured_at("/v1/chat/completions", context, config, file, more)
}

/// The same with the API of a path.
fn measured_at(
    path: &str,
    context: &Context,
    config: SimConfig,
    file: &str,
    more: &[&str],
) -> Truth {
    let server = simulator(config);
    let url = format!("http://{}{path}", server.addr());
    let args = [
        "--url",
        &url,
        "--model",
        "sim",
        "--dataset",
        "custom_multi_turn",
        "--dataset-path",
        file,
        "--number",
        "12",
        "--parallel",
        "3",
        "--max-tokens",
        "6",
        "--no-test-connection",
        "--session-header",
        SESSION,
    ];
    context.measure(&[&args[..], more].concat());
    server.stop().unwrap()
}

/// The turns of each conversation, in the order in which they were read.
fn by_conversation(truth: &Truth) -> BTreeMap<&str, Vec<&TrueRequest>> {
    let mut all: BTreeMap<&str, Vec<&TrueRequest>> = BTreeMap::new();
    for request in &truth.requests {
        let name = request.conversation.as_deref().unwrap();
        all.entry(name).or_default().push(request);
    }
    all
}

#[test]
fn a_place_serves_a_conversation_on_its_connection() {
    for (keep, connections) in [("keep", 3), ("session", 12), ("request", 36)] {
        let context = Context::new();
        let file = talks(&context);
        let more = ["--connections", keep, "--turn-delay", "0.03"];
        let truth = measured(&context, SimConfig::default(), &file, &more);
        let talks = by_conversation(&truth);
        assert_eq!(talks.len(), 12);
        let mut changes = Vec::new();
        for (name, turns) in &talks {
            let messages: Vec<_> = turns.iter().map(|turn| turn.messages).collect();
            assert_eq!(messages, [Some(2), Some(4), Some(6)], "{name}");
            for pair in turns.windows(2) {
                // one turn after the other, and the client has thought in between
                assert!(
                    pair[1].request_read_ns >= pair[0].ended_ns + 30_000_000,
                    "{name}"
                );
                assert!(pair[1].body_bytes > pair[0].body_bytes);
                let same = pair[0].connection == pair[1].connection;
                assert_eq!(same, keep != "request", "{name}");
            }
            changes.push((turns[0].request_read_ns, 1));
            changes.push((turns[2].ended_ns, -1));
        }
        changes.sort_unstable();
        let mut under_way = 0;
        let most = changes.iter().map(|(_, change)| {
            under_way += change;
            under_way
        });
        assert_eq!(most.max(), Some(3));
        let mut used: Vec<u64> = truth
            .requests
            .iter()
            .map(|request| request.connection)
            .collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), connections, "{keep}");
    }
}

/// Each turn repeats what the server has said before, in the form of the API.
#[test]
fn a_history_is_written_as_the_api_has_it() {
    for path in ["/v1/responses", "/v1/messages"] {
        let context = Context::new();
        let file = talks(&context);
        let truth = measured_at(path, &context, SimConfig::default(), &file, &["--salt"]);
        for (name, turns) in by_conversation(&truth) {
            let messages: Vec<_> = turns.iter().map(|turn| turn.messages).collect();
            // a system message is no message of the Messages API
            let expected = if path == "/v1/messages" {
                [1, 3, 5]
            } else {
                [2, 4, 6]
            };
            assert_eq!(messages, expected.map(Some), "{path} {name}");
            assert!(
                turns
                    .windows(2)
                    .all(|pair| pair[1].prompt_tokens > pair[0].prompt_tokens)
            );
        }
    }
}

const KEPT_BY_SERVER: [&str; 2] = ["--dataset-args", r#"{"previous_response_id":true}"#];

#[test]
fn a_server_that_keeps_responses_is_sent_what_is_new() {
    for stream in ["--stream", "--no-stream"] {
        let context = Context::new();
        let file = talks(&context);
        let more = [&KEPT_BY_SERVER[..], &[stream]].concat();
        let truth = measured_at(
            "/v1/responses",
            &context,
            SimConfig::default(),
            &file,
            &more,
        );
        for (name, turns) in by_conversation(&truth) {
            // the server knows what was said before
            let messages: Vec<_> = turns.iter().map(|turn| turn.messages).collect();
            assert_eq!(messages, [2, 4, 6].map(Some), "{name}");
            let grows = |pair: &[&TrueRequest]| pair[1].prompt_tokens > pair[0].prompt_tokens;
            assert!(turns.windows(2).all(grows), "{name}");
        }
        let ids: Vec<String> = context.column("SELECT request_id FROM result ORDER BY idx");
        let turns: Vec<i64> = context.column("SELECT turn FROM result ORDER BY idx");
        let bodies = context.bodies();
        assert_eq!(bodies.len(), 36);
        for (at, (body, turn)) in bodies.iter().zip(&turns).enumerate() {
            assert_eq!(body["store"], true);
            let own = if *turn == 0 { 2 } else { 1 };
            assert_eq!(body["input"].as_array().unwrap().len(), own, "{body}");
            let named = body.get("previous_response_id");
            match turn {
                0 => assert_eq!(named, None),
                _ => assert!(
                    ids[..at].iter().any(|id| named.unwrap() == id.as_str()),
                    "{body}"
                ),
            }
        }
        let settings = &context.result()["settings"];
        assert_eq!(settings["history"], "previous_response_id");
    }
}

#[test]
fn only_conversations_of_the_responses_api_name_the_response_before() {
    let context = Context::new();
    let file = talks(&context);
    let talks = ["--dataset", "custom_multi_turn", "--dataset-path", &file];
    let (chat, responses) = ("http://h/v1/chat/completions", "http://h/v1/responses");
    let refused = |url: &str, more: &[&str]| {
        let args = [&["--url", url, "--model", "m"], &KEPT_BY_SERVER[..], more];
        let outcome = context.perf(&args.concat());
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        outcome.stderr
    };
    insta::assert_snapshot!(refused(chat, &talks), @"
    error: `previous_response_id` in `--dataset-args` needs the Responses API, but the API is `openai`
      hint: give a URL that ends in /responses, or leave it out: the history is then sent with each turn
    ");
    insta::assert_snapshot!(refused(responses, &["--dataset", "sample"]), @"
    error: `previous_response_id` in `--dataset-args` needs conversations
      hint: add `--multi-turn` and a dataset of conversations, or leave it out
    ");
    let recorded = [&talks[..], &["--history", "recorded"]].concat();
    insta::assert_snapshot!(refused(responses, &recorded), @"
    error: `previous_response_id` in `--dataset-args` and `--history recorded` cannot be combined: the server keeps what it has sent
      hint: leave one of them out
    ");
    let not_stored = [&talks[..], &["--extra-args", r#"{"store":false}"#]].concat();
    insta::assert_snapshot!(refused(responses, &not_stored), @"
    error: `previous_response_id` in `--dataset-args` needs responses that are stored, but `--extra-args` has `store`: false
      hint: leave `store` out: it is set to true
    ");
}

#[test]
fn the_token_of_a_response_is_sent_back() {
    let context = Context::new();
    let file = talks(&context);
    let config = SimConfig {
        session_token_header: Some("X-Route".to_owned()),
        ..SimConfig::default()
    };
    let more = ["--session-token-header", "x-route"];
    let truth = measured(&context, config, &file, &more);
    for (name, turns) in by_conversation(&truth) {
        let sent: Vec<_> = turns.iter().map(|turn| turn.session_token_echo).collect();
        let echoed = Some(Echo::Echoed);
        assert_eq!(sent, [Some(Echo::First), echoed, echoed], "{name}");
    }
}

/// The simulator refuses a history with an open tool call, as servers do, and ids that it did not
/// give.
#[test]
fn results_of_tools_answer_the_calls_of_the_server() {
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/messages"] {
        results_of_tools_at(path, &[]);
    }
    results_of_tools_at("/v1/responses", &KEPT_BY_SERVER);
}

fn results_of_tools_at(path: &str, more: &[&str]) {
    let context = Context::new();
    let result = |text: &str| json!({"role": "tool", "tool_call_id": "recorded", "content": text});
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": {}}}]);
    let talk = json!({
        "session_id": "s",
        "tools": tools,
        "turns": [
            {"messages": [{"role": "user", "content": "look twice"}]},
            {"messages": [result("nothing"), result("still nothing")]},
            {"messages": [{"role": "user", "content": "thanks"}]},
        ],
    });
    let file = context.write("tools.jsonl", &format!("{talk}\n"));
    let config = SimConfig {
        tool_calls: ToolCalls::Always,
        ..SimConfig::default()
    };
    measured_at(path, &context, config, &file.display().to_string(), more);
    let failures: Vec<Option<String>> = context.column("SELECT error_text FROM result");
    assert_eq!(failures, vec![None; 36], "{path}");
}

#[test]
fn a_conversation_that_would_be_too_long_ends_before() {
    let context = Context::new();
    let file = talks(&context);
    let run = |max_model_len: Option<u64>, more: &[&str]| {
        let config = SimConfig {
            max_model_len,
            ..SimConfig::default()
        };
        let truth = measured(&context, config, &file, more);
        let query = "SELECT coalesce(error_kind, 'success') FROM result ORDER BY idx";
        let kinds: Vec<String> = context.column(query);
        std::fs::remove_dir_all(context.top()).unwrap();
        (truth, kinds)
    };
    let (truth, _) = run(None, &[]);
    let prompts = |turn: usize| {
        let talks = by_conversation(&truth);
        let tokens = talks.values().map(|turns| turns[turn].prompt_tokens);
        tokens.max().unwrap()
    };
    // the server has no room for the third turn, and says so
    let (_, kinds) = run(Some(prompts(1) + 6), &[]);
    let mut expected = ["success", "success", "context_limit"].repeat(12);
    assert_eq!(kinds, expected);
    // the client knows it before
    let limit = (prompts(1) + 16).to_string();
    let (truth, kinds) = run(None, &["--max-context", &limit]);
    expected.retain(|kind| *kind == "success");
    assert_eq!((truth.requests.len(), kinds.len()), (24, 24));
    assert_eq!(kinds, expected);
}

#[test]
fn the_memory_of_many_long_conversations_is_named_before_the_run() {
    let context = Context::new();
    let long = json!([{"role": "user", "content": "word ".repeat(20_000)}]);
    let file = context.write("long.jsonl", &format!("{long}\n"));
    let server = simulator(SimConfig::default());
    let url = server.url();
    let file = file.display().to_string();
    let run = |parallel: &str| {
        let args = [
            "--url",
            &url,
            "--model",
            "sim",
            "--dataset",
            "custom_multi_turn",
            "--number",
            "1",
        ];
        let load = [
            "--dataset-path",
            &file,
            "--parallel",
            parallel,
            "--max-tokens",
            "1",
        ];
        context.measure(&[&args[..], &load].concat()).stderr
    };
    let told = "conversations at once may take 900.0 GB of this machine's";
    let stderr = run("9000000");
    assert!(stderr.contains(&format!("9000000 {told}")), "{stderr}");
    let stderr = run("1");
    assert!(
        !stderr.contains("conversations at once may take"),
        "{stderr}"
    );
}
