//! Owns the flags of `export`.
//!
//! It must not know what follows from them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct ExportArgs {
    /// Folder of a run, of a command's runs, or one that holds such folders. A run may be under way.
    pub(super) dir: PathBuf,

    /// What the rows of the table are [default: requests]
    #[arg(long, value_enum, value_name = "TABLE")]
    pub(super) what: Option<What>,

    /// Format of the file [default: by the ending of `--output`, else parquet]
    #[arg(long, value_enum)]
    pub(super) format: Option<FormatName>,

    /// File to write, `-` for stdout [default: DIR/export/TABLE.FORMAT]. Of several tables and of other
    /// tools' forms, the folder.
    #[arg(short, long, value_name = "PATH")]
    pub(super) output: Option<PathBuf>,

    /// Only this run.
    #[arg(long, value_name = "NAME")]
    pub(super) run: Option<String>,

    /// Only the requests with these indexes.
    #[arg(long, value_name = "N", num_args = 1..)]
    pub(super) idx: Vec<u64>,

    /// Only requests that ended in this way. `failed` are all others: those never sent or given up, too.
    #[arg(long = "where", value_enum, value_name = "OUTCOME")]
    pub(super) outcome: Option<OutcomeName>,

    /// With the requests of the warm-up; column `phase` tells them apart.
    #[arg(long)]
    pub(super) warmup: bool,

    /// With what was sent and received: columns `request`, `answer` and `reasoning`.
    #[arg(long)]
    pub(super) bodies: bool,

    /// CSV: begin with the mark of UTF-8 that Excel needs.
    #[arg(long)]
    pub(super) excel: bool,

    /// Write in the form of another tool instead of tables.
    #[arg(long = "as", value_name = "TOOL", value_enum)]
    pub(super) form: Option<Form>,

    /// `--as vllm`: with lists of all requests, as `vllm bench serve --save-detailed`.
    #[arg(long)]
    pub(super) detailed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum What {
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
pub(super) enum FormatName {
    /// Apache Parquet, for DuckDB, polars, pandas.
    Parquet,
    /// CSV with a header.
    Csv,
    /// A JSON object in each line.
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutcomeName {
    /// All that did not succeed.
    Failed,
    /// Successes.
    Succeeded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Folders, databases and JSON files of EvalScope 1.14, for its dashboard and for scripts.
    Evalscope,
    /// The JSON files of `vllm bench serve --save-result`, one for each run.
    Vllm,
    #[value(hide = true)]
    Aiperf,
}
