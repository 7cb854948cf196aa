//! Owns the texts of embeddings: files of texts, or of objects with one, and their grouping into
//! requests of several texts.
//!
//! It must not know how an API names them.

use std::path::Path;

use serde_json::{Map, Value};

use super::item::{Wrong, text_prompt};
use super::line_by_line::TextLines;
use super::records::Records;
use super::stream::is_blank;
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

/// The fields of an object that its text may be in, by precedence.
const FIELDS: [&str; 4] = ["text", "input", "sentence", "content"];

/// `embedding`: each item of a file is a text, or an object with one.
#[derive(Debug)]
pub struct EmbeddingTexts {
    records: Records,
    /// A line that is not JSON is a text.
    has_plain_lines: bool,
}

impl EmbeddingTexts {
    /// Open the file: `.txt` has a text per line, `.jsonl` JSON on each, `.json` a list.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Box<dyn PromptSource>, DatasetError> {
        let end = path.extension().and_then(|end| end.to_str());
        let end = end.unwrap_or_default().to_ascii_lowercase();
        if end == "txt" {
            return Ok(Box::new(TextLines::open(path)?));
        }
        Ok(Box::new(Self {
            records: Records::open(path)?,
            has_plain_lines: !["json", "jsonl", "ndjson"].contains(&end.as_str()),
        }))
    }
}

impl PromptSource for EmbeddingTexts {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let has_plain_lines = self.has_plain_lines;
        let read = self.records.next()?;
        let read = read.map(|item| text_in(item, has_plain_lines));
        let read = read
            .transpose()
            .map_err(|wrong| self.records.error(wrong))?;
        Ok(read.map(Item::from))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.records.rewind()
    }
}

fn text_in(item: &[u8], may_be_plain: bool) -> Result<Prompt, Wrong> {
    let is_json = matches!(item.trim_ascii_start().first(), Some(b'{' | b'"'));
    if may_be_plain && !is_json {
        return Ok(text_prompt(&String::from_utf8_lossy(item))?);
    }
    let text = match serde_json::from_slice(item)? {
        Value::String(text) => Some(text),
        Value::Object(mut fields) => FIELDS.iter().find_map(|name| match fields.remove(*name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }),
        _ => None,
    };
    let text = text.ok_or_else(|| {
        "it is neither a text nor an object with one in `text`, `input`, `sentence` or `content`"
            .to_owned()
    })?;
    Ok(text_prompt(&text)?)
}

/// Several texts of another dataset in each request.
#[derive(Debug)]
pub struct Batches {
    source: Box<dyn PromptSource>,
    size: usize,
    /// Those of the next request, and the tokens that they were to have.
    texts: Vec<Value>,
    asked_tokens: Option<u64>,
}

impl Batches {
    /// As many texts in each request; the last one of a dataset may have fewer.
    #[must_use]
    pub fn new(source: Box<dyn PromptSource>, size: usize) -> Self {
        Self {
            source,
            size: size.max(1),
            texts: Vec::new(),
            asked_tokens: Some(0),
        }
    }

    fn take(&mut self) -> Option<Item> {
        let texts = std::mem::take(&mut self.texts);
        let asked_tokens = self.asked_tokens.replace(0);
        if texts.is_empty() {
            return None;
        }
        let mut body = Map::new();
        body.insert("input".to_owned(), texts.into());
        Some(Item {
            asked_tokens,
            ..Item::from(Prompt::Body(body))
        })
    }
}

impl PromptSource for Batches {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        while self.texts.len() < self.size {
            let Some(item) = self.source.next()? else {
                break;
            };
            if is_blank(&item.prompt) {
                continue;
            }
            self.asked_tokens = self
                .asked_tokens
                .zip(item.asked_tokens)
                .map(|(sum, tokens)| sum + tokens);
            self.texts.push(match item.prompt {
                Prompt::TokenIds(ids) => ids.into(),
                prompt => prompt.text().into(),
            });
        }
        Ok(self.take())
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.take();
        self.source.rewind()
    }

    fn is_costly(&self) -> bool {
        self.source.is_costly()
    }

    fn jump(&mut self, n: u64) -> bool {
        self.source.jump(n.saturating_mul(self.size as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn texts(name: &str, text: &str) -> Vec<String> {
        let (_folder, path) = file(name, text);
        let mut source = EmbeddingTexts::open(&path).unwrap();
        let next = std::iter::from_fn(|| source.next().unwrap());
        next.map(|item| item.prompt.text()).collect()
    }

    #[test]
    fn texts_are_lines_strings_or_fields() {
        let lines = "{\"text\": \"a\"}\n\"b\"\n{\"content\": \"d\", \"sentence\": \"c\"}\n{\"input\":\"e\"}\n";
        assert_eq!(texts("x.jsonl", lines), ["a", "b", "c", "e"]);
        assert_eq!(texts("x.json", r#"["a", {"input": "b"}]"#), ["a", "b"]);
        assert_eq!(
            texts("x.txt", "a\n{\"text\": \"b\"}\n"),
            ["a", "{\"text\": \"b\"}"]
        );
        assert_eq!(texts("x.list", "a\n{\"text\": \"b\"}\n"), ["a", "b"]);
    }

    #[test]
    fn what_has_no_text_is_named_with_its_line() {
        let (_folder, path) = file("x.jsonl", "\"a\"\n{\"title\": \"b\"}\nc\n");
        let mut source = EmbeddingTexts::open(&path).unwrap();
        source.next().unwrap();
        let error = source.next().unwrap_err().to_string();
        assert!(error.ends_with("line 2: it is neither a text nor an object with one in `text`, `input`, `sentence` or `content`"), "{error}");
        let error = source.next().unwrap_err().to_string();
        assert!(error.contains("line 3: not JSON"), "{error}");
    }

    #[test]
    fn batches_are_full_but_for_the_last() {
        let (_folder, path) = file("x.txt", "a\n\nb\nc\n");
        let mut batches = Batches::new(EmbeddingTexts::open(&path).unwrap(), 2);
        let mut next = || batches.next().unwrap().map(|item| item.prompt);
        let body = |texts: Value| {
            let Value::Object(body) = json!({"input": texts}) else {
                panic!("an object")
            };
            Some(Prompt::Body(body))
        };
        assert_eq!(next(), body(json!(["a", "b"])));
        assert_eq!(next(), body(json!(["c"])));
        assert_eq!(next(), None);
        batches.rewind().unwrap();
        assert_eq!(
            batches.next().unwrap().unwrap().prompt,
            body(json!(["a", "b"])).unwrap()
        );
    }
}
