//! Owns what all charts are made with: texts, names of metrics, values as text, and the step from a
//! drawing to a chart.
//!
//! It must not know what any chart shows.

use evalscope_model::metrics::Metric;

use super::chart::{Chart, Group, NoChart, Table, Words};
use crate::console::number;
use crate::html::svg::{self, Drawing, Panel};
use crate::series::Missing;

/// Rows of the table of a chart of a run.
pub(super) const MOST_ROWS: usize = 10;
/// Rows of the table of a chart of a sweep.
pub(super) const MOST_RUNS: usize = 50;

/// Texts, and a prefix that makes ids unique on the page.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) words: &'a dyn Words,
    pub(super) prefix: &'a str,
}

/// A chart before it is drawn.
pub(super) struct Sketch {
    pub(super) id: &'static str,
    pub(super) group: Group,
    pub(super) title: String,
    pub(super) description: Vec<String>,
    pub(super) columns: usize,
    pub(super) panels: Vec<Panel>,
    pub(super) table: Table,
}

impl Context<'_> {
    /// A text of a chart.
    pub(super) fn text(&self, key: &str) -> String {
        self.words.text(&format!("chart.{key}")).to_owned()
    }

    /// A text of a chart with its places filled in.
    pub(super) fn fill(&self, key: &str, with: &[&str]) -> String {
        let mut filled = String::new();
        let text = self.text(key);
        let mut rest = text.as_str();
        // what is filled in may have braces itself
        while let Some((before, after)) = rest.split_once('{') {
            filled += before;
            let (place, after) = after.split_once('}').unwrap_or((after, ""));
            let nth = place.parse::<usize>().ok();
            filled += nth.and_then(|nth| with.get(nth).copied()).unwrap_or("");
            rest = after;
        }
        filled + rest
    }

    /// The name of a metric.
    pub(super) fn name(&self, metric: Metric) -> String {
        self.text(&format!("metric.{}", metric.key()))
    }

    /// The name of a metric with its unit.
    pub(super) fn with_unit(&self, metric: Metric) -> String {
        format!("{} ({})", self.name(metric), unit(metric))
    }

    /// A chart of a sketch.
    pub(super) fn chart(&self, sketch: Sketch) -> Chart {
        // Chinese sentences have no space between them
        let description = sketch.description.join(" ").replace("。 ", "。");
        let drawing = Drawing {
            id: format!("{}{}", self.prefix, sketch.id),
            columns: sketch.columns,
            panels: sketch.panels,
        };
        Chart {
            id: sketch.id,
            group: sketch.group,
            svg: svg::draw(&drawing),
            title: sketch.title,
            description,
            drawing: drawing.id,
            table: sketch.table,
        }
    }

    /// Why there is no chart: the key of the reason.
    pub(super) fn without(
        &self,
        id: &'static str,
        group: Group,
        title: String,
        why: &str,
    ) -> NoChart {
        NoChart {
            id,
            group,
            title,
            why: self.text(&format!("why.{why}")),
        }
    }
}

/// The key of a reason.
pub(super) fn why(missing: Missing) -> &'static str {
    match missing {
        Missing::NoRequests => "no_requests",
        Missing::NoSuccess => "no_success",
        Missing::NotStreamed => "not_streamed",
        Missing::NoSchedule => "no_schedule",
        Missing::NoTokenCounts => "no_token_counts",
        Missing::TooFewSamples => "too_few_samples",
    }
}

/// The unit of a metric's key.
pub(super) fn unit(metric: Metric) -> &'static str {
    if metric.key().ends_with("_ms") {
        "ms"
    } else {
        "s"
    }
}

/// A value of a metric with its unit.
pub(super) fn value_of(metric: Metric, value: f64) -> String {
    format!("{} {}", number(value), unit(metric))
}

/// A value that may be missing, in a table.
pub(super) fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

/// At most [`MOST_ROWS`] ranges of equal length that cover so many items.
pub(super) fn ranges(items: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let step = items.div_ceil(MOST_ROWS).max(1);
    (0..items)
        .step_by(step)
        .map(move |from| from..(from + step).min(items))
}

/// The largest of the values that are known.
pub(super) fn largest<'a>(values: impl IntoIterator<Item = &'a Option<f64>>) -> Option<f64> {
    values
        .into_iter()
        .filter_map(|value| *value)
        .reduce(f64::max)
}

/// The median of the values that are known.
pub(super) fn median<'a>(values: impl IntoIterator<Item = &'a Option<f64>>) -> Option<f64> {
    let mut known: Vec<f64> = values.into_iter().filter_map(|value| *value).collect();
    known.sort_by(f64::total_cmp);
    known.get(known.len() / 2).copied()
}
