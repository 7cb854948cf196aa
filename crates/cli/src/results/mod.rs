//! Owns what is known of results before there are any: their folder, their size, the machine they are
//! recorded with.
//!
//! It must not know what is measured.

pub(crate) mod disk;
pub(crate) mod folder;
pub(crate) mod host;
