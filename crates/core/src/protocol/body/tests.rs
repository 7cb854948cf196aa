use super::super::OpenAi;
use super::*;
use evalscope_model::prompt::OwnTarget;

fn rules() -> BodyRules {
    BodyRules {
        api: Arc::new(OpenAi),
        endpoint: Endpoint::Chat,
        template: None,
        model: "qwen".to_owned(),
        mix: None,
        typed: Map::new(),
        defaults: json!({"temperature": 0.0, "stream": true})
            .as_object()
            .unwrap()
            .clone(),
        max_tokens: MaxTokens::Fixed(2048),
        max_tokens_typed: false,
        include_usage: true,
        extra: Map::new(),
        conversations: None,
        seed: 0,
    }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else {
        panic!("not an object")
    };
    map
}

fn body(rules: BodyRules, prompt: Prompt) -> String {
    String::from_utf8(BodyBuilder::new(rules).prepare(0, prompt).unwrap().body).unwrap()
}

#[test]
fn a_plain_chat_body() {
    insta::assert_snapshot!(body(rules(), Prompt::Text("hi \"you\"".into())), @r#"{"model":"qwen","messages":[{"role":"user","content":"hi \"you\""}],"temperature":0.0,"stream":true,"max_tokens":2048,"stream_options":{"include_usage":true}}"#);
}

#[test]
fn a_plain_completions_body_without_stream() {
    let mut rules = rules();
    rules.endpoint = Endpoint::Completions;
    rules.typed = object(json!({"stream": false, "stop": ["a", "b"]}));
    insta::assert_snapshot!(body(rules, Prompt::Text("hi".into())), @r#"{"model":"qwen","prompt":"hi","stream":false,"stop":["a","b"],"temperature":0.0,"max_tokens":2048}"#);
}

#[test]
fn a_template_with_placeholders() {
    let mut rules = rules();
    rules.template = Some(
        BodyRules::parse_template(
            r#"{"model":"%m","messages":[{"role":"user","content":"Q: %p %x 100%"}],"max_tokens":7}"#,
        )
        .unwrap(),
    );
    insta::assert_snapshot!(body(rules.clone(), Prompt::Text("50% \"%m\"\n".into())), @r#"{"model":"qwen","messages":[{"role":"user","content":"Q: 50% \"%m\"\n %x 100%"}],"max_tokens":7,"temperature":0.0,"stream":true,"stream_options":{"include_usage":true}}"#);
    // what the user typed overrides the template; a default does not
    rules.max_tokens_typed = true;
    rules.max_tokens = MaxTokens::Fixed(9);
    rules.typed = object(json!({"temperature": 0.5}));
    insta::assert_snapshot!(body(rules, Prompt::Text("x".into())), @r#"{"model":"qwen","messages":[{"role":"user","content":"Q: x %x 100%"}],"max_tokens":9,"temperature":0.5,"stream":true,"stream_options":{"include_usage":true}}"#);
}

#[test]
fn a_template_without_a_prompt_gets_the_messages() {
    let mut rules = rules();
    rules.template = Some(
        BodyRules::parse_template(
            r#"{"model":"%m","messages":[],"stream":true,"stream_options":{"include_usage":true},"n":3}"#,
        )
        .unwrap(),
    );
    insta::assert_snapshot!(body(rules, Prompt::Messages(vec![json!({"role":"system","content":"s"})])), @r#"{"model":"qwen","messages":[{"role":"system","content":"s"}],"stream":true,"stream_options":{"include_usage":true},"n":3,"temperature":0.0,"max_tokens":2048}"#);
}

#[test]
fn a_whole_body_gets_only_what_it_lacks() {
    let mut rules = rules();
    rules.typed = object(json!({"model": "qwen", "temperature": 0.9}));
    rules.extra = object(json!({"temperature": 1.5, "ignore_eos": true}));
    let own = object(json!({"messages": [], "temperature": 0.1, "max_completion_tokens": 5}));
    insta::assert_snapshot!(body(rules, Prompt::Body(own)), @r#"{"messages":[],"temperature":0.1,"max_completion_tokens":5,"model":"qwen","stream":true,"stream_options":{"include_usage":true},"ignore_eos":true}"#);
}

#[test]
fn extra_args_win_and_null_deletes() {
    let mut rules = rules();
    rules.extra = object(json!({"temperature": null, "ignore_eos": true, "max_tokens": 3}));
    insta::assert_snapshot!(body(rules, Prompt::Text("x".into())), @r#"{"model":"qwen","messages":[{"role":"user","content":"x"}],"stream":true,"max_tokens":3,"stream_options":{"include_usage":true},"ignore_eos":true}"#);
}

#[test]
fn a_range_is_drawn_from_the_seed() {
    let mut rules = rules();
    rules.max_tokens = MaxTokens::Uniform(10, 20);
    let draw = || {
        let mut builder = BodyBuilder::new(rules.clone());
        (0..100)
            .map(|i| {
                let body = builder.prepare(i, Prompt::Text("x".into())).unwrap().body;
                let value: Value = serde_json::from_slice(&body).unwrap();
                value["max_tokens"].as_u64().unwrap()
            })
            .collect::<Vec<_>>()
    };
    let drawn = draw();
    assert_eq!(drawn, draw());
    assert_eq!(drawn.iter().min(), Some(&10));
    assert_eq!(drawn.iter().max(), Some(&20));
    // a fingerprint: every recorded run depends on what a seed draws
    assert_eq!(drawn[..6], [14, 17, 19, 13, 19, 14]);
}

#[test]
fn what_is_drawn_depends_on_the_index_alone() {
    let mut rules = rules();
    rules.max_tokens = MaxTokens::Uniform(1, 1 << 40);
    let built = |index| {
        BodyBuilder::new(rules.clone())
            .prepare(index, Prompt::Text("x".into()))
            .unwrap()
            .body
    };
    let mut one = BodyBuilder::new(rules.clone());
    for index in [0, 7, 3, 1 << 33] {
        let body = one.prepare(index, Prompt::Text("x".into())).unwrap().body;
        assert_eq!(body, built(index));
    }
    assert_ne!(built(0), built(1));
}

#[test]
fn a_template_must_be_an_object() {
    let error = |text| BodyRules::parse_template(text).unwrap_err().to_string();
    insta::assert_snapshot!(error("[1]"), @"`--query-template` is not a JSON object: it is a list");
    insta::assert_snapshot!(error("{'a':1}"), @"`--query-template` is not a JSON object: key must be a string at line 1 column 2");
}
#[test]
fn a_request_may_have_its_own_model_and_length() {
    let mut item = Item::from(Prompt::Text("x".into()));
    item.with.model = Some("other".to_owned());
    item.with.max_tokens = Some(3);
    item.with.target = OwnTarget::new("/v1/other").ok();
    item.with.headers.push("x-session", "7").unwrap();
    let mut rules = rules();
    rules.extra = object(json!({"model": "extra", "max_tokens": 5, "max_completion_tokens": 7}));
    let request = BodyBuilder::new(rules).prepare(0, item).unwrap();
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        (&body["model"], &body["max_tokens"]),
        (&json!("other"), &json!(3))
    );
    assert_eq!(body.get("max_completion_tokens"), None);
    assert_eq!(request.headers.fields().len(), 1);
    assert_eq!(request.target, OwnTarget::new("/v1/other").ok());
}

/// A body's own model and `--extra-args` are before the draw, and each counts under the name that is
/// sent.
#[test]
fn models_are_counted_as_they_are_sent() {
    let mix = ModelMix::new(vec!["a".to_owned(), "b".to_owned()], None, 7);
    let mix = mix.unwrap();
    let mut rules = rules();
    rules.typed.insert("model".to_owned(), "a,b".into());
    rules.mix = Some(mix.clone());
    let mut builder = BodyBuilder::new(rules.clone());
    let own = json!({"model": "own", "messages": []});
    let items: Vec<(u64, Item)> = (0..20)
        .map(|k| {
            let prompt = match (k % 5, &own) {
                (0, Value::Object(own)) => Prompt::Body(own.clone()),
                _ => Prompt::Text("hi".to_owned()),
            };
            (k, prompt.into())
        })
        .collect();
    let requests = builder.build(items.clone()).unwrap();
    assert_eq!(builder.models(), ["a", "b", "own"]);
    for (k, request) in (0..).zip(&requests) {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let wanted = if k % 5 == 0 { "own" } else { mix.name_of(k) };
        assert_eq!(body["model"], wanted);
        assert_eq!(builder.models()[request.model.unwrap().index()], wanted);
    }
    rules.extra.insert("model".to_owned(), "extra".into());
    let mut builder = BodyBuilder::new(rules);
    let request = builder.prepare(1, Prompt::Text("hi".to_owned())).unwrap();
    assert_eq!(builder.models()[request.model.unwrap().index()], "extra");
}
