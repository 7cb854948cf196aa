//! Owns the settings of a simulated server.
//!
//! It must not know where they come from: flags, tests, or defaults.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::error::SimError;
use crate::fault::{FaultRule, Pause};
use crate::profile::Profile;

/// How many blocks of 16 tokens the prefix cache holds. Written as a number, 0 for none, or `inf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheBlocks {
    /// There is no prefix cache.
    #[default]
    None,
    /// The least recently used blocks make room for new ones.
    Limited(NonZeroUsize),
    /// Nothing is ever forgotten.
    Unlimited,
}

impl FromStr for CacheBlocks {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        if text == "inf" {
            return Ok(CacheBlocks::Unlimited);
        }
        match text.parse::<usize>() {
            Ok(blocks) => {
                Ok(NonZeroUsize::new(blocks).map_or(CacheBlocks::None, CacheBlocks::Limited))
            }
            Err(_) => Err(SimError::CacheBlocks {
                got: text.to_owned(),
            }),
        }
    }
}

/// Which chat responses are a tool call instead of text. Written as a share, or `always`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ToolCalls {
    /// This share, from 0 to 1, of the responses to requests with `tools`, drawn from the seed and
    /// the sequence number.
    Share(f64),
    /// Every chat response, even to a request without `tools`.
    Always,
}

impl Default for ToolCalls {
    fn default() -> Self {
        ToolCalls::Share(0.0)
    }
}

impl FromStr for ToolCalls {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        if text == "always" {
            return Ok(ToolCalls::Always);
        }
        let share = text.parse().ok();
        match share.filter(|share| (0.0..=1.0).contains(share)) {
            Some(share) => Ok(ToolCalls::Share(share)),
            None => Err(SimError::ToolCalls {
                got: text.to_owned(),
            }),
        }
    }
}

/// All settings of a simulated server. By default it responds as fast as it can, without faults.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other, as the flags are"
)]
pub struct SimConfig {
    /// Latencies and output lengths.
    pub profile: Profile,
    /// The model that the server lists, and uses in responses if a request names none.
    pub model: String,
    /// Checked in order for each request; the first match wins.
    pub faults: Vec<FaultRule>,
    /// This many requests at the start get no fault.
    pub fault_after: u64,
    /// When the whole server stops for a while.
    pub pauses: Vec<Pause>,
    /// How long the stalling faults stay silent.
    pub stall: Duration,
    /// Write the role chunk separately before the first token, rather than together with it.
    pub role_first: bool,
    /// Requests to the API must carry this key. If it has the form `id.secret`, requests in Zhipu's
    /// protocol may carry a token signed with the secret instead.
    pub api_key: Option<String>,
    /// Reject requests with `stream_options`, as old servers do.
    pub reject_stream_options: bool,
    /// Counts prompt tokens: a `tokenizer.json`, or a directory with one and optionally
    /// `tokenizer_config.json` and `chat_template.jinja` or `.json`. Without a template,
    /// conversations are rendered as `ChatML`; without a tokenizer, four characters are one token.
    pub tokenizer: Option<PathBuf>,
    /// Prompt tokens per image.
    pub image_tokens: u32,
    /// The prefix cache: full blocks of 16 tokens of prompts and responses, which need no prefill
    /// when a later prompt begins with them.
    pub cache_blocks: CacheBlocks,
    /// The context window, in tokens: requests whose prompt and `max_tokens` exceed it are refused.
    /// `None` is 2^20, and no request is refused.
    pub max_model_len: Option<u64>,
    /// Which chat responses are a tool call.
    pub tool_calls: ToolCalls,
    /// How many of the first tokens of each chat response are reasoning. At least one token is not.
    pub reasoning_tokens: u32,
    /// Path of the ground-truth log, if any.
    pub truth_log: Option<PathBuf>,
    /// Keep the truth in memory as well, for [`Simulator::truth`](crate::Simulator::truth) and
    /// [`Simulator::stop`](crate::Simulator::stop). It grows with every request and token.
    pub keeps_truth: bool,
    /// Log the SHA-256 of each body.
    pub truth_bodies: bool,
    /// Names of request headers to log, in any case.
    pub log_headers: Vec<String>,
    /// Name of the request header that identifies a conversation.
    pub conversation_header: Option<String>,
    /// Name of a response header that gives each response its own token, which the next request of
    /// the conversation is expected to send back under the same name.
    pub session_token_header: Option<String>,
    /// Number of connections served at once. Further ones wait in the operating system's backlog,
    /// as with a real server that has stopped accepting: they are established, but nothing is
    /// read from them until another connection ends. `None` serves all.
    pub max_connections: Option<NonZeroUsize>,
    /// Threads that serve connections.
    pub threads: NonZeroUsize,
}

impl SimConfig {
    /// The names of all headers that requests may have and that something is made of.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &str> {
        let own = [&self.conversation_header, &self.session_token_header];
        let named = own.into_iter().flatten();
        self.log_headers.iter().chain(named).map(String::as_str)
    }

    /// The line of a response head that gives a session token.
    pub(crate) fn session_token_line(&self, token: Option<&str>) -> String {
        match (&self.session_token_header, token) {
            (Some(name), Some(token)) => format!("{name}: {token}\r\n"),
            _ => String::new(),
        }
    }

    /// Whether the truth log has the values of the header of this name, in lower case.
    pub(crate) fn logs_header(&self, name: &str) -> bool {
        self.log_headers
            .iter()
            .any(|header| header.eq_ignore_ascii_case(name))
    }

    pub(crate) fn check_header_names(&self) -> Result<(), SimError> {
        let is_name = |name: &str| {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !name.is_empty() && name.bytes().all(allowed)
        };
        match self.header_names().find(|name| !is_name(name)) {
            None => Ok(()),
            Some(got) => Err(SimError::HeaderName {
                got: got.to_owned(),
            }),
        }
    }
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig {
            profile: Profile::default(),
            model: "sim".to_owned(),
            faults: Vec::new(),
            fault_after: 0,
            pauses: Vec::new(),
            stall: Duration::from_hours(1),
            role_first: true,
            api_key: None,
            reject_stream_options: false,
            tokenizer: None,
            image_tokens: 0,
            cache_blocks: CacheBlocks::None,
            max_model_len: None,
            tool_calls: ToolCalls::default(),
            reasoning_tokens: 0,
            truth_log: None,
            keeps_truth: false,
            truth_bodies: false,
            log_headers: Vec::new(),
            conversation_header: None,
            session_token_header: None,
            max_connections: None,
            threads: NonZeroUsize::MIN,
        }
    }
}
