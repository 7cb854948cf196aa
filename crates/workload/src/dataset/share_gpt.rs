//! Owns `share_gpt_zh` and `share_gpt_en`: conversations as JSON Lines or as one JSON list, each
//! under `conversation` or `conversations`. A turn is a pair of `human` and `assistant` texts
//! (`swift/sharegpt`), or a single text, `value`, with its speaker, `from` (the more common files).
//! One request carries a whole conversation up to its last question.

use std::path::Path;

use serde_json::{Value, json};

use super::file_list::file_or_named;
use super::item::{Wrong, value_without_nul};
use super::records::Records;
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

/// Which of the two files on the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareGptLanguage {
    /// `share_gpt_zh`.
    Chinese,
    /// `share_gpt_en`.
    English,
}

impl ShareGptLanguage {
    /// The file name on the hub.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Chinese => "common_zh_70k.jsonl",
            Self::English => "common_en_70k.jsonl",
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct ShareGpt {
    records: Records,
}

impl ShareGpt {
    /// Open a file, or in a directory the hub's file for the language.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, language: ShareGptLanguage) -> Result<Self, DatasetError> {
        let path = file_or_named(path, language.file_name())?;
        Ok(Self {
            records: Records::open(&path)?,
        })
    }
}

impl PromptSource for ShareGpt {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let item = self.records.next()?;
        let read = item.map(messages).transpose();
        let read = read.map_err(|wrong| self.records.error(wrong))?;
        // without messages it is blank: there is no question
        Ok(read.map(|messages| Prompt::Messages(messages).into()))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.records.rewind()
    }
}

pub(super) fn messages(item: &[u8]) -> Result<Vec<Value>, Wrong> {
    let value: Value = serde_json::from_slice(item)?;
    value_without_nul(item, &value)?;
    let turns = ["conversation", "conversations"]
        .into_iter()
        .find_map(|name| Some((name, value.get(name)?.as_array()?)));
    let Some((name, turns)) = turns else {
        let reason = "no list `conversation` or `conversations`";
        return Err(reason.to_owned().into());
    };
    let mut messages = Vec::with_capacity(turns.len() * 2);
    // a reply to an empty question is dropped with the question
    let mut asked = false;
    for (turn, number) in turns.iter().zip(1..) {
        for (role, text) in
            said(turn).map_err(|reason| format!("turn {number} of `{name}` {reason}"))?
        {
            let text = text.trim();
            match role {
                "system" => {}
                "user" => asked = !text.is_empty(),
                _ if asked => {}
                _ => continue,
            }
            if !text.is_empty() {
                messages.push(json!({"role": role, "content": text}));
            }
        }
    }
    // the server is to reply, so the last message is the user's
    while messages.last().is_some_and(|m| m["role"] != "user") {
        messages.pop();
    }
    Ok(messages)
}

