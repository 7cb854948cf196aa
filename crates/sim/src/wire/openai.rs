//! Owns OpenAI's protocol: chat and text completions, as served by vLLM.
//!
//! It must not know about other protocols, except for what Zhipu adopted from this one.

use std::io::Write;

use serde_json::{Value, json};

use super::ask::{self, Asked, Content, Fields, MOST_CHOICES, Output};
use super::protocol::{
    Answer, Chunk, DECODING_FAILED, Delta, Page, Parts, Protocol, Start, number,
};
use super::refusal::Refusal;
use super::tools;
use crate::fault::Fault;
use crate::tokens::Counter;

/// `/v1/chat/completions`.
pub(crate) static CHAT: OpenAi = OpenAi { chat: true };

/// `/v1/completions`.
pub(crate) static COMPLETIONS: OpenAi = OpenAi { chat: false };

#[derive(Debug)]
pub(crate) struct OpenAi {
    chat: bool,
}

fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

impl Protocol for OpenAi {
    fn id_prefix(&self) -> &'static str {
        if self.chat { "chatcmpl" } else { "cmpl" }
    }

    fn read(&self, body: &[u8], _by_header: bool, counter: &Counter) -> Result<Asked, Refusal> {
        let body = ask::parse(body)?;
        let fields = Fields::new(&body);
        let (prompts, message_count) = if self.chat {
            let content = Content::Typed { bare_base64: false };
            let conversation = fields.conversation(content)?;
            tools::check_history(&conversation)?;
            let messages = conversation.messages.len() as u64;
            (vec![counter.chat(&conversation)?], Some(messages))
        } else {
            (ask::prompts("prompt", fields.get("prompt"), counter)?, None)
        };
        let model = fields.model()?;
        let newer_name = if self.chat {
            fields.max_tokens("max_completion_tokens")?
        } else {
            None
        };
        let max_tokens = match newer_name {
            Some(limit) => Some(limit),
            None => fields.max_tokens("max_tokens")?,
        };
        let choices = u64::from(fields.count("n", MOST_CHOICES)?.unwrap_or(1));
        let choices = choices * prompts.len() as u64;
        let choices = u32::try_from(choices)
            .ok()
            .filter(|choices| u64::from(*choices) <= MOST_CHOICES)
            .ok_or_else(|| {
                Refusal::of(
                    "n",
                    format!("prompts times n must be at most {MOST_CHOICES}, got {choices}"),
                )
            })?;
        let (stream, stream_options) = fields.stream()?;
        Ok(Asked {
            model,
            stream,
            stream_options,
            min_tokens: fields.min_tokens(max_tokens)?,
            max_tokens,
            end_of_text: fields.end_of_text()?,
            choices,
            prompts,
            tools: tools::offered(fields),
            message_count,
            messages: self.chat,
            repeats: false,
            output: Output::Text,
        })
    }

    fn refusal(&self, refusal: &Refusal, _id: &str) -> Vec<u8> {
        json!({"error": {
            "message": refusal.message,
            "type": error_type(refusal.status),
            "param": refusal.param,
            "code": refusal.status,
        }})
        .to_string()
        .into_bytes()
    }

    fn document(&self, answer: &Answer) -> Vec<u8> {
        let tokens = answer.emitted_tokens();
        let choices: Vec<Value> = (0..answer.choices)
            .map(|choice| {
                let (key, content) = if self.chat {
                    ("message", message(answer, choice, tokens))
                } else {
                    ("text", answer.words(choice, 0..tokens).into())
                };
                json!({
                    "index": choice,
                    key: content,
                    "logprobs": null,
                    "finish_reason": answer.finish_reason(),
                    "stop_reason": null,
                })
            })
            .collect();
        let completion_tokens = answer.completion_tokens();
        let mut document = json!({
            "id": answer.id,
            "object": self.object(false),
            "created": answer.created,
            "model": answer.model,
            "choices": choices,
        });
        let fields = document
            .as_object_mut()
            .expect("created as an object above");
        if answer.has(Fault::NoObject) {
            fields.shift_remove("object");
        }
        if answer.has(Fault::ErrorNull) {
            fields.insert("error".to_owned(), Value::Null);
        }
        if !answer.has(Fault::NoUsage) {
            fields.insert("usage".to_owned(), answer.usage(completion_tokens));
        }
        if answer.has(Fault::Timings) {
            fields.insert("timings".to_owned(), timings(answer, completion_tokens));
        }
        document.to_string().into_bytes()
    }

    fn parts(&self) -> Parts {
        Parts {
            start: Start::WithFirstToken,
            usage: true,
            done: true,
        }
    }

    fn opening(&self, answer: &Answer) -> Vec<u8> {
        let mut opening = Vec::with_capacity(160 + answer.model.len());
        let object = if answer.has(Fault::NoObject) {
            String::new()
        } else {
            format!("\"object\":\"{}\",", self.object(true))
        };
        let error = if answer.has(Fault::ErrorNull) {
            "\"error\":null,"
        } else {
            ""
        };
        let model = Value::String(answer.model.clone());
        write!(
            opening,
            "{{\"id\":\"{}\",{object}\"created\":{},\"model\":{model},{error}\"choices\":[",
            answer.id, answer.created
        )
        .expect("writing to a Vec cannot fail");
        opening
    }

    fn chunk(&self, page: &mut Page<'_>, out: &mut Vec<u8>, chunk: &Chunk) {
        let answer = page.answer;
        page.before_payload(out);
        out.extend_from_slice(&page.opening);
        out.extend_from_slice(b"{\"index\":");
        number(out, chunk.choice);
        if self.chat {
            out.extend_from_slice(b",\"delta\":");
            delta(page, out, chunk);
        } else {
            out.extend_from_slice(b",\"text\":\"");
            if let Delta::Tokens { at, count } = chunk.delta {
                page.text(out, chunk.choice, at..at + count);
            }
            out.push(b'"');
        }
        let with_usage = match answer.fault {
            Some(Fault::NoUsage) => false,
            Some(Fault::UsageEverywhere) => true,
            Some(Fault::UsageWithChoices) => chunk.last,
            _ => answer.stream_options.usage_in_each,
        };
        if !chunk.finish && !with_usage {
            // The most common event by far: one copy rather than two.
            out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":null}]}");
            return;
        }
        if chunk.finish {
            write!(
                out,
                ",\"logprobs\":null,\"finish_reason\":\"{}\",\"stop_reason\":null}}]",
                answer.finish_reason()
            )
            .expect("writing to a Vec cannot fail");
        } else {
            out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":null}]");
        }
        if with_usage {
            let usage = answer.usage(page.completion_tokens);
            write!(out, ",\"usage\":{usage}").expect("writing to a Vec cannot fail");
        }
        if chunk.last && answer.has(Fault::Timings) {
            let timings = timings(answer, page.completion_tokens);
            write!(out, ",\"timings\":{timings}").expect("writing to a Vec cannot fail");
        }
        out.push(b'}');
    }

    fn usage_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        page.before_payload(out);
        out.extend_from_slice(&page.opening);
        let usage = page.answer.usage(page.completion_tokens);
        write!(out, "],\"usage\":{usage}}}").expect("writing to a Vec cannot fail");
    }

    fn broken_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        page.before_payload(out);
        out.extend_from_slice(&page.opening);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{\"content\":\" bro");
    }

    fn error_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) -> bool {
        match page.answer.fault {
            Some(Fault::ErrorEvent) => {
                write!(
                    out,
                    "data: {{\"error\":{{\"message\":\"{DECODING_FAILED}\",\
                     \"type\":\"InternalServerError\",\"param\":null,\"code\":500}}}}"
                )
                .expect("writing to a Vec cannot fail");
                true
            }
            fault => {
                bare_error(out, fault, page.end_of_line);
                false
            }
        }
    }

    fn endless_event(&self) -> &'static [u8] {
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\""
    }
}

