//! Owns the charts of a run over time but R2: R3, percentiles; R4, throughput; R5, requests in flight;
//! R6, the client.
//!
//! It must not know what a bin was summed up from.

use evalscope_model::metrics::{CLIENT_LAG_LIMIT_MS, Metric};

use super::chart::{Drawn, Group, Table};
use super::context::{Context, Sketch, cell, largest, median, ranges, unit, value_of, why};
use super::time::{Time, Warmup};
use crate::console::number;
use crate::html::scale::Scale;
use crate::html::svg::{Axis, Dash, Height, Mark, Panel, Tone};
use crate::report::RunReport;
use crate::series::{ClientHealth, Flow, InFlight, OverTime, RunSeries};

/// A level that is higher by this factor than before is worth a sentence.
const RISE: f64 = 1.5;
/// Levels are compared over this share of the bins.
const LEVEL: usize = 20;

/// A line over time without markers.
fn line(name: String, tone: usize, dash: Dash, points: Vec<(f64, Option<f64>)>) -> Mark {
    Mark::Line {
        name,
        tone: Tone(tone),
        dash,
        markers: false,
        points,
    }
}

/// A panel over time whose y axis begins at 0.
fn panel(x: Axis, label: String, height: Height, marks: Vec<Mark>) -> Panel {
    let most = marks.iter().flat_map(Mark::values).fold(0.0, f64::max);
    let ticks = if height == Height::Strip { 2 } else { 4 };
    Panel {
        title: String::new(),
        height,
        x,
        y: Axis::new(Scale::linear(0.0, most, ticks), label),
        marks,
    }
}

/// Only the first panel names the shades, and the last one the time.
fn name_once(panels: &mut [Panel]) {
    let others = panels.len().saturating_sub(1);
    for panel in &mut panels[..others] {
        panel.x.label.clear();
    }
    for mark in panels.iter_mut().skip(1).flat_map(|one| &mut one.marks) {
        if let Mark::Shade { label, .. } = mark {
            label.clear();
        }
    }
}

/// R3: percentiles over time, a panel for each metric.
pub(super) fn percentiles(context: &Context<'_>, _: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r3", Group::Latency);
    let title = context.text("r3.title");
    let of = |metric: Metric| {
        let over_time = series.over_time.get(&metric)?.as_ref().ok()?;
        let is_known = over_time.p50.iter().any(Option::is_some);
        is_known.then_some((metric, over_time))
    };
    let mut shown: Vec<(Metric, &OverTime)> = [Metric::Ttft, Metric::Tpot]
        .into_iter()
        .filter_map(of)
        .collect();
    if shown.is_empty() {
        shown.extend(of(Metric::Latency));
    }
    if shown.is_empty() {
        let latency = series.over_time.get(&Metric::Latency);
        let missing = latency.and_then(|over_time| over_time.as_ref().err());
        let key = missing.map_or("too_few_samples", |missing| why(*missing));
        return Err(context.without(id, group, title, key));
    }
    let time = Time::of(series);
    let mut panels = Vec::new();
    let mut description = Vec::new();
    let mut header = vec![context.fill("r2.from", &[&time.label(context)])];
    for (metric, over_time) in &shown {
        panels.push(percentile_panel(context, &time, *metric, over_time));
        description.extend(movement(context, &time, *metric, over_time));
        for key in ["r2.column", "r2.largest"] {
            header.push(format!(
                "{} {} ({})",
                context.name(*metric),
                context.text(key),
                unit(*metric)
            ));
        }
    }
    let together = shown.iter().map(|(_, one)| one.bins_together);
    let together = together.fold(1, usize::max) as f64;
    let width = time.text(together * time.bins.width_s());
    description.push(context.fill("r3.gaps", &[&width]));
    name_once(&mut panels);
    let rows = ranges(time.bins.len()).map(|bins| {
        let mut row = vec![time.cell(bins.start)];
        for (_, over_time) in &shown {
            row.push(cell(median(&over_time.p50[bins.clone()])));
            row.push(cell(largest(&over_time.p99[bins.clone()])));
        }
        row
    });
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description,
        columns: 1,
        panels,
        table: Table {
            header,
            rows: rows.collect(),
        },
    }))
}

