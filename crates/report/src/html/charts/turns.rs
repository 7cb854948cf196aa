//! Owns the charts of conversations: C1, TTFT by turn, C2, the cached share by turn, and C3, the
//! swim-lane whose lanes are conversations.
//!
//! It must not know how turns are summed up.

use std::collections::BTreeMap;

use evalscope_model::metrics::{Metric, TurnRow};

use super::chart::{Drawn, Group, Table};
use super::context::{Context, MOST_ROWS, Sketch, cell, value_of};
use super::requests::{bars, s_of};
use super::time::Time;
use crate::console::{number, percent};
use crate::html::scale::Scale;
use crate::html::svg::{Axis, Bar, Dash, Height, Mark, Panel, Tone};
use crate::report::RunReport;
use crate::series::{KeptRequest, RunSeries};

/// Conversations in the swim-lane.
const MOST_LANES: usize = 40;

/// The turns of a row, as people count them.
fn turns_of(row: &TurnRow) -> String {
    if row.from_turn == row.to_turn {
        row.from_turn.to_string()
    } else {
        format!("{}–{}", row.from_turn, row.to_turn)
    }
}

/// An axis with a place for each row.
fn axis(context: &Context<'_>, rows: &[TurnRow]) -> Axis {
    let last = rows.len().saturating_sub(1) as f64;
    let scale = Scale::exact(0.0, last.max(1.0), rows.len().max(2) - 1);
    let ticks = scale.ticks().iter().map(|tick| {
        let places = (0..).map(f64::from).zip(rows);
        let mut here = places.filter(|(place, _)| (tick - place).abs() < 1e-9);
        here.next()
            .map(|(_, row)| turns_of(row))
            .unwrap_or_default()
    });
    Axis {
        ticks: ticks.collect(),
        ..Axis::new(scale.clone(), context.text("axis.turn"))
    }
}

fn line(name: String, tone: usize, dash: Dash, values: impl Iterator<Item = Option<f64>>) -> Mark {
    Mark::Line {
        name,
        tone: Tone(tone),
        dash,
        markers: true,
        points: (0..)
            .zip(values)
            .map(|(at, value)| (f64::from(at), value))
            .collect(),
    }
}

/// C1: TTFT by turn.
pub(super) fn ttft(context: &Context<'_>, run: &RunReport, _: &RunSeries) -> Drawn {
    let (id, group) = ("c1", Group::Conversations);
    let title = context.text("c1.title");
    let rows = &run.turns;
    let known = |row: &&TurnRow| row.ttft_p50_ms.is_some();
    let (Some(first), Some(last)) = (rows.iter().find(known), rows.iter().rev().find(known)) else {
        return Err(context.without(id, group, title, "not_streamed"));
    };
    let most = rows
        .iter()
        .filter_map(|row| row.ttft_p99_ms)
        .fold(0.0, f64::max);
    let value = |row: &TurnRow| value_of(Metric::Ttft, row.ttft_p50_ms.unwrap_or_default());
    let description = context.fill(
        "c1.description",
        &[
            &value(first),
            &turns_of(first),
            &value(last),
            &turns_of(last),
        ],
    );
    let marks = vec![
        line(
            "p99".to_owned(),
            1,
            Dash::Short,
            rows.iter().map(|row| row.ttft_p99_ms),
        ),
        line(
            "p50".to_owned(),
            0,
            Dash::Solid,
            rows.iter().map(|row| row.ttft_p50_ms),
        ),
    ];
    let ms = context.text("axis.ms");
    let header = vec![
        context.text("axis.turn"),
        context.text("axis.count"),
        format!("TTFT p50 ({ms})"),
        format!("TTFT p99 ({ms})"),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            turns_of(row),
            number(row.requests as f64),
            cell(row.ttft_p50_ms),
            cell(row.ttft_p99_ms),
        ]
    });
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: vec![description],
        columns: 1,
        panels: vec![Panel {
            title: String::new(),
            height: Height::Half,
            x: axis(context, rows),
            y: Axis::new(Scale::linear(0.0, most, 5), context.with_unit(Metric::Ttft)),
            marks,
        }],
        table: Table {
            header,
            rows: cells.collect(),
        },
    }))
}

