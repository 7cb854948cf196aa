//! Owns reading the options of a multiple-choice question, which datasets keep as a list written in
//! Python, and writing them with letters.
//!
//! It must not know what a question is about.

/// Options with a letter each, one per line; `None` if there are none. What is not a list of texts stays
/// as it is.
pub(super) fn lettered(written: &str) -> Option<String> {
    let written = written.trim();
    let Some(options) = texts(written) else {
        return Some(written.to_owned()).filter(|text| !text.is_empty());
    };
    let lines = ('A'..).zip(&options);
    let lines: Vec<String> = lines
        .map(|(letter, option)| format!("{letter}. {option}"))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The texts of a list as Python writes it: `['a', "it's"]`.
fn texts(written: &str) -> Option<Vec<String>> {
    let mut rest = written.strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut all = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, behind) = quoted(&rest[1..], quote)?;
        all.push(text);
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if behind.is_empty() => behind,
            None => return None,
        };
    }
    Some(all)
}

/// A text up to its closing quote, and what follows.
fn quoted(written: &str, quote: char) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = written.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                plain @ ('\\' | '\'' | '"') => text.push(plain),
                other => text.extend(['\\', other]),
            },
            char if char == quote => return Some((text, &written[at + 1..])),
            char => text.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn options_get_letters() {
        let options = r#"['<image 1>', "Ann's", 'a, b', '\\frac{1}{2}']"#;
        insta::assert_snapshot!(lettered(options).unwrap(), @r"
        A. <image 1>
        B. Ann's
        C. a, b
        D. \frac{1}{2}
        ");
        assert_eq!(lettered("[]"), None);
        assert_eq!(lettered(" "), None);
    }

    #[test]
    fn what_is_not_a_list_stays_as_it_is() {
        for text in ["yes or no", "['a'", "['a' 'b']", "[1, 2]", "['a]"] {
            assert_eq!(lettered(text).as_deref(), Some(text));
        }
    }

    proptest! {
        /// As Python's `repr` writes texts without control characters.
        #[test]
        fn a_list_is_read_as_it_was_written(list in proptest::collection::vec("[^\\pC]{0,9}", 0..6)) {
            let written: Vec<String> = list
                .iter()
                .map(|text| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")))
                .collect();
            prop_assert_eq!(texts(&format!("[{}]", written.join(", "))), Some(list));
        }
    }
}
