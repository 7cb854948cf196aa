//! Proxies of the environment: which requests go through them, and in which form.

use crate::context::Context;
use crate::server::{Recorder, good, reply};

const ARGS: [&str; 6] = ["--model", "m", "--prompt", "p", "--number", "2"];

fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&ARGS, more].concat()
}

#[test]
fn http_goes_through_in_absolute_form() {
    let proxy = Recorder::start(|request, _| good(request));
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let address = format!("http://me:secret-of-proxy@{}", proxy.address());
        let context = Context::new().with_env(name, &address);
        let outcome = context.measure(&args(&["--url", "http://model.invalid:8000/v1?x=1"]));
        let said = format!("using the proxy http://{}", proxy.address());
        assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("secret-of-proxy"));
        for (name, bytes) in context.files() {
            assert!(
                !String::from_utf8_lossy(&bytes).contains("secret-of-proxy"),
                "{name}"
            );
        }
    }
    let requests = proxy.requests();
    assert_eq!(requests.len(), 9);
    for request in requests {
        assert_eq!(
            request.line,
            "POST http://model.invalid:8000/v1/chat/completions?x=1 HTTP/1.1"
        );
        assert_eq!(request.header("host"), Some("model.invalid:8000"));
        assert_eq!(
            request.header("proxy-authorization"),
            Some("Basic bWU6c2VjcmV0LW9mLXByb3h5")
        );
    }
}

#[test]
fn loopback_never_has_a_proxy() {
    let proxy = Recorder::start(|request, _| good(request));
    let server = Recorder::start(|request, _| good(request));
    let address = format!("http://{}", proxy.address());
    for host in ["127.0.0.1", "localhost"] {
        let context = Context::new()
            .with_env("HTTP_PROXY", &address)
            .with_env("ALL_PROXY", &address);
        let url = format!("http://{host}:{}/v1", server.address().port());
        let outcome = context.measure(&args(&["--url", &url]));
        assert!(!outcome.stderr.contains("proxy"), "{}", outcome.stderr);
    }
    assert!(proxy.requests().is_empty());
    assert_eq!(server.requests().len(), 6);
    let line = &server.requests()[0].line;
    assert_eq!(line, "POST /v1/chat/completions HTTP/1.1");
}

#[test]
fn https_goes_through_a_tunnel() {
    let proxy = Recorder::start(|_, _| reply("403 Forbidden", "text/plain", "not you"));
    let address = format!("http://me:secret-of-proxy@{}", proxy.address());
    let context = Context::new().with_env("HTTPS_PROXY", &address);
    let outcome = context.perf(&args(&["--url", "https://model.invalid/v1"]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("status 403 to CONNECT model.invalid:443"),
        "{}",
        outcome.stderr
    );
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].line, "CONNECT model.invalid:443 HTTP/1.1");
    assert_eq!(requests[0].header("host"), Some("model.invalid:443"));
    assert!(requests[0].body.is_empty());
    assert_eq!(
        requests[0].header("authorization"),
        None,
        "the proxy does not see what is for the server"
    );
}

/// What may be the proxy's doing is not blamed on the URL alone.
#[test]
fn a_hint_names_the_variable_of_the_proxy() {
    let refusing =
        Recorder::start(|_, _| reply("407 Proxy Authentication Required", "text/plain", ""));
    let asks = format!("http://{}", refusing.address());
    let gone = "http://127.0.0.1:9";
    for (name, proxy, url, hint) in [
        (
            "http_proxy",
            gone,
            "http://model.invalid/v1",
            "the proxy http://127.0.0.1:9, set by the environment variable `http_proxy`",
        ),
        (
            "ALL_PROXY",
            gone,
            "http://model.invalid/v1",
            "the proxy http://127.0.0.1:9, set by the environment variable `ALL_PROXY`",
        ),
        (
            "HTTPS_PROXY",
            gone,
            "https://model.invalid/v1",
            "the proxy http://127.0.0.1:9, set by the environment variable `HTTPS_PROXY`",
        ),
        (
            "HTTP_PROXY",
            &asks,
            "http://model.invalid/v1",
            "of `HTTP_PROXY` requires a user and a password",
        ),
    ] {
        let context = Context::new().with_env(name, proxy);
        let outcome = context.perf(&args(&["--url", url, "--total-timeout", "1"]));
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(outcome.stderr.contains(hint), "{name}: {}", outcome.stderr);
    }
}

#[test]
fn a_proxy_of_another_kind_is_an_error() {
    let context = Context::new().with_env("HTTP_PROXY", "socks5://me:secret-of-proxy@host:1080");
    let outcome = context.perf(&args(&["--url", "http://model.invalid/v1"]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("socks5"), "{}", outcome.stderr);
    assert!(
        !outcome.stderr.contains("secret-of-proxy"),
        "{}",
        outcome.stderr
    );
}
