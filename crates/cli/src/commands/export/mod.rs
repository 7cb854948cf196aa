//! Owns the `export` subcommand: runs again, as tables for analysis or in the form of another tool.
//!
//! It must not know what a table or a form looks like: the report crate does.

mod args;
mod other_tools;
mod place;
mod runs;
mod tables;
mod texts;

use std::process::ExitCode;

use clap::ValueEnum as _;

use self::args::{Form, What};
use crate::failure::hinted;

pub(crate) use args::ExportArgs;

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
