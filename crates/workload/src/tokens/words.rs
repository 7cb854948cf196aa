//! Owns random text of an exact number of tokens.
//!
//! Text made from random ids does not keep its length: decoded and encoded again, neighbours merge
//! or split. So text is made of *words*: tokens that consist of a space and letters. Pre-tokenizers
//! split before a space, and no merge crosses it, so each word is one token whatever its neighbours
//! are. This is not assumed but tested, once for each vocabulary: every word among others, and
//! whole prompts in their frame. Words that fail are left out; if too few remain (a vocabulary of
//! bytes or characters), text is made of random ids and corrected until its length is right, which
//! is slow but needs no words.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Frame, Tokenizer, TokenizerError};
use evalscope_model::plan::sub_seed;

/// With fewer words, text would be too repetitive.
const FEWEST_WORDS: usize = 16;
/// Number of words tested together.
const BLOCK: usize = 16;
/// Number of words tested in first position.
const FIRST_TRIED: usize = 256;
/// Number of test rounds with whole texts, and texts per round.
const ROUNDS: usize = 8;
const TEXTS: usize = 16;
/// Words in such a text.
const TEXT_WORDS: usize = 256;
/// Number of prompts tested in their frame, and how many may miss their length.
const PROMPTS: u64 = 64;
const MAY_MISS: usize = 0;
/// Maximum number of corrections of a text of random ids.
const MENDINGS: usize = 12;

/// A vocabulary as a source of text.
#[derive(Debug)]
pub struct Words {
    tokenizer: Arc<Tokenizer>,
    frame: Frame,
    /// Ids that represent text.
    ordinary: Vec<u32>,
    /// Tokens around a prompt.
    overhead: u64,
    /// `None` if the vocabulary has too few words.
    spelled: Option<Spelled>,
    /// Without words: ids that survive decoding and encoding, so that little needs correcting.
    sturdy: Vec<u32>,
}

/// Words and their letters.
#[derive(Debug, Default)]
struct Spelled {
    ids: Vec<u32>,
    /// All words, concatenated, each with its space.
    letters: String,
    /// Start and end of each in `letters`.
    spans: Vec<(u32, u32)>,
    /// Words, by position, that are a single token without their space at the start of a prompt.
    first: Vec<u32>,
}

/// The prefix shared by all prompts of a run.
#[derive(Debug, Clone, Default)]
pub struct Prefix {
    text: String,
    ids: Vec<u32>,
    tokens: u64,
}

impl Words {
    /// Search a vocabulary. Takes up to a second for a large one.
    ///
    /// # Errors
    /// If there is no ordinary token, or the frame cannot be made or changes the prompt.
    pub fn find(tokenizer: Arc<Tokenizer>, frame: Frame) -> Result<Self, TokenizerError> {
        let ordinary = tokenizer.ordinary_ids();
        if ordinary.is_empty() {
            return Err(TokenizerError::NoWords {
                path: tokenizer.path().to_owned(),
            });
        }
        let mut words = Self {
            overhead: 0,
            spelled: None,
            sturdy: Vec::new(),
            tokenizer,
            frame,
            ordinary,
        };
        if frame == Frame::Ids {
            return Ok(words);
        }
        frame.check(&words.tokenizer)?;
        words.overhead = frame.count(&words.tokenizer, "")?;
        let mut spelled = words.spell();
        if spelled.ids.len() >= FEWEST_WORDS
            && let Some(overhead) = words.find_first(&mut spelled)?
        {
            let around_nothing = std::mem::replace(&mut words.overhead, overhead);
            words.spelled = Some(spelled);
            if words.misses()? > MAY_MISS {
                words.spelled = None;
                words.overhead = around_nothing;
            }
        }
        if words.spelled.is_none() {
            words.sturdy = words.find_sturdy();
        }
        Ok(words)
    }

    /// The vocabulary.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Tokens around a prompt in its frame.
    #[must_use]
    pub fn overhead(&self) -> u64 {
        self.overhead
    }

