//! Owns the flags about the server: where it is, how it is spoken to, how long is waited.
//!
//! It must not know which APIs there are: the catalog does.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use evalscope_model::mix::UrlStrategy;

use crate::catalog::apis::{self, APIS};

use super::choices::{ApiChoice, ApiParser};
use super::values::{argument_url, port, seconds, seconds_or_zero};

/// The attention implementation of a model that this command serves.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum Attention {
    /// The flash-attn library, which has to be installed.
    #[value(name = "flash_attention_2")]
    FlashAttention2,
    /// Plain `PyTorch` operations.
    Eager,
    /// Scaled dot-product attention of `PyTorch`.
    Sdpa,
}

impl Attention {
    /// As it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FlashAttention2 => "flash_attention_2",
            Self::Eager => "eager",
            Self::Sdpa => "sdpa",
        }
    }
}

/// Which of several URLs a request goes to.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UrlChoice {
    /// One after the other.
    #[value(alias = "round_robin")]
    RoundRobin,
    /// The one with the fewest requests, or conversations, under way.
    #[value(alias = "least_in_flight")]
    LeastInFlight,
}

impl From<UrlChoice> for UrlStrategy {
    fn from(choice: UrlChoice) -> Self {
        match choice {
            UrlChoice::RoundRobin => Self::RoundRobin,
            UrlChoice::LeastInFlight => Self::LeastInFlight,
        }
    }
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// URL of the server, instead of --url.
    #[arg(value_name = "URL", conflicts_with = "url", value_parser = argument_url)]
    pub(crate) positional_url: Option<String>,

    /// URL of the server; `--url` itself may be left out
    ///
    /// By default `http://127.0.0.1:8877/v1/chat/completions`, or the URL of the API. A URL without
    /// an endpoint is completed: `http://host:8000` becomes
    /// `http://host:8000/v1/chat/completions`. Several URLs spread the load over
    /// several servers; they have to be the same endpoint of one API.
    #[arg(long, num_args = 1.., action = ArgAction::Append)]
    pub(crate) url: Vec<String>,

    /// Which of several URLs a request goes to; a conversation stays at its URL. [default: round-robin]
    #[arg(long, value_enum)]
    pub(crate) url_strategy: Option<UrlChoice>,

    /// Name of the model, as the server knows it
    ///
    /// Several names, of adapters too, make a mix: one is drawn for each request.
    ///
    /// May be left out if the server lists exactly one model under /v1/models, and for `local_sim`.
    /// For `local` and `local_vllm`, a folder or a model id of a hub.
    #[arg(long, num_args = 1.., action = ArgAction::Set)]
    pub(crate) model: Vec<String>,

    /// Weights of several models, in the order of `--model`: which share of the requests asks for each.
    /// [default: the same share for all]
    #[arg(long, value_name = "WEIGHT", num_args = 1.., value_delimiter = ',', action = ArgAction::Set)]
    pub(crate) model_weights: Option<Vec<f64>>,

    /// API of the server [default: openai]
    ///
    /// One of these, a file that declares one (FILE.toml), or a plugin (FILE.py, FILE.py:NAME,
    /// exec:COMMAND, unix:SOCKET).
    #[arg(long, value_parser = ApiParser(&APIS), default_value = apis::DEFAULT, hide_default_value = true)]
    pub(crate) api: ApiChoice,

    /// API key; better in `EVALSCOPE_API_KEY`
    ///
    /// Sent as `Authorization: Bearer`. Never printed or stored. [default: the environment variable
    /// `EVALSCOPE_API_KEY`]
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,

    /// Additional headers of every request
    ///
    /// To keep them out of `ps`, put them into the environment variable `EVALSCOPE_HEADERS`, one per
    /// line.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., action = ArgAction::Set)]
    pub(crate) headers: Vec<String>,

    /// Fail a request when connecting takes longer than this: DNS, TCP, proxy and TLS together; 0 for
    /// no limit. [default: 120]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero)]
    pub(crate) connect_timeout: Option<f64>,

    /// Fail a request when the server is silent for this long: before the first byte, between two
    /// reads, during the TLS handshake, or while it does not read the request; 0 for no limit. Set
    /// it above the longest acceptable time to first token. [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero)]
    pub(crate) read_timeout: Option<f64>,

    /// Fail a request that takes longer than this in total, connecting included; 0 for no limit.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero, default_value = "21600")]
    pub(crate) total_timeout: f64,

    /// Send no test request first. It finds a wrong URL, key or model within seconds.
    #[arg(long)]
    pub(crate) no_test_connection: bool,

    /// Wait up to this long for a server that is still starting or loading its model. [default: 15,
    /// and 120 for the response to the test request]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero,
          conflicts_with = "no_test_connection")]
    pub(crate) wait_for_server: Option<f64>,

    /// Do not verify the server's certificate.
    #[arg(long, conflicts_with = "ca_cert")]
    pub(crate) insecure: bool,

    /// Also trust the certificates in this PEM file.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,

    /// TCP port that `local` and `local_vllm` serve the model on.
    #[arg(long, default_value = "8877", value_parser = port)]
    pub(crate) port: u16,

    /// Attention implementation for `local`. [default: chosen by transformers]
    #[arg(long, value_enum)]
    pub(crate) attn_implementation: Option<Attention>,

    /// Let `local` and `local_vllm` run code shipped with the model.
    #[arg(long)]
    pub(crate) trust_remote_code: bool,

    /// Give up when `local` or `local_vllm` has not loaded the model within this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1800")]
    pub(crate) server_start_timeout: f64,
}

impl ServerArgs {
    /// The URLs, with or without their flag.
    pub(crate) fn typed_urls(&self) -> Vec<&str> {
        let typed = self.url.iter().chain(&self.positional_url);
        typed.map(String::as_str).collect()
    }

    /// The first of them.
    pub(crate) fn typed_url(&self) -> Option<&str> {
        self.typed_urls().first().copied()
    }

    /// The models that are named.
    pub(crate) fn typed_models(&self) -> Vec<String> {
        let typed = self.model.iter().filter(|model| !model.is_empty());
        typed.cloned().collect()
    }
}
