//! Owns the listening socket, the threads, the connections and the routing of requests.
//!
//! It must not know what a response looks like or when its tokens are due.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::answer::{Player, Then, respond};
use crate::clock::{monotonic_ns, wall_ms, wall_seconds};
use crate::config::SimConfig;
use crate::engine::Engine;
use crate::error::SimError;
use crate::fault::pick;
use crate::http::{self, Inbox, ReadError};
use crate::tokens::{Counter, Encoder};
use crate::truth::{Kept, TrueRequest, TruthLog};
use crate::wire::tokenize::{detokenize, tokenize};
use crate::wire::{
    Answer, CONTEXT_TOKENS, EndOfText, Protocol, Refusal, dashscope, openai, protocol_of, zhipu,
};

/// Number of connections that may wait to be accepted; the operating system may lower it.
const BACKLOG: u32 = 16_384;

/// Number of accepted connections that may wait to be taken by another thread.
const HANDOVER: usize = 1024;

/// How long to pause accepting after the operating system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How long a client may go on sending a request that was already rejected.
const LINGER: Duration = Duration::from_secs(1);

/// State shared by all connections.
#[derive(Debug)]
struct Shared {
    config: SimConfig,
    counter: Counter,
    engine: Engine,
    truth: Option<SyncSender<TrueRequest>>,
    requests: Arc<AtomicU64>,
}

/// Bind a listener with a backlog large enough for thousands of simultaneous clients. Must be
/// called within a tokio runtime.
///
/// # Errors
/// [`SimError::Bind`] with the address.
pub fn bind(address: SocketAddr) -> Result<TcpListener, SimError> {
    let listen = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| SimError::Bind { address, source })
}

/// Valid settings, with the tokenizer that they name.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) config: SimConfig,
    counter: Counter,
}

impl Prepared {
    /// Check the settings and load the tokenizer, if they name one; a large one takes a second.
    ///
    /// # Errors
    /// If a number is out of range, or the tokenizer or its template cannot be read.
    pub fn new(config: SimConfig) -> Result<Self, SimError> {
        config.profile.check()?;
        let encoder = match &config.tokenizer {
            None => None,
            Some(path) => Some(Encoder::load(path).map_err(|error| SimError::Tokenizer {
                path: path.clone(),
                message: error.to_string(),
            })?),
        };
        let counter = Counter::new(encoder, config.image_tokens.into());
        Ok(Prepared { config, counter })
    }
}

/// Serve until `shutdown` is cancelled, then drop all connections and complete the truth log.
///
/// # Errors
/// If the truth log cannot be created or written, or a thread cannot be started.
pub async fn serve(
    listener: TcpListener,
    prepared: Prepared,
    shutdown: CancellationToken,
) -> Result<(), SimError> {
    serve_observed(listener, prepared, shutdown, Observed::default()).await
}

/// What a [`Simulator`] can look at while it serves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    pub(crate) requests: Arc<AtomicU64>,
    pub(crate) truth: Kept,
}

