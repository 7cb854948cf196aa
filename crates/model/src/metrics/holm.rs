//! Owns what many comparisons at a time do to the probability that one of them is chance.
//!
//! Pure. It must not know what is compared.

/// Probabilities adjusted for being one of several, in the order of `p_values`: a finding below 5 %
/// here has a chance of 5 % to be false that all of them share. Never below the plain probability.
///
/// Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
/// Statistics 6 (1979).
///
/// ```
/// use evalscope_model::metrics::holm;
/// let adjusted = holm(&[0.04, 0.01, 0.03]);
/// assert!((adjusted[1] - 0.03).abs() < 1e-12);
/// assert!((adjusted[2] - 0.06).abs() < 1e-12 && (adjusted[0] - 0.06).abs() < 1e-12);
/// ```
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, at) in order.into_iter().enumerate() {
        let left = (p_values.len() - rank) as f64;
        largest = largest.max((p_values[at] * left).min(1.0));
        adjusted[at] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `statsmodels.stats.multitest.multipletests(p, method="holm")[1]`, by ci/statistics-tables
    #[test]
    fn adjusted_probabilities_agree_with_statsmodels() {
        let p = [0.012, 0.3, 0.0004, 0.04, 0.04, 0.9];
        let want = [0.06, 0.6, 0.0024, 0.16, 0.16, 0.9];
        for (got, want) in holm(&p).into_iter().zip(want) {
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        }
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    proptest! {
        #[test]
        fn adjusting_keeps_the_order_and_only_raises(p in prop::collection::vec(0.0f64..=1.0, 1..20)) {
            let adjusted = holm(&p);
            for (a, x) in adjusted.iter().zip(&p) {
                prop_assert!(a >= x && *a <= 1.0);
                for (b, y) in adjusted.iter().zip(&p) {
                    prop_assert!(x > y || a <= b);
                }
            }
        }
    }
}