/// C2: how much of the prompts came from the cache, by turn, and how long they were.
pub(super) fn cached(context: &Context<'_>, run: &RunReport, _: &RunSeries) -> Drawn {
    let (id, group) = ("c2", Group::Conversations);
    let title = context.text("c2.title");
    let rows = &run.turns;
    if rows.iter().all(|row| row.cached_share.is_none()) {
        return Err(context.without(id, group, title, "no_cached"));
    }
    let figures = run.conversations.as_ref();
    let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
    let description = context.fill(
        "c2.description",
        &[
            &share(figures.and_then(|figures| figures.cached.share)),
            &share(figures.and_then(|figures| figures.eligible.share)),
        ],
    );
    let shares = rows
        .iter()
        .map(|row| row.cached_share.map(|share| 100.0 * share));
    let tokens = |of: fn(&TurnRow) -> Option<f64>| rows.iter().map(of);
    let most = rows
        .iter()
        .filter_map(|row| row.input_tokens_mean)
        .fold(0.0, f64::max);
    let panels = vec![
        Panel {
            title: String::new(),
            height: Height::Half,
            x: axis(context, rows),
            y: Axis::new(Scale::exact(0.0, 100.0, 5), context.text("axis.cached")),
            marks: vec![line(String::new(), 3, Dash::Solid, shares)],
        },
        Panel {
            title: String::new(),
            height: Height::Half,
            x: axis(context, rows),
            y: Axis::new(
                Scale::linear(0.0, most, 5),
                context.text("axis.input_tokens"),
            ),
            marks: vec![
                line(
                    context.text("c2.input"),
                    0,
                    Dash::Solid,
                    tokens(|row| row.input_tokens_mean),
                ),
                line(
                    context.text("c2.new"),
                    1,
                    Dash::Short,
                    tokens(|row| row.new_input_tokens_mean),
                ),
            ],
        },
    ];
    let header = vec![
        context.text("axis.turn"),
        context.text("axis.cached"),
        context.text("c2.input"),
        context.text("c2.new"),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            turns_of(row),
            cell(row.cached_share.map(|share| 100.0 * share)),
            cell(row.input_tokens_mean),
            cell(row.new_input_tokens_mean),
        ]
    });
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: vec![description],
        columns: 2,
        panels,
        table: Table {
            header,
            rows: cells.collect(),
        },
    }))
}

/// The kept conversations with their turns, in the order in which they began: those of which more than
/// one turn is kept, as many as can be drawn.
fn conversations(requests: &[KeptRequest]) -> Vec<(u64, Vec<&KeptRequest>)> {
    let mut turns: BTreeMap<u64, Vec<&KeptRequest>> = BTreeMap::new();
    for one in requests
        .iter()
        .filter(|one| one.lane.is_some() && !one.row.warmup)
    {
        if let Some((conversation, _)) = one.row.turn {
            turns.entry(conversation).or_default().push(one);
        }
    }
    let mut whole: Vec<(u64, Vec<&KeptRequest>)> = turns
        .into_iter()
        .map(|(conversation, mut turns)| {
            turns.sort_by_key(|one| one.row.turn);
            (conversation, turns)
        })
        .filter(|(_, turns)| turns.len() > 1)
        .collect();
    whole.sort_by_key(|(_, turns)| turns[0].row.dispatched_us);
    whole.truncate(MOST_LANES);
    whole
}

/// C3: a lane for each conversation, with its turns, and what its client waits between them.
pub(super) fn lanes(context: &Context<'_>, run: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("c3", Group::Conversations);
    let title = context.text("c3.title");
    let time = Time::of(series);
    let shown = conversations(&series.kept.requests);
    let turns = || shown.iter().flat_map(|(_, turns)| turns);
    let Some(from_us) = turns().map(|one| one.row.dispatched_us).min() else {
        return Err(context.without(id, group, title, "no_turns"));
    };
    let ends_s = turns()
        .map(|one| s_of(one.row.ended_us))
        .fold(0.0, f64::max);
    let begins_s = s_of(from_us);
    let mut waits = Vec::new();
    let mut in_lanes = Vec::new();
    for (lane, (_, turns)) in shown.iter().enumerate() {
        let y = (lane as f64 + 0.36, lane as f64 + 0.64);
        for pair in turns.windows(2) {
            let follows = pair[0].row.turn.zip(pair[1].row.turn);
            if follows.is_some_and(|((_, before), (_, turn))| turn == before + 1) {
                let from = time.of_s(s_of(pair[0].row.ended_us));
                let to = time.of_s(s_of(pair[1].row.dispatched_us)).max(from);
                waits.push(Bar { x: (from, to), y });
            }
        }
        in_lanes.extend(turns.iter().map(|one| (*one, lane)));
    }
    let mut marks = vec![Mark::Bars {
        name: context.text("c3.waits"),
        tone: Tone(3),
        hatched: true,
        bars: waits,
    }];
    marks.extend(bars(context, &time, &in_lanes, series.kept.stall_ms));
    let started = run
        .conversations
        .as_ref()
        .map_or(0, |figures| figures.started);
    let description = context.fill(
        "c3.description",
        &[
            &number(shown.len() as f64),
            &number(started as f64),
            &time.text(begins_s),
            &time.text(ends_s),
        ],
    );
    let header = vec![
        context.text("axis.conversation"),
        context.text("axis.turn"),
        context.text("r7.dispatched"),
        context.with_unit(Metric::Ttft),
        context.with_unit(Metric::Latency),
    ];
    let rows = turns().take(MOST_ROWS).map(|one| {
        let (conversation, turn) = one.row.turn.unwrap_or_default();
        vec![
            conversation.to_string(),
            (turn + 1).to_string(),
            number(s_of(one.row.dispatched_us)),
            cell(one.row.ttft_us.map(|us| us as f64 / 1e3)),
            cell(one.row.latency_us.map(|us| us as f64 / 1e6)),
        ]
    });
    let lanes = shown.len();
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: vec![description],
        columns: 1,
        panels: vec![Panel {
            title: String::new(),
            height: Height::Lanes(lanes),
            x: time.axis_of(context, time.of_s(begins_s), time.of_s(ends_s)),
            y: Axis::new(
                Scale::exact(0.0, lanes as f64, lanes.min(6)),
                context.text("axis.conversation"),
            ),
            marks,
        }],
        table: Table {
            header,
            rows: rows.collect(),
        },
    }))
}
