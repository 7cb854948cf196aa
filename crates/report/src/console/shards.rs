//! Owns the table of the processes that carried out a run together.
//!
//! It must not know how their results were put together.

use evalscope_model::metrics::Verdict;

use super::layout::{MISSING, optional, plain};
use super::screen::Paint;
use super::{Grid, Screen};
use crate::report::RunReport;

/// The processes: where each ran, how far it came, and its own figures.
pub(crate) fn shard_grid(report: &RunReport) -> Grid {
    let meta = &report.meta;
    let ms = |ns: Option<u64>| optional(ns.map(|ns| ns as f64 / 1e6));
    let rows = meta.shards.iter().map(|shard| {
        let of_shard =
            |client: &&evalscope_model::metrics::ShardClient| client.index == shard.index;
        let client = report.client.shards.iter().find(of_shard);
        let verdict = client.map(|client| match client.verdict {
            Verdict::Ok => "ok",
            Verdict::ClientLimited => "limited",
        });
        vec![
            shard.index.to_string(),
            shard.host.clone().unwrap_or_else(|| MISSING.to_owned()),
            shard.state.as_str().to_owned(),
            verdict.unwrap_or(MISSING).to_owned(),
            optional(Some(shard.requests as f64)),
            optional(client.and_then(|client| client.cpu_s)),
            optional(client.and_then(|client| client.client_lag_p99_ms)),
            optional(client.and_then(|client| Some(client.max_rss_bytes? as f64 / 1e6))),
            ms(Some(shard.offset_ns.unsigned_abs())),
            ms(shard.started_late_ns),
            optional(shard.idle_ns.map(|ns| ns as f64 / 1e9)),
        ]
    });
    let missing = meta.missing_shards.iter().map(|index| {
        let mut row = vec![index.to_string(), MISSING.to_owned(), "missing".to_owned()];
        row.resize(COLUMNS.len(), MISSING.to_owned());
        row
    });
    Grid {
        header: COLUMNS.map(str::to_owned).into(),
        rows: rows.chain(missing).collect(),
        keys: 1,
        words: 4,
    }
}

const COLUMNS: [&str; 11] = [
    "Shard",
    "Host",
    "State",
    "Client",
    "Requests",
    "CPU (s)",
    "Lag p99 (ms)",
    "Memory (MB)",
    "Clock off (ms)",
    "Late (ms)",
    "Idle at end (s)",
];

/// The table; empty for a run of one process.
#[must_use]
pub fn shards(report: &RunReport, screen: Screen) -> String {
    if report.meta.shards.is_empty() {
        return String::new();
    }
    let mut text = screen.paint(Paint::Bold, "Shards:");
    text.push('\n');
    text.push_str(&shard_grid(report).render(screen.width, plain));
    text
}

#[cfg(test)]
mod tests {
    use evalscope_model::metrics::ShardClient;

    use super::*;
    use crate::console::{Confidence, Ink};
    use crate::samples;

    const WIDE: Screen = Screen {
        width: 200,
        ink: Ink::Plain,
        confidence: Confidence::Hidden,
    };

    #[test]
    fn each_shard_has_a_row_and_so_has_one_that_is_missing() {
        let mut report = samples::report(&samples::meta("m"), samples::successes(20));
        assert_eq!(shards(&report, WIDE), "");
        report.meta.shards = vec![samples::shard(0), samples::shard(2)];
        report.meta.shards[1].offset_ns = -1_250_000;
        report.meta.shards[1].idle_ns = Some(4_100_000_000);
        report.meta.missing_shards = vec![1];
        report.client.shards = vec![ShardClient {
            index: 0,
            host: Some("host0".to_owned()),
            verdict: Verdict::ClientLimited,
            reasons: vec!["a receive thread was busy".to_owned()],
            cpu_s: Some(12.5),
            receive_busy_share: Some(0.95),
            client_lag_p99_ms: Some(3.25),
            max_rss_bytes: Some(40_000_000),
        }];
        insta::assert_snapshot!(shards(&report, WIDE));
    }
}
