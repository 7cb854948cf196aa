//! Owns what people read of a search for capacity: the answers in sentences, and the table of what was
//! measured.
//!
//! It must not know how a search goes on.

use evalscope_model::search::{
    LimitJudgement, Mode, ProbeRecord, ProbeVerdict, Purpose, SearchRecord, Way,
};
use evalscope_model::sla::SlaFigure;

use super::layout::{Grid, MISSING, number, percent, plain, wrapped};
use super::load::verdict_word;
use super::screen::{Paint, Screen};

/// The answers, each in a sentence or two.
pub(crate) fn answers(search: &SearchRecord) -> Vec<String> {
    let selections = search.selections.iter();
    selections.map(|one| one.sentences.join(" ")).collect()
}

/// What was measured, in order.
pub(crate) fn probe_grid(search: &SearchRecord) -> Grid {
    match search.way {
        Way::Measured => measured(search),
        Way::Evalscope => evalscope(search),
    }
}

fn measured(search: &SearchRecord) -> Grid {
    let mut header = vec![
        search.variable.name().to_owned(),
        "Judged\n(s)".to_owned(),
        "Reqs".to_owned(),
    ];
    let mut limits: Vec<String> = Vec::new();
    let judged = search
        .probes
        .iter()
        .filter_map(|probe| probe.judgement.as_ref());
    for limit in judged.flat_map(|judgement| &judgement.limits) {
        let name = limit_name(limit);
        if !limits.contains(&name) {
            limits.push(name);
        }
    }
    header.extend(limits.iter().cloned());
    let views = views(search);
    header.extend(views.iter().map(|(label, _)| label.clone()));
    // a cache that fills up makes later probes faster
    let has_cache = search.probes.iter().any(|one| one.cached_share > Some(0.0));
    header.extend(has_cache.then(|| "Cached\nprompt".to_owned()));
    header.extend(["Kept\nup".to_owned(), "Result".to_owned()]);
    let rows = search.probes.iter().map(|probe| {
        let judgement = probe.judgement.as_ref();
        let mut row = vec![
            format!("{}", probe.value),
            judgement.map_or(MISSING.to_owned(), |one| format!("{:.0}", one.judged_s)),
            judgement.map_or(MISSING.to_owned(), |one| number(one.requests as f64)),
        ];
        row.extend(limits.iter().map(|name| {
            let mut own = judgement.iter().flat_map(|judgement| &judgement.limits);
            let limit = own.find(|limit| limit_name(limit) == *name);
            limit.map_or(MISSING.to_owned(), limit_cell)
        }));
        row.extend(views.iter().map(|(_, name)| {
            let value = probe.metric_values.get(name).copied();
            value.map_or(MISSING.to_owned(), number)
        }));
        let cached = probe.cached_share.map_or(MISSING.to_owned(), percent);
        row.extend(has_cache.then_some(cached));
        let load = judgement.and_then(|judgement| judgement.load);
        row.push(verdict_word(load.map(|load| load.verdict)).to_owned());
        row.push(result_cell(search, probe));
        row
    });
    Grid {
        rows: rows.collect(),
        header,
        keys: 1,
        words: 0,
    }
}

/// What a load costs, in a search for the greatest figure: labels and names of the figures beside it.
fn views(search: &SearchRecord) -> Vec<(String, String)> {
    let Some(selection) = search.selections.iter().find(|one| one.mode == Mode::Max) else {
        return Vec::new();
    };
    let named = |name: &String| {
        search
            .probes
            .iter()
            .any(|one| one.metric_values.contains_key(name))
    };
    let figures = SlaFigure::all().map(|figure| (figure, figure.name()));
    figures
        .filter(|(_, name)| !selection.criteria.contains_key(name) && named(name))
        .map(|(figure, name)| (format!("{}\n({})", figure.label(), figure.unit()), name))
        .collect()
}

fn limit_name(limit: &LimitJudgement) -> String {
    format!("{}\n{}", limit.figure, limit.target)
}

