//! Owns the form of `vllm bench serve --save-result`: one JSON object for a run, with its keys in their
//! order. Figures are those of `result.json`; none is changed to look like vLLM's.
//!
//! It must not know how a figure is computed. Source of the keys: `vllm/benchmarks/serve.py` of vLLM.

mod lists;
mod object;

use std::io::Write;

use evalscope_model::metrics::{Distribution, Metric, output_by_time};
use evalscope_model::plan::Pacing;
use evalscope_model::profile::Gaps;
use evalscope_model::record::Phase;
use serde_json::{Map, Value, json};

use self::object::Object;
use super::chosen::ChosenRun;
use super::runs::{ExportError, local_second};
use super::table::TextReader;
use crate::model::Tool;
use crate::report::RunReport;
use crate::series::{MOST_BINS, RunSeries};
use crate::sqlite::Reader;

/// What the figures mean here, by the part of the keys that names them.
const DEFINITIONS: [(&str, &str); 8] = [
    (
        "duration",
        "from the first dispatch of a measured request to the end of the last",
    ),
    (
        "failed",
        "requests that were sent and failed; none that was never sent or given up at the end of the run",
    ),
    (
        "ttft",
        "from the start of the send to the first event with generated text, reasoning included; successes",
    ),
    (
        "tpot",
        "from the first token to the end of the generation, over the tokens after the first; successes",
    ),
    (
        "itl",
        "between the events with generated text of a choice; successes",
    ),
    (
        "e2el",
        "from the start of the send to the last data event; successes",
    ),
    ("std", "of the sample: n - 1"),
    (
        "max_output_tokens_per_s",
        "in a second counted from the first dispatch; the tokens of a response arrive with its events, \
         each with the same share",
    ),
];

/// Metrics, and how the keys name them.
const METRICS: [(Metric, &str); 4] = [
    (Metric::Ttft, "ttft"),
    (Metric::Tpot, "tpot"),
    (Metric::Itl, "itl"),
    (Metric::Latency, "e2el"),
];

/// Write a run, with lists of all requests if there is something that reads the text of responses.
///
/// # Errors
/// If the database cannot be read, or nothing can be written.
pub fn write(
    run: &ChosenRun,
    detailed: Option<&TextReader<'_>>,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let report = run.report()?;
    let mut fields = head(&report);
    fields.extend(figures(&report)?);
    let mut object = Object::new(out)?;
    for (key, value) in fields {
        object.put(&key, &value)?;
    }
    if let Some(text) = detailed {
        lists::write(run, text, &mut object)?;
    }
    for (metric, name) in METRICS {
        let to_ms = match metric {
            Metric::Latency => 1e3,
            _ => 1.0,
        };
        for (statistic, value) in statistics(report.metric(metric)) {
            let value = value.map(|value| value * to_ms);
            object.put(&format!("{statistic}_{name}_ms"), &json!(value))?;
        }
    }
    let definitions = DEFINITIONS.map(|(name, text)| (name.to_owned(), Value::from(text)));
    object.put(
        "evalscope",
        &json!({
            "version": Tool::this().version,
            "run": run.name,
            "state": report.state.as_str(),
            "definitions": Map::from_iter(definitions),
        }),
    )?;
    object.finish()
}

/// What was asked for.
fn head(report: &RunReport) -> Map<String, Value> {
    let meta = &report.meta;
    let load = &meta.load;
    let mut head = Map::new();
    let mut put = |key: &str, value: Value| {
        head.insert(key.to_owned(), value);
    };
    let backend = backend(report);
    put("date", local_second(report, '-').into());
    put("endpoint_type", backend.into());
    put("backend", backend.into());
    put("label", json!(meta.alias()));
    put("model_id", meta.model.as_str().into());
    put("tokenizer_id", meta.settings["tokenizer_path"].clone());
    put(
        "num_prompts",
        load.requests.unwrap_or(report.totals.total).into(),
    );
    for (key, value) in &meta.metadata {
        put(key, value.as_str().into());
    }
    let rate = report
        .rate_per_s()
        .map_or_else(|| "inf".into(), Value::from);
    put("request_rate", rate);
    put("burstiness", json!(burstiness(&load.pacing)));
    put("max_concurrency", json!(load.concurrency));
    head
}

/// The name of the API in vLLM.
fn backend(report: &RunReport) -> &str {
    let path = report.meta.url.split(['?', '#']).next().unwrap_or_default();
    match report.meta.api.as_str() {
        "openai" if path.ends_with("/chat/completions") => "openai-chat",
        api => api,
    }
}

/// The shape of the gaps between arrivals; `None` where none is drawn.
fn burstiness(pacing: &Pacing) -> Option<f64> {
    match pacing.schedule()?.gaps {
        Gaps::Poisson => Some(1.0),
        Gaps::Gamma { shape } => Some(shape),
        Gaps::Constant => None,
    }
}

fn figures(report: &RunReport) -> Result<Map<String, Value>, ExportError> {
    let totals = &report.totals;
    let known = |metric: Metric, sum: u64| (report.metric(metric).count > 0).then_some(sum);
    let goodput = report.goodput.as_ref();
    let (peak, concurrent) = peaks(report)?;
    let Value::Object(figures) = json!({
        "duration": totals.duration_s(),
        "completed": totals.succeeded,
        "failed": totals.failed(),
        "total_input_tokens": known(Metric::InputTokens, totals.input_tokens),
        "total_output_tokens": known(Metric::OutputTokens, totals.output_tokens),
        "request_throughput": report.requests_per_s(),
        "request_goodput": goodput.and_then(|goodput| goodput.requests_per_s),
        "output_throughput": report.output_tokens_per_s(),
        "total_token_throughput": report.total_tokens_per_s(),
        "max_output_tokens_per_s": peak,
        "max_concurrent_requests": concurrent,
    }) else {
        unreachable!("it is an object");
    };
    Ok(figures)
}

/// The most output tokens in a second, and the most requests in flight at a moment.
fn peaks(report: &RunReport) -> Result<(Option<f64>, Option<u64>), ExportError> {
    let Some(start) = report.totals.first_dispatch else {
        return Ok((None, None));
    };
    let mut seconds: Vec<f64> = Vec::new();
    Reader::open(&report.database)?.for_each_for_charts(Phase::Measured, |_, record| {
        output_by_time(&record, |at, tokens| {
            let second = at.nanos_since(start) / 1_000_000_000;
            let second = usize::try_from(second).expect("a run has fewer seconds");
            if seconds.len() <= second {
                seconds.resize(second + 1, 0.0);
            }
            seconds[second] += tokens;
        });
        Ok(())
    })?;
    let series = RunSeries::load(report, MOST_BINS)?;
    let in_flight = series.in_flight.as_ref().ok();
    let most = in_flight.and_then(|one| one.max[series.axis.warmup_bins..].iter().max().copied());
    Ok((seconds.into_iter().reduce(f64::max), most))
}

/// Statistics by the start of their keys.
fn statistics(distribution: &Distribution) -> [(&'static str, Option<f64>); 6] {
    [
        ("mean", distribution.mean),
        ("median", distribution.p50),
        ("std", distribution.std),
        ("p90", distribution.p90),
        ("p95", distribution.p95),
        ("p99", distribution.p99),
    ]
}

#[cfg(test)]
mod tests;
