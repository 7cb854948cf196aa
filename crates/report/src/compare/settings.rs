//! Owns which settings two runs must share to be compared, and in which they differ.
//!
//! It must not know figures. What says where a server is, what it is called and which machine measured
//! may differ.

use serde::Serialize;
use serde_json::{Map, Value};

/// Settings that must be equal, by the name of their flag.
const EQUAL: [&str; 57] = [
    "model",
    "model_weights",
    "api",
    "stream",
    "open_loop",
    "arrivals",
    "max_in_flight",
    "when_full",
    "drain_timeout",
    "warmup_num",
    "slo",
    "slo_from",
    "multi_turn",
    "history",
    "min_turns",
    "max_turns",
    "max_turn_tokens",
    "turn_delay",
    "max_context",
    "salt",
    "finish_conversations",
    "connections",
    "dataset",
    "dataset_path",
    "prompt_field",
    "skip_bad_lines",
    "dataset_args",
    "dataset_offset",
    "repeat_prompts",
    "tokenizer_path",
    "tokenize_prompt",
    "prefix_length",
    "prefix_count",
    "image_num",
    "image_width",
    "image_height",
    "image_format",
    "image_patch_size",
    "prompt",
    "query_template",
    "min_prompt_length",
    "max_prompt_length",
    "apply_chat_template",
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "repetition_penalty",
    "logprobs",
    "n_choices",
    "seed",
    "stop",
    "stop_token_ids",
    "extra_args",
    "attn_implementation",
];

/// Settings whose value is a path: only the last part of it matters.
const PATHS: [&str; 2] = ["dataset_path", "tokenizer_path"];

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Difference {
    /// The name of the setting, or `workload`.
    pub setting: String,
    /// Its value in the base.
    pub base: Value,
    /// Its value in the new runs.
    pub new: Value,
}

impl Difference {
    pub(super) fn text(&self) -> String {
        format!(
            "{}: {} in the base, {} in the new runs",
            self.setting,
            shown(&self.base),
            shown(&self.new)
        )
    }
}

/// A value as people write it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    }
}

/// The same without marks around text.
pub(super) fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| shown(value), str::to_owned)
}

/// The names that `--allow-different` takes.
pub fn names() -> impl Iterator<Item = &'static str> {
    EQUAL.into_iter().chain([WORKLOAD, CLIENT])
}

/// The name under which the seen workload may differ.
pub(super) const WORKLOAD: &str = "workload";

/// The name under which clients may have been limited.
pub(super) const CLIENT: &str = "client";

/// Of all settings of a command, those that must be equal.
pub(super) fn that_matter(settings: &Value) -> Map<String, Value> {
    let known = EQUAL.iter().filter_map(|name| {
        let value = settings.get(*name)?;
        let last = value
            .as_str()
            .filter(|_| PATHS.contains(name))
            .map(last_part);
        Some((
            (*name).to_owned(),
            last.map_or_else(|| value.clone(), Value::from),
        ))
    });
    known.collect()
}

fn last_part(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path)
}

/// What differs of the settings that are known of both sides.
pub(super) fn differences(base: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Difference> {
    let both = base
        .iter()
        .filter_map(|(name, value)| Some((name, value, new.get(name)?)));
    both.filter(|(_, a, b)| a != b)
        .map(|(name, a, b)| Difference {
            setting: name.clone(),
            base: a.clone(),
            new: b.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_matters_and_is_known_differs() {
        let of = |settings: Value| that_matter(&settings);
        let a = of(
            json!({"url": "http://a", "model": "m", "dataset_path": "/a/b.jsonl", "top_p": 1.0}),
        );
        let b = of(json!({"url": "http://b", "model": "n", "dataset_path": "b.jsonl", "seed": 3}));
        let differ = differences(&a, &b);
        assert_eq!(differ.len(), 1, "{differ:?}");
        assert_eq!(
            differ[0].text(),
            "model: `m` in the base, `n` in the new runs"
        );
    }
}
