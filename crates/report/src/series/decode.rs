//! Owns TPOT by the load inside the run (R11).
//!
//! It must not know how it is shown.

use std::collections::BTreeMap;

use evalscope_model::metrics::{Metric, quantile};
use evalscope_model::record::RequestRecord;

use super::axis::Clock;
use super::hash::mixed;
use super::in_flight::SortedSpans;
use super::missing::Missing;
use super::spread::LEAST_SAMPLES;

/// There are no more levels.
const MOST_LEVELS: u64 = 24;
/// Requests that are kept for it, 24 bytes each: if there are more, those with the smallest hashes.
const MOST_REQUESTS: usize = 1 << 19;

/// Successes that had this many requests in flight when their first token arrived, themselves included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadLevel {
    /// Fewest in flight.
    pub least_in_flight: u64,
    /// Most in flight.
    pub most_in_flight: u64,
    /// Requests, at least 5.
    pub requests: u64,
    /// Median TPOT, milliseconds.
    pub tpot_p50_ms: f64,
    /// 90th percentile of TPOT, milliseconds.
    pub tpot_p90_ms: f64,
}

/// When the first tokens came, and the TPOT of their requests.
#[derive(Debug)]
pub(super) struct FirstTokens {
    clock: Clock,
    /// Hash, nanoseconds from time 0, TPOT in nanoseconds.
    requests: Vec<(u64, i64, f64)>,
    /// Requests with a greater hash are left out.
    greatest_hash: u64,
}

impl FirstTokens {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            requests: Vec::new(),
            greatest_hash: u64::MAX,
        }
    }

    /// Add a measured request with its TPOT, nanoseconds.
    pub(super) fn push(&mut self, record: &RequestRecord, tpot: f64) {
        let hash = mixed(record.index);
        let Some(first) = record.events.tokens().next() else {
            return;
        };
        if hash > self.greatest_hash {
            return;
        }
        let at = self.clock.nanos(first.at);
        self.requests.push((hash, at, tpot));
        if self.requests.len() > MOST_REQUESTS {
            self.greatest_hash /= 2;
            let greatest = self.greatest_hash;
            self.requests.retain(|(hash, ..)| *hash <= greatest);
        }
    }

    pub(super) fn finish(self, spans: &SortedSpans) -> Result<Vec<LoadLevel>, Missing> {
        if self.requests.is_empty() {
            return Err(Missing::NotStreamed);
        }
        let mut by_load: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (_, at, tpot) in &self.requests {
            by_load.entry(spans.at(*at)).or_default().push(*tpot);
        }
        let loads = || by_load.keys().copied();
        let (least, most) = (loads().min().unwrap_or(0), loads().max().unwrap_or(0));
        let width = (most - least + 1).div_ceil(MOST_LEVELS);
        let mut levels: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (load, tpots) in by_load {
            levels
                .entry((load - least) / width)
                .or_default()
                .extend(tpots);
        }
        let levels: Vec<LoadLevel> = levels
            .into_iter()
            .filter(|(_, tpots)| tpots.len() as u64 >= LEAST_SAMPLES)
            .map(|(nth, mut tpots)| {
                tpots.sort_unstable_by(f64::total_cmp);
                let least_in_flight = least + nth * width;
                LoadLevel {
                    least_in_flight,
                    most_in_flight: (least_in_flight + width - 1).min(most),
                    requests: tpots.len() as u64,
                    tpot_p50_ms: quantile(&tpots, 0.50) * Metric::Tpot.scale(),
                    tpot_p90_ms: quantile(&tpots, 0.90) * Metric::Tpot.scale(),
                }
            })
            .collect();
        if levels.is_empty() {
            return Err(Missing::TooFewSamples);
        }
        Ok(levels)
    }
}