impl OpenAi {
    fn object(&self, streamed: bool) -> &'static str {
        match (self.chat, streamed) {
            (true, true) => "chat.completion.chunk",
            (true, false) => "chat.completion",
            (false, _) => "text_completion",
        }
    }
}

/// The stream errors without an object with code and message.
pub(super) fn bare_error(out: &mut Vec<u8>, fault: Option<Fault>, line: &str) {
    if fault == Some(Fault::ErrorEventNamed) {
        write!(
            out,
            "event: error{line}data: {{\"message\":\"{DECODING_FAILED}\"}}"
        )
    } else {
        write!(out, "data: {{\"error\":\"{DECODING_FAILED}\"}}")
    }
    .expect("writing to a Vec cannot fail");
}

/// llama.cpp's report of its own speed; the durations are made up.
fn timings(answer: &Answer, completion_tokens: u64) -> Value {
    let prompt_tokens = answer.prompt_tokens as f64;
    json!({
        "prompt_n": answer.prompt_tokens,
        "prompt_ms": 10.0,
        "prompt_per_token_ms": 10.0 / prompt_tokens.max(1.0),
        "prompt_per_second": prompt_tokens * 100.0,
        "predicted_n": completion_tokens,
        "predicted_ms": 20.0,
        "predicted_per_token_ms": 20.0 / (completion_tokens.max(1)) as f64,
        "predicted_per_second": completion_tokens as f64 * 50.0,
    })
}

