//! Speaks the protocols other than plain OpenAI to the simulated server, over plain sockets: no HTTP
//! client that could forgive a mistake.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod anthropic;
mod dashscope;
mod history;
mod raw;
mod responses;
mod scores;
mod tokens;
mod zhipu;
