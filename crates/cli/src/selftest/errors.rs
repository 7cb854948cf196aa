//! Owns the distance between what was measured and what the simulator did.
//!
//! It must not know how either came about.

use std::collections::HashMap;

use evalscope_model::metrics::{Metric, quantile};
use evalscope_model::record::RequestRecord;
use evalscope_model::time::RunClock;
use evalscope_sim::TrueRequest;
use serde::Serialize;

/// How a figure is spread, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` without a value.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            max: *values.last()?,
            p50: quantile(&values, 0.5),
            p99: quantile(&values, 0.99),
        })
    }
}

/// How far the records of a run are from the truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Errors {
    pub(super) requests: usize,
    /// Those that failed, or were not sent.
    pub(super) failed: usize,
    /// Why the first of them did.
    pub(super) first_failure: Option<String>,
    pub(super) tokens: usize,
    /// From each recorded arrival to the time in which the simulator wrote the token.
    pub(super) arrival_error_ms: Option<Spread>,
    /// Of the arrival of the first token, and of the send.
    pub(super) ttft_error_ms: Option<Spread>,
    pub(super) tpot_error_ms: Option<Spread>,
    /// How late requests were sent.
    pub(super) dispatch_lag_ms: Option<Spread>,
}

impl Errors {
    /// Those of a load that could not be measured.
    pub(super) fn unmeasured(why: String) -> Self {
        Self {
            requests: 0,
            failed: 0,
            first_failure: Some(why),
            tokens: 0,
            arrival_error_ms: None,
            ttft_error_ms: None,
            tpot_error_ms: None,
            dispatch_lag_ms: None,
        }
    }
}

/// Collects requests.
#[derive(Debug)]
pub(super) struct Comparison {
    clock: RunClock,
    truth: HashMap<String, TrueRequest>,
    requests: usize,
    failed: usize,
    first_failure: Option<String>,
    arrival: Vec<f64>,
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    lag: Vec<f64>,
}

impl Comparison {
    /// With the truth of all requests. The clock is that of the records.
    pub(super) fn new(clock: RunClock, truth: Vec<TrueRequest>) -> Self {
        Self {
            clock,
            truth: truth
                .into_iter()
                .map(|request| (request.id.clone(), request))
                .collect(),
            requests: 0,
            failed: 0,
            first_failure: None,
            arrival: Vec::new(),
            ttft: Vec::new(),
            tpot: Vec::new(),
            lag: Vec::new(),
        }
    }

    /// Add a record.
    ///
    /// # Errors
    /// When the simulator knows another response.
    pub(super) fn push(&mut self, record: &RequestRecord) -> anyhow::Result<()> {
        const MS: f64 = 1e-6;
        self.requests += 1;
        self.lag
            .extend(Metric::DispatchLag.of_request(record).map(|ns| ns * MS));
        if let Some(failure) = &record.failure {
            self.failed += 1;
            self.first_failure
                .get_or_insert_with(|| failure.message.clone());
            return Ok(());
        }
        let id = record.response_id.as_deref().unwrap_or_default();
        let Some(request) = self.truth.get(id) else {
            anyhow::bail!("the simulator does not know the response `{id}`");
        };
        let arrivals: Vec<u64> = record
            .events
            .tokens()
            .map(|event| event.at.as_nanos() + self.clock.monotonic_start_ns)
            .collect();
        if arrivals.len() != request.tokens.len() {
            anyhow::bail!(
                "the response `{id}` had {} tokens, and {} were recorded",
                request.tokens.len(),
                arrivals.len()
            );
        }
        // where the token was written at the latest, or at the earliest, if it was recorded outside
        let true_arrivals: Vec<u64> = arrivals
            .iter()
            .zip(&request.tokens)
            .map(|(at, (before, after))| *at.clamp(before, after))
            .collect();
        let errors: Vec<f64> = arrivals
            .iter()
            .zip(&true_arrivals)
            .map(|(at, truth)| at.abs_diff(*truth) as f64 * MS)
            .collect();
        if let Some(first) = errors.first() {
            let send = Metric::Send.of_request(record).unwrap_or(0.0) * MS;
            self.ttft.push(first + send);
        }
        if let ([first, .., last], [true_first, .., true_last]) =
            (arrivals.as_slice(), true_arrivals.as_slice())
        {
            let ours = last.saturating_sub(*first) as f64;
            let theirs = true_last.saturating_sub(*true_first) as f64;
            let gaps = (arrivals.len() - 1) as f64;
            self.tpot.push((ours - theirs).abs() / gaps * MS);
        }
        self.arrival.extend(errors);
        Ok(())
    }

    pub(super) fn finish(self) -> Errors {
        Errors {
            requests: self.requests,
            failed: self.failed,
            first_failure: self.first_failure,
            tokens: self.arrival.len(),
            arrival_error_ms: Spread::of(self.arrival),
            ttft_error_ms: Spread::of(self.ttft),
            tpot_error_ms: Spread::of(self.tpot),
            dispatch_lag_ms: Spread::of(self.lag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_was_not_measured_says_why() {
        let errors = Errors::unmeasured("no port is free".to_owned());
        assert_eq!(errors.first_failure.as_deref(), Some("no port is free"));
        assert_eq!((errors.requests, errors.arrival_error_ms), (0, None));
    }

    #[test]
    fn a_spread_is_of_sorted_values() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.p50, spread.max), (2.0, 3.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
