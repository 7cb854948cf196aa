//! Datasets and APIs that are separate programs: the child process or the socket, the lines
//! exchanged, and what they mean to the engine. The protocol is in `docs/plugin-protocol.md`.
//!
//! ```text
//! place ─► child or socket ─► wire ─► plugin ─► dataset, api
//! ```
//!
//! It must not know the command line, or what a plugin computes. Nothing here runs on a receive
//! thread: items and bodies are requested in advance, token counts after a request has ended.

mod error;

mod role;

mod place;

mod child;

mod wire;

mod plugin;

mod dataset;

mod api;

mod tracker;

pub use api::{PluginBodies, PluginCounts};
pub use child::{Listener, SECRET_VARIABLES, withhold};
pub use dataset::PluginDataset;
pub use error::{PluginError, PluginFault};
pub use place::{Place, PlaceError, TrackerPlace};
pub use plugin::{Hello, Patience, Pending, Plugin};
pub use role::Role;
pub use tracker::{Begin, Tracker};
// only for the fuzz target `plugin_wire`: without a process, the wire cannot be reached in any
// other way
#[doc(hidden)]
pub use wire::{Conversation, conversation};
