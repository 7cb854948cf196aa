//! Owns DashScope's native protocol: text and multimodal generation, with input and parameters
//! separate, streams requested by a header, and usage in every event.
//!
//! It must not know about other protocols; DashScope's OpenAI-compatible path is simply OpenAI's.

use std::io::Write;

use serde_json::{Value, json};

use super::ask::{self, Asked, Content, EndOfText, Fields, Output};
use super::protocol::{Answer, Chunk, DECODING_FAILED, Delta, Page, Parts, Protocol, Start};
use super::refusal::Refusal;
use super::tools;
use crate::fault::Fault;
use crate::template::{Conversation, Message};
use crate::tokens::Counter;

/// `/api/v1/services/aigc/text-generation/generation`.
pub(crate) static TEXT: DashScope = DashScope { multimodal: false };

/// `/api/v1/services/aigc/multimodal-generation/generation`.
pub(crate) static MULTIMODAL: DashScope = DashScope { multimodal: true };

/// Maximum number of choices per response.
const MOST_CHOICES: u64 = 4;

#[derive(Debug)]
pub(crate) struct DashScope {
    /// Contents are lists of parts.
    multimodal: bool,
}

fn code(refusal: &Refusal) -> &'static str {
    match (refusal.code, refusal.status) {
        (Some(code), _) => code,
        (None, 401) => "InvalidApiKey",
        (None, 404) => "ModelNotFound",
        (None, 429) => "Throttling.RateQuota",
        (None, 500) => "InternalError",
        (None, 503) => "ModelUnavailable",
        (None, _) => "InvalidParameter",
    }
}

impl Protocol for DashScope {
    fn id_prefix(&self) -> &'static str {
        "dashscope"
    }

    fn read(&self, body: &[u8], by_header: bool, counter: &Counter) -> Result<Asked, Refusal> {
        let body = ask::parse(body)?;
        let fields = Fields::new(&body);
        let Some(model) = fields.model()? else {
            return Err(Refusal::of("model", "model must be a string, got none"));
        };
        let Some(input) = fields.object("input")? else {
            return Err(Refusal::of(
                "input",
                "input must be an object with messages or a prompt, got none; put them inside \
                 input, not next to model",
            ));
        };
        let conversation = self.conversation(input)?;
        let prompt = counter.chat(&conversation)?;

        let none = serde_json::Map::new();
        let parameters = fields
            .object("parameters")?
            .unwrap_or_else(|| Fields::new(&none));
        let messages = match parameters.text("result_format")? {
            Some("message") => true,
            // Multimodal responses have only one form.
            Some("text") | None => self.multimodal,
            Some(got) => {
                return Err(Refusal::of(
                    "result_format",
                    format!("result_format must be \"message\" or \"text\", got {got:?}"),
                ));
            }
        };
        let incremental = parameters.flag("incremental_output")?.unwrap_or(false);
        Ok(Asked {
            model: Some(model),
            stream: by_header,
            stream_options: None,
            min_tokens: 0,
            max_tokens: parameters.max_tokens("max_tokens")?,
            end_of_text: EndOfText::EndsResponse,
            choices: parameters.count("n", MOST_CHOICES)?.unwrap_or(1),
            prompts: vec![prompt],
            tools: tools::offered(parameters),
            message_count: Some(conversation.messages.len() as u64),
            messages,
            repeats: !incremental,
            output: Output::Text,
        })
    }

    fn refusal(&self, refusal: &Refusal, id: &str) -> Vec<u8> {
        json!({"code": code(refusal), "message": refusal.message, "request_id": id})
            .to_string()
            .into_bytes()
    }

    fn document(&self, answer: &Answer) -> Vec<u8> {
        let tokens = answer.emitted_tokens();
        let output = if answer.messages {
            let choices: Vec<Value> = (0..answer.choices)
                .map(|choice| {
                    let mut fields = json!({
                        "message": self.message(answer, choice, tokens),
                        "finish_reason": answer.finish_reason(),
                    });
                    if answer.choices > 1 {
                        fields["index"] = choice.into();
                    }
                    fields
                })
                .collect();
            json!({"choices": choices})
        } else {
            json!({
                "text": answer.words(0, 0..tokens),
                "finish_reason": answer.finish_reason(),
            })
        };
        let mut document = json!({"output": output});
        if !answer.has(Fault::NoUsage) {
            let mut usage = Vec::new();
            write_usage(&mut usage, answer, answer.completion_tokens());
            document["usage"] = serde_json::from_slice(&usage).expect("written as JSON");
        }
        document["request_id"] = answer.id.as_str().into();
        if answer.has(Fault::ErrorNull) {
            document["code"] = "".into();
            document["message"] = "".into();
        }
        document.to_string().into_bytes()
    }

    fn parts(&self) -> Parts {
        Parts {
            start: Start::Never,
            usage: false,
            done: false,
        }
    }

    fn opening(&self, answer: &Answer) -> Vec<u8> {
        if answer.messages {
            b"{\"output\":{\"choices\":[{\"message\":{".to_vec()
        } else {
            b"{\"output\":{\"text\":\"".to_vec()
        }
    }

    fn chunk(&self, page: &mut Page<'_>, out: &mut Vec<u8>, chunk: &Chunk) {
        let answer = page.answer;
        before_payload(page, out, "result", 200);
        out.extend_from_slice(&page.opening);
        if answer.messages {
            self.content(page, out, chunk);
            out.extend_from_slice(b",\"role\":\"assistant\"}");
        } else {
            page.text(out, chunk.choice, shown(page, chunk));
            out.push(b'"');
        }
        let reason = if chunk.finish {
            answer.finish_reason()
        } else {
            // A string, not null.
            "null"
        };
        write!(out, ",\"finish_reason\":\"{reason}\"").expect("writing to a Vec cannot fail");
        if answer.messages {
            if answer.choices > 1 {
                write!(out, ",\"index\":{}", chunk.choice).expect("writing to a Vec cannot fail");
            }
            out.extend_from_slice(b"}]");
        }
        out.push(b'}');
        if !answer.has(Fault::NoUsage) {
            out.extend_from_slice(b",\"usage\":");
            write_usage(out, answer, page.completion_tokens);
        }
        write!(out, ",\"request_id\":\"{}\"", answer.id).expect("writing to a Vec cannot fail");
        if answer.has(Fault::ErrorNull) {
            out.extend_from_slice(b",\"code\":\"\",\"message\":\"\"");
        }
        out.push(b'}');
    }

    fn broken_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        before_payload(page, out, "result", 200);
        out.extend_from_slice(&page.opening);
        out.extend_from_slice(b"\"content\":\" bro");
    }

    fn error_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) -> bool {
        // The error that some gateways send as a `result` event.
        let (event, status) = match page.answer.fault {
            Some(Fault::ErrorString) => ("result", 200),
            _ => ("error", 500),
        };
        before_payload(page, out, event, status);
        out.extend_from_slice(&self.refusal(&Refusal::new(500, DECODING_FAILED), &page.answer.id));
        false
    }

    fn endless_event(&self) -> &'static [u8] {
        b"event:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"content\":\""
    }
}

