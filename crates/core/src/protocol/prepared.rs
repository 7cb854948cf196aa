//! Owns a session that is ready to be sent, from its first body to its last.
//!
//! It must not know how bodies are made of prompts, nor when they are sent.

use super::conversation::{Conversing, PreparedTurn};
use super::inputs::AskedInputs;
use super::reply::Reply;
use evalscope_model::mix::ModelId;
use evalscope_model::prompt::{OwnHeaders, OwnTarget, TraceEntry};

/// A session that is ready to be sent: a request, or a conversation at one of its turns.
#[derive(Clone, Debug, Default)]
pub struct PreparedRequest {
    /// Position in its phase, from 0.
    pub index: u64,
    /// The serialised body; of a conversation all up to the end of its messages.
    pub body: Vec<u8>,
    /// What follows the messages of a conversation.
    pub tail: Vec<u8>,
    /// A stream was requested.
    pub stream: bool,
    /// Output was requested: a response without any is a failure.
    pub output_asked: bool,
    /// Requested prompt length in tokens, as the server counts them.
    pub asked_tokens: Option<u64>,
    /// Path and query of its own.
    pub target: Option<OwnTarget>,
    /// Headers of its own.
    pub headers: OwnHeaders,
    /// Tokens of output that the dataset asks for.
    pub asked_output_tokens: Option<u64>,
    /// What it gives to an API that generates nothing.
    pub inputs: Option<AskedInputs>,
    /// Where it stands in a trace.
    pub trace: Option<TraceEntry>,
    /// The model that its body names.
    pub model: Option<ModelId>,
    /// The rest of the conversation, if it is one.
    pub conversing: Option<Box<Conversing>>,
}

impl PreparedRequest {
    /// Number of requests that it may become.
    #[must_use]
    pub fn turns(&self) -> u64 {
        let planned = self.conversing.as_ref().map(|own| own.turns_planned);
        planned.unwrap_or(1).into()
    }

    /// Bytes of all bodies, as far as they are made.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let turns = self.conversing.iter().flat_map(|own| &own.turns);
        let later: usize = turns.map(PreparedTurn::bytes).sum();
        (self.body.len() + self.tail.len() + later) as u64
    }

    /// What the response says will be part of the next body.
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        self.conversing
            .as_ref()
            .is_some_and(|own| own.history.needs_reply() && !own.turns.is_empty())
    }

    /// Take what is stored of it: the body, or what the current turn has added to it.
    pub fn take_recorded(&mut self) -> Vec<u8> {
        match &self.conversing {
            None => std::mem::take(&mut self.body),
            Some(own) => own.recorded(&self.body, &self.tail),
        }
    }

    /// The header of a response whose value the next request sends back.
    #[must_use]
    pub fn token_header(&self) -> Option<&str> {
        self.conversing.as_ref()?.token_header.as_deref()
    }

    /// Note what the response to the current turn says, and its token.
    pub fn note_reply(&mut self, reply: Option<Reply>, token: Option<String>) {
        let Some(own) = &mut self.conversing else {
            return;
        };
        own.reply = reply.unwrap_or_default();
        if let Some((name, token)) = own.token_header.as_ref().zip(token) {
            // what HTTP allows in a response it allows in a request
            let _ = self.headers.push(name, &token);
        }
    }

    /// Go on to the next turn of the conversation: the response and its messages are appended to the
    /// body. Returns the turn, whose messages are used up; `None`: there are no more.
    pub fn next_turn(&mut self) -> Option<PreparedTurn> {
        let own = self.conversing.as_mut()?;
        let mut turn = own.grow(&mut self.body)?;
        self.tail = std::mem::take(&mut turn.tail);
        self.index += 1;
        self.asked_tokens = None;
        self.asked_output_tokens = turn.max_tokens;
        Some(turn)
    }
}
