//! Owns TTFT against input tokens (R8): a density in cells, its median line and slope.
//!
//! It must not know how cells are drawn.

use std::collections::{BTreeMap, HashMap};

use evalscope_model::metrics::{Metric, bucket_of, bucket_range, quantile};
use evalscope_model::record::RequestRecord;

use super::curve::classes;
use super::missing::Missing;
use super::spread::LEAST_SAMPLES;

/// Buckets per power of two, as a power of two itself: 32 of input tokens, 64 of TTFT. Columns and rows are
/// made of whole buckets, so no cell is too full because of rounding.
const INPUT_BITS: u32 = 5;
const TTFT_BITS: u32 = 6;
/// A [`Density`] has no more columns and rows.
const MOST_COLUMNS: usize = 36;
const MOST_ROWS: usize = 24;
/// A slope needs as many columns with [`LEAST_SAMPLES`] requests.
const LEAST_COLUMNS: usize = 3;

/// Requests by input tokens and TTFT: at most 36 × 24 cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Density {
    /// Edges of the columns, input tokens, one more than there are columns. Nearly equal in log value.
    pub input_edges: Vec<f64>,
    /// Edges of the rows, milliseconds, by rising value.
    pub ttft_edges_ms: Vec<f64>,
    /// The cells that are not empty, by column, then row.
    pub cells: Vec<Cell>,
    /// The columns that are not empty, with their median.
    pub columns: Vec<InputColumn>,
    /// How TTFT grows with the input; `None` below 3 columns of 5 requests.
    pub slope: Option<Slope>,
}

/// A cell of a [`Density`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Column, from the left.
    pub column: usize,
    /// Row, from the bottom.
    pub row: usize,
    /// Requests.
    pub count: u64,
    /// Class of the count: 1 to 8 by its logarithm.
    pub class: u8,
    /// Share of the prompt tokens that came from the server's cache, 0 to 1, over the requests of the
    /// cell that report it; `None` if none does.
    pub cached_share: Option<f64>,
}

/// A column of a [`Density`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputColumn {
    /// Column, from the left.
    pub column: usize,
    /// Requests.
    pub count: u64,
    /// Mean input tokens.
    pub input_tokens: f64,
    /// Median TTFT, milliseconds, at most 0.8 % off.
    pub ttft_p50_ms: f64,
}

/// The line through the medians of the columns: the median of the slopes between any two of them
/// (Theil 1950, Sen 1968).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Milliseconds per 1000 input tokens.
    pub ms_per_1000_tokens: f64,
    /// TTFT at 0 tokens, milliseconds.
    pub intercept_ms: f64,
}

/// Sums up a [`Density`].
#[derive(Debug, Default)]
pub(super) struct DensitySums {
    /// By the bucket of the input tokens, then that of the TTFT, which is the lower half of the number.
    buckets: HashMap<u64, Bucket>,
    any_ttft: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    count: u32,
    /// Of all its requests.
    input_tokens: u64,
    /// Of those that report cached tokens.
    cached_of: u64,
    cached: u64,
}

impl Bucket {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.input_tokens += other.input_tokens;
        self.cached_of += other.cached_of;
        self.cached += other.cached;
    }
}

impl DensitySums {
    /// Add a measured request.
    pub(super) fn push(&mut self, record: &RequestRecord) {
        let mut ttft = None;
        Metric::Ttft.samples(record, |value| ttft = Some(value));
        let Some(ttft_ns) = ttft else {
            return;
        };
        self.any_ttft = true;
        let Some(input) = record.prompt_tokens().0 else {
            return;
        };
        let cached = record.usage.cached_tokens;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "nanoseconds are whole, and there are far fewer buckets than 2^32"
        )]
        let key = (
            bucket_of(input, INPUT_BITS) as u64,
            bucket_of(ttft_ns as u64, TTFT_BITS) as u64,
        );
        self.buckets
            .entry(key.0 << 32 | key.1)
            .or_default()
            .add(Bucket {
                count: 1,
                input_tokens: input,
                cached_of: cached.map_or(0, |_| input),
                cached: cached.unwrap_or(0).min(input),
            });
    }

    pub(super) fn finish(self) -> Result<Density, Missing> {
        #[expect(clippy::cast_possible_truncation, reason = "two halves")]
        let halves = |key: &u64| ((key >> 32) as u32, *key as u32);
        let buckets = self.buckets.iter();
        let buckets: BTreeMap<(u32, u32), Bucket> = buckets
            .map(|(key, bucket)| (halves(key), *bucket))
            .collect();
        let inputs = Parts::of(buckets.keys().map(|(input, _)| *input), MOST_COLUMNS);
        let ttfts = Parts::of(buckets.keys().map(|(_, ttft)| *ttft), MOST_ROWS);
        let (Some(inputs), Some(ttfts)) = (inputs, ttfts) else {
            return Err(if self.any_ttft {
                Missing::NoTokenCounts
            } else {
                Missing::NotStreamed
            });
        };
        let mut cells: BTreeMap<(usize, usize), Bucket> = BTreeMap::new();
        let mut columns: BTreeMap<usize, Column> = BTreeMap::new();
        for ((input, ttft), bucket) in &buckets {
            let (column, row) = (inputs.part(*input), ttfts.part(*ttft));
            cells.entry((column, row)).or_default().add(*bucket);
            columns.entry(column).or_default().add(*ttft, *bucket);
        }
        let columns: Vec<InputColumn> = columns
            .into_iter()
            .map(|(column, sums)| sums.finish(column))
            .collect();
        let counts: Vec<u64> = cells.values().map(|cell| u64::from(cell.count)).collect();
        let classes = classes(&counts);
        Ok(Density {
            input_edges: inputs.edges(INPUT_BITS, 1.0),
            ttft_edges_ms: ttfts.edges(TTFT_BITS, Metric::Ttft.scale()),
            cells: cells
                .iter()
                .zip(classes)
                .map(|(((column, row), cell), class)| Cell {
                    column: *column,
                    row: *row,
                    count: u64::from(cell.count),
                    class,
                    cached_share: (cell.cached_of > 0)
                        .then(|| cell.cached as f64 / cell.cached_of as f64),
                })
                .collect(),
            slope: Slope::of(&columns),
            columns,
        })
    }
}

