//! Owns the tables of a run's requests by model and by URL.
//!
//! It must not know how sessions were spread over them.

use evalscope_model::metrics::Metric;

use super::layout::{number, optional, plain, tame};
use super::screen::Paint;
use super::{Grid, Screen};
use crate::figures::MixFigures;
use crate::report::RunReport;

const COLUMNS: [&str; 8] = [
    "Requests",
    "Failed",
    "Req/s",
    "Output\n(tok/s)",
    "TTFT\np50\n(ms)",
    "TTFT\np99\n(ms)",
    "TPOT\np50\n(ms)",
    "Latency\np99 (s)",
];

/// The names without what all of them end in: the path of URLs.
fn short_names(all: &[MixFigures]) -> Vec<&str> {
    let path = |name: &str| {
        let host = name.find("://").map(|at| at + 3)?;
        Some(host + name[host..].find('/')?)
    };
    let first = all
        .first()
        .and_then(|own| Some(&own.name[path(&own.name)?..]));
    let short = all.iter().map(|own| own.name.strip_suffix(first?));
    let short: Option<Vec<&str>> = short.collect();
    short.unwrap_or_else(|| all.iter().map(|own| own.name.as_str()).collect())
}

/// A table of models, or of URLs. Rates are over the duration of the run, so they add up to its own.
pub(crate) fn mix_grid(report: &RunReport, head: &str, all: &[MixFigures]) -> Grid {
    let duration_s = report.totals.duration_s();
    let rows = all.iter().zip(short_names(all)).map(|(own, name)| {
        let totals = &own.totals;
        let at =
            |metric, percentile: fn(&_) -> _| optional(own.metric(metric).and_then(percentile));
        let rate = |amount| totals.rate_within(amount, duration_s);
        vec![
            tame(name),
            number(totals.total as f64),
            number(totals.failed() as f64),
            optional(rate(totals.succeeded)),
            optional(rate(totals.output_tokens).filter(|_| own.knows_output())),
            at(Metric::Ttft, |of| of.p50),
            at(Metric::Ttft, |of| of.p99),
            at(Metric::Tpot, |of| of.p50),
            at(Metric::Latency, |of| of.p99),
        ]
    });
    let header = std::iter::once(head).chain(COLUMNS).map(str::to_owned);
    Grid {
        header: header.collect(),
        rows: rows.collect(),
        keys: 1,
        words: 1,
    }
}

/// The requests by model and by URL; empty if there is one of each.
#[must_use]
pub fn mix(report: &RunReport, screen: Screen) -> String {
    let tables = [
        ("By model:", "Model", &report.by_model),
        ("By URL:", "URL", &report.by_url),
    ];
    let mut text = String::new();
    for (title, head, all) in tables {
        if all.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&screen.paint(Paint::Bold, title));
        text.push('\n');
        text.push_str(&mix_grid(report, head, all).render(screen.width, plain));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::{Confidence, Ink};
    use crate::samples;

    const WIDE: Screen = Screen {
        width: 140,
        ink: Ink::Plain,
        confidence: Confidence::Hidden,
    };

    #[test]
    fn each_model_and_each_url_has_a_row() {
        let one = samples::report(&samples::meta("m"), samples::mixed(30));
        assert_eq!(mix(&one, WIDE), "");
        insta::assert_snapshot!(mix(&samples::mixed_traffic_report(30), WIDE));
    }

    /// What is said of the parts adds up to what is said of the run.
    #[test]
    fn rows_add_up_to_the_run() {
        let report = samples::mixed_traffic_report(30);
        for all in [&report.by_model, &report.by_url] {
            let sum = |of: fn(&MixFigures) -> u64| all.iter().map(of).sum::<u64>();
            assert_eq!(sum(|own| own.totals.total), report.totals.total);
            assert_eq!(sum(|own| own.totals.succeeded), report.totals.succeeded);
            assert_eq!(
                sum(|own| own.totals.output_tokens),
                report.totals.output_tokens
            );
        }
    }
}
