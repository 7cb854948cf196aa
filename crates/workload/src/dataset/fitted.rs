//! Owns prompts of a dataset that are given a length (`target_input_len`): longer ones are cut, shorter
//! ones are kept, left out, or filled with the text of a file in front. Lengths are those that the server
//! counts, the chat template included.
//!
//! It must not know which dataset it is.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{ArgsError, ArgsReader, DatasetError, PromptSource, prompt_ids};
use crate::tokens::{Frame, Tokenizer, TokenizerError};
use evalscope_model::prompt::{Item, Prompt};

/// Attempts at a text of exactly the right length: what is cut or joined may be split into other tokens.
const ATTEMPTS: usize = 8;

/// Options that give prompts a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextArgs {
    /// Tokens of a prompt, as the server counts them.
    pub target: u64,
    /// What happens to shorter ones.
    pub shorter: Shorter,
}

/// What happens to a prompt that is too short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shorter {
    /// It is sent.
    Kept,
    /// It is left out.
    LeftOut,
    /// The text of this file is put in front.
    Filled(PathBuf, PrefixRole),
}

/// Where the text of a file is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefixRole {
    /// Into a system message of its own; without messages, in front of the text.
    #[default]
    System,
    /// In front of the first message.
    User,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LengthMode {
    Cap,
    Drop,
}

impl TextArgs {
    /// Read `--dataset-args`; `None`: prompts are sent as they are.
    ///
    /// # Errors
    /// If a value is not what its key stands for, or options do not go together.
    pub fn read(args: &mut ArgsReader) -> Result<Option<Self>, ArgsError> {
        let target = args.take(
            "target_input_len",
            "a number of tokens greater than 0",
            |n: &u64| *n > 0,
        )?;
        let mode = args.take("input_len_mode", "`cap` or `drop`", |_: &LengthMode| true)?;
        let file: Option<PathBuf> =
            args.take("prefix_file", "the path of a text file", |_| true)?;
        let role = args.take("prefix_role", "`system` or `user`", |_: &PrefixRole| true)?;
        let is_dropping = mode == Some(LengthMode::Drop);
        if file.is_some() && is_dropping {
            return Err(ArgsError::Conflict(
                "`prefix_file` fills prompts that `input_len_mode` `drop` leaves out: use one of them"
                    .to_owned(),
            ));
        }
        let Some(target) = target else {
            return match (file, mode) {
                (Some(_), _) => Err(needs_target("prefix_file")),
                (None, Some(_)) => Err(needs_target("input_len_mode")),
                (None, None) => Ok(None),
            };
        };
        let shorter = match file {
            Some(file) => Shorter::Filled(file, role.unwrap_or_default()),
            None if is_dropping => Shorter::LeftOut,
            None => Shorter::Kept,
        };
        Ok(Some(Self { target, shorter }))
    }
}

fn needs_target(key: &str) -> ArgsError {
    ArgsError::Conflict(format!("`{key}` needs `target_input_len`"))
}

/// See the module documentation.
#[derive(Debug)]
pub struct Fitted {
    source: Box<dyn PromptSource>,
    tokenizer: Arc<Tokenizer>,
    frame: Frame,
    target: usize,
    shorter: WhenShorter,
    /// Prompts left out and sent in this round.
    left_out: u64,
    sent: u64,
}

#[derive(Debug)]
enum WhenShorter {
    Kept,
    LeftOut,
    /// The ids of the text.
    Filled(Vec<u32>, PrefixRole),
}

impl Fitted {
    /// Give the prompts of `source` a length. `filler` is the text of the file, if there is one; it must
    /// not be empty.
    #[must_use]
    pub fn new(
        source: Box<dyn PromptSource>,
        tokenizer: Arc<Tokenizer>,
        frame: Frame,
        args: &TextArgs,
        filler: &str,
    ) -> Self {
        Self {
            source,
            frame,
            target: usize::try_from(args.target).unwrap_or(usize::MAX),
            shorter: match &args.shorter {
                Shorter::Kept => WhenShorter::Kept,
                Shorter::LeftOut => WhenShorter::LeftOut,
                Shorter::Filled(_, role) => WhenShorter::Filled(tokenizer.encode(filler), *role),
            },
            tokenizer,
            left_out: 0,
            sent: 0,
        }
    }

    fn count(&self, prompt: &Prompt) -> Result<usize, TokenizerError> {
        Ok(prompt_ids(&self.tokenizer, self.frame, prompt)?.len())
    }

