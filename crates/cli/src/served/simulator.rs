//! Owns the simulated server of `--api local_sim`: a child process that is started, waited for, and
//! stopped however the parent process ends.
//!
//! It must not know how the server simulates.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context;

/// A running child. Dropping it stops the server.
#[derive(Debug)]
pub(crate) struct Simulator {
    child: Child,
    /// The child ends when this pipe does, even if we are killed.
    stdin: Option<ChildStdin>,
    pub(crate) address: String,
}

impl Simulator {
    /// Start a server on a free loopback port and wait until it listens.
    /// With a tokenizer, it counts as the client does.
    pub(crate) fn start(model: &str, seed: u64, tokenizer: Option<&Path>) -> anyhow::Result<Self> {
        let seed = seed.to_string();
        let mut arguments: Vec<&OsStr> =
            ["--model", model, "--seed", &seed].map(OsStr::new).to_vec();
        if let Some(path) = tokenizer {
            arguments.extend([OsStr::new("--tokenizer-path"), path.as_os_str()]);
        }
        Self::start_with(&arguments)
    }

    /// Start a server with these arguments on a free loopback port and wait until it listens.
    pub(crate) fn start_with(arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        evalscope_plugin::withhold(&mut command, &[]);
        command
            .args(["sim", "--port", "0", "--exit-with-parent"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // Ctrl-C in a terminal goes to the whole process group; the server must
        // outlive it while requests drain
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .context("cannot start the simulated server")?;
        let stdin = child.stdin.take();
        let mut simulator = Self {
            child,
            stdin,
            address: String::new(),
        };
        let stdout = simulator.child.stdout.take();
        let stdout = stdout.context("the simulated server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("cannot read the output of the simulated server")?;
        let address = line.trim().strip_prefix("listening on ");
        let address = address.with_context(|| {
            format!(
                "the simulated server did not start; its output was {:?}",
                line.trim()
            )
        })?;
        address.clone_into(&mut simulator.address);
        Ok(simulator)
    }

    /// Stop the server and wait until it has written what it has to write.
    pub(crate) fn stop(mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // it may be busy with streams that are no longer read
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
