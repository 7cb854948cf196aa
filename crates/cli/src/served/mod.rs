//! Owns the server of `--api local` and `--api local_vllm`: a program on this machine that serves a
//! model during the command. It is started, waited for, watched and ended here.
//!
//! It must not know flags beyond [`plan`], nor what is measured. `supervise` ends the process tree,
//! `program` knows the arguments.

mod family;
mod gpu;
mod program;
pub(crate) mod simulator;
mod supervise;
mod tail;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use evalscope_core::engine::RunControl;
use evalscope_hub::Source;
use evalscope_model::time::{RunClock, Timestamp};
use evalscope_plugin::withhold;
use tokio_util::sync::CancellationToken;

use self::gpu::MemoryWatch;
use self::program::{Program, Transformers, Vllm};
use self::tail::Tail;
use crate::catalog::apis::Serves;
use crate::env::Environment;
use crate::failure::hinted;
use crate::flags::server::ServerArgs;
use crate::log::Log;
use crate::secrets;
use crate::wait;

pub(crate) use program::HOST;
pub(crate) use supervise::{SuperviseArgs, run as supervise};

/// What the program writes goes to this file of the invocation's folder.
const LOG: &str = "server.log";

/// Pause between two looks at a server that is starting.
const LOOK: Duration = Duration::from_millis(100);

/// How often the person hears that it is still starting.
const WORD: Duration = Duration::from_secs(10);

/// How long the rest of an answer about readiness may be silent, and how long it may be.
const REST_LIMIT: Duration = Duration::from_millis(200);
const HEALTH_BYTES: u64 = 64 * 1024;

/// How long a look may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How long after failed requests the news of the server's end may come.
const NEWS: Duration = Duration::from_millis(500);

/// When the person hears that the end of the server is waited for.
const WORD_OF_END: Duration = Duration::from_secs(1);

/// Keys that the server needs itself, to fetch its model. It asks for none in requests.
const ITS_KEYS: [&str; 4] = [
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "MODELSCOPE_API_TOKEN",
    "MODELSCOPE_SDK_TOKEN",
];

/// What is to be served, and how.
#[derive(Debug)]
pub(crate) struct ServePlan {
    program: Box<dyn Program>,
    /// Its file.
    executable: PathBuf,
    port: u16,
    /// How long it may take to be ready.
    patience: Duration,
    /// `CUDA_VISIBLE_DEVICES`.
    visible_gpus: Option<String>,
    /// The tool that reports GPUs, if installed.
    gpu_tool: Option<PathBuf>,
    /// Secrets that the server may print.
    secrets: Vec<String>,
}

/// What the flags ask to be served; `None` if the command does not start a server.
pub(crate) fn plan(
    server: &ServerArgs,
    model: &str,
    hub: Option<Source>,
    headers: &[(String, String)],
    environment: &Environment,
) -> anyhow::Result<Option<ServePlan>> {
    let (model, trust) = (model.to_owned(), server.trust_remote_code);
    let program: Box<dyn Program> = match server.api.serves() {
        Serves::Transformers => Box::new(Transformers {
            model,
            attention: server.attn_implementation,
            trust,
        }),
        Serves::Vllm => Box::new(Vllm {
            model,
            modelscope: hub == Some(Source::ModelScope),
            trust,
        }),
        Serves::Elsewhere | Serves::Simulator => return Ok(None),
    };
    let (python, path) = (environment.python.as_deref(), environment.path.as_deref());
    let name = program.name();
    let Some(executable) = program::find(name, python, path) else {
        let python = python.map_or_else(String::new, |python| format!(" nor next to {python}"));
        return Err(hinted(
            format!(
                "`{name}`, which serves the model, is not installed: it is not in PATH{python}"
            ),
            program.installation(),
        ));
    };
    Ok(Some(ServePlan {
        program,
        executable,
        port: server.port,
        patience: Duration::from_secs_f64(server.server_start_timeout),
        visible_gpus: environment.visible_gpus.clone(),
        gpu_tool: program::find(gpu::TOOL, None, path),
        secrets: secrets_of(server, headers, environment),
    }))
}