/// The figure, and the share that broke the limit with its interval.
fn limit_cell(limit: &LimitJudgement) -> String {
    let value = limit.value.map_or(MISSING.to_owned(), number);
    match (limit.violation_share, limit.violation_share_ci) {
        (Some(share), Some(ci)) => {
            let [low, high] = [ci.low(), ci.high()].map(percent);
            format!("{value}\n{} [{low}, {high}]", percent(share))
        }
        _ => match limit.value_ci {
            Some(ci) => format!("{value}\n[{}, {}]", number(ci.low()), number(ci.high())),
            None => value,
        },
    }
}

fn result_cell(search: &SearchRecord, probe: &ProbeRecord) -> String {
    if let Some(dominated) = probe.dominated {
        let selected = search
            .selections
            .iter()
            .filter_map(|one| one.selected_value);
        let is_best = selected
            .into_iter()
            .any(|best| best.total_cmp(&probe.value).is_eq());
        return match (is_best, probe.purpose, dominated) {
            (true, Purpose::Confirmation, _) => "best\nconfirmed",
            (true, _, _) => "best",
            (false, _, true) => "dominated",
            (false, _, false) => MISSING,
        }
        .to_owned();
    }
    let passes = probe.group_passes.values().all(|passes| *passes);
    let result = if passes { "passed" } else { "failed" };
    let how = match (probe.weak, probe.purpose) {
        (_, Purpose::OtherSearch) => "\nreused",
        (true, _) => "\nweak",
        (false, Purpose::Confirmation) if passes => "\nconfirmed",
        _ => "",
    };
    format!("{result}{how}")
}

/// As EvalScope has it.
fn evalscope(search: &SearchRecord) -> Grid {
    let rows = search.probes.iter().map(|probe| {
        let groups = probe.group_passes.iter().map(|(group, passes)| {
            let word = if *passes { "PASS" } else { "FAIL" };
            format!("{group}:{word}")
        });
        let reasons = probe.reasons.join(", ");
        vec![
            format!("{}", probe.value),
            format!("{}/{}", probe.succeeded_requests, probe.total_requests),
            if probe.reasons.is_empty() {
                "VALID"
            } else {
                "FAILED"
            }
            .to_owned(),
            groups.collect::<Vec<_>>().join(", "),
            if reasons.is_empty() {
                MISSING.to_owned()
            } else {
                reasons
            },
        ]
    });
    Grid {
        header: [
            "Pressure",
            "Succeeded/Total",
            "Run status",
            "Groups",
            "Reason",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
        keys: 5,
        words: 0,
    }
}

/// The answers, then what was measured.
#[must_use]
pub fn search(search: &SearchRecord, screen: Screen) -> String {
    let mut text = String::new();
    for answer in answers(search) {
        text.push_str(&wrapped("", &answer, screen.width));
    }
    text.push('\n');
    text.push_str(&screen.paint(Paint::Bold, "Probes:"));
    text.push('\n');
    let grid = probe_grid(search);
    text.push_str(&grid.render(screen.width, |row, line| {
        let probe = &search.probes[row];
        let passes = probe.group_passes.values().any(|passes| *passes);
        let is_weak = probe
            .judgement
            .as_ref()
            .is_some_and(|one| one.verdict == ProbeVerdict::Undecided);
        let paint = match (passes, is_weak) {
            (_, true) => Paint::Yellow,
            (true, false) => Paint::Green,
            (false, false) => Paint::Red,
        };
        screen.paint(paint, line)
    }));
    if search.way == Way::Evalscope {
        let selections = search.selections.iter().map(|one| {
            let criteria = one
                .criteria
                .iter()
                .map(|(name, target)| format!("{name} {target}"));
            vec![
                criteria.collect::<Vec<_>>().join(", "),
                one.selected_value
                    .map_or("None".to_owned(), |value| format!("{value}")),
                one.status.clone(),
                one.reason.clone(),
            ]
        });
        let grid = Grid {
            header: ["Criteria", "Selected", "Status", "Reason"]
                .map(str::to_owned)
                .into(),
            rows: selections.collect(),
            keys: 4,
            words: 1,
        };
        text.push_str(&screen.paint(Paint::Bold, "Selections:"));
        text.push('\n');
        text.push_str(&grid.render(screen.width, plain));
    }
    text
}
