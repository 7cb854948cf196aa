//! Owns what a program that calls this one asks for beside flags, by variables
//! of the environment: the text of an error in a file of its own, and an end
//! together with the caller. A person at a terminal sets none of them.

use std::io::Read;

use anyhow::Context;

use crate::resolve::variable;

/// A file for the text of the error that ends the command.
const ERROR_FILE: &str = "EVALSCOPE_ERROR_FILE";
/// `1`: stdin is a pipe from the caller, and its end is the caller's.
const EXIT_WITH_PARENT: &str = "EVALSCOPE_EXIT_WITH_PARENT";

/// Leave the text of an error where the caller wants it.
pub(crate) fn tell_error(text: &str) {
    if let Some(path) = variable(ERROR_FILE).filter(|path| !path.is_empty()) {
        // it has been shown as well; there is nobody to tell that this failed
        let _ = std::fs::write(path, text);
    }
}

/// Call `gone` when the caller is, if it asked for that.
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
        .context("cannot wait for the end of the caller")
}
