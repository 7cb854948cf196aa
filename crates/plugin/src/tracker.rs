//! Owns a tracker: a child that runs the client library of Weights & Biases, `SwanLab` or
//! `ClearML`, and the data sent to it.
//!
//! It must not know what the figures mean.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::child::Listener;
use crate::error::PluginError;
use crate::place::Place;
use crate::plugin::{Hello, Patience, Plugin};
use crate::role::Role;

/// A tracker that has logged in.
#[derive(Debug)]
pub struct Tracker {
    plugin: Plugin,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Started {
    url: Option<String>,
}

impl Tracker {
    /// Start a tracker and log in.
    ///
    /// # Errors
    /// If its library is missing, or the login fails.
    pub fn start(
        place: &Place,
        python: Option<&str>,
        hello: &Hello,
        patience: Patience,
        listener: Listener,
        begin: &Begin<'_>,
    ) -> Result<Self, PluginError> {
        let plugin = Plugin::start(place, Role::Tracker, python, hello, patience, listener)?;
        let params = json!({
            "settings": begin.settings,
            "name": begin.name,
            "output_dir": begin.output_dir,
        });
        let started: Started = plugin.wait(&plugin.ask("start", params)?)?;
        plugin
            .uploads
            .store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(Self {
            plugin,
            url: started.url,
        })
    }

    /// The address of its web page.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Send figures of a run in progress; `step` increases.
    ///
    /// # Errors
    /// If the tracker rejected them.
    pub fn metrics(
        &self,
        run: &str,
        step: u64,
        values: &Map<String, Value>,
    ) -> Result<(), PluginError> {
        self.tell(
            "metrics",
            json!({"run": run, "step": step, "values": values}),
        )
    }

    /// Send figures of a run that has ended.
    ///
    /// # Errors
    /// As for [`Tracker::metrics`].
    pub fn summary(
        &self,
        run: &str,
        metrics: &Value,
        percentiles: &Value,
    ) -> Result<(), PluginError> {
        let params = json!({"run": run, "metrics": metrics, "percentiles": percentiles});
        self.tell("summary", params)
    }

    /// Upload files; their paths are absolute.
    ///
    /// # Errors
    /// As for [`Tracker::metrics`].
    pub fn files(&self, paths: &[&Path]) -> Result<(), PluginError> {
        self.tell("files", json!({"paths": paths}))
    }

    /// Wait until everything is uploaded, and end it.
    pub fn end(&self) {
        self.plugin.end();
    }

    fn tell(&self, call: &'static str, params: Value) -> Result<(), PluginError> {
        let pending = self.plugin.ask(call, params)?;
        self.plugin.wait_after::<Value>(&pending).map(drop)
    }
}

/// What a tracker receives when it starts.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// Every option; secrets are masked.
    pub settings: &'a Value,
    /// The name of the experiment.
    pub name: &'a str,
    /// The folder of all results; absolute.
    pub output_dir: &'a Path,
}
