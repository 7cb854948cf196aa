//! Owns `EvalScope`'s `workload_trace`: recorded bodies that are sent again. `body` (an object, or a
//! text with one) and `timestamp` (seconds, or ISO 8601) are needed; `headers`, `request_id` and
//! `completion_tokens` are optional; other keys are refused.

use serde_json::{Map, Number, Value};

use super::super::recorded::check_headers;
use super::super::row::{Content, Depth, Moment, Row};
use super::super::settings::{TimeUnit, TraceSettings};
use super::json_line::said;
use super::reader::TraceReader;
use super::times::{clipped, nanos_of, nanos_of_date, nanos_of_float, shown};

pub(super) const KEYS: [&str; 5] = [
    "body",
    "timestamp",
    "headers",
    "request_id",
    "completion_tokens",
];

/// How keys of bodies begin that `EvalScope` uses for itself.
const RESERVED: &str = "__evalscope_";

/// Keys with at least this similarity are suggested.
const NEAR: f64 = 0.75;

#[derive(Debug)]
pub(super) struct Workload {
    unit: TimeUnit,
    /// The file's names of the keys.
    names: [String; 5],
}

impl Workload {
    pub(super) fn new(settings: &TraceSettings) -> Self {
        let own = |name: &str| {
            settings
                .columns
                .get(name)
                .map_or(name, String::as_str)
                .to_owned()
        };
        Self {
            unit: settings.timestamp_unit.unwrap_or(TimeUnit::S),
            names: KEYS.map(own),
        }
    }
}

impl TraceReader for Workload {
    fn read(&self, line: &[u8], depth: Depth, row: &mut Row) -> Result<(), String> {
        let mut line: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| said(&error))?;
        let mut taken = self
            .names
            .iter()
            .map(|name| line.remove(name).unwrap_or_default());
        let mut next = || taken.next().unwrap_or_default();
        let (body, timestamp, headers, id, tokens) = (next(), next(), next(), next(), next());
        if let Some(key) = line.keys().next() {
            return Err(self.unknown(key));
        }
        let at = match &timestamp {
            Value::Null => return Err(format!("no `{}`", self.names[1])),
            Value::Number(number) => nanos_of(number, self.unit),
            Value::String(text) => moment(text.trim(), self.unit),
            _ => None,
        };
        row.moment = Moment::At(at.ok_or_else(|| {
            format!(
                "cannot read `{}` {}: expected seconds, 0 or greater, or a date (ISO 8601)",
                self.names[1],
                shown(&timestamp)
            )
        })?);
        row.content = if depth == Depth::Full {
            Content::Body {
                body: self.body(body)?,
                headers: self.headers(headers)?,
            }
        } else {
            Content::Skipped
        };
        if !id.is_null() && !id.is_string() {
            return Err(format!(
                "`{}` is {}: expected a text",
                self.names[3],
                shown(&id)
            ));
        }
        row.output_tokens = match &tokens {
            Value::Null => None,
            tokens => Some(
                tokens
                    .as_u64()
                    .filter(|tokens| *tokens > 0)
                    .ok_or_else(|| {
                        format!("`{}` must be > 0, but is {}", self.names[4], shown(tokens))
                    })?,
            ),
        };
        Ok(())
    }
}

impl Workload {
    fn unknown(&self, key: &str) -> String {
        let near = |name: &&String| strsim::jaro_winkler(name, key);
        let nearest = self.names.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
        let nearest = nearest.filter(|name| near(name) > NEAR);
        format!(
            "unknown key `{}`: a line has {}{}",
            clipped(key),
            self.names.join(", "),
            nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
        )
    }

    fn body(&self, value: Value) -> Result<Map<String, Value>, String> {
        let name = &self.names[0];
        let value = match value {
            Value::Null => return Err(format!("no `{name}`")),
            Value::String(text) => serde_json::from_str(&text)
                .map_err(|error| format!("`{name}`: its text is {}", said(&error)))?,
            value => value,
        };
        let Value::Object(body) = value else {
            return Err(format!(
                "`{name}` is {}: it must be an object",
                shown(&value)
            ));
        };
        match body.keys().find(|key| key.starts_with(RESERVED)) {
            None => Ok(body),
            Some(key) => Err(format!("`{name}` contains the reserved key `{key}`")),
        }
    }

    fn headers(&self, value: Value) -> Result<Vec<(String, String)>, String> {
        let fields = match value {
            Value::Null => return Ok(Vec::new()),
            Value::Object(fields) => fields,
            other => {
                let shown = shown(&other);
                return Err(format!(
                    "`{}` is {shown}: expected an object",
                    self.names[2]
                ));
            }
        };
        let fields = fields.into_iter().map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            other => Err(format!(
                "the header `{name}` is {}: expected a text",
                shown(&other)
            )),
        });
        let fields: Vec<(String, String)> = fields.collect::<Result<_, String>>()?;
        check_headers(&fields)?;
        Ok(fields)
    }
}

/// A number of seconds in a text, or a date.
fn moment(text: &str, unit: TimeUnit) -> Option<i64> {
    if let Ok(whole) = text.parse::<i64>() {
        return nanos_of(&Number::from(whole), unit);
    }
    match text.parse::<f64>() {
        Ok(units) => nanos_of_float(units, unit),
        Err(_) => nanos_of_date(text),
    }
}
