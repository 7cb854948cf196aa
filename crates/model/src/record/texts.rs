//! Owns compact storage for many similar texts.
//!
//! It must not know what the texts say.

use super::varint::{push_varint, read_varint};

/// Texts that resemble their predecessors, like the events of a stream: only the difference to the
/// previous one is kept.
///
/// A text is stored as three LEB128 varints (bytes shared with the start and the end of the
/// previous text, bytes in between) and the bytes in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    packed: Vec<u8>,
    last: Vec<u8>,
    len: usize,
    bytes: usize,
}

impl Texts {
    /// Add a text.
    pub fn push(&mut self, text: &[u8]) {
        let most = text.len().min(self.last.len());
        let head = common_prefix(&text[..most], &self.last[..most]);
        let most = most - head;
        let tail = common_suffix(
            &text[text.len() - most..],
            &self.last[self.last.len() - most..],
        );
        let middle = &text[head..text.len() - tail];
        for n in [head, tail, middle.len()] {
            push_varint(&mut self.packed, n as u64);
        }
        self.packed.extend_from_slice(middle);
        self.last.clear();
        self.last.extend_from_slice(text);
        self.len += 1;
        self.bytes += text.len();
    }

    /// Hand every text to `sink`, in order.
    pub fn for_each(&self, mut sink: impl FnMut(&[u8])) {
        let mut text = Vec::with_capacity(self.last.len());
        let mut tail_bytes = Vec::new();
        let mut at = 0;
        for _ in 0..self.len {
            let mut next = || {
                let (value, used) = read_varint(&self.packed[at..]);
                at += used;
                value
            };
            let (head, tail, middle) = (next(), next(), next());
            tail_bytes.clear();
            tail_bytes.extend_from_slice(&text[text.len() - tail..]);
            text.truncate(head);
            text.extend_from_slice(&self.packed[at..at + middle]);
            text.extend_from_slice(&tail_bytes);
            at += middle;
            sink(&text);
        }
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Total bytes of all texts as pushed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// No text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Remove all texts.
    pub fn clear(&mut self) {
        self.packed.clear();
        self.last.clear();
        self.len = 0;
        self.bytes = 0;
    }
}

/// Number of bytes that two slices of equal length share at the start.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    // eight at a time: an event is about two hundred bytes
    let (words_a, words_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let words = words_a
        .iter()
        .zip(words_b)
        .take_while(|(x, y)| x == y)
        .count();
    let rest = words * 8;
    let bytes = a[rest..].iter().zip(&b[rest..]);
    rest + bytes.take_while(|(x, y)| x == y).count()
}

/// Number of bytes that two slices of equal length share at the end.
fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let (words_a, words_b) = (a.as_rchunks::<8>().1, b.as_rchunks::<8>().1);
    let words = words_a
        .iter()
        .rev()
        .zip(words_b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let rest = a.len() - words * 8;
    let bytes = a[..rest].iter().rev().zip(b[..rest].iter().rev());
    words * 8 + bytes.take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_come_back_in_order(given in prop::collection::vec("[ab]{0,40}|.{0,60}", 0..20)) {
            let mut texts = Texts::default();
            for text in &given {
                texts.push(text.as_bytes());
            }
            let mut back = Vec::new();
            texts.for_each(|text| back.push(String::from_utf8(text.to_vec()).unwrap()));
            prop_assert_eq!(texts.len(), given.len());
            prop_assert_eq!(back, given);
        }
    }

    #[test]
    fn events_of_a_stream_are_kept_small() {
        let mut texts = Texts::default();
        for i in 0..64 {
            let text = format!(
                r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":" t{i}"}},"logprobs":null,"finish_reason":null}}]}}"#
            );
            texts.push(text.as_bytes());
        }
        assert!(texts.packed.len() < 800, "{}", texts.packed.len());
    }
}
