//! Owns how much a figure would vary if its run were made again with the same server: by drawing the
//! run anew from blocks of itself.
//!
//! Pure. It must not know metrics or records. Requests of one run depend on each other, so blocks of
//! neighbours are drawn, not requests. What differs from run to run, such as where the server's memory
//! happens to be, is in none of the blocks.

use super::histogram::{LogHistogram, bucket_range};

/// Parts that a run is cut into, in order of dispatch; fewer if it has fewer requests.
const MOST_CELLS: usize = 200;

/// Cells in a block, unless it has to be longer: a twentieth of a long run, and at least ten requests.
const CELLS_IN_BLOCK: usize = 10;

/// A run needs so many requests: two blocks.
const LEAST_REQUESTS: usize = 2 * CELLS_IN_BLOCK;

/// How often the run is drawn.
const DRAWS: usize = 1000;

/// Bins of values, each with as many samples as any other; exact below that many samples.
const MOST_BINS: usize = 1024;

/// The blocks of each draw, the same for every figure of a run.
///
/// Künsch, "The Jackknife and the Bootstrap for General Stationary Observations", Annals of Statistics
/// 17 (1989): blocks may overlap, and as many are drawn as make up the length of the run.
#[derive(Clone, Debug)]
pub struct BlockBootstrap {
    cells: usize,
    /// Cells in a block.
    in_block: usize,
    /// Where the blocks of each draw begin.
    draws: Vec<Vec<usize>>,
}

impl BlockBootstrap {
    /// For a run of so many requests; always the same draws. A block has at least `least` requests, if two of
    /// such blocks fit into the run. `None` if it is too short.
    #[must_use]
    pub fn new(requests: usize, least: usize) -> Option<Self> {
        if requests < LEAST_REQUESTS {
            return None;
        }
        let cells = requests.min(MOST_CELLS);
        let long = least.saturating_mul(cells).div_ceil(requests);
        let in_block = long.clamp(CELLS_IN_BLOCK, cells / 2);
        let blocks = cells.div_ceil(in_block);
        let starts = cells - in_block + 1;
        let mut state = 0_u64;
        let mut draw = || (0..blocks).map(|_| below(&mut state, starts)).collect();
        Some(Self {
            cells,
            in_block,
            draws: (0..DRAWS).map(|_| draw()).collect(),
        })
    }

    /// The variance of the logarithm of Σ`amounts` / Σ`spans`; both in order of dispatch, as many of
    /// one as of the other. A mean is the ratio of values to ones. `None` if a draw has no logarithm.
    #[must_use]
    pub fn ratio(&self, amounts: &[f64], spans: &[f64]) -> Option<f64> {
        let amounts = self.sums(amounts);
        let spans = self.sums(spans);
        let within = |sums: &[f64], start: usize| sums[start + self.in_block] - sums[start];
        self.ln_variance(|starts| {
            let sum = |sums: &[f64]| starts.iter().map(|start| within(sums, *start)).sum::<f64>();
            sum(&amounts) / sum(&spans)
        })
    }

    /// The variance of the logarithm of the mean of values in order of dispatch.
    #[must_use]
    pub fn mean(&self, values: &[f64]) -> Option<f64> {
        self.ratio(values, &vec![1.0; values.len()])
    }

    /// The variances of the logarithms of percentiles (0..1) of values in order of dispatch.
    #[must_use]
    pub fn percentiles(&self, values: &[f64], percentiles: &[f64]) -> Vec<Option<f64>> {
        if values.is_empty() {
            return vec![None; percentiles.len()];
        }
        let binned = Binned::new(values, self.cells, self.in_block);
        percentiles
            .iter()
            .map(|p| self.ln_variance(|starts| binned.percentile(starts, *p)))
            .collect()
    }

    /// The cell of the nth of so many values.
    fn cell(&self, nth: usize, values: usize) -> usize {
        nth * self.cells / values
    }

