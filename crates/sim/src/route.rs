//! Owns the routing of requests: what is served at which path, and what is made of a request before
//! its response begins.
//!
//! It must not know sockets beyond the one it responds on, or when tokens are due.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use crate::answer::{Player, Then, respond};
use crate::clock::{monotonic_ns, wall_ms, wall_seconds};
use crate::config::SimConfig;
use crate::engine::Engine;
use crate::http;
use crate::kept::{KeptResponses, Past};
use crate::plan;
use crate::prefix::{BLOCK_TOKENS, Chain, PrefixCache};
use crate::prepared::Prepared;
use crate::sessions::{Key, Sessions};
use crate::tokens::Counter;
use crate::truth::{Echo, Recorder, Totals, TrueRequest};
use crate::wire::tokenize::{detokenize, tokenize};
use crate::wire::{
    Answer, Asked, Embeddings, KeyHeader, Messages, Protocol, Refusal, Rerank, Responses,
    dashscope, openai, protocol_of, zhipu,
};

/// Counts what is served.
#[derive(Debug, Default)]
pub(crate) struct Served {
    requests: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
}

impl Served {
    fn add(&self, answer: &Answer) {
        let add = |sum: &AtomicU64, tokens| sum.fetch_add(tokens, Ordering::Relaxed);
        add(&self.prompt_tokens, answer.prompt_tokens);
        add(&self.cached_tokens, answer.cached_tokens);
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            requests: self.requests.load(Ordering::Relaxed),
            prompt_tokens: self.prompt_tokens.load(Ordering::Relaxed),
            cached_tokens: self.cached_tokens.load(Ordering::Relaxed),
        }
    }
}

/// State shared by all connections.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Prepared,
    cache: Option<PrefixCache>,
    pub(crate) engine: Engine,
    truth: Option<SyncSender<TrueRequest>>,
    served: Arc<Served>,
    sessions: Sessions,
    responses: KeptResponses,
    /// Names of the header fields that requests keep, in lower case.
    kept_headers: Vec<String>,
}

impl Shared {
    pub(crate) fn new(
        settings: Prepared,
        truth: Option<SyncSender<TrueRequest>>,
        served: Arc<Served>,
    ) -> Self {
        let config = &settings.config;
        Shared {
            engine: Engine::new(config.profile.clone(), config.pauses.clone()),
            kept_headers: config.header_names().map(str::to_ascii_lowercase).collect(),
            sessions: Sessions::default(),
            responses: KeptResponses::default(),
            truth,
            cache: PrefixCache::new(config.cache_blocks),
            settings,
            served,
        }
    }

    pub(crate) fn kept_headers(&self) -> &[String] {
        &self.kept_headers
    }

    /// The conversation that a request names.
    fn conversation<'a>(&self, request: &'a http::Request) -> Option<&'a str> {
        let name = self.settings.config.conversation_header.as_deref()?;
        request
            .kept
            .get(&name.to_ascii_lowercase())
            .map(String::as_str)
    }

    /// The session token that a response gives, unless a fault takes its place, and what the request
    /// did with the one before. `None` without session tokens.
    fn session(
        &self,
        request: &http::Request,
        peer: Peer,
        asked: &Asked,
        answer: &Answer,
    ) -> Option<(Option<String>, Echo)> {
        let name = self.settings.config.session_token_header.as_deref()?;
        let received = request.kept.get(&name.to_ascii_lowercase());
        let replaced = answer
            .fault
            .is_some_and(|fault| fault.replaces_response(asked.stream));
        let given = (!replaced).then(|| format!("token-{}", answer.id));
        let key = match self.conversation(request) {
            Some(name) => Key::Named(name.to_owned()),
            None => Key::Connection(peer.connection),
        };
        let messages = asked.message_count.unwrap_or(0);
        let received = received.map(String::as_str);
        let echo = self
            .sessions
            .exchange(key, messages, received, given.as_deref());
        Some((given, echo))
    }
}

/// The other side of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) port: u16,
    /// Number of the connection, from 1.
    pub(crate) connection: u64,
}

