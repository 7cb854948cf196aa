//! Owns the `sim` subcommand: its flags, and running the simulated server until it is stopped.
//!
//! It must not know how the server works: the `evalscope_sim` crate does.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use evalscope_sim::{
    BatchItl, CacheBlocks, Drift, Fault, Injection, Pause, Prepared, Profile, Service,
    ServiceSpread, SimConfig, SpreadKind, Timing, ToolCalls, Totals,
};
use tokio_util::sync::CancellationToken;

use crate::console;
use crate::flags::values::{finite, places, small, whole};

/// Run a simulated LLM server with known latencies.
///
/// It serves chat and text completions with the latencies and faults given here, and can log when
/// it really wrote each token, so that the results of a load test can be compared with the truth.
///
/// It speaks OpenAI's protocol (/v1/chat/completions, /v1/completions and
/// /compatible-mode/v1/chat/completions), DashScope's own
/// (/api/v1/services/aigc/text-generation/generation and
/// /api/v1/services/aigc/multimodal-generation/generation) and Zhipu's
/// (/api/paas/v4/chat/completions); also OpenAI's Responses (/v1/responses), Anthropic's Messages
/// (/v1/messages), embeddings (/v1/embeddings) and reranking (/v1/rerank). With --tokenizer-path it has vLLM's /tokenize and /detokenize
/// too. A fault looks as it would in the protocol of the request.
#[derive(clap::Args, Debug)]
#[command(after_long_help = fault_help(), allow_negative_numbers = true)]
pub(crate) struct SimArgs {
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    latency: LatencyFlags,
    #[command(flatten)]
    capacity: CapacityFlags,
    #[command(flatten)]
    responses: ResponseFlags,
    #[command(flatten)]
    faults: FaultFlags,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Server")]
struct ServerFlags {
    /// Address to listen on. With a loopback address other machines cannot connect.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,

    /// TCP port to listen on; 0 picks a free one, printed on stdout.
    #[arg(long, default_value_t = 8877, value_parser = small::<u16>)]
    port: u16,

    /// Name of the model that /v1/models lists. Requests may name any model.
    #[arg(long, value_name = "NAME", default_value = "sim")]
    model: String,

    /// Respond with 401 to requests without this key in `Authorization: Bearer`. If it has the form
    /// id.secret, Zhipu's path also accepts tokens signed with the secret.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,

    /// Threads that serve connections. One is enough for thousands of slow streams; more help
    /// only when the server itself is the bottleneck.
    #[arg(long, value_name = "THREADS", default_value = "1", value_parser = places)]
    threads: NonZeroUsize,

    /// Write the truth of each request to this file, one JSON line each, in raw monotonic
    /// nanoseconds: when it was read, when its service began and ended, how many slots were busy,
    /// and when each token was written. An existing file is replaced.
    #[arg(long, value_name = "FILE")]
    truth_log: Option<PathBuf>,

    /// Log the SHA-256 of each request body too.
    #[arg(long, requires = "truth_log")]
    truth_bodies: bool,

    /// Log the value of this request header too. May be repeated.
    #[arg(long = "log-header", value_name = "NAME", requires = "truth_log")]
    log_headers: Vec<String>,

    /// Name of the request header that identifies a conversation; its value is in the truth log.
    #[arg(long, value_name = "NAME")]
    conversation_header: Option<String>,

    /// Name of a response header that gives each response a token of its own. The truth log has
    /// the token, and whether the next request of the conversation sent it back in the header of the
    /// same name. Without --conversation-header, the requests of a connection are one conversation
    /// as long as their number of messages grows.
    #[arg(long, value_name = "NAME")]
    session_token_header: Option<String>,

    /// Random seed; the same seed and order of requests give the same latencies, words and faults.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = whole)]
    seed: u64,

    /// Stop when stdin is closed, so that the server ends with the process that holds the pipe.
    #[arg(long)]
    exit_with_parent: bool,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Latency")]
struct LatencyFlags {
    /// Time to first token of an empty prompt, in milliseconds; 20 to 200 is usual for a model on
    /// one GPU. With 0 here and for --prefill-tok-s and --itl-ms the server is as fast as it can
    /// be.
    #[arg(long, value_name = "MS", default_value_t = 50.0, value_parser = finite)]
    ttft_ms: f64,

