//! Owns what a calling program can ask for with environment variables: the text of an error in a
//! file instead of on stderr, and exiting when the caller does. People at a terminal set neither.
//!
//! It must not know what the command does.

use std::io::Read;

use anyhow::Context;

use crate::{console, env};

/// Show an error: on stderr, or to the caller that asked for it, which shows it itself. It may repeat
/// any input: see [`console::tame`] and [`console::shortened`].
pub(crate) fn show_error(text: &str) {
    let text = console::shortened(text);
    let text = console::tame(&text);
    if env::error_file().is_none_or(|path| std::fs::write(path, text.as_bytes()).is_err()) {
        console::error(&text);
    }
}

/// Call `gone` when the caller has ended, if it asked for that.
pub(crate) fn follow(gone: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    if !env::exits_with_parent() {
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
