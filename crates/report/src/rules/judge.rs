//! Owns whether a finished run breaks rules with absolute bounds.
//!
//! It must not know what becomes of that.

use evalscope_model::plan::RunSpec;

use super::further::FurtherPercentiles;
use super::grammar::{Bound, Rule};
use super::selector::PointPlace;
use crate::names::{FigureKey, Unit, percentiles};
use crate::report::RunReport;

impl PointPlace {
    /// The place of a load.
    #[must_use]
    pub fn of(load: &RunSpec) -> Self {
        let schedule = load.pacing.schedule();
        Self {
            name: load.point.load_label().to_owned(),
            parallel: load.concurrency.map(|slots| slots.get() as u64),
            rate: schedule.map(|schedule| match schedule.profile.constant_per_s() {
                Some(rate_per_s) => rate_per_s.to_string(),
                None => schedule.profile.to_string(),
            }),
            number: load.requests,
            duration_s: load.duration_s,
        }
    }
}

/// A rule that a run has broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// Its figures with their values, as people read them.
    pub values: Vec<String>,
}

/// A rule needs a figure that a run does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}`: {run} has no {figure}{}", self.reason())]
pub struct NoFigure {
    /// The rule.
    pub rule: String,
    /// The figure.
    pub figure: FigureKey,
    /// The run or point.
    pub run: String,
}

impl NoFigure {
    fn reason(&self) -> String {
        match self.figure {
            FigureKey::Rate(crate::names::Rate::Goodput) => {
                "\nhint: goodput needs an objective: `perf --slo`".to_owned()
            }
            figure if figure.further_percentile().is_some() => {
                let known: Vec<String> = percentiles().map(|own| format!("p{own}")).collect();
                format!(
                    "\nhint: percentiles other than {} are computed from databases, and from the lists of vLLM's \
                     `--save-detailed`; baselines have them of ttft, tpot, itl and latency; a result.json does not",
                    known.join(", ")
                )
            }
            _ => String::new(),
        }
    }
}

/// Whether a run breaks a rule: all of its conditions hold. `None` if it does not, or if it is about
/// other points. Only for rules that are not about changes. Percentiles that the report does not have
/// are in `further`.
///
/// # Errors
/// If the run has no such figure.
pub fn broken_by(
    rule: &Rule,
    report: &RunReport,
    further: &FurtherPercentiles,
) -> Result<Option<Broken>, NoFigure> {
    let place = PointPlace::of(&report.meta.load);
    let mut broken = Broken { values: Vec::new() };
    let mut holds = true;
    for condition in rule.conditions() {
        if condition.at.as_ref().is_some_and(|at| !at.holds(&place)) {
            return Ok(None);
        }
        let value = condition.figure.value(report);
        let value = value.or_else(|| further.get(&condition.figure).copied());
        let value = value.ok_or_else(|| NoFigure {
            rule: rule.to_string(),
            figure: condition.figure,
            run: report.meta.name.clone(),
        })?;
        if let Bound::Value(bound) = condition.bound {
            holds &= condition.op.holds(value, bound);
        }
        broken.values.push(format!(
            "{} is {}",
            condition.figure,
            shown(condition.figure, value)
        ));
    }
    Ok(Some(broken).filter(|_| holds))
}

/// A value of a figure with its unit.
pub(crate) fn shown(figure: FigureKey, value: f64) -> String {
    match figure.unit() {
        Unit::Share => format!("{:.2} %", value * 100.0),
        Unit::Tokens => crate::console::number(value),
        unit => format!("{} {}", crate::console::number(value), unit.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_finished_run_is_judged() {
        let report = samples::report(&samples::meta("m"), samples::mixed(30));
        let further = FurtherPercentiles::from([("ttft_p99.9".parse().unwrap(), 22.9)]);
        let broken = |text: &str| broken_by(&text.parse().unwrap(), &report, &further);
        assert_eq!(broken("ttft_p99>500ms"), Ok(None));
        let one = broken("ttft_p99>1ms and error_rate>1%").unwrap().unwrap();
        assert_eq!(
            one.values,
            ["ttft_p99 is 22.77 ms", "error_rate is 13.33 %"]
        );
        assert_eq!(broken("ttft_p99>1ms and error_rate>50%"), Ok(None));
        assert!(broken("ttft_p99@parallel=5>1ms").unwrap().is_some());
        assert_eq!(broken("ttft_p99@parallel=6>1ms"), Ok(None));
        let tail = broken("ttft_p99.9>22.8ms").unwrap().unwrap();
        assert_eq!(tail.values, ["ttft_p99.9 is 22.90 ms"]);
        assert!(broken("itl_p99.9>1ms").is_err());
        let error = broken("goodput<95%").unwrap_err().to_string();
        assert!(error.contains("parallel_5_number_30 has no goodput") && error.contains("--slo"));
    }
}
