//! Prompts from plugins.

use std::sync::Arc;
use std::time::Duration;

use evalscope_plugin::{Patience, PluginDataset};
use evalscope_workload::dataset::{PromptSource, Replies};
use serde_json::json;

use crate::scene::{dataset, end_of, number, patience, plugin, started, told};

fn numbers(source: &mut PluginDataset, n: usize) -> Vec<u64> {
    (0..n)
        .map_while(|_| source.next().unwrap())
        .map(|item| number(&item))
        .collect()
}

#[test]
fn prompts_come_in_order_to_the_end_and_again() {
    let mut source = dataset("fine 100");
    let all: Vec<u64> = (0..100).collect();
    assert_eq!(numbers(&mut source, 1000), all);
    assert!(source.next().unwrap().is_none());
    source.rewind().unwrap();
    assert_eq!(numbers(&mut source, 5), all[..5]);
    // in the middle, with a batch requested
    source.rewind().unwrap();
    assert_eq!(numbers(&mut source, 1000), all);
}

#[test]
fn a_plugin_serves_one_run_after_another() {
    let plugin = plugin("fine 100");
    let mut first = PluginDataset::new(Arc::clone(&plugin), false);
    assert_eq!(numbers(&mut first, 10).len(), 10);
    drop(first);
    let mut second = PluginDataset::new(plugin, true);
    assert_eq!(numbers(&mut second, 3), [0, 1, 2]);
}

#[test]
fn an_empty_data_set_is_no_error() {
    assert!(dataset("fine 0").next().unwrap().is_none());
}

