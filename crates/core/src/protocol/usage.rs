//! Owns token counts as servers report them: the names they may have, what is a valid count, which
//! counts include which, and how later counts replace earlier ones.
//!
//! It must not know which name takes precedence: each API decides. Some servers send counts in
//! every event, so nothing is allocated.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use evalscope_model::record::{MOST_TOKENS, Usage};

/// The counts of one `usage`, by their names; `None`: missing, or not a count.
#[derive(Debug, Default)]
pub(super) struct Reported {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) input_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) total_tokens: Option<u64>,
    pub(super) cached_tokens: Option<u64>,
    pub(super) prompt_cache_hit_tokens: Option<u64>,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_creation: Option<u64>,
    pub(super) reasoning_tokens: Option<u64>,
    pub(super) prompt_details: Details,
    pub(super) input_details: Details,
    pub(super) completion_details: Details,
    pub(super) output_details: Details,
}

/// The counts of a `…_tokens_details` object.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Details {
    pub(super) cached_tokens: Option<u64>,
    pub(super) reasoning_tokens: Option<u64>,
}

/// The counts of a `usage`; nothing if it is not an object.
pub(super) fn reported(raw: &RawValue) -> Reported {
    object(raw).unwrap_or_default()
}

/// Merge the counts of a `usage`: for each field, the last reported value wins. `chosen` picks one
/// of several names for the same count.
pub(super) fn merge(raw: &RawValue, usage: &mut Usage, chosen: fn(&Reported) -> Usage) {
    let Some(reported) = object::<Reported>(raw) else {
        return;
    };
    let mut now = chosen(&reported);
    add_reasoning_on_top(&mut now, &reported);
    replace(usage, &now);
}

/// Replace earlier counts with later ones.
fn replace(usage: &mut Usage, now: &Usage) {
    let completion = later(now.completion_tokens, usage.completion_tokens);
    if now.completion_tokens.is_some() && completion == now.completion_tokens {
        if usage.reasoning_from_total && !now.reasoning_from_total {
            usage.reasoning_tokens = None;
        }
        usage.reasoning_from_total = now.reasoning_from_total;
    }
    usage.completion_tokens = completion;
    usage.prompt_tokens = later(now.prompt_tokens, usage.prompt_tokens);
    usage.cached_tokens = later(now.cached_tokens, usage.cached_tokens);
    usage.reasoning_tokens = later(now.reasoning_tokens, usage.reasoning_tokens);
}

/// The later of two reported counts. A true count never falls to 0: a final `usage` of zeros
/// replaces nothing.
pub(super) fn later(now: Option<u64>, before: Option<u64>) -> Option<u64> {
    now.filter(|count| *count > 0).or(before).or(now)
}

/// The first of several spellings of a count that is reported: gateways send several at once, with
/// 0 for those they do not fill.
pub(super) fn first<const N: usize>(counts: [Option<u64>; N]) -> Option<u64> {
    counts
        .into_iter()
        .rev()
        .fold(None, |rest, count| later(count, rest))
}

/// Some servers leave reasoning out of the generated tokens: xAI reports it only in the details,
/// Gemini only in the total. The total reveals it.
fn add_reasoning_on_top(usage: &mut Usage, reported: &Reported) {
    let (Some(prompt), Some(completion)) = (usage.prompt_tokens, usage.completion_tokens) else {
        return;
    };
    let seen = prompt.saturating_add(completion);
    let on_top = match (reported.total_tokens, usage.reasoning_tokens) {
        (Some(total), Some(reasoning)) => {
            (total.checked_sub(seen) == Some(reasoning)).then_some(reasoning)
        }
        // reasoning that exceeds the output is not part of it
        (None, Some(reasoning)) => (reasoning > completion && completion > 0).then_some(reasoning),
        (Some(total), None) => {
            let rest = total
                .checked_sub(seen)
                .filter(|rest| *rest > 0 && prompt > 0);
            rest.filter(|rest| !is_cache(*rest, reported, usage))
        }
        (None, None) => None,
    };
    let Some(on_top) = on_top else {
        return;
    };
    usage.reasoning_from_total = usage.reasoning_tokens.is_none();
    usage.reasoning_tokens = Some(on_top);
    usage.completion_tokens = Some(completion.saturating_add(on_top)).filter(|n| *n <= MOST_TOKENS);
}

/// Whether this many tokens beyond prompt and output are cached tokens, which some gateways include
/// in the total but not in the prompt.
fn is_cache(rest: u64, reported: &Reported, usage: &Usage) -> bool {
    let (read, made) = (reported.cache_read, reported.cache_creation);
    let both = read.unwrap_or(0).saturating_add(made.unwrap_or(0));
    [read, made, Some(both), usage.cached_tokens].contains(&Some(rest))
}

