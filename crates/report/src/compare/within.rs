//! Owns how much the figures of a run vary within it, from its records.
//!
//! It must not know what the figures of a run are: it only says how sure they are.

use std::collections::BTreeMap;

use evalscope_model::metrics::{
    BlockBootstrap, Delivery, Judge, Metric, Outcome, variance_inflation,
};
use evalscope_model::record::{FailureKind, Phase, RequestRecord};
use evalscope_model::time::Timestamp;

use super::blocks::{AllBlocks, Blocks, LEAST_BEYOND, Timed};
use crate::names::{FigureKey, METRICS, Percentile, Rate, Stat, percentiles};
use crate::source::RecordSource;
use crate::sqlite::StoreError;

/// Requests whose times are drawn again; of a longer run, every second, third, and so on.
const MOST_REQUESTS: u64 = 50_000;

/// Gaps between tokens of one request that are drawn again, spread over it.
const MOST_GAPS: usize = 4;

/// Median latencies in a block. Requests that are in flight together have queues in common.
const LATENCIES_IN_BLOCK: f64 = 3.0;

/// Such blocks in a run of which something can be said by itself.
const LEAST_BLOCKS: f64 = 4.0;

/// How sure the figures of a run are.
#[derive(Debug, Default)]
pub(super) struct Within {
    /// Variances of logarithms.
    pub(super) ln_variances: BTreeMap<FigureKey, f64>,
    /// By how much the share of lost requests varies more than that of independent ones.
    pub(super) of_lost: f64,
    /// The same of good requests.
    pub(super) of_good: f64,
    /// Its times.
    pub(super) blocks: AllBlocks,
    /// Median latencies that the run lasted, if these are too few for it to say how much its figures vary.
    pub(super) short: Option<f64>,
}

/// Values of a run with the moments of dispatch of their requests.
type Series = Vec<(Timestamp, f64)>;

