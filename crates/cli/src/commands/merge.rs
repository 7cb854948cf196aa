//! Owns the `merge` subcommand: the results of several processes that made one run become those of one.
//!
//! It must not know what databases hold: the report crate does.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use evalscope_report::RunState;
use evalscope_report::console as tables;
use evalscope_report::files::{self, Page};
use evalscope_report::merge::{Merge, MergeError, Missing, Offsets};

use crate::console;
use crate::failure::{self, Unfinished};

#[derive(Args, Debug)]
pub(crate) struct MergeArgs {
    /// Folders of all shards, such as shard-0-of-4. They are only read.
    #[arg(required = true, value_name = "SHARD")]
    shards: Vec<PathBuf>,

    /// A new or empty folder to write into.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// How far the clocks of the machines are apart: a JSON file.
    #[arg(long, value_name = "FILE")]
    offsets: Option<PathBuf>,

    /// Merge what is there if shards are missing or did not finish; the exit code is then 1.
    #[arg(long)]
    allow_partial: bool,

    /// Only write the database; `evalscope report` makes the files and tables of it.
    #[arg(long, conflicts_with = "no_html")]
    no_report: bool,

    /// Do not write the HTML report, `perf_report.html`.
    #[arg(long)]
    no_html: bool,
}

pub(crate) fn run(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    let offsets = args.offsets.as_deref().map(Offsets::read).transpose()?;
    let missing = if args.allow_partial {
        Missing::Allowed
    } else {
        Missing::Refused
    };
    let merge = Merge::prepare(
        &args.shards,
        &args.output,
        &offsets.unwrap_or_default(),
        missing,
    )?;
    let merged = merge.write().map_err(|error| match error {
        error @ MergeError::Twice { .. } => error.into(),
        source => anyhow::Error::from(Unfinished {
            what: "the shards could not be merged",
            source: source.into(),
            hint: format!("nothing of it is left in {}", args.output.display()),
        }),
    })?;
    if !args.no_report {
        report(args)?;
    }
    console::err(&format!(
        "merged {} requests into {}",
        merged.measured,
        args.output.display()
    ));
    if merged.state == RunState::Partial {
        console::warn("the merged run is partial: shards are missing or did not finish");
        return Ok(ExitCode::from(failure::FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

/// Make the files and tables of what was merged.
fn report(args: &MergeArgs) -> anyhow::Result<()> {
    let page = if args.no_html {
        Page::LeftOut
    } else {
        Page::Written
    };
    let runs = files::rebuild(&args.output, page).map_err(|source| Unfinished {
        what: "the files of the merged run could not be written",
        source: source.into(),
        hint: format!(
            "the database is complete: fix the cause, then run `evalscope report {}`",
            args.output.display()
        ),
    })?;
    let screen = console::screen(console::confidence(false));
    for run in &runs {
        console::out(&tables::run(run, screen));
    }
    Ok(())
}