fn message(answer: &Answer, choice: u32, tokens: u32) -> Value {
    let reasoning = answer.reasoning_tokens().min(tokens);
    let thought = answer.words(choice, 0..reasoning);
    let text = answer.words(choice, reasoning..tokens);
    let mut message = if answer.calls_tool() {
        let calls = [answer.tool_call(choice, &text)];
        json!({"role": "assistant", "content": null, "tool_calls": calls})
    } else if answer.has(Fault::Refusal) {
        json!({"role": "assistant", "content": null, "refusal": text})
    } else {
        json!({"role": "assistant", "content": text})
    };
    match answer.fault {
        Some(Fault::Reasoning) => message["reasoning"] = thought.into(),
        Some(Fault::ReasoningDetails) => {
            message["reasoning_details"] = json!([{"type": "reasoning.text", "text": thought}]);
        }
        _ if reasoning > 0 => message["reasoning_content"] = thought.into(),
        _ => {}
    }
    message
}

fn delta(page: &Page<'_>, out: &mut Vec<u8>, chunk: &Chunk) {
    let fault = page.answer.fault;
    let (at, count) = match (chunk.delta, fault) {
        (Delta::Role, Some(Fault::ContentNull)) => {
            out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":null}");
            return;
        }
        (Delta::Role, _) => {
            out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\"}");
            return;
        }
        (Delta::Nothing, Some(Fault::DeltaNull)) => {
            out.extend_from_slice(b"null");
            return;
        }
        (Delta::Nothing, Some(Fault::ContentNull)) => {
            out.extend_from_slice(b"{\"content\":null}");
            return;
        }
        (Delta::Nothing, _) => {
            out.extend_from_slice(b"{}");
            return;
        }
        (Delta::Tokens { at, count }, _) => (at, count),
    };
    let thinks = at < page.answer.reasoning_tokens();
    let (before, after): (&[u8], &[u8]) = match fault {
        Some(Fault::Reasoning) if thinks => (b"{\"reasoning\":\"", b"\"}"),
        Some(Fault::ReasoningDetails) if thinks => (
            b"{\"reasoning_details\":[{\"type\":\"reasoning.text\",\"text\":\"",
            b"\"}]}",
        ),
        _ if thinks => (b"{\"reasoning_content\":\"", b"\"}"),
        Some(Fault::Refusal) => (b"{\"refusal\":\"", b"\"}"),
        _ if page.answer.calls_tool() => {
            out.extend_from_slice(b"{\"tool_calls\":");
            page.tool_piece(out, chunk.choice, at..at + count);
            out.push(b'}');
            return;
        }
        _ => (b"{\"content\":\"", b"\"}"),
    };
    out.extend_from_slice(before);
    page.text(out, chunk.choice, at..at + count);
    out.extend_from_slice(after);
}

#[cfg(test)]
mod tests {
    use super::super::ask::StreamOptions;
    use super::super::tests::{answer as any, payloads, stream};
    use super::*;

    fn answer(fault: Option<Fault>) -> Answer {
        Answer {
            id: "chatcmpl-sim-7".to_owned(),
            ..any(&CHAT, fault)
        }
    }

    #[test]
    fn plain_chat_stream_golden() {
        let head = r#"data: {"id":"chatcmpl-sim-7","object":"chat.completion.chunk","created":5,"model":"sim","choices":["#;
        let expected = format!(
            concat!(
                "{0}{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
                "{0}{{\"index\":0,\"delta\":{{\"content\":\" the\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
                "{0}{{\"index\":0,\"delta\":{{\"content\":\" that\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
                "{0}{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null}}]}}\n\n",
                "{0}],\"usage\":{{\"prompt_tokens\":3,\"total_tokens\":5,\"completion_tokens\":2,\"prompt_tokens_details\":{{\"cached_tokens\":0}}}}}}\n\n",
                "data: [DONE]\n\n"
            ),
            head
        );
        assert_eq!(stream(&answer(None)), expected);
    }