/// Collects what is drawn again.
#[derive(Default)]
pub(super) struct Sums {
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
        for nth in 0..self.wanted.len() {
            let metric = self.wanted[nth];
            self.times(at, metric, |sink| metric.samples(record, sink));
        }
        let succeeded = record.succeeded();
        let of = |tokens: Option<u64>| tokens.filter(|_| succeeded).unwrap_or(0) as f64;
        self.delivers(
            at,
            [
                f64::from(u8::from(succeeded)),
                of(record.prompt_tokens().0),
                of(record.output_tokens().0),
            ],
        );
    }

    /// The samples of a metric of a request that was dispatched at this moment.
    pub(super) fn times(
        &mut self,
        at: Timestamp,
        metric: Metric,
        samples: impl FnOnce(&mut dyn FnMut(f64)),
    ) {
        let series = self.metrics.entry(metric).or_default();
        let begin = series.len();
        samples(&mut |value| series.push((at, value)));
        let own = series.len() - begin;
        if own > MOST_GAPS {
            for nth in 0..MOST_GAPS {
                series[begin + nth] = series[begin + nth * own / MOST_GAPS];
            }
            series.truncate(begin + MOST_GAPS);
        }
    }

    /// Requests, prompt and output tokens that a request delivered.
    pub(super) fn delivers(&mut self, at: Timestamp, amounts: [f64; 3]) {
        self.delivered.push((at, amounts));
    }

    /// Whether a request was lost.
    pub(super) fn loses(&mut self, at: Timestamp, lost: bool) {
        self.lost.push((at, f64::from(u8::from(lost))));
    }

    fn push_outcome(&mut self, record: &RequestRecord, judge: Option<&Judge>) {
        let at = record.times.dispatched;
        let is_left_out = record.failure.as_ref().is_some_and(|failure| {
            let kind = failure.kind;
            matches!(
                kind,
                FailureKind::Cancelled | FailureKind::ContextLimit | FailureKind::NotSent
            )
        });
        if !is_left_out {
            self.loses(at, !record.succeeded());
        }
        if let Some(judge) = judge {
            match judge.judge(record).outcome {
                Outcome::LeftOut => {}
                outcome => {
                    let good = f64::from(u8::from(outcome == Outcome::Good));
                    self.good.push((at, good));
                }
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
    /// Read the measured requests of a run. Further percentiles are those that a report does not have.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn of(source: &dyn RecordSource, further: &[FigureKey]) -> Result<Self, StoreError> {
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
        Ok(Self::finish(sums, further))
    }

    /// What was collected, with the variances of further percentiles.
    pub(super) fn finish(mut sums: Sums, further: &[FigureKey]) -> Self {
        let inflation = |series: Series| variance_inflation(&in_order(series).into_iter());
        let mut own = Self {
            of_lost: inflation(sums.lost),
            of_good: inflation(sums.good),
            ..Self::default()
        };
        sums.delivered.sort_by_key(|(at, _)| *at);
        let in_order: BTreeMap<Metric, Vec<f64>> = sums
            .metrics
            .into_iter()
            .map(|(metric, series)| (metric, in_order(series)))
            .collect();
        for timed in Timed::ALL {
            let blocks = in_order
                .get(&timed.metric())
                .and_then(|own| Blocks::of(own));
            own.blocks.extend(blocks.map(|blocks| (timed, blocks)));
        }
        let dispatched: Vec<Timestamp> = sums.delivered.iter().map(|(at, _)| *at).collect();
        let in_latency = in_median_latency(&dispatched, in_order.get(&Metric::Latency));
        let requests = dispatched.len();
        own.short = in_latency
            .map(|in_latency| requests as f64 / in_latency)
            .filter(|latencies| *latencies < LATENCIES_IN_BLOCK * LEAST_BLOCKS);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; a float that is too large becomes the largest number"
        )]
        let least = in_latency.map_or(0, |own| (LATENCIES_IN_BLOCK * own).ceil() as usize);
        let Some(bootstrap) = BlockBootstrap::new(requests, least) else {
            own.short = own.short.or(Some(0.0));
            return own;
        };
        own.rates(&bootstrap, &sums.delivered);
        for (metric, values) in in_order {
            own.metric(&bootstrap, metric, &values, further);
        }
        own
    }

    fn rates(&mut self, bootstrap: &BlockBootstrap, delivered: &[(Timestamp, [f64; 3])]) {
        // up to the next dispatch; after the last one nothing is known
        let spans: Vec<f64> = delivered
            .windows(2)
            .map(|pair| pair[1].0.nanos_since(pair[0].0) as f64)
            .collect();
        let [requests, input, output] = [0, 1, 2].map(|of| {
            let all = delivered.iter().take(spans.len());
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
            self.put(FigureKey::Rate(rate), variance);
        }
    }

    fn metric(
        &mut self,
        bootstrap: &BlockBootstrap,
        metric: Metric,
        values: &[f64],
        further: &[FigureKey],
    ) {
        let further = further
            .iter()
            .filter_map(|figure| figure.further_percentile())
            .filter(|(of, percentile)| {
                let p = percentile.share();
                *of == metric && values.len() as f64 * p.min(1.0 - p) >= LEAST_BEYOND
            });
        let all: Vec<Percentile> = percentiles().chain(further.map(|(_, own)| own)).collect();
        let shares: Vec<f64> = all.iter().map(|own| own.share()).collect();
        self.put(
            FigureKey::Metric(metric, Stat::Mean),
            bootstrap.mean(values),
        );
        for (own, variance) in all.iter().zip(bootstrap.percentiles(values, &shares)) {
            self.put(FigureKey::Metric(metric, Stat::Percentile(*own)), variance);
        }
    }

    fn put(&mut self, figure: FigureKey, variance: Option<f64>) {
        if let Some(variance) = variance {
            self.ln_variances.insert(figure, variance);
        }
    }
}

/// Why a run does not say by itself how much its figures vary.
pub(super) fn too_short(latencies: f64) -> String {
    let needed = LATENCIES_IN_BLOCK * LEAST_BLOCKS;
    format!(
        "the run lasted {} median latencies, and it takes {needed} for a run to say how much its figures vary: \
         measure longer, with `--number` at least {needed} times `--parallel`",
        crate::console::number(latencies.floor())
    )
}

/// How many requests are dispatched during a median latency; `None` without latencies or without time.
fn in_median_latency(dispatched: &[Timestamp], latencies: Option<&Vec<f64>>) -> Option<f64> {
    let (first, last) = dispatched.first().zip(dispatched.last())?;
    let mut latencies = latencies?.clone();
    latencies.sort_unstable_by(f64::total_cmp);
    let median = latencies.get(latencies.len() / 2)?;
    let span = last.nanos_since(*first) as f64;
    (span > 0.0).then(|| median * dispatched.len() as f64 / span)
}
