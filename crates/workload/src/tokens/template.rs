//! Owns a chat template: Jinja as models ship it, rendered like in the Python library (block
//! trimming, Python's string methods, the functions and variables that real templates use).

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{Environment, Error, ErrorKind};
use serde::Serialize as _;
use serde_json::{Map, Value};

const NAME: &str = "chat";

/// Special tokens that templates name.
const TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
];

/// A parsed chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// `bos_token` and the like.
    tokens: Vec<(&'static str, String)>,
}

/// Options for the chat template in a request, besides its messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// `chat_template_kwargs`: further variables of the template.
    pub variables: Option<Map<String, Value>>,
    /// `tools`.
    pub tools: Option<Value>,
}

impl Asked {
    /// The fields of a body that reach the template.
    #[must_use]
    pub fn of(body: &Map<String, Value>) -> Self {
        let field = |name: &str| body.get(name).filter(|value| !value.is_null());
        Self {
            variables: field("chat_template_kwargs")
                .and_then(Value::as_object)
                .cloned(),
            tools: field("tools").cloned(),
        }
    }

    /// Fill in what is missing from `others`.
    pub(super) fn or(self, others: &Self) -> Self {
        Self {
            variables: self.variables.or_else(|| others.variables.clone()),
            tools: self.tools.or_else(|| others.tools.clone()),
        }
    }
}

/// Why a chat template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// There is no template.
    #[error("it does not exist")]
    None,
    /// It is not valid Jinja.
    #[error("cannot be parsed: {0}")]
    Syntax(String),
    /// It rejects these messages, or calls something undefined.
    #[error("cannot render the messages: {0}")]
    Render(String),
}

impl ChatTemplate {
    /// Parse a template. `config` is the tokenizer's configuration, for its special tokens.
    ///
    /// # Errors
    /// If it is not valid Jinja.
    pub fn new(source: &str, config: &Value) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the default delimiters are valid"));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Jinja, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_function("strftime_now", |format: String| {
            jiff::Zoned::now().strftime(&format).to_string()
        });
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| TemplateError::Syntax(said(&error)))?;
        let tokens = TOKENS
            .iter()
            .filter_map(|name| {
                let value = config.get(name)?;
                let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
                Some((*name, text.to_owned()))
            })
            .collect();
        Ok(Self {
            environment,
            tokens,
        })
    }

    /// The text of a conversation, up to the start of the reply.
    ///
    /// # Errors
    /// If the template rejects the messages.
    pub fn render(&self, messages: &[Value], asked: &Asked) -> Result<String, TemplateError> {
        let tools = asked.tools.as_ref();
        let mut variables: Vec<(&str, Jinja)> = vec![
            ("messages", Serde(messages).into()),
            ("add_generation_prompt", true.into()),
            (
                "tools",
                tools.map_or(().into(), |tools| Serde(tools).into()),
            ),
            ("documents", ().into()),
        ];
        for (name, text) in &self.tokens {
            variables.push((name, text.as_str().into()));
        }
        // the last value of a name counts, and on servers a request can override any
        for (name, value) in asked.variables.iter().flatten() {
            variables.push((name, Serde(value).into()));
        }
        let context = Jinja::from_pairs(variables);
        let template = self.environment.get_template(NAME);
        template
            .and_then(|template| template.render(context))
            .map_err(|error| TemplateError::Render(said(&error)))
    }
}

/// `{% generation %}` marks the reply for training; it renders nothing.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let Some(end) = rest[at..].find("%}").map(|end| at + end + 2) else {
            break;
        };
        let inside = rest[at + 2..end - 2].trim_matches(['-', '+']).trim();
        if matches!(inside, "generation" | "endgeneration") {
            // a comment preserves the whitespace trimming
            let tag = &rest[at..end];
            let left = if tag.starts_with("{%-") { "{#-" } else { "{#" };
            let right = if tag.ends_with("-%}") { "-#}" } else { "#}" };
            out.push_str(&rest[..at]);
            out.push_str(left);
            out.push_str(right);
        } else {
            out.push_str(&rest[..end]);
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// JSON as Python writes it: a space after `,` and `:`, and no HTML escaping.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature required of filters"
)]
fn tojson(value: &Jinja, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Python's options that have no effect here
    for name in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<Jinja> = options.get(name)?;
    }
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = " ".repeat(width);
            let format = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(
                &mut bytes, format,
            ))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes, Spaced,
        )),
    };
    written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Spaced;