fn percentile_panel(
    context: &Context<'_>,
    time: &Time<'_>,
    metric: Metric,
    over_time: &OverTime,
) -> Panel {
    let mut marks = time.shades(context, Warmup::Shown);
    let together = over_time.bins_together;
    let edges = over_time.p50.iter().zip(&over_time.p99);
    let edges: Vec<_> = edges.map(|(low, high)| (*low).zip(*high)).collect();
    marks.push(Mark::Band {
        tone: Tone(0),
        edges: time.parts(&edges, together),
    });
    let lines = [
        ("p50", &over_time.p50, 0, Dash::Solid),
        ("p90", &over_time.p90, 2, Dash::Short),
        ("p99", &over_time.p99, 1, Dash::Long),
    ];
    for (name, values, tone, dash) in lines {
        let points = time.parts(values, together);
        marks.push(line(name.to_owned(), tone, dash, points));
    }
    let x = time.axis(context, Warmup::Shown);
    panel(x, context.with_unit(metric), Height::Half, marks)
}

/// How the p99 of a metric moved: its largest step between two levels, or its range.
fn movement(
    context: &Context<'_>,
    time: &Time<'_>,
    metric: Metric,
    over_time: &OverTime,
) -> Option<String> {
    let (name, values) = if over_time.p99.iter().filter(|one| one.is_some()).count() > 1 {
        ("p99", &over_time.p99)
    } else {
        ("p50", &over_time.p50)
    };
    let first = time.bins.warmup_bins;
    let values = values.get(first..)?;
    let around = (values.len() / LEVEL).max(1);
    let step = (around..values.len().saturating_sub(around - 1)).filter_map(|at| {
        let before = median(&values[at - around..at])?;
        let after = median(&values[at..at + around])?;
        let ratio = if before > 0.0 { after / before } else { 1.0 };
        Some((at, before, after, ratio.ln().abs()))
    });
    let step = step.reduce(|a, b| if b.3 > a.3 { b } else { a });
    let text = |value: f64| value_of(metric, value);
    match step {
        Some((at, before, after, ratio)) if ratio > RISE.ln() => {
            let key = if after > before { "r3.rose" } else { "r3.fell" };
            let when = time.text(time.bins.start_s(first + at));
            let with = [
                &*context.name(metric),
                name,
                &text(before),
                &text(after),
                &when,
            ];
            Some(context.fill(key, &with))
        }
        _ => {
            let known = || values.iter().filter_map(|value| *value);
            let low = known().reduce(f64::min)?;
            let high = known().reduce(f64::max)?;
            let with = [&*context.name(metric), name, &text(low), &text(high)];
            Some(context.fill("r3.steady", &with))
        }
    }
}

/// R4: tokens and requests per second over time.
pub(super) fn throughput(context: &Context<'_>, run: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r4", Group::Load);
    let title = context.text("r4.title");
    let flow = match &series.flow {
        Ok(flow) => flow,
        Err(missing) => return Err(context.without(id, group, title, why(*missing))),
    };
    let time = Time::of(series);
    let mut panels = Vec::new();
    for (key, sums, tone) in [
        ("output", &flow.output_tokens, 0),
        ("input", &flow.input_tokens, 2),
    ] {
        let Some(sums) = sums else { continue };
        let name = context.text(&format!("r4.{key}"));
        let mut marks = time.shades(context, Warmup::Hidden);
        marks.push(line(name, tone, Dash::Solid, time.rates(sums)));
        if key == "output" {
            marks.extend(means(context, run, &time));
        }
        let x = time.axis(context, Warmup::Hidden);
        panels.push(panel(
            x,
            context.text(&format!("axis.{key}")),
            Height::Half,
            marks,
        ));
    }
    let mut marks = time.shades(context, Warmup::Hidden);
    let completed = time.rates(&flow.succeeded);
    marks.push(line(
        context.text("r4.completed"),
        3,
        Dash::Solid,
        completed,
    ));
    let x = time.axis(context, Warmup::Hidden);
    panels.push(panel(x, context.text("axis.requests"), Height::Half, marks));
    if flow.failed.iter().any(|failed| *failed > 0.0) {
        let mut marks = time.shades(context, Warmup::Hidden);
        let failed = time.rates(&flow.failed);
        marks.push(line(context.text("r4.failed"), 1, Dash::Solid, failed));
        let x = time.axis(context, Warmup::Hidden);
        panels.push(panel(
            x,
            context.text("axis.failures"),
            Height::Strip,
            marks,
        ));
    }
    name_once(&mut panels);
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: throughput_in_words(context, run, &time),
        columns: 1,
        panels,
        table: flow_table(context, &time, flow),
    }))
}

