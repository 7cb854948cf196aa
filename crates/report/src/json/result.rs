//! Owns `result.json`: everything that a command has measured, with a schema.

use std::collections::BTreeMap;

use evalscope_model::metrics::{
    ClientReport, Comparison, ConversationFigures, Goodput, Metric, TraceFigures, TurnRow,
};
use evalscope_model::record::TokenSource;
use evalscope_model::search::SearchRecord;
use serde::Serialize;
use serde_json::Value;

use super::figures::{Load, Metrics, PlateauResult, Segment};
use super::mix::MixResult;
use super::throughput::Throughput;
use crate::console;
use crate::figures::{MixFigures, WithoutPlateau};
use crate::findings::Finding;
use crate::model::{FORMAT_VERSION, Host, RunState, ShardMeta, Tool};
use crate::repeats::Repeats;
use crate::report::{ErrorGroup, RunReport};
use crate::together::Together;

/// `result.json`: everything that a command has measured.
#[derive(Debug, Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(title = "result.json", deny_unknown_fields)
)]
pub struct ResultFile<'a> {
    /// Version of this format. A higher one may have dropped or changed keys.
    pub format_version: u32,
    /// The program that measured.
    pub tool: &'a Tool,
    /// The machine that measured the first run; `null` if an earlier version measured it.
    pub host: Option<&'a Host>,
    /// The command of the first run as it was typed, quoted for a shell, secrets masked; `null` if
    /// an earlier version measured it.
    pub command_line: Option<&'a str>,
    /// What the user gave with `--metadata`, for the first run.
    pub metadata: &'a BTreeMap<String, String>,
    /// Start of the first run: RFC 3339, local time with offset.
    pub started_at: &'a str,
    /// End of the last run: RFC 3339, local time with offset; `null` if it is not recorded.
    pub ended_at: Option<&'a str>,
    /// The settings of the first run as resolved, secrets masked.
    pub settings: &'a Value,
    /// What the runs suggest to do next, in sentences; empty for a single run.
    pub advice: Vec<String>,
    /// The runs, in the order they were started in.
    pub runs: Vec<RunResult<'a>>,
    /// What the repeated runs of each load come to (`--repeats`); empty without repeats.
    pub repeats: &'a [Repeats],
    /// The search for the largest load that the runs were the probes of (`--sla-auto-tune`); `null`
    /// without one.
    pub search: Option<&'a SearchRecord>,
}

/// One run.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct RunResult<'a> {
    /// Name of the run and of its folder.
    pub name: &'a str,
    /// How far it came.
    pub state: RunState,
    /// Its start: RFC 3339, local time with offset.
    pub started_at: &'a str,
    /// Its end: RFC 3339, local time with offset; `null` if it is not recorded.
    pub ended_at: Option<&'a str>,
    /// The machine that measured it; `null` if an earlier version measured it.
    pub host: Option<&'a Host>,
    /// Its command as it was typed, quoted for a shell, secrets masked; `null` if an earlier version measured it.
    pub command_line: Option<&'a str>,
    /// What the user gave with `--metadata`.
    pub metadata: &'a BTreeMap<String, String>,
    /// The model asked for; several are separated by commas.
    pub model: &'a str,
    /// The API spoken.
    pub api: &'a str,
    /// Where its requests went, without user, password and secret parameters; several are separated by
    /// commas.
    pub url: &'a str,
    /// The dataset that the prompts came from.
    pub dataset: &'a str,
    /// The load asked for, and with `--rate` what became of it.
    pub load: Load,
    /// The requests of each segment of the profile, by when they were due; empty without a profile,
    /// and for one of more than 200 segments.
    pub segments: Vec<Segment<'a>>,
    /// The requests by the model that they ask for; empty if all ask for the same.
    pub by_model: Vec<MixResult<'a>>,
    /// The requests by the URL that they were sent to; empty for a single one.
    pub by_url: Vec<MixResult<'a>>,
    /// Requests by outcome.
    pub counts: Counts,
    /// First dispatch to last end, failures included, seconds; `null` without requests.
    pub duration_s: Option<f64>,
    /// What the server delivered, over the duration.
    pub throughput: Throughput,
    /// The distribution of every metric, by its key.
    pub metrics: Metrics<'a>,
    /// The part of the run in which the server was as loaded as it was meant to be; `null` if there
    /// is none.
    pub plateau: Option<PlateauResult<'a>>,
    /// Why there is no plateau.
    pub no_plateau: Option<WithoutPlateau>,
    /// How many requests met the objective (`--slo`); `null` without one.
    pub goodput: Option<&'a Goodput>,
    /// The figures of its conversations; `null` for single requests.
    pub conversations: Option<&'a ConversationFigures>,
    /// Requests by the turn of a conversation that they are; empty for single requests.
    pub turns: &'a [TurnRow],
    /// How true the replay was to its trace; `null` without one.
    pub trace: Option<&'a TraceFigures>,
    /// Token sums over successes.
    pub tokens: Tokens,
    /// Successes by why generation ended, in the server's words; `none` where it gave none.
    pub finish_reasons: &'a BTreeMap<String, u64>,
    /// Successes by the model that the response names.
    pub models: &'a BTreeMap<String, u64>,
    /// The largest number of choices in a response.
    pub most_choices: u64,
    /// Connections and where they went.
    pub connections: Connections,
    /// Failures by kind and message, the most frequent first, 50 at most.
    pub errors: Vec<ErrorResult<'a>>,
    /// Failures in none of these groups.
    pub errors_not_shown: u64,
    /// The client's own figures, and the judgement on them.
    pub client: &'a ClientReport,
    /// The processes that carried out the run together, if it was merged from their databases.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(test, schemars(default))]
    pub shards: &'a [ShardMeta],
    /// The numbers of those whose databases were missing.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(test, schemars(default))]
    pub missing_shards: &'a [u32],
    /// What a reader of the figures must know.
    pub warnings: &'a [Finding],
}

