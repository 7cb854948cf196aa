//! Owns what a run tells the outside.
//!
//! It must not know who listens.

use crate::metrics::ClientSnapshot;
use crate::record::Exchange;

/// What a run tells its sink, in order.
#[derive(Debug)]
pub enum SinkMessage {
    /// A request has ended.
    Exchange(Box<Exchange>),
    /// The client's own figures so far, twice a second: also the sink's tick.
    Client(Box<ClientSnapshot>),
    /// Something a reader of the figures must know.
    Warning {
        /// Which warning it is, in the sink's own terms.
        id: &'static str,
        /// The warning in words.
        text: String,
    },
}
