//! Owns how a command ends: exit codes, and how an error is shown.
//!
//! It must not know what a command does.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use crate::{caller, console};

/// No request succeeded, `--max-error-rate` was exceeded, or not all results could be written.
pub(crate) const FAILED: u8 = 1;
/// A wrong command, or a server that failed the test request.
pub(crate) const USAGE: u8 = 2;
/// A rule failed: `--fail-if`.
pub(crate) const RULE_FAILED: u8 = 3;
/// It is unclear whether a rule failed, and `--strict` was given.
pub(crate) const UNCLEAR: u8 = 4;
/// Stopped by Ctrl-C or SIGTERM: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// An error with a hint.
#[derive(Debug)]
pub(crate) struct Hinted {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

/// An error with a hint.
pub(crate) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Hinted {
        message: message.into(),
        hint: hint.into(),
    })
}

/// A command that has measured something, but did not finish properly.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// What did not work.
    pub(crate) what: &'static str,
    pub(crate) source: anyhow::Error,
    /// What can be done with what was measured.
    pub(crate) hint: String,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for Unfinished {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// Show an error, if there is one, and turn the result into an exit code.
pub(crate) fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(ExitCode::SUCCESS) if console::out_failed() => {
            console::error("error: the tables could not be written to stdout");
            return ExitCode::from(FAILED);
        }
        Ok(code) => return code,
        Err(error) => error,
    };
    caller::show_error(&render(&error));
    if error.is::<Unfinished>() {
        ExitCode::from(FAILED)
    } else {
        ExitCode::from(USAGE)
    }
}

fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        let _ = write!(text, "\n  caused by: {cause}");
    }
    for cause in error.chain() {
        let hinted = cause.downcast_ref::<Hinted>().map(|error| &error.hint);
        let unfinished = cause.downcast_ref::<Unfinished>().map(|error| &error.hint);
        if let Some(hint) = hinted.or(unfinished) {
            let _ = write!(text, "\n  hint: {hint}");
        }
    }
    // errors of other crates bring their hint with them
    text.replace("\nhint: ", "\n  hint: ")
}
