//! A simulated LLM server whose truth is known.
//!
//! It answers chat and text completions, streamed or not, with a configured latency
//! ([`Profile`]), configured faults and oddities ([`FaultRule`]), and it can log when it really
//! wrote each token ([`SimConfig::truth_log`]): what a load tester reports can be held against
//! that. It owns its wire format and shares no code with any client.
//!
//! | path | protocol |
//! |---|---|
//! | `/v1/chat/completions`, `/v1/completions`, `/v1/models` | OpenAI's, as vLLM speaks it |
//! | `/compatible-mode/v1/chat/completions` | the same under DashScope's name |
//! | `/api/v1/services/aigc/text-generation/generation` | DashScope's own |
//! | `/api/v1/services/aigc/multimodal-generation/generation` | DashScope's own, contents as lists |
//! | `/api/paas/v4/chat/completions` | Zhipu's |
//! | `/tokenize`, `/detokenize` | vLLM's, with [`SimConfig::tokenizer`] |
//! | `/health` | |
//!
//! Each protocol has faults and oddities in its own form: the `error-event` of DashScope is an event
//! named `error`, its `error-body` has code and message at the top. Where a protocol has no such
//! form (nothing of DashScope's is called `object`), the answer is plain.
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
//! # The truth log
//!
//! One JSON object a line for each accepted request that asked for a stream, in the order in which
//! the answers ended, also when they ended by a fault or because the client left:
//!
//! ```json
//! {"id":"chatcmpl-sim-7","prompt_tokens":3,"queued_ns":0,"request_read_ns":100,
//!  "tokens":[[200,210],[300,310]],"fault":null}
//! ```
//!
//! All but `queued_ns`, the time spent waiting for a slot, are stamps in raw monotonic nanoseconds
//! ([`clock::monotonic_ns`]). `tokens` has one pair per token-bearing event, in order: just before
//! and just after the write that carried it. Events that share a write share the pair.

mod answer;
pub mod clock;
mod config;
pub mod fault;
mod http;
mod image;
pub mod profile;
mod server;
mod signature;
mod template;
mod tokens;
mod truth;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use config::SimConfig;
pub use fault::{Fault, FaultRule, When};
pub use profile::{Profile, Spread, SpreadKind};
pub use server::{Prepared, Simulator, bind, serve};

/// Why a simulated server could not be set up or completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: choose a free port, or 0 for any")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The truth log cannot be created or written.
    #[error("cannot write the truth log {}", path.display())]
    TruthLog {
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The tokenizer or its chat template cannot be used.
    #[error(
        "cannot use the tokenizer {}: {message}; allowed are a tokenizer.json and a directory that \
         holds one",
        path.display()
    )]
    Tokenizer {
        /// What was asked for.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// A thread or its runtime cannot be started.
    #[error("cannot run the simulated server: {source}")]
    Thread {
        /// Why not.
        source: io::Error,
    },
    /// A number of the profile is unusable.
    #[error("{name} is {got}; allowed are 0 to {highest} ({unit})")]
    Profile {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        got: f64,
        /// The highest allowed value.
        highest: f64,
        /// Unit of both.
        unit: &'static str,
    },
    /// A spread has an unknown name.
    #[error("unknown distribution {got:?}; allowed are constant, normal, log-normal")]
    Spread {
        /// The name.
        got: String,
    },
    /// A fault has an unknown name.
    #[error("unknown fault {got:?}; allowed are {}", fault_names())]
    FaultName {
        /// The name.
        got: String,
    },
    /// The part after the colon of a fault rule is not understood.
    #[error(
        "unknown condition {got:?} of a fault; allowed are every=N (N at least 1) and p=P (P from \
         0 to 1), as in http-429:every=4 or cut:p=0.1"
    )]
    FaultWhen {
        /// The condition.
        got: String,
    },
}

fn fault_names() -> String {
    Fault::ALL
        .iter()
        .map(|fault| fault.name())
        .collect::<Vec<_>>()
        .join(", ")
}
