//! Owns what a line of a trace says, whatever its format, and the units of its moments.
//!
//! It must not know formats.

use serde_json::{Map, Value};

/// What a line says.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) moment: Moment,
    /// Tokens of the prompt; `None` where it has its own content.
    pub(super) input_tokens: Option<u64>,
    /// Tokens of the response.
    pub(super) output_tokens: Option<u64>,
    /// Ids of its blocks, in order. Kept from row to row for its memory.
    pub(super) ids: Vec<u64>,
    pub(super) session: Session,
    pub(super) content: Content,
    /// The request was recorded without a response.
    pub(super) has_failed: bool,
}

/// When a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Nanoseconds from a beginning that all lines of a file share.
    At(i64),
    /// Nanoseconds after the request before it in its session.
    After(i64),
}

impl Default for Moment {
    fn default() -> Self {
        Self::At(0)
    }
}

/// What a request belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Session {
    /// The trace does not say.
    #[default]
    None,
    /// A session with a name.
    Named(String),
    /// A chat that continues another one.
    Chat {
        id: i64,
        /// `None`: it is the first.
        parent: Option<i64>,
    },
}

/// What a request asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Content {
    /// A text is made, of the length and the blocks that the trace tells.
    #[default]
    Made,
    /// It has content of its own, which was not read.
    Skipped,
    Text(String),
    Messages(Vec<Value>),
    Body {
        body: Map<String, Value>,
        headers: Vec<(String, String)>,
    },
}

/// How much of a line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Moments and lengths.
    Lengths,
    /// Everything.
    Full,
}

impl Row {
    /// Ready for the next line.
    pub(super) fn clear(&mut self) {
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        *self = Self {
            ids,
            ..Self::default()
        };
    }
}
