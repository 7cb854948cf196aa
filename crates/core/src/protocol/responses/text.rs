//! Owns the text of a response in the format of the Responses API: for a tokenizer to count, and for
//! the next turn of a conversation to repeat.
//!
//! It must not know when an event came.

use serde_json::Value;

use super::super::json;
use super::super::reply::{Reply, ToolCall};
use super::super::text::AnswerText;
use super::event::{CHANNELS, Event, Kind};

/// Where the texts of an event or a response go.
trait Sink {
    fn say(&mut self, kind: Kind, text: &str);
}

/// Whether there is reasoning, and anything else.
#[derive(Default)]
struct Any {
    reasoning: bool,
    content: bool,
}

impl Sink for Any {
    fn say(&mut self, kind: Kind, text: &str) {
        match kind {
            Kind::Reasoning => self.reasoning |= !text.is_empty(),
            Kind::Content | Kind::Call => self.content |= !text.is_empty(),
        }
    }
}

/// All of it.
impl Sink for AnswerText {
    fn say(&mut self, kind: Kind, text: &str) {
        if text.is_empty() {
            return;
        }
        let to = self.choice(0);
        match kind {
            Kind::Reasoning => to.reasoning.push_str(text),
            Kind::Content | Kind::Call => to.content.push_str(text),
        }
    }
}

/// All but the calls, which have a place of their own.
struct Spoken<'t>(&'t mut AnswerText);

impl Sink for Spoken<'_> {
    fn say(&mut self, kind: Kind, text: &str) {
        if kind != Kind::Call {
            self.0.say(kind, text);
        }
    }
}

/// Whether the `output` of a response has reasoning, and anything else.
pub(super) fn output_in(response: &str) -> (bool, bool) {
    let mut any = Any::default();
    if let Ok(response) = json::value(response.as_bytes()) {
        read_output(&response, &mut any);
    }
    (any.reasoning, any.content)
}

/// Add the text of a token-bearing event, or of a response.
pub(super) fn read_text(answer: &[u8], text: &mut AnswerText) {
    if let Ok(answer) = json::value(answer) {
        read(&answer, text);
    }
}

/// Add what an event or a response says to the next turn.
pub(super) fn read_reply(answer: &[u8], reply: &mut Reply) {
    let Ok(answer) = json::value(answer) else {
        return;
    };
    if reply.id.is_none() {
        let own = answer["id"].as_str();
        let id = answer["response"]["id"].as_str().or(own);
        reply.id = id.map(str::to_owned);
    }
    // what repeats the text of a stream is of use only if nothing of it has come
    let is_news = match event_of(&answer) {
        Some(Event::Delta(_)) | None => true,
        Some(Event::Done(_) | Event::Completed | Event::Incomplete) => {
            reply.text.choices.is_empty()
        }
        Some(_) => false,
    };
    if is_news {
        read(&answer, &mut Spoken(&mut reply.text));
    }
    let item = match event_of(&answer) {
        None => &answer["output"],
        Some(Event::Completed) if reply.calls.is_empty() => &answer["response"]["output"],
        Some(_) if answer["type"] == "response.output_item.done" => &answer["item"],
        Some(_) => return,
    };
    let items = match item {
        Value::Array(items) => items.as_slice(),
        item => std::slice::from_ref(item),
    };
    for item in items.iter().filter(|item| item["type"] == "function_call") {
        let word = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        reply.calls.push(ToolCall {
            id: word("call_id"),
            name: word("name"),
            arguments: word("arguments"),
        });
    }
}

fn event_of(answer: &Value) -> Option<Event> {
    answer["type"].as_str().map(Event::of)
}

fn read(answer: &Value, sink: &mut impl Sink) {
    match event_of(answer) {
        Some(Event::Delta(at)) => {
            sink.say(
                CHANNELS[at].kind,
                answer["delta"].as_str().unwrap_or_default(),
            );
        }
        Some(Event::Done(at)) => {
            let channel = CHANNELS[at];
            sink.say(
                channel.kind,
                answer[channel.whole].as_str().unwrap_or_default(),
            );
        }
        Some(Event::Completed | Event::Incomplete) => read_output(&answer["response"], sink),
        Some(_) => {}
        None => read_output(answer, sink),
    }
}

/// The texts of the items of a response.
fn read_output(response: &Value, sink: &mut impl Sink) {
    let items = response["output"].as_array().into_iter().flatten();
    for item in items {
        let kind = item["type"].as_str().unwrap_or_default();
        let parts = |name: &str| item[name].as_array().cloned().unwrap_or_default();
        match kind {
            "message" => {
                for part in parts("content") {
                    let text = part["text"].as_str().or(part["refusal"].as_str());
                    sink.say(Kind::Content, text.unwrap_or_default());
                }
            }
            "reasoning" => {
                for part in parts("content").iter().chain(&parts("summary")) {
                    sink.say(Kind::Reasoning, part["text"].as_str().unwrap_or_default());
                }
            }
            _ => {
                let texts = ["name", "arguments", "input", "code"];
                for text in texts.iter().filter_map(|name| item[*name].as_str()) {
                    sink.say(Kind::Call, text);
                }
            }
        }
    }
}
