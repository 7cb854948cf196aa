//! Owns chat templates: where a tokenizer's directory keeps its template, and rendering a
//! conversation with it as the `transformers` library would.
//!
//! It must not know token ids, requests or sockets.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, ErrorKind, Value as Jinja};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use serde_json::{Map, Value, json};

/// The template for conversations if there is no other: `ChatML`, the format of the Qwen family and
/// many others.
const CHAT_ML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + \
                       message.content + '<|im_end|>\n' }}{% endfor %}\
                       {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The name of the only template in the environment.
const NAME: &str = "chat";

/// Why there is no usable template.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not JSON: {source}", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("the chat template is not valid: {source}")]
    Syntax { source: minijinja::Error },
}

/// A conversation as templates see it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conversation<'a> {
    pub(crate) messages: Vec<Message<'a>>,
    /// Number of images in the messages.
    pub(crate) images: u64,
    pub(crate) tools: Option<&'a Value>,
    /// vLLM's `chat_template_kwargs`: additional variables of the template.
    pub(crate) variables: Option<&'a Map<String, Value>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Message<'a> {
    pub(crate) role: &'a str,
    /// The texts of its parts; a plain text is one part.
    pub(crate) texts: Vec<&'a str>,
    /// The message as it was sent, for fields that only a template knows.
    pub(crate) fields: Option<&'a Map<String, Value>>,
}

impl Message<'_> {
    fn to_json(&self) -> Value {
        let mut fields = self.fields.cloned().unwrap_or_default();
        fields.insert("role".to_owned(), self.role.into());
        // As vLLM does for templates that expect a single text. Images have no text.
        fields.insert("content".to_owned(), self.texts.join("\n").into());
        Value::Object(fields)
    }
}

/// A parsed template.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    /// Texts such as `bos_token` that templates refer to by name.
    special_tokens: Map<String, Value>,
}

impl ChatTemplate {
    /// The template of a directory, else [`CHAT_ML`].
    pub(crate) fn load(directory: Option<&Path>) -> Result<Self, TemplateError> {
        let read = |name: &str| match directory.map(|directory| directory.join(name)) {
            Some(path) if path.exists() => match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Some((path, text))),
                Err(source) => Err(TemplateError::Read { path, source }),
            },
            _ => Ok(None),
        };
        let config = match read("tokenizer_config.json")? {
            Some((path, text)) => serde_json::from_str(&text)
                .map_err(|source| TemplateError::Json { path, source })?,
            None => Value::Null,
        };
        let special_tokens = config
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.ends_with("_token"))
            .filter_map(|(name, token)| {
                let text = token.as_str().or_else(|| token["content"].as_str())?;
                Some((name.clone(), Value::from(text)))
            })
            .collect();
        // A separate file overrides the configuration, as in transformers; for models with images
        // it may be JSON.
        let processor = match read("chat_template.json")? {
            Some((path, text)) => serde_json::from_str(&text)
                .map_err(|source| TemplateError::Json { path, source })?,
            None => Value::Null,
        };
        let source = match read("chat_template.jinja")? {
            Some((_, text)) => text,
            None => named_default(&processor["chat_template"])
                .or_else(|| named_default(&config["chat_template"]))
                .unwrap_or(CHAT_ML)
                .to_owned(),
        };
        Self::new(source, special_tokens).map_err(|source| TemplateError::Syntax { source })
    }

    fn new(source: String, special_tokens: Map<String, Value>) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        environment.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build()?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| {
            Err::<Jinja, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source)?;
        Ok(ChatTemplate {
            environment,
            special_tokens,
        })
    }

    pub(crate) fn render(
        &self,
        conversation: &Conversation<'_>,
        add_generation_prompt: bool,
    ) -> Result<String, minijinja::Error> {
        let messages: Vec<Value> = conversation.messages.iter().map(Message::to_json).collect();
        let mut variables = self.special_tokens.clone();
        variables.extend([
            ("messages".to_owned(), Value::Array(messages)),
            (
                "tools".to_owned(),
                conversation.tools.cloned().unwrap_or_default(),
            ),
            ("documents".to_owned(), Value::Null),
            (
                "add_generation_prompt".to_owned(),
                json!(add_generation_prompt),
            ),
        ]);
        variables.extend(conversation.variables.cloned().into_iter().flatten());
        self.environment
            .get_template(NAME)?
            .render(Serde(variables))
    }
}

