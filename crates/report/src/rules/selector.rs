//! Owns which points of a command a rule or a comparison is about: `parallel=8,name=*_number_100`.
//!
//! It must not know rules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a point is in a sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PointPlace {
    /// Name of the load.
    pub name: String,
    /// The most requests in flight; `None` in an open loop.
    pub parallel: Option<u64>,
    /// The rate as it was asked for, a number or a profile; `None` without one.
    pub rate: Option<String>,
    /// Measured requests; `None` where the time or a dataset limits the run.
    pub number: Option<u64>,
    /// How long requests are sent, seconds.
    pub duration_s: Option<f64>,
}

impl PointPlace {
    /// Whether the load is the same, whatever it is called.
    #[must_use]
    pub fn is_same_load(&self, other: &Self) -> bool {
        let duration = match (self.duration_s, other.duration_s) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-9,
            (a, b) => a.is_none() && b.is_none(),
        };
        duration
            && (self.parallel, &self.rate, self.number)
                == (other.parallel, &other.rate, other.number)
    }
}

impl fmt::Display for PointPlace {
    /// As a selector reads it: `parallel=8 number=100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.parallel.map(|n| format!("parallel={n}")));
        parts.extend(self.rate.as_ref().map(|rate| format!("rate={rate}")));
        parts.extend(self.number.map(|n| format!("number={n}")));
        parts.extend(self.duration_s.map(|s| format!("duration={s}s")));
        if parts.is_empty() {
            parts.push(format!("name={}", self.name));
        }
        f.write_str(&parts.join(" "))
    }
}

/// Points by their load or name; all terms have to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Parallel(u64),
    Rate(String),
    Number(u64),
    Duration(f64),
    Name(String),
}

/// A selector that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a selector: {why}, expected parallel=8, rate=20, number=100, duration=30s or name=GLOB, separated by commas"
)]
pub struct SelectorError {
    text: String,
    why: String,
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let fail = |why: String| SelectorError {
            text: text.to_owned(),
            why,
        };
        let mut terms = Vec::new();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| fail(format!("`{part}` has no `=`")))?;
            let number = |value: &str| {
                value
                    .parse()
                    .map_err(|_| fail(format!("`{value}` is not a whole number")))
            };
            let value = value.trim();
            terms.push(match key.trim() {
                "parallel" => Term::Parallel(number(value)?),
                "number" => Term::Number(number(value)?),
                "rate" if !value.is_empty() => Term::Rate(value.to_owned()),
                "duration" => Term::Duration(
                    value
                        .trim_end_matches('s')
                        .parse()
                        .map_err(|_| fail(format!("`{value}` is not a number of seconds")))?,
                ),
                "name" if !value.is_empty() => Term::Name(value.to_owned()),
                key => return Err(fail(format!("`{key}={value}` is unknown"))),
            });
        }
        Ok(Self {
            text: text.to_owned(),
            terms,
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Selector {
    /// Whether a point is one of them.
    #[must_use]
    pub fn holds(&self, place: &PointPlace) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Parallel(n) => place.parallel == Some(*n),
            Term::Number(n) => place.number == Some(*n),
            Term::Duration(s) => place.duration_s.is_some_and(|own| (own - s).abs() < 1e-9),
            Term::Rate(rate) => place
                .rate
                .as_ref()
                .is_some_and(|own| is_same_rate(own, rate)),
            Term::Name(glob) => fits(glob, &place.name),
        })
    }
}

/// As text, or as numbers: 20 and 20.0.
fn is_same_rate(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs(),
        _ => a == b,
    }
}

/// Whether a name fits a pattern, in which `*` is any text and `?` any character.
fn fits(glob: &str, name: &str) -> bool {
    let mut glob = glob.chars();
    match glob.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = glob.as_str();
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| fits(rest, &name[at..]))
        }
        Some(wanted) => {
            let mut chars = name.chars();
            let is_fit = chars.next().is_some_and(|c| wanted == '?' || wanted == c);
            is_fit && fits(glob.as_str(), chars.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> PointPlace {
        PointPlace {
            name: "parallel_8_number_100".to_owned(),
            parallel: Some(8),
            rate: Some("20".to_owned()),
            number: Some(100),
            duration_s: None,
        }
    }

    #[test]
    fn selectors_select() {
        for (text, holds) in [
            ("parallel=8", true),
            ("parallel=80", false),
            ("rate=20.0", true),
            ("rate=2", false),
            ("number=100,parallel=8", true),
            ("number=100, parallel=9", false),
            ("duration=30s", false),
            ("name=*_8_*", true),
            ("name=parallel_?_number_100", true),
            ("name=parallel_8", false),
            ("name=*", true),
        ] {
            assert_eq!(
                text.parse::<Selector>().unwrap().holds(&place()),
                holds,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_selector_says_why() {
        for (text, why) in [
            ("", "`` has no `=`"),
            ("8", "`8` has no `=`"),
            ("parallel=many", "`many` is not a whole number"),
            ("users=8", "`users=8` is unknown"),
            ("name=", "`name=` is unknown"),
            ("duration=long", "`long` is not a number of seconds"),
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("expected parallel=8"),
                "{error}"
            );
        }
    }
}
