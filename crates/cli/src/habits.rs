//! Owns the habits of Python's argparse that scripts rely on and clap does not
//! share: `_` for `-` in the names of flags.
//!
//! The others (the last of a repeated flag wins, space-separated lists,
//! unambiguous beginnings of flags) are settings of the parser in `args`.

use std::ffi::OsString;

/// Write `--max_tokens=5` as `--max-tokens=5`; values stay as they are.
pub(crate) fn normalise(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut rest_is_values = false;
    args.into_iter()
        .map(|arg| {
            rest_is_values |= arg == "--";
            if rest_is_values {
                return arg;
            }
            match arg.to_str().and_then(dashed) {
                Some(dashed) => dashed.into(),
                None => arg,
            }
        })
        .collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_in_names_only() {
        let given = [
            "--max_tokens",
            "a_b",
            "--name=x_y",
            "--log_every_n_query=5",
            "--a b_c",
            "--",
            "--q_r",
        ];
        let got = normalise(given.map(OsString::from));
        let want = [
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
