//! Owns the charts of tokens: R9, gaps between them; R10, how many there were; R11, how fast they came
//! against the load.
//!
//! It must not know single requests.

use evalscope_model::metrics::Metric;

use super::chart::{Drawn, Group, Table};
use super::context::{Context, Sketch, cell, ranges, why};
use crate::console::{number, percent};
use crate::html::scale::Scale;
use crate::html::svg::{Axis, Bar, Dash, Height, Mark, Panel, Tone};
use crate::report::RunReport;
use crate::series::{GapHistogram, LoadLevel, OutputLengths, RunSeries};

/// Finish reasons with a colour of their own.
const MOST_REASONS: usize = 5;
/// The axis of output lengths has as many at least.
const LEAST_LENGTHS: u64 = 8;
/// Points of a line with a marker each.
const MOST_MARKERS: usize = 40;

/// R9: how often which gap between tokens was.
pub(super) fn gaps(context: &Context<'_>, _: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r9", Group::Requests);
    let title = context.text("r9.title");
    let gaps = match &series.gaps {
        Ok(gaps) if !gaps.bins.is_empty() => gaps,
        Ok(_) => return Err(context.without(id, group, title, "too_few_samples")),
        Err(missing) => return Err(context.without(id, group, title, why(*missing))),
    };
    let description = context.fill(
        "r9.description",
        &[
            &number(gaps.count as f64),
            &number(gaps.p50_ms),
            &number(gaps.p99_ms),
            &percent(gaps.stall_share),
            &number(gaps.stall_ms),
            &percent(gaps.stall_time_share),
            &number(gaps.stall_s),
        ],
    );
    let most = gaps.bins.iter().map(|bin| bin.count).max().unwrap_or(0);
    let low = gaps
        .bins
        .iter()
        .map(|bin| {
            if bin.from_ms > 0.0 {
                bin.from_ms
            } else {
                bin.to_ms / 2.0
            }
        })
        .fold(f64::INFINITY, f64::min);
    let high = gaps.bins.iter().map(|bin| bin.to_ms).fold(0.0, f64::max);
    let table = gap_table(context, gaps);
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: vec![description],
        columns: 1,
        panels: vec![Panel {
            title: String::new(),
            height: Height::Full,
            x: Axis::new(Scale::log(low, high), context.text("axis.gap")),
            y: Axis::new(
                Scale::linear(0.0, most as f64, 4),
                context.text("axis.gaps"),
            ),
            marks: gap_marks(gaps, low),
        }],
        table,
    }))
}

fn gap_marks(gaps: &GapHistogram, low: f64) -> Vec<Mark> {
    let bars = gaps.bins.iter().filter(|bin| bin.count > 0).map(|bin| Bar {
        x: (bin.from_ms.max(low), bin.to_ms),
        y: (0.0, bin.count as f64),
    });
    let mut marks = vec![Mark::Bars {
        name: String::new(),
        tone: Tone(0),
        hatched: false,
        bars: bars.collect(),
    }];
    let lines = [
        ("p50", Some(gaps.p50_ms), Dash::Solid),
        ("p99", Some(gaps.p99_ms), Dash::Long),
        ("p99.9", gaps.p999_ms, Dash::Short),
    ];
    for (name, value, dash) in lines {
        if let Some(value) = value {
            marks.push(Mark::At {
                tone: Tone(1),
                dash,
                value,
                label: name.to_owned(),
            });
        }
    }
    marks
}

fn gap_table(context: &Context<'_>, gaps: &GapHistogram) -> Table {
    let rows = ranges(gaps.bins.len()).map(|bins| {
        let bins = &gaps.bins[bins];
        let count: u64 = bins.iter().map(|bin| bin.count).sum();
        let ends = format!(
            "{} – {}",
            number(bins[0].from_ms),
            number(bins[bins.len() - 1].to_ms)
        );
        vec![ends, number(count as f64)]
    });
    Table {
        header: vec![context.text("axis.gap"), context.text("axis.gaps")],
        rows: rows.collect(),
    }
}

