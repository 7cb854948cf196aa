//! Owns the endless stream of prompts for a run: filtered by length, started at an offset, wrapped
//! around at the end of the dataset.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DatasetError, PromptSource};
use crate::tokens::TokenizerError;
use evalscope_model::prompt::{Item, Prompt, Workload};

/// Measures the length of a prompt.
pub trait Measure: fmt::Debug + Send + Sync {
    /// The length, in [`Measure::unit`]s.
    ///
    /// # Errors
    /// If the chat template rejects the prompt.
    fn length(&self, prompt: &Prompt) -> Result<usize, TokenizerError>;

    /// The unit, in the plural.
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

/// Which prompts are kept, by length, both bounds included.
#[derive(Clone, Debug)]
pub struct LengthFilter {
    /// `--min-prompt-length`.
    pub min: usize,
    /// `--max-prompt-length`.
    pub max: usize,
    /// How lengths are measured.
    pub measure: Arc<dyn Measure>,
}

impl LengthFilter {
    /// Whether all prompts pass, so that nothing needs to be measured.
    fn is_open(&self) -> bool {
        self.min == 0 && self.max == usize::MAX
    }
}

/// Counts for one round of a dataset, or for the part of it read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Prompts used.
    pub taken: u64,
    /// The characters of the longest conversation; 0 where no conversations are sent.
    pub longest_conversation_chars: usize,
    /// Empty or blank prompts, which are skipped.
    pub blank: u64,
    /// Prompts that were too short.
    pub short: u64,
    /// Prompts that were too long.
    pub long: u64,
    /// Invalid items that were skipped.
    pub bad: u64,
    /// What is wrong with the first of them.
    pub first_bad: Option<String>,
}

/// An endless dataset.
#[derive(Debug)]
pub struct PromptStream {
    name: String,
    source: Box<dyn PromptSource>,
    filter: LengthFilter,
    /// Skip invalid items.
    skip_bad: bool,
    /// Items may be conversations.
    conversations: bool,
    /// Counts of the first round; other threads may read them meanwhile.
    tally: Arc<Mutex<Tally>>,
    /// Prompts that passed the filters in this round.
    fitted: u64,
    rounds: u64,
}

impl Workload for PromptStream {
    fn next_item(&mut self) -> Result<Item, Box<dyn Error + Send + Sync>> {
        Ok(PromptStream::next_item(self)?)
    }

    fn pass_item(&mut self) -> Result<Item, Box<dyn Error + Send + Sync>> {
        Ok(self.item(Use::PassedOver)?)
    }

    fn rounds(&self) -> u64 {
        self.rounds
    }
}

impl PromptStream {
    /// A stream over a dataset; `name` is for messages.
    #[must_use]
    pub fn new(name: String, source: Box<dyn PromptSource>, filter: LengthFilter) -> Self {
        Self {
            name,
            source,
            filter,
            skip_bad: false,
            conversations: false,
            tally: Arc::default(),
            fitted: 0,
            rounds: 0,
        }
    }

    /// The same, skipping invalid items.
    #[must_use]
    pub fn skipping_bad(mut self, skip: bool) -> Self {
        self.skip_bad = skip;
        self
    }

    /// The same for a run that sends conversations; otherwise they are an error.
    #[must_use]
    pub fn conversations(mut self, are_sent: bool) -> Self {
        self.conversations = are_sent;
        self
    }

    /// Counts of the first round so far; it goes on counting.
    #[must_use]
    pub fn tally(&self) -> Arc<Mutex<Tally>> {
        Arc::clone(&self.tally)
    }

