//! Owns a hub and a CDN on loopback that speak the URL forms of both real hubs, and the faults they
//! are given. It knows nothing of the crate's internals: HTTP is written by hand.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard};

use evalscope_hub::{Hub, HubConfig, Source};
use tempfile::TempDir;
use url::Url;

use crate::scene::{config, sha256};

/// The only repository, as a model and as a dataset.
pub(crate) const REPO: &str = "owner/name";

/// Part of each signed URL of the CDN. Must never be shown.
pub(crate) const SIGNATURE: &str = "sig-of-the-cdn";

/// How a server treats a request.
#[derive(Debug)]
pub(crate) enum Act {
    /// Closes the connection after this many bytes of the body.
    CutAfter(usize),
    /// Responds with this status.
    Status(u16),
    /// Sends the whole file, whichever part was requested.
    IgnoreRange,
    /// Sends these bytes instead.
    Bytes(Vec<u8>),
    /// Sends this many bytes, and the rest when a message arrives (or its sender is gone).
    HoldAfter(usize, Receiver<()>),
    /// Sends everything without a length, and closes after this many bytes.
    UntoldUntil(usize),
    /// States a wrong size before the redirect.
    StateSize(u64),
}

/// Which server received a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Hub,
    Cdn,
}

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) server: Server,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// Number of body bytes sent in the response.
    pub(crate) sent: usize,
}

/// Where a file is served from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// From the hub.
    Small,
    /// From the CDN, with a hash.
    Large,
}

#[derive(Default)]
struct State {
    files: Mutex<BTreeMap<String, (Size, Vec<u8>)>>,
    hub_acts: Mutex<VecDeque<Act>>,
    cdn_acts: Mutex<VecDeque<Act>>,
    listing_acts: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<Seen>>,
    cdn: Mutex<Option<SocketAddr>>,
}

/// A hub and its CDN.
pub(crate) struct Stub {
    pub(crate) hub: SocketAddr,
    state: Arc<State>,
}

impl Stub {
    pub(crate) fn start() -> Stub {
        let state = Arc::new(State::default());
        let cdn = listen(Server::Cdn, &state);
        *locked(&state.cdn) = Some(cdn);
        let hub = listen(Server::Hub, &state);
        Stub { hub, state }
    }

    pub(crate) fn with(path: &str, size: Size, bytes: &[u8]) -> Stub {
        let stub = Stub::start();
        stub.put(path, size, bytes);
        stub
    }

    pub(crate) fn put(&self, path: &str, size: Size, bytes: &[u8]) {
        locked(&self.state.files).insert(path.to_owned(), (size, bytes.to_owned()));
    }

    /// How the hub treats the next file requests.
    pub(crate) fn hub_acts(&self, acts: impl IntoIterator<Item = Act>) {
        locked(&self.state.hub_acts).extend(acts);
    }

    /// How the CDN treats the next requests.
    pub(crate) fn cdn_acts(&self, acts: impl IntoIterator<Item = Act>) {
        locked(&self.state.cdn_acts).extend(acts);
    }

    /// How the hub treats the next listing requests.
    pub(crate) fn listing_acts(&self, acts: impl IntoIterator<Item = Act>) {
        locked(&self.state.listing_acts).extend(acts);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        locked(&self.state.seen).clone()
    }

    /// The requests received by the CDN.
    pub(crate) fn at_cdn(&self) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.server == Server::Cdn);
        seen
    }

    /// Settings for this hub with a separate cache and short timeouts.
    pub(crate) fn config(&self, source: Source, cache: &TempDir) -> HubConfig {
        config(source, &format!("http://{}", self.hub), cache, &[])
    }

    pub(crate) fn client(&self, source: Source, cache: &TempDir) -> Hub {
        Hub::new(self.config(source, cache))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn listen(server: Server, state: &Arc<State>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let state = Arc::clone(&state);
            // a client that disconnects halfway is not an error of the server
            std::thread::spawn(move || serve(server, stream.unwrap(), &state));
        }
    });
    address
}

/// Handle one request; a tunnel leads to the hub itself.
fn serve(server: Server, stream: TcpStream, state: &State) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let request = Seen {
            server,
            target,
            headers,
            sent: 0,
        };
        if method == "CONNECT" {
            locked(&state.seen).push(request);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
            continue;
        }
        let mut answer = answer_to(&request, state);
        answer.deliver(request, &mut stream, state)?;
        // unread data would turn the close into a reset
        stream.shutdown(Shutdown::Write).ok()?;
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).ok()?;
        return Some(());
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    act: Option<Act>,
}

