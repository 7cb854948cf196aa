//! Owns Zhipu's protocol, version 4: chat completions much like OpenAI's, but with usage in the
//! last event by default, a role in each event, signed keys, and its own error codes.
//!
//! It must not know about DashScope's protocol or how a signature is checked.

use std::io::Write;

use serde_json::{Value, json};

use super::ask::{self, Asked, Content, EndOfText, Fields, Output};
use super::openai;
use super::protocol::{Answer, Chunk, DECODING_FAILED, Delta, Page, Parts, Protocol, Start};
use super::refusal::Refusal;
use super::tools;
use crate::fault::Fault;
use crate::signature::{self, TokenError};
use crate::tokens::Counter;

/// `/api/paas/v4/chat/completions`.
#[derive(Debug)]
pub(crate) struct Zhipu;

/// The documented code closest to a status.
fn code(refusal: &Refusal) -> &'static str {
    match (refusal.code, refusal.status) {
        (Some(code), _) => code,
        // Authentication failed.
        (None, 401) => "1000",
        // No such API.
        (None, 404 | 405) => "1222",
        // Too many requests at once.
        (None, 429) => "1302",
        (None, 500) => "500",
        // The call failed in the network.
        (None, 501..) => "1234",
        // An invalid parameter, or an invalid combination.
        (None, _) if refusal.param.is_some() => "1214",
        (None, _) => "1210",
    }
}

impl Protocol for Zhipu {
    fn id_prefix(&self) -> &'static str {
        "zhipu"
    }

    /// With a key of the form `id.secret`: a token signed with the secret, or the key itself.
    fn admit(&self, key: &str, bearer: Option<&str>, now_ms: u64) -> Result<(), Refusal> {
        let refused = |code, message: String| {
            Err(Refusal {
                code: Some(code),
                ..Refusal::new(401, message)
            })
        };
        let Some(bearer) = bearer else {
            let message = "no token in the Authorization header".to_owned();
            return refused("1001", message);
        };
        if bearer == key {
            return Ok(());
        }
        let Some((id, secret)) = signature::parts(key) else {
            return refused(
                "1000",
                "wrong API key in the Authorization header".to_owned(),
            );
        };
        match signature::check(bearer, id, secret, now_ms) {
            Ok(()) => Ok(()),
            Err(error) => {
                let code = match error {
                    TokenError::Form | TokenError::Header | TokenError::Payload => "1002",
                    TokenError::Expired { .. } | TokenError::Timestamp { .. } => "1003",
                    TokenError::Key | TokenError::Signature => "1000",
                };
                refused(code, error.to_string())
            }
        }
    }

    fn read(&self, body: &[u8], _by_header: bool, counter: &Counter) -> Result<Asked, Refusal> {
        let body = ask::parse(body)?;
        let fields = Fields::new(&body);
        let content = Content::Typed { bare_base64: true };
        let conversation = fields.conversation(content)?;
        let prompt = counter.chat(&conversation)?;
        let (stream, stream_options) = fields.stream()?;
        Ok(Asked {
            model: fields.model()?,
            stream,
            stream_options,
            min_tokens: 0,
            max_tokens: fields.max_tokens("max_tokens")?,
            end_of_text: EndOfText::EndsResponse,
            choices: 1,
            prompts: vec![prompt],
            tools: tools::offered(fields),
            message_count: Some(conversation.messages.len() as u64),
            messages: true,
            repeats: false,
            output: Output::Text,
        })
    }

    fn refusal(&self, refusal: &Refusal, _id: &str) -> Vec<u8> {
        json!({"error": {"code": code(refusal), "message": refusal.message}})
            .to_string()
            .into_bytes()
    }

    fn document(&self, answer: &Answer) -> Vec<u8> {
        let tokens = answer.emitted_tokens();
        let reasoning = answer.reasoning_tokens().min(tokens);
        let text = answer.words(0, reasoning..tokens);
        let mut message = json!({"role": "assistant", "content": text});
        if reasoning > 0 {
            message["reasoning_content"] = answer.words(0, 0..reasoning).into();
        }
        if answer.calls_tool() {
            message["content"] = Value::Null;
            message["tool_calls"] = json!([answer.tool_call(0, &text)]);
        }
        let mut document = json!({
            "id": answer.id,
            "request_id": answer.id,
            "created": answer.created,
            "model": answer.model,
            "choices": [{
                "index": 0,
                "finish_reason": finish_reason(answer),
                "message": message,
            }],
        });
        if answer.has(Fault::ErrorNull) {
            document["error"] = Value::Null;
        }
        if !answer.has(Fault::NoUsage) {
            document["usage"] = answer.usage(answer.completion_tokens());
        }
        document.to_string().into_bytes()
    }

    fn parts(&self) -> Parts {
        Parts {
            start: Start::Never,
            usage: false,
            done: true,
        }
    }

    fn opening(&self, answer: &Answer) -> Vec<u8> {
        let model = Value::String(answer.model.clone());
        let error = if answer.has(Fault::ErrorNull) {
            "\"error\":null,"
        } else {
            ""
        };
        format!(
            "{{\"id\":\"{0}\",\"request_id\":\"{0}\",\"created\":{1},\"model\":{model},{error}\
             \"choices\":[{{\"index\":0,",
            answer.id, answer.created
        )
        .into_bytes()
    }

    fn chunk(&self, page: &mut Page<'_>, out: &mut Vec<u8>, chunk: &Chunk) {
        let answer = page.answer;
        page.before_payload(out);
        out.extend_from_slice(&page.opening);
        if chunk.finish {
            write!(out, "\"finish_reason\":\"{}\",", finish_reason(answer))
                .expect("writing to a Vec cannot fail");
        }
        out.extend_from_slice(b"\"delta\":");
        delta(page, out, chunk);
        out.extend_from_slice(b"}]");
        let with_usage = match answer.fault {
            Some(Fault::NoUsage) => false,
            Some(Fault::UsageEverywhere) => true,
            _ => chunk.last || answer.stream_options.usage_in_each,
        };
        if with_usage {
            let usage = answer.usage(page.completion_tokens);
            write!(out, ",\"usage\":{usage}").expect("writing to a Vec cannot fail");
        }
        out.push(b'}');
    }

    fn broken_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) {
        page.before_payload(out);
        out.extend_from_slice(&page.opening);
        out.extend_from_slice(b"\"delta\":{\"role\":\"assistant\",\"content\":\" bro");
    }

    fn error_event(&self, page: &mut Page<'_>, out: &mut Vec<u8>) -> bool {
        if page.answer.has(Fault::ErrorEvent) {
            write!(
                out,
                "data: {{\"error\":{{\"code\":\"500\",\"message\":\"{DECODING_FAILED}\"}}}}"
            )
            .expect("writing to a Vec cannot fail");
            return true;
        }
        openai::bare_error(out, page.answer.fault, page.end_of_line);
        false
    }

    fn endless_event(&self) -> &'static [u8] {
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\""
    }
}

