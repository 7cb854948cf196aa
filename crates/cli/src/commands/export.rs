//! Owns the `export` subcommand: finished runs again, in the form of another tool.
//!
//! It must not know what the form looks like: the report crate does.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use evalscope_report::export::{Export, Format};

use crate::console;
use crate::failure::Unfinished;

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Folder of a run, of an invocation, or one that holds invocations. It is only read.
    dir: PathBuf,
    /// The form to write.
    #[arg(long = "as", value_name = "FORMAT", value_enum)]
    form: Form,
    /// A new or empty folder to write into.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Folders, databases and JSON files of EvalScope 1.14, for its dashboard and for scripts.
    Evalscope,
}

pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let export = Export::prepare(&args.dir, &args.output)?;
    let format = match args.form {
        Form::Evalscope => Format::EvalScope,
    };
    let exported = export.write(format).map_err(|source| Unfinished {
        what: "the export could not be completed",
        source: source.into(),
        hint: format!("nothing of it is left in {}", args.output.display()),
    })?;
    for note in &exported.notes {
        console::err(&format!("note: {note}"));
    }
    let runs = match exported.runs {
        1 => "run",
        _ => "runs",
    };
    let folders: Vec<String> = exported
        .folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    console::err(&format!(
        "exported {} {runs} to {}",
        exported.runs,
        folders.join(", ")
    ));
    if matches!(args.form, Form::Evalscope) {
        console::err(&format!(
            "to see it in EvalScope's dashboard: `evalscope service --outputs {}`",
            args.output.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}
