//! Owns what prompts share, as far as a trace tells: the longest beginning of a prompt that an earlier
//! one had too.
//!
//! Pure. A prompt is a chain of blocks; a block is shared only where all blocks before it are. So
//! chains are compared, which holds for ids that stand for a block and all before it (Mooncake) as for
//! ids that stand for the block alone (Qwen-Bailian).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Chains of blocks that were met.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Tokens of the last block of each chain.
    last_tokens: HashMap<u64, u32, BuildHasherDefault<Mixed>>,
}

/// Blocks of a prompt, each with its tokens: the last one may be partial.
pub(super) fn block_tokens(at: usize, block_size: u64, input_tokens: u64) -> u64 {
    let before = (at as u64).saturating_mul(block_size);
    input_tokens.saturating_sub(before).min(block_size)
}

impl Seen {
    /// Remember a prompt; returns how many tokens it shares with the beginning of an earlier one.
    pub fn meet(&mut self, ids: &[u64], block_size: u64, input_tokens: u64) -> u64 {
        let mut chain = 0;
        let mut shared = 0;
        let mut is_shared = true;
        for (at, id) in ids.iter().enumerate() {
            let tokens = block_tokens(at, block_size, input_tokens);
            chain = mixed(chain ^ mixed(*id));
            let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
            let longest = self.last_tokens.entry(chain).or_default();
            if is_shared {
                shared += u64::from(tokens.min(*longest));
                is_shared = tokens <= *longest;
            }
            *longest = tokens.max(*longest);
        }
        shared
    }
}

/// The mixer of `SplitMix64` (Steele, Lea & Flood 2014).
pub(super) fn mixed(mut hash: u64) -> u64 {
    hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A hasher for numbers that are mixed already.
#[derive(Clone, Copy, Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mixed(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The longest common beginning of two prompts, token by token.
    fn common(a: &[(u64, u64)], b: &[(u64, u64)]) -> u64 {
        let equal = a.iter().zip(b).take_while(|(a, b)| a == b);
        equal.count() as u64
    }

    /// A prompt as tokens: the chain of a block and a place in it.
    fn tokens(ids: &[u64], block_size: u64, input: u64) -> Vec<(u64, u64)> {
        let mut chain = 0;
        let mut all = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            chain = mixed(chain ^ mixed(*id));
            let n = block_tokens(at, block_size, input);
            all.extend((0..n).map(|place| (chain, place)));
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_shared_is_the_longest_common_beginning(
            prompts in prop::collection::vec(
                (prop::collection::vec(0_u64..3, 1..5), 1_u64..5), 1..30),
        ) {
            let block_size = 4;
            let mut seen = Seen::default();
            let mut before: Vec<Vec<(u64, u64)>> = Vec::new();
            for (ids, last) in prompts {
                let input = (ids.len() as u64 - 1) * block_size + last;
                let own = tokens(&ids, block_size, input);
                let want = before.iter().map(|other| common(&own, other)).max().unwrap_or(0);
                prop_assert_eq!(seen.meet(&ids, block_size, input), want);
                before.push(own);
            }
        }
    }
}
