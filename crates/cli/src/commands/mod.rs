//! Owns reading the command line: the subcommands, and what is shown instead of running one.
//!
//! It must not know what a flag means.

mod compare;
mod export;
mod merge;
mod report;
mod sim;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::flags::{PerfArgs, argparse, mistakes};
use crate::{caller, failure, perf, selftest, served};

/// Load testing for LLM servers, with measurements you can trust.
#[derive(Parser, Debug)]
#[command(
    name = "evalscope",
    version,
    propagate_version = true,
    args_override_self = true,
    infer_long_args = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Measure a server: throughput, latency, TTFT, TPOT and ITL with percentiles.
    #[command(args_override_self = true, infer_long_args = true)]
    Perf(Box<PerfArgs>),
    /// Run a simulated server whose latencies are known.
    #[command(args_override_self = true, infer_long_args = true)]
    Sim(Box<sim::SimArgs>),
    /// Measure the simulated server, and say how far off the measurements of this machine are.
    #[command(args_override_self = true, infer_long_args = true)]
    Selftest(selftest::SelftestArgs),
    /// Rebuild all files and tables of a run from its database.
    Report(report::ReportArgs),
    /// Write runs as tables (Parquet, CSV, JSON lines), or in the format of another tool.
    Export(export::ExportArgs),
    /// Compare the figures of two servers, and fail if a rule is broken.
    #[command(args_override_self = true)]
    Compare(Box<compare::CompareArgs>),
    /// Put the results of several processes that made one run together.
    Merge(merge::MergeArgs),
    /// Run a program that is stopped when the parent process ends.
    #[command(name = "__supervise", hide = true)]
    Supervise(served::SuperviseArgs),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Perf(args) => perf::run(*args),
            Self::Sim(args) => sim::run(*args),
            Self::Selftest(args) => selftest::run(&args),
            Self::Report(args) => report::run(&args),
            Self::Export(args) => export::run(&args),
            Self::Compare(args) => compare::run(&args),
            Self::Merge(args) => merge::run(&args),
            Self::Supervise(args) => served::supervise(args),
        }
    }
}

/// Read the command line. Help, version and usage errors are printed here.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    let plain = Cli::command();
    let args = argparse::normalise(args, plain.find_subcommand("perf").expect("it is declared"));
    let is_short = !args.iter().any(|arg| arg == "--help");
    match read(&args, is_short) {
        Ok(command) => Ok(command),
        Err(error) => {
            // without a command, the full help
            let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            if error.use_stderr() && !is_help {
                let text = mistakes::explained(&error, &plain, &args);
                caller::show_error(&text);
                Err(ExitCode::from(failure::USAGE))
            } else {
                // a closed pipe is the reader's business
                let _ = error.print();
                Err(if is_help {
                    ExitCode::from(failure::USAGE)
                } else {
                    ExitCode::SUCCESS
                })
            }
        }
    }
}

fn read(args: &[OsString], is_short: bool) -> Result<Command, clap::Error> {
    let matches = command(is_short).try_get_matches_from(args)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let words = args.iter().skip(2).map(|word| word.to_string_lossy());
    let words = words.map(Cow::into_owned).collect();
    if let (Command::Perf(args), Some(typed)) =
        (&mut cli.command, matches.subcommand_matches("perf"))
    {
        args.typed = typed_flags(typed);
        args.words = words;
    }
    Ok(cli.command)
}

/// The parser: what is declared below, and what holds for all of it.
fn command(is_short: bool) -> clap::Command {
    Cli::command().mut_subcommand("perf", |perf| {
        // a flag's own message is better than "unexpected argument '-1'"
        let perf = perf.mut_args(|arg| {
            let takes_value = matches!(arg.get_action(), ArgAction::Set);
            if takes_value && !arg.is_positional() {
                arg.allow_negative_numbers(true)
            } else {
                arg
            }
        });
        if is_short {
            let flags = first_flags(&perf);
            perf.help_template(format!(
                "{{before-help}}{{usage-heading}} {{usage}}\n\n{flags}\nAll flags, in groups: evalscope perf \
                 --help\n"
            ))
        } else {
            perf
        }
    })
}

/// The flags that `-h` shows: enough for a first measurement, and to fit one screen.
const FIRST_FLAGS: [&str; 17] = [
    "model",
    "api",
    "api-key",
    "headers",
    "parallel",
    "number",
    "rate",
    "duration",
    "warmup-num",
    "dataset",
    "dataset-path",
    "tokenizer-path",
    "prompt",
    "max-tokens",
    "no-stream",
    "outputs-dir",
    "name",
];

