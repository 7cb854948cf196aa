//! Owns the reasons why requests fail: the failure kinds and their names.
//!
//! It must not know which layer found a failure.

use std::fmt;

/// The kind of a failure, from the socket to the database column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The run was stopped while the request was in flight.
    Cancelled,
    /// No connection could be made.
    Connect,
    /// No connection within `--connect-timeout`, or within two minutes.
    ConnectTimeout,
    /// The prompt of a conversation's next turn did not fit into the server's context.
    ContextLimit,
    /// The host name has no address.
    Dns,
    /// The response ended without any generated token though output was requested.
    EmptyOutput,
    /// A bug in this program.
    Internal,
    /// Bytes that are not HTTP, not an event stream, or not the API's JSON.
    Malformed,
    /// The run ended before the request, already due, could be sent.
    NotSent,
    /// The proxy cannot be reached, or refused the tunnel.
    Proxy,
    /// Nothing arrived for `--read-timeout`.
    ReadTimeout,
    /// The connection was reset or broke.
    Reset,
    /// The server reported an error in a response with a success status.
    ServerError,
    /// It was due while as many requests were in flight as may be (`--when-full drop`).
    Shed,
    /// An HTTP status other than 2xx.
    Status(u16),
    /// The TLS handshake failed, or the session broke.
    Tls,
    /// The response exceeds a size limit.
    TooLarge,
    /// The request did not finish within `--total-timeout`.
    TotalTimeout,
    /// The response was cut off.
    Truncated,
    /// It was still in flight when the run had waited for `--drain-timeout`. It says nothing of
    /// how the request would have ended, only that it would have taken longer.
    Unfinished,
}

impl FailureKind {
    const NAMED: [(Self, &'static str); 19] = [
        (Self::Cancelled, "cancelled"),
        (Self::Connect, "connect"),
        (Self::ConnectTimeout, "connect_timeout"),
        (Self::ContextLimit, "context_limit"),
        (Self::Dns, "dns"),
        (Self::EmptyOutput, "empty_output"),
        (Self::Internal, "internal"),
        (Self::Malformed, "malformed"),
        (Self::NotSent, "not_sent"),
        (Self::Proxy, "proxy"),
        (Self::ReadTimeout, "read_timeout"),
        (Self::Reset, "reset"),
        (Self::ServerError, "server_error"),
        (Self::Shed, "shed"),
        (Self::Tls, "tls"),
        (Self::TooLarge, "too_large"),
        (Self::TotalTimeout, "total_timeout"),
        (Self::Truncated, "truncated"),
        (Self::Unfinished, "unfinished"),
    ];

    /// This program gave it up: nobody knows how the request would have ended.
    #[must_use]
    pub const fn is_given_up(self) -> bool {
        matches!(self, Self::Cancelled | Self::Unfinished)
    }

    /// It counts among the failures: it was sent, was not given up, and it was not only the end of
    /// the context that ended its conversation.
    #[must_use]
    pub const fn counts_as_failed(self) -> bool {
        !self.is_given_up() && !self.is_unsent() && !matches!(self, Self::ContextLimit)
    }

    /// Nothing was sent.
    #[must_use]
    pub const fn is_unsent(self) -> bool {
        matches!(self, Self::NotSent | Self::Shed)
    }

    /// Parse a name as written by [`fmt::Display`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some(status) = name.strip_prefix("http_") {
            return status.parse().ok().map(Self::Status);
        }
        Self::NAMED
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(kind, _)| *kind)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "http_{status}"),
            kind => f.write_str(
                Self::NAMED
                    .iter()
                    .find(|(k, _)| k == kind)
                    .map_or("internal", |(_, name)| name),
            ),
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// What happened, for a person; one line.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_kinds_keep_their_names() {
        for (kind, name) in FailureKind::NAMED {
            assert_eq!(kind.to_string(), name);
            assert_eq!(FailureKind::from_name(name), Some(kind));
        }
        assert_eq!(FailureKind::Status(429).to_string(), "http_429");
        assert_eq!(
            FailureKind::from_name("http_429"),
            Some(FailureKind::Status(429))
        );
        assert_eq!(FailureKind::from_name("nonsense"), None);
    }
}
