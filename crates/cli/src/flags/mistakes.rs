//! Owns the messages for a command line that cannot be parsed: what was typed, what is allowed, and
//! where to find what this program does not have.
//!
//! It must not know what a combination of flags means: `resolve` does.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of EvalScope 1.14 that this program does not have yet, and what they do.
pub(crate) const LATER_FLAGS: [(&str, &str); 1] = [("scenario", "benchmark scenarios")];

/// Subcommands of EvalScope's evaluation, which is another program.
const EVALUATION: [&str; 2] = ["benchmark-info", "eval"];

/// Subcommands of EvalScope that show results in a browser.
const WEB_SERVICE: [&str; 2] = ["app", "service"];

/// Names with at least this similarity are suggested.
const NEAR: f64 = 0.75;

/// A beginning of a later flag that is this long is recognised, in characters.
const LEAST_BEGINNING: usize = 3;

/// The error about the arguments as it is shown.
pub(crate) fn explained(error: &clap::Error, cli: &clap::Command, args: &[OsString]) -> String {
    let (message, hint) = parts(error, cli, args);
    let mut text = format!("error: {message}");
    if let Some(hint) = hint {
        let _ = write!(text, "\n  hint: {hint}");
    }
    text
}

fn parts(error: &clap::Error, cli: &clap::Command, args: &[OsString]) -> (String, Option<String>) {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join("`, `")),
        _ => None,
    };
    let arg = said(ContextKind::InvalidArg);
    let value = said(ContextKind::InvalidValue);
    match (error.kind(), arg) {
        (ErrorKind::UnknownArgument, Some(arg)) => unknown_flag(&arg, error, cli),
        (ErrorKind::InvalidSubcommand, _) => {
            let typed = said(ContextKind::InvalidSubcommand).unwrap_or_default();
            unknown_command(&typed, cli)
        }
        (ErrorKind::ValueValidation, Some(arg)) => {
            use std::error::Error as _;
            let why = error.source().map(ToString::to_string);
            let why = why.unwrap_or_else(|| "the value cannot be read".to_owned());
            let shown = flag(&arg);
            let value = value.unwrap_or_default();
            if shown.starts_with("--") && value.is_empty() {
                let typed = with_empty_value(args, &shown, cli);
                (format!("`{shown} {typed}` has an empty value: {why}"), None)
            } else if shown.starts_with("--") {
                (format!("`{shown} {value}`: {why}"), None)
            } else {
                let hint = "a URL begins with http:// or https://, or has a port: localhost:8000; only flags \
                            such as `--parallel` take several values";
                (format!("`{value}`: {why}"), Some(hint.to_owned()))
            }
        }
        (ErrorKind::InvalidValue, Some(arg)) => {
            let shown = flag(&arg);
            let allowed = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) if !values.is_empty() => {
                    format!(": use one of {}", values.join(", "))
                }
                _ => String::new(),
            };
            match value.filter(|value| !value.is_empty()) {
                Some(value) => (format!("`{shown} {value}` is unknown{allowed}"), None),
                None => (format!("`{shown}` needs a value{allowed}"), None),
            }
        }
        (ErrorKind::TooManyValues, Some(arg)) => {
            let value = value.unwrap_or_default();
            let shown = flag(&arg);
            (format!("`{shown}={value}`: expected true or false"), None)
        }
        (ErrorKind::ArgumentConflict, Some(arg)) => {
            let other = said(ContextKind::PriorArg).unwrap_or_default();
            let (one, other) = (flag(&arg), flag(&other));
            if one == other {
                return (format!("`{one}` is given twice"), None);
            }
            (
                format!("`{other}` and `{one}` cannot be combined"),
                Some("leave one of them out".to_owned()),
            )
        }
        (ErrorKind::MissingRequiredArgument, Some(arg)) => (
            format!("`{}` is missing", flag(&arg)),
            Some("`--help` shows the usage".to_owned()),
        ),
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let text = text.split("\n\nUsage:").next().unwrap_or(text);
            let text = text
                .split("\n\nFor more information")
                .next()
                .unwrap_or(text);
            (text.trim_end().to_owned(), None)
        }
    }
}

/// The argument of a flag in which a value is empty, such as `1,,2`.
fn with_empty_value(args: &[OsString], flag: &str, cli: &clap::Command) -> String {
    let declared = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let short = declared
        .filter(|arg| arg.get_long() == flag.strip_prefix("--"))
        .find_map(clap::Arg::get_short);
    let short = short.map(|letter| format!("-{letter}"));
    let is_flag = |word: &str| word == flag || short.as_deref() == Some(word);
    let words = args.iter().map(|arg| arg.to_string_lossy());
    let values = words.flat_map(|word| match word.split_once('=') {
        Some((name, value)) if is_flag(name) => vec![name.to_owned(), value.to_owned()],
        _ => vec![word.into_owned()],
    });
    let mut values = values.skip_while(|word| !is_flag(word)).skip(1);
    match values.find(|word| word.split(',').any(str::is_empty)) {
        Some(word) if !word.is_empty() => word,
        _ => "''".to_owned(),
    }
}

