//! Owns the command line as it is typed: flags, their types, their help.
//!
//! It must not know what a combination of flags means: `resolve` does.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};

use crate::choices::{ApiChoice, ApiParser, DatasetChoice, DatasetParser};
use crate::values::{
    argument_url, count, fact, finite, images, pixels, places, port, rate, seconds,
    seconds_or_zero, share, signed, small, warmup, whole,
};
use crate::{argparse, caller, console, export, failure, mistakes, perf, report, served, sim};

/// Load testing for LLM servers, with measurements you can trust.
#[derive(Parser, Debug)]
#[command(
    name = "evalscope",
    version,
    propagate_version = true,
    args_override_self = true,
    infer_long_args = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Measure a server: throughput, latency, TTFT, TPOT and ITL with percentiles.
    #[command(args_override_self = true, infer_long_args = true)]
    Perf(Box<PerfArgs>),
    /// Run a simulated server whose latencies are known.
    #[command(args_override_self = true, infer_long_args = true)]
    Sim(Box<sim::SimArgs>),
    /// Rebuild all files and tables of a run from its database.
    Report(report::ReportArgs),
    /// Write finished runs in the format of another tool.
    Export(export::ExportArgs),
    /// Run a program that is stopped when the parent process ends.
    #[command(name = "__supervise", hide = true)]
    Supervise(served::SuperviseArgs),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Perf(args) => perf::run(*args),
            Self::Sim(args) => sim::run(*args),
            Self::Report(args) => report::run(&args),
            Self::Export(args) => export::run(&args),
            Self::Supervise(args) => served::supervise(args),
        }
    }
}

/// Read the command line. Help, version and usage errors are printed here.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    let plain = Cli::command();
    let args = argparse::normalise(args, plain.find_subcommand("perf").expect("it is declared"));
    let is_short = !args.iter().any(|arg| arg == "--help");
    match read(&args, is_short) {
        Ok(command) => Ok(command),
        Err(error) => {
            // without a command, the full help
            let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            if error.use_stderr() && !is_help {
                let text = mistakes::explained(&error, &plain);
                caller::show_error(&console::tame(&text));
                Err(ExitCode::from(failure::USAGE))
            } else {
                // a closed pipe is the reader's business
                let _ = error.print();
                Err(if is_help {
                    ExitCode::from(failure::USAGE)
                } else {
                    ExitCode::SUCCESS
                })
            }
        }
    }
}

fn read(args: &[OsString], is_short: bool) -> Result<Command, clap::Error> {
    let matches = command(is_short).try_get_matches_from(args)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let words = args.iter().skip(2).map(|word| word.to_string_lossy());
    let words = words.map(Cow::into_owned).collect();
    if let (Command::Perf(args), Some(typed)) =
        (&mut cli.command, matches.subcommand_matches("perf"))
    {
        args.typed = typed_flags(typed);
        args.words = words;
    }
    Ok(cli.command)
}

/// The parser: what is declared below, and what holds for all of it.
fn command(is_short: bool) -> clap::Command {
    Cli::command().mut_subcommand("perf", |perf| {
        // a flag's own message is better than "unexpected argument '-1'"
        let perf = perf.mut_args(|arg| {
            let takes_value = matches!(arg.get_action(), ArgAction::Set);
            if takes_value && !arg.is_positional() {
                arg.allow_negative_numbers(true)
            } else {
                arg
            }
        });
        if is_short {
            let flags = first_flags(&perf);
            perf.help_template(format!(
                "{{before-help}}{{usage-heading}} {{usage}}\n\n{flags}\nAll flags, in groups: evalscope perf \
                 --help\n"
            ))
        } else {
            perf
        }
    })
}

/// The flags that `-h` shows: enough for a first measurement, and to fit one screen.
const FIRST_FLAGS: [&str; 17] = [
    "model",
    "api",
    "api-key",
    "headers",
    "parallel",
    "number",
    "rate",
    "duration",
    "warmup-num",
    "dataset",
    "dataset-path",
    "tokenizer-path",
    "prompt",
    "max-tokens",
    "no-stream",
    "outputs-dir",
    "name",
];

