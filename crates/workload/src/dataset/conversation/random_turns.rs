//! Owns `random_multi_turn`: conversations of random text. The number of turns and the length of each are
//! drawn uniformly; each turn adds exactly as many tokens to the prompt as were drawn.
//!
//! A conversation depends only on the seed and its index, as a random prompt does.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::exchange::{Exchange, Replies, message, session};
use crate::dataset::{DatasetError, PromptSource, RandomPrompts, passed};
use crate::tokens::{Prefix, TokenizerError, TurnFrame};
use evalscope_model::plan::sub_seed;
use evalscope_model::prompt::Item;

/// How many turns conversations have, and what is in them besides the first prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnNumbers {
    /// `--min-turns`.
    pub min: u32,
    /// `--max-turns`.
    pub max: u32,
    /// The shared prefix begins every turn, not only the first.
    pub prefix_every_turn: bool,
    /// Length of a recorded response, in tokens: the smallest and the greatest.
    pub reply: (u64, u64),
}

/// See the module documentation.
#[derive(Debug)]
pub struct RandomTurns {
    first: RandomPrompts,
    frame: TurnFrame,
    turns: TurnNumbers,
    replies: Replies,
    seed: u64,
    next: u64,
}

impl RandomTurns {
    /// Conversations from index `start` on; `first` makes their first prompts.
    ///
    /// # Errors
    /// If the chat template cannot be used, or a turn cannot be as short as requested.
    pub fn new(
        first: RandomPrompts,
        turns: TurnNumbers,
        replies: Replies,
        seed: u64,
        start: u64,
    ) -> Result<Self, DatasetError> {
        let frame = TurnFrame::measure(first.words())?;
        let max = first.lengths().max;
        if turns.max > 1 && max <= frame.tokens {
            return Err(DatasetError::Tokenizer(TokenizerError::NoRoom {
                max,
                overhead: frame.tokens,
            }));
        }
        Ok(Self {
            first,
            frame,
            turns,
            replies,
            seed: sub_seed(seed, "random turns"),
            next: start,
        })
    }

    /// What the chat template adds for a turn.
    #[must_use]
    pub fn frame(&self) -> TurnFrame {
        self.frame
    }

    /// The conversation with this index.
    #[must_use]
    pub fn item(&self, index: u64) -> Item {
        let (mut rng, turns) = self.draw(index);
        let (text, tokens) = self.first.text(index);
        let mut exchanges = Vec::with_capacity(turns as usize);
        exchanges.push(self.exchange(&text, tokens, &mut rng));
        let (prefix, prefix_tokens) = if self.turns.prefix_every_turn {
            (
                self.first.prefix(index).clone(),
                self.first.lengths().prefix,
            )
        } else {
            (Prefix::default(), 0)
        };
        let lengths = self.first.lengths();
        let frame = self.frame.tokens;
        for _ in 1..turns {
            let tokens = rng.random_range(lengths.min.max(frame + 1)..=lengths.max);
            let text = self.first.words().text(&mut rng, &prefix, tokens - frame);
            exchanges.push(self.exchange(&text, prefix_tokens + tokens, &mut rng));
        }
        session(exchanges, self.replies).expect("every turn has a response if one is needed")
    }

    /// The random generator of one conversation, and its number of turns.
    fn draw(&self, index: u64) -> (ChaCha8Rng, u32) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(index);
        let turns = rng.random_range(self.turns.min..=self.turns.max);
        (rng, turns)
    }

    fn exchange(&self, text: &str, tokens: u64, rng: &mut ChaCha8Rng) -> Exchange {
        let reply = (self.replies == Replies::Needed).then(|| {
            let tokens = rng.random_range(self.turns.reply.0..=self.turns.reply.1);
            let text = self.first.words().text(rng, &Prefix::default(), tokens);
            message("assistant", &text)
        });
        Exchange {
            messages: vec![message("user", text)],
            reply,
            asked_tokens: Some(tokens),
            ..Exchange::default()
        }
    }
}

impl PromptSource for RandomTurns {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let item = self.item(self.next);
        self.next += 1;
        Ok(Some(item))
    }

    fn pass(&mut self) -> Result<Option<Item>, DatasetError> {
        let (_, turns) = self.draw(self.next);
        self.next += 1;
        Ok(Some(passed(turns.saturating_sub(1) as usize)))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        Ok(())
    }

    fn jump(&mut self, n: u64) -> bool {
        self.next += n;
        true
    }
}
