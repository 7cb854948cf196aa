//! A simulated LLM server whose truth is known.
//!
//! It responds to chat and text completions, streaming or not, and to other requests of LLM
//! servers, with a configured latency
//! ([`Profile`]) and configured faults and oddities ([`FaultRule`]), and it can log when it really
//! read each request and wrote each token ([`SimConfig::truth_log`]), so that a load tester's report can be compared with
//! the truth. It owns its wire format and shares no code with any client.
//!
//! | path | protocol |
//! |---|---|
//! | `/v1/chat/completions`, `/v1/completions`, `/v1/models` | OpenAI's, as vLLM speaks it |
//! | `/compatible-mode/v1/chat/completions` | the same under DashScope's name |
//! | `/api/v1/services/aigc/text-generation/generation` | DashScope's own |
//! | `/api/v1/services/aigc/multimodal-generation/generation` | DashScope's own, contents as lists |
//! | `/api/paas/v4/chat/completions` | Zhipu's |
//! | `/v1/responses` | OpenAI's Responses |
//! | `/v1/messages` | Anthropic's Messages |
//! | `/v1/embeddings` | OpenAI's embeddings |
//! | `/v1/rerank`, `/v2/rerank`, `/rerank` | reranking, as vLLM, Jina and Text Embeddings Inference serve it |
//! | `/tokenize`, `/detokenize` | vLLM's, with [`SimConfig::tokenizer`] |
//! | `/health` | |
//!
//! Each protocol has faults and oddities in its own format: DashScope's `error-event` is an event
//! named `error`, and its `error-body` has code and message at the top level. If a protocol has no
//! such format (nothing in DashScope is called `object`), the response is plain.
//!
//! ```
//! use std::io::{Read, Write};
//! use evalscope_sim::{Profile, SimConfig, Simulator};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let profile = Profile { ttft_ms: 5.0, itl_ms: 1.0, ..Profile::default() };
//! let simulator = Simulator::start(SimConfig { profile, ..SimConfig::default() })?;
//!
//! let body = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":3,"stream":true}"#;
//! let mut stream = std::net::TcpStream::connect(simulator.addr())?;
//! write!(
//!     stream,
//!     "POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
//!     body.len()
//! )?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK"));
//! assert!(answer.contains("data: [DONE]"));
//! simulator.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Capacity
//!
//! [`Profile::slots`] limits how many requests are served at once. [`Timing`] says how long that
//! takes: by the latencies of the profile, by a service time drawn for the whole request
//! ([`Service`]), or in a continuous batch ([`BatchItl`]). Everything that is drawn depends on the
//! seed and the sequence number of the request alone.
//!
//! # The prefix cache
//!
//! With [`SimConfig::cache_blocks`], full blocks of 16 tokens are cached, each known by a hash of its
//! tokens and of the block before it, as in vLLM. A prompt is looked up when it is read, in the order
//! of the sequence numbers; then all of its own full blocks are cached. The leading blocks that
//! were found are its hits: they need no prefill, and usage has their tokens as `cached_tokens`. At
//! least one token is always computed, so that the last block of a prompt of full blocks is not a
//! hit. When a response ends, the blocks of the prompt and its response are cached, but for the last
//! token, which was sampled and not computed: after a prompt of p tokens and a response of n, the next
//! turn finds ⌊(p + n − 1) / 16⌋ blocks, if it begins with both. Blocks are used from the last to
//! the first, so that the end of a prompt makes room before its start. Prompts with images are not
//! cached, and neither are requests whose response is replaced by a fault.
//!
//! A response of n tokens is n tokens again as the content of an assistant's message. With a
//! tokenizer, the template adds its frame to that; without one, there is none: four characters of a
//! message are one token, and in an assistant's message that consists of the simulator's own words
//! each word is one. Reasoning and tool calls are not part of the content.
//!
//! # The truth log
//!
//! One JSON object per line for each accepted request, in the order in which the responses ended,
//! including those ended by a fault or by a client that left ([`TrueRequest`]):
//!
//! ```json
//! {"id":"chatcmpl-sim-7","prompt_tokens":3,"queued_ns":0,"request_read_ns":100,
//!  "request_began_ns":90,"tokens":[[200,210],[300,310]],"fault":null,"stream":true,"service_began_ns":100,
//!  "ended_ns":320,"busy_slots":1,"completion_tokens":2,"hit_blocks":0,"cached_tokens":0,
//!  "messages":1,"body_bytes":76,"body_sha256":"5891…","peer_port":41234,"connection":1,
//!  "conversation":"s-1","headers":{"x-request-id":"a"},"session_token":"token-chatcmpl-sim-7",
//!  "session_token_echo":"first","model":"qwen"}
//! ```
//!
//! All `_ns` values but `queued_ns`, the time spent waiting for a slot, are timestamps in raw
//! monotonic nanoseconds ([`clock::monotonic_ns`]): `request_began_ns` of the first bytes of the
//! request, `request_read_ns` of its last. `tokens` has one pair per token-bearing event of
//! a stream, in order: just before and just after the write that carried it. Events that share a
//! write share the pair. `service_began_ns` and `busy_slots`, the number of requests in service at
//! that moment including this one, are null for requests that were never served. A slot passes on
//! at the moment when its request was due to end, so that service times do not grow by the lateness
//! of timers; `ended_ns` is after the last write, and up to a few milliseconds later.
//!
//! `body_sha256` is SHA-256 of the `body_bytes` bytes of the body, without chunk framing, in
//! lower-case hexadecimal; null unless [`SimConfig::truth_bodies`] asks for it. `connection` counts
//! the accepted connections from 1, and `messages` the messages of the request (null for plain
//! prompts). `conversation` and `headers` are what the request had in the headers that
//! [`SimConfig::conversation_header`] and [`SimConfig::log_headers`] name. `session_token` is what
//! the response gave ([`SimConfig::session_token_header`]), and `session_token_echo` what the
//! request did with the one before: `first`, `echoed`, `missing` or `wrong` ([`Echo`]). `model` is what the
//! request names; null if it names none.
//!
//! [`Truth`] has the gaps between arrivals and N(t), the number of requests in the system.

pub mod clock;

mod error;

mod seed;

pub mod service;

pub mod profile;

pub mod fault;

mod config;

mod signature;

mod kept;

mod image;

mod template;

mod words;

mod tokens;

mod lexicon;

mod prefix;

mod prepared;

mod wire;

mod plan;

mod http;

mod tempo;

mod slots;

mod batch;

mod engine;

pub mod truth;

mod outbox;

mod answer;

mod sessions;

mod route;

mod server;

mod simulator;

pub use config::{CacheBlocks, SimConfig, ToolCalls};
pub use error::SimError;
pub use fault::{Fault, FaultRule, Injection, Pause, When};
pub use prepared::Prepared;
pub use profile::{Drift, Profile, Spread, SpreadKind, Timing};
pub use server::{bind, serve};
pub use service::{BatchItl, Service, ServiceSpread};
pub use simulator::Simulator;
pub use truth::{Echo, Totals, TrueRequest, Truth};
