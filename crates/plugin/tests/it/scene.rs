//! Owns starting a stand-in plugin.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evalscope_model::prompt::{Item, Prompt};
use evalscope_plugin::{Hello, Patience, Place, Plugin, PluginDataset, PluginError, Role};
use evalscope_workload::dataset::PromptSource;
use serde_json::json;

pub(crate) fn hello() -> Hello {
    Hello {
        tool: "evalscope test".to_owned(),
        options: json!({"model": "m"}),
    }
}

pub(crate) fn script() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/standin.py");
    path.display().to_string()
}

/// Long enough that a slow machine does not fail.
pub(crate) fn patience() -> Patience {
    Patience {
        call: Duration::from_secs(20),
        hello: Duration::from_secs(20),
        ..Patience::default()
    }
}

/// A stand-in plugin, and the lines of its stderr.
pub(crate) fn started(
    how: &str,
    patience: Patience,
) -> (Result<Plugin, PluginError>, Arc<Mutex<Vec<String>>>) {
    let place = Place::parse(&format!("exec:python3 -u '{}' {how}", script()));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    let listener = Box::new(move |line: &str| heard.lock().unwrap().push(line.to_owned()));
    let place = place.unwrap().unwrap();
    let plugin = Plugin::start(&place, Role::Dataset, None, &hello(), patience, listener);
    (plugin, lines)
}

pub(crate) fn plugin(how: &str) -> Arc<Plugin> {
    Arc::new(started(how, patience()).0.unwrap())
}

pub(crate) fn dataset(how: &str) -> PluginDataset {
    PluginDataset::new(plugin(how), false)
}

/// The number in `prompt 7`.
pub(crate) fn number(item: &Item) -> u64 {
    let Prompt::Text(text) = &item.prompt else {
        panic!("{item:?}")
    };
    text.strip_prefix("prompt ").unwrap().parse().unwrap()
}

/// The error that ends a dataset.
pub(crate) fn end_of(mut source: PluginDataset) -> String {
    for _ in 0..100_000 {
        match source.next() {
            Ok(item) => assert!(item.is_some(), "it ended without an error"),
            Err(error) => return told(&error),
        }
    }
    panic!("it does not end")
}

/// An error without the path of the script.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    error.to_string().replace(&script(), "standin.py")
}
