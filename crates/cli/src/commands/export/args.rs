//! Owns the flags of `export`.
//!
//! It must not know what follows from them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the command line")]
#[command(args_override_self = true)]
pub(crate) struct ExportArgs {
    /// Folder of a run, of a command's runs, or one that holds such folders. A run may be under way.
    pub(super) dir: PathBuf,

    /// Which table to write [default: requests]
    #[arg(long, value_enum, value_name = "TABLE")]
    pub(super) what: Option<What>,

    /// Format of the file [default: by the ending of `--output`, else parquet]
    #[arg(long, value_enum)]
    pub(super) format: Option<FormatName>,

    /// File to write, or `-` for stdout [default: DIR/export/TABLE.FORMAT]. With `--what all` and with
    /// `--as`, the folder.
    #[arg(short, long, value_name = "PATH")]
    pub(super) output: Option<PathBuf>,

    /// Export only this run.
    #[arg(long, value_name = "NAME")]
    pub(super) run: Option<String>,

    /// Export only the requests with these indexes.
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',')]
    pub(super) idx: Vec<u64>,

    /// Export only requests with this outcome. `failed` includes those that were never sent or given up.
    #[arg(long = "where", value_enum, value_name = "OUTCOME")]
    pub(super) outcome: Option<OutcomeName>,

    /// Also export the requests of the warm-up; column `phase` tells them apart.
    #[arg(long)]
    pub(super) warmup: bool,

    /// Also export what was sent and received, in columns `request`, `answer` and `reasoning`.
    #[arg(long)]
    pub(super) bodies: bool,

    /// Start CSV files with the byte order mark that Excel needs.
    #[arg(long)]
    pub(super) excel: bool,

    /// Write the files of another tool instead of a table.
    #[arg(long = "as", value_name = "TOOL", value_enum)]
    pub(super) form: Option<Form>,

    /// With `--as vllm`, add the lists of `vllm bench serve --save-detailed`.
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
    /// All of these, each in its own file.
    All,
    #[value(hide = true)]
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatName {
    /// Apache Parquet, which keeps types.
    Parquet,
    /// CSV with a header.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutcomeName {
    /// Requests that did not succeed.
    Failed,
    /// Requests that succeeded.
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
