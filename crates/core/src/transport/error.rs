//! Owns how a failure of the transport is put into words.

use std::io;

use crate::http1::HttpError;
use evalscope_model::record::{Failure, FailureKind};

/// A failure of the transport, as in a record.
pub type TransportError = Failure;

/// The system's message without its error number.
pub(super) fn plain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::AddrNotAvailable {
        // what the system calls a requested address was requested by nobody
        return "this machine has no free port for it (`net.ipv4.ip_local_port_range`), or no address \
                of that kind"
            .to_owned();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

pub(super) fn not_http(error: &HttpError) -> TransportError {
    let kind = if error.is_too_large() {
        FailureKind::TooLarge
    } else {
        FailureKind::Malformed
    };
    TransportError::new(kind, error.to_string())
}
