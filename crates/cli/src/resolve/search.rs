//! Owns the search for capacity that the flags ask for.
//!
//! It must not know how a search goes on.

use std::num::NonZeroU32;

use evalscope_core::search::{
    CapacitySearch, EvalscopeSearch, GreatestSearch, Reference, SearchPlan, Statistics,
};
use evalscope_model::metrics::Delivery;
use evalscope_model::plan::RunSpec;
use evalscope_model::profile::Profile;
use evalscope_model::search::{ProbeTime, Variable};
use evalscope_model::sla::{Criterion, Rank, SlaError, SlaFigure, groups};
use evalscope_model::slo::Comparison;

use super::objective::Objectives;
use crate::catalog::row::nearest;
use crate::failure::hinted;
use crate::flags::PerfArgs;
use crate::flags::load::LoadArgs;
use crate::flags::rates::Rate;
use crate::flags::search::{SearchArgs, Vary};

/// A search, and its way.
#[derive(Clone, Debug)]
pub(crate) enum Search {
    /// Each probe runs until its requests tell.
    Measured(SearchPlan, Statistics),
    /// The load with the greatest figure.
    Greatest(SearchPlan, Statistics, SlaFigure),
    /// As EvalScope does it.
    Evalscope(SearchPlan, Reference),
}

/// EvalScope's numbers.
const REFERENCE_RUNS: u32 = 3;
const REFERENCE_MULTIPLIER: f64 = 2.0;

/// An example to go by.
const EXAMPLE: &str =
    "such as `--sla-params '{\"p99_ttft\": \"<=500ms\"}'`: docs/capacity.md has all figures";

/// What is known of a command before the search is.
pub(super) struct Known<'a> {
    pub(super) objectives: &'a Objectives,
    /// The load as it is without a search: what its probes have in common.
    pub(super) template: &'a RunSpec,
    pub(super) is_trace: bool,
    /// The flag for which responses are no streams of tokens.
    pub(super) without_stream: Option<&'a str>,
    /// Responses have output tokens.
    pub(super) generates: bool,
}

/// The search that was typed; `None` without `--sla-auto-tune`.
pub(super) fn search_of(
    args: &PerfArgs,
    known: &Known<'_>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<Search>> {
    let search = &args.search;
    if !search.sla_auto_tune {
        let idle = args.typed.iter().filter(|flag| flag.starts_with("sla-"));
        notes.extend(
            idle.map(|flag| format!("`--{flag}` has no effect: `--sla-auto-tune` is not given")),
        );
        return Ok(None);
    }
    check_combinations(args, known.is_trace)?;
    let variable = match search.sla_variable {
        Vary::Parallel => Variable::Parallel,
        Vary::Rate => Variable::Rate,
    };
    let groups = groups_of(search, known)?;
    let is_reference_typed =
        search.sla_num_runs.is_some() || search.sla_number_multiplier.is_some();
    let greatest = match groups[0][0] {
        Criterion::Greatest(figure) if !is_reference_typed && figure.is_throughput() => {
            Some(figure)
        }
        _ => None,
    };
    let has_extreme = !matches!(groups[0][0], Criterion::Limit(_));
    let is_reference = is_reference_typed || has_extreme && greatest.is_none();
    if is_reference && !is_reference_typed {
        notes.push(
            "`min`, and `max` of times, are searched for in EvalScope's way: 3 runs of 2 requests per unit of \
             load (`--sla-num-runs`, `--sla-number-multiplier`)"
                .to_owned(),
        );
    }
    let (lower, upper) = bounds_of(search, variable, is_reference)?;
    let start = start_of(&args.load, variable)?.unwrap_or(1.0);
    let fixed_parallel = search.sla_fixed_parallel.or_else(|| {
        let slots = if is_reference { as_places(upper) } else { None };
        slots.filter(|_| !args.load.open_loop)
    });
    if variable == Variable::Parallel && search.sla_fixed_parallel.is_some() {
        notes.push(
            "`--sla-fixed-parallel` has no effect: only a search for a rate uses it".to_owned(),
        );
    }
    notes.extend(idle_flags(args, is_reference));
    let plan = SearchPlan {
        variable,
        groups,
        start,
        lower,
        upper,
        fixed_parallel: fixed_parallel.filter(|_| variable == Variable::Rate),
        gaps: args.load.burstiness.unwrap_or(args.load.arrivals),
        from: known.objectives.from,
        slo: known.objectives.slo.clone(),
        delivery: match known.without_stream {
            Some(_) => Delivery::Whole,
            None => Delivery::Stream,
        },
        template: known.template.clone(),
        repeat_prompts: args.prompts.repeat_prompts,
    };
    if is_reference {
        let runs = search.sla_num_runs.map_or(REFERENCE_RUNS, NonZeroU32::get);
        let multiplier = search.sla_number_multiplier.unwrap_or(REFERENCE_MULTIPLIER);
        let way = Reference { runs, multiplier };
        return Ok(Some(Search::Evalscope(plan, way)));
    }
    let (least_s, most_s) = search.sla_probe_time;
    let way = Statistics {
        precision: search.sla_precision,
        confidence: search.sla_confidence,
        time: ProbeTime { least_s, most_s },
        most_s: search.sla_max_time,
    };
    Ok(Some(match greatest {
        Some(figure) => Search::Greatest(plan, way, figure),
        None => Search::Measured(plan, way),
    }))
}

