//! Owns the objective that the flags set for requests.
//!
//! It must not know how requests are judged.

use evalscope_model::slo::{Slo, SloFrom};

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
}

/// The objective that was typed. `is_search`: limits of a search have a beginning, too.
pub(super) fn objectives_of(
    args: &ObjectiveArgs,
    stream: bool,
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
    if let Some(condition) = needs_stream.filter(|_| !stream) {
        return Err(hinted(
            format!("`{flag} {condition}` cannot be measured with `--no-stream`"),
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
    Ok(Objectives {
        slo,
        from: args.slo_from.map(|from| match from {
            From::Schedule => SloFrom::Schedule,
            From::Send => SloFrom::Send,
        }),
        min_goodput: args.min_goodput,
    })
}
