//! Owns the target of requests as the transport needs it, from the job.
//!
//! It must not know what is sent.

use evalscope_core::transport::{RequestHeaders, Target};
use url::Url;

use crate::catalog::apis::SigningKey;
use crate::resolve::{Connection, Job};

/// Where the requests of a job go if its URL is this one.
pub(crate) fn target(job: &Job, url: &Url) -> anyhow::Result<Target> {
    let api = &job.bodies.api;
    let Connection {
        headers: fields,
        signing_key,
        proxies,
        trust,
        ..
    } = &job.connection;
    let headers = RequestHeaders {
        fields,
        stream: api.headers(true),
        whole: api.headers(false),
        renewed: signing_key.as_ref().and_then(SigningKey::credential),
    };
    Ok(Target::new(url, headers, proxies, trust)?)
}
