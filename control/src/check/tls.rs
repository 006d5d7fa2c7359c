//! TLS for checks: whether somebody speaks it, not who. Certificates are not verified, as with HAProxy's `verify none`:
//! tasks have addresses that no certificate names.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use smoltcp::socket::tcp::Socket;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::http::{Reader, Verdict};
use crate::config::HttpCheck;

/// The same for all checks.
static CONFIG: LazyLock<Result<Arc<ClientConfig>, Error>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Anybody(Arc::clone(&provider)));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
});

/// Takes every certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// One side of a TLS connection, with the request in it.
pub struct Tls {
    connection: ClientConnection,
    /// Made, but there was no room for it in the socket yet.
    unsent: Vec<u8>,
}

impl Tls {
    /// The request goes out as soon as the handshake is done.
    pub fn new(check: &HttpCheck, address: SocketAddr, request: &[u8]) -> Result<Tls, Error> {
        let config = CONFIG.clone()?;
        let mut connection = ClientConnection::new(config, name(check, address))?;
        connection.writer().write_all(request).map_err(|error| Error::General(error.to_string()))?;
        Ok(Tls { connection, unsent: Vec::new() })
    }

    /// Whether the answer is what is missing.
    pub fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Moves what can be moved between socket and reader.
    pub fn advance(&mut self, socket: &mut Socket<'_>, reader: &mut Reader) -> Option<Verdict> {
        loop {
            let verdict = self.hear(socket, reader);
            self.say(socket);
            if verdict.is_some() || !socket.can_recv() {
                return verdict;
            }
        }
    }

    fn hear(&mut self, socket: &mut Socket<'_>, reader: &mut Reader) -> Option<Verdict> {
        if socket.can_recv() {
            let taken = socket.recv(|received| {
                let mut bytes = &*received;
                let taken = self.connection.read_tls(&mut bytes);
                (taken.as_ref().copied().unwrap_or(0), taken)
            });
            if !matches!(taken, Ok(Ok(1..))) {
                return Some((false, "TLS: the backend sends without end".to_owned()));
            }
        }
        let state = match self.connection.process_new_packets() {
            Ok(state) => state,
            Err(error) => return Some((false, format!("TLS: {error}"))),
        };
        let verdict = self.read(reader);
        verdict.or_else(|| state.peer_has_closed().then(|| reader.end()))
    }

    fn read(&mut self, reader: &mut Reader) -> Option<Verdict> {
        let mut bytes = [0; 4096];
        loop {
            match self.connection.reader().read(&mut bytes) {
                Ok(len @ 1..) => {
                    if let Some(verdict) = reader.feed(bytes.get(..len)?) {
                        return Some(verdict);
                    }
                }
                // Nothing more for now, or for ever: the caller sees which.
                Ok(0) | Err(_) => return None,
            }
        }
    }

    fn say(&mut self, socket: &mut Socket<'_>) {
        while self.connection.wants_write() {
            // Writing to memory does not fail.
            let written: io::Result<usize> = self.connection.write_tls(&mut self.unsent);
            if !matches!(written, Ok(1..)) {
                break;
            }
        }
        if let Ok(sent) = socket.send_slice(&self.unsent) {
            self.unsent.drain(..sent);
        }
    }
}

/// The name that the backend is asked for; an address is none, and is not sent.
fn name(check: &HttpCheck, address: SocketAddr) -> ServerName<'static> {
    let of_host = check.host.as_deref().and_then(|host| {
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        ServerName::try_from(host.to_owned()).ok()
    });
    of_host.unwrap_or_else(|| ServerName::from(address.ip()))
}
