//! Owns the wire format of each API: request bodies, and the meaning of response events.
//!
//! Pure. It must not know sockets, schedules or totals: it receives events and says what they
//! carried; the caller knows when they arrived.

pub mod anthropic;
mod api;
mod body;
mod conversation;
pub mod dashscope;
pub mod declared;
pub mod embedding;
mod errors;
mod inputs;
pub(crate) mod json;
mod meaning;
mod opaque;
pub mod openai;
mod pick;
mod placeholders;
mod places;
mod prepared;
mod reply;
pub mod rerank;
pub mod responses;
mod results;
mod scan;
mod text;
mod turn_delay;
mod typed;
mod unread;
mod usage;
pub mod zhipu;

pub use anthropic::Anthropic;
pub use api::{AnswerReader, Api, Doubt, Framing, Items, Output};
pub use body::{
    BodyBuilder, BodyError, BodyRules, BuildBodies, ConversationRules, Endpoint, MaxTokens,
    SessionHeader,
};
pub use conversation::{Conversing, NewMessage, PreparedTurn, is_context_limit};
pub use dashscope::Dashscope;
pub use declared::Declared;
pub use embedding::Embedding;
pub(crate) use errors::error_in;
pub use inputs::AskedInputs;
pub use meaning::{AnswerState, Choices, EventMeaning};
pub use opaque::{Opaque, ResponseRules};
pub use openai::OpenAi;
pub use prepared::PreparedRequest;
pub use reply::{Reply, ToolCall};
pub use rerank::Rerank;
pub use responses::Responses;
pub use text::{AnswerText, ChoiceText};
pub use zhipu::{Zhipu, ZhipuKey};
