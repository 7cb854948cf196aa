//! Golden transcripts: stream bodies sent by real servers, in `fixtures/sse`, and how each is
//! interpreted, as a whole or a byte at a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::path::PathBuf;

use evalscope_core::protocol::{
    AnswerState, AnswerText, Anthropic, Api, Dashscope, Declared, Opaque, OpenAi, Responses, Zhipu,
};
use evalscope_core::sse::Splitter;

/// How a stream was interpreted.
#[derive(Debug, Default, PartialEq)]
struct Understood {
    events: usize,
    /// Positions of the token-bearing events.
    tokens: Vec<usize>,
    /// Position of the first event of the answer.
    answer: Option<usize>,
    state: AnswerState,
}

/// The API of a transcript, from the start of its name.
fn api_of(name: &str) -> Box<dyn Api> {
    if name.starts_with("dashscope_") {
        let incremental = !name.contains("cumulative");
        Box::new(Dashscope {
            incremental,
            ..Dashscope::default()
        })
    } else if name.starts_with("zhipu_") {
        Box::new(Zhipu)
    } else if name.starts_with("responses_") {
        Box::new(Responses)
    } else if name.starts_with("anthropic_") {
        Box::new(Anthropic)
    } else {
        Box::new(OpenAi)
    }
}

fn understood(name: &str, body: &[u8], bytes_at_a_time: usize) -> Understood {
    understood_by(&*api_of(name), body, bytes_at_a_time)
}

fn understood_by(api: &dyn Api, body: &[u8], bytes_at_a_time: usize) -> Understood {
    let mut splitter = Splitter::default();
    let mut reader = api.reader();
    let mut seen = Understood::default();
    {
        let mut take = |name: &[u8], data: &[u8]| {
            let Some(meaning) = reader.event(name, data) else {
                return;
            };
            if meaning.has_token() {
                seen.tokens.push(seen.events);
            }
            if meaning.has_answer() {
                seen.answer.get_or_insert(seen.events);
            }
            seen.events += 1;
        };
        for part in body.chunks(bytes_at_a_time) {
            splitter
                .push(part, |event| take(event.name, event.data))
                .unwrap();
        }
        splitter.finish(|event| take(event.name, event.data));
    }
    seen.state = reader.take();
    seen
}

fn number(count: Option<impl ToString>) -> String {
    count.map_or("-".to_owned(), |n| n.to_string())
}

fn described(name: &str, seen: &Understood) -> String {
    let Understood {
        events,
        tokens,
        answer,
        state,
    } = seen;
    let usage = state.usage;
    let mut text = format!("{name}\n");
    writeln!(
        text,
        "  events {events}, token-bearing {}, first token at {}, first of the answer at {}",
        tokens.len(),
        number(tokens.first()),
        number(*answer),
    )
    .unwrap();
    writeln!(
        text,
        "  tokens: prompt {}, completion {}, cached {}, reasoning {}",
        number(usage.prompt_tokens),
        number(usage.completion_tokens),
        number(usage.cached_tokens),
        number(usage.reasoning_tokens),
    )
    .unwrap();
    writeln!(
        text,
        "  finish reason {}, {}, id {}, model {}, skipped {}",
        number(state.finish_reason.as_deref()),
        if state.done { "done" } else { "no end marker" },
        number(state.response_id.as_deref()),
        number(state.model.as_deref()),
        state.skipped_events,
    )
    .unwrap();
    if let Some(failure) = &state.failure {
        writeln!(text, "  FAILURE {}: {}", failure.kind, failure.message).unwrap();
    }
    text
}

