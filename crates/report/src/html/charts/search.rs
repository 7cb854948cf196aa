//! Owns the chart of a search for capacity, Q1: what each probe came to over its load, with the limits, or the
//! greatest figure, and the answer.
//!
//! It must not know how a search goes on.

use evalscope_model::search::{ProbeRecord, SearchRecord, Selection, Variable};
use evalscope_model::sla::{Criterion, SlaFigure, groups};

use super::chart::{Drawn, Group, Table};
use super::context::{Context, MOST_RUNS, Sketch};
use crate::console::number;
use crate::html::scale::Scale;
use crate::html::svg::{Axis, Dash, Height, Mark, Panel, Point, Shade, Tone};

/// Loads that are further apart than this are drawn by their logarithms.
const WIDE: f64 = 8.0;

/// Q1: a panel for each criterion.
pub(super) fn probes(context: &Context<'_>, search: &SearchRecord) -> Drawn {
    let (id, group) = ("q1", Group::Sweep);
    let title = context.text("q1.title");
    let mut panels = Vec::new();
    let mut description = Vec::new();
    for (nth, selection) in (1..).zip(&search.selections) {
        description.extend(selection.sentences.iter().cloned());
        let own: Vec<&ProbeRecord> = search
            .probes
            .iter()
            .filter(|probe| probe.group.is_none_or(|group| group == nth))
            .collect();
        for criterion in criteria(selection) {
            panels.extend(panel(context, search, selection, &criterion, &own));
        }
    }
    if panels.is_empty() {
        return Err(context.without(id, group, title, "no_probes"));
    }
    let rows = search.probes.iter().map(|probe| {
        let passes = probe.group_passes.values().any(|passes| *passes);
        let word = if passes { "q1.passed" } else { "q1.failed" };
        vec![
            number(probe.value),
            number(probe.total_requests as f64),
            context.text(word),
        ]
    });
    let header = vec![
        context.text(&format!("axis.{}", axis(search.variable))),
        context.text("q1.requests"),
        context.text("q1.result"),
    ];
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description,
        columns: if panels.len() > 1 { 2 } else { 1 },
        panels,
        table: Table {
            header,
            rows: rows.take(MOST_RUNS).collect(),
        },
    }))
}

const fn axis(variable: Variable) -> &'static str {
    match variable {
        Variable::Parallel => "concurrency",
        Variable::Rate => "rate",
    }
}

/// The criteria of a selection, which it has as text.
fn criteria(selection: &Selection) -> Vec<Criterion> {
    let text = serde_json::to_string(&selection.criteria).unwrap_or_default();
    let all = groups(&text).unwrap_or_default();
    all.into_iter().flatten().collect()
}

/// The value of a figure at a probe: over the judged requests, or over all.
fn value(probe: &ProbeRecord, figure: SlaFigure) -> Option<f64> {
    let judged = probe.judgement.iter().flat_map(|one| &one.limits);
    let mut judged = judged.filter(|one| one.figure == figure);
    let judged = judged.find_map(|one| one.value);
    judged.or_else(|| probe.metric_values.get(&figure.name()).copied())
}

fn panel(
    context: &Context<'_>,
    search: &SearchRecord,
    selection: &Selection,
    criterion: &Criterion,
    own: &[&ProbeRecord],
) -> Option<Panel> {
    let figure = criterion.figure();
    let limit = match criterion {
        Criterion::Limit(limit) => Some(limit),
        Criterion::Greatest(_) | Criterion::Smallest(_) => None,
    };
    let known = own
        .iter()
        .filter_map(|probe| Some((*probe, value(probe, figure)?)));
    let mut known: Vec<(&ProbeRecord, f64)> = known.collect();
    known.sort_by(|a, b| a.0.value.total_cmp(&b.0.value));
    let (low, high) = (known.first()?.0.value, known.last()?.0.value);
    let loads: Vec<f64> = known.iter().map(|(probe, _)| probe.value).collect();
    let x = if high / low > WIDE {
        Scale::doublings(&loads)
    } else {
        Scale::exact(low, high.max(low * 1.01), 6)
    };
    let most = known
        .iter()
        .map(|(_, value)| *value)
        .fold(limit.map_or(0.0, |limit| limit.limit), f64::max);
    let name = format!("{} ({})", figure.label(), figure.unit());
    let mut marks = Vec::new();
    if let Some(best) = selection.selected_value.filter(|_| limit.is_some()) {
        marks.push(Mark::Shade {
            kind: Shade::Fading,
            from: best,
            to: selection.fails_at.unwrap_or(high).max(best),
            label: context.fill("q1.answer", &[&search.variable.phrase(best)]),
        });
    }
    marks.extend(limit.map(|limit| Mark::Level {
        tone: Tone(1),
        dash: Dash::Long,
        value: limit.limit,
        between: None,
        name: context.fill("q1.limit", &[&limit.phrase()]),
    }));
    let points = known.iter().map(|(probe, value)| Point {
        x: probe.value,
        y: *value,
        label: String::new(),
        hollow: probe.weak,
        crossed: !probe.group_passes.values().any(|passes| *passes),
        ringed: Some(probe.value) == selection.selected_value,
    });
    let points: Vec<Point> = points.collect();
    for (key, is_there, point) in [
        (
            "q1.failed",
            points.iter().any(|point| point.crossed),
            Point {
                crossed: true,
                ..Point::default()
            },
        ),
        (
            "q1.weak",
            points.iter().any(|point| point.hollow),
            Point {
                hollow: true,
                ..Point::default()
            },
        ),
    ] {
        if is_there {
            marks.push(Mark::Sample {
                name: context.text(key),
                tone: Tone(0),
                point,
            });
        }
    }
    marks.push(Mark::Points {
        name: String::new(),
        tone: Tone(0),
        points,
    });
    Some(Panel {
        title: String::new(),
        height: Height::Full,
        x: Axis::new(x, context.text(&format!("axis.{}", axis(search.variable)))),
        y: Axis::new(Scale::linear(0.0, most, 5), name),
        marks,
    })
}
