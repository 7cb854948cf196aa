//! Owns the table of a speed benchmark: output speed by length of the prompt.
//!
//! Source of its columns: the Python tool's `speed_benchmark.json`.

use std::collections::BTreeMap;

use evalscope_model::metrics::Metric;
use evalscope_model::record::RequestRecord;
use serde_json::{Value, json};

/// The names of datasets whose runs have the table begin like this.
const DATASETS: &str = "speed_benchmark";

/// Whether a run with this dataset has the table.
#[must_use]
pub fn is_measured(dataset: &str) -> bool {
    dataset.starts_with(DATASETS)
}

/// The speed at one length.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeedRow {
    /// Tokens of the prompts; `None` if they are unknown.
    pub prompt_tokens: Option<u64>,
    /// Successes of this length.
    pub requests: u64,
    /// Output tokens over latency, the mean over those requests, tokens/s;
    /// `None` where the tokens are unknown.
    pub tokens_per_s: Option<f64>,
}

/// Sums up the table.
#[derive(Debug, Default)]
pub struct Speeds {
    rows: BTreeMap<Option<u64>, Sum>,
}

#[derive(Debug, Default)]
struct Sum {
    requests: u64,
    with_speed: u64,
    tokens_per_s: f64,
}

impl Speeds {
    /// Take a record in.
    pub fn push(&mut self, record: &RequestRecord) {
        if !record.succeeded() {
            return;
        }
        let sum = self.rows.entry(record.prompt_tokens().0).or_default();
        sum.requests += 1;
        let latency = Metric::Latency.of_request(record).filter(|ns| *ns > 0.0);
        if let (Some(tokens), Some(latency_ns)) = (record.output_tokens().0, latency) {
            sum.with_speed += 1;
            sum.tokens_per_s += tokens as f64 / (latency_ns / 1e9);
        }
    }

    /// The rows, by length.
    #[must_use]
    pub fn finish(self) -> Vec<SpeedRow> {
        self.rows
            .into_iter()
            .map(|(prompt_tokens, sum)| SpeedRow {
                prompt_tokens,
                requests: sum.requests,
                tokens_per_s: (sum.with_speed > 0)
                    .then(|| sum.tokens_per_s / sum.with_speed as f64),
            })
            .collect()
    }
}

/// `speed_benchmark.json`, with the Python tool's keys. The memory of the
/// server's GPUs is only seen where this tool has started the server.
#[must_use]
pub fn json(rows: &[SpeedRow], gpu_memory_gb: Option<f64>) -> Value {
    rows.iter()
        .map(|row| {
            json!({
                "Prompt Tokens": row.prompt_tokens,
                "Speed(tokens/s)": row.tokens_per_s,
                "GPU Memory(GB)": gpu_memory_gb,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn requests_of_a_length_make_a_row() {
        let mut speeds = Speeds::default();
        let records = samples::mixed(12);
        let succeeded = records.iter().filter(|e| e.record.succeeded()).count() as u64;
        for (i, mut exchange) in records.into_iter().enumerate() {
            exchange.record.usage.prompt_tokens = Some([1, 6144][i % 2]);
            speeds.push(&exchange.record);
        }
        let rows = speeds.finish();
        let lengths: Vec<_> = rows.iter().map(|row| row.prompt_tokens).collect();
        assert_eq!(lengths, [Some(1), Some(6144)]);
        assert_eq!(rows.iter().map(|row| row.requests).sum::<u64>(), succeeded);
        assert!(
            rows.iter()
                .all(|row| row.tokens_per_s.is_some_and(|speed| speed > 0.0))
        );
        let keys = json(&rows, Some(1.5));
        assert_eq!(keys[0]["Prompt Tokens"], 1);
        assert!(keys[1]["Speed(tokens/s)"].is_number());
        assert_eq!(keys[1]["GPU Memory(GB)"], 1.5);
    }

    #[test]
    fn only_its_data_sets_have_the_table() {
        assert!(is_measured("speed_benchmark_long") && !is_measured("openqa"));
    }
}