fn transcripts() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sse");
    let mut all: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_dialect_is_understood() {
    let mut text = String::new();
    for (name, body) in transcripts() {
        text.push_str(&described(&name, &understood(&name, &body, usize::MAX)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn all_of_the_text_is_read() {
    let mut all = String::new();
    for (name, body) in transcripts() {
        if is_in_openais_form(&name) {
            continue;
        }
        let api = api_of(&name);
        let mut reader = api.reader();
        let mut text = AnswerText::default();
        let mut splitter = Splitter::default();
        // as it is kept: only the events with a token
        let take = |event: evalscope_core::sse::Event<'_>| {
            let meaning = reader.event(event.name, event.data);
            if meaning.is_some_and(|meaning| meaning.has_token()) {
                api.read_text(event.data, &mut text);
            }
        };
        splitter.push(&body, take).unwrap();
        for choice in &text.choices {
            writeln!(all, "{name}: {:?} {:?}", choice.reasoning, choice.content).unwrap();
        }
    }
    insta::assert_snapshot!(all, @r#"
    anthropic_beta_events.txt: "" "Hello"
    anthropic_cached.txt: "" "Red"
    anthropic_error.txt: "" "Hello"
    anthropic_text.txt: "" "Hello! 蓝"
    anthropic_thinking.txt: "Let me solve this" "27 * 453 = 12,231"
    anthropic_tools.txt: "" "Okay, let's check{\"location\": \"San Francisco\"}"
    anthropic_vllm.txt: "" "Red, yellow"
    anthropic_vllm_length.txt: "" " rugo duli supa nura nura bape bara bili"
    anthropic_vllm_stop.txt: "" " lopu tibo"
    dashscope_cumulative.txt: "" "Red, yellow and 蓝."
    dashscope_error.txt: "" "Red"
    dashscope_incremental.txt: "" "Red, yellow and 蓝."
    dashscope_multimodal.txt: "" "A red square"
    dashscope_reasoning.txt: "The用户 asks" "Red!"
    dashscope_text.txt: "" "Red, yellow"
    responses_gateway_done_only.txt: "" "Red, yellow"
    responses_openai.txt: "" "Hi there! 蓝."
    responses_openai_error.txt: "" "Red"
    responses_openai_failed.txt: "" "Red"
    responses_openai_incomplete.txt: "" "Red, yellow"
    responses_openai_refusal.txt: "" "I'm sorry, no."
    responses_openai_summary.txt: "**Thinking** about colours" "Red."
    responses_openai_tools.txt: "" "{\"location\":\"Paris\"}"
    responses_vllm_length.txt: "" " rugo duli supa nura nura bape bara bili"
    responses_vllm_reasoning.txt: "The user asks" "Red!"
    responses_vllm_stop.txt: "" " debu tezo sele lofa tufa pube rofa paro bipe bura bitu zasa nezu gafa zozi"
    zhipu_chat.txt: "" "Red, yellow and 蓝"
    "#);
}

/// OpenAI's API, from the file that declares it.
fn declared() -> Declared {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/openai.toml");
    let text = std::fs::read_to_string(path).unwrap();
    Declared::new(toml::from_str(&text).unwrap())
}

/// APIs whose events have an end of their own, and which end has no other.
const WITH_AN_END: [(&str, &str); 2] = [
    ("responses_", "event: response."),
    ("anthropic_", "event: message_stop"),
];

fn is_in_openais_form(name: &str) -> bool {
    let others = ["dashscope_", "zhipu_", "responses_", "anthropic_"];
    !others.iter().any(|other| name.starts_with(other))
}

fn in_openais_form() -> impl Iterator<Item = (String, Vec<u8>)> {
    let all = transcripts().into_iter();
    all.filter(|(name, _)| is_in_openais_form(name))
}

/// Reasoning in a list inside `content`, duplicate texts, images, counts and errors in other
/// places: more than pointers can express.
const MORE_THAN_POINTERS_SAY: [&str; 10] = [
    "copilot_chat_thinking.txt",
    "gemini_chat.txt",
    "groq_chat.txt",
    "minimax_chat.txt",
    "minimax_chat_error.txt",
    "mistral_chat_thinking.txt",
    "moonshot_chat.txt",
    "openrouter_chat_image.txt",
    "perplexity_chat.txt",
    "xai_chat_reasoning.txt",
];

#[test]
fn the_declared_api_reads_as_the_built_in_one() {
    let mut compared = 0;
    for (name, body) in in_openais_form() {
        if MORE_THAN_POINTERS_SAY.contains(&name.as_str()) {
            continue;
        }
        let built_in = understood(&name, &body, usize::MAX);
        let declared_ = understood_by(&declared(), &body, usize::MAX);
        assert_eq!(declared_, built_in, "{name}");
        let text = |api: &dyn Api| {
            let mut text = AnswerText::default();
            let mut splitter = Splitter::default();
            let take = |event: evalscope_core::sse::Event<'_>| api.read_text(event.data, &mut text);
            splitter.push(&body, take).unwrap();
            text.choices
                .retain(|choice| *choice != evalscope_core::protocol::ChoiceText::default());
            text
        };
        assert_eq!(text(&declared()), text(&OpenAi), "{name}");
        compared += 1;
    }
    assert!(compared > 15, "only {compared} were compared");
}

#[test]
fn a_plugin_api_reads_openais_events_as_the_built_in_one() {
    let opaque = Opaque::untold("x.py".to_owned());
    for (name, body) in in_openais_form() {
        // any text may be generated there, and errors may have any format
        if ["gateway_chat_odd.txt", "minimax_chat_error.txt"].contains(&name.as_str()) {
            continue;
        }
        let built_in = understood(&name, &body, usize::MAX);
        let mut seen = understood_by(&opaque, &body, usize::MAX);
        if built_in.state.failure.is_none() {
            // events without `choices` count as a token there
            seen.tokens.retain(|at| built_in.tokens.contains(at));
            assert_eq!(seen, built_in, "{name}");
        } else {
            assert_eq!(seen.state.failure, built_in.state.failure, "{name}");
        }
    }
}

#[test]
fn the_size_of_reads_changes_nothing() {
    for (name, body) in transcripts() {
        let whole = understood(&name, &body, usize::MAX);
        for bytes in [1, 2, 3, 7, 100] {
            assert_eq!(
                understood(&name, &body, bytes),
                whole,
                "{name}, {bytes} at a time"
            );
        }
        let windows: Vec<u8> = String::from_utf8(body)
            .unwrap()
            .replace("\r\n", "\n")
            .replace('\n', "\r\n")
            .into();
        assert_eq!(understood(&name, &windows, 1), whole, "{name}, with CRLF");
        assert_eq!(
            understood(&name, &windows, usize::MAX),
            whole,
            "{name}, with CRLF"
        );
    }
}

/// A connection that breaks anywhere leaves what had arrived until then, and does not cause a
/// failure of our own.
#[test]
fn a_cut_gives_a_beginning() {
    for (name, body) in transcripts() {
        let whole = understood(&name, &body, usize::MAX);
        let mut before = 0;
        for end in 0..body.len() {
            let mut splitter = Splitter::default();
            let mut events = 0;
            splitter.push(&body[..end], |_| events += 1).unwrap();
            assert!(events >= before, "{name} cut at {end}");
            before = events;
        }
        assert!(before + 1 >= whole.events, "{name}");
    }
}

/// Without its last event, a response of these APIs is not complete, wherever it is cut.
#[test]
fn a_cut_is_never_an_end() {
    let mut cut = 0;
    for (name, body) in transcripts() {
        let Some((_, end)) = WITH_AN_END
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix))
        else {
            continue;
        };
        let whole = understood(&name, &body, usize::MAX).state;
        if whole.failure.is_some() {
            continue;
        }
        assert!(whole.done, "{name}");
        let text = String::from_utf8(body.clone()).unwrap();
        let last = text.rfind(end).unwrap();
        let end = last + text[last..].rfind("}\n").unwrap();
        // all of the last event, and of those before it enough to meet every kind of place
        for at in (0..=end).filter(|at| *at >= last || at % 13 == 0) {
            let state = understood(&name, &body[..at], usize::MAX).state;
            assert!(!state.done, "{name} cut at {at}");
            assert_eq!(state.finish_reason, None, "{name} cut at {at}");
        }
        cut += 1;
    }
    assert!(cut > 8, "only {cut} were cut");
}
