//! Owns the removal of secrets from texts that servers send.
//!
//! It must not know which texts, nor where the secrets come from.

use std::borrow::Cow;

use super::{Exchange, Texts};

/// Where a text was cut, the start of a secret is masked from this length on.
const TELLING_BYTES: u32 = 4;

/// Replaces a secret.
const MASK: &str = "***";

/// Marks a cut: an ellipsis, or a character cut in the middle.
const CUTS: [&str; 2] = ["…", "\u{fffd}"];

/// Removes secrets from texts, each in one pass, however many and long the secrets are.
///
/// An Aho-Corasick automaton: its state is the longest prefix of any secret that ends at the
/// current position. That finds whole secrets and, at a cut, prefixes of secrets.
#[derive(Clone, Debug)]
pub struct Masker {
    states: Vec<State>,
    /// State after one byte, indexed by the byte: most bytes start no secret.
    first: Box<[u32; 256]>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Bytes that extend the prefix, sorted.
    next: Vec<(u8, u32)>,
    /// State of its longest suffix that is a prefix of a secret.
    fallback: u32,
    /// Length of the prefix in bytes.
    depth: u32,
    /// Length of the longest secret it ends with; 0 if there is none.
    secret: u32,
    /// That secret is the prefix of tokens.
    begins_tokens: bool,
}

/// A range of bytes to mask.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

impl Masker {
    /// Build a masker. A secret that ends in a dot is the prefix of tokens that are signed anew now
    /// and then: the whole token is masked.
    #[must_use]
    pub fn new(secrets: &[String]) -> Self {
        let mut masker = Self {
            states: vec![State::default()],
            first: Box::new([0; 256]),
        };
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            masker.insert(secret);
        }
        masker.link();
        masker
    }

    fn insert(&mut self, secret: &str) {
        let mut at = 0;
        for byte in secret.bytes() {
            at = match self.child(at, byte) {
                Some(next) => next,
                None => self.grow(at, byte),
            };
        }
        let state = &mut self.states[at as usize];
        state.secret = state.depth;
        state.begins_tokens = secret.ends_with('.');
    }

    fn grow(&mut self, at: u32, byte: u8) -> u32 {
        let new = u32::try_from(self.states.len()).expect("secrets are shorter than 4 GiB");
        let parent = &mut self.states[at as usize];
        let depth = parent.depth + 1;
        let place = parent.next.partition_point(|(other, _)| *other < byte);
        parent.next.insert(place, (byte, new));
        self.states.push(State {
            depth,
            ..State::default()
        });
        new
    }

    fn child(&self, at: u32, byte: u8) -> Option<u32> {
        let next = &self.states[at as usize].next;
        let place = next.binary_search_by_key(&byte, |(byte, _)| *byte).ok()?;
        Some(next[place].1)
    }

    /// Compute the fallbacks, shortest prefixes first.
    fn link(&mut self) {
        for (byte, next) in self.states[0].next.clone() {
            self.first[usize::from(byte)] = next;
        }
        let mut rest: std::collections::VecDeque<u32> =
            self.states[0].next.iter().map(|(_, next)| *next).collect();
        while let Some(at) = rest.pop_front() {
            for (byte, next) in self.states[at as usize].next.clone() {
                let fallback = self.step(self.states[at as usize].fallback, byte);
                let shorter = &self.states[fallback as usize];
                let (secret, begins_tokens) = (shorter.secret, shorter.begins_tokens);
                let state = &mut self.states[next as usize];
                state.fallback = fallback;
                if state.secret == 0 {
                    state.secret = secret;
                    state.begins_tokens = begins_tokens;
                }
                rest.push_back(next);
            }
        }
    }

    fn step(&self, mut at: u32, byte: u8) -> u32 {
        while at != 0 {
            if let Some(next) = self.child(at, byte) {
                return next;
            }
            at = self.states[at as usize].fallback;
        }
        self.first[usize::from(byte)]
    }

    /// The text without the secrets, and without the start of one where the text was cut: at its
    /// end, or before an ellipsis.
    #[must_use]
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let spans = self.spans(text);
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len());
        let mut from = 0;
        for span in spans {
            masked.push_str(&text[from..span.start]);
            masked.push_str(MASK);
            from = span.end;
        }
        masked.push_str(&text[from..]);
        Cow::Owned(masked)
    }

    /// The ranges to mask, in order and disjoint.
    fn spans(&self, text: &str) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        if self.states.len() == 1 {
            return spans;
        }
        crate::steps::add(text.len());
        let bytes = text.as_bytes();
        let mut at = 0;
        for (read, byte) in bytes.iter().enumerate() {
            if matches!(byte, 0xe2 | 0xef) && CUTS.iter().any(|cut| text[read..].starts_with(cut)) {
                self.mask_beginning(at, read, &mut spans);
            }
            at = self.step(at, *byte);
            let state = &self.states[at as usize];
            if state.secret > 0 {
                let (start, mut end) = (read + 1 - state.secret as usize, read + 1);
                // the end of a token that is already masked is known
                if state.begins_tokens && spans.last().is_none_or(|last| last.end < end) {
                    end += bytes[end..].iter().take_while(|b| is_of_token(**b)).count();
                }
                add(&mut spans, Span { start, end });
            }
        }
        self.mask_beginning(at, bytes.len(), &mut spans);
        spans
    }

    /// The text was cut at `end`: the bytes before may be the start of a secret.
    fn mask_beginning(&self, at: u32, end: usize, spans: &mut Vec<Span>) {
        let depth = self.states[at as usize].depth;
        if depth >= TELLING_BYTES {
            let start = end - depth as usize;
            add(spans, Span { start, end });
        }
    }

    /// Mask the secrets in what a server said on failure: an error message may repeat the key.
    pub fn hide(&self, exchange: &mut Exchange) {
        let Some(failure) = &mut exchange.record.failure else {
            return;
        };
        if self.states.len() == 1 {
            return;
        }
        if let Cow::Owned(masked) = self.mask(&failure.message) {
            failure.message = masked;
        }
        let bodies = &mut exchange.bodies;
        for bytes in [&mut bodies.error_excerpt, &mut bodies.final_event] {
            if let Some(masked) = self.masked_bytes(bytes) {
                *bytes = masked;
            }
        }
        let mut responses = Texts::default();
        let mut any = false;
        bodies.responses.for_each(|text| {
            let masked = self.masked_bytes(text);
            any |= masked.is_some();
            responses.push(masked.as_deref().unwrap_or(text));
        });
        if any {
            bodies.responses = responses;
        }
    }

    /// The bytes without secrets; `None` if there were none.
    fn masked_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let text = String::from_utf8_lossy(bytes);
        match self.mask(&text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(masked) => Some(masked.into_bytes()),
        }
    }
}

