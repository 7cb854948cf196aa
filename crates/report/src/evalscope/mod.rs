//! Owns what our files in EvalScope's form and exports to EvalScope have in common: its arguments with
//! their defaults, and how it rounds figures.
//!
//! It must not know the runs whose figures these are.

use serde_json::{Map, Value};

/// How EvalScope writes that there is no limit.
pub(crate) const NOT_LIMITED: i64 = -1;

/// Decimals of figures.
const DECIMALS: usize = 4;
/// Decimals of figures in milliseconds.
const MS_DECIMALS: usize = 2;

/// Every argument of EvalScope 1.14.1 with its default, in the order of their declaration, which is
/// that of `benchmark_args.json`. `ci/reference-commands export` compares them with the package's.
pub(crate) fn arguments() -> Map<String, Value> {
    serde_json::from_str(include_str!("arguments.json")).expect("a test reads it")
}

/// Arguments of which a whole number is a float in Python; of all others it is an integer.
const FLOATS: [&str; 6] = [
    "rate",
    "duration",
    "temperature",
    "top_p",
    "frequency_penalty",
    "repetition_penalty",
];

/// Whether an argument is a float in Python, also where its value is whole.
pub(crate) fn is_float(argument: &str) -> bool {
    FLOATS.contains(&argument)
}

/// A number with so many decimals, as `round` of Python gives it: the closest to the binary value,
/// and the even one of two that are equally close.
pub(crate) fn rounded(value: f64, decimals: usize) -> f64 {
    format!("{value:.decimals$}").parse().unwrap_or(value)
}

/// A figure as `benchmark_summary.json` has it under a key.
pub(crate) fn summary_figure(key: &str, value: f64) -> f64 {
    let decimals = if key.ends_with("(ms)") {
        MS_DECIMALS
    } else {
        DECIMALS
    };
    rounded(value, decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_their_order() {
        let arguments = arguments();
        let names: Vec<_> = arguments.keys().map(String::as_str).collect();
        assert_eq!(names.len(), 81);
        assert_eq!((names[0], names[80]), ("model", "multi_turn_args"));
        assert_eq!(arguments["rate"].to_string(), "-1.0");
    }

    /// Right: what `round` of Python 3.11 prints.
    #[test]
    fn rounding_is_that_of_python() {
        for ((value, decimals), want) in [
            ((2.675, 2), "2.67"),
            ((0.125, 2), "0.12"),
            ((0.375, 2), "0.38"),
            ((1.000_05, 4), "1.0001"),
            ((-1.0, 4), "-1.0"),
        ] {
            assert_eq!(format!("{:?}", rounded(value, decimals)), want);
        }
    }

    #[test]
    fn figures_in_milliseconds_have_two_decimals() {
        for (key, value, want) in [
            ("Avg Latency (s)", 1.234_56, "1.2346"),
            ("Avg TTFT (ms)", 1.234_56, "1.23"),
            ("Req Throughput (req/s)", 2.0, "2.0"),
        ] {
            assert_eq!(format!("{:?}", summary_figure(key, value)), want);
        }
    }
}