pub(crate) async fn serve_observed(
    listener: TcpListener,
    prepared: Prepared,
    shutdown: CancellationToken,
    observed: Observed,
) -> Result<(), SimError> {
    let Prepared { config, counter } = prepared;
    raise_open_files();
    let kept = config.keeps_truth.then_some(observed.truth);
    let truth_path = config.truth_log.clone();
    let truth = (truth_path.is_some() || kept.is_some())
        .then(|| TruthLog::create(truth_path.as_deref(), kept))
        .transpose()?;
    let threads = config.threads.get();
    let shared = Arc::new(Shared {
        engine: Engine::new(config.profile.clone(), config.pauses.clone()),
        truth: truth.as_ref().map(TruthLog::sender),
        config,
        counter,
        requests: observed.requests,
    });

    // The other threads stop even if this future is dropped rather than completed.
    let stop = shutdown.child_token();
    let _stop_others = stop.clone().drop_guard();
    let workers = (1..threads)
        .map(|_| Worker::start(Arc::clone(&shared), stop.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    accept_connections(&listener, &shared, &workers, &stop).await;
    drop(listener);

    drop(shared);
    let path = truth_path.unwrap_or_default();
    tokio::task::spawn_blocking(move || {
        for worker in workers {
            drop(worker.connections);
            // A panic there has already been printed by the panic hook.
            let _ = worker.thread.join();
        }
        truth.map_or(Ok(()), TruthLog::finish)
    })
    .await
    .unwrap_or_else(|error| Err(io::Error::other(error)))
    .map_err(|source| SimError::TruthLog { path, source })
}

/// Accept until cancelled, distributing connections to all threads in turn.
async fn accept_connections(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    workers: &[Worker],
    stop: &CancellationToken,
) {
    let room = shared.config.max_connections;
    let room = room.map(|most| Arc::new(Semaphore::new(most.get().min(Semaphore::MAX_PERMITS))));
    let mut own = JoinSet::new();
    let engine = Arc::clone(shared);
    own.spawn(async move { engine.engine.run().await });
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = own.join_next() => continue,
            accepted = accept(listener, room.as_ref()) => accepted,
        };
        let Ok(accepted) = accepted else {
            // Out of descriptors, most likely: one will soon be free.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        turn = (turn + 1) % (workers.len() + 1);
        match workers.get(turn) {
            Some(worker) => {
                if let Ok(stream) = accepted.stream.into_std() {
                    // Only fails if that thread is gone, and then the connection is closed.
                    let _ = worker.connections.send((stream, accepted.place)).await;
                }
            }
            None => {
                own.spawn(connection(accepted, Arc::clone(shared)));
            }
        }
    }
    own.shutdown().await;
}

/// A connection, and its place among those served at once.
#[derive(Debug)]
struct Accepted {
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
}

/// Accept the next connection when there is room for it; until then it waits in the backlog.
async fn accept(listener: &TcpListener, room: Option<&Arc<Semaphore>>) -> io::Result<Accepted> {
    let place = match room {
        None => None,
        Some(room) => {
            let place = Arc::clone(room).acquire_owned().await;
            Some(place.expect("the places are never closed"))
        }
    };
    let (stream, _) = listener.accept().await?;
    Ok(Accepted { stream, place })
}

/// An additional thread with its own runtime.
#[derive(Debug)]
struct Worker {
    connections: mpsc::Sender<(std::net::TcpStream, Option<OwnedSemaphorePermit>)>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(shared: Arc<Shared>, stop: CancellationToken) -> Result<Self, SimError> {
        let runtime = runtime()?;
        let (connections, mut accepted) = mpsc::channel(HANDOVER);
        let thread = std::thread::Builder::new()
            .name("sim-worker".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let mut own = JoinSet::new();
                    loop {
                        let next = tokio::select! {
                            biased;
                            () = stop.cancelled() => break,
                            Some(_) = own.join_next() => continue,
                            next = accepted.recv() => next,
                        };
                        let Some((stream, place)) = next else { break };
                        if let Ok(stream) = TcpStream::from_std(stream) {
                            let accepted = Accepted { stream, place };
                            own.spawn(connection(accepted, Arc::clone(&shared)));
                        }
                    }
                    own.shutdown().await;
                });
            })
            .map_err(|source| SimError::Thread { source })?;
        Ok(Worker {
            connections,
            thread,
        })
    }
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, SimError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| SimError::Thread { source })
}

/// Thousands of connections need as many descriptors; the soft limit is often 1024.
fn raise_open_files() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        // Best effort: a server with few connections works without.
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && soft < hard
        {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
}

/// Serve one connection until either side closes it.
async fn connection(accepted: Accepted, shared: Arc<Shared>) {
    let Accepted {
        mut stream,
        place: _place,
    } = accepted;
    // Otherwise a small write waits for the acknowledgement of the previous one.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut inbox = Inbox::default();
    loop {
        let next = inbox.next(&mut stream).await;
        shared.engine.tempo.resumed().await;
        match next {
            Ok(request) => {
                if !matches!(answer(&stream, &shared, request).await, Ok(Then::KeepAlive)) {
                    return;
                }
            }
            Err(ReadError::Gone) => return,
            Err(ReadError::Refused { status, message }) => {
                // The path is unknown, and so is the protocol.
                let body = openai::CHAT.refusal(&Refusal::new(status, message), "");
                if respond(&stream, status, "", &body, false).await.is_ok() {
                    linger(stream).await;
                }
                return;
            }
        }
    }
}

/// Closing a connection with unread bytes would reset it, and the response could be lost.
async fn linger(mut stream: TcpStream) {
    use tokio::io::AsyncWriteExt;
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut ignored = vec![0; 64 << 10];
    let drain = async { while let Ok(1..) = stream.read(&mut ignored).await {} };
    // Either way, the connection is finished.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// What is served at a path.
#[derive(Debug, Clone, Copy)]
enum Place {
    Generate(&'static dyn Protocol),
    Tokenize,
    Detokenize,
    Models,
    Health,
}

impl Place {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/api/v1/services/aigc/text-generation/generation" => {
                return Some(Place::Generate(&dashscope::TEXT));
            }
            "/api/v1/services/aigc/multimodal-generation/generation" => {
                return Some(Place::Generate(&dashscope::MULTIMODAL));
            }
            "/api/paas/v4/chat/completions" => return Some(Place::Generate(&zhipu::Zhipu)),
            _ => {}
        }
        // DashScope serves OpenAI's interface under its own prefix.
        let path = path.strip_prefix("/compatible-mode").unwrap_or(path);
        match path.strip_prefix("/v1").unwrap_or(path) {
            "/chat/completions" => Some(Place::Generate(&openai::CHAT)),
            "/completions" => Some(Place::Generate(&openai::COMPLETIONS)),
            "/tokenize" => Some(Place::Tokenize),
            "/detokenize" => Some(Place::Detokenize),
            "/models" => Some(Place::Models),
            "/health" => Some(Place::Health),
            _ => None,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Place::Generate(_) | Place::Tokenize | Place::Detokenize => "POST",
            Place::Models | Place::Health => "GET",
        }
    }
}

