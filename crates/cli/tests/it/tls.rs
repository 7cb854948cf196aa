//! TLS: which certificates are trusted, and that arrivals keep their kernel times.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::context::{Context, perf_snapshot};
use crate::server::{Recorder, good, refusal, reply};

/// A server with a certificate of its own, which lies in `ca.pem` of the folder.
fn server(context: &Context, address: &str) -> Recorder {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).unwrap();
    context.write("ca.pem", &certificate.cert.pem());
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.cert.der().clone()],
            PrivateKeyDer::Pkcs8(key),
        )
        .unwrap();
    let config = Arc::new(config);
    Recorder::on(
        TcpListener::bind(address).unwrap(),
        move |stream| {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            Box::new(StreamOwned::new(session, stream))
        },
        |request, _| good(request),
    )
}

fn args<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "--url", url, "--model", "m", "--prompt", "p", "--number", "5",
    ];
    [&args, more].concat()
}

#[test]
fn a_certificate_of_ones_own() {
    let context = Context::new();
    let server = server(&context, "127.0.0.1:0");
    let url = format!("https://{}/v1", server.address());
    context.measure(&args(&url, &["--ca-cert", "ca.pem"]));
    assert_eq!(server.requests().len(), 6);
    let run = &context.result()["runs"][0];
    assert_eq!(run["counts"]["succeeded"], 5);
    assert_eq!(run["metrics"]["ttft_ms"]["count"], 5);
    assert_eq!(
        run["metrics"]["connect_ms"]["count"], 1,
        "the connection is kept"
    );
    if cfg!(target_os = "linux") {
        assert_eq!(run["client"]["clock"], "kernel");
    }
    let tls = context.column::<f64>("SELECT max(tls_ms) FROM requests");
    assert!(tls[0] > 0.0);
}

#[test]
fn a_name_may_be_looked_up() {
    let context = Context::new();
    let server = server(&context, "127.0.0.1:0");
    let url = format!("https://localhost:{}/v1", server.address().port());
    context.measure(&args(&url, &["--ca-cert", "ca.pem"]));
    assert_eq!(server.requests().len(), 6);
}

/// Only Linux answers to every address of 127.0.0.0/8.
#[cfg(target_os = "linux")]
#[test]
fn a_certificate_for_another_name_is_refused() {
    let context = Context::new();
    let server = server(&context, "127.0.0.2:0");
    let url = format!("https://{}/v1", server.address());
    let outcome = context.perf(&args(&url, &["--ca-cert", "ca.pem"]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("certificate not valid for name"),
        "{}",
        outcome.stderr
    );
    assert!(server.requests().is_empty());
}

#[test]
fn a_stranger_is_refused_with_a_hint() {
    let context = Context::new();
    let server = server(&context, "127.0.0.1:0");
    let url = format!("https://{}/v1", server.address());
    let outcome = context.perf(&args(&url, &[]));
    perf_snapshot!("stranger", outcome);
    assert_eq!(outcome.code, Some(2));
    assert!(server.requests().is_empty());
}

#[test]
fn insecure_works_and_warns() {
    let context = Context::new();
    let server = server(&context, "127.0.0.1:0");
    let url = format!("https://{}/v1", server.address());
    let outcome = context.measure(&args(&url, &["--insecure"]));
    let warning = "warning: the server's certificate is not verified";
    assert!(outcome.stderr.contains(warning), "{}", outcome.stderr);
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn http_to_a_port_that_speaks_tls() {
    let context = Context::new();
    let server = server(&context, "127.0.0.1:0");
    let url = format!("http://{}/v1", server.address());
    let outcome = context.perf(&args(&url, &["--total-timeout", "10"]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let hint = format!(
        "hint: this port speaks TLS: try `--url https://{}/v1/chat/completions`",
        server.address()
    );
    assert!(outcome.stderr.contains(&hint), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("may still be starting"));
    assert!(server.requests().is_empty());
}

/// In the words of nginx, which knows an unencrypted request when it sees one.
#[test]
fn http_to_a_port_that_asks_for_tls() {
    let page = reply(
        "400 Bad Request",
        "text/html",
        "<h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port",
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        for answer in [page, vec![0x15, 3, 1, 0, 2, 2, 40]] {
            let (mut stream, _) = listener.accept().unwrap();
            let _sent = stream.read(&mut vec![0; 1 << 16]).unwrap();
            stream.write_all(&answer).unwrap();
            // the client that has read what it looks for may be gone
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let outcome = Context::new().perf(&args(&url, &[]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("this port speaks TLS: try `--url https://"),
        "{}",
        outcome.stderr
    );
    server.join().unwrap();
}

/// One that does not say a word to what it does not understand.
#[test]
fn https_to_a_port_that_hangs_up_on_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut sent = vec![0; 1 << 16];
            let n = stream.read(&mut sent).unwrap();
            if sent[..n].starts_with(b"GET / HTTP/1.1\r\n") {
                stream
                    .write_all(&refusal("404 Not Found", "no such page"))
                    .unwrap();
                break;
            }
        }
    });
    let outcome = Context::new().perf(&args(&url, &[]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("this port does not speak TLS: try `--url http://"),
        "{}",
        outcome.stderr
    );
    server.join().unwrap();
}

#[test]
fn https_to_a_port_that_speaks_http() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _hello = stream.read(&mut vec![0; 1 << 16]).unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // a connection closed with bytes unread would be reset
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
    let outcome = Context::new().perf(&args(&url, &["--total-timeout", "1"]));
    perf_snapshot!("no_tls_there", outcome);
    assert_eq!(outcome.code, Some(2));
    server.join().unwrap();
}
