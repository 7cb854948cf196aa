//! The recorded exchanges in `fixtures/plugin`, played back by a plugin behind a socket.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;
use std::thread::JoinHandle;

use evalscope_core::protocol::{Api, BuildBodies};
use evalscope_model::prompt::{Item, Prompt};
use evalscope_model::record::Exchange;
use evalscope_plugin::{
    Begin, Place, Plugin, PluginBodies, PluginCounts, PluginDataset, PluginError, Role, Tracker,
};
use evalscope_workload::dataset::PromptSource;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::exchange;
use crate::scene::{hello, patience, told};

/// Requests and responses of a recording, in order.
fn recorded(name: &str) -> Vec<(Value, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/plugin");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines
        .chunks(2)
        .map(|pair| {
            assert_eq!(
                (&pair[0]["to"], &pair[1]["to"]),
                (&json!("plugin"), &json!("tool"))
            );
            (pair[0]["line"].clone(), pair[1]["line"].clone())
        })
        .collect()
}

/// A socket that responds to each line with `answer`, and returns the requests.
fn served(
    mut answer: impl FnMut(&Value) -> Value + Send + 'static,
) -> (TempDir, Place, JoinHandle<Vec<Value>>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let Ok(line) = line else { break };
            let question: Value = serde_json::from_str(&line).unwrap();
            let mut reply = answer(&question);
            reply["id"] = question["id"].clone();
            asked.push(question);
            if writeln!(stream, "{reply}").is_err() {
                break;
            }
        }
        asked
    });
    (
        folder,
        Place::Unix {
            socket: path,
            name: None,
        },
        serving,
    )
}

fn start(place: &Place, role: Role) -> Result<Plugin, PluginError> {
    Plugin::start(place, role, None, &hello(), patience(), Box::new(|_| ()))
}

/// A socket that plays back the recorded responses in order.
fn replayed(pairs: &[(Value, Value)]) -> (TempDir, Place, JoinHandle<Vec<Value>>) {
    let mut answers: VecDeque<Value> = pairs.iter().map(|(_, answer)| answer.clone()).collect();
    served(move |_| answers.pop_front().unwrap())
}

#[test]
fn the_recorded_prompts_are_understood() {
    let mut items: Vec<Value> = Vec::new();
    for (_, answer) in &recorded("dataset.jsonl")[1..4] {
        items.extend(answer["result"]["items"].as_array().unwrap().clone());
    }
    let mut at = 0;
    let (_folder, place, serving) = served(move |question| match question["method"].as_str() {
        Some("hello") => json!({"result": {"protocol": 1, "name": "four_kinds"}}),
        Some("next") => {
            let max = usize::try_from(question["params"]["max"].as_u64().unwrap()).unwrap();
            let end = items.len().min(at + max);
            let batch = &items[at..end];
            at = end;
            json!({"result": {"items": batch, "end": end == items.len()}})
        }
        _ => json!({"result": {}}),
    });
    let plugin = Arc::new(start(&place, Role::Dataset).unwrap());
    assert_eq!(plugin.name(), "four_kinds");
    let mut source = PluginDataset::new(Arc::clone(&plugin), false);
    let mut seen = Vec::new();
    while let Some(item) = source.next().unwrap() {
        seen.push(item.prompt);
    }
    assert_eq!(seen[1], Prompt::Text("你好".to_owned()));
    assert!(
        matches!(&seen[0], Prompt::Messages(messages) if messages[0]["content"] == "Wer bist du?")
    );
    assert!(matches!(&seen[2], Prompt::Body(body) if body["temperature"] == 0.5));
    assert_eq!(seen[3], Prompt::TokenIds(vec![15339, 1917]));
    plugin.end();
    let methods: Vec<Value> = serving
        .join()
        .unwrap()
        .iter()
        .map(|question| question["method"].clone())
        .collect();
    assert_eq!(methods.first().unwrap(), "hello");
    assert_eq!(methods.last().unwrap(), "bye");
}