    /// Number of distinct tokens that text is made of.
    #[must_use]
    pub fn variety(&self) -> usize {
        match (&self.spelled, self.frame) {
            (Some(spelled), _) => spelled.ids.len(),
            (None, Frame::Ids) => self.ordinary.len(),
            (None, _) => self.sturdy.len(),
        }
    }

    /// Whether text is made of words, and so exact by construction.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.frame == Frame::Ids || self.spelled.is_some()
    }

    /// The shared prefix of a run's prompts, with this many `tokens`.
    #[must_use]
    pub fn prefix(&self, rng: &mut impl Rng, tokens: u64) -> Prefix {
        let mut prefix = Prefix {
            tokens,
            ..Prefix::default()
        };
        match &self.spelled {
            _ if tokens == 0 => {}
            Some(spelled) => spelled.write(rng, tokens, &mut prefix.text),
            None if self.frame == Frame::Ids => prefix.ids = draw(rng, &self.ordinary, tokens),
            None => {
                prefix.ids = draw(rng, &self.sturdy, tokens);
                prefix.text = self.tokenizer.decode(&prefix.ids);
            }
        }
        prefix
    }

    /// The prefix, followed by `tokens` more tokens; tokens of the frame are not counted.
    #[must_use]
    pub fn text(&self, rng: &mut impl Rng, prefix: &Prefix, tokens: u64) -> String {
        match &self.spelled {
            Some(spelled) => {
                let room = (prefix.tokens + tokens).saturating_mul(7);
                let mut text = String::with_capacity(usize::try_from(room).unwrap_or(0));
                text.push_str(&prefix.text);
                spelled.write(rng, tokens, &mut text);
                text
            }
            None => self.mended(rng, prefix, tokens),
        }
    }

    /// The prefix, followed by `tokens` ids.
    #[must_use]
    pub fn ids(&self, rng: &mut impl Rng, prefix: &Prefix, tokens: u64) -> Vec<u32> {
        let mut ids = prefix.ids.clone();
        ids.extend(draw(rng, &self.ordinary, tokens));
        ids
    }

    /// Number of words that a prompt can start with. They are numbered from 0, apart from the others.
    pub(crate) fn firsts(&self) -> usize {
        match &self.spelled {
            Some(spelled) => spelled.first.len(),
            None => self.variety(),
        }
    }

    /// Append the word at this position, with its space.
    pub(crate) fn push_word(&self, at: usize, text: &mut String) {
        if let Some(spelled) = &self.spelled {
            text.push_str(spelled.word(at));
        }
    }

    /// Start a prompt with one of the words that can: one token without its space.
    pub(crate) fn push_first(&self, at: usize, text: &mut String) {
        if let Some(spelled) = &self.spelled {
            text.push_str(spelled.word(spelled.first[at] as usize).trim_start());
        }
    }

    /// The ordinary token at this position, for prompts of ids.
    pub(crate) fn ordinary(&self, at: usize) -> u32 {
        self.ordinary[at]
    }

    fn find_sturdy(&self) -> Vec<u32> {
        let readable = |id: &u32| {
            let text = self.tokenizer.decode(&[*id]);
            let odd = |c: char| c.is_whitespace() || c.is_control() || c == '\u{fffd}';
            !text.is_empty() && !text.contains(odd) && self.tokenizer.encode(&text) == [*id]
        };
        let sturdy: Vec<u32> = self.ordinary.iter().copied().filter(readable).collect();
        if sturdy.len() < FEWEST_WORDS {
            self.ordinary.clone()
        } else {
            sturdy
        }
    }

    /// Find the words, testing each among others.
    fn spell(&self) -> Spelled {
        let tokenizer = &*self.tokenizer;
        let Some((anchor, anchor_text)) = self.anchor() else {
            return Spelled::default();
        };
        let mut candidates: Vec<(u32, String)> = self
            .ordinary
            .iter()
            .filter_map(|&id| {
                let both = tokenizer.decode(&[anchor, id]);
                let word = both.strip_prefix(anchor_text.as_str())?;
                is_word(word).then(|| (id, word.to_owned()))
            })
            .collect();
        shuffle(&mut candidates, &mut rng("words"));
        let mut kept = Vec::with_capacity(candidates.len());
        for block in candidates.chunks(BLOCK) {
            self.keep_good(block, anchor, &anchor_text, &mut kept);
        }
        // pairs that have not been neighbours yet
        let mut rng = rng("neighbours");
        for _ in 0..ROUNDS {
            let mut bad = Vec::new();
            for _ in 0..TEXTS {
                if kept.len() < FEWEST_WORDS {
                    return Spelled::default();
                }
                let chosen: Vec<usize> = (0..TEXT_WORDS)
                    .map(|_| below(&mut rng, kept.len()))
                    .collect();
                let words = chosen.iter().map(|at| &kept[*at]);
                if let Some(at) = first_wrong(tokenizer, anchor, &anchor_text, words) {
                    bad.extend([chosen[at], chosen[at.saturating_sub(1)]]);
                }
            }
            if bad.is_empty() {
                break;
            }
            bad.sort_unstable();
            bad.dedup();
            for at in bad.into_iter().rev() {
                kept.swap_remove(at);
            }
        }
        kept.sort_unstable();
        let mut spelled = Spelled::default();
        for (id, word) in kept {
            let begin = spelled.letters.len();
            spelled.letters.push_str(&word);
            let end = spelled.letters.len();
            // a vocabulary of 4 GiB does not load
            let span = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            spelled.spans.push((span(begin), span(end)));
            spelled.ids.push(id);
        }
        spelled
    }

    /// A token of letters to place before others: decoders treat the first token specially.
    fn anchor(&self) -> Option<(u32, String)> {
        self.ordinary.iter().find_map(|&id| {
            let text = self.tokenizer.decode(&[id]);
            let plain = text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_lowercase());
            (plain && self.tokenizer.encode(&text) == [id]).then_some((id, text))
        })
    }

    /// Keep those of a block that remain one token each.
    fn keep_good(
        &self,
        block: &[(u32, String)],
        anchor: u32,
        anchor_text: &str,
        kept: &mut Vec<(u32, String)>,
    ) {
        if first_wrong(&self.tokenizer, anchor, anchor_text, block.iter()).is_none() {
            kept.extend_from_slice(block);
        } else if block.len() > 1 {
            let (left, right) = block.split_at(block.len() / 2);
            self.keep_good(left, anchor, anchor_text, kept);
            self.keep_good(right, anchor, anchor_text, kept);
        }
    }

    /// Find words that can start a prompt; returns the tokens around a prompt.
    fn find_first(&self, spelled: &mut Spelled) -> Result<Option<u64>, TokenizerError> {
        let mut rng = rng("first");
        let mut order: Vec<u32> = (0u32..).take(spelled.ids.len()).collect();
        shuffle(&mut order, &mut rng);
        order.truncate(FIRST_TRIED);
        let mut counts = Vec::with_capacity(order.len());
        for &at in &order {
            // a second word, as in a real prompt
            let second = below(&mut rng, spelled.ids.len());
            let text = format!(
                "{}{}",
                spelled.word(at as usize).trim_start(),
                spelled.word(second)
            );
            counts.push(self.frame.count(&self.tokenizer, &text)?);
        }
        let Some(least) = counts.iter().copied().min() else {
            return Ok(None);
        };
        spelled.first = order
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count == least)
            .map(|(at, _)| at)
            .collect();
        spelled.first.sort_unstable();
        Ok(least.checked_sub(2))
    }

    /// How many of some test prompts miss their length.
    fn misses(&self) -> Result<usize, TokenizerError> {
        let mut rng = rng("misses");
        let mut missed = 0;
        for n in 1..=PROMPTS {
            let prefix = self.prefix(&mut rng, n % 3);
            let text = self.text(&mut rng, &prefix, n);
            let want = self.overhead + prefix.tokens + n;
            missed += usize::from(self.frame.count(&self.tokenizer, &text)? != want);
        }
        Ok(missed)
    }

    /// Text of random ids, corrected until its length is right or nearly so.
    fn mended(&self, rng: &mut impl Rng, prefix: &Prefix, tokens: u64) -> String {
        let want = self.overhead + prefix.tokens + tokens;
        let mut ids = draw(rng, &self.sturdy, tokens);
        let mut best: Option<(u64, String)> = None;
        for _ in 0..MENDINGS {
            let text = format!("{}{}", prefix.text, self.tokenizer.decode(&ids));
            let Ok(count) = self.frame.count(&self.tokenizer, &text) else {
                return text;
            };
            let off = count.abs_diff(want);
            if best.as_ref().is_none_or(|(least, _)| off < *least) {
                best = Some((off, text));
            }
            let step = usize::try_from(off).unwrap_or(usize::MAX);
            match count.cmp(&want) {
                std::cmp::Ordering::Equal => break,
                std::cmp::Ordering::Less => ids.extend(draw(rng, &self.sturdy, off)),
                std::cmp::Ordering::Greater if ids.len() > step => ids.truncate(ids.len() - step),
                // start over, as this text cannot be shortened any further
                std::cmp::Ordering::Greater => ids = draw(rng, &self.sturdy, tokens),
            }
        }
        best.map(|(_, text)| text).unwrap_or_default()
    }
}

