//! Owns running the binary: in a folder of its own, with nothing of the outer environment, and
//! with its output as text that does not change from run to run.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use evalscope_model::time::RunClock;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the tests name every invocation, so that its folder is known.
pub(crate) const NAME: &str = "run";

/// A hub that is not there: the port of the discard protocol, which nobody serves.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The folder of the cache of data sets and tokenizers.
pub(crate) const CACHE: &str = "cache";

/// A folder to run the binary in.
pub(crate) struct Context {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Context {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of an invocation made by [`Context::perf`].
    pub(crate) fn top(&self) -> PathBuf {
        self.path().join("outputs").join(NAME)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evalscope"));
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("NO_COLOR", "1")
            .env("COLUMNS", "80")
            .env("TZ", "UTC")
            // no test may reach a real hub: nobody listens here
            .env("MODELSCOPE_ENDPOINT", NOWHERE)
            .env("HF_ENDPOINT", NOWHERE)
            .env("EVALSCOPE_CACHE", self.path().join(CACHE))
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        let output = self.command(args).output().unwrap();
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Run `evalscope perf` so that its results lie in [`Context::top`].
    pub(crate) fn perf(&self, args: &[&str]) -> Outcome {
        self.run(&perf_args(args))
    }

    /// The same, which must succeed.
    pub(crate) fn measure(&self, args: &[&str]) -> Outcome {
        let outcome = self.perf(args);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        outcome
    }

    /// Start `evalscope perf` and go on.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::new(self.command(&perf_args(args)))
    }

    /// Start any command and go on.
    pub(crate) fn begin(&self, args: &[&str]) -> Running {
        Running::new(self.command(args))
    }

    /// The same, which is told things on stdin.
    pub(crate) fn begin_with_stdin(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        Running::new(command)
    }

    /// The same, started by another program that becomes it.
    pub(crate) fn start_by(&self, words: &[&str], args: &[&str]) -> Running {
        let own = env!("CARGO_BIN_EXE_evalscope");
        let args = [&words[1..], &[own], &perf_args(args)].concat();
        let mut command = self.command(&args);
        let mut other = Command::new(words[0]);
        other.args(command.get_args()).current_dir(self.path());
        other.env_clear();
        for (name, value) in command.get_envs() {
            other.envs(value.map(|value| (name, value)));
        }
        other
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command = other;
        Running::new(command)
    }

    pub(crate) fn result(&self) -> Value {
        json(&self.top().join("result.json"))
    }

    /// The folder of the only run.
    pub(crate) fn run_folder(&self) -> PathBuf {
        let mut runs: Vec<PathBuf> = std::fs::read_dir(self.top())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.remove(0)
    }

    /// The database of the only run.
    pub(crate) fn database(&self) -> Connection {
        open(&self.run_folder().join("benchmark_data.db"))
    }

    /// The bodies of the only run's requests, as they were sent, in order.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        bodies(&self.database())
    }

