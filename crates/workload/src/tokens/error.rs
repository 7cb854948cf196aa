//! Owns why a tokenizer cannot be used, in words for the user who named it.

use std::path::PathBuf;

use super::template::TemplateError;

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// There is nothing at the path.
    #[error("no tokenizer at {path}: {what}", path = path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What was looked for.
        what: String,
        /// There is a tokenizer in a format that is not supported.
        other_form: bool,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file does not have the expected format.
    #[error("{path} is not a {what}: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The expected format.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The chat template cannot be used.
    #[error("the chat template of {path}", path = path.display())]
    Template {
        /// The file it is from, or the tokenizer if there is no template.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: TemplateError,
    },
    /// The length of the chat template's output is not that of the prompt plus a fixed frame.
    #[error(
        "the chat template of {path} {what}, so only plain prompts and ids can be given an exact length",
        path = path.display()
    )]
    Unfaithful {
        /// The file it is from.
        path: PathBuf,
        /// What it does to a prompt.
        what: String,
    },
    /// No prompt can be as short as requested.
    #[error("prompts of at most {max} tokens are impossible: {}", takes(*overhead))]
    NoRoom {
        /// The longest requested prompt.
        max: u64,
        /// Tokens around an empty prompt.
        overhead: u64,
    },
    /// The vocabulary has no ordinary tokens.
    #[error("the vocabulary of {path} has no ordinary tokens to make prompts from", path = path.display())]
    NoWords {
        /// The tokenizer.
        path: PathBuf,
    },
}

fn takes(overhead: u64) -> String {
    if overhead == 0 {
        "a prompt has at least one token".to_owned()
    } else {
        format!("the chat template or the special tokens alone take {overhead}")
    }
}
