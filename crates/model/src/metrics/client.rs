//! Owns the verdict on the client: do the figures show the server, or the client itself?

use serde::{Deserialize, Serialize};

use super::histogram::LogHistogram;
use super::{Distribution, RunTotals};

/// Resolution of the handling-delay histogram: at most 1.6 % error.
pub const HANDLING_BITS: u32 = 5;

/// Above this p99 of the client's own lag, a request's time in the server's queue no longer follows
/// the schedule. inference-perf documents 10 ms.
pub const CLIENT_LAG_LIMIT_MS: f64 = 10.0;

/// Above this p99 between a byte's arrival and its handling, slots refill late and, without kernel
/// timestamps, the latencies themselves are distorted.
const HANDLING_LIMIT_MS: f64 = 10.0;

/// Above this share of its time a receive thread is near its limit.
const BUSY_LIMIT: f64 = 0.9;

/// What the client observed about itself during a run. Counters only grow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientSnapshot {
    /// From the kernel's arrival time to user space, nanoseconds, one sample per read.
    pub handling: LogHistogram,
    /// Reads stamped by the kernel.
    pub kernel_reads: u64,
    /// Reads stamped by the user clock.
    pub user_reads: u64,
    /// Steps of the wall clock detected between two reads.
    pub clock_steps: u64,
    /// CPU time of this process since the run began, user and system, seconds.
    pub cpu_s: f64,
    /// CPU time of each receive thread, seconds; empty in runs of earlier versions.
    #[serde(default)]
    pub receive_cpu_s: Vec<f64>,
    /// Time since the run began, seconds.
    pub elapsed_s: f64,
    /// Peak resident memory of this process, bytes.
    pub max_rss_bytes: u64,
    /// Number of receive threads.
    pub client_threads: u64,
    /// How long requests that could have been sent waited for their bodies, summed over the slots,
    /// in the measured phase, seconds.
    #[serde(default)]
    pub feed_wait_s: f64,
}

impl ClientSnapshot {
    /// The figures of several processes that measured one run together; `None` for none.
    #[must_use]
    pub fn sum(parts: &[Self]) -> Option<Self> {
        let (first, rest) = parts.split_first()?;
        let mut sum = first.clone();
        for part in rest {
            sum.kernel_reads += part.kernel_reads;
            sum.user_reads += part.user_reads;
            sum.clock_steps += part.clock_steps;
            sum.cpu_s += part.cpu_s;
            sum.receive_cpu_s.extend(&part.receive_cpu_s);
            sum.elapsed_s = sum.elapsed_s.max(part.elapsed_s);
            sum.max_rss_bytes += part.max_rss_bytes;
            sum.client_threads += part.client_threads;
            sum.feed_wait_s += part.feed_wait_s;
        }
        if !rest.is_empty() {
            let handling = parts.iter().map(|part| &part.handling);
            sum.handling = LogHistogram::sum(HANDLING_BITS, handling);
        }
        Some(sum)
    }
}

/// Whether the client may have been the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing suggests so.
    Ok,
    /// Some figures may show the client rather than the server.
    ClientLimited,
}

/// The client's own figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClientReport {
    /// The judgement.
    pub verdict: Verdict,
    /// Reasons why it is not `ok`.
    pub reasons: Vec<String>,
    /// Which clock stamped the arrivals: `kernel`, `user`, or `mixed`.
    pub clock: String,
    /// From a byte's arrival in the kernel to user space. Missing without kernel timestamps.
    pub handling_delay_ms: HandlingDelay,
    /// CPU time, user and system, seconds.
    pub cpu_s: Option<f64>,
    /// Share of the time that the busiest receive thread was busy; 1 means without a pause. Other
    /// threads (database, bodies, plugins) are in `cpu_s` only.
    pub receive_busy_share: Option<f64>,
    /// Peak resident memory, bytes.
    pub max_rss_bytes: Option<u64>,
    /// Share of token-bearing events that arrived in the same read as an earlier one.
    pub coalesced_share: Option<f64>,
    /// How long free slots waited for bodies, summed over them, seconds: the dataset or the code
    /// that builds bodies was too slow.
    pub feed_wait_s: Option<f64>,
    /// Steps of the wall clock during the run; none of them affected a latency.
    pub clock_steps: u64,
    /// Those of each process, where several carried out the run together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardClient>,
}

