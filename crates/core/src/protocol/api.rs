//! Owns what an API is: how its requests and responses are written.
//!
//! It must not know any API.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::inputs::AskedInputs;
use super::meaning::{AnswerState, EventMeaning};
use super::reply::Reply;
use super::text::AnswerText;
use evalscope_model::record::Failure;

/// One API: the format of its requests and responses.
///
/// Bodies are assembled with OpenAI's names, whatever the API, so that one set of rules combines
/// flags, templates and prompts; [`Api::fields`] and [`Api::body`] translate.
pub trait Api: fmt::Debug + Send + Sync {
    /// Its name on the command line and in files.
    fn name(&self) -> &str;

    /// Translate a body in the API's own format (a template, a line of a dataset) to fields with
    /// OpenAI's names. OpenAI's own format stays as it is.
    fn fields(&self, body: Map<String, Value>) -> Map<String, Value> {
        body
    }

    /// The body to send, from fields with OpenAI's names.
    fn body(&self, fields: Map<String, Value>) -> Map<String, Value> {
        fields
    }

    /// What its responses have.
    fn output(&self) -> Output {
        Output::Generated
    }

    /// What a body gives to an API that generates nothing.
    fn asked_inputs(&self, _body: &Map<String, Value>) -> Option<AskedInputs> {
        None
    }

    /// The header of responses with the number of tokens that were read.
    fn tokens_header(&self) -> Option<&'static str> {
        None
    }

    /// The field of a body, and its value, with which responses are shorter.
    fn short_form(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// What a tokenizer counts of a body, as fields with OpenAI's names.
    fn countable(&self, body: Map<String, Value>) -> Map<String, Value> {
        self.fields(body)
    }

    /// Whether requests have a field with this name of OpenAI's. One that they do not have is not sent
    /// for a flag.
    fn takes(&self, _field: &str) -> bool {
        true
    }

    /// Change the fields that bodies have by default.
    fn set_defaults(&self, _defaults: &mut Map<String, Value>) {}

    /// Move what is elsewhere in a body out of its messages. Both are in OpenAI's format.
    fn lift(&self, _messages: &mut Vec<Value>, _fields: &mut Map<String, Value>) {}

    /// What makes the API's messages of some in OpenAI's format that follow each other; `None`: they are
    /// the same.
    fn items(&self) -> Option<Items> {
        None
    }

    /// Whether its servers keep responses, which a later request can refer to.
    fn keeps_responses(&self) -> bool {
        false
    }

    /// Whether a stream must be asked for its token counts with `stream_options`.
    fn takes_stream_options(&self) -> bool {
        true
    }

    /// Headers of a request; the user's take precedence.
    fn headers(&self, _stream: bool) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// A reader for one response.
    fn reader(&self) -> Box<dyn AnswerReader>;

    /// Any doubt about the responses read so far.
    fn doubt(&self) -> Option<Doubt> {
        None
    }

    /// Add what a stream event or a non-streaming response says to the reply that the next turn of a
    /// conversation repeats.
    fn read_reply(&self, answer: &[u8], reply: &mut Reply) {
        self.read_text(answer, &mut reply.text);
    }

    /// Add the generated text of a stream event or of a non-streaming response. Only used after a
    /// response has ended, to count its tokens.
    fn read_text(&self, answer: &[u8], text: &mut AnswerText);
}

/// What the responses of an API have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Generated tokens.
    Generated,
    /// A vector for each text.
    Vectors,
    /// A score for each document.
    Scores,
}

/// How the events of a stream are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Server-sent events.
    #[default]
    Sse,
    /// JSON lines.
    Ndjson,
}

/// Makes an API's messages of OpenAI's.
pub type Items = fn(Vec<Value>) -> Vec<Value>;

/// A doubt about the responses of a user-defined API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Events of an unknown format were counted as token-bearing.
    #[error(
        "`{api}` does not say which events of a stream carry tokens: every event was counted as one that does, \
         so TTFT, ITL and TPOT may include events without tokens (the plugin can say so in `answers`)"
    )]
    Guessed {
        /// The API.
        api: String,
    },
    /// Each event of a stream repeated all text before it.
    #[error(
        "the events of streams repeat the text so far: their text was counted once, and an event \
         that is counted as one token may be more than one"
    )]
    Repeats,
    /// So far, no response had anything in the places of generated text.
    #[error(
        "no response has text at {}, where the declaration says it is",
        quoted(places)
    )]
    TextNowhere {
        /// `stream` or `whole`.
        section: &'static str,
        /// JSON pointers.
        places: Vec<String>,
        /// The start of the first such response.
        instead: Vec<String>,
    },
}

fn quoted(places: &[String]) -> String {
    let places: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
    places.join(" or ")
}

/// Reads a response of one API. Each value reads one response.
pub trait AnswerReader: fmt::Debug + Send {
    /// Read one event of a stream. Returns `None` if it is not a data event: the end marker, or a
    /// skipped event.
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning>;

    /// Read the body of a non-streaming response. Says whether it carried generated output.
    fn whole(&mut self, body: &[u8]) -> EventMeaning;

    /// The body of a stream has ended properly: without an end marker, this is the end of the
    /// response.
    fn body_ended(&mut self) {}

    /// How the events of a stream are told apart.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// What a stream lacks that has no end.
    fn missing_end(&self) -> &'static str {
        "`[DONE]` and without a finish_reason"
    }

    /// Whether to keep the text of every data event, and not only of token-bearing ones.
    fn keeps_all(&self) -> bool {
        false
    }

    /// Something in the format of a response has arrived, even without output.
    fn answered(&self) -> bool {
        true
    }

    /// The number of results of a non-streaming response that has no generated output.
    fn results(&self) -> Option<u64> {
        None
    }

    /// What arrived besides the output, and explains the failure of a response that is empty or has
    /// no end: an event that could not be parsed, or a message of the server.
    fn aside(&self) -> Option<&Failure> {
        None
    }

    /// The state of the response so far.
    fn state(&self) -> &AnswerState;

    /// Take the state, leaving the reader as new.
    fn take(&mut self) -> AnswerState;
}
