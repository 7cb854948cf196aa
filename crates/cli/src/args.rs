//! Owns the command line as it is typed: flags, their types, their help.
//!
//! It must not know what a combination of flags means: that is `resolve`'s.

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::choices::{ApiChoice, ApiParser, DatasetChoice, DatasetParser};
use crate::{caller, console, failure, habits, perf, report, served, sim};

/// Load-test LLM servers with numbers that are true.
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
    /// Run a program that ends when whoever started this does.
    #[command(name = "__supervise", hide = true)]
    Supervise(served::SuperviseArgs),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Perf(args) => perf::run(*args),
            Self::Sim(args) => sim::run(*args),
            Self::Report(args) => report::run(&args),
            Self::Supervise(args) => served::supervise(args),
        }
    }
}

/// Read the command line. Help, version and usage errors are printed here.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    match Cli::try_parse_from(habits::normalise(args)) {
        Ok(cli) => Ok(cli.command),
        Err(error) => {
            // a closed pipe is the reader's business
            let _ = error.print();
            let hint = nearest_flag(&error)
                .map(|nearest| format!("  hint: the nearest known flag is `--{nearest}`"));
            if let Some(hint) = &hint {
                console::err(hint);
            }
            if error.use_stderr() {
                caller::tell_error(&format!("{error}{}", hint.unwrap_or_default()));
            }
            Err(if error.use_stderr() {
                ExitCode::from(failure::USAGE)
            } else {
                ExitCode::SUCCESS
            })
        }
    }
}

/// The known flag nearest to an unknown one, where the parser itself names none.
fn nearest_flag(error: &clap::Error) -> Option<String> {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) if error.kind() == ErrorKind::UnknownArgument => flag,
        _ => return None,
    };
    if error.get(ContextKind::SuggestedArg).is_some() {
        return None;
    }
    let unknown = unknown.strip_prefix("--")?;
    let mut perf = Cli::command();
    let perf = perf.find_subcommand_mut("perf")?;
    perf.get_arguments()
        .filter_map(clap::Arg::get_long)
        .map(|flag| (strsim::jaro_winkler(flag, unknown), flag))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, flag)| flag.to_owned())
}

/// The API spoken to the server.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum Api {
    /// OpenAI chat completions or completions, as the URL says.
    Openai,
    /// Alibaba Cloud's DashScope: its native protocol, or its OpenAI-compatible one, as the URL says.
    Dashscope,
    /// Zhipu's chat API, v4. A key of the form id.secret signs a short-lived token.
    Zhipu,
    /// OpenAI's, to a simulated server that is started for the command.
    LocalSim,
    /// OpenAI's, to `transformers serve`, which is started with --model for the command.
    Local,
    /// OpenAI's, to `vllm serve`, likewise.
    LocalVllm,
}

/// How a model that is served here computes attention.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum Attention {
    /// The library flash-attn, which has to be installed.
    #[value(name = "flash_attention_2")]
    FlashAttention2,
    /// Plain operations.
    Eager,
    /// Those of torch.
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
    /// Each line a prompt, a JSON list of messages, or a JSON request body; needs --dataset-path.
    LineByLine,
    /// Each line of a text file a prompt, or --prompt-field of a file of records; needs
    /// --dataset-path.
    Custom,
    /// Random text of exact length; needs --tokenizer-path.
    Random,
    /// The same with random pictures; needs --tokenizer-path.
    RandomVl,
    /// Photographs with captions.
    Flickr8k,
    /// Pictures with instructions.
    KontextBench,
    /// Chinese conversations, each with its whole history.
    ShareGptZh,
    /// English conversations, each with its whole history.
    ShareGptEn,
    /// Prompts of 1, 6144, 14336 and 30720 characters, two of each, for a table of speeds.
    SpeedBenchmark,
    /// Prompts of 63488 and 129024 characters, likewise.
    SpeedBenchmarkLong,
    /// 1000 built-in prompts: a hundred English and Chinese ones, short to long, then short ones.
    Sample,
}

/// A hub of data sets and models.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub(crate) enum DataSource {
    /// modelscope.cn.
    Modelscope,
    /// huggingface.co.
    Huggingface,
    /// Nothing is fetched.
    Local,
}

/// Where figures are followed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub(crate) enum Visualizer {
    /// Weights & Biases.
    Wandb,
    /// `SwanLab`.
    Swanlab,
    /// `ClearML`.
    Clearml,
}

/// What a tracker is given at the end.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrackerFiles {
    /// No file: figures only.
    None,
    /// Files of figures, and the log.
    Reports,
    /// Also the databases, with every prompt and answer, and the logs of --debug and of a server.
    Db,
}

