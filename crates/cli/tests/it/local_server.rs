//! `--api local` and `--api local_vllm` with stand-ins for the programs: shell scripts that note their
//! arguments and become the simulated server, or misbehave.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::context::{Context, no_secret_like, wait_for};
use crate::supervise::{is_alive, wait_for_pid};

/// What finds the port among the arguments.
const PORT: &str = r#"
echo "$@" > args
echo $$ > pid
while [ $# -gt 0 ]; do
  if [ "$1" = --port ]; then port=$2; fi
  shift
done
"#;

/// A good server.
const SERVE: &str = "exec \"$SIM\" sim --port $port --ttft-ms 1 --itl-ms 1\n";

/// A folder with a program on PATH, and a free port.
struct Stage {
    context: Context,
    port: String,
}

impl Stage {
    fn new(program: &str, script: &str) -> Self {
        let stage = Self::empty();
        stage.install("bin", program, &format!("#!/bin/sh\n{PORT}{script}"));
        stage
    }

    /// Without any program.
    fn empty() -> Self {
        let context = Context::new();
        let path = format!("{}:/bin:/usr/bin", context.path().join("bin").display());
        let context = context
            .with_env("PATH", &path)
            .with_env("SIM", env!("CARGO_BIN_EXE_evalscope"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        Self { context, port }
    }

    fn install(&self, folder: &str, program: &str, script: &str) -> PathBuf {
        let folder = self.context.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(program);
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        file
    }

    fn args<'a>(&'a self, api: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["--api", api, "--port", &self.port];
        all.extend(["--model", "models/tiny", "--prompt", "hello"]);
        all.extend(["--max-tokens", "8"]);
        all.extend(more);
        all
    }

    fn noted(&self, file: &str) -> String {
        let text = std::fs::read_to_string(self.context.path().join(file));
        text.unwrap().trim().to_owned()
    }

    fn assert_gone(&self) {
        let server = wait_for_pid(&self.context.path().join("pid"));
        assert!(!is_alive(server), "the server is still there");
        let address = format!("127.0.0.1:{}", self.port);
        TcpStream::connect(address).expect_err("nobody listens any more");
    }
}

#[test]
fn a_model_is_served_for_the_length_of_the_command() {
    let script = format!("echo loading >&2\nsleep 0.3\n{SERVE}");
    let stage = Stage::new("transformers", &script);
    let args = stage.args(
        "local",
        &[
            "--number",
            "4",
            "--parallel",
            "2",
            "--attn-implementation",
            "sdpa",
        ],
    );
    let outcome = stage.context.measure(&args);
    let want = format!(
        "serve models/tiny --host 127.0.0.1 --port {} --attn-implementation sdpa",
        stage.port
    );
    assert_eq!(stage.noted("args"), want);
    let run = &stage.context.result()["runs"][0];
    assert_eq!(run["counts"]["succeeded"], 4);
    assert_eq!(run["state"], "finished");
    let url = format!(
        "api local, http://127.0.0.1:{}/v1/chat/completions",
        stage.port
    );
    assert!(outcome.stderr.contains(&url), "{}", outcome.stderr);
    assert!(
        stage
            .context
            .bodies()
            .iter()
            .all(|body| body["model"] == "models/tiny")
    );
    let log = stage.context.top().join("server.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.starts_with("loading\n"), "{log}");
    assert!(
        outcome.stderr.contains("`transformers` is ready after"),
        "{}",
        outcome.stderr
    );
    stage.assert_gone();
}

#[test]
fn vllm_gets_the_reference_tools_settings() {
    let stage = Stage::new("vllm", &format!("env > environment\n{SERVE}"));
    stage.install("bin", "nvidia-smi", &gpu_tool(""));
    let args = stage.args(
        "local_vllm",
        &[
            "--number",
            "4",
            "--url",
            "http://h:1/v1",
            "--no-apply-chat-template",
        ],
    );
    let outcome = stage.context.measure(&args);
    let want = format!(
        "serve models/tiny --served-model-name models/tiny --host 127.0.0.1 --port {} \
         --max-model-len 32768 --gpu-memory-utilization 0.9 --tensor-parallel-size 2",
        stage.port
    );
    assert_eq!(stage.noted("args"), want);
    let environment = stage.noted("environment");
    for variable in ["VLLM_ALLOW_LONG_MAX_MODEL_LEN=1", "PYTHONUNBUFFERED=1"] {
        assert!(
            environment.lines().any(|line| line == variable),
            "{environment}"
        );
    }
    assert!(
        outcome
            .stderr
            .contains("`--api local_vllm` starts its own server: the URL http://h:1/v1 is ignored"),
        "{}",
        outcome.stderr
    );
    let url = format!("http://127.0.0.1:{}/v1/completions\n", stage.port);
    assert!(outcome.stderr.contains(&url), "{}", outcome.stderr);
    stage.assert_gone();
}

/// Tells of two GPUs, and runs a piece of a script when it is asked for the memory of processes. `$n`
/// is the number of the question, and `$pid` that of the server.
fn gpu_tool(memory: &str) -> String {
    format!(
        "#!/bin/sh\nif [ \"$1\" = --list-gpus ]; then\n\
         echo 'GPU 0: A (UUID: GPU-1)'; echo 'GPU 1: A (UUID: GPU-2)'; exit\nfi\n\
         while [ ! -s pid ]; do sleep 0.01; done; read pid < pid\n\
         echo asked >> asked; n=$(wc -l < asked)\n{memory}\n"
    )
}

/// A server that is not ready before the tool has been asked so many times.
fn ready_after(questions: u32) -> String {
    format!(
        "while ! [ -e asked ] || [ $(wc -l < asked) -lt {questions} ]; do sleep 0.01; done\n{SERVE}"
    )
}

#[test]
fn memory_of_gpus_is_the_most_that_the_server_and_its_workers_had() {
    let worker = if cfg!(target_os = "linux") {
        // as worker processes do: nobody's child, in a session of its own
        "(setsid sh -c 'echo $$ > worker; exec sleep 1000' &)"
    } else {
        "sleep 1000 & echo $! > worker"
    };
    let script = format!(
        "{worker}\nwhile [ ! -s worker ]; do sleep 0.01; done\n{}",
        ready_after(2)
    );
    let stage = Stage::new("vllm", &script);
    // two GPUs have memory of the server; the load generator and the first process have some, too
    let smi = gpu_tool(
        "while [ ! -s worker ]; do sleep 0.01; done; read worker < worker\n\
         if [ $n -gt 1 ]; then echo \"$pid, 16\"; exit; fi\n\
         echo \"$pid, 1024\"; echo \"$pid, 1024\"; echo \"$worker, 512\"\n\
         echo \"$PPID, 4096\"; echo '1, 99999'\n\
         echo \"$pid, [N/A]\"; echo \"$worker, [Insufficient Permissions]\"",
    );
    stage.install("bin", "nvidia-smi", &smi);
    let more = ["--dataset", "speed_benchmark", "--number", "2"];
    let base = ["--api", "local_vllm", "--port", &stage.port];
    let model = ["--model", "models/tiny", "--max-tokens", "8"];
    let outcome = stage.context.measure(&[&base[..], &model, &more].concat());
    let memory = stage
        .context
        .column::<f64>("SELECT DISTINCT max_gpu_memory_cost FROM result");
    assert_eq!(memory, [2.5]);
    let speeds = stage.context.run_folder().join("speed_benchmark.json");
    let speeds = crate::context::json(&speeds);
    assert_eq!(speeds[0]["GPU Memory(GB)"], 2.5, "{speeds}");
    let line = "Most GPU memory taken: 2.5";
    assert!(outcome.stdout.contains(line), "{}", outcome.stdout);
    stage.assert_gone();
}

#[test]
fn a_gpu_tool_that_hangs_costs_the_memory_and_nothing_else() {
    let stage = Stage::new("vllm", &ready_after(1));
    let smi = gpu_tool("echo $$ > tool; exec sleep 1000");
    stage.install("bin", "nvidia-smi", &smi);
    let args = stage.args("local_vllm", &["--number", "4"]);
    stage.context.measure(&args);
    let memory = stage
        .context
        .column::<Option<f64>>("SELECT DISTINCT max_gpu_memory_cost FROM result");
    assert_eq!(memory, [None]);
    let tool = wait_for_pid(&stage.context.path().join("tool"));
    assert!(!is_alive(tool), "the tool is still there");
    stage.assert_gone();
}

#[test]
fn visible_gpus_are_counted() {
    for (visible, want) in [("0,1,2", Some("3")), ("", None)] {
        let stage = Stage::new("vllm", "exit 1");
        let context = stage.context;
        let stage = Stage {
            context: context.with_env("CUDA_VISIBLE_DEVICES", visible),
            port: stage.port,
        };
        let args = stage.args("local_vllm", &["--trust-remote-code"]);
        let outcome = stage.context.perf(&args);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        let noted = stage.noted("args");
        let size = noted.split("--tensor-parallel-size ").nth(1);
        let size = size.map(|rest| rest.split(' ').next().unwrap());
        assert_eq!(size, want, "{noted}");
        assert!(noted.ends_with(" --trust-remote-code"), "{noted}");
    }
}

#[test]
fn a_program_beside_the_named_python() {
    let stage = Stage::empty();
    let script = format!("#!/bin/sh\n{PORT}{SERVE}");
    let program = stage.install("venv/bin", "transformers", &script);
    let python = program.with_file_name("python");
    let Stage { context, port } = stage;
    let stage = Stage {
        context: context.with_env("EVALSCOPE_PYTHON", python.to_str().unwrap()),
        port,
    };
    stage
        .context
        .measure(&stage.args("local", &["--number", "1"]));
    stage.assert_gone();
}

#[test]
fn what_is_not_installed_is_named() {
    let stage = Stage::empty();
    for (api, want) in [
        ("local", "hint: pip install 'transformers[serving]'"),
        ("local_vllm", "hint: pip install vllm"),
    ] {
        let outcome = stage.context.perf(&stage.args(api, &[]));
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(outcome.stderr.contains("is not installed"), "{outcome:#?}");
        assert!(outcome.stderr.contains(want), "{outcome:#?}");
        assert!(!stage.context.top().exists(), "nothing was made");
    }
}

#[test]
fn a_port_that_is_taken() {
    let stage = Stage::new("transformers", SERVE);
    let taken = TcpListener::bind(format!("127.0.0.1:{}", stage.port)).unwrap();
    let outcome = stage.context.perf(&stage.args("local", &[]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let want = format!("cannot serve the model on port {} of 127.0.0.1", stage.port);
    assert!(outcome.stderr.contains(&want), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("another `--port`"));
    assert!(!stage.context.path().join("args").exists(), "not started");
    drop(taken);
}

#[test]
fn attention_is_for_transformers_only() {
    let stage = Stage::new("vllm", SERVE);
    let args = stage.args("local_vllm", &["--attn-implementation", "eager"]);
    let outcome = stage.context.perf(&args);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let want = "`--attn-implementation` has no effect: only `--api local` uses it";
    assert!(outcome.stderr.contains(want), "{}", outcome.stderr);
}

#[test]
fn a_server_that_fails_to_start() {
    let script = "for i in $(seq 40); do echo \"line $i\"; done\n\
                  echo 'please pass trust_remote_code=True'\nexit 3";
    let stage = Stage::new("transformers", script);
    let outcome = stage.context.perf(&stage.args("local", &[]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let stderr = &outcome.stderr;
    for want in [
        "error: `transformers` ended before it was ready: exit status: 3",
        "the last lines of ",
        "    line 40\n    please pass trust_remote_code=True\n",
        "hint: `--trust-remote-code` runs code shipped with the model",
    ] {
        assert!(stderr.contains(want), "{want}: {stderr}");
    }
    assert!(
        !stderr.contains("line 20\n"),
        "only the last ones: {stderr}"
    );
}

#[test]
fn what_a_server_says_is_shown_without_keys_and_escapes() {
    let keys = [
        ("HF_TOKEN", "hf_AbCdEfGhIjKlMnOp"),
        ("HUGGING_FACE_HUB_TOKEN", "hf_ZyXwVuTsRqPoNmLk"),
        ("MODELSCOPE_API_TOKEN", "ms-0123456789abcdef"),
    ];
    let script = "echo \"first $HF_TOKEN and $HUGGING_FACE_HUB_TOKEN\"\n\
                  printf '\\033]0;title\\007\\033[31mred\\033[0m\\b\\n'\n\
                  echo \"then $MODELSCOPE_API_TOKEN, sk-given-on-the-line\"\n\
                  echo 'and secret-of-a-header'\nexit 3";
    let Stage { mut context, port } = Stage::new("transformers", script);
    for (name, key) in keys {
        context = context.with_env(name, key);
    }
    let stage = Stage { context, port };
    let more = [
        "--api-key",
        "sk-given-on-the-line",
        "--headers",
        "X-Token=secret-of-a-header",
    ];
    let outcome = stage.context.perf(&stage.args("local", &more));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let want = "    first *** and ***\n    red\n    then ***, ***\n    and ***\n";
    assert!(outcome.stderr.contains(want), "{}", outcome.stderr);
    // the log itself is the server's, as it wrote it
    std::fs::remove_file(stage.context.top().join("server.log")).unwrap();
    std::fs::remove_dir_all(stage.context.path().join("bin")).unwrap();
    let mut hidden: Vec<&str> = keys.iter().map(|(_, key)| *key).collect();
    hidden.extend(["sk-given-on-the-line", "secret-of-a-header", "\u{1b}"]);
    no_secret_like(&stage.context, &outcome, &hidden);
}

#[test]
fn a_server_that_is_never_ready() {
    let script = "echo still thinking\nsleep 1000 & echo $! > grandchild\nwait";
    let stage = Stage::new("transformers", script);
    let args = stage.args("local", &["--server-start-timeout", "0.5"]);
    let outcome = stage.context.perf(&args);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    for want in [
        "`transformers` is not ready after 0.5 s",
        "    still thinking",
        "--server-start-timeout",
    ] {
        assert!(outcome.stderr.contains(want), "{}", outcome.stderr);
    }
    stage.assert_gone();
    let grandchild = wait_for_pid(&stage.context.path().join("grandchild"));
    assert!(!is_alive(grandchild));
}

#[test]
fn a_start_can_be_interrupted() {
    let stage = Stage::new("transformers", "exec sleep 1000");
    let running = stage.context.start(&stage.args("local", &[]));
    wait_for_pid(&stage.context.path().join("pid"));
    running.signal(Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(outcome.stderr.contains("stopped before any load was sent"));
    stage.assert_gone();
}

#[test]
fn a_server_that_dies_half_way() {
    // the shell lives on to say something when its child has been killed
    let script = "\"$SIM\" sim --port $port --ttft-ms 5 --itl-ms 2 &\necho $! > child\n\
                  wait\necho 'CUDA out of memory'\nexit 4";
    let stage = Stage::new("transformers", script);
    let args = stage.args("local", &["--number", "100000", "--parallel", "4"]);
    let running = stage.context.start(&args);
    let database = stage.context.top();
    let database = database.join("parallel_4_number_100000/benchmark_data.db");
    wait_for("the first rows", || {
        let rows = |path| {
            let query = "SELECT count(*) FROM result";
            crate::context::open(path).query_row(query, [], |row| row.get::<_, i64>(0))
        };
        (database.is_file() && rows(&database).is_ok_and(|rows| rows > 0)).then_some(())
    });
    let child = wait_for_pid(&stage.context.path().join("child"));
    nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    for want in [
        "error: the server ended during the command",
        "`transformers`: exit status: 4",
        "    CUDA out of memory",
        "hint: the measurements are in ",
    ] {
        assert!(outcome.stderr.contains(want), "{want}: {}", outcome.stderr);
    }
    assert!(
        outcome
            .stdout
            .contains("the server ended during the run: exit status: 4"),
        "{}",
        outcome.stdout
    );
    let run = &stage.context.result()["runs"][0];
    assert_eq!(run["state"], "interrupted");
    assert!(run["counts"]["succeeded"].as_i64().unwrap() > 0);
    stage.assert_gone();
}

#[test]
fn a_server_that_dies_of_the_test_request() {
    // ready once, and then gone
    let script = "\"$SIM\" sim --port $port --ttft-ms 10000 &\nsleep 1\nkill -9 $!\n\
                  echo bang\nexit 5";
    let stage = Stage::new("vllm", script);
    let outcome = stage.context.perf(&stage.args("local_vllm", &[]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    for want in [
        "error: the server ended during the test request",
        "`vllm`: exit status: 5",
        "    bang",
    ] {
        assert!(outcome.stderr.contains(want), "{want}: {}", outcome.stderr);
    }
}

#[test]
fn a_server_that_refuses_the_test_request_points_to_its_log() {
    let script = "echo 'the worker failed'\nexec \"$SIM\" sim --port $port --fault http-500\n";
    let stage = Stage::new("vllm", script);
    let outcome = stage.context.perf(&stage.args("local_vllm", &[]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    for want in [
        "error: `vllm` is running, but cannot be used (its output is in outputs/run/server.log)\n",
        "  caused by: the test request failed: ",
        "(500)",
    ] {
        assert!(outcome.stderr.contains(want), "{want}: {}", outcome.stderr);
    }
    stage.assert_gone();
}

#[test]
fn however_the_command_is_ended_the_server_goes_too() {
    for (signals, code) in [
        (&[Signal::SIGTERM][..], Some(130)),
        (&[Signal::SIGINT, Signal::SIGINT], Some(130)),
        (&[Signal::SIGKILL], None),
    ] {
        let leaver = if cfg!(target_os = "linux") {
            "(setsid sh -c 'echo $$ > leaver; exec sleep 1000' &)"
        } else {
            "sleep 1000 & echo $! > leaver"
        };
        let script = format!(
            "sleep 1000 & echo $! > grandchild\n{leaver}\n\
             \"$SIM\" sim --port $port --ttft-ms 1 --itl-ms 20 & wait"
        );
        let stage = Stage::new("transformers", &script);
        let args = stage.args("local", &["--number", "100000"]);
        let mut running = stage.context.start(&args);
        running.wait_for_stderr("100000 requests, 1 in flight");
        for signal in signals {
            running.signal(*signal);
            if signals.len() > 1 {
                running.wait_for_stderr("stopping: no more requests are sent");
            }
        }
        let outcome = running.finish();
        assert_eq!(outcome.code, code, "{outcome:#?}");
        let all = ["grandchild", "leaver", "pid"];
        let all = all.map(|file| wait_for_pid(&stage.context.path().join(file)));
        wait_for("the end of all that was started", || {
            (!all.into_iter().any(is_alive)).then_some(())
        });
    }
}
