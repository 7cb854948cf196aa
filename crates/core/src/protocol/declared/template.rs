//! Owns the request of a declaration: a JSON object with placeholders, and the values for them.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value, json};

use super::super::placeholders::substituted;
use evalscope_model::prompt::Prompt;

/// Fields that can have a placeholder, with OpenAI's names.
const FIELDS: [&str; 18] = [
    "model",
    "messages",
    "prompt",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "repetition_penalty",
    "logprobs",
    "n",
    "seed",
    "stop",
    "stop_token_ids",
    "stream",
    "stream_options",
];

/// A body with placeholders: `%m` and `%p` inside strings, and `%{field}` for whole values.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    object: Map<String, Value>,
    /// Fields that have a placeholder.
    placed: Vec<String>,
    /// Some string contains `%p`.
    has_text: bool,
}

impl Template {
    /// Parse a template, which must be an object with a placeholder for the prompt.
    fn new(object: Map<String, Value>) -> Result<Self, String> {
        let mut template = Self {
            object: Map::new(),
            placed: Vec::new(),
            has_text: false,
        };
        for value in object.values() {
            template.look(value)?;
        }
        if !template.has_text && !template.places("messages") && !template.places("prompt") {
            return Err(
                "the template has no placeholder for the prompt: \"%{messages}\", \"%{prompt}\", or %p \
                 inside a string"
                    .to_owned(),
            );
        }
        template.object = object;
        Ok(template)
    }

    /// Whether a field has a placeholder.
    #[must_use]
    pub fn places(&self, field: &str) -> bool {
        self.placed.iter().any(|placed| placed == field)
    }

    fn look(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::String(text) => self.look_at_text(text),
            Value::Array(items) => items.iter().try_for_each(|item| self.look(item)),
            Value::Object(map) => map.values().try_for_each(|item| self.look(item)),
            _ => Ok(()),
        }
    }

    fn look_at_text(&mut self, text: &str) -> Result<(), String> {
        if let Some(field) = place(text) {
            if !FIELDS.contains(&field) {
                return Err(format!(
                    "`%{{{field}}}` is not a placeholder, use one of {}",
                    FIELDS.map(|name| format!("%{{{name}}}")).join(", ")
                ));
            }
            self.placed.push(field.to_owned());
        } else if text.contains("%{") {
            return Err(format!(
                "`{text}`: a placeholder such as %{{max_tokens}} must be the whole string; inside \
                 a string, use %m for the model and %p for the prompt"
            ));
        }
        if text.contains("%m") {
            self.placed.push("model".to_owned());
        }
        self.has_text |= text.contains("%p");
        Ok(())
    }

    /// The body for these fields. With `others`, fields without a placeholder are added at the top
    /// level.
    pub(super) fn fill(&self, fields: Map<String, Value>, others: bool) -> Map<String, Value> {
        let text = if self.has_text || self.places("prompt") && !fields.contains_key("prompt") {
            Prompt::Body(fields.clone()).text()
        } else {
            String::new()
        };
        let filling = Filling {
            fields: &fields,
            text: &text,
        };
        let mut body = filling.object(&self.object);
        if others {
            for (name, value) in fields {
                let is_prompt = matches!(name.as_str(), "messages" | "prompt");
                if !is_prompt && !self.places(&name) && !body.contains_key(&name) {
                    body.insert(name, value);
                }
            }
        }
        body
    }
}

/// The field of a string that is just a placeholder.
fn place(text: &str) -> Option<&str> {
    let field = text.strip_prefix("%{")?.strip_suffix('}')?;
    (!field.contains(['{', '}'])).then_some(field)
}

/// The values for the placeholders of one request.
struct Filling<'a> {
    fields: &'a Map<String, Value>,
    text: &'a str,
}

