//! Owns `speed_benchmark` and `speed_benchmark_long`: one character, repeated to fixed lengths,
//! each length twice.

use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

/// A token of its own in Qwen's vocabularies, for which the lengths were chosen: prompt and output
/// fill contexts of 8, 16 and 32 thousand tokens.
const CHARACTER: &str = "熵";

const LENGTHS: [usize; 4] = [1, 6_144, 14_336, 30_720];

/// Contexts of 64 and 128 thousand tokens.
const LONG_LENGTHS: [usize; 2] = [63_488, 129_024];

/// Requests per length.
const REPEATS: usize = 2;

/// See the module documentation.
#[derive(Debug)]
pub struct SpeedBenchmark {
    lengths: &'static [usize],
    at: usize,
}

impl SpeedBenchmark {
    /// `speed_benchmark`: 1, 6144, 14336 and 30720 characters.
    #[must_use]
    pub fn short() -> Self {
        Self {
            lengths: &LENGTHS,
            at: 0,
        }
    }

    /// `speed_benchmark_long`: 63488 and 129024 characters.
    #[must_use]
    pub fn long() -> Self {
        Self {
            lengths: &LONG_LENGTHS,
            at: 0,
        }
    }
}

impl SpeedBenchmark {
    /// Number of requests in one pass through all lengths.
    #[must_use]
    pub fn requests(&self) -> u64 {
        (self.lengths.len() * REPEATS) as u64
    }
}

impl PromptSource for SpeedBenchmark {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let Some(length) = self.lengths.get(self.at / REPEATS) else {
            return Ok(None);
        };
        self.at += 1;
        Ok(Some(Prompt::Text(CHARACTER.repeat(*length)).into()))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.at = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(mut source: SpeedBenchmark) -> Vec<usize> {
        let mut lengths = Vec::new();
        for _ in 0..2 {
            lengths.clear();
            while let Some(item) = source.next().unwrap() {
                assert!(item.prompt.text().chars().all(|c| c == '熵'));
                lengths.push(item.prompt.chars());
            }
            source.rewind().unwrap();
        }
        lengths
    }

    #[test]
    fn each_length_is_sent_twice_in_order() {
        let short = [1, 1, 6144, 6144, 14336, 14336, 30720, 30720];
        assert_eq!(lengths(SpeedBenchmark::short()), short);
        assert_eq!(
            lengths(SpeedBenchmark::long()),
            [63488, 63488, 129_024, 129_024]
        );
    }
}
