//! Owns what can go wrong with a plugin, in words for its author.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

/// A plugin failed in a call.
#[derive(Debug)]
pub struct PluginError {
    /// The plugin, as given on the command line.
    pub plugin: String,
    /// The call.
    pub call: String,
    /// What happened.
    pub fault: PluginFault,
    /// The last lines that it wrote to stderr.
    pub stderr: Vec<String>,
}

/// What happened instead of a response.
#[derive(Debug, thiserror::Error)]
pub enum PluginFault {
    /// Its program could not be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Nothing is listening on its socket.
    #[error("no connection to the socket: {0}")]
    Connect(std::io::Error),
    /// This system has no Unix sockets.
    #[error(
        "there are no Unix sockets on this system: use a path that ends in .py, or exec:COMMAND"
    )]
    NoSockets,
    /// It reported an error.
    #[error("{message}")]
    Raised {
        /// The error in its own words.
        message: String,
        /// Where its code raised it.
        traceback: Option<String>,
    },
    /// It did not respond in time.
    #[error("no response within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// It ended, or closed its output.
    #[error("it ended before it responded{}", status_text(.0.as_ref()))]
    Ended(Option<ExitStatus>),
    /// Its output does not follow the protocol.
    #[error("{0}")]
    Rubbish(String),
    /// The request does not fit into a line.
    #[error("the request of {0} bytes does not fit into a line")]
    TooMuch(usize),
    /// The user stopped the command meanwhile.
    #[error("the command was stopped before it responded")]
    Stopped,
}

fn status_text(status: Option<&ExitStatus>) -> String {
    status.map_or_else(String::new, |status| format!(" ({status})"))
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plugin,
            call,
            fault,
            stderr,
        } = self;
        let fault_text = fault.to_string();
        let mut lines = fault_text.lines();
        let first = lines.next().unwrap_or_default();
        write!(f, "the plugin `{plugin}` failed in `{call}`: {first}")?;
        // further lines are the plugin's own words, and must not look like ours
        for line in lines {
            write!(f, "\n  | {line}")?;
        }
        if let PluginFault::Raised { traceback, .. } = fault {
            if let Some(traceback) = traceback {
                for line in traceback.trim_end().lines() {
                    write!(f, "\n  | {line}")?;
                }
            }
            // what it raised is more useful than what it printed before
            return Ok(());
        }
        if stderr.is_empty() {
            return Ok(());
        }
        f.write_str("\n  the last lines of its stderr:")?;
        for line in stderr {
            write!(f, "\n  | {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PluginError {}
