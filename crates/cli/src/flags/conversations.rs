//! Owns the flags about conversations: what their history is made of, and how clients wait.
//!
//! It must not know datasets, nor how a turn is sent.

use clap::{ArgAction, Args, ValueEnum};
use evalscope_model::conversation::{History, KeepConnection, TurnDelay};

use super::values::{count, header_name};

/// What the history holds for the responses of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Past {
    /// What the server has sent, without its reasoning
    Real,
    /// What the server has sent, with its reasoning
    #[value(name = "real+reasoning")]
    RealWithReasoning,
    /// What the dataset has recorded
    Recorded,
    /// Nothing
    None,
}

/// How long a connection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kept {
    /// As long as the server keeps it open
    Keep,
    /// For one conversation
    Session,
    /// For one request
    Request,
}

impl From<Past> for History {
    fn from(past: Past) -> Self {
        match past {
            Past::Real => Self::Real,
            Past::RealWithReasoning => Self::RealWithReasoning,
            Past::Recorded => Self::Recorded,
            Past::None => Self::None,
        }
    }
}

impl From<Kept> for KeepConnection {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Keep => Self::Keep,
            Kept::Session => Self::Session,
            Kept::Request => Self::Request,
        }
    }
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Conversations")]
pub(crate) struct ConversationArgs {
    /// Send conversations: each turn repeats all turns before it
    ///
    /// --number, --parallel and --rate then count conversations. Datasets that hold nothing but
    /// conversations need no flag.
    #[arg(long)]
    pub(crate) multi_turn: bool,

    /// What the history holds for the responses
    #[arg(long, value_name = "WHAT", value_enum, default_value = "real")]
    pub(crate) history: Past,

    /// Most tokens of each turn's response; the last value is for all turns that follow
    ///
    /// 150 150 1000: two short responses, then long ones. They take precedence over --max-tokens and the
    /// limits of a dataset.
    #[arg(long, value_name = "TOKENS", num_args = 1.., action = ArgAction::Set,
          value_delimiter = ',', value_parser = count)]
    pub(crate) max_turn_tokens: Option<Vec<u64>>,

    /// How long a client waits before each turn after the first: 2, 1..5, exp:2 or lognormal:2,0.8
    ///
    /// Seconds: a number, a range, exp:MEAN, or lognormal:MEDIAN,SIGMA. The delays of a dataset take
    /// precedence. [default: 0]
    #[arg(long, value_name = "DELAY")]
    pub(crate) turn_delay: Option<TurnDelay>,

    /// End a conversation before a turn that would be longer than this
    ///
    /// Prompt and output together, as far as the server has counted the turns before.
    #[arg(long, value_name = "TOKENS", value_parser = count)]
    pub(crate) max_context: Option<u64>,

    /// Begin each conversation with a line of its own, so that no cache knows it
    #[arg(long)]
    pub(crate) salt: bool,

    /// Let conversations end after --duration, not only their turns
    #[arg(long)]
    pub(crate) finish_conversations: bool,

    /// Name the conversation in this header of every request, for routers
    #[arg(long, value_name = "HEADER", value_parser = header_name)]
    pub(crate) session_header: Option<String>,

    /// Send back what the last response said in this header, for routers
    #[arg(long, value_name = "HEADER", value_parser = header_name)]
    pub(crate) session_token_header: Option<String>,

    /// How long a connection is kept
    #[arg(long, value_name = "HOW", value_enum, default_value = "keep")]
    pub(crate) connections: Kept,
}
