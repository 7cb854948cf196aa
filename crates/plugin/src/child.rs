//! Owns the process of a plugin: it is started in its own process group, its stderr is kept, and it
//! is ended however its owner ends.
//!
//! It must not know what is sent through its pipes.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evalscope_model::time::RunClock;

/// Variables by which a calling program controls this tool. No child receives them: it might act on
/// them, as another run of this tool would.
const CALLER_VARIABLES: [&str; 3] = [
    "EVALSCOPE_ERROR_FILE",
    "EVALSCOPE_RESULT_PATH_FILE",
    "EVALSCOPE_EXIT_WITH_PARENT",
];

/// Variables with keys and tokens: those read by this program, its trackers and the servers it
/// starts, and those of well-known providers. A child receives only those it needs: a plugin, a
/// tracker's library or a server is third-party code, and may print its environment.
pub const SECRET_VARIABLES: [&str; 36] = [
    "ANTHROPIC_API_KEY",
    "ARK_API_KEY",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "CLEARML_API_ACCESS_KEY",
    "CLEARML_API_SECRET_KEY",
    "CLEARML_AUTH_TOKEN",
    "COHERE_API_KEY",
    "DASHSCOPE_API_KEY",
    "DEEPSEEK_API_KEY",
    "EVALSCOPE_API_KEY",
    "EVALSCOPE_HEADERS",
    "FIREWORKS_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GROQ_API_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "MINIMAX_API_KEY",
    "MISTRAL_API_KEY",
    "MODELSCOPE_API_TOKEN",
    "MODELSCOPE_SDK_TOKEN",
    "MOONSHOT_API_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "SWANLAB_API_KEY",
    "TOGETHER_API_KEY",
    "VLLM_API_KEY",
    "WANDB_API_KEY",
    "XAI_API_KEY",
    "ZAI_API_KEY",
    "ZHIPUAI_API_KEY",
    "ZHIPU_API_KEY",
];

/// Hide from a program that is about to be started what is not its business: the options of our
/// caller, and every secret except the `needed` ones.
pub fn withhold(command: &mut Command, needed: &[&str]) {
    let secrets = SECRET_VARIABLES
        .into_iter()
        .filter(|name| !needed.contains(name));
    for name in CALLER_VARIABLES.into_iter().chain(secrets) {
        command.env_remove(name);
    }
}

/// Number of stderr lines kept.
const KEPT_LINES: usize = 20;
/// Maximum length of a stderr line: a plugin may print endlessly.
const LINE_BYTES: u64 = 4096;
/// How long a plugin may take to exit by itself once its input has ended.
const GRACE: Duration = Duration::from_secs(2);
/// How long it may take after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// How long to wait for the last output of a process that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often a process is polled.
const LOOK: Duration = Duration::from_millis(2);

/// Receives lines of stderr, one at a time.
pub type Listener = Box<dyn Fn(&str) + Send>;

/// A running plugin. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    clock: RunClock,
    status: Option<ExitStatus>,
    said: Arc<Said>,
    /// Disconnected when its stderr has ended.
    said_all: Receiver<()>,
    /// It does not respond: there is no point in waiting for it.
    pub(crate) hung: bool,
}

/// The stderr of a process.
#[derive(Debug, Default)]
struct Said {
    lines: Mutex<VecDeque<String>>,
}

/// Our ends of the pipes to a process.
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
}

impl Process {
    /// Start a program; `words` start with it. `environment` is added to this process's own,
    /// without its secrets.
    pub(crate) fn start(
        words: &[String],
        environment: &[(String, String)],
        listener: Listener,
    ) -> io::Result<(Self, Pipes)> {
        let mut command = Command::new(&words[0]);
        withhold(&mut command, &[]);
        command
            .args(&words[1..])
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Ctrl-C in a terminal goes to the whole group, but requests drain after it; whatever the
        // plugin itself starts is ended with it
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let said = Arc::new(Said::default());
        let (saying, said_all) = sync_channel(0);
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.expect("both are piped");
        let stderr = child.stderr.take().expect("it is piped");
        // from here on, dropping it ends the child
        let process = Self {
            child,
            clock: RunClock::start(),
            status: None,
            said: Arc::clone(&said),
            said_all,
            hung: false,
        };
        std::thread::Builder::new()
            .name("evalscope-plugin-stderr".to_owned())
            .spawn(move || {
                said.listen(stderr, &listener);
                drop(saying);
            })?;
        Ok((process, Pipes { stdin, stdout }))
    }

    /// Its exit status, if it ends within this time.
    pub(crate) fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let until = self.clock.now().after(time);
        loop {
            if self.status.is_none() {
                self.status = self.child.try_wait().ok().flatten();
            }
            if self.status.is_some() || self.clock.now() >= until {
                return self.status;
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Its exit status and its last output, if its output has ended.
    pub(crate) fn last_words(&mut self) -> (Option<ExitStatus>, Vec<String>) {
        let until = self.clock.now().after(LAST_WORDS);
        let status = self.ended_within(LAST_WORDS);
        let left = until.since(self.clock.now());
        // nothing is ever sent: the thread that listens ends, or the time is over
        let _ = self.said_all.recv_timeout(left);
        (status, self.stderr())
    }

    /// The last lines of its stderr.
    pub(crate) fn stderr(&self) -> Vec<String> {
        let lines = self.said.lines.lock();
        lines.map_or_else(|_| Vec::new(), |lines| lines.iter().cloned().collect())
    }

    /// End it; its input has already been closed.
    pub(crate) fn end(&mut self) {
        let grace = if self.hung { Duration::ZERO } else { GRACE };
        if self.ended_within(grace).is_some() {
            return;
        }
        self.signal(false);
        if self.ended_within(TERM_GRACE).is_some() {
            return;
        }
        self.signal(true);
        self.status = self.child.wait().ok();
    }

    /// Terminate the whole group, gently or by force.
    #[cfg(unix)]
    fn signal(&mut self, kill: bool) {
        use nix::sys::signal::{Signal, killpg};
        use nix::unistd::Pid;
        let signal = if kill {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        };
        // it leads its group, and has not been waited for: the id is still its own
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }

    #[cfg(not(unix))]
    fn signal(&mut self, _kill: bool) {
        let _ = self.child.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl Said {
    fn listen(&self, stderr: ChildStderr, listener: &Listener) {
        let mut reader = BufReader::new(stderr);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match reader
                .by_ref()
                .take(LINE_BYTES)
                .read_until(b'\n', &mut bytes)
            {
                Ok(n) if n > 0 => {}
                _ => break,
            }
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end();
            if let Ok(mut lines) = self.lines.lock() {
                if lines.len() == KEPT_LINES {
                    lines.pop_front();
                }
                lines.push_back(line.to_owned());
            }
            listener(line);
        }
    }
}