/// The figures of one of the processes that carried out a run together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShardClient {
    /// Its number, from 0.
    pub index: u32,
    /// The machine that it ran on; `null` where the system does not say.
    pub host: Option<String>,
    /// The judgement.
    pub verdict: Verdict,
    /// Reasons why it is not `ok`.
    pub reasons: Vec<String>,
    /// CPU time, user and system, seconds.
    pub cpu_s: Option<f64>,
    /// Share of the time that its busiest receive thread was busy.
    pub receive_busy_share: Option<f64>,
    /// 99th percentile of its own lag, milliseconds.
    pub client_lag_p99_ms: Option<f64>,
    /// Peak resident memory, bytes.
    pub max_rss_bytes: Option<u64>,
}

impl ShardClient {
    /// The figures of a shard, judged on its own.
    #[must_use]
    pub fn of(
        index: u32,
        host: Option<String>,
        own: ClientReport,
        client_lag: &Distribution,
    ) -> Self {
        Self {
            index,
            host,
            verdict: own.verdict,
            reasons: own.reasons,
            cpu_s: own.cpu_s,
            receive_busy_share: own.receive_busy_share,
            client_lag_p99_ms: client_lag.p99,
            max_rss_bytes: own.max_rss_bytes,
        }
    }
}

/// Percentiles of the handling delay, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HandlingDelay {
    /// Reads with a kernel timestamp.
    pub count: u64,
    /// Median.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
}

impl ClientReport {
    /// Judge a run by its own lag, its handling delay and its CPU share.
    #[must_use]
    pub fn judge(
        snapshot: Option<&ClientSnapshot>,
        totals: &RunTotals,
        client_lag: &Distribution,
    ) -> Self {
        let at = |p| {
            snapshot
                .and_then(|s| s.handling.quantile(p))
                .map(|ns| ns / 1e6)
        };
        let handling = HandlingDelay {
            count: snapshot.map_or(0, |s| s.handling.count()),
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        };
        let busiest = snapshot
            .filter(|s| s.elapsed_s > 0.0)
            .and_then(|s| Some(s.receive_cpu_s.iter().copied().reduce(f64::max)? / s.elapsed_s));
        let clock = match (totals.kernel_clock, totals.user_clock) {
            (0, _) => "user",
            (_, 0) => "kernel",
            _ => "mixed",
        };
        let mut reasons = Vec::new();
        if let Some(lag) = client_lag.p99.filter(|lag| *lag > CLIENT_LAG_LIMIT_MS) {
            reasons.push(format!(
                "1 % of the requests were sent {lag:.1} ms or more after they could have been (limit {CLIENT_LAG_LIMIT_MS} ms)"
            ));
        }
        if let Some(delay) = handling.p99.filter(|delay| *delay > HANDLING_LIMIT_MS) {
            reasons.push(format!(
                "1 % of the reads were handled {delay:.1} ms or more after the bytes arrived (limit {HANDLING_LIMIT_MS} ms)"
            ));
        }
        // a run of a few milliseconds is nothing but start-up
        let long_enough = snapshot.is_some_and(|s| s.elapsed_s >= 1.0);
        if let Some(share) = busiest.filter(|share| long_enough && *share > BUSY_LIMIT) {
            reasons.push(format!(
                "a receive thread was busy {:.0} % of the time (limit {:.0} %): raise `--client-threads`, \
                 or lower the load",
                share * 100.0,
                BUSY_LIMIT * 100.0
            ));
        }
        Self {
            verdict: if reasons.is_empty() {
                Verdict::Ok
            } else {
                Verdict::ClientLimited
            },
            reasons,
            clock: clock.to_owned(),
            handling_delay_ms: handling,
            cpu_s: snapshot.map(|s| s.cpu_s),
            receive_busy_share: busiest,
            max_rss_bytes: snapshot.map(|s| s.max_rss_bytes),
            coalesced_share: totals.coalesced_share(),
            feed_wait_s: snapshot.map(|s| s.feed_wait_s),
            clock_steps: snapshot.map_or(0, |s| s.clock_steps),
            shards: Vec::new(),
        }
    }

    /// The same for a run of several processes: the judgement is the worst of theirs.
    #[must_use]
    pub fn of_shards(mut self, shards: Vec<ShardClient>) -> Self {
        if shards.is_empty() {
            return self;
        }
        let limited = shards
            .iter()
            .filter(|s| s.verdict == Verdict::ClientLimited);
        let reasons = limited.flat_map(|shard| {
            let reasons = shard.reasons.iter();
            reasons.map(|reason| match &shard.host {
                Some(host) => format!("shard {} on {host}: {reason}", shard.index),
                None => format!("shard {}: {reason}", shard.index),
            })
        });
        self.reasons = reasons.collect();
        self.verdict = if self.reasons.is_empty() {
            Verdict::Ok
        } else {
            Verdict::ClientLimited
        };
        self.shards = shards;
        self
    }
}