/// One line for each of the first flags: its syntax, and the first line of its help.
fn first_flags(perf: &clap::Command) -> String {
    let mut lines = String::new();
    for long in FIRST_FLAGS {
        let mut args = perf.get_arguments();
        let Some(arg) = args.find(|arg| arg.get_long() == Some(long)) else {
            continue;
        };
        let short = arg
            .get_short()
            .map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let takes_value = !matches!(arg.get_action(), ArgAction::SetTrue);
        let value = arg.get_value_names().and_then(|names| names.first());
        let value = value.filter(|_| takes_value);
        let value = value.map_or_else(String::new, |name| format!(" <{name}>"));
        let flag = format!("{short}--{long}{value}");
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(lines, "  {flag:<28}{help}");
    }
    lines
}

/// The names of the flags given on the command line.
fn typed_flags(matches: &ArgMatches) -> Vec<String> {
    let perf = PerfArgs::augment_args(clap::Command::new("perf"));
    let ids = perf.get_arguments().map(|arg| arg.get_id().as_str());
    let typed = ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
    typed.map(|id| id.replace('_', "-")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::rates::{Rate, Rates};
    use evalscope_model::profile::Profile;

    fn perf(line: &str) -> PerfArgs {
        let words = line.split_whitespace().map(OsString::from);
        let args = ["evalscope", "perf"]
            .map(OsString::from)
            .into_iter()
            .chain(words);
        let plain = Cli::command();
        let args = argparse::normalise(args, plain.find_subcommand("perf").unwrap());
        match read(&args, false).unwrap() {
            Command::Perf(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definitions_are_consistent() {
        command(false).debug_assert();
        command(true).debug_assert();
    }

    #[test]
    fn habits_of_argparse() {
        let args = perf(
            "http://h:1 --parallel 1 10 50 --number=10 --number 1 2 3 --max_tokens 5 9 --stop a b \
             --headers k=v k2=v2 --rate -1 --stream --no-stream --temperature -0.5 --log-ev 3",
        );
        let parallel: Vec<usize> = args
            .load
            .parallel
            .unwrap()
            .iter()
            .map(|p| p.get())
            .collect();
        assert_eq!(parallel, [1, 10, 50]);
        assert_eq!(args.load.number, Some(vec![1, 2, 3]));
        assert_eq!(args.generation.max_tokens, Some(vec![5, 9]));
        assert_eq!(args.generation.stop.unwrap(), ["a", "b"]);
        assert_eq!(args.server.headers, ["k=v", "k2=v2"]);
        assert_eq!(args.server.positional_url.as_deref(), Some("http://h:1"));
        assert_eq!(args.load.rate, [Rates(vec![Rate::Unpaced])]);
        assert!(args.generation.no_stream && !args.generation.stream);
        assert_eq!(args.output.log_every_n_query, 3);
    }

    #[test]
    fn lists_have_commas_or_spaces() {
        let args = perf("--parallel 1,10 50 --number 5,6,7 --rate 0.5,90/m,-1 --max-tokens 5,9");
        let parallel: Vec<usize> = args
            .load
            .parallel
            .unwrap()
            .iter()
            .map(|p| p.get())
            .collect();
        assert_eq!(parallel, [1, 10, 50]);
        assert_eq!(args.load.number, Some(vec![5, 6, 7]));
        let rate = |rate_per_s| Rate::Profile(Profile::Constant { rate_per_s });
        assert_eq!(
            args.load.rate,
            [Rates(vec![rate(0.5), rate(1.5), Rate::Unpaced])]
        );
        assert_eq!(args.generation.max_tokens, Some(vec![5, 9]));
    }

    #[test]
    fn what_is_typed_is_known() {
        let typed = perf("http://h:1 --port 9 --no-stream --api openai").typed;
        assert_eq!(typed, ["positional-url", "api", "port", "no-stream"]);
    }

    #[test]
    fn switches_take_a_word() {
        assert!(perf("--stream=false").generation.no_stream);
        assert!(perf("--stream false").generation.no_stream);
        assert!(perf("--stream True").generation.stream);
        assert!(perf("--no-stream --stream true").generation.stream);
        assert!(!perf("--debug=false").output.debug);
        assert!(perf("--debug=1 --logprobs true").generation.logprobs);
    }

    #[test]
    fn a_url_ends_a_list() {
        for line in [
            "--stop a b http://h:1",
            "--number 2 2 http://h:1",
            "--headers a=b http://h:1 --stream",
        ] {
            let url = perf(line).server.positional_url;
            assert_eq!(url.as_deref(), Some("http://h:1"), "{line}");
        }
        assert_eq!(
            perf("--stop http://h:1").generation.stop.unwrap(),
            ["http://h:1"]
        );
    }

    #[test]
    fn an_empty_stop_list_is_a_list() {
        assert_eq!(perf("--stop --stream").generation.stop, Some(vec![]));
    }
}
