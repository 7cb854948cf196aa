//! Owns the words that responses consist of: each is one token, in any order, for the tokenizer that
//! counts prompts. A response of n tokens is n tokens again when it comes back as history.
//!
//! It must not know requests or protocols.

use crate::template::{Conversation, Message};
use crate::tokens::{CountError, Encoder};
use crate::words::{self, WORDS};

/// Maximum number of words, a power of two.
const MOST_WORDS: usize = 64;

/// Maximum number of first words, a power of two.
const MOST_OPENERS: usize = 8;

/// Text before a word, whose tokens do not depend on the word.
const BEFORE: &str = "1";

/// A word and the id of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    text: String,
    id: u64,
}

/// The words of responses. Both lists have a power of two as their length.
#[derive(Debug, Clone)]
pub(crate) struct Lexicon {
    words: Vec<Word>,
    /// Words that are one token at the start of a message, where templates may remove a space.
    openers: Vec<Word>,
}

/// Where a word is in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the start of a message.
    Opens,
    /// After other text.
    Follows,
}

impl Lexicon {
    /// The words of a server without a tokenizer.
    pub(crate) fn built_in() -> Self {
        let words = |opens: bool| {
            let words = WORDS.iter().enumerate();
            let words = words.map(|(at, text)| Word {
                text: (*text).to_owned(),
                id: words::word_id(at, opens),
            });
            words.collect()
        };
        Lexicon {
            words: words(false),
            openers: words(true),
        }
    }

    /// Words for a tokenizer and its template: of [`WORDS`], then of its vocabulary. If it has no
    /// suitable ones, [`WORDS`].
    pub(crate) fn of(encoder: &Encoder) -> Self {
        Self::found(encoder).unwrap_or_else(|_| Lexicon::built_in())
    }

    fn found(encoder: &Encoder) -> Result<Self, CountError> {
        let mut words: Vec<Word> = Vec::new();
        let own = WORDS.iter().map(|word| (*word).to_owned());
        for candidate in own.chain(encoder.vocabulary()) {
            if words.len() == MOST_WORDS {
                break;
            }
            words.extend(suitable(encoder, candidate, &words)?);
        }
        if words.is_empty() {
            return Ok(Lexicon::built_in());
        }
        words.truncate(1 << words.len().ilog2());
        // A template may want other messages than those that are tried.
        let mut openers = openers(encoder, &words).unwrap_or_default();
        if openers.is_empty() {
            openers.clone_from(&words);
        }
        openers.truncate(1 << openers.len().ilog2());
        Ok(Lexicon { words, openers })
    }

    fn at(&self, number: u64, place: Place) -> &Word {
        let words = match place {
            Place::Opens => &self.openers,
            Place::Follows => &self.words,
        };
        let mask = words.len() as u64 - 1;
        &words[usize::try_from(number & mask).expect("below the length")]
    }

    pub(crate) fn text(&self, number: u64, place: Place) -> &str {
        &self.at(number, place).text
    }

    /// The token of a word.
    pub(crate) fn id(&self, number: u64, place: Place) -> u64 {
        self.at(number, place).id
    }
}

/// The tokens of `text` after [`BEFORE`], if they do not change it.
fn tokens_after(encoder: &Encoder, text: &str) -> Result<Option<Vec<u32>>, CountError> {
    let before = encoder.text(BEFORE, false)?;
    let ids = encoder.text(&format!("{BEFORE}{text}"), false)?;
    Ok(ids.strip_prefix(before.as_slice()).map(<[u32]>::to_vec))
}

/// `text` as a word, if it is one token next to itself and to each of `words`.
fn suitable(encoder: &Encoder, text: String, words: &[Word]) -> Result<Option<Word>, CountError> {
    let Some(&[id]) = tokens_after(encoder, &text)?.as_deref() else {
        return Ok(None);
    };
    if words.iter().any(|word| word.id == u64::from(id)) {
        return Ok(None);
    }
    let mut joined = format!("{text}{text}");
    let mut expected = vec![u64::from(id); 2];
    for word in words {
        joined.push_str(&word.text);
        joined.push_str(&text);
        expected.extend([word.id, u64::from(id)]);
    }
    let ids = tokens_after(encoder, &joined)?.unwrap_or_default();
    Ok(ids.into_iter().map(u64::from).eq(expected).then_some(Word {
        text,
        id: id.into(),
    }))
}

/// Words that are one token right after the start of a response, in a conversation that goes on.
fn openers(encoder: &Encoder, words: &[Word]) -> Result<Vec<Word>, CountError> {
    let mut openers: Vec<Word> = Vec::new();
    let prompt = encoder.chat(&conversation(&["1"]), true, false)?;
    let [second, third] = [0, words.len() - 1].map(|at| &words[at]);
    let trimmed = words.iter().map(|word| word.text.trim_start());
    for text in trimmed.chain(words.iter().map(|word| word.text.as_str())) {
        if openers.len() == MOST_OPENERS {
            break;
        }
        let short = encoder.chat(&conversation(&["1", text, "1"]), true, false)?;
        let content = format!("{text}{}{}", second.text, third.text);
        let long = encoder.chat(&conversation(&["1", &content, "1"]), true, false)?;
        if let Some([id, rest @ ..]) = long.strip_prefix(prompt.as_slice())
            && let [next, last, ..] = rest
            && [*next, *last].map(u64::from) == [second.id, third.id]
            && long.len() == short.len() + 2
            && openers.iter().all(|opener| opener.id != u64::from(*id))
        {
            openers.push(Word {
                text: text.to_owned(),
                id: (*id).into(),
            });
        }
    }
    Ok(openers)
}

/// A conversation between a user and an assistant.
fn conversation<'a>(texts: &[&'a str]) -> Conversation<'a> {
    let roles = ["user", "assistant"].into_iter().cycle();
    let messages = texts.iter().zip(roles).map(|(text, role)| Message {
        role,
        texts: vec![text],
        fields: None,
    });
    Conversation {
        messages: messages.collect(),
        ..Conversation::default()
    }
}
