//! Owns the charts of a comparison over its loads, in which several sides are overlaid, the base in grey: throughput
//! and latency, and figures against load.
//!
//! It must not know verdicts, nor where runs come from.

use std::collections::BTreeMap;

use evalscope_model::metrics::Metric;

use super::chart::{Drawn, Group, Table};
use super::context::{Context, MOST_RUNS, Sketch, cell, unit, value_of};
use super::loads::WIDE;
use super::whiskers::{crossed, middle, upright};
use crate::console::number;
use crate::html::scale::Scale;
use crate::html::svg::{self, Dash, Height, Mark, Panel, Point, Tone};
use crate::names::{FigureKey, Rate, Stat};

/// What the loads of a comparison are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Requests in flight.
    Concurrency,
    /// Requests per second.
    Rate,
}

/// The loads of all sides, the base first.
#[derive(Clone, Debug)]
pub struct Loads {
    /// What loads are.
    pub axis: Axis,
    /// The sides.
    pub sides: Vec<Side>,
}

/// The runs of one side.
#[derive(Clone, Debug)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// Its loads, rising.
    pub loads: Vec<AtLoad>,
}

/// The runs of a side at one load.
#[derive(Clone, Debug)]
pub struct AtLoad {
    /// The load.
    pub load: f64,
    /// Of each figure, the values of the runs.
    pub values: BTreeMap<FigureKey, Vec<f64>>,
}

impl AtLoad {
    fn of(&self, figure: FigureKey) -> &[f64] {
        self.values.get(&figure).map_or(&[], Vec::as_slice)
    }
}

impl Loads {
    fn all(&self) -> impl Iterator<Item = &AtLoad> {
        self.sides.iter().flat_map(|side| &side.loads)
    }

    fn has(&self, figure: FigureKey) -> bool {
        self.all().any(|own| !own.of(figure).is_empty())
    }

    fn key(&self) -> &'static str {
        match self.axis {
            Axis::Concurrency => "concurrency",
            Axis::Rate => "rate",
        }
    }

    fn load_text(&self, context: &Context<'_>, load: f64) -> String {
        match self.axis {
            Axis::Concurrency => {
                format!("{} {}", context.text("axis.concurrency"), number(load))
            }
            Axis::Rate => format!("{} req/s", number(load)),
        }
    }

    fn x(&self, context: &Context<'_>) -> svg::Axis {
        let mut loads: Vec<f64> = self.all().map(|own| own.load).collect();
        loads.sort_by(f64::total_cmp);
        loads.dedup();
        let (low, high) = (loads[0], loads[loads.len() - 1]);
        let scale = if low > 0.0 && high / low > WIDE {
            Scale::doublings(&loads)
        } else {
            Scale::exact(low, high, 6)
        };
        svg::Axis::new(scale, context.text(&format!("axis.{}", self.key())))
    }
}

/// The base is grey, the others have colours.
fn tone(nth: usize) -> Tone {
    match nth {
        0 => Tone::QUIET,
        nth => Tone((nth - 1) % 5),
    }
}

fn percentile(metric: Metric, percent: u8) -> FigureKey {
    FigureKey::Metric(metric, Stat::percentile(percent))
}

fn largest<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    values.copied().fold(0.0, f64::max)
}

/// Throughput along x and the 99th percentile of a latency along y: key of the axis, unit, figure, and metric.
fn of_curve(loads: &Loads) -> (&'static str, &'static str, FigureKey, Metric) {
    let output = FigureKey::Rate(Rate::OutputTokens);
    let metric = if loads.has(percentile(Metric::Ttft, 99)) {
        Metric::Ttft
    } else {
        Metric::Latency
    };
    if loads.has(output) {
        ("output", "tok/s", output, metric)
    } else {
        ("requests", "req/s", FigureKey::Rate(Rate::Requests), metric)
    }
}

/// A side on the curve.
#[derive(Default)]
struct OnCurve {
    marks: Vec<Mark>,
    words: String,
    rows: Vec<Vec<String>>,
}

