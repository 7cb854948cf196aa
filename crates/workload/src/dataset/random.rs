//! Owns `random`: prompts of random text (or ids) whose lengths are drawn uniformly and met
//! exactly, after a prefix shared by all prompts of a run.
//!
//! Each prompt depends only on the seed and its index: a sweep that continues where the last run
//! ended never repeats one.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{DatasetError, PromptSource, passed};
use crate::tokens::{Frame, Prefix, TokenizerError, Words};
use evalscope_model::plan::sub_seed;
use evalscope_model::prompt::{Item, Overrides, Prompt};

/// Lengths of random prompts, in tokens as the server counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Minimum, including the chat template but not the prefix.
    pub min: u64,
    /// Maximum, including the chat template but not the prefix.
    pub max: u64,
    /// Tokens of the shared prefix, in addition.
    pub prefix: u64,
    /// Number of shared prefixes: a prompt uses the one at its index modulo this.
    pub prefixes: u64,
}

/// Generates random prompts by index.
#[derive(Debug)]
pub struct RandomPrompts {
    words: Arc<Words>,
    ids: bool,
    lengths: Lengths,
    prefixes: Vec<Prefix>,
    seed: u64,
}

impl RandomPrompts {
    /// Prompts of a run that starts at index `start`. `frame` is how they reach the model;
    /// [`Frame::Ids`] generates prompts of ids.
    ///
    /// # Errors
    /// If no prompt can be as short as `lengths` allow.
    pub fn new(
        words: Arc<Words>,
        frame: Frame,
        lengths: Lengths,
        seed: u64,
        start: u64,
    ) -> Result<Self, TokenizerError> {
        let least = words.overhead() + 1;
        if lengths.max < least {
            return Err(TokenizerError::NoRoom {
                max: lengths.max,
                overhead: words.overhead(),
            });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(sub_seed(seed, "random prefix"));
        rng.set_stream(start);
        Ok(Self {
            prefixes: (0..lengths.prefixes.max(1))
                .map(|_| words.prefix(&mut rng, lengths.prefix))
                .collect(),
            words,
            ids: frame == Frame::Ids,
            lengths: Lengths {
                // a prompt has at least one token
                min: lengths.min.max(least),
                ..lengths
            },
            seed: sub_seed(seed, "random prompts"),
        })
    }

    /// The range of lengths actually drawn from: a prompt has at least one token besides its frame.
    #[must_use]
    pub fn lengths(&self) -> Lengths {
        self.lengths
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// The text of a prompt, and its length as the server should count it.
    #[must_use]
    pub fn text(&self, index: u64) -> (String, u64) {
        let (mut rng, tokens) = self.draw(index);
        let inside = tokens - self.words.overhead();
        let text = self.words.text(&mut rng, self.prefix(index), inside);
        (text, self.lengths.prefix + tokens)
    }

    /// A query, and documents whose length is this multiple of the query's.
    pub(super) fn with_documents(
        &self,
        index: u64,
        count: u64,
        length_ratio: f64,
    ) -> (String, Vec<String>) {
        let (mut rng, tokens) = self.draw(index);
        let overhead = self.words.overhead();
        let query = self
            .words
            .text(&mut rng, self.prefix(index), tokens - overhead);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a length in tokens is far from the limits, and not negative"
        )]
        let length = (tokens as f64 * length_ratio).round() as u64;
        let length = length.saturating_sub(overhead).max(1);
        let none = self.words.prefix(&mut rng, 0);
        let documents = (0..count).map(|_| self.words.text(&mut rng, &none, length));
        (query, documents.collect())
    }

    /// The prompt with this index.
    #[must_use]
    pub fn item(&self, index: u64) -> Item {
        let (prompt, tokens) = if self.ids {
            let (mut rng, tokens) = self.draw(index);
            let ids = self.words.ids(&mut rng, self.prefix(index), tokens);
            (Prompt::TokenIds(ids), self.lengths.prefix + tokens)
        } else {
            let (text, tokens) = self.text(index);
            (Prompt::Text(text), tokens)
        };
        Item {
            prompt,
            asked_tokens: Some(tokens),
            with: Overrides::default(),
            later: Vec::new(),
        }
    }

    pub(super) fn prefix(&self, index: u64) -> &Prefix {
        let many = self.prefixes.len() as u64;
        let at = usize::try_from(index % many).expect("smaller than a length");
        &self.prefixes[at]
    }

    /// The random generator of one prompt, and its length without the prefix.
    fn draw(&self, index: u64) -> (ChaCha8Rng, u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(index);
        let tokens = rng.random_range(self.lengths.min..=self.lengths.max);
        (rng, tokens)
    }
}

/// `random` as an endless dataset.
#[derive(Debug)]
pub struct Random {
    prompts: RandomPrompts,
    next: u64,
}

impl Random {
    /// Prompts from index `start` on.
    #[must_use]
    pub fn new(prompts: RandomPrompts, start: u64) -> Self {
        Self {
            prompts,
            next: start,
        }
    }
}

