//! Owns mixed traffic: which model a session asks for, and which URL it goes to.
//!
//! It must not know how a body names a model, sockets, or who counts what is in flight.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::plan::{mixed, sub_seed};

/// A model of a run, by its number; the database of the run has the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelId(pub u16);

/// A URL of a run, by its position in `--url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UrlId(pub u16);

impl ModelId {
    /// Its place in a list.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

impl UrlId {
    /// The only URL of a run, or its first.
    pub const FIRST: Self = Self(0);

    /// Its place in a list.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// Names of the models of a run that are kept apart, at most: a dataset may name one for each request.
pub const MOST_MODELS: usize = 1024;

/// URLs of a run, at most.
pub const MOST_URLS: usize = 1024;

/// What the models beyond [`MOST_MODELS`] count as.
pub const OTHER_MODELS: &str = "(other models)";

/// The number of a model in a list of names, to which it is added if it is new. Beyond
/// [`MOST_MODELS`], all new ones are [`OTHER_MODELS`].
pub fn number_of(name: &str, names: &mut Vec<String>) -> ModelId {
    let find = |names: &[String], name: &str| names.iter().position(|own| own == name);
    let name = match find(names, name) {
        None if names.len() + 1 >= MOST_MODELS => OTHER_MODELS,
        _ => name,
    };
    let at = find(names, name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    ModelId(u16::try_from(at).unwrap_or(u16::MAX))
}

/// Models, and the share of the sessions that asks for each.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelMix {
    names: Vec<String>,
    /// The share of each model and of those before it.
    shares_up_to: Vec<f64>,
    seed: u64,
}

/// Why models and weights make no mix.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MixError {
    /// One weight is needed for each model.
    #[error("`--model-weights` has {weights} values for {models} models")]
    Count {
        /// Models.
        models: usize,
        /// Weights.
        weights: usize,
    },
    /// A weight is negative or not a number.
    #[error("`{0}` is not a weight: it must be a number that is not negative")]
    Weight(f64),
    /// No model has a weight above 0.
    #[error("the sum of `--model-weights` is 0")]
    AllZero,
    /// The sum is beyond what a number can hold.
    #[error("the sum of `--model-weights` is too large")]
    TooLarge,
    /// A model is named twice.
    #[error("`--model` has `{0}` twice")]
    Twice(String),
    /// Too many of them.
    #[error("`--model` has {0} names, and {MOST_MODELS} are the most")]
    TooMany(usize),
}

impl ModelMix {
    /// A mix. `weights`: one for each model; `None`: all alike.
    ///
    /// # Errors
    /// If the weights do not fit the models, or a model is named twice.
    pub fn new(names: Vec<String>, weights: Option<&[f64]>, seed: u64) -> Result<Self, MixError> {
        if names.len() > MOST_MODELS {
            return Err(MixError::TooMany(names.len()));
        }
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(MixError::Twice(name.clone()));
            }
        }
        let alike = vec![1.0; names.len()];
        let weights = weights.unwrap_or(&alike);
        if weights.len() != names.len() {
            return Err(MixError::Count {
                models: names.len(),
                weights: weights.len(),
            });
        }
        if let Some(wrong) = weights.iter().find(|w| !w.is_finite() || **w < 0.0) {
            return Err(MixError::Weight(*wrong));
        }
        let sum: f64 = weights.iter().sum();
        if !sum.is_finite() {
            return Err(MixError::TooLarge);
        }
        let last = weights.iter().rposition(|weight| *weight > 0.0);
        let last = last.ok_or(MixError::AllZero)?;
        let mut so_far = 0.0;
        let shares_up_to = weights.iter().enumerate().map(|(at, weight)| {
            so_far += weight;
            // rounding must not leave a gap behind the last one
            if at >= last { 1.0 } else { so_far / sum }
        });
        Ok(Self {
            shares_up_to: shares_up_to.collect(),
            names,
            seed: sub_seed(seed, "model"),
        })
    }

    /// The names, in the order of their numbers.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The share of the sessions that asks for each model, in the order of their numbers.
    #[must_use]
    pub fn shares(&self) -> Vec<f64> {
        let before = std::iter::once(&0.0).chain(&self.shares_up_to);
        let pairs = self.shares_up_to.iter().zip(before);
        pairs.map(|(up_to, before)| up_to - before).collect()
    }

    /// The model of a session, by its position in its phase. It depends on nothing else.
    #[must_use]
    pub fn of(&self, session: u64) -> ModelId {
        // numbers in steps of the golden ratio, mixed: SplitMix64 at its position `session`
        let step = session.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let drawn = (mixed(self.seed.wrapping_add(step)) >> 11) as f64 / (1u64 << 53) as f64;
        let at = self.shares_up_to.partition_point(|up_to| *up_to <= drawn);
        ModelId(u16::try_from(at).unwrap_or(u16::MAX))
    }

    /// The name of the model of a session.
    #[must_use]
    pub fn name_of(&self, session: u64) -> &str {
        &self.names[self.of(session).index()]
    }
}

/// Which URL a session goes to (`--url-strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UrlStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest sessions under way.
    LeastInFlight,
}

impl UrlStrategy {
    /// As it is typed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastInFlight => "least-in-flight",
        }
    }
}

/// How the sessions of a run are spread over its URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// How many URLs there are.
    pub urls: NonZeroU16,
    /// How one is chosen.
    pub strategy: UrlStrategy,
}

impl Spread {
    /// A single URL.
    pub const ONE: Self = Self {
        urls: NonZeroU16::MIN,
        strategy: UrlStrategy::RoundRobin,
    };
}

