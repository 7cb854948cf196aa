//! Owns the `export` subcommand: runs again, as tables for analysis or in the form of another tool.
//!
//! It must not know what a table or a form looks like: the report crate does.

mod other_tools;
mod place;
mod tables;
mod texts;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use evalscope_report::export::{Chosen, ExportError};

use crate::catalog::row::nearest;
use crate::failure::{Unfinished, hinted};

#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct ExportArgs {
    /// Folder of a run, of a command's runs, or one that holds such folders. A run may be under way.
    dir: PathBuf,

    /// What the rows of the table are [default: requests]
    #[arg(long, value_enum, value_name = "TABLE")]
    what: Option<What>,

    /// Format of the file [default: by the ending of `--output`, else parquet]
    #[arg(long, value_enum)]
    format: Option<FormatName>,

    /// File to write, `-` for stdout [default: DIR/export/TABLE.FORMAT]. Of several tables and of other
    /// tools' forms, the folder.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Only this run.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,

    /// Only the requests with these indexes.
    #[arg(long, value_name = "N", num_args = 1..)]
    idx: Vec<u64>,

    /// Only requests that ended in this way. `failed` are all others: those never sent or given up, too.
    #[arg(long = "where", value_enum, value_name = "OUTCOME")]
    outcome: Option<OutcomeName>,

    /// With the requests of the warm-up; column `phase` tells them apart.
    #[arg(long)]
    warmup: bool,

    /// With what was sent and received: columns `request`, `answer` and `reasoning`.
    #[arg(long)]
    bodies: bool,

    /// CSV: begin with the mark of UTF-8 that Excel needs.
    #[arg(long)]
    excel: bool,

    /// Write in the form of another tool instead of tables.
    #[arg(long = "as", value_name = "TOOL", value_enum)]
    form: Option<Form>,

    /// `--as vllm`: with lists of all requests, as `vllm bench serve --save-detailed`.
    #[arg(long)]
    detailed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// A row for each request.
    Requests,
    /// A row for each event of a stream.
    Events,
    /// A row for each value of the charts over time.
    Series,
    /// All of these, a file each.
    All,
    #[value(hide = true)]
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// Apache Parquet, for DuckDB, polars, pandas.
    Parquet,
    /// CSV with a header.
    Csv,
    /// A JSON object in each line.
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutcomeName {
    /// All that did not succeed.
    Failed,
    /// Successes.
    Succeeded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Folders, databases and JSON files of EvalScope 1.14, for its dashboard and for scripts.
    Evalscope,
    /// The JSON files of `vllm bench serve --save-result`, one for each run.
    Vllm,
    #[value(hide = true)]
    Aiperf,
}

pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    check(args)?;
    match args.form {
        None => tables::export(args),
        Some(Form::Evalscope) => other_tools::as_evalscope(args),
        Some(Form::Vllm) => other_tools::as_vllm(args),
        Some(Form::Aiperf) => Err(hinted(
            "`--as aiperf` is not built yet",
            "`--as vllm` and `--as evalscope` are; tables of all requests and events come without `--as`",
        )),
    }
}

/// Check that the flags go together.
fn check(args: &ExportArgs) -> anyhow::Result<()> {
    if args.what == Some(What::Server) {
        return Err(hinted(
            "`--what server` is not built yet: metrics of the server are not recorded",
            "use requests, events, series or all",
        ));
    }
    if let Some(form) = args.form {
        let of_tables = [
            ("--what", args.what.is_some()),
            ("--format", args.format.is_some()),
            ("--idx", !args.idx.is_empty()),
            ("--where", args.outcome.is_some()),
            ("--warmup", args.warmup),
            ("--bodies", args.bodies),
            ("--excel", args.excel),
            ("--run", args.run.is_some() && form == Form::Evalscope),
            ("--detailed", args.detailed && form != Form::Vllm),
        ];
        if let Some((flag, _)) = of_tables.iter().find(|(_, is_given)| *is_given) {
            let form = form.to_possible_value().expect("no form is skipped");
            return Err(hinted(
                format!("`{flag}` has no meaning with `--as {}`", form.get_name()),
                "leave one of the two out",
            ));
        }
        return Ok(());
    }
    if args.detailed {
        return Err(hinted(
            "`--detailed` is for `--as vllm`",
            "add `--as vllm`, or use `--bodies` for the texts in a table",
        ));
    }
    let of_requests = [
        ("--warmup", args.warmup, &[What::Events, What::Series][..]),
        ("--bodies", args.bodies, &[What::Events, What::Series]),
        ("--idx", !args.idx.is_empty(), &[What::Series]),
        ("--where", args.outcome.is_some(), &[What::Series]),
    ];
    for (flag, is_given, without) in of_requests {
        if let Some(what) = args.what.filter(|what| is_given && without.contains(what)) {
            let what = what.to_possible_value().expect("no table is skipped");
            return Err(hinted(
                format!("`{flag}` has no meaning with `--what {}`", what.get_name()),
                "leave one of the two out",
            ));
        }
    }
    Ok(())
}

/// The runs to be exported.
fn chosen(args: &ExportArgs) -> anyhow::Result<Chosen> {
    Chosen::find(&args.dir, args.run.as_deref()).map_err(|error| match &error {
        ExportError::NoSuchRun { name, known } => {
            let near = nearest(name, known.iter().map(String::as_str));
            if near.is_empty() {
                return error.into();
            }
            let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            hinted(
                format!("no run is called `{name}`{near}"),
                format!("the runs are {}", list.join(", ")),
            )
        }
        _ => error.into(),
    })
}

/// An export that was begun and could not be completed.
fn unfinished(source: ExportError, left: String) -> anyhow::Error {
    Unfinished {
        what: "the export could not be completed",
        source: source.into(),
        hint: left,
    }
    .into()
}
