//! Owns counting the tokens that a server did not report, with a local tokenizer, after a request
//! has ended.
//!
//! It must not run on a receive thread, and it changes nothing in a record but
//! [`CountedTokens`](evalscope_model::record::CountedTokens).

use std::sync::Arc;

use serde_json::Value;

use evalscope_core::protocol::{AnswerText, Api, ChoiceText, Doubt};
use evalscope_model::events::{Stage, Warning};
use evalscope_model::prompt::Prompt;
use evalscope_model::record::{Exchange, RequestRecord};
use evalscope_workload::dataset::{image_tokens, prompt_ids};
use evalscope_workload::tokens::{Frame, Tokenizer};

use crate::log::Log;
use crate::requests::doubts;

/// Where the server reports its tokens, this many requests are counted anyway, to compare.
const COMPARED_FIRST: u64 = 256;
/// After those, one in this many.
const COMPARED_EVERY: u64 = 16;

/// Counts the tokens of requests that have ended.
#[derive(Debug)]
pub(crate) struct TokenCounter {
    /// The tokenizer.
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// The API in use.
    pub(crate) api: Arc<dyn Api>,
    /// How prompts reach the model.
    pub(crate) frame: Frame,
    /// Side length, in pixels, of the square of an image that is one token.
    pub(crate) image_patch: u32,
}

impl TokenCounter {
    /// Count what the server did not report, and now and then what it did. Needs the bodies;
    /// without them nothing is counted. Returns any doubt about the text of the response.
    pub(crate) fn count(&self, exchange: &mut Exchange) -> Option<Doubt> {
        let Exchange { record, bodies } = exchange;
        if !record.succeeded() {
            return None;
        }
        let mut doubt = None;
        let compared = is_compared(record);
        if record.reported_output_tokens().is_none() || compared {
            let mut text = AnswerText::default();
            bodies.responses.for_each(|answer| {
                self.api.read_text(answer, &mut text);
            });
            doubt = text.repeats().then_some(Doubt::Repeats);
            // a response in which no text was found may still have some
            if !text.choices.is_empty() {
                let tokens = |text: &str| self.tokenizer.encode(text).len() as u64;
                let of_choice =
                    |choice: &ChoiceText| tokens(&choice.reasoning) + tokens(&choice.content);
                record.counted.completion_tokens = Some(text.choices.iter().map(of_choice).sum());
            }
        }
        // of a later turn, only what it added is there: that is not its prompt
        if record.reported_prompt_tokens().is_none() && record.starts_session() {
            record.counted.prompt_tokens = self.prompt_tokens(&bodies.request);
        }
        doubt
    }

    /// Prompt tokens of a body as it was sent.
    fn prompt_tokens(&self, body: &[u8]) -> Option<u64> {
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
            return None;
        };
        let prompt = Prompt::Body(self.api.countable(body));
        let ids = prompt_ids(&self.tokenizer, self.frame, &prompt).ok()?;
        Some(ids.len() as u64 + image_tokens(&prompt, self.image_patch))
    }
}

fn is_compared(record: &RequestRecord) -> bool {
    record.index < COMPARED_FIRST || record.index.is_multiple_of(COMPARED_EVERY)
}

/// Counts with a [`TokenCounter`], and warns of the first doubt.
#[derive(Debug)]
pub(crate) struct TokenCounting {
    counter: TokenCounter,
    log: Log,
    has_warned: bool,
}

impl TokenCounting {
    pub(crate) fn new(counter: TokenCounter, log: Log) -> Self {
        Self {
            counter,
            log,
            has_warned: false,
        }
    }
}

