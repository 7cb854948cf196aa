//! Keys and passwords: who is given them, and that they show nowhere.

use std::os::unix::fs::PermissionsExt;

use crate::context::{Context, no_secret_like};
use crate::server::{Recorder, good, refusal};

/// A variable for each secret of the environment, with a value of its own.
const VARIABLES: [&str; 10] = [
    "EVALSCOPE_API_KEY",
    "EVALSCOPE_HEADERS",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "MODELSCOPE_API_TOKEN",
    "OPENAI_API_KEY",
    "DASHSCOPE_API_KEY",
    "ZHIPUAI_API_KEY",
    "WANDB_API_KEY",
    "SWANLAB_API_KEY",
];

fn with_secrets(mut context: Context) -> Context {
    for name in VARIABLES {
        context = context.with_env(name, &format!("X-Is=secret-of-{name}"));
    }
    context
}

/// Those of the variables that stand in a file of `NAME=VALUE`.
fn seen(context: &Context, file: &str) -> Vec<&'static str> {
    let text = std::fs::read_to_string(context.path().join(file)).unwrap();
    assert!(text.contains("PATH="), "{text}");
    VARIABLES
        .into_iter()
        .filter(|name| text.contains(&format!("secret-of-{name}")))
        .collect()
}

/// Prints its environment into a file, and then has no prompt.
const TELLS: &str = r#"
import json, os, sys
with open("environment", "w") as file:
    file.writelines(f"{name}={value}\n" for name, value in os.environ.items())
for line in sys.stdin:
    request = json.loads(line)
    result = {"hello": {"protocol": 1, "name": "tells"}, "next": {"items": [{"text": "p"}], "end": True}}
    answer = {"id": request["id"], "result": result.get(request["method"], {})}
    print(json.dumps(answer), flush=True)
"#;

#[test]
fn a_plugin_gets_no_key() {
    let context = with_secrets(Context::new().with_env("PATH", "/usr/local/bin:/usr/bin:/bin"));
    context.write("tells.py", TELLS);
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "m",
        "--number",
        "1",
        "--dataset",
        "exec:python3 tells.py",
    ]);
    assert_eq!(seen(&context, "environment"), [""; 0]);
    // the command itself has them
    let key = server.requests()[0]
        .header("authorization")
        .map(str::to_owned);
    assert_eq!(key.unwrap(), "Bearer X-Is=secret-of-EVALSCOPE_API_KEY");
}

#[test]
fn a_server_that_is_started_gets_what_fetches_its_model() {
    let context = Context::new();
    let bin = context.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let program = context.write("bin/vllm", "#!/bin/sh\nenv > environment\nexit 3\n");
    std::fs::set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let context = with_secrets(context.with_env("PATH", &path));
    let outcome = context.perf(&["--api", "local_vllm", "--model", "m", "--prompt", "p"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert_eq!(
        seen(&context, "environment"),
        ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN"]
    );
}

/// Nobody knows how gateways call their keys.
#[test]
fn headers_of_any_name_are_masked() {
    let headers = [
        "X-My-Pass=hunter2-pass",
        "X-Pwd=hunter2-pwd",
        "X-Jwt=hunter2-jwt",
        "X-Access=hunter2-access",
        "X-Gateway=hunter2-gateway",
    ];
    let server = Recorder::start(|request, number| {
        if number < 2 {
            good(request)
        } else {
            refusal("403 Forbidden", &format!("not with {:?}", request.headers))
        }
    });
    let url = server.url();
    let base = [
        "--url", &url, "--model", "m", "--prompt", "p", "--number", "3",
    ];
    let plain = ["Accept-Language=de", "X-Request-Id=run-7"];
    let context = Context::new();
    let args = [&base[..], &["--debug", "--headers"], &headers, &plain].concat();
    let outcome = context.measure(&args);
    assert_eq!(server.requests()[0].header("x-pwd"), Some("hunter2-pwd"));
    no_secret_like(&context, &outcome, &["hunter2"]);
    assert!(
        outcome.stderr.contains("'X-Request-Id': 'run-7'"),
        "{}",
        outcome.stderr
    );
    let shown = &context.result()["settings"]["headers"];
    assert_eq!(shown["Accept-Language"], "de");
    assert_eq!(shown["X-Pwd"], "***");
}

/// As in the settings.
#[test]
fn a_secret_field_of_the_body_is_masked_in_the_log() {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let context = Context::new();
    let extra = r#"{"user_token": "secret-of-body", "nested": [{"password": "secret-of-body"}]}"#;
    let outcome = context.measure(&[
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "1",
        "--debug",
        "--extra-args",
        extra,
    ]);
    assert_eq!(server.requests()[1].json()["user_token"], "secret-of-body");
    assert!(
        outcome.stderr.contains(r#""user_token":"***""#),
        "{}",
        outcome.stderr
    );
    for name in ["benchmark.log", "result.json"] {
        let text = std::fs::read_to_string(context.top().join(name)).unwrap();
        assert!(!text.contains("secret-of-body"), "{name}: {text}");
    }
    assert!(
        !outcome.stderr.contains("secret-of-body"),
        "{}",
        outcome.stderr
    );
}
