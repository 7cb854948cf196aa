//! Owns `sample`: prompts of our own, English and Chinese, short to long, built
//! in, so that the tool works with no network and no file.

use serde::Deserialize;

use super::{DatasetError, Item, Prompt, PromptSource};

const TEXT: &str = include_str!("sample_prompts.jsonl");

/// How many prompts `sample` holds.
pub const SAMPLE_PROMPTS: usize = 100;

#[derive(Deserialize)]
struct Line {
    prompt: String,
}

/// The built-in prompts, in order.
#[derive(Debug)]
pub struct Sample {
    lines: std::str::Lines<'static>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            lines: TEXT.lines(),
        }
    }
}

impl PromptSource for Sample {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        Ok(self.lines.next().map(|line| {
            let item: Line = serde_json::from_str(line).expect("a test reads every line");
            Prompt::Text(item.prompt).into()
        }))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        *self = Self::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_hundred_prompts_short_to_long_in_two_languages() {
        let mut sample = Sample::default();
        let mut seen = BTreeSet::new();
        let (mut chinese, mut short, mut long) = (0, 0, 0);
        while let Some(prompt) = sample.next().unwrap() {
            let prompt = prompt.prompt;
            let text = prompt.text();
            chinese += usize::from(text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)));
            short += usize::from(prompt.chars() < 100);
            long += usize::from(prompt.chars() > 1500);
            // no two share their beginning: a server's prefix cache stays cold
            seen.insert(text.chars().take(24).collect::<String>());
        }
        assert_eq!(seen.len(), SAMPLE_PROMPTS);
        assert!((30..=70).contains(&chinese), "{chinese}");
        assert!(short >= 20 && long >= 5, "{short} {long}");
        sample.rewind().unwrap();
        assert!(sample.next().unwrap().is_some());
    }
}
