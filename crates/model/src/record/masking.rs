//! Owns the removal of secrets from texts that servers send.
//!
//! It must not know which texts, nor where the secrets come from.

use std::borrow::Cow;
use std::collections::HashMap;

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::noncontiguous::NFA;

use super::{Exchange, Texts};

/// The beginning of a secret from this length on is masked where a text was cut.
const TELLING_BYTES: usize = 4;

/// Replaces a secret.
const MASK: &str = "***";

/// Marks a cut: an ellipsis, or a character cut in the middle.
const CUTS: [&str; 2] = ["…", "\u{fffd}"];

/// Removes secrets from texts, each in one pass, however many and long the secrets are.
///
/// The state of its automaton is the longest beginning of any secret that ends where the text has been
/// read to. That tells whole secrets, and at a cut the beginnings of secrets.
#[derive(Clone, Debug)]
pub struct Masker {
    automaton: NFA,
    /// Bytes of the beginning that a state stands for.
    depths: HashMap<StateID, usize>,
    /// By secret: it is what tokens begin with.
    begins_tokens: Vec<bool>,
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
        let secrets: Vec<&String> = secrets.iter().filter(|s| !s.is_empty()).collect();
        let automaton = NFA::new(&secrets).expect("secrets are shorter than 2 GiB");
        let mut depths = HashMap::new();
        for secret in &secrets {
            let mut at = start(&automaton);
            for (before, byte) in secret.bytes().enumerate() {
                at = automaton.next_state(Anchored::No, at, byte);
                depths.insert(at, before + 1);
            }
        }
        Self {
            automaton,
            depths,
            begins_tokens: secrets.iter().map(|s| s.ends_with('.')).collect(),
        }
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
        if self.begins_tokens.is_empty() {
            return spans;
        }
        crate::steps::add(text.len());
        let bytes = text.as_bytes();
        let mut at = start(&self.automaton);
        for (read, byte) in bytes.iter().enumerate() {
            if matches!(byte, 0xe2 | 0xef) && CUTS.iter().any(|cut| text[read..].starts_with(cut)) {
                self.mask_beginning(at, read, &mut spans);
            }
            at = self.automaton.next_state(Anchored::No, at, *byte);
            if self.automaton.is_match(at) {
                // the longest of those that end here comes first
                let secret = self.automaton.match_pattern(at, 0);
                let (start, mut end) = (read + 1 - self.automaton.pattern_len(secret), read + 1);
                // within a token that is masked already, its end is known
                if self.begins_tokens[secret.as_usize()]
                    && spans.last().is_none_or(|last| last.end < end)
                {
                    end += bytes[end..].iter().take_while(|b| is_of_token(**b)).count();
                }
                add(&mut spans, Span { start, end });
            }
        }
        self.mask_beginning(at, bytes.len(), &mut spans);
        spans
    }

    /// The text was cut at `end`: what stands before may be the beginning of a secret.
    fn mask_beginning(&self, at: StateID, end: usize, spans: &mut Vec<Span>) {
        let depth = self.depths.get(&at).copied().unwrap_or_default();
        if depth >= TELLING_BYTES {
            let start = end - depth;
            add(spans, Span { start, end });
        }
    }

    /// Mask the secrets in what a server said on failure: an error message may repeat the key.
    pub fn hide(&self, exchange: &mut Exchange) {
        let Some(failure) = &mut exchange.record.failure else {
            return;
        };
        if self.begins_tokens.is_empty() {
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

fn start(automaton: &NFA) -> StateID {
    let start = automaton.start_state(Anchored::No);
    start.expect("this automaton searches from anywhere")
}

/// Base64 for URLs, and the dots between parts.
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
/// use evalscope_model::record::masked;
/// let secrets = ["sk-12345".to_owned()];
/// assert_eq!(masked("bad key sk-12345", &secrets), "bad key ***");
/// assert_eq!(masked("bad key sk-12… [503]", &secrets), "bad key ***… [503]");
/// assert_eq!(masked("bad key sk-12", &secrets), "bad key ***");
/// ```
///
/// A secret that ends in a dot is the prefix of tokens:
///
/// ```
/// use evalscope_model::record::masked;
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
