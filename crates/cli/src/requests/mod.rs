//! Owns what is known of requests before the load: where they go, how bodies are made, what a test
//! request shows.
//!
//! It must not know what is measured.

pub(crate) mod bodies;
pub(crate) mod doubts;
pub(crate) mod scheme;
pub(crate) mod vectors;

mod likeness;

pub(crate) mod preflight;

pub(crate) mod target;

pub(crate) mod models;
