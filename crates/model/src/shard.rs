//! Owns which part of a run one of several processes carries out: session *k* belongs to shard
//! *k* mod *n*, places are divided evenly.
//!
//! It must not know loads, datasets or processes.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the processes that carry out a run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Shard {
    index: u32,
    of: NonZeroU32,
}

/// Where the numbers begin of a shard's conversations that no body was made of. The sessions of all
/// shards are numbered through, and no run has as many requests, so each number is there once.
pub const UNMADE: u64 = 1 << 40;

/// Its form in files.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Parts {
    index: u32,
    of: u32,
}

impl From<Shard> for Parts {
    fn from(shard: Shard) -> Self {
        Self {
            index: shard.index,
            of: shard.of.get(),
        }
    }
}

impl TryFrom<Parts> for Shard {
    type Error = ShardError;

    fn try_from(parts: Parts) -> Result<Self, ShardError> {
        Self::new(parts.index, parts.of)
    }
}

/// Why a shard does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The text has another form.
    #[error("expected I/N, such as 0/4 for the first of four shards")]
    Form,
    /// There are none.
    #[error("the number of shards must be at least 1")]
    NoShards,
    /// The index is too large.
    #[error("there is no shard {index} of {of}: shards are numbered from 0 to {}", of - 1)]
    Index {
        /// The index.
        index: u32,
        /// The number of shards.
        of: u32,
    },
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Shard {
    /// The only process of a run.
    pub const WHOLE: Self = Self {
        index: 0,
        of: NonZeroU32::MIN,
    };

    /// Shard `index` of `of`, counted from 0.
    ///
    /// # Errors
    /// If there is no such shard.
    pub fn new(index: u32, of: u32) -> Result<Self, ShardError> {
        let count = NonZeroU32::new(of).ok_or(ShardError::NoShards)?;
        if index >= of {
            return Err(ShardError::Index { index, of });
        }
        Ok(Self { index, of: count })
    }

    /// Its number, from 0.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    #[must_use]
    pub const fn of(self) -> NonZeroU32 {
        self.of
    }

    /// Whether there is no other one.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.of.get() == 1
    }

    /// Whether session `k` of a phase is one of its own.
    #[must_use]
    pub fn owns(self, k: u64) -> bool {
        k % u64::from(self.of.get()) == u64::from(self.index)
    }

    /// The position in its phase of the shard's own session `nth`.
    ///
    /// ```
    /// use evalscope_model::shard::Shard;
    /// let second = Shard::new(1, 3).unwrap();
    /// assert_eq!((0..3).map(|nth| second.nth(nth)).collect::<Vec<_>>(), [1, 4, 7]);
    /// ```
    #[must_use]
    pub fn nth(self, nth: u64) -> u64 {
        let before = nth.saturating_mul(u64::from(self.of.get()));
        before.saturating_add(u64::from(self.index))
    }

    /// How many of the first `total` sessions of a phase are its own.
    ///
    /// ```
    /// use evalscope_model::shard::Shard;
    /// let share = |index| Shard::new(index, 3).unwrap().share(8);
    /// assert_eq!([share(0), share(1), share(2)], [3, 3, 2]);
    /// ```
    #[must_use]
    pub fn share(self, total: u64) -> u64 {
        let of = u64::from(self.of.get());
        total / of + u64::from(u64::from(self.index) < total % of)
    }

    /// How many of so many places are its own; `None` for no place.
    #[must_use]
    pub fn places(self, total: NonZeroUsize) -> Option<NonZeroUsize> {
        let share = self.share(total.get() as u64);
        NonZeroUsize::new(usize::try_from(share).ok()?)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let (index, of) = text.split_once('/').ok_or(ShardError::Form)?;
        let number = |text: &str| text.trim().parse().map_err(|_| ShardError::Form);
        Self::new(number(index)?, number(of)?)
    }
}

/// The sessions of a shard among all of a run. Those of the warm-up come first and are counted apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deal {
    /// The shard.
    pub shard: Shard,
    /// Sessions of the warm-up, of all shards together.
    pub warmup: u64,
}

impl Deal {
    /// Whether the session at this place among all of the run is one of the shard's own.
    #[must_use]
    pub fn owns(self, place: u64) -> bool {
        self.shard
            .owns(place.checked_sub(self.warmup).unwrap_or(place))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(of: u32) -> impl Iterator<Item = Shard> {
        (0..of).map(move |index| Shard::new(index, of).unwrap())
    }

    proptest! {
        /// Each session belongs to one shard, which knows it by its own count; nobody has two more
        /// sessions or places than another.
        #[test]
        fn shards_have_all_of_a_run_once(of in 1u32..40, total in 0u64..500, warmup in 0u64..50) {
            let mut dealt: Vec<u64> = all(of)
                .flat_map(|shard| (0..shard.share(total)).map(move |nth| shard.nth(nth)))
                .collect();
            dealt.sort_unstable();
            prop_assert_eq!(dealt, (0..total).collect::<Vec<_>>());
            for shard in all(of) {
                let own = (0..total).filter(|k| shard.owns(*k));
                let want = (0..shard.share(total)).map(|nth| shard.nth(nth));
                prop_assert!(own.eq(want));
                prop_assert!(shard.share(total).abs_diff(total / u64::from(of)) <= 1);
            }
            for place in 0..total {
                let owners = all(of).filter(|shard| Deal { shard: *shard, warmup }.owns(place));
                prop_assert_eq!(owners.count(), 1);
            }
        }
    }

    #[test]
    fn places_are_divided_and_none_is_lost() {
        let ten = NonZeroUsize::new(10).unwrap();
        let places: Vec<usize> = all(4)
            .map(|shard| shard.places(ten).unwrap().get())
            .collect();
        assert_eq!(places, [3, 3, 2, 2]);
        assert_eq!(Shard::new(10, 11).unwrap().places(ten), None);
    }

    #[test]
    fn a_shard_is_written_as_it_is_read() {
        for text in ["0/1", "3/4", "99/100"] {
            let shard: Shard = text.parse().unwrap();
            assert_eq!(shard.to_string(), text);
            let json = serde_json::to_string(&shard).unwrap();
            assert_eq!(serde_json::from_str::<Shard>(&json).unwrap(), shard);
        }
        for (text, error) in [
            ("4/4", ShardError::Index { index: 4, of: 4 }),
            ("0/0", ShardError::NoShards),
            ("1", ShardError::Form),
            ("-1/3", ShardError::Form),
        ] {
            assert_eq!(text.parse::<Shard>(), Err(error));
        }
        assert!(serde_json::from_str::<Shard>(r#"{"index":2,"of":2}"#).is_err());
    }
}