/// Which bodies the database keeps.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// Every request and response.
    All,
    /// Those of failed requests.
    Failed,
    /// None.
    None,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// URL of the server, instead of --url.
    #[arg(value_name = "URL", conflicts_with = "url")]
    pub(crate) positional_url: Option<String>,

    /// URL of the endpoint; by default `http://127.0.0.1:8877/v1/chat/completions`, or the API's own.
    /// Without a known ending it is completed: `http://host:8000` becomes
    /// `http://host:8000/v1/chat/completions`.
    #[arg(long)]
    pub(crate) url: Option<String>,

    /// Name of the model, as the server knows it. Required, but for `local_sim`. For `local` and
    /// `local_vllm` a folder, or the id of a hub.
    #[arg(long)]
    pub(crate) model: Option<String>,

    /// API of the server: one of these, a file that declares one (FILE.toml), or a plugin (FILE.py,
    /// FILE.py:NAME, exec:COMMAND, unix:SOCKET).
    #[arg(long, value_parser = ApiParser, default_value = "openai")]
    pub(crate) api: ApiChoice,

    /// Key, sent as `Authorization: Bearer`. Never printed or stored. [default: `EVALSCOPE_API_KEY` of
    /// the environment]
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,

    /// Further headers of every request; those that `ps` must not show in `EVALSCOPE_HEADERS` of the
    /// environment, one in each line.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., action = ArgAction::Set)]
    pub(crate) headers: Vec<String>,

    /// Longest time to make a connection, seconds. [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) connect_timeout: Option<f64>,

    /// Longest silence of the server, seconds: before the first byte, and between two reads. Set it
    /// above the longest time to first token you can accept. [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) read_timeout: Option<f64>,

    /// Longest time of a whole request, seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "21600")]
    pub(crate) total_timeout: f64,

    /// Start without a test request. The test finds a wrong URL, key or model in seconds.
    #[arg(long)]
    pub(crate) no_test_connection: bool,

    /// Do not check the server's certificate.
    #[arg(long, conflicts_with = "ca_cert")]
    pub(crate) insecure: bool,

    /// Trust the certificates of this PEM file too.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,

    /// TCP port that `local` and `local_vllm` serve the model on.
    #[arg(long, default_value = "8877", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    /// How `local` computes attention. [default: what transformers chooses]
    #[arg(long, value_enum)]
    pub(crate) attn_implementation: Option<Attention>,

    /// Let `local` and `local_vllm` run code that comes with the model.
    #[arg(long)]
    pub(crate) trust_remote_code: bool,

    /// Longest time until `local` and `local_vllm` have loaded the model, seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1800")]
    pub(crate) server_start_timeout: f64,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Requests in flight at a time. Several values make a sweep, one run each.
    #[arg(long, value_name = "N", num_args = 1.., action = ArgAction::Set, default_value = "1",
          allow_negative_numbers = true)]
    pub(crate) parallel: Vec<NonZeroUsize>,

    /// Requests of each run; as many values as --parallel. For a p99 worth its name take 1000 or
    /// more. [default: 1000]
    #[arg(short, long, value_name = "N", num_args = 1.., action = ArgAction::Set,
          allow_negative_numbers = true)]
    pub(crate) number: Option<Vec<u64>>,

    /// Mean arrivals per second of a Poisson process that feeds the --parallel slots; -1 for no
    /// pacing. One value for all runs, or one for each.
    #[arg(long, value_name = "PER_SECOND", num_args = 1.., action = ArgAction::Set,
          default_value = "-1", allow_negative_numbers = true)]
    pub(crate) rate: Vec<f64>,

    /// Stop sending after this many seconds; requests in flight may end.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Option<f64>,

    /// Requests sent first and left out of every figure; below 1, a share of --number. Take at
    /// least --parallel to warm every slot.
    #[arg(long, value_name = "N", default_value = "0", value_parser = warmup)]
    pub(crate) warmup_num: f64,

    /// Pause between the runs of a sweep, seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero, default_value = "5")]
    pub(crate) sleep_interval: f64,

    /// Give exit code 1 when more than this share of the requests fails: 0.01 or 1%.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) max_error_rate: Option<f64>,

    /// Give up when every request has failed for this long, seconds; 0 for never. A server that is
    /// gone then does not use up the requests.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero, default_value = "60")]
    pub(crate) give_up_after: f64,

    /// Threads that receive. [default: one for each core]
    #[arg(long, value_name = "N")]
    pub(crate) client_threads: Option<NonZeroUsize>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Prompts")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that is typed or not"
)]
pub(crate) struct PromptArgs {
    /// Where prompts come from: one of these, or a plugin (FILE.py, FILE.py:NAME, exec:COMMAND,
    /// unix:SOCKET).
    #[arg(long, value_parser = DatasetParser, default_value = "openqa")]
    pub(crate) dataset: DatasetChoice,

