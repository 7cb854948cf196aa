//! Owns what the chat template adds for a turn of a conversation, besides the texts of the turn and of
//! the response before it: the end of the response, the frame of the message, and the start of the next
//! response.
//!
//! It must not know where conversations come from.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{Prefix, TokenizerError, Words};
use evalscope_model::plan::sub_seed;

/// Conversations that are measured.
const TRIED: u64 = 16;

/// Turns in each of them.
const TURNS: usize = 4;

/// Longest text in them, in tokens.
const LONGEST: u64 = 24;

/// Tokens that a turn after the first costs besides its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnFrame {
    /// The fewest that were seen.
    pub tokens: u64,
    /// How many more some turns cost: 0 where the frame is always the same.
    pub spread: u64,
}

impl TurnFrame {
    /// Measure it with conversations of random text.
    ///
    /// # Errors
    /// If the chat template is missing or rejects a conversation.
    pub fn measure(words: &Words) -> Result<Self, TokenizerError> {
        let mut rng = ChaCha8Rng::seed_from_u64(sub_seed(0, "turn frame"));
        let (mut least, mut most) = (u64::MAX, 0);
        for _ in 0..TRIED {
            let mut messages: Vec<Value> = Vec::new();
            let mut before = None;
            for _ in 0..TURNS {
                let mut texts = 0;
                if !messages.is_empty() {
                    messages.push(said("assistant", words, &mut rng, &mut texts));
                }
                messages.push(said("user", words, &mut rng, &mut texts));
                let count = words.tokenizer().encode_chat(&messages)?.len() as u64;
                if let Some(before) = before {
                    let cost = count.saturating_sub(before + texts);
                    (least, most) = (least.min(cost), most.max(cost));
                }
                before = Some(count);
            }
        }
        Ok(Self {
            tokens: least,
            spread: most - least,
        })
    }
}

fn said(role: &str, words: &Words, rng: &mut ChaCha8Rng, texts: &mut u64) -> Value {
    let tokens = rng.random_range(1..=LONGEST);
    *texts += tokens;
    json!({"role": role, "content": words.text(rng, &Prefix::default(), tokens)})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tokens::tests::{CHATML, Family, trained};
    use crate::tokens::{Frame, Tokenizer};

    fn words(tokenizer: &Arc<Tokenizer>) -> Words {
        Words::find(Arc::clone(tokenizer), Frame::Chat).unwrap()
    }

    #[test]
    fn a_turn_costs_its_texts_and_its_frame() {
        let tokenizer = trained(Family::ByteLevel, Some(CHATML));
        let words = words(&tokenizer);
        let frame = TurnFrame::measure(&words).unwrap();
        assert_eq!(frame.spread, 0);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut text = |tokens| words.text(&mut rng, &Prefix::default(), tokens);
        let mut messages = vec![json!({"role": "user", "content": text(9)})];
        let count = |messages: &[Value]| tokenizer.encode_chat(messages).unwrap().len() as u64;
        let before = count(&messages);
        messages.push(json!({"role": "assistant", "content": text(5)}));
        messages.push(json!({"role": "user", "content": text(7)}));
        assert_eq!(count(&messages), before + 5 + frame.tokens + 7);
    }

    #[test]
    fn a_template_that_treats_turns_differently_is_noticed() {
        let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if loop.index0 > 3 %} late{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";
        let tokenizer = trained(Family::ByteLevel, Some(source));
        let frame = TurnFrame::measure(&words(&tokenizer)).unwrap();
        assert!(frame.spread > 0, "{frame:?}");
    }
}
