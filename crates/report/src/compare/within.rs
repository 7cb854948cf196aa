//! Owns how much the figures of a run vary within it, from its records.
//!
//! It must not know what the figures of a run are: it only says how sure they are.

use std::collections::BTreeMap;

use evalscope_model::metrics::{
    BlockBootstrap, Delivery, Judge, Metric, Outcome, variance_inflation,
};
use evalscope_model::record::{FailureKind, Phase, RequestRecord};
use evalscope_model::time::Timestamp;

use crate::names::{FigureKey, METRICS, Rate, Stat, percentiles};
use crate::source::RecordSource;
use crate::sqlite::StoreError;

/// Requests whose times are drawn again; of a longer run, every second, third, and so on.
const MOST_REQUESTS: u64 = 50_000;

/// Gaps between tokens of one request that are drawn again, spread over it.
const MOST_GAPS: usize = 4;

/// How sure the figures of a run are.
#[derive(Debug, Default)]
pub(super) struct Within {
    /// Variances of logarithms.
    pub(super) ln_variances: BTreeMap<FigureKey, f64>,
    /// By how much the share of lost requests varies more than that of independent ones.
    pub(super) of_lost: f64,
    /// The same of good requests.
    pub(super) of_good: f64,
}

/// Values of a run with the moments of dispatch of their requests.
type Series = Vec<(Timestamp, f64)>;

/// Collects what is drawn again.
#[derive(Default)]
struct Sums {
    wanted: Vec<Metric>,
    metrics: BTreeMap<Metric, Series>,
    /// Of each request: dispatch, and requests, prompt and output tokens that it delivered.
    delivered: Vec<(Timestamp, [f64; 3])>,
    lost: Series,
    good: Series,
}

impl Sums {
    fn push(&mut self, record: &RequestRecord) {
        if !record.dispatched() {
            return;
        }
        let at = record.times.dispatched;
        for metric in &self.wanted {
            let series = self.metrics.entry(*metric).or_default();
            let begin = series.len();
            metric.samples(record, |value| series.push((at, value)));
            let own = series.len() - begin;
            if own > MOST_GAPS {
                for nth in 0..MOST_GAPS {
                    series[begin + nth] = series[begin + nth * own / MOST_GAPS];
                }
                series.truncate(begin + MOST_GAPS);
            }
        }
        let succeeded = record.succeeded();
        let of = |tokens: Option<u64>| tokens.filter(|_| succeeded).unwrap_or(0) as f64;
        let delivered = [
            f64::from(u8::from(succeeded)),
            of(record.prompt_tokens().0),
            of(record.output_tokens().0),
        ];
        self.delivered.push((at, delivered));
    }

    fn push_outcome(&mut self, record: &RequestRecord, judge: Option<&Judge>) {
        let at = record.times.dispatched;
        let value = |yes: bool| f64::from(u8::from(yes));
        let is_left_out = record.failure.as_ref().is_some_and(|failure| {
            let kind = failure.kind;
            matches!(
                kind,
                FailureKind::Cancelled | FailureKind::ContextLimit | FailureKind::NotSent
            )
        });
        if !is_left_out {
            self.lost.push((at, value(!record.succeeded())));
        }
        if let Some(judge) = judge {
            match judge.judge(record).outcome {
                Outcome::LeftOut => {}
                outcome => self.good.push((at, value(outcome == Outcome::Good))),
            }
        }
    }
}

/// Values alone, in order of dispatch.
fn in_order(mut series: Series) -> Vec<f64> {
    series.sort_by_key(|(at, _)| *at);
    series.into_iter().map(|(_, value)| value).collect()
}

impl Within {
    /// Read the measured requests of a run.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn of(source: &dyn RecordSource) -> Result<Self, StoreError> {
        let meta = source.meta();
        let delivery = if meta.stream {
            Delivery::Stream
        } else {
            Delivery::Whole
        };
        let objective = meta.objective.clone();
        let judge = objective.map(|own| Judge::new(own.slo, own.from, delivery));
        let every = source
            .count(Phase::Measured)?
            .div_ceil(MOST_REQUESTS)
            .max(1);
        let reports = |metric: &Metric| meta.reports_handoff() || !metric.is_of_handoff();
        let mut sums = Sums {
            wanted: METRICS.into_iter().filter(reports).collect(),
            ..Sums::default()
        };
        let mut nth = 0;
        source.for_each(Phase::Measured, &mut |_, record| {
            if nth % every == 0 {
                sums.push(&record);
            }
            nth += 1;
            sums.push_outcome(&record, judge.as_ref());
            Ok(())
        })?;
        Ok(Self::finish(sums))
    }

    fn finish(mut sums: Sums) -> Self {
        let inflation = |series: Series| variance_inflation(&in_order(series).into_iter());
        let mut own = Self {
            ln_variances: BTreeMap::new(),
            of_lost: inflation(sums.lost),
            of_good: inflation(sums.good),
        };
        let Some(bootstrap) = BlockBootstrap::new(sums.delivered.len()) else {
            return own;
        };
        sums.delivered.sort_by_key(|(at, _)| *at);
        let dispatched = sums.delivered.iter().map(|(at, _)| *at);
        // up to the next dispatch; after the last one nothing is known
        let spans: Vec<f64> = dispatched
            .clone()
            .skip(1)
            .zip(dispatched)
            .map(|(next, at)| next.nanos_since(at) as f64)
            .collect();
        let [requests, input, output] = [0, 1, 2].map(|of| {
            let all = sums.delivered.iter().take(spans.len());
            all.map(|(_, delivered)| delivered[of])
                .collect::<Vec<f64>>()
        });
        let both: Vec<f64> = input.iter().zip(&output).map(|(a, b)| a + b).collect();
        for (rate, amounts) in [
            (Rate::Requests, requests),
            (Rate::InputTokens, input),
            (Rate::OutputTokens, output),
            (Rate::TotalTokens, both),
        ] {
            let variance = bootstrap.ratio(&amounts, &spans);
            own.put(FigureKey::Rate(rate), variance);
        }
        let all: Vec<u8> = percentiles().collect();
        let shares: Vec<f64> = all.iter().map(|p| f64::from(*p) / 100.0).collect();
        for (metric, series) in sums.metrics {
            let values = in_order(series);
            own.put(
                FigureKey::Metric(metric, Stat::Mean),
                bootstrap.mean(&values),
            );
            for (p, variance) in all.iter().zip(bootstrap.percentiles(&values, &shares)) {
                own.put(FigureKey::Metric(metric, Stat::Percentile(*p)), variance);
            }
        }
        own
    }

    fn put(&mut self, figure: FigureKey, variance: Option<f64>) {
        if let Some(variance) = variance {
            self.ln_variances.insert(figure, variance);
        }
    }
}