/// R10: how long outputs were, against what was asked for.
pub(super) fn lengths(context: &Context<'_>, run: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r10", Group::Requests);
    let title = context.text("r10.title");
    let lengths = match &series.output_lengths {
        Ok(lengths) if lengths.edges.len() > 1 => lengths,
        Ok(_) => return Err(context.without(id, group, title, "too_few_samples")),
        Err(missing) => return Err(context.without(id, group, title, why(*missing))),
    };
    let reasons = reasons(context, lengths);
    let words = reasons.iter().map(|(name, counts)| {
        let count: u64 = counts.iter().sum();
        context.fill("r10.reason", &[name, &number(count as f64)])
    });
    let distribution = run.metric(Metric::OutputTokens);
    let description = context.fill(
        "r10.description",
        &[
            &cell(distribution.min),
            &cell(distribution.max),
            &words.collect::<Vec<_>>().join(" "),
        ],
    );
    let bins = lengths.edges.len() - 1;
    let total = |bin: usize| reasons.iter().map(|(_, counts)| counts[bin]).sum::<u64>();
    let most = (0..bins).map(total).max().unwrap_or(0);
    let mut low = lengths.edges[0];
    let mut high = lengths.edges[bins];
    if let Some(asked) = lengths.asked {
        (low, high) = (low.min(asked.least), high.max(asked.most));
    }
    if high - low < LEAST_LENGTHS {
        // ticks are whole tokens, and one length is not as wide as the chart
        (low, high) = (
            low.saturating_sub(LEAST_LENGTHS / 2),
            high + LEAST_LENGTHS / 2,
        );
    }
    let mut header = vec![context.text("axis.output_tokens")];
    header.extend(reasons.iter().map(|(name, _)| name.clone()));
    let rows = ranges(bins).map(|range| {
        let last = lengths.edges[range.end].saturating_sub(1);
        let first = lengths.edges[range.start];
        let ends = if last > first {
            format!("{first} – {last}")
        } else {
            first.to_string()
        };
        let counts = reasons
            .iter()
            .map(|(_, counts)| number(counts[range.clone()].iter().sum::<u64>() as f64));
        std::iter::once(ends).chain(counts).collect()
    });
    let rows = rows.collect();
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: vec![description],
        columns: 1,
        panels: vec![Panel {
            title: String::new(),
            height: Height::Full,
            x: Axis::new(
                Scale::exact(low as f64, high as f64, 8),
                context.text("axis.output_tokens"),
            ),
            y: Axis::new(
                Scale::linear(0.0, most as f64, 4),
                context.text("axis.count"),
            ),
            marks: length_marks(context, lengths, &reasons),
        }],
        table: Table { header, rows },
    }))
}

/// Counts by finish reason, the most frequent first; the rarest are taken together.
fn reasons(context: &Context<'_>, lengths: &OutputLengths) -> Vec<(String, Vec<u64>)> {
    let mut reasons: Vec<(String, Vec<u64>)> = lengths
        .by_reason
        .iter()
        .map(|(reason, counts)| {
            let name = reason.clone().unwrap_or_else(|| context.text("r10.none"));
            (name, counts.clone())
        })
        .collect();
    reasons.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.iter().sum::<u64>()));
    let rest = reasons.split_off(reasons.len().min(MOST_REASONS));
    if !rest.is_empty() {
        let mut sums = vec![0; rest[0].1.len()];
        for (_, counts) in &rest {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        reasons.push(("…".to_owned(), sums));
    }
    reasons
}

