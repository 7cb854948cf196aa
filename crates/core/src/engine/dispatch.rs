//! Owns what is known of a request when it is dispatched.

use evalscope_model::conversation::TurnPlace;
use evalscope_model::mix::{ModelId, UrlId};
use evalscope_model::prompt::TraceEntry;
use evalscope_model::record::Phase;
use evalscope_model::time::Timestamp;

/// What is known of a request before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch {
    /// Position in its phase.
    pub index: u64,
    /// Whether it counts.
    pub phase: Phase,
    /// When the schedule wanted it sent.
    pub scheduled: Timestamp,
    /// When it was due and the load had room for it.
    pub slot_free: Timestamp,
    /// When its task took it up.
    pub dispatched: Timestamp,
    /// A stream was asked for.
    pub stream: bool,
    /// Output was asked for.
    pub output_asked: bool,
    /// Tokens that the prompt was to have.
    pub asked_tokens: Option<u64>,
    /// Tokens of output that the dataset asks for.
    pub asked_output_tokens: Option<u64>,
    /// Which turn of which conversation it is.
    pub turn: Option<TurnPlace>,
    /// Where it stands in a trace.
    pub trace: Option<TraceEntry>,
    /// The model that it asks for.
    pub model: Option<ModelId>,
    /// Where it is sent; `None`: it is not sent.
    pub url: Option<UrlId>,
}
