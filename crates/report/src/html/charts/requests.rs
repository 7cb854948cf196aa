//! Owns the charts of single requests: R7, the swim-lane, and R8, TTFT against input tokens.
//!
//! It must not know which requests are kept.

use std::time::Duration;

use super::chart::{Drawn, Group, Table};
use super::context::{Context, MOST_ROWS, Sketch, cell, ranges, value_of, why};
use super::time::Time;
use crate::console::{number, percent};
use crate::html::scale::Scale;
use crate::html::svg::{Axis, Bar, Dash, HEAT_CLASSES, Height, Mark, Panel, Point, Tone};
use crate::report::RunReport;
use crate::series::{Cell, Density, KeptRequest, RunSeries};
use evalscope_model::metrics::Metric;

/// Requests in the swim-lane: more bars cannot be told apart.
const MOST_BARS: usize = 100;
/// Lanes of it.
const MOST_LANES: usize = 40;
/// Gaps of a request that are marked.
const MOST_STALLS: usize = 12;

/// Seconds of microseconds.
pub(super) fn s_of(us: i64) -> f64 {
    us as f64 / 1e6
}

/// R7: a lane for each request in flight, a bar for each request.
pub(super) fn lanes(context: &Context<'_>, run: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r7", Group::Requests);
    let title = context.text("r7.title");
    let time = Time::of(series);
    let shown = densest(&series.kept.requests);
    let Some(sent_us) = shown.iter().map(|(one, _)| one.row.dispatched_us).min() else {
        return Err(context.without(id, group, title, "no_requests"));
    };
    let ends = shown.iter().map(|(one, _)| one.row.ended_us);
    let (from_s, to_s) = (s_of(sent_us), ends.map(s_of).fold(0.0, f64::max));
    let lanes = shown.iter().map(|(_, lane)| lane + 1).max().unwrap_or(1);
    let mut marks = time
        .shades(context, super::time::Warmup::Shown)
        .into_iter()
        .filter(|mark| !matches!(mark, Mark::Shade { to, from, .. } if *to <= time.of_s(from_s) || *from >= time.of_s(to_s)))
        .collect::<Vec<_>>();
    marks.extend(bars(context, &time, &shown, series.kept.stall_ms));
    let failed = shown.iter().filter(|(one, _)| one.row.failure.is_some());
    let description = context.fill(
        "r7.description",
        &[
            &number(shown.len() as f64),
            &number(series.kept.total as f64),
            &time.text(from_s),
            &time.text(to_s),
            &number(lanes as f64),
            &number(failed.count() as f64),
        ],
    );
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: vec![description],
        columns: 1,
        panels: vec![Panel {
            title: String::new(),
            height: Height::Lanes(lanes),
            x: time.axis_of(context, time.of_s(from_s), time.of_s(to_s)),
            y: Axis::new(
                Scale::exact(0.0, lanes as f64, lanes.min(6)),
                context.text("axis.lane"),
            ),
            marks,
        }],
        table: lane_table(context, &shown, run.generates()),
    }))
}

/// The requests that follow each other most closely, as many as can be drawn, with their lanes, of
/// which no number is left out.
fn densest(requests: &[KeptRequest]) -> Vec<(&KeptRequest, usize)> {
    let mut sent: Vec<(&KeptRequest, usize)> = requests
        .iter()
        .filter_map(|one| Some((one, one.lane?)))
        .collect();
    sent.sort_by_key(|(one, _)| (one.row.dispatched_us, one.row.index));
    let length = |window: &&[(&KeptRequest, usize)]| {
        let ends = window.first().zip(window.last());
        ends.map_or(0, |(first, last)| {
            last.0.row.dispatched_us - first.0.row.dispatched_us
        })
    };
    let mut shown = match sent.windows(MOST_BARS).min_by_key(length) {
        Some(window) => window.to_vec(),
        None => sent,
    };
    let mut lanes: Vec<usize> = shown.iter().map(|(_, lane)| *lane).collect();
    lanes.sort_unstable();
    lanes.dedup();
    for (_, lane) in &mut shown {
        *lane = lanes.partition_point(|other| other < lane);
    }
    shown.retain(|(_, lane)| *lane < MOST_LANES);
    shown
}

