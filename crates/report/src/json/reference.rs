//! Owns the JSON files of a run in the form of EvalScope 1.14: `benchmark_summary.json`,
//! `benchmark_percentile.json` and `benchmark_args.json`.

use std::num::NonZeroUsize;

use evalscope_model::metrics::PERCENTILE_ROWS;
use serde_json::{Map, Value, json};

use super::conversations::summary_keys;
use crate::evalscope::{NOT_LIMITED, arguments, is_float, summary_figure};
use crate::names::{self, Figure, SUMMARY_KEYS};
use crate::report::RunReport;

/// `benchmark_summary.json`: EvalScope's keys in its order, rounded as it rounds, with our values.
/// A figure without a value is left out: its readers take that, but no `null`.
#[must_use]
pub fn summary(report: &RunReport) -> Value {
    let mut object = Map::new();
    let [before_cache, behind_cache] = match &report.conversations {
        Some(figures) => summary_keys(figures),
        None => Default::default(),
    };
    let add = |object: &mut Map<String, Value>, fields: &[(&str, Value)]| {
        let fields = fields.iter().cloned();
        object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    };
    let cache_at = SUMMARY_KEYS
        .iter()
        .position(|figure| *figure == Figure::CacheHits);
    for (at, figure) in SUMMARY_KEYS.into_iter().enumerate() {
        if Some(at) == cache_at {
            add(&mut object, &before_cache);
        }
        if cache_at.is_some_and(|cache| at == cache + 1) {
            add(&mut object, &behind_cache);
        }
        if figure.is_left_out(report) {
            continue;
        }
        let key = figure.key().expect("a test holds that these have keys");
        let value = match (figure, figure.value(report)) {
            // EvalScope's is a share
            (Figure::Acceptance, names::Value::Number(percent)) => {
                summary_figure(key, percent / 100.0).into()
            }
            (Figure::Rate, names::Value::Missing) => Value::from(NOT_LIMITED as f64),
            (Figure::Concurrency, names::Value::Missing) => Value::from(NOT_LIMITED),
            (_, names::Value::Missing) => continue,
            (_, names::Value::Count(n)) => Value::from(n),
            // as it was given
            (Figure::Rate, names::Value::Number(rate)) => Value::from(rate),
            (_, names::Value::Number(x) | names::Value::Mean(x, _)) => {
                summary_figure(key, x).into()
            }
        };
        object.insert(key.to_owned(), value);
    }
    Value::Object(object)
}

/// `benchmark_percentile.json`: one object per percentile.
#[must_use]
pub fn percentiles(report: &RunReport) -> Value {
    PERCENTILE_ROWS
        .iter()
        .map(|(label, at)| {
            let mut row = Map::new();
            row.insert(names::PERCENTILES.to_owned(), Value::from(*label));
            for (key, _, metric) in names::percentile_columns(report) {
                row.insert(key.to_owned(), Value::from(at(report.metric(metric))));
            }
            Value::Object(row)
        })
        .collect()
}

/// Settings of which nothing in particular may be asked: EvalScope's default stands for that.
const UNASKED: [&str; 6] = [
    "warmup_num",
    "prefix_count",
    "db_commit_interval",
    "queue_size_multiplier",
    "in_flight_task_multiplier",
    "num_workers",
];

/// `benchmark_args.json`: the settings of this run. EvalScope's keys come first, in its order;
/// settings that only this program has follow.
#[must_use]
pub fn args(report: &RunReport) -> Value {
    let meta = &report.meta;
    let mut args = Map::new();
    for (name, default) in arguments() {
        let value = of_this_run(report, &name)
            .or_else(|| meta.settings.get(&name).cloned())
            .filter(|value| !value.is_null() || !UNASKED.contains(&name.as_str()))
            .unwrap_or(default);
        let value = if is_float(&name) { value } else { whole(value) };
        args.insert(name, value);
    }
    for (name, value) in meta.settings.as_object().into_iter().flatten() {
        if !args.contains_key(name) {
            args.insert(name.clone(), value.clone());
        }
    }
    Value::Object(args)
}

/// A whole number without a fraction, as Python has it.
fn whole(value: Value) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is a whole number that an i64 holds exactly"
    )]
    match value.as_f64() {
        Some(number) if value.is_f64() && number.fract() == 0.0 && number.abs() < 1e15 => {
            (number as i64).into()
        }
        _ => value,
    }
}

