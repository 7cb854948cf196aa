//! Owns the comparison of one figure at one point: change, interval, probability, and the verdict.
//!
//! It must not know rules, nor how a verdict is shown.

use evalscope_model::metrics::{
    Change, Grounds, Interval, RunFigure, newcombe, newcombe_p_value, normal_quantile,
};
use serde::Serialize;

use super::run::{Run, Trials, pooled};
use crate::names::{Better, FigureKey, Percentile, Stat, Unit};

/// The chance of a finding that is none, for all primary figures of a point together.
pub(super) const ALPHA: f64 = 0.05;

/// Changes below this do not matter, unless `--noise` says otherwise.
const NOISE: f64 = 0.05;
/// The same for the tail of a distribution, which varies more.
const NOISE_OF_TAIL: f64 = 0.10;
/// The same for shares of requests: half a percentage point.
const NOISE_OF_SHARE: f64 = 0.005;

/// Percentiles from this on are the tail.
const TAIL: Percentile = Percentile::whole(98);

/// How a figure was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By the figures of three or more runs on either side.
    Repeats,
    /// By drawing each run anew, with an assumed scatter between runs: indicative.
    FewRuns,
    /// By the requests that a share is of.
    Shares,
    /// It was not: nothing says how much the figure varies.
    Unknown,
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is better, by more than noise and more than chance.
    Better,
    /// It is worse in the same way.
    Worse,
    /// Its change is below what counts as noise.
    Same,
    /// The runs do not say.
    Unclear,
    /// The runs cannot be compared.
    NotComparable,
}

impl Verdict {
    /// As people read it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Unclear => "unclear",
            Self::NotComparable => "not comparable",
        }
    }
}

/// A figure of the base beside that of the new runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Cell {
    /// The figure.
    #[cfg_attr(test, schemars(with = "String"))]
    pub figure: FigureKey,
    /// The unit of `base` and `new`; shares are 0 to 1.
    pub unit: &'static str,
    /// Whether it is one of the figures that are corrected for being several.
    pub is_primary: bool,
    /// The base: the geometric mean of its runs, or the share of their requests together.
    pub base: f64,
    /// The new runs, in the same way.
    pub new: f64,
    /// Runs of the base.
    pub base_runs: u64,
    /// New runs.
    pub new_runs: u64,
    /// How it was compared.
    pub method: Method,
    /// `new` / `base` − 1; of shares, `new` − `base`. `null` if the base is 0.
    pub change: Option<f64>,
    /// 95 % interval of the change; `null` if nothing says how much the figure varies.
    pub change_ci: Option<Interval>,
    /// The probability of such a change by chance.
    pub p: Option<f64>,
    /// The same, corrected for the primary figures of the point (Holm).
    pub p_adjusted: Option<f64>,
    /// The smallest change that could have been seen.
    pub smallest_visible_change: Option<f64>,
    /// Runs a side that would decide; only where it is unclear.
    pub runs_to_decide: Option<u64>,
    /// What became of it.
    pub verdict: Verdict,
}

impl Cell {
    /// Changes of it are points of percent, not percent.
    #[must_use]
    pub fn is_share(&self) -> bool {
        self.figure.unit() == Unit::Share
    }

    /// How much worse it has become, to put the worst first; less than 0 is better.
    #[must_use]
    pub fn badness(&self) -> f64 {
        let change = self.change.unwrap_or(0.0);
        match self.figure.better() {
            Better::Lower => change,
            Better::Higher => -change,
            Better::Neither => 0.0,
        }
    }

    /// The interval lies wholly on this side of no change.
    pub(super) fn is_wholly(&self, above: bool) -> bool {
        self.change_ci.is_some_and(|interval| {
            if above {
                interval.low() > 0.0
            } else {
                interval.high() < 0.0
            }
        })
    }
}

/// What is assumed, and what does not matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Standard deviation between runs that is assumed where there are too few, as a share.
    pub run_scatter: f64,
    /// What counts as noise for all figures; `None`: what fits each.
    pub noise: Option<f64>,
    /// What counts as noise for some.
    pub noise_of: Vec<(FigureKey, f64)>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            run_scatter: 0.03,
            noise: None,
            noise_of: Vec::new(),
        }
    }
}

impl Limits {
    /// What counts as noise for a figure.
    #[must_use]
    pub fn noise(&self, figure: FigureKey) -> f64 {
        let own = self.noise_of.iter().rev().find(|(key, _)| *key == figure);
        if let Some((_, noise)) = own {
            return *noise;
        }
        self.noise.unwrap_or(match figure {
            _ if figure.unit() == Unit::Share => NOISE_OF_SHARE,
            FigureKey::Metric(_, Stat::Max) => NOISE_OF_TAIL,
            FigureKey::Metric(_, Stat::Percentile(p)) if p >= TAIL => NOISE_OF_TAIL,
            _ => NOISE,
        })
    }
}

/// A change on the scale on which it is tested: of logarithms, or of shares.
struct Tested {
    method: Method,
    estimate: f64,
    interval: Interval,
    p: f64,
    half_width: f64,
    runs_to_decide: Option<u64>,
}

