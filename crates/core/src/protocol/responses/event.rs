//! Owns the types of events of the Responses API: which bear output, and which end a response.
//!
//! It must not know what is done with an event.

/// A kind of generated output, whose events are called after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    /// `response.NAME.delta` and `response.NAME.done`.
    pub(super) name: &'static str,
    /// The field of the latter that repeats all of it.
    pub(super) whole: &'static str,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Content,
    Reasoning,
    Call,
}

/// The most frequent first.
pub(super) const CHANNELS: [Channel; 8] = [
    Channel::new("output_text", "text", Kind::Content),
    Channel::new("reasoning_text", "text", Kind::Reasoning),
    Channel::new("reasoning_summary_text", "text", Kind::Reasoning),
    Channel::new("function_call_arguments", "arguments", Kind::Call),
    Channel::new("refusal", "refusal", Kind::Content),
    Channel::new("custom_tool_call_input", "input", Kind::Call),
    Channel::new("mcp_call_arguments", "arguments", Kind::Call),
    Channel::new("code_interpreter_call_code", "code", Kind::Call),
];

impl Channel {
    const fn new(name: &'static str, whole: &'static str, kind: Kind) -> Self {
        Self { name, whole, kind }
    }

    /// The position of the channel with this name.
    fn position(name: &str) -> Option<usize> {
        CHANNELS.iter().position(|channel| channel.name == name)
    }
}

/// What an event is, by its type without `response.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A piece of the channel at this position.
    Delta(usize),
    /// The same, all of it.
    Done(usize),
    /// It says something about the response that is no output.
    News,
    Completed,
    Incomplete,
    Failed,
    Unknown,
}

/// Starts of types that say nothing about output.
const NEWS: [&str; 8] = [
    "created",
    "queued",
    "in_progress",
    "output_item.",
    "content_part.",
    "reasoning_part.",
    "reasoning_summary_part.",
    "output_text.annotation.",
];

impl Event {
    pub(super) fn of(kind: &str) -> Self {
        let Some(kind) = kind.strip_prefix("response.") else {
            return if kind == "error" {
                Self::Failed
            } else {
                Self::Unknown
            };
        };
        let channel = |end: &str| Channel::position(kind.strip_suffix(end)?);
        if let Some(at) = channel(".delta") {
            return Self::Delta(at);
        }
        if let Some(at) = channel(".done") {
            return Self::Done(at);
        }
        match kind {
            "completed" => Self::Completed,
            "incomplete" => Self::Incomplete,
            "failed" => Self::Failed,
            kind if NEWS.iter().any(|news| kind.starts_with(news)) => Self::News,
            _ => Self::Unknown,
        }
    }
}