    /// The sums of the values before each cell, and of all.
    fn sums(&self, values: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.cells + 1];
        for (nth, value) in values.iter().enumerate() {
            sums[self.cell(nth, values.len()) + 1] += value;
        }
        for cell in 0..self.cells {
            sums[cell + 1] += sums[cell];
        }
        sums
    }

    fn ln_variance(&self, figure: impl Fn(&[usize]) -> f64) -> Option<f64> {
        variance(self.draws.iter().map(|starts| figure(starts).ln()))
    }
}

/// The variance of the logarithm of the percentile `p` (0..1) of a run of which there is only a histogram of each
/// of its parts, of one resolution: parts are drawn instead of blocks. `None` with fewer than two parts or no value.
///
/// # Panics
/// If resolutions differ.
#[must_use]
pub fn variance_of_parts(parts: &[LogHistogram], p: f64) -> Option<f64> {
    let bits = parts.first()?.bits();
    if parts.len() < 2 {
        return None;
    }
    let all = LogHistogram::sum(bits, parts);
    let buckets: Vec<usize> = all.counts().iter().map(|(bucket, _)| *bucket).collect();
    // of each part, its values up to each bucket
    let up_to: Vec<Vec<u64>> = parts
        .iter()
        .map(|part| {
            let mut own = part.counts().iter().peekable();
            let mut sum = 0;
            let of_bucket = |bucket: &usize| {
                sum += own
                    .next_if(|(at, _)| at == bucket)
                    .map_or(0, |(_, count)| *count);
                sum
            };
            buckets.iter().map(of_bucket).collect()
        })
        .collect();
    let mut state = 0_u64;
    let mut draw = || -> f64 {
        let mut own = Vec::with_capacity(parts.len());
        for _ in parts {
            own.push(&up_to[below(&mut state, parts.len())]);
        }
        let before = |nth: usize| own.iter().map(|up_to| up_to[nth]).sum::<u64>();
        let Some(drawn) = buckets.len().checked_sub(1).map(before).filter(|n| *n > 0) else {
            return f64::NAN;
        };
        let rank = (p * (drawn - 1) as f64).ceil();
        let nths: Vec<usize> = (0..buckets.len()).collect();
        let at = nths.partition_point(|nth| before(*nth) as f64 <= rank);
        let (low, width) = bucket_range(buckets[at.min(buckets.len() - 1)], bits);
        (low as f64 + (width - 1) as f64 / 2.0).ln()
    };
    // of few parts, draws vary less than runs
    let n = parts.len() as f64;
    Some(variance((0..DRAWS).map(|_| draw()))? * n / (n - 1.0))
}

/// The variance of draws; `None` if one of them is not a number.
fn variance(draws: impl Iterator<Item = f64>) -> Option<f64> {
    let draws: Vec<f64> = draws.collect();
    let n = draws.len() as f64;
    let mean = draws.iter().sum::<f64>() / n;
    let squares: f64 = draws.iter().map(|x| (x - mean) * (x - mean)).sum();
    Some(squares / (n - 1.0)).filter(|variance| variance.is_finite())
}

/// Counts of values by cell and by bin, summed up so that the count of any cells and bins is a
/// difference.
struct Binned {
    bins: usize,
    /// Cells in a block.
    in_block: usize,
    /// Smallest and largest value of each bin.
    edges: Vec<(f64, f64)>,
    /// Values in the cells before this one and in the bins before this one.
    counts: Vec<u32>,
}