async fn answer(
    stream: &TcpStream,
    shared: &Arc<Shared>,
    request: http::Request,
) -> io::Result<Then> {
    let keep_alive = request.keep_alive;
    let protocol = protocol_of(&request.path);
    let refuse = async |refusal: Refusal, extra: &str| {
        let body = protocol.refusal(&refusal, &refused_id(protocol));
        respond(stream, refusal.status, extra, &body, keep_alive).await
    };
    let Some(place) = Place::at(&request.path) else {
        let message = format!(
            "no such path: {:?}; there are /v1/chat/completions, /v1/completions, /v1/models, \
             /health, /tokenize, /detokenize, /compatible-mode/v1/chat/completions, \
             /api/v1/services/aigc/text-generation/generation, \
             /api/v1/services/aigc/multimodal-generation/generation and \
             /api/paas/v4/chat/completions",
            request.path
        );
        return refuse(Refusal::new(404, message), "").await;
    };
    let allowed = place.method();
    if request.method != allowed {
        let message = format!(
            "method {} is not allowed here, only {allowed}",
            request.method
        );
        return refuse(Refusal::new(405, message), &format!("allow: {allowed}\r\n")).await;
    }
    if matches!(place, Place::Health) {
        return respond(stream, 200, "", b"{\"status\":\"ok\"}", keep_alive).await;
    }
    if let Some(key) = &shared.config.api_key
        && let Err(refusal) = protocol.admit(key, request.bearer.as_deref(), wall_ms())
    {
        return refuse(refusal, "www-authenticate: Bearer\r\n").await;
    }
    let body = match place {
        Place::Generate(protocol) => return generate(stream, shared, request, protocol).await,
        Place::Tokenize => counted(shared, request, tokenize).await.1,
        Place::Detokenize => counted(shared, request, detokenize).await.1,
        Place::Models | Place::Health => Ok(models(&shared.config)),
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
        "max_model_len": CONTEXT_TOKENS,
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
    if !shared.counter.takes_long(request.body.len()) {
        let outcome = read(&request.body, &shared.counter);
        return (request, outcome);
    }
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || {
        let outcome = read(&request.body, &shared.counter);
        (request, outcome)
    })
    .await
    .expect("counting neither panics nor is cancelled")
}

/// Respond to a request to one of the generating endpoints.
async fn generate(
    stream: &TcpStream,
    shared: &Arc<Shared>,
    request: http::Request,
    protocol: &'static dyn Protocol,
) -> io::Result<Then> {
    let config = &shared.config;
    let request_read_ns = shared.truth.as_ref().map_or(0, |_| monotonic_ns());
    shared.engine.tempo.request_read();
    let by_header = request.wants_events;
    let (request, read) = counted(shared, request, move |body, counter| {
        protocol.read(body, by_header, counter)
    })
    .await;
    let read = read.and_then(|asked| {
        if config.reject_stream_options && asked.stream_options.is_some() {
            return Err(Refusal::of(
                "stream_options",
                "Unrecognized request argument supplied: stream_options",
            ));
        }
        Ok(asked)
    });
    let asked = match read {
        Ok(asked) => asked,
        Err(refusal) => {
            let body = protocol.refusal(&refusal, &refused_id(protocol));
            return respond(stream, refusal.status, "", &body, request.keep_alive).await;
        }
    };
    let sequence = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let (tokens, at_length) = config.profile.output_length(asked.max_tokens);
    let answer = Answer {
        protocol,
        id: format!("{}-sim-{sequence}", protocol.id_prefix()),
        model: asked.model.unwrap_or_else(|| config.model.clone()),
        created: wall_seconds(),
        messages: asked.messages,
        repeats: asked.repeats,
        prompt_tokens: asked.prompt_tokens,
        choices: asked.choices,
        tokens,
        at_length: at_length || asked.end_of_text == EndOfText::Ignored,
        stream_options: asked.stream_options.unwrap_or_default(),
        fault: pick(
            &config.faults,
            config.fault_after,
            config.profile.seed,
            sequence,
        ),
        salt: config.profile.seed.wrapping_mul(31).wrapping_add(sequence),
    };
    Player {
        stream,
        config,
        engine: &shared.engine,
        truth: shared.truth.as_ref(),
        answer: &answer,
        sequence,
        wants_stream: asked.stream,
        keep_alive: request.keep_alive,
        knows_chunks: request.knows_chunks,
        request_read_ns,
    }
    .play()
    .await
}
