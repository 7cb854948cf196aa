//! Owns the JSON and the event-stream text of the simulated interfaces: what a request asks for and
//! how each part of a response is written, with every oddity that affects text.
//!
//! It must not know about sockets, chunked framing or time. It shares no types with any client: a
//! mistake on one side must not be cancelled out by the same mistake on the other.
//!
//! Each protocol is one implementation of [`Protocol`]. What they have in common is in `ask`
//! (reading requests), `protocol` (the response) and `script` (the order of a stream's events).

mod anthropic;
mod ask;
pub(crate) mod dashscope;
mod embeddings;
pub(crate) mod openai;
mod protocol;
mod refusal;
mod rerank;
mod responses;
mod script;
pub(crate) mod tokenize;
mod tools;
pub(crate) mod zhipu;

pub(crate) use anthropic::Messages;
pub(crate) use ask::{Asked, CONTEXT_TOKENS, EndOfText, Output};
pub(crate) use embeddings::Embeddings;
pub(crate) use protocol::{Answer, KeyHeader, Protocol, TOOL};
pub(crate) use refusal::Refusal;
pub(crate) use rerank::Rerank;
pub(crate) use responses::Responses;
pub(crate) use script::{Beat, Script};

/// The protocol of a path, for errors that occur before the path has been checked.
pub(crate) fn protocol_of(path: &str) -> &'static dyn Protocol {
    if path.starts_with("/api/v1/services/") {
        &dashscope::TEXT
    } else if path.starts_with("/api/paas/") {
        &zhipu::Zhipu
    } else if path.ends_with("/messages") {
        &Messages
    } else {
        &openai::CHAT
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::ask::StreamOptions;
    use super::*;
    use crate::fault::Fault;
    use crate::lexicon::{Lexicon, Place};

    pub(super) fn answer(protocol: &'static dyn Protocol, fault: Option<Fault>) -> Answer {
        Answer {
            protocol,
            id: "sim-7".to_owned(),
            model: "sim".to_owned(),
            created: 5,
            messages: true,
            repeats: false,
            prompt_tokens: 3,
            cached_tokens: 0,
            choices: 1,
            tokens: 2,
            at_length: true,
            stream_options: StreamOptions {
                include_usage: true,
                usage_in_each: false,
            },
            fault,
            salt: 0,
            lexicon: Arc::new(Lexicon::built_in()),
            opens: Place::Opens,
            reasoning: 0,
            tool: None,
            output: Output::Text,
        }
    }

    pub(super) fn stream(answer: &Answer) -> String {
        let mut script = Script::new(answer);
        let length = script.length();
        let mut out = Vec::new();
        while script.write_next(&mut out).is_some() {}
        assert_eq!(out.len(), length);
        String::from_utf8(out).expect("UTF-8")
    }

    /// The payloads of a stream, with any kind of line ends.
    pub(super) fn payloads(stream: &str) -> Vec<Value> {
        stream
            .split(['\r', '\n'])
            .filter_map(|line| line.strip_prefix("data:"))
            .filter(|payload| payload.trim() != "[DONE]")
            .map(|payload| serde_json::from_str(payload).expect(payload))
            .collect()
    }

    #[test]
    fn every_oddity_is_still_json() {
        let protocols: [&dyn Protocol; 7] = [
            &openai::CHAT,
            &openai::COMPLETIONS,
            &dashscope::TEXT,
            &dashscope::MULTIMODAL,
            &zhipu::Zhipu,
            &Responses,
            &Messages,
        ];
        for protocol in protocols {
            for fault in Fault::ALL
                .iter()
                .filter(|fault| **fault != Fault::BrokenJson)
            {
                for (choices, messages, repeats) in
                    [(1, true, false), (12, true, true), (2, false, true)]
                {
                    let answer = Answer {
                        choices,
                        messages,
                        repeats,
                        tokens: 7,
                        ..answer(protocol, Some(*fault))
                    };
                    payloads(&stream(&answer));
                    serde_json::from_slice::<Value>(&protocol.document(&answer)).expect("JSON");
                }
            }
        }
    }
}
