//! Owns the generated text of responses: what a tokenizer counts if the server does not report
//! tokens.
//!
//! It is separate from the event reader, which keeps no text: this code runs only after a response
//! has ended. Both take the places of text from the same list.

use serde_json::Value;

/// Choices beyond this index count as one.
const MOST_CHOICES: usize = 1024;

/// This many texts in a row that start with the whole previous text are no coincidence.
const REPEATS_SEEN: u32 = 2;

/// After this many, repetition is certain and the concatenation of the texts is dropped.
const REPEATS_SETTLED: u32 = 8;

/// All text of one response, with reasoning separate from content.
#[derive(Clone, Debug, Default)]
pub struct AnswerText {
    /// One entry per choice: reasoning, and content including refusals and the like.
    pub choices: Vec<ChoiceText>,
    /// How each has been read so far.
    pub(super) reading: Vec<Reading>,
}

/// The text of one choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChoiceText {
    /// Its reasoning.
    pub reasoning: String,
    /// Its content, with tool calls as names and arguments.
    pub content: String,
}

/// How a text was read does not affect equality.
impl PartialEq for AnswerText {
    fn eq(&self, other: &Self) -> bool {
        self.choices == other.choices
    }
}

impl Eq for AnswerText {}

#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// The lowest of `delta`, `text` and `message` that has held output.
    pub(super) rank: Option<usize>,
    reasoning: Repeats,
    content: Repeats,
}

/// Whether the events of a stream repeat the text so far.
#[derive(Clone, Debug, Default)]
struct Repeats {
    /// A text has arrived.
    begun: bool,
    /// Texts that started with the whole previous one and continued it.
    grown: u32,
    /// One did not start that way.
    broken: bool,
    /// Where the last text starts, as long as no repetition is detected.
    last_at: usize,
    /// The concatenation of the texts, as long as apparent repetition may be a coincidence.
    joined: String,
}

impl Repeats {
    const fn seen(&self) -> bool {
        self.is_settled() || !self.broken && self.grown >= REPEATS_SEEN
    }

    const fn is_settled(&self) -> bool {
        self.grown >= REPEATS_SETTLED
    }

    /// Add a text to a channel.
    fn add(&mut self, text: &str, to: &mut String) {
        if text.is_empty() {
            return;
        }
        if self.broken {
            to.push_str(text);
            return;
        }
        let was_seen = self.seen();
        let last = if was_seen {
            &to[..]
        } else {
            &to[self.last_at..]
        };
        let grows = self.begun && text.len() > last.len();
        self.begun = true;
        if !text.starts_with(last) {
            self.broken = true;
            let joined = std::mem::take(&mut self.joined);
            if was_seen && !self.is_settled() {
                *to = joined;
            }
            to.push_str(text);
            return;
        }
        self.grown += u32::from(grows);
        if was_seen {
            self.joined.push_str(text);
            text.clone_into(to);
        } else {
            self.last_at = to.len();
            to.push_str(text);
            if self.seen() {
                self.joined = std::mem::replace(to, text.to_owned());
            }
        }
        if self.is_settled() {
            self.joined = String::new();
        }
    }
}

impl AnswerText {
    /// The choice with this `index`, created if it is new.
    pub fn choice(&mut self, index: usize) -> &mut ChoiceText {
        let index = self.place(index);
        &mut self.choices[index]
    }

    /// Whether the events of a choice repeated the text so far; it was counted once.
    #[must_use]
    pub fn repeats(&self) -> bool {
        let mut all = self.reading.iter();
        all.any(|reading| reading.reasoning.seen() || reading.content.seen())
    }

    pub(super) fn place(&mut self, index: usize) -> usize {
        let index = index.min(MOST_CHOICES);
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, ChoiceText::default);
            self.reading.resize_with(index + 1, Reading::default);
        }
        index
    }

    /// Add the text of an event for one choice.
    pub(super) fn add(&mut self, index: usize, reasoning: &str, content: &str) {
        let index = self.place(index);
        let (to, reading) = (&mut self.choices[index], &mut self.reading[index]);
        reading.reasoning.add(reasoning, &mut to.reasoning);
        reading.content.add(content, &mut to.content);
    }
}

