//! Owns reranking: documents in, a score for each out, in the forms of vLLM, Jina and Cohere, of Text
//! Embeddings Inference and of NVIDIA NIM.
//!
//! It must not know where documents come from. Scores are counted, not parsed.

use serde_json::{Map, Value, json};

use super::api::{AnswerReader, Api, Output};
use super::inputs::{AskedInputs, count_of};
use super::results::ResultsReader;
use super::text::AnswerText;

/// The form of requests and responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `query` and `documents`, with scores in `results`: vLLM, Jina and Cohere.
    #[default]
    Documents,
    /// `query` and `texts`, with a list of scores: Text Embeddings Inference.
    Texts,
    /// Objects with `text` in `query` and `passages`, with scores in `rankings`: NIM.
    Passages,
}

/// Reranking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rerank {
    /// The form.
    pub form: Form,
}

/// Fields that hold documents, here and elsewhere.
const DOCUMENTS: [&str; 3] = ["documents", "texts", "passages"];

impl Rerank {
    /// The API of a URL's path: the forms differ by its end.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        let form = if path.ends_with("/ranking") {
            Form::Passages
        } else if path == "/rerank" {
            Form::Texts
        } else {
            Form::Documents
        };
        Self { form }
    }

    const fn documents(self) -> &'static str {
        match self.form {
            Form::Documents => "documents",
            Form::Texts => "texts",
            Form::Passages => "passages",
        }
    }

    fn as_is(self, text: Value) -> Value {
        match (self.form, text) {
            (Form::Passages, Value::String(text)) => json!({"text": text}),
            (_, text) => text,
        }
    }
}

impl Api for Rerank {
    fn name(&self) -> &'static str {
        "rerank"
    }

    fn output(&self) -> Output {
        Output::Scores
    }

    fn body(&self, fields: Map<String, Value>) -> Map<String, Value> {
        let mut body = Map::with_capacity(fields.len());
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("max_tokens" | "max_completion_tokens", _) => {}
                ("model", _) if self.form == Form::Texts => {}
                ("query", query) => {
                    body.insert(key, self.as_is(query));
                }
                (name, Value::Array(documents)) if DOCUMENTS.contains(&name) => {
                    let documents = documents.into_iter().map(|text| self.as_is(text));
                    body.insert(self.documents().to_owned(), documents.collect());
                }
                (_, value) => {
                    body.insert(key, value);
                }
            }
        }
        // the documents themselves are known, and cost time and bytes
        let quiet = match self.form {
            Form::Documents => "return_documents",
            Form::Texts => "return_text",
            Form::Passages => return body,
        };
        if !body.contains_key(quiet) {
            body.insert(quiet.to_owned(), false.into());
        }
        body
    }

    fn takes(&self, field: &str) -> bool {
        field == "model"
    }

    fn set_defaults(&self, defaults: &mut Map<String, Value>) {
        defaults.clear();
    }

    fn asked_inputs(&self, body: &Map<String, Value>) -> Option<AskedInputs> {
        let count = count_of(body.get(self.documents())).unwrap_or(0);
        let top = body.get("top_n").and_then(Value::as_u64);
        Some(AskedInputs {
            count,
            least_results: 1,
            most_results: top.map_or(count, |top| {
                u32::try_from(top).unwrap_or(u32::MAX).min(count)
            }),
        })
    }

    /// A server reads the query with each of the documents.
    fn countable(&self, body: Map<String, Value>) -> Map<String, Value> {
        let text = |value: &Value| value.as_str().or(value["text"].as_str()).map(str::to_owned);
        let query = body.get("query").and_then(text).unwrap_or_default();
        let documents = body.get(self.documents()).and_then(Value::as_array);
        let documents = documents.into_iter().flatten().filter_map(text);
        let texts: Vec<String> = documents
            .flat_map(|document| [query.clone(), document])
            .collect();
        [("prompt".to_owned(), json!(texts))].into_iter().collect()
    }

    fn takes_stream_options(&self) -> bool {
        false
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::new(ResultsReader::new(["results", "rankings", "data"]))
    }

    fn read_text(&self, _answer: &[u8], _text: &mut AnswerText) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use evalscope_model::record::FailureKind;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else {
            panic!("not an object")
        };
        map
    }

    #[test]
    fn a_body_has_the_form_of_its_path() {
        let fields = json!({"model": "m", "query": "q", "documents": ["a", "b"], "max_tokens": 5, "top_n": 1});
        let sent = |path: &str| Value::Object(Rerank::of_path(path).body(object(fields.clone())));
        let common = json!({"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1, "return_documents": false});
        for path in ["/v1/rerank", "/v2/rerank", "/compatible-mode/v1/reranks"] {
            assert_eq!(sent(path), common, "{path}");
        }
        assert_eq!(
            sent("/rerank"),
            json!({"query": "q", "texts": ["a", "b"], "top_n": 1, "return_text": false})
        );
        assert_eq!(
            sent("/v1/ranking"),
            json!({"model": "m", "query": {"text": "q"}, "passages": [{"text": "a"}, {"text": "b"}], "top_n": 1})
        );
    }

    #[test]
    fn a_response_has_as_many_scores_as_were_asked_for() {
        let asked = |body: Value| Rerank::default().asked_inputs(&object(body)).unwrap();
        let all = asked(json!({"documents": ["a", "b", "c"]}));
        let top = asked(json!({"documents": ["a", "b", "c"], "top_n": 2}));
        assert_eq!((all.count, top.count), (3, 3));
        assert_eq!(all.failure(Some(3)), None);
        assert_eq!(all.failure(Some(1)), None);
        let message = top.failure(Some(3)).unwrap().message;
        assert_eq!(
            message,
            "the response has 3 results for 3 inputs; expected 1 to 2"
        );
        assert_eq!(all.failure(Some(0)).unwrap().kind, FailureKind::EmptyOutput);
        assert_eq!(all.failure(Some(4)).unwrap().kind, FailureKind::Malformed);
    }

    #[test]
    fn every_form_of_a_response_is_read() {
        for (body, results, tokens) in [
            (
                r#"{"results":[{"index":0,"relevance_score":0.9}],"usage":{"total_tokens":7}}"#,
                1,
                Some(7),
            ),
            (
                r#"{"results":[],"meta":{"billed_units":{"search_units":1}}}"#,
                0,
                None,
            ),
            (
                r#"[{"index":1,"score":0.5},{"index":0,"score":0.1}]"#,
                2,
                None,
            ),
            (
                r#"{"rankings":[{"index":0,"logit":-1.5}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#,
                1,
                Some(3),
            ),
        ] {
            let mut reader = Rerank::default().reader();
            reader.whole(body.as_bytes());
            assert_eq!(reader.results(), Some(results), "{body}");
            let state = reader.take();
            assert_eq!((state.usage.prompt_tokens, state.failure), (tokens, None));
        }
    }

    #[test]
    fn the_query_counts_with_each_document() {
        let body = object(json!({"query": "q", "documents": ["a", {"text": "b"}]}));
        let countable = Rerank::default().countable(body);
        assert_eq!(countable["prompt"], json!(["q", "a", "q", "b"]));
    }
}