/// One line for each of the first flags: its syntax, and the first line of its help.
fn first_flags(perf: &clap::Command) -> String {
    let mut lines = String::new();
    for long in FIRST_FLAGS {
        let mut args = perf.get_arguments();
        let Some(arg) = args.find(|arg| arg.get_long() == Some(long)) else {
            continue;
        };
        let short = arg
            .get_short()
            .map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let takes_value = !matches!(arg.get_action(), ArgAction::SetTrue);
        let value = arg.get_value_names().and_then(|names| names.first());
        let value = value.filter(|_| takes_value);
        let value = value.map_or_else(String::new, |name| format!(" <{name}>"));
        let flag = format!("{short}--{long}{value}");
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(lines, "  {flag:<28}{help}");
    }
    lines
}

/// The names of the flags given on the command line.
fn typed_flags(matches: &ArgMatches) -> Vec<String> {
    let perf = PerfArgs::augment_args(clap::Command::new("perf"));
    let ids = perf.get_arguments().map(|arg| arg.get_id().as_str());
    let typed = ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
    typed.map(|id| id.replace('_', "-")).collect()
}

const SHORT_EXAMPLES: &str = "\
Examples:
  evalscope perf http://127.0.0.1:8000 --model qwen2.5 --parallel 8 -n 200
  evalscope perf http://127.0.0.1:8000 --parallel 1,8,64 -n 100,400,2000
  evalscope perf http://127.0.0.1:8000 --rate 5 --duration 2m";

const LONG_EXAMPLES: &str = "\
Examples:

  200 requests, 8 in flight at a time:
    evalscope perf http://127.0.0.1:8000 --model qwen2.5 --parallel 8 -n 200

  A sweep over concurrency, one run for each value:
    evalscope perf http://127.0.0.1:8000 --parallel 1,8,64 -n 100,400,2000

  5 requests per second for 2 minutes, however slow the server is:
    evalscope perf http://127.0.0.1:8000 --rate 5 --duration 2m

  Random prompts of 1024 tokens, responses of 128:
    evalscope perf http://127.0.0.1:8000 --dataset random \\
      --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct --max-tokens 128 \\
      --min-prompt-length 1024 --max-prompt-length 1024

  Your own prompts, one per line of a file:
    evalscope perf http://127.0.0.1:8000 \\
      --dataset line_by_line --dataset-path prompts.txt

  A hosted API, with its key in EVALSCOPE_API_KEY:
    evalscope perf https://api.example.com/v1 --model gpt-x --parallel 4 -n 50";

/// The API spoken to the server.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum Api {
    /// OpenAI chat completions or completions, depending on the URL.
    Openai,
    /// Alibaba Cloud's DashScope: its native or its OpenAI-compatible protocol, depending on the URL.
    Dashscope,
    /// Zhipu's chat API, v4. A key of the form id.secret signs a short-lived token.
    Zhipu,
    /// OpenAI's API, on a simulated server that this command starts.
    LocalSim,
    /// OpenAI's API, on `transformers serve`, which this command starts with --model.
    Local,
    /// OpenAI's API, on `vllm serve`, which this command starts with --model.
    LocalVllm,
}

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

/// Where prompts come from.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum Dataset {
    /// Questions, mostly short: field `question` of JSON Lines or a JSON list (HC3-Chinese).
    Openqa,
    /// Long prompts: field `instruction` of a JSON list, JSON Lines or Parquet (LongAlpaca-12k).
    Longalpaca,
    /// Each line is a prompt, a JSON list of messages, or a JSON request body; needs --dataset-path.
    LineByLine,
    /// Each line of a text file is a prompt, or with --prompt-field a field of each record; needs
    /// --dataset-path.
    Custom,
    /// Random text of exact length; needs --tokenizer-path.
    Random,
    /// Random text with random images; needs --tokenizer-path.
    RandomVl,
    /// Photos with captions.
    Flickr8k,
    /// Images with instructions.
    KontextBench,
    /// Chinese conversations, each with its full history.
    ShareGptZh,
    /// English conversations, each with its full history.
    ShareGptEn,
    /// Prompts of 1, 6144, 14336 and 30720 characters, two of each.
    SpeedBenchmark,
    /// Prompts of 63488 and 129024 characters, two of each.
    SpeedBenchmarkLong,
    /// 1000 built-in prompts: first 100 from short to long, in English and Chinese, then short ones.
    Sample,
}

