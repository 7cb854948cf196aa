//! Owns a request that gets an error status, before any protocol has put it into words.

/// A request that gets an error status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
    /// The protocol's own code, if the status does not imply it.
    pub(crate) code: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Refusal {
            status,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    pub(crate) fn of(param: &'static str, message: impl Into<String>) -> Self {
        Refusal {
            param: Some(param),
            ..Refusal::new(400, message)
        }
    }
}
