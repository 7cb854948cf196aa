//! Owns exporting in the form of another tool: where its files go, and what is said of them.
//!
//! It must not know what the form looks like.

use std::path::Path;
use std::process::ExitCode;

use evalscope_report::export::{Export, Format, write_vllm};

use super::args::ExportArgs;
use super::place::{Place, Wrote};
use super::runs::{chosen, unfinished};
use super::tables::{FOLDER, ends_as_folder};
use super::texts;
use crate::console;
use crate::failure::hinted;

pub(super) fn as_evalscope(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let Some(output) = &args.output else {
        return Err(hinted(
            "`--as evalscope` writes a folder, which has no default",
            "name a new or empty folder with `--output`",
        ));
    };
    let export = Export::prepare(&args.dir, output)?;
    let exported = export.write(Format::EvalScope).map_err(|source| {
        unfinished(
            source,
            format!("nothing of it is left in {}", output.display()),
        )
    })?;
    for note in &exported.notes {
        console::err(&format!("note: {note}"));
    }
    let folders: Vec<String> = exported
        .folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    console::err(&format!(
        "exported {} to {}",
        runs(exported.runs),
        folders.join(", ")
    ));
    console::err(&format!(
        "to see it in EvalScope's dashboard: `evalscope service --outputs {}`",
        output.display()
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn as_vllm(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let chosen = chosen(args)?;
    let default = args.dir.join(FOLDER).join("vllm");
    let output = args.output.as_deref().unwrap_or(&default);
    let is_file = !output.is_dir()
        && !ends_as_folder(output)
        && output.extension().is_some_and(|ending| ending == "json");
    let is_stdout = output == Path::new("-");
    if (is_file || is_stdout) && chosen.runs.len() > 1 {
        return Err(hinted(
            format!(
                "`--as vllm` writes a file for each of {} runs",
                chosen.runs.len()
            ),
            "name a folder with `--output`, or one run with `--run`",
        ));
    }
    for run in &chosen.runs {
        let place = if is_stdout {
            Place::stdout(false)?
        } else if is_file {
            Place::file(output.to_owned())
        } else {
            Place::file(output.join(format!("{}.json", run.file_stem())))
        };
        let reader: &texts::Reader = &texts::read;
        let detailed = args.detailed.then_some(reader);
        let wrote = place.write(|mut out| write_vllm(run, detailed, &mut out))?;
        if matches!(wrote, Wrote::ReaderLeft) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    console::err(&format!(
        "exported {} to {}",
        runs(chosen.runs.len()),
        if is_stdout {
            "stdout".into()
        } else {
            output.to_string_lossy()
        }
    ));
    Ok(ExitCode::SUCCESS)
}

fn runs(count: usize) -> String {
    match count {
        1 => "1 run".to_owned(),
        count => format!("{count} runs"),
    }
}
