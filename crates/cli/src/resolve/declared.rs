//! Owns reading files that declare an API, with errors that name file, line and key.
//!
//! It must not know how a declaration reads responses.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context;
use evalscope_core::protocol::declared::Declaration;

use crate::failure::hinted;
use crate::flags::choices::ApiChoice;

/// The longest declaration, 1 MiB. The one for OpenAI's API has two thousand bytes.
const MOST_BYTES: u64 = 1 << 20;

/// The declaration that `--api` names, if it names one; `stream`: streams are
/// asked for.
pub(crate) fn of(api: &ApiChoice, stream: bool) -> anyhow::Result<Option<Declaration>> {
    match api {
        ApiChoice::Declared(path) => read(path, stream).map(Some),
        _ => Ok(None),
    }
}

fn read(path: &Path, stream: bool) -> anyhow::Result<Declaration> {
    let shown = path.display();
    let text = text_of(path)?;
    let hint = "see docs/custom-api.md for all keys, and docs/examples/openai.toml for an example";
    let mut declaration: Declaration = toml::from_str(&text).map_err(|error| {
        let indented = error.to_string().trim_end().replace('\n', "\n  ");
        hinted(format!("{shown} does not declare an API: {indented}"), hint)
    })?;
    declaration
        .check(stream)
        .map_err(|error| hinted(format!("{shown}: {error}"), hint))?;
    if declaration.name.is_empty() {
        let stem = path.file_stem().unwrap_or_default();
        declaration.name = stem.to_string_lossy().into_owned();
    }
    // set here, so that a note can show where requests go
    declaration.path.get_or_insert_with(|| "/".to_owned());
    Ok(declaration)
}

/// The text of a declaration. Reading a pipe could block forever.
fn text_of(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let unread = || format!("cannot read the API that `--api {shown}` declares");
    let found = std::fs::metadata(path).with_context(unread)?;
    if !found.is_file() {
        let kind = if found.is_dir() {
            "a directory"
        } else {
            "a pipe or a device"
        };
        return Err(hinted(
            format!("`--api {shown}` is {kind}, not a file"),
            "give a TOML file such as docs/examples/openai.toml",
        ));
    }
    let mut text = String::new();
    let file = File::open(path).with_context(unread)?;
    // its length is not known beforehand everywhere, as in /proc
    let read = file.take(MOST_BYTES + 1).read_to_string(&mut text);
    if found.len().max(text.len() as u64) > MOST_BYTES {
        return Err(hinted(
            format!("{shown} does not declare an API: it is longer than {MOST_BYTES} bytes"),
            "give a TOML file such as docs/examples/openai.toml",
        ));
    }
    read.with_context(unread)?;
    Ok(text)
}

/// The headers of a declaration.
#[derive(Debug, Default)]
pub(crate) struct DeclaredHeaders {
    pub(crate) fields: Vec<(String, String)>,
    /// They say where the key goes.
    pub(crate) carry_key: bool,
}

/// The place of the key in a header.
const KEY_PLACE: &str = "%{api_key}";

/// The headers of a declaration. Those that need a key are left out without one.
pub(crate) fn headers(declaration: &Declaration, key: Option<&str>) -> DeclaredHeaders {
    let mut headers = DeclaredHeaders::default();
    for (name, value) in &declaration.headers {
        let value = value.as_str().unwrap_or_default();
        if !value.contains(KEY_PLACE) {
            headers.fields.push((name.clone(), value.to_owned()));
            continue;
        }
        headers.carry_key = true;
        if let Some(key) = key {
            headers
                .fields
                .push((name.clone(), value.replace(KEY_PLACE, key)));
        }
    }
    headers
}
