//! Owns `custom_multi_turn`: each line is a conversation, as a list of messages in OpenAI's format, or as
//! an object with `turns`, each with its own messages, `delay`, `max_tokens` and `recorded` response. A file
//! that is a single JSON list of such also works.
//!
//! `dag_jsonl` has objects of the same form, with delays in milliseconds; graphs are refused.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::exchange::{Exchange, Replies, delay_of, message, session};
use super::messages::{check_reply, check_turns, turns_of};
use crate::dataset::item::{Wrong, value_without_nul};
use crate::dataset::line_by_line::whole_list;
use crate::dataset::lines::Lines;
use crate::dataset::records::Records;
use crate::dataset::{DatasetError, PromptSource};
use evalscope_model::prompt::{Item, OwnHeaders, Prompt};

/// Fields of agent graphs.
const GRAPH: [&str; 5] = [
    "spawns",
    "forks",
    "pre_session_spawns",
    "orchestrator",
    "rounds",
];

/// The unit of `delay` in objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelayUnit {
    /// `custom_multi_turn`.
    Seconds,
    /// `dag_jsonl`.
    Milliseconds,
}

/// See the module documentation.
#[derive(Debug)]
pub struct CustomMultiTurn {
    records: Records,
    unit: DelayUnit,
    replies: Replies,
}

impl CustomMultiTurn {
    /// Open the file.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, unit: DelayUnit, replies: Replies) -> Result<Self, DatasetError> {
        let lines = Lines::open(path)?;
        let records = match whole_list(path)? {
            Some(list) => Records::List(list),
            None => Records::Lines(lines),
        };
        Ok(Self {
            records,
            unit,
            replies,
        })
    }
}

impl PromptSource for CustomMultiTurn {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let (unit, replies) = (self.unit, self.replies);
        let item = self.records.next()?;
        let read = item.map(|item| conversation(item, unit, replies));
        read.transpose().map_err(|wrong| self.records.error(wrong))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.records.rewind()
    }
}

fn conversation(source: &[u8], unit: DelayUnit, replies: Replies) -> Result<Item, Wrong> {
    let value: Value = serde_json::from_slice(source)?;
    value_without_nul(source, &value)?;
    let item = match value {
        Value::Array(messages) => session(turns_of(messages)?, replies),
        Value::Object(object) => of_object(object, unit, replies),
        _ => Err("a conversation is a list of messages, or an object with `turns`".to_owned()),
    };
    Ok(item?)
}

/// A turn in an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    messages: Vec<Value>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    delay: Option<f64>,
    #[serde(default)]
    recorded: Option<Value>,
}

fn of_object(
    mut object: Map<String, Value>,
    unit: DelayUnit,
    replies: Replies,
) -> Result<Item, String> {
    refuse_graph(&object)?;
    let Some(Value::Array(written)) = object.remove("turns") else {
        return Err("no list `turns`".to_owned());
    };
    let turns: Vec<Exchange> = written
        .into_iter()
        .zip(1..)
        .map(|(turn, number)| {
            exchange(turn, unit).map_err(|reason| {
                if GRAPH
                    .iter()
                    .any(|field| reason.starts_with(&not_built(field)))
                {
                    return reason;
                }
                format!("turn {number}: {reason}")
            })
        })
        .collect::<Result<_, _>>()?;
    check_turns(turns.iter())?;
    let mut item = session(turns, replies)?;
    item.with.session = match object.remove("session_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => return Err("`session_id` is neither a text nor a number".to_owned()),
    };
    if let Some(name) = &item.with.session
        && OwnHeaders::default().push("session", name).is_err()
    {
        // `--session-header` sends it
        return Err("`session_id` has control characters, which no header can carry".to_owned());
    }
    match object.remove("tools") {
        None | Some(Value::Null) => {}
        Some(tools @ Value::Array(_)) => {
            let Prompt::Messages(messages) = item.prompt else {
                unreachable!("a session begins with messages")
            };
            let body = [("messages", Value::Array(messages)), ("tools", tools)];
            let body = body.map(|(key, value)| (key.to_owned(), value));
            item.prompt = Prompt::Body(body.into_iter().collect());
        }
        Some(_) => return Err("`tools` is not a list".to_owned()),
    }
    Ok(item)
}

fn exchange(mut turn: Value, unit: DelayUnit) -> Result<Exchange, String> {
    if let Value::Object(fields) = &mut turn {
        refuse_graph(fields)?;
        for field in GRAPH {
            fields.remove(field);
        }
    }
    let written: Written = serde_json::from_value(turn).map_err(|error| error.to_string())?;
    let reply = match written.recorded {
        None => None,
        Some(Value::String(text)) => Some(message("assistant", &text)),
        Some(reply) => {
            check_reply(&reply).map_err(|reason| format!("`recorded` {reason}"))?;
            Some(reply)
        }
    };
    if written.max_tokens == Some(0) {
        return Err("`max_tokens` is 0: it must be 1 or more".to_owned());
    }
    let delay = written.delay.map(|delay| match unit {
        DelayUnit::Seconds => delay_of(delay),
        DelayUnit::Milliseconds => delay_of(delay / 1e3),
    });
    Ok(Exchange {
        messages: written.messages,
        reply,
        asked_tokens: None,
        max_tokens: written.max_tokens,
        delay: delay.transpose()?,
    })
}

/// Agents that start others.
fn refuse_graph(fields: &Map<String, Value>) -> Result<(), String> {
    let is_empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Null | Value::Bool(false) => true,
        _ => false,
    };
    match GRAPH
        .iter()
        .find(|name| fields.get(**name).is_some_and(|value| !is_empty(value)))
    {
        Some(name) => Err(not_built(name)),
        None => Ok(()),
    }
}

fn not_built(field: &str) -> String {
    format!("'{field}' is not built yet")
}
