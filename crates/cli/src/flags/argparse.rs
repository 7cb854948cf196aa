//! Owns the conventions of Python's argparse that clap does not have: `_` for `-` in flag names, a
//! value after a switch, a URL after a list, `-v` for the version.
//!
//! The others (the last of a repeated flag wins, lists, unambiguous prefixes of flags) are
//! settings of the parser in `commands`.
//!
//! It must not know what a flag means.

use std::ffi::OsString;

use clap::{ArgAction, Command};

/// Rewrite a command line for the parser; values are not changed. `perf` is the command whose
/// switches are known.
pub(crate) fn normalise(args: impl IntoIterator<Item = OsString>, perf: &Command) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|arg| arg == "-v") {
        args[1] = "--version".into();
    }
    let end = args
        .iter()
        .position(|arg| arg == "--")
        .unwrap_or(args.len());
    for arg in &mut args[..end] {
        if let Some(dashed) = arg.to_str().and_then(dashed) {
            *arg = dashed.into();
        }
    }
    if args.get(1).is_none_or(|command| command != "perf") {
        return args;
    }
    let rest = args.split_off(end);
    let mut args = with_plain_switches(args, perf);
    if let Some(url) = url_behind_a_list(&args) {
        let url = args.remove(url);
        // the command comes first
        args.insert(2, url);
    }
    args.extend(rest);
    args
}

/// `--max_tokens=5` as `--max-tokens=5`.
fn dashed(arg: &str) -> Option<String> {
    let flag = arg.strip_prefix("--")?;
    let (name, value) = match flag.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (flag, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !is_name || !name.contains('_') {
        return None;
    }
    let name = name.replace('_', "-");
    Some(match value {
        Some(value) => format!("--{name}={value}"),
        None => format!("--{name}"),
    })
}

/// `--stream false` and `--stream=false` as `--no-stream`, and so for every switch. A switch without
/// an opposite is left out.
fn with_plain_switches(args: Vec<OsString>, perf: &Command) -> Vec<OsString> {
    let switches: Vec<&str> = perf
        .get_arguments()
        .filter(|arg| matches!(arg.get_action(), ArgAction::SetTrue))
        .filter_map(clap::Arg::get_long)
        .collect();
    let mut plain = Vec::with_capacity(args.len());
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let Some(flag) = arg.to_str().and_then(|arg| arg.strip_prefix("--")) else {
            plain.push(arg);
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if !switches.contains(&name) {
            plain.push(arg);
            continue;
        }
        let behind = args
            .peek()
            .and_then(|next| next.to_str())
            .filter(|next| value.is_none() && matches!(*next, "true" | "false" | "True" | "False"))
            .map(str::to_owned);
        if behind.is_some() {
            args.next();
        }
        match value.or(behind).as_deref().map(truth) {
            Some(Some(true)) => plain.push(format!("--{name}").into()),
            Some(Some(false)) => {
                let opposite = match name.strip_prefix("no-") {
                    Some(positive) => positive.to_owned(),
                    None => format!("no-{name}"),
                };
                if switches.contains(&opposite.as_str()) {
                    plain.push(format!("--{opposite}").into());
                }
            }
            Some(None) | None => plain.push(arg),
        }
    }
    plain
}

fn truth(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The index of a URL that follows a list and would be parsed as one of its values.
fn url_behind_a_list(args: &[OsString]) -> Option<usize> {
    let text = |arg: &OsString| arg.to_str().map(str::to_owned).unwrap_or_default();
    let is_url = |arg: &str| arg.starts_with("http://") || arg.starts_with("https://");
    let mut of_url = false;
    let mut of_model = false;
    for i in 2..args.len() {
        let arg = text(&args[i]);
        if arg.starts_with('-') {
            of_url = arg == "--url";
            of_model = arg == "--model";
        } else if i > 2
            && !of_url
            && !text(&args[i - 1]).starts_with('-')
            && (is_url(&arg) || of_model && is_address(&arg))
        {
            return Some(i);
        }
    }
    None
}

/// Whether a name of a model is rather a host and its port: an IP address, or `localhost`.
fn is_address(text: &str) -> bool {
    let place = text.split('/').next().unwrap_or_default();
    let Some((host, port)) = place.rsplit_once(':') else {
        return false;
    };
    let is_host = host == "localhost"
        || host.parse::<std::net::Ipv4Addr>().is_ok()
        || host.starts_with('[') && host.ends_with(']');
    is_host && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_in_names_only() {
        let given = [
            "evalscope",
            "sim",
            "--max_tokens",
            "a_b",
            "--name=x_y",
            "--log_every_n_query=5",
            "--a b_c",
            "--",
            "--q_r",
        ];
        let got = normalise(given.map(OsString::from), &Command::new("perf"));
        let want = [
            "evalscope",
            "sim",
            "--max-tokens",
            "a_b",
            "--name=x_y",
            "--log-every-n-query=5",
            "--a b_c",
            "--",
            "--q_r",
        ];
        assert_eq!(got, want.map(OsString::from));
    }
}
