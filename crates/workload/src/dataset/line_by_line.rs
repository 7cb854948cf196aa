//! Owns line-based files: `custom`, in which every line is a text, and `line_by_line`, in which it
//! may also be a JSON list of messages or a JSON object that is a request body. A file that is a
//! single JSON list also works: its items are treated like lines.

use std::path::Path;

use serde_json::Value;

use super::item::{Wrong, is_message, text_prompt, value_without_nul};
use super::json_list::JsonList;
use super::lines::Lines;
use super::records::{Records, beginning};
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

/// `custom`: a text file with one prompt per line.
#[derive(Debug)]
pub struct TextLines {
    lines: Lines,
}

impl TextLines {
    /// Open the file.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        Ok(Self {
            lines: Lines::open(path)?,
        })
    }
}

impl PromptSource for TextLines {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let line = self.lines.next()?;
        Ok(line.map(|line| Prompt::Text(line.trim().to_owned()).into()))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.lines.rewind()
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct LineByLine {
    records: Records,
    any_body: bool,
    /// Bodies are an error.
    no_body: bool,
}

impl LineByLine {
    /// Open the file. With `any_body`, a body may be any object, as custom APIs require; otherwise
    /// it must have a prompt.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, any_body: bool) -> Result<Self, DatasetError> {
        let lines = Lines::open(path)?;
        let records = match whole_list(path)? {
            Some(list) => Records::List(list),
            None => Records::Lines(lines),
        };
        Ok(Self {
            records,
            any_body,
            no_body: false,
        })
    }

    /// The same, for prompts that are given a length: bodies have none.
    #[must_use]
    pub fn without_bodies(mut self, are_refused: bool) -> Self {
        self.no_body = are_refused;
        self
    }
}

/// The file, if it is a single list of prompts. Lines can also be lists: then the first line is a
/// list of messages.
pub(super) fn whole_list(path: &Path) -> Result<Option<JsonList>, DatasetError> {
    let head = beginning(path)?;
    let Some(inside) = head.strip_prefix(b"[") else {
        return Ok(None);
    };
    // `[draft] text` is a text
    if !matches!(inside.trim_ascii_start().first(), Some(b'{' | b'[' | b'"')) {
        return Ok(None);
    }
    let mut list = JsonList::open(path)?;
    let Ok(Some(first)) = list.next() else {
        return Ok(None);
    };
    match serde_json::from_slice::<Value>(first) {
        Ok(first) if !is_message(&first) => {
            list.rewind()?;
            Ok(Some(list))
        }
        _ => Ok(None),
    }
}

impl PromptSource for LineByLine {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let any_body = self.any_body;
        let read = match &mut self.records {
            Records::Lines(lines) => lines.next()?.map(|line| of_line(line, any_body)),
            Records::List(list) => list.next()?.map(|item| of_item(item, any_body)),
        };
        let no_body = self.no_body;
        let read = read.map(|read| match read {
            Ok(Prompt::Body(_)) if no_body => Err(Wrong::Said(
                "a request body cannot be given a length (`target_input_len`)".to_owned(),
            )),
            read => read,
        });
        let read = read
            .transpose()
            .map_err(|wrong| self.records.error(wrong))?;
        Ok(read.map(Item::from))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.records.rewind()
    }
}

/// Text that merely starts like JSON is a prompt, and so is a number; what starts like a body or
/// like messages must be one.
fn of_line(line: &str, any_body: bool) -> Result<Prompt, Wrong> {
    let start = line.trim_ascii_start().as_bytes();
    let meant = match start {
        [b'{', ..] | [b'['] => true,
        [b'[', rest @ ..] => rest.trim_ascii_start().first() == Some(&b'{'),
        _ => return Ok(Prompt::Text(line.to_owned())),
    };
    match serde_json::from_str(line) {
        Ok(value) => prompt_of(line.as_bytes(), value, any_body),
        Err(error) if meant => Err(error.into()),
        Err(_) => Ok(Prompt::Text(line.to_owned())),
    }
}

fn of_item(item: &[u8], any_body: bool) -> Result<Prompt, Wrong> {
    prompt_of(item, serde_json::from_slice(item)?, any_body)
}

