//! Where prompts come from: datasets, synthetic prompts of an exact length, and the tokenizers that
//! measure them.
//!
//! Modules in reading order; each may use those above it and none below. This crate must not know
//! APIs, HTTP, timing or the command line. Tokenizers, Parquet, templates and images are compiled
//! here and nowhere else.

pub mod tokens;

pub mod dataset;

pub mod trace;