/// Notes on flags that do nothing in this way of searching, and on what it cannot show.
fn idle_flags(args: &PerfArgs, is_reference: bool) -> Vec<String> {
    let (idle, why): (&[&str], &str) = if is_reference {
        (
            &[
                "sla-precision",
                "sla-confidence",
                "sla-probe-time",
                "sla-max-time",
                "number",
            ],
            "EvalScope's way of searching does not use it",
        )
    } else {
        (
            &["number", "duration"],
            "a search measures each load for as long as it takes (`--sla-probe-time`)",
        )
    };
    let is_typed = |flag: &&&str| args.typed.iter().any(|typed| typed == **flag);
    let mut notes: Vec<String> = idle
        .iter()
        .filter(is_typed)
        .map(|flag| format!("`--{flag}` has no effect: {why}"))
        .collect();
    if is_reference {
        notes.push(
            "runs of a few seconds cannot show saturation, and their percentiles are those of few requests; leave \
             `--sla-num-runs` and `--sla-number-multiplier` out for an answer with known confidence"
                .to_owned(),
        );
    }
    notes
}

/// What cannot go together with a search.
fn check_combinations(args: &PerfArgs, is_trace: bool) -> anyhow::Result<()> {
    let (load, search) = (&args.load, &args.search);
    if load.repeats > NonZeroU32::MIN {
        return Err(hinted(
            "`--repeats` and `--sla-auto-tune` cannot be combined",
            "a search measures its answer again by itself; search first, then repeat runs at the load that it found",
        ));
    }
    if is_trace {
        return Err(hinted(
            "`--sla-auto-tune` cannot search with a trace: its moments are fixed",
            "`--dataset-args '{\"speed\": 2}'` replays a trace faster",
        ));
    }
    if load.open_loop && search.sla_variable == Vary::Parallel {
        return Err(hinted(
            "`--open-loop` has no limit of requests in flight that `--sla-variable parallel` could vary",
            "search for a rate: `--sla-variable rate`",
        ));
    }
    if load.stop_when_saturated {
        return Err(hinted(
            "`--stop-when-saturated` and `--sla-auto-tune` cannot be combined",
            "a search ends a load by itself when the server does not keep up",
        ));
    }
    Ok(())
}

/// The groups of criteria, each of which can be measured.
fn groups_of(search: &SearchArgs, known: &Known<'_>) -> anyhow::Result<Vec<Vec<Criterion>>> {
    let Some(text) = &search.sla_params else {
        return Err(hinted("`--sla-auto-tune` needs `--sla-params`", EXAMPLE));
    };
    let groups = groups(text).map_err(|error| {
        let hint = match &error {
            SlaError::UnknownFigure { name } => {
                let names: Vec<String> = SlaFigure::all().map(SlaFigure::name).collect();
                let nearest = nearest(name, names.iter().map(String::as_str));
                format!(
                    "figures are p50, p90, p95, p99 and p99.9 of latency, ttft, ttfat and tpot (`p99_ttft`), their \
                     means (`avg_ttft`), rps, tps, success_rate and goodput{nearest}"
                )
            }
            _ => EXAMPLE.to_owned(),
        };
        hinted(format!("`--sla-params`: {error}"), hint)
    })?;
    for criterion in groups.iter().flatten() {
        let figure = criterion.figure();
        if let Some(why) = known.without_stream.filter(|_| figure.needs_stream()) {
            return Err(hinted(
                format!("`--sla-params`: `{figure}` cannot be measured with `{why}`"),
                "only the latency of whole responses is known",
            ));
        }
        if figure == SlaFigure::OutputTokensPerS && !known.generates {
            return Err(hinted(
                "`--sla-params`: `tps` needs an API that generates tokens",
                "`rps` counts the requests that succeed",
            ));
        }
        let is_reference = search.sla_num_runs.is_some() || search.sla_number_multiplier.is_some();
        match (figure, criterion) {
            (SlaFigure::Percentile(Rank::P999, _), criterion)
                if is_reference || !matches!(criterion, Criterion::Limit(_)) =>
            {
                return Err(hinted(
                    format!("`--sla-params`: EvalScope's way of searching has no `{figure}`"),
                    "leave `--sla-num-runs` and `--sla-number-multiplier` out, or use p99",
                ));
            }
            (SlaFigure::Goodput, Criterion::Limit(_)) => {
                return Err(hinted(
                    "`--sla-params`: `goodput` has no limit, only `max`",
                    "`success_rate` and percentiles have limits",
                ));
            }
            (SlaFigure::Goodput, _) if known.objectives.slo.is_none() => {
                return Err(hinted(
                    "`--sla-params`: `goodput` needs `--slo`: without it no request is good or bad",
                    "such as `--slo \"ttft<=500ms tpot<=50ms\"`",
                ));
            }
            (SlaFigure::SuccessRate, Criterion::Limit(limit))
                if limit.is_upper() || !(0.0..=100.0).contains(&limit.limit) =>
            {
                return Err(hinted(
                    format!(
                        "`--sla-params`: `success_rate` {} says nothing",
                        limit.target()
                    ),
                    "such as `\"success_rate\": \">=99%\"`",
                ));
            }
            (_, Criterion::Limit(limit)) if limit.limit <= 0.0 => {
                return Err(hinted(
                    format!("`--sla-params`: the limit of `{figure}` has to be greater than 0"),
                    EXAMPLE,
                ));
            }
            (SlaFigure::Percentile(..) | SlaFigure::Mean(_), Criterion::Limit(limit))
                if matches!(limit.comparison, Comparison::AtLeast | Comparison::Above)
                    && !is_reference =>
            {
                return Err(hinted(
                    format!(
                        "`--sla-params`: a time needs an upper limit, not {}",
                        limit.target()
                    ),
                    EXAMPLE,
                ));
            }
            _ => {}
        }
    }
    Ok(groups)
}

