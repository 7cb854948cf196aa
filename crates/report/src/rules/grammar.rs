//! Owns the text of a rule, and what is wrong with one.
//!
//! ```text
//! rule      = condition { " and " condition } ;
//! condition = figure [ "@" selector ] op bound ;
//! op        = "<" | "<=" | ">" | ">=" ;
//! bound     = number [ unit ] | ( "+" | "-" ) number ( "%" | unit ) ;
//! ```
//!
//! It must not know runs.

use std::fmt;
use std::str::FromStr;

use super::selector::Selector;
use crate::names::{FigureKey, Unit};

/// What must not hold: all conditions of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    text: String,
    conditions: Vec<Condition>,
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The figure.
    pub figure: FigureKey,
    /// The points that it is about; `None`: all.
    pub at: Option<Selector>,
    /// On which side of the bound it must not be.
    pub op: Op,
    /// The bound.
    pub bound: Bound,
}

/// A side of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

impl Op {
    /// Whether a value is on this side of a bound.
    #[must_use]
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Above => value > bound,
            Self::AtLeast => value >= bound,
        }
    }

    /// The side is above the bound.
    #[must_use]
    pub const fn is_above(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast)
    }
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// A value, in the unit of the figure.
    Value(f64),
    /// A change of the figure by this share of the base.
    Ratio(f64),
    /// A change by this much, in the unit of the figure.
    Difference(f64),
}

impl Bound {
    /// It is about a change.
    #[must_use]
    pub const fn is_change(self) -> bool {
        !matches!(self, Self::Value(_))
    }
}

impl Rule {
    /// Its conditions; at least one.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// It is about a change, so it needs a base.
    #[must_use]
    pub fn is_about_change(&self) -> bool {
        self.conditions.iter().any(|one| one.bound.is_change())
    }

