//! Owns the generated text of an answer in OpenAI's form: what a tokenizer
//! counts where the server does not say.
//!
//! Apart from the reader of events, which keeps no text: this one runs only
//! after an answer has ended.

use serde_json::Value;

use super::AnswerText;

/// Add the text of the `choices` of an event or of a whole answer.
pub(super) fn read_choices(answer: &[u8], text: &mut AnswerText) {
    let Ok(value) = serde_json::from_str::<Value>(&String::from_utf8_lossy(answer)) else {
        return;
    };
    let Some(choices) = value.get("choices").and_then(Value::as_array) else {
        return;
    };
    for (at, choice) in choices.iter().enumerate() {
        let index = choice.get("index").and_then(Value::as_u64);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let to = text.choice(index.unwrap_or(at));
        let message = choice.get("delta").or_else(|| choice.get("message"));
        let Some(message) = message else {
            push(choice.get("text"), &mut to.content);
            continue;
        };
        // servers that send both spellings send the same text twice
        let reasoning = ["reasoning_content", "reasoning"]
            .iter()
            .find_map(|name| message.get(name).filter(|value| !value.is_null()));
        push(reasoning, &mut to.reasoning);
        for name in ["content", "refusal"] {
            push(message.get(name), &mut to.content);
        }
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            for pointer in ["/function/name", "/function/arguments"] {
                push(call.pointer(pointer), &mut to.content);
            }
        }
    }
}

/// Add a text, or the texts of a list of parts.
pub(super) fn push(value: Option<&Value>, to: &mut String) {
    match value {
        Some(Value::String(text)) => to.push_str(text),
        Some(Value::Array(parts)) => {
            for part in parts {
                push(part.get("text"), to);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_events_and_of_whole_answers() {
        let mut text = AnswerText::default();
        for event in [
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"so ","reasoning":"so "}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"x"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"b"}]}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}"#,
            r#"{"choices":[],"usage":{"completion_tokens":3}}"#,
            "rubbish",
        ] {
            read_choices(event.as_bytes(), &mut text);
        }
        assert_eq!(text.choices[0].reasoning, "so ");
        assert_eq!(text.choices[0].content, "ab");
        assert_eq!(text.choices[1].content, "xf{}");
        let mut whole = AnswerText::default();
        read_choices(
            br#"{"choices":[{"message":{"content":"hi"}},{"text":"yo"}]}"#,
            &mut whole,
        );
        assert_eq!(whole.choices[0].content, "hi");
        assert_eq!(whole.choices[1].content, "yo");
    }
}
