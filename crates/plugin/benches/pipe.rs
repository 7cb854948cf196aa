//! How many prompts, bodies and counts per second pass through the pipe of a Python plugin, and
//! what the protocol costs: `cargo bench -p evalscope-plugin`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "its purpose is to print figures")]

use std::path::Path;
use std::sync::Arc;

use evalscope_core::protocol::BuildBodies;
use evalscope_model::prompt::{Item, Prompt};
use evalscope_model::time::RunClock;
use evalscope_plugin::{Hello, Patience, Place, Plugin, PluginBodies, PluginDataset, Role};
use evalscope_workload::dataset::PromptSource;

const ITEMS: u32 = 200_000;

fn main() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/standin.py");
    let place = Place::parse(&format!("exec:python3 -u '{}' fine", script.display()));
    let hello = Hello {
        tool: "bench".to_owned(),
        options: serde_json::Value::Null,
    };
    let plugin = Plugin::start(
        &place.unwrap().unwrap(),
        Role::Dataset,
        None,
        &hello,
        Patience::default(),
        Box::new(|_| ()),
    );
    let plugin = Arc::new(plugin.unwrap());
    let mut source = PluginDataset::new(Arc::clone(&plugin), false);
    measured("prompts out of `next`", ITEMS, || {
        for _ in 0..ITEMS {
            source.next().unwrap();
        }
    });
    drop(source);
    let mut bodies = PluginBodies::new(plugin, true);
    for (what, batch) in [
        ("bodies out of `build`, 32 a call", 32),
        ("bodies, one a call", 1),
    ] {
        measured(what, ITEMS / 4, || {
            let mut built = 0;
            while built < ITEMS / 4 {
                let item = Item::from(Prompt::Text("x".repeat(200)));
                let items = (u64::from(built)..).zip(vec![item; batch]).collect();
                let requests = bodies.build(items).unwrap();
                built += u32::try_from(requests.len()).unwrap();
            }
        });
    }
}

fn measured(what: &str, n: u32, work: impl FnOnce()) {
    let clock = RunClock::start();
    work();
    let seconds = clock.now().as_nanos() as f64 / 1e9;
    println!("{what:<34} {:>9.0} a second", f64::from(n) / seconds);
}