/// What is served at a path.
#[derive(Debug, Clone, Copy)]
enum Endpoint {
    Generate(&'static dyn Protocol),
    Tokenize,
    Detokenize,
    Models,
    Health,
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/api/v1/services/aigc/text-generation/generation" => {
                return Some(Endpoint::Generate(&dashscope::TEXT));
            }
            "/api/v1/services/aigc/multimodal-generation/generation" => {
                return Some(Endpoint::Generate(&dashscope::MULTIMODAL));
            }
            "/api/paas/v4/chat/completions" => return Some(Endpoint::Generate(&zhipu::Zhipu)),
            _ => {}
        }
        // DashScope serves OpenAI's interface under its own prefix.
        let path = path.strip_prefix("/compatible-mode").unwrap_or(path);
        match path.strip_prefix("/v1").unwrap_or(path) {
            "/chat/completions" => Some(Endpoint::Generate(&openai::CHAT)),
            "/completions" => Some(Endpoint::Generate(&openai::COMPLETIONS)),
            "/responses" => Some(Endpoint::Generate(&Responses)),
            "/messages" => Some(Endpoint::Generate(&Messages)),
            "/embeddings" => Some(Endpoint::Generate(&Embeddings)),
            "/rerank" | "/v2/rerank" => Some(Endpoint::Generate(&Rerank)),
            "/tokenize" => Some(Endpoint::Tokenize),
            "/detokenize" => Some(Endpoint::Detokenize),
            "/models" => Some(Endpoint::Models),
            "/health" => Some(Endpoint::Health),
            _ => None,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Endpoint::Generate(_) | Endpoint::Tokenize | Endpoint::Detokenize => "POST",
            Endpoint::Models | Endpoint::Health => "GET",
        }
    }
}

/// Respond to a request.
pub(crate) async fn answer(
    stream: &TcpStream,
    peer: Peer,
    shared: &Arc<Shared>,
    request: http::Request,
) -> io::Result<Then> {
    let keep_alive = request.keep_alive;
    let protocol = protocol_of(&request.path);
    let refuse = async |refusal: Refusal, extra: &str| {
        let body = protocol.refusal(&refusal, &refused_id(protocol));
        respond(stream, refusal.status, extra, &body, keep_alive).await
    };
    let Some(endpoint) = Endpoint::at(&request.path) else {
        let message = format!(
            "no such path: {:?}; there are /v1/chat/completions, /v1/completions, /v1/responses, \
             /v1/messages, /v1/embeddings, /v1/rerank, /v1/models, /health, /tokenize, \
             /detokenize, /compatible-mode/v1/chat/completions, \
             /api/v1/services/aigc/text-generation/generation, \
             /api/v1/services/aigc/multimodal-generation/generation and \
             /api/paas/v4/chat/completions",
            request.path
        );
        return refuse(Refusal::new(404, message), "").await;
    };
    let allowed = endpoint.method();
    if request.method != allowed {
        let message = format!(
            "method {} is not allowed here, only {allowed}",
            request.method
        );
        return refuse(Refusal::new(405, message), &format!("allow: {allowed}\r\n")).await;
    }
    if matches!(endpoint, Endpoint::Health) {
        return respond(stream, 200, "", b"{\"status\":\"ok\"}", keep_alive).await;
    }
    let token = match protocol.key_header() {
        KeyHeader::Bearer => &request.bearer,
        KeyHeader::ApiKey => &request.api_key,
    };
    if let Some(key) = &shared.settings.config.api_key
        && let Err(refusal) = protocol.admit(key, token.as_deref(), wall_ms())
    {
        return refuse(refusal, "www-authenticate: Bearer\r\n").await;
    }
    let body = match endpoint {
        Endpoint::Generate(protocol) => {
            return generate(stream, peer, shared, request, protocol).await;
        }
        Endpoint::Tokenize => {
            let context_tokens = plan::context_tokens(&shared.settings.config);
            let read =
                move |body: &[u8], counter: &Counter| tokenize(body, counter, context_tokens);
            counted(shared, request, read).await.1
        }
        Endpoint::Detokenize => counted(shared, request, detokenize).await.1,
        Endpoint::Models | Endpoint::Health => Ok(models(&shared.settings.config)),
    };
    match body {
        Ok(body) => respond(stream, 200, "", &body, keep_alive).await,
        Err(refusal) => refuse(refusal, "").await,
    }
}

fn models(config: &SimConfig) -> Vec<u8> {
    let models = json!({"object": "list", "data": [{
        "id": config.model,
        "object": "model",
        "created": wall_seconds(),
        "owned_by": "evalscope-sim",
        "max_model_len": plan::context_tokens(config),
    }]});
    models.to_string().into_bytes()
}

/// The id in errors for requests without a number.
fn refused_id(protocol: &dyn Protocol) -> String {
    format!("{}-sim-refused", protocol.id_prefix())
}

/// Read a body that may have to be tokenized: a long one on a separate thread, so that the tokens
/// of other responses are not late.
async fn counted<T: Send + 'static>(
    shared: &Arc<Shared>,
    request: http::Request,
    read: impl FnOnce(&[u8], &Counter) -> T + Send + 'static,
) -> (http::Request, T) {
    if !shared.settings.counter.takes_long(request.body.len()) {
        let outcome = read(&request.body, &shared.settings.counter);
        return (request, outcome);
    }
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || {
        let outcome = read(&request.body, &shared.settings.counter);
        (request, outcome)
    })
    .await
    .expect("counting neither panics nor is cancelled")
}

