//! Certificates: not trusted by default, trusted if the environment says so.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use evalscope_hub::{Hub, HubError, Source, Unwatched};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::scene::{config, dataset, hiding_numbers, told};

/// A server with a self-made certificate (in PEM) and no content.
fn self_signed() -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = Arc::new(server);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            // a client that does not trust it disconnects
            let _ = answer(&mut stream);
        }
    });
    (address, made.cert.pem())
}

fn answer(stream: &mut (impl std::io::Read + std::io::Write)) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?;
    stream.flush()
}

#[test]
fn a_certificate_of_nobody_is_refused() {
    let (address, _) = self_signed();
    let cache = TempDir::new().unwrap();
    let endpoint = format!("https://{address}");
    let hub = Hub::new(config(Source::HuggingFace, &endpoint, &cache, &[]));
    let error = hub.file(&dataset(), "a", &Unwatched).unwrap_err();
    hiding_numbers(|| {
        insta::assert_snapshot!(told(&error, &cache), @"
    the certificate of 127.0.0.1:[port] is not trusted: UnknownIssuer
    hint: behind a proxy that intercepts TLS, set `SSL_CERT_FILE` to its certificate, and check that the clock is right
    ");
    });
}

#[test]
fn a_certificate_of_the_environment_is_trusted() {
    let (address, pem) = self_signed();
    let cache = TempDir::new().unwrap();
    let file = cache.path().join("ca.pem");
    std::fs::write(&file, pem).unwrap();
    let endpoint = format!("https://{address}");
    let named = file.display().to_string();
    let variables = [("REQUESTS_CA_BUNDLE", named.as_str())];
    let hub = Hub::new(config(Source::HuggingFace, &endpoint, &cache, &variables));
    let error = hub.file(&dataset(), "a", &Unwatched).unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }), "{error:?}");
}
