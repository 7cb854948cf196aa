//! Owns the listening socket, the threads and the connections.
//!
//! It must not know what a request asks for, what a response looks like or when its tokens are due.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::answer::{Then, respond};
use crate::error::SimError;
use crate::http::{Inbox, ReadError};
use crate::prepared::Prepared;
use crate::route::{Peer, Served, Shared, answer};
use crate::truth::{Kept, Totals, TruthLog};
use crate::wire::{Protocol, Refusal, openai};

/// Number of connections that may wait to be accepted; the operating system may lower it.
const BACKLOG: u32 = 16_384;

/// Number of accepted connections that may wait to be taken by another thread.
const HANDOVER: usize = 1024;

/// How long to pause accepting after the operating system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How long a client may go on sending a request that was already rejected.
const LINGER: Duration = Duration::from_secs(1);

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

/// Serve until `shutdown` is cancelled, then drop all connections and complete the truth log.
/// Returns what was served.
///
/// # Errors
/// If the truth log cannot be created or written, or a thread cannot be started.
pub async fn serve(
    listener: TcpListener,
    prepared: Prepared,
    shutdown: CancellationToken,
) -> Result<Totals, SimError> {
    serve_observed(listener, prepared, shutdown, Observed::default()).await
}

/// What a [`Simulator`] can look at while it serves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    pub(crate) served: Arc<Served>,
    pub(crate) truth: Kept,
}

pub(crate) async fn serve_observed(
    listener: TcpListener,
    prepared: Prepared,
    shutdown: CancellationToken,
    observed: Observed,
) -> Result<Totals, SimError> {
    let config = &prepared.config;
    raise_open_files();
    let kept = config.keeps_truth.then_some(observed.truth);
    let truth_path = config.truth_log.clone();
    let truth = (truth_path.is_some() || kept.is_some())
        .then(|| TruthLog::create(truth_path.as_deref(), kept))
        .transpose()?;
    let threads = config.threads.get();
    let log = truth.as_ref().map(TruthLog::sender);
    let shared = Arc::new(Shared::new(prepared, log, Arc::clone(&observed.served)));

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
    .map_err(|source| SimError::TruthLog { path, source })?;
    Ok(observed.served.totals())
}

/// Accept until cancelled, distributing connections to all threads in turn.
async fn accept_connections(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    workers: &[Worker],
    stop: &CancellationToken,
) {
    let room = shared.settings.config.max_connections;
    let room = room.map(|most| Arc::new(Semaphore::new(most.get().min(Semaphore::MAX_PERMITS))));
    let mut own = JoinSet::new();
    let engine = Arc::clone(shared);
    own.spawn(async move { engine.engine.run().await });
    let mut turn = 0;
    let mut connections = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = own.join_next() => continue,
            accepted = accept(listener, room.as_ref(), connections + 1) => accepted,
        };
        let Ok(accepted) = accepted else {
            // Out of descriptors, most likely: one will soon be free.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        connections += 1;
        turn = (turn + 1) % (workers.len() + 1);
        match workers.get(turn) {
            Some(worker) => {
                if let Ok(stream) = accepted.stream.into_std() {
                    let accepted = Accepted {
                        stream,
                        peer: accepted.peer,
                        place: accepted.place,
                    };
                    // Only fails if that thread is gone, and then the connection is closed.
                    let _ = worker.connections.send(accepted).await;
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
struct Accepted<Stream> {
    stream: Stream,
    peer: Peer,
    place: Option<OwnedSemaphorePermit>,
}

/// Accept the next connection when there is room for it; until then it waits in the backlog.
async fn accept(
    listener: &TcpListener,
    room: Option<&Arc<Semaphore>>,
    connection: u64,
) -> io::Result<Accepted<TcpStream>> {
    let place = match room {
        None => None,
        Some(room) => {
            let place = Arc::clone(room).acquire_owned().await;
            Some(place.expect("the places are never closed"))
        }
    };
    let (stream, address) = listener.accept().await?;
    let peer = Peer {
        port: address.port(),
        connection,
    };
    Ok(Accepted {
        stream,
        peer,
        place,
    })
}

/// An additional thread with its own runtime.
#[derive(Debug)]
struct Worker {
    connections: mpsc::Sender<Accepted<std::net::TcpStream>>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(shared: Arc<Shared>, stop: CancellationToken) -> Result<Self, SimError> {
        let runtime = runtime()?;
        let (connections, mut received) = mpsc::channel::<Accepted<_>>(HANDOVER);
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
                            next = received.recv() => next,
                        };
                        let Some(next) = next else { break };
                        if let Ok(stream) = TcpStream::from_std(next.stream) {
                            let accepted = Accepted {
                                stream,
                                peer: next.peer,
                                place: next.place,
                            };
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
async fn connection(accepted: Accepted<TcpStream>, shared: Arc<Shared>) {
    let Accepted {
        mut stream,
        peer,
        place: _place,
    } = accepted;
    // Otherwise a small write waits for the acknowledgement of the previous one.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut inbox = Inbox::new(shared.kept_headers());
    loop {
        let next = inbox.next(&mut stream).await;
        shared.engine.tempo.resumed().await;
        match next {
            Ok(request) => {
                let then = answer(&stream, peer, &shared, request).await;
                if !matches!(then, Ok(Then::KeepAlive)) {
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
