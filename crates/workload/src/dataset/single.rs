//! Owns `--prompt`: one text, for every request.

use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt};

/// The same prompt, once per round.
#[derive(Debug)]
pub struct Single {
    text: String,
    given: bool,
}

impl Single {
    /// A dataset with just this prompt.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, given: false }
    }
}

impl PromptSource for Single {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let given = std::mem::replace(&mut self.given, true);
        Ok((!given).then(|| Prompt::Text(self.text.clone()).into()))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.given = false;
        Ok(())
    }
}