    /// Prefill speed in prompt tokens per second, which adds to the time to first token; 0 for no
    /// prefill time. Without --tokenizer-path, four characters count as one token.
    #[arg(long, value_name = "TOKENS/S", default_value_t = 20_000.0, value_parser = finite)]
    prefill_tok_s: f64,

    /// Extra time between the first and the second token, in milliseconds: the hand-off between the
    /// servers of disaggregated prefill and decode.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 0.0,
        value_parser = finite,
        conflicts_with = "batch_itl"
    )]
    pd_handoff_ms: f64,

    /// Mean inter-token latency, in milliseconds; 10 is 100 tokens per second.
    /// The timer's resolution is 1 ms.
    #[arg(long, value_name = "MS", default_value_t = 10.0, value_parser = finite)]
    itl_ms: f64,

    /// Distribution of the inter-token latency: constant, normal, or log-normal (never negative, with
    /// a long tail, closest to a real server).
    #[arg(long, value_name = "DISTRIBUTION", default_value_t = SpreadKind::Constant)]
    itl_dist: SpreadKind,

    /// Standard deviation of the inter-token latency divided by its mean; not used by the constant
    /// distribution. 0.2 is a quiet server, 1 a very noisy one.
    #[arg(long, value_name = "RATIO", default_value_t = 0.2, value_parser = finite)]
    itl_cv: f64,

    /// Slow down over time: with 10%/min everything takes 10 % longer one minute after the first
    /// request, and 20 % longer after two. The unit may also be s or h. [default: no drift]
    #[arg(long, value_name = "PERCENT%/UNIT")]
    drift: Option<Drift>,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Capacity")]
struct CapacityFlags {
    /// Maximum number of requests served at once; others wait in order of arrival. Choose a small
    /// number to see a sweep saturate. [default: no limit]
    #[arg(long, value_name = "REQUESTS", value_parser = places)]
    slots: Option<NonZeroUsize>,

    /// Mean service time of a whole request, in milliseconds. The utilisation is then known: request
    /// rate × mean / slots. The last token is due at the end of the service time; the latencies
    /// above are stretched to fit, whatever the number of tokens. [default: given by the latencies]
    #[arg(long, value_name = "MS", value_parser = finite)]
    service_ms: Option<f64>,

    /// Distribution of the service time: constant, exp, lognormal:CV or gamma:CV, where CV is the
    /// standard deviation divided by the mean. [default: constant]
    #[arg(long, value_name = "DISTRIBUTION", requires = "service_ms")]
    service_dist: Option<ServiceSpread>,

    /// Batch continuously: requests are served in steps, each of which takes T0 + T1 × running
    /// requests, in milliseconds, and gives each of them a token. A step first prefills at most one
    /// waiting prompt, at --prefill-tok-s, and all others wait for it. Requests join the queue
    /// --ttft-ms after they came.
    #[arg(
        long,
        value_name = "T0,T1",
        conflicts_with_all = ["service_ms", "itl_ms", "itl_dist", "itl_cv"]
    )]
    batch_itl: Option<BatchItl>,

    /// Maximum number of connections. Further ones are not accepted: they wait in the operating
    /// system's backlog, established but unread, until another connection ends. [default: no limit]
    #[arg(long, value_name = "CONNECTIONS", value_parser = places)]
    max_connections: Option<NonZeroUsize>,

    /// Size of the prefix cache, in blocks of 16 tokens, or inf. 0 is no cache. A prompt that begins with cached
    /// blocks of earlier prompts and responses needs prefill only for the rest, and its usage has
    /// their tokens as `cached_tokens`. The least recently used blocks make room for new ones.
    /// At the end, the cached share of all prompt tokens is printed.
    #[arg(long, value_name = "BLOCKS", default_value = "0")]
    cache_blocks: CacheBlocks,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Responses")]
struct ResponseFlags {
    /// Exact number of tokens of every response, whatever the request asks for.
    #[arg(long, value_name = "TOKENS", value_parser = output_tokens)]
    output_tokens: Option<u32>,

