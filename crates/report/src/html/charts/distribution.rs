//! Owns the charts of a metric's distribution: R1, its percentiles, and R2, its values over time.
//!
//! It must not know how percentiles are computed.

use evalscope_model::metrics::{Metric, PERCENTILE_ROWS};
use evalscope_model::slo::SloFigure;

use super::chart::{Drawn, Group, Table};
use super::context::{Context, Sketch, cell, largest, median, ranges, unit, value_of, why};
use super::time::{Time, Warmup};
use crate::console::number;
use crate::html::scale::Scale;
use crate::html::svg::{Axis, Dash, Height, Mark, Panel, Tone};
use crate::report::RunReport;
use crate::series::{Curve, Missing, OverTime, RunSeries, WITH_CURVES};

/// Milliseconds of a metric's unit.
fn ms_of(metric: Metric) -> f64 {
    if unit(metric) == "s" { 1000.0 } else { 1.0 }
}

/// R1: value over percentile, a line for each metric.
pub(super) fn curve(context: &Context<'_>, run: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r1", Group::Latency);
    let title = context.text("r1.title");
    let curves: Vec<(usize, Metric, &Curve)> = WITH_CURVES
        .into_iter()
        .enumerate()
        .filter_map(|(nth, metric)| Some((nth, metric, series.curves.get(&metric)?.as_ref().ok()?)))
        .filter(|(_, _, curve)| !curve.points.is_empty())
        .collect();
    if curves.is_empty() {
        let latency = series.curves.get(&Metric::Latency);
        let missing = latency.and_then(|curve| curve.as_ref().err());
        let key = missing.map_or("too_few_samples", |missing| why(*missing));
        return Err(context.without(id, group, title, key));
    }
    let mut marks = Vec::new();
    for (nth, metric, curve) in &curves {
        let ms = ms_of(*metric);
        marks.push(Mark::Line {
            name: context.name(*metric),
            tone: Tone(*nth),
            dash: Dash::nth(*nth),
            markers: false,
            points: curve
                .points
                .iter()
                .map(|point| (point.p, Some(point.value * ms).filter(|value| *value > 0.0)))
                .collect(),
        });
    }
    marks.extend(limits(context, run));
    let cut = curves
        .iter()
        .filter_map(|(_, _, curve)| Some(curve.points.last()?.p))
        .fold(0.5, f64::max);
    let x = Scale::nines(cut);
    let ticks = x
        .ticks()
        .iter()
        .map(|share| percentile_label(*share))
        .collect();
    let y = positive_scale(&marks);
    let description = curves
        .iter()
        .map(|(_, metric, _)| in_words(context, run, *metric));
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: description.collect(),
        columns: 1,
        panels: vec![Panel {
            title: String::new(),
            height: Height::Full,
            x: Axis {
                ticks,
                ..Axis::new(x, context.text("axis.percentile"))
            },
            y: Axis::new(y, context.text("axis.ms")),
            marks,
        }],
        table: percentile_table(context, run, &curves),
    }))
}

/// A scale of ratios for the values above 0.
pub(super) fn positive_scale(marks: &[Mark]) -> Scale {
    let values = || marks.iter().flat_map(Mark::values).filter(|one| *one > 0.0);
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(0.0, f64::max);
    if low.is_finite() {
        Scale::log(low, high)
    } else {
        Scale::log(0.1, 1.0)
    }
}

/// The exact percentiles of the tables, not those of the line.
fn in_words(context: &Context<'_>, run: &RunReport, metric: Metric) -> String {
    let distribution = run.metric(metric);
    let text =
        |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| value_of(metric, value));
    let all = [
        context.name(metric),
        text(distribution.p50),
        text(distribution.p90),
        text(distribution.p99),
    ];
    let all = all.each_ref().map(String::as_str);
    match distribution.p99 {
        Some(_) => context.fill("r1.description", &all),
        None => context.fill("r1.shorter", &all),
    }
}

/// The limits that an objective sets on what the chart shows.
fn limits(context: &Context<'_>, run: &RunReport) -> Vec<Mark> {
    let Some(objective) = &run.meta.objective else {
        return Vec::new();
    };
    let conditions = objective.slo.conditions().iter();
    conditions
        .filter_map(|condition| {
            let tone = match condition.figure {
                SloFigure::Ttft => 0,
                SloFigure::Tpot => 1,
                SloFigure::Latency => 3,
                SloFigure::Ttfat | SloFigure::ItlMax | SloFigure::Decode => return None,
            };
            let ms = condition.limit / 1e6;
            let text = format!("{} {} ms", condition.figure.name(), number(ms));
            Some(Mark::Level {
                tone: Tone(tone),
                dash: Dash::LIMIT,
                value: ms,
                between: None,
                name: context.fill("r1.limit", &[&text]),
            })
        })
        .collect()
}

