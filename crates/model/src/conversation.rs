//! Owns what a conversation is: the turns that a client adds to it, its history, and how it ended.
//!
//! It must not know APIs, datasets, or how a turn is sent.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A turn after the first: what the client adds to the conversation before it asks again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// The response that the dataset recorded to the turn before this one: an assistant message in
    /// OpenAI's format.
    pub recorded_reply: Option<Value>,
    /// New messages, in OpenAI's format; never the response to the turn before.
    pub messages: Vec<Value>,
    /// Tokens that they were to add to the prompt, as the server counts them; `None` if no length
    /// was requested.
    pub asked_tokens: Option<u64>,
    /// The most tokens to generate, if it has a limit of its own.
    pub max_tokens: Option<u64>,
    /// How long the client waits after the response before it: reading, typing, a tool that runs.
    /// `None`: as the run says.
    pub delay: Option<Duration>,
}

/// What stands in the history for the responses of the server (`--history`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// What the server has sent, without its reasoning.
    #[default]
    Real,
    /// The same with its reasoning, as `reasoning_content`.
    RealWithReasoning,
    /// What the dataset has recorded.
    Recorded,
    /// Nothing.
    None,
    /// What the server has kept itself: a turn only names the response before it
    /// (`previous_response_id` of the Responses API).
    KeptByServer,
}

impl History {
    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::RealWithReasoning => "real+reasoning",
            Self::Recorded => "recorded",
            Self::None => "none",
            Self::KeptByServer => "previous_response_id",
        }
    }

    /// Whether it depends on what the server has sent: the next turn waits to be completed by it.
    #[must_use]
    pub const fn needs_reply(self) -> bool {
        matches!(
            self,
            Self::Real | Self::RealWithReasoning | Self::KeptByServer
        )
    }
}

/// How long a connection is kept (`--connections`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepConnection {
    /// As long as the server keeps it open.
    #[default]
    Keep,
    /// For one session: the next one opens its own.
    Session,
    /// For one request.
    Request,
}

/// How long clients wait before each turn after the first (`--turn-delay`), seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnDelay {
    /// Always the same.
    Fixed(f64),
    /// Uniform, both bounds included.
    Uniform(f64, f64),
    /// Exponential, with this mean.
    Exponential(f64),
    /// Log-normal: the median, and the standard deviation of the logarithm.
    LogNormal(f64, f64),
}

/// A text that is not a delay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a delay: use seconds (`2`), a range (`1..5`), `exp:MEAN` or `lognormal:MEDIAN,SIGMA`, none of them negative"
)]
pub struct TurnDelayError(String);

impl fmt::Display for TurnDelay {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(seconds) => write!(f, "{seconds}"),
            Self::Uniform(low, high) => write!(f, "{low}..{high}"),
            Self::Exponential(mean) => write!(f, "exp:{mean}"),
            Self::LogNormal(median, sigma) => write!(f, "lognormal:{median},{sigma}"),
        }
    }
}

impl std::str::FromStr for TurnDelay {
    type Err = TurnDelayError;

    /// Parse a delay.
    ///
    /// ```
    /// use evalscope_model::conversation::TurnDelay;
    /// assert_eq!("2".parse(), Ok(TurnDelay::Fixed(2.0)));
    /// assert_eq!("1..5".parse(), Ok(TurnDelay::Uniform(1.0, 5.0)));
    /// assert_eq!("exp:2".parse(), Ok(TurnDelay::Exponential(2.0)));
    /// assert_eq!("lognormal:2,0.8".parse(), Ok(TurnDelay::LogNormal(2.0, 0.8)));
    /// assert!("5..1".parse::<TurnDelay>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, TurnDelayError> {
        // a day is more than any client waits, and keeps every sum in range
        let seconds = |text: &str| {
            let parsed = text.trim().parse::<f64>().ok();
            parsed.filter(|s| (0.0..=86_400.0).contains(s))
        };
        let parsed = if let Some(mean) = text.strip_prefix("exp:") {
            seconds(mean).map(Self::Exponential)
        } else if let Some(pair) = text.strip_prefix("lognormal:") {
            pair.split_once(',').and_then(|(median, sigma)| {
                let sigma = seconds(sigma).filter(|sigma| *sigma <= 10.0)?;
                Some(Self::LogNormal(seconds(median)?, sigma))
            })
        } else if let Some((low, high)) = text.split_once("..") {
            let bounds = seconds(low).zip(seconds(high));
            bounds
                .filter(|(low, high)| low <= high)
                .map(|(low, high)| Self::Uniform(low, high))
        } else {
            seconds(text).map(Self::Fixed)
        };
        parsed.ok_or_else(|| TurnDelayError(text.to_owned()))
    }
}

/// What holds for the conversations of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversations {
    /// What the history is made of.
    pub history: History,
    /// Conversations that have begun go on to their end when the time is up
    /// (`--finish-conversations`); otherwise only their turns do.
    #[serde(default)]
    pub finish: bool,
    /// A turn whose prompt and output would be longer than this ends its conversation instead
    /// (`--max-context`), tokens.
    #[serde(default)]
    pub max_context_tokens: Option<u64>,
}

/// Which turn of which conversation a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnPlace {
    /// The conversation, from 0 in its phase, in dataset order.
    pub conversation: u64,
    /// The turn, from 0.
    pub turn: u32,
    /// How long the client was to wait before it.
    pub delay: Duration,
    /// Tokens that its messages were to add to the prompt, if a length was requested. Of the first
    /// turn: the length of the prompt.
    pub asked_increment: Option<u64>,
}

/// Why a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// All of its turns are done.
    Completed,
    /// It had more turns than `--max-turns`; those are done.
    MaxTurns,
    /// The next turn would not have fitted into the context, or the server said so.
    ContextLimit,
    /// A turn failed.
    Failed,
    /// The time was up.
    Duration,
    /// The run was stopped.
    Cancelled,
}

impl EndedBy {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Completed, "completed"),
        (Self::MaxTurns, "max_turns"),
        (Self::ContextLimit, "context_limit"),
        (Self::Failed, "failed"),
        (Self::Duration, "duration"),
        (Self::Cancelled, "cancelled"),
    ];

    /// Its name in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(why, _)| *why == self);
        found.map_or("", |(_, name)| *name)
    }

    /// Read a name as written by [`Self::as_str`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, own)| *own == name);
        found.map(|(why, _)| *why)
    }

    /// Every turn that was to come has come.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Completed | Self::MaxTurns)
    }
}