#[test]
fn the_recorded_questions_are_asked_and_their_answers_understood() {
    let pairs = recorded("api.jsonl");
    let (_folder, place, serving) = replayed(&pairs);
    let plugin = start(&place, Role::Api).unwrap();
    assert_eq!(plugin.name(), "tagged");
    let plugin = Arc::new(plugin);
    let mut bodies = PluginBodies::new(Arc::clone(&plugin), false);
    let messages = vec![json!({"role": "user", "content": "Wer bist du?"})];
    let ids = Item {
        prompt: Prompt::TokenIds(vec![15339, 1917]),
        asked_tokens: Some(2),
        with: evalscope_model::prompt::Overrides::default(),
        later: Vec::new(),
    };
    let built = bodies
        .build(vec![
            (0, Prompt::Messages(messages).into()),
            (1, Prompt::Text("你好".to_owned()).into()),
            (2, ids),
        ])
        .unwrap();
    let sent: Vec<Value> = built
        .iter()
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect();
    assert_eq!(Value::from(sent), pairs[1].1["result"]["bodies"]);
    assert_eq!(built[2].asked_tokens, Some(2));
    let texts = ["fine", "raise"].map(|text| (3, Prompt::Text(text.to_owned()).into()));
    let error = told(&bodies.build(texts.into()).unwrap_err());
    assert!(error.contains("ValueError: a prompt that this plugin does not like\n  | Traceback"));
    assert!(bodies.build(Vec::new()).unwrap().is_empty());

    let mut exchanges: Vec<Exchange> = pairs[4].0["params"]["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| {
            let responses = answer["responses"].as_array().unwrap();
            let responses: Vec<&str> = responses
                .iter()
                .map(|text| text.as_str().unwrap())
                .collect();
            exchange(&answer["request"].to_string(), &responses)
        })
        .collect();
    let counts = PluginCounts::new(Arc::clone(&plugin), Vec::new());
    let mut parts: Vec<&mut Exchange> = exchanges.iter_mut().collect();
    let complaint = counts.count(&mut parts).unwrap().unwrap();
    assert!(complaint.starts_with("parse_responses raised KeyError: 'usage'\n  | Traceback"));
    let tokens = exchanges.iter().map(|exchange| {
        let plugin = exchange.record.plugin;
        (plugin.prompt_tokens, plugin.completion_tokens)
    });
    let tokens: Vec<_> = tokens.collect();
    let none = (None, None);
    assert_eq!(tokens, [(Some(9), Some(2)), none, (None, Some(3)), none]);
    let failure = exchanges[3].record.failure.as_ref().unwrap();
    assert_eq!(failure.message, "the model is being loaded");
    // the rules in its greeting
    let mut reader = plugin.api().unwrap().reader();
    let event = reader.event(b"", br#"{"oops":"no"}"#).unwrap();
    assert!(!event.has_token() && reader.state().failure.is_some());
    plugin.end();

    let asked = serving.join().unwrap();
    for (asked, (recorded, _)) in asked.iter().zip(&pairs).skip(1) {
        assert_eq!(asked["method"], recorded["method"]);
        assert_eq!(asked["params"], recorded["params"]);
        assert_eq!(asked["id"], recorded["id"]);
    }
    assert_eq!(asked.len(), pairs.len());
}

/// The tool never sends figures to a tracker before `start`: that part of the recording uses the
/// lower-level call, and the rest goes as in a command.
#[test]
fn the_recorded_tracker_is_told_what_a_tracker_is_told() {
    let mut pairs = recorded("tracker.jsonl");
    let early = pairs.remove(1);
    let (_folder, place, serving) =
        replayed(&[&pairs[..1], from_ref(&early), &pairs[5..]].concat());
    let plugin = start(&place, Role::Tracker).unwrap();
    assert_eq!(plugin.name(), "wandb");
    let params = &early.0["params"];
    let pending = plugin.ask("metrics", params).unwrap();
    let error = told(&plugin.wait::<Value>(&pending).unwrap_err());
    assert!(
        error.ends_with("failed in `metrics`: `start` comes before `metrics`"),
        "{error}"
    );
    drop((plugin, place));
    assert_eq!(serving.join().unwrap()[1], early.0);

    let (_folder, place, serving) = replayed(&pairs);
    let recorded = |at: usize, key: &str| pairs[at].0["params"][key].clone();
    let text = |at: usize, key: &str| recorded(at, key).as_str().unwrap().to_owned();
    let (settings, output_dir) = (recorded(1, "settings"), text(1, "output_dir"));
    let begin = Begin {
        settings: &settings,
        name: &text(1, "name"),
        output_dir: Path::new(&output_dir),
    };
    let listener = Box::new(|_: &str| ());
    let tracker = Tracker::start(&place, None, &hello(), patience(), listener, &begin).unwrap();
    assert_eq!(tracker.url(), pairs[1].1["result"]["url"].as_str());
    let step = recorded(2, "step").as_u64().unwrap();
    let values = recorded(2, "values");
    tracker
        .metrics(&text(2, "run"), step, values.as_object().unwrap())
        .unwrap();
    tracker
        .summary(
            &text(3, "run"),
            &recorded(3, "metrics"),
            &recorded(3, "percentiles"),
        )
        .unwrap();
    let paths = recorded(4, "paths");
    let paths = paths.as_array().unwrap().iter();
    let paths: Vec<&Path> = paths
        .map(|path| Path::new(path.as_str().unwrap()))
        .collect();
    tracker.files(&paths).unwrap();
    tracker.end();

    let asked = serving.join().unwrap();
    assert_eq!(asked[0]["params"]["role"], "tracker");
    for (asked, (recorded, _)) in asked.iter().zip(&pairs).skip(1) {
        assert_eq!(asked["method"], recorded["method"]);
        assert_eq!(asked["params"], recorded["params"]);
    }
    assert_eq!(asked.len(), pairs.len());
}

#[test]
fn recorded_refusals_are_told() {
    for (question, answer) in recorded("refused.jsonl") {
        if question["method"] != "hello" || answer.get("error").is_none() {
            continue;
        }
        let message = answer["error"]["message"].as_str().unwrap().to_owned();
        let (_folder, place, _serving) = served(move |_| answer.clone());
        let error = told(&start(&place, Role::Api).unwrap_err());
        assert!(error.ends_with(&message), "{error}");
    }
}

#[test]
fn nobody_behind_a_socket_is_told() {
    let place = Place::parse("unix:/no/such/socket").unwrap().unwrap();
    let error = told(&start(&place, Role::Api).unwrap_err());
    insta::assert_snapshot!(error, @"the plugin `unix:/no/such/socket` failed in `start`: no connection to the socket: No such file or directory (os error 2)");
}
