//! Owns what the lists of vLLM's `--save-detailed` say: how much figures vary, and percentiles that the result does not
//! have. They have an item for each request, in order of dispatch.
//!
//! It must not know the other keys of the result.

use std::collections::BTreeMap;

use evalscope_model::metrics::{Metric, Samples};
use evalscope_model::time::Timestamp;
use serde_json::Value;

use super::blocks::AllBlocks;
use super::within::{Sums, Within, too_short};
use crate::names::{FigureKey, Stat, percentiles};

/// Metrics that the lists have times of.
const TIMED: [Metric; 4] = [Metric::Ttft, Metric::Tpot, Metric::Itl, Metric::Latency];

/// What the lists say.
#[derive(Default)]
pub(super) struct Detailed {
    pub(super) values: BTreeMap<FigureKey, f64>,
    pub(super) ln_variances: BTreeMap<FigureKey, f64>,
    pub(super) blocks: AllBlocks,
    pub(super) is_short: bool,
    pub(super) without_intervals: Option<String>,
}

/// A request of the lists; times in nanoseconds.
struct Request<'a> {
    start: Option<f64>,
    ttft: f64,
    gaps: &'a [Value],
    input: Option<f64>,
    output: Option<f64>,
    failed: bool,
}

impl Request<'_> {
    fn gaps(&self) -> impl Iterator<Item = f64> {
        self.gaps.iter().filter_map(Value::as_f64).map(|s| s * 1e9)
    }

    /// Pass its samples of a metric to `sink`, as vLLM computes them.
    fn samples(&self, metric: Metric, sink: &mut dyn FnMut(f64)) {
        let decoding: f64 = self.gaps().sum();
        match metric {
            Metric::Ttft => sink(self.ttft),
            Metric::Itl => self.gaps().for_each(sink),
            Metric::Latency => sink(self.ttft + decoding),
            Metric::Tpot => {
                if let Some(output) = self.output.filter(|tokens| *tokens > 1.0) {
                    sink(decoding / (output - 1.0));
                }
            }
            _ => {}
        }
    }
}

fn requests(result: &Value) -> Option<Vec<Request<'_>>> {
    let (ttfts, itls) = (result["ttfts"].as_array()?, result["itls"].as_array()?);
    let at = |key: &str, nth: usize| result[key][nth].as_f64();
    let all = ttfts
        .iter()
        .zip(itls)
        .enumerate()
        .map(|(nth, (ttft, gaps))| {
            let ttft = ttft.as_f64().filter(|s| *s > 0.0);
            let has_error = result["errors"][nth]
                .as_str()
                .is_some_and(|text| !text.is_empty());
            Request {
                start: at("start_times", nth),
                ttft: ttft.unwrap_or(0.0) * 1e9,
                gaps: gaps.as_array().map_or(&[], Vec::as_slice),
                input: at("input_lens", nth),
                output: at("output_lens", nth),
                // a request that failed has 0 or null
                failed: has_error || ttft.is_none(),
            }
        });
    Some(all.collect()).filter(|all: &Vec<_>| !all.is_empty())
}

impl Detailed {
    /// What the lists of a result say; `None` without them.
    pub(super) fn of(result: &Value, further: &[FigureKey]) -> Option<Self> {
        let mut requests = requests(result)?;
        let first = requests
            .iter()
            .filter_map(|own| own.start)
            .fold(f64::INFINITY, f64::min);
        let has_starts = requests.iter().all(|own| own.start.is_some());
        if has_starts {
            let start = |own: &Request<'_>| own.start.unwrap_or(first);
            requests.sort_by(|a, b| start(a).total_cmp(&start(b)));
        }
        let mut sums = Sums::default();
        let mut samples: BTreeMap<Metric, Samples> =
            TIMED.map(|metric| (metric, metric.collection())).into();
        for (nth, request) in requests.iter().enumerate() {
            let since = if has_starts {
                (request.start.unwrap_or(first) - first) * 1e9
            } else {
                nth as f64
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative"
            )]
            let at = Timestamp::from_nanos(since as u64);
            sums.loses(at, request.failed);
            let succeeded = if request.failed { 0.0 } else { 1.0 };
            let of = |tokens: Option<f64>| tokens.unwrap_or(0.0) * succeeded;
            sums.delivers(at, [succeeded, of(request.input), of(request.output)]);
            if request.failed {
                continue;
            }
            for (metric, samples) in &mut samples {
                request.samples(*metric, &mut |value| samples.push(value));
                sums.times(at, *metric, |sink| request.samples(*metric, sink));
            }
        }
        let within = Within::finish(sums, further);
        let mut values = BTreeMap::new();
        for (metric, samples) in samples {
            let extra = further.iter().filter_map(|own| own.further_percentile());
            let extra = extra.filter(|(of, _)| *of == metric).map(|(_, own)| own);
            let all: Vec<_> = percentiles().chain(extra).collect();
            let shares: Vec<f64> = all.iter().map(|own| own.share()).collect();
            for (own, value) in all
                .into_iter()
                .zip(samples.quantiles(&shares, metric.scale()))
            {
                let figure = FigureKey::Metric(metric, Stat::Percentile(own));
                values.extend(value.map(|value| (figure, value)));
            }
        }
        let mut ln_variances = within.ln_variances;
        // without moments, how long a run took to dispatch is unknown
        let (short, without) = if has_starts {
            (within.short, within.short.map(too_short))
        } else {
            ln_variances.retain(|figure, _| matches!(figure, FigureKey::Metric(..)));
            (None, Some(WITHOUT_STARTS.to_owned()))
        };
        Some(Self {
            values,
            ln_variances,
            blocks: within.blocks,
            is_short: short.is_some(),
            without_intervals: without,
        })
    }
}

/// Why throughput has no interval.
const WITHOUT_STARTS: &str = "the lists of vLLM's `--save-detailed` have no `start_times`, so nothing says how much throughput varies";