/// `chat_template` of a configuration is a string, or a list of strings with names.
fn named_default(template: &Value) -> Option<&str> {
    template.as_str().or_else(|| {
        template
            .as_array()?
            .iter()
            .find(|named| named["name"] == "default")?["template"]
            .as_str()
    })
}

/// Python's `json.dumps`, as in templates of transformers: minijinja's own filter escapes HTML.
#[expect(
    clippy::needless_pass_by_value,
    reason = "filters get their options by value"
)]
fn to_json(value: &Jinja, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    // Text is never escaped to ASCII and keys are never sorted: no known template needs either.
    options.get::<Option<Jinja>>("ensure_ascii")?;
    options.get::<Option<Jinja>>("sort_keys")?;
    options.get::<Option<Jinja>>("separators")?;
    options.assert_all_used()?;
    let serialized = match indent {
        Some(width) => {
            let spaces = " ".repeat(width);
            serialize(value, PrettyFormatter::with_indent(spaces.as_bytes()))
        }
        None => serialize(value, Spaced(CompactFormatter)),
    };
    serialized
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

fn serialize(value: &Jinja, formatter: impl Formatter) -> Result<String, serde_json::Error> {
    let mut out = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut out, formatter,
    ))?;
    Ok(String::from_utf8(out).expect("serde_json writes UTF-8"))
}

/// Python's separators: a space after each comma and colon.
struct Spaced(CompactFormatter);

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_null<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.write_null(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(role: &'a str, texts: &[&'a str]) -> Message<'a> {
        Message {
            role,
            texts: texts.to_vec(),
            fields: None,
        }
    }

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source.to_owned(), Map::new()).expect(source)
    }

    #[test]
    fn chat_ml_without_a_template() {
        let template = ChatTemplate::load(None).expect("built in");
        let conversation = Conversation {
            messages: vec![
                message("system", &["be brief"]),
                message("user", &["a", "b"]),
            ],
            ..Conversation::default()
        };
        let text = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\na\nb<|im_end|>\n";
        assert_eq!(
            template.render(&conversation, false).expect("renders"),
            text
        );
        assert_eq!(
            template.render(&conversation, true).expect("renders"),
            format!("{text}<|im_start|>assistant\n")
        );
    }

    #[test]
    fn templates_have_what_transformers_gives_them() {
        let tools = json!([{"name": "<f>", "n": [1, 2]}]);
        let variables = Map::from_iter([("enable_thinking".to_owned(), json!(false))]);
        let fields = Map::from_iter([("name".to_owned(), json!("bob"))]);
        let conversation = Conversation {
            messages: vec![Message {
                fields: Some(&fields),
                ..message("user", &[" hi "])
            }],
            tools: Some(&tools),
            variables: Some(&variables),
            images: 0,
        };
        let template = template(
            "{% for message in messages %}\n  {% if loop.first %}\n{{ message['content'].strip() }}|\
             {{ message.name.upper() }}|{{ tools | tojson }}|{{ tools[0].n | tojson(indent=1) }}\n  \
             {% endif %}\n{% endfor %}{% if enable_thinking is false %}!{% endif %}\
             {% for i in [1, 2] %}{% break %}{% endfor %}{{ messages[1:] | length }}\
             {% if documents is none and strftime_now is not defined %}.{% endif %}",
        );
        assert_eq!(
            template.render(&conversation, true).expect("renders"),
            "hi|BOB|[{\"name\": \"<f>\", \"n\": [1, 2]}]|[\n 1,\n 2\n]\n!0."
        );
    }

    #[test]
    fn a_template_can_refuse() {
        let error = template("{{ raise_exception('roles must alternate') }}")
            .render(&Conversation::default(), true)
            .expect_err("refused");
        assert!(
            error.to_string().contains("roles must alternate"),
            "{error}"
        );
    }

    #[test]
    fn the_default_of_named_templates_counts() {
        let named =
            json!([{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]);
        assert_eq!(named_default(&named), Some("d"));
        assert_eq!(named_default(&json!("plain")), Some("plain"));
        assert_eq!(named_default(&Value::Null), None);
    }
}
