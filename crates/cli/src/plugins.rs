//! Owns the plugins of a command: starting them with its options, showing their output, and ending
//! them with the command.
//!
//! It must not know what they are asked to do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evalscope_core::engine::RunControl;
use evalscope_plugin::{Hello, Patience, Place, Plugin, PluginError, PluginFault, Role};
use serde_json::Value;

use crate::console;
use crate::failure::hinted;
use crate::log::Log;
use crate::wait;

/// When the person hears that a plugin is waited for.
const WORD_AFTER: Duration = Duration::from_secs(3);

/// Lines of each plugin that are shown: one that prints for every request must not
/// bury the rest.
const SHOWN_LINES: u64 = 1000;

/// Starts plugins.
pub(crate) struct Starter<'a> {
    /// `EVALSCOPE_PYTHON`.
    pub(crate) python: Option<&'a str>,
    /// Every option by its name; secrets are masked.
    pub(crate) settings: &'a Value,
    pub(crate) control: &'a RunControl,
    pub(crate) plugin_log: &'a PluginLog,
}

/// Where the lines of plugins go: to the log, once there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct PluginLog(Arc<Mutex<Option<Log>>>);

impl PluginLog {
    /// From now on, lines go to this log.
    pub(crate) fn set_log(&self, log: &Log) {
        if let Ok(mut place) = self.0.lock() {
            *place = Some(log.clone());
        }
    }

    fn say(&self, text: &str) {
        let log = self.0.lock().ok().and_then(|log| log.clone());
        match log {
            Some(log) => log.info(text),
            None => console::err(text),
        }
    }
}

impl Starter<'_> {
    /// Start a plugin and wait until it is ready.
    pub(crate) fn start(&self, place: &Place, role: Role) -> anyhow::Result<Arc<Plugin>> {
        place.check().map_err(|error| {
            hinted(
                error.to_string(),
                "give the path of a Python file with the plugin's class",
            )
        })?;
        let hello = Hello {
            tool: format!("evalscope {}", env!("CARGO_PKG_VERSION")),
            options: self.settings.clone(),
        };
        let (stop, abort) = (self.control.stop.clone(), self.control.abort.clone());
        let patience = Patience {
            stopped: Arc::new(move || stop.is_cancelled()),
            aborted: Arc::new(move || abort.is_cancelled()),
            ..Patience::default()
        };
        let say = || {
            let text = format!("waiting for the plugin {place} to start");
            self.plugin_log.say(&text);
        };
        let heard = listener(place, self.plugin_log.clone());
        let plugin = wait::saying_after(WORD_AFTER, say, || {
            Plugin::start(place, role, self.python, &hello, patience, heard)
        });
        plugin
            .map(Arc::new)
            .map_err(|error| explained(place, error))
    }
}

fn listener(place: &Place, plugin_log: PluginLog) -> Box<dyn Fn(&str) + Send> {
    let name = match place {
        Place::Python { file, .. } => file.file_name().map_or_else(
            || place.to_string(),
            |name| name.to_string_lossy().into_owned(),
        ),
        _ => "plugin".to_owned(),
    };
    let lines = AtomicU64::new(0);
    Box::new(move |line| match lines.fetch_add(1, Ordering::Relaxed) {
        n if n < SHOWN_LINES => plugin_log.say(&format!("[{name}] {line}")),
        SHOWN_LINES => plugin_log.say(&format!("[{name}] its further output is not shown")),
        _ => {}
    })
}

/// An error of the start, with what can be done where that is known.
fn explained(place: &Place, error: PluginError) -> anyhow::Error {
    let missing = match &error.fault {
        PluginFault::Start { .. } => true,
        PluginFault::Ended(_) => error
            .stderr
            .iter()
            .any(|line| line.contains("No module named") && line.contains("evalscope")),
        _ => false,
    };
    if missing && matches!(place, Place::Python { .. }) {
        return hinted(
            error.to_string(),
            "a Python plugin needs an interpreter with the package `evalscope`: name it in the \
             environment variable EVALSCOPE_PYTHON",
        );
    }
    error.into()
}
