//! Owns the stages that a command's events go through before they are stored: each changes
//! exchanges in one way.

mod mask;
mod plugin;
mod tokens;

pub(crate) use mask::Mask;
pub(crate) use plugin::PluginCounting;
pub(crate) use tokens::{TokenCounter, TokenCounting};