/// The mean of the run and that of its plateau.
fn means(context: &Context<'_>, run: &RunReport, time: &Time<'_>) -> Vec<Mark> {
    let mut means = Vec::new();
    if let Some(whole) = run.output_tokens_per_s() {
        means.push(Mark::Level {
            tone: Tone::QUIET,
            dash: Dash::Dots,
            value: whole,
            between: None,
            name: context.text("part.whole"),
        });
    }
    let plateau = run.plateau.as_ref().ok();
    if let Some((totals, value)) =
        plateau.and_then(|plateau| Some((&plateau.totals, plateau.totals.output_tokens_per_s?)))
    {
        means.push(Mark::Level {
            tone: Tone(1),
            dash: Dash::Long,
            value,
            between: Some((time.of_s(totals.start_s), time.of_s(totals.end_s))),
            name: context.text("part.plateau"),
        });
    }
    means
}

fn throughput_in_words(context: &Context<'_>, run: &RunReport, time: &Time<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(whole) = run.output_tokens_per_s() {
        sentences.push(context.fill("r4.description", &[&number(whole)]));
    }
    if let Ok(plateau) = &run.plateau
        && let Some(value) = plateau.totals.output_tokens_per_s
    {
        let (from, to) = (
            time.text(plateau.totals.start_s),
            time.text(plateau.totals.end_s),
        );
        sentences.push(context.fill("r4.plateau", &[&from, &to, &number(value)]));
    }
    let count = |count: u64| number(count as f64);
    let (succeeded, failed) = (count(run.totals.succeeded), count(run.totals.failed()));
    sentences.push(context.fill("r4.requests", &[&succeeded, &failed]));
    sentences
}

fn flow_table(context: &Context<'_>, time: &Time<'_>, flow: &Flow) -> Table {
    let mut header = vec![context.fill("r2.from", &[&time.label(context)])];
    let mut columns: Vec<&[f64]> = Vec::new();
    let tokens = [
        ("output", &flow.output_tokens),
        ("input", &flow.input_tokens),
    ];
    for (key, sums) in tokens {
        if let Some(sums) = sums {
            header.push(context.text(&format!("axis.{key}")));
            columns.push(sums);
        }
    }
    header.push(context.text("axis.requests"));
    columns.push(&flow.succeeded);
    header.push(context.text("axis.failures"));
    columns.push(&flow.failed);
    let first = time.bins.warmup_bins;
    let rows = ranges(time.bins.measured_bins).map(|bins| {
        let (from, to) = (first + bins.start, first + bins.end);
        let length_s = time.bins.end_s(to - 1) - time.bins.start_s(from);
        let rates = columns
            .iter()
            .map(|sums| number(sums[from..to].iter().sum::<f64>() / length_s));
        std::iter::once(time.cell(from)).chain(rates).collect()
    });
    Table {
        header,
        rows: rows.collect(),
    }
}

/// R5: requests in flight over time, against what was asked for.
pub(super) fn in_flight(context: &Context<'_>, _: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r5", Group::Load);
    let title = context.text("r5.title");
    let in_flight = match &series.in_flight {
        Ok(in_flight) => in_flight,
        Err(missing) => return Err(context.without(id, group, title, why(*missing))),
    };
    let time = Time::of(series);
    let mut marks = time.shades(context, Warmup::Shown);
    let most = in_flight.max.iter().map(|max| Some(*max as f64));
    let mean = in_flight.mean.iter().map(|mean| Some(*mean));
    let (most, mean) = (
        time.line(most, Warmup::Shown),
        time.line(mean, Warmup::Shown),
    );
    marks.push(line(context.text("r5.max"), 2, Dash::Short, most));
    marks.push(line(context.text("r5.mean"), 0, Dash::Solid, mean));
    if let Some(asked) = in_flight.asked {
        marks.push(Mark::Level {
            tone: Tone(1),
            dash: Dash::Long,
            value: asked as f64,
            between: None,
            name: context.text("r5.asked"),
        });
    }
    let x = time.axis(context, Warmup::Shown);
    let mut panels = vec![panel(
        x,
        context.text("axis.in_flight"),
        Height::Half,
        marks,
    )];
    if let Some(due) = &in_flight.due_per_s {
        let mut marks = time.shades(context, Warmup::Shown);
        let due = time.line(due.iter().map(|due| Some(*due)), Warmup::Hidden);
        marks.push(line(context.text("r5.due"), 3, Dash::Solid, due));
        if let Some(sent) = &in_flight.sent_per_s {
            let sent = time.line(sent.iter().map(|sent| Some(*sent)), Warmup::Hidden);
            marks.push(line(context.text("r5.sent"), 0, Dash::Dots, sent));
        }
        let x = time.axis(context, Warmup::Shown);
        panels.push(panel(x, context.text("axis.arrivals"), Height::Half, marks));
    }
    name_once(&mut panels);
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: in_flight_in_words(context, &time, in_flight),
        columns: 1,
        panels,
        table: in_flight_table(context, &time, in_flight),
    }))
}

