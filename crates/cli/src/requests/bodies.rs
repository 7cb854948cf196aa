//! Owns the source of request bodies: the rules from flags and templates, or a plugin.
//!
//! It must not know how a body reaches the server.

use std::sync::Arc;

use evalscope_core::protocol::{
    BodyBuilder, BodyRules, BuildBodies, Endpoint, MaxTokens, Output, PreparedRequest,
};
use evalscope_model::prompt::{Item, Prompt};
use evalscope_plugin::{Plugin, PluginBodies};

/// Tokens that the test request asks for: the response matters, not its length.
const TEST_TOKENS: u64 = 4;

/// What makes bodies.
#[derive(Clone, Debug)]
pub(crate) struct BodySource {
    pub(crate) rules: BodyRules,
    /// What makes them instead of the rules.
    pub(crate) plugin: Option<Arc<Plugin>>,
    /// A request to test the server with; `None`: a greeting does.
    pub(crate) first: Option<Item>,
}

impl BodySource {
    /// A builder for a run.
    pub(crate) fn builder(&self) -> Box<dyn BuildBodies> {
        match &self.plugin {
            Some(plugin) => {
                let chat = self.rules.endpoint == Endpoint::Chat;
                Box::new(PluginBodies::new(Arc::clone(plugin), chat))
            }
            None => Box::new(BodyBuilder::new(self.rules.clone())),
        }
    }

    /// The same with one model for all requests.
    pub(crate) fn asking_for(&self, model: &str) -> Self {
        let mut source = self.clone();
        let rules = &mut source.rules;
        rules.mix = None;
        model.clone_into(&mut rules.model);
        rules.typed.insert("model".to_owned(), model.into());
        source
    }

    /// The models that the test request has to ask for: those of the mix, unless it names its own.
    pub(crate) fn tested_models(&self) -> Vec<String> {
        let has_own = match self.first.as_ref().map(|first| &first.prompt) {
            Some(Prompt::Body(body)) => body.contains_key("model"),
            _ => false,
        };
        let mix = self.rules.mix.as_ref().filter(|_| !has_own);
        mix.map_or_else(
            || vec![self.rules.model.clone()],
            |mix| mix.names().to_vec(),
        )
    }

    /// The test request. A plugin gets its prompt unchanged, and decides itself how long the
    /// response may be.
    pub(crate) fn test_request(&self) -> anyhow::Result<PreparedRequest> {
        let mut source = self.clone();
        let rules = &mut source.rules;
        rules.max_tokens = MaxTokens::Fixed(TEST_TOKENS);
        rules.max_tokens_typed = true;
        // servers reject a limit below the minimum
        rules.typed.shift_remove("min_tokens");
        rules.extra.shift_remove("min_tokens");
        let item = match self.first.clone() {
            Some(first) => shortened(first),
            None => greeting(source.rules.api.output()).into(),
        };
        let mut requests = source.builder().build(vec![(0, item)])?;
        Ok(requests.remove(0))
    }

    /// The same without `stream_options`, where they are sent.
    pub(crate) fn without_usage(&self) -> Option<Self> {
        let sent = self.plugin.is_none()
            && self.rules.include_usage
            && self.rules.api.takes_stream_options();
        sent.then(|| {
            let mut without = self.clone();
            without.rules.include_usage = false;
            without
        })
    }
}

/// What a server is asked in the test request.
fn greeting(output: Output) -> Prompt {
    match output {
        Output::Generated | Output::Vectors => Prompt::Text("hello".to_owned()),
        Output::Scores => {
            let ranking = [
                ("query".to_owned(), "hello".into()),
                ("documents".to_owned(), vec!["hello"].into()),
            ];
            Prompt::Body(ranking.into_iter().collect())
        }
    }
}

/// A recorded request with a short output.
fn shortened(mut item: Item) -> Item {
    if let Prompt::Body(body) = &mut item.prompt {
        for field in ["min_tokens", "ignore_eos"] {
            body.shift_remove(field);
        }
    }
    item.with.max_tokens = Some(TEST_TOKENS);
    item.with.exact_output = false;
    item.with.trace = None;
    item
}
