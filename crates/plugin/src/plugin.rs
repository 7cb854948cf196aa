//! Owns a plugin as a whole: start, greeting, calls and end, with errors that say which plugin
//! failed in which call.
//!
//! It must not know what datasets and APIs request.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evalscope_core::protocol::{Opaque, ResponseRules};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::child::{Listener, Process};
use crate::error::{PluginError, PluginFault};
use crate::place::Place;
use crate::role::Role;
use crate::wire::{Broken, Expected, NoAnswer, Wire, shown};

/// The protocol version.
const PROTOCOL: u64 = 1;
/// How long a plugin may take for `bye`.
const BYE: Duration = Duration::from_secs(2);
/// How long a tracker may take: it uploads its remaining data.
const TRACKER_BYE: Duration = Duration::from_mins(5);

/// What a plugin receives when it starts.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Name and version of this tool.
    pub tool: String,
    /// Every option of the command by name; secrets are masked.
    pub options: Value,
}

/// How long to wait for a plugin.
#[derive(Clone)]
pub struct Patience {
    /// For a response.
    pub call: Duration,
    /// For the response to `hello`: plugins import a lot.
    pub hello: Duration,
    /// Whether nothing more is sent: then do not wait for prompts and bodies.
    pub stopped: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Whether everything is aborted: then do not wait for token counts either.
    pub aborted: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            call: Duration::from_mins(1),
            hello: Duration::from_mins(1),
            stopped: Arc::new(|| false),
            aborted: Arc::new(|| false),
        }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("call", &self.call)
            .field("hello", &self.hello)
            .finish_non_exhaustive()
    }
}

/// A running plugin. Dropping it ends it.
#[derive(Debug)]
pub struct Plugin {
    /// As given on the command line.
    given: String,
    /// A tracker that has logged in: it may have a lot to upload at the end.
    pub(crate) uploads: std::sync::atomic::AtomicBool,
    /// The name it gives itself.
    name: String,
    /// Rules for responses, if it gives any.
    answers: Option<ResponseRules>,
    patience: Patience,
    wire: Wire,
    running: Mutex<Running>,
}

/// What is at the other end of the wire.
#[derive(Debug)]
enum Running {
    Child(Process),
    #[cfg(unix)]
    Socket(std::os::unix::net::UnixStream),
    Over,
}

/// A response to come.
#[derive(Debug)]
pub struct Pending {
    call: &'static str,
    expected: Expected,
}

#[derive(Deserialize)]
struct Greeting {
    protocol: u64,
    name: String,
    #[serde(default)]
    answers: Value,
}

/// Rules for responses. Only accepts objects with keys: serde would also accept lists.
fn response_rules(answers: Value) -> Result<Option<ResponseRules>, String> {
    if answers.is_null() {
        return Ok(None);
    }
    let parts = answers.as_object().ok_or("expected an object")?;
    if let Some((name, _)) = parts.iter().find(|(_, part)| !part.is_object()) {
        return Err(format!("`{name}` must be an object"));
    }
    serde_json::from_value(answers)
        .map(Some)
        .map_err(|error| error.to_string())
}

impl Plugin {
    /// Start a plugin, or connect to it, and wait until it is ready. `python` is the interpreter
    /// for files; `listener` receives each line of its stderr.
    ///
    /// # Errors
    /// If it cannot be started, or its greeting is invalid.
    pub fn start(
        place: &Place,
        role: Role,
        python: Option<&str>,
        hello: &Hello,
        patience: Patience,
        listener: Listener,
    ) -> Result<Self, PluginError> {
        let given = place.to_string();
        let (running, wire) = open(place, role, python, listener).map_err(|fault| PluginError {
            plugin: given.clone(),
            call: "start".to_owned(),
            fault,
            stderr: Vec::new(),
        })?;
        let mut plugin = Self {
            name: String::new(),
            answers: None,
            given,
            uploads: false.into(),
            patience,
            wire,
            running: Mutex::new(running),
        };
        let greeting = plugin.greet(place, role, hello)?;
        plugin.name = greeting.name;
        plugin.answers = response_rules(greeting.answers)
            .map_err(|reason| plugin.rubbish("hello", format!("in `answers`, {reason}")))?;
        Ok(plugin)
    }

    fn greet(&self, place: &Place, role: Role, hello: &Hello) -> Result<Greeting, PluginError> {
        let params = json!({
            "protocol": PROTOCOL,
            "tool": hello.tool,
            "role": role.as_str(),
            "name": place.name(),
            "options": hello.options,
        });
        let pending = self.ask("hello", params)?;
        let stopped = &*self.patience.stopped;
        let greeting: Greeting = self.answer(&pending, self.patience.hello, stopped)?;
        if greeting.protocol != PROTOCOL {
            return Err(self.rubbish(
                "hello",
                format!(
                    "it speaks version {} of the protocol, but this program speaks version {PROTOCOL}",
                    greeting.protocol
                ),
            ));
        }
        Ok(greeting)
    }

    /// The name it gives itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its API, with the name it was given by.
    ///
    /// # Errors
    /// If its rules for responses are invalid.
    pub fn api(&self) -> Result<Opaque, PluginError> {
        Opaque::new(self.given.clone(), self.answers.clone())
            .map_err(|error| self.rubbish("hello", format!("in `answers`, {error}")))
    }

