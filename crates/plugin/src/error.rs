//! Owns what can go wrong with a plugin, in words for the person who wrote it.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

/// A plugin did not do what was asked of it.
#[derive(Debug)]
pub struct PluginError {
    /// The plugin, as it was given on the command line.
    pub plugin: String,
    /// What was asked of it.
    pub call: String,
    /// What happened.
    pub fault: PluginFault,
    /// The last lines that it wrote to stderr.
    pub stderr: Vec<String>,
}

/// What happened instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum PluginFault {
    /// Its program cannot be started.
    #[error("`{program}` cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Nobody answers at its socket.
    #[error("no connection to the socket: {0}")]
    Connect(std::io::Error),
    /// There are no such sockets here.
    #[error(
        "there are no Unix sockets on this system: use a path that ends in .py, or exec:COMMAND"
    )]
    NoSockets,
    /// It answered that it cannot.
    #[error("{message}")]
    Raised {
        /// Why, in its own words.
        message: String,
        /// Where its code raised.
        traceback: Option<String>,
    },
    /// It did not answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// It ended, or closed its output.
    #[error("it ended before it answered{}", status_text(.0.as_ref()))]
    Ended(Option<ExitStatus>),
    /// Its output is not that of a plugin.
    #[error("{0}")]
    Rubbish(String),
    /// What it is to be asked does not fit into a line.
    #[error("the request is {0} bytes long, more than fit into a line")]
    TooMuch(usize),
    /// The person stopped the command meanwhile.
    #[error("the command was stopped before it answered")]
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
        // further lines are its own words, and must not look like ours
        for line in lines {
            write!(f, "\n  | {line}")?;
        }
        if let PluginFault::Raised { traceback, .. } = fault {
            if let Some(traceback) = traceback {
                for line in traceback.trim_end().lines() {
                    write!(f, "\n  | {line}")?;
                }
            }
            // what it raised says more than what it had printed before
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