/// Requests by outcome.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Counts {
    /// Were sent, and succeeded or failed.
    pub total: u64,
    /// Succeeded.
    pub succeeded: u64,
    /// Failed.
    pub failed: u64,
    /// Were due and never sent, since the run ended before; not in `total`.
    pub not_sent: u64,
    /// Were due while as many were in flight as may be, and were not sent; not in `total`.
    pub shed: u64,
    /// Were given up, at the end of the drain timeout or when the run was stopped; not in `total`.
    pub unfinished: u64,
    /// Turns whose prompt was longer than the server's context: the ends of their conversations; not
    /// in `total`.
    pub context_limit: u64,
    /// Failed, by kind.
    pub by_kind: BTreeMap<String, u64>,
}

/// Token sums over successes; `null` if nothing is known.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Tokens {
    /// Of the prompts.
    pub input: Option<u64>,
    /// Generated.
    pub output: Option<u64>,
    /// Of the prompts, from the server's cache.
    pub cached: Option<u64>,
    /// Generated, as reasoning.
    pub reasoning: Option<u64>,
    /// Successes by where their count of output tokens comes from.
    pub sources: Sources,
    /// Lengths of prompts, asked for against seen by the server; `null` where no length was asked
    /// for, or none was reported.
    pub prompt_lengths: Option<Compared>,
    /// Output tokens, counted with a tokenizer here against reported by the server; `null` if no
    /// request has both.
    pub counted_output: Option<Compared>,
}

/// Two counts of the same tokens, over the successes that have both.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Compared {
    /// Requests with both counts.
    pub requests: u64,
    /// Share of them where the two agree, 0 to 1.
    pub equal_share: f64,
    /// Mean of our count: asked for, or counted here.
    pub ours_mean_tokens: f64,
    /// Mean of the server's count.
    pub server_mean_tokens: f64,
    /// Greatest difference of one request.
    pub max_difference_tokens: u64,
}

impl Compared {
    fn of(comparison: &Comparison) -> Option<Self> {
        let (ours_mean_tokens, server_mean_tokens) = comparison.means()?;
        Some(Self {
            requests: comparison.requests,
            equal_share: comparison.equal_share()?,
            ours_mean_tokens,
            server_mean_tokens,
            max_difference_tokens: comparison.max_difference,
        })
    }
}

/// Successes by where their count of output tokens comes from.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Sources {
    /// The server's `usage`.
    pub server_usage: u64,
    /// The plugin of `--api`, which read the whole response.
    pub plugin: u64,
    /// A tokenizer on the client's side, after the response had ended.
    pub local_tokenizer: u64,
    /// One token for each token-bearing event: an estimate.
    pub event_count: u64,
    /// Nothing is known.
    pub unknown: u64,
}

/// Connections of the measured requests.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Connections {
    /// Connections made.
    pub opened: u64,
    /// By the address they went to, 64 at most: that of the server, or of the proxy.
    pub addresses: BTreeMap<String, AddressTotals>,
}

/// What went to one address.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct AddressTotals {
    /// Requests sent.
    pub requests: u64,
    /// Connections made.
    pub connections: u64,
}

