//! Owns request bodies: how a prompt, a template and the sampling options are combined.
//!
//! Precedence: `--extra-args`, then what the user typed, then the template, then a default. A
//! prompt that is itself a body only gets the fields it lacks.

use std::fmt;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::api::Api;
use evalscope_model::plan::sub_seed;
use evalscope_model::prompt::{Item, OwnHeaders, OwnTarget, Prompt};

/// The shape of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `messages`: `/v1/chat/completions`.
    Chat,
    /// `prompt`: `/v1/completions`.
    Completions,
}

/// `--max-tokens`: one value, or a range to draw from for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokens {
    /// The same for all requests.
    Fixed(u64),
    /// Uniform, both bounds included.
    Uniform(u64, u64),
}

/// Everything that determines a body besides the prompt.
#[derive(Clone, Debug)]
pub struct BodyRules {
    /// The API to build bodies for.
    pub api: Arc<dyn Api>,
    /// The shape, unless the prompt determines it.
    pub endpoint: Endpoint,
    /// `--query-template`.
    pub template: Option<Map<String, Value>>,
    /// `%m` of the template.
    pub model: String,
    /// Fields that the user typed as flags; they override the template.
    pub typed: Map<String, Value>,
    /// Default fields; they only fill in what is missing.
    pub defaults: Map<String, Value>,
    /// `max_tokens`.
    pub max_tokens: MaxTokens,
    /// The user typed `--max-tokens`.
    pub max_tokens_typed: bool,
    /// Ask for usage in streams (`stream_options.include_usage`).
    pub include_usage: bool,
    /// `--extra-args`; a `null` deletes a field.
    pub extra: Map<String, Value>,
    /// Seed of the random draws.
    pub seed: u64,
}

/// A request that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedRequest {
    /// Position in its phase, from 0.
    pub index: u64,
    /// The serialised body.
    pub body: Vec<u8>,
    /// A stream was requested.
    pub stream: bool,
    /// Output was requested: a response without any is a failure.
    pub output_asked: bool,
    /// Requested prompt length in tokens, as the server counts them.
    pub asked_tokens: Option<u64>,
    /// Path and query of its own.
    pub target: Option<OwnTarget>,
    /// Headers of its own.
    pub headers: OwnHeaders,
}

/// Why a body cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The template is not a JSON object.
    #[error("`--query-template` is not a JSON object: {0}")]
    Template(String),
    /// The source of the bodies failed.
    #[error(transparent)]
    Builder(Box<dyn std::error::Error + Send + Sync>),
}

/// Builds the bodies of a run, in order.
#[derive(Clone, Debug)]
pub struct BodyBuilder {
    rules: BodyRules,
    template_has_prompt: bool,
    /// For the draws of `max_tokens`.
    seed: u64,
}

impl BodyRules {
    /// Parse a template: a JSON object with `%m` and `%p` inside strings.
    ///
    /// # Errors
    /// If it is not a JSON object.
    pub fn parse_template(text: &str) -> Result<Map<String, Value>, BodyError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(other) => Err(BodyError::Template(format!("it is {}", kind_of(&other)))),
            Err(error) => Err(BodyError::Template(error.to_string())),
        }
    }
}

impl BodyBuilder {
    /// Create a builder; two with the same rules build the same bodies.
    #[must_use]
    pub fn new(mut rules: BodyRules) -> Self {
        rules.extra = rules.api.fields(rules.extra);
        let template_has_prompt = rules
            .template
            .as_ref()
            .is_some_and(|map| map.values().any(mentions_prompt));
        Self {
            seed: sub_seed(rules.seed, "max_tokens"),
            rules,
            template_has_prompt,
        }
    }

