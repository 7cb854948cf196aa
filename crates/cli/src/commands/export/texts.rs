//! Owns reading the generated text of recorded responses, by the API that they came from.
//!
//! It must not know where a text goes.

use std::sync::Arc;

use evalscope_core::protocol::{
    AnswerText, Api, BodyRules, ChoiceText, Endpoint, MaxTokens, OpenAi,
};
use evalscope_report::RunMeta;
use evalscope_report::export::{GeneratedText, TextReader};
use serde_json::Map;
use url::Url;

use crate::catalog::apis::APIS;

/// What the report crate takes.
pub(super) type Reader = TextReader<'static>;

/// The generated text of a response. Of several choices, one after the other, each on a line of its own.
/// An API that is not built in is read as OpenAI's; where that finds nothing, there is no text.
pub(super) fn read(meta: &RunMeta, events: &[String]) -> Option<GeneratedText> {
    let api = api_of(meta);
    let mut text = AnswerText::default();
    for event in events {
        api.read_text(event.as_bytes(), &mut text);
    }
    if text.choices.is_empty() {
        return None;
    }
    let joined = |part: fn(&ChoiceText) -> &str| {
        let parts: Vec<&str> = text.choices.iter().map(part).collect();
        if parts.iter().all(|part| part.is_empty()) {
            String::new()
        } else {
            parts.join("\n")
        }
    };
    Some(GeneratedText {
        answer: joined(|choice| &choice.content),
        reasoning: joined(|choice| &choice.reasoning),
    })
}

fn api_of(meta: &RunMeta) -> Arc<dyn Api> {
    let Some(row) = APIS.find(&meta.api) else {
        return Arc::new(OpenAi);
    };
    // those of a run differ in no way that matters here
    let url = meta.urls.first().unwrap_or(&meta.url);
    let path = Url::parse(url).map(|url| url.path().to_owned());
    let fields = |setting: &str| meta.settings[setting].as_object().cloned();
    let rules = BodyRules {
        api: Arc::new(OpenAi),
        endpoint: Endpoint::Chat,
        template: fields("query_template"),
        model: meta.model.clone(),
        mix: None,
        typed: Map::new(),
        defaults: Map::new(),
        max_tokens: MaxTokens::Fixed(0),
        max_tokens_typed: false,
        include_usage: false,
        extra: fields("extra_args").unwrap_or_default(),
        conversations: None,
        seed: 0,
    };
    (row.make)(&path.unwrap_or_default(), &rules)
}
