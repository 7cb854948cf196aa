//! Owns how a command ends: exit codes, and how an error is shown.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use crate::console;

/// No request succeeded, or `--max-error-rate` was exceeded, or results could
/// not all be written.
pub(crate) const FAILED: u8 = 1;
/// A wrong command, or a server that failed the test request.
pub(crate) const USAGE: u8 = 2;
/// Stopped by Ctrl-C or SIGTERM: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// An error with an advice on its own line.
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

/// An error with an advice on its own line.
pub(crate) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Hinted {
        message: message.into(),
        hint: hint.into(),
    })
}

/// Results that were measured but not all written.
#[derive(Debug)]
pub(crate) struct Unwritten(pub(crate) anyhow::Error);

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not everything could be written")
    }
}

impl std::error::Error for Unwritten {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// Show an error, if there is one, and turn the result into an exit code.
pub(crate) fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    console::err(&render(&error));
    if error.is::<Unwritten>() {
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
        if let Some(hinted) = cause.downcast_ref::<Hinted>() {
            let _ = write!(text, "\n  hint: {}", hinted.hint);
        }
    }
    text
}
