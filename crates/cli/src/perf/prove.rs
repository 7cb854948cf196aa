//! Owns the proof that the server answers: the test request, and what it teaches about redirects,
//! fields and connections.
//!
//! It must not know what load follows.

use std::sync::Arc;

use evalscope_core::engine::HttpTransport;
use evalscope_core::transport::{ReadStats, Reuse, Target};
use evalscope_model::record::{RecordBodies, masked};
use evalscope_model::time::RunClock;
use url::Url;

use super::command::Command;
use crate::failure::hinted;
use crate::requests::bodies::BodySource;
use crate::requests::preflight::{self, Checked, Way};
use crate::requests::target::target;
use crate::{env, secrets};

/// Redirects that the test request follows.
const MAX_REDIRECTS: usize = 5;

/// A server, and how it is to be asked.
pub(super) struct Proven {
    /// Where requests go, after redirects.
    pub(super) url: Url,
    pub(super) target: Arc<Target>,
    /// How bodies are made, as learned from the test request.
    pub(super) bodies: BodySource,
    /// What the server does with connections, as learned from the test request.
    pub(super) reuse: Reuse,
}

impl Proven {
    /// Send the test request, unless disabled. `None`: the command was stopped.
    pub(super) fn of(
        command: Command<'_>,
        target: Arc<Target>,
        bodies: BodySource,
    ) -> anyhow::Result<Option<Self>> {
        let mut proven = Self {
            url: command.job.url.clone(),
            target,
            bodies,
            reuse: Reuse::WhileOpen,
        };
        Ok(proven.test(command)?.then_some(proven))
    }

    /// Send the test request, unless disabled. Says whether to go on.
    fn test(&mut self, command: Command<'_>) -> anyhow::Result<bool> {
        let tested = if command.job.test_connection {
            self.follow(command)
        } else {
            Ok(!command.control.stop.is_cancelled())
        };
        // if the server started here has died, that is the reason
        match command
            .served
            .and_then(|served| served.error(tested.is_err()))
        {
            Some(error) => Err(error.context("the server ended during the test request")),
            None => tested.map_err(|error| match command.served {
                Some(served) => served.blamed(error),
                None => error,
            }),
        }
    }

    /// Send the test request, and follow where it leads.
    fn follow(&mut self, command: Command<'_>) -> anyhow::Result<bool> {
        let mut seen = Vec::new();
        for _ in 0..MAX_REDIRECTS {
            let transport = self.transport(command, RunClock::start(), 1);
            let proxy = self.target.proxy();
            let way = Way {
                proxy: proxy.map(|proxy| (proxy, env::proxy_variable(&self.url))),
                api: command.job.api.to_string(),
                known_api: command.job.api.named().is_some(),
                wait: command.job.wait_for_server,
                secrets: &command.job.secrets,
            };
            let checked = preflight::check(
                &mut self.bodies,
                &self.url,
                &way,
                &transport,
                command.control,
                command.log,
            )?;
            match checked {
                Checked::Ready(reuse) => {
                    self.reuse = reuse;
                    return Ok(true);
                }
                Checked::Stopped => return Ok(false),
                Checked::Moved(to) => {
                    let shown = masked(&secrets::shown_url(&to), &command.job.secrets);
                    seen.push(self.url.clone());
                    if seen.contains(&to) {
                        return Err(hinted(
                            format!(
                                "the test request failed: the server redirects in a circle, back to \
                                 {shown}"
                            ),
                            "give the URL of the endpoint itself",
                        ));
                    }
                    command.log.info(&format!(
                        "the server redirects to {shown}: requests go there"
                    ));
                    self.target = Arc::new(target(command.job, &to)?);
                    self.url = to;
                }
            }
        }
        Err(hinted(
            format!("the server redirected {MAX_REDIRECTS} times"),
            "give the URL of the endpoint itself",
        ))
    }

    /// The transport of a run.
    pub(super) fn transport(
        &self,
        command: Command<'_>,
        clock: RunClock,
        threads: usize,
    ) -> HttpTransport {
        let job = command.job;
        HttpTransport {
            target: Arc::clone(&self.target),
            reuse: self.reuse,
            timeouts: job.connection.timeouts,
            // what is to be logged or counted has to be kept that long
            record_bodies: if job.debug
                || command.prompts.tokenizer.is_some()
                || self.bodies.plugin.is_some()
            {
                RecordBodies::All
            } else {
                job.record_bodies
            },
            api: Arc::clone(&self.bodies.rules.api),
            clock,
            stats: Arc::new(
                (0..threads)
                    .map(|_| Arc::new(ReadStats::default()))
                    .collect(),
            ),
            user_clock_only: false,
        }
    }
}