    #[test]
    fn completions_stream_has_text() {
        let answer = Answer {
            protocol: &COMPLETIONS,
            messages: false,
            tokens: 1,
            at_length: false,
            stream_options: StreamOptions::default(),
            ..answer(None)
        };
        assert_eq!(
            stream(&answer),
            "data: {\"id\":\"chatcmpl-sim-7\",\"object\":\"text_completion\",\"created\":5,\
             \"model\":\"sim\",\"choices\":[{\"index\":0,\"text\":\" the\",\"logprobs\":null,\
             \"finish_reason\":null}]}\n\n\
             data: {\"id\":\"chatcmpl-sim-7\",\"object\":\"text_completion\",\"created\":5,\
             \"model\":\"sim\",\"choices\":[{\"index\":0,\"text\":\"\",\"logprobs\":null,\
             \"finish_reason\":\"stop\",\"stop_reason\":null}]}\n\ndata: [DONE]\n\n"
        );
    }

    #[test]
    fn tool_call_arguments_join_to_json() {
        for tokens in [1, 5] {
            let answer = Answer {
                tokens,
                ..answer(Some(Fault::ToolCalls))
            };
            let arguments: String = payloads(&stream(&answer))
                .iter()
                .filter_map(|chunk| {
                    chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
                })
                .collect();
            let parsed: Value = serde_json::from_str(&arguments).expect("JSON");
            assert_eq!(parsed["text"], answer.words(0, 0..tokens));
        }
    }

    #[test]
    fn choices_are_interleaved() {
        let answer = Answer {
            choices: 2,
            ..answer(None)
        };
        let order: Vec<u64> = payloads(&stream(&answer))
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["index"].as_u64())
            .collect();
        assert_eq!(order, [0, 1, 0, 1, 0, 1, 0, 1]);
    }

    fn read(protocol: &OpenAi, body: &str) -> Result<Asked, Refusal> {
        protocol.read(body.as_bytes(), false, &Counter::default())
    }

    #[test]
    fn prompt_tokens_are_counted() {
        let chat = |body: &str| read(&CHAT, body).expect(body).prompt_tokens();
        assert_eq!(
            chat(r#"{"messages":[{"role":"user","content":"12345"}]}"#),
            2
        );
        assert_eq!(chat(r#"{"messages":[{"role":"user","content":""}]}"#), 1);
        assert_eq!(
            chat(
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"四个字啊"},{"type":"image_url","image_url":{"url":"https://example.invalid/x.png"}},{"type":"input_audio"}]}]}"#
            ),
            1
        );
        let completion = |body: &str| {
            let request = read(&COMPLETIONS, body).expect(body);
            (request.prompt_tokens(), request.choices)
        };
        assert_eq!(completion(r#"{"prompt":"123456789"}"#), (3, 1));
        assert_eq!(completion(r#"{"prompt":[5,6,7],"n":2}"#), (3, 2));
        assert_eq!(completion(r#"{"prompt":["12345","1"],"n":2}"#), (3, 4));
        assert_eq!(completion(r#"{"prompt":[[1,2],[3]]}"#), (3, 2));
    }

    #[test]
    fn prompts_of_other_kinds_are_refused() {
        for prompt in [
            "[]",
            "[-1]",
            "[1.5]",
            "[[]]",
            "[[1],-2]",
            "[1,\"a\"]",
            "{}",
            "null",
        ] {
            let body = format!("{{\"prompt\":{prompt}}}");
            let refusal = read(&COMPLETIONS, &body).expect_err(prompt);
            assert_eq!(refusal.param, Some("prompt"), "{prompt}");
        }
    }

    #[test]
    fn bad_requests_name_the_field() {
        let messages = r#""messages":[{"role":"user","content":"x"}]"#;
        for (body, param) in [
            (format!("{{{messages},\"max_tokens\":0}}"), "max_tokens"),
            (format!("{{{messages},\"max_tokens\":-1}}"), "max_tokens"),
            (format!("{{{messages},\"max_tokens\":\"9\"}}"), "max_tokens"),
            (format!("{{{messages},\"n\":0}}"), "n"),
            (format!("{{{messages},\"stream\":1}}"), "stream"),
            (
                format!("{{{messages},\"stream_options\":{{}}}}"),
                "stream_options",
            ),
            ("{\"messages\":[]}".to_owned(), "messages"),
            ("{}".to_owned(), "messages"),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#.to_owned(),
                "messages",
            ),
        ] {
            let refusal = read(&CHAT, &body).expect_err(&body);
            assert_eq!(
                (refusal.status, refusal.param),
                (400, Some(param)),
                "{body}"
            );
        }
        assert_eq!(read(&CHAT, "{\"a\":").expect_err("cut").status, 400);
    }

    #[test]
    fn null_fields_count_as_missing() {
        let body = r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":null,"n":null,"stream":null,"stream_options":null,"model":null}"#;
        let request = read(&CHAT, body).expect("nulls");
        assert_eq!(
            (request.max_tokens, request.choices, request.stream),
            (None, 1, false)
        );
    }
}
