//! Owns what stands on the page: its parts, each made of what tables and files show too.
//!
//! It must not know how a part looks: the template does.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::both::{OtherTexts, line, others};
use super::charts::{self, Chart, Drawn, Group};
use super::foreign::{self, SHOWN_CHARS};
use super::strip::{self, Card};
use super::svg;
use crate::console::{self, Grid};
use crate::figures::MixFigures;
use crate::model::{Lang, RunState};
use crate::report::RunReport;
use crate::series::RunSeries;
use crate::together::Together;

/// Runs whose details are on a page.
pub(super) const DETAILED_RUNS: usize = 12;

/// Everything on the page.
#[derive(Serialize)]
pub(super) struct Page {
    lang: &'static str,
    title: String,
    url: String,
    /// Each with its label's key.
    head: Vec<(&'static str, String)>,
    state: &'static str,
    cards: Vec<Card>,
    sweep: Option<Sweep>,
    runs: Vec<Run>,
    /// Runs that only have their row in the table.
    in_brief: usize,
    errors: Vec<RunErrors>,
    settings: Vec<(String, String)>,
    command_line: Option<String>,
    metadata: Vec<(String, String)>,
    clocks: Vec<String>,
    files: Vec<String>,
}

/// A table whose first column names its rows.
#[derive(Serialize)]
pub(super) struct Table {
    header: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Serialize, Default)]
struct Row {
    /// Of the run, where a row is one that has details.
    anchor: Option<String>,
    /// The run's client was the bottleneck.
    limited: bool,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    text: String,
    /// The best of its column.
    best: bool,
}

