//! Owns the strip of verdicts: what a reader must know before any figure.
//!
//! It must not know how a card looks.

use std::collections::BTreeMap;

use evalscope_model::metrics::{LoadVerdict, Verdict};
use serde::Serialize;

use super::charts::{self, NoKnee};
use super::foreign::{self, SHOWN_CHARS};
use crate::console;
use crate::figures::LoadFigures;
use crate::report::RunReport;

/// A verdict.
#[derive(Serialize)]
pub(super) struct Card {
    /// What it is about; its title is the text of `card.KEY`.
    key: &'static str,
    tone: Tone,
    /// The verdict in a few words.
    word: Said,
    /// What is behind it.
    lines: Vec<String>,
}

/// How good a verdict is.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Tone {
    Good,
    Warn,
    Bad,
    Plain,
}

/// A text of the page with what is filled in.
#[derive(Serialize)]
pub(super) struct Said {
    pub(super) key: &'static str,
    pub(super) with: Vec<String>,
}

fn said<const N: usize>(key: &'static str, with: [String; N]) -> Said {
    Said {
        key,
        with: with.into(),
    }
}

fn count(n: u64) -> String {
    console::number(n as f64)
}

/// The cards of a command.
pub(super) fn cards(runs: &[RunReport]) -> Vec<Card> {
    let cards = [
        Some(client(runs)),
        Some(failures(runs)),
        server(runs),
        objective(runs),
        knee(runs),
        Some(warnings(runs)),
    ];
    cards.into_iter().flatten().collect()
}

/// Whether the client was the bottleneck of a run.
pub(super) fn is_limited(run: &RunReport) -> bool {
    run.client.verdict == Verdict::ClientLimited
}

/// A line about a run, which is named where there are several.
fn of_run(runs: &[RunReport], run: &RunReport, line: &str) -> String {
    let line = foreign::shown(line, SHOWN_CHARS);
    if runs.len() == 1 {
        return line;
    }
    format!("{}: {line}", foreign::name(&run.meta.name))
}

fn client(runs: &[RunReport]) -> Card {
    let limited: Vec<&RunReport> = runs.iter().filter(|run| is_limited(run)).collect();
    let lines = limited.iter().flat_map(|run| {
        let reasons = run.client.reasons.iter();
        reasons.map(|reason| of_run(runs, run, reason))
    });
    let (tone, word) = match limited.len() {
        0 => (Tone::Good, said("client.ok", [])),
        _ if runs.len() == 1 => (Tone::Bad, said("client.limited", [])),
        n => (
            Tone::Bad,
            said("client.limited_in", [n.to_string(), runs.len().to_string()]),
        ),
    };
    Card {
        key: "client",
        tone,
        word,
        lines: lines.collect(),
    }
}

fn failures(runs: &[RunReport]) -> Card {
    let lost: u64 = runs.iter().map(RunReport::lost).sum();
    let succeeded: u64 = runs.iter().map(|run| run.totals.succeeded).sum();
    let due = lost + succeeded;
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for run in runs {
        let totals = &run.totals;
        for (kind, n) in &totals.failed_by_kind {
            *kinds.entry(kind.to_string()).or_insert(0) += n;
        }
        for (kind, n) in [("shed", totals.shed), ("unfinished", totals.unfinished)] {
            *kinds.entry(kind.to_owned()).or_insert(0) += n;
        }
    }
    let mut kinds: Vec<(String, u64)> = kinds.into_iter().filter(|(_, n)| *n > 0).collect();
    kinds.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let lines = kinds
        .iter()
        .take(3)
        .map(|(kind, n)| format!("{} × {kind}", count(*n)));
    let (tone, word) = match (due, lost) {
        (0, _) => (Tone::Bad, said("failures.nothing_sent", [])),
        (_, 0) => (Tone::Good, said("failures.none", [count(due)])),
        _ => {
            let share = lost as f64 / due as f64;
            let tone = if share > 0.05 { Tone::Bad } else { Tone::Warn };
            let with = [console::percent(share), count(lost), count(due)];
            (tone, said("failures.some", with))
        }
    };
    Card {
        key: "failures",
        tone,
        word,
        lines: lines.collect(),
    }
}

/// Whether the server kept up with open loops.
fn server(runs: &[RunReport]) -> Option<Card> {
    let judged = runs.iter().filter_map(|run| {
        let verdict = run.load.as_ref().and_then(LoadFigures::verdict)?;
        Some((verdict, of_run(runs, run, &console::load_sentence(run)?)))
    });
    let (verdicts, lines): (Vec<LoadVerdict>, Vec<String>) = judged.unzip();
    if verdicts.is_empty() {
        return None;
    }
    let has = |verdict| verdicts.contains(&verdict);
    let (tone, word) = if has(LoadVerdict::Saturated) {
        (Tone::Bad, "server.saturated")
    } else if has(LoadVerdict::Undecided) {
        (Tone::Warn, "server.undecided")
    } else {
        (Tone::Good, "server.kept_up")
    };
    Some(Card {
        key: "server",
        tone,
        word: said(word, []),
        lines,
    })
}

/// The run with the most good requests per second.
fn objective(runs: &[RunReport]) -> Option<Card> {
    let mut best: Option<(&RunReport, f64)> = None;
    let mut slo = None;
    for run in runs {
        let Some(goodput) = &run.goodput else {
            continue;
        };
        slo = Some(&goodput.slo);
        let rate = goodput.requests_per_s.unwrap_or(0.0);
        if best.is_none_or(|(_, most)| rate > most) {
            best = Some((run, rate));
        }
    }
    let (run, rate) = best?;
    let share = run.goodput.as_ref().and_then(|goodput| goodput.share);
    let word = said(
        "objective.best",
        [
            console::number(rate),
            share.map_or_else(|| "-".to_owned(), console::percent),
        ],
    );
    let mut lines: Vec<String> = slo.into_iter().map(|slo| foreign::name(slo)).collect();
    if runs.len() > 1 {
        lines.push(foreign::name(&run.meta.name));
    }
    Some(Card {
        key: "objective",
        tone: Tone::Plain,
        word,
        lines,
    })
}

/// Where more load only makes requests wait. Too few loads have none.
fn knee(runs: &[RunReport]) -> Option<Card> {
    let (tone, word, lines) = match charts::knee(runs) {
        Ok(nth) => {
            let name = foreign::name(&runs[nth].meta.name);
            (Tone::Plain, said("knee.at", []), vec![name])
        }
        Err(NoKnee::NotReached) => (Tone::Plain, said("knee.none", []), Vec::new()),
        Err(NoKnee::FewLoads) => return None,
    };
    Some(Card {
        key: "knee",
        tone,
        word,
        lines,
    })
}

fn warnings(runs: &[RunReport]) -> Card {
    let lines = runs.iter().flat_map(|run| {
        let texts = run.warnings.iter().map(|warning| warning.text.as_str());
        texts.map(|text| of_run(runs, run, text))
    });
    let lines: Vec<String> = lines.collect();
    let (tone, word) = match lines.len() {
        0 => (Tone::Good, said("warnings.none", [])),
        n => (Tone::Warn, said("warnings.some", [n.to_string()])),
    };
    Card {
        key: "warnings",
        tone,
        word,
        lines,
    }
}
