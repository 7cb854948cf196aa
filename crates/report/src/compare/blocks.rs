//! Owns the times of a run as histograms, one for each of ten parts of it in order of dispatch: what
//! distributions are drawn from, and percentiles that nobody wrote down. Its form in files is that of baselines:
//! for each part, base64 of LEB128 varints. Two numbers stand for a bucket: how many buckets lie between it and the
//! one before, times two, and 1 more if a second number follows, which is its count; otherwise its count is 1.
//!
//! It must not know where times come from.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use evalscope_model::metrics::{LogHistogram, Metric, variance_of_parts};
use evalscope_model::record::push_varint;
use serde::{Deserialize, Serialize};

use super::measured::Measured;
use crate::names::Percentile;

/// Parts of a run.
const PARTS: usize = 10;

/// Buckets per power of two, as a power of two: values are within 0.4 %.
const BITS: u32 = 7;
/// The fewest that a small baseline may have: within 3 %.
const LEAST_BITS: u32 = 4;

/// Samples beyond a percentile that its variance needs: as for intervals within a run.
pub(super) const LEAST_BEYOND: f64 = 3.7;

/// Metrics whose times are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Timed {
    /// Time to first token.
    Ttft,
    /// Time per output token.
    Tpot,
    /// Gaps between tokens, at most four of a request.
    Itl,
    /// Whole requests.
    Latency,
    /// The same from when they were due.
    LatencyFromSchedule,
}

impl Timed {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Ttft,
        Self::Tpot,
        Self::Itl,
        Self::Latency,
        Self::LatencyFromSchedule,
    ];

    /// Its metric.
    #[must_use]
    pub const fn metric(self) -> Metric {
        match self {
            Self::Ttft => Metric::Ttft,
            Self::Tpot => Metric::Tpot,
            Self::Itl => Metric::Itl,
            Self::Latency => Metric::Latency,
            Self::LatencyFromSchedule => Metric::LatencyFromSchedule,
        }
    }

    /// That of a metric.
    pub(super) fn of(metric: Metric) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.metric() == metric)
    }
}

/// The times of a metric in nanoseconds, by part of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Blocks {
    parts: Vec<LogHistogram>,
}

/// Histograms as they stand in a file.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct Written {
    /// Each power of two of nanoseconds is divided into `2^bits` buckets of equal width; smaller values have one
    /// each.
    bits: u32,
    /// For each tenth of the requests in order of dispatch, base64 of LEB128 varints: for each bucket that is not
    /// empty, 2 × (empty buckets since the one before) + 1, and its count; or without the 1, if its count is 1.
    parts: Vec<String>,
}

/// A run by metric.
pub type AllBlocks = BTreeMap<Timed, Blocks>;

impl Blocks {
    /// Of values in nanoseconds, in order of dispatch; `None` without one.
    pub(super) fn of(in_order: &[f64]) -> Option<Self> {
        if in_order.is_empty() {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "times are not negative; larger ones do not exist"
        )]
        let of_part = |part: &[f64]| LogHistogram::of(BITS, part.iter().map(|ns| *ns as u64));
        let long = in_order.len().div_ceil(PARTS);
        Some(Self {
            parts: in_order.chunks(long).map(of_part).collect(),
        })
    }

    /// All parts together.
    #[must_use]
    pub fn together(&self) -> LogHistogram {
        let bits = self.parts.first().map_or(BITS, LogHistogram::bits);
        LogHistogram::sum(bits, &self.parts)
    }

    /// The parts of several runs together, the first with the first, in buckets as wide as the widest of theirs.
    pub(super) fn pooled(runs: &[&Self]) -> Vec<LogHistogram> {
        let all = || runs.iter().flat_map(|own| &own.parts);
        let bits = all().map(LogHistogram::bits).min().unwrap_or(BITS);
        let parts = runs.iter().map(|own| own.parts.len()).max().unwrap_or(0);
        let of_part = |nth: usize| {
            let own = runs.iter().filter_map(|own| own.parts.get(nth));
            let own: Vec<LogHistogram> = own.map(|part| part.with_at_most(bits)).collect();
            LogHistogram::sum(bits, &own)
        };
        (0..parts).map(of_part).collect()
    }

    /// A percentile in the unit of the metric, and how much it varies.
    pub(super) fn percentile(&self, metric: Metric, percentile: Percentile) -> Option<Measured> {
        let all = self.together();
        let p = percentile.share();
        let beyond = all.count() as f64 * p.min(1.0 - p);
        // what a bucket leaves open: its width, evenly
        let open = 2.0_f64.powi(-2 * all.bits().cast_signed()) / 12.0;
        let variance = variance_of_parts(&self.parts, p).map(|within| within + open);
        Some(Measured {
            value: all.quantile(p)? * metric.scale(),
            ln_variance: variance.filter(|_| beyond >= LEAST_BEYOND),
        })
    }

    /// In wider buckets.
    fn with_at_most(&self, bits: u32) -> Self {
        Self {
            parts: self
                .parts
                .iter()
                .map(|part| part.with_at_most(bits))
                .collect(),
        }
    }
}