/// The texts of a turn with their roles.
fn said(turn: &Value) -> Result<Vec<(&'static str, &str)>, String> {
    // a missing text counts as empty
    let text = |field: &str| match turn.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(format!("has a `{field}` that is not a string")),
    };
    let has = |field: &str| turn.get(field).is_some();
    if has("from") {
        let from = text("from")?;
        let role = match from.to_ascii_lowercase().as_str() {
            "human" | "user" => "user",
            "gpt" | "assistant" | "chatgpt" | "bing" | "bard" | "model" => "assistant",
            "system" => "system",
            _ => {
                return Err(format!(
                    "is from {from:?}, which is neither human, gpt nor system"
                ));
            }
        };
        return Ok(vec![(role, text("value")?)]);
    }
    if turn.is_object() && (has("human") || has("assistant") || !has("value")) {
        return Ok(vec![
            ("user", text("human")?),
            ("assistant", text("assistant")?),
        ]);
    }
    Err("is not an object with `human` and `assistant`, or `from` and `value`".to_owned())
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

    /// First letters of the roles, and the texts.
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
            // conversations without a question are blank
            assert_eq!(all, ["u:a a:b u:c", "u:a a:b u:c", "", "", "u:e"]);
            source.rewind().unwrap();
        }
    }

    #[test]
    fn every_form_gives_the_same_conversations() {
        let human = r#"[{"human": "a", "assistant": "b"}, {"human": "c", "assistant": "d"}]"#;
        let from = r#"[{"from": "gpt", "value": "left over"}, {"from": "human", "value": "a"},
            {"from": "gpt", "value": "b"}, {"from": "user", "value": "c"}, {"from": "gpt", "value": "d"}]"#;
        let from = from.replace('\n', "");
        for turns in [human, &from] {
            for name in ["conversation", "conversations"] {
                let item = format!("{{\"id\": \"x\", \"{name}\": {turns}}}");
                for file in [
                    format!("{item}\n{item}\n"),
                    format!("[{item},\n{item}]"),
                    format!("\u{feff}[\n  {item},\n  {item}\n]\n"),
                ] {
                    let folder = written(&file);
                    let mut source = open(&folder);
                    for _ in 0..2 {
                        assert_eq!(
                            told(&source.next().unwrap().unwrap()),
                            "u:a a:b u:c",
                            "{file}"
                        );
                    }
                    assert!(source.next().unwrap().is_none());
                }
            }
        }
        let system = r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}]}"#;
        let folder = written(system);
        assert_eq!(told(&open(&folder).next().unwrap().unwrap()), "s:s u:a");
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let error = |line: &str| {
            let folder = written(&format!("\n{line}\n"));
            let error = open(&folder).next().unwrap_err().to_string();
            error.replace(&folder.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(error(r#"{"turns":[]}"#), @"DIR/common_en_70k.jsonl, line 2: no list `conversation` or `conversations`");
        insta::assert_snapshot!(error(r#"{"conversation":[{"human":1}]}"#), @"DIR/common_en_70k.jsonl, line 2: turn 1 of `conversation` has a `human` that is not a string");
        insta::assert_snapshot!(error(r#"{"conversation":["a"]}"#), @"DIR/common_en_70k.jsonl, line 2: turn 1 of `conversation` is not an object with `human` and `assistant`, or `from` and `value`");
        insta::assert_snapshot!(error(r#"{"conversations":[{"from":"human","value":"a"},{"from":"tool","value":"b"}]}"#), @r#"DIR/common_en_70k.jsonl, line 2: turn 2 of `conversations` is from "tool", which is neither human, gpt nor system"#);
        insta::assert_snapshot!(error(r#"{"conversations":[{"from":"human","value":["a"]}]}"#), @"DIR/common_en_70k.jsonl, line 2: turn 1 of `conversations` has a `value` that is not a string");
        insta::assert_snapshot!(error("{"), @"DIR/common_en_70k.jsonl, line 2: not JSON: EOF while parsing an object at column 1");
        insta::assert_snapshot!(error(r#"{"conversation":[{"human":"a\u0000"}]}"#), @"DIR/common_en_70k.jsonl, line 2: NUL in a prompt: the file is damaged or not in UTF-8");
        let folder = written("");
        let error = ShareGpt::open(folder.path(), ShareGptLanguage::Chinese).unwrap_err();
        let error = error.to_string();
        insta::assert_snapshot!(error.replace(&folder.path().display().to_string(), "DIR"), @"cannot read the dataset DIR");
    }

    #[test]
    fn a_folder_without_the_file_says_what_was_looked_for() {
        let folder = written("");
        let error = || {
            let error = ShareGpt::open(folder.path(), ShareGptLanguage::Chinese).unwrap_err();
            let source = std::error::Error::source(&error).unwrap();
            format!("{error}: {source}").replace(&folder.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(error(), @"cannot read the dataset DIR: the folder contains no `common_zh_70k.jsonl`; for a file with another name, give the file instead of the folder");
        // an existing file that cannot be opened is not reported as missing
        let link = folder.path().join("common_zh_70k.jsonl");
        std::os::unix::fs::symlink("common_zh_70k.jsonl", &link).unwrap();
        assert!(
            error().starts_with("cannot read the dataset DIR/common_zh_70k.jsonl: Too many levels"),
            "{}",
            error()
        );
    }
}