/// A share as a percentile, in few digits.
pub(super) fn percentile_label(share: f64) -> String {
    // 99.9, not 99.900000000001
    ((share * 1e7).round() / 1e5).to_string()
}

fn percentile_table(
    context: &Context<'_>,
    run: &RunReport,
    curves: &[(usize, Metric, &Curve)],
) -> Table {
    let mut header = vec![context.text("axis.percentile")];
    header.extend(
        curves
            .iter()
            .map(|(_, metric, _)| context.with_unit(*metric)),
    );
    let rows = PERCENTILE_ROWS.iter().map(|(name, of)| {
        let values = curves
            .iter()
            .map(|(_, metric, _)| cell(of(run.metric(*metric))));
        std::iter::once((*name).to_owned()).chain(values).collect()
    });
    Table {
        header,
        rows: rows.collect(),
    }
}

/// R2: how many requests had which value when.
pub(super) fn heatmap(context: &Context<'_>, run: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r2", Group::Latency);
    let metric = series.heatmap_metric();
    let over_time = match series.over_time.get(&metric) {
        Some(over_time) => over_time.as_ref().map_err(|missing| *missing),
        None => Err(Missing::NoRequests),
    };
    let title = context.fill("r2.title", &[&context.name(metric)]);
    let over_time = match over_time {
        Ok(over_time) if over_time.heatmap.rows() > 0 => over_time,
        Ok(_) => return Err(context.without(id, group, title, "too_few_samples")),
        Err(missing) => return Err(context.without(id, group, title, why(missing))),
    };
    let time = Time::of(series);
    let map = &over_time.heatmap;
    let mut columns: Vec<f64> = (0..map.columns)
        .map(|column| time.of_s(time.bins.start_s(column * map.bins_per_column)))
        .collect();
    columns.push(time.of_s(time.bins.end_s(time.bins.len().saturating_sub(1))));
    let cells = (0..map.rows()).map(|row| {
        let classes = (0..map.columns).map(|column| map.class(column, row));
        classes.collect()
    });
    let most = map.counts.iter().copied().max().unwrap_or(0);
    let mut marks = time.shades(context, Warmup::Shown);
    marks.push(Mark::Heat {
        rows: map.row_edges.clone(),
        columns,
        cells: cells.collect(),
        ends: (
            context.text("r2.one"),
            format!("{} {}", number(most as f64), context.text("axis.count")),
        ),
    });
    let lines = [
        ("p50", &over_time.p50, 2, Dash::Solid),
        ("p99", &over_time.p99, 1, Dash::Long),
    ];
    for (name, values, tone, dash) in lines {
        marks.push(Mark::Line {
            name: name.to_owned(),
            tone: Tone(tone),
            dash,
            markers: false,
            points: time.parts(values, over_time.bins_together),
        });
    }
    let low = map.row_edges[0];
    let high = map.row_edges[map.rows()];
    let distribution = run.metric(metric);
    let text =
        |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| value_of(metric, value));
    let mut description = vec![context.fill(
        "r2.description",
        &[
            &number(distribution.count as f64),
            &text(distribution.min),
            &text(distribution.max),
            &text(distribution.p50),
            &text(distribution.p99),
        ],
    )];
    if map.top_row_is_open {
        description.push(context.text("r2.open"));
    }
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description,
        columns: 1,
        panels: vec![Panel {
            title: String::new(),
            height: Height::Full,
            x: time.axis(context, Warmup::Shown),
            y: Axis::new(Scale::log(low, high), context.with_unit(metric)),
            marks,
        }],
        table: heat_table(context, &time, metric, over_time),
    }))
}

fn heat_table(
    context: &Context<'_>,
    time: &Time<'_>,
    metric: Metric,
    over_time: &OverTime,
) -> Table {
    let of = |key: &str| {
        format!(
            "{} {} ({})",
            context.name(metric),
            context.text(key),
            unit(metric)
        )
    };
    let rows = ranges(time.bins.len()).map(|bins| {
        vec![
            time.cell(bins.start),
            number(over_time.samples[bins.clone()].iter().sum::<u64>() as f64),
            cell(median(&over_time.p50[bins.clone()])),
            cell(largest(&over_time.p99[bins])),
        ]
    });
    Table {
        header: vec![
            context.fill("r2.from", &[&time.label(context)]),
            context.text("r2.samples"),
            of("r2.column"),
            of("r2.largest"),
        ],
        rows: rows.collect(),
    }
}