/// `--parallel <N>...` as `--parallel`, and `[URL]` as `URL`.
fn flag(shown: &str) -> String {
    let first = shown.split(' ').next().unwrap_or(shown);
    first
        .trim_matches(|c: char| matches!(c, '[' | ']' | '<' | '>' | '.'))
        .to_owned()
}

fn unknown_flag(typed: &str, error: &clap::Error, cli: &clap::Command) -> (String, Option<String>) {
    let name = typed.trim_start_matches('-');
    if typed.contains("://") && !typed.starts_with('-') {
        let hint = "give the URL once".to_owned();
        return (format!("`{typed}` is a second URL"), Some(hint));
    }
    if !typed.starts_with('-') {
        let hint = "only flags such as `--parallel` take several values";
        return (
            format!("`{typed}` is not the value of any flag"),
            Some(hint.to_owned()),
        );
    }
    if let Some((later, about)) = later(name) {
        let hint = match later {
            "scenario" => {
                "for `agentx` run AIPerf itself: aiperf profile --scenario inferencex-agentx-mvp"
            }
            _ => "the Python package EvalScope has it",
        };
        let message = match later {
            "scenario" => "`--scenario` is not here: it makes EvalScope run AIPerf".to_owned(),
            _ => format!("`--{later}` is not built yet: {about}"),
        };
        return (message, Some(hint.to_owned()));
    }
    if ["ramp-up-strategy", "ramp-up-start-rps", "ramp-up-end-rps"].contains(&name) {
        let hint = "a rate that rises is a profile: `--rate 1..20@60` from 1 to 20 per second within 60 s, \
                    `--rate 1..20@60:exp` exponentially";
        return (
            format!("`--{name}` is a flag of vLLM's benchmark"),
            Some(hint.to_owned()),
        );
    }
    let begun = beginning_with(name, cli);
    if begun.len() > 1 {
        return (
            format!("`{typed}` is ambiguous"),
            Some(format!("write one of {} in full", begun.join(", "))),
        );
    }
    let suggested = match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(flag)) => Some(self::flag(flag)),
        _ => None,
    };
    let hint = suggested.or_else(|| nearest(name, cli)).map_or_else(
        || "`--help` lists all flags".to_owned(),
        |nearest| format!("did you mean `{nearest}`? `--help` lists all flags"),
    );
    (format!("unknown flag `{typed}`"), Some(hint))
}

/// The later flag that this is, or the beginning of.
fn later(name: &str) -> Option<(&'static str, &'static str)> {
    let exact = LATER_FLAGS.iter().find(|(later, _)| *later == name);
    let begun = || {
        let is_long = name.len() >= LEAST_BEGINNING;
        let mut all = LATER_FLAGS.iter();
        all.find(|(later, _)| is_long && later.starts_with(name))
    };
    exact.or_else(begun).copied()
}

/// The known flags of which this is the beginning.
fn beginning_with(name: &str, cli: &clap::Command) -> Vec<String> {
    let perf = cli.find_subcommand("perf");
    let flags = perf.into_iter().flat_map(clap::Command::get_arguments);
    let flags = flags.filter(|arg| !arg.is_hide_set());
    let flags = flags.filter_map(clap::Arg::get_long);
    flags
        .filter(|flag| !name.is_empty() && flag.starts_with(name))
        .map(|flag| format!("`--{flag}`"))
        .collect()
}

/// The known flag most similar to an unknown one.
fn nearest(name: &str, cli: &clap::Command) -> Option<String> {
    let perf = cli.find_subcommand("perf")?;
    perf.get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(clap::Arg::get_long)
        .map(|flag| (strsim::jaro_winkler(flag, name), flag))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(near, _)| *near > NEAR)
        .map(|(_, flag)| format!("--{flag}"))
}

fn unknown_command(typed: &str, cli: &clap::Command) -> (String, Option<String>) {
    let names: Vec<&str> = cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(clap::Command::get_name)
        .collect();
    if EVALUATION.contains(&typed) {
        let hint = "the Python package EvalScope evaluates models; install it in an environment of its own: \
                    pip install evalscope";
        return (
            format!("`evalscope {typed}` is not here: this program measures servers, with `perf`"),
            Some(hint.to_owned()),
        );
    }
    if WEB_SERVICE.contains(&typed) {
        let hint = "each run has an HTML report, which needs no service: `evalscope report FOLDER` rebuilds it; for \
                    EvalScope's dashboard, `evalscope export FOLDER --as evalscope` writes the folders that it reads";
        return (
            format!("`evalscope {typed}` is not here: this program has no web service"),
            Some(hint.to_owned()),
        );
    }
    let near = |name: &&&str| strsim::jaro_winkler(name, typed);
    let nearest = names
        .iter()
        .max_by(|a, b| near(a).total_cmp(&near(b)))
        .filter(|name| near(name) > NEAR)
        .map(|name| format!("did you mean `{name}`?"));
    (
        format!(
            "unknown command `{typed}`: known are `{}`",
            names.join("`, `")
        ),
        nearest.or_else(|| Some("a load test is `evalscope perf URL`".to_owned())),
    )
}
