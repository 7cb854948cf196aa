//! Owns the location and the reading of a tokenizer's files.
//!
//! It must not know what is in them.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::error::TokenizerError;

/// The file that every tokenizer has.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Special tokens, and often the chat template.
pub const CONFIG_FILE: &str = "tokenizer_config.json";
/// The chat template, if it is in a separate file.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";
/// The same as JSON, for models whose processor also takes images.
pub const PROCESSOR_TEMPLATE_FILE: &str = "chat_template.json";

/// Bytes at the start of a file that reveal its format.
const HEAD_BYTES: u64 = 4096;

/// The files of a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// `tokenizer_config.json`.
    pub config: Option<PathBuf>,
    /// `chat_template.jinja`; overrides every other template.
    pub template: Option<PathBuf>,
    /// `chat_template.json`, used by image processors; overrides the template in the configuration.
    pub processor_template: Option<PathBuf>,
}

impl TokenizerFiles {
    /// Files of tokenizers that have no `tokenizer.json`.
    pub const OTHERS: [&str; 4] = [
        "tokenizer.model",
        "tiktoken.model",
        "tekken.json",
        "vocab.json",
    ];

    /// The files in a directory, or beside a `tokenizer.json`.
    ///
    /// # Errors
    /// If there is no `tokenizer.json`, or a file exists and cannot be accessed.
    pub fn at(path: &Path) -> Result<Self, TokenizerError> {
        let tokenizer = if path.is_dir() {
            path.join(TOKENIZER_FILE)
        } else {
            path.to_owned()
        };
        if !is_there(&tokenizer)? {
            return Err(missing(path));
        }
        if tokenizer == path
            && let Some(form) = other_form(path)
        {
            let what = format!("it is {form}, which is not supported; use a `{TOKENIZER_FILE}`");
            return Err(TokenizerError::Missing {
                path: path.to_owned(),
                what,
                other_form: true,
            });
        }
        let folder = tokenizer.parent().unwrap_or(Path::new("."));
        let there = |name| {
            let file = folder.join(name);
            Ok::<_, TokenizerError>(is_there(&file)?.then_some(file))
        };
        Ok(Self {
            config: there(CONFIG_FILE)?,
            template: there(TEMPLATE_FILE)?,
            processor_template: there(PROCESSOR_TEMPLATE_FILE)?,
            tokenizer,
        })
    }
}

/// Whether the file exists. A file that cannot be accessed does not count as missing: silently
/// skipping a template would give wrong counts.
fn is_there(path: &Path) -> Result<bool, TokenizerError> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => {
                let target = target.display();
                let reason = format!("it is a link to {target}, which does not exist");
                Err(unread(path, reason))
            }
            Err(_) => Ok(false),
        },
        // `file/tokenizer.json`
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(unread(path, error.to_string())),
    }
}

/// Read a whole file. Refuses a pipe, which might never end.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let found = fs::metadata(path).map_err(|error| unread(path, error.to_string()))?;
    if !found.is_file() {
        let reason = if found.is_dir() {
            "it is a directory, but must be a file"
        } else {
            "it is a pipe or a device, but must be a file"
        };
        return Err(unread(path, reason.to_owned()));
    }
    fs::read(path).map_err(|error| unread(path, error.to_string()))
}

fn unread(path: &Path, reason: String) -> TokenizerError {
    TokenizerError::Read {
        path: path.to_owned(),
        reason,
    }
}

/// The format of a tokenizer other than `tokenizer.json`, by its start and its name.
fn other_form(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy();
    let named = |part: &str| name.ends_with(part);
    let mut head = Vec::new();
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file);
    if file.is_some() {
        let file = fs::File::open(path).ok()?;
        file.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    }
    if is_ranks(&head) {
        return Some("a tiktoken rank file");
    }
    if named("tekken.json") {
        return Some("Mistral's tekken");
    }
    if named(".tiktoken") || named("tiktoken.model") {
        return Some("a tiktoken rank file");
    }
    if named("tokenizer.model") {
        return Some("a SentencePiece model");
    }
    None
}

/// Whether these are tiktoken ranks: on each line a token in base64 and its rank.
fn is_ranks(head: &[u8]) -> bool {
    let Some(line) = head.split(|byte| *byte == b'\n').next() else {
        return false;
    };
    let mut parts = line.trim_ascii_end().split(|byte| *byte == b' ');
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let (Some(token), Some(rank), None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    !token.is_empty()
        && token.len().is_multiple_of(4)
        && token.iter().all(base64)
        && !rank.is_empty()
        && rank.iter().all(u8::is_ascii_digit)
}

fn missing(path: &Path) -> TokenizerError {
    let there = TokenizerFiles::OTHERS
        .iter()
        .find(|name| path.join(name).exists());
    let what = match there {
        _ if !path.exists() => "there is no such file or directory".to_owned(),
        None => format!("it contains no `{TOKENIZER_FILE}`"),
        Some(name) => match other_form(&path.join(name)) {
            Some(form) => {
                format!("it contains `{name}`, {form}, but no `{TOKENIZER_FILE}`")
            }
            None => format!("it contains a `{name}`, but no `{TOKENIZER_FILE}`"),
        },
    };
    TokenizerError::Missing {
        path: path.to_owned(),
        what,
        other_form: there.is_some() && path.exists(),
    }
}
