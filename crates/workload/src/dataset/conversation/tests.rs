//! Tests of the whole module: what EvalScope's own plugins make of the same files, exact lengths, and
//! files that cannot be used.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dataset::{Chars, LengthFilter, PromptSource, PromptStream, ShareGptLanguage, Tally};
use crate::dataset::{DatasetError, Lengths, RandomPrompts, check_shards};
use crate::tokens::tests::{CHATML, Family, trained};
use crate::tokens::{Frame, Tokenizer, Words};
use evalscope_model::prompt::{Item, Prompt};

static TOKENIZER: LazyLock<Arc<Tokenizer>> =
    LazyLock::new(|| trained(Family::ByteLevel, Some(CHATML)));
static WORDS: LazyLock<Arc<Words>> =
    LazyLock::new(|| Arc::new(Words::find(Arc::clone(&TOKENIZER), Frame::Chat).unwrap()));

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/dataset/fixtures/conversations")
        .join(name)
}

fn all(source: &mut dyn PromptSource) -> Vec<Item> {
    std::iter::from_fn(|| source.next().unwrap())
        .filter(|item| item.prompt != Prompt::Messages(Vec::new()))
        .collect()
}

/// All items, which must be the same in a second round.
fn twice(source: &mut dyn PromptSource) -> Vec<Item> {
    let first = all(source);
    source.rewind().unwrap();
    assert_eq!(all(source), first);
    first
}

/// A conversation in the form of the fixtures.
fn told(item: &Item) -> Value {
    let Prompt::Messages(messages) = &item.prompt else {
        panic!("expected messages: {item:?}")
    };
    let first = json!({
        "messages": messages, "max_tokens": item.with.max_tokens, "tool_call_latency": null,
    });
    let later = item.later.iter().map(|turn| {
        json!({
            "messages": turn.messages,
            "max_tokens": turn.max_tokens,
            "tool_call_latency": turn.delay.map(|delay| delay.as_secs_f64()),
        })
    });
    std::iter::once(first).chain(later).collect()
}

