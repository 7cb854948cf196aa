//! Data sets and APIs that are programs of their own: the child process or the
//! socket, the lines that go back and forth, and what they mean to the engine.
//! The protocol is in `docs/plugin-protocol.md`.
//!
//! ```text
//! place ─► child or socket ─► wire ─► plugin ─► dataset, api
//! ```
//!
//! It must not know the command line, nor what a plugin computes. Nothing of it
//! runs on a receiving thread: items and bodies are asked for ahead of their
//! use, token counts after a request has ended.

mod api;
mod child;
mod dataset;
mod error;
mod place;
mod plugin;
mod tracker;
mod wire;

pub use api::{PluginBodies, PluginCounts};
pub use child::{Listener, SECRET_VARIABLES, withhold};
pub use dataset::PluginDataset;
pub use error::{PluginError, PluginFault};
pub use place::{Place, PlaceError, TrackerPlace};
pub use plugin::{Hello, Patience, Pending, Plugin, Role};
pub use tracker::{Begin, Tracker};
// for the fuzz target `plugin_wire` alone: the wire has no other face without a process behind it
#[doc(hidden)]
pub use wire::{Conversation, conversation};