    /// Its first figure: what the rule is called in lists.
    #[must_use]
    pub fn figure(&self) -> FigureKey {
        self.conditions[0].figure
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A rule that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule `{text}`, character {at}: {why}")]
pub struct RuleError {
    /// The rule.
    pub text: String,
    /// Where it goes wrong, from 1.
    pub at: usize,
    /// What is wrong there.
    pub why: String,
}

/// Reads a rule from left to right.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// What comes next, up to where `ends` holds.
    fn word(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn fail(&self, at: usize, why: impl Into<String>) -> RuleError {
        RuleError {
            text: self.text.to_owned(),
            at: self.text[..at].chars().count() + 1,
            why: why.into(),
        }
    }

    fn condition(&mut self) -> Result<Condition, RuleError> {
        self.skip_blanks();
        let begin = self.at;
        let name = self.word(|c| "<>=@".contains(c) || c.is_whitespace());
        if name.is_empty() {
            return Err(self.fail(begin, "expected a figure, such as ttft_p99"));
        }
        let figure: FigureKey = name
            .parse()
            .map_err(|error| self.fail(begin, format!("{error}")))?;
        self.skip_blanks();
        let mut at = None;
        if self.rest().starts_with('@') {
            self.at += 1;
            let begin = self.at;
            let text = self.selector();
            let selector = text.trim().parse::<Selector>();
            at = Some(selector.map_err(|error| self.fail(begin, error.to_string()))?);
        }
        let op = self.op(name)?;
        let bound = self.bound(figure, op)?;
        Ok(Condition {
            figure,
            at,
            op,
            bound,
        })
    }

    /// A selector has `=` of its own: it ends at the last sign before a bound.
    fn selector(&mut self) -> &'a str {
        self.word(|c| "<>".contains(c))
    }

    fn op(&mut self, name: &str) -> Result<Op, RuleError> {
        self.skip_blanks();
        let begin = self.at;
        match self.word(|c| !"<>=".contains(c)) {
            "<" => Ok(Op::Below),
            "<=" => Ok(Op::AtMost),
            ">" => Ok(Op::Above),
            ">=" => Ok(Op::AtLeast),
            "" => Err(self.fail(begin, format!("expected <, <=, > or >= after {name}"))),
            sign => Err(self.fail(begin, format!("`{sign}` is not one of <, <=, > and >="))),
        }
    }

    fn bound(&mut self, figure: FigureKey, op: Op) -> Result<Bound, RuleError> {
        self.skip_blanks();
        let begin = self.at;
        let is_change = self.rest().starts_with(['+', '-']);
        let number = self.word(|c| !(c.is_ascii_digit() || ".+-".contains(c)));
        let value = number.parse().ok().filter(|value: &f64| value.is_finite());
        let value = value.ok_or_else(|| {
            let found = if number.is_empty() {
                self.rest()
            } else {
                number
            };
            self.fail(begin, format!("expected a number, not `{found}`"))
        })?;
        self.skip_blanks();
        let unit_at = self.at;
        let mut unit = self.word(char::is_whitespace);
        if unit == "and" {
            self.at = unit_at;
            unit = "";
        }
        let own = figure.unit();
        if is_change {
            if (value >= 0.0) != op.is_above() {
                let (sign, other) = if op.is_above() {
                    ("+", "<")
                } else {
                    ("-", ">")
                };
                return Err(self.fail(
                    begin,
                    format!(
                        "a change to the worse goes with its sign: write `{sign}{}` here, or `{other}` before",
                        number.trim_start_matches(['+', '-'])
                    ),
                ));
            }
            // of shares, percent are points: nothing is 5 % of no error
            if unit == "%" && own != Unit::Share {
                return Ok(Bound::Ratio(value / 100.0));
            }
            if unit.is_empty() {
                return Err(self.fail(
                    unit_at,
                    format!(
                        "{number} of what? write {number}% or {number}{}",
                        own.name()
                    ),
                ));
            }
        }
        let value = value * factor(own, unit).map_err(|why| self.fail(unit_at, why))?;
        Ok(if is_change {
            Bound::Difference(value)
        } else {
            Bound::Value(value)
        })
    }
}

/// What makes a number with this unit one in the unit of the figure.
fn factor(own: Unit, unit: &str) -> Result<f64, String> {
    let time_s = match unit {
        "us" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        _ => None,
    };
    match (own, unit, time_s) {
        (Unit::Ms, _, Some(s)) => Ok(s * 1e3),
        (Unit::S, _, Some(s)) => Ok(s),
        (Unit::Ms | Unit::S, "", _) => Err("a time needs a unit: us, ms or s".to_owned()),
        (Unit::Ms | Unit::S, _, _) => Err(format!(
            "`{unit}` is not a unit of time: expected us, ms or s"
        )),
        (Unit::Share, "%", _) => Ok(0.01),
        (Unit::Tokens | Unit::Share | Unit::RequestsPerS | Unit::TokensPerS, "", _)
        | (Unit::RequestsPerS, "req/s", _)
        | (Unit::TokensPerS, "tok/s", _) => Ok(1.0),
        _ => Err(format!(
            "`{unit}` is not the unit of this figure: expected {}",
            match own {
                Unit::Tokens => "a plain number",
                other => other.name(),
            }
        )),
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut reader = Reader { text, at: 0 };
        let mut conditions = Vec::new();
        loop {
            conditions.push(reader.condition()?);
            reader.skip_blanks();
            let begin = reader.at;
            match reader.word(char::is_whitespace) {
                "" => break,
                "and" => {}
                other => {
                    return Err(
                        reader.fail(begin, format!("expected `and` or the end, not `{other}`"))
                    );
                }
            }
        }
        Ok(Self {
            text: text.trim().to_owned(),
            conditions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(text: &str) -> Vec<Bound> {
        let rule: Rule = text.parse().unwrap();
        rule.conditions().iter().map(|one| one.bound).collect()
    }

    #[test]
    fn rules_are_read() {
        let near = |a: &[Bound], b: &[Bound]| format!("{a:.6?}") == format!("{b:.6?}");
        for (text, want) in [
            ("ttft_p99>500ms", vec![Bound::Value(500.0)]),
            ("ttft_p99 > 0.5s", vec![Bound::Value(500.0)]),
            ("latency.p99>=500ms", vec![Bound::Value(0.5)]),
            (
                "ttft_p99>+5% and ttft_p99>+20ms",
                vec![Bound::Ratio(0.05), Bound::Difference(20.0)],
            ),
            ("output_tokens_per_s<-3%", vec![Bound::Ratio(-0.03)]),
            ("output_tokens_per_s<1000tok/s", vec![Bound::Value(1000.0)]),
            ("output_tokens_per_s<1000", vec![Bound::Value(1000.0)]),
            ("requests_per_s<=2.5req/s", vec![Bound::Value(2.5)]),
            ("error_rate>1%", vec![Bound::Value(0.01)]),
            (
                "error_rate>0.01 and ttft_mean>1ms",
                vec![Bound::Value(0.01), Bound::Value(1.0)],
            ),
            ("error_rate>+1%", vec![Bound::Difference(0.01)]),
            ("goodput<95%", vec![Bound::Value(0.95)]),
            ("output_tokens_mean<100", vec![Bound::Value(100.0)]),
            ("itl_max>900us", vec![Bound::Value(0.9)]),
            ("ttft_p99.9>+10%", vec![Bound::Ratio(0.1)]),
            ("ttft.p99.99@parallel=8>1s", vec![Bound::Value(1000.0)]),
        ] {
            assert!(near(&bounds(text), &want), "{text}: {:?}", bounds(text));
        }
        let rule: Rule = "ttft_p99@parallel=8,name=a*>+5%".parse().unwrap();
        assert_eq!(
            rule.conditions()[0].at.as_ref().unwrap().to_string(),
            "parallel=8,name=a*"
        );
        assert!(rule.is_about_change());
        assert!(!"error_rate>1%".parse::<Rule>().unwrap().is_about_change());
    }

    #[test]
    fn a_number_that_is_too_large_is_not_a_bound() {
        let text = format!("ttft_p99>{}ms", "9".repeat(400));
        let error = text.parse::<Rule>().unwrap_err().to_string();
        assert!(error.contains("character 10: expected a number"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, at, why) in [
            ("", 1, "expected a figure, such as ttft_p99"),
            ("  ", 3, "expected a figure"),
            (">5ms", 1, "expected a figure"),
            (
                "tfft_p99>5ms",
                1,
                "no figure is called `tfft_p99`; did you mean ttft_p99?",
            ),
            ("ttft>5ms", 1, "`ttft` needs a statistic"),
            ("ttft_p100>5ms", 1, "`p100` is not a percentile"),
            ("ttft_p99", 9, "expected <, <=, > or >= after ttft_p99"),
            ("ttft_p99 5ms", 10, "expected <, <=, > or >= after ttft_p99"),
            ("ttft_p99==5ms", 9, "`==` is not one of"),
            ("ttft_p99=>5ms", 9, "`=>` is not one of"),
            ("ttft_p99>", 10, "expected a number, not ``"),
            ("ttft_p99>fast", 10, "expected a number, not `fast`"),
            ("ttft_p99>1.2.3ms", 10, "expected a number, not `1.2.3`"),
            ("ttft_p99>500", 13, "a time needs a unit: us, ms or s"),
            ("ttft_p99>500tok/s", 13, "`tok/s` is not a unit of time"),
            ("ttft_p99>5%", 11, "`%` is not a unit of time"),
            ("ttft_p99>+5", 12, "+5 of what? write +5% or +5ms"),
            ("ttft_p99>-5%", 10, "write `+5` here, or `<` before"),
            (
                "output_tokens_per_s<+5%",
                21,
                "write `-5` here, or `>` before",
            ),
            (
                "output_tokens_per_s<5ms",
                22,
                "`ms` is not the unit of this figure: expected tok/s",
            ),
            ("output_tokens_mean<5ms", 21, "expected a plain number"),
            (
                "ttft_p99>5ms or itl_p99>5ms",
                14,
                "expected `and` or the end, not `or`",
            ),
            ("ttft_p99>5ms and", 17, "expected a figure"),
            (
                "ttft_p99>5ms and tfft_p50>5ms",
                18,
                "did you mean ttft_p50?",
            ),
            ("ttft_p99@users=8>5ms", 10, "`users=8` is unknown"),
            ("ttft_p99@>5ms", 10, "`` is not a selector"),
            ("täft_p99>500", 1, "no figure is called `täft_p99`"),
        ] {
            let error = text.parse::<Rule>().unwrap_err();
            assert_eq!(error.at, at, "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_the_parser_panic(text in "[a-z0-9_@=<>+.% é-]{0,30}") {
            if let Err(error) = text.parse::<Rule>() {
                prop_assert!(error.at >= 1 && error.at <= text.chars().count() + 1);
            }
        }
    }
}
