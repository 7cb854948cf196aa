//! Owns the roles that a plugin can have.

/// The role of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Provides prompts.
    Dataset,
    /// Builds bodies, and reads responses.
    Api,
    /// Shows figures to people elsewhere.
    Tracker,
}

impl Role {
    /// The name in the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Api => "api",
            Self::Tracker => "tracker",
        }
    }
}
