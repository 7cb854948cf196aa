//! `--metrics-listen`, `--metrics-linger` and `metrics.prom`: what Prometheus sees of a command.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use evalscope_sim::{Profile, SimConfig, Simulator};

use crate::context::{Context, Running, wait_for};

/// A server whose responses take this long.
fn slow(ttft_ms: f64) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms,
            itl_ms: 1.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap()
}

const LINE: [&str; 10] = [
    "--model",
    "a\"model",
    "--dataset",
    "sample",
    "--max-tokens",
    "2",
    "--metrics-listen",
    "0",
    "--sleep-interval",
    "0",
];

/// The address that a command has said.
fn address(running: &mut Running) -> String {
    let before = "metrics are at http://";
    running.wait_for_stderr(before);
    let stderr = running.stderr();
    let rest = stderr.split(before).nth(1).unwrap();
    rest.split("/metrics").next().unwrap().to_owned()
}

/// Send bytes, and read what comes back.
fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn get(address: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    exchange(address, request.as_bytes())
}

/// The value of a sample: its name and labels begin so.
fn sample(page: &str, start: &str) -> String {
    let line = page.lines().find(|line| line.starts_with(start));
    let line = line.unwrap_or_else(|| panic!("no {start} in {page}"));
    line.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_run_is_scraped_while_it_is_under_way() {
    let simulator = slow(700.0);
    let context = Context::new();
    let url = simulator.url();
    let load = ["--url", &url, "--parallel", "1,2", "--number", "4"];
    let mut running = context.start(&[&load[..], &LINE].concat());
    let address = address(&mut running);
    assert!(get(&address, "/health").starts_with("HTTP/1.1 200 OK\r\n"));
    let first = r#"{run="parallel_1_number_4",model="a\"model""#;
    let success = format!(r#"evalscope_requests_total{first},result="success",kind=""}}"#);
    let page = wait_for("a part of the requests", || {
        let page = get(&address, "/metrics");
        page.lines()
            .any(|line| line.starts_with(&success) && !line.ends_with(" 0"))
            .then_some(page)
    });
    assert!(
        page.contains("\r\nContent-Type: text/plain; version=0.0.4"),
        "{page}"
    );
    assert_eq!(sample(&page, &format!("evalscope_concurrency{first}")), "1");
    let running_state = format!(r#"evalscope_run_state{first},state="running"}}"#);
    assert_eq!(sample(&page, &running_state), "1");
    let ratio = sample(&page, &format!("evalscope_run_progress_ratio{first}"));
    let ratio: f64 = ratio.parse().unwrap();
    assert!((0.25..1.0).contains(&ratio), "{ratio}");
    // its responses take 0.7 s
    let ttft = format!("evalscope_time_to_first_token_seconds_bucket{first}");
    assert_eq!(sample(&page, &format!(r#"{ttft},le="0.5"}}"#)), "0");
    assert_ne!(sample(&page, &format!(r#"{ttft},le="+Inf"}}"#)), "0");
    let progress = get(&address, "/progress");
    let body = progress.split("\r\n\r\n").nth(1).unwrap();
    let progress: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(progress["total_requests"], 4);
    let open = exchange(
        &address,
        b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n",
    );
    assert!(
        open.contains("# TYPE evalscope_requests counter\n"),
        "{open}"
    );
    assert!(open.ends_with("# EOF\n"), "{open}");
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    // at the end, all runs
    let page = std::fs::read_to_string(context.top().join("metrics.prom")).unwrap();
    for run in ["parallel_1_number_4", "parallel_2_number_4"] {
        let labels = format!(r#"{{run="{run}",model="a\"model""#);
        let success = format!(r#"evalscope_requests_total{labels},result="success""#);
        assert_eq!(sample(&page, &success), "4");
        let state = format!(r#"evalscope_run_state{labels},state="finished"}}"#);
        assert_eq!(sample(&page, &state), "1");
        assert_eq!(
            sample(&page, &format!("evalscope_run_progress_ratio{labels}")),
            "1"
        );
        assert_eq!(
            sample(&page, &format!("evalscope_requests_in_flight{labels}")),
            "0"
        );
        assert_eq!(
            sample(&page, &format!("evalscope_output_tokens_total{labels}")),
            "8"
        );
    }
}

#[test]
fn metrics_stay_after_the_end() {
    let simulator = slow(1.0);
    let context = Context::new();
    let url = simulator.url();
    let load = ["--url", &url, "--number", "2", "--metrics-linger", "100000"];
    let mut running = context.start(&[&load[..], &LINE].concat());
    let address = address(&mut running);
    running.wait_for_stderr("metrics are served for 100000 s more");
    let page = get(&address, "/metrics");
    assert!(page.contains(r#"state="finished"} 1"#), "{page}");
    let progress = get(&address, "/progress");
    assert!(progress.contains(r#"{"event":"ended","#), "{progress}");
    // all files are there, and a signal ends it
    assert!(context.top().join("metrics.prom").is_file());
    assert!(context.top().join("result.json").is_file());
    #[cfg(unix)]
    {
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.finish().code, Some(0));
    }
}

#[test]
fn a_port_in_use_is_found_before_the_load() {
    let simulator = slow(1.0);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let context = Context::new();
    let url = simulator.url();
    let outcome = context.perf(&[
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "sample",
        "--metrics-listen",
        &address,
    ]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let said = format!("error: `--metrics-listen {address}`: cannot listen: ");
    assert!(outcome.stderr.starts_with(&said), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("hint: another program uses this port"),
        "{outcome:#?}"
    );
    assert_eq!(simulator.requests(), 0);
    assert!(!context.path().join("outputs").exists());
}

#[test]
fn no_client_holds_up_a_run() {
    let simulator = slow(300.0);
    let context = Context::new();
    let url = simulator.url();
    let load = ["--url", &url, "--number", "20", "--parallel", "1"];
    let mut running = context.start(&[&load[..], &LINE].concat());
    let address = address(&mut running);
    for (request, want) in [
        (
            &b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"[..],
            "405 Method Not Allowed",
        ),
        (b"GET /elsewhere HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"hello\r\n\r\n", "400 Bad Request"),
    ] {
        let response = exchange(&address, request);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {want}\r\n")),
            "{response}"
        );
    }
    // a head without an end
    let mut stream = TcpStream::connect(&address).unwrap();
    let huge = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    stream.write_all(huge.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    // one that is cut off
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(b"GET /metr").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    response.clear();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    // one that never goes on: the next client waits for its time, and no longer
    let mut stuck = TcpStream::connect(&address).unwrap();
    stuck.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    assert!(get(&address, "/health").starts_with("HTTP/1.1 200 OK\r\n"));
    response.clear();
    match stuck.read_to_string(&mut response) {
        Ok(_) => assert!(response.starts_with("HTTP/1.1 408 "), "{response}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    // nor does one that is there at the end
    let mut last = TcpStream::connect(&address).unwrap();
    last.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    assert_eq!(running.finish().code, Some(0));
}

#[test]
fn keys_are_in_no_metric() {
    let simulator = slow(1.0);
    let context = Context::new().with_env("EVALSCOPE_API_KEY", "sk-verysecret");
    let url = simulator.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "m-sk-verysecret",
        "--dataset",
        "sample",
        "--number",
        "1",
    ]);
    let page = std::fs::read_to_string(context.top().join("metrics.prom")).unwrap();
    assert!(page.contains("evalscope_requests_total"), "{page}");
    assert!(!page.contains("verysecret"), "{page}");
}

#[test]
fn a_part_of_a_run_has_its_label() {
    let context = Context::new();
    let outcome = context.measure(&[
        "--api",
        "local_sim",
        "--dataset",
        "sample",
        "--number",
        "5",
        "--parallel",
        "4",
        "--max-tokens",
        "2",
        "--shard",
        "0/2",
        "--run-id",
        "x",
        "--progress",
        "json",
    ]);
    let ended = outcome
        .stderr
        .lines()
        .find(|line| line.contains(r#""event":"ended""#));
    let ended: serde_json::Value = serde_json::from_str(ended.unwrap()).unwrap();
    assert_eq!(ended["total_requests"], 3, "{ended}");
    assert_eq!(ended["done_ratio"], 1.0, "{ended}");
    let top = context.path().join("outputs/shard-0-of-2/run");
    let page = std::fs::read_to_string(top.join("metrics.prom")).unwrap();
    let labels = r#"{run="parallel_4_number_5",model="sim",shard="0/2""#;
    assert_eq!(
        sample(&page, &format!("evalscope_concurrency{labels}")),
        "2"
    );
    assert_eq!(
        sample(&page, &format!("evalscope_requests_total{labels}")),
        "3"
    );
}

#[test]
fn a_run_that_never_began_has_no_metrics() {
    let context = Context::new();
    let outcome = context.perf(&[
        "--api",
        "local_sim",
        "--dataset",
        "sample",
        "--parallel",
        "2",
        "--shard",
        "0/2",
        "--run-id",
        "x",
        "--start-at",
        "stdin",
    ]);
    // stdin is at its end
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    let files = context.files();
    assert!(
        files
            .iter()
            .all(|(name, _)| !name.ends_with("metrics.prom")),
        "{files:?}"
    );
}

#[test]
fn a_linger_alone_does_nothing() {
    let context = Context::new();
    let outcome = context.measure(&[
        "--api",
        "local_sim",
        "--dataset",
        "sample",
        "--number",
        "1",
        "--max-tokens",
        "2",
        "--metrics-linger",
        "1h",
    ]);
    assert!(
        outcome.stderr.contains("`--metrics-linger`"),
        "{outcome:#?}"
    );
    let outcome = context.perf(&["--metrics-listen", "example.com:80"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("127.0.0.1:9464"), "{outcome:#?}");
}