impl Binned {
    fn new(values: &[f64], cells: usize, in_block: usize) -> Self {
        let n = values.len();
        let bins = n.min(MOST_BINS);
        let mut by_size: Vec<usize> = (0..n).collect();
        by_size.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
        let mut edges = vec![(f64::INFINITY, f64::NEG_INFINITY); bins];
        let wide = bins + 1;
        let mut counts = vec![0_u32; (cells + 1) * wide];
        for (rank, nth) in by_size.into_iter().enumerate() {
            let (bin, cell) = (rank * bins / n, nth * cells / n);
            let edge = &mut edges[bin];
            *edge = (edge.0.min(values[nth]), edge.1.max(values[nth]));
            counts[(cell + 1) * wide + bin + 1] += 1;
        }
        for cell in 1..=cells {
            let mut in_cell = 0;
            for bin in 1..wide {
                in_cell += counts[cell * wide + bin];
                counts[cell * wide + bin] = in_cell + counts[(cell - 1) * wide + bin];
            }
        }
        Self {
            bins,
            in_block,
            edges,
            counts,
        }
    }

    /// Values in the bins before this one, in the blocks that begin at these cells.
    fn below(&self, starts: &[usize], bin: usize) -> u64 {
        let wide = self.bins + 1;
        let before = |cell: usize| self.counts[cell * wide + bin];
        let of_block = |start: &usize| u64::from(before(start + self.in_block) - before(*start));
        starts.iter().map(of_block).sum()
    }

    /// The percentile of the values in these blocks: the order statistic, or where its bin has several
    /// values, what lies in its place between them. Not a number without a value.
    fn percentile(&self, starts: &[usize], p: f64) -> f64 {
        let all = self.below(starts, self.bins);
        if all == 0 {
            return f64::NAN;
        }
        let rank = (p * (all - 1) as f64).ceil();
        let (mut low, mut high) = (0, self.bins);
        // the last bin with no more than `rank` values before it
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.below(starts, middle) as f64 <= rank {
                low = middle;
            } else {
                high = middle;
            }
        }
        let before = self.below(starts, low) as f64;
        let inside = self.below(starts, high) as f64 - before;
        let (smallest, largest) = self.edges[low];
        smallest + (largest - smallest) * ((rank - before) / inside).clamp(0.0, 1.0)
    }
}

/// A draw from 0 to below `end`.
fn below(state: &mut u64, end: usize) -> usize {
    // the upper half of the draw as a share
    let at = ((next(state) >> 32) * end as u64) >> 32;
    usize::try_from(at).expect("it is below a number of this type")
}

