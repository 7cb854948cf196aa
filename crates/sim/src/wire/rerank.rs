//! Owns reranking, as vLLM and Jina serve it (`documents`), and as Text Embeddings Inference does
//! (`texts`). The scores are made up.
//!
//! It must not know about other protocols, except for OpenAI's form of errors.

use serde_json::{Value, json};

use super::ask::{self, Asked, Fields, Output, Scores};
use super::openai;
use super::protocol::{Answer, Protocol};
use super::refusal::Refusal;
use crate::fault::Fault;
use crate::tokens::Counter;

/// `/v1/rerank`, `/v2/rerank` and `/rerank`.
#[derive(Debug)]
pub(crate) struct Rerank;

/// A document, which may be an object with a text.
fn text_of(document: &Value) -> Option<&str> {
    document.as_str().or_else(|| document["text"].as_str())
}

impl Protocol for Rerank {
    fn id_prefix(&self) -> &'static str {
        "rerank"
    }

    fn read(&self, body: &[u8], _by_header: bool, counter: &Counter) -> Result<Asked, Refusal> {
        let body = ask::parse(body)?;
        let fields = Fields::new(&body);
        let Some(query) = fields.text("query")? else {
            return Err(Refusal::of("query", "query must be a string, got none"));
        };
        let bare = fields.get("texts").is_some();
        let (name, return_texts) = if bare {
            ("texts", "return_text")
        } else {
            ("documents", "return_documents")
        };
        let refused = || {
            let message = format!("{name} must be a non-empty list of texts");
            Refusal::of(name, message)
        };
        let documents = fields.get(name).and_then(Value::as_array);
        let documents = documents.filter(|list| !list.is_empty());
        let documents: Option<Vec<&str>> =
            documents.ok_or_else(refused)?.iter().map(text_of).collect();
        let documents = documents.ok_or_else(refused)?;
        let mut prompts = Vec::with_capacity(documents.len());
        for document in &documents {
            let mut prompt = counter.text(query)?;
            prompt.append(counter.text(document)?);
            prompts.push(prompt);
        }
        let top = fields.count("top_n", u64::from(u32::MAX))?;
        let shown = fields.flag(return_texts)?.unwrap_or(!bare);
        let scores = Scores {
            top: top.map_or(usize::MAX, |top| top as usize),
            bare,
            documents: shown.then(|| documents.iter().map(|text| (*text).to_owned()).collect()),
        };
        Ok(Asked::without_text(
            fields.model()?,
            prompts,
            Output::Scores(scores),
        ))
    }

    fn refusal(&self, refusal: &Refusal, id: &str) -> Vec<u8> {
        openai::CHAT.refusal(refusal, id)
    }

    fn document(&self, answer: &Answer) -> Vec<u8> {
        let Output::Scores(scores) = &answer.output else {
            return Vec::new();
        };
        let documents = if answer.has(Fault::Empty) {
            0
        } else {
            answer.choices
        };
        // A prime, so that the scores of a response differ.
        let score = |index: u32| (answer.salt.wrapping_mul(17) + u64::from(index) * 389) % 1009;
        let mut order: Vec<u32> = (0..documents).collect();
        order.sort_by_key(|index| std::cmp::Reverse(score(*index)));
        order.truncate(scores.top);
        let results: Vec<Value> = order
            .into_iter()
            .map(|index| {
                let score = score(index) as f64 / 1009.0;
                let text = scores
                    .documents
                    .as_ref()
                    .map(|texts| &texts[index as usize]);
                match (scores.bare, text) {
                    (true, None) => json!({"index": index, "score": score}),
                    (true, Some(text)) => json!({"index": index, "score": score, "text": text}),
                    (false, None) => json!({"index": index, "relevance_score": score}),
                    (false, Some(text)) => json!({
                        "index": index, "document": {"text": text}, "relevance_score": score,
                    }),
                }
            })
            .collect();
        if scores.bare {
            return Value::from(results).to_string().into_bytes();
        }
        let mut document = json!({"id": answer.id, "model": answer.model, "results": results});
        match answer.fault {
            Some(Fault::NoUsage) => {}
            Some(Fault::PartialUsage) => {
                document["usage"] = json!({"prompt_tokens": answer.prompt_tokens});
            }
            _ => {
                document["usage"] = json!({
                    "prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens,
                });
            }
        }
        document.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;

    fn read(body: &Value) -> Result<Asked, Refusal> {
        Rerank.read(body.to_string().as_bytes(), false, &Counter::default())
    }

    fn ranked(body: &Value) -> Value {
        let asked = read(body).expect("valid");
        let document = Rerank.document(&Answer {
            choices: asked.choices,
            prompt_tokens: asked.prompt_tokens(),
            output: asked.output,
            ..answer(&Rerank, None)
        });
        serde_json::from_slice(&document).expect("JSON")
    }

    #[test]
    fn the_best_documents_come_first() {
        let body = json!({"query": "1234", "documents": ["a", {"text": "b"}, "c"], "top_n": 2});
        let document = ranked(&body);
        let results = document["results"].as_array().expect("a list");
        assert_eq!(results.len(), 2);
        let score = |at: usize| results[at]["relevance_score"].as_f64().expect("a score");
        assert!(score(0) > score(1));
        for result in results {
            let index = usize::try_from(result["index"].as_u64().expect("a number"));
            let text = ["a", "b", "c"][index.expect("small")];
            assert_eq!(result["document"]["text"], text);
        }
        // The query counts with each document.
        assert_eq!(
            document["usage"],
            json!({"prompt_tokens": 6, "total_tokens": 6})
        );
    }

    #[test]
    fn texts_get_a_bare_list() {
        let list = ranked(&json!({"query": "q", "texts": ["a", "b", "c"]}));
        let list = list.as_array().expect("a list");
        assert_eq!(list.len(), 3);
        assert!(
            list.iter()
                .all(|result| result["score"].is_f64() && result.get("text").is_none())
        );
    }

    #[test]
    fn bad_requests_name_the_field() {
        for (body, param) in [
            (json!({"documents": ["a"]}), "query"),
            (json!({"query": "q"}), "documents"),
            (json!({"query": "q", "documents": []}), "documents"),
            (json!({"query": "q", "texts": [1]}), "texts"),
            (
                json!({"query": "q", "documents": ["a"], "top_n": 0}),
                "top_n",
            ),
        ] {
            assert_eq!(
                read(&body).expect_err("refused").param,
                Some(param),
                "{body}"
            );
        }
    }
}