    /// Number of tokens of a response if the request sets no limit.
    #[arg(
        long,
        value_name = "TOKENS",
        default_value_t = 128,
        value_parser = output_tokens
    )]
    default_output_tokens: u32,

    /// Count prompt tokens with this tokenizer: a `tokenizer.json`, or a directory with one and
    /// optionally `tokenizer_config.json` and a chat template. Without a template, `ChatML` is used.
    /// Without this flag, four characters count as one token.
    #[arg(long, value_name = "PATH")]
    tokenizer_path: Option<PathBuf>,

    /// Prompt tokens of each image. Real models use from 85 to a few thousand, depending on its size.
    #[arg(long, value_name = "TOKENS", default_value_t = 0, value_parser = small::<u32>)]
    image_tokens: u32,

    /// Context window, in tokens. Requests whose prompt and `max_tokens` exceed it get 400, in vLLM's
    /// words. [default: no limit]
    #[arg(long, value_name = "TOKENS", value_parser = places)]
    max_model_len: Option<NonZeroUsize>,

    /// Share of the responses to chat requests with `tools` that are a tool call, from 0 to 1; or
    /// `always` for every chat response, even without `tools`.
    #[arg(long, value_name = "SHARE", default_value = "0")]
    tool_calls: ToolCalls,

    /// How many of the first tokens of each chat response are reasoning, in `reasoning_content`. At
    /// least one token is not.
    #[arg(long, value_name = "TOKENS", default_value_t = 0, value_parser = small::<u32>)]
    reasoning_tokens: u32,

    /// Respond with 400 to requests with `stream_options`, as old servers do.
    #[arg(long)]
    reject_stream_options: bool,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Faults")]
struct FaultFlags {
    /// Fault to inject: NAME for every request, NAME:every=N for each N-th, NAME:p=P with a
    /// probability from 0 to 1; or pause:2s@30s to stop the whole server for 2 s, 30 s after its
    /// first request. May be repeated; the first rule that hits a request wins. --help lists the
    /// names.
    #[arg(long = "fault", value_name = "RULE")]
    faults: Vec<Injection>,

    /// Number of requests without faults at the start, such as a test request.
    #[arg(long, value_name = "REQUESTS", default_value_t = 0, value_parser = whole)]
    fault_after: u64,

    /// Length of the pause of the stall faults, in milliseconds. Choose more than the timeout of the
    /// client under test.
    #[arg(long, value_name = "MS", default_value_t = 3_600_000, value_parser = whole)]
    stall_ms: u64,
}

/// The length of a response, in tokens.
fn output_tokens(text: &str) -> Result<u32, String> {
    let value = small::<u32>(text).ok();
    let value = value.filter(|tokens| (1..=1 << 20).contains(tokens));
    value.ok_or_else(|| "expected a whole number from 1 to 1048576".to_owned())
}

fn fault_help() -> String {
    use std::fmt::Write as _;
    let list = |oddity: bool| {
        Fault::ALL
            .iter()
            .filter(|fault| fault.is_oddity() == oddity)
            .fold(String::new(), |mut text, fault| {
                write!(text, "\n  {:<24}{}", fault.name(), fault.describe())
                    .expect("a String takes all");
                text
            })
    };
    format!(
        "Fault of the whole server:\n  {:<24}Nothing is read, written or worked on, as if the process \
         were stopped.\n\nFaults that a client must report:{}\n\nOddities that a client must tolerate:{}",
        Pause::NAME,
        list(false),
        list(true)
    )
}

impl SimArgs {
    fn config(self) -> SimConfig {
        let (mut faults, mut pauses) = (Vec::new(), Vec::new());
        for injection in self.faults.faults {
            match injection {
                Injection::Rule(rule) => faults.push(rule),
                Injection::Pause(pause) => pauses.push(pause),
            }
        }
        SimConfig {
            profile: Profile {
                ttft_ms: self.latency.ttft_ms,
                prefill_tokens_per_s: self.latency.prefill_tok_s,
                pd_handoff_ms: self.latency.pd_handoff_ms,
                itl_ms: self.latency.itl_ms,
                spread: self.latency.itl_dist.with_cv(self.latency.itl_cv),
                timing: self.capacity.timing(),
                drift: self.latency.drift.unwrap_or_default(),
                slots: self.capacity.slots,
                output_tokens: self.responses.output_tokens,
                default_output_tokens: self.responses.default_output_tokens,
                seed: self.server.seed,
            },
            model: self.server.model,
            faults,
            fault_after: self.faults.fault_after,
            pauses,
            stall: Duration::from_millis(self.faults.stall_ms),
            role_first: true,
            api_key: self.server.api_key,
            reject_stream_options: self.responses.reject_stream_options,
            tokenizer: self.responses.tokenizer_path,
            image_tokens: self.responses.image_tokens,
            cache_blocks: self.capacity.cache_blocks,
            max_model_len: self
                .responses
                .max_model_len
                .map(|tokens| tokens.get() as u64),
            tool_calls: self.responses.tool_calls,
            reasoning_tokens: self.responses.reasoning_tokens,
            truth_log: self.server.truth_log,
            keeps_truth: false,
            truth_bodies: self.server.truth_bodies,
            log_headers: self.server.log_headers,
            conversation_header: self.server.conversation_header,
            session_token_header: self.server.session_token_header,
            max_connections: self.capacity.max_connections,
            threads: self.server.threads,
        }
    }
}