    /// The prompt with its length; `None`: it is left out.
    fn fit(&self, prompt: Prompt) -> Result<Option<(Prompt, usize)>, TokenizerError> {
        let tokens = self.count(&prompt)?;
        if tokens > self.target {
            return self.cut(&prompt, tokens);
        }
        if tokens == self.target {
            return Ok(Some((prompt, tokens)));
        }
        match &self.shorter {
            WhenShorter::Kept => Ok(Some((prompt, tokens))),
            WhenShorter::LeftOut => Ok(None),
            WhenShorter::Filled(ids, role) => {
                let filled = |text: &str| filled(&prompt, self.frame, text, *role);
                let room = self.target.saturating_sub(self.count(&filled(""))?);
                let text = |n: usize| {
                    let ids: Vec<u32> = ids.iter().copied().cycle().take(n).collect();
                    self.tokenizer.decode(&ids)
                };
                let best = self.approach(room, |n| filled(&text(n)))?;
                Ok(Some(best.unwrap_or((prompt, tokens))))
            }
        }
    }

    /// Cut the last text of a user.
    fn cut(
        &self,
        prompt: &Prompt,
        tokens: usize,
    ) -> Result<Option<(Prompt, usize)>, TokenizerError> {
        let Some(text) = last_text(prompt) else {
            return Ok(None);
        };
        let ids = self.tokenizer.encode(text);
        let keep = ids.len().saturating_sub(tokens - self.target);
        self.approach(keep, |n| {
            with_last_text(prompt, &self.tokenizer.decode(&ids[..n.min(ids.len())]))
        })
    }

    /// The prompt of the right length, or of the length that is nearest below it; `first` tokens of text are
    /// tried first. `None`: no text fits.
    fn approach(
        &self,
        first: usize,
        make: impl Fn(usize) -> Prompt,
    ) -> Result<Option<(Prompt, usize)>, TokenizerError> {
        let mut best: Option<(Prompt, usize)> = None;
        let mut n = first;
        for _ in 0..ATTEMPTS {
            if n == 0 {
                break;
            }
            let prompt = make(n);
            let tokens = self.count(&prompt)?;
            n = (n + self.target).saturating_sub(tokens);
            let is_better = best.as_ref().is_none_or(|(_, least)| tokens > *least);
            if tokens <= self.target && is_better {
                best = Some((prompt, tokens));
            }
            if tokens == self.target {
                break;
            }
        }
        Ok(best)
    }
}

impl PromptSource for Fitted {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        while let Some(item) = self.source.next()? {
            let Item {
                prompt,
                with,
                later,
                ..
            } = item;
            match self.fit(prompt)? {
                Some((prompt, tokens)) => {
                    self.sent += 1;
                    return Ok(Some(Item {
                        prompt,
                        asked_tokens: Some(tokens as u64),
                        with,
                        later,
                    }));
                }
                None => self.left_out += 1,
            }
        }
        if self.sent == 0 && self.left_out > 0 {
            return Err(DatasetError::NoneFits {
                target: self.target as u64,
                read: self.left_out,
            });
        }
        Ok(None)
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        (self.left_out, self.sent) = (0, 0);
        self.source.rewind()
    }
}

/// The text that may be cut: a plain prompt, or that of the last message if it is a user's.
fn last_text(prompt: &Prompt) -> Option<&str> {
    match prompt {
        Prompt::Text(text) => Some(text),
        Prompt::Messages(messages) => {
            let last = messages.last().filter(|last| last["role"] == "user")?;
            last["content"].as_str()
        }
        Prompt::Body(_) | Prompt::TokenIds(_) => None,
    }
}

fn with_last_text(prompt: &Prompt, text: &str) -> Prompt {
    match prompt {
        Prompt::Messages(messages) => {
            let mut messages = messages.clone();
            if let Some(last) = messages.last_mut() {
                last["content"] = text.into();
            }
            Prompt::Messages(messages)
        }
        _ => Prompt::Text(text.to_owned()),
    }
}