impl DashScope {
    fn conversation<'a>(&self, input: Fields<'a>) -> Result<Conversation<'a>, Refusal> {
        if input.get("messages").is_none()
            && let Some(prompt) = input.text("prompt")?
        {
            return Ok(Conversation {
                messages: vec![Message {
                    role: "user",
                    texts: vec![prompt],
                    fields: None,
                }],
                ..Conversation::default()
            });
        }
        input.conversation(if self.multimodal {
            Content::Keyed
        } else {
            Content::TextOnly
        })
    }

    fn message(&self, answer: &Answer, choice: u32, tokens: u32) -> Value {
        let reasoning = answer.reasoning_tokens().min(tokens);
        let text = answer.words(choice, reasoning..tokens);
        let content = |text: &str| match self.multimodal {
            true if text.is_empty() => json!([]),
            true => json!([{"text": text}]),
            false => text.into(),
        };
        let mut message = json!({"role": "assistant", "content": content(&text)});
        if answer.calls_tool() {
            message["content"] = content("");
            message["tool_calls"] = json!([answer.tool_call(choice, &text)]);
        }
        if reasoning > 0 {
            message["reasoning_content"] = answer.words(choice, 0..reasoning).into();
        }
        message
    }

    /// The fields of a message except its role.
    fn content(&self, page: &Page<'_>, out: &mut Vec<u8>, chunk: &Chunk) {
        let answer = page.answer;
        let range = shown(page, chunk);
        let reasoning = answer.reasoning_tokens();
        let calls_tool = answer.calls_tool();
        let said = range.start.max(reasoning)..range.end.max(reasoning);
        let (text, call) = if calls_tool {
            (said.end..said.end, said)
        } else {
            (said.clone(), said.end..said.end)
        };
        let null = chunk.finish && text.is_empty() && answer.has(Fault::ContentNull);
        out.extend_from_slice(match (self.multimodal, text.is_empty()) {
            _ if null => b"\"content\":null".as_slice(),
            (true, true) => b"\"content\":[]",
            (true, false) => b"\"content\":[{\"text\":\"",
            (false, _) => b"\"content\":\"",
        });
        page.text(out, chunk.choice, text.clone());
        out.extend_from_slice(match (self.multimodal, text.is_empty()) {
            _ if null => b"".as_slice(),
            (true, true) => b"",
            (true, false) => b"\"}]",
            (false, _) => b"\"",
        });
        if reasoning > 0 {
            out.extend_from_slice(b",\"reasoning_content\":\"");
            page.text(
                out,
                chunk.choice,
                range.start.min(reasoning)..range.end.min(reasoning),
            );
            out.push(b'"');
        }
        if !call.is_empty() {
            out.extend_from_slice(b",\"tool_calls\":");
            page.tool_piece(out, chunk.choice, call);
        }
    }
}

