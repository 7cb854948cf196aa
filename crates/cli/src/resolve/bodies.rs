//! Owns the rules for request bodies: what flags and templates ask of each request.
//!
//! It must not know where requests go.

use std::sync::Arc;

use evalscope_core::protocol::declared::Declaration;
use evalscope_core::protocol::{BodyRules, Endpoint, MaxTokens, OpenAi};
use serde_json::{Map, Value, json};

use crate::failure::hinted;
use crate::flags::generation::GenerationArgs;
use crate::flags::prompts::PromptArgs;

use super::texts::text_or_file;

/// Default length of a response, in tokens.
const DEFAULT_MAX_TOKENS: u64 = 2048;

/// The rules, for now with OpenAI's API. `streams`: unless a flag says otherwise.
pub(super) fn body_rules(
    generation: &GenerationArgs,
    prompts: &PromptArgs,
    model: &str,
    endpoint: Endpoint,
    streams: bool,
    seed: u64,
) -> anyhow::Result<BodyRules> {
    let mut typed = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            typed.insert(name.to_owned(), value);
        }
    };
    put("model", Some(model.into()));
    put("min_tokens", generation.min_tokens.map(Into::into));
    put("temperature", generation.temperature.map(Into::into));
    put("top_p", generation.top_p.map(Into::into));
    put("top_k", generation.top_k.map(Into::into));
    put(
        "frequency_penalty",
        generation.frequency_penalty.map(Into::into),
    );
    put(
        "repetition_penalty",
        generation.repetition_penalty.map(Into::into),
    );
    put("logprobs", generation.logprobs.then_some(true.into()));
    put("n", generation.n_choices.map(Into::into));
    put("seed", generation.seed.map(Into::into));
    put("stop", generation.stop.clone().map(Into::into));
    put(
        "stop_token_ids",
        generation.stop_token_ids.clone().map(Into::into),
    );
    put("stream", generation.stream().map(Into::into));
    let defaults = [("stream", json!(streams)), ("temperature", json!(0.0))]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect();
    let max_tokens = match generation.max_tokens.as_deref() {
        None => MaxTokens::Fixed(DEFAULT_MAX_TOKENS),
        Some([n]) => MaxTokens::Fixed(*n),
        Some([low, high]) if low <= high => MaxTokens::Uniform(*low, *high),
        Some(values @ [_, _]) => {
            return Err(hinted(
                format!("`--max-tokens {}` is not a range", spaced(values)),
                "give one value, or the minimum and then the maximum",
            ));
        }
        Some(values) => {
            return Err(hinted(
                format!(
                    "`--max-tokens {}` has {} values",
                    spaced(values),
                    values.len()
                ),
                "give one value, or two as a range",
            ));
        }
    };
    if let (Some(fewest), Some(typed)) = (generation.min_tokens, &generation.max_tokens)
        && let Some(most) = typed.iter().find(|most| **most < fewest)
    {
        return Err(hinted(
            format!("`--min-tokens {fewest}` is above `--max-tokens {most}`"),
            "lower `--min-tokens` or raise `--max-tokens`",
        ));
    }
    let template = match &prompts.query_template {
        None => None,
        Some(text) => {
            let text = text_or_file("--query-template", text)?;
            let template = BodyRules::parse_template(&text).map_err(|error| {
                hinted(
                    error.to_string(),
                    "give one JSON object, for example '{\"model\": \"%m\", \"messages\": [{\"role\": \
                     \"user\", \"content\": \"%p\"}]}', or @FILE",
                )
            })?;
            Some(template)
        }
    };
    Ok(BodyRules {
        api: Arc::new(OpenAi),
        endpoint,
        template,
        model: model.to_owned(),
        mix: None,
        typed,
        defaults,
        max_tokens,
        max_tokens_typed: generation.max_tokens.is_some(),
        include_usage: true,
        extra: extra_args(generation.extra_args.as_deref())?,
        conversations: None,
        seed,
    })
}

fn extra_args(text: Option<&str>) -> anyhow::Result<Map<String, Value>> {
    let Some(text) = text else {
        return Ok(Map::new());
    };
    let text = &text_or_file("--extra-args", text)?;
    let hint = "give one JSON object, for example '{\"ignore_eos\": true}'";
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(hinted("`--extra-args` is not a JSON object", hint)),
        Err(error) => Err(hinted(format!("`--extra-args` is not JSON: {error}"), hint)),
    }
}

fn spaced(values: &[u64]) -> String {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

/// Look whether what was asked for reaches a declared API.
pub(super) fn look_at_places(
    declaration: &Declaration,
    bodies: &BodyRules,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    if bodies.template.is_some() {
        return Err(hinted(
            "`--query-template` cannot be combined with a declared API: both define the request body",
            "put its fields into `template` in the declaration",
        ));
    }
    let limit = ["max_tokens", "max_completion_tokens"];
    let no_limit = bodies.max_tokens_typed && !limit.iter().any(|field| declaration.takes(field));
    let typed = bodies.typed.keys().map(String::as_str);
    let lost =
        typed.filter(|field| !matches!(*field, "model" | "stream") && !declaration.takes(field));
    for field in lost.chain(no_limit.then_some("max_tokens")) {
        notes.push(format!(
            "the declared API has no field for `{field}`: it is not sent"
        ));
    }
    // a `null` leaves out, and %p takes its text from what is a prompt
    let lost = bodies.extra.iter().filter(|(field, value)| {
        !value.is_null()
            && !matches!(field.as_str(), "messages" | "prompt")
            && !declaration.takes(field)
    });
    for (field, _) in lost {
        notes.push(format!(
            "the declared API has no field for `{field}` in `--extra-args`: it is not sent \
             (`other_fields = true` in `[request]` sends it)"
        ));
    }
    Ok(())
}
