//! Certificates for managers at `tcp://`, and what to do when they do not fit.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::config::TlsConfig;
use crate::gateway::StartError;

/// Reads the files.
pub fn client(files: &TlsConfig) -> Result<Arc<ClientConfig>, StartError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|error| unusable(&files.ca, &error))?;
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, &error))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| unusable(&files.ca, &error))?;
    let config = builder.with_root_certificates(roots).with_client_auth_cert(certificates(&files.cert)?, key);
    config.map(Arc::new).map_err(|error| unusable(&files.cert, &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unusable(path, &error))?;
    if certificates.is_empty() {
        return Err(unusable(path, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> StartError {
    StartError::new("[swarm]", format!("{}: {why}", path.display()), "ca, cert and key are files in PEM")
}

/// What is wrong between us and the manager, with the remedy; `None` when it is not about TLS.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let error = find(error)?;
    Some(match remedy(error) {
        Some(remedy) => format!("{error}: {remedy}"),
        None => error.to_string(),
    })
}

/// The error of TLS inside others. One that is packed into an `io::Error` is not among its sources.
fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    let packed = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let below = packed.map(|packed| packed as &'a (dyn Error + 'static)).or_else(|| error.source());
    find(below?)
}

fn remedy(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidCertificate(fault) => Some(match fault {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "swarm.ca must be the CA that signed the manager's certificate"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "name the manager in swarm.endpoints as its certificate does (subjectAltName)"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew the manager's certificate, or set this machine's clock"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "set this machine's clock",
            _ => "give the manager's dockerd another certificate",
        }),
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired,
        ) => Some(
            "swarm.cert and swarm.key must be a client's, signed by the CA that the manager's dockerd trusts (tlscacert)",
        ),
        rustls::Error::InvalidMessage(_) => Some("does the manager's dockerd speak TLS there (tlsverify, port 2376)?"),
        _ => None,
    }
}
