//! Owns the flags about generation: what each request asks of the model.
//!
//! It must not know how a field is called in an API.

use clap::{ArgAction, Args};

use super::values::{finite, signed, whole};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Generation")]
pub(crate) struct GenerationArgs {
    /// Maximum tokens of a response [default: 2048]
    ///
    /// With two values each request draws a number between them.
    #[arg(long, value_name = "N", num_args = 1.., action = ArgAction::Set, value_delimiter = ',',
          value_parser = whole)]
    pub(crate) max_tokens: Option<Vec<u64>>,

    /// Minimum tokens of a response. Not every server supports this.
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(crate) min_tokens: Option<u64>,

    /// Sampling temperature. [default: 0]
    #[arg(long, value_parser = finite)]
    pub(crate) temperature: Option<f64>,

    /// Nucleus sampling.
    #[arg(long, value_parser = finite)]
    pub(crate) top_p: Option<f64>,

    /// Sample from this many most likely tokens.
    #[arg(long, value_name = "K", value_parser = signed)]
    pub(crate) top_k: Option<i64>,

    /// Frequency penalty.
    #[arg(long, value_parser = finite)]
    pub(crate) frequency_penalty: Option<f64>,

    /// Repetition penalty.
    #[arg(long, value_parser = finite)]
    pub(crate) repetition_penalty: Option<f64>,

    /// Ask for log probabilities.
    #[arg(long)]
    pub(crate) logprobs: bool,

    /// Number of choices in each response.
    #[arg(long, value_name = "N", value_parser = whole)]
    pub(crate) n_choices: Option<u64>,

    /// Seed for random prompts, arrivals and the server's sampling. Two commands with the same seed
    /// send the same random prompts. [default: a new one for each command, not sent]
    #[arg(long, value_parser = whole)]
    pub(crate) seed: Option<u64>,

    /// Texts that end generation.
    #[arg(long, num_args = 0.., action = ArgAction::Set)]
    pub(crate) stop: Option<Vec<String>>,

    /// Token ids that end generation.
    #[arg(long, value_name = "ID", num_args = 0.., action = ArgAction::Set, value_parser = whole)]
    pub(crate) stop_token_ids: Option<Vec<u64>>,

    /// Stream responses; TTFT, TPOT and ITL need it. This is the default.
    #[arg(long, overrides_with = "no_stream")]
    pub(crate) stream: bool,

    /// Do not stream responses.
    #[arg(long, overrides_with = "stream")]
    pub(crate) no_stream: bool,

    /// Additional fields of the request body, as JSON, @FILE or @-; null deletes a field.
    #[arg(long, value_name = "JSON")]
    pub(crate) extra_args: Option<String>,
}

impl GenerationArgs {
    /// What was typed of `--[no-]stream`.
    pub(crate) fn stream(&self) -> Option<bool> {
        match (self.stream, self.no_stream) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}