impl Stage for TokenCounting {
    fn name(&self) -> &'static str {
        "the stage that counts tokens"
    }

    fn apply(&mut self, exchanges: &mut [&mut Exchange]) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for exchange in exchanges {
            let doubt = self.counter.count(exchange);
            if let Some(doubt) = doubt.filter(|_| !self.has_warned) {
                self.has_warned = true;
                let finding = doubts::finding(&doubt);
                self.log.warn(&finding.text);
                warnings.push(finding.into());
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use evalscope_core::engine::{Collector, Dispatch};
    use evalscope_core::protocol::OpenAi;
    use evalscope_core::transport::SendTimes;
    use evalscope_model::conversation::TurnPlace;
    use evalscope_model::record::{EventLog, EventStamp, Phase, RecordBodies, TokenSource};
    use evalscope_model::time::Timestamp;
    use serde_json::json;
    use tokenizers::models::TrainerWrapper;
    use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::{AddedToken, DecoderWrapper};

    const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    /// A byte-level tokenizer with a chat template, as models ship theirs.
    fn trained() -> Arc<Tokenizer> {
        let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
        let level = ByteLevel::new(false, true, true);
        tokenizer.with_pre_tokenizer(Some(level));
        tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(level)));
        let specials = ["<|im_start|>", "<|im_end|>"].map(|token| AddedToken::from(token, true));
        let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(300)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(specials.into())
            .build()
            .into();
        let texts = ["and then the thought of the answer, and then the answer of the thought"];
        tokenizer.train(&mut trainer, texts.into_iter()).unwrap();
        let folder = tempfile::TempDir::new().unwrap();
        let put =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        put("tokenizer.json", tokenizer.to_string(false).unwrap());
        let config = json!({"chat_template": CHATML});
        put("tokenizer_config.json", config.to_string());
        Arc::new(Tokenizer::load(folder.path()).unwrap())
    }

    fn counter() -> TokenCounter {
        TokenCounter {
            tokenizer: trained(),
            api: Arc::new(OpenAi),
            frame: Frame::Chat,
            image_patch: 28,
        }
    }

    /// A success whose events all have output, from a server that reports no tokens.
    fn exchange(events: &[&str]) -> Exchange {
        let dispatch = Dispatch {
            index: 0,
            phase: Phase::Measured,
            scheduled: Timestamp::ZERO,
            slot_free: Timestamp::ZERO,
            dispatched: Timestamp::ZERO,
            stream: true,
            output_asked: true,
            asked_tokens: None,
            asked_output_tokens: None,
            turn: None,
            trace: None,
            model: None,
            url: None,
        };
        let collector = Collector::new(OpenAi.reader(), RecordBodies::All, true);
        let sent = SendTimes::default();
        let mut exchange = collector.finish(
            dispatch,
            None,
            &sent,
            Ok(()),
            || BODY.to_vec(),
            Timestamp::ZERO,
        );
        exchange.record.failure = None;
        let mut log = EventLog::default();
        for (at, event) in (0..).zip(events) {
            log.push(EventStamp {
                at: Timestamp::from_nanos(at),
                token: true,
                answer: true,
                finish: false,
                coalesced: false,
                choice: 0,
                continued: false,
            });
            exchange.bodies.responses.push(event.as_bytes());
        }
        exchange.record.events = log;
        exchange
    }

    const BODY: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"hello there"}]}"#;

    #[test]
    fn a_server_that_tells_nothing_is_counted_for() {
        let counter = counter();
        let events = [
            r#"{"choices":[{"delta":{"reasoning_content":"first the thought "}}]}"#,
            r#"{"choices":[{"delta":{"content":"and then"}}]}"#,
            r#"{"choices":[{"delta":{"content":" the answer"}}]}"#,
        ];
        let mut exchange = exchange(&events);
        assert_eq!(
            exchange.record.output_tokens(),
            (Some(3), TokenSource::EventCount)
        );
        counter.count(&mut exchange);
        let tokens = |text| counter.tokenizer.encode(text).len() as u64;
        let output = tokens("first the thought ") + tokens("and then the answer");
        let record = &exchange.record;
        assert_eq!(
            record.output_tokens(),
            (Some(output), TokenSource::LocalTokenizer)
        );
        let prompt = tokens("<|im_start|>user\nhello there<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!(
            record.prompt_tokens(),
            (Some(prompt), TokenSource::LocalTokenizer)
        );
    }

    /// Its body has only what the turn added.
    #[test]
    fn the_prompt_of_a_later_turn_is_not_counted() {
        let counter = counter();
        for (turn, is_counted) in [(0, true), (1, false)] {
            let mut exchange = exchange(&[r#"{"choices":[{"delta":{"content":"and"}}]}"#]);
            exchange.record.turn = Some(TurnPlace {
                conversation: 0,
                turn,
                delay: Duration::ZERO,
                asked_increment: None,
            });
            counter.count(&mut exchange);
            let found = exchange.record.counted;
            assert_eq!(found.prompt_tokens.is_some(), is_counted, "{turn}");
            assert!(found.completion_tokens.is_some());
        }
    }

    #[test]
    fn text_that_is_repeated_or_stands_elsewhere_is_counted_once() {
        let counter = counter();
        let tokens = |text| counter.tokenizer.encode(text).len() as u64;
        for (events, text, doubt) in [
            (
                &[
                    r#"{"choices":[{"delta":{"content":"and"}}]}"#,
                    r#"{"choices":[{"delta":{"content":"and then"}}]}"#,
                    r#"{"choices":[{"delta":{"content":"and then the answer"}}]}"#,
                ][..],
                "and then the answer",
                Some(Doubt::Repeats),
            ),
            (
                &[
                    r#"{"choices":[{"delta":{"content":"and"}}]}"#,
                    r#"{"choices":[{"delta":{"content":" then"},"message":{"content":"and then"}}]}"#,
                ],
                "and then",
                None,
            ),
            (
                &[r#"{"choices":[{"delta":{"function_call":{"name":"get","arguments":"{}"}}}]}"#],
                "get{}",
                None,
            ),
        ] {
            let mut exchange = exchange(events);
            assert_eq!(counter.count(&mut exchange), doubt);
            assert_eq!(
                exchange.record.output_tokens(),
                (Some(tokens(text)), TokenSource::LocalTokenizer)
            );
        }
        // choices are counted separately, then added
        let mut exchange = exchange(&[
            r#"{"choices":[{"index":0,"delta":{"content":"and"}},{"index":1,"delta":{"content":"then"}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":" the answer"}},{"index":0,"delta":{"content":" then"}}]}"#,
        ]);
        counter.count(&mut exchange);
        let output = tokens("and then") + tokens("then the answer");
        assert_eq!(exchange.record.output_tokens().0, Some(output));
    }

    #[test]
    fn a_server_that_tells_is_believed_and_compared_now_and_then() {
        let counter = counter();
        for (index, compared) in [(0, true), (255, true), (257, false), (272, true)] {
            let mut exchange = exchange(&[r#"{"choices":[{"delta":{"content":"word"}}]}"#]);
            exchange.record.index = index;
            exchange.record.usage.completion_tokens = Some(77);
            exchange.record.usage.prompt_tokens = Some(5);
            counter.count(&mut exchange);
            let record = &exchange.record;
            assert_eq!(record.output_tokens(), (Some(77), TokenSource::ServerUsage));
            assert_eq!(
                record.counted.completion_tokens.is_some(),
                compared,
                "{index}"
            );
            assert_eq!(record.counted.prompt_tokens, None);
        }
    }
}