impl CapacityFlags {
    fn timing(&self) -> Timing {
        match (self.service_ms, self.batch_itl) {
            (Some(mean_ms), _) => Timing::Service(Service {
                mean_ms,
                spread: self.service_dist.unwrap_or_default(),
            }),
            (None, Some(itl)) => Timing::Batch(itl),
            (None, None) => Timing::Latencies,
        }
    }
}

/// Serves until SIGINT, SIGTERM or, if so asked, the end of stdin.
pub(crate) fn run(args: SimArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the simulated server")?;
    runtime.block_on(serve(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: SimArgs) -> anyhow::Result<()> {
    let address = SocketAddr::new(args.server.host, args.server.port);
    let exit_with_parent = args.server.exit_with_parent;
    let caches = args.capacity.cache_blocks != CacheBlocks::None;
    // Before the address is printed: who reads it expects the server to respond.
    if let Some(path) = &args.server.truth_log {
        std::fs::File::create(path)
            .with_context(|| format!("cannot write the truth log {}", path.display()))?;
    }
    let prepared = Prepared::new(args.config())?;

    let listener = evalscope_sim::bind(address)?;
    let address = listener
        .local_addr()
        .context("cannot read the address of the server")?;
    if !address.ip().is_loopback() {
        console::err(&format!(
            "warning: {address} is not a loopback address: other machines can reach this server"
        ));
    }

    let shutdown = CancellationToken::new();
    if exit_with_parent {
        stop_at_end_of_stdin(shutdown.clone())?;
    }
    // Before the line below: a reader of that line may send the signal at once.
    let stop_signal = StopSignal::listen()?;
    console::out(&format!("listening on http://{address}"));

    let served = evalscope_sim::serve(listener, prepared, shutdown.clone());
    tokio::pin!(served);
    let served = tokio::select! {
        outcome = &mut served => outcome?,
        () = stop_signal.received() => {
            shutdown.cancel();
            served.await?
        }
    };
    if caches {
        console::out(&cached_share(served));
    }
    Ok(())
}

/// How much of all prompts was in the prefix cache.
fn cached_share(served: Totals) -> String {
    let share = match served.prompt_tokens {
        0 => 0.0,
        prompt_tokens => served.cached_tokens as f64 / prompt_tokens as f64,
    };
    format!(
        "prefix cache: {} of {} prompt tokens of {} requests ({:.1} %)",
        served.cached_tokens,
        served.prompt_tokens,
        served.requests,
        share * 1e2
    )
}

/// Tokio's stdin would keep the runtime from ending; this thread ends with the process.
fn stop_at_end_of_stdin(shutdown: CancellationToken) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut ignored = [0; 4096];
            let mut stdin = std::io::stdin().lock();
            while let Ok(1..) = stdin.read(&mut ignored) {}
            shutdown.cancel();
        })
        .context("cannot start the thread that watches stdin")?;
    Ok(())
}

/// The signals that stop the server.
struct StopSignal {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopSignal {
    #[cfg(unix)]
    fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("cannot listen for stop signals");
        Ok(StopSignal {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    #[cfg(unix)]
    async fn received(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn listen() -> anyhow::Result<Self> {
        Ok(StopSignal {})
    }

    #[cfg(not(unix))]
    async fn received(self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without the signal only the end of stdin stops the server.
            std::future::pending::<()>().await;
        }
    }
}
