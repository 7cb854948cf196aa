//! Owns the proof that the server answers: the test request, and what it teaches about redirects,
//! fields and connections.
//!
//! It must not know what load follows.

use std::num::NonZeroU16;
use std::sync::Arc;

use evalscope_core::engine::{HttpTransport, Server};
use evalscope_core::transport::{ReadStats, Reuse, Target};
use evalscope_model::mix::{Spread, UrlStrategy};
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

/// Servers, and how they are to be asked.
pub(super) struct Proven {
    servers: Vec<ProvenServer>,
    /// How bodies are made, as learned from the test requests.
    pub(super) bodies: BodySource,
}

/// A server.
struct ProvenServer {
    /// Where requests go, after redirects.
    url: Url,
    target: Arc<Target>,
    /// What the server does with connections, as learned from the test request.
    reuse: Reuse,
}

impl Proven {
    /// Send the test requests, unless disabled. `None`: the command was stopped.
    pub(super) fn of(
        command: Command<'_>,
        targets: Vec<Arc<Target>>,
        bodies: BodySource,
    ) -> anyhow::Result<Option<Self>> {
        let servers = command.job.urls.iter().zip(targets);
        let mut proven = Self {
            servers: servers
                .map(|(url, target)| ProvenServer {
                    url: url.clone(),
                    target,
                    reuse: Reuse::WhileOpen,
                })
                .collect(),
            bodies,
        };
        Ok(proven.test(command)?.then_some(proven))
    }

    /// Where requests go, after redirects.
    pub(super) fn urls(&self) -> Vec<Url> {
        self.servers.iter().map(|own| own.url.clone()).collect()
    }

    /// How sessions are spread over the URLs.
    pub(super) fn spread(&self, strategy: UrlStrategy) -> Spread {
        let urls = u16::try_from(self.servers.len()).ok();
        match urls.and_then(NonZeroU16::new) {
            Some(urls) if urls.get() > 1 => Spread { urls, strategy },
            _ => Spread::ONE,
        }
    }

    /// Send the test requests, unless disabled. Says whether to go on.
    fn test(&mut self, command: Command<'_>) -> anyhow::Result<bool> {
        let tested = if command.job.test_connection {
            self.test_all(command)
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

    /// Send a test request for every model to every URL. What one server does not take, none gets.
    fn test_all(&mut self, command: Command<'_>) -> anyhow::Result<bool> {
        let models = self.bodies.tested_models();
        let is_one = models.len() * self.servers.len() == 1;
        for at in 0..self.servers.len() {
            for model in &models {
                let mut bodies = match models.len() {
                    1 => self.bodies.clone(),
                    _ => self.bodies.asking_for(model),
                };
                let tested = self.follow(command, at, &mut bodies);
                self.bodies.rules.include_usage = bodies.rules.include_usage;
                let goes_on = tested.map_err(|error| {
                    if is_one {
                        return error;
                    }
                    let shown = secrets::shown_url(&self.servers[at].url);
                    let shown = masked(&shown, &command.job.secrets);
                    error.context(format!("testing the model `{model}` at {shown} failed"))
                })?;
                if !goes_on {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Send the test request to a server, and follow where it leads.
    fn follow(
        &mut self,
        command: Command<'_>,
        at: usize,
        bodies: &mut BodySource,
    ) -> anyhow::Result<bool> {
        let mut seen = Vec::new();
        let server = &mut self.servers[at];
        for _ in 0..MAX_REDIRECTS {
            let transport = transport_to(
                [server.for_requests()].into(),
                bodies,
                command,
                RunClock::start(),
                1,
            );
            let proxy = server.target.proxy();
            let way = Way {
                proxy: proxy.map(|proxy| (proxy, env::proxy_variable(&server.url))),
                api: command.job.api.to_string(),
                known_api: command.job.api.named().is_some(),
                wait: command.job.wait_for_server,
                secrets: &command.job.secrets,
            };
            let checked = preflight::check(
                bodies,
                &server.url,
                &way,
                &transport,
                command.control,
                command.log,
            )?;
            match checked {
                Checked::Ready(reuse) => {
                    server.reuse = reuse;
                    return Ok(true);
                }
                Checked::Stopped => return Ok(false),
                Checked::Moved(to) => {
                    let shown = masked(&secrets::shown_url(&to), &command.job.secrets);
                    seen.push(server.url.clone());
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
                    server.target = Arc::new(target(command.job, &to)?);
                    server.url = to;
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
        let servers = self.servers.iter().map(ProvenServer::for_requests);
        transport_to(servers.collect(), &self.bodies, command, clock, threads)
    }
}

impl ProvenServer {
    fn for_requests(&self) -> Server {
        Server {
            target: Arc::clone(&self.target),
            reuse: self.reuse,
        }
    }
}

/// The transport to some servers.
fn transport_to(
    servers: Arc<[Server]>,
    bodies: &BodySource,
    command: Command<'_>,
    clock: RunClock,
    threads: usize,
) -> HttpTransport {
    let job = command.job;
    HttpTransport {
        servers,
        timeouts: job.connection.timeouts,
        // what is to be logged or counted has to be kept that long
        record_bodies: if job.debug
            || command.prompts.tokenizer.is_some()
            || bodies.plugin.is_some()
        {
            RecordBodies::All
        } else {
            job.record_bodies
        },
        api: Arc::clone(&bodies.rules.api),
        clock,
        stats: Arc::new(
            (0..threads)
                .map(|_| Arc::new(ReadStats::default()))
                .collect(),
        ),
        user_clock_only: false,
    }
}