impl PromptSource for Random {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let item = self.prompts.item(self.next);
        self.next += 1;
        Ok(Some(item))
    }

    fn pass(&mut self) -> Result<Option<Item>, DatasetError> {
        self.next += 1;
        Ok(Some(passed(0)))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        Ok(())
    }

    fn jump(&mut self, n: u64) -> bool {
        self.next += n;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::dataset::check_shards;
    use crate::tokens::Tokenizer;
    use crate::tokens::tests::{CHATML, Family, trained};

    static TOKENIZER: LazyLock<Arc<Tokenizer>> =
        LazyLock::new(|| trained(Family::ByteLevel, Some(CHATML)));
    static CHAT: LazyLock<Arc<Words>> = LazyLock::new(|| words(Frame::Chat));
    static PLAIN: LazyLock<Arc<Words>> = LazyLock::new(|| words(Frame::Plain));

    fn words(frame: Frame) -> Arc<Words> {
        Arc::new(Words::find(Arc::clone(&TOKENIZER), frame).unwrap())
    }

    fn prompts(frame: Frame, lengths: Lengths, seed: u64, start: u64) -> RandomPrompts {
        let words = match frame {
            Frame::Chat => Arc::clone(&CHAT),
            _ => Arc::clone(&PLAIN),
        };
        RandomPrompts::new(words, frame, lengths, seed, start).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn lengths_are_kept_and_drawn_from_the_whole_range(
            seed: u64, start in 0u64..1000, min in 30u64..60, more in 0u64..40, prefix in 0u64..20,
            chat: bool,
        ) {
            let frame = if chat { Frame::Chat } else { Frame::Plain };
            let lengths = Lengths { min, max: min + more, prefix, prefixes: 1 };
            let mut source = Random::new(prompts(frame, lengths, seed, start), start);
            for _ in 0..5 {
                let item = source.next().unwrap().unwrap();
                let asked = item.asked_tokens.unwrap();
                prop_assert!((prefix + min..=prefix + min + more).contains(&asked));
                let seen = frame.count(&TOKENIZER, &item.prompt.text()).unwrap();
                prop_assert_eq!(asked, seen);
            }
        }

        #[test]
        fn a_seed_and_an_index_are_a_prompt(seed: u64, index in 0u64..u64::MAX / 2) {
            let lengths = Lengths { min: 40, max: 60, prefix: 3 , prefixes: 1};
            let one = prompts(Frame::Plain, lengths, seed, 0);
            let mut source = Random::new(prompts(Frame::Plain, lengths, seed, 0), 0);
            prop_assert!(source.jump(index));
            prop_assert_eq!(source.next().unwrap().unwrap(), one.item(index));
            prop_assert_ne!(one.item(index), one.item(index + 1));
            let other = prompts(Frame::Plain, lengths, seed ^ 1, 0);
            prop_assert_ne!(one.item(index), other.item(index));
        }

        #[test]
        fn prompts_do_not_depend_on_those_that_are_passed_over(seed: u64, start in 0u64..1000) {
            let lengths = Lengths { min: 40, max: 60, prefix: 3, prefixes: 2 };
            check_shards(|| Random::new(prompts(Frame::Plain, lengths, seed, start), start), 9);
        }
    }

    #[test]
    fn the_prefix_is_shared_by_a_run_and_by_no_other() {
        let lengths = Lengths {
            min: 30,
            max: 30,
            prefix: 16,
            prefixes: 1,
        };
        let prefix_of = |start: u64| {
            let prompts = prompts(Frame::Plain, lengths, 5, start);
            let heads: BTreeSet<Vec<u32>> = (start..start + 50)
                .map(|index| {
                    let ids = TOKENIZER.encode(&prompts.text(index).0);
                    ids[..16].to_vec()
                })
                .collect();
            assert_eq!(heads.len(), 1);
            heads.into_iter().next().unwrap()
        };
        assert_ne!(prefix_of(0), prefix_of(50));
    }

    #[test]
    fn every_length_comes_up() {
        let lengths = Lengths {
            min: 30,
            max: 39,
            prefix: 0,
            prefixes: 1,
        };
        let prompts = prompts(Frame::Plain, lengths, 1, 0);
        let seen: BTreeSet<u64> = (0..200)
            .filter_map(|i| prompts.item(i).asked_tokens)
            .collect();
        assert_eq!(seen, (30..=39).collect());
    }

    #[test]
    fn ids_are_as_many_as_asked_and_ordinary() {
        let words = words(Frame::Ids);
        let lengths = Lengths {
            min: 5,
            max: 9,
            prefix: 4,
            prefixes: 1,
        };
        let prompts = RandomPrompts::new(words, Frame::Ids, lengths, 1, 0).unwrap();
        let ordinary = TOKENIZER.ordinary_ids();
        let heads: BTreeSet<Vec<u32>> = (0..50)
            .map(|index| {
                let item = prompts.item(index);
                let Prompt::TokenIds(ids) = item.prompt else {
                    panic!("expected ids")
                };
                assert_eq!(Some(ids.len() as u64), item.asked_tokens);
                assert!(ids.iter().all(|id| ordinary.contains(id)));
                ids[..4].to_vec()
            })
            .collect();
        assert_eq!(heads.len(), 1);
    }

    #[test]
    fn a_prompt_that_has_no_room_is_refused() {
        let lengths = Lengths {
            min: 0,
            max: 3,
            prefix: 0,
            prefixes: 1,
        };
        let error = RandomPrompts::new(Arc::clone(&CHAT), Frame::Chat, lengths, 0, 0).unwrap_err();
        let overhead = CHAT.overhead();
        assert_eq!(
            error.to_string(),
            format!(
                "prompts of at most 3 tokens are impossible: the chat template or the special \
                 tokens alone take {overhead}"
            )
        );
    }
}