/// Compare a figure; `None` if one of the runs does not have it.
pub(super) fn compare(
    figure: FigureKey,
    base: &[&Run],
    new: &[&Run],
    limits: &Limits,
) -> Option<Cell> {
    let (old_values, new_values) = (values(figure, base)?, values(figure, new)?);
    let noise = limits.noise(figure);
    let is_share = figure.unit() == Unit::Share;
    let (tested, sides) = match (trials(figure, base), trials(figure, new)) {
        (Some(a), Some(b)) => of_trials(&a, &b)?,
        _ if is_share => {
            let tested = of_values(&plain(&old_values), &plain(&new_values), 0.0, noise);
            // what a side does not vary by itself, nothing else says
            let tested = tested.filter(|own| own.method == Method::Repeats);
            (tested, (mean(&old_values), mean(&new_values)))
        }
        _ => {
            let logarithms = |runs: &[&Run]| {
                let all: Option<Vec<RunFigure>> =
                    runs.iter().map(|run| run.logarithm(figure)).collect();
                all
            };
            let tested = logarithms(base)
                .zip(logarithms(new))
                .and_then(|(a, b)| of_values(&a, &b, limits.run_scatter, (1.0 + noise).ln()))
                .filter(|own| own.method == Method::Repeats || !has_short(base, new));
            (
                tested,
                (geometric_mean(&old_values), geometric_mean(&new_values)),
            )
        }
    };
    let change = if is_share {
        Some(sides.1 - sides.0)
    } else {
        Some(sides.1 / sides.0 - 1.0).filter(|change| change.is_finite())
    };
    let shown = |on_scale: f64| {
        if is_share {
            on_scale
        } else {
            on_scale.exp_m1()
        }
    };
    let mut cell = Cell {
        figure,
        unit: figure.unit().name(),
        is_primary: FigureKey::PRIMARY.contains(&figure),
        base: sides.0,
        new: sides.1,
        base_runs: base.len() as u64,
        new_runs: new.len() as u64,
        method: Method::Unknown,
        change,
        change_ci: None,
        p: None,
        p_adjusted: None,
        smallest_visible_change: None,
        runs_to_decide: None,
        verdict: Verdict::Unclear,
    };
    if let Some(tested) = tested {
        let interval = tested.interval;
        cell.method = tested.method;
        cell.change = Some(shown(tested.estimate));
        cell.change_ci = Some(Interval::new(shown(interval.low()), shown(interval.high())));
        cell.p = Some(tested.p);
        cell.smallest_visible_change = Some(shown(tested.half_width));
        cell.runs_to_decide = tested.runs_to_decide;
    } else if old_values
        .iter()
        .chain(&new_values)
        .all(|value| *value == 0.0)
    {
        cell.change = Some(0.0);
        cell.verdict = Verdict::Same;
    }
    Some(cell)
}

/// The verdict on a cell whose probability is adjusted.
pub(super) fn decide(cell: &mut Cell, limits: &Limits) {
    let (Some(interval), Some(change), Some(p)) = (cell.change_ci, cell.change, cell.p_adjusted)
    else {
        return;
    };
    let noise = limits.noise(cell.figure);
    // a ratio that is as far below 1 as this is above it
    let below = if cell.is_share() {
        -noise
    } else {
        1.0 / (1.0 + noise) - 1.0
    };
    let is_sure = p < ALPHA;
    let rises = is_sure && cell.is_wholly(true) && change >= noise;
    let falls = is_sure && cell.is_wholly(false) && change <= below;
    cell.verdict = match cell.figure.better() {
        Better::Lower if rises => Verdict::Worse,
        Better::Lower if falls => Verdict::Better,
        Better::Higher if rises => Verdict::Better,
        Better::Higher if falls => Verdict::Worse,
        _ if interval.low() > below && interval.high() < noise => Verdict::Same,
        _ => Verdict::Unclear,
    };
    if cell.verdict != Verdict::Unclear {
        cell.runs_to_decide = None;
    }
}

/// One of the runs does not say by itself how much its figures vary.
fn has_short(base: &[&Run], new: &[&Run]) -> bool {
    base.iter().chain(new).any(|run| run.is_short)
}

fn values(figure: FigureKey, runs: &[&Run]) -> Option<Vec<f64>> {
    runs.iter().map(|run| run.value(figure)).collect()
}

fn trials(figure: FigureKey, runs: &[&Run]) -> Option<Vec<Trials>> {
    runs.iter().map(|run| run.trials(figure)).collect()
}

fn plain(values: &[f64]) -> Vec<RunFigure> {
    // a variance of 0 within, so that few runs are compared at all; the caller leaves them out
    let of = |value: &f64| RunFigure {
        value: *value,
        within: Some(0.0),
    };
    values.iter().map(of).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn geometric_mean(values: &[f64]) -> f64 {
    if values.iter().all(|value| *value > 0.0) && values.len() > 1 {
        mean(&values.iter().map(|value| value.ln()).collect::<Vec<_>>()).exp()
    } else {
        mean(values)
    }
}

type TestedSides = (Option<Tested>, (f64, f64));

fn of_trials(base: &[Trials], new: &[Trials]) -> Option<TestedSides> {
    let (a, b) = (pooled(base)?, pooled(new)?);
    let interval = newcombe(a, b, normal_quantile(1.0 - ALPHA / 2.0));
    let tested = Tested {
        method: Method::Shares,
        estimate: b.share - a.share,
        interval,
        p: newcombe_p_value(a, b),
        half_width: (interval.high() - interval.low()) / 2.0,
        runs_to_decide: None,
    };
    Some((Some(tested), (a.share, b.share)))
}

fn of_values(
    base: &[RunFigure],
    new: &[RunFigure],
    run_scatter: f64,
    noise: f64,
) -> Option<Tested> {
    let change = Change::between(base, new, run_scatter)?;
    Some(Tested {
        method: match change.grounds {
            Grounds::Repeats { .. } => Method::Repeats,
            Grounds::FewRuns => Method::FewRuns,
        },
        estimate: change.estimate,
        interval: change.interval(),
        p: change.p_value(),
        half_width: change.half_width(),
        runs_to_decide: Some(change.runs_to_decide(noise)),
    })
}