/// A column while it is summed up.
#[derive(Debug, Default)]
struct Column {
    bucket: Bucket,
    /// Counts by bucket of the TTFT.
    ttfts: BTreeMap<u32, u32>,
}

impl Column {
    fn add(&mut self, ttft: u32, bucket: Bucket) {
        self.bucket.add(bucket);
        *self.ttfts.entry(ttft).or_default() += bucket.count;
    }

    fn finish(self, column: usize) -> InputColumn {
        let count = self.bucket.count;
        let value = |rank: u32| {
            let mut seen = 0;
            let mut ttfts = self.ttfts.iter();
            let at = ttfts.find(|(_, count)| {
                seen += **count;
                seen > rank
            });
            let (low, width) = at.map_or((0, 1), |(bucket, _)| {
                bucket_range(*bucket as usize, TTFT_BITS)
            });
            low as f64 + (width - 1) as f64 / 2.0
        };
        let p50 = f64::midpoint(value((count - 1) / 2), value(count / 2));
        InputColumn {
            column,
            count: u64::from(count),
            input_tokens: self.bucket.input_tokens as f64 / f64::from(count),
            ttft_p50_ms: p50 * Metric::Ttft.scale(),
        }
    }
}

impl Slope {
    fn of(columns: &[InputColumn]) -> Option<Self> {
        let full: Vec<_> = columns
            .iter()
            .filter(|column| column.count >= LEAST_SAMPLES)
            .collect();
        if full.len() < LEAST_COLUMNS {
            return None;
        }
        let pairs = full
            .iter()
            .enumerate()
            .flat_map(|(nth, left)| full[nth + 1..].iter().map(move |right| (left, right)));
        let slopes = pairs.filter_map(|(left, right)| {
            let tokens = right.input_tokens - left.input_tokens;
            (tokens > 0.0).then(|| (right.ttft_p50_ms - left.ttft_p50_ms) / tokens)
        });
        let slope = median(slopes.collect())?;
        let at_zero = full
            .iter()
            .map(|column| column.ttft_p50_ms - slope * column.input_tokens);
        Some(Self {
            ms_per_1000_tokens: slope * 1000.0,
            intercept_ms: median(at_zero.collect())?,
        })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    (!values.is_empty()).then(|| quantile(&values, 0.5))
}

/// Neighbouring buckets taken together, so that there are not too many.
#[derive(Clone, Copy, Debug)]
struct Parts {
    first: u32,
    last: u32,
    buckets: u32,
}

impl Parts {
    fn of(buckets: impl Iterator<Item = u32> + Clone, most: usize) -> Option<Self> {
        let (first, last) = (buckets.clone().min()?, buckets.max()?);
        let most = u32::try_from(most).expect("40 at most");
        Some(Self {
            first,
            last,
            buckets: (last - first + 1).div_ceil(most),
        })
    }

    fn part(self, bucket: u32) -> usize {
        ((bucket - self.first) / self.buckets) as usize
    }

    fn edges(self, bits: u32, scale: f64) -> Vec<f64> {
        let parts = self.part(self.last) + 1;
        (0..=parts)
            .map(|nth| {
                let bucket = self.first as usize + nth * self.buckets as usize;
                bucket_range(bucket, bits).0 as f64 * scale
            })
            .collect()
    }
}
