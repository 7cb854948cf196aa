//! Owns token counts as servers tell them: under which names they may stand,
//! what is a count at all, and what a later event does to an earlier one's.
//!
//! It must not know which name goes first: each API says so. Some servers tell
//! counts in every event, hence nothing is allocated.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::record::{MOST_TOKENS, Usage};

/// The counts of one `usage`, by the names they have there; `None`: missing, or
/// no count.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) input_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) cached_tokens: Option<u64>,
    pub(super) prompt_cache_hit_tokens: Option<u64>,
    pub(super) reasoning_tokens: Option<u64>,
    pub(super) prompt_details: Details,
    pub(super) input_details: Details,
    pub(super) completion_details: Details,
    pub(super) output_details: Details,
}

/// The counts of a `…_tokens_details`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Details {
    pub(super) cached_tokens: Option<u64>,
    pub(super) reasoning_tokens: Option<u64>,
}

/// Take the counts of a `usage` in: the last value that says something wins,
/// field by field. `chosen` picks one where several names mean the same.
pub(super) fn merge(raw: &RawValue, usage: &mut Usage, chosen: fn(&Told) -> Usage) {
    let Some(told) = object::<Told>(raw) else {
        return;
    };
    let now = chosen(&told);
    usage.prompt_tokens = now.prompt_tokens.or(usage.prompt_tokens);
    usage.completion_tokens = now.completion_tokens.or(usage.completion_tokens);
    usage.cached_tokens = now.cached_tokens.or(usage.cached_tokens);
    usage.reasoning_tokens = now.reasoning_tokens.or(usage.reasoning_tokens);
}

/// A count as servers write it: a whole number, also as `2.0`.
pub(super) fn count_of(value: &Value) -> Option<u64> {
    believed(value.as_u64(), || value.as_f64())
}

/// The same of a value that has not been parsed.
fn count_in(raw: &RawValue) -> Option<u64> {
    believed(raw.get().parse().ok(), || raw.get().parse().ok())
}

fn believed(whole: Option<u64>, number: impl FnOnce() -> Option<f64>) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number that fits"
    )]
    let count = whole.or_else(|| {
        let n = number()?;
        (n >= 0.0 && n.fract() == 0.0 && n < 1e15).then_some(n as u64)
    });
    count.filter(|count| *count <= MOST_TOKENS)
}

/// What is no object is as good as missing.
fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    PromptTokens,
    InputTokens,
    CompletionTokens,
    OutputTokens,
    CachedTokens,
    PromptCacheHitTokens,
    ReasoningTokens,
    PromptTokensDetails,
    InputTokensDetails,
    CompletionTokensDetails,
    OutputTokensDetails,
    #[serde(other)]
    Other,
}

/// How an object of counts is read, by its names. Not derived: a name that
/// comes twice would cost all the others.
macro_rules! reads_names {
    ($type:ty, $visitor:ident, { $($name:ident => $field:ident by $read:expr,)* }) => {
        struct $visitor;

        impl<'de> Visitor<'de> for $visitor {
            type Value = $type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                let mut told = <$type>::default();
                while let Some(name) = map.next_key()? {
                    match name {
                        $(Name::$name => told.$field = $read(map.next_value()?),)*
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(told)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map($visitor)
            }
        }
    };
}

reads_names!(Told, ToldVisitor, {
    PromptTokens => prompt_tokens by count_in,
    InputTokens => input_tokens by count_in,
    CompletionTokens => completion_tokens by count_in,
    OutputTokens => output_tokens by count_in,
    CachedTokens => cached_tokens by count_in,
    PromptCacheHitTokens => prompt_cache_hit_tokens by count_in,
    ReasoningTokens => reasoning_tokens by count_in,
    PromptTokensDetails => prompt_details by details_in,
    InputTokensDetails => input_details by details_in,
    CompletionTokensDetails => completion_details by details_in,
    OutputTokensDetails => output_details by details_in,
});

reads_names!(Details, DetailsVisitor, {
    CachedTokens => cached_tokens by count_in,
    ReasoningTokens => reasoning_tokens by count_in,
});

fn details_in(raw: &RawValue) -> Details {
    object(raw).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_name_has_its_place() {
        let text = r#"{"prompt_tokens":1,"input_tokens":2,"completion_tokens":3,"output_tokens":4,
            "cached_tokens":5,"prompt_cache_hit_tokens":6,"reasoning_tokens":7,"total_tokens":99,
            "prompt_tokens_details":{"cached_tokens":8,"audio_tokens":99},
            "input_tokens_details":{"cached_tokens":9,"prompt_tokens":99},
            "completion_tokens_details":{"reasoning_tokens":10},
            "output_tokens_details":{"cached_tokens":11,"reasoning_tokens":12}}"#;
        let told: Told = object(&raw(text)).unwrap();
        insta::assert_snapshot!(format!("{told:?}").replace("Some", ""), @"Told { prompt_tokens: (1), input_tokens: (2), completion_tokens: (3), output_tokens: (4), cached_tokens: (5), prompt_cache_hit_tokens: (6), reasoning_tokens: (7), prompt_details: Details { cached_tokens: (8), reasoning_tokens: None }, input_details: Details { cached_tokens: (9), reasoning_tokens: None }, completion_details: Details { cached_tokens: None, reasoning_tokens: (10) }, output_details: Details { cached_tokens: (11), reasoning_tokens: (12) } }");
    }

    #[test]
    fn what_is_no_count_is_missing_and_costs_nothing_else() {
        for (text, want) in [
            (r#"{"prompt_tokens":2.0,"prompt_tokens":3}"#, Some(3)),
            (r#"{"prompt_tokens":1e400,"output_tokens":1}"#, None),
            (
                r#"{"prompt_tokens":4,"prompt_tokens_details":[1,2]}"#,
                Some(4),
            ),
            (
                r#"{"prompt_tokens":4,"input_tokens_details":null}"#,
                Some(4),
            ),
            (r#"{"prompt_tokens":"3"}"#, None),
            ("[1,2,3,4]", None),
            ("\"lots\"", None),
            ("null", None),
        ] {
            let mut usage = Usage::default();
            let chosen = |told: &Told| Usage {
                prompt_tokens: told.prompt_tokens,
                completion_tokens: told.output_tokens,
                ..Usage::default()
            };
            merge(&raw(text), &mut usage, chosen);
            assert_eq!(usage.prompt_tokens, want, "{text}");
            let other = text.contains("output_tokens").then_some(1);
            assert_eq!(usage.completion_tokens, other, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_count_is_the_same_parsed_or_not(
            text in prop_oneof![
                "-?(0|[1-9][0-9]{0,21})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
                "\"[0-9]{0,3}\"|null|true|\\[1\\]|\\{\\}",
            ]
        ) {
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(count_in(&raw(&text)), count_of(&value), "{}", text);
        }
    }
}
