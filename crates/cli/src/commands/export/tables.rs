//! Owns exporting tables: which, in which format, and to which files.
//!
//! It must not know how a file is put in place.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use evalscope_report::export::{Chosen, Outcome, Rows, Table, TableFormat, write_table};

use super::args::{ExportArgs, FormatName, OutcomeName, What};
use super::place::{Place, Wrote};
use super::runs::chosen;
use super::texts;
use crate::console;
use crate::failure::hinted;

/// The folder of exports in that of the runs.
pub(super) const FOLDER: &str = "export";

pub(super) fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let format = format_of(args)?;
    let tables = match args.what.unwrap_or(What::Requests) {
        What::All => &Table::ALL[..],
        What::Events => &[Table::Events],
        What::Series => &[Table::Series],
        What::Requests | What::Server => &[Table::Requests],
    };
    let chosen = chosen(args)?;
    let reader: &texts::Reader = &texts::read;
    let rows = Rows {
        outcome: args.outcome.map(|outcome| match outcome {
            OutcomeName::Failed => Outcome::Failed,
            OutcomeName::Succeeded => Outcome::Succeeded,
        }),
        indexes: &args.idx,
        warmup: args.warmup,
        bodies: args.bodies.then_some(reader),
    };
    rows.check(&chosen)?;
    for table in tables {
        let place = place_of(args, *table, format)?;
        let wrote = place.write(|out| write_table(*table, format, &chosen, &rows, out))?;
        if let Wrote::All(rows) = wrote {
            console::err(&said(*table, rows, &chosen, &place));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn said(table: Table, rows: u64, chosen: &Chosen, place: &Place) -> String {
    let what = match (table, rows) {
        (Table::Requests, 1) => "request",
        (Table::Requests, _) => "requests",
        (Table::Events, 1) => "event",
        (Table::Events, _) => "events",
        (Table::Series, 1) => "value of the charts",
        (Table::Series, _) => "values of the charts",
    };
    let runs = match chosen.runs.len() {
        1 => "1 run".to_owned(),
        runs => format!("{runs} runs"),
    };
    format!("exported {rows} {what} of {runs} to {place}")
}

fn format_of(args: &ExportArgs) -> anyhow::Result<TableFormat> {
    let path = args
        .output
        .as_deref()
        .filter(|_| args.what != Some(What::All));
    let by_ending = path.and_then(Path::extension).and_then(|ending| {
        let endings = [
            ("parquet", FormatName::Parquet),
            ("csv", FormatName::Csv),
            ("jsonl", FormatName::Jsonl),
        ];
        let found = endings
            .iter()
            .find(|(known, _)| ending.eq_ignore_ascii_case(known));
        found.map(|(_, format)| *format)
    });
    let format = args.format.or(by_ending).unwrap_or(FormatName::Parquet);
    if args.excel && format != FormatName::Csv {
        return Err(hinted("`--excel` is for CSV files", "add `--format csv`"));
    }
    Ok(match format {
        FormatName::Parquet => TableFormat::Parquet,
        FormatName::Csv => TableFormat::Csv {
            for_excel: args.excel,
        },
        FormatName::Jsonl => TableFormat::JsonLines,
    })
}

/// Where a table goes: into the folder of exports, into a folder that is given, or to a file.
fn place_of(args: &ExportArgs, table: Table, format: TableFormat) -> anyhow::Result<Place> {
    let ending = match format {
        TableFormat::Parquet => "parquet",
        TableFormat::Csv { .. } => "csv",
        TableFormat::JsonLines => "jsonl",
    };
    let name = format!("{}.{ending}", table.name());
    let is_all = args.what == Some(What::All);
    let Some(path) = &args.output else {
        return Ok(Place::file(args.dir.join(FOLDER).join(name)));
    };
    if path == Path::new("-") {
        if is_all {
            return Err(hinted(
                "`--what all` writes several files, and stdout is one",
                "name one table with `--what`, or a folder with `--output`",
            ));
        }
        return Place::stdout(format == TableFormat::Parquet);
    }
    if is_all || path.is_dir() || ends_as_folder(path) {
        return Ok(Place::file(path.join(name)));
    }
    Ok(Place::file(PathBuf::from(path)))
}

pub(super) fn ends_as_folder(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}