/// Combine counts reported per choice: one prompt, and the sum of the output.
pub(super) fn of_choices(each: &[Usage]) -> Usage {
    let most = |of: fn(&Usage) -> Option<u64>| each.iter().filter_map(of).max();
    let sum = |of: fn(&Usage) -> Option<u64>| {
        let counts = each.iter().filter_map(of);
        counts
            .reduce(u64::saturating_add)
            .filter(|count| *count <= MOST_TOKENS)
    };
    Usage {
        prompt_tokens: most(|usage| usage.prompt_tokens),
        completion_tokens: sum(|usage| usage.completion_tokens),
        cached_tokens: most(|usage| usage.cached_tokens),
        reasoning_tokens: sum(|usage| usage.reasoning_tokens),
        reasoning_from_total: each.iter().any(|usage| usage.reasoning_from_total),
    }
}

/// A count as servers write it: a whole number, also as `2.0` or as a string.
pub(super) fn count_of(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => count_from(text),
        value => believed(value.as_u64(), || value.as_f64()),
    }
}

/// The same for an unparsed value.
fn count_in(raw: &RawValue) -> Option<u64> {
    let text = raw.get();
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    count_from(quoted.unwrap_or(text))
}

fn count_from(text: &str) -> Option<u64> {
    let text = text.trim();
    // `parse` accepts words such as `inf`, which are not counts
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return None;
    }
    believed(text.parse().ok(), || text.parse().ok())
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

/// Anything but an object counts as missing.
fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    #[serde(alias = "promptTokenCount")]
    PromptTokens,
    InputTokens,
    #[serde(alias = "candidatesTokenCount")]
    CompletionTokens,
    OutputTokens,
    #[serde(alias = "totalTokenCount")]
    TotalTokens,
    #[serde(alias = "cachedContentTokenCount")]
    CachedTokens,
    PromptCacheHitTokens,
    CacheReadInputTokens,
    CacheCreationInputTokens,
    #[serde(alias = "thoughtsTokenCount")]
    ReasoningTokens,
    PromptTokensDetails,
    InputTokensDetails,
    CompletionTokensDetails,
    OutputTokensDetails,
    #[serde(other)]
    Other,
}