impl Spelled {
    fn word(&self, at: usize) -> &str {
        let (begin, end) = self.spans[at];
        &self.letters[begin as usize..end as usize]
    }

    /// Append `n` words. At the start of a text, the first has no space.
    fn write(&self, rng: &mut impl Rng, n: u64, text: &mut String) {
        let mut rest = n;
        if text.is_empty() && rest > 0 {
            let first = self.first[below(rng, self.first.len())];
            text.push_str(self.word(first as usize).trim_start());
            rest -= 1;
        }
        let words = self.spans.len();
        for _ in 0..rest {
            text.push_str(self.word(below(rng, words)));
        }
    }
}

/// A draw from `0..n`: multiply and shift (Lemire 2019); its bias of n/2³² is far too small to show
/// in prompts.
pub(crate) fn below(rng: &mut impl Rng, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}

fn draw(rng: &mut impl Rng, from: &[u32], n: u64) -> Vec<u32> {
    (0..n).map(|_| from[below(rng, from.len())]).collect()
}

/// The test of a vocabulary does not depend on the run's seed, so neither do its words.
fn rng(purpose: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(sub_seed(0, purpose))
}

pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for at in (1..items.len()).rev() {
        items.swap(at, below(rng, at + 1));
    }
}

/// A space and letters.
fn is_word(text: &str) -> bool {
    text.strip_prefix(' ')
        .is_some_and(|letters| !letters.is_empty() && letters.chars().all(char::is_alphabetic))
}

/// Encode the anchor followed by words; returns the position of the first word that changed its
/// token, if any.
fn first_wrong<'a>(
    tokenizer: &Tokenizer,
    anchor: u32,
    anchor_text: &str,
    words: impl Iterator<Item = &'a (u32, String)> + Clone,
) -> Option<usize> {
    let mut text = anchor_text.to_owned();
    for (_, word) in words.clone() {
        text.push_str(word);
    }
    let ids = tokenizer.encode(&text);
    let want = std::iter::once(anchor).chain(words.map(|(id, _)| *id));
    let n = want.clone().count();
    let wrong = want.zip(&ids).position(|(want, got)| want != *got);
    match wrong {
        Some(at) => Some(at.saturating_sub(1)),
        None if ids.len() == n => None,
        None => Some(n.min(ids.len()).saturating_sub(2)),
    }
}
