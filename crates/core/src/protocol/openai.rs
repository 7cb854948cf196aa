//! Owns the parsing of OpenAI chat completions and completions, streaming or not, in the dialects
//! that servers speak.
//!
//! It parses each event once, keeps no text, and allocates nothing for an ordinary event: all it
//! needs to know is whether a field has text.

mod chunk;
mod text;

use serde_json::value::RawValue;

use super::api::{AnswerReader, Api};
use super::errors::{Remark, given_up, is_given_up, name_in, remark, says_nothing_raw};
pub use super::errors::{clip, error_text};
use super::json::{is_done, mended, unmarked};
use super::meaning::{AnswerState, Choices, EventMeaning};
use super::places::Seen;
use super::reply::{Reply, read_calls};
use super::text::AnswerText;
use super::unread::Unread;
use super::usage::{Reported, first, merge, of_choices};
use chunk::{Choice, ChoiceSink, Chunk};
use evalscope_model::record::{Failure, FailureKind, MAX_CHOICE, Usage};
pub(super) use text::read_choices;
use text::read_spoken;

/// Chat completions and completions.
#[derive(Clone, Copy, Debug)]
pub struct OpenAi;

impl Api for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::<OpenAiReader>::default()
    }

    fn read_text(&self, answer: &[u8], text: &mut AnswerText) {
        read_choices(answer, text);
    }

    fn read_reply(&self, answer: &[u8], reply: &mut Reply) {
        read_spoken(answer, &mut reply.text);
        read_calls(answer, &mut reply.calls);
    }
}

/// Reads one response.
#[derive(Debug, Default)]
pub struct OpenAiReader {
    state: AnswerState,
    /// Choices whose `delta` has held output, and whose `delta` or `text` has: any other place
    /// repeats it.
    borne: [Choices; 2],
    /// A choice has arrived.
    answered: bool,
    /// Token counts inside choices, by choice, while there are none at the top level.
    of_choices: Vec<Usage>,
    /// There was a count of generated tokens at the top level.
    usage_at_top: bool,
    unread: Unread,
    /// The responses may have another format: only what is surely OpenAI's is read.
    guessing: bool,
}

impl AnswerReader for OpenAiReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        // anything after the end is not part of the response
        if self.state.done || is_done(data) {
            self.state.done = true;
            return None;
        }
        if name == b"error" {
            self.fail(FailureKind::ServerError, error_text(data));
            return Some(EventMeaning::default());
        }
        match self.parse(data) {
            Ok(meaning) => Some(meaning),
            Err(error) => {
                self.unread.event(&mut self.state, name, data, &error);
                None
            }
        }
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let meaning = self.parse(unmarked(body)).unwrap_or_else(|error| {
            let message = format!("the response is not a JSON object: {error}: {}", clip(body));
            self.fail(FailureKind::Malformed, message);
            EventMeaning::default()
        });
        self.state.done = true;
        meaning
    }

    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn answered(&self) -> bool {
        self.answered || self.guessing
    }

    fn aside(&self) -> Option<&Failure> {
        self.unread.aside()
    }

    fn take(&mut self) -> AnswerState {
        let guessing = self.guessing;
        let read = std::mem::take(self);
        self.guessing = guessing;
        read.state
    }
}

impl OpenAiReader {
    /// A reader for responses that may or may not be OpenAI's.
    pub(super) fn guessing() -> Self {
        Self {
            guessing: true,
            ..Self::default()
        }
    }

    /// The response is complete.
    pub(super) fn end(&mut self) {
        self.state.done = true;
    }

    fn parse(&mut self, data: &[u8]) -> Result<EventMeaning, String> {
        // serde would accept a list for a struct, field by field
        if data.trim_ascii_start().first() != Some(&b'{') {
            return Err("it does not start with `{`".to_owned());
        }
        let mut choices = ChoiceList::default();
        let error = match Chunk::parse(data, &mut choices) {
            Ok(chunk) => return Ok(self.read(&chunk, choices, data)),
            Err(error) => error,
        };
        // a truncated character, or the log of a probability of 0, does not invalidate the response
        let Some(mended) = mended(data) else {
            return Err(error.to_string());
        };
        let mut choices = ChoiceList::default();
        let chunk = Chunk::parse(mended.as_bytes(), &mut choices).map_err(|e| e.to_string())?;
        Ok(self.read(&chunk, choices, mended.as_bytes()))
    }