impl serde_json::ser::Formatter for Spaced {
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
}

/// The error and its line number, on one line.
fn said(error: &Error) -> String {
    let mut text = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    if let Some(line) = error.line() {
        text = format!("{text} (line {line})");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str, messages: &Value) -> Result<String, String> {
        let config =
            json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null});
        let template = ChatTemplate::new(source, &config).map_err(|e| e.to_string())?;
        template
            .render(messages.as_array().unwrap(), &Asked::default())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn chatml_as_qwen_ships_it() {
        let source = "{%- for message in messages %}\n    {%- if loop.first and message.role != 'system' %}\n        {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}\n    {%- endif %}\n    {{- '<|im_start|>' + message['role'] + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n";
        let text = render(source, &json!([{"role": "user", "content": "hi"}])).unwrap();
        assert_eq!(
            text,
            "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn what_templates_in_the_wild_call() {
        let user = json!([{"role": "user", "content": "  hi "}]);
        for (source, want) in [
            (
                "{{ bos_token }}[INST] {{ messages[0]['content'] | trim }} [/INST]{{ eos_token }}",
                "<s>[INST] hi [/INST]</s>",
            ),
            (
                "{{ messages[0].content.strip() }}|{{ messages[0]['content'].startswith(' ') }}",
                "hi|True",
            ),
            (
                "{% if tools is defined and tools %}T{% else %}no{% endif %}",
                "no",
            ),
            (
                "{% if not date_string is defined %}{% set date_string = strftime_now('%Y') %}{% endif %}{{ date_string | length }}",
                "4",
            ),
            (
                "{% set ns = namespace(a=false) %}{% for m in messages %}{% set ns.a = true %}{% endfor %}{{ ns.a }}",
                "True",
            ),
            (
                "{{ messages | tojson }}",
                "[{\"role\": \"user\", \"content\": \"  hi \"}]",
            ),
            (
                "{% for m in messages %}{% if m.role == 'x' %}{% continue %}{% endif %}{% generation %}{{ m.content.split(' ')[-2] }}{% endgeneration %}{% endfor %}",
                "hi",
            ),
            (
                "{{ messages[0].get('name', 'none') }}{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(1) }}",
                "none<1>",
            ),
            ("{{- messages[::-1][0].role }}", "user"),
            (
                "{% if messages[0].content is string %}s{% endif %}{{ 'a' ~ 1 }}",
                "sa1",
            ),
        ] {
            assert_eq!(render(source, &user).as_deref(), Ok(want), "{source}");
        }
    }

    #[test]
    fn what_a_request_asks_reaches_the_template() {
        let source = "{{ 'T' ~ tools | length if tools else 'none' }}|{{ enable_thinking is defined and enable_thinking is false }}|{{ add_generation_prompt }}|{{ bos_token }}|{{ style.name | default('-') if style is defined else '-' }}";
        let template = ChatTemplate::new(source, &json!({"bos_token": "<s>"})).unwrap();
        let render = |body: Value| {
            let asked = Asked::of(body.as_object().unwrap());
            template.render(&[], &asked).unwrap()
        };
        assert_eq!(render(json!({})), "none|False|True|<s>|-");
        assert_eq!(
            render(json!({
                "tools": [{"type": "function"}, {}],
                "chat_template_kwargs": {"enable_thinking": false, "style": {"name": "n"}},
            })),
            "T2|True|True|<s>|n"
        );
        let over = json!({"tools": null, "chat_template_kwargs": {"add_generation_prompt": false, "bos_token": "<b>"}});
        assert_eq!(render(over), "none|False|False|<b>|-");
    }

    #[test]
    fn refusals_say_why() {
        let error = |source| render(source, &json!([])).unwrap_err();
        insta::assert_snapshot!(error("{{ raise_exception('roles must alternate') }}"), @"cannot render the messages: roles must alternate (line 1)");
        insta::assert_snapshot!(error("{% for %}"), @"cannot be parsed: unexpected end of block, expected in (line 1)");
        insta::assert_snapshot!(error("\n{{ nothing_there() }}"), @"cannot render the messages: nothing_there is unknown (line 2)");
    }
}
