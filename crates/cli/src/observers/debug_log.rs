//! Owns the lines of `--debug`: what went over the wire, request by request.

use evalscope_model::events::{Observer, RunEvent};
use evalscope_model::record::{Exchange, masked};
use evalscope_model::time::{RunClock, Timestamp};

use crate::log::Log;
use crate::secrets::shown_body;

/// Logs every exchange.
#[derive(Debug)]
pub(crate) struct DebugLog {
    /// As it may be shown.
    pub(crate) url: String,
    /// As they may be shown.
    pub(crate) headers: String,
    pub(crate) hidden: Vec<String>,
    pub(crate) clock: RunClock,
    pub(crate) log: Log,
}

impl Observer for DebugLog {
    fn name(&self) -> &'static str {
        "the log of requests"
    }

    fn on(&mut self, event: &RunEvent) {
        if let RunEvent::Exchange(exchange) = event {
            self.exchange(exchange);
        }
    }
}

impl DebugLog {
    fn exchange(&self, exchange: &Exchange) {
        let record = &exchange.record;
        let say = |at, text: String| {
            let text = masked(&text, &self.hidden);
            self.log.debug(
                self.clock.unix_ns(at),
                &format!("[{}] {text}", record.index),
            );
        };
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        say(
            record.times.dispatched,
            format!("Starting request: POST {} {{{}}}", self.url, self.headers),
        );
        if let Some(at) = record.times.write_begun {
            say(
                at,
                format!("Request sent: {}", shown_body(&exchange.bodies.request)),
            );
        }
        // the texts of all events, or of the token-bearing ones, or of a non-streaming response
        let all = exchange.bodies.responses.len() == record.events.len();
        let mut arrivals: Box<dyn Iterator<Item = Timestamp>> = if all {
            Box::new(record.events.arrivals())
        } else {
            Box::new(record.events.token_events())
        };
        exchange
            .bodies
            .responses
            .for_each(|text| match arrivals.next() {
                Some(at) => say(at, format!("Response received: data: {}", lossy(text))),
                None => say(
                    record.times.ended,
                    format!("Response received: {}", lossy(text)),
                ),
            });
        let last = record.times.last_data.unwrap_or(record.times.ended);
        if !exchange.bodies.final_event.is_empty() {
            let text = lossy(&exchange.bodies.final_event);
            say(last, format!("Response received: data: {text}"));
        }
        match &record.failure {
            None => say(record.times.ended, "Request succeeded".to_owned()),
            Some(failure) => {
                let text = format!("Request failed: {}: {}", failure.kind, failure.message);
                say(record.times.ended, text);
            }
        }
    }
}
