//! Owns where the files of a tokenizer are, and reading them.
//!
//! It must not know what they hold.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{CONFIG_FILE, TEMPLATE_FILE, TOKENIZER_FILE, TokenizerError};

/// The files of a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// `tokenizer_config.json`.
    pub config: Option<PathBuf>,
    /// `chat_template.jinja`; goes before the configuration's template.
    pub template: Option<PathBuf>,
}

impl TokenizerFiles {
    /// The files in a directory, or beside a `tokenizer.json`.
    ///
    /// # Errors
    /// When there is no `tokenizer.json`, or one of the files is there and
    /// cannot be looked at.
    pub fn at(path: &Path) -> Result<Self, TokenizerError> {
        let tokenizer = if path.is_dir() {
            path.join(TOKENIZER_FILE)
        } else {
            path.to_owned()
        };
        if !is_there(&tokenizer)? {
            return Err(missing(path));
        }
        let folder = tokenizer.parent().unwrap_or(Path::new("."));
        let there = |name| {
            let file = folder.join(name);
            Ok::<_, TokenizerError>(is_there(&file)?.then_some(file))
        };
        Ok(Self {
            config: there(CONFIG_FILE)?,
            template: there(TEMPLATE_FILE)?,
            tokenizer,
        })
    }
}

/// Whether there is something; what cannot be looked at is not taken for
/// missing, as a template that is passed over in silence makes wrong counts.
fn is_there(path: &Path) -> Result<bool, TokenizerError> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => {
                let target = target.display();
                let reason = format!("it is a link to {target}, which is not there");
                Err(unread(path, reason))
            }
            Err(_) => Ok(false),
        },
        // `file/tokenizer.json`
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(unread(path, error.to_string())),
    }
}

/// All of a file. A pipe would be waited for without end.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let found = fs::metadata(path).map_err(|error| unread(path, error.to_string()))?;
    if !found.is_file() {
        let reason = if found.is_dir() {
            "it is a directory, and must be a file"
        } else {
            "it is a pipe or a device, and must be a file"
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

fn missing(path: &Path) -> TokenizerError {
    let what = if !path.exists() {
        "there is no such file or directory".to_owned()
    } else if path.join("tokenizer.model").exists() {
        format!("it holds a SentencePiece `tokenizer.model`, but no `{TOKENIZER_FILE}`")
    } else if path.join("vocab.json").exists() {
        format!("it holds a `vocab.json`, but no `{TOKENIZER_FILE}`")
    } else {
        format!("it holds no `{TOKENIZER_FILE}`")
    };
    TokenizerError::Missing {
        path: path.to_owned(),
        what,
    }
}