fn length_marks(
    context: &Context<'_>,
    lengths: &OutputLengths,
    reasons: &[(String, Vec<u64>)],
) -> Vec<Mark> {
    let bins = lengths.edges.len() - 1;
    let mut tops = vec![0; bins];
    let mut marks = Vec::new();
    for (nth, (name, counts)) in reasons.iter().enumerate() {
        let mut bars = Vec::new();
        for bin in 0..bins {
            let below = tops[bin];
            tops[bin] += counts[bin];
            if counts[bin] > 0 {
                bars.push(Bar {
                    x: (lengths.edges[bin] as f64, lengths.edges[bin + 1] as f64),
                    y: (below as f64, tops[bin] as f64),
                });
            }
        }
        marks.push(Mark::Bars {
            name: name.clone(),
            tone: Tone([0, 2, 3, 4, 5, 1][nth % 6]),
            hatched: nth % 2 == 1,
            bars,
        });
    }
    let Some(asked) = lengths.asked else {
        return marks;
    };
    let ends = [("least", asked.least), ("most", asked.most)];
    let ends = if asked.least == asked.most {
        vec![("exact", asked.most)]
    } else {
        ends.to_vec()
    };
    for (key, tokens) in ends {
        marks.push(Mark::At {
            tone: Tone(1),
            dash: Dash::Long,
            value: tokens as f64,
            label: context.fill(&format!("r10.{key}"), &[&number(tokens as f64)]),
        });
    }
    marks
}

/// R11: TPOT against the requests in flight.
pub(super) fn decode_by_load(context: &Context<'_>, _: &RunReport, series: &RunSeries) -> Drawn {
    let (id, group) = ("r11", Group::Load);
    let title = context.text("r11.title");
    let levels = match &series.decode_by_load {
        Ok(levels) => levels,
        Err(missing) => return Err(context.without(id, group, title, why(*missing))),
    };
    let (Some(first), Some(last)) = (levels.first(), levels.last()) else {
        return Err(context.without(id, group, title, "too_few_samples"));
    };
    let description = context.fill(
        "r11.description",
        &[
            &number(first.tpot_p50_ms),
            &range(first),
            &number(last.tpot_p50_ms),
            &range(last),
        ],
    );
    let middle = |level: &LoadLevel| {
        f64::midpoint(level.least_in_flight as f64, level.most_in_flight as f64)
    };
    let line = |name: &str, tone, dash, of: fn(&LoadLevel) -> f64| Mark::Line {
        name: name.to_owned(),
        tone: Tone(tone),
        dash,
        markers: levels.len() <= MOST_MARKERS,
        points: levels
            .iter()
            .map(|level| (middle(level), Some(of(level))))
            .collect(),
    };
    let most = levels
        .iter()
        .map(|level| level.tpot_p90_ms)
        .fold(0.0, f64::max);
    let rows = ranges(levels.len()).map(|levels_of| {
        let level = &levels[levels_of.start];
        vec![
            range(level),
            number(level.requests as f64),
            number(level.tpot_p50_ms),
            number(level.tpot_p90_ms),
        ]
    });
    let header = vec![
        context.text("axis.in_flight"),
        context.text("axis.count"),
        "TPOT p50 (ms)".to_owned(),
        "TPOT p90 (ms)".to_owned(),
    ];
    Ok(context.chart(Sketch {
        id,
        group,
        title,
        description: vec![description],
        columns: 1,
        panels: vec![Panel {
            title: String::new(),
            height: Height::Half,
            x: Axis::new(
                Scale::linear(0.0, middle(last), 8),
                context.text("axis.in_flight"),
            ),
            y: Axis::new(Scale::linear(0.0, most, 4), context.with_unit(Metric::Tpot)),
            marks: vec![
                line("p50", 0, Dash::Solid, |level| level.tpot_p50_ms),
                line("p90", 1, Dash::Long, |level| level.tpot_p90_ms),
            ],
        }],
        table: Table {
            header,
            rows: rows.collect(),
        },
    }))
}

fn range(level: &LoadLevel) -> String {
    if level.least_in_flight == level.most_in_flight {
        level.least_in_flight.to_string()
    } else {
        format!("{} – {}", level.least_in_flight, level.most_in_flight)
    }
}