    /// Read on to the end of the dataset once, without returning prompts. `go_on` is called now and
    /// then; once it returns false, the counts so far are returned.
    ///
    /// # Errors
    /// As for [`PromptStream::next_item`]; of invalid items, all are counted and the first ones named.
    pub fn survey(mut self, mut go_on: impl FnMut() -> bool) -> Result<Tally, DatasetError> {
        let mut read = 0_u64;
        let mut bad: Vec<DatasetError> = Vec::new();
        let mut more = 0_u64;
        loop {
            match self.read(Use::Sent) {
                Err(error @ DatasetError::Item { .. }) if bad.len() < BAD_SHOWN => bad.push(error),
                Err(DatasetError::Item { .. }) => more += 1,
                // the items before it matter first
                Err(_) if !bad.is_empty() => break,
                Err(error) => return Err(error),
                Ok(Read::End) if self.fitted == 0 && bad.is_empty() => return Err(self.nothing()),
                Ok(Read::End) => break,
                Ok(Read::Item(_) | Read::LeftOut) => {}
            }
            read += 1;
            if read.is_multiple_of(LOOK_EVERY) && !go_on() {
                break;
            }
        }
        if bad.len() > 1 {
            return Err(DatasetError::Items {
                name: self.name,
                shown: bad.iter().map(ToString::to_string).collect(),
                more,
            });
        }
        if let Some(only) = bad.pop() {
            return Err(only);
        }
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tally.clone())
    }

    /// The next item.
    ///
    /// # Errors
    /// If an item cannot be read, or a whole round has no suitable prompt.
    pub fn next_item(&mut self) -> Result<Item, DatasetError> {
        self.item(Use::Sent)
    }

    fn item(&mut self, used: Use) -> Result<Item, DatasetError> {
        loop {
            match self.read(used)? {
                Read::Item(item) => return Ok(*item),
                Read::LeftOut => {}
                Read::End if self.fitted == 0 => return Err(self.nothing()),
                Read::End => {
                    self.source.rewind()?;
                    self.fitted = 0;
                    self.rounds += 1;
                }
            }
        }
    }

    /// Read one item of the dataset.
    fn read(&mut self, used: Use) -> Result<Read, DatasetError> {
        let next = match used {
            // what is not made cannot be measured
            Use::PassedOver if self.filter.is_open() => self.source.pass(),
            Use::PassedOver | Use::Sent => self.source.next(),
        };
        let item = match next {
            Ok(Some(item)) => item,
            Ok(None) => return Ok(Read::End),
            Err(error @ DatasetError::Item { .. }) if self.skip_bad => {
                self.count(|tally| {
                    tally.bad += 1;
                    tally.first_bad.get_or_insert_with(|| error.to_string());
                });
                return Ok(Read::LeftOut);
            }
            Err(error) => return Err(error),
        };
        if !self.conversations && !item.later.is_empty() {
            return Err(DatasetError::Conversations {
                name: self.name.clone(),
            });
        }
        if is_blank(&item.prompt) {
            self.count(|tally| tally.blank += 1);
            return Ok(Read::LeftOut);
        }
        if !self.filter.is_open() {
            let length = self.filter.measure.length(&item.prompt)?;
            if length < self.filter.min {
                self.count(|tally| tally.short += 1);
                return Ok(Read::LeftOut);
            }
            if length > self.filter.max {
                self.count(|tally| tally.long += 1);
                return Ok(Read::LeftOut);
            }
        }
        self.fitted += 1;
        let chars = if self.conversations && self.rounds == 0 {
            item.chars()
        } else {
            0
        };
        self.count(|tally| {
            tally.taken += 1;
            tally.longest_conversation_chars = tally.longest_conversation_chars.max(chars);
        });
        Ok(Read::Item(Box::new(item)))
    }

    fn count(&self, count: impl FnOnce(&mut Tally)) {
        if self.rounds == 0 {
            count(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Whether a survey would take too long.
    #[must_use]
    pub fn is_costly(&self) -> bool {
        self.source.is_costly()
    }

    /// Skip prompts that earlier runs have used.
    ///
    /// # Errors
    /// As for [`PromptStream::next_item`].
    pub fn skip(&mut self, n: u64) -> Result<(), DatasetError> {
        if self.filter.is_open() && self.source.jump(n) {
            return Ok(());
        }
        for _ in 0..n {
            self.next_item()?;
        }
        Ok(())
    }

    /// How often the dataset has started over.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    fn nothing(&self) -> DatasetError {
        let name = self.name.clone();
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if tally.short + tally.long > 0 {
            return DatasetError::NothingFits {
                name,
                min: self.filter.min,
                max: self.filter.max,
                unit: self.filter.measure.unit(),
                short: tally.short,
                long: tally.long,
            };
        }
        if tally.blank + tally.bad > 0 {
            return DatasetError::NothingUsable {
                name,
                blank: tally.blank,
                bad: tally.bad,
                first_bad: tally.first_bad.clone(),
            };
        }
        DatasetError::Empty { name }
    }
}

/// What becomes of an item.
#[derive(Clone, Copy, Debug)]
enum Use {
    Sent,
    /// Another process sends it.
    PassedOver,
}

/// The result of reading one item.
enum Read {
    Item(Box<Item>),
    LeftOut,
    End,
}

/// Number of items between two calls of `go_on`: with 100 bytes each they take a tenth of a
/// millisecond, with 10 MB each a few seconds.
const LOOK_EVERY: u64 = 64;

/// Number of invalid items that are named.
const BAD_SHOWN: usize = 20;

/// Whether the prompt is empty. A body is the user's own business.
pub(super) fn is_blank(prompt: &Prompt) -> bool {
    match prompt {
        Prompt::Text(text) => text.trim().is_empty(),
        Prompt::Messages(messages) => messages.is_empty(),
        Prompt::TokenIds(ids) => ids.is_empty(),
        Prompt::Body(_) => false,
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
        let mut source = LineByLine::open(file.path(), false).unwrap();
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
        insta::assert_snapshot!(text, @"FILE, line 2: no string field `question`");
        let bad = file("[{\"instruction\":\"ok\"},{}]");
        let text = LongAlpaca::open(bad.path()).unwrap_err().to_string();
        insta::assert_snapshot!(text.replace(&bad.path().display().to_string(), "FILE"), @"FILE, item 2, line 1: no string field `instruction`");
        let empty = file("\n \n");
        insta::assert_snapshot!(error(stream(Box::new(LineByLine::open(empty.path(), false).unwrap()), all())), @"the dataset t is empty");
        let odd = file("a\nbb\nccccc\n");
        let filter = chars(3, 4);
        insta::assert_snapshot!(error(stream(Box::new(LineByLine::open(odd.path(), false).unwrap()), filter)), @"no prompt of the dataset t is between 3 and 4 characters long: 2 are shorter, 1 are longer");
    }

    #[test]
    fn blank_prompts_are_left_out_and_counted() {
        let file = file("{\"question\": \" \"}\n{\"question\":\"b\"}\n{\"question\":\"\"}\n");
        let source = || Box::new(OpenQa::open(file.path()).unwrap());
        assert_eq!(texts(source(), all(), 2), (vec!["b".to_owned(); 2], 1));
        let stream = PromptStream::new("t".into(), source(), all());
        let tally = stream.survey(|| true).unwrap();
        assert_eq!((tally.taken, tally.blank), (1, 2));
        let file = self::file("{\"question\": \" \"}");
        let source = Box::new(OpenQa::open(file.path()).unwrap());
        let stream = PromptStream::new("t".into(), source, all());
        insta::assert_snapshot!(error(stream), @"the dataset t has no prompt: 1 blank");
    }

    #[test]
    fn bad_items_are_passed_over_where_that_is_wanted() {
        let text =
            "{\"question\":\"a\"}\n{\"q\n{\"question\":1}\n\0\n\u{fffd}\n{\"question\":\"b\"}";
        let file = file(text);
        let open = |skip| {
            let source = Box::new(OpenQa::open(file.path()).unwrap());
            PromptStream::new("t".into(), source, all()).skipping_bad(skip)
        };
        let mut stream = open(true);
        let tally = stream.tally();
        for _ in 0..2 {
            assert_eq!(stream.next_item().unwrap().prompt.text(), "a");
            assert_eq!(stream.next_item().unwrap().prompt.text(), "b");
        }
        // for one round
        let tally = tally.lock().unwrap().clone();
        assert_eq!((tally.taken, tally.bad), (2, 4));
        let first = tally.first_bad.unwrap();
        assert!(
            first.ends_with("line 2: not JSON: EOF while parsing a string at column 3"),
            "{first}"
        );
        assert!(open(false).survey(|| true).is_err());
        assert_eq!(open(true).survey(|| true).unwrap().bad, 4);
        // a truncated list has no items after the cut, so that is not a bad item
        let cut = self::file("[{\"question\":\"a\"}, {\"question");
        let source = Box::new(OpenQa::open(cut.path()).unwrap());
        let stream = PromptStream::new("t".into(), source, all()).skipping_bad(true);
        assert!(stream.survey(|| true).is_err());
        let bad = self::file("[1, 2]");
        let source = Box::new(OpenQa::open(bad.path()).unwrap());
        let stream = PromptStream::new("t".into(), source, all()).skipping_bad(true);
        let text = error(stream).replace(&bad.path().display().to_string(), "FILE");
        insta::assert_snapshot!(text, @"the dataset t has no prompt: 2 that cannot be read, the first: FILE, item 1, line 1: no string field `question`");
    }

    #[test]
    fn a_survey_ends_when_nobody_wants_it() {
        let file = file(&"a\n".repeat(1000));
        let source = Box::new(LineByLine::open(file.path(), false).unwrap());
        let stream = PromptStream::new("t".into(), source, all());
        assert!(stream.survey(|| false).unwrap().taken < 1000);
    }

    #[test]
    fn lengths_are_characters() {
        let file = file("你好\nabc\n");
        let filter = chars(0, 2);
        let source = Box::new(LineByLine::open(file.path(), false).unwrap());
        assert_eq!(texts(source, filter, 2).0, ["你好", "你好"]);
    }

    /// One of several processes reads on where the others take their prompts: what it takes is what
    /// one process would, round by round.
    #[test]
    fn what_is_passed_over_counts_like_what_is_taken() {
        let file = file(
            "{\"question\":\"a\"}\n{\"question\":\" \"}\n{\"question\":\"b\"}\n{\"q\n{\"question\":\"ccc\"}\n",
        );
        for filter in [all(), chars(0, 2)] {
            let open = || {
                let source = Box::new(OpenQa::open(file.path()).unwrap());
                PromptStream::new("t".into(), source, filter.clone()).skipping_bad(true)
            };
            let mut whole = open();
            let whole: Vec<_> = (0..20)
                .map(|_| (whole.next_item().unwrap(), whole.rounds()))
                .collect();
            for of in 1..5 {
                for own in 0..of {
                    let mut stream = open();
                    for (k, want) in whole.iter().enumerate() {
                        if k % of == own {
                            let item = stream.next_item().unwrap();
                            assert_eq!((item, stream.rounds()), *want);
                        } else {
                            stream.pass_item().unwrap();
                        }
                    }
                }
            }
        }
    }
}
