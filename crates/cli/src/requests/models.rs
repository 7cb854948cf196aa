//! Owns finding the model if the command does not name one: the server's list of models.
//!
//! It must not know what is measured.

use std::sync::Arc;

use evalscope_core::engine::{HttpTransport, Probe, Server, probe};
use evalscope_core::protocol::{OpenAi, PreparedRequest};
use evalscope_core::transport::{ReadStats, Reuse};
use evalscope_model::record::{FailureKind, RecordBodies, masked};
use evalscope_model::time::RunClock;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::catalog::apis::APIS;
use crate::env::{self, Environment};
use crate::failure::hinted;
use crate::flags::PerfArgs;
use crate::resolve::{self, Job};
use crate::{console, secrets};

use super::preflight::{self, Way};
use super::target::target;

/// Pause between two tries.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// How long to wait for the server.
const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// Models named in a sentence.
const SHOWN: usize = 8;

const HINT: &str = "give the name of the model: `--model NAME`";

/// Whether the server has to be asked for the name.
pub(crate) fn is_wanted(args: &PerfArgs) -> bool {
    args.server.typed_models().is_empty()
        && !resolve::has_models(&args.prompts)
        && args.server.api.named().is_some_and(|api| api.lists_models)
}

/// The only model that the server lists.
pub(crate) fn only(args: &PerfArgs, environment: &Environment) -> anyhow::Result<String> {
    let mut args = args.clone();
    // other mistakes are reported first
    args.server.model = vec!["unknown".to_owned()];
    let job = resolve::resolve(args, environment)?;
    let url = list_of(job.url());
    let names = ask(&job, &url)?;
    match names.as_slice() {
        [name] => {
            console::err(&format!("the server has one model: {name}"));
            Ok(name.clone())
        }
        [] => Err(hinted(
            format!(
                "`--model` is missing, and {} lists no model",
                secrets::shown_url(&url)
            ),
            HINT,
        )),
        names => {
            let more = match names.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Err(hinted(
                format!(
                    "`--model` is missing, and the server has {}: {}{more}",
                    names.len(),
                    names[..names.len().min(SHOWN)].join(", ")
                ),
                "name one of them: `--model NAME`",
            ))
        }
    }
}

/// Where the server of an endpoint lists its models.
fn list_of(endpoint: &Url) -> Url {
    let mut url = endpoint.clone();
    let path = url.path().trim_end_matches('/');
    let mut endings = APIS.rows.iter().flat_map(|row| row.endings);
    let base = endings
        .find_map(|(end, _)| path.strip_suffix(end))
        .unwrap_or(path);
    let path = format!("{base}/models");
    url.set_path(&path);
    url
}

fn ask(job: &Job, url: &Url) -> anyhow::Result<Vec<String>> {
    let target = target(job, url)?.with_get();
    let way = Way {
        proxy: target
            .proxy()
            .map(|proxy| (proxy, env::proxy_variable(url))),
        api: job.api.to_string(),
        known_api: true,
        wait: job.wait_for_server,
        secrets: &job.secrets,
    };
    let target = Arc::new(target);
    let clock = RunClock::start();
    let started = clock.now();
    let patience = preflight::patience(job.wait_for_server, job.connection.timeouts.total);
    let mut timeouts = job.connection.timeouts;
    let limit = timeouts
        .read
        .map_or(ANSWER_LIMIT, |read| read.min(ANSWER_LIMIT));
    timeouts.read = Some(limit);
    timeouts.connect = Some(timeouts.connect.map_or(limit, |connect| connect.min(limit)));
    let mut is_reported = false;
    loop {
        let transport = HttpTransport {
            servers: [Server {
                target: Arc::clone(&target),
                reuse: Reuse::Never,
            }]
            .into(),
            timeouts,
            record_bodies: RecordBodies::All,
            api: Arc::new(OpenAi),
            clock,
            stats: Arc::new(vec![Arc::new(ReadStats::default())]),
            user_clock_only: false,
        };
        let request = PreparedRequest::default();
        let Probe { exchange, .. } =
            probe(request, &transport, &job.secrets, &CancellationToken::new())?;
        let mut body = Vec::new();
        exchange
            .bodies
            .responses
            .for_each(|text| body.extend_from_slice(text));
        let said: Option<Value> = serde_json::from_slice(&body).ok();
        if exchange.record.http_status == Some(200)
            && let Some(list) = said.as_ref().and_then(|said| said["data"].as_array())
        {
            let names = list.iter().filter_map(|model| model["id"].as_str());
            return Ok(names.map(str::to_owned).collect());
        }
        let (kind, message) = match &exchange.record.failure {
            Some(failure) => (failure.kind, failure.message.clone()),
            None => (
                FailureKind::Malformed,
                "the response is not a list of models".to_owned(),
            ),
        };
        let waited = clock.now().since(started);
        if !preflight::is_transient(kind) || waited >= patience {
            let message = masked(&message, &job.secrets);
            let said = String::from_utf8_lossy(&exchange.bodies.error_excerpt);
            let hint = match kind {
                FailureKind::Malformed | FailureKind::Status(404 | 405) => {
                    format!("{HINT}, and check the path of `--url`")
                }
                kind => format!("{HINT}; {}", preflight::hint_of(kind, &said, &way)),
            };
            let retried = match waited.as_secs() {
                0 => String::new(),
                seconds => format!(" (retried for {seconds} s)"),
            };
            return Err(hinted(
                format!(
                    "`--model` is missing, and {} gave no list of models: {message}{retried}",
                    secrets::shown_url(url)
                ),
                hint,
            ));
        }
        if !is_reported {
            is_reported = true;
            console::err(&format!(
                "{}; the server may still be starting: retrying for {} s",
                masked(&message, &job.secrets),
                patience.as_secs()
            ));
        }
        std::thread::park_timeout(PAUSE.min(patience));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_stands_beside_the_endpoint() {
        for (endpoint, list) in [
            ("http://h/v1/chat/completions", "http://h/v1/models"),
            ("http://h/v1/completions?x=1", "http://h/v1/models?x=1"),
            ("http://h/v1/messages", "http://h/v1/models"),
            (
                "http://h/openai/v3/chat/completions",
                "http://h/openai/v3/models",
            ),
        ] {
            let got = list_of(&endpoint.parse().unwrap());
            assert_eq!(got.as_str(), list);
        }
    }
}
