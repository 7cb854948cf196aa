//! Owns measuring the simulator at one load, with this program itself in processes of their own: as
//! a person would, through the same code and into the same database.
//!
//! It must not know what a result is good for.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use evalscope_model::record::Phase;
use evalscope_report::sqlite;
use evalscope_sim::Truth;
use tokio_util::sync::CancellationToken;

use super::errors::{Comparison, Errors};
use crate::served::simulator::Simulator;
use crate::wait;

/// A load on the simulator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Level {
    /// So many streams at a time.
    Streams(u64),
    /// So many arrivals per second.
    Rate(f64),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Streams(1) => f.write_str("1 stream"),
            Self::Streams(n) => write!(f, "{n} streams"),
            Self::Rate(rate) => write!(f, "{rate} requests/s"),
        }
    }
}

/// Tokens per second that client and simulator can exchange on a small machine without the
/// simulator being the one that is late.
const TOKENS_PER_S: f64 = 20_000.0;
/// Tokens of a response in a closed loop.
const STREAM_TOKENS: u64 = 16;
/// How long arrivals last.
const RATE_SECONDS: f64 = 4.0;
/// How often to check whether the measurement has ended.
const CHECK_EVERY: Duration = Duration::from_millis(50);

impl Level {
    /// How the simulator answers.
    fn pace(self) -> [(&'static str, String); 3] {
        let (ttft_ms, itl_ms, tokens) = match self {
            Self::Streams(n) => {
                let itl_ms = (1e3 * n as f64 / TOKENS_PER_S).max(20.0);
                (50.0_f64.max(itl_ms), itl_ms, STREAM_TOKENS)
            }
            Self::Rate(_) => (20.0, 10.0, 2),
        };
        [
            ("--ttft-ms", ttft_ms.to_string()),
            ("--itl-ms", itl_ms.to_string()),
            ("--output-tokens", tokens.to_string()),
        ]
    }

    /// The load.
    fn load(self) -> Vec<String> {
        match self {
            Self::Streams(n) => vec![
                "--parallel".to_owned(),
                n.to_string(),
                "--number".to_owned(),
                (2 * n).max(20).to_string(),
            ],
            Self::Rate(rate) => vec![
                "--open-loop".to_owned(),
                "--rate".to_owned(),
                rate.to_string(),
                "--number".to_owned(),
                (rate * RATE_SECONDS).ceil().max(1.0).to_string(),
            ],
        }
    }

    /// Measure the simulator at this load. `folder` is empty, and for nothing else. `None`: stopped.
    pub(super) fn measure(
        self,
        folder: &Path,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Errors>> {
        let log = folder.join("truth.jsonl");
        let mut arguments: Vec<String> = vec![
            "--prefill-tok-s".to_owned(),
            "0".to_owned(),
            "--truth-log".to_owned(),
            log.display().to_string(),
        ];
        for (flag, value) in self.pace() {
            arguments.extend([flag.to_owned(), value]);
        }
        let simulator = Simulator::start_with(&arguments)?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        evalscope_plugin::withhold(&mut command, &[]);
        let messages = folder.join("messages.txt");
        command
            .args([
                "perf",
                &simulator.address,
                "--model",
                "sim",
                "--dataset",
                "sample",
            ])
            .args(["--no-timestamp", "--name", "run", "--record-bodies", "none"])
            .args(["--max-tokens", &STREAM_TOKENS.to_string()])
            .arg("--outputs-dir")
            .arg(folder)
            .args(self.load())
            .env("no_proxy", "*")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&messages).context("cannot start the measurement")?);
        let mut measurement = command.spawn().context("cannot start the measurement")?;
        let status = loop {
            if let Some(status) = measurement.try_wait()? {
                break status;
            }
            if wait::stopped_within(stop, CHECK_EVERY) {
                measurement.kill()?;
                measurement.wait()?;
                return Ok(None);
            }
        };
        // Ctrl-C in a terminal stops the measurement itself, too
        if stop.is_cancelled() {
            return Ok(None);
        }
        simulator.stop();
        if !status.success() {
            let said = std::fs::read_to_string(&messages).unwrap_or_default();
            anyhow::bail!(
                "the measurement of {self} failed ({status}): {}",
                said.trim()
            );
        }
        let log = std::fs::read_to_string(&log).context("cannot read the log of the simulator")?;
        let truth = Truth::parse(&log).context("cannot read the log of the simulator")?;
        let run = folder.join("run");
        let run = std::fs::read_dir(&run)?
            .filter_map(Result::ok)
            .map(|entry| entry.path().join(sqlite::FILE_NAME))
            .find(|path| path.exists())
            .context("the measurement left no database")?;
        let reader = sqlite::Reader::open(&run)?;
        let mut comparison = Comparison::new(reader.meta().clock, truth.requests);
        let mut wrong = None;
        reader.for_each(Phase::Measured, &mut |_, record| {
            if wrong.is_none() {
                wrong = comparison.push(&record).err();
            }
            Ok(())
        })?;
        match wrong {
            Some(error) => Err(error),
            None => Ok(Some(comparison.finish())),
        }
    }
}