fn expected(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// The file, and the same with a byte order mark and CRLF.
fn forms(name: &str) -> [tempfile::NamedTempFile; 2] {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    let other = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    [text, other].map(written)
}

fn written(text: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn custom(path: &Path, replies: Replies) -> CustomMultiTurn {
    CustomMultiTurn::open(path, DelayUnit::Seconds, replies).unwrap()
}

fn share_gpt(path: &Path, replies: Replies) -> ShareGptMultiTurn {
    ShareGptMultiTurn::open(path, ShareGptLanguage::English, replies).unwrap()
}

fn trie(path: &Path, replies: Replies) -> Trie {
    let words = Arc::clone(&WORDS);
    Trie::open(path, TrieWorkload::CodeQa, words, replies, 7).unwrap()
}

#[test]
fn evalscope_makes_the_same_of_share_gpt() {
    for file in forms("share_gpt.jsonl") {
        let items = twice(&mut share_gpt(file.path(), Replies::Unused));
        let items: Value = items.iter().map(told).collect();
        assert_eq!(items, expected("share_gpt.expected.json"));
    }
}

#[test]
fn evalscope_makes_the_same_of_lists_of_messages() {
    for file in forms("custom.jsonl") {
        let items = twice(&mut custom(file.path(), Replies::Unused));
        let items: Value = items.iter().map(told).collect();
        assert_eq!(items, expected("custom.expected.json"));
    }
}

#[test]
fn evalscope_makes_the_same_of_a_prebuilt_file() {
    for file in forms("swe_prebuilt.json") {
        let items = twice(&mut SwePrebuilt::open(file.path()).unwrap());
        let items: Value = items.iter().map(told).collect();
        assert_eq!(items, expected("swe_prebuilt.expected.json"));
    }
}

fn trajectories(path: &Path, args: &Value, turns: u32) -> SweTrajectories {
    let tokenizer = Arc::new(Tokenizer::load(&fixture("words")).unwrap());
    let mut reader = crate::dataset::ArgsReader::new(args.as_object().unwrap().clone());
    let args = SweArgs::read(&mut reader).unwrap();
    reader.finish().unwrap();
    SweTrajectories::open(path, tokenizer, args, (turns, turns), 1).unwrap()
}

#[test]
fn evalscope_makes_the_same_of_trajectories() {
    let args =
        json!({"first_turn_length": 20, "subsequent_turn_length": [6, 6], "chars_per_token": 2.0});
    for file in forms("swe_trajectories.jsonl") {
        let items = twice(&mut trajectories(file.path(), &args, 3));
        let items: Value = items.iter().map(told).collect();
        assert_eq!(items, expected("swe_trajectories.expected.json"));
    }
}

#[test]
fn trajectories_that_are_all_too_short_are_an_error() {
    let mut source = trajectories(&fixture("swe_trajectories.jsonl"), &json!({}), 12);
    let error = source.next().unwrap_err().to_string();
    let path = fixture("swe_trajectories.jsonl").display().to_string();
    insta::assert_snapshot!(error.replace(&path, "FILE"), @"none of the 4 trajectories in FILE is long enough for 12 turns of 65000 tokens and then 500");
}

#[test]
fn evalscope_makes_the_same_of_recorded_lengths() {
    for file in forms("trie.jsonl") {
        let items = twice(&mut trie(file.path(), Replies::Unused));
        let mut told: Value = items.iter().map(told).collect();
        let want = expected("trie.expected.json");
        for (conversation, want) in told
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .zip(want.as_array().unwrap())
        {
            let turns = conversation.as_array_mut().unwrap().iter_mut();
            for (turn, want) in turns.zip(want.as_array().unwrap()) {
                // the texts are random: their lengths are tested elsewhere
                assert_eq!(turn["messages"].as_array().unwrap().len(), 1);
                turn["messages"] = want["messages"].clone();
            }
        }
        assert_eq!(told, want);
        assert!(items.iter().all(|item| item.with.exact_output));
    }
}

/// Tokens of the prompt of each turn, with recorded responses in the history.
fn prompts(item: &Item) -> Vec<u64> {
    let Prompt::Messages(first) = &item.prompt else {
        panic!("expected messages")
    };
    let mut history = first.clone();
    let count = |history: &[Value]| TOKENIZER.encode_chat(history).unwrap().len() as u64;
    let mut counts = vec![count(&history)];
    for turn in &item.later {
        history.push(turn.recorded_reply.clone().unwrap());
        history.extend(turn.messages.iter().cloned());
        counts.push(count(&history));
    }
    counts
}

/// Check that each turn adds what it asks for, besides the response before it.
fn check_increments(item: &Item) {
    let counts = prompts(item);
    assert_eq!(item.asked_tokens, Some(counts[0]));
    for (turn, pair) in item.later.iter().zip(counts.windows(2)) {
        let reply = turn.recorded_reply.as_ref().unwrap();
        let reply = TOKENIZER.encode(reply["content"].as_str().unwrap()).len() as u64;
        assert_eq!(turn.asked_tokens, Some(pair[1] - pair[0] - reply));
    }
}

#[test]
fn recorded_lengths_are_those_that_a_server_counts() {
    let items = all(&mut trie(&fixture("trie.jsonl"), Replies::Needed));
    items.iter().for_each(check_increments);
    let asked: Vec<u64> = items[0]
        .later
        .iter()
        .map(|turn| turn.asked_tokens.unwrap())
        .collect();
    assert_eq!((items[0].asked_tokens, asked), (Some(64), vec![32, 40]));
    let reply = items[0].later[1].recorded_reply.as_ref().unwrap();
    assert_eq!(
        TOKENIZER.encode(reply["content"].as_str().unwrap()).len(),
        24
    );
}

fn random(lengths: Lengths, turns: TurnNumbers, replies: Replies, seed: u64) -> RandomTurns {
    let first = RandomPrompts::new(Arc::clone(&WORDS), Frame::Chat, lengths, seed, 0).unwrap();
    RandomTurns::new(first, turns, replies, seed, 0).unwrap()
}

fn turns(min: u32, max: u32) -> TurnNumbers {
    TurnNumbers {
        min,
        max,
        prefix_every_turn: false,
        reply: (1, 30),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_turns_add_exactly_what_was_drawn(
        seed: u64, index in 0u64..1000, least in 30u64..60, more in 0u64..40, prefix in 0u64..20,
        every: bool, most in 1u32..6,
    ) {
        let lengths = Lengths { min: least, max: least + more, prefix, prefixes: 1 };
        let numbers = TurnNumbers { prefix_every_turn: every, ..turns(1, most) };
        let source = random(lengths, numbers, Replies::Needed, seed);
        check_shards(|| random(lengths, numbers, Replies::Needed, seed), 7);
        let item = source.item(index);
        prop_assert!(item.later.len() < most as usize);
        check_increments(&item);
        let prefix_of = |turn: usize| if turn == 0 || every { prefix } else { 0 };
        let asked = std::iter::once(item.asked_tokens).chain(item.later.iter().map(|turn| turn.asked_tokens));
        for (turn, asked) in asked.enumerate() {
            let own = asked.unwrap() - prefix_of(turn);
            prop_assert!((least..=least + more).contains(&own));
        }
        prop_assert_eq!(source.item(index), item);
    }
}

#[test]
fn every_number_of_turns_comes_up() {
    let lengths = Lengths {
        min: 20,
        max: 20,
        prefix: 0,
        prefixes: 1,
    };
    let source = random(lengths, turns(2, 4), Replies::Unused, 1);
    let seen: std::collections::BTreeSet<usize> =
        (0..100).map(|i| source.item(i).later.len() + 1).collect();
    assert_eq!(seen, [2, 3, 4].into());
    let item = source.item(0);
    assert!(item.later.iter().all(|turn| turn.recorded_reply.is_none()));
}

#[test]
fn a_turn_that_has_no_room_is_refused() {
    let least = WORDS.overhead() + 1;
    let lengths = Lengths {
        min: 0,
        max: least,
        prefix: 0,
        prefixes: 1,
    };
    let first = || RandomPrompts::new(Arc::clone(&WORDS), Frame::Chat, lengths, 0, 0).unwrap();
    let error = RandomTurns::new(first(), turns(2, 2), Replies::Unused, 0, 0).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("prompts of at most {least} tokens are impossible")),
        "{error}"
    );
    assert!(RandomTurns::new(first(), turns(1, 1), Replies::Unused, 0, 0).is_ok());
}

#[test]
fn recorded_responses_stand_with_the_turn_after_them() {
    let items = all(&mut custom(&fixture("custom.jsonl"), Replies::Needed));
    let reply = |item: &Item| item.later[0].recorded_reply.clone().unwrap();
    assert_eq!(
        reply(&items[0]),
        json!({"role": "assistant", "content": "Hello."})
    );
    assert_eq!(reply(&items[1])["tool_calls"][0]["id"], "call_1");
    let items = all(&mut share_gpt(&fixture("share_gpt.jsonl"), Replies::Needed));
    // an empty response was recorded
    assert_eq!(
        reply(&items[2]),
        json!({"role": "assistant", "content": ""})
    );
}

const OBJECT: &str = r#"{"session_id":"a1","tools":[{"type":"function","function":{"name":"run"}}],"turns":[{"messages":[{"role":"user","content":"Fix it"}],"max_tokens":64,"recorded":"On it."},{"messages":[{"role":"tool","content":"ok"}],"delay":0.8,"max_tokens":32}]}"#;

#[test]
fn an_object_has_what_a_list_cannot_say() {
    let file = written(format!("{OBJECT}\n"));
    let item = all(&mut custom(file.path(), Replies::Needed)).remove(0);
    let Prompt::Body(body) = &item.prompt else {
        panic!("expected a body with tools")
    };
    assert_eq!(body["tools"][0]["function"]["name"], "run");
    assert_eq!(body["messages"][0]["content"], "Fix it");
    assert_eq!(item.with.session.as_deref(), Some("a1"));
    assert_eq!(item.with.max_tokens, Some(64));
    let turn = &item.later[0];
    assert_eq!(
        turn.recorded_reply.as_ref().unwrap(),
        &json!({"role": "assistant", "content": "On it."})
    );
    assert_eq!(turn.delay, Some(std::time::Duration::from_secs_f64(0.8)));
    assert_eq!(turn.max_tokens, Some(32));
    // AIPerf has milliseconds
    let dag = OBJECT.replace("0.8", "800");
    let file = written(dag);
    let mut source =
        CustomMultiTurn::open(file.path(), DelayUnit::Milliseconds, Replies::Unused).unwrap();
    assert_eq!(all(&mut source)[0].later[0].delay, turn.delay);
}

#[test]
fn one_list_of_conversations_is_a_dataset_too() {
    let lists = std::fs::read_to_string(fixture("custom.jsonl")).unwrap();
    let lists: Vec<&str> = lists.lines().chain([OBJECT]).collect();
    let file = written(format!("[\n{}\n]", lists.join(",\n")));
    assert_eq!(twice(&mut custom(file.path(), Replies::Unused)).len(), 4);
}

fn error_of(mut source: impl PromptSource, file: &tempfile::NamedTempFile) -> String {
    let error = source.next().unwrap_err().to_string();
    error.replace(&file.path().display().to_string(), "FILE")
}

#[test]
fn lines_that_are_no_conversation_say_why() {
    let error = |text: &str| {
        let file = written(text);
        error_of(custom(file.path(), Replies::Unused), &file)
    };
    insta::assert_snapshot!(error("\n[{\"role\":\"user\",\"content\":\"a\"},"), @"FILE, line 2: not JSON: EOF while parsing a value at column 31");
    insta::assert_snapshot!(error("5"), @"FILE, line 1: a conversation is a list of messages, or an object with `turns`");
    insta::assert_snapshot!(error("{}"), @"FILE, line 1: no list `turns`");
    insta::assert_snapshot!(error(r#"{"turns":[]}"#), @"FILE, line 1: the conversation has no message of a user");
    insta::assert_snapshot!(error(r#"{"turns":[{"messages":[]}]}"#), @"FILE, line 1: turn 1 has no messages");
    insta::assert_snapshot!(error(&OBJECT.replace("a1", r"a\r\nb")), @r"FILE, line 1: `session_id` has control characters, which no header can carry");
    insta::assert_snapshot!(error(&OBJECT.replace("0.8", "-1")), @"FILE, line 1: turn 2: a delay of -1 s: it must be between 0 and 86400 s");
    insta::assert_snapshot!(error(&OBJECT.replace("\"delay\"", "\"wait\"")), @"FILE, line 1: turn 2: unknown field `wait`, expected one of `messages`, `max_tokens`, `delay`, `recorded`");
    insta::assert_snapshot!(error(&OBJECT.replace(":32", ":0")), @"FILE, line 1: turn 2: `max_tokens` is 0: it must be 1 or more");
    insta::assert_snapshot!(error(&OBJECT.replace("tool\",\"content", "assistant\",\"content")), @"FILE, line 1: turn 2 ends with a message of the assistant, so there is nothing to respond to");
    insta::assert_snapshot!(error(&OBJECT.replace("\"delay\":0.8", "\"spawns\":[\"b\"]")), @"FILE, line 1: 'spawns' is not built yet");
    insta::assert_snapshot!(error(&OBJECT.replace("\"On it.\"", "{\"role\":\"user\",\"content\":\"x\"}")), @"FILE, line 1: turn 1: `recorded` is not a message of the assistant");
    insta::assert_snapshot!(error(r#"[{"role":"user","content":"a\u0000"}]"#), @"FILE, line 1: NUL in a prompt: the file is damaged or not in UTF-8");
    let file = written(
        r#"{"turns":[{"messages":[{"role":"user","content":"a"}]},{"messages":[{"role":"user","content":"b"}]}]}"#,
    );
    insta::assert_snapshot!(error_of(custom(file.path(), Replies::Needed), &file), @"FILE, line 1: turn 1 has no recorded response, which `--history recorded` needs");
}

#[test]
fn lengths_that_do_not_fit_say_why() {
    let line = std::fs::read_to_string(fixture("trie.jsonl")).unwrap();
    let line = line.lines().next().unwrap();
    let error = |from: &str, to: &str| {
        let text = line.replace(from, to);
        assert_ne!(text, line);
        let file = written(text);
        error_of(trie(file.path(), Replies::Unused), &file)
    };
    insta::assert_snapshot!(error("[16, 24]", "[16]"), @"FILE, line 1: `assistant_response_length` has 1 values, but `num_turns` is 2");
    insta::assert_snapshot!(error("\"num_turns\": 2", "\"num_turns\": 0"), @"FILE, line 1: `assistant_response_length` has 2 values, but `num_turns` is 0");
    insta::assert_snapshot!(error("[32, 40]", "[32, -40]"), @"FILE, line 1: invalid value: integer `-40`, expected u64");
    insta::assert_snapshot!(error("0.05", "-0.05"), @"FILE, line 1: a delay of -0.05 s: it must be between 0 and 86400 s");
    insta::assert_snapshot!(error("0.05", "NaN"), @"FILE, line 1: not JSON: expected value at column 143");
    insta::assert_snapshot!(error(": 64", ": 99999999999"), @"FILE, line 1: a length of 99999999999 tokens: no model has such a long context");
    insta::assert_snapshot!(error("num_turns", "turns"), @"FILE, line 1: missing field `num_turns`");
}

#[test]
fn a_file_without_the_list_is_not_prebuilt() {
    for text in [
        "{}",
        "",
        "[1]",
        "{\"a\": {\"conversations\": []}}",
        "{\"conversations\": {}}",
    ] {
        let file = written(text);
        let error = SwePrebuilt::open(file.path()).unwrap_err();
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            said, "it is not an object with a list `conversations`",
            "{text}"
        );
    }
    let file = written(
        r#"{"a": ["conversations", "\"conversations\": ["], "b": "conversations", "conversations":
        [[{"messages": [{"role": "user", "content": "x"}], "rid": "r7"}], [{"messages": []}]"#,
    );
    let mut source = SwePrebuilt::open(file.path()).unwrap();
    let item = source.next().unwrap().unwrap();
    assert_eq!(item.with.rid.as_deref(), Some("r7"));
    assert_eq!(item.with.session.as_deref(), Some("r7"));
    insta::assert_snapshot!(error_of(source, &file), @"FILE, item 2, line 2: the list is not closed: the file is truncated");
}

fn survey(text: &str, skip: bool) -> Result<Tally, String> {
    let file = written(text);
    let filter = LengthFilter {
        min: 0,
        max: usize::MAX,
        measure: Arc::new(Chars),
    };
    let source = Box::new(custom(file.path(), Replies::Unused));
    let stream = PromptStream::new("it".to_owned(), source, filter);
    let surveyed = stream
        .skipping_bad(skip)
        .conversations(true)
        .survey(|| true);
    surveyed.map_err(|error: DatasetError| {
        error
            .to_string()
            .replace(&file.path().display().to_string(), "FILE")
    })
}

#[test]
fn the_first_twenty_bad_lines_are_named() {
    let good = "[{\"role\":\"user\",\"content\":\"a\"}]\n";
    let bad = "[{\"role\":\"system\",\"content\":\"a\"}]\n";
    let one = survey(&format!("{good}{bad}{good}"), false).unwrap_err();
    insta::assert_snapshot!(one, @"FILE, line 2: the conversation has no message of a user");
    let many = survey(&format!("{good}{}", bad.repeat(23)), false).unwrap_err();
    let lines: Vec<&str> = many.lines().collect();
    assert_eq!(lines.len(), 22);
    assert_eq!(lines[0], "23 items of the dataset it cannot be used:");
    assert_eq!(
        lines[20],
        "  FILE, line 21: the conversation has no message of a user"
    );
    assert_eq!(lines[21], "  and 3 more");
    let tally = survey(&format!("{good}{}{good}", bad.repeat(23)), true).unwrap();
    assert_eq!((tally.taken, tally.bad), (2, 23));
}

#[test]
fn conversations_are_for_runs_that_send_them() {
    let source = Box::new(custom(&fixture("custom.jsonl"), Replies::Unused));
    let filter = LengthFilter {
        min: 0,
        max: usize::MAX,
        measure: Arc::new(Chars),
    };
    let mut stream = PromptStream::new("it".to_owned(), source, filter);
    insta::assert_snapshot!(stream.next_item().unwrap_err(), @"the dataset it has conversations, but `--multi-turn` is not given");
}
