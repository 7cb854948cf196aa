//! Owns the figures of a run's plateau, and how far they are from those of the whole run.
//!
//! It must not know how the plateau is found ([`evalscope_model::metrics::PlateauSearch`]).

use std::collections::BTreeMap;

use evalscope_model::metrics::{Distribution, Goodput, Metric, NoPlateau, Plateau, RunTotals};
use serde::Serialize;

/// Throughput that is further from the plateau's than this is another figure.
const THROUGHPUT_LIMIT: f64 = 0.05;
/// The same of the p99 of TTFT.
const TTFT_LIMIT: f64 = 0.10;

/// The figures of a plateau.
#[derive(Clone, Debug, PartialEq)]
pub struct PlateauFigures {
    /// Where it is, and throughput.
    pub totals: Plateau,
    /// How many of its requests met the objective; `None` without one.
    pub goodput: Option<Goodput>,
    /// Distributions of the main metrics.
    pub metrics: BTreeMap<Metric, Distribution>,
}

impl PlateauFigures {
    /// The distribution of a metric; `None` where the plateau has none of it.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> Option<&Distribution> {
        self.metrics.get(&metric)
    }
}

/// Why a run has no plateau.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WithoutPlateau {
    /// The first request of some place had not ended when the last one was dispatched, or in an
    /// open loop: the start took most of the time.
    NeverFull,
    /// Fewer than 100 requests were dispatched in it.
    TooFewRequests,
    /// It is shorter than three median latencies.
    TooShort,
    /// The profile has no constant rate, or several.
    RateChanges,
}

impl From<NoPlateau> for WithoutPlateau {
    fn from(why: NoPlateau) -> Self {
        match why {
            NoPlateau::NeverFull => Self::NeverFull,
            NoPlateau::TooFewRequests => Self::TooFewRequests,
            NoPlateau::TooShort => Self::TooShort,
        }
    }
}

/// A figure of the whole run and the same of the plateau.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beside {
    /// Of the whole run.
    pub whole: f64,
    /// Of the plateau.
    pub plateau: f64,
}

impl Beside {
    fn of(whole: Option<f64>, plateau: Option<f64>) -> Option<Self> {
        let beside = Self {
            whole: whole?,
            plateau: plateau?,
        };
        (beside.plateau > 0.0).then_some(beside)
    }

    fn differs(self, limit: f64) -> bool {
        (self.whole / self.plateau - 1.0).abs() > limit
    }
}

/// What of a run differs from its plateau by more than the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Differences {
    /// The p99 of TTFT, milliseconds, if it is more than 10 % away.
    pub ttft_p99_ms: Option<Beside>,
    /// Output tokens per second, or requests where tokens are unknown, if they are more than 5 %
    /// away.
    pub throughput_per_s: Option<Beside>,
}

impl Differences {
    /// Compare a run with its plateau.
    #[must_use]
    pub fn of(
        plateau: &PlateauFigures,
        totals: &RunTotals,
        metrics: &BTreeMap<Metric, Distribution>,
    ) -> Self {
        let p99 = |metrics: &BTreeMap<Metric, Distribution>| metrics.get(&Metric::Ttft)?.p99;
        let (output, requests) = (
            Beside::of(
                totals.rate_per_s(totals.output_tokens),
                plateau.totals.output_tokens_per_s,
            ),
            Beside::of(
                totals.rate_per_s(totals.succeeded),
                Some(plateau.totals.requests_per_s),
            ),
        );
        Self {
            ttft_p99_ms: Beside::of(p99(metrics), p99(&plateau.metrics))
                .filter(|beside| beside.differs(TTFT_LIMIT)),
            throughput_per_s: output
                .or(requests)
                .filter(|beside| beside.differs(THROUGHPUT_LIMIT)),
        }
    }

    /// Something differs.
    #[must_use]
    pub fn any(&self) -> bool {
        self.ttft_p99_ms.is_some() || self.throughput_per_s.is_some()
    }
}
