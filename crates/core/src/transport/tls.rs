//! Owns TLS: which certificates are trusted, and the session above a socket.
//!
//! Ciphertext goes in with its arrival, plaintext comes out with the same one:
//! a record's plaintext arrived when the read came that completed the record.

use std::fmt;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

/// Whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsTrust {
    /// Trust anybody (`--insecure`).
    pub insecure: bool,
    /// Trust the certificates of this PEM file too (`--ca-cert`).
    pub ca_cert: Option<std::path::PathBuf>,
}

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The file of certificates cannot be read.
    #[error("cannot read certificates from {path}: {reason}")]
    CaCert {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// rustls refused.
    #[error("cannot set up TLS")]
    Rustls(#[from] rustls::Error),
}

/// A configuration for all connections of a process.
#[derive(Clone, Debug)]
pub struct TlsSetup {
    config: Arc<ClientConfig>,
    /// Where the trusted certificates come from, for a person.
    pub roots: String,
}

impl TlsSetup {
    /// Load the trusted certificates: the platform's, those of `--ca-cert`, and
    /// Mozilla's where the platform has none.
    ///
    /// # Errors
    /// When `--ca-cert` cannot be read.
    pub fn new(trust: &TlsTrust) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        if trust.insecure {
            let config = builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(TrustAnybody(provider)))
                .with_no_client_auth();
            return Ok(Self {
                config: Arc::new(config),
                roots: "none: certificates are not checked".to_owned(),
            });
        }
        let mut store = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        let (added, _) = store.add_parsable_certificates(native.certs);
        let mut roots = format!("{added} of the platform");
        if let Some(path) = &trust.ca_cert {
            let n = add_file(&mut store, path)?;
            roots = format!("{roots}, {n} of {}", path.display());
        } else if added == 0 {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            "Mozilla's, built in: the platform has none".clone_into(&mut roots);
        }
        let config = builder.with_root_certificates(store).with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            roots,
        })
    }

    pub(super) fn session(&self, host: &str) -> Result<TlsSession, String> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| format!("`{host}` is no name a certificate can be for"))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|error| error.to_string())?;
        connection.set_buffer_limit(None);
        Ok(TlsSession { connection })
    }
}

fn add_file(store: &mut RootCertStore, path: &Path) -> Result<usize, TlsSetupError> {
    let fail = |reason: String| TlsSetupError::CaCert {
        path: path.display().to_string(),
        reason,
    };
    let certs: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| fail(error.to_string()))?;
    let (added, ignored) = store.add_parsable_certificates(certs);
    if added == 0 {
        return Err(fail(format!(
            "it holds no usable PEM certificate ({ignored} could not be parsed)"
        )));
    }
    Ok(added)
}

/// One TLS session; moves bytes, does no I/O.
pub(super) struct TlsSession {
    connection: ClientConnection,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession").finish_non_exhaustive()
    }
}

impl TlsSession {
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Ciphertext that waits to be sent.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.connection.wants_write() {
            // a Vec takes everything
            if self.connection.write_tls(&mut out).is_err() {
                break;
            }
        }
        out
    }

    /// Plaintext to send.
    pub(super) fn write(&mut self, plaintext: &[u8]) -> std::io::Result<Vec<u8>> {
        self.connection.writer().write_all(plaintext)?;
        Ok(self.take_output())
    }

    /// Ciphertext that has come; its plaintext goes to `sink`. Says whether the
    /// peer is still open.
    pub(super) fn read(
        &mut self,
        mut ciphertext: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<PeerState, String> {
        let mut peer = PeerState::Open;
        while !ciphertext.is_empty() && peer == PeerState::Open {
            self.connection
                .read_tls(&mut ciphertext)
                .map_err(|error| error.to_string())?;
            let state = self
                .connection
                .process_new_packets()
                .map_err(|error| error.to_string())?;
            if state.peer_has_closed() {
                peer = PeerState::Closed;
            }
            // `fill_buf` fails with WouldBlock when all plaintext is taken
            let mut reader = self.connection.reader();
            while let Ok(plaintext) = reader.fill_buf() {
                let len = plaintext.len();
                if len == 0 {
                    break;
                }
                sink(plaintext);
                reader.consume(len);
            }
        }
        Ok(peer)
    }
}

/// Whether the other side may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerState {
    Open,
    Closed,
}

/// `--insecure`.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
