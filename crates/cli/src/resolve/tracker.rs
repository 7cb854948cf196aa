//! Owns which experiment tracker is asked for, and its keys.
//!
//! It must not know how a tracker works.

use evalscope_plugin::TrackerPlace;

use crate::env::Environment;
use crate::flags::choices::name_of;
use crate::flags::output::{OutputArgs, Visualizer};
use crate::observers::TrackerPlan;

/// The tracker that was asked for, and its keys.
pub(super) fn tracker_of(
    output: &OutputArgs,
    model: &str,
    environment: &Environment,
) -> (Option<TrackerPlan>, Vec<String>) {
    let keys = [
        (Visualizer::Wandb, "WANDB_API_KEY", &output.wandb_api_key),
        (
            Visualizer::Swanlab,
            "SWANLAB_API_KEY",
            &output.swanlab_api_key,
        ),
    ];
    // a key alone asks for its tracker
    let implied = keys
        .iter()
        .find_map(|(kind, _, key)| key.is_some().then_some(*kind));
    let Some(kind) = output.visualizer.or(implied) else {
        return (None, Vec::new());
    };
    if kind == Visualizer::None {
        let keys = keys.iter().filter_map(|(_, _, key)| (*key).clone());
        return (None, keys.filter(|key| key.len() > 8).collect());
    }
    // of what is in the environment a child gets nothing by itself
    let inherited = match kind {
        Visualizer::Wandb => &["WANDB_API_KEY"][..],
        Visualizer::Swanlab => &["SWANLAB_API_KEY"],
        Visualizer::Clearml => &[
            "CLEARML_API_ACCESS_KEY",
            "CLEARML_API_SECRET_KEY",
            "CLEARML_AUTH_TOKEN",
        ],
        Visualizer::None => &[],
    };
    let inherited = environment
        .tracker_keys
        .iter()
        .filter(|(name, _)| inherited.contains(name))
        .map(|(name, key)| ((*name).to_owned(), key.clone()));
    // the last of a name counts
    let given = keys.iter().filter_map(|(of, variable, key)| {
        let key = key.as_ref().filter(|key| *of == kind && !key.is_empty())?;
        Some(((*variable).to_owned(), key.clone()))
    });
    let keys_of_child: Vec<(String, String)> = inherited.chain(given).collect();
    let keys_of_others = keys.iter().filter_map(|(_, _, key)| (*key).clone());
    let secrets: Vec<String> = keys_of_child
        .iter()
        .map(|(_, key)| key.clone())
        .chain(keys_of_others)
        // `local` means that no key is used
        .filter(|key| key.len() > 8)
        .collect();
    let name = output.name.clone().unwrap_or_else(|| {
        let now = jiff::Zoned::now().strftime("%Y%m%d_%H%M%S");
        format!("{model}_{now}")
    });
    let plan = TrackerPlan {
        place: TrackerPlace {
            kind: name_of(&kind),
            environment: keys_of_child,
        },
        host: output.swanlab_host.clone(),
        python: environment.python.clone(),
        name,
        files: output.tracker_files,
        debug: output.debug,
        secrets: secrets.clone(),
    };
    (Some(plan), secrets)
}
