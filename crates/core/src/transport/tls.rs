//! Owns TLS: trusted certificates, and the session above a socket.
//!
//! Ciphertext goes in with its arrival time, and plaintext comes out with the same one: a record's
//! plaintext arrived with the read that completed the record.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, ClientConfig, ClientConnection, InvalidMessage, RootCertStore};

use super::verify::{TrustAnybody, TrustOwn};

/// Which certificates to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsTrust {
    /// Trust any certificate (`--insecure`).
    pub insecure: bool,
    /// Also trust the certificates in this PEM file (`--ca-cert`).
    pub ca_cert: Option<std::path::PathBuf>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The certificate file cannot be read.
    #[error("cannot read certificates from {path}: {reason}")]
    CaCert {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// rustls refused.
    #[error("cannot set up TLS")]
    Rustls(#[from] rustls::Error),
    /// rustls refused the certificates.
    #[error("cannot set up TLS with the trusted certificates")]
    Verifier(#[from] VerifierBuilderError),
}

/// A configuration for all connections of a process.
#[derive(Clone, Debug)]
pub struct TlsSetup {
    config: Arc<ClientConfig>,
    /// Source of the trusted certificates, for display.
    pub roots: String,
}

impl TlsSetup {
    /// Load the trusted certificates: the platform's and those of `--ca-cert`, with Mozilla's if
    /// the platform has none.
    ///
    /// # Errors
    /// If `--ca-cert` cannot be read.
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
        let mut roots = format!("{added} from the platform");
        let config = if let Some(path) = &trust.ca_cert {
            let own = certificates_of(path)?;
            let n = add_own(&mut store, &own, path)?;
            roots = format!("{roots}, {n} of {}", path.display());
            let chains =
                WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build()?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(TrustOwn { chains, own }))
                .with_no_client_auth()
        } else {
            if added == 0 {
                store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                "Mozilla's (built in), because the platform has none".clone_into(&mut roots);
            }
            builder.with_root_certificates(store).with_no_client_auth()
        };
        Ok(Self {
            config: Arc::new(config),
            roots,
        })
    }

    pub(super) fn session(&self, host: &str) -> Result<TlsSession, String> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| format!("no certificate can be issued for `{host}`"))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|error| error.to_string())?;
        connection.set_buffer_limit(None);
        Ok(TlsSession { connection })
    }
}

fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(path, error.to_string()))
}

fn add_own(
    store: &mut RootCertStore,
    own: &[CertificateDer<'static>],
    path: &Path,
) -> Result<usize, TlsSetupError> {
    let (added, ignored) = store.add_parsable_certificates(own.iter().cloned());
    if added == 0 {
        return Err(unusable(
            path,
            format!("it contains no usable PEM certificate ({ignored} could not be parsed)"),
        ));
    }
    Ok(added)
}

fn unusable(path: &Path, reason: String) -> TlsSetupError {
    TlsSetupError::CaCert {
        path: path.display().to_string(),
        reason,
    }
}

/// Why a session is broken.
#[derive(Debug)]
pub(super) enum TlsError {
    Io(io::Error),
    Rustls(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Rustls(error) => error.fmt(f),
        }
    }
}

impl TlsError {
    /// The message if it fails during the handshake.
    pub(super) fn while_shaking_hands(&self) -> String {
        match self {
            Self::Rustls(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                "the server does not speak TLS on this port".to_owned()
            }
            // webpki's error for a CA certificate used by a server, which is nearly always a
            // self-made one
            Self::Rustls(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if other.to_string().contains("CaUsedAsEndEntity") =>
            {
                "invalid peer certificate: it is self-signed and not trusted".to_owned()
            }
            error => error.to_string(),
        }
    }
}

/// One TLS session; transforms bytes, does no I/O.
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

    /// Take the ciphertext to be sent.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.connection.wants_write() {
            // writing to a Vec cannot fail
            if self.connection.write_tls(&mut out).is_err() {
                break;
            }
        }
        out
    }

    /// Encrypt plaintext; returns the ciphertext to be sent.
    pub(super) fn write(&mut self, plaintext: [&[u8]; 3]) -> io::Result<Vec<u8>> {
        let mut writer = self.connection.writer();
        for piece in plaintext {
            writer.write_all(piece)?;
        }
        Ok(self.take_output())
    }

    /// Decrypt received ciphertext; its plaintext goes to `sink`. Returns whether the peer may
    /// still send.
    pub(super) fn read(
        &mut self,
        mut ciphertext: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<PeerState, TlsError> {
        let mut peer = PeerState::Open;
        while !ciphertext.is_empty() && peer == PeerState::Open {
            self.connection
                .read_tls(&mut ciphertext)
                .map_err(TlsError::Io)?;
            let processed = self.connection.process_new_packets();
            // data before a broken record counts; `fill_buf` fails with WouldBlock when all
            // plaintext has been read
            let mut reader = self.connection.reader();
            while let Ok(plaintext) = reader.fill_buf() {
                let len = plaintext.len();
                if len == 0 {
                    break;
                }
                sink(plaintext);
                reader.consume(len);
            }
            if processed.map_err(TlsError::Rustls)?.peer_has_closed() {
                peer = PeerState::Closed;
            }
        }
        Ok(peer)
    }
}

