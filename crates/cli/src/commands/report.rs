//! Owns the `report` subcommand: rebuilds the files and tables of a run from its database, or shows one
//! of its requests.
//!
//! It must not know what files and tables hold: the report crate does.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use evalscope_report::bodies;
use evalscope_report::console as tables;
use evalscope_report::files::{self, Page};

use crate::console;
use crate::flags::output::LangName;

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Results folder of a command, or of one of its runs.
    dir: PathBuf,

    /// Show 95 % intervals of percentiles, throughput and good requests within each run.
    #[arg(long)]
    confidence: bool,

    /// Do not write the HTML report, `perf_report.html`.
    #[arg(long, conflicts_with = "lang")]
    no_html: bool,

    /// Language of the HTML report [default: that of the first run]
    #[arg(long, value_enum, ignore_case = true)]
    lang: Option<LangName>,

    /// Also write the HTML report of this run alone, into its folder.
    #[arg(long, value_name = "NAME", conflicts_with = "no_html")]
    run: Option<String>,

    /// Only print the body of this measured request as it was sent, as JSON; of a turn of a
    /// conversation, with the turns before it. `--run` says of which run, if there are several.
    #[arg(long, value_name = "IDX", conflicts_with_all = ["no_html", "lang", "confidence"])]
    request: Option<u64>,
}

pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    if let Some(index) = args.request {
        let database = files::database_of(&args.dir, args.run.as_deref())?;
        console::out(&bodies::sent_body(&database, index)?);
        return Ok(ExitCode::SUCCESS);
    }
    let page = match args.lang {
        _ if args.no_html => Page::LeftOut,
        Some(lang) => Page::WrittenIn(lang.into()),
        None => Page::Written,
    };
    let runs = files::rebuild(&args.dir, page)?;
    if let Some(name) = &args.run {
        files::write_run_page(&runs, name, page)?;
    }
    let screen = console::screen(console::confidence(args.confidence));
    for run in &runs {
        console::out(&tables::run(run, screen));
    }
    if runs.len() > 1 {
        console::out(&tables::sweep(&runs, screen));
    }
    console::err(&format!("rebuilt the files in {}", args.dir.display()));
    Ok(ExitCode::SUCCESS)
}