/// Latency over throughput, a line for each side and a point for each load.
pub(super) fn curve(context: &Context<'_>, loads: &Loads) -> Drawn {
    let (id, group) = ("o1", Group::Sweep);
    let title = context.text("o1.title");
    let (key, _, rate, metric) = of_curve(loads);
    let p99 = percentile(metric, 99);
    let sides = loads.sides.iter().enumerate();
    let drawn: Vec<OnCurve> = sides
        .filter_map(|(nth, side)| on_curve(context, loads, nth, side))
        .collect();
    if drawn.is_empty() {
        return Err(context.without(id, group, title, "no_throughput"));
    }
    let mut description: Vec<String> = drawn.iter().map(|own| own.words.clone()).collect();
    if loads.all().any(|own| own.of(p99).len() > 1) {
        description.push(context.text("o1.whiskers"));
    }
    let name = format!("{} p99 ({})", context.name(metric), unit(metric));
    let x_name = context.text(&format!("axis.{key}"));
    let most = |figure| largest(loads.all().flat_map(|own| own.of(figure)));
    let panel = Panel {
        title: String::new(),
        height: Height::Full,
        x: svg::Axis::new(Scale::linear(0.0, most(rate), 6), &x_name),
        y: svg::Axis::new(Scale::linear(0.0, most(p99), 5), &name),
        marks: drawn.iter().flat_map(|own| own.marks.clone()).collect(),
    };
    let header = vec![
        context.text("o1.side"),
        context.text(&format!("axis.{}", loads.key())),
        x_name,
        name,
    ];
    let rows = drawn.into_iter().flat_map(|own| own.rows);
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description,
        columns: 1,
        panels: vec![panel],
        table: Table {
            header,
            rows: rows.take(MOST_RUNS).collect(),
        },
    }))
}

/// The nth side on the curve; `None` if it has no throughput or no latency.
fn on_curve(context: &Context<'_>, loads: &Loads, nth: usize, side: &Side) -> Option<OnCurve> {
    let (key, rate_unit, rate, metric) = of_curve(loads);
    let p99 = percentile(metric, 99);
    let known = side.loads.iter().filter_map(|own| {
        let (x, y) = (own.of(rate), own.of(p99));
        (!x.is_empty() && !y.is_empty()).then(|| (own, middle(x), middle(y)))
    });
    let known: Vec<(&AtLoad, f64, f64)> = known.collect();
    let (first, last) = known.first().zip(known.last())?;
    let mut drawn = OnCurve::default();
    for (own, ..) in &known {
        drawn
            .marks
            .extend(crossed(own.of(rate), own.of(p99), tone(nth)));
    }
    if known.len() > 1 {
        let points = known.iter().map(|(_, x, y)| (*x, Some(*y)));
        drawn
            .marks
            .push(line("", nth, Dash::Solid, points.collect()));
    }
    let points = known.iter().map(|(own, x, y)| Point {
        x: *x,
        y: *y,
        label: number(own.load),
        ..Point::default()
    });
    drawn.marks.push(Mark::Points {
        name: side.name.clone(),
        tone: tone(nth),
        points: points.collect(),
    });
    let rate_name = context.text(&format!("s1.{key}"));
    let p99_name = format!("{} p99", context.name(metric));
    let (from, to) = (number(first.1), number(last.1));
    let (p99_from, p99_to) = (value_of(metric, first.2), value_of(metric, last.2));
    let name = side.name.as_str();
    drawn.words = if known.len() == 1 {
        let with = [name, &rate_name, &from, rate_unit, &p99_name, &p99_from];
        context.fill("o1.one", &with)
    } else {
        let with = [
            name, &rate_name, &from, &to, rate_unit, &p99_name, &p99_from, &p99_to,
        ];
        context.fill("o1.description", &with)
    };
    let row = |(own, x, y): &(&AtLoad, f64, f64)| {
        vec![name.to_owned(), number(own.load), number(*x), number(*y)]
    };
    drawn.rows = known.iter().map(row).collect();
    Some(drawn)
}

pub(super) fn line(name: &str, nth: usize, dash: Dash, points: Vec<(f64, Option<f64>)>) -> Mark {
    Mark::Line {
        name: name.to_owned(),
        tone: tone(nth),
        dash,
        markers: false,
        points,
    }
}

/// A figure over the loads of all sides, with whiskers.
fn over_loads(loads: &Loads, figure: FigureKey, dash: Dash, suffix: &str, scale: f64) -> Vec<Mark> {
    let mut marks = Vec::new();
    for (nth, side) in loads.sides.iter().enumerate() {
        let scaled = |own: &AtLoad| -> Vec<f64> {
            own.of(figure).iter().map(|value| value * scale).collect()
        };
        let known: Vec<(f64, Vec<f64>)> = side
            .loads
            .iter()
            .map(|own| (own.load, scaled(own)))
            .collect();
        marks.extend(
            known
                .iter()
                .filter_map(|(load, values)| upright(*load, values, tone(nth))),
        );
        let points: Vec<_> = known
            .iter()
            .map(|(load, values)| (*load, (!values.is_empty()).then(|| middle(values))))
            .collect();
        if points.iter().any(|(_, value)| value.is_some()) {
            marks.push(Mark::Line {
                name: format!("{}{suffix}", side.name),
                tone: tone(nth),
                dash,
                markers: true,
                points,
            });
        }
    }
    marks
}