/// A hub for datasets and models.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub(crate) enum DataSource {
    /// modelscope.cn.
    Modelscope,
    /// huggingface.co.
    Huggingface,
    /// Nothing is downloaded.
    Local,
}

/// An experiment tracker.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub(crate) enum Visualizer {
    /// Weights & Biases.
    Wandb,
    /// `SwanLab`.
    Swanlab,
    /// `ClearML`.
    Clearml,
    /// No tracker.
    None,
}

/// The files that a tracker gets at the end.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrackerFiles {
    /// None: metrics only.
    None,
    /// The result files and the log.
    Reports,
    /// Also the databases, with every prompt and response, and the logs of --debug and of a server.
    Db,
}

/// Which bodies the database keeps.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// All requests and responses.
    All,
    /// Those of failed requests.
    Failed,
    /// None.
    None,
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
    /// `http://host:8000/v1/chat/completions`.
    #[arg(long)]
    pub(crate) url: Option<String>,

    /// Name of the model, as the server knows it
    ///
    /// May be left out if the server lists exactly one model under /v1/models, and for `local_sim`.
    /// For `local` and `local_vllm`, a folder or a model id of a hub.
    #[arg(long)]
    pub(crate) model: Option<String>,

    /// API of the server [default: openai]
    ///
    /// One of these, a file that declares one (FILE.toml), or a plugin (FILE.py, FILE.py:NAME,
    /// exec:COMMAND, unix:SOCKET).
    #[arg(long, value_parser = ApiParser, default_value = "openai", hide_default_value = true)]
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

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Requests in flight; several values make a sweep
    ///
    /// A sweep has one run for each value: `1 8 64` or `1,8,64`. A single value is used for every
    /// value of --number and --rate. [default: 1; unlimited with --rate]
    #[arg(long, value_name = "N", num_args = 1.., action = ArgAction::Set, value_delimiter = ',',
          value_parser = places)]
    pub(crate) parallel: Option<Vec<NonZeroUsize>>,

    /// Requests of each run [default: 1000]
    ///
    /// One value for all runs of a sweep, or one for each. For a meaningful p99 use 1000 or more. With
    /// --duration alone the number is unlimited.
    #[arg(short, long, value_name = "N", num_args = 1.., action = ArgAction::Set,
          value_delimiter = ',', value_parser = count)]
    pub(crate) number: Option<Vec<u64>>,

    /// Arrivals per second (Poisson): 5, or 90/m
    ///
    /// Requests start at random times with this mean rate, however fast the server is; --parallel,
    /// if given, limits the requests in flight. 90/m and 5000/h are per minute and per hour; -1 or
    /// inf means no pacing. One value for all runs of a sweep, or one for each.
    #[arg(long, value_name = "PER_SECOND", num_args = 1.., action = ArgAction::Set,
          value_delimiter = ',', value_parser = rate, default_value = "-1")]
    pub(crate) rate: Vec<f64>,

    /// Stop sending after this time: 300, 30s or 5m
    ///
    /// Requests in flight are allowed to finish. The time begins with the run or, after a warm-up,
    /// with the first measured request. 0 for no limit.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero)]
    pub(crate) duration: Option<f64>,

    /// Requests to send before the measured ones
    ///
    /// No figure includes them. Below 1, a fraction of --number. Take at least --parallel to warm
    /// every slot. The measurement does not wait for the last of them to end.
    #[arg(long, value_name = "N", default_value = "0", value_parser = warmup)]
    pub(crate) warmup_num: f64,

    /// Pause between the runs of a sweep.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero, default_value = "5")]
    pub(crate) sleep_interval: f64,

    /// Exit with 1 if more than this fraction of requests fails: 0.01 or 1%.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) max_error_rate: Option<f64>,

    /// End the run when no request has reached the server for this long, or when the first 20
    /// responses are all the same 4xx error; 0 for never.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero, default_value = "60")]
    pub(crate) give_up_after: f64,

    /// Number of receive threads. [default: one per core]
    #[arg(long, value_name = "N", value_parser = places)]
    pub(crate) client_threads: Option<NonZeroUsize>,

    /// Accepted for compatibility with EvalScope; has no effect.
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(crate) num_workers: Option<f64>,

    /// Accepted for compatibility with EvalScope; has no effect.
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(crate) db_commit_interval: Option<f64>,

    /// Accepted for compatibility with EvalScope; has no effect.
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(crate) queue_size_multiplier: Option<f64>,

    /// Accepted for compatibility with EvalScope; has no effect.
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(crate) in_flight_task_multiplier: Option<f64>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Prompts")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that is typed or not"
)]
pub(crate) struct PromptArgs {
    /// Where prompts come from [default: openqa]
    ///
    /// One of these, or a plugin (FILE.py, FILE.py:NAME, exec:COMMAND, unix:SOCKET).
    #[arg(long, value_parser = DatasetParser, default_value = "openqa", hide_default_value = true)]
    pub(crate) dataset: DatasetChoice,

