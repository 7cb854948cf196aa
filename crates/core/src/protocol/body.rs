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
use super::conversation::{Conversing, NewMessage, PreparedTurn, around_messages, take_messages};
use super::placeholders::{mentions_prompt, substitute};
use super::prepared::PreparedRequest;
use super::reply::append_json;
use super::turn_delay::drawn;
use evalscope_model::conversation::{History, Turn, TurnDelay};
use evalscope_model::mix::{ModelId, ModelMix, number_of};
use evalscope_model::plan::sub_seed;
use evalscope_model::prompt::{Item, Overrides, Prompt};

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
    /// Several models, one of which is drawn for each session; `None`: `model` for all.
    pub mix: Option<ModelMix>,
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
    /// What holds for conversations; `None`: requests are single.
    pub conversations: Option<ConversationRules>,
    /// Seed of the random draws.
    pub seed: u64,
}

/// What determines the turns of conversations.
#[derive(Clone, Debug, Default)]
pub struct ConversationRules {
    /// `--history`.
    pub history: History,
    /// `--max-turns`.
    pub max_turns: Option<u32>,
    /// `--max-turn-tokens`: the limit of each turn, the last one for all that follow; before those of
    /// the dataset. Empty: there are none.
    pub max_turn_tokens: Vec<u64>,
    /// `--turn-delay`; the dataset's own delays take precedence.
    pub delay: Option<TurnDelay>,
    /// `--session-header`.
    pub session_header: Option<SessionHeader>,
    /// `--session-token-header`.
    pub token_header: Option<String>,
    /// `--salt`: what the first line of each conversation begins with, before its number.
    pub salt: Option<String>,
}

impl ConversationRules {
    /// Turns of a conversation that has so many after the first in the dataset.
    fn turns_of(&self, later: usize) -> u64 {
        let most = self.max_turns.map_or(u64::MAX, u64::from);
        (later as u64 + 1).min(most.max(1))
    }

    /// The limit of a turn, from 0.
    fn max_tokens_of(&self, turn: usize) -> Option<u64> {
        let limits = &self.max_turn_tokens;
        limits.get(turn).or(limits.last()).copied()
    }
}

/// A header that names the conversation.
#[derive(Clone, Debug)]
pub struct SessionHeader {
    /// Its name.
    pub name: String,
    /// What stands before the number of a conversation that has no name of its own.
    pub prefix: String,
}