/// Figures against load: a panel each, a line for each side.
pub(super) fn against_load(context: &Context<'_>, loads: &Loads) -> Drawn {
    let (id, group) = ("o2", Group::Sweep);
    let title = context.text("o2.title");
    let ends = loads.all().map(|own| own.load);
    let (low, high) = ends.fold((f64::MAX, f64::MIN), |(low, high), own| {
        (low.min(own), high.max(own))
    });
    if low >= high {
        return Err(context.without(id, group, title, "one_load"));
    }
    let mut panels = Vec::new();
    let mut description = Vec::new();
    let mut columns: Vec<(String, FigureKey, f64)> = Vec::new();
    for metric in [Metric::Ttft, Metric::Tpot, Metric::Latency] {
        let (p50, p99) = (percentile(metric, 50), percentile(metric, 99));
        if !loads.has(p99) {
            continue;
        }
        let marks = [
            over_loads(loads, p50, Dash::Solid, " p50", 1.0),
            over_loads(loads, p99, Dash::Long, " p99", 1.0),
        ];
        panels.push(panel(
            &context.with_unit(metric),
            loads.x(context),
            marks.concat(),
        ));
        for side in &loads.sides {
            let known = |own: &&AtLoad| !own.of(p99).is_empty();
            let (first, last) = (
                side.loads.iter().find(known),
                side.loads.iter().rfind(known),
            );
            if let Some((first, last)) = first.zip(last) {
                let value = |own: &AtLoad| value_of(metric, middle(own.of(p99)));
                description.push(context.fill(
                    "o2.description",
                    &[
                        &context.name(metric),
                        &side.name,
                        &value(first),
                        &loads.load_text(context, first.load),
                        &value(last),
                        &loads.load_text(context, last.load),
                    ],
                ));
            }
        }
        columns.push((
            format!("{} p50 ({})", context.name(metric), unit(metric)),
            p50,
            1.0,
        ));
        columns.push((
            format!("{} p99 ({})", context.name(metric), unit(metric)),
            p99,
            1.0,
        ));
    }
    for (key, rate, scale) in [
        ("output", Rate::OutputTokens, 1.0),
        ("requests", Rate::Requests, 1.0),
        ("lost", Rate::Errors, 100.0),
    ] {
        let figure = FigureKey::Rate(rate);
        if !loads.has(figure) {
            continue;
        }
        let name = context.text(&format!("axis.{key}"));
        panels.push(panel(
            &name,
            loads.x(context),
            over_loads(loads, figure, Dash::Solid, "", scale),
        ));
        columns.push((name, figure, scale));
    }
    if panels.is_empty() {
        return Err(context.without(id, group, title, "no_throughput"));
    }
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description,
        columns: 2,
        panels,
        table: load_table(context, loads, &columns),
    }))
}

fn load_table(context: &Context<'_>, loads: &Loads, columns: &[(String, FigureKey, f64)]) -> Table {
    let mut header = vec![
        context.text("o1.side"),
        context.text(&format!("axis.{}", loads.key())),
    ];
    header.extend(columns.iter().map(|(name, ..)| name.clone()));
    let of_side = |side: &Side| -> Vec<Vec<String>> {
        let row = |own: &AtLoad| {
            let values = columns.iter().map(|(_, figure, scale)| {
                let values = own.of(*figure);
                cell((!values.is_empty()).then(|| middle(values) * scale))
            });
            [side.name.clone(), number(own.load)]
                .into_iter()
                .chain(values)
                .collect()
        };
        side.loads.iter().map(row).collect()
    };
    Table {
        header,
        rows: loads
            .sides
            .iter()
            .flat_map(of_side)
            .take(MOST_RUNS)
            .collect(),
    }
}

/// A small panel whose y axis begins at 0.
pub(super) fn panel(name: &str, x: svg::Axis, marks: Vec<Mark>) -> Panel {
    let most = marks.iter().flat_map(Mark::values).fold(0.0, f64::max);
    Panel {
        title: String::new(),
        height: Height::Half,
        x,
        y: svg::Axis::new(Scale::linear(0.0, most, 4), name),
        marks,
    }
}