/// What the server may have from our environment or from requests.
fn secrets_of(
    server: &ServerArgs,
    headers: &[(String, String)],
    environment: &Environment,
) -> Vec<String> {
    let headers = headers.iter();
    let words = headers.flat_map(|(name, value)| secrets::of_header(name, value));
    let secrets = environment
        .secrets
        .iter()
        .chain(&server.api_key)
        .map(|secret| secret.trim().to_owned())
        .chain(words)
        .collect();
    let mut secrets = secrets::telling(secrets);
    // one may begin with another
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

impl ServePlan {
    /// The model, as requests have to name it.
    pub(crate) fn model(&self) -> String {
        self.program.model()
    }

    /// Find out that the port is taken before a model is loaded for minutes.
    pub(crate) fn check_port(&self) -> anyhow::Result<()> {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)) {
            Ok(_) => Ok(()),
            Err(error) => Err(hinted(
                format!(
                    "cannot serve the model on port {} of {HOST}: {error}",
                    self.port
                ),
                "stop the program that uses the port, or give another `--port`",
            )),
        }
    }
}

/// A server that was started here. Dropping it ends the server with all processes it has started.
#[derive(Debug)]
pub(crate) struct Served {
    name: &'static str,
    supervisor: Child,
    /// The server ends when this pipe is closed, even if this process is killed.
    lifeline: Option<ChildStdin>,
    listener: Option<JoinHandle<()>>,
    /// How it ended.
    ended: Arc<OnceLock<String>>,
    /// Cancelled when that is known.
    heard: CancellationToken,
    /// What it said.
    said: Tail,
    log: Log,
    memory: Option<MemoryWatch>,
}

impl Served {
    /// Start the server and wait until it is ready, or until the person stops it.
    pub(crate) fn start(
        plan: &ServePlan,
        folder: &Path,
        control: &RunControl,
        log: &Log,
    ) -> anyhow::Result<Self> {
        let mut served = Self::spawn(plan, folder, control, log)?;
        let group = served.listen(control)?;
        if let (Some(tool), Some(group)) = (&plan.gpu_tool, group) {
            served.memory = Some(MemoryWatch::start(
                tool.clone(),
                served.supervisor.id(),
                group,
            ));
        }
        served.await_readiness(plan, control)?;
        Ok(served)
    }

    fn spawn(
        plan: &ServePlan,
        folder: &Path,
        control: &RunControl,
        log: &Log,
    ) -> anyhow::Result<Self> {
        let log_path = folder.join(LOG);
        let output = File::create(&log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        let stopped = || control.stop.is_cancelled();
        let gpus = gpu::count(
            plan.visible_gpus.as_deref(),
            plan.gpu_tool.as_deref(),
            &stopped,
        );
        let arguments = plan.program.arguments(plan.port, gpus);
        log.info(&format!(
            "starting `{} {}`; its output goes to {}",
            plan.program.name(),
            arguments.join(" "),
            log_path.display()
        ));
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(own);
        command
            .args(["__supervise", "--"])
            .arg(&plan.executable)
            .args(arguments)
            .envs(plan.program.environment())
            // the last words of a program that dies would stay in its buffer
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output);
        // it may print its environment
        withhold(&mut command, &ITS_KEYS);
        // Ctrl-C in a terminal goes to the whole process group; the server must
        // outlive it while requests drain
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut supervisor = command
            .spawn()
            .context("cannot start the process that supervises the server")?;
        Ok(Self {
            name: plan.program.name(),
            lifeline: supervisor.stdin.take(),
            supervisor,
            listener: None,
            ended: Arc::default(),
            heard: CancellationToken::new(),
            said: Tail::new(log_path, plan.secrets.clone()),
            log: log.clone(),
            memory: None,
        })
    }

    /// Hear from the supervisor: at first the process group, and later the end, which stops the run.
    fn listen(&mut self, control: &RunControl) -> anyhow::Result<Option<u32>> {
        let said = self.supervisor.stdout.take();
        let mut said = BufReader::new(said.expect("it was asked for a pipe"));
        let mut line = String::new();
        said.read_line(&mut line)
            .context("cannot read the output of the server's supervisor")?;
        if let Some(why) = line.strip_prefix(supervise::FAILED) {
            anyhow::bail!("`{}` cannot be started: {}", self.name, why.trim());
        }
        let group = line.strip_prefix(supervise::STARTED);
        let group = group.and_then(|group| group.trim().parse().ok());
        let (ended, heard) = (Arc::clone(&self.ended), self.heard.clone());
        let stop = control.stop.clone();
        let listen = move || {
            let mut line = String::new();
            let _ = said.read_line(&mut line);
            let how = line.strip_prefix(supervise::ENDED).map(str::trim);
            // the supervisor ends first only if somebody kills it
            let how = how.unwrap_or("its supervisor is gone");
            // set the reason before the stop
            let _ = ended.set(how.to_owned());
            heard.cancel();
            stop.cancel();
        };
        let thread = std::thread::Builder::new().name("evalscope-served".to_owned());
        let thread = thread
            .spawn(listen)
            .context("cannot start the thread that watches the server")?;
        self.listener = Some(thread);
        Ok(group)
    }