fn in_flight_in_words(context: &Context<'_>, time: &Time<'_>, in_flight: &InFlight) -> Vec<String> {
    let measured = time.bins.warmup_bins..time.bins.len();
    let length = |bin: usize| time.bins.length_s(bin);
    let total_s: f64 = measured.clone().map(length).sum();
    let mean: f64 = measured
        .clone()
        .map(|bin| in_flight.mean[bin] * length(bin))
        .sum();
    let most = in_flight.max[measured].iter().copied().max().unwrap_or(0);
    let mean = if total_s > 0.0 { mean / total_s } else { 0.0 };
    let with = [&*number(most as f64), &*number(mean)];
    let mut sentences = vec![context.fill("r5.description", &with)];
    if let Some(asked) = in_flight.asked {
        sentences.push(context.fill("r5.asked_for", &[&number(asked as f64)]));
    }
    sentences
}

fn in_flight_table(context: &Context<'_>, time: &Time<'_>, in_flight: &InFlight) -> Table {
    let mut header = vec![
        context.fill("r2.from", &[&time.label(context)]),
        context.text("r5.mean"),
        context.text("r5.max"),
    ];
    if in_flight.due_per_s.is_some() {
        header.push(context.text("axis.arrivals"));
    }
    let rows = ranges(time.bins.len()).map(|bins| {
        let mean_of = |values: &[f64]| {
            let sum: f64 = values[bins.clone()].iter().sum();
            number(sum / bins.len() as f64)
        };
        let most = in_flight.max[bins.clone()].iter().copied().max();
        let mut row = vec![
            time.cell(bins.start),
            mean_of(&in_flight.mean),
            number(most.unwrap_or(0) as f64),
        ];
        row.extend(in_flight.due_per_s.iter().map(|due| mean_of(due)));
        row
    });
    Table {
        header,
        rows: rows.collect(),
    }
}

/// R6: how late the client was over time.
pub(super) fn client(context: &Context<'_>, run: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r6", Group::Client);
    let title = context.text("r6.title");
    let health = match &series.client {
        Ok(health) => health,
        Err(missing) => return Err(context.without(id, group, title, why(*missing))),
    };
    let time = Time::of(series);
    let limit = number(CLIENT_LAG_LIMIT_MS);
    let mut marks = time.shades(context, Warmup::Hidden);
    for (key, tone, dash, values) in lag_lines(health) {
        let points = time.line(values.iter().copied(), Warmup::Hidden);
        marks.push(line(context.text(key), tone, dash, points));
    }
    marks.push(Mark::Level {
        tone: Tone::WARNING,
        dash: Dash::LIMIT,
        value: CLIENT_LAG_LIMIT_MS,
        between: None,
        name: context.fill("r6.limit", &[&limit]),
    });
    let lag = run.metric(Metric::ClientLag);
    let with = [&*cell(lag.p99), &*cell(lag.max), &*limit];
    let description = vec![context.fill("r6.description", &with)];
    let mut header = vec![context.fill("r2.from", &[&time.label(context)])];
    let lines = lag_lines(health);
    header.extend(
        lines
            .iter()
            .map(|(key, ..)| format!("{} (ms)", context.text(key))),
    );
    let first = time.bins.warmup_bins;
    let rows = ranges(time.bins.measured_bins).map(|bins| {
        let (from, to) = (first + bins.start, first + bins.end);
        let values = lines
            .iter()
            .map(|(_, _, _, values)| cell(largest(&values[from..to])));
        std::iter::once(time.cell(from)).chain(values).collect()
    });
    let x = time.axis(context, Warmup::Hidden);
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description,
        columns: 1,
        panels: vec![panel(x, context.text("axis.lag"), Height::Half, marks)],
        table: Table {
            header,
            rows: rows.collect(),
        },
    }))
}

/// The lines of R6.
fn lag_lines(health: &ClientHealth) -> Vec<(&'static str, usize, Dash, &[Option<f64>])> {
    let mut lines: Vec<(_, _, _, &[Option<f64>])> = vec![
        ("r6.client_max", 5, Dash::Short, &health.client_lag.max_ms),
        ("r6.client_p99", 0, Dash::Solid, &health.client_lag.p99_ms),
    ];
    if let Some(lag) = &health.dispatch_lag {
        lines.push(("r6.dispatch_p99", 2, Dash::Long, &lag.p99_ms));
    }
    lines
}