    /// File or folder of the dataset
    #[arg(long, value_name = "PATH")]
    pub(crate) dataset_path: Option<PathBuf>,

    /// Field that holds the prompt, in your own JSON list, JSON Lines, CSV or Parquet file; needs
    /// --dataset-path and implies --dataset custom.
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt_field: Option<String>,

    /// Skip lines, items and rows of a file that cannot be used, instead of rejecting the file. A
    /// warning in the results counts them.
    #[arg(long)]
    pub(crate) skip_bad_lines: bool,

    /// Where datasets and tokenizers are downloaded from. [default: modelscope; huggingface if
    /// `HF_ENDPOINT` is set]
    #[arg(long, value_enum)]
    pub(crate) data_source: Option<DataSource>,

    /// Tokenizer: a folder, a tokenizer.json or a hub id
    ///
    /// The folder must contain a tokenizer.json; a hub id looks like Qwen/Qwen2.5-0.5B-Instruct.
    /// Needed for random prompts, for lengths in tokens, and to count tokens that the server does
    /// not report.
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenizer_path: Option<String>,

    /// Send prompts as token ids, to /v1/completions; needs --tokenizer-path.
    #[arg(long)]
    pub(crate) tokenize_prompt: bool,

    /// Length of a shared random prefix of all prompts, on top of their own length; for random
    /// datasets.
    #[arg(long, value_name = "TOKENS", default_value = "0", value_parser = whole)]
    pub(crate) prefix_length: u64,

    /// Number of different prefixes of --prefix-length; request i begins with prefix i modulo this
    /// number.
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    pub(crate) prefix_count: u64,

    /// Number of prompts to skip at the start of the dataset.
    #[arg(long, value_name = "N", default_value = "0", value_parser = whole)]
    pub(crate) dataset_offset: u64,

    /// Use the same prompts in every run of a sweep: the server's prefix cache will be warm.
    #[arg(long)]
    pub(crate) repeat_prompts: bool,

    /// Images per prompt of `random_vl`.
    #[arg(long, value_name = "N", default_value = "1", value_parser = images)]
    pub(crate) image_num: u32,

    /// Width of the images of `random_vl`, in pixels.
    #[arg(long, value_name = "PIXELS", default_value = "224", value_parser = small::<u32>)]
    pub(crate) image_width: u32,

    /// Height of the images of `random_vl`, in pixels.
    #[arg(long, value_name = "PIXELS", default_value = "224", value_parser = small::<u32>)]
    pub(crate) image_height: u32,