/// The prompt in a JSON value.
fn prompt_of(source: &[u8], value: Value, any_body: bool) -> Result<Prompt, Wrong> {
    value_without_nul(source, &value)?;
    match value {
        Value::Object(body) => {
            let asks = |field: &str| body.get(field).is_some_and(|value| !value.is_null());
            if any_body || ["messages", "prompt", "input"].into_iter().any(asks) {
                return Ok(Prompt::Body(body));
            }
            let reason = "the body has neither `messages` nor `prompt` nor `input`";
            Err(reason.to_owned().into())
        }
        Value::Array(messages) if !messages.is_empty() && messages.iter().all(is_message) => {
            Ok(Prompt::Messages(messages))
        }
        Value::String(text) => Ok(text_prompt(&text)?),
        Value::Array(_) => {
            let reason = "a list must contain messages: objects with `role` and `content`";
            Err(reason.to_owned().into())
        }
        _ => {
            let reason = "it is neither a string, nor a list of messages, nor a body";
            Err(reason.to_owned().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(bytes: &[u8]) -> Vec<Prompt> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut source = LineByLine::open(file.path(), false).unwrap();
        let mut rounds = [Vec::new(), Vec::new()];
        for round in &mut rounds {
            while let Some(item) = source.next().unwrap() {
                round.push(item.prompt);
            }
            source.rewind().unwrap();
        }
        assert_eq!(rounds[0], rounds[1]);
        rounds[0].clone()
    }

    fn text(text: &str) -> Prompt {
        Prompt::Text(text.to_owned())
    }

    #[test]
    fn line_ends_marks_and_blanks_belong_to_no_prompt() {
        for file in [
            "a\nb\n",
            "a\r\nb",
            "\u{feff}a\n\n \t\r\nb\r\n\r\n",
            "\u{feff}\r\na\nb",
        ] {
            assert_eq!(prompts(file.as_bytes()), [text("a"), text("b")], "{file:?}");
        }
        // a byte order mark only counts at the start
        assert_eq!(
            prompts("  a \n\u{feff}b".as_bytes()),
            [text("  a"), text("\u{feff}b")]
        );
        assert!(prompts("\u{feff}".as_bytes()).is_empty());
        assert!(prompts(b"").is_empty());
    }

    #[test]
    fn json_behind_a_mark_or_blanks_is_json() {
        let file = "\u{feff}{\"prompt\":\"a\"}\r\n  [{\"role\":\"user\",\"content\":\"b\"}] \n";
        let prompts = prompts(file.as_bytes());
        assert!(matches!(&prompts[0], Prompt::Body(body) if body["prompt"] == "a"));
        assert!(matches!(&prompts[1], Prompt::Messages(all) if all[0]["content"] == "b"));
        assert_eq!(prompts.len(), 2);
    }

    #[test]
    fn a_line_may_be_long() {
        let long = "长".repeat(10 << 20);
        let file = format!("{long}\n{{\"prompt\":\"{long}\"}}");
        let prompts = prompts(file.as_bytes());
        assert_eq!(prompts[0], text(&long));
        assert!(matches!(&prompts[1], Prompt::Body(body) if body["prompt"] == long.as_str()));
    }

    #[test]
    fn one_list_is_a_data_set_too() {
        for (file, n) in [
            ("[\"a\",\n \" b \"]", 2),
            (
                "\u{feff}[\n  {\"prompt\": \"a\"},\n  {\"messages\": []}\n]\n",
                2,
            ),
            ("[[{\"role\":\"user\",\"content\":\"a\"}],\n\"b\"]", 2),
            // one list per line
            (
                "[{\"role\":\"user\",\"content\":\"a\"}, {\"role\":\"user\"}]",
                1,
            ),
        ] {
            assert_eq!(prompts(file.as_bytes()).len(), n, "{file}");
        }
        assert_eq!(prompts(b"[\"a\", \" b \"]"), [text("a"), text("b")]);
        assert_eq!(prompts(b"[draft] \"x"), [text("[draft] \"x")]);
        assert_eq!(prompts(b"[\"a\"] is a list"), [text("[\"a\"] is a list")]);
    }

    #[test]
    fn a_body_of_an_api_of_ones_own_may_be_anything() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"query\": 1}").unwrap();
        let mut source = LineByLine::open(file.path(), true).unwrap();
        let item = source.next().unwrap().unwrap();
        assert!(matches!(item.prompt, Prompt::Body(body) if body["query"] == 1));
    }

    #[test]
    fn lines_of_texts_are_texts_whatever_they_look_like() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff} {\"a\": 1}\r\n\n[{ \nb").unwrap();
        let mut source = TextLines::open(file.path()).unwrap();
        for _ in 0..2 {
            let mut all = Vec::new();
            while let Some(item) = source.next().unwrap() {
                all.push(item.prompt);
            }
            assert_eq!(all, [text("{\"a\": 1}"), text("[{"), text("b")]);
            source.rewind().unwrap();
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let error = |bytes: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            let mut source = LineByLine::open(file.path(), false).unwrap();
            let error = source.next().unwrap_err().to_string();
            error.replace(&file.path().display().to_string(), "FILE")
        };
        insta::assert_snapshot!(error(b"\n[]"), @"FILE, line 2: a list must contain messages: objects with `role` and `content`");
        insta::assert_snapshot!(error(b"[[\"a\"]]"), @"FILE, item 1, line 1: a list must contain messages: objects with `role` and `content`");
        insta::assert_snapshot!(error(b"[[], 1]"), @"FILE, item 1, line 1: a list must contain messages: objects with `role` and `content`");
        insta::assert_snapshot!(error(b"{\"messages\": [], \"n\": 3,}"), @"FILE, line 1: not JSON: trailing comma at column 25");
        insta::assert_snapshot!(error(b"[{\"role\": \"user\", \"content\": \"a"), @"FILE, line 1: not JSON: EOF while parsing a string at column 31");
        insta::assert_snapshot!(error(b"[\n{\"role\": \"user\"}\n]"), @"FILE, line 1: not JSON: EOF while parsing a list at column 1");
        insta::assert_snapshot!(error(b"{\"n\": 3, \"prompt\": null}"), @"FILE, line 1: the body has neither `messages` nor `prompt` nor `input`");
        insta::assert_snapshot!(error(b"a\0b"), @"FILE, line 1: NUL in a prompt: the file is damaged or not in UTF-8");
        insta::assert_snapshot!(error(br#"{"prompt": "a\u0000"}"#), @"FILE, line 1: NUL in a prompt: the file is damaged or not in UTF-8");
        insta::assert_snapshot!(error(b"\r\n\xff"), @"FILE, line 2: not UTF-8: invalid utf-8 sequence of 1 bytes from index 0");
        let folder = LineByLine::open(&std::env::temp_dir(), false).unwrap_err();
        assert!(folder.to_string().starts_with("cannot read the dataset"));
    }
}
