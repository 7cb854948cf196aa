//! Bodies and token counts from plugins.

use std::sync::Arc;

use evalscope_core::protocol::{Api, BuildBodies};
use evalscope_model::prompt::{Item, Prompt};
use evalscope_model::record::{
    ArrivalClock, Bodies, ConnectCost, CountedTokens, Ending, EventLog, Exchange, FailureKind,
    Phase, PluginTokens, RequestRecord, RequestTimes, Usage,
};
use evalscope_plugin::{PluginBodies, PluginCounts};

use crate::scene::{patience, plugin, started, told};

/// So many items, with the first of them at this position.
fn items(first: u64, n: usize) -> Vec<(u64, Item)> {
    let texts = (0..n).map(|i| Prompt::Text(format!("p{i}")).into());
    (first..).zip(texts).collect()
}

fn success() -> RequestRecord {
    RequestRecord {
        index: 0,
        phase: Phase::Measured,
        failure: None,
        streamed: true,
        times: RequestTimes::default(),
        connect: ConnectCost::default(),
        clock: ArrivalClock::User,
        events: EventLog::default(),
        http_status: Some(200),
        usage: Usage::default(),
        plugin: PluginTokens::default(),
        asked_prompt_tokens: None,
        asked_output_tokens: None,
        inputs: None,
        turn: None,
        trace: None,
        counted: CountedTokens::default(),
        finish_reason: None,
        response_id: None,
        model: None,
        ending: Ending::Marked,
        skipped_events: 0,
        compressed: false,
        asked_model: None,
        url: None,
        peer: None,
    }
}

/// A success with these responses.
pub(crate) fn exchange(request: &str, responses: &[&str]) -> Exchange {
    let mut bodies = Bodies {
        request: request.as_bytes().to_owned(),
        ..Bodies::default()
    };
    let (last, before) = responses.split_last().unwrap();
    for text in before {
        bodies.responses.push(text.as_bytes());
    }
    bodies.final_event.extend_from_slice(last.as_bytes());
    Exchange {
        record: success(),
        bodies,
    }
}