    /// Pixel format of the images of `random_vl`: RGB, RGBA, L, LA, P, 1 or I;16. The file is a PNG.
    #[arg(long, value_name = "MODE", default_value = "RGB")]
    pub(crate) image_format: String,

    /// Side of the square of an image that is counted as one token, in pixels.
    #[arg(long, value_name = "PIXELS", default_value = "28", value_parser = pixels)]
    pub(crate) image_patch_size: NonZeroU32,

    /// One prompt for all requests: TEXT, @FILE, or @-
    ///
    /// @- reads stdin; @@ begins a text that starts with @. Overrides --dataset.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,

    /// Request body as JSON, or @FILE, or @- for stdin. %m and %p in its strings become the model and
    /// the prompt; without %p, `messages` is replaced. Flags on the command line override its
    /// fields.
    #[arg(long, value_name = "JSON")]
    pub(crate) query_template: Option<String>,

    /// Leave out shorter prompts: in tokens with --tokenizer-path, else in characters. For random
    /// datasets, the shortest prompt in tokens. --prompt is always sent. [default: 0]
    #[arg(long, value_name = "LENGTH", value_parser = small::<usize>)]
    pub(crate) min_prompt_length: Option<usize>,

    /// Leave out longer prompts. [default: 131072; random prompts have 1024 tokens if neither length
    /// is given]
    #[arg(long, value_name = "LENGTH", value_parser = small::<usize>)]
    pub(crate) max_prompt_length: Option<usize>,

    /// Send chat messages rather than a plain prompt. [default: if the URL ends in chat/completions]
    #[arg(long, overrides_with = "no_apply_chat_template")]
    pub(crate) apply_chat_template: bool,

    /// Send a plain prompt.
    #[arg(long, hide = true, overrides_with = "apply_chat_template")]
    pub(crate) no_apply_chat_template: bool,
}

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

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Folder for all results [default: outputs]
    #[arg(
        long,
        value_name = "DIR",
        default_value = "outputs",
        hide_default_value = true
    )]
    pub(crate) outputs_dir: PathBuf,

    /// Report metrics to an experiment tracker; needs Python with the package `evalscope` and the
    /// tracker's library.
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) visualizer: Option<Visualizer>,

    /// Key for Weights & Biases; implies --visualizer wandb. Better in `WANDB_API_KEY`.
    #[arg(long, value_name = "KEY")]
    pub(crate) wandb_api_key: Option<String>,

    /// Key for `SwanLab`, or local for a board on this machine; implies --visualizer swanlab. Better
    /// in `SWANLAB_API_KEY`.
    #[arg(long, value_name = "KEY")]
    pub(crate) swanlab_api_key: Option<String>,

    /// Your own `SwanLab` server; also set by `SWANLAB_HOST`.
    #[arg(long, value_name = "URL")]
    pub(crate) swanlab_host: Option<String>,

    /// Files that --visualizer uploads.
    #[arg(long, value_enum, default_value = "reports")]
    pub(crate) tracker_files: TrackerFiles,

    /// Name of the results folder [default: the model]
    ///
    /// Also the name of the experiment in a tracker.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// A display name, shown next to the model in tables and files.
    #[arg(long, value_name = "TEXT")]
    pub(crate) alias: Option<String>,

    /// Facts to keep with the results, in `result.json`: --metadata gpu=H100 image=v0.9.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = fact)]
    pub(crate) metadata: Vec<(String, String)>,

    /// Write to `OUTPUTS_DIR/NAME`, without a timestamp folder. Runs that are there stay.
    #[arg(long)]
    pub(crate) no_timestamp: bool,

    /// Request and response bodies to keep in the database.
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) record_bodies: Bodies,

    /// Log progress after every N requests; 0 for never.
    #[arg(long, value_name = "N", default_value = "100", value_parser = whole)]
    pub(crate) log_every_n_query: u64,

    /// Keep progress.json in the results folder up to date while the command runs.
    #[arg(long)]
    pub(crate) enable_progress_tracker: bool,

    /// Log every request and every event of its response.
    #[arg(long)]
    pub(crate) debug: bool,
}