/// The parts of requests, a mark for each kind of part.
pub(super) fn bars(
    context: &Context<'_>,
    time: &Time<'_>,
    shown: &[(&KeptRequest, usize)],
    stall_ms: Option<f64>,
) -> Vec<Mark> {
    let [mut connect, mut wait, mut generation, mut whole, mut stalls] = [const { Vec::new() }; 5];
    let mut failed = Vec::new();
    for (one, lane) in shown {
        let row = &one.row;
        let y = (*lane as f64 + 0.14, *lane as f64 + 0.86);
        let bar = |from: i64, to: i64| Bar {
            x: (time.of_s(s_of(from)), time.of_s(s_of(to.max(from)))),
            y,
        };
        let sent = row.sent_us.unwrap_or(row.dispatched_us);
        if sent > row.dispatched_us {
            connect.push(bar(row.dispatched_us, sent));
        }
        match row.first_token_us {
            Some(first) => {
                wait.push(bar(sent, first));
                let last = row.last_data_us.unwrap_or(row.ended_us);
                generation.push(bar(first, last));
                let gaps = one.gaps.as_deref().zip(stall_ms);
                let gaps = gaps.map(|(gaps, stall_ms)| stalls_of(first, gaps, stall_ms));
                stalls.extend(gaps.into_iter().flatten().map(|(from, to)| bar(from, to)));
            }
            None => whole.push(bar(sent, row.ended_us)),
        }
        if row.failure.is_some() {
            failed.push(Point {
                x: time.of_s(s_of(row.ended_us)),
                y: *lane as f64 + 0.5,
                crossed: true,
                ..Point::default()
            });
        }
    }
    let stall = stall_ms.map_or_else(String::new, |ms| context.fill("r7.stall", &[&number(ms)]));
    let parts = [
        (context.text("r7.connect"), 5, false, connect),
        (context.text("r7.wait"), 0, true, wait),
        (context.text("r7.generation"), 2, false, generation),
        (context.text("r7.whole"), 0, false, whole),
        (stall, 1, false, stalls),
    ];
    let parts = parts.into_iter().filter(|(_, _, _, bars)| !bars.is_empty());
    let mut marks: Vec<Mark> = parts
        .map(|(name, tone, hatched, bars)| Mark::Bars {
            name,
            tone: Tone(tone),
            hatched,
            bars,
        })
        .collect();
    if !failed.is_empty() {
        marks.push(Mark::Points {
            name: context.text("r7.failed"),
            tone: Tone::WARNING,
            points: failed,
        });
    }
    marks
}

/// The gaps that are stalls: from and to, microseconds.
fn stalls_of(first_us: i64, gaps: &[u8], stall_ms: f64) -> Vec<(i64, i64)> {
    let mut at = first_us;
    let mut stalls = Vec::new();
    for gap in varints(gaps) {
        let next = at.saturating_add_unsigned(gap);
        if Duration::from_micros(gap).as_secs_f64() * 1e3 > stall_ms {
            stalls.push((at, next));
        }
        at = next;
    }
    stalls.truncate(MOST_STALLS);
    stalls
}

/// LEB128.
fn varints(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.split_inclusive(|byte| byte & 0x80 == 0).map(|one| {
        let bits = one.iter().rev().map(|byte| u64::from(byte & 0x7f));
        bits.fold(0, |value, bits| value << 7 | bits)
    })
}

/// Without output there are no columns about it.
fn lane_table(context: &Context<'_>, shown: &[(&KeptRequest, usize)], generates: bool) -> Table {
    let mut header = vec![
        context.text("axis.lane"),
        context.text("r7.index"),
        context.text("r7.dispatched"),
        context.with_unit(Metric::Ttft),
        context.with_unit(Metric::Latency),
        context.text("axis.output_tokens"),
        context.text("r7.outcome"),
    ];
    let rows = shown.iter().take(MOST_ROWS).map(|(one, lane)| {
        let row = &one.row;
        let index = number(row.index as f64);
        let mut cells = vec![
            number(*lane as f64),
            if row.warmup {
                format!("{} {index}", context.text("part.warmup"))
            } else {
                index
            },
            number(s_of(row.dispatched_us)),
            cell(row.ttft_us.map(|us| us as f64 / 1e3)),
            cell(row.latency_us.map(|us| us as f64 / 1e6)),
            cell(row.output_tokens.map(|tokens| tokens as f64)),
            match row.failure {
                Some(kind) => kind.to_string(),
                None => context.text("r7.succeeded"),
            },
        ];
        if !generates {
            without_output(&mut cells);
        }
        cells
    });
    let rows = rows.collect();
    if !generates {
        without_output(&mut header);
    }
    Table { header, rows }
}

/// Leave out the cells of TTFT and of output tokens.
fn without_output(row: &mut Vec<String>) {
    row.remove(5);
    row.remove(3);
}

