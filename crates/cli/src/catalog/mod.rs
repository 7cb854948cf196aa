//! Owns the lists of what is built in: a row per API, a row per dataset, and what is to come.
//!
//! It must not know flags, nor what a command does with a row.

pub(crate) mod row;

pub(crate) mod apis;
mod conversations;
mod dataset_row;
pub(crate) mod datasets;
mod inputs;