    /// File or folder of the data set, instead of fetching it.
    #[arg(long, value_name = "PATH")]
    pub(crate) dataset_path: Option<PathBuf>,

    /// Field that is the prompt, of a JSON list, JSON Lines, CSV or Parquet of your own; with
    /// --dataset-path and --dataset custom, which may be left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt_field: Option<String>,

    /// Pass over lines, items and rows of a file that are not what they must be, instead of
    /// refusing the file. A warning in the results counts them.
    #[arg(long)]
    pub(crate) skip_bad_lines: bool,

    /// Where data sets and tokenizers are fetched from. [default: modelscope; huggingface where
    /// `HF_ENDPOINT` is set]
    #[arg(long, value_enum)]
    pub(crate) data_source: Option<DataSource>,

    /// Tokenizer: a folder with tokenizer.json, the file itself, or a hub's id such as
    /// Qwen/Qwen2.5-0.5B-Instruct. For random prompts, for lengths in tokens, and to count what the
    /// server does not tell.
    #[arg(long, value_name = "PATH_OR_ID")]
    pub(crate) tokenizer_path: Option<String>,

    /// Send prompts as ids of tokens, to /v1/completions; needs --tokenizer-path.
    #[arg(long)]
    pub(crate) tokenize_prompt: bool,

    /// Random tokens that begin every prompt of a run, on top of its length; for random data sets.
    #[arg(long, value_name = "TOKENS", default_value = "0")]
    pub(crate) prefix_length: u64,

    /// Every run of a sweep takes the same prompts: the server's prefix cache will be warm.
    #[arg(long)]
    pub(crate) repeat_prompts: bool,

    /// Pictures of each prompt of `random_vl`.
    #[arg(long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u32).range(..=1024))]
    pub(crate) image_num: u32,

    /// Width of the pictures of `random_vl`, pixels.
    #[arg(long, value_name = "PIXELS", default_value = "224")]
    pub(crate) image_width: u32,

    /// Height of the pictures of `random_vl`, pixels.
    #[arg(long, value_name = "PIXELS", default_value = "224")]
    pub(crate) image_height: u32,

    /// Pixels of the pictures of `random_vl`: RGB, RGBA, L, LA, P, 1 or I;16. The file is a PNG.
    #[arg(long, value_name = "MODE", default_value = "RGB")]
    pub(crate) image_format: String,

    /// Side of the square of a picture that is estimated as one token, pixels.
    #[arg(long, value_name = "PIXELS", default_value = "28")]
    pub(crate) image_patch_size: NonZeroU32,

    /// One prompt for all requests, or @FILE. Goes before --dataset.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,

    /// Request body as JSON, or @FILE. %m and %p in its strings become the model and the prompt;
    /// without %p, `messages` is replaced. Flags that are typed override its fields.
    #[arg(long, value_name = "JSON")]
    pub(crate) query_template: Option<String>,

    /// Leave out prompts that are shorter: in tokens with --tokenizer-path, else in characters. For
    /// random data sets the shortest prompt, in tokens. --prompt is always sent. [default: 0]
    #[arg(long, value_name = "LENGTH")]
    pub(crate) min_prompt_length: Option<usize>,

    /// Leave out prompts that are longer, likewise. [default: 131072; random prompts have 1024
    /// tokens where neither length is given]
    #[arg(long, value_name = "LENGTH")]
    pub(crate) max_prompt_length: Option<usize>,

    /// Send messages rather than a plain prompt. [default: when the URL ends in chat/completions]
    #[arg(long, overrides_with = "no_apply_chat_template")]
    pub(crate) apply_chat_template: bool,