/// Add a text, or the texts of a list of parts.
pub(super) fn push(value: Option<&Value>, to: &mut String) {
    match value {
        Some(Value::String(text)) => to.push_str(text),
        Some(Value::Array(parts)) => {
            for part in parts {
                push(part.get("text").filter(|text| text.is_string()), to);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::protocol::AnswerReader;
    use crate::protocol::openai::{OpenAiReader, read_choices};

    fn text_of(events: &[&str]) -> AnswerText {
        let mut text = AnswerText::default();
        for event in events {
            read_choices(event.as_bytes(), &mut text);
        }
        text
    }

    #[test]
    fn text_of_events_and_of_whole_answers() {
        let text = text_of(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"so ","reasoning":"so "}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"x"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"b"}]},"logprobs":NaN}]}"#,
            r#"{"choices":[{"index":1,"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}"#,
            r#"{"choices":[],"usage":{"completion_tokens":3}}"#,
            "rubbish",
        ]);
        assert_eq!(text.choices[0].reasoning, "so ");
        assert_eq!(text.choices[0].content, "ab");
        assert_eq!(text.choices[1].content, "xf{}");
        let whole = text_of(&[r#"{"choices":[{"message":{"content":"hi"}},{"text":"yo"}]}"#]);
        assert_eq!(whole.choices[0].content, "hi");
        assert_eq!(whole.choices[1].content, "yo");
    }

    #[test]
    fn text_in_every_place_is_counted_once() {
        for (delta, reasoning, content) in [
            (r#"{"reasoning_content":"","reasoning":"abc"}"#, "abc", ""),
            (r#"{"thinking":"abc"}"#, "abc", ""),
            (
                r#"{"reasoning_text":"abc","reasoning_content":null}"#,
                "abc",
                "",
            ),
            (
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"abc"}]}]}"#,
                "abc",
                "",
            ),
            (
                r#"{"content":[{"type":"thinking","thinking":"abc"},{"type":"text","text":"d"}]}"#,
                "abc",
                "d",
            ),
            (
                r#"{"reasoning_details":[{"type":"reasoning.text","text":"abc","signature":"x"}]}"#,
                "abc",
                "",
            ),
            (
                r#"{"reasoning":"abc","reasoning_details":[{"type":"reasoning.text","text":"abc"}]}"#,
                "abc",
                "",
            ),
            (
                r#"{"function_call":{"name":"get","arguments":"{}"}}"#,
                "",
                "get{}",
            ),
            (r#"{"refusal":"no"}"#, "", "no"),
            (
                r#"{"audio":{"id":"x","data":"Zm9v","transcript":"hey"}}"#,
                "",
                "hey",
            ),
        ] {
            let text = text_of(&[&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#)]);
            let said = &text.choices[0];
            assert_eq!(
                (&*said.reasoning, &*said.content),
                (reasoning, content),
                "{delta}"
            );
        }
    }

    #[test]
    fn a_message_after_deltas_is_not_counted_again() {
        let perplexity = text_of(&[
            r#"{"choices":[{"delta":{"content":"The"},"message":{"content":"The"}}]}"#,
            r#"{"choices":[{"delta":{"content":" sky."},"message":{"content":"The sky."}}]}"#,
            r#"{"choices":[{"delta":{"content":""},"message":{"content":"The sky."},"finish_reason":"stop"}]}"#,
        ]);
        assert_eq!(perplexity.choices[0].content, "The sky.");
        let together = text_of(&[
            r#"{"choices":[{"index":0,"text":"a","delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"index":0,"text":"b","delta":{"content":"b"}}]}"#,
        ]);
        assert_eq!(together.choices[0].content, "ab");
        let of_messages = text_of(&[
            r#"{"choices":[{"message":{"content":"a"}}]}"#,
            r#"{"choices":[{"message":{"content":"b"}},{"delta":{"content":"x"}}]}"#,
        ]);
        assert_eq!(of_messages.choices[0].content, "ab");
        assert_eq!(of_messages.choices[1].content, "x");
    }

    fn deltas(texts: &[&str]) -> AnswerText {
        let events: Vec<String> = texts
            .iter()
            .map(|text| json!({"choices": [{"delta": {"content": text}}]}).to_string())
            .collect();
        text_of(&events.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn deltas_that_repeat_the_text_so_far_count_once() {
        for (texts, content, repeats) in [
            (&["abc", "abcdef", "abcdefghi"][..], "abcdefghi", true),
            (&["a", "ab", "ab", "abc", "abc"], "abc", true),
            (&["a", "ab", "abc", "abcd", "x"], "aababcabcdx", false),
            (&["a", "a", "a", "a"], "aaaa", false),
            (&["a", "ab"], "aab", false),
            (&["a", "ab", "c"], "aabc", false),
            (&["", "ha", "", "ha ", "hu"], "haha hu", false),
        ] {
            let text = deltas(texts);
            assert_eq!(text.choices[0].content, content, "{texts:?}");
            assert_eq!(text.repeats(), repeats, "{texts:?}");
        }
        let long: Vec<String> = (1..100).map(|n| "ab".repeat(n)).collect();
        let long = deltas(&long.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(long.choices[0].content.len(), 2 * 99);
    }

    /// A delta with fields that can or cannot hold output.
    fn any_delta() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just(json!("")),
            Just(json!(null)),
            "[a-z ]{1,4}".prop_map(Value::from)
        ];
        let part = (
            prop::sample::select(vec![
                "text",
                "thinking",
                "summary",
                "content",
                "data",
                "id",
                "signature",
                "name",
            ]),
            text.clone(),
        )
            .prop_map(|(key, text)| json!({"type": "x", key: text}));
        let parts = prop::collection::vec(part.clone(), 0..3).prop_map(Value::from);
        let nested = parts
            .clone()
            .prop_map(|parts| json!([{"type": "thinking", "thinking": parts}]));
        let call = (text.clone(), text.clone())
            .prop_map(|(name, arguments)| json!({"name": name, "arguments": arguments}));
        let calls = call
            .clone()
            .prop_map(|call| json!([{"index": 0, "id": "c", "function": call}]));
        let image = prop_oneof![
            Just(json!([])),
            Just(json!([{"image_url": {"url": "data:x"}}])),
            Just(json!(null))
        ];
        let sound = text
            .clone()
            .prop_map(|text| json!({"id": "s", "transcript": text}));
        let value = prop_oneof![3 => text, 1 => part, 1 => parts, 1 => nested, 1 => call, 1 => calls, 1 => sound];
        let key = prop::sample::select(vec![
            "role",
            "content",
            "text",
            "refusal",
            "reasoning",
            "reasoning_content",
            "reasoning_text",
            "thinking",
            "reasoning_details",
            "tool_calls",
            "function_call",
            "audio",
            "annotations",
            "encrypted_content",
        ]);
        let field = prop_oneof![
            9 => (key, value),
            1 => image.prop_map(|image| ("images", image)),
        ];
        prop::collection::vec(field, 0..4).prop_map(|fields| {
            let fields = fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value));
            Value::Object(fields.collect())
        })
    }

    proptest! {
        /// Whatever counts as a token for the event reader has text for the tokenizer, except
        /// images and audio, and no other text counts.
        #[test]
        fn both_readers_see_the_same(
            events in prop::collection::vec((any_delta(), any_delta(), 0usize..3, 0usize..3), 1..6),
        ) {
            let mut reader = OpenAiReader::default();
            let mut text = AnswerText::default();
            for (delta, message, index, with) in events {
                let mut choice = json!({"index": index});
                if with != 1 {
                    choice["delta"] = delta;
                }
                if with != 0 {
                    choice["message"] = message;
                }
                let event = json!({"choices": [choice]}).to_string();
                let meaning = reader.event(b"", event.as_bytes()).unwrap();
                let before: usize = text.choices.iter().map(|c| c.reasoning.len() + c.content.len()).sum();
                let answers: usize = text.choices.iter().map(|c| c.content.len()).sum();
                read_choices(event.as_bytes(), &mut text);
                let after: usize = text.choices.iter().map(|c| c.reasoning.len() + c.content.len()).sum();
                let answers = text.choices.iter().map(|c| c.content.len()).sum::<usize>() != answers;
                // images, and audio, which is in `data`
                let textless = event.contains("data:x") || event.contains("\"data\"");
                prop_assert!(textless || meaning.has_token() == (before != after) || text.repeats(), "{}", event);
                prop_assert!(before == after || meaning.has_token() || text.repeats(), "{}", event);
                prop_assert!(!answers || meaning.has_answer() || text.repeats(), "{}", event);
            }
        }
    }
}