/// The tokens in an event: only its own, or all so far.
fn shown(page: &Page<'_>, chunk: &Chunk) -> std::ops::Range<u32> {
    match (chunk.delta, page.answer.repeats) {
        (Delta::Tokens { at, count }, true) => 0..at + count,
        (Delta::Tokens { at, count }, false) => at..at + count,
        (_, true) => 0..page.emitted_tokens,
        (_, false) => page.emitted_tokens..page.emitted_tokens,
    }
}

fn write_usage(out: &mut Vec<u8>, answer: &Answer, output_tokens: u64) {
    let input_tokens = answer.prompt_tokens;
    if answer.has(Fault::PartialUsage) {
        write!(out, "{{\"input_tokens\":{input_tokens}}}")
    } else {
        write!(
            out,
            "{{\"total_tokens\":{},\"input_tokens\":{input_tokens},\"output_tokens\":\
             {output_tokens},\"prompt_tokens_details\":{{\"cached_tokens\":{}}}}}",
            input_tokens + output_tokens,
            answer.cached_tokens
        )
    }
    .expect("writing to a Vec cannot fail");
}

fn before_payload(page: &mut Page<'_>, out: &mut Vec<u8>, event: &str, status: u16) {
    let line = page.end_of_line;
    page.events += 1;
    if page.answer.has(Fault::Comments) {
        write!(out, ": ping{line}{line}").expect("writing to a Vec cannot fail");
    }
    write!(
        out,
        "id:{}{line}event:{event}{line}:HTTP_STATUS/{status}{line}data:",
        page.events
    )
    .expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, payloads, stream};
    use super::*;

    fn event(number: u32, output: &str, output_tokens: u32) -> String {
        let total = 3 + output_tokens;
        format!(
            "id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{{output}}},\
             \"usage\":{{\"total_tokens\":{total},\"input_tokens\":3,\"output_tokens\":\
             {output_tokens},\"prompt_tokens_details\":{{\"cached_tokens\":0}}}},\
             \"request_id\":\"sim-7\"}}\n\n"
        )
    }

    fn choice(content: &str, finish_reason: &str) -> String {
        format!(
            "\"choices\":[{{\"message\":{{\"content\":{content},\"role\":\"assistant\"}},\
             \"finish_reason\":\"{finish_reason}\"}}]"
        )
    }

    #[test]
    fn plain_streams_golden() {
        let incremental = answer(&TEXT, None);
        assert_eq!(
            stream(&incremental),
            event(1, &choice("\" the\"", "null"), 1)
                + &event(2, &choice("\" that\"", "null"), 2)
                + &event(3, &choice("\"\"", "length"), 2)
        );
        let repeating = Answer {
            repeats: true,
            ..incremental.clone()
        };
        assert_eq!(
            stream(&repeating),
            event(1, &choice("\" the\"", "null"), 1)
                + &event(2, &choice("\" the that\"", "null"), 2)
                + &event(3, &choice("\" the that\"", "length"), 2)
        );
        let bare = Answer {
            messages: false,
            ..repeating
        };
        assert_eq!(
            stream(&bare),
            event(1, "\"text\":\" the\",\"finish_reason\":\"null\"", 1)
                + &event(2, "\"text\":\" the that\",\"finish_reason\":\"null\"", 2)
                + &event(3, "\"text\":\" the that\",\"finish_reason\":\"length\"", 2)
        );
        let multimodal = Answer {
            protocol: &MULTIMODAL,
            ..incremental
        };
        assert_eq!(
            stream(&multimodal),
            event(1, &choice("[{\"text\":\" the\"}]", "null"), 1)
                + &event(2, &choice("[{\"text\":\" that\"}]", "null"), 2)
                + &event(3, &choice("[]", "length"), 2)
        );
    }

    #[test]
    fn reasoning_comes_before_the_content_and_stays() {
        let texts = |repeats| {
            let answer = Answer {
                repeats,
                tokens: 3,
                ..answer(&TEXT, Some(Fault::Reasoning))
            };
            payloads(&stream(&answer))
                .iter()
                .map(|event| {
                    let message = &event["output"]["choices"][0]["message"];
                    let text = |key: &str| message[key].as_str().expect("a text").to_owned();
                    (text("reasoning_content"), text("content"))
                })
                .collect::<Vec<_>>()
        };
        let pairs = |pairs: [(&str, &str); 4]| {
            pairs.map(|(thought, text)| (thought.to_owned(), text.to_owned()))
        };
        assert_eq!(
            texts(false),
            pairs([(" the", ""), ("", " that"), ("", " be"), ("", "")])
        );
        let all = (" the", " that be");
        assert_eq!(
            texts(true),
            pairs([(" the", ""), (" the", " that"), all, all])
        );
    }

    #[test]
    fn tool_call_arguments_join_to_json() {
        let answer = Answer {
            tokens: 3,
            ..answer(&TEXT, Some(Fault::ToolCalls))
        };
        let arguments: String = payloads(&stream(&answer))
            .iter()
            .filter_map(|event| {
                let message = &event["output"]["choices"][0]["message"];
                message["tool_calls"][0]["function"]["arguments"].as_str()
            })
            .collect();
        let parsed: Value = serde_json::from_str(&arguments).expect("JSON");
        assert_eq!(parsed["text"], answer.words(0, 0..3));
    }

    fn read(protocol: &DashScope, body: &Value) -> Result<Asked, Refusal> {
        protocol.read(body.to_string().as_bytes(), true, &Counter::default())
    }

    #[test]
    fn requests_are_read() {
        let messages = json!([{"role": "user", "content": "12345"}]);
        let body = json!({"model": "m", "input": {"messages": messages}, "stream": true});
        let asked = read(&TEXT, &body).expect("a request");
        assert!(asked.stream && asked.repeats && !asked.messages);
        assert_eq!(
            (asked.prompt_tokens(), asked.choices, asked.max_tokens),
            (2, 1, None)
        );
        let asked = TEXT
            .read(body.to_string().as_bytes(), false, &Counter::default())
            .expect("a request");
        assert!(!asked.stream, "only a header asks for a stream");

        let parameters = json!({
            "result_format": "message", "incremental_output": true, "max_tokens": 7, "n": 2,
        });
        let body = json!({"model": "m", "input": {"prompt": "hi"}, "parameters": parameters});
        let asked = read(&TEXT, &body).expect("a request");
        assert!(asked.messages && !asked.repeats);
        assert_eq!((asked.choices, asked.max_tokens), (2, Some(7)));

        let parts = json!([{"image": "https://example.invalid/x.png"}, {"text": "what?"}]);
        let messages = json!([{"role": "user", "content": parts}]);
        let body = json!({"model": "m", "input": {"messages": messages}});
        assert!(read(&MULTIMODAL, &body).expect("a request").messages);
        assert!(read(&TEXT, &body).is_err(), "no lists here");
    }

    #[test]
    fn bad_requests_name_the_field() {
        let messages = json!([{"role": "user", "content": "x"}]);
        let input = json!({"messages": messages});
        for (body, param) in [
            (json!({"model": "m", "messages": messages}), "input"),
            (json!({"model": "m"}), "input"),
            (json!({"input": input}), "model"),
            (json!({"model": "m", "input": {}}), "messages"),
            (
                json!({"model": "m", "input": input, "parameters": {"result_format": "json"}}),
                "result_format",
            ),
            (
                json!({"model": "m", "input": input, "parameters": {"incremental_output": 1}}),
                "incremental_output",
            ),
            (
                json!({"model": "m", "input": input, "parameters": {"n": 5}}),
                "n",
            ),
            (
                json!({"model": "m", "input": input, "parameters": []}),
                "parameters",
            ),
        ] {
            let refusal = read(&TEXT, &body).expect_err("a bad request");
            assert_eq!(
                (refusal.status, refusal.param),
                (400, Some(param)),
                "{body}"
            );
            assert_eq!(code(&refusal), "InvalidParameter");
        }
    }
}
