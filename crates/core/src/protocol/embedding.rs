//! Owns embeddings: OpenAI's `/v1/embeddings`, and `/embed` of Text Embeddings Inference.
//!
//! It must not know where texts come from. Vectors are counted, not parsed.

use serde_json::{Map, Value};

use super::api::{AnswerReader, Api, Output};
use super::inputs::{AskedInputs, count_of};
use super::results::ResultsReader;
use super::text::AnswerText;
use evalscope_model::prompt::content_text;

/// The form of requests and responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `{"input": …}`, and vectors in `data`.
    #[default]
    OpenAi,
    /// `{"inputs": …}`, and a list of vectors; tokens are in a header.
    Tei,
}

/// Embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Embedding {
    /// The form.
    pub form: Form,
}

impl Embedding {
    /// The API of a URL's path.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        let form = if path.ends_with("/embed") {
            Form::Tei
        } else {
            Form::OpenAi
        };
        Self { form }
    }

    const fn input(self) -> &'static str {
        match self.form {
            Form::OpenAi => "input",
            Form::Tei => "inputs",
        }
    }
}

impl Api for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn output(&self) -> Output {
        Output::Vectors
    }

    fn fields(&self, body: Map<String, Value>) -> Map<String, Value> {
        let rename = |(key, value): (String, Value)| match key.as_str() {
            "input" | "inputs" => ("prompt".to_owned(), value),
            _ => (key, value),
        };
        body.into_iter().map(rename).collect()
    }

    fn body(&self, fields: Map<String, Value>) -> Map<String, Value> {
        let mut body = Map::with_capacity(fields.len());
        for (key, value) in fields {
            let (key, value) = match (key.as_str(), value) {
                ("prompt", value) => (self.input(), value),
                ("messages", Value::Array(messages)) => (self.input(), text_of(&messages).into()),
                ("model", _) if self.form == Form::Tei => continue,
                ("max_tokens" | "max_completion_tokens", _) => continue,
                (other, value) => {
                    body.insert(other.to_owned(), value);
                    continue;
                }
            };
            body.insert(key.to_owned(), value);
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
        let input = body.get(self.input());
        let count = match input {
            // token ids are one text
            Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => 1,
            input => count_of(input).unwrap_or(0),
        };
        Some(AskedInputs {
            count,
            least_results: count,
            most_results: count,
        })
    }

    fn tokens_header(&self) -> Option<&'static str> {
        (self.form == Form::Tei).then_some("x-compute-tokens")
    }

    fn short_form(&self) -> Option<(&'static str, &'static str)> {
        (self.form == Form::OpenAi).then_some(("encoding_format", "base64"))
    }

    fn takes_stream_options(&self) -> bool {
        false
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::new(ResultsReader::new(["data", "embeddings", "data"]))
    }

    fn read_text(&self, _answer: &[u8], _text: &mut AnswerText) {}
}

/// The texts of messages, put together.
fn text_of(messages: &[Value]) -> String {
    let texts: Vec<String> = messages.iter().map(content_text).collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use evalscope_model::record::FailureKind;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else {
            panic!("not an object")
        };
        map
    }

    fn sent(api: Embedding, fields: Value) -> Value {
        api.body(object(fields)).into()
    }

    #[test]
    fn a_body_has_the_texts_and_nothing_of_generation() {
        let fields = json!({"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "dimensions": 64});
        let tei = Embedding { form: Form::Tei };
        assert_eq!(
            sent(Embedding::default(), fields.clone()),
            json!({"model": "m", "input": ["a", "b"], "dimensions": 64})
        );
        assert_eq!(
            sent(tei, fields),
            json!({"inputs": ["a", "b"], "dimensions": 64})
        );
        let messages = json!({"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]});
        assert_eq!(
            sent(Embedding::default(), messages),
            json!({"input": "a\nb"})
        );
        assert_eq!(Embedding::of_path("/embed").form, Form::Tei);
        assert_eq!(Embedding::of_path("/v1/embeddings").form, Form::OpenAi);
    }

    #[test]
    fn inputs_are_counted() {
        for (input, count) in [
            (json!("a"), 1),
            (json!(["a", "b"]), 2),
            (json!([1, 2, 3]), 1),
            (json!([[1], [2, 3]]), 2),
            (json!([]), 0),
        ] {
            let body = object(json!({"input": input}));
            let asked = Embedding::default().asked_inputs(&body).unwrap();
            assert_eq!(
                (asked.count, asked.least_results),
                (count, count),
                "{input}"
            );
        }
    }

    #[test]
    fn a_response_has_a_vector_for_each_text() {
        let read = |body: &str| {
            let mut reader = Embedding::default().reader();
            reader.whole(body.as_bytes());
            (reader.results(), reader.take())
        };
        let body = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2]},{"embedding":"AAAA]"}],
            "model":"m","usage":{"prompt_tokens":8,"total_tokens":9}}"#;
        let (results, state) = read(body);
        assert_eq!((results, state.failure, state.done), (Some(2), None, true));
        assert_eq!(
            (state.usage.prompt_tokens, state.usage.completion_tokens),
            (Some(8), None)
        );
        assert_eq!(state.model.as_deref(), Some("m"));
        assert_eq!(read("[[0.1,2],[3]]").0, Some(2));
        for (body, kind) in [
            (r#"{"error":{"message":"no"}}"#, FailureKind::ServerError),
            (r#"{"detail":"gone"}"#, FailureKind::ServerError),
            (r#"{"data":[{"embedding":[0.1"#, FailureKind::Malformed),
            ("<html>", FailureKind::Malformed),
        ] {
            assert_eq!(read(body).1.failure.unwrap().kind, kind, "{body}");
        }
    }
}
