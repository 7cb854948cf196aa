//! Black-box tests of plugins: Python stand-ins that behave well or badly, and the recorded
//! exchanges in `fixtures/plugin`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod dataset;
mod endings;
#[cfg(unix)]
mod fixtures;
mod scene;