/// The least and the greatest value.
fn bounds_of(
    search: &SearchArgs,
    variable: Variable,
    is_reference: bool,
) -> anyhow::Result<(f64, f64)> {
    let (lower, upper) = (search.sla_lower_bound, search.sla_upper_bound);
    if lower > upper {
        return Err(hinted(
            format!("`--sla-lower-bound {lower}` is above `--sla-upper-bound {upper}`"),
            "the search is between the two",
        ));
    }
    if variable == Variable::Parallel || is_reference {
        let bounds = [("--sla-lower-bound", lower), ("--sla-upper-bound", upper)];
        let broken = bounds.iter().find(|(_, value)| value.fract() != 0.0);
        if let Some((flag, value)) = broken {
            return Err(hinted(
                format!("`{flag} {value}` is not a whole number"),
                "only `--sla-variable rate` searches between whole numbers, unless it is done in EvalScope's way",
            ));
        }
    }
    Ok((lower, upper))
}

/// A bound as a number of slots.
fn as_places(bound: f64) -> Option<std::num::NonZeroUsize> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a bound is a positive whole number here"
    )]
    std::num::NonZeroUsize::new(bound as usize)
}

/// The value that was typed for the load.
fn start_of(load: &LoadArgs, variable: Variable) -> anyhow::Result<Option<f64>> {
    let several = |flag: &str| {
        hinted(
            format!("`--sla-auto-tune` begins at one value of `{flag}`, not at several"),
            "give one; the search finds the others",
        )
    };
    match variable {
        Variable::Parallel => match load.parallel.as_deref() {
            None | Some([]) => Ok(None),
            Some([one]) => Ok(Some(one.get() as f64)),
            Some(_) => Err(several("--parallel")),
        },
        Variable::Rate => {
            let rates: Vec<&Rate> = load.rate.iter().flat_map(|rates| &rates.0).collect();
            match rates[..] {
                [Rate::Unpaced] | [] => Ok(None),
                [Rate::Profile(Profile::Constant { rate_per_s })] => Ok(Some(*rate_per_s)),
                [_] => Err(hinted(
                    "`--sla-auto-tune` begins at one number of arrivals per second, not at a profile",
                    "such as `--rate 5`",
                )),
                _ => Err(several("--rate")),
            }
        }
    }
}

impl Search {
    /// The first run.
    pub(crate) fn first(&self) -> RunSpec {
        use evalscope_model::experiment::Experiment as _;
        let first = match self.clone() {
            Self::Measured(plan, way) => CapacitySearch::new(plan, way).next(&[]),
            Self::Greatest(plan, way, figure) => GreatestSearch::new(plan, way, figure).next(&[]),
            Self::Evalscope(plan, way) => EvalscopeSearch::new(plan, way).next(&[]),
        };
        first.expect("a search begins with a measurement").spec
    }

    /// About how many runs it takes.
    pub(crate) fn estimate(&self) -> u32 {
        match self.clone() {
            Self::Measured(plan, way) => CapacitySearch::new(plan, way).estimate().0,
            Self::Greatest(plan, way, figure) => {
                GreatestSearch::new(plan, way, figure).estimate().0
            }
            Self::Evalscope(plan, way) => EvalscopeSearch::new(plan, way).estimate(),
        }
    }
}
