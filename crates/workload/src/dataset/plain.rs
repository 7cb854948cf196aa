//! Owns plain prompts out of datasets that have messages, for servers that complete texts.
//!
//! It must not know which dataset it reads.

use super::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, Prompt, content_text};

/// A dataset whose messages become one text, a line for each message.
#[derive(Debug)]
pub struct Plain {
    source: Box<dyn PromptSource>,
}

impl Plain {
    /// The same prompts as texts.
    #[must_use]
    pub fn new(source: Box<dyn PromptSource>) -> Self {
        Self { source }
    }
}

impl PromptSource for Plain {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        Ok(self.source.next()?.map(|item| Item {
            prompt: plain(item.prompt),
            ..item
        }))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.source.rewind()
    }

    fn is_costly(&self) -> bool {
        self.source.is_costly()
    }

    fn pass(&mut self) -> Result<Option<Item>, DatasetError> {
        self.source.pass()
    }

    fn jump(&mut self, n: u64) -> bool {
        self.source.jump(n)
    }
}

fn plain(prompt: Prompt) -> Prompt {
    match prompt {
        Prompt::Messages(messages) => {
            let texts: Vec<String> = messages.iter().map(content_text).collect();
            Prompt::Text(texts.join("\n"))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_become_lines_and_the_rest_stays() {
        let messages = json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        ]);
        let messages = messages.as_array().unwrap().clone();
        let text = Prompt::Text("a\nb".to_owned());
        assert_eq!(plain(Prompt::Messages(messages)), text);
        let ids = Prompt::TokenIds(vec![1]);
        assert_eq!(plain(ids.clone()), ids);
    }
}
