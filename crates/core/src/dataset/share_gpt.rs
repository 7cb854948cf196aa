//! Owns `share_gpt_zh` and `share_gpt_en`: JSON Lines whose `conversation` is a
//! list of turns, each a `human` and an `assistant` text (`swift/sharegpt`).
//! One request carries a whole conversation up to its last question.

use std::path::Path;

use serde_json::{Value, json};

use super::file_list::file_or_named;
use super::line_by_line::Lines;
use super::{DatasetError, Item, Prompt, PromptSource};

/// Which of the hub's two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareGptLanguage {
    /// `share_gpt_zh`.
    Chinese,
    /// `share_gpt_en`.
    English,
}

impl ShareGptLanguage {
    /// The file's name on the hub.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Chinese => "common_zh_70k.jsonl",
            Self::English => "common_en_70k.jsonl",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct ShareGpt {
    lines: Lines,
}

impl ShareGpt {
    /// Open a file, or in a directory the one that the hub has for the language.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, language: ShareGptLanguage) -> Result<Self, DatasetError> {
        let path = file_or_named(path, language.file_name())?;
        Ok(Self {
            lines: Lines::open(&path)?,
        })
    }
}

impl PromptSource for ShareGpt {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        loop {
            let Some(line) = self.lines.next()? else {
                return Ok(None);
            };
            match messages(line) {
                // a conversation in which nobody asks anything is no prompt
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => return Ok(Some(Prompt::Messages(messages).into())),
                Err(reason) => return Err(self.lines.error(reason)),
            }
        }
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.lines.rewind()
    }
}

fn messages(line: &str) -> Result<Vec<Value>, String> {
    let item: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    let turns = item
        .get("conversation")
        .and_then(Value::as_array)
        .ok_or("no list `conversation`")?;
    let mut messages = Vec::with_capacity(turns.len() * 2);
    for (turn, number) in turns.iter().zip(1..) {
        let human = text(turn, number, "human")?;
        let assistant = text(turn, number, "assistant")?;
        if human.is_empty() {
            continue;
        }
        messages.push(json!({"role": "user", "content": human}));
        if !assistant.is_empty() {
            messages.push(json!({"role": "assistant", "content": assistant}));
        }
    }
    // the server is to answer: the last word is the user's
    if messages.last().is_some_and(|m| m["role"] == "assistant") {
        messages.pop();
    }
    Ok(messages)
}

/// A text of a turn; one that is missing is empty.
fn text<'a>(turn: &'a Value, number: u32, field: &str) -> Result<&'a str, String> {
    if !turn.is_object() {
        return Err(format!(
            "turn {number} of `conversation` is not an object with `human` and `assistant`"
        ));
    }
    match turn.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.trim()),
        Some(_) => Err(format!(
            "`{field}` in turn {number} of `conversation` is not a text"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("common_en_70k.jsonl"), text).unwrap();
        folder
    }

    fn open(folder: &tempfile::TempDir) -> ShareGpt {
        ShareGpt::open(folder.path(), ShareGptLanguage::English).unwrap()
    }

    /// The roles' first letters and the texts.
    fn told(item: &Item) -> String {
        let Prompt::Messages(messages) = &item.prompt else {
            panic!("no messages")
        };
        let of = |m: &Value| {
            let role = m["role"].as_str().unwrap();
            format!("{}:{}", &role[..1], m["content"].as_str().unwrap())
        };
        messages.iter().map(of).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_conversation_is_sent_up_to_its_last_question() {
        let folder = written(concat!(
            r#"{"conversation_id":"1","conversation":[{"human":" a ","assistant":"b\n"},{"human":"c","assistant":"d"}]}"#,
            "\n",
            r#"{"conversation":[{"human":"a","assistant":"b"},{"human":" ","assistant":"x"},{"human":"c"}]}"#,
            "\n\n",
            r#"{"conversation":[]}"#,
            "\n",
            r#"{"conversation":[{"human":"","assistant":"b"}]}"#,
            "\n",
            r#"{"conversation":[{"human":"e","assistant":"f"}]}"#,
        ));
        let mut source = open(&folder);
        for _ in 0..2 {
            let mut all = Vec::new();
            while let Some(item) = source.next().unwrap() {
                all.push(told(&item));
            }
            assert_eq!(all, ["u:a a:b u:c", "u:a a:b u:c", "u:e"]);
            source.rewind().unwrap();
        }
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let error = |line: &str| {
            let folder = written(&format!("\n{line}\n"));
            let error = open(&folder).next().unwrap_err().to_string();
            error.replace(&folder.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(error(r#"{"conversations":[]}"#), @"DIR/common_en_70k.jsonl, line 2: no list `conversation`");
        insta::assert_snapshot!(error(r#"{"conversation":[{"human":1}]}"#), @"DIR/common_en_70k.jsonl, line 2: `human` in turn 1 of `conversation` is not a text");
        insta::assert_snapshot!(error(r#"{"conversation":["a"]}"#), @"DIR/common_en_70k.jsonl, line 2: turn 1 of `conversation` is not an object with `human` and `assistant`");
        insta::assert_snapshot!(error("{"), @"DIR/common_en_70k.jsonl, line 2: not JSON: EOF while parsing an object at line 1 column 1");
        let folder = written("");
        let error = ShareGpt::open(folder.path(), ShareGptLanguage::Chinese).unwrap_err();
        let error = error.to_string();
        insta::assert_snapshot!(error.replace(&folder.path().display().to_string(), "DIR"), @"cannot read the data set DIR");
    }

    #[test]
    fn a_folder_without_the_file_says_what_was_looked_for() {
        let folder = written("");
        let error = || {
            let error = ShareGpt::open(folder.path(), ShareGptLanguage::Chinese).unwrap_err();
            let source = std::error::Error::source(&error).unwrap();
            format!("{error}: {source}").replace(&folder.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(error(), @"cannot read the data set DIR: the folder holds no `common_zh_70k.jsonl`; give a file of another name itself, not its folder");
        // what is there, but cannot be opened, is not called missing
        let link = folder.path().join("common_zh_70k.jsonl");
        std::os::unix::fs::symlink("common_zh_70k.jsonl", &link).unwrap();
        assert!(
            error()
                .starts_with("cannot read the data set DIR/common_zh_70k.jsonl: Too many levels"),
            "{}",
            error()
        );
    }
}
