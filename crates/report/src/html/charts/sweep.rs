//! Owns the charts of several runs of one command: S1 to S3.
//!
//! It must not know a single request.

use evalscope_model::metrics::{Distribution, Metric, Verdict};

use super::chart::{Drawn, Group, Table};
use super::context::{Context, MOST_RUNS, Sketch, cell, unit, value_of};
use super::loads::{AtLoad, Line, NoKnee, OfRun, Sweep, knee_of, latency, throughput};
use super::whiskers::{crossed, middle};
use crate::console::{number, percent};
use crate::html::scale::Scale;
use crate::html::svg::{Axis, Dash, Height, Mark, Panel, Point, Tone};
use crate::report::RunReport;

/// A run with its throughput and latency.
type OnCurve<'a> = (AtLoad<'a>, f64, f64);

/// S1: latency over throughput, a point for each run.
pub(super) fn curve(context: &Context<'_>, sweep: &Sweep<'_>) -> Drawn {
    let (id, group) = ("s1", Group::Sweep);
    let title = context.text("s1.title");
    let (rate_key, rate) = throughput(sweep);
    let metric = latency(sweep);
    let known: Vec<OnCurve<'_>> = sweep
        .points
        .iter()
        .filter_map(|point| Some((*point, rate(point.run)?, point.run.metric(metric).p99?)))
        .collect();
    if known.is_empty() {
        return Err(context.without(id, group, title, "no_throughput"));
    }
    let knee = knee_of(sweep);
    let points = curve_points(context, sweep, &known, knee);
    let joined = (known.chunk_by(at_one_load)).map(|same| {
        let (rate, p99) = middle_of(same);
        (rate, Some(p99))
    });
    let joined = joined.collect();
    let name = format!("{} p99 ({})", context.name(metric), unit(metric));
    let panel = Panel {
        title: String::new(),
        height: Height::Full,
        x: Axis::new(
            Scale::linear(0.0, known.iter().map(|own| own.1).fold(0.0, f64::max), 6),
            context.text(&format!("axis.{rate_key}")),
        ),
        y: Axis::new(
            Scale::linear(0.0, known.iter().map(|own| own.2).fold(0.0, f64::max), 5),
            &name,
        ),
        marks: [
            whiskers(&known),
            points_with_legend(context, joined, points),
        ]
        .concat(),
    };
    let description = curve_in_words(context, sweep, &known, knee);
    let rows = known.iter().map(|own| {
        vec![
            own.0.run.meta.name.clone(),
            number(own.0.load),
            number(own.1),
            number(own.2),
        ]
    });
    let header = vec![
        context.text("s1.point"),
        context.text(&format!("axis.{}", sweep.key())),
        context.text(&format!("axis.{rate_key}")),
        name,
    ];
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

fn at_one_load(a: &OnCurve<'_>, b: &OnCurve<'_>) -> bool {
    a.0.load.total_cmp(&b.0.load).is_eq()
}

/// The medians of runs at one load.
fn middle_of(same: &[OnCurve<'_>]) -> (f64, f64) {
    let (rates, p99s) = both(same);
    (middle(&rates), middle(&p99s))
}

fn both(same: &[OnCurve<'_>]) -> (Vec<f64>, Vec<f64>) {
    same.iter().map(|own| (own.1, own.2)).unzip()
}

/// From the least to the most of runs at one load, in both directions.
fn whiskers(known: &[OnCurve<'_>]) -> Vec<Mark> {
    let of = |same: &[OnCurve<'_>]| {
        let (rates, p99s) = both(same);
        crossed(&rates, &p99s, Tone(1))
    };
    known.chunk_by(at_one_load).flat_map(of).collect()
}

/// A point for each run, with its load beside it.
fn curve_points(
    context: &Context<'_>,
    sweep: &Sweep<'_>,
    known: &[OnCurve<'_>],
    knee: Result<usize, NoKnee>,
) -> Vec<Point> {
    let is_dominated = |own: &OnCurve<'_>| {
        let mut others = known.iter();
        others.any(|other| {
            other.1 >= own.1 && other.2 <= own.2 && (other.1 > own.1 || other.2 < own.2)
        })
    };
    let points = known.iter().map(|own| {
        let is_knee = knee == Ok(own.0.position);
        let label = sweep.load_label(&own.0);
        Point {
            x: own.1,
            y: own.2,
            label: if is_knee {
                format!("{label} ({})", context.text("s1.knee"))
            } else {
                label
            },
            hollow: is_dominated(own),
            crossed: own.0.run.client.verdict == Verdict::ClientLimited,
            ringed: is_knee,
        }
    });
    points.collect()
}

/// Where the curve begins and ends, and its knee.
fn curve_in_words(
    context: &Context<'_>,
    sweep: &Sweep<'_>,
    known: &[OnCurve<'_>],
    knee: Result<usize, NoKnee>,
) -> Vec<String> {
    let (Some(first), Some(last)) = (known.first(), known.last()) else {
        return Vec::new();
    };
    let (rate_key, _) = throughput(sweep);
    let metric = latency(sweep);
    let mut description = vec![context.fill(
        "s1.description",
        &[
            &known.len().to_string(),
            &sweep.load_text(context, &first.0),
            &sweep.load_text(context, &last.0),
            &context.text(&format!("s1.{rate_key}")),
            &number(first.1),
            &number(last.1),
            &format!("{} p99", context.name(metric)),
            &value_of(metric, first.2),
            &value_of(metric, last.2),
            rate_unit(rate_key),
        ],
    )];
    description.push(match knee {
        Err(NoKnee::FewLoads) => context.text("s1.few_loads"),
        Err(NoKnee::NotReached) => context.text("s1.no_knee"),
        Ok(position) => {
            let at = known.iter().find(|own| own.0.position == position);
            let (at, rate, p99) = at.expect("the knee is one of the points");
            context.fill(
                "s1.has_knee",
                &[
                    &sweep.load_text(context, at),
                    &number(*rate),
                    rate_unit(rate_key),
                    &format!("{} p99", context.name(metric)),
                    &value_of(metric, *p99),
                ],
            )
        }
    });
    description
}

fn rate_unit(key: &str) -> &'static str {
    if key == "output" { "tok/s" } else { "req/s" }
}

/// The line through the points, and the points; what hollow and crossed ones mean, if there are any.
fn points_with_legend(context: &Context<'_>, joined: Line, points: Vec<Point>) -> Vec<Mark> {
    let mut marks = vec![Mark::Line {
        name: String::new(),
        tone: Tone::QUIET,
        dash: Dash::Solid,
        markers: false,
        points: joined,
    }];
    let mut sample = |key: &str, is_there: bool, sample: Point| {
        if is_there {
            marks.push(Mark::Sample {
                name: context.text(key),
                tone: Tone(0),
                point: sample,
            });
        }
    };
    let hollow = points.iter().any(|point| point.hollow);
    let crossed = points.iter().any(|point| point.crossed);
    sample(
        "s1.hollow",
        hollow,
        Point {
            hollow: true,
            ..Point::default()
        },
    );
    sample(
        "s1.crossed",
        crossed,
        Point {
            crossed: true,
            ..Point::default()
        },
    );
    marks.push(Mark::Points {
        name: String::new(),
        tone: Tone(0),
        points,
    });
    marks
}

/// S2: figures against load, a panel each.
pub(super) fn against_load(context: &Context<'_>, sweep: &Sweep<'_>) -> Drawn {
    let (id, group) = ("s2", Group::Sweep);
    let title = context.text("s2.title");
    let mut panels = Vec::new();
    let mut description = Vec::new();
    let mut columns: Vec<(String, Line)> = Vec::new();
    for (nth, metric) in [Metric::Ttft, Metric::Tpot, Metric::Latency]
        .into_iter()
        .enumerate()
    {
        let of =
            |value: fn(&Distribution) -> Option<f64>| sweep.line(&|run| value(run.metric(metric)));
        let (p50, p99) = (of(|one| one.p50), of(|one| one.p99));
        if p99.iter().all(|(_, value)| value.is_none()) {
            continue;
        }
        description.extend(went(
            context,
            sweep,
            &format!("{} p99", context.name(metric)),
            &p99,
            unit(metric),
        ));
        let name = context.with_unit(metric);
        panels.push(panel(
            &name,
            sweep.axis(context),
            vec![
                line("p50", Tone(nth), Dash::Solid, p50.clone()),
                line("p99", Tone(nth), Dash::Long, p99.clone()),
            ],
        ));
        columns.push((
            format!("{} p50 ({})", context.name(metric), unit(metric)),
            p50,
        ));
        columns.push((
            format!("{} p99 ({})", context.name(metric), unit(metric)),
            p99,
        ));
    }
    let rates: [(&str, OfRun); 3] = [
        ("output", RunReport::output_tokens_per_s),
        ("requests", RunReport::requests_per_s),
        ("success", |run| Some(run.success_share()? * 100.0)),
    ];
    for (nth, (key, value)) in rates.into_iter().enumerate() {
        let points = sweep.line(&value);
        if points.iter().all(|(_, value)| value.is_none()) {
            continue;
        }
        let name = context.text(&format!("axis.{key}"));
        if key == "output" {
            description.extend(went(
                context,
                sweep,
                &context.text("s2.output"),
                &points,
                "tok/s",
            ));
        }
        let mark = line("", Tone(nth + 3), Dash::Solid, points.clone());
        panels.push(panel(&name, sweep.axis(context), vec![mark]));
        columns.push((name, points));
    }
    if panels.is_empty() {
        return Err(context.without(id, group, title, "no_throughput"));
    }
    let mut header = vec![context.text(&format!("axis.{}", sweep.key()))];
    header.extend(columns.iter().map(|(name, _)| name.clone()));
    let rows = sweep.points.iter().enumerate().map(|(nth, point)| {
        let values = columns.iter().map(|(_, points)| cell(points[nth].1));
        std::iter::once(number(point.load)).chain(values).collect()
    });
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description,
        columns: 2,
        panels,
        table: Table {
            header,
            rows: rows.take(MOST_RUNS).collect(),
        },
    }))
}

/// How a figure went from the first to the last load.
fn went(
    context: &Context<'_>,
    sweep: &Sweep<'_>,
    name: &str,
    points: &[(f64, Option<f64>)],
    unit: &str,
) -> Option<String> {
    let known = |value: &(usize, Option<f64>)| value.1.is_some();
    let mut values = points.iter().map(|(_, value)| *value).enumerate();
    let (first, from) = values.find(known)?;
    let (last, to) = values.rfind(known)?;
    let text = |value: Option<f64>| format!("{} {unit}", cell(value)).trim_end().to_owned();
    Some(context.fill(
        "s2.description",
        &[
            name,
            &text(from),
            &sweep.load_text(context, &sweep.points[first]),
            &text(to),
            &sweep.load_text(context, &sweep.points[last]),
        ],
    ))
}

fn line(name: &str, tone: Tone, dash: Dash, points: Line) -> Mark {
    Mark::Line {
        name: name.to_owned(),
        tone,
        dash,
        markers: true,
        points,
    }
}

/// A small panel whose y axis begins at 0.
fn panel(name: &str, x: Axis, marks: Vec<Mark>) -> Panel {
    let most = marks.iter().flat_map(Mark::values).fold(0.0, f64::max);
    Panel {
        title: String::new(),
        height: Height::Half,
        x,
        y: Axis::new(Scale::linear(0.0, most, 4), name),
        marks,
    }
}

/// S3: the share of requests that meet the objective, and how many a second do.
pub(super) fn goodput(context: &Context<'_>, sweep: &Sweep<'_>) -> Drawn {
    let (id, group) = ("s3", Group::Sweep);
    let title = context.text("s3.title");
    let share = sweep.line(&|run| Some(run.goodput.as_ref()?.share? * 100.0));
    let rate = sweep.line(&|run| run.goodput.as_ref()?.requests_per_s);
    let best = sweep
        .points
        .iter()
        .filter_map(|point| Some((point, point.run.goodput.as_ref()?)))
        .filter_map(|(point, goodput)| Some((point, goodput, goodput.requests_per_s?)))
        .reduce(|a, b| if b.2 > a.2 { b } else { a });
    let Some((point, goodput, most)) = best else {
        return Err(context.without(id, group, title, "no_objective"));
    };
    let description = context.fill(
        "s3.description",
        &[
            &goodput.slo,
            &number(most),
            &sweep.load_text(context, point),
            &goodput.share.map_or_else(|| "–".to_owned(), percent),
        ],
    );
    let names = [context.text("s3.share"), context.text("s3.rate")];
    let mut shares = panel(
        &names[0],
        sweep.axis(context),
        vec![line("", Tone(2), Dash::Solid, share.clone())],
    );
    shares.y.scale = Scale::linear(0.0, 100.0, 5);
    let rates = panel(
        &names[1],
        sweep.axis(context),
        vec![line("", Tone(0), Dash::Solid, rate.clone())],
    );
    let rows = sweep
        .points
        .iter()
        .enumerate()
        .map(|(nth, point)| vec![number(point.load), cell(share[nth].1), cell(rate[nth].1)]);
    let rows = rows.take(MOST_RUNS).collect();
    let [share, rate] = names;
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: vec![description],
        columns: 2,
        panels: vec![shares, rates],
        table: Table {
            header: vec![context.text(&format!("axis.{}", sweep.key())), share, rate],
            rows,
        },
    }))
}
