//! Owns `tokenizer_config.json`: checks that it is an object, and finds the chat template in it.
//!
//! It must not know what a template does.

use std::path::Path;

use serde_json::Value;

use super::error::TokenizerError;

/// The key of the template.
const TEMPLATE: &str = "chat_template";

/// The forms a template may have, for messages.
const ALLOWED: &str = "a string, a list of objects with the strings `name` and `template`, or an object whose values \
                       are strings";

/// Of several templates, the one for a conversation without tools.
const DEFAULT: &str = "default";

/// A configuration: an object, or nothing.
#[derive(Debug, Default)]
pub(super) struct Config(Value);

impl Config {
    /// Parse one; `path` is for messages.
    ///
    /// # Errors
    /// If it is not a JSON object.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, TokenizerError> {
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| wrong(path, error.to_string()))?;
        if value.is_object() {
            return Ok(Self(value));
        }
        let reason = format!(
            "it is {}, but must be an object, such as {{\"chat_template\": \"…\"}}",
            kind(&value)
        );
        Err(wrong(path, reason))
    }

    /// All its fields, for the special tokens that templates name.
    pub(super) fn fields(&self) -> &Value {
        &self.0
    }

    /// The template: the only one, or the one named `default`, or the first. `path` is for
    /// messages.
    ///
    /// # Errors
    /// If it has another form.
    pub(super) fn chat_template(&self, path: &Path) -> Result<Option<String>, TokenizerError> {
        match self.0.get(TEMPLATE) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Array(items)) => {
                let mut named = Vec::with_capacity(items.len());
                for (item, number) in items.iter().zip(1..) {
                    let text = |key| item.get(key).and_then(Value::as_str);
                    let (Some(name), Some(template)) = (text("name"), text("template")) else {
                        let reason = format!(
                            "item {number} of `{TEMPLATE}` is {}; `{TEMPLATE}` must be {ALLOWED}",
                            lacking(item)
                        );
                        return Err(wrong(path, reason));
                    };
                    named.push((name, template));
                }
                Ok(default_of(&named))
            }
            Some(Value::Object(map)) => {
                let mut named = Vec::with_capacity(map.len());
                for (name, template) in map {
                    let Some(template) = template.as_str() else {
                        let reason = format!(
                            "`{name}` of `{TEMPLATE}` is {}; `{TEMPLATE}` must be {ALLOWED}",
                            kind(template)
                        );
                        return Err(wrong(path, reason));
                    };
                    named.push((name.as_str(), template));
                }
                Ok(default_of(&named))
            }
            Some(other) => {
                let reason = format!("`{TEMPLATE}` is {}, but must be {ALLOWED}", kind(other));
                Err(wrong(path, reason))
            }
        }
    }
}

/// The default one of some named templates, or else the first.
fn default_of(named: &[(&str, &str)]) -> Option<String> {
    let chosen = named.iter().find(|(name, _)| *name == DEFAULT);
    let chosen = chosen.or(named.first());
    chosen.map(|(_, template)| (*template).to_owned())
}

/// What is wrong with an item of the list.
fn lacking(item: &Value) -> String {
    if !item.is_object() {
        return kind(item).to_owned();
    }
    let lacks = |key: &&str| !item.get(*key).is_some_and(Value::is_string);
    let missing: Vec<String> = ["name", "template"]
        .iter()
        .filter(|key| lacks(key))
        .map(|key| format!("string `{key}`"))
        .collect();
    format!("an object without a {}", missing.join(" and a "))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn wrong(path: &Path, reason: String) -> TokenizerError {
    TokenizerError::Invalid {
        path: path.to_owned(),
        what: "tokenizer configuration",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<Option<String>, String> {
        let path = Path::new("DIR/tokenizer_config.json");
        Config::parse(path, text.as_bytes())
            .and_then(|config| config.chat_template(path))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_template_is_a_text_or_one_of_several() {
        for (text, want) in [
            ("{}", None),
            (r#"{"chat_template": null}"#, None),
            (r#"{"chat_template": []}"#, None),
            (r#"{"chat_template": "a"}"#, Some("a")),
            (
                r#"{"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]}"#,
                Some("b"),
            ),
            (
                r#"{"chat_template": [{"name": "x", "template": "a"}, {"name": "y", "template": "b"}]}"#,
                Some("a"),
            ),
            (
                r#"{"chat_template": {"tool_use": "a", "default": "b"}}"#,
                Some("b"),
            ),
        ] {
            assert_eq!(template(text).unwrap().as_deref(), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_told() {
        let error = |text| template(text).unwrap_err();
        insta::assert_snapshot!(error("{]"), @"DIR/tokenizer_config.json is not a tokenizer configuration: key must be a string at line 1 column 2");
        insta::assert_snapshot!(error("[]"), @r#"DIR/tokenizer_config.json is not a tokenizer configuration: it is a list, but must be an object, such as {"chat_template": "…"}"#);
        insta::assert_snapshot!(error("\"a\""), @r#"DIR/tokenizer_config.json is not a tokenizer configuration: it is a string, but must be an object, such as {"chat_template": "…"}"#);
        insta::assert_snapshot!(error(r#"{"chat_template": 5}"#), @"DIR/tokenizer_config.json is not a tokenizer configuration: `chat_template` is a number, but must be a string, a list of objects with the strings `name` and `template`, or an object whose values are strings");
        insta::assert_snapshot!(error(r#"{"chat_template": {"default": ["a"]}}"#), @"DIR/tokenizer_config.json is not a tokenizer configuration: `default` of `chat_template` is a list; `chat_template` must be a string, a list of objects with the strings `name` and `template`, or an object whose values are strings");
        insta::assert_snapshot!(error(r#"{"chat_template": ["a"]}"#), @"DIR/tokenizer_config.json is not a tokenizer configuration: item 1 of `chat_template` is a string; `chat_template` must be a string, a list of objects with the strings `name` and `template`, or an object whose values are strings");
        insta::assert_snapshot!(error(r#"{"chat_template": [{"name": "default", "template": "a"}, {"template": 1}]}"#), @"DIR/tokenizer_config.json is not a tokenizer configuration: item 2 of `chat_template` is an object without a string `name` and a string `template`; `chat_template` must be a string, a list of objects with the strings `name` and `template`, or an object whose values are strings");
        insta::assert_snapshot!(error(r#"{"chat_template": [{"name": "default"}]}"#), @"DIR/tokenizer_config.json is not a tokenizer configuration: item 1 of `chat_template` is an object without a string `template`; `chat_template` must be a string, a list of objects with the strings `name` and `template`, or an object whose values are strings");
    }
}
