//! Owns queries with documents to rank: from a file, or made of random words.
//!
//! It must not know how an API names them.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::item::{Wrong, value_without_nul};
use super::random::RandomPrompts;
use super::records::Records;
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

/// The fields that documents may be in, by precedence.
const DOCUMENTS: [&str; 3] = ["documents", "passages", "texts"];

/// `rerank`: each item of a file is an object with a query and its documents.
#[derive(Debug)]
pub struct RerankFile {
    records: Records,
}

impl RerankFile {
    /// Open the file: JSON Lines, or one list.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        Ok(Self {
            records: Records::open(path)?,
        })
    }
}

impl PromptSource for RerankFile {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let read = self.records.next()?.map(ranking_in);
        let read = read
            .transpose()
            .map_err(|wrong| self.records.error(wrong))?;
        Ok(read.map(Item::from))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.records.rewind()
    }
}

fn ranking_in(item: &[u8]) -> Result<Prompt, Wrong> {
    let value: Value = serde_json::from_slice(item)?;
    value_without_nul(item, &value)?;
    let said = |reason: &str| Wrong::Said(reason.to_owned());
    let Value::Object(mut fields) = value else {
        return Err(said("it is not an object with `query` and `documents`"));
    };
    let query = match fields.remove("query") {
        Some(Value::String(query)) if !query.trim().is_empty() => query,
        _ => return Err(said("it has no text in `query`")),
    };
    let documents = DOCUMENTS.iter().find_map(|name| fields.remove(*name));
    let documents = match documents {
        Some(Value::Array(documents)) if !documents.is_empty() => documents,
        _ => {
            return Err(said(
                "it has no list of texts in `documents`, `passages` or `texts`",
            ));
        }
    };
    let is_text = |document: &Value| document.is_string() || document["text"].is_string();
    if !documents.iter().all(is_text) {
        return Err(said(
            "a document is neither a text nor an object with `text`",
        ));
    }
    Ok(ranking(query, documents))
}

fn ranking(query: String, documents: Vec<Value>) -> Prompt {
    let mut body = Map::new();
    body.insert("query".to_owned(), query.into());
    body.insert("documents".to_owned(), documents.into());
    Prompt::Body(body)
}

/// How many documents a random query has, and how long they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomDocuments {
    /// Documents of each query.
    pub count: u64,
    /// Their length over that of the query.
    pub length_ratio: f64,
}

/// `random_rerank`: queries of random length, and documents whose length is a multiple of it.
#[derive(Debug)]
pub struct RandomRerank {
    prompts: RandomPrompts,
    documents: RandomDocuments,
    next: u64,
}

impl RandomRerank {
    /// Queries from index `start` on.
    #[must_use]
    pub fn new(prompts: RandomPrompts, documents: RandomDocuments, start: u64) -> Self {
        Self {
            prompts,
            documents,
            next: start,
        }
    }
}

impl PromptSource for RandomRerank {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let RandomDocuments {
            count,
            length_ratio,
        } = self.documents;
        let (query, documents) = self.prompts.with_documents(self.next, count, length_ratio);
        self.next += 1;
        let documents = documents.into_iter().map(|text| json!(text));
        Ok(Some(ranking(query, documents.collect()).into()))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        Ok(())
    }

    fn jump(&mut self, n: u64) -> bool {
        self.next += n;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_three_names() {
        for item in [
            r#"{"query":"q","documents":["a",{"text":"b"}]}"#,
            r#"{"query":"q","passages":["a",{"text":"b"}]}"#,
            r#"{"query":"q","texts":["a",{"text":"b"}],"label":1}"#,
        ] {
            let prompt = ranking_in(item.as_bytes()).unwrap();
            assert_eq!(
                prompt,
                ranking("q".to_owned(), vec![json!("a"), json!({"text": "b"})])
            );
        }
    }

    #[test]
    fn what_cannot_be_ranked_says_why() {
        for (item, reason) in [
            ("[1]", "it is not an object with `query` and `documents`"),
            (r#"{"documents":["a"]}"#, "it has no text in `query`"),
            (
                r#"{"query":" ","documents":["a"]}"#,
                "it has no text in `query`",
            ),
            (
                r#"{"query":"q","documents":[]}"#,
                "it has no list of texts in `documents`, `passages` or `texts`",
            ),
            (
                r#"{"query":"q","documents":["a",1]}"#,
                "a document is neither a text nor an object with `text`",
            ),
        ] {
            match ranking_in(item.as_bytes()) {
                Err(Wrong::Said(said)) => assert_eq!(said, reason),
                other => panic!("{item}: {other:?}"),
            }
        }
    }
}
