//! Owns the process of a plugin: it is started in a group of its own, what it
//! says on stderr is kept, and it is ended however its owner ends.
//!
//! It must not know what goes over its pipes.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evalscope_model::time::RunClock;

/// By these, a program that calls the tool asks for things. Nothing that the tool starts is
/// given them: it might take them for its own, as another run of the tool would.
const CALLER_VARIABLES: [&str; 3] = [
    "EVALSCOPE_ERROR_FILE",
    "EVALSCOPE_RESULT_PATH_FILE",
    "EVALSCOPE_EXIT_WITH_PARENT",
];

/// Variables with keys and tokens: those that this program, its trackers and the servers it starts
/// read, and those in which keys of well-known providers stand. Nothing that the tool starts is
/// given them, but for what it cannot do without: a plugin, a tracker's library or a server is the
/// code of others, and may print its environment.
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

/// Keep from a program that is about to be started what is not its business: what the caller of
/// this one asks for, and every secret but the `needed` ones.
pub fn withhold(command: &mut Command, needed: &[&str]) {
    let secrets = SECRET_VARIABLES
        .into_iter()
        .filter(|name| !needed.contains(name));
    for name in CALLER_VARIABLES.into_iter().chain(secrets) {
        command.env_remove(name);
    }
}

/// Lines of stderr that are kept.
const KEPT_LINES: usize = 20;
/// Longest piece of a line of stderr: a plugin may print without an end.
const LINE_BYTES: u64 = 4096;
/// How long a plugin may take to end by itself once its input has ended.
const GRACE: Duration = Duration::from_secs(2);
/// How long it may take after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// How long the last words of a process that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Takes lines of stderr, one at a time.
pub type Listener = Box<dyn Fn(&str) + Send>;

/// A running plugin. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    clock: RunClock,
    status: Option<ExitStatus>,
    said: Arc<Said>,
    /// It does not react: nothing is gained by waiting for it.
    pub(crate) hung: bool,
}

/// What a process says on stderr.
#[derive(Debug, Default)]
struct Said {
    lines: Mutex<VecDeque<String>>,
    over: AtomicBool,
}

/// Both ends of the pipes to a process.
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
}

impl Process {
    /// Start a program; `words` begin with it.
    /// `environment` is added to this process's own, of which secrets are left out.
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
        // Ctrl-C in a terminal goes to the whole group, and requests drain after
        // it; what the plugin starts itself is ended with it
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let said = Arc::new(Said::default());
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.expect("both were asked for");
        let stderr = child.stderr.take().expect("it was asked for");
        // from here on, dropping it ends the child
        let process = Self {
            child,
            clock: RunClock::start(),
            status: None,
            said: Arc::clone(&said),
            hung: false,
        };
        std::thread::Builder::new()
            .name("evalscope-plugin-stderr".to_owned())
            .spawn(move || said.listen(stderr, &listener))?;
        Ok((process, Pipes { stdin, stdout }))
    }

    /// How it ended, if it does within a time.
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

    /// How it ended and its last words, where its output has ended.
    pub(crate) fn last_words(&mut self) -> (Option<ExitStatus>, Vec<String>) {
        let until = self.clock.now().after(LAST_WORDS);
        let status = self.ended_within(LAST_WORDS);
        while !self.said.over.load(Ordering::Acquire) && self.clock.now() < until {
            std::thread::park_timeout(LOOK);
        }
        (status, self.stderr())
    }

    /// The last lines that it said.
    pub(crate) fn stderr(&self) -> Vec<String> {
        let lines = self.said.lines.lock();
        lines.map_or_else(|_| Vec::new(), |lines| lines.iter().cloned().collect())
    }

    /// End it: it has heard that its input is over.
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

    /// Ask the whole group to end, or make it.
    #[cfg(unix)]
    fn signal(&mut self, kill: bool) {
        use nix::sys::signal::{Signal, killpg};
        use nix::unistd::Pid;
        let signal = if kill {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        };
        // it leads its group, and has not been waited for: the number is still its own
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
        self.over.store(true, Ordering::Release);
    }
}