/// Why a body cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The template is not a JSON object.
    #[error("`--query-template` is not a JSON object: {0}")]
    Template(String),
    /// A conversation for an API without messages.
    #[error("conversations need an API whose requests have a list of messages")]
    NoMessages,
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
    /// The models that bodies have named, by their numbers.
    models: Vec<String>,
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

    /// The models that are known before any body is made.
    fn models(&self) -> &[String] {
        match &self.mix {
            Some(mix) => mix.names(),
            None if self.model.is_empty() => &[],
            None => std::slice::from_ref(&self.model),
        }
    }

    /// The same rules for another API. Returns the typed fields that it does not have, which are not
    /// sent.
    #[must_use]
    pub fn with_api(mut self, api: Arc<dyn Api>) -> (Self, Vec<String>) {
        api.set_defaults(&mut self.defaults);
        let mut lost = Vec::new();
        self.typed.retain(|field, _| {
            let is_known = api.takes(field);
            if !is_known {
                lost.push(field.clone());
            }
            is_known
        });
        self.api = api;
        (self, lost)
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
            models: rules.models().to_vec(),
            rules,
            template_has_prompt,
        }
    }

    /// Build the body for one dataset item. Random draws depend only on the seed and on `index`,
    /// not on how many bodies were built before.
    ///
    /// # Errors
    /// If it is a conversation and the API has no list of messages.
    pub fn prepare(
        &mut self,
        index: u64,
        item: impl Into<Item>,
    ) -> Result<PreparedRequest, BodyError> {
        let Item {
            prompt,
            asked_tokens,
            with,
            later,
        } = item.into();
        let max_tokens = self.max_tokens(index);
        let is_verbatim = with.verbatim && matches!(prompt, Prompt::Body(_));
        let mut fields = if is_verbatim {
            self.verbatim(prompt)
        } else {
            self.fields(index, prompt, max_tokens)
        };
        self.set_own(&mut fields, &with);
        // servers reject stream options in a request without streaming
        if fields.get("stream") == Some(&Value::Bool(false))
            && !self.rules.extra.contains_key("stream_options")
        {
            fields.shift_remove("stream_options");
        }
        let limit = fields
            .get("max_tokens")
            .or_else(|| fields.get("max_completion_tokens"))
            .and_then(Value::as_u64);
        let mut request = PreparedRequest {
            index,
            stream: fields.get("stream").and_then(Value::as_bool) == Some(true),
            output_asked: limit != Some(0),
            asked_tokens,
            asked_output_tokens: with.max_tokens,
            model: self.model_in(index, &fields),
            ..PreparedRequest::default()
        };
        if let Some(conversations) = &self.rules.conversations {
            self.converse(&mut request, fields, later, &with, conversations)?;
        } else {
            let body = self.rules.api.body(fields);
            request.inputs = self.rules.api.asked_inputs(&body);
            request.body = to_json(&body);
        }
        let Overrides {
            target,
            headers,
            trace,
            ..
        } = with;
        request.target = target;
        request.trace = trace;
        for (name, value) in headers.fields() {
            // checked when they were made
            let _ = request.headers.push(name, value);
        }
        Ok(request)
    }

    fn max_tokens(&self, index: u64) -> u64 {
        match self.rules.max_tokens {
            MaxTokens::Fixed(n) => n,
            MaxTokens::Uniform(low, high) => {
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                rng.set_stream(index);
                rng.random_range(low..=high)
            }
        }
    }

    /// The number of the model that a body names.
    fn model_in(&mut self, index: u64, body: &Map<String, Value>) -> Option<ModelId> {
        let name = body.get("model").and_then(Value::as_str)?;
        // nearly all have the one that was drawn
        let drawn = self.rules.mix.as_ref().map(|mix| mix.of(index));
        let known = drawn.filter(|drawn| self.models[drawn.index()] == name);
        Some(known.unwrap_or_else(|| number_of(name, &mut self.models)))
    }

    /// The fields of a body that is sent as it stands. Only what makes its usage known is added.
    fn verbatim(&self, prompt: Prompt) -> Map<String, Value> {
        let mut body = self.base(prompt, &self.rules.model);
        let is_stream = body.get("stream").and_then(Value::as_bool) == Some(true);
        if is_stream
            && self.rules.include_usage
            && self.rules.api.takes_stream_options()
            && !body.contains_key("stream_options")
        {
            body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        body
    }

    /// The fields of a body, with OpenAI's names, but for what a request has of its own.
    fn fields(&self, index: u64, prompt: Prompt, max_tokens: u64) -> Map<String, Value> {
        let own_body = matches!(prompt, Prompt::Body(_));
        let rules = &self.rules;
        let drawn = rules.mix.as_ref().map(|mix| mix.name_of(index));
        let mut body = self.base(prompt, drawn.unwrap_or(&rules.model));
        for (key, value) in &rules.typed {
            if own_body && body.contains_key(key) {
                continue;
            }
            let drawn = drawn.filter(|_| key == "model");
            body.insert(
                key.clone(),
                drawn.map_or_else(|| value.clone(), Value::from),
            );
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
        body
    }

    /// What a request has of its own takes precedence, as the fields of a body do.
    fn set_own(&self, body: &mut Map<String, Value>, with: &Overrides) {
        if let Some(model) = &with.model {
            body.insert("model".to_owned(), model.clone().into());
        }
        if let Some(max_tokens) = with.max_tokens {
            self.limit(body, max_tokens, with.exact_output);
        }
    }

    /// Set the number of tokens to generate.
    fn limit(&self, body: &mut Map<String, Value>, max_tokens: u64, is_exact: bool) {
        body.shift_remove("max_completion_tokens");
        body.insert("max_tokens".to_owned(), max_tokens.into());
        let exactly = [
            ("ignore_eos", true.into()),
            ("min_tokens", max_tokens.into()),
        ];
        for (key, value) in exactly.into_iter().filter(|_| is_exact) {
            if !self.rules.extra.contains_key(key) && self.rules.api.takes(key) {
                body.insert(key.to_owned(), value);
            }
        }
    }

    /// Make a conversation of a request, from the fields of its first body.
    fn converse(
        &self,
        request: &mut PreparedRequest,
        mut fields: Map<String, Value>,
        mut later: Vec<Turn>,
        with: &Overrides,
        rules: &ConversationRules,
    ) -> Result<(), BodyError> {
        let conversation = request.index;
        let turns = rules.turns_of(later.len());
        let is_cut = turns <= later.len() as u64;
        later.truncate(usize::try_from(turns - 1).unwrap_or(usize::MAX));
        let mut messages = take_messages(&mut fields);
        if let Some(salt) = &rules.salt {
            add_salt(&mut messages, &format!("[{salt}-{conversation}]"));
        }
        self.rules.api.lift(&mut messages, &mut fields);
        if rules.history == History::KeptByServer {
            fields.insert("store".to_owned(), true.into());
        }
        let items = self.rules.api.items();
        if let Some(items) = items {
            messages = items(messages);
        }
        let around = |turn: usize, max_tokens: Option<u64>| {
            let mut fields = fields.clone();
            // the limit of the first turn is not that of the others
            let shared = || with.max_tokens.map(|_| self.max_tokens(conversation));
            let max_tokens = rules.max_tokens_of(turn).or(max_tokens);
            let max_tokens = max_tokens.or_else(|| shared().filter(|_| turn > 0));
            if let Some(max_tokens) = max_tokens {
                self.limit(&mut fields, max_tokens, with.exact_output);
            }
            if let Some(rid) = with.rid.as_ref().filter(|_| !fields.contains_key("rid")) {
                fields.insert("rid".to_owned(), format!("{rid}_t{}", turn + 1).into());
            }
            let limit = fields.get("max_tokens").and_then(Value::as_u64);
            let body = self.rules.api.body(fields);
            let (opening, tail) = around_messages(body).ok_or(BodyError::NoMessages)?;
            Ok((opening, tail, limit))
        };
        let (opening, tail, _) = around(0, None)?;
        if let Some(limit) = rules.max_tokens_of(0) {
            request.asked_output_tokens = Some(limit);
        }
        let mut own = Conversing {
            history: rules.history,
            session: with.session.clone(),
            token_header: rules.token_header.clone(),
            turns_planned: u32::try_from(later.len() + 1).unwrap_or(u32::MAX),
            is_cut,
            items,
            opening: opening.len(),
            turn_from: opening.len(),
            ..Conversing::default()
        };
        request.body = opening;
        for (n, message) in messages.iter().enumerate() {
            if n > 0 {
                request.body.push(b',');
            }
            append_json(message, &mut request.body);
        }
        request.tail = tail;
        for (turn, next) in (1..).zip(later) {
            let delay = next.delay.or_else(|| {
                let delay = rules.delay?;
                Some(drawn(delay, self.rules.seed, conversation, turn as u64))
            });
            let (_, tail, limit) = around(turn, next.max_tokens)?;
            let messages = next.messages.iter();
            own.turns.push_back(PreparedTurn {
                recorded_reply: next.recorded_reply.as_ref().map(|reply| {
                    let mut json = Vec::new();
                    append_json(reply, &mut json);
                    json
                }),
                messages: messages
                    .map(|m| NewMessage::new(m, rules.history))
                    .collect(),
                tail,
                delay: delay.unwrap_or_default(),
                asked_increment: next.asked_tokens,
                max_tokens: limit,
            });
        }
        if let Some(header) = &rules.session_header {
            let name = match &with.session {
                Some(session) => session.clone(),
                None => format!("{}-{conversation}", header.prefix),
            };
            // a name that HTTP does not allow cannot be sent
            let _ = request.headers.push(&header.name, &name);
        }
        request.conversing = Some(Box::new(own));
        Ok(())
    }

    fn base(&self, prompt: Prompt, model: &str) -> Map<String, Value> {
        let Some(template) = &self.rules.template else {
            let mut body = Map::new();
            return match prompt {
                Prompt::Body(own) => self.rules.api.fields(own),
                prompt => {
                    if !model.is_empty() {
                        body.insert("model".to_owned(), model.into());
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
                    substitute(value, model, &text);
                }
            }
            prompt => {
                for value in body.values_mut() {
                    substitute(value, model, "%p");
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
    /// Build the requests for these items, in order, each with its position in its phase.
    ///
    /// # Errors
    /// If one of them has no valid body. Those already built are lost.
    fn build(&mut self, items: Vec<(u64, Item)>) -> Result<Vec<PreparedRequest>, BodyError>;

    /// How many requests would be made of an item: the turns of a conversation.
    fn requests_of(&self, _: &Item) -> u64 {
        1
    }

    /// The largest number of items worth passing at once: more than one if each call has a cost of
    /// its own.
    fn batch(&self) -> usize {
        1
    }

    /// The names of the models of requests, by their numbers. The list only grows.
    fn models(&self) -> &[String] {
        &[]
    }
}

impl BuildBodies for BodyBuilder {
    fn build(&mut self, items: Vec<(u64, Item)>) -> Result<Vec<PreparedRequest>, BodyError> {
        let requests = items.into_iter();
        requests
            .map(|(index, item)| self.prepare(index, item))
            .collect()
    }

    fn requests_of(&self, item: &Item) -> u64 {
        let rules = self.rules.conversations.as_ref();
        rules.map_or(1, |rules| rules.turns_of(item.later.len()))
    }

    fn models(&self) -> &[String] {
        &self.models
    }
}

fn to_json(body: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(body).expect("a JSON value can be serialised")
}

/// Put a line before everything else that the server reads.
fn add_salt(messages: &mut Vec<Value>, line: &str) {
    let first = messages
        .first_mut()
        .and_then(|first| first.get_mut("content"));
    match first {
        Some(Value::String(text)) => text.insert_str(0, &format!("{line}\n")),
        _ => messages.insert(0, json!({"role": "system", "content": line})),
    }
}

fn fill(body: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        if !body.contains_key(key) {
            body.insert(key.clone(), value.clone());
        }
    }
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
mod tests;
