//! Owns the simulator's own words, the tokens that they are on a server without a tokenizer, and the
//! tokens of all other text there: four characters each.
//!
//! It must not know requests, protocols or any real tokenizer.

use std::collections::HashMap;
use std::sync::LazyLock;

/// None needs escaping in JSON; half of them are multi-byte. The two halves have the same size, a
/// power of two. A text of words is read in only one way: as the longest word, again and again.
pub(crate) const WORDS: [&str; 64] = [
    " the", " of", " and", " to", " a", " in", " is", " that", " it", " was", " for", " on",
    " with", " as", " be", " at", " by", " model", " server", " token", " time", " latency",
    " queue", " batch", " cache", " first", " last", " each", " over", " long", ".", ",", "的",
    "是", "在", "了", "有", "和", "人", "这", "中", "大", "为", "上", "个", "国", "我", "以", "要",
    "他", "时间", "模型", "服务", "延迟", "首个", "词元", "队列", "批次", "缓存", "测试", "。",
    "，", "🙂", "…",
];

/// The length of a token of other text, in characters.
const CHARS_PER_TOKEN: usize = 4;

/// What a role writes: only an assistant's text can be one that the simulator has generated.
const ASSISTANT: &str = "assistant";

static POSITIONS: LazyLock<HashMap<&str, usize>> = LazyLock::new(|| {
    let positions = WORDS.iter().enumerate();
    positions.map(|(at, word)| (*word, at)).collect()
});

/// The position in [`WORDS`] of the longest word at the start of `text`.
fn first_word(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, first) = chars.next()?;
    if first == ' ' {
        let letters = text[1..].bytes().take_while(u8::is_ascii_alphabetic);
        return POSITIONS.get(&text[..=letters.count()]).copied();
    }
    let one = first.len_utf8();
    let two = chars.next().map(|(at, second)| at + second.len_utf8());
    let word = |end: usize| POSITIONS.get(&text[..end]).copied();
    two.and_then(word).or_else(|| word(one))
}

/// The positions of the words of which a text consists, if it consists of words.
fn words_of(mut text: &str) -> Option<Vec<usize>> {
    let mut words = Vec::new();
    while !text.is_empty() {
        let word = first_word(text)?;
        words.push(word);
        text = &text[WORDS[word].len()..];
    }
    Some(words)
}

/// FNV-1a, in 64 bits.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        self
    }
}

/// The id of a token that has this text. The first token of a message is another one for each role,
/// as the frame of a real template would make it.
fn id(role: Option<&str>, text: &str) -> u64 {
    let hash = Fnv::new().bytes(text.as_bytes());
    match role {
        None => hash.0,
        Some(role) => hash.bytes(b"\xff").bytes(role.as_bytes()).0,
    }
}

/// The id of a word in a response; `opens` says whether it is the first one.
pub(crate) fn word_id(word: usize, opens: bool) -> u64 {
    id(opens.then_some(ASSISTANT), WORDS[word])
}

/// Number of tokens of a message's texts.
pub(crate) fn count(role: &str, texts: &[&str]) -> u64 {
    if role == ASSISTANT
        && let [text] = texts
        && let Some(words) = words_of(text)
    {
        return words.len() as u64;
    }
    let chars: usize = texts.iter().map(|text| text.chars().count()).sum();
    chars.div_ceil(CHARS_PER_TOKEN) as u64
}

/// The tokens of a message's texts, or with no role of a plain prompt: as many as [`count`] says.
pub(crate) fn ids(role: Option<&str>, texts: &[&str]) -> Vec<u64> {
    let first_of = |at: usize| role.filter(|_| at == 0);
    if role == Some(ASSISTANT)
        && let [text] = texts
        && let Some(words) = words_of(text)
    {
        let words = words.into_iter().enumerate();
        return words
            .map(|(at, word)| id(first_of(at), WORDS[word]))
            .collect();
    }
    let chars: Vec<char> = texts.iter().flat_map(|text| text.chars()).collect();
    chars
        .chunks(CHARS_PER_TOKEN)
        .enumerate()
        .map(|(at, chars)| id(first_of(at), &chars.iter().collect::<String>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_words_are_read_back(words in prop::collection::vec(0..WORDS.len(), 0..40)) {
            let text: String = words.iter().map(|word| WORDS[*word]).collect();
            prop_assert_eq!(count(ASSISTANT, &[&text]), words.len() as u64);
            let written: Vec<u64> = words
                .iter()
                .enumerate()
                .map(|(at, word)| word_id(*word, at == 0))
                .collect();
            prop_assert_eq!(ids(Some(ASSISTANT), &[&text]), written);
            prop_assert_eq!(words_of(&text), Some(words));
        }

        #[test]
        fn ids_are_as_many_as_counted(role in "user|assistant", texts in prop::collection::vec(".{0,12}", 0..4)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert_eq!(ids(Some(&role), &texts).len() as u64, count(&role, &texts));
        }
    }

    #[test]
    fn other_text_is_four_characters_a_token() {
        assert_eq!(count("user", &["12345"]), 2);
        assert_eq!(count("user", &["四个", "字啊"]), 1);
        assert_eq!(count("user", &[" the of"]), 2);
        assert_eq!(count(ASSISTANT, &[" the of"]), 2);
        assert_eq!(count(ASSISTANT, &[" the of!"]), 2);
        assert_eq!(count(ASSISTANT, &[" other"]), 2);
        let (user, assistant) = (
            ids(Some("user"), &["abcdefgh"]),
            ids(Some("tool"), &["abcdefgh"]),
        );
        assert_ne!(user[0], assistant[0], "messages of different roles");
        assert_eq!(user[1], assistant[1]);
    }
}
