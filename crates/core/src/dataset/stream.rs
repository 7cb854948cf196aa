//! Owns the endless stream of prompts that a run takes from: filtered by
//! length, started at an offset, wrapped around when the data set is short.

use std::fmt;
use std::sync::Arc;

use super::{DatasetError, Item, Prompt, PromptSource};
use crate::tokens::TokenizerError;

/// Says how long a prompt is.
pub trait Measure: fmt::Debug + Send + Sync {
    /// The length, in [`Measure::unit`]s.
    ///
    /// # Errors
    /// When the chat template refuses the prompt.
    fn length(&self, prompt: &Prompt) -> Result<usize, TokenizerError>;

    /// What is counted, in the plural.
    fn unit(&self) -> &'static str;
}

/// Counts characters.
#[derive(Clone, Copy, Debug)]
pub struct Chars;

impl Measure for Chars {
    fn length(&self, prompt: &Prompt) -> Result<usize, TokenizerError> {
        Ok(prompt.chars())
    }

    fn unit(&self) -> &'static str {
        "characters"
    }
}

/// Which prompts are kept, by length, both ends included.
#[derive(Clone, Debug)]
pub struct LengthFilter {
    /// `--min-prompt-length`.
    pub min: usize,
    /// `--max-prompt-length`.
    pub max: usize,
    /// What lengths count.
    pub measure: Arc<dyn Measure>,
}

impl LengthFilter {
    /// Whether everything passes, so that nothing needs to be measured.
    fn is_open(&self) -> bool {
        self.min == 0 && self.max == usize::MAX
    }
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

    /// The next item.
    ///
    /// # Errors
    /// When an item cannot be read, or a whole round gave none that fits.
    pub fn next_item(&mut self) -> Result<Item, DatasetError> {
        loop {
            let Some(item) = self.source.next()? else {
                if self.fitted == 0 {
                    return Err(self.nothing());
                }
                self.source.rewind()?;
                self.fitted = 0;
                self.rounds += 1;
                continue;
            };
            if self.filter.is_open() {
                self.fitted += 1;
                return Ok(item);
            }
            let length = self.filter.measure.length(&item.prompt)?;
            let first_round = u64::from(self.rounds == 0);
            if length < self.filter.min {
                self.short += first_round;
            } else if length > self.filter.max {
                self.long += first_round;
            } else {
                self.fitted += 1;
                return Ok(item);
            }
        }
    }

    /// Pass over prompts that earlier runs have used.
    ///
    /// # Errors
    /// As [`PromptStream::next_item`].
    pub fn skip(&mut self, n: u64) -> Result<(), DatasetError> {
        if self.filter.is_open() && self.source.jump(n) {
            return Ok(());
        }
        for _ in 0..n {
            self.next_item()?;
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
            min: self.filter.min,
            max: self.filter.max,
            unit: self.filter.measure.unit(),
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

    fn chars(min: usize, max: usize) -> LengthFilter {
        LengthFilter {
            min,
            max,
            measure: Arc::new(Chars),
        }
    }

    fn all() -> LengthFilter {
        chars(0, 1000)
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn texts(source: Box<dyn PromptSource>, filter: LengthFilter, n: usize) -> (Vec<String>, u64) {
        let mut stream = PromptStream::new("t".into(), source, filter);
        let texts = (0..n)
            .map(|_| stream.next_item().unwrap().prompt.text())
            .collect();
        (texts, stream.rounds())
    }

    #[test]
    fn a_short_data_set_wraps_and_says_so() {
        let file = file("{\"question\": \" a \"}\n\n{\"question\":\"b\"}\n");
        let source = Box::new(OpenQa::open(file.path()).unwrap());
        assert_eq!(
            texts(source, all(), 5),
            (["a", "b", "a", "b", "a"].map(str::to_owned).to_vec(), 2)
        );
    }

    #[test]
    fn lines_are_prompts_messages_or_bodies() {
        let file = file(
            "plain\r\n[{\"role\":\"user\",\"content\":\"m\"}]\n{\"prompt\":\"b\",\"n\":2}\n[draft] {text}\n42",
        );
        let mut source = LineByLine::open(file.path()).unwrap();
        let mut next = || source.next().unwrap().unwrap().prompt;
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
            assert_eq!(texts(source, all(), 3).0, ["x", "y", "x"]);
        }
    }

    fn error(mut stream: PromptStream) -> String {
        stream.next_item().unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let stream =
            |source: Box<dyn PromptSource>, filter| PromptStream::new("t".into(), source, filter);
        let bad = file("{\"question\":\"ok\"}\n{\"q\":1}\n");
        let mut source = stream(Box::new(OpenQa::open(bad.path()).unwrap()), all());
        source.next_item().unwrap();
        let text = error(source).replace(&bad.path().display().to_string(), "FILE");
        insta::assert_snapshot!(text, @"FILE, line 2: no text field `question`");
        let bad = file("[{\"instruction\":\"ok\"},{}]");
        let text = LongAlpaca::open(bad.path()).unwrap_err().to_string();
        insta::assert_snapshot!(text.replace(&bad.path().display().to_string(), "FILE"), @"FILE, item 2: no text field `instruction`");
        let empty = file("\n \n");
        insta::assert_snapshot!(error(stream(Box::new(LineByLine::open(empty.path()).unwrap()), all())), @"the data set t is empty");
        let odd = file("a\nbb\nccccc\n");
        let filter = chars(3, 4);
        insta::assert_snapshot!(error(stream(Box::new(LineByLine::open(odd.path()).unwrap()), filter)), @"no prompt of the data set t is between 3 and 4 characters long: 2 are shorter, 1 are longer");
    }

    #[test]
    fn lengths_are_characters() {
        let file = file("你好\nabc\n");
        let filter = chars(0, 2);
        let source = Box::new(LineByLine::open(file.path()).unwrap());
        assert_eq!(texts(source, filter, 2).0, ["你好", "你好"]);
    }
}