/// A prompt with a text in front.
fn filled(prompt: &Prompt, frame: Frame, filler: &str, role: PrefixRole) -> Prompt {
    match prompt {
        Prompt::Text(text) if frame == Frame::Chat && role == PrefixRole::System => {
            Prompt::Messages(vec![
                json!({"role": "system", "content": filler}),
                json!({"role": "user", "content": text}),
            ])
        }
        Prompt::Messages(messages) => {
            let mut messages = messages.clone();
            let first = messages.first_mut();
            match (role, first.and_then(|first| first.get_mut("content"))) {
                (PrefixRole::User, Some(Value::String(text))) => text.insert_str(0, filler),
                _ => messages.insert(0, json!({"role": "system", "content": filler})),
            }
            Prompt::Messages(messages)
        }
        other => Prompt::Text(format!("{filler}{}", other.text())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::tokens::tests::{CHATML, Family, trained};

    static TOKENIZER: LazyLock<Arc<Tokenizer>> =
        LazyLock::new(|| trained(Family::ByteLevel, Some(CHATML)));

    /// Prompts given one after the other.
    #[derive(Debug)]
    struct Given(Vec<Prompt>, usize);

    impl PromptSource for Given {
        fn next(&mut self) -> Result<Option<Item>, DatasetError> {
            self.1 += 1;
            Ok(self.0.get(self.1 - 1).cloned().map(Item::from))
        }

        fn rewind(&mut self) -> Result<(), DatasetError> {
            self.1 = 0;
            Ok(())
        }
    }

    const FILLER: &str =
        "It was the best of times, it was the worst of times, it was the age of wisdom. ";

    fn args(json: &Value) -> Result<Option<TextArgs>, ArgsError> {
        let mut reader = ArgsReader::new(json.as_object().unwrap().clone());
        let args = TextArgs::read(&mut reader)?;
        reader.finish()?;
        Ok(args)
    }

    fn fitted(prompts: Vec<Prompt>, frame: Frame, options: &Value) -> Fitted {
        let source = Box::new(Given(prompts, 0));
        let args = args(options).unwrap().unwrap();
        Fitted::new(source, Arc::clone(&TOKENIZER), frame, &args, FILLER)
    }

    fn all(mut source: Fitted) -> Vec<(Prompt, u64)> {
        let mut items = Vec::new();
        while let Some(item) = source.next().unwrap() {
            let counted = source.count(&item.prompt).unwrap() as u64;
            assert_eq!(item.asked_tokens, Some(counted));
            items.push((item.prompt, counted));
        }
        items
    }

    fn prompts() -> Vec<Prompt> {
        let text = "the quick brown fox jumps over the lazy dog ".repeat(9);
        let chat = json!([
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello, how are you?"},
            {"role": "user", "content": text},
        ]);
        vec![
            Prompt::Text("short".to_owned()),
            Prompt::Text(text),
            Prompt::Messages(chat.as_array().unwrap().clone()),
        ]
    }

    #[test]
    fn longer_prompts_are_cut_to_what_the_server_counts() {
        for frame in [Frame::Chat, Frame::Plain] {
            let lengths: Vec<u64> = all(fitted(prompts(), frame, &json!({"target_input_len": 60})))
                .iter()
                .map(|(_, tokens)| *tokens)
                .collect();
            assert!(lengths[0] < 60);
            assert_eq!(lengths[1..], [60, 60]);
        }
    }

    #[test]
    fn shorter_prompts_are_left_out_if_asked() {
        let options = json!({"target_input_len": 60, "input_len_mode": "drop"});
        assert_eq!(all(fitted(prompts(), Frame::Chat, &options)).len(), 2);
        let mut source = fitted(prompts()[..1].to_vec(), Frame::Chat, &options);
        insta::assert_snapshot!(source.next().unwrap_err(), @"none of the 1 prompts can be given a length of 60 tokens");
    }

    #[test]
    fn shorter_prompts_are_filled_with_a_text() {
        for (role, first) in [("system", "system"), ("user", "user")] {
            for frame in [Frame::Chat, Frame::Plain] {
                let options =
                    json!({"target_input_len": 400, "prefix_file": "f", "prefix_role": role});
                let items = all(fitted(prompts(), frame, &options));
                for (prompt, tokens) in &items {
                    // where two texts meet, their ends may become one token
                    let is_joined = role == "user" || matches!(prompt, Prompt::Text(_));
                    let is_text = role == "user" || frame == Frame::Plain;
                    assert_eq!(matches!(items[0].0, Prompt::Text(_)), is_text);
                    let least = if is_joined { 399 } else { 400 };
                    assert!((least..=400).contains(tokens), "{role} {frame:?} {tokens}");
                }
                let Prompt::Messages(messages) = &items[2].0 else {
                    panic!("expected messages")
                };
                assert_eq!(messages[0]["role"], first);
                let content = messages[0]["content"].as_str().unwrap();
                assert!(content.starts_with("It was the best of times"));
            }
        }
    }

    #[test]
    fn a_history_that_is_too_long_is_left_out() {
        // as long as the first prompt
        let short = Frame::Chat.count(&TOKENIZER, "short").unwrap();
        let options = json!({"target_input_len": short});
        assert_eq!(all(fitted(prompts(), Frame::Chat, &options)).len(), 2);
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let error = |options: Value| args(&options).unwrap_err().to_string();
        insta::assert_snapshot!(error(json!({"target_input_len": 0})), @"`target_input_len` must be a number of tokens greater than 0, but is 0");
        insta::assert_snapshot!(error(json!({"prefix_file": "f"})), @"`prefix_file` needs `target_input_len`");
        insta::assert_snapshot!(error(json!({"input_len_mode": "cap"})), @"`input_len_mode` needs `target_input_len`");
        insta::assert_snapshot!(error(json!({"target_input_len": 5, "input_len_mode": "cut"})), @r#"`input_len_mode` must be `cap` or `drop`, but is "cut""#);
        insta::assert_snapshot!(error(json!({"target_input_len": 5, "input_len_mode": "drop", "prefix_file": "f"})), @"`prefix_file` fills prompts that `input_len_mode` `drop` leaves out: use one of them");
        assert_eq!(args(&json!({})), Ok(None));
    }
}