/// Failures of one kind with one message.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct ErrorResult<'a> {
    /// The kind.
    pub kind: String,
    /// The message.
    pub message: &'a str,
    /// How many.
    pub count: u64,
    /// The first 4096 bytes of what the server said to the first of them.
    pub example: Option<&'a str>,
}

impl<'a> ResultFile<'a> {
    /// What a command's runs amount to; `None` without a run. The runs are
    /// given in the order they were started in.
    #[must_use]
    pub fn new(runs: &'a [RunReport], together: &'a Together) -> Option<Self> {
        let (first, last) = (runs.first()?, runs.last()?);
        Some(Self {
            format_version: FORMAT_VERSION,
            tool: &first.meta.tool,
            host: first.meta.host.as_ref(),
            command_line: first.meta.command_line.as_deref(),
            metadata: &first.meta.metadata,
            started_at: &first.meta.started_at,
            ended_at: last.ended_at.as_deref(),
            settings: &first.meta.settings,
            advice: console::advice(runs),
            runs: runs.iter().map(RunResult::new).collect(),
            repeats: &together.repeats,
            search: together.search.as_ref(),
        })
    }
}

impl<'a> RunResult<'a> {
    fn new(report: &'a RunReport) -> Self {
        let meta = &report.meta;
        let totals = &report.totals;
        let sources = &totals.token_sources;
        let mix =
            |all: &'a [MixFigures]| all.iter().map(|own| MixResult::of(report, own)).collect();
        let source = |source: TokenSource| sources.get(source.as_str()).copied().unwrap_or(0);
        Self {
            name: &meta.name,
            state: report.state,
            started_at: &meta.started_at,
            ended_at: report.ended_at.as_deref(),
            host: meta.host.as_ref(),
            command_line: meta.command_line.as_deref(),
            metadata: &meta.metadata,
            model: &meta.model,
            api: &meta.api,
            url: &meta.url,
            dataset: &meta.dataset,
            load: Load::of(report),
            segments: report.segments.iter().map(Segment::of).collect(),
            by_model: mix(&report.by_model),
            by_url: mix(&report.by_url),
            counts: Counts {
                total: totals.total,
                succeeded: totals.succeeded,
                failed: totals.failed(),
                not_sent: totals.not_sent,
                shed: totals.shed,
                unfinished: totals.unfinished,
                context_limit: totals.context_limit,
                by_kind: totals
                    .failed_by_kind
                    .iter()
                    .map(|(kind, n)| (kind.to_string(), *n))
                    .collect(),
            },
            duration_s: (totals.total > 0).then(|| totals.duration_s()),
            throughput: Throughput::of(report),
            metrics: Metrics(report),
            plateau: report.plateau.as_ref().ok().map(PlateauResult::of),
            no_plateau: report.plateau.as_ref().err().copied(),
            goodput: report.goodput.as_ref(),
            conversations: report.conversations.as_ref(),
            turns: &report.turns,
            trace: report.trace.as_ref(),
            tokens: Tokens {
                input: (totals.input_known > 0).then_some(totals.input_tokens),
                output: (report.metric(Metric::OutputTokens).count > 0)
                    .then_some(totals.output_tokens),
                cached: totals.cached_tokens,
                reasoning: totals.reasoning_tokens,
                sources: Sources {
                    server_usage: source(TokenSource::ServerUsage),
                    plugin: source(TokenSource::Plugin),
                    local_tokenizer: source(TokenSource::LocalTokenizer),
                    event_count: source(TokenSource::EventCount),
                    unknown: source(TokenSource::Unknown),
                },
                prompt_lengths: Compared::of(&totals.prompt_lengths),
                counted_output: Compared::of(&totals.counted_output),
            },
            finish_reasons: &totals.finish_reasons,
            models: &totals.models,
            most_choices: totals.most_choices,
            connections: Connections {
                opened: totals.new_connections,
                addresses: totals
                    .peers
                    .iter()
                    .map(|(address, peer)| {
                        let address_totals = AddressTotals {
                            requests: peer.requests,
                            connections: peer.connections,
                        };
                        (address.to_string(), address_totals)
                    })
                    .collect(),
            },
            errors: report.errors.iter().map(ErrorResult::of).collect(),
            errors_not_shown: report.errors_not_shown,
            client: &report.client,
            shards: &meta.shards,
            missing_shards: &meta.missing_shards,
            warnings: &report.warnings,
        }
    }
}

impl<'a> ErrorResult<'a> {
    fn of(group: &'a ErrorGroup) -> Self {
        Self {
            kind: group.kind.to_string(),
            message: &group.message,
            count: group.count,
            example: group.example.as_deref(),
        }
    }
}
