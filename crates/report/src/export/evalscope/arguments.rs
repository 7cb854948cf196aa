//! Owns `benchmark_args.json`: EvalScope's arguments in its order, with the values of one run.
//!
//! It must not know where a setting comes from. What this program has under another name or in
//! another shape is brought into EvalScope's; what only one of the two has is its default there,
//! or left out.

use std::path::Path;

use super::load::{number, rate};
use super::python::{self, Value};
use crate::evalscope::{NOT_LIMITED, arguments, is_float};
use crate::report::RunReport;

/// What stands in a secret's place: here, and there.
const MASKS: (&str, &str) = ("***", "**********");

/// The arguments of a run whose files are in this folder.
pub(super) fn of(run: &RunReport, folder: &Path) -> Value {
    let fields = arguments().into_iter().map(|(key, default)| {
        let value = of_run(run, folder, &key).unwrap_or_else(|| {
            let setting = run.meta.settings.get(&key).filter(|value| !value.is_null());
            shaped(&key, masked(setting.unwrap_or(&default).clone().into()))
        });
        (key, value)
    });
    Value::Dict(fields.collect())
}

/// An argument that is the run's own, rather than the command's.
fn of_run(run: &RunReport, folder: &Path, key: &str) -> Option<Value> {
    let meta = &run.meta;
    Some(match key {
        "model" => meta.model.as_str().into(),
        "model_id" => meta.model.rsplit('/').next().unwrap_or_default().into(),
        "api" => meta.api.as_str().into(),
        "url" => meta.url.as_str().into(),
        "dataset" => meta.dataset.as_str().into(),
        "headers" => headers(&meta.settings),
        "number" => number(run).into(),
        "parallel" => meta
            .load
            .concurrency
            .map_or(Value::Int(NOT_LIMITED.into()), |slots| {
                (slots.get() as u64).into()
            }),
        "rate" => rate(run).into(),
        "open_loop" => Value::Bool(meta.load.concurrency.is_none()),
        "duration" => meta.load.duration_s.map_or(Value::None, Value::from),
        "dataset_offset" => meta.load.dataset_offset.into(),
        "stream" => Value::Bool(meta.stream),
        "apply_chat_template" => Value::Bool(is_chat(run)),
        "outputs_dir" => folder.display().to_string().as_str().into(),
        _ => return None,
    })
}

/// Whether prompts were chats; early databases do not say so, but the URL does.
fn is_chat(run: &RunReport) -> bool {
    let path = run.meta.url.split(['?', '#']).next().unwrap_or_default();
    let setting = run.meta.settings["apply_chat_template"].as_bool();
    setting.unwrap_or_else(|| path.trim_end_matches('/').ends_with("chat/completions"))
}

/// The headers, with the one that EvalScope makes of the key.
fn headers(settings: &serde_json::Value) -> Value {
    const AUTHORIZATION: &str = "Authorization";
    let Value::Dict(mut headers) = masked(settings["headers"].clone().into()) else {
        return Value::Dict(Vec::new());
    };
    let is_there = |(name, _): &(String, Value)| name.eq_ignore_ascii_case(AUTHORIZATION);
    if !settings["api_key"].is_null() && !headers.iter().any(is_there) {
        headers.push((AUTHORIZATION.to_owned(), MASKS.1.into()));
    }
    Value::Dict(headers)
}

/// A value with EvalScope's mask wherever ours stands.
fn masked(value: Value) -> Value {
    match value {
        Value::Text(text) if text == MASKS.0 => MASKS.1.into(),
        Value::List(items) => Value::List(items.into_iter().map(masked).collect()),
        Value::Dict(fields) => {
            let fields = fields.into_iter();
            Value::Dict(fields.map(|(key, value)| (key, masked(value))).collect())
        }
        value => value,
    }
}

/// A value in the shape that the argument has in EvalScope.
fn shaped(key: &str, value: Value) -> Value {
    match (key, value) {
        (_, Value::Int(whole)) if is_float(key) => Value::Float(whole as f64),
        (_, Value::Float(value)) if !is_float(key) && value.fract() == 0.0 =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a whole number, of seconds or of requests"
            )]
            Value::Int(value as i128)
        }
        // a range has two values, anything else is a scalar
        ("max_tokens", Value::List(mut limits)) if limits.len() == 1 => limits.remove(0),
        ("stop", Value::Text(text)) => Value::List(vec![Value::Text(text)]),
        ("stop_token_ids", Value::List(ids)) => Value::List(
            ids.into_iter()
                .map(|id| match id {
                    Value::Int(id) => id.to_string().as_str().into(),
                    id => id,
                })
                .collect(),
        ),
        // not asked for
        ("logprobs", Value::Bool(false)) => Value::None,
        ("query_template", template @ Value::Dict(_)) => python::line(&template).as_str().into(),
        (_, value) => value,
    }
}