impl Answer {
    fn new(status: u16, headers: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status,
            headers: headers.to_owned(),
            body: body.into(),
            act: None,
        }
    }

    fn deliver(&mut self, mut request: Seen, stream: &mut TcpStream, state: &State) -> Option<()> {
        let all = self.body.len();
        let (until, hold) = match self.act.take() {
            Some(Act::CutAfter(bytes) | Act::UntoldUntil(bytes)) => (bytes.min(all), None),
            Some(Act::HoldAfter(bytes, receiver)) => (bytes.min(all), Some(receiver)),
            _ => (all, None),
        };
        request.sent = if hold.is_some() { all } else { until };
        locked(&state.seen).push(request);
        let head = format!(
            "HTTP/1.1 {} Status\r\nconnection: close\r\n{}\r\n",
            self.status, self.headers
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&self.body[..until]).ok()?;
        if let Some(hold) = hold {
            let _ = hold.recv();
            stream.write_all(&self.body[until..]).ok()?;
        }
        Some(())
    }
}

fn answer_to(request: &Seen, state: &State) -> Answer {
    let url = Url::parse("http://stub")
        .unwrap()
        .join(&request.target)
        .unwrap();
    let parts: Vec<&str> = url.path_segments().unwrap().collect();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let get = |name: &str| query.get(name).cloned().unwrap_or_default();
    match (request.server, parts.as_slice()) {
        (Server::Cdn, ["blobs", path @ ..]) => {
            assert_eq!(get("Signature"), SIGNATURE);
            let act = locked(&state.cdn_acts).pop_front();
            bytes_of(&path.join("/"), request, act, state)
        }
        (
            _,
            [
                "api",
                "v1",
                "models" | "datasets",
                "owner",
                "name",
                "repo",
                "files" | "tree",
            ],
        ) => {
            let act = locked(&state.listing_acts).pop_front();
            model_scope_list(act.as_ref(), &get("PageNumber"), &get("PageSize"), state)
        }
        (_, ["api", "v1", "models" | "datasets", "owner", "name", "repo"]) => {
            assert_eq!(get("Revision"), "master");
            file_of(Source::ModelScope, &get("FilePath"), request, state)
        }
        (
            _,
            [
                "api",
                "models" | "datasets",
                "owner",
                "name",
                "tree",
                "main",
            ],
        ) => {
            let act = locked(&state.listing_acts).pop_front();
            hugging_face_list(act.as_ref(), &get("cursor"), state)
        }
        (
            _,
            ["owner", "name", "resolve", "main", path @ ..]
            | ["datasets", "owner", "name", "resolve", "main", path @ ..],
        ) => file_of(Source::HuggingFace, &path.join("/"), request, state),
        (_, ["renamed", "name", "resolve", "main", path @ ..]) => {
            let to = format!("location: /{REPO}/resolve/main/{}\r\n", path.join("/"));
            Answer::new(307, &to, "")
        }
        (_, ["api", "v1", ..]) => Answer::new(404, "", ""),
        // hides the names of private repositories
        _ => Answer::new(401, "x-error-code: RepoNotFound\r\n", ""),
    }
}