    /// The first column of a query's rows.
    pub(crate) fn column<T: rusqlite::types::FromSql>(&self, query: &str) -> Vec<T> {
        let database = self.database();
        let mut statement = database.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// Every file below the folder, by its path from there, sorted.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.path()).unwrap();
                    let name = name.to_string_lossy().replace('\\', "/");
                    found.push((name, std::fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

fn perf_args<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["perf"];
    all.extend(args);
    all.extend(["--no-timestamp", "--name", NAME]);
    all
}

pub(crate) fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Open a database for reading.
pub(crate) fn open(path: &Path) -> Connection {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    Connection::open_with_flags(path, flags).unwrap()
}

/// The bodies of a run's requests, as they were sent, in order.
pub(crate) fn bodies(database: &Connection) -> Vec<Value> {
    use base64::Engine as _;
    let query = "SELECT request FROM result ORDER BY idx";
    let mut statement = database.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0));
    let body = |column: Result<String, _>| {
        let pickled = base64::engine::general_purpose::STANDARD.decode(column.unwrap());
        let options = serde_pickle::DeOptions::new();
        serde_pickle::from_slice(&pickled.unwrap(), options).unwrap()
    };
    rows.unwrap().map(body).collect()
}

/// That none of these stands in anything shown or written, in plain or inside a pickled column.
pub(crate) fn no_secret_like(context: &Context, outcome: &Outcome, secrets: &[&str]) {
    let mut texts = vec![
        ("stdout".to_owned(), outcome.stdout.clone().into_bytes()),
        ("stderr".to_owned(), outcome.stderr.clone().into_bytes()),
    ];
    texts.extend(context.files());
    for database in texts
        .clone()
        .iter()
        .filter(|(name, _)| name.ends_with("/benchmark_data.db"))
    {
        let database = open(&context.path().join(&database.0));
        let mut statement = database
            .prepare("SELECT request, response_messages FROM result")
            .unwrap();
        let columns = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?]));
        for column in columns.unwrap().flat_map(Result::<[String; 2], _>::unwrap) {
            use base64::Engine as _;
            let pickled = base64::engine::general_purpose::STANDARD.decode(column);
            texts.push(("a pickled column".to_owned(), pickled.unwrap()));
        }
    }
    for (name, bytes) in texts {
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(
                !found,
                "`{secret}` stands in {name}: {}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

/// Look until there is something to see.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = RunClock::start();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        let waited = clock.now().since(evalscope_model::time::Timestamp::ZERO);
        assert!(waited < PATIENCE, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A command that is under way. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<String>>,
}

impl Running {
    fn new(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (mut out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let seen = Arc::clone(&stderr);
        let readers = vec![
            std::thread::spawn(move || {
                let mut text = String::new();
                out.read_to_string(&mut text).unwrap();
                text
            }),
            std::thread::spawn(move || {
                for line in BufReader::new(err).lines() {
                    let mut seen = seen.lock().unwrap();
                    seen.push_str(&line.unwrap());
                    seen.push('\n');
                }
                String::new()
            }),
        ];
        Self {
            stdin: child.stdin.take(),
            child,
            stderr,
            readers,
        }
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Write a line to its stdin.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// Close its stdin.
    pub(crate) fn tell_no_more(&mut self) {
        self.stdin = None;
    }

    /// Wait until stderr contains a text.
    pub(crate) fn wait_for_stderr(&mut self, text: &str) {
        wait_for(&format!("{text:?} on stderr"), || {
            let seen = self.stderr();
            if seen.contains(text) {
                return Some(());
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "ended with {ended:?} before {text:?}: {seen}"
            );
            None
        });
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal).unwrap();
    }

    /// Wait for its end, and for the end of its output.
    pub(crate) fn finish(mut self) -> Outcome {
        let status: ExitStatus =
            wait_for("the end of the command", || self.child.try_wait().unwrap());
        let mut texts = Vec::new();
        for reader in self.readers.drain(..) {
            texts.push(reader.join().unwrap());
        }
        Outcome {
            code: status.code(),
            stdout: texts.swap_remove(0),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that a person sees, with what changes from run to run taken out.
pub(crate) fn shown(outcome: &Outcome) -> String {
    let mut text = String::new();
    let code = outcome
        .code
        .map_or("by a signal".to_owned(), |c| c.to_string());
    writeln!(text, "exit code: {code}").unwrap();
    for (name, stream) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        writeln!(text, "----- {name} -----").unwrap();
        text.push_str(&crate::tables::settled(stream));
    }
    text
}

/// What takes ports, folders, versions and measured numbers out of a text.
pub(crate) const FILTERS: [(&str, &str); 12] = [
    // what a busy machine adds
    (r"(?m)^Client verdict: .*\n(  .*\n)+", ""),
    (
        r"  - [\d.]+ % of the [^:]*arrived\s+together[^:]*:[^:]*ITL\s+is\s+coarse\n",
        "",
    ),
    (
        r"  - in [\d.]+ % of\s+the\s+streams[^:]*:[^:]*of\s+the\s+model\n",
        "",
    ),
    (
        r"Lowest latency: concurrency \d+",
        "Lowest latency: concurrency [N]",
    ),
    (
        r"random seed \d+: repeat this load with `--seed \d+`",
        "random seed [SEED]: repeat this load with `--seed [SEED]`",
    ),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
    (r"(/private)?/[\w/.-]*/\.tmp\w+", "[FOLDER]"),
    (r"onnection refused \(os error \d+\)", "onnection refused"),
    (r"evalscope \d+\.\d+\.\d+", "evalscope [VERSION]"),
    (r"\d[\d,]*\.\d+ ?(ms|s|req/s|tok/s)\b", "[NUMBER] $1"),
    (r"trusted certificates: .*", "trusted certificates: [WHERE]"),
    (r"\d+ receive threads?", "[N] receive threads"),
];

/// Compare what a command shows with what is on record.
macro_rules! perf_snapshot {
    ($name:expr, $outcome:expr) => {
        insta::with_settings!({
            filters => $crate::context::FILTERS.to_vec(),
            omit_expression => true,
        }, {
            insta::assert_snapshot!($name, $crate::context::shown(&$outcome));
        })
    };
}
pub(crate) use perf_snapshot;
