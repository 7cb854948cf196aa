//! Owns the prefix cache: blocks of 16 tokens, each known by a hash of itself and of all blocks
//! before it, of which the least recently used make room for new ones.
//!
//! It must not know how prompts are tokenized or when requests are served.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::config::CacheBlocks;

/// Tokens per block, as in vLLM.
pub(crate) const BLOCK_TOKENS: usize = 16;

/// The first half of the SHA-256 of the block before, and of its own tokens.
type BlockHash = [u8; 16];

/// The blocks of a sequence of tokens, and the tokens after the last full block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    blocks: Vec<BlockHash>,
    rest: Vec<u64>,
}

impl Chain {
    pub(crate) fn extend(&mut self, tokens: impl IntoIterator<Item = u64>) {
        for token in tokens {
            self.rest.push(token);
            if self.rest.len() == BLOCK_TOKENS {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let mut hash = Sha256::new();
        hash.update(self.blocks.last().copied().unwrap_or_default());
        for token in self.rest.drain(..) {
            hash.update(token.to_le_bytes());
        }
        let hash: [u8; 32] = hash.finalize().into();
        let (half, _) = hash.split_first_chunk().expect("32 bytes have 16");
        self.blocks.push(*half);
    }

    /// The blocks that may be taken from the cache: the last token must be computed, as its
    /// probabilities are what the first generated token comes from.
    fn usable(&self) -> &[BlockHash] {
        let usable = self.blocks.len() - usize::from(self.rest.is_empty()).min(self.blocks.len());
        &self.blocks[..usable]
    }
}

impl FromIterator<u64> for Chain {
    fn from_iter<I: IntoIterator<Item = u64>>(tokens: I) -> Self {
        let mut chain = Chain::default();
        chain.extend(tokens);
        chain
    }
}

/// The blocks that are cached.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    limit: Option<NonZeroUsize>,
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    /// When each block was last used, in uses.
    last_use: HashMap<BlockHash, u64>,
    /// The same, the other way round. Empty without a limit.
    by_use: BTreeMap<u64, BlockHash>,
    uses: u64,
}

impl Cached {
    fn touch(&mut self, block: BlockHash, limit: Option<NonZeroUsize>) {
        self.uses += 1;
        let earlier = self.last_use.insert(block, self.uses);
        let Some(limit) = limit else { return };
        if let Some(earlier) = earlier {
            self.by_use.remove(&earlier);
        }
        self.by_use.insert(self.uses, block);
        if self.by_use.len() > limit.get()
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.last_use.remove(&oldest);
        }
    }
}

impl PrefixCache {
    pub(crate) fn new(blocks: CacheBlocks) -> Option<Self> {
        let limit = match blocks {
            CacheBlocks::None => return None,
            CacheBlocks::Limited(blocks) => Some(blocks),
            CacheBlocks::Unlimited => None,
        };
        Some(PrefixCache {
            limit,
            cached: Mutex::default(),
        })
    }

    /// How many of the first blocks of a prompt are cached. Then all of its full blocks are.
    pub(crate) fn admit(&self, prompt: &Chain) -> u64 {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let hits = prompt.usable().iter();
        let hits = hits.take_while(|block| cached.last_use.contains_key(*block));
        let hits = hits.count() as u64;
        self.touch(&mut cached, prompt);
        hits
    }

    /// Cache the full blocks of a prompt and its response.
    pub(crate) fn keep(&self, sequence: &Chain) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        self.touch(&mut cached, sequence);
    }

    /// The last block first: without those before it, a block is of no use.
    fn touch(&self, cached: &mut Cached, sequence: &Chain) {
        for block in sequence.blocks.iter().rev() {
            cached.touch(*block, self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cache(blocks: &str) -> PrefixCache {
        PrefixCache::new(blocks.parse().expect("a size")).expect("a cache")
    }

    fn chain(tokens: impl IntoIterator<Item = u64>) -> Chain {
        tokens.into_iter().collect()
    }

    #[test]
    fn only_full_blocks_are_cached_and_the_last_token_is_computed() {
        let cache = cache("inf");
        assert_eq!(cache.admit(&chain(0..40)), 0);
        assert_eq!(cache.admit(&chain(0..40)), 2, "8 tokens fill no block");
        assert_eq!(cache.admit(&chain(0..33)), 2);
        assert_eq!(cache.admit(&chain(0..32)), 1, "one token must be left");
        assert_eq!(cache.admit(&chain(0..16)), 0);
        assert_eq!(cache.admit(&chain(0..15)), 0);
        assert_eq!(
            cache.admit(&chain(16..48)),
            0,
            "the same block after others"
        );
        assert_eq!(cache.admit(&chain((0..16).chain(99..140))), 1);
        assert!(PrefixCache::new(CacheBlocks::None).is_none());
    }

    #[test]
    fn responses_are_cached_with_their_prompt() {
        let cache = cache("inf");
        let mut sequence = chain(0..10);
        cache.admit(&sequence);
        sequence.extend(10..60);
        assert_eq!(sequence, chain(0..60));
        cache.keep(&sequence);
        assert_eq!(cache.admit(&chain(0..100)), 3);
    }

    #[test]
    fn the_least_recently_used_blocks_go_and_the_last_of_a_prompt_first() {
        let cache = cache("4");
        let [a, b, c] = [0, 100, 200].map(|start| chain(start..start + 33));
        cache.admit(&a);
        cache.admit(&b);
        assert_eq!(cache.admit(&a), 2, "both fit, and a is used again");
        // The two blocks of c take the place of those of b.
        assert_eq!(cache.admit(&c), 0);
        assert_eq!(cache.admit(&a), 2);
        assert_eq!(cache.admit(&b), 0);
        // c is gone, and of a the first block is older than nothing else but the last one.
        assert_eq!(cache.admit(&chain(300..317)), 0);
        assert_eq!(cache.admit(&a), 1, "its last block made room");
        assert_eq!(cache.admit(&chain(400..500)), 0, "six blocks");
        assert_eq!(
            cache.admit(&chain(400..500)),
            4,
            "four are kept, the first ones"
        );
    }

    proptest! {
        /// The rules in the plainest way: a list of prefixes, the latest used last.
        #[test]
        fn hits_are_those_of_a_plain_list(
            prompts in prop::collection::vec((0_u64..3, 0_usize..90, 0_u64..3, 0_usize..90), 1..40),
            limit in 1_usize..12,
        ) {
            let cache = cache(&limit.to_string());
            let mut list: Vec<Vec<u64>> = Vec::new();
            for (first, firsts, second, seconds) in prompts {
                let mut tokens = vec![first; firsts];
                tokens.extend(vec![second; seconds]);
                let prefix = |blocks: usize| tokens[..blocks * BLOCK_TOKENS].to_vec();
                let mut hits = 0;
                while (hits + 1) * BLOCK_TOKENS < tokens.len() && list.contains(&prefix(hits + 1)) {
                    hits += 1;
                }
                for blocks in (1..=tokens.len() / BLOCK_TOKENS).rev() {
                    list.retain(|cached| *cached != prefix(blocks));
                    list.push(prefix(blocks));
                    if list.len() > limit {
                        list.remove(0);
                    }
                }
                prop_assert_eq!(cache.admit(&chain(tokens)), hits as u64);
            }
        }
    }
}
