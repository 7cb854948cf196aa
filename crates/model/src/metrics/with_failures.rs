//! Owns percentiles over all requests that were due, those that failed included: they take
//! endlessly long.
//!
//! Pure. It must not know how results are shown.

use serde::{Deserialize, Serialize};

use super::goodput::Delivery;
use super::{Metric, quantile};
use crate::record::{FailureKind, RequestRecord};

/// A percentile of a sample in which requests that failed take endlessly long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", untagged)]
pub enum WithFailures {
    /// The percentile.
    Value(f64),
    /// So many requests failed that the percentile is one of them.
    Failed(FailedWord),
    /// No request has the figure.
    #[default]
    None,
}

/// The word `failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailedWord {
    /// See [`WithFailures::Failed`].
    Failed,
}

/// Percentiles of a metric over all requests that were due, in the unit of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PercentilesWithFailures {
    /// Median.
    pub p50_with_failures: WithFailures,
    /// 90th percentile.
    pub p90_with_failures: WithFailures,
    /// 95th percentile.
    pub p95_with_failures: WithFailures,
    /// 99th percentile.
    pub p99_with_failures: WithFailures,
}

/// Collects a metric together with the requests that failed. Takes eight bytes a request.
#[derive(Clone, Debug)]
pub struct FailureAdjusted {
    metric: Metric,
    delivery: Delivery,
    values: Vec<f64>,
    failed: usize,
}

impl FailureAdjusted {
    /// An empty collection for one of the times of requests.
    #[must_use]
    pub fn new(metric: Metric, delivery: Delivery) -> Self {
        Self {
            metric,
            delivery,
            values: Vec::new(),
            failed: 0,
        }
    }

    /// Add a measured request, in any order. Requests that our own stop cancelled are left out, and
    /// those that only the context limit ended.
    pub fn push(&mut self, record: &RequestRecord) {
        match record.failure.as_ref().map(|failure| failure.kind) {
            None => self.values.extend(self.metric.of_request(record)),
            Some(FailureKind::Cancelled | FailureKind::ContextLimit) => {}
            Some(_) => self.failed += 1,
        }
    }

    /// The percentiles.
    #[must_use]
    pub fn finish(mut self) -> PercentilesWithFailures {
        let of_streams = matches!(
            self.metric,
            Metric::Ttft | Metric::TtftFromSchedule | Metric::Ttfat | Metric::Tpot
        );
        if of_streams && self.delivery == Delivery::Whole {
            return PercentilesWithFailures::default();
        }
        self.values.sort_unstable_by(f64::total_cmp);
        let at = |p: f64| match quantile_with_failures(&self.values, self.failed, p) {
            WithFailures::Value(value) => WithFailures::Value(value * self.metric.scale()),
            other => other,
        };
        PercentilesWithFailures {
            p50_with_failures: at(0.5),
            p90_with_failures: at(0.9),
            p95_with_failures: at(0.95),
            p99_with_failures: at(0.99),
        }
    }
}

/// The quantile `p` of sorted values and so many failures after them, by linear interpolation: next
/// to a failure, a failure.
#[must_use]
pub fn quantile_with_failures(sorted: &[f64], failed: usize, p: f64) -> WithFailures {
    let all = sorted.len() + failed;
    if all == 0 {
        return WithFailures::None;
    }
    let rank = p * (all - 1) as f64;
    if rank > (sorted.len() as f64) - 1.0 {
        return WithFailures::Failed(FailedWord::Failed);
    }
    // the rank among the values alone
    let of_values = (sorted.len() - 1) as f64;
    let share = if of_values > 0.0 {
        rank / of_values
    } else {
        0.0
    };
    WithFailures::Value(quantile(sorted, share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::metrics::tests::streamed;
    use crate::record::Failure;

    #[test]
    fn failures_stand_at_the_end() {
        let ten: Vec<f64> = (1..=10u32).map(f64::from).collect();
        let at = |failed, p| quantile_with_failures(&ten, failed, p);
        let is = |got: WithFailures, want: f64| matches!(got, WithFailures::Value(value) if (value - want).abs() < 1e-9);
        let failed = WithFailures::Failed(FailedWord::Failed);
        // `numpy.quantile(numpy.r_[1:11], p)`
        assert!(is(at(0, 0.5), 5.5) && is(at(0, 0.99), 9.91) && is(at(0, 1.0), 10.0));
        // eleven in all: rank 9.9 lies between a value and a failure
        assert!(is(at(1, 0.5), 6.0) && is(at(1, 0.9), 10.0));
        assert_eq!(at(1, 0.99), failed);
        assert_eq!(at(11, 0.5), failed);
        assert_eq!(quantile_with_failures(&[], 3, 0.5), failed);
        assert_eq!(quantile_with_failures(&[], 0, 0.5), WithFailures::None);
        assert!(
            matches!(quantile_with_failures(&[7.0], 0, 0.5), WithFailures::Value(v) if v > 6.9)
        );
        let words = serde_json::to_string(&[at(1, 0.9), failed, WithFailures::None]).unwrap();
        assert_eq!(words, r#"[10.0,"failed",null]"#);
    }

    #[test]
    fn what_our_own_stop_cut_is_left_out() {
        let good = streamed(&[(20, true, true), (30, true, true)], None);
        let failed_with = |kind| {
            let mut record = good.clone();
            record.failure = Some(Failure::new(kind, ""));
            record
        };
        let mut sample = FailureAdjusted::new(Metric::Ttft, Delivery::Stream);
        sample.push(&good);
        sample.push(&failed_with(FailureKind::Cancelled));
        assert_eq!(
            sample.clone().finish().p99_with_failures,
            WithFailures::Value(10.0)
        );
        for kind in [
            FailureKind::Shed,
            FailureKind::NotSent,
            FailureKind::Unfinished,
            FailureKind::Status(500),
        ] {
            let mut sample = sample.clone();
            sample.push(&failed_with(kind));
            let failed = WithFailures::Failed(FailedWord::Failed);
            assert_eq!(sample.finish().p50_with_failures, failed, "{kind}");
        }
        let mut whole = FailureAdjusted::new(Metric::Ttft, Delivery::Whole);
        whole.push(&failed_with(FailureKind::Reset));
        assert_eq!(whole.finish(), PercentilesWithFailures::default());
    }

    proptest! {
        /// Without failures they are the usual percentiles, and each failure makes them larger.
        #[test]
        fn failures_only_make_it_worse(
            mut values in prop::collection::vec(0.0f64..1e6, 1..100), failed in 0usize..50, p in 0.0f64..=1.0
        ) {
            values.sort_unstable_by(f64::total_cmp);
            let number = |of: WithFailures| match of {
                WithFailures::Value(value) => value,
                _ => f64::INFINITY,
            };
            let plain = number(quantile_with_failures(&values, 0, p));
            prop_assert!((plain - quantile(&values, p)).abs() <= 1e-6 * plain.max(1.0));
            let less = number(quantile_with_failures(&values, failed, p));
            let more = number(quantile_with_failures(&values, failed + 1, p));
            prop_assert!(plain <= less + 1e-6 && less <= more + 1e-6);
        }
    }
}