    /// Send a plain prompt.
    #[arg(long, hide = true, overrides_with = "apply_chat_template")]
    pub(crate) no_apply_chat_template: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Generation")]
pub(crate) struct GenerationArgs {
    /// Most tokens of an answer; two values draw uniformly between them for each request.
    /// [default: 2048]
    #[arg(long, value_name = "N", num_args = 1..=2, action = ArgAction::Set,
          allow_negative_numbers = true)]
    pub(crate) max_tokens: Option<Vec<u64>>,

    /// Fewest tokens of an answer. Not every server knows this.
    #[arg(long, value_name = "N")]
    pub(crate) min_tokens: Option<u64>,

    /// Sampling temperature. [default: 0]
    #[arg(long, allow_negative_numbers = true, value_parser = finite)]
    pub(crate) temperature: Option<f64>,

    /// Nucleus sampling.
    #[arg(long, allow_negative_numbers = true, value_parser = finite)]
    pub(crate) top_p: Option<f64>,

    /// Sample from this many tokens.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) top_k: Option<i64>,

    /// Penalty of frequent tokens.
    #[arg(long, allow_negative_numbers = true, value_parser = finite)]
    pub(crate) frequency_penalty: Option<f64>,

    /// Penalty of repetition.
    #[arg(long, allow_negative_numbers = true, value_parser = finite)]
    pub(crate) repetition_penalty: Option<f64>,

    /// Ask for log probabilities.
    #[arg(long)]
    pub(crate) logprobs: bool,

    /// Choices of each answer.
    #[arg(long, value_name = "N")]
    pub(crate) n_choices: Option<u64>,

    /// Seed of every random draw, and of the server's sampling. Two commands with the same seed send
    /// the same random prompts. [default: drawn for each command, and not sent]
    #[arg(long)]
    pub(crate) seed: Option<u64>,

    /// Texts that end generation.
    #[arg(long, num_args = 0.., action = ArgAction::Set)]
    pub(crate) stop: Option<Vec<String>>,

    /// Ids of tokens that end generation.
    #[arg(long, value_name = "ID", num_args = 0.., action = ArgAction::Set)]
    pub(crate) stop_token_ids: Option<Vec<u64>>,

    /// Stream the answers; TTFT, TPOT and ITL need it. This is the default.
    #[arg(long, overrides_with = "no_stream")]
    pub(crate) stream: bool,

    /// Do not stream the answers.
    #[arg(long, overrides_with = "stream")]
    pub(crate) no_stream: bool,

    /// Further fields of the request body, as JSON; null deletes a field.
    #[arg(long, value_name = "JSON")]
    pub(crate) extra_args: Option<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Folder of all results.
    #[arg(long, value_name = "DIR", default_value = "outputs")]
    pub(crate) outputs_dir: PathBuf,

    /// Follow the run elsewhere; needs Python with the package `evalscope` and that library.
    #[arg(long, value_enum)]
    pub(crate) visualizer: Option<Visualizer>,

    /// Key of Weights & Biases; means --visualizer wandb. Better in `WANDB_API_KEY`.
    #[arg(long, value_name = "KEY")]
    pub(crate) wandb_api_key: Option<String>,

    /// Key of `SwanLab`, or local for a board on this machine; means --visualizer swanlab. Better in
    /// `SWANLAB_API_KEY`.
    #[arg(long, value_name = "KEY")]
    pub(crate) swanlab_api_key: Option<String>,

    /// A `SwanLab` server of your own. Also `SWANLAB_HOST`.
    #[arg(long, value_name = "URL")]
    pub(crate) swanlab_host: Option<String>,

    /// Files that --visualizer uploads.
    #[arg(long, value_enum, default_value = "reports")]
    pub(crate) tracker_files: TrackerFiles,

    /// Name of this invocation's folder, and of the experiment elsewhere. [default: the model's]
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// No folder named by date and time between --outputs-dir and the name.
    #[arg(long)]
    pub(crate) no_timestamp: bool,

    /// Bodies to keep in the database.
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) record_bodies: Bodies,

    /// Log progress every so many requests.
    #[arg(long, value_name = "N", default_value = "100")]
    pub(crate) log_every_n_query: u64,

    /// Log every request and every event of its answer.
    #[arg(long)]
    pub(crate) debug: bool,
}

#[derive(Args, Debug)]
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
}

fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("a finite number is wanted".to_owned()),
    }
}

fn warmup(text: &str) -> Result<f64, String> {
    match finite(text) {
        Ok(value) if (0.0..=1e9).contains(&value) => Ok(value),
        _ => Err("a number of requests up to 10⁹, or a share below 1, is wanted".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match seconds_or_zero(text) {
        Ok(value) if value > 0.0 => Ok(value),
        _ => Err("a number of seconds above 0 is wanted".to_owned()),
    }
}

fn seconds_or_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1e9).contains(&value) => Ok(value),
        _ => Err("a number of seconds from 0 to 10⁹ is wanted".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>().map(|n| n / unit) {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("a share from 0 to 1, or 0% to 100%, is wanted".to_owned()),
    }
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
        match Cli::try_parse_from(habits::normalise(args))
            .unwrap()
            .command
        {
            Command::Perf(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn habits_of_argparse() {
        let args = perf(
            "http://h:1 --parallel 1 10 50 --number=10 --number 1 2 3 --max_tokens 5 9 --stop a b \
             --headers k=v k2=v2 --rate -1 --stream --no-stream --temperature -0.5 --log-ev 3",
        );
        let parallel: Vec<usize> = args.load.parallel.iter().map(|p| p.get()).collect();
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
    fn an_empty_stop_list_is_a_list() {
        assert_eq!(perf("--stop --stream").generation.stop, Some(vec![]));
    }
}
