//! Names of figures: each once, and none lost.

use super::*;

#[test]
fn every_key_has_a_name_and_none_stands_twice() {
    let mut keys: Vec<_> = SUMMARY_KEYS.iter().map(|f| f.key().unwrap()).collect();
    assert_eq!(
        keys.len(),
        TABLE.iter().filter(|row| row.key.is_some()).count()
    );
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), SUMMARY_KEYS.len());
}

/// The rows of the reference tool's first summary table, but the database's.
#[test]
fn no_row_of_the_first_tables_is_lost() {
    let first: Vec<_> = Figure::all().filter_map(Figure::first_label).collect();
    for row in [
        "Time taken for tests (senconds)",
        "Number of concurrency",
        "Total requests",
        "Succeed requests",
        "Failed requests",
        "Average QPS",
        "Average latency",
        "Average time to first token",
        "Throughput(average output tokens per second)",
        "Average time per output token",
        "Average package per request",
        "Average package latency",
        "Average input tokens per request",
        "Average output tokens per request",
        "Expected number of requests",
    ] {
        assert!(first.contains(&row), "{row}");
    }
}
