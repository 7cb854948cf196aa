//! Owns the isotonic fit: the non-decreasing curve that is closest to measurements which should not fall.
//!
//! It must not know what was measured.

/// A measurement, at the next larger value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    /// What was measured.
    pub(super) level: f64,
    /// How much it counts, greater than 0.
    pub(super) weight: f64,
}

/// The fitted level of each measurement, by pooling adjacent violators: where a level is below the one
/// before it, both become their weighted mean.
pub(super) fn isotonic(measured: &[Measured]) -> Vec<f64> {
    let mut pools: Vec<(Measured, usize)> = Vec::new();
    for one in measured {
        let (mut pool, mut members) = (*one, 1);
        while let Some((before, others)) = pools.pop_if(|(before, _)| before.level >= pool.level) {
            let weight = before.weight + pool.weight;
            pool = Measured {
                level: (before.level * before.weight + pool.level * pool.weight) / weight,
                weight,
            };
            members += others;
        }
        pools.push((pool, members));
    }
    let fitted = pools.iter();
    fitted
        .flat_map(|(pool, members)| std::iter::repeat_n(pool.level, *members))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fit(measured: &[(f64, f64)]) -> Vec<f64> {
        let measured: Vec<Measured> = measured
            .iter()
            .map(|(level, weight)| Measured {
                level: *level,
                weight: *weight,
            })
            .collect();
        isotonic(&measured)
    }

    #[test]
    fn neighbours_in_the_wrong_order_are_pooled() {
        let cases = [
            (&[][..], &[][..]),
            (&[(3.0, 1.0)], &[3.0]),
            (&[(1.0, 1.0), (2.0, 5.0), (4.0, 1.0)], &[1.0, 2.0, 4.0]),
            (&[(3.0, 1.0), (1.0, 1.0)], &[2.0, 2.0]),
            (&[(3.0, 3.0), (1.0, 1.0)], &[2.5, 2.5]),
            // what is pooled may be too low for what is before it
            (
                &[(1.0, 1.0), (3.0, 1.0), (2.0, 1.0), (0.0, 2.0), (5.0, 1.0)],
                &[1.0, 1.25, 1.25, 1.25, 5.0],
            ),
            (
                &[(4.0, 1.0), (3.0, 1.0), (2.0, 1.0), (1.0, 1.0)],
                &[2.5, 2.5, 2.5, 2.5],
            ),
        ];
        for (measured, fitted) in cases {
            assert_eq!(fit(measured), fitted, "{measured:?}");
        }
    }

    proptest! {
        /// The fit never falls, keeps the weighted sum, and leaves what never falls as it is.
        #[test]
        fn the_fit_never_falls(measured in proptest::collection::vec((0.0f64..100.0, 0.1f64..50.0), 0..20)) {
            let fitted = fit(&measured);
            prop_assert_eq!(fitted.len(), measured.len());
            prop_assert!(fitted.is_sorted());
            let sum = |levels: &mut dyn Iterator<Item = f64>| -> f64 {
                levels.zip(&measured).map(|(level, (_, weight))| level * weight).sum()
            };
            let before = sum(&mut measured.iter().map(|one| one.0));
            let after = sum(&mut fitted.iter().copied());
            prop_assert!((before - after).abs() <= 1e-9 * before.max(1.0));
            let again: Vec<(f64, f64)> = fitted.iter().copied().zip(measured.iter().map(|one| one.1)).collect();
            let again = fit(&again);
            prop_assert!(again.iter().zip(&fitted).all(|(a, b)| (a - b).abs() <= 1e-9 * b.max(1.0)));
        }
    }
}
