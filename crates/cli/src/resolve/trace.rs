//! Owns what a trace means for a command: it is read once, before anything is sent, and gives the load.
//!
//! It must not know formats of traces, nor how prompts are made.

use std::path::Path;
use std::sync::Arc;

use evalscope_model::plan::{Recording, Sweep, Warmup};
use evalscope_model::trace::{LeftOut, TraceReport};
use evalscope_workload::dataset::ArgsReader;
use evalscope_workload::trace::{Trace, TraceKind, TraceSettings};

use crate::catalog::datasets::Origin;
use crate::failure::hinted;
use crate::flags::load::LoadArgs;
use crate::flags::prompts::PromptArgs;
use crate::flags::rates::Rate;
use crate::sources::{DatasetKind, PromptPlan};

/// Read the trace, if the dataset is one. Says what it has.
pub(super) fn trace_of(
    plan: &PromptPlan,
    model: Option<&str>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<Arc<Trace>>> {
    let (DatasetKind::BuiltIn(row), Some(path)) = (&plan.set, &plan.path) else {
        return Ok(None);
    };
    let Origin::Trace(kind) = row.origin else {
        return Ok(None);
    };
    let settings = TraceSettings::take(&mut ArgsReader::new(plan.args.clone()))?;
    if settings.no_scan && plan.skip_bad {
        return Err(hinted(
            "`no_scan` in `--dataset-args` does not go with `--skip-bad-lines`: before the load it is not known \
             which lines are bad",
            "leave out one of them",
        ));
    }
    let trace = Trace::scan(
        path,
        kind,
        settings.clone(),
        plan.skip_bad,
        plan.seed,
        || true,
    );
    let trace = trace.map_err(|error| match error.hint() {
        Some(hint) => hinted(error.to_string(), hint),
        None => error.into(),
    })?;
    check_settings(&settings, trace.kind())?;
    if trace.needs_words() && plan.tokenizer.is_none() {
        return Err(hinted(
            format!(
                "the dataset `{}` needs `--tokenizer-path`: the trace tells the lengths of prompts in tokens",
                row.name
            ),
            "give the model's tokenizer: a folder, a tokenizer.json or a hub id",
        ));
    }
    let report = trace.report();
    notes.push(described(path, report));
    if trace.needs_words() && report.block_tokens.is_none() {
        notes.push(
            "this trace does not tell what prompts share: the prefix cache will find nothing, real traffic \
             would"
                .to_owned(),
        );
    }
    if let Some(model) = model.filter(|_| trace.kind().has_bodies())
        && settings.model_override.is_none()
        && settings.model_mapping.is_empty()
    {
        notes.push(format!(
            "`--model {model}` does not change recorded bodies: see `model_override` and `model_mapping` in \
             `--dataset-args`"
        ));
    }
    Ok(Some(Arc::new(trace)))
}

/// Options that this format does not have.
fn check_settings(settings: &TraceSettings, kind: TraceKind) -> anyhow::Result<()> {
    let defaults = TraceSettings::default();
    let for_bodies = [
        ("model_override", settings.model_override.is_some()),
        ("model_mapping", !settings.model_mapping.is_empty()),
        ("match_output_length", settings.match_output_length),
    ];
    let for_lengths = [
        ("block_size", settings.block_size.is_some()),
        (
            "force_output",
            settings.force_output != defaults.force_output,
        ),
        ("max_input", settings.max_input.is_some()),
        ("max_context", settings.max_context.is_some()),
    ];
    let for_blocks = [("block_size", settings.block_size.is_some())];
    let wrong = |options: &[(&'static str, bool)]| {
        let mut options = options.iter();
        options.find(|(_, is_set)| *is_set).map(|(name, _)| *name)
    };
    let (name, why) = if kind.has_bodies() {
        (
            wrong(&for_lengths),
            "its requests are sent as they were recorded",
        )
    } else {
        let of_blocks = wrong(&for_blocks).filter(|_| kind.block_tokens().is_none());
        match of_blocks {
            Some(name) => (Some(name), "it has no blocks"),
            None => (wrong(&for_bodies), "only `workload_trace` has bodies"),
        }
    };
    match name {
        None => Ok(()),
        Some(name) => Err(hinted(
            format!(
                "`{name}` in `--dataset-args` does not go with {}: {why}",
                kind.as_str()
            ),
            "docs/traces.md lists the options of each format",
        )),
    }
}

/// What a trace has.
fn described(path: &Path, report: &TraceReport) -> String {
    let LeftOut {
        outside_window,
        not_sampled,
        too_long,
        without_response,
        bad,
    } = report.left_out;
    let left_out: Vec<String> = [
        (outside_window, "outside of the window"),
        (not_sampled, "not in the sample"),
        (too_long, "too long"),
        (without_response, "without a response"),
        (bad, "unreadable"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, why)| format!("{n} {why}"))
    .collect();
    let mut parts = vec![format!(
        "the trace {} ({}) has {} request{} in {:.1} s",
        path.display(),
        report.format,
        report.requests,
        if report.requests == 1 { "" } else { "s" },
        report.span_s
    )];
    if !left_out.is_empty() {
        parts.push(format!("left out: {}", left_out.join(", ")));
    }
    parts.extend(report.possible_cached_share.map(|share| {
        let percent = share * 100.0;
        format!("{percent:.2} % of its input tokens could come from a prefix cache")
    }));
    if report.outputs_raised > 0 {
        let raised = report.outputs_raised;
        parts.push(format!("{raised} outputs of 0 tokens are taken as 1"));
    }
    if report.constrained > 0 {
        parts.push(format!(
            "{} requests have constrained output, so they go without `ignore_eos`",
            report.constrained
        ));
    }
    parts.join("; ")
}

/// The load of a trace: its moments, or a closed loop where one was asked for.
pub(super) fn replayed(
    sweep: Sweep,
    load: &LoadArgs,
    trace: &Trace,
    notes: &mut Vec<String>,
) -> anyhow::Result<Sweep> {
    let mut rates = load.rate.iter().flat_map(|rates| &rates.0);
    if rates.any(|rate| *rate != Rate::Unpaced) {
        return Err(hinted(
            "`--rate` does not go with a trace, which has its own moments",
            "`speed` in `--dataset-args` replays it faster or slower",
        ));
    }
    if load.stop_when_saturated {
        return Err(hinted(
            "`--stop-when-saturated` needs a rate, but a trace has its own moments",
            "leave it out, or give `--rate` and another dataset",
        ));
    }
    if sweep.dataset_offset > 0 {
        return Err(hinted(
            "`--dataset-offset` does not go with a trace",
            "`start` in `--dataset-args` leaves out its beginning, in seconds",
        ));
    }
    let requests = trace.report().requests;
    let warmup = sweep.warmup.of(Some(requests)).unwrap_or(0);
    let Some(measured) = requests.checked_sub(warmup).filter(|left| *left > 0) else {
        return Err(hinted(
            format!(
                "`--warmup-num` takes all {requests} requests of the trace: nothing is left to measure"
            ),
            "the warm-up takes the first requests of the trace, at their own moments",
        ));
    };
    let number = sweep.number.map(|numbers| {
        if let Some(many) = numbers.iter().find(|number| **number > measured) {
            notes.push(format!(
                "`--number {many}` is more than the trace has: {measured} requests are measured"
            ));
        }
        let fewer = numbers.into_iter().map(|number| number.min(measured));
        fewer.collect::<Vec<u64>>()
    });
    let is_closed = load.parallel.is_some() && !load.open_loop;
    if is_closed {
        notes.push(
            "the moments of the trace are not used: with `--parallel` its requests are sent as fast as the \
             responses come; `--open-loop` sends them at their moments"
                .to_owned(),
        );
    } else {
        notes.extend(trace.report().warnings.iter().cloned());
    }
    if !is_closed && !load.open_loop {
        notes.push(
            "requests are sent at the moments of the trace, without waiting for responses (`--open-loop`)"
                .to_owned(),
        );
    }
    let points = sweep.parallel.as_ref().map_or(1, Vec::len);
    let points = points.max(number.as_ref().map_or(1, Vec::len));
    if points > 1 && trace.kind().has_bodies() {
        notes.push(
            "every run sends the same recorded bodies, so the server's prefix cache may be warm"
                .to_owned(),
        );
    }
    let most = number.as_ref().and_then(|numbers| numbers.iter().max());
    let sent = most.map_or(requests, |most| most + warmup);
    Ok(Sweep {
        recording: (!is_closed).then(|| first_of(trace.recording(), sent)),
        whole: Some(measured),
        warmup: Warmup::Count(warmup),
        number,
        ..sweep
    })
}

/// The first requests of a recording.
fn first_of(recording: &Recording, requests: u64) -> Recording {
    let all = &recording.offsets_ns;
    let most = usize::try_from(requests).unwrap_or(usize::MAX);
    if most >= all.len() {
        return recording.clone();
    }
    let offsets_ns: Arc<[u64]> = Arc::from(&all[..most]);
    let ends = offsets_ns.first().zip(offsets_ns.last());
    Recording {
        speed: recording.speed,
        span_s: ends.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9),
        offsets_ns,
    }
}

/// Whether requests have bodies of their own, with a model in each: `--model` need not be given.
pub(crate) fn has_models(prompts: &PromptArgs) -> bool {
    let row = prompts.built_in();
    row.is_some_and(|row| row.origin == Origin::Trace(Some(TraceKind::Workload)))
}