/// R8: where TTFT stands against the length of the prompt.
pub(super) fn ttft_by_input(context: &Context<'_>, _: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r8", Group::Requests);
    let title = context.text("r8.title");
    let density = match &series.ttft_by_input {
        Ok(density) => density,
        Err(missing) => return Err(context.without(id, group, title, why(*missing))),
    };
    let (Some(first), Some(last)) = (density.columns.first(), density.columns.last()) else {
        return Err(context.without(id, group, title, "too_few_samples"));
    };
    let ms = |value: f64| value_of(Metric::Ttft, value);
    let mut description = vec![context.fill(
        "r8.description",
        &[
            &ms(first.ttft_p50_ms),
            &number(first.input_tokens),
            &ms(last.ttft_p50_ms),
            &number(last.input_tokens),
        ],
    )];
    if let Some(slope) = density.slope {
        description.push(context.fill("r8.grows", &[&number(slope.ms_per_1000_tokens)]));
    }
    let ends = |edges: &[f64]| {
        let positive = || edges.iter().copied().filter(|edge| *edge > 0.0);
        (
            positive().fold(f64::INFINITY, f64::min).min(1e12),
            positive().fold(0.0, f64::max),
        )
    };
    let (x, y) = (ends(&density.input_edges), ends(&density.ttft_edges_ms));
    let rows = ranges(density.columns.len()).map(|columns| {
        let column = &density.columns[columns.start];
        vec![
            number(column.input_tokens),
            number(column.count as f64),
            number(column.ttft_p50_ms),
        ]
    });
    let header = vec![
        context.text("axis.input_tokens"),
        context.text("axis.count"),
        format!("TTFT p50 ({})", context.text("axis.ms")),
    ];
    let panel = |height, marks| Panel {
        title: String::new(),
        height,
        x: Axis::new(Scale::log(x.0, x.1), context.text("axis.input_tokens")),
        y: Axis::new(Scale::log(y.0, y.1), context.with_unit(Metric::Ttft)),
        marks,
    };
    let mut panels = vec![panel(Height::Full, density_marks(context, density))];
    if let Some((share, mark)) = cached(context, density) {
        description.push(context.fill("r8.cached", &[&percent(share)]));
        panels.push(Panel {
            title: context.text("r8.cached_title"),
            ..panel(Height::Half, vec![mark])
        });
    }
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

/// The largest share of cached tokens in a cell, and all shares; `None` if nothing was cached.
fn cached(context: &Context<'_>, density: &Density) -> Option<(f64, Mark)> {
    let shares = density.cells.iter().filter_map(|cell| cell.cached_share);
    let most = shares.reduce(f64::max).filter(|most| *most > 0.0)?;
    let class = |cell: &Cell| {
        let eighths = cell.cached_share? * HEAT_CLASSES as f64;
        (0..=HEAT_CLASSES)
            .find(|class| eighths <= *class as f64)
            .and_then(|class| u8::try_from(class.max(1)).ok())
    };
    let mark = Mark::Heat {
        rows: density.ttft_edges_ms.clone(),
        columns: density.input_edges.clone(),
        cells: in_rows(density, |cell| class(cell).unwrap_or(0)),
        ends: ("0 %".to_owned(), context.text("r8.all_cached")),
    };
    Some((most, mark))
}

/// Classes of cells, row by row.
fn in_rows(density: &Density, class: impl Fn(&Cell) -> u8) -> Vec<Vec<u8>> {
    let columns = density.input_edges.len().saturating_sub(1);
    let rows = density.ttft_edges_ms.len().saturating_sub(1);
    let mut cells = vec![vec![0; columns]; rows];
    for cell in &density.cells {
        cells[cell.row][cell.column] = class(cell);
    }
    cells
}

fn density_marks(context: &Context<'_>, density: &Density) -> Vec<Mark> {
    let most = density.cells.iter().map(|cell| cell.count).max();
    let mut marks = vec![Mark::Heat {
        rows: density.ttft_edges_ms.clone(),
        columns: density.input_edges.clone(),
        cells: in_rows(density, |cell| cell.class),
        ends: (
            context.text("r2.one"),
            format!(
                "{} {}",
                number(most.unwrap_or(0) as f64),
                context.text("axis.count")
            ),
        ),
    }];
    if let Some(slope) = density.slope {
        let at = |column: &crate::series::InputColumn| {
            let tokens = column.input_tokens;
            let ms = slope.intercept_ms + slope.ms_per_1000_tokens * tokens / 1000.0;
            (tokens, Some(ms).filter(|ms| *ms > 0.0))
        };
        marks.push(Mark::Line {
            name: context.fill("r8.slope", &[&number(slope.ms_per_1000_tokens)]),
            tone: Tone::QUIET,
            dash: Dash::Long,
            markers: false,
            points: density.columns.iter().map(at).collect(),
        });
    }
    marks.push(Mark::Line {
        name: context.text("r8.median"),
        tone: Tone(1),
        dash: Dash::Solid,
        markers: density.columns.len() < 12,
        points: density
            .columns
            .iter()
            .map(|column| (column.input_tokens, Some(column.ttft_p50_ms)))
            .collect(),
    });
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_gaps_are_found_in_their_bytes() {
        // 20 000, 5 and 300 microseconds
        let bytes = [0xa0, 0x9c, 0x01, 0x05, 0xac, 0x02];
        assert_eq!(varints(&bytes).collect::<Vec<_>>(), [20_000, 5, 300]);
        assert_eq!(stalls_of(1000, &bytes, 0.3), [(1000, 21_000)]);
    }
}
