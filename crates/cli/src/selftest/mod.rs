//! Owns `evalscope selftest`: this program measures its own simulator, whose truth is known, and says
//! up to which load its figures can be trusted on this machine.
//!
//! It must not know how a level is measured.

mod errors;
mod level;

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use evalscope_core::engine::RunControl;
use evalscope_model::profile::HIGHEST_RATE_PER_S;
use evalscope_report::console::{self as tables, Confidence};
use serde::Serialize;
use serde_json::json;

use self::errors::{Errors, Spread};
use self::level::Level;
use crate::flags::values::places;
use crate::results::host;
use crate::{console, failure, signals};

/// Errors up to this are trusted, in milliseconds.
const TRUSTED_MS: f64 = 1.0;

/// The most streams that can be tried.
const MOST_STREAMS: usize = 20_000;

/// Streams that are tried one after the other.
const STREAMS: [u64; 4] = [1, 100, 1000, 4000];
/// Rates that are tried one after the other, per second.
const RATES: [f64; 4] = [200.0, 1000.0, 5000.0, 10_000.0];

#[derive(Args, Debug)]
pub(crate) struct SelftestArgs {
    /// Try this number of streams only
    #[arg(long, value_name = "N", value_parser = streams)]
    parallel: Option<NonZeroUsize>,
    /// Try this number of arrivals per second only
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn streams(text: &str) -> Result<NonZeroUsize, String> {
    match places(text) {
        Ok(streams) if streams.get() <= MOST_STREAMS => Ok(streams),
        _ => Err(format!("expected a whole number from 1 to {MOST_STREAMS}")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= HIGHEST_RATE_PER_S => Ok(rate),
        _ => Err(format!(
            "expected a rate per second, greater than 0 and at most {HIGHEST_RATE_PER_S}, such as 500"
        )),
    }
}

/// A level, and what came of it.
#[derive(Debug)]
struct Tried {
    level: Level,
    errors: Errors,
}

impl Tried {
    /// Why its figures cannot be trusted; `None`: they can.
    fn doubt(&self) -> Option<String> {
        let errors = &self.errors;
        if let Some(why) = &errors.first_failure {
            let (failed, all) = (errors.failed, errors.requests);
            return Some(match all {
                0 => why.clone(),
                _ => format!("{failed} of {all} requests failed, the first: {why}"),
            });
        }
        let mut figures = vec![
            ("the arrivals of tokens", errors.arrival_error_ms),
            ("TTFT", errors.ttft_error_ms),
            ("TPOT", errors.tpot_error_ms),
        ];
        // the first wave of a closed loop is due all at once
        if matches!(self.level, Level::Rate(_)) {
            figures.push(("the moments of sending", errors.dispatch_lag_ms));
        }
        figures.into_iter().find_map(|(what, spread)| {
            let p99 = spread?.p99;
            (p99 > TRUSTED_MS)
                .then(|| format!("{what}: p99 error {p99:.2} ms is above {TRUSTED_MS} ms"))
        })
    }
}

pub(crate) fn run(args: &SelftestArgs) -> anyhow::Result<ExitCode> {
    let (streams, rates): (Vec<Level>, Vec<Level>) = match (args.parallel, args.rate) {
        (None, None) => (
            STREAMS.map(Level::Streams).to_vec(),
            RATES.map(Level::Rate).to_vec(),
        ),
        (parallel, rate) => (
            parallel
                .iter()
                .map(|n| Level::Streams(n.get() as u64))
                .collect(),
            rate.into_iter().map(Level::Rate).collect(),
        ),
    };
    let control = RunControl::default();
    signals::listen(control.clone(), "stopping".to_owned(), true)?;
    let mut tried = Vec::new();
    for levels in [streams, rates] {
        for level in levels {
            console::err(&format!("measuring the simulator: {level} …"));
            let folder = Scratch::make()?;
            let errors = match level.measure(&folder.0, &control.stop) {
                Ok(Some(errors)) => errors,
                Ok(None) => return Ok(ExitCode::from(failure::INTERRUPTED)),
                Err(error) if tried.is_empty() => return Err(error),
                // what was measured before is shown all the same
                Err(error) => Errors::unmeasured(format!("{error:#}")),
            };
            let one = Tried { level, errors };
            let doubted = one.doubt().is_some();
            tried.push(one);
            if doubted {
                break;
            }
        }
    }
    let trusted = Trusted::of(&tried);
    if args.json {
        console::out(&as_json(&tried, &trusted));
    } else {
        console::out(&as_text(&tried, &trusted));
    }
    let all_trusted = tried.iter().all(|tried| tried.doubt().is_none());
    let was_asked = args.parallel.is_some() || args.rate.is_some();
    Ok(if was_asked && !all_trusted {
        ExitCode::from(failure::FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

/// The highest levels whose figures can be trusted.
#[derive(Debug, Serialize)]
struct Trusted {
    streams: Option<u64>,
    rate_per_s: Option<f64>,
}

impl Trusted {
    fn of(tried: &[Tried]) -> Self {
        let mut trusted = Self {
            streams: None,
            rate_per_s: None,
        };
        for tried in tried.iter().filter(|tried| tried.doubt().is_none()) {
            match tried.level {
                Level::Streams(n) => trusted.streams = trusted.streams.max(Some(n)),
                Level::Rate(rate) => {
                    trusted.rate_per_s = Some(trusted.rate_per_s.map_or(rate, |r| r.max(rate)));
                }
            }
        }
        trusted
    }

    /// The verdict in words.
    fn sentence(&self, tried: &[Tried]) -> String {
        let streams = self.streams.map(Level::Streams);
        let rate = self.rate_per_s.map(Level::Rate);
        let levels: Vec<String> = streams.iter().chain(&rate).map(Level::to_string).collect();
        if levels.is_empty() {
            return "the figures of this machine cannot be trusted as it is now".to_owned();
        }
        let text = format!(
            "the figures of this machine can be trusted up to {}",
            levels.join(" and ")
        );
        let doubted: Vec<String> = tried
            .iter()
            .filter(|tried| tried.doubt().is_some())
            .map(|tried| tried.level.to_string())
            .collect();
        if doubted.is_empty() {
            format!("{text}, the highest load tried: p99 errors are at most {TRUSTED_MS} ms")
        } else {
            format!("{text}, but not at {}", doubted.join(" and "))
        }
    }
}

fn as_text(tried: &[Tried], trusted: &Trusted) -> String {
    let header = [
        "Load",
        "Requests",
        "Arrival error\np50 / p99 / max (ms)",
        "TTFT error\np99 (ms)",
        "TPOT error\np99 (ms)",
        "Dispatch lag\np50 / p99 / max (ms)",
    ];
    let all = |spread: Option<Spread>| {
        spread.map_or("-".to_owned(), |s| {
            format!("{:.3} / {:.3} / {:.3}", s.p50, s.p99, s.max)
        })
    };
    let p99 = |spread: Option<Spread>| spread.map_or("-".to_owned(), |s| format!("{:.3}", s.p99));
    let rows = tried
        .iter()
        .map(|Tried { level, errors }| {
            vec![
                level.to_string(),
                errors.requests.to_string(),
                all(errors.arrival_error_ms),
                p99(errors.ttft_error_ms),
                p99(errors.tpot_error_ms),
                all(errors.dispatch_lag_ms),
            ]
        })
        .collect();
    let mut text = tables::grid(
        &header.map(str::to_owned),
        rows,
        console::screen(Confidence::Hidden),
    );
    for tried in tried {
        if let Some(doubt) = tried.doubt() {
            let _ = writeln!(text, "{}: {doubt}", tried.level);
        }
    }
    text.push_str(&trusted.sentence(tried));
    text
}

fn as_json(tried: &[Tried], trusted: &Trusted) -> String {
    let levels: Vec<_> = tried
        .iter()
        .map(|one| {
            let (parallel, rate_per_s) = match one.level {
                Level::Streams(n) => (Some(n), None),
                Level::Rate(rate) => (None, Some(rate)),
            };
            json!({
                "parallel": parallel,
                "rate_per_s": rate_per_s,
                "errors": one.errors,
                "trusted": one.doubt().is_none(),
                "doubt": one.doubt(),
            })
        })
        .collect();
    let all = json!({
        "host": host::this(),
        "limit_ms": TRUSTED_MS,
        "levels": levels,
        "trusted": trusted,
        "verdict": trusted.sentence(tried),
    });
    format!("{all:#}")
}

/// A folder that is removed again.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn make() -> anyhow::Result<Self> {
        let own = format!("evalscope-selftest-{}", std::process::id());
        let path = std::env::temp_dir().join(own);
        // what an earlier level has left
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
