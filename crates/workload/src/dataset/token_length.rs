//! Owns lengths and prompts in tokens: what `--min-prompt-length` counts if there is a tokenizer,
//! and `--tokenize-prompt`, which sends ids.

use std::sync::Arc;

use serde_json::{Value, json};

use super::stream::is_blank;
use super::{DatasetError, Measure, PromptSource};
use crate::tokens::{Frame, Tokenizer, TokenizerError};
use evalscope_model::prompt::{Item, Prompt, content_text};

/// Counts tokens as the server does: a conversation through the chat template, a plain prompt with
/// its special tokens. Without a template, a conversation counts as the sum of its texts.
#[derive(Clone, Debug)]
pub struct TokenLength {
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// How texts reach the model.
    pub frame: Frame,
    /// Whether it is an error if the chat template rejects a prompt. Otherwise its texts are
    /// counted, which is good enough when no length was requested.
    pub strict: bool,
}

impl Measure for TokenLength {
    fn length(&self, prompt: &Prompt) -> Result<usize, TokenizerError> {
        let messages = match prompt {
            Prompt::Messages(messages) => Some(messages),
            Prompt::Body(body) => match body.get("messages") {
                Some(Value::Array(messages)) => Some(messages),
                _ => None,
            },
            Prompt::Text(_) | Prompt::TokenIds(_) => None,
        };
        let texts = || match messages {
            Some(messages) => messages
                .iter()
                .map(|message| self.tokenizer.encode(&content_text(message)).len())
                .sum(),
            None => self.tokenizer.encode(&prompt.text()).len(),
        };
        if messages.is_some() && self.tokenizer.template().is_none() {
            return Ok(texts());
        }
        match prompt_ids(&self.tokenizer, self.frame, prompt) {
            Ok(ids) => Ok(ids.len()),
            Err(_) if !self.strict => Ok(texts()),
            Err(error) => Err(error),
        }
    }

    fn unit(&self) -> &'static str {
        "tokens"
    }
}

/// The ids of a prompt as the server reads it. Images have none: they are estimated separately.
///
/// # Errors
/// If the chat template is missing or rejects the messages.
pub fn prompt_ids(
    tokenizer: &Tokenizer,
    frame: Frame,
    prompt: &Prompt,
) -> Result<Vec<u32>, TokenizerError> {
    match prompt {
        Prompt::Text(text) => frame.encode(tokenizer, text),
        Prompt::Messages(messages) => tokenizer.encode_chat(&texts_only(messages)),
        Prompt::Body(body) => match (body.get("messages"), body.get("prompt")) {
            (Some(Value::Array(messages)), _) => {
                tokenizer.encode_chat_of(body, &texts_only(messages))
            }
            // some servers turn a plain prompt into a message
            (_, Some(Value::String(text))) if frame == Frame::Chat => frame.encode(tokenizer, text),
            (_, Some(Value::String(text))) => Ok(tokenizer.encode_prompt(text)),
            (_, Some(Value::Array(items))) => Ok(listed_ids(tokenizer, items)),
            _ => Ok(Vec::new()),
        },
        Prompt::TokenIds(ids) => Ok(ids.clone()),
    }
}

/// A `prompt` that is a list: ids, or several prompts as texts and lists of ids.
fn listed_ids(tokenizer: &Tokenizer, items: &[Value]) -> Vec<u32> {
    items
        .iter()
        .flat_map(|item| match item {
            Value::String(text) => tokenizer.encode_prompt(text),
            Value::Array(ids) => ids.iter().filter_map(id).collect(),
            other => id(other).into_iter().collect(),
        })
        .collect()
}

fn id(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// Messages with plain text as content: most templates do not support lists of parts.
fn texts_only(messages: &[Value]) -> Vec<Value> {
    let plain = |message: &Value| {
        let mut message = message.clone();
        if let Some(Value::Array(_)) = message.get("content") {
            let text = content_text(&message);
            message["content"] = json!(text);
        }
        message
    };
    messages.iter().map(plain).collect()
}

/// A dataset whose prompts are sent as ids.
#[derive(Debug)]
pub struct Tokenized {
    source: Box<dyn PromptSource>,
    tokenizer: Arc<Tokenizer>,
    frame: Frame,
}

impl Tokenized {
    /// The prompts of `source` as ids. With [`Frame::Chat`] a text is a user message; otherwise it
    /// is encoded as is, without special tokens.
    #[must_use]
    pub fn new(source: Box<dyn PromptSource>, tokenizer: Arc<Tokenizer>, frame: Frame) -> Self {
        let frame = match frame {
            Frame::Chat => Frame::Chat,
            Frame::Plain | Frame::Ids => Frame::Ids,
        };
        Self {
            source,
            tokenizer,
            frame,
        }
    }
}

impl PromptSource for Tokenized {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let Some(item) = self.source.next()? else {
            return Ok(None);
        };
        // a whole body is the user's own business, and blank prompts are skipped by the consumer
        if matches!(item.prompt, Prompt::Body(_)) || is_blank(&item.prompt) {
            return Ok(Some(item));
        }
        let ids = prompt_ids(&self.tokenizer, self.frame, &item.prompt)?;
        Ok(Some(Item {
            asked_tokens: Some(ids.len() as u64),
            prompt: Prompt::TokenIds(ids),
            with: item.with,
            later: Vec::new(),
        }))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.source.rewind()
    }

    fn jump(&mut self, n: u64) -> bool {
        self.source.jump(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{LengthFilter, PromptStream, Single};
    use crate::tokens::tests::{CHATML, Family, trained};

    #[test]
    fn prompts_become_ids() {
        let tokenizer = trained(Family::ByteLevel, Some(CHATML));
        let as_ids = |frame| {
            let source = Box::new(Single::new("hello there".to_owned()));
            let mut source = Tokenized::new(source, Arc::clone(&tokenizer), frame);
            source.next().unwrap().unwrap()
        };
        let plain = as_ids(Frame::Plain);
        let ids = tokenizer.encode("hello there");
        assert_eq!(plain.asked_tokens, Some(ids.len() as u64));
        assert_eq!(plain.prompt, Prompt::TokenIds(ids));
        let Prompt::TokenIds(chat) = as_ids(Frame::Chat).prompt else {
            panic!("expected ids")
        };
        let text = "<|im_start|>user\nhello there<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(chat, tokenizer.encode(text));
    }

    #[test]
    fn filters_count_tokens_and_say_so() {
        let tokenizer = trained(Family::ByteLevel, Some(CHATML));
        let measure = TokenLength {
            tokenizer,
            frame: Frame::Plain,
            strict: true,
        };
        let parts = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
        let Value::Array(messages) = parts else {
            unreachable!()
        };
        assert!(measure.length(&Prompt::Messages(messages)).unwrap() > 5);
        let body = json!({"prompt": [[1, 2, 3], [4]]});
        assert_eq!(
            measure
                .length(&Prompt::Body(body.as_object().unwrap().clone()))
                .unwrap(),
            4
        );
        let filter = LengthFilter {
            min: 100,
            max: 200,
            measure: Arc::new(measure),
        };
        let source = Box::new(Single::new("short".to_owned()));
        let mut stream = PromptStream::new("one".to_owned(), source, filter);
        insta::assert_snapshot!(stream.next_item().unwrap_err(), @"no prompt of the dataset one is between 100 and 200 tokens long: 1 are shorter, 0 are longer");
    }
}