/// The URL of a session, by its position in its phase.
///
/// ```
/// use std::num::NonZeroU16;
/// use evalscope_model::mix::{UrlId, round_robin};
/// let three = NonZeroU16::new(3).unwrap();
/// assert_eq!([0, 1, 2, 3].map(|k| round_robin(k, three)), [0, 1, 2, 0].map(UrlId));
/// ```
#[must_use]
pub fn round_robin(session: u64, urls: NonZeroU16) -> UrlId {
    let at = session % u64::from(urls.get());
    UrlId(u16::try_from(at).unwrap_or(0))
}

/// The URL with the fewest sessions under way; of several, the first.
///
/// ```
/// use evalscope_model::mix::{UrlId, least_in_flight};
/// assert_eq!(least_in_flight(&[2, 1, 1]), UrlId(1));
/// ```
#[must_use]
pub fn least_in_flight(under_way: &[u32]) -> UrlId {
    let fewest = under_way.iter().enumerate().min_by_key(|(_, n)| **n);
    UrlId(fewest.map_or(0, |(at, _)| u16::try_from(at).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shard::Shard;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|at| format!("m{at}")).collect()
    }

    #[test]
    fn weights_that_make_no_mix_are_refused() {
        let new = |models, weights: &[f64]| {
            ModelMix::new(names(models), Some(weights), 1)
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(
            [
                new(3, &[1.0, 2.0]),
                new(2, &[1.0, -1.0]),
                new(2, &[1.0, f64::NAN]),
                new(2, &[0.0, 0.0]),
                new(2, &[f64::MAX, f64::MAX]),
                new(MOST_MODELS + 1, &[]),
                ModelMix::new(vec!["a".into(), "b".into(), "a".into()], None, 1).unwrap_err().to_string(),
            ]
            .join("\n"),
            @r"
        `--model-weights` has 2 values for 3 models
        `-1` is not a weight: it must be a number that is not negative
        `NaN` is not a weight: it must be a number that is not negative
        the sum of `--model-weights` is 0
        the sum of `--model-weights` is too large
        `--model` has 1025 names, and 1024 are the most
        `--model` has `a` twice
        "
        );
    }

    #[test]
    fn a_model_without_weight_is_never_drawn() {
        let mix = ModelMix::new(names(4), Some(&[0.0, 1.0, 2.0, 0.0]), 5).unwrap();
        let drawn: Vec<ModelId> = (0..2000).map(|k| mix.of(k)).collect();
        assert!(!drawn.contains(&ModelId(0)) && !drawn.contains(&ModelId(3)));
        assert!(drawn.contains(&ModelId(1)) && drawn.contains(&ModelId(2)));
    }

    #[test]
    fn models_beyond_the_most_are_counted_together() {
        let mut all = Vec::new();
        for at in 0..MOST_MODELS + 5 {
            let id = number_of(&format!("m{at}"), &mut all);
            assert_eq!(id.index(), at.min(MOST_MODELS - 1));
        }
        assert_eq!(all.len(), MOST_MODELS);
        assert_eq!(all.last().map(String::as_str), Some(OTHER_MODELS));
        assert_eq!(number_of("m3", &mut all), ModelId(3));
    }

    #[test]
    fn urls_without_sessions_come_in_order() {
        let mut under_way = [0; 4];
        let chosen = [(); 6].map(|()| {
            let url = least_in_flight(&under_way);
            under_way[url.index()] += 1;
            url.0
        });
        assert_eq!(chosen, [0, 1, 2, 3, 0, 1]);
    }

    proptest! {
        /// The share of each model is its weight's, within what chance does: six standard deviations are
        /// exceeded once in 500 million counts.
        #[test]
        fn shares_are_those_of_the_weights(
            weights in prop::collection::vec(0.0f64..10.0, 2..6), seed in any::<u64>()
        ) {
            prop_assume!(weights.iter().sum::<f64>() > 0.0);
            let mix = ModelMix::new(names(weights.len()), Some(&weights), seed).unwrap();
            let n = 20_000u32;
            let mut counts = vec![0u32; weights.len()];
            for k in 0..n {
                counts[mix.of(k.into()).index()] += 1;
            }
            for (count, share) in counts.into_iter().zip(mix.shares()) {
                let expected = share * f64::from(n);
                let deviation = (expected * (1.0 - share).max(0.0)).sqrt();
                prop_assert!((f64::from(count) - expected).abs() <= 6.0 * deviation + 1.0);
            }
        }

        /// Shards together ask for what one run asks for, position by position.
        #[test]
        fn shards_are_parts_of_one_run(seed in any::<u64>(), of in 1u32..7, sessions in 1u64..200) {
            let mix = ModelMix::new(names(3), Some(&[3.0, 1.0, 1.0]), seed).unwrap();
            let three = NonZeroU16::new(3).unwrap();
            let one: Vec<_> = (0..sessions).map(|k| (mix.of(k), round_robin(k, three))).collect();
            let mut all = vec![None; one.len()];
            for index in 0..of {
                let shard = Shard::new(index, of).unwrap();
                for nth in 0..shard.share(sessions) {
                    let k = shard.nth(nth);
                    let at = usize::try_from(k).unwrap();
                    prop_assert_eq!(all[at], None);
                    all[at] = Some((mix.of(k), round_robin(k, three)));
                }
            }
            prop_assert_eq!(all, one.into_iter().map(Some).collect::<Vec<_>>());
        }
    }
}
