//! Owns the prompts of a command: which dataset, its files and tokenizer, and opening it for each run.
//!
//! It must not know the server.

pub(crate) mod fetch;
pub(crate) mod plan;

mod tokenizer;

mod prompts;
mod trace;

mod prepare;

pub(crate) use plan::{DEFAULT_LENGTHS, DatasetKind, PromptPlan};
pub(crate) use prompts::{BAD_LINE, Prompts};