/// The protocol has no finish reason named `error`.
fn finish_reason(answer: &Answer) -> &'static str {
    if answer.has(Fault::FinishError) {
        "network_error"
    } else {
        answer.finish_reason()
    }
}

fn delta(page: &Page<'_>, out: &mut Vec<u8>, chunk: &Chunk) {
    let answer = page.answer;
    let (at, count) = match chunk.delta {
        Delta::Tokens { at, count } => (at, count),
        _ if answer.has(Fault::DeltaNull) => {
            out.extend_from_slice(b"null");
            return;
        }
        _ if answer.has(Fault::ContentNull) => {
            out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":null}");
            return;
        }
        _ => {
            out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\"}");
            return;
        }
    };
    if answer.calls_tool() && at >= answer.reasoning_tokens() {
        out.extend_from_slice(b"{\"role\":\"assistant\",\"tool_calls\":");
        page.tool_piece(out, chunk.choice, at..at + count);
        out.push(b'}');
        return;
    }
    out.extend_from_slice(if at < answer.reasoning_tokens() {
        b"{\"role\":\"assistant\",\"reasoning_content\":\"".as_slice()
    } else {
        b"{\"role\":\"assistant\",\"content\":\""
    });
    page.text(out, chunk.choice, at..at + count);
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use super::super::ask::StreamOptions;
    use super::super::tests::{answer, stream};
    use super::*;

    #[test]
    fn plain_stream_golden() {
        let head = r#"data: {"id":"sim-7","request_id":"sim-7","created":5,"model":"sim","choices":[{"index":0,"#;
        let expected = format!(
            concat!(
                "{0}\"delta\":{{\"role\":\"assistant\",\"content\":\" the\"}}}}]}}\n\n",
                "{0}\"delta\":{{\"role\":\"assistant\",\"content\":\" that\"}}}}]}}\n\n",
                "{0}\"finish_reason\":\"length\",\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}}}}],\"usage\":{{\"prompt_tokens\":3,\"total_tokens\":5,\"completion_tokens\":2,\"prompt_tokens_details\":{{\"cached_tokens\":0}}}}}}\n\n",
                "data: [DONE]\n\n"
            ),
            head
        );
        let unasked = Answer {
            stream_options: StreamOptions::default(),
            ..answer(&Zhipu, None)
        };
        assert_eq!(stream(&unasked), expected);
    }
}