/// The next draw of splitmix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::normal_quantile;
    use crate::metrics::tests::draws;

    /// Values that a script can make, too.
    fn made_up(n: u32) -> Vec<f64> {
        (0..n)
            .map(|i| 100.0 + f64::from(i * 7919 % 1009) + f64::from(i / 37 % 9) * 25.0)
            .collect()
    }

    /// The same draws with `numpy.quantile(x, p, method="higher")` and `numpy.mean`, by
    /// ci/statistics-tables
    #[test]
    fn variances_agree_with_numpy() {
        for (n, p50, p99, mean) in VARIANCES {
            let values = made_up(n);
            let bootstrap = BlockBootstrap::new(values.len(), 0).unwrap();
            let got = bootstrap.percentiles(&values, &[0.5, 0.99]);
            let got = [got[0], got[1], bootstrap.mean(&values)].map(Option::unwrap);
            for (got, want) in got.into_iter().zip([p50, p99, mean]) {
                assert!((got - want).abs() < 1e-9 * want, "{n}: {got} {want}");
            }
        }
    }

    const VARIANCES: [(u32, f64, f64, f64); 4] = [
        (
            25,
            0.008_690_637_495_117_292,
            0.000_194_472_800_239_886_49,
            0.002_763_464_568_017_171_7,
        ),
        (
            137,
            0.001_859_131_839_206_704,
            0.000_143_324_319_576_130_92,
            0.000_632_666_860_400_58,
        ),
        (
            200,
            0.001_372_080_604_143_439,
            0.000_122_954_930_676_076_23,
            0.000_465_925_147_192_600_7,
        ),
        (
            1000,
            0.000_349_517_894_031_423_9,
            0.000_142_312_034_122_820_63,
            0.000_323_276_361_031_835_1,
        ),
    ];

    /// Independent log-normal values: the variance of the logarithm of a sample's median is
    /// (π/2) σ²/n. That of a series that remembers is as much larger as its mean varies more.
    #[test]
    fn long_runs_are_in_bins_and_keep_their_variance() {
        let n = 20_000;
        let values: Vec<f64> = draws(5)
            .map(normal_quantile)
            .map(|z| (0.5 * z).exp())
            .take(n)
            .collect();
        let bootstrap = BlockBootstrap::new(n, 0).unwrap();
        let got = bootstrap.percentiles(&values, &[0.5])[0].unwrap();
        let want = std::f64::consts::FRAC_PI_2 * 0.25 / n as f64;
        assert!((0.5..2.0).contains(&(got / want)), "{got} {want}");
        let mut last = 0.0;
        let remembers = draws(6).map(normal_quantile).map(|z| {
            last = 0.9 * last + z;
            (0.1 * last).exp()
        });
        let remembers: Vec<f64> = remembers.take(n).collect();
        let got = bootstrap.mean(&remembers).unwrap();
        // the sum of an AR(1) series varies by 1 / (1 − 0.9)² for each draw
        let want = 0.01 * 100.0 / n as f64;
        assert!((0.5..2.0).contains(&(got / want)), "{got} {want}");
    }

    /// Values in waves of 200: blocks of 50 do not see how much the waves vary.
    #[test]
    fn longer_blocks_see_longer_dependence() {
        let mut waves = draws(7).map(normal_quantile);
        let values: Vec<f64> = (0..5)
            .flat_map(|_| vec![(0.1 * waves.next().unwrap()).exp(); 200])
            .collect();
        let with = |least| {
            BlockBootstrap::new(1000, least)
                .unwrap()
                .mean(&values)
                .unwrap()
        };
        assert!((with(50) - with(0)).abs() < 1e-15, "a block has 50 anyway");
        assert!(with(200) > 2.0 * with(0), "{} {}", with(200), with(0));
        assert!(
            (with(500) - with(100_000)).abs() < 1e-15,
            "no longer than half of the run"
        );
    }

    /// Parts of independent values say of a percentile what the values themselves say.
    #[test]
    fn parts_vary_as_their_values_do() {
        let values: Vec<u64> = draws(8)
            .map(normal_quantile)
            .take(20_000)
            .map(|z| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "made up"
                )]
                let ns = (1e8 * (0.5 * z).exp()) as u64;
                ns
            })
            .collect();
        let parts: Vec<LogHistogram> = values
            .chunks(2000)
            .map(|part| LogHistogram::of(9, part.iter().copied()))
            .collect();
        let got = variance_of_parts(&parts, 0.5).unwrap();
        let want = std::f64::consts::FRAC_PI_2 * 0.25 / 20_000.0;
        assert!((0.3..3.0).contains(&(got / want)), "{got} {want}");
        assert_eq!(variance_of_parts(&parts[..1], 0.5), None);
        assert_eq!(variance_of_parts(&[], 0.5), None);
        let empty = LogHistogram::of(9, []);
        assert_eq!(variance_of_parts(&[empty.clone(), empty], 0.5), None);
        let alike = vec![parts[0].clone(); 4];
        assert!(variance_of_parts(&alike, 0.99).unwrap() < 1e-20);
    }

    #[test]
    fn what_has_no_logarithm_has_no_variance() {
        assert!(BlockBootstrap::new(19, 0).is_none());
        let bootstrap = BlockBootstrap::new(40, 0).unwrap();
        assert_eq!(bootstrap.mean(&[0.0; 40]), None);
        assert_eq!(bootstrap.mean(&[]), None);
        assert_eq!(bootstrap.ratio(&[1.0; 40], &[0.0; 40]), None);
        assert_eq!(bootstrap.percentiles(&[], &[0.5]), [None]);
        let alike = bootstrap.percentiles(&[3.0; 40], &[0.5, 0.99]);
        assert!(alike.iter().all(|variance| variance.unwrap() < 1e-20));
    }
}