#[derive(Args, Clone, Debug)]
#[command(
    before_help = SHORT_EXAMPLES,
    before_long_help = LONG_EXAMPLES,
    after_long_help = "Times are in seconds, or have a unit: 500ms, 30s, 5m, 1h30m."
)]
pub(crate) struct PerfArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) prompts: PromptArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// The names of the flags given on the command line.
    #[arg(skip)]
    pub(crate) typed: Vec<String>,
    /// The words of the command line behind `perf`.
    #[arg(skip)]
    pub(crate) words: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perf(line: &str) -> PerfArgs {
        let words = line.split_whitespace().map(OsString::from);
        let args = ["evalscope", "perf"]
            .map(OsString::from)
            .into_iter()
            .chain(words);
        let plain = Cli::command();
        let args = argparse::normalise(args, plain.find_subcommand("perf").unwrap());
        match read(&args, false).unwrap() {
            Command::Perf(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definitions_are_consistent() {
        command(false).debug_assert();
        command(true).debug_assert();
    }

    #[test]
    fn habits_of_argparse() {
        let args = perf(
            "http://h:1 --parallel 1 10 50 --number=10 --number 1 2 3 --max_tokens 5 9 --stop a b \
             --headers k=v k2=v2 --rate -1 --stream --no-stream --temperature -0.5 --log-ev 3",
        );
        let parallel: Vec<usize> = args
            .load
            .parallel
            .unwrap()
            .iter()
            .map(|p| p.get())
            .collect();
        assert_eq!(parallel, [1, 10, 50]);
        assert_eq!(args.load.number, Some(vec![1, 2, 3]));
        assert_eq!(args.generation.max_tokens, Some(vec![5, 9]));
        assert_eq!(args.generation.stop.unwrap(), ["a", "b"]);
        assert_eq!(args.server.headers, ["k=v", "k2=v2"]);
        assert_eq!(args.server.positional_url.as_deref(), Some("http://h:1"));
        assert_eq!(args.load.rate, [-1.0]);
        assert!(args.generation.no_stream && !args.generation.stream);
        assert_eq!(args.output.log_every_n_query, 3);
    }

    #[test]
    fn lists_have_commas_or_spaces() {
        let args = perf("--parallel 1,10 50 --number 5,6,7 --rate 0.5,90/m,-1 --max-tokens 5,9");
        let parallel: Vec<usize> = args
            .load
            .parallel
            .unwrap()
            .iter()
            .map(|p| p.get())
            .collect();
        assert_eq!(parallel, [1, 10, 50]);
        assert_eq!(args.load.number, Some(vec![5, 6, 7]));
        assert_eq!(args.load.rate, [0.5, 1.5, -1.0]);
        assert_eq!(args.generation.max_tokens, Some(vec![5, 9]));
    }

    #[test]
    fn what_is_typed_is_known() {
        let typed = perf("http://h:1 --port 9 --no-stream --api openai").typed;
        assert_eq!(typed, ["positional-url", "api", "port", "no-stream"]);
    }

    #[test]
    fn switches_take_a_word() {
        assert!(perf("--stream=false").generation.no_stream);
        assert!(perf("--stream false").generation.no_stream);
        assert!(perf("--stream True").generation.stream);
        assert!(perf("--no-stream --stream true").generation.stream);
        assert!(!perf("--debug=false").output.debug);
        assert!(perf("--debug=1 --logprobs true").generation.logprobs);
    }

    #[test]
    fn a_url_ends_a_list() {
        for line in [
            "--stop a b http://h:1",
            "--number 2 2 http://h:1",
            "--headers a=b http://h:1 --stream",
        ] {
            let url = perf(line).server.positional_url;
            assert_eq!(url.as_deref(), Some("http://h:1"), "{line}");
        }
        assert_eq!(
            perf("--stop http://h:1").generation.stop.unwrap(),
            ["http://h:1"]
        );
    }

    #[test]
    fn an_empty_stop_list_is_a_list() {
        assert_eq!(perf("--stop --stream").generation.stop, Some(vec![]));
    }
}
