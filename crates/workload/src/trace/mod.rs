//! Owns traces: files that say when requests came, how long they were and what they shared. One file
//! per format, and what all formats have in common: the options, the first pass over a file, and the
//! prompts made from it.
//!
//! It must not know APIs, HTTP, or how requests are sent.

mod error;
mod lines;
mod row;
mod settings;

mod recorded;

mod formats;

mod blocks;
mod possible;
mod select;

mod replay;
mod source;

pub use blocks::Blocks;
pub use error::TraceError;
pub use formats::TraceKind;
pub use possible::Seen;
pub use replay::Trace;
pub use settings::{Sessions, TimeUnit, TraceSettings};
pub use source::{TracePrompts, TraceSource};

#[cfg(test)]
mod tests;
