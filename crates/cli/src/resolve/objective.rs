//! Owns the objective that the flags set for requests.
//!
//! It must not know how requests are judged.

use std::time::Duration;

use evalscope_model::metrics::Metric;
use evalscope_model::plan::RunSpec;
use evalscope_model::slo::{Slo, SloFrom};
use evalscope_report::names::{FigureKey, Rate};
use evalscope_report::rules::{PointPlace, Rule, is_of_windows};

use crate::failure::hinted;
use crate::flags::objective::{From, ObjectiveArgs};

/// What makes requests good, and how many have to be.
#[derive(Clone, Debug)]
pub(crate) struct Objectives {
    pub(crate) slo: Option<Slo>,
    /// Where times begin; `None`: where that is usual for the load.
    pub(crate) from: Option<SloFrom>,
    /// The least share of good requests.
    pub(crate) min_goodput: Option<f64>,
    /// What must not hold of a finished run.
    pub(crate) fail_if: Vec<Rule>,
    /// What must not hold of the last seconds of a run.
    pub(crate) abort_if: Vec<Rule>,
    /// From when on that is looked at.
    pub(crate) abort_after: Duration,
}

/// The objective that was typed. `is_search`: limits of a search have a beginning, too.
pub(super) fn objectives_of(
    args: &ObjectiveArgs,
    without_stream: Option<&str>,
    is_search: bool,
) -> anyhow::Result<Objectives> {
    let (flag, slo) = match (&args.slo, &args.goodput) {
        (Some(words), _) => ("--slo", Some(words.join(" ").parse())),
        (None, Some(words)) => ("--goodput", Some(Slo::from_goodput(&words.join(" ")))),
        (None, None) => ("--slo", None),
    };
    let slo = slo.transpose().map_err(|error| {
        hinted(
            format!("`{flag}`: {error}"),
            "such as `--slo \"ttft<=500ms tpot<=50ms\"` or `--goodput ttft:500 tpot:50`",
        )
    })?;
    let needs_stream = slo
        .iter()
        .flat_map(Slo::conditions)
        .find(|c| c.figure.needs_stream());
    if let Some((condition, why)) = needs_stream.zip(without_stream) {
        return Err(hinted(
            format!("`{flag} {condition}` cannot be measured with `{why}`"),
            "only the latency of whole responses is known",
        ));
    }
    if slo.is_none() {
        let idle = [
            ("--min-goodput", args.min_goodput.is_some()),
            ("--slo-from", args.slo_from.is_some() && !is_search),
        ];
        if let Some((flag, _)) = idle.into_iter().find(|(_, typed)| *typed) {
            return Err(hinted(
                format!("`{flag}` needs `--slo`: without it no request is good or bad"),
                "such as `--slo \"ttft<=500ms tpot<=50ms\"`",
            ));
        }
    }
    check_rules(
        "--fail-if",
        &args.fail_if,
        slo.is_some(),
        without_stream.is_none(),
    )?;
    check_rules(
        "--abort-if",
        &args.abort_if,
        slo.is_some(),
        without_stream.is_none(),
    )?;
    for condition in args.abort_if.iter().flat_map(Rule::conditions) {
        if !is_of_windows(condition.figure) || condition.at.is_some() {
            return Err(hinted(
                format!(
                    "`--abort-if`: {} is not known while a run goes on, and every run is looked at",
                    condition.figure
                ),
                "give it to `--fail-if`",
            ));
        }
    }
    Ok(Objectives {
        slo,
        from: args.slo_from.map(|from| match from {
            From::Schedule => SloFrom::Schedule,
            From::Send => SloFrom::Send,
        }),
        min_goodput: args.min_goodput,
        fail_if: args.fail_if.clone(),
        abort_if: args.abort_if.clone(),
        abort_after: Duration::from_secs_f64(args.abort_after),
    })
}

/// Whether each rule is about some of the runs.
pub(super) fn check_points(rules: &[Rule], runs: &[RunSpec]) -> anyhow::Result<()> {
    for rule in rules {
        let selectors = || rule.conditions().iter().filter_map(|one| one.at.as_ref());
        let is_about = |run: &RunSpec| selectors().all(|at| at.holds(&PointPlace::of(run)));
        if !runs.iter().any(is_about) {
            let places = runs.iter().map(|run| PointPlace::of(run).to_string());
            return Err(hinted(
                format!("`--fail-if {rule}` is about none of the runs"),
                format!("the runs are {}", places.collect::<Vec<_>>().join("; ")),
            ));
        }
    }
    Ok(())
}

/// Whether runs will have the figures of rules, and whether all bounds are absolute.
fn check_rules(flag: &str, rules: &[Rule], has_slo: bool, stream: bool) -> anyhow::Result<()> {
    for (rule, condition) in rules
        .iter()
        .flat_map(|rule| rule.conditions().iter().map(move |one| (rule, one)))
    {
        if condition.bound.is_change() {
            return Err(hinted(
                format!(
                    "`{flag} {rule}` is about a change, and one command has nothing to compare with"
                ),
                "give a bound without a sign, or run `evalscope compare BASE NEW --fail-if` afterwards",
            ));
        }
        let figure = condition.figure;
        if figure == FigureKey::Rate(Rate::Goodput) && !has_slo {
            return Err(hinted(
                format!("`{flag} {rule}` needs `--slo`: without it no request is good or bad"),
                "such as `--slo \"ttft<=500ms tpot<=50ms\"`",
            ));
        }
        let needs_stream = matches!(
            figure,
            FigureKey::Metric(
                Metric::Ttft
                    | Metric::Ttfat
                    | Metric::TtftFromSchedule
                    | Metric::Tpot
                    | Metric::Itl,
                _
            )
        );
        if needs_stream && !stream {
            return Err(hinted(
                format!("`{flag} {rule}` cannot be measured with `--no-stream`"),
                "only the latency of whole responses is known",
            ));
        }
    }
    Ok(())
}
