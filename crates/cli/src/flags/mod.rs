//! Owns the command line as it is typed: flags in groups, their types, their help.
//!
//! It must not know what a combination of flags means: `resolve` does.

pub(crate) mod values;

pub(crate) mod choices;
pub(crate) mod rates;

pub(crate) mod argparse;
pub(crate) mod conversations;
pub(crate) mod generation;
pub(crate) mod load;
pub(crate) mod mistakes;
pub(crate) mod objective;
pub(crate) mod output;
pub(crate) mod prompts;
pub(crate) mod search;
pub(crate) mod server;
pub(crate) mod shard;

use clap::Args;

use self::conversations::ConversationArgs;
use self::generation::GenerationArgs;
use self::load::LoadArgs;
use self::objective::ObjectiveArgs;
use self::output::OutputArgs;
use self::prompts::PromptArgs;
use self::search::SearchArgs;
use self::server::ServerArgs;
use self::shard::ShardArgs;

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
    pub(crate) conversations: ConversationArgs,
    #[command(flatten)]
    pub(crate) objective: ObjectiveArgs,
    #[command(flatten)]
    pub(crate) search: SearchArgs,
    #[command(flatten)]
    pub(crate) prompts: PromptArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) shard: ShardArgs,
    /// The names of the flags given on the command line.
    #[arg(skip)]
    pub(crate) typed: Vec<String>,
    /// The words of the command line behind `perf`.
    #[arg(skip)]
    pub(crate) words: Vec<String>,
}