    /// Build the body for one dataset item. Random draws depend only on the seed and on `index`,
    /// not on how many bodies were built before.
    pub fn prepare(&mut self, index: u64, item: impl Into<Item>) -> PreparedRequest {
        let Item {
            prompt,
            asked_tokens,
            with,
        } = item.into();
        let max_tokens = match self.rules.max_tokens {
            MaxTokens::Fixed(n) => n,
            MaxTokens::Uniform(low, high) => {
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                rng.set_stream(index);
                rng.random_range(low..=high)
            }
        };
        let own_body = matches!(prompt, Prompt::Body(_));
        let mut body = self.base(prompt);
        let rules = &self.rules;
        if own_body {
            fill(&mut body, &rules.typed);
        } else {
            for (key, value) in &rules.typed {
                body.insert(key.clone(), value.clone());
            }
        }
        fill(&mut body, &rules.defaults);
        let has_limit =
            body.contains_key("max_tokens") || body.contains_key("max_completion_tokens");
        if !has_limit || rules.max_tokens_typed && !own_body {
            body.remove("max_completion_tokens");
            body.insert("max_tokens".to_owned(), max_tokens.into());
        }
        let stream = body.get("stream").and_then(Value::as_bool) == Some(true);
        if !(stream && rules.include_usage && rules.api.takes_stream_options()) {
            body.shift_remove("stream_options");
        } else if !body.contains_key("stream_options") {
            body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        for (key, value) in &rules.extra {
            if value.is_null() {
                body.shift_remove(key);
            } else if !own_body || !body.contains_key(key) {
                body.insert(key.clone(), value.clone());
            }
        }
        // what a request has of its own takes precedence, as the fields of a body do
        if let Some(model) = with.model {
            body.insert("model".to_owned(), model.into());
        }
        if let Some(max_tokens) = with.max_tokens {
            body.shift_remove("max_completion_tokens");
            body.insert("max_tokens".to_owned(), max_tokens.into());
        }
        // servers reject stream options in a request without streaming
        if body.get("stream") == Some(&Value::Bool(false))
            && !rules.extra.contains_key("stream_options")
        {
            body.shift_remove("stream_options");
        }
        let limit = body
            .get("max_tokens")
            .or_else(|| body.get("max_completion_tokens"))
            .and_then(Value::as_u64);
        PreparedRequest {
            index,
            stream: body.get("stream").and_then(Value::as_bool) == Some(true),
            output_asked: limit != Some(0),
            asked_tokens,
            target: with.target,
            headers: with.headers,
            body: serde_json::to_vec(&rules.api.body(body))
                .expect("a JSON value can be serialised"),
        }
    }

    fn base(&self, prompt: Prompt) -> Map<String, Value> {
        let Some(template) = &self.rules.template else {
            let mut body = Map::new();
            return match prompt {
                Prompt::Body(own) => self.rules.api.fields(own),
                prompt => {
                    if !self.rules.model.is_empty() {
                        body.insert("model".to_owned(), self.rules.model.clone().into());
                    }
                    self.place(&mut body, prompt);
                    body
                }
            };
        };
        let mut body = self.rules.api.fields(template.clone());
        match prompt {
            // a complete body is used as it is
            Prompt::Body(own) => return self.rules.api.fields(own),
            prompt if self.template_has_prompt => {
                let text = prompt.text();
                for value in body.values_mut() {
                    substitute(value, &self.rules.model, &text);
                }
            }
            prompt => {
                for value in body.values_mut() {
                    substitute(value, &self.rules.model, "%p");
                }
                self.place(&mut body, prompt);
            }
        }
        body
    }

    fn place(&self, body: &mut Map<String, Value>, prompt: Prompt) {
        let (key, value) = match (self.rules.endpoint, prompt) {
            (Endpoint::Chat, Prompt::Text(text)) => {
                ("messages", json!([{"role": "user", "content": text}]))
            }
            (Endpoint::Completions, Prompt::Text(text)) => ("prompt", Value::String(text)),
            (_, Prompt::Messages(messages)) => ("messages", Value::Array(messages)),
            (_, Prompt::TokenIds(ids)) => ("prompt", json!(ids)),
            (_, Prompt::Body(own)) => ("messages", Value::Object(own)),
        };
        body.insert(key.to_owned(), value);
    }
}

/// Builds the bodies of a run, in order.
pub trait BuildBodies: fmt::Debug + Send {
    /// Build the requests for these items, in order; `first` is the position of the first in its
    /// phase.
    ///
    /// # Errors
    /// If one of them has no valid body. Those already built are lost.
    fn build(&mut self, first: u64, items: Vec<Item>) -> Result<Vec<PreparedRequest>, BodyError>;

    /// The largest number of items worth passing at once: more than one if each call has a cost of
    /// its own.
    fn batch(&self) -> usize {
        1
    }
}

impl BuildBodies for BodyBuilder {
    fn build(&mut self, first: u64, items: Vec<Item>) -> Result<Vec<PreparedRequest>, BodyError> {
        let requests = (first..).zip(items);
        Ok(requests
            .map(|(index, item)| self.prepare(index, item))
            .collect())
    }
}

fn fill(body: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        if !body.contains_key(key) {
            body.insert(key.clone(), value.clone());
        }
    }
}

fn mentions_prompt(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("%p"),
        Value::Array(items) => items.iter().any(mentions_prompt),
        Value::Object(map) => map.values().any(mentions_prompt),
        _ => false,
    }
}

fn substitute(value: &mut Value, model: &str, prompt: &str) {
    match value {
        Value::String(text) if text.contains("%m") || text.contains("%p") => {
            *text = substituted(text, model, prompt);
        }
        Value::Array(items) => {
            for item in items {
                substitute(item, model, prompt);
            }
        }
        Value::Object(map) => {
            for item in map.values_mut() {
                substitute(item, model, prompt);
            }
        }
        _ => {}
    }
}

/// Substitute in one pass, so that a prompt containing `%m` is not changed.
pub(super) fn substituted(text: &str, model: &str, prompt: &str) -> String {
    let mut out = String::with_capacity(text.len() + prompt.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let (with, skip) = match tail.as_bytes().get(1) {
            Some(b'm') => (model, 2),
            Some(b'p') => (prompt, 2),
            _ => ("%", 1),
        };
        out.push_str(with);
        rest = &tail[skip..];
    }
    out.push_str(rest);
    out
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::super::OpenAi;
    use super::*;

    fn rules() -> BodyRules {
        BodyRules {
            api: Arc::new(OpenAi),
            endpoint: Endpoint::Chat,
            template: None,
            model: "qwen".to_owned(),
            typed: Map::new(),
            defaults: json!({"temperature": 0.0, "stream": true})
                .as_object()
                .unwrap()
                .clone(),
            max_tokens: MaxTokens::Fixed(2048),
            max_tokens_typed: false,
            include_usage: true,
            extra: Map::new(),
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
        String::from_utf8(BodyBuilder::new(rules).prepare(0, prompt).body).unwrap()
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
                    let body = builder.prepare(i, Prompt::Text("x".into())).body;
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
                .body
        };
        let mut one = BodyBuilder::new(rules.clone());
        for index in [0, 7, 3, 1 << 33] {
            let body = one.prepare(index, Prompt::Text("x".into())).body;
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
        rules.extra =
            object(json!({"model": "extra", "max_tokens": 5, "max_completion_tokens": 7}));
        let request = BodyBuilder::new(rules).prepare(0, item);
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            (&body["model"], &body["max_tokens"]),
            (&json!("other"), &json!(3))
        );
        assert_eq!(body.get("max_completion_tokens"), None);
        assert_eq!(request.headers.fields().len(), 1);
        assert_eq!(request.target, OwnTarget::new("/v1/other").ok());
    }
}
