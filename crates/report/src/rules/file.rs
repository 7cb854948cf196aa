//! Owns files of rules: `[[rule]] fail_if = "…" at = "parallel=8" severity = "warning" why = "…"`.
//!
//! It must not know where a file is.

use serde::{Deserialize, Serialize};

use super::grammar::{Rule, RuleError};
use super::selector::{Selector, SelectorError};

/// What a broken rule means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The command fails.
    #[default]
    Error,
    /// It is only said.
    Warning,
}

/// A rule with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The rule.
    pub rule: Rule,
    /// The points that it is about; `None`: all.
    pub at: Option<Selector>,
    /// What it means if it is broken.
    pub severity: Severity,
    /// Why there is this rule, for those who break it.
    pub why: Option<String>,
}

impl From<Rule> for Gate {
    fn from(rule: Rule) -> Self {
        Self {
            rule,
            at: None,
            severity: Severity::Error,
            why: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    fail_if: String,
    at: Option<String>,
    #[serde(default)]
    severity: Severity,
    why: Option<String>,
}

/// A file of rules that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RulesFileError {
    /// It is not what a file of rules is.
    #[error("it is not a file of rules: {0}")]
    Toml(#[from] toml::de::Error),
    /// A rule of it cannot be read.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A selector of it cannot be read.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// It has no rule.
    #[error("it has no rule\nhint: write `[[rule]]` and `fail_if = \"ttft_p99>+5%\"`")]
    Empty,
}

/// Read the text of a file of rules.
///
/// # Errors
/// If it is not TOML of this form, or has no rule.
pub fn read_file(text: &str) -> Result<Vec<Gate>, RulesFileError> {
    let file: File = toml::from_str(text)?;
    if file.rule.is_empty() {
        return Err(RulesFileError::Empty);
    }
    let gate = |entry: Entry| {
        Ok(Gate {
            rule: entry.fail_if.parse()?,
            at: entry.at.map(|at| at.parse()).transpose()?,
            severity: entry.severity,
            why: entry.why,
        })
    };
    file.rule.into_iter().map(gate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let text = r#"
            [[rule]]
            fail_if = "ttft_p99>+5%"
            at = "parallel=8"
            why = "the chat page waits for it"
            [[rule]]
            fail_if = "error_rate>1%"
            severity = "warning"
        "#;
        let gates = read_file(text).unwrap();
        assert_eq!(gates.len(), 2);
        assert_eq!(gates[0].why.as_deref(), Some("the chat page waits for it"));
        assert_eq!(gates[1].severity, Severity::Warning);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        for (text, why) in [
            ("", "it has no rule"),
            ("[[rule]]\n", "missing field `fail_if`"),
            ("[[rule]]\nfail_if = \"ttft>1ms\"\n", "needs a statistic"),
            (
                "[[rule]]\nfail_if = \"ttft_p99>1ms\"\nat = \"8\"\n",
                "has no `=`",
            ),
            (
                "[[rule]]\nfail_if = \"ttft_p99>1ms\"\nseverity = \"bad\"\n",
                "unknown variant `bad`",
            ),
            (
                "[[rules]]\nfail_if = \"ttft_p99>1ms\"\n",
                "unknown field `rules`",
            ),
        ] {
            let error = read_file(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