/// What was found out about a request from its body.
#[derive(Debug)]
struct Received {
    asked: Result<Asked, Refusal>,
    /// What the server keeps of it, but for the response.
    to_keep: Option<Past>,
    /// The blocks of each prompt, with a prefix cache; none if a prompt has images.
    prompts: Vec<Chain>,
    body_sha256: Option<String>,
}

/// Read the body of a request to one of the generating endpoints.
async fn receive(
    shared: &Arc<Shared>,
    request: http::Request,
    protocol: &'static dyn Protocol,
) -> (http::Request, Received) {
    let hashes = shared.settings.config.truth_bodies && shared.truth.is_some();
    let by_header = request.wants_events;
    let of = Arc::clone(shared);
    counted(shared, request, move |body, counter| {
        let read = protocol.read_after(body, by_header, counter, &of.responses);
        let (mut asked, to_keep) = match read {
            Ok((asked, to_keep)) => (Ok(asked), to_keep),
            Err(refusal) => (Err(refusal), None),
        };
        let prompts = asked.iter_mut().flat_map(|asked| &mut asked.prompts);
        let prompts = prompts.map(|prompt| prompt.ids.take().map(Chain::from_iter));
        Received {
            prompts: prompts.collect::<Option<_>>().unwrap_or_default(),
            asked,
            to_keep,
            body_sha256: hashes.then(|| hexadecimal(&Sha256::digest(body))),
        }
    })
    .await
}

/// Respond to a request to one of the generating endpoints.
async fn generate(
    stream: &TcpStream,
    peer: Peer,
    shared: &Arc<Shared>,
    request: http::Request,
    protocol: &'static dyn Protocol,
) -> io::Result<Then> {
    let config = &shared.settings.config;
    let request_read_ns = shared.truth.as_ref().map_or(0, |_| monotonic_ns());
    shared.engine.tempo.request_read();
    let (request, received) = receive(shared, request, protocol).await;
    let checked = received.asked.and_then(|asked| {
        plan::check(config, &asked)?;
        Ok(asked)
    });
    let asked = match checked {
        Ok(asked) => asked,
        Err(refusal) => {
            let body = protocol.refusal(&refusal, &refused_id(protocol));
            return respond(stream, refusal.status, "", &body, request.keep_alive).await;
        }
    };
    let sequence = shared.served.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let mut answer = plan::answer(&shared.settings, protocol, &asked, sequence);
    let replaced = answer
        .fault
        .is_some_and(|fault| fault.replaces_response(asked.stream));
    let cached = shared.cache.as_ref().filter(|_| !replaced);
    let cached = cached.map(|cache| (cache, received.prompts.as_slice()));
    let hit_blocks = cached.map_or(0, |(cache, prompts)| {
        prompts.iter().map(|prompt| cache.admit(prompt)).sum()
    });
    answer.cached_tokens = hit_blocks * BLOCK_TOKENS as u64;
    shared.served.add(&answer);
    if let Some(past) = received.to_keep.filter(|_| !replaced) {
        let past = past.with(protocol.items(&answer));
        shared.responses.keep(answer.id.clone(), past);
    }
    let session = shared.session(&request, peer, &asked, &answer);
    let recorder = shared.truth.as_ref().map(|log| {
        let mut headers = request.kept.clone();
        headers.retain(|name, _| config.logs_header(name));
        let line = TrueRequest {
            id: answer.id.clone(),
            prompt_tokens: answer.prompt_tokens,
            queued_ns: 0,
            request_read_ns,
            request_began_ns: request.began_ns,
            tokens: Vec::new(),
            fault: answer.fault,
            stream: asked.stream,
            service_began_ns: None,
            ended_ns: 0,
            busy_slots: None,
            completion_tokens: answer.completion_tokens(),
            hit_blocks,
            cached_tokens: answer.cached_tokens,
            messages: asked.message_count,
            body_bytes: request.body.len() as u64,
            body_sha256: received.body_sha256,
            peer_port: peer.port,
            connection: peer.connection,
            conversation: shared.conversation(&request).map(str::to_owned),
            headers,
            session_token: session.as_ref().and_then(|(token, _)| token.clone()),
            session_token_echo: session.as_ref().map(|(_, echo)| *echo),
            model: asked.model.clone(),
        };
        Recorder::new(log.clone(), line)
    });
    let given = session.and_then(|(token, _)| token);
    Player {
        stream,
        config,
        engine: &shared.engine,
        answer: &answer,
        cached,
        sequence,
        wants_stream: asked.stream,
        keep_alive: request.keep_alive,
        knows_chunks: request.knows_chunks,
        extra: config.session_token_line(given.as_deref()),
    }
    .play(recorder)
    .await
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}
