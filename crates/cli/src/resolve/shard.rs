//! Owns which part of a run a process carries out, and the seed that all parts share.
//!
//! It must not know how a run is divided.

use evalscope_model::plan::{RunPlan, sub_seed};
use evalscope_model::shard::Shard;

use crate::env::Rank;
use crate::failure::hinted;
use crate::flags::PerfArgs;
use crate::flags::shard::{ShardArgs, ShardChoice};
use crate::resolve::load::drawn_seed;

/// The part that was typed or that a launcher says; `None`: the whole run.
pub(super) fn shard_of(args: &ShardArgs, ranks: &[Rank]) -> anyhow::Result<Option<Shard>> {
    match args.shard {
        None => Ok(None),
        Some(ShardChoice::Typed(shard)) => Ok(Some(shard)),
        Some(ShardChoice::Environment) => of_launcher(ranks).map(Some),
    }
}

fn of_launcher(ranks: &[Rank]) -> anyhow::Result<Shard> {
    let mut said = ranks.iter().map(|rank| (rank.names, &rank.values));
    let found = said.find(|(_, values)| values.0.is_some() || values.1.is_some());
    let Some(((index_name, of_name), values)) = found else {
        let names: Vec<String> = ranks
            .iter()
            .map(|Rank { names, .. }| format!("{}/{}", names.0, names.1))
            .collect();
        return Err(hinted(
            "`--shard env` finds no variable of a launcher",
            format!(
                "start it with srun, mpirun, a Kubernetes Indexed Job or torchrun, which set one of {}; or \
                 give `--shard I/N`",
                names.join(", ")
            ),
        ));
    };
    let half = |there: &str, missing: &str| {
        hinted(
            format!("`--shard env`: {there} is set, but {missing} is not"),
            format!("set {missing} too, or give `--shard I/N`"),
        )
    };
    let (index, of) = match values {
        (Some(index), Some(of)) => (index, of),
        (Some(_), None) => return Err(half(index_name, of_name)),
        _ => return Err(half(of_name, index_name)),
    };
    let shard: Result<Shard, _> = format!("{index}/{of}").parse();
    shard.map_err(|error| {
        hinted(
            format!(
                "`--shard env`: {index_name}={index} and {of_name}={of} make no shard: {error}"
            ),
            "correct the variables, or give `--shard I/N`",
        )
    })
}

/// The seed of the run. All parts of one have to draw the same.
pub(super) fn seed_of(
    args: &PerfArgs,
    shard: Shard,
    notes: &mut Vec<String>,
) -> anyhow::Result<u64> {
    if let Some(seed) = args.generation.seed {
        return Ok(seed);
    }
    let Some(run_id) = &args.shard.run_id else {
        if shard.is_whole() {
            return Ok(drawn_seed(notes));
        }
        return Err(hinted(
            "`--shard` needs `--seed` or `--run-id`: all shards have to draw the same prompts and arrivals",
            "give the same `--run-id` to all shards, such as the number of the job",
        ));
    };
    // 32 bits, which a person can type
    let seed = sub_seed(0, run_id) >> 32;
    notes.push(format!("seed {seed}, from `--run-id {run_id}`"));
    Ok(seed)
}

/// Check that there is one run, which a part of it can be or which can begin at a common start, and that no
/// shard ends alone.
pub(super) fn check_start(args: &PerfArgs, plan: &RunPlan) -> anyhow::Result<()> {
    let is_part = !plan.runs()[0].shard.is_whole();
    let flag = match (is_part, args.shard.start_at) {
        (true, _) => "--shard",
        (false, Some(_)) => "--start-at",
        (false, None) => return Ok(()),
    };
    let runs = plan.runs().len();
    if runs > 1 {
        return Err(hinted(
            format!("`{flag}` takes one run, but this command has {runs}"),
            "start each run on its own",
        ));
    }
    if args.search.sla_auto_tune {
        return Err(hinted(
            format!("`{flag}` takes one run, but `--sla-auto-tune` makes several"),
            "leave one of them out",
        ));
    }
    if is_part && !args.objective.abort_if.is_empty() {
        return Err(hinted(
            "`--abort-if` would end one shard while the others go on: each sees only its part of the load",
            "leave it out, or use one process",
        ));
    }
    Ok(())
}