#[test]
fn what_is_no_answer_names_plugin_call_and_line() {
    insta::assert_snapshot!(end_of(dataset("rubbish")), @"the plugin `exec:python3 -u standin.py rubbish` failed in `next`: its output is not a response (expected value at line 1 column 1): Loading weights: 100%");
    insta::assert_snapshot!(end_of(dataset("wrong_id")), @r#"the plugin `exec:python3 -u standin.py wrong_id` failed in `next`: it responded out of order, not to id 4: {"id":77,"result":{}}"#);
    insta::assert_snapshot!(end_of(dataset("neither")), @r#"the plugin `exec:python3 -u standin.py neither` failed in `next`: its response has neither `result` nor `error`: {"id": 4}"#);
    insta::assert_snapshot!(end_of(dataset("wrong_types")), @r#"the plugin `exec:python3 -u standin.py wrong_types` failed in `next`: its result is not valid for `next` (invalid type: integer `5`, expected a sequence at line 1 column 11): {"items": 5, "bodies": "x", "counts": null}"#);
    insta::assert_snapshot!(end_of(dataset("wrong_length")), @"the plugin `exec:python3 -u standin.py wrong_length` failed in `next`: it gave 0 items instead of 1 to 4");
    insta::assert_snapshot!(end_of(dataset("wrong_item")), @"the plugin `exec:python3 -u standin.py wrong_item` failed in `next`: an item must have exactly one of `text`, `messages`, `body`, `token_ids`, `turns`");
    insta::assert_snapshot!(end_of(dataset("long_line")), @"the plugin `exec:python3 -u standin.py long_line` failed in `next`: its response is longer than 64 MiB");
}

#[test]
fn an_item_that_no_server_could_take_is_the_plugins_fault() {
    let fault = |item: &str| {
        let text = end_of(dataset(&format!("gives '{item}'")));
        text.rsplit_once("`next`: ").unwrap().1.to_owned()
    };
    insta::assert_snapshot!(fault(r#"{"messages":[]}"#), @"`messages` of an item is empty");
    insta::assert_snapshot!(fault(r#"{"messages":[1]}"#), @"a message of an item is not an object");
    insta::assert_snapshot!(fault(r#"{"token_ids":[]}"#), @"`token_ids` of an item is empty");
    insta::assert_snapshot!(fault(r#"{"turns":[]}"#), @"`turns` of an item is empty");
    insta::assert_snapshot!(fault(r#"{"turns":[{"messages":[]}]}"#), @"`messages` of an item is empty");
    insta::assert_snapshot!(fault(r#"{"turns":[{"messages":[{}],"delay_s":-1}]}"#), @"`delay_s` of a turn is not between 0 and 86400");
    insta::assert_snapshot!(fault(r#"{"turns":[{"messages":[{}],"recorded":5}]}"#), @"`recorded` of a turn is neither a text nor an object");
    insta::assert_snapshot!(fault("{}"), @"an item must have exactly one of `text`, `messages`, `body`, `token_ids`, `turns`");
}

#[test]
fn a_conversation_has_turns_with_what_they_have_of_their_own() {
    let item = |replies: Replies| {
        let given = r#"{"turns":[{"messages":[{"role":"user","content":"a"}],"max_tokens":5,"recorded":"yes"},{"messages":[{"role":"tool","content":"b"}],"delay_s":0.5,"asked_tokens":9}],"session":"s","rid":"r"}"#;
        let mut source = dataset(&format!("gives '{given}'")).replies(replies);
        // the stand-in begins with plain prompts
        let items = std::iter::from_fn(|| source.next().unwrap());
        items.take(10).find(|item| !item.later.is_empty()).unwrap()
    };
    let told = item(Replies::Unused);
    assert_eq!(told.with.max_tokens, Some(5));
    assert_eq!(told.with.session.as_deref(), Some("s"));
    assert_eq!(told.with.rid.as_deref(), Some("r"));
    let turn = &told.later[0];
    assert_eq!(turn.messages[0]["content"], "b");
    assert_eq!(turn.delay, Some(Duration::from_millis(500)));
    assert_eq!((turn.asked_tokens, turn.max_tokens), (Some(9), None));
    assert_eq!(turn.recorded_reply, None);
    let reply = item(Replies::Needed).later[0].recorded_reply.clone();
    assert_eq!(reply, Some(json!({"role": "assistant", "content": "yes"})));
}

#[test]
fn further_lines_of_what_it_raises_do_not_look_like_ours() {
    insta::assert_snapshot!(end_of(dataset("raises_lines")), @r"
    the plugin `exec:python3 -u standin.py raises_lines` failed in `next`: row 7:
      | error: not ours
    ");
}

#[test]
fn what_a_plugin_raises_comes_with_its_traceback() {
    insta::assert_snapshot!(end_of(dataset("raises")), @r"
    the plugin `exec:python3 -u standin.py raises` failed in `next`: build raised ValueError: no
      | Traceback:
      |   File x
      | ValueError: no
    ");
}

#[test]
fn a_plugin_that_dies_leaves_its_last_words() {
    insta::assert_snapshot!(end_of(dataset("dies")), @r"
    the plugin `exec:python3 -u standin.py dies` failed in `next`: it ended before it responded (exit status: 7)
      the last lines of its stderr:
      | Killed by nobody
    ");
}

#[test]
fn a_plugin_that_hangs_is_given_up() {
    let patience = Patience {
        call: Duration::from_secs(1),
        ..patience()
    };
    let plugin = Arc::new(started("hangs", patience).0.unwrap());
    insta::assert_snapshot!(end_of(PluginDataset::new(Arc::clone(&plugin), false)), @r"
    the plugin `exec:python3 -u standin.py hangs` failed in `next`: no response within 1 s
      the last lines of its stderr:
      | thinking
    ");
    // and no more requests are sent
    let mut again = PluginDataset::new(plugin, true);
    let error = told(&again.next().unwrap_err());
    assert!(error.contains("failed in `rewind`: no response"), "{error}");
}

#[test]
fn who_is_stopped_does_not_wait() {
    let patience = Patience {
        call: Duration::from_hours(1),
        stopped: Arc::new(|| true),
        ..patience()
    };
    let error = started("hangs_in_hello", patience).0.unwrap_err();
    assert!(told(&error).ends_with("the command was stopped before it responded"));
}
