//! Owns `sample`: built-in prompts, so that the tool works without network and files. First a
//! hundred, English and Chinese, from short to long; then short English ones, combining each task
//! with many subjects.

use serde::Deserialize;

use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

const TEXT: &str = include_str!("sample_prompts.jsonl");

/// Number of prompts in `sample`.
pub const SAMPLE_PROMPTS: usize = WRITTEN + TASKS.len() * SUBJECTS.len();

/// Number of prompts in the file.
const WRITTEN: usize = 100;

/// Tasks about a subject, which is inserted at `{}`: near the start, so that two prompts share
/// little that a server could have cached.
const TASKS: [&str; 15] = [
    "Explain {} to a curious ten-year-old. Use one example from everyday life.",
    "Describe {} in exactly five sentences, none of them longer than fifteen words.",
    "Summarise {} for a colleague who has two minutes before a meeting.",
    "Why does {} matter? Give three reasons, and say which one you find the strongest.",
    "What is {}? Answer first in one sentence, then in a paragraph with more detail.",
    "Teach me {} in four steps, and end each step with a question that checks whether I have understood.",
    "Is {} overrated? Argue for both sides in about a hundred words, then take a stand.",
    "Quiz me on {}: five questions of rising difficulty, followed by their answers.",
    "Turn {} into the subject of a short story of about 150 words with a surprising end.",
    "Compare {} with something that it is often mistaken for, in a table of four rows.",
    "Could {} be taught in one hour? Draft a plan for the lesson, minute by minute.",
    "Who uses {}? Name three professions and say in a sentence each what they need it for.",
    "How did {} come about? Tell its history in six bullet points, with approximate dates.",
    "Does {} deserve a museum? Plan its first three rooms, with one exhibit in each.",
    "Imagine {} had never existed. Describe how an ordinary Tuesday would go without it.",
];

/// The subjects.
const SUBJECTS: [&str; 60] = [
    "photosynthesis",
    "inflation",
    "sourdough baking",
    "gravity",
    "jazz improvisation",
    "soil erosion",
    "composting",
    "public speaking",
    "radio astronomy",
    "double-entry bookkeeping",
    "beekeeping",
    "machine translation",
    "the water cycle",
    "chess opening theory",
    "vaccination",
    "urban planning",
    "glass blowing",
    "version control",
    "coral bleaching",
    "map projection",
    "fermentation",
    "game theory",
    "the piano",
    "long-distance running",
    "optical fibre",
    "insurance",
    "bird migration",
    "typography",
    "crop rotation",
    "public-key cryptography",
    "meditation",
    "plate tectonics",
    "wind power",
    "standard time",
    "haiku",
    "quality control",
    "natural selection",
    "railway signalling",
    "knitting",
    "database indexing",
    "the placebo effect",
    "origami",
    "load balancing",
    "antibiotic resistance",
    "film editing",
    "supply and demand",
    "refrigeration",
    "sign language",
    "satellite navigation",
    "tea ceremony",
    "weather forecasting",
    "caching",
    "first aid",
    "linear regression",
    "ocean acidification",
    "negotiation",
    "road safety",
    "espresso making",
    "error correction",
    "household budgeting",
];

#[derive(Deserialize)]
struct Line {
    prompt: String,
}

/// The built-in prompts, in order.
#[derive(Debug)]
pub struct Sample {
    lines: std::str::Lines<'static>,
    /// The index of the next task.
    task: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            lines: TEXT.lines(),
            task: 0,
        }
    }
}

/// The prompt at an index among the tasks. Neighbours share neither task nor subject, and each pair
/// of the two occurs once.
fn task(at: usize) -> String {
    let (round, place) = (at / SUBJECTS.len(), at % SUBJECTS.len());
    let subject = SUBJECTS[(place + round) % SUBJECTS.len()];
    TASKS[place % TASKS.len()].replacen("{}", subject, 1)
}

impl PromptSource for Sample {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        if let Some(line) = self.lines.next() {
            let item: Line = serde_json::from_str(line).expect("a test parses every line");
            return Ok(Some(Prompt::Text(item.prompt).into()));
        }
        if self.task == TASKS.len() * SUBJECTS.len() {
            return Ok(None);
        }
        self.task += 1;
        Ok(Some(Prompt::Text(task(self.task - 1)).into()))
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

    fn all() -> Vec<String> {
        let mut sample = Sample::default();
        let mut all = Vec::new();
        while let Some(item) = sample.next().unwrap() {
            all.push(item.prompt.text());
        }
        sample.rewind().unwrap();
        let first = sample.next().unwrap().unwrap().prompt.text();
        assert_eq!(first, all[0]);
        all
    }

    #[test]
    fn a_hundred_prompts_short_to_long_in_two_languages_come_first() {
        let (mut chinese, mut short, mut long) = (0, 0, 0);
        for text in &all()[..WRITTEN] {
            chinese += usize::from(text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)));
            short += usize::from(text.chars().count() < 100);
            long += usize::from(text.chars().count() > 1500);
        }
        assert!((30..=70).contains(&chinese), "{chinese}");
        assert!(short >= 20 && long >= 5, "{short} {long}");
    }

    #[test]
    fn no_two_prompts_begin_alike() {
        let all = all();
        assert_eq!((all.len(), SAMPLE_PROMPTS), (1000, 1000));
        // keeps a server's prefix cache cold
        let beginnings: BTreeSet<String> = all
            .iter()
            .map(|text| text.chars().take(24).collect())
            .collect();
        assert_eq!(beginnings.len(), SAMPLE_PROMPTS);
        assert!(
            all[WRITTEN..]
                .iter()
                .all(|text| (50..200).contains(&text.len()))
        );
    }
}
