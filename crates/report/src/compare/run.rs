//! Owns what a comparison knows of one run: its load, the settings that matter, its figures, and how
//! much they vary within it. Its form in files is that of baselines.
//!
//! It must not know where runs are read from.

use std::collections::BTreeMap;

use evalscope_model::metrics::{RunFigure, Share};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[cfg(test)]
use super::blocks::Written;
use super::blocks::{AllBlocks, Timed};
use super::measured::Measured;
#[cfg(test)]
use super::measured::MeasuredForm;
use crate::names::{FigureKey, Rate};
use crate::rules::PointPlace;

/// A run as a comparison sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Run {
    /// Its load.
    pub place: PointPlace,
    /// Where it was read from.
    pub origin: String,
    /// The program that measured, with its version.
    pub tool: String,
    /// Settings that have to be equal, as far as they are known.
    pub settings: Map<String, Value>,
    /// Its figures: each a list of its value and of the variance of its logarithm within the run, if that is known.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, MeasuredForm>"))]
    pub figures: BTreeMap<FigureKey, Measured>,
    /// Its times as histograms, by metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schemars(with = "BTreeMap<Timed, Written>"))]
    pub blocks: AllBlocks,
    /// Requests that were lost: failed, shed, unfinished.
    pub lost: Option<Trials>,
    /// Requests that met the objective.
    pub good: Option<Trials>,
    /// Successes by why generation ended; empty if that is unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub finish_reasons: BTreeMap<String, u64>,
    /// Why its figures cannot be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
    /// Its figures may show the client that measured, and not the server.
    #[serde(default)]
    pub client_limited: bool,
    /// Why nothing says how much some of its figures vary within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_intervals: Option<String>,
    /// It is too short to be compared without repeats.
    #[serde(default)]
    pub is_short: bool,
    /// What a reader of its figures must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How many of how many requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Trials {
    /// So many.
    pub count: u64,
    /// Of so many.
    pub of: u64,
    /// By how much their share varies more than that of independent requests.
    pub inflation: f64,
}

impl Run {
    /// A figure's value.
    pub(super) fn value(&self, figure: FigureKey) -> Option<f64> {
        self.figures.get(&figure).map(|measured| measured.value)
    }

    /// Add these figures if they are percentiles that the run does not have, but its histograms do.
    pub(super) fn add_percentiles(&mut self, wanted: &[FigureKey]) {
        for figure in wanted {
            let Some((metric, percentile)) = figure.further_percentile() else {
                continue;
            };
            if self.figures.contains_key(figure) {
                continue;
            }
            let blocks = Timed::of(metric).and_then(|timed| self.blocks.get(&timed));
            let measured = blocks.and_then(|own| own.percentile(metric, percentile));
            self.figures.extend(measured.map(|own| (*figure, own)));
        }
    }

    /// The requests of a figure that is a share of requests.
    pub(super) fn trials(&self, figure: FigureKey) -> Option<Trials> {
        match figure {
            FigureKey::Rate(Rate::Errors) => self.lost,
            FigureKey::Rate(Rate::Goodput) => self.good,
            _ => None,
        }
    }

    /// A figure's logarithm; `None` where it has none.
    pub(super) fn logarithm(&self, figure: FigureKey) -> Option<RunFigure> {
        let measured = self.figures.get(&figure)?;
        let value = measured.value.ln();
        value.is_finite().then_some(RunFigure {
            value,
            within: measured.ln_variance,
        })
    }
}

/// The share of all runs together. Their requests count for as many independent ones as leave as much
/// chance: by the inflation within runs, or by how much the shares of runs differ, whichever is worse.
pub(super) fn pooled(trials: &[Trials]) -> Option<Share> {
    let count: u64 = trials.iter().map(|one| one.count).sum();
    let of: u64 = trials.iter().map(|one| one.of).sum();
    if of == 0 {
        return None;
    }
    let share = count as f64 / of as f64;
    let within: f64 = trials
        .iter()
        .map(|one| one.of as f64 / one.inflation.max(1.0))
        .sum();
    let chance = share * (1.0 - share);
    let between = if trials.len() > 1 && chance > 0.0 {
        let squares = trials.iter().filter(|one| one.of > 0).map(|one| {
            let own = one.count as f64 / one.of as f64;
            one.of as f64 * (own - share).powi(2)
        });
        squares.sum::<f64>() / (chance * (trials.len() - 1) as f64)
    } else {
        1.0
    };
    Some(Share {
        share,
        trials: within.min(of as f64 / between.max(1.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_runs_are_pooled() {
        let of = |count, inflation| Trials {
            count,
            of: 100,
            inflation,
        };
        let one = pooled(&[of(10, 1.0)]).unwrap();
        assert!((one.share - 0.1).abs() < 1e-12 && (one.trials - 100.0).abs() < 1e-9);
        assert!((pooled(&[of(10, 4.0)]).unwrap().trials - 25.0).abs() < 1e-9);
        // alike runs add up; runs that differ more than chance would make them do not
        let alike = pooled(&[of(10, 1.0), of(11, 1.0), of(9, 1.0)]).unwrap();
        assert!((alike.trials - 300.0).abs() < 1e-9);
        let apart = pooled(&[of(0, 1.0), of(30, 1.0), of(0, 1.0)]).unwrap();
        assert!((apart.share - 0.1).abs() < 1e-12 && apart.trials < 15.0);
        assert_eq!(pooled(&[]), None);
    }
}