#[derive(Serialize)]
struct Sweep {
    /// The run that the script shows first.
    shown: usize,
    table: Table,
    /// The answers of a search for capacity, and what was measured.
    answers: Vec<String>,
    probes: Option<Table>,
    /// What repeated runs come to.
    repeats: Option<Table>,
    best: Vec<String>,
    advice: Vec<String>,
    figures: Vec<Figure>,
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct Run {
    anchor: String,
    name: String,
    state: &'static str,
    started_at: String,
    ended_at: Option<String>,
    kept_up: Option<String>,
    summary: Table,
    plateau: Option<String>,
    percentiles: Option<Table>,
    /// It has output, as most runs have.
    generates: bool,
    workload: Option<Table>,
    segments: Option<Table>,
    speeds: Option<Table>,
    shards: Option<Table>,
    by_model: Option<Table>,
    by_url: Option<Table>,
    groups: Vec<GroupOfFigures>,
    client: Vec<String>,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct Warning {
    severity: &'static str,
    text: String,
}

#[derive(Serialize)]
struct GroupOfFigures {
    key: &'static str,
    figures: Vec<Figure>,
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct Figure {
    /// Unique on the page.
    anchor: String,
    title: String,
    description: String,
    svg: String,
    /// The id of the drawing.
    drawing: String,
    /// Of the curve of a sweep: the position of the run at its knee.
    knee: Option<usize>,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    #[serde(skip)]
    other: OtherTexts,
}

#[derive(Serialize)]
struct Missing {
    /// Unique on the page.
    anchor: String,
    text: String,
    #[serde(skip)]
    other: OtherTexts,
}

#[derive(Serialize)]
struct RunErrors {
    name: String,
    groups: Vec<ErrorGroup>,
    not_shown: u64,
}

#[derive(Serialize)]
struct ErrorGroup {
    kind: String,
    message: String,
    count: String,
    /// When the first and the last one were, seconds; where they are known, with a picture.
    first_s: Option<String>,
    last_s: Option<String>,
    timeline: Option<String>,
    example: Option<String>,
}

/// A chart in the language of the page, and in the other one.
pub(super) type InBoth = (Drawn, Drawn);

/// The charts of a page.
#[derive(Default)]
pub(super) struct Charts {
    /// Of all runs together.
    pub(super) sweep: Vec<InBoth>,
    /// Of each run that has details, in the order of [`details`].
    pub(super) runs: Vec<Vec<InBoth>>,
}

impl Page {
    /// What the runs of a command amount to. At least one.
    pub(super) fn of(
        runs: &[RunReport],
        together: &Together,
        details: &[(usize, RunSeries)],
        lang: Lang,
        charts: Charts,
    ) -> Self {
        let first = &runs[0].meta;
        let shown = details.iter().zip(charts.runs);
        let shown = shown.map(|((nth, _), drawn)| Run::of(*nth, &runs[*nth], drawn));
        let shown: Vec<Run> = shown.collect();
        let positions: Vec<usize> = details.iter().map(|(nth, _)| *nth).collect();
        let series_of = |nth: usize| {
            let series = details.iter().find(|(position, _)| *position == nth);
            series.map(|(_, series)| series)
        };
        let errors = runs.iter().enumerate();
        let state = worst_state(runs);
        Self {
            lang: lang.tag(),
            title: foreign::name(&first.model),
            url: foreign::name(&first.url),
            head: head(runs),
            state: state.as_str(),
            cards: strip::cards(runs),
            sweep: (runs.len() > 1).then(|| Sweep::of(runs, together, &positions, charts.sweep)),
            in_brief: runs.len() - shown.len(),
            runs: shown,
            errors: errors
                .filter_map(|(nth, run)| RunErrors::of(run, series_of(nth)))
                .collect(),
            settings: settings(&first.settings),
            command_line: (first.command_line.as_deref())
                .map(|line| foreign::shown(line, SHOWN_CHARS)),
            metadata: pairs(&first.metadata),
            clocks: clocks(runs),
            files: files(runs),
        }
    }
}

impl Page {
    /// What charts say in the other language: the distinct texts, and by the anchor of a chart the place of each
    /// text among its own, followed by its position among the distinct ones.
    pub(super) fn chart_texts(&self) -> (Vec<&str>, BTreeMap<&str, Vec<usize>>) {
        let sweep = self.sweep.iter().map(|one| (&one.figures, &one.missing));
        let groups = self.runs.iter().flat_map(|run| &run.groups);
        let groups = groups.map(|one| (&one.figures, &one.missing));
        let (mut distinct, mut positions) = (Vec::new(), BTreeMap::new());
        let mut charts = BTreeMap::new();
        for (figures, missing) in sweep.chain(groups) {
            let figures = figures.iter().map(|one| (&one.anchor, &one.other));
            let missing = missing.iter().map(|one| (&one.anchor, &one.other));
            for (anchor, texts) in figures.chain(missing) {
                let mut places = Vec::new();
                for (place, text) in texts {
                    let position = *positions.entry(text.as_str()).or_insert(distinct.len());
                    if position == distinct.len() {
                        distinct.push(text.as_str());
                    }
                    places.extend([*place, position]);
                }
                charts.insert(anchor.as_str(), places);
            }
        }
        (distinct, charts)
    }
}

/// The positions of the runs whose details are shown, in order: all of them, or those that matter
/// most and the rest evenly.
pub(super) fn details(runs: &[RunReport]) -> Vec<usize> {
    let all = 0..runs.len();
    if runs.len() <= DETAILED_RUNS {
        return all.collect();
    }
    let mut by_load: Vec<usize> = all.clone().collect();
    by_load.sort_by(|a, b| {
        let ((rate_a, slots_a), (rate_b, slots_b)) =
            (console::height(&runs[*a]), console::height(&runs[*b]));
        rate_a.total_cmp(&rate_b).then(slots_a.cmp(&slots_b))
    });
    let throughput = |nth: &usize| runs[*nth].requests_per_s().unwrap_or(-1.0);
    let best = all
        .clone()
        .max_by(|a, b| throughput(a).total_cmp(&throughput(b)));
    let wanted = [by_load.first(), by_load.last(), best.as_ref()];
    let mut chosen: Vec<usize> = wanted.into_iter().flatten().copied().collect();
    let mut warned: Vec<usize> = all.filter(|nth| !runs[*nth].warnings.is_empty()).collect();
    warned.sort_by_key(|nth| Reverse(runs[*nth].warnings.len()));
    // half of the places stay for the others
    chosen.extend(warned.into_iter().take(DETAILED_RUNS / 2));
    chosen.sort_unstable();
    chosen.dedup();
    let mut step = 2;
    while chosen.len() < DETAILED_RUNS {
        let evenly = (0..=step).map(|part| by_load[part * (runs.len() - 1) / step]);
        for nth in evenly {
            if chosen.len() < DETAILED_RUNS && !chosen.contains(&nth) {
                chosen.push(nth);
            }
        }
        step *= 2;
    }
    chosen.sort_unstable();
    chosen
}

/// The state of a command: that of its least finished run.
fn worst_state(runs: &[RunReport]) -> RunState {
    let order = [
        RunState::Running,
        RunState::Interrupted,
        RunState::GaveUp,
        RunState::Aborted,
        RunState::Partial,
        RunState::Finished,
    ];
    let has = |state: &RunState| runs.iter().any(|run| run.state == *state);
    order.into_iter().find(has).unwrap_or(RunState::Finished)
}

fn head(runs: &[RunReport]) -> Vec<(&'static str, String)> {
    let (first, last) = (&runs[0].meta, &runs[runs.len() - 1]);
    let mut head = vec![
        ("head.model", foreign::name(&first.model)),
        ("head.api", foreign::name(&first.api)),
        ("head.url", foreign::name(&first.url)),
        ("head.dataset", foreign::name(&first.dataset)),
        ("head.started", first.started_at.clone()),
    ];
    head.extend(last.ended_at.clone().map(|at| ("head.ended", at)));
    if let Some(alias) = first.alias() {
        head.insert(1, ("head.alias", foreign::name(alias)));
    }
    if let Some(host) = &first.host {
        let name = host.name.as_deref().unwrap_or_default();
        let host = format!(
            "{name} ({}, {}, {} CPUs)",
            host.os, host.architecture, host.cpus
        );
        head.push(("head.host", foreign::name(host.trim())));
    }
    let tool = format!("{} {}", first.tool.name, first.tool.version);
    head.push(("head.tool", foreign::name(&tool)));
    head
}

impl Table {
    fn of(grid: Grid) -> Self {
        let cell = |text: String| Cell {
            text: foreign::shown(&text, SHOWN_CHARS),
            best: false,
        };
        let rows = grid.rows.into_iter().map(|cells| Row {
            cells: cells.into_iter().map(cell).collect(),
            ..Row::default()
        });
        Self {
            header: grid.header,
            rows: rows.collect(),
        }
    }
}

impl Sweep {
    fn of(runs: &[RunReport], together: &Together, details: &[usize], drawn: Vec<InBoth>) -> Self {
        let mut table = Table::of(console::sweep_grid(runs));
        for column in 0..table.header.len() {
            let Some(better) = Better::of(&table.header[column]) else {
                continue;
            };
            let values = table.rows.iter().map(|row| plain(&row.cells[column].text));
            let values: Vec<Option<f64>> = values.collect();
            let known = values.iter().flatten().copied();
            let best = match better {
                Better::Higher => known.reduce(f64::max),
                Better::Lower => known.reduce(f64::min),
            };
            for (row, value) in table.rows.iter_mut().zip(values) {
                row.cells[column].best = value.is_some() && value == best;
            }
        }
        table.header.insert(0, "Run".to_owned());
        for (nth, (row, run)) in table.rows.iter_mut().zip(runs).enumerate() {
            row.anchor = details.contains(&nth).then(|| anchor(nth));
            row.limited = strip::is_limited(run);
            let text = foreign::name(&run.meta.name);
            row.cells.insert(0, Cell { text, best: false });
        }
        let (mut figures, missing) = figures("sweep", drawn);
        let knee = charts::knee(runs).ok();
        let curve = figures.iter_mut().find(|one| one.anchor == "sweep-s1");
        if let Some(curve) = curve {
            curve.knee = knee;
        }
        let shown = knee.filter(|nth| details.contains(nth));
        Self {
            shown: shown.or(details.last().copied()).unwrap_or(0),
            table,
            answers: together
                .search
                .as_ref()
                .map(console::answers)
                .unwrap_or_default(),
            probes: together
                .search
                .as_ref()
                .map(|search| Table::of(console::probe_grid(search))),
            repeats: (!together.repeats.is_empty())
                .then(|| Table::of(console::repeats_grid(&together.repeats))),
            best: console::best(runs),
            advice: console::advice(runs),
            figures,
            missing,
        }
    }
}

/// Which value of a column is the best.
enum Better {
    Higher,
    Lower,
}

impl Better {
    /// By the header of the column; `None` where no value is better than another.
    fn of(header: &str) -> Option<Self> {
        let first = header.split_whitespace().next()?;
        match first {
            "Success" | "RPS" | "Inputs" | "Output" | "Good" | "Plateau"
                if !header.contains("TTFT") =>
            {
                Some(Self::Higher)
            }
            "Latency" | "TTFT" | "TPOT" | "Steady" | "PD" | "Lat." | "Plateau" => Some(Self::Lower),
            _ => None,
        }
    }
}

/// The value of a cell as it is shown, for comparing: what is shown alike is alike.
fn plain(cell: &str) -> Option<f64> {
    let digits = cell.replace(',', "");
    digits.trim_end_matches('%').parse().ok()
}

fn anchor(nth: usize) -> String {
    format!("run-{}", nth + 1)
}

impl Run {
    fn of(nth: usize, run: &RunReport, drawn: Vec<InBoth>) -> Self {
        let totals = &run.totals;
        let anchor = anchor(nth);
        let mut groups: Vec<GroupOfFigures> = Vec::new();
        let mut drawn: Vec<Option<InBoth>> = drawn.into_iter().map(Some).collect();
        for group in Group::OF_RUN {
            let own = drawn.iter_mut().filter_map(|one| {
                let of = match &one.as_ref()?.0 {
                    Ok(chart) => chart.group,
                    Err(none) => none.group,
                };
                one.take_if(|_| of == group)
            });
            let own: Vec<InBoth> = own.collect();
            let (figures, missing) = figures(&anchor, own);
            if !figures.is_empty() || !missing.is_empty() {
                groups.push(GroupOfFigures {
                    key: group.key(),
                    figures,
                    missing,
                });
            }
        }
        let some = |grid: Grid, is_shown: bool| is_shown.then(|| Table::of(grid));
        let by =
            |head, all: &[MixFigures]| some(console::mix_grid(run, head, all), !all.is_empty());
        Self {
            name: foreign::name(&run.meta.name),
            state: run.state.as_str(),
            started_at: run.meta.started_at.clone(),
            ended_at: run.ended_at.clone(),
            kept_up: console::load_sentence(run),
            summary: Table::of(console::summary_grid(run)),
            plateau: console::plateau_sentence(run),
            generates: run.generates(),
            percentiles: some(console::percentile_grid(run), totals.succeeded > 0),
            workload: console::workload_grid(run).map(Table::of),
            segments: some(console::segment_grid(run), !run.segments.is_empty()),
            speeds: some(console::speed_grid(run), !run.speeds.is_empty()),
            shards: some(console::shard_grid(run), !run.meta.shards.is_empty()),
            by_model: by("Model", &run.by_model),
            by_url: by("URL", &run.by_url),
            groups,
            client: run.client.reasons.clone(),
            warnings: run
                .warnings
                .iter()
                .map(|warning| Warning {
                    severity: warning.severity.as_str(),
                    text: foreign::shown(&warning.text, SHOWN_CHARS),
                })
                .collect(),
            anchor,
        }
    }
}

/// What is drawn, and what is not.
fn figures(of: &str, drawn: Vec<InBoth>) -> (Vec<Figure>, Vec<Missing>) {
    let (mut figures, mut missing) = (Vec::new(), Vec::new());
    for (own, other) in drawn {
        let other = others(&own, &other);
        match own {
            Ok(Chart {
                id,
                title,
                description,
                svg,
                drawing,
                table,
                ..
            }) => figures.push(Figure {
                anchor: format!("{of}-{id}"),
                title,
                description,
                svg,
                drawing,
                knee: None,
                header: table.header,
                rows: table.rows,
                other,
            }),
            Err(none) => missing.push(Missing {
                anchor: format!("{of}-{}", none.id),
                text: line(&none),
                other,
            }),
        }
    }
    (figures, missing)
}

impl RunErrors {
    fn of(run: &RunReport, series: Option<&RunSeries>) -> Option<Self> {
        let flow = series.and_then(|series| series.flow.as_ref().ok());
        let groups = run.errors.iter().map(|group| {
            let times = flow.and_then(|flow| flow.failures(group.kind, &group.message));
            let example = group.example.as_deref();
            ErrorGroup {
                kind: group.kind.to_string(),
                message: foreign::shown(&group.message, SHOWN_CHARS),
                count: console::number(group.count as f64),
                first_s: times.map(|times| console::number(times.first_s)),
                last_s: times.map(|times| console::number(times.last_s)),
                timeline: times.map(|times| svg::spark(&times.counts)),
                example: example
                    .and_then(|said| console::telling_excerpt(group.kind, said))
                    .map(|said| foreign::shown(said, SHOWN_CHARS)),
            }
        });
        let groups: Vec<ErrorGroup> = groups.collect();
        (!groups.is_empty()).then(|| Self {
            name: foreign::name(&run.meta.name),
            groups,
            not_shown: run.errors_not_shown,
        })
    }
}

/// The settings that say something.
fn settings(settings: &serde_json::Value) -> Vec<(String, String)> {
    let all = settings.as_object().into_iter().flatten();
    let set = all.filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (foreign::name(name), foreign::shown(&text, SHOWN_CHARS))
    })
    .collect()
}

fn pairs(metadata: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let pairs = metadata.iter();
    pairs
        .map(|(key, value)| (foreign::name(key), foreign::shown(value, SHOWN_CHARS)))
        .collect()
}

/// The clocks that stamped arrivals.
fn clocks(runs: &[RunReport]) -> Vec<String> {
    let mut clocks: Vec<String> = runs.iter().map(|run| run.client.clock.clone()).collect();
    clocks.sort();
    clocks.dedup();
    clocks
}

/// The files beside the page.
fn files(runs: &[RunReport]) -> Vec<String> {
    let databases = runs.iter().map(|run| run.database.display().to_string());
    let beside = ["result.json", "performance_summary.txt"].map(str::to_owned);
    let all = beside.into_iter().chain(databases);
    all.map(|path| foreign::name(&path)).collect()
}