/// A setting that has another value in each run than in the command.
fn of_this_run(report: &RunReport, name: &str) -> Option<Value> {
    let meta = &report.meta;
    let load = &meta.load;
    match name {
        "model_id" => {
            let model = meta.settings["model"].as_str()?.trim_end_matches('/');
            Some(model.rsplit('/').next().into())
        }
        "number" => Some(load.requests.into()),
        "parallel" => Some(match load.concurrency.map(NonZeroUsize::get) {
            Some(slots) => slots.into(),
            None => NOT_LIMITED.into(),
        }),
        "rate" => Some(json!(report.rate_per_s().unwrap_or(NOT_LIMITED as f64))),
        // without a limit of requests in flight, as EvalScope means it
        "open_loop" if meta.settings.get(name).is_none() => Some(load.concurrency.is_none().into()),
        "dataset_offset" => Some(load.dataset_offset.into()),
        "outputs_dir" => meta.folder.clone().map(Value::from),
        "max_tokens" => match meta.settings.get(name)?.as_array()?.as_slice() {
            [limit] => Some(limit.clone()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn keys(value: &Value) -> Vec<&str> {
        value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect()
    }

    #[test]
    fn the_summary_keeps_the_reference_tools_keys() {
        let report = samples::report(&samples::meta("m"), samples::mixed(30));
        let summary = summary(&report);
        assert_eq!(
            keys(&summary),
            [
                "Test Duration (s)",
                "Concurrency",
                "Request Rate (req/s)",
                "Total Requests",
                "Success Requests",
                "Failed Requests",
                "Stream Requests",
                "Non-Stream Requests",
                "Req Throughput (req/s)",
                "Avg Latency (s)",
                "Avg Input Tokens",
                "Output Throughput (tok/s)",
                "Total Throughput (tok/s)",
                "Avg TTFT (ms)",
                "Avg TPOT (ms)",
                "Avg ITL (ms)",
                "Avg Output Tokens",
                "Input Throughput (tok/s)",
                "KV Cache Hit Rate (%)",
                // the samples have two tokens in an event
                "Avg Decoded Tok/Iter",
                "Spec. Accept Rate",
            ]
        );
        assert_eq!(
            summary["Request Rate (req/s)"].to_string(),
            "-1.0",
            "a float, as in EvalScope"
        );
    }

    #[test]
    fn a_figure_without_a_value_has_no_key() {
        let failed = samples::report(&samples::meta("m"), samples::all_failed(3));
        let nothing = samples::report(&samples::meta("m"), Vec::new());
        let whole = samples::report(&samples::meta("m"), samples::whole_answers(3));
        for report in [&failed, &nothing, &whole] {
            let summary = summary(report);
            for (key, value) in summary.as_object().unwrap() {
                assert!(value.is_number(), "{key}: {value}");
            }
            for gone in ["Avg TTFT (ms)", "Avg TPOT (ms)", "Avg ITL (ms)"] {
                assert_eq!(summary.get(gone), None);
            }
        }
        assert_eq!(summary(&failed).get("Req Throughput (req/s)"), None);
        assert_eq!(summary(&failed)["Failed Requests"], 3);
    }

    #[test]
    fn percentile_rows_keep_the_reference_tools_keys() {
        let report = samples::report(&samples::meta("m"), samples::mixed(30));
        let rows = percentiles(&report);
        assert_eq!(rows.as_array().unwrap().len(), PERCENTILE_ROWS.len());
        insta::assert_snapshot!(serde_json::to_string_pretty(&rows[5]).unwrap());
    }

    #[test]
    fn arguments_are_those_of_the_run_and_in_the_reference_tools_order() {
        let mut meta = samples::meta("org/model");
        meta.settings = json!({
            "insecure": false, "parallel": [1, 5], "number": [10, 30], "rate": [-1.0],
            "max_tokens": [64], "model": "org/model", "alias": "mine", "outputs_dir": "outputs",
            "multi_turn": true, "num_workers": null, "sleep_interval": 5.0, "duration": 30.0,
        });
        meta.load.dataset_offset = 10;
        let args = args(&samples::report(&meta, samples::successes(3)));
        let arguments = arguments();
        let names: Vec<_> = arguments.keys().map(String::as_str).collect();
        assert_eq!(keys(&args)[..names.len()], names);
        assert_eq!(keys(&args)[names.len()..], ["insecure"]);
        for (name, want) in [
            ("model_id", json!("model")),
            ("parallel", json!(5)),
            ("number", json!(30)),
            ("max_tokens", json!(64)),
            ("dataset_offset", json!(10)),
            ("alias", json!("mine")),
            (
                "outputs_dir",
                json!("outputs/20260131_120000/m/parallel_5_number_30"),
            ),
            // of flags that the settings do not have, and of one that they have
            ("sla_variable", json!("parallel")),
            ("num_workers", json!(0)),
            ("multi_turn", json!(true)),
        ] {
            assert_eq!(args[name], want, "{name}");
        }
        assert_eq!(args["rate"].to_string(), "-1.0");
        assert_eq!(args["duration"].to_string(), "30.0");
        assert_eq!(args["sleep_interval"].to_string(), "5");
        assert_eq!(args["open_loop"], false);
        meta.settings["max_tokens"] = json!([64, 128]);
        meta.load.concurrency = None;
        let args = super::args(&samples::report(&meta, samples::successes(3)));
        assert_eq!(args["max_tokens"], json!([64, 128]));
        assert_eq!(
            (&args["parallel"], &args["open_loop"]),
            (&json!(-1), &json!(true))
        );
    }
}