    fn read(&mut self, chunk: &Chunk<'_>, choices: ChoiceList<'_>, raw: &[u8]) -> EventMeaning {
        self.answered |= choices.any;
        // some servers send an empty error field in each event
        let error = chunk.error.filter(|error| !says_nothing_raw(error.get()));
        if let Some(error) = error {
            let whole = chunk.odd || chunk.is_error;
            let text = if whole { raw } else { error.get().as_bytes() };
            self.fail(FailureKind::ServerError, error_text(text));
        } else if chunk.is_error || chunk.refused {
            self.fail(FailureKind::ServerError, error_text(raw));
        } else if chunk.odd && !choices.any && !self.guessing {
            match remark(raw) {
                Remark::None => {}
                Remark::Notice(words) => self.unread.notice(words),
                Remark::Error(words) => self.fail(FailureKind::ServerError, words),
            }
        }
        self.take_usage(chunk, &choices);
        if self.state.response_id.is_none()
            && let Some(id) = chunk.id
        {
            // Azure's first event and all of TGI's have an empty id
            self.state.response_id = name_in(id);
        }
        if self.state.model.is_none()
            && let Some(model) = chunk.model
        {
            self.state.model = name_in(model);
        }
        let meaning = self.meaning(&choices);
        if let Some(reason) = choices.finish_reason {
            if is_given_up(&reason) {
                self.fail(FailureKind::ServerError, given_up(&reason));
            }
            self.state.finish_reason = Some(reason);
        }
        meaning
    }

    /// The meaning of an event: for each choice, only the first of its places that has ever held
    /// output counts, because the others repeat it.
    fn meaning(&mut self, choices: &ChoiceList<'_>) -> EventMeaning {
        let [delta, text, message] = choices.seen;
        self.borne[0] |= delta.tokens;
        self.borne[1] |= delta.tokens | text.tokens;
        let text_counts = text.tokens.without(self.borne[0]);
        let message_counts = message.tokens.without(self.borne[1]);
        EventMeaning {
            tokens: delta.tokens | text_counts | message_counts,
            answers: delta.answers
                | text.answers.without(self.borne[0])
                | message.answers.without(self.borne[1]),
            finished: choices.finished,
        }
    }

    fn take_usage(&mut self, chunk: &Chunk<'_>, choices: &ChoiceList<'_>) {
        for (index, usage) in &choices.usages {
            let index = (*index).min(usize::from(MAX_CHOICE));
            if self.of_choices.len() <= index {
                self.of_choices.resize(index + 1, Usage::default());
            }
            merge(usage, &mut self.of_choices[index], usage_of);
        }
        if !choices.usages.is_empty() && !self.usage_at_top {
            self.state.usage = of_choices(&self.of_choices);
        }
        for usage in chunk.usages.into_iter().flatten() {
            merge(usage, &mut self.state.usage, usage_of);
            self.usage_at_top |= self
                .state
                .usage
                .completion_tokens
                .is_some_and(|count| count > 0);
        }
    }

    fn fail(&mut self, kind: FailureKind, message: String) {
        // the first error is the cause of those that follow
        self.state
            .failure
            .get_or_insert_with(|| Failure::new(kind, message));
    }
}

/// Choices with output, and with output other than reasoning.
#[derive(Clone, Copy, Debug, Default)]
struct Output {
    tokens: Choices,
    answers: Choices,
}

/// All choices of an event.
#[derive(Debug, Default)]
struct ChoiceList<'a> {
    any: bool,
    /// In `delta`, `text` and `message`.
    seen: [Output; 3],
    finished: Choices,
    finish_reason: Option<String>,
    usages: Vec<(usize, &'a RawValue)>,
}

/// Which name of a token count takes precedence.
fn usage_of(reported: &Reported) -> Usage {
    // Anthropic does not include cached tokens in `input_tokens`
    let input = reported.input_tokens.map(|count| {
        [reported.cache_read, reported.cache_creation]
            .into_iter()
            .flatten()
            .fold(count, u64::saturating_add)
    });
    Usage {
        prompt_tokens: first([reported.prompt_tokens, input]),
        completion_tokens: first([reported.completion_tokens, reported.output_tokens]),
        cached_tokens: first([
            reported.prompt_details.cached_tokens,
            reported.input_details.cached_tokens,
            reported.prompt_cache_hit_tokens,
            reported.cached_tokens,
            reported.cache_read,
        ]),
        reasoning_tokens: first([
            reported.completion_details.reasoning_tokens,
            reported.output_details.reasoning_tokens,
            reported.reasoning_tokens,
        ]),
        reasoning_from_total: false,
    }
}

impl<'de> ChoiceSink<'de> for ChoiceList<'de> {
    type Sink = Seen;

    fn choice(&mut self, index: usize, choice: Choice<'de, Seen>) {
        let own = Choices::one(index);
        self.any = true;
        for (all, seen) in self
            .seen
            .iter_mut()
            .zip([choice.delta, choice.text, choice.message])
        {
            all.tokens |= own.when(seen.token);
            all.answers |= own.when(seen.answer);
        }
        if choice.finish_reason.is_some() {
            self.finished |= own;
            self.finish_reason = choice.finish_reason;
        }
        self.usages.extend(choice.usage.map(|usage| (index, usage)));
    }
}

#[cfg(test)]
mod tests;
