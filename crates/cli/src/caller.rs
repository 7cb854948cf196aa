//! Owns what a calling program can ask for with environment variables: the text of an error in a
//! file instead of on stderr, and exiting when the caller does. People at a terminal set neither.

use std::io::Read;

use anyhow::Context;

use crate::console;
use crate::env::variable;

/// A file for the text of the error that ends the command, which is then not shown on stderr.
const ERROR_FILE: &str = "EVALSCOPE_ERROR_FILE";
/// `1`: stdin is a pipe from the caller, and is closed when the caller ends.
const EXIT_WITH_PARENT: &str = "EVALSCOPE_EXIT_WITH_PARENT";

/// Show an error: on stderr, or to the caller that asked for it, which shows it itself.
pub(crate) fn show_error(text: &str) {
    let path = variable(ERROR_FILE).filter(|path| !path.is_empty());
    if path.is_none_or(|path| std::fs::write(path, text).is_err()) {
        console::err(text);
    }
}

/// Call `gone` when the caller has ended, if it asked for that.
pub(crate) fn follow(gone: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    if variable(EXIT_WITH_PARENT).as_deref() != Some("1") {
        return Ok(());
    }
    let wait = move || {
        let mut stdin = std::io::stdin().lock();
        let mut rest = [0; 256];
        while stdin.read(&mut rest).is_ok_and(|read| read > 0) {}
        gone();
    };
    std::thread::Builder::new()
        .name("evalscope-caller".to_owned())
        .spawn(wait)
        .map(drop)
        .context("cannot watch for the end of the calling program")
}
