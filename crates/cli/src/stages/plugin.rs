//! Owns counting tokens by a plugin. A plugin that fails at it costs the counts, not the run.
//!
//! It must not know how a plugin counts.

use evalscope_model::events::{Stage, Warning};
use evalscope_model::record::{Exchange, masked};
use evalscope_plugin::{PluginCounts, PluginFault};
use evalscope_report::{Finding, FindingId};

use crate::log::Log;

/// Lets a plugin count the tokens of responses, for as long as it does.
#[derive(Debug)]
pub(crate) struct PluginCounting {
    counts: Option<PluginCounts>,
    complained: bool,
    secrets: Vec<String>,
    log: Log,
}

impl PluginCounting {
    pub(crate) fn new(counts: PluginCounts, secrets: Vec<String>, log: Log) -> Self {
        Self {
            secrets,
            counts: Some(counts),
            complained: false,
            log,
        }
    }

    /// Count. Returns a warning for the report if there is a new one.
    fn count(&mut self, exchanges: &mut [&mut Exchange]) -> Option<Finding> {
        let counts = self.counts.as_ref()?;
        let warning = match counts.count(exchanges) {
            Ok(None) => return None,
            Ok(Some(_)) if self.complained => return None,
            Ok(Some(complaint)) => {
                self.complained = true;
                format!("the plugin does not count the tokens of every response: {complaint}")
            }
            Err(error) => {
                self.counts = None;
                if matches!(error.fault, PluginFault::Stopped) {
                    return None;
                }
                format!(
                    "the plugin has stopped counting tokens, and failures that it would report count as \
                     successes: {}",
                    masked(&error.to_string(), &self.secrets)
                )
            }
        };
        self.log.warn(&warning);
        // a traceback is for the log
        let first = warning.lines().next()?;
        Some(Finding::new(FindingId::PluginCountsMissing, first))
    }
}

impl Stage for PluginCounting {
    fn name(&self) -> &'static str {
        "the stage that lets a plugin count tokens"
    }

    fn apply(&mut self, exchanges: &mut [&mut Exchange]) -> Vec<Warning> {
        self.count(exchanges)
            .map(Warning::from)
            .into_iter()
            .collect()
    }
}