    /// Send a request, without waiting.
    ///
    /// # Errors
    /// If it can no longer be called.
    pub fn ask(&self, call: &'static str, params: impl Serialize) -> Result<Pending, PluginError> {
        match self.wire.ask(call, params) {
            Ok(expected) => Ok(Pending { call, expected }),
            Err(reason) => Err(self.no_answer(call, reason, self.patience.call)),
        }
    }

    /// Wait for a response that a run cannot continue without.
    ///
    /// # Errors
    /// If there is none, or it has the wrong form.
    pub fn wait<T: DeserializeOwned>(&self, pending: &Pending) -> Result<T, PluginError> {
        self.answer(pending, self.patience.call, &*self.patience.stopped)
    }

    /// Wait for a response about requests that have ended.
    ///
    /// # Errors
    /// As for [`Plugin::wait`].
    pub fn wait_after<T: DeserializeOwned>(&self, pending: &Pending) -> Result<T, PluginError> {
        self.answer(pending, self.patience.call, &*self.patience.aborted)
    }

    fn answer<T: DeserializeOwned>(
        &self,
        pending: &Pending,
        limit: Duration,
        given_up: &dyn Fn() -> bool,
    ) -> Result<T, PluginError> {
        let call = pending.call;
        let answer = self.wire.wait(&pending.expected, limit, given_up);
        let answer = answer.map_err(|reason| self.no_answer(call, reason, limit))?;
        let result = answer.map_err(|refused| PluginError {
            plugin: self.given.clone(),
            call: call.to_owned(),
            fault: PluginFault::Raised {
                message: refused.message,
                traceback: refused.traceback.filter(|text| !text.is_empty()),
            },
            stderr: Vec::new(),
        })?;
        serde_json::from_str(result.get()).map_err(|error| {
            let text = format!(
                "its result is not valid for `{call}` ({error}): {}",
                shown(result.get().as_bytes())
            );
            self.rubbish(call, text)
        })
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_answer(&self, call: &str, reason: NoAnswer, limit: Duration) -> PluginError {
        let mut running = self.running();
        let mut status = None;
        let mut stderr = Vec::new();
        if let Running::Child(process) = &mut *running {
            match reason {
                NoAnswer::Broken(Broken::Ended) => (status, stderr) = process.last_words(),
                NoAnswer::Broken(_) | NoAnswer::TimedOut => {
                    process.hung = true;
                    stderr = process.stderr();
                }
                NoAnswer::GivenUp | NoAnswer::TooMuch(_) => {}
            }
        }
        PluginError {
            plugin: self.given.clone(),
            call: call.to_owned(),
            fault: match reason {
                NoAnswer::Broken(Broken::Ended) => PluginFault::Ended(status),
                NoAnswer::Broken(Broken::Rubbish(text)) => PluginFault::Rubbish(text),
                NoAnswer::Broken(Broken::Hung) | NoAnswer::TimedOut => PluginFault::TimedOut(limit),
                NoAnswer::GivenUp => PluginFault::Stopped,
                NoAnswer::TooMuch(bytes) => PluginFault::TooMuch(bytes),
            },
            stderr,
        }
    }

    /// A response with the wrong form.
    pub(crate) fn rubbish(&self, call: &str, text: String) -> PluginError {
        let stderr = match &*self.running() {
            Running::Child(process) => process.stderr(),
            _ => Vec::new(),
        };
        PluginError {
            plugin: self.given.clone(),
            call: call.to_owned(),
            fault: PluginFault::Rubbish(text),
            stderr,
        }
    }

    /// Say goodbye, and make sure that it ends.
    pub fn end(&self) {
        if self.wire.is_whole()
            && let Ok(expected) = self.wire.ask("bye", json!({}))
            && let Err(NoAnswer::TimedOut) = self.wire.wait(&expected, self.bye(), &|| {
                // after two Ctrl-C, do not wait for an upload
                self.uploads() && (self.patience.aborted)()
            })
            && let Running::Child(process) = &mut *self.running()
        {
            process.hung = true;
        }
        self.wire.close();
        match &mut *self.running() {
            Running::Child(process) => process.end(),
            #[cfg(unix)]
            Running::Socket(socket) => {
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
            Running::Over => return,
        }
        *self.running() = Running::Over;
    }
}

impl Plugin {
    fn bye(&self) -> Duration {
        if self.uploads() { TRACKER_BYE } else { BYE }
    }

    fn uploads(&self) -> bool {
        self.uploads.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.end();
    }
}

fn open(
    place: &Place,
    role: Role,
    python: Option<&str>,
    listener: Listener,
) -> Result<(Running, Wire), PluginFault> {
    let Some(words) = place.command(role, python) else {
        return connect(place);
    };
    let failed = |source| PluginFault::Start {
        program: words[0].clone(),
        source,
    };
    let (process, pipes) = Process::start(&words, place.environment(), listener).map_err(failed)?;
    let wire = Wire::start(pipes.stdin, pipes.stdout).map_err(failed)?;
    Ok((Running::Child(process), wire))
}

#[cfg(unix)]
fn connect(place: &Place) -> Result<(Running, Wire), PluginFault> {
    let Place::Unix { socket: path, .. } = place else {
        return Err(PluginFault::NoSockets);
    };
    let connected = || {
        let socket = std::os::unix::net::UnixStream::connect(path)?;
        let wire = Wire::start(socket.try_clone()?, socket.try_clone()?)?;
        Ok((Running::Socket(socket), wire))
    };
    connected().map_err(PluginFault::Connect)
}

#[cfg(not(unix))]
fn connect(_place: &Place) -> Result<(Running, Wire), PluginFault> {
    Err(PluginFault::NoSockets)
}