impl Filling<'_> {
    /// `None`: a placeholder for a field that this request does not have.
    fn value(&self, value: &Value) -> Option<Value> {
        Some(match value {
            Value::String(text) => match place(text) {
                Some(field) => return self.field(field),
                None => substituted(text, self.model(), self.text).into(),
            },
            Value::Array(items) => items.iter().filter_map(|item| self.value(item)).collect(),
            Value::Object(map) => self.object(map).into(),
            other => other.clone(),
        })
    }

    fn object(&self, map: &Map<String, Value>) -> Map<String, Value> {
        map.iter()
            .filter_map(|(key, value)| Some((key.clone(), self.value(value)?)))
            .collect()
    }

    fn model(&self) -> &str {
        let model = self.fields.get("model");
        model.and_then(Value::as_str).unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.fields.get(name) {
            return Some(value.clone());
        }
        match name {
            // convert between a plain prompt and messages where needed
            "messages" => {
                let prompt = self.fields.get("prompt")?;
                Some(json!([{"role": "user", "content": prompt}]))
            }
            "prompt" => Some(self.text.into()),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = match Value::deserialize(deserializer)? {
            Value::Object(map) => map,
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(Value::Object(map)) => map,
                Ok(_) => return Err(D::Error::custom("the template is not a JSON object")),
                Err(error) => {
                    return Err(D::Error::custom(format!(
                        "the template is not JSON: {error}"
                    )));
                }
            },
            _ => {
                return Err(D::Error::custom(
                    "the template must be JSON text in a string, or a table",
                ));
            }
        };
        Self::new(object).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(value: Value) -> Result<Template, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    fn filled(template_: &Value, fields: Value, others: bool) -> String {
        let Value::Object(fields) = fields else {
            panic!("no object")
        };
        let body = template(template_.clone()).unwrap().fill(fields, others);
        Value::Object(body).to_string()
    }

    #[test]
    fn places_are_filled_and_those_without_a_value_left_out() {
        let shape = json!({"id": "%m", "input": {"text": "Q: %p", "chat": "%{messages}"},
            "limit": "%{max_tokens}", "heat": "%{temperature}", "list": ["%{seed}", 1], "stream": "%{stream}"});
        let fields = json!({"model": "q", "messages": [{"role": "user", "content": "50% %m?"}],
            "max_tokens": 5, "stream": true, "top_k": 3});
        insta::assert_snapshot!(filled(&shape, fields.clone(), false), @r#"{"id":"q","input":{"text":"Q: 50% %m?","chat":[{"role":"user","content":"50% %m?"}]},"limit":5,"list":[1],"stream":true}"#);
        insta::assert_snapshot!(filled(&json!("{\"p\": \"%{prompt}\", \"top_k\": 1}"), fields, true), @r#"{"p":"50% %m?","top_k":1,"model":"q","max_tokens":5,"stream":true}"#);
        insta::assert_snapshot!(filled(&json!({"m": "%{messages}"}), json!({"prompt": "hi"}), false), @r#"{"m":[{"role":"user","content":"hi"}]}"#);
        insta::assert_snapshot!(filled(&json!({"m": "%{prompt}"}), json!({"prompt": [1, 2]}), false), @r#"{"m":[1,2]}"#);
    }

    #[test]
    fn mistakes_are_told() {
        let error = |value| template(value).unwrap_err();
        insta::assert_snapshot!(error(json!("{")), @"the template is not JSON: EOF while parsing an object at line 1 column 1");
        insta::assert_snapshot!(error(json!("[1]")), @"the template is not a JSON object");
        insta::assert_snapshot!(error(json!({"a": "%m"})), @r#"the template has no placeholder for the prompt: "%{messages}", "%{prompt}", or %p inside a string"#);
        insta::assert_snapshot!(error(json!({"a": "%p", "b": "up to %{max_tokens}"})), @"`up to %{max_tokens}`: a placeholder such as %{max_tokens} must be the whole string; inside a string, use %m for the model and %p for the prompt");
        assert!(
            error(json!({"a": "%p", "b": "%{max_token}"}))
                .starts_with("`%{max_token}` is not a placeholder, use one of %{model}, ")
        );
    }
}
