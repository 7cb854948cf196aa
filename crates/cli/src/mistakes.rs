//! Owns what is said to a command line that cannot be read: what was typed, what is allowed, and
//! where what is missing here is found.
//!
//! It must not know what a combination of flags means: that is `resolve`'s.

use std::fmt::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of EvalScope 1.14 that this program does not have yet, and what they are about.
pub(crate) const LATER_FLAGS: [(&str, &str); 16] = [
    ("scenario", "scenarios"),
    (
        "enable-pd-metrics",
        "metrics of separated prefill and decode",
    ),
    ("open-loop", "the open loop"),
    ("sla-auto-tune", "the search for a service level"),
    ("sla-variable", "the search for a service level"),
    ("sla-params", "the search for a service level"),
    ("sla-num-runs", "the search for a service level"),
    ("sla-upper-bound", "the search for a service level"),
    ("sla-lower-bound", "the search for a service level"),
    ("sla-fixed-parallel", "the search for a service level"),
    ("sla-number-multiplier", "the search for a service level"),
    ("dataset-args", "options of data sets"),
    ("multi-turn", "conversations of several turns"),
    ("min-turns", "conversations of several turns"),
    ("max-turns", "conversations of several turns"),
    ("multi-turn-args", "conversations of several turns"),
];

/// Subcommands of EvalScope that are no load tests.
const ELSEWHERE: [&str; 4] = ["app", "benchmark-info", "eval", "service"];

/// Names that are nearer than this are worth a suggestion.
const NEAR: f64 = 0.75;

/// The error as it is shown.
pub(crate) fn explained(error: &clap::Error, cli: &clap::Command) -> String {
    let (message, hint) = parts(error, cli);
    let mut text = format!("error: {message}");
    if let Some(hint) = hint {
        let _ = write!(text, "\n  hint: {hint}");
    }
    text
}

fn parts(error: &clap::Error, cli: &clap::Command) -> (String, Option<String>) {
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
            unknown_command(&said(ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        (ErrorKind::ValueValidation, Some(arg)) => {
            use std::error::Error as _;
            let why = error.source().map(ToString::to_string);
            let why = why.unwrap_or_else(|| "it cannot be read".to_owned());
            let shown = flag(&arg);
            let value = value.unwrap_or_default();
            if shown.starts_with("--") {
                (format!("`{shown} {value}`: {why}"), None)
            } else {
                let hint = "a URL begins with http:// or https://, or has a port: localhost:8000; a list takes \
                            several values, any other flag one";
                (format!("`{value}`: {why}"), Some(hint.to_owned()))
            }
        }
        (ErrorKind::InvalidValue, Some(arg)) => {
            let shown = flag(&arg);
            let allowed = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) if !values.is_empty() => {
                    format!(": there are {}", values.join(", "))
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
            (
                format!("`{shown}={value}`: the flag takes no such value"),
                None,
            )
        }
        (ErrorKind::ArgumentConflict, Some(arg)) => {
            let other = said(ContextKind::PriorArg).unwrap_or_default();
            let (one, other) = (flag(&arg), flag(&other));
            if one == other {
                return (format!("`{one}` is given twice"), None);
            }
            (
                format!("`{other}` and `{one}` do not go together"),
                Some("leave one of them out".to_owned()),
            )
        }
        (ErrorKind::MissingRequiredArgument, Some(arg)) => (
            format!("`{}` is missing", flag(&arg)),
            Some("`--help` shows how the command is written".to_owned()),
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

/// `--parallel <N>...` as `--parallel`, and `[URL]` as `URL`.
fn flag(shown: &str) -> String {
    let first = shown.split(' ').next().unwrap_or(shown);
    first
        .trim_matches(|c: char| matches!(c, '[' | ']' | '<' | '>' | '.'))
        .to_owned()
}

fn unknown_flag(typed: &str, error: &clap::Error, cli: &clap::Command) -> (String, Option<String>) {
    let name = typed.trim_start_matches('-');
    if !typed.starts_with('-') {
        let hint = "a list takes several values, any other flag one; a URL stands once";
        return (
            format!("`{typed}` belongs to no flag"),
            Some(hint.to_owned()),
        );
    }
    if let Some((later, about)) = LATER_FLAGS.iter().find(|(later, _)| *later == name) {
        let hint = match *later {
            "open-loop" => {
                "`--rate R` without `--parallel` sends at that rate with no limit on requests in flight"
            }
            "sla-number-multiplier" | "sla-fixed-parallel" => {
                "a sweep takes lists: `--parallel 1,2,4`"
            }
            _ => "EvalScope, the Python package, has it",
        };
        return (
            format!("`--{later}` is not built yet: {about}"),
            Some(hint.to_owned()),
        );
    }
    let suggested = match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(flag)) => Some(self::flag(flag)),
        _ => None,
    };
    let hint = suggested.or_else(|| nearest(name, cli)).map_or_else(
        || "`--help` lists all flags".to_owned(),
        |nearest| format!("the nearest known flag is `{nearest}`; `--help` lists all"),
    );
    (format!("unknown flag `{typed}`"), Some(hint))
}

/// The known flag nearest to an unknown one.
fn nearest(name: &str, cli: &clap::Command) -> Option<String> {
    let perf = cli.find_subcommand("perf")?;
    perf.get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(clap::Arg::get_long)
        .map(|flag| (strsim::jaro_winkler(flag, name), flag))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, flag)| format!("--{flag}"))
}

fn unknown_command(typed: &str) -> (String, Option<String>) {
    if ELSEWHERE.contains(&typed) {
        return (
            format!("`evalscope {typed}` is not in this program, which has `perf`, `sim`, `report` and `export`"),
            Some(
                "it is in EvalScope, the Python package of ModelScope: https://github.com/modelscope/evalscope"
                    .to_owned(),
            ),
        );
    }
    let near = |name: &&&str| strsim::jaro_winkler(name, typed);
    let nearest = ["perf", "sim", "report", "export"]
        .iter()
        .max_by(|a, b| near(a).total_cmp(&near(b)))
        .filter(|name| near(name) > NEAR)
        .map(|name| format!("the nearest is `{name}`"));
    (
        format!("unknown command `{typed}`: there are `perf`, `sim`, `report` and `export`"),
        nearest.or_else(|| Some("a load test is `evalscope perf URL`".to_owned())),
    )
}