/// Whether the peer may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerState {
    Open,
    Closed,
}

/// A session that trusts any certificate, and the server it has completed a handshake with.
#[cfg(test)]
pub(super) fn pair() -> (TlsSession, rustls::ServerConnection) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let trust = TlsTrust {
        insecure: true,
        ca_cert: None,
    };
    let setup = TlsSetup::new(&trust).unwrap();
    tests::shaken(&setup, made.cert.der(), &made.signing_key, "localhost").unwrap()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        date_time_ymd,
    };
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    struct Made {
        pem: String,
        cert: CertificateDer<'static>,
        key: KeyPair,
    }

    /// A certificate as made by `openssl req -x509`, except for `change`.
    fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.remove(DnType::CommonName);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Made {
            pem: cert.pem(),
            cert: cert.der().clone(),
            key,
        }
    }

    /// Do a handshake with a server that presents one certificate, while trusting others.
    fn shake(made: &Made, trusted: &[&Made], host: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let pem: String = trusted.iter().map(|made| made.pem.as_str()).collect();
        std::fs::write(&path, pem).unwrap();
        let setup = TlsSetup::new(&TlsTrust {
            insecure: false,
            ca_cert: Some(path),
        })
        .unwrap();
        shaken(&setup, &made.cert, &made.key, host).map(|_| ())
    }

    pub(super) fn shaken(
        setup: &TlsSetup,
        cert: &CertificateDer<'static>,
        key: &KeyPair,
        host: &str,
    ) -> Result<(TlsSession, ServerConnection), String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.clone()], key)
            .unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let mut client = setup.session(host)?;
        while client.is_handshaking() || server.is_handshaking() {
            let said = client.take_output();
            server.read_tls(&mut said.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            let mut answer = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut answer).unwrap();
            }
            client
                .read(&answer, |_| {})
                .map_err(|error| error.while_shaking_hands())?;
        }
        Ok((client, server))
    }

    #[test]
    fn an_authority_that_stands_for_itself_is_trusted() {
        let made = self_signed(&["localhost", "127.0.0.1"], |_| {});
        let other = self_signed(&["localhost"], |_| {});
        for host in ["localhost", "127.0.0.1"] {
            assert_eq!(shake(&made, &[&made], host), Ok(()), "{host}");
            assert_eq!(shake(&made, &[&other, &made], host), Ok(()), "{host}");
        }
        let error = shake(&made, &[&other], "localhost").unwrap_err();
        assert_eq!(
            error,
            "invalid peer certificate: it is self-signed and not trusted"
        );
    }

    #[test]
    fn its_names_and_its_dates_count_all_the_same() {
        let made = self_signed(&["localhost"], |_| {});
        let error = shake(&made, &[&made], "example.com").unwrap_err();
        assert!(error.contains("not valid for name"), "{error}");
        let expired = self_signed(&["localhost"], |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        });
        let error = shake(&expired, &[&expired], "localhost").unwrap_err();
        assert!(error.contains("expired"), "{error}");
        let future = self_signed(&["localhost"], |params| {
            params.not_before = date_time_ymd(3001, 1, 1);
            params.not_after = date_time_ymd(3002, 1, 1);
        });
        let error = shake(&future, &[&future], "localhost").unwrap_err();
        assert!(error.contains("not valid yet"), "{error}");
    }

    #[test]
    fn one_without_names_counts_by_its_common_name() {
        let named = |common: &str| {
            let common = common.to_owned();
            self_signed(&[], move |params| {
                params
                    .distinguished_name
                    .push(DnType::OrganizationName, "o");
                params.distinguished_name.push(DnType::CommonName, common);
            })
        };
        for (common, host, fits) in [
            ("localhost", "localhost", true),
            ("LOCALHOST", "localhost", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("localhost", "127.0.0.1", false),
            ("other", "localhost", false),
        ] {
            let made = named(common);
            let shaken = shake(&made, &[&made], host);
            assert_eq!(shaken.is_ok(), fits, "{common} {host}: {shaken:?}");
        }
        // if names are listed, the common name does not count
        let listed = self_signed(&["example.com"], |params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "localhost");
        });
        assert!(shake(&listed, &[&listed], "localhost").is_err());
    }

    #[test]
    fn a_certificate_that_is_no_authority_may_be_named_itself() {
        let mut of_issuer = CertificateParams::new(Vec::new()).unwrap();
        of_issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        of_issuer
            .distinguished_name
            .push(DnType::CommonName, "issuer");
        let issuer_key = KeyPair::generate().unwrap();
        let authority = of_issuer.self_signed(&issuer_key).unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let by = rcgen::Issuer::from_params(&of_issuer, &issuer_key);
        let cert = params.signed_by(&key, &by).unwrap();
        let issuer = Made {
            pem: authority.pem(),
            cert: authority.der().clone(),
            key: KeyPair::generate().unwrap(),
        };
        let leaf = Made {
            pem: cert.pem(),
            cert: cert.der().clone(),
            key,
        };
        assert_eq!(shake(&leaf, &[&leaf], "localhost"), Ok(()));
        assert_eq!(shake(&leaf, &[&issuer], "localhost"), Ok(()));
    }
}