/// URL-safe base64, and the dots between parts.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

/// Add a span, merging it with those it covers.
fn add(spans: &mut Vec<Span>, mut span: Span) {
    while let Some(last) = spans.last().filter(|last| last.end > span.start) {
        span.start = span.start.min(last.start);
        span.end = span.end.max(last.end);
        spans.pop();
    }
    spans.push(span);
}

/// [`Masker::mask`] for a single text.
///
/// ```
/// use evalscope_core::record::masked;
/// let secrets = ["sk-12345".to_owned()];
/// assert_eq!(masked("bad key sk-12345", &secrets), "bad key ***");
/// assert_eq!(masked("bad key sk-12… [503]", &secrets), "bad key ***… [503]");
/// assert_eq!(masked("bad key sk-12", &secrets), "bad key ***");
/// ```
///
/// A secret that ends in a dot is the prefix of tokens:
///
/// ```
/// use evalscope_core::record::masked;
/// let secrets = ["eyJhbGci.".to_owned()];
/// assert_eq!(masked("not eyJhbGci.eyJh_x.9-Q: bad", &secrets), "not ***: bad");
/// ```
#[must_use]
pub fn masked(text: &str, secrets: &[String]) -> String {
    Masker::new(secrets).mask(text).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masks(text: &str, secrets: &[&str]) -> String {
        let secrets: Vec<String> = secrets.iter().map(|s| (*s).to_owned()).collect();
        masked(text, &secrets)
    }

    #[test]
    fn secrets_that_begin_or_overlap_each_other() {
        for (text, secrets, want) in [
            ("x abcdef y", &["abc", "abcdef"][..], "x *** y"),
            ("x abcdef y", &["abcdef", "abc"], "x *** y"),
            ("x abcdx y", &["abcdef", "abc"], "x ***dx y"),
            ("abcdef", &["abcd", "cdef"], "***"),
            ("abcabc", &["abc"], "******"),
            ("aabab", &["abab", "b"], "a***"),
            ("xbcd", &["abcde", "bcd"], "x***"),
            ("a secret-wo", &["secret-word", "o"], "a ***"),
            ("a secret-wo… b", &["secret-word"], "a ***… b"),
            ("a sec… b", &["secret-word"], "a sec… b"),
            ("a secret-w\u{fffd}", &["secret-wörd"], "a ***\u{fffd}"),
            ("key dépôt d", &["dépôt"], "key *** d"),
            ("t eyJ.a.b_-c d eyJ.", &["eyJ."], "t *** d ***"),
            ("t eyJ.eyJ.eyJ.a!", &["eyJ."], "t ***!"),
            ("nothing", &["", "secret"], "nothing"),
        ] {
            assert_eq!(masks(text, secrets), want, "{text} {secrets:?}");
        }
    }

    /// Megabytes of text and keys of thousands of bytes must not stall anything.
    #[test]
    fn one_pass_masks_any_number_of_long_secrets() {
        let secrets: Vec<String> = (0..50)
            .map(|i| format!("{}{i}", "a".repeat(2000)))
            .collect();
        let masker = Masker::new(&secrets);
        let text = "a".repeat(4 << 20);
        let shown = masker.mask(&text);
        assert!(shown.ends_with("a***"));
        assert_eq!(shown.len(), text.len() - 2000 + 3);
        let tokens = Masker::new(&["ab.".to_owned()]);
        assert_eq!(tokens.mask(&"ab.".repeat(1 << 20)), MASK);
    }

    proptest! {
        #[test]
        fn no_secret_is_left(
            secrets in prop::collection::vec("[ab.é]{1,6}", 0..6),
            text in "[abcé.… ]{0,40}",
        ) {
            let masked = masked(&text, &secrets);
            for secret in &secrets {
                prop_assert!(!masked.contains(secret.as_str()), "{} of {:?}", masked, secret);
            }
            // without secrets, the text stays
            let masker = Masker::new(&[]);
            prop_assert_eq!(masker.mask(&text), text.as_str());
        }

        #[test]
        fn a_truncated_secret_is_masked(secret in "[a-c]{8,20}", n in 4usize..8, before in "[d-f ]{0,8}") {
            let secrets = [secret.clone()];
            for end in ["", "…", "… [503]"] {
                let want = format!("{before}***{end}");
                prop_assert_eq!(masked(&format!("{before}{}{end}", &secret[..n]), &secrets), want);
            }
        }
    }
}
