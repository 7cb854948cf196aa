//! Owns OpenAI's embeddings, as vLLM serves them: `/v1/embeddings`. The numbers are made up.
//!
//! It must not know about other protocols, except for OpenAI's form of errors.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use serde_json::{Value, json};

use super::ask::{self, Asked, Fields, Output, Vectors};
use super::openai;
use super::protocol::{Answer, Protocol};
use super::refusal::Refusal;
use crate::fault::Fault;
use crate::seed::seeded;
use crate::tokens::Counter;

/// `/v1/embeddings`.
#[derive(Debug)]
pub(crate) struct Embeddings;

/// Numbers per vector if the request does not say, as of many small models.
const DIMENSIONS: u32 = 1024;

/// Maximum number of numbers per vector.
const MOST_DIMENSIONS: u64 = 1 << 16;

/// Maximum number of inputs per request, as OpenAI's.
const MOST_INPUTS: usize = 2048;

/// Drawing and printing a number takes longer than anything else: each vector is a run of these.
static NUMBERS: LazyLock<Vec<(f32, String)>> = LazyLock::new(|| {
    let mut generator = seeded(0, 0);
    let numbers = (0..997).map(|_| {
        let number: f32 = generator.random_range(-0.1..0.1);
        (number, number.to_string())
    });
    numbers.collect()
});

impl Vectors {
    /// The numbers of the vector of an input.
    fn numbers(self, salt: u64, input: u32) -> impl Iterator<Item = &'static (f32, String)> {
        let begin = salt.wrapping_mul(101).wrapping_add(u64::from(input) * 31);
        let begin = usize::try_from(begin % NUMBERS.len() as u64).expect("below the length");
        let endless = NUMBERS.iter().cycle().skip(begin);
        endless.take(self.dimensions as usize)
    }

    /// Append a vector as JSON.
    fn write(self, out: &mut String, salt: u64, input: u32) {
        if self.base64 {
            let numbers = self.numbers(salt, input);
            let bytes: Vec<u8> = numbers
                .flat_map(|(number, _)| number.to_le_bytes())
                .collect();
            out.push('"');
            STANDARD.encode_string(bytes, out);
            out.push('"');
            return;
        }
        for (at, (_, text)) in self.numbers(salt, input).enumerate() {
            out.push(if at == 0 { '[' } else { ',' });
            out.push_str(text);
        }
        out.push(']');
    }
}

impl Protocol for Embeddings {
    fn id_prefix(&self) -> &'static str {
        "embd"
    }

    fn read(&self, body: &[u8], _by_header: bool, counter: &Counter) -> Result<Asked, Refusal> {
        let body = ask::parse(body)?;
        let fields = Fields::new(&body);
        let prompts = ask::prompts("input", fields.get("input"), counter)?;
        if prompts.len() > MOST_INPUTS {
            return Err(Refusal::of(
                "input",
                format!(
                    "input must have at most {MOST_INPUTS} elements, got {}",
                    prompts.len()
                ),
            ));
        }
        let base64 = match fields.text("encoding_format")? {
            None | Some("float") => false,
            Some("base64") => true,
            Some(got) => {
                return Err(Refusal::of(
                    "encoding_format",
                    format!("encoding_format must be \"float\" or \"base64\", got {got:?}"),
                ));
            }
        };
        let dimensions = fields.count("dimensions", MOST_DIMENSIONS)?;
        let vectors = Vectors {
            dimensions: dimensions.unwrap_or(DIMENSIONS),
            base64,
        };
        Ok(Asked::without_text(
            fields.model()?,
            prompts,
            Output::Vectors(vectors),
        ))
    }

    fn refusal(&self, refusal: &Refusal, id: &str) -> Vec<u8> {
        openai::CHAT.refusal(refusal, id)
    }

    fn document(&self, answer: &Answer) -> Vec<u8> {
        let Output::Vectors(vectors) = &answer.output else {
            return Vec::new();
        };
        let mut out = String::new();
        write!(
            out,
            "{{\"id\":\"{}\",\"object\":\"list\",\"created\":{},\"model\":{},\"data\":[",
            answer.id,
            answer.created,
            Value::from(answer.model.as_str())
        )
        .expect("a String takes all");
        let inputs = if answer.has(Fault::Empty) {
            0
        } else {
            answer.choices
        };
        for input in 0..inputs {
            let comma = if input == 0 { "" } else { "," };
            write!(
                out,
                "{comma}{{\"object\":\"embedding\",\"index\":{input},\"embedding\":"
            )
            .expect("a String takes all");
            vectors.write(&mut out, answer.salt, input);
            out.push('}');
        }
        out.push(']');
        if !answer.has(Fault::NoUsage) {
            write!(out, ",\"usage\":{}", usage(answer)).expect("a String takes all");
        }
        out.push('}');
        out.into_bytes()
    }
}

fn usage(answer: &Answer) -> Value {
    if answer.has(Fault::PartialUsage) {
        return json!({"prompt_tokens": answer.prompt_tokens});
    }
    json!({
        "prompt_tokens": answer.prompt_tokens,
        "total_tokens": answer.prompt_tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": null,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;

    fn read(body: &Value) -> Result<Asked, Refusal> {
        Embeddings.read(body.to_string().as_bytes(), false, &Counter::default())
    }

    #[test]
    fn every_input_gets_a_vector() {
        for (input, inputs, tokens) in [
            (json!("12345"), 1, 2),
            (json!(["12345", "1"]), 2, 3),
            (json!([1, 2, 3]), 1, 3),
            (json!([[1], [2, 3]]), 2, 3),
        ] {
            let asked = read(&json!({"input": input, "dimensions": 3})).expect("valid");
            assert_eq!((asked.choices, asked.prompt_tokens()), (inputs, tokens));
            let document = Embeddings.document(&Answer {
                choices: asked.choices,
                output: asked.output,
                ..answer(&Embeddings, None)
            });
            let document: Value = serde_json::from_slice(&document).expect("JSON");
            let data = document["data"].as_array().expect("a list");
            assert_eq!(data.len(), inputs as usize);
            for (at, element) in data.iter().enumerate() {
                assert_eq!(element["index"], at);
                assert_eq!(element["embedding"].as_array().expect("a list").len(), 3);
            }
            assert_eq!(document["usage"]["total_tokens"], 3);
        }
    }

    #[test]
    fn both_encodings_have_the_same_numbers() {
        let text = |base64| {
            let mut text = String::new();
            let vectors = Vectors {
                dimensions: 5,
                base64,
            };
            vectors.write(&mut text, 7, 2);
            text
        };
        let floats: Vec<f32> = serde_json::from_str(&text(false)).expect("a list");
        let encoded: String = serde_json::from_str(&text(true)).expect("a string");
        let bytes = STANDARD.decode(encoded).expect("base64");
        let decoded: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        assert_eq!(floats, decoded);
        assert_eq!(floats.len(), 5);
    }

    #[test]
    fn bad_requests_name_the_field() {
        for (body, param) in [
            (json!({}), "input"),
            (json!({"input": []}), "input"),
            (json!({"input": vec!["x"; 2049]}), "input"),
            (
                json!({"input": "x", "encoding_format": "hex"}),
                "encoding_format",
            ),
            (json!({"input": "x", "dimensions": 0}), "dimensions"),
        ] {
            assert_eq!(
                read(&body).expect_err("refused").param,
                Some(param),
                "{body}"
            );
        }
    }
}