/// Reads an object of counts by their names. Not derived: a duplicate name would lose all the
/// others.
macro_rules! reads_names {
    ($type:ty, $visitor:ident, { $($name:ident => $field:ident by $read:expr,)* }) => {
        struct $visitor;

        impl<'de> Visitor<'de> for $visitor {
            type Value = $type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                let mut reported = <$type>::default();
                while let Some(name) = map.next_key()? {
                    match name {
                        $(Name::$name => reported.$field = $read(map.next_value()?, reported.$field),)*
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(reported)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map($visitor)
            }
        }
    };
}

reads_names!(Reported, ReportedVisitor, {
    PromptTokens => prompt_tokens by count,
    InputTokens => input_tokens by count,
    CompletionTokens => completion_tokens by count,
    OutputTokens => output_tokens by count,
    TotalTokens => total_tokens by count,
    CacheReadInputTokens => cache_read by count,
    CacheCreationInputTokens => cache_creation by count,
    CachedTokens => cached_tokens by count,
    PromptCacheHitTokens => prompt_cache_hit_tokens by count,
    ReasoningTokens => reasoning_tokens by count,
    PromptTokensDetails => prompt_details by details,
    InputTokensDetails => input_details by details,
    CompletionTokensDetails => completion_details by details,
    OutputTokensDetails => output_details by details,
});

reads_names!(Details, DetailsVisitor, {
    CachedTokens => cached_tokens by count,
    ReasoningTokens => reasoning_tokens by count,
});

/// A name may occur twice.
fn count(raw: &RawValue, before: Option<u64>) -> Option<u64> {
    later(count_in(raw), before)
}

fn details(raw: &RawValue, before: Details) -> Details {
    object(raw).unwrap_or(before)
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
            "cached_tokens":5,"prompt_cache_hit_tokens":6,"reasoning_tokens":7,"total_tokens":13,
            "cache_read_input_tokens":14,"cache_creation_input_tokens":15,"other_tokens":99,
            "prompt_tokens_details":{"cached_tokens":8,"audio_tokens":99},
            "input_tokens_details":{"cached_tokens":9,"prompt_tokens":99},
            "completion_tokens_details":{"reasoning_tokens":10},
            "output_tokens_details":{"cached_tokens":11,"reasoning_tokens":12}}"#;
        let reported: Reported = object(&raw(text)).unwrap();
        insta::assert_snapshot!(format!("{reported:?}").replace("Some", ""), @"Reported { prompt_tokens: (1), input_tokens: (2), completion_tokens: (3), output_tokens: (4), total_tokens: (13), cached_tokens: (5), prompt_cache_hit_tokens: (6), cache_read: (14), cache_creation: (15), reasoning_tokens: (7), prompt_details: Details { cached_tokens: (8), reasoning_tokens: None }, input_details: Details { cached_tokens: (9), reasoning_tokens: None }, completion_details: Details { cached_tokens: None, reasoning_tokens: (10) }, output_details: Details { cached_tokens: (11), reasoning_tokens: (12) } }");
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
            (r#"{"prompt_tokens":"3"}"#, Some(3)),
            (r#"{"prompt_tokens":"three"}"#, None),
            (r#"{"prompt_tokens":"-3"}"#, None),
            (r#"{"prompt_tokens":"NaN"}"#, None),
            (r#"{"prompt_tokens":5,"promptTokenCount":0}"#, Some(5)),
            ("[1,2,3,4]", None),
            ("\"lots\"", None),
            ("null", None),
        ] {
            let mut usage = Usage::default();
            let chosen = |reported: &Reported| Usage {
                prompt_tokens: reported.prompt_tokens,
                completion_tokens: reported.output_tokens,
                ..Usage::default()
            };
            merge(&raw(text), &mut usage, chosen);
            assert_eq!(usage.prompt_tokens, want, "{text}");
            let other = text.contains("output_tokens").then_some(1);
            assert_eq!(usage.completion_tokens, other, "{text}");
        }
    }

    fn usage(texts: &[&str]) -> Usage {
        let chosen = |reported: &Reported| Usage {
            prompt_tokens: reported.prompt_tokens,
            completion_tokens: reported.completion_tokens,
            cached_tokens: reported.cache_read,
            reasoning_tokens: reported.completion_details.reasoning_tokens,
            ..Usage::default()
        };
        let mut usage = Usage::default();
        for text in texts {
            merge(&raw(text), &mut usage, chosen);
        }
        usage
    }

    #[test]
    fn reasoning_that_comes_on_top_is_added() {
        let counts = |text: &str| {
            let usage = usage(&[text]);
            (
                usage.completion_tokens,
                usage.reasoning_tokens,
                usage.reasoning_from_total,
            )
        };
        let text = r#"{"prompt_tokens":P,"completion_tokens":C,"total_tokens":T,"completion_tokens_details":{"reasoning_tokens":R},"cache_read_input_tokens":K}"#;
        for (p, c, t, r, k, want) in [
            // xAI
            ("32", "9", "135", "94", "0", (Some(103), Some(94), false)),
            // OpenAI
            ("32", "103", "135", "94", "0", (Some(103), Some(94), false)),
            // no total, and more reasoning than there was output
            ("32", "9", "null", "94", "0", (Some(103), Some(94), false)),
            ("32", "0", "null", "94", "0", (Some(0), Some(94), false)),
            ("32", "103", "null", "94", "0", (Some(103), Some(94), false)),
            // Gemini
            ("23", "7", "639", "null", "0", (Some(616), Some(609), true)),
            ("23", "7", "30", "null", "0", (Some(7), None, false)),
            ("0", "7", "639", "null", "0", (Some(7), None, false)),
            ("null", "7", "639", "null", "0", (Some(7), None, false)),
            // the rest of the total is cached tokens
            ("23", "7", "639", "null", "609", (Some(7), None, false)),
            // an unexplained total
            ("23", "7", "639", "5", "0", (Some(7), Some(5), false)),
            ("23", "7", "3", "null", "0", (Some(7), None, false)),
        ] {
            let names = [("P", p), ("C", c), ("T", t), ("R", r), ("K", k)];
            let text = names.iter().fold(text.to_owned(), |text, (name, value)| {
                text.replace(&format!(":{name}"), &format!(":{value}"))
            });
            assert_eq!(counts(&text), want, "{text}");
        }
        // one event later, the server has it in the details
        let later = usage(&[
            r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":9}"#,
            r#"{"prompt_tokens":1,"completion_tokens":8,"total_tokens":9}"#,
        ]);
        assert_eq!(
            (
                later.completion_tokens,
                later.reasoning_tokens,
                later.reasoning_from_total
            ),
            (Some(8), None, false)
        );
    }

    proptest! {
        #[test]
        fn no_count_falls_to_nothing(counts in prop::collection::vec((0u64..3, 0u64..3, 0u64..9), 1..8)) {
            let texts: Vec<String> = counts
                .iter()
                .map(|(p, c, t)| format!(r#"{{"prompt_tokens":{p},"completion_tokens":"{c}","total_tokens":{t}}}"#))
                .collect();
            for n in 1..texts.len() {
                let first: Vec<&str> = texts[..n].iter().map(String::as_str).collect();
                let more: Vec<&str> = texts[..=n].iter().map(String::as_str).collect();
                let (before, after) = (usage(&first), usage(&more));
                prop_assert!(before.prompt_tokens <= Some(0) || after.prompt_tokens > Some(0));
                prop_assert!(before.completion_tokens <= Some(0) || after.completion_tokens > Some(0));
            }
        }

        #[test]
        fn a_count_is_the_same_parsed_or_not(
            text in prop_oneof![
                "-?(0|[1-9][0-9]{0,21})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
                "\" ?[0-9a.-]{0,3}\"|null|true|\\[1\\]|\\{\\}",
            ]
        ) {
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(count_in(&raw(&text)), count_of(&value), "{}", text);
        }
    }
}