fn file_of(source: Source, path: &str, request: &Seen, state: &State) -> Answer {
    let act = locked(&state.hub_acts).pop_front();
    let found = locked(&state.files).get(path).cloned();
    let Some((size, bytes)) = found else {
        return match source {
            Source::HuggingFace => Answer::new(404, "x-error-code: EntryNotFound\r\n", ""),
            Source::ModelScope => Answer::new(404, "", r#"{"Code":404,"Message":"not found"}"#),
        };
    };
    if size == Size::Small || matches!(act, Some(Act::Status(_))) {
        return bytes_of(path, request, act, state);
    }
    let cdn = locked(&state.cdn).unwrap();
    let mut headers = format!("location: http://{cdn}/blobs/{path}?Signature={SIGNATURE}\r\n");
    if source == Source::HuggingFace {
        let stated = match act {
            Some(Act::StateSize(bytes)) => bytes,
            _ => bytes.len() as u64,
        };
        write!(
            headers,
            "x-repo-commit: c0ffee\r\nx-linked-size: {stated}\r\nx-linked-etag: \"{}\"\r\n",
            sha256(&bytes)
        )
        .unwrap();
    }
    Answer::new(302, &headers, "")
}

/// The bytes of a file, or the requested part, with the fault applied.
fn bytes_of(path: &str, request: &Seen, act: Option<Act>, state: &State) -> Answer {
    let Some((_, stored)) = locked(&state.files).get(path).cloned() else {
        return Answer::new(404, "", "");
    };
    let etag = format!("etag: \"{}\"\r\n", &sha256(&stored)[..40]);
    let bytes = match &act {
        Some(Act::Status(status)) => {
            let body = r#"{"error":"the stub says no to hf_the_token"}"#;
            return Answer::new(
                *status,
                &format!("content-length: {}\r\n", body.len()),
                body,
            );
        }
        Some(Act::Bytes(bytes)) => bytes.clone(),
        _ => stored,
    };
    let from = request
        .headers
        .get("range")
        .filter(|_| !matches!(act, Some(Act::IgnoreRange)))
        .map(|range| {
            let from = range.strip_prefix("bytes=").unwrap();
            from.strip_suffix('-').unwrap().parse::<usize>().unwrap()
        });
    let total = bytes.len();
    let mut answer = match from {
        Some(from) if from >= total => {
            let headers = format!("content-range: bytes */{total}\r\ncontent-length: 0\r\n");
            Answer::new(416, &headers, "")
        }
        Some(from) => {
            let headers = format!(
                "{etag}content-range: bytes {from}-{}/{total}\r\ncontent-length: {}\r\n",
                total - 1,
                total - from
            );
            Answer::new(206, &headers, &bytes[from..])
        }
        None if matches!(act, Some(Act::UntoldUntil(_))) => Answer::new(200, &etag, bytes),
        None => Answer::new(200, &format!("{etag}content-length: {total}\r\n"), bytes),
    };
    answer.act = act;
    answer
}

fn model_scope_list(act: Option<&Act>, page: &str, page_size: &str, state: &State) -> Answer {
    if let Some(Act::Status(status)) = act {
        return Answer::new(*status, "", "");
    }
    let files: Vec<serde_json::Value> = locked(&state.files)
        .iter()
        .map(|(path, (_, bytes))| {
            serde_json::json!({"Name": path, "Path": path, "Type": "blob", "Size": bytes.len(),
                "Sha256": sha256(bytes)})
        })
        .chain([serde_json::json!({"Name": "data", "Path": "data", "Type": "tree", "Size": 0})])
        .collect();
    let files = match (page.parse::<usize>(), page_size.parse::<usize>()) {
        (Ok(page), Ok(size)) => files
            .chunks(size)
            .nth(page - 1)
            .unwrap_or_default()
            .to_vec(),
        _ => files,
    };
    let body = serde_json::json!({"Code": 200, "Success": true, "Data": {"Files": files}});
    Answer::new(200, "content-type: application/json\r\n", body.to_string())
}

/// Two files per page.
fn hugging_face_list(act: Option<&Act>, cursor: &str, state: &State) -> Answer {
    if let Some(Act::Status(status)) = act {
        return Answer::new(*status, "", "");
    }
    let all: Vec<serde_json::Value> = locked(&state.files)
        .iter()
        .map(|(path, (size, bytes))| match size {
            Size::Small => {
                serde_json::json!({"type": "file", "path": path, "size": bytes.len(), "oid": "0"})
            }
            Size::Large => serde_json::json!({"type": "file", "path": path, "size": 130,
                "oid": "0", "lfs": {"oid": sha256(bytes), "size": bytes.len(), "pointerSize": 130}}),
        })
        .collect();
    let from = cursor.parse().unwrap_or(0);
    let page: Vec<_> = all.iter().skip(from).take(2).collect();
    let next = if from + 2 < all.len() {
        let url = format!(
            "/api/datasets/{REPO}/tree/main?recursive=true&cursor={}",
            from + 2
        );
        format!("link: <{url}>; rel=\"next\"\r\n")
    } else {
        String::new()
    };
    Answer::new(200, &next, serde_json::to_vec(&page).unwrap())
}
