use std::collections::BTreeMap;

use evalscope_model::events::{LoadSnapshot, Snapshot};
use proptest::prelude::*;

use super::*;
use crate::samples;

fn facts(run: &str, model: &str) -> RunFacts {
    RunFacts {
        labels: Labels {
            run: run.to_owned(),
            model: model.to_owned(),
            shard: None,
        },
        concurrency: Some(5),
        started_unix_s: 1_769_832_000.123,
    }
}

/// Two runs: one that is over, and one that begins.
fn runs() -> [RunMetrics; 2] {
    let mut over = RunMetrics::new(facts("parallel_5_number_40", "m"));
    for exchange in samples::mixed(40) {
        over.on(&RunEvent::Exchange(Box::new(exchange)));
    }
    over.on(&RunEvent::Snapshot(Box::new(Snapshot {
        client: samples::client(100_000),
        load: LoadSnapshot {
            in_flight: 3,
            ..LoadSnapshot::default()
        },
    })));
    over.set_done(1.0);
    over.end(RunState::Finished);
    let begun = RunFacts {
        concurrency: None,
        ..facts("rate_5.0_number_20", "a\\b \"c\"\nd")
    };
    let begun = RunFacts {
        labels: Labels {
            shard: Some("0/2".to_owned()),
            ..begun.labels
        },
        ..begun
    };
    [over, RunMetrics::new(begun)]
}

/// The text, without the version.
fn settled(format: Format) -> String {
    text(&runs(), format).replace(env!("CARGO_PKG_VERSION"), "[VERSION]")
}

#[test]
fn the_text_format() {
    insta::assert_snapshot!(settled(Format::Text));
}

#[test]
fn the_text_of_open_metrics() {
    insta::assert_snapshot!(settled(Format::OpenMetrics));
}

#[test]
fn counts_are_the_totals_of_the_report() {
    let mut run = RunMetrics::new(facts("r", "m"));
    let mut totals = RunTotals::default();
    for exchange in samples::mixed(40) {
        if exchange.record.phase == Phase::Measured {
            totals.push(&exchange.record);
        }
        run.on(&RunEvent::Exchange(Box::new(exchange)));
    }
    let page = text(&[run], Format::Text);
    let requests: u64 = page
        .lines()
        .filter(|line| line.starts_with("evalscope_requests_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(requests, totals.total);
    assert!(totals.failed() > 0);
}

#[test]
fn the_format_is_the_one_that_is_preferred() {
    let text = Format::Text;
    let open = Format::OpenMetrics;
    for (accept, want) in [
        ("", text),
        ("*/*", text),
        ("text/plain", text),
        // Prometheus 2.42 and 3.0
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            open,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            open,
        ),
        (
            "text/plain;version=0.0.4;q=0.9, application/openmetrics-text; q=0.4",
            text,
        ),
        ("application/openmetrics-text;q=0", text),
        ("application/openmetrics-text;q=x", text),
        ("Application/OpenMetrics-Text", open),
    ] {
        assert_eq!(Format::accepted(accept), want, "{accept}");
    }
}

#[test]
fn every_metric_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/watching.md");
    let document = std::fs::read_to_string(path).unwrap();
    let page = text(&runs(), Format::Text);
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for line in names {
        let (name, kind) = line.split_once(' ').unwrap();
        let row = document
            .lines()
            .find(|row| row.starts_with("| ") && row.contains(&format!("`{name}")));
        let row = row.unwrap_or_else(|| panic!("no row for `{name}`"));
        assert!(row.contains(&format!("| {kind} |")), "{row}");
    }
}

/// Every name in a query of the dashboard is a sample of the page.
#[test]
fn the_dashboard_asks_for_what_there_is() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../contrib/grafana/evalscope.json"
    );
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let page = text(&runs(), Format::Text);
    let samples: Vec<&str> = page
        .lines()
        .filter_map(|line| line.split('{').next())
        .collect();
    let mut names = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for name in words.filter(|word| word.starts_with("evalscope_")) {
                assert!(samples.contains(&name), "{name} in {query}");
                names += 1;
            }
        }
    }
    assert!(names > 14, "{names}");
}

/// The samples of a histogram: what stands at each bound, the sum and the count.
fn samples_of(page: &str) -> (BTreeMap<String, u64>, f64, u64) {
    let mut bounds = BTreeMap::new();
    let (mut sum, mut count) = (0.0, 0);
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        if let Some(rest) = name.split("le=\"").nth(1) {
            let bound = rest.trim_end_matches("\"}").to_owned();
            bounds.insert(bound, value.parse().unwrap());
        } else if name.contains("_sum") {
            sum = value.parse().unwrap();
        } else {
            count = value.parse().unwrap();
        }
    }
    (bounds, sum, count)
}

proptest! {
    /// Whatever the values: a bucket has those up to its bound, the last one has all, and so has the
    /// count.
    #[test]
    fn buckets_are_cumulative(values in prop::collection::vec(0.0..1e6_f64, 0..200)) {
        for bounds in [&LATENCY_S[..], &LAG_S[..]] {
            let mut buckets = Buckets::new(bounds);
            for value in &values {
                buckets.record(*value);
            }
            // one on each bound
            for bound in bounds {
                buckets.record(*bound);
            }
            let all: Vec<f64> = values.iter().chain(bounds).copied().collect();
            let mut page = Page::new(Format::Text);
            buckets.write(&mut page, &[("run", "r")]);
            let (counts, sum, count) = samples_of(&page.finish());
            prop_assert_eq!(count, all.len() as u64);
            prop_assert_eq!(counts.len(), bounds.len() + 1);
            for (bound, found) in counts {
                let bound = bound.parse::<f64>().unwrap_or(f64::INFINITY);
                let within = all.iter().filter(|value| **value <= bound).count();
                prop_assert_eq!(found, within as u64);
            }
            let want: f64 = all.iter().sum();
            prop_assert!((sum - want).abs() <= 1e-9 * want.max(1.0));
        }
    }
}
