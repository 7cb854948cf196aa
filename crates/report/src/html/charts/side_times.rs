//! Owns the charts of a comparison at one load, in which the times of several sides are overlaid: percentiles, and
//! times over the run.
//!
//! It must not know verdicts, nor where runs come from.

use std::collections::BTreeMap;

use evalscope_model::metrics::Metric;

use super::chart::{Drawn, Group, Table};
use super::context::{Context, Sketch, cell, value_of};
use super::distribution::{percentile_label, positive_scale};
use super::sides::{line, panel};
use crate::console::number;
use crate::html::scale::Scale;
use crate::html::svg::{self, Dash, Height, Panel};

/// All sides at one load, the base first.
#[derive(Clone, Debug)]
pub struct PointOfSides {
    /// The sides.
    pub sides: Vec<SideOfPoint>,
}

/// The requests of all runs of a side at one load, together.
#[derive(Clone, Debug)]
pub struct SideOfPoint {
    /// What it is called.
    pub name: String,
    /// By metric, in the unit of its key.
    pub lines: BTreeMap<Metric, Lines>,
}

/// Median and 99th percentile of a tenth of a run; missing where it has too few samples.
pub(super) type Tenth = (Option<f64>, Option<f64>);

/// How the times of a metric are distributed.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Values by percentile, 0 to 1.
    pub percentiles: Vec<(f64, f64)>,
    /// Median and 99th percentile of all of them.
    pub ends: Option<(f64, f64)>,
    /// Median and 99th percentile of each tenth of the run.
    pub tenths: Vec<Tenth>,
}

/// The metrics of a point's charts that a side has times of.
fn metrics(point: &PointOfSides) -> Vec<Metric> {
    let all = [
        Metric::Ttft,
        Metric::Tpot,
        Metric::Itl,
        Metric::Latency,
        Metric::LatencyFromSchedule,
    ];
    let has = |metric: &Metric| {
        point
            .sides
            .iter()
            .any(|side| side.lines.contains_key(metric))
    };
    all.into_iter().filter(has).collect()
}

/// Values over percentiles: a panel for each metric, a line for each side.
pub(super) fn percentiles(context: &Context<'_>, point: &PointOfSides) -> Drawn {
    let (id, group) = ("o3", Group::Latency);
    let title = context.text("o3.title");
    let metrics = metrics(point);
    if metrics.is_empty() {
        return Err(context.without(id, group, title, "no_distributions"));
    }
    let mut panels = Vec::new();
    let mut description = Vec::new();
    let mut rows = Vec::new();
    for metric in metrics {
        let mut marks = Vec::new();
        let mut cut = 0.5_f64;
        for (nth, side) in point.sides.iter().enumerate() {
            let Some(lines) = side.lines.get(&metric) else {
                continue;
            };
            let above = |(p, value): &(f64, f64)| (*p, Some(*value).filter(|value| *value > 0.0));
            cut = lines.percentiles.last().map_or(cut, |(p, _)| cut.max(*p));
            marks.push(line(
                &side.name,
                nth,
                Dash::nth(nth),
                lines.percentiles.iter().map(above).collect(),
            ));
            let Some((p50, p99)) = lines.ends else {
                continue;
            };
            description.push(context.fill(
                "o3.description",
                &[
                    &context.name(metric),
                    &side.name,
                    &value_of(metric, p50),
                    &value_of(metric, p99),
                ],
            ));
            rows.push(vec![
                context.with_unit(metric),
                side.name.clone(),
                number(p50),
                number(p99),
            ]);
        }
        let x = Scale::nines(cut);
        let ticks = x
            .ticks()
            .iter()
            .map(|share| percentile_label(*share))
            .collect();
        panels.push(Panel {
            title: String::new(),
            height: Height::Half,
            x: svg::Axis {
                ticks,
                ..svg::Axis::new(x, context.text("axis.percentile"))
            },
            y: svg::Axis::new(positive_scale(&marks), context.with_unit(metric)),
            marks,
        });
    }
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description,
        columns: 2,
        panels,
        table: Table {
            header: vec![
                String::new(),
                context.text("o1.side"),
                "p50".to_owned(),
                "p99".to_owned(),
            ],
            rows,
        },
    }))
}

/// Median and 99th percentile of each tenth of the runs: a panel for each metric.
pub(super) fn over_the_run(context: &Context<'_>, point: &PointOfSides) -> Drawn {
    let (id, group) = ("o4", Group::Latency);
    let title = context.text("o4.title");
    let metrics = metrics(point);
    if metrics.is_empty() {
        return Err(context.without(id, group, title, "no_distributions"));
    }
    let mut panels = Vec::new();
    let mut description = Vec::new();
    let mut rows = Vec::new();
    for metric in metrics {
        let mut marks = Vec::new();
        for (nth, side) in point.sides.iter().enumerate() {
            let Some(lines) = side.lines.get(&metric) else {
                continue;
            };
            let tenths = &lines.tenths;
            // in the middle of each part
            let at = |part: usize| 100.0 * (part as f64 + 0.5) / tenths.len() as f64;
            let of = |value: fn(&Tenth) -> Option<f64>| {
                let points = tenths.iter().enumerate();
                points
                    .map(|(part, own)| (at(part), value(own)))
                    .collect::<Vec<_>>()
            };
            let values = [
                ("p50", Dash::Solid, of(|own| own.0)),
                ("p99", Dash::Long, of(|own| own.1)),
            ];
            for (name, dash, points) in values {
                if points.iter().any(|(_, value)| value.is_some()) {
                    marks.push(line(&format!("{} {name}", side.name), nth, dash, points));
                }
            }
            let first = tenths.first().and_then(|own| own.0);
            let last = tenths.last().and_then(|own| own.0);
            if let Some((first, last)) = first.zip(last) {
                description.push(context.fill(
                    "o4.description",
                    &[
                        &context.name(metric),
                        &side.name,
                        &value_of(metric, first),
                        &value_of(metric, last),
                    ],
                ));
            }
            let medians = tenths.iter().map(|own| cell(own.0));
            rows.push(
                [context.with_unit(metric), format!("{} p50", side.name)]
                    .into_iter()
                    .chain(medians)
                    .collect(),
            );
        }
        let x = svg::Axis::new(Scale::exact(0.0, 100.0, 5), context.text("o4.axis"));
        panels.push(panel(&context.with_unit(metric), x, marks));
    }
    let parts = rows.iter().map(Vec::len).max().unwrap_or(2) - 2;
    for row in &mut rows {
        row.resize(parts + 2, cell(None));
    }
    let ends = (1..=parts).map(|part| format!("{} %", number(100.0 * part as f64 / parts as f64)));
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description,
        columns: 2,
        panels,
        table: Table {
            header: [String::new(), context.text("o1.side")]
                .into_iter()
                .chain(ends)
                .collect(),
            rows,
        },
    }))
}