    fn await_readiness(&self, plan: &ServePlan, control: &RunControl) -> anyhow::Result<()> {
        let clock = RunClock::start();
        let mut next_word = WORD;
        loop {
            if let Some(how) = self.ended.get() {
                return Err(hinted(
                    format!(
                        "`{}` ended before it was ready: {how}{}",
                        self.name,
                        self.said.shown()
                    ),
                    self.said.advice(),
                ));
            }
            if control.stop.is_cancelled() {
                return Ok(());
            }
            let waited = clock.now().since(Timestamp::ZERO);
            if is_ready(plan.port) {
                self.log.info(&format!(
                    "`{}` is ready after {:.1} s",
                    self.name,
                    waited.as_secs_f64()
                ));
                return Ok(());
            }
            if waited >= plan.patience {
                return Err(hinted(
                    format!(
                        "`{}` is not ready after {} s{}",
                        self.name,
                        plan.patience.as_secs_f64(),
                        self.said.shown()
                    ),
                    "`--server-start-timeout SECONDS` gives it more time",
                ));
            }
            if waited >= next_word {
                next_word += WORD;
                let last = self.said.last_line();
                let last = last.map_or_else(String::new, |line| format!("; last output: {line}"));
                self.log.info(&format!(
                    "`{}` is starting: {} s of at most {}{last}",
                    self.name,
                    waited.as_secs(),
                    plan.patience.as_secs_f64()
                ));
            }
            // the end of the server is a stop too
            wait::stopped_within(&control.stop, LOOK);
        }
    }

    /// How the server ended, if it did. After failed requests the news is waited for a little: it
    /// takes longer than a refused connection.
    pub(crate) fn end(&self, after_failures: bool) -> Option<&str> {
        if after_failures {
            wait::stopped_within(&self.heard, NEWS);
        }
        self.ended.get().map(String::as_str)
    }

    /// The end of the server as an error, if it has ended.
    pub(crate) fn error(&self, after_failures: bool) -> Option<anyhow::Error> {
        let how = self.end(after_failures)?;
        Some(anyhow::anyhow!(
            "`{}`: {how}{}",
            self.name,
            self.said.shown()
        ))
    }

    /// An error of a request that it has answered itself: what is behind it stands in its log.
    pub(crate) fn blamed(&self, error: anyhow::Error) -> anyhow::Error {
        error.context(format!(
            "`{}` is running, but cannot be used ({})",
            self.name,
            self.said.advice()
        ))
    }

    /// The most memory of GPUs that it was seen to have, MiB; 0 for nothing.
    pub(crate) fn peak_gpu_mib(&self) -> Option<Arc<AtomicU64>> {
        let memory = self.memory.as_ref()?;
        Some(Arc::clone(&memory.peak_mib))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.memory = None;
        drop(self.lifeline.take());
        let (log, name) = (&self.log, self.name);
        let say = || {
            let most = supervise::GRACE.as_secs();
            log.info(&format!("waiting for `{name}` to end, {most} s at most"));
        };
        // the supervisor needs no deadline from here: it has its own, and what it ends must be gone
        let _ = wait::saying_after(WORD_OF_END, say, || self.supervisor.wait());
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

/// Whether the server says that it is ready. Not the engine's transport: nothing is measured here.
fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        let request =
            format!("GET /health HTTP/1.1\r\nhost: {HOST}:{port}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        // to the end: some servers log a traceback if the client closes early
        stream.set_read_timeout(Some(REST_LIMIT))?;
        let _ = std::io::copy(&mut stream.take(HEALTH_BYTES), &mut std::io::sink());
        Ok(head.starts_with(b"HTTP/1.") && head.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}
