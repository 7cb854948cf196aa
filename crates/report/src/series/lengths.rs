//! Owns output lengths by finish reason (R10).
//!
//! It must not know how bars are drawn.

use std::collections::BTreeMap;

use evalscope_model::metrics::{MOST_NAMES, Metric};
use evalscope_model::record::RequestRecord;
use serde_json::Value;

use super::missing::Missing;

/// [`OutputLengths`] has no more bins.
const MOST_BINS: u64 = 60;
/// Lengths up to this are counted one by one, longer ones by this many together.
const EXACT: u64 = 4096;

/// Output tokens of successes.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputLengths {
    /// Edges of the bins, tokens, one more than there are bins: a bin holds the lengths from its edge
    /// to below the next.
    pub edges: Vec<u64>,
    /// Successes in each bin, by finish reason; `None`: the server gave none.
    pub by_reason: BTreeMap<Option<String>, Vec<u64>>,
    /// How long the output was asked to be; `None` if it was not.
    pub asked: Option<AskedOutput>,
}

/// The requested output length (`--max-tokens`), the same for all requests or drawn from a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedOutput {
    /// Fewest tokens.
    pub least: u64,
    /// Most tokens.
    pub most: u64,
}

/// Sums up [`OutputLengths`].
#[derive(Debug, Default)]
pub(super) struct LengthSums {
    /// Counts by reason and length.
    by_reason: BTreeMap<Option<String>, BTreeMap<u64, u64>>,
}

impl LengthSums {
    /// Add a measured request.
    pub(super) fn push(&mut self, record: &RequestRecord) {
        let mut length = None;
        Metric::OutputTokens.samples(record, |_| length = record.output_tokens().0);
        let Some(length) = length else {
            return;
        };
        let length = if length > EXACT {
            length / EXACT * EXACT
        } else {
            length
        };
        let reason = &record.finish_reason;
        // almost each one is known: no copy of it is made
        if let Some(lengths) = self.by_reason.get_mut(reason) {
            *lengths.entry(length).or_default() += 1;
            return;
        }
        let is_full = self.by_reason.len() >= MOST_NAMES;
        let reason = match reason {
            Some(_) if is_full => Some("other".to_owned()),
            reason => reason.clone(),
        };
        let lengths = self.by_reason.entry(reason).or_default();
        *lengths.entry(length).or_default() += 1;
    }

    /// `settings` are those of the run.
    pub(super) fn finish(self, settings: &Value) -> Result<OutputLengths, Missing> {
        let lengths = || self.by_reason.values().flat_map(BTreeMap::keys).copied();
        let (Some(least), Some(most)) = (lengths().min(), lengths().max()) else {
            return Err(Missing::NoTokenCounts);
        };
        let width = (most - least + 1).div_ceil(MOST_BINS);
        let bins = (most - least) / width + 1;
        let place = |length: u64| usize::try_from((length - least) / width).expect("60 at most");
        let by_reason = self.by_reason.iter().map(|(reason, lengths)| {
            let mut counts = vec![0; place(most) + 1];
            for (length, count) in lengths {
                counts[place(*length)] += count;
            }
            (reason.clone(), counts)
        });
        Ok(OutputLengths {
            by_reason: by_reason.collect(),
            edges: (0..=bins).map(|nth| least + nth * width).collect(),
            asked: AskedOutput::of(settings),
        })
    }
}

impl AskedOutput {
    fn of(settings: &Value) -> Option<Self> {
        let limits = settings.get("max_tokens")?.as_array()?;
        let limits: Vec<u64> = limits.iter().filter_map(Value::as_u64).collect();
        Some(Self {
            least: *limits.first()?,
            most: *limits.last()?,
        })
    }
}
