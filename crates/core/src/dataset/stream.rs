//! Owns the endless stream of prompts that a run takes from: filtered by
//! length, started at an offset, wrapped around when the data set is short.

use serde::{Deserialize, Serialize};

use super::{DatasetError, Prompt, PromptSource};

/// Which prompts are kept, by length in characters, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthFilter {
    /// `--min-prompt-length`.
    pub min_chars: usize,
    /// `--max-prompt-length`.
    pub max_chars: usize,
}

/// A data set without end.
#[derive(Debug)]
pub struct PromptStream {
    name: String,
    source: Box<dyn PromptSource>,
    filter: LengthFilter,
    short: u64,
    long: u64,
    /// Prompts that fitted, in the present round.
    fitted: u64,
    rounds: u64,
}

impl PromptStream {
    /// A stream over a data set; `name` is for messages.
    #[must_use]
    pub fn new(name: String, source: Box<dyn PromptSource>, filter: LengthFilter) -> Self {
        Self {
            name,
            source,
            filter,
            short: 0,
            long: 0,
            fitted: 0,
            rounds: 0,
        }
    }

    /// The next prompt.
    ///
    /// # Errors
    /// When an item cannot be read, or a whole round gave none that fits.
    pub fn next_prompt(&mut self) -> Result<Prompt, DatasetError> {
        loop {
            let Some(prompt) = self.source.next()? else {
                if self.fitted == 0 {
                    return Err(self.nothing());
                }
                self.source.rewind()?;
                self.fitted = 0;
                self.rounds += 1;
                continue;
            };
            let chars = prompt.chars();
            let first_round = u64::from(self.rounds == 0);
            if chars < self.filter.min_chars {
                self.short += first_round;
            } else if chars > self.filter.max_chars {
                self.long += first_round;
            } else {
                self.fitted += 1;
                return Ok(prompt);
            }
        }
    }

    /// Pass over prompts that earlier runs have used.
    ///
    /// # Errors
    /// As [`PromptStream::next_prompt`].
    pub fn skip(&mut self, n: u64) -> Result<(), DatasetError> {
        for _ in 0..n {
            self.next_prompt()?;
        }
        Ok(())
    }

    /// How often the data set has begun again.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Prompts dropped by length in a round: too short, too long.
    #[must_use]
    pub fn dropped(&self) -> (u64, u64) {
        (self.short, self.long)
    }

    fn nothing(&self) -> DatasetError {
        let name = self.name.clone();
        if self.short + self.long == 0 {
            return DatasetError::Empty { name };
        }
        DatasetError::NothingFits {
            name,
            min: self.filter.min_chars,
            max: self.filter.max_chars,
            short: self.short,
            long: self.long,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{LineByLine, LongAlpaca, OpenQa};
    use super::*;

    const ALL: LengthFilter = LengthFilter {
        min_chars: 0,
        max_chars: 1000,
    };

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn texts(source: Box<dyn PromptSource>, filter: LengthFilter, n: usize) -> (Vec<String>, u64) {
        let mut stream = PromptStream::new("t".into(), source, filter);
        let texts = (0..n)
            .map(|_| stream.next_prompt().unwrap().text())
            .collect();
        (texts, stream.rounds())
    }

    #[test]
    fn a_short_data_set_wraps_and_says_so() {
        let file = file("{\"question\": \" a \"}\n\n{\"question\":\"b\"}\n");
        let source = Box::new(OpenQa::open(file.path()).unwrap());
        assert_eq!(
            texts(source, ALL, 5),
            (["a", "b", "a", "b", "a"].map(str::to_owned).to_vec(), 2)
        );
    }

    #[test]
    fn lines_are_prompts_messages_or_bodies() {
        let file = file(
            "plain\r\n[{\"role\":\"user\",\"content\":\"m\"}]\n{\"prompt\":\"b\",\"n\":2}\n[draft] {text}\n42",
        );
        let mut source = LineByLine::open(file.path()).unwrap();
        let mut next = || source.next().unwrap().unwrap();
        assert_eq!(next(), Prompt::Text("plain".into()));
        assert!(matches!(next(), Prompt::Messages(m) if m.len() == 1));
        assert!(matches!(next(), Prompt::Body(b) if b["n"] == 2));
        assert_eq!(next(), Prompt::Text("[draft] {text}".into()));
        assert_eq!(next(), Prompt::Text("42".into()));
    }

    #[test]
    fn long_alpaca_as_list_and_as_lines() {
        for text in [
            "[{\"instruction\": \"x\"},\n {\"instruction\": \"y\"}]",
            "{\"instruction\": \"x\"}\n{\"instruction\": \"y\"}\n",
        ] {
            let file = file(text);
            let source = Box::new(LongAlpaca::open(file.path()).unwrap());
            assert_eq!(texts(source, ALL, 3).0, ["x", "y", "x"]);
        }
    }

    fn error(mut stream: PromptStream) -> String {
        stream.next_prompt().unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let stream =
            |source: Box<dyn PromptSource>, filter| PromptStream::new("t".into(), source, filter);
        let bad = file("{\"question\":\"ok\"}\n{\"q\":1}\n");
        let mut source = stream(Box::new(OpenQa::open(bad.path()).unwrap()), ALL);
        source.next_prompt().unwrap();
        let text = error(source).replace(&bad.path().display().to_string(), "FILE");
        insta::assert_snapshot!(text, @"FILE, line 2: no text field `question`");
        let bad = file("[{\"instruction\":\"ok\"},{}]");
        let text = LongAlpaca::open(bad.path()).unwrap_err().to_string();
        insta::assert_snapshot!(text.replace(&bad.path().display().to_string(), "FILE"), @"FILE, item 2: no text field `instruction`");
        let empty = file("\n \n");
        insta::assert_snapshot!(error(stream(Box::new(LineByLine::open(empty.path()).unwrap()), ALL)), @"the data set t is empty");
        let odd = file("a\nbb\nccccc\n");
        let filter = LengthFilter {
            min_chars: 3,
            max_chars: 4,
        };
        insta::assert_snapshot!(error(stream(Box::new(LineByLine::open(odd.path()).unwrap()), filter)), @"no prompt of the data set t is between 3 and 4 characters long: 2 are shorter, 1 are longer");
    }

    #[test]
    fn lengths_are_characters() {
        let file = file("你好\nabc\n");
        let filter = LengthFilter {
            min_chars: 0,
            max_chars: 2,
        };
        let source = Box::new(LineByLine::open(file.path()).unwrap());
        assert_eq!(texts(source, filter, 2).0, ["你好", "你好"]);
    }
}
