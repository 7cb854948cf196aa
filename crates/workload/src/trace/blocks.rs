//! Owns texts made of blocks: the text of a block depends on the seed and the id of the block alone,
//! so two prompts share exactly the tokens that their ids share.
//!
//! Pure: no state is kept from prompt to prompt.
//!
//! Each word is one token (`docs/adr/007`). With W words, word 0 of a block is number id mod W of a
//! shuffled list, word 1 number ⌊id/W⌋ mod W, and the others are drawn from a stream that belongs to
//! the id: any two ids below W² differ in one of the first two words, so no two blocks share a
//! server's block by chance. A prompt starts with one of the words that can.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::tokens::{Frame, Words, below, shuffle};
use evalscope_model::plan::sub_seed;
use evalscope_model::prompt::Prompt;

use super::possible::block_tokens;

/// Makes prompts of blocks.
#[derive(Debug)]
pub struct Blocks {
    words: Arc<Words>,
    is_ids: bool,
    /// Positions of words, shuffled.
    order: Vec<u32>,
    /// Positions of words that can start a prompt, shuffled.
    firsts: Vec<u32>,
    /// The streams of blocks, and those of what comes after them.
    block: ChaCha8Rng,
    tail: ChaCha8Rng,
}

/// A part of a prompt: the beginning of a block, or of a tail.
struct Part<'a> {
    streams: &'a ChaCha8Rng,
    number: u64,
    tokens: u64,
}

impl Blocks {
    /// For prompts that reach the model in this frame. `words` must be exact.
    #[must_use]
    pub fn new(words: Arc<Words>, frame: Frame, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(sub_seed(seed, "trace-words"));
        let mut shuffled = |n: usize| {
            let mut order: Vec<u32> = (0_u32..).take(n).collect();
            shuffle(&mut order, &mut rng);
            order
        };
        Self {
            order: shuffled(words.variety()),
            firsts: shuffled(words.firsts()),
            words,
            is_ids: frame == Frame::Ids,
            block: ChaCha8Rng::seed_from_u64(sub_seed(seed, "trace-block")),
            tail: ChaCha8Rng::seed_from_u64(sub_seed(seed, "trace-tail")),
        }
    }

    /// The prompt with these blocks, and its length as the server counts it: `input_tokens`, but for
    /// prompts shorter than what the frame adds. What the frame adds is taken off the end. What the
    /// ids do not reach belongs to this `line` alone.
    #[must_use]
    pub fn prompt(
        &self,
        ids: &[u64],
        block_size: u64,
        line: u64,
        input_tokens: u64,
    ) -> (Prompt, u64) {
        let around = if self.is_ids {
            0
        } else {
            self.words.overhead()
        };
        let tokens = input_tokens.saturating_sub(around).max(1);
        let parts = self.parts(ids, block_size, line, tokens);
        let prompt = if self.is_ids {
            Prompt::TokenIds(self.ids(parts, tokens))
        } else {
            Prompt::Text(self.text(parts, tokens))
        };
        (prompt, tokens + around)
    }

    /// The parts of a prompt of so many tokens.
    fn parts(
        &self,
        ids: &[u64],
        block_size: u64,
        line: u64,
        tokens: u64,
    ) -> impl Iterator<Item = Part<'_>> {
        let of_blocks = (ids.len() as u64).saturating_mul(block_size).min(tokens);
        let blocks = ids.iter().enumerate().map(move |(at, id)| Part {
            streams: &self.block,
            number: *id,
            tokens: block_tokens(at, block_size, tokens),
        });
        let tail = Part {
            streams: &self.tail,
            number: line,
            tokens: tokens - of_blocks,
        };
        blocks.chain([tail]).filter(|part| part.tokens > 0)
    }

    fn ids<'a>(&self, parts: impl Iterator<Item = Part<'a>>, tokens: u64) -> Vec<u32> {
        let mut ids = Vec::with_capacity(usize::try_from(tokens).unwrap_or(0));
        for part in parts {
            let words = self.order.len();
            part.draw(words, words, |which, at| {
                let at = match which {
                    Which::Chosen => self.order[at] as usize,
                    Which::Drawn => at,
                };
                ids.push(self.words.ordinary(at));
            });
        }
        ids
    }

    fn text<'a>(&self, parts: impl Iterator<Item = Part<'a>>, tokens: u64) -> String {
        // words of seven bytes are longer than most
        let room = usize::try_from(tokens.saturating_mul(7)).unwrap_or(0);
        let mut text = String::with_capacity(room);
        for part in parts {
            let starts = text.is_empty();
            let firsts = if starts {
                self.firsts.len()
            } else {
                self.order.len()
            };
            part.draw(firsts, self.order.len(), |which, at| match which {
                Which::Chosen if text.is_empty() => {
                    self.words.push_first(self.firsts[at] as usize, &mut text);
                }
                Which::Chosen => self.words.push_word(self.order[at] as usize, &mut text),
                Which::Drawn => self.words.push_word(at, &mut text),
            });
        }
        text
    }
}

/// How a word of a part is found.
enum Which {
    /// By the number of the part, in a shuffled list.
    Chosen,
    /// By its stream.
    Drawn,
}

impl Part<'_> {
    /// Say each word of the part: there are `firsts` for the first place, and `words` for the others.
    fn draw(&self, firsts: usize, words: usize, mut say: impl FnMut(Which, usize)) {
        let place = |number: u64, of: usize| usize::try_from(number % of as u64).unwrap_or(0);
        say(Which::Chosen, place(self.number, firsts));
        if self.tokens == 1 {
            return;
        }
        say(Which::Chosen, place(self.number / firsts as u64, words));
        if self.tokens == 2 {
            return;
        }
        let mut rng = self.streams.clone();
        rng.set_stream(self.number);
        for _ in 2..self.tokens {
            say(Which::Drawn, below(&mut rng, words));
        }
    }
}