/// The same histograms in buckets that are so much wider that they take no more than so many bytes in a file, if
/// any are.
pub(super) fn within_bytes(all: &AllBlocks, most: usize) -> AllBlocks {
    let wider = |bits: u32| -> AllBlocks {
        all.iter()
            .map(|(of, blocks)| (*of, blocks.with_at_most(bits)))
            .collect()
    };
    let size = |all: &AllBlocks| -> usize {
        let texts = all.values().flat_map(|blocks| &blocks.parts).map(written);
        texts.map(|text| text.len() + 3).sum()
    };
    let fits = (LEAST_BITS..=BITS)
        .rev()
        .map(wider)
        .find(|own| size(own) <= most);
    fits.unwrap_or_else(|| wider(LEAST_BITS))
}

fn written(part: &LogHistogram) -> String {
    let mut bytes = Vec::new();
    let mut next = 0;
    for (bucket, count) in part.counts() {
        let empty = (bucket - next) as u64;
        next = bucket + 1;
        push_varint(&mut bytes, 2 * empty + u64::from(*count != 1));
        if *count != 1 {
            push_varint(&mut bytes, *count);
        }
    }
    BASE64_STANDARD.encode(bytes)
}

fn read(bits: u32, text: &str) -> Option<LogHistogram> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    let mut rest = bytes.as_slice();
    let mut counts = Vec::new();
    let mut next = 0_usize;
    while !rest.is_empty() {
        let first = varint(&mut rest)?;
        let bucket = next.checked_add(usize::try_from(first / 2).ok()?)?;
        let count = if first % 2 == 1 {
            varint(&mut rest)?
        } else {
            1
        };
        counts.push((bucket, count));
        next = bucket.checked_add(1)?;
    }
    LogHistogram::from_counts(bits, counts)
}

/// The next LEB128 number.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
    let (own, after) = rest.split_at(end + 1);
    *rest = after;
    if own.len() > 9 {
        return None;
    }
    let bits = own.iter().rev().map(|byte| u64::from(byte & 0x7f));
    Some(bits.fold(0, |value, bits| value << 7 | bits))
}

impl From<Blocks> for Written {
    fn from(blocks: Blocks) -> Self {
        Self {
            bits: blocks.parts.first().map_or(BITS, LogHistogram::bits),
            parts: blocks.parts.iter().map(written).collect(),
        }
    }
}

impl TryFrom<Written> for Blocks {
    type Error = String;

    fn try_from(own: Written) -> Result<Self, String> {
        let parts = own.parts.iter().enumerate().map(|(nth, text)| {
            read(own.bits, text)
                .ok_or_else(|| format!("part {} of a histogram cannot be read", nth + 1))
        });
        Ok(Self {
            parts: parts.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((0u64..1 << 40).prop_map(|ns| ns as f64), 1..300)
    }

    proptest! {
        #[test]
        fn histograms_are_read_as_they_were_written(values in values()) {
            let blocks = Blocks::of(&values).unwrap();
            prop_assert_eq!(blocks.together().count(), values.len() as u64);
            let text = serde_json::to_string(&blocks).unwrap();
            prop_assert_eq!(serde_json::from_str::<Blocks>(&text).unwrap(), blocks);
        }

        #[test]
        fn what_is_broken_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), bits in 0u32..64) {
            let text = BASE64_STANDARD.encode(bytes);
            let text = format!(r#"{{"bits": {bits}, "parts": ["{text}"]}}"#);
            if let Ok(blocks) = serde_json::from_str::<Blocks>(&text) {
                let _ = blocks.percentile(Metric::Ttft, Percentile::whole(99));
            }
        }

        #[test]
        fn percentiles_are_within_half_a_percent(values in prop::collection::vec(1e6f64..1e10, 1..300)) {
            let blocks = Blocks::of(&values).unwrap();
            let got = blocks.percentile(Metric::Ttft, "97.5".parse().unwrap()).unwrap().value;
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            let want = evalscope_model::metrics::quantile(&sorted, 0.975) * Metric::Ttft.scale();
            prop_assert!((got - want).abs() <= 0.005 * want, "{} {}", got, want);
        }
    }

    #[test]
    fn tails_without_samples_have_no_variance() {
        let values: Vec<f64> = (0..1000)
            .map(|nth| 1e8 + f64::from(nth % 97) * 1e5)
            .collect();
        let blocks = Blocks::of(&values).unwrap();
        let variance = |text: &str| {
            let own = blocks.percentile(Metric::Ttft, text.parse().unwrap());
            own.unwrap().ln_variance
        };
        assert!(
            variance("97.5").is_some() && variance("99.9").is_none() && variance("0.1").is_none()
        );
    }

    #[test]
    fn a_small_file_has_wider_buckets() {
        let values: Vec<f64> = (0..5000)
            .map(|nth| 1e6 + f64::from(nth * 7919 % 5000) * 1e6)
            .collect();
        let all = AllBlocks::from([(Timed::Ttft, Blocks::of(&values).unwrap())]);
        assert_eq!(within_bytes(&all, usize::MAX), all);
        let small = within_bytes(&all, 2000);
        let size = serde_json::to_string(&small).unwrap().len();
        assert!(size < 2300, "{size}");
        assert_eq!(small[&Timed::Ttft].together().count(), 5000);
        assert_eq!(
            within_bytes(&all, 0)[&Timed::Ttft].parts[0].bits(),
            LEAST_BITS
        );
    }
}
