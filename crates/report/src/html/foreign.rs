//! Owns how text from outside is shown: what would act on the page, or hide, is made visible, and what
//! is too long is cut.
//!
//! It must not know HTML: the template escapes.

use std::fmt::Write as _;

/// Characters of a text that are shown.
pub(super) const SHOWN_CHARS: usize = 2000;

/// Characters of a name that are shown.
pub(super) const NAME_CHARS: usize = 200;

/// A text whose control characters, direction marks and invisible characters are seen, cut after this
/// many characters with a note of its size.
pub(super) fn shown(text: &str, chars: usize) -> String {
    let mut out = String::with_capacity(text.len().min(chars * 4));
    for (nth, c) in text.chars().enumerate() {
        if nth == chars {
            let _ = write!(out, "… [cut: {} bytes in all]", text.len());
            break;
        }
        match c {
            '\n' | '\t' => out.push(c),
            '\r' if text.contains("\r\n") => {}
            c if acts(c) => {
                let _ = write!(out, "\u{2039}U+{:04X}\u{203a}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// A name in one line.
pub(crate) fn name(text: &str) -> String {
    shown(text, NAME_CHARS).replace(['\n', '\t'], " ")
}

/// Whether a character changes how others are drawn, or is not drawn at all.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_acts_is_seen() {
        assert_eq!(
            name("a\u{202e}b\u{1b}[31m\0c\nd"),
            "a‹U+202E›b‹U+001B›[31m‹U+0000›c d"
        );
        assert_eq!(shown("a\r\nb\tc", 10), "a\nb\tc");
        assert_eq!(shown("模型 é", 10), "模型 é");
    }

    #[test]
    fn long_texts_say_how_long_they_are() {
        let text = "ü".repeat(3_000_000);
        let shown = shown(&text, 5);
        assert_eq!(shown, "üüüüü… [cut: 6000000 bytes in all]");
        assert_eq!(super::shown("12345", 5), "12345");
    }
}