#[test]
fn a_limit_of_the_dataset_reaches_the_plugin() {
    let mut limited = Item::from(Prompt::Text("p0".to_owned()));
    limited.with.max_tokens = Some(7);
    let plain = Prompt::Text("p1".to_owned()).into();
    let mut bodies = PluginBodies::new(plugin("fine"), false);
    let built = bodies.build(vec![(0, limited), (1, plain)]).unwrap();
    let texts = built
        .iter()
        .map(|request| str::from_utf8(&request.body).unwrap());
    insta::assert_snapshot!(texts.collect::<Vec<_>>().join("\n"), @r#"
    {"prompt": {"text": "p0", "max_tokens": 7}, "stream": true, "max_tokens": 5}
    {"prompt": {"text": "p1"}, "stream": true, "max_tokens": 5}
    "#);
    let asked: Vec<_> = built
        .iter()
        .map(|request| request.asked_output_tokens)
        .collect();
    assert_eq!(asked, [Some(7), None]);
}

#[test]
fn bodies_are_sent_as_they_are_returned() {
    let mut bodies = PluginBodies::new(plugin("fine"), true);
    let built = bodies.build(items(7, 2)).unwrap();
    assert_eq!((built[0].index, built[1].index), (7, 8));
    let text = String::from_utf8(built[1].body.clone()).unwrap();
    insta::assert_snapshot!(text, @r#"{"prompt": {"messages": [{"role": "user", "content": "p1"}]}, "stream": true, "max_tokens": 5}"#);
    assert!(built[0].stream && built[0].output_asked);
    let mut plain = PluginBodies::new(plugin("fine"), false);
    let text = String::from_utf8(plain.build(items(0, 1)).unwrap().remove(0).body).unwrap();
    insta::assert_snapshot!(text, @r#"{"prompt": {"text": "p0"}, "stream": true, "max_tokens": 5}"#);
}

#[test]
fn bodies_that_are_none_end_the_run() {
    let error = |how| {
        let mut bodies = PluginBodies::new(plugin(how), true);
        let errors = (0..9).find_map(|n| bodies.build(items(n, 1)).err());
        told(&errors.unwrap())
    };
    insta::assert_snapshot!(error("wrong_length"), @"the plugin `exec:python3 -u standin.py wrong_length` failed in `build`: it gave 0 bodies for 1 prompts");
    insta::assert_snapshot!(error("wrong_item"), @"the plugin `exec:python3 -u standin.py wrong_item` failed in `build`: the body of prompt 2 is not a JSON object");
    assert!(error("raises").contains("ValueError: no"));
}

#[test]
fn tokens_are_counted_after_the_answer() {
    let counts = PluginCounts::new(plugin("fine"), vec!["sk-12345".to_owned()]);
    let mut good = exchange("{}", &["a", "b", "c"]);
    let mut bad = exchange("{}", &["bad"]);
    let mut also_good = exchange("{}", &["a"]);
    let complaint = counts
        .count(&mut [&mut good, &mut bad, &mut also_good])
        .unwrap();
    assert_eq!(good.record.plugin.completion_tokens, Some(3));
    assert_eq!(good.record.plugin.prompt_tokens, None);
    assert_eq!(bad.record.plugin.completion_tokens, None);
    assert_eq!(also_good.record.plugin.completion_tokens, Some(1));
    assert_eq!(complaint.unwrap(), "KeyError: 'usage'\n  | in line 3");
}

#[test]
fn what_is_no_count_costs_no_other() {
    let counts = PluginCounts::new(plugin("fine"), Vec::new());
    let mut huge = exchange("{}", &["huge"]);
    let mut good = exchange("{}", &["a"]);
    let complaint = counts.count(&mut [&mut huge, &mut good]).unwrap();
    assert_eq!(huge.record.plugin, PluginTokens::default());
    assert_eq!(good.record.plugin.completion_tokens, Some(1));
    insta::assert_snapshot!(complaint.unwrap(), @"`prompt_tokens` is 1e+30, but must be a whole number up to 1000000000000, or null");
}

#[test]
fn what_is_odd_about_one_answer_costs_no_other() {
    let told = |count: &str| {
        let counts = PluginCounts::new(plugin("fine"), vec!["sk-12345".to_owned()]);
        let mut odd = exchange("{}", &[&format!("odd {count}")]);
        let mut failed = exchange("{}", &["failed"]);
        let complaint = counts.count(&mut [&mut odd, &mut failed]).unwrap();
        assert!(!failed.record.succeeded(), "{count}: it is still heard");
        let failure = odd.record.failure.map(|failure| failure.message);
        (complaint, failure)
    };
    let failed = |text: &str| (None, Some(text.to_owned()));
    assert_eq!(told(r#"{"failed":false}"#), (None, None));
    assert_eq!(told(r#"{"failed":{"code":5}}"#), failed(r#"{"code":5}"#));
    let complaint = |count| told(count).0.unwrap();
    assert_eq!(complaint(r#"{"error":["sk-12345"]}"#), r#"["***"]"#);
    assert_eq!(
        complaint(r#"{"error":"no","traceback":["a"]}"#),
        "no\n  | [\"a\"]"
    );
    assert_eq!(
        complaint("[7,5]"),
        "its result for a response is [7,5], but must be an object"
    );
}

#[test]
fn an_answer_may_be_called_a_failure() {
    let counts = PluginCounts::new(plugin("fine"), vec!["sk-12345".to_owned()]);
    let mut failed = exchange("{}", &["failed sk-12345"]);
    let mut good = exchange("{}", &["a"]);
    let complaint = counts.count(&mut [&mut failed, &mut good]).unwrap();
    assert_eq!(complaint, None);
    let failure = failed.record.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::ServerError);
    assert_eq!(failure.message, "no, said *** [31m");
    assert_eq!(failed.bodies.error_excerpt, b"failed ***");
    assert!(good.record.succeeded());
}

#[test]
fn what_it_tells_of_answers_is_how_they_are_read() {
    let api = |answers: &str| plugin(&format!("tells '{answers}'")).api();
    let api_fine = api(r#"{"stream":{"text":["/t","/u"]}}"#).unwrap();
    let mut reader = api_fine.reader();
    assert!(!reader.event(b"", br#"{"start":1}"#).unwrap().has_token());
    assert!(reader.event(b"", br#"{"u":"a"}"#).unwrap().has_token());
    let error = told(&api(r#"{"stream":{"error":"/e"}}"#).unwrap_err());
    for (answers, words) in [
        (r#"[{"text":"/t"}]"#, "in `answers`, expected an object"),
        (
            r#"{"stream":["[DONE]"]}"#,
            "in `answers`, `stream` must be an object",
        ),
        (
            r#"{"stream":{"text":"t"}}"#,
            "in `answers`, `t` is not a JSON pointer",
        ),
    ] {
        let place = format!("tells '{answers}'");
        let error = told(&started(&place, patience()).0.unwrap_err());
        assert!(error.contains(words), "{error}");
    }
    assert!(
        error.ends_with(
            "failed in `hello`: in `answers`, `[stream]` has no `text`, which says where generated text \
             is, for example text = \"/text\""
        ),
        "{error}"
    );
}

#[test]
fn a_plugin_that_counts_no_more_says_why() {
    let counts = PluginCounts::new(plugin("dies"), Vec::new());
    let errors = (0..9).find_map(|_| counts.count(&mut [&mut exchange("{}", &["a"])]).err());
    assert!(told(&errors.unwrap()).contains("failed in `parse`: it ended"));
}

#[test]
fn bodies_and_counts_are_asked_for_side_by_side() {
    let plugin = plugin("fine");
    let mut bodies = PluginBodies::new(Arc::clone(&plugin), true);
    let counts = PluginCounts::new(plugin, Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..200 {
                assert_eq!(bodies.build(items(n, 32)).unwrap().len(), 32);
            }
        });
        for _ in 0..200 {
            let mut one = exchange("{}", &["a", "b"]);
            counts.count(&mut [&mut one]).unwrap();
            assert_eq!(one.record.plugin.completion_tokens, Some(2));
        }
    });
}
