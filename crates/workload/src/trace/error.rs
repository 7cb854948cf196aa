//! Owns what can be wrong with a trace.

use std::path::PathBuf;

/// How many bad lines are named.
const NAMED: usize = 20;

/// Why a trace cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read the trace {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The file is not a trace, or is not one of this format.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What can be done.
        hint: String,
    },
    /// Lines are not as they should be.
    #[error("{path}: {}", listed(*count, first))]
    Lines {
        /// The file.
        path: PathBuf,
        /// How many are bad.
        count: u64,
        /// The first of them, by number.
        first: Vec<(u64, String)>,
    },
    /// No line can be replayed.
    #[error("{path}: {reason}", path = path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The command was stopped.
    #[error("stopped while the trace was read")]
    Stopped,
}

impl TraceError {
    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::File { hint, .. } => Some(hint),
            Self::Lines { .. } => {
                Some("correct the file, or skip such lines with `--skip-bad-lines`")
            }
            Self::Nothing { .. } => {
                Some("see `start`, `length`, `sample`, `max_input` and `max_context`")
            }
            Self::Read { .. } | Self::Stopped => None,
        }
    }
}

/// Bad lines as they are met: the first of them, and how many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct BadLines {
    pub(super) count: u64,
    pub(super) first: Vec<(u64, String)>,
}

impl BadLines {
    pub(super) fn push(&mut self, number: u64, reason: String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push((number, reason));
        }
    }
}

fn listed(count: u64, first: &[(u64, String)]) -> String {
    if let [(number, reason)] = first {
        return format!("line {number}: {reason}");
    }
    let mut lines = vec![format!("{count} bad lines")];
    let named = first.iter();
    lines.extend(named.map(|(number, reason)| format!("line {number}: {reason}")));
    let rest = count - first.len() as u64;
    if rest > 0 {
        lines.push(format!("and {rest} more"));
    }
    lines.join("\n  ")
}
