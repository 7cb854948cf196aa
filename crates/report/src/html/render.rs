//! Owns how the page is put together: template, style, script and texts in one file, and the policy that
//! lets nothing else in.
//!
//! It must not know what the page says.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, context};
use sha2::{Digest, Sha256};

use super::page::Page;
use super::svg;
use super::text::{Texts, label_key};
use crate::model::Lang;
use crate::sqlite::StoreError;

const TEMPLATE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");
/// The parts of the script, in one scope.
const SCRIPT: [&str; 6] = [
    include_str!("script/page.js"),
    include_str!("script/scale.js"),
    include_str!("script/draw.js"),
    include_str!("script/charts.js"),
    include_str!("script/sweep.js"),
    include_str!("script/requests.js"),
];

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A database could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The template did not accept what it was given.
    #[error("the template does not fit what it is given; please report it")]
    Template(#[from] Error),
}

/// A page as text, with the data for its script.
pub(super) fn render(page: &Page, data: &str, lang: Lang) -> Result<String, PageError> {
    let texts = Texts::of(lang);
    let all = [Lang::En, Lang::Zh].map(Texts::of);
    let both: serde_json::Map<String, serde_json::Value> = [Lang::En, Lang::Zh]
        .iter()
        .zip(&all)
        .map(|(of, texts)| {
            let texts = serde_json::json!(texts.for_script(*of == lang));
            (of.tag().to_owned(), texts)
        })
        .collect();
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    let own = texts.clone();
    environment.add_function("t", move |key: String, with: Rest<String>| {
        text(&own, &key, &with)
    });
    let own = texts.clone();
    environment.add_function("said", move |said: Value| {
        let key = said.get_attr("key")?.to_string();
        let with = said.get_attr("with")?.try_iter()?;
        let with: Vec<String> = with.map(|part| part.to_string()).collect();
        text(&own, &key, &with)
    });
    let own = texts.clone();
    environment.add_function("words", move |key: String| {
        own.get(&key)
            .map(str::to_owned)
            .ok_or_else(|| unknown(&key))
    });
    environment.add_function("label", move |label: String| {
        let key = label_key(&label);
        match texts.get(&key) {
            // its key is its text
            Some(text) if key.strip_prefix("label.") == Some(text) => {
                let text = escaped(text);
                Ok(Value::from_safe_string(format!(
                    "<span data-l>{text}</span>"
                )))
            }
            Some(_) => text(&texts, &key, &[]),
            None => Ok(Value::from(label)),
        }
    });
    environment.add_template("report.html", TEMPLATE)?;
    let script = script();
    let hash = BASE64_STANDARD.encode(Sha256::digest(script.as_bytes()));
    let page = environment.get_template("report.html")?.render(context! {
        page => Value::from(Serde(page)),
        style => Value::from_safe_string(style()),
        script => Value::from_safe_string(script),
        script_hash => Value::from_safe_string(hash),
        data => Value::from_safe_string(data.to_owned()),
        chart_texts => Value::from_safe_string(json_in_html(&serde_json::json!(page.chart_texts()))),
        texts => Value::from_safe_string(json_in_html(&serde_json::Value::from(both))),
    })?;
    Ok(page)
}

/// The style sheets without the spaces that only their readers here need; none stands inside a text.
pub(crate) fn style() -> String {
    let mut style = [STYLE, svg::STYLE].map(without_margin).join("\n");
    for (spaced, close) in [
        (": ", ":"),
        ("; ", ";"),
        (", ", ","),
        (" {", "{"),
        ("{ ", "{"),
    ] {
        style = style.replace(spaced, close);
    }
    style
}

/// The script without its comments, which only its readers here need.
fn script() -> String {
    let parts: Vec<String> = SCRIPT.iter().map(|part| without_margin(part)).collect();
    format!("\"use strict\";{{\n{}\n}}", parts.join("\n"))
}

/// Lines without indentation; none that is empty or a comment.
fn without_margin(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn unknown(key: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("no text `{key}`"))
}

/// A text that the script can show in the other language.
fn text(texts: &Texts, key: &str, with: &[String]) -> Result<Value, Error> {
    let text = texts.filled(key, with).ok_or_else(|| unknown(key))?;
    let with = if with.is_empty() {
        String::new()
    } else {
        let with = serde_json::json!(with).to_string();
        format!(" data-with=\"{}\"", escaped(&with))
    };
    let key = escaped(key);
    let text = escaped(&text);
    Ok(Value::from_safe_string(format!(
        "<span data-t=\"{key}\"{with}>{text}</span>"
    )))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// JSON that cannot end the element that it stands in.
fn json_in_html(value: &serde_json::Value) -> String {
    let text = value.to_string();
    text.replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
