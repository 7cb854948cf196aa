//! Owns which server certificates are accepted beside those of known authorities: any
//! (`--insecure`), or the user's own (`--ca-cert`).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// `--insecure`.
#[derive(Debug)]
pub(super) struct TrustAnybody(pub(super) Arc<CryptoProvider>);

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

/// `--ca-cert`: accepts what its certificates have signed, and servers that present one of them
/// directly. A self-made server certificate is usually marked as a CA (`openssl req -x509` does
/// this), and a CA must not act as a server in a chain; curl and Python accept it if it is
/// explicitly trusted, and so do we.
#[derive(Debug)]
pub(super) struct TrustOwn {
    pub(super) chains: Arc<WebPkiServerVerifier>,
    pub(super) own: Vec<CertificateDer<'static>>,
}

impl TrustOwn {
    /// The certificate is valid for this name.
    fn is_for(cert: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), rustls::Error> {
        let mismatch = match verify_server_name(&ParsedCertificate::try_from(cert)?, name) {
            Ok(()) => return Ok(()),
            Err(mismatch) => mismatch,
        };
        // a certificate without listed names has at most a common name, which we accept for a
        // certificate given by the user, as curl does
        let no_names = matches!(
            &mismatch,
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForNameContext { presented, .. }
            ) if presented.is_empty()
        );
        let matches = no_names && common_name(cert).is_some_and(|own| is_name(&own, name));
        if matches { Ok(()) } else { Err(mismatch) }
    }
}

impl ServerCertVerifier for TrustOwn {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chained = self.chains.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        // validity has already been checked when one of these errors is returned
        let Err(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer
            | CertificateError::Other(_)
            | CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. },
        )) = &chained
        else {
            return chained;
        };
        if !self.own.contains(end_entity) {
            return chained;
        }
        Self::is_for(end_entity, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// The last common name in a certificate's subject.
fn common_name(cert: &CertificateDer<'_>) -> Option<String> {
    let mut store = RootCertStore::empty();
    store.add(cert.clone().into_owned()).ok()?;
    let subject = store.roots.first()?.subject.to_vec();
    let mut rest = subject.as_slice();
    let mut found = None;
    // a sequence of sets of identifier-value pairs (RFC 5280, 4.1.2.4)
    while let Some((_, set, after)) = element(rest) {
        let mut pairs = set;
        while let Some((_, pair, more)) = element(pairs) {
            if let Some((_, identifier, text)) = element(pair)
                && identifier == COMMON_NAME
                && let Some((_, text, _)) = element(text)
            {
                found = Some(String::from_utf8_lossy(text).into_owned());
            }
            pairs = more;
        }
        rest = after;
    }
    found
}

/// The object identifier 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// The first DER element: its tag, its content and the rest.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, short], rest) = der.split_first_chunk()?;
    let (length, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Whether a common name, possibly with `*.`, matches this name.
fn is_name(own: &str, name: &ServerName<'_>) -> bool {
    let ServerName::DnsName(_) = name else {
        return own == name.to_str();
    };
    let name = name.to_str();
    own.eq_ignore_ascii_case(&name)
        || own
            .strip_prefix("*.")
            .zip(name.split_once('.'))
            .is_some_and(|(own, (_, domain))| own.eq_ignore_ascii_case(domain))
}
