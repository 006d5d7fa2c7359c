//! A manager that speaks TLS and wants to see a certificate, as `dockerd --tlsverify` does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::api::{Answers, Listener, Said, config};
use crate::api::tempdir::Directory;
use crate::config::{Endpoint, TlsConfig};
use crate::swarm::client::Engine;
use crate::swarm::provider::Provider;
use crate::swarm::tls;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        Identity { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

impl Identity {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        self.key.serialize_der().try_into().unwrap()
    }
}

/// Serves the recorded answers to clients of `trusted`; the port.
async fn manager(identity: &Identity, trusted: &Authority, version: &'static SupportedProtocolVersion) -> u16 {
    let provider = Arc::new(ring::default_provider());
    let roots = Arc::new(trusted.roots());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap();
    let server = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let server = server.with_client_cert_verifier(verifier);
    let server = server.with_single_cert(identity.chain(), identity.key()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Answers::recorded();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answers) = (acceptor.clone(), answers.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answers.converse(stream).await;
                }
            });
        }
    });
    port
}

/// As an operator puts them down.
fn files(directory: &Directory, ca: &Authority, own: &Identity) -> TlsConfig {
    let file = |name: &str, text: String| -> PathBuf {
        let path = directory.path.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    TlsConfig {
        ca: file("ca.pem", ca.0.pem()),
        cert: file("cert.pem", own.certificate.pem()),
        key: file("key.pem", own.key.serialize_pem()),
    }
}

/// The first that the provider says with these files about the manager at `host`.
async fn first_words(host: &str, port: u16, ca: &Authority, own: &Identity) -> Said {
    let directory = Directory::new();
    let endpoint = Endpoint::Tcp { host: host.to_owned(), port };
    let config = config(vec![endpoint], Some(files(&directory, ca, own)), &directory);
    let (say, mut said) = mpsc::unbounded_channel();
    let provider = Provider::new(&config).unwrap().run(Arc::new(Listener(say, Arc::default())));
    let heard = async {
        tokio::select! {
            () = provider => unreachable!(),
            said = said.recv() => said.unwrap(),
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap()
}

async fn complaint(host: &str, port: u16, ca: &Authority, own: &Identity) -> String {
    match first_words(host, port, ca, own).await {
        Said::Failed(why) => why,
        Said::Follow(wishes, _) => panic!("it was believed: {wishes:?}"),
    }
}

fn client_of(authority: &Authority) -> Identity {
    authority.sign(&["gateway"], ExtendedKeyUsagePurpose::ClientAuth)
}

fn server_of(authority: &Authority, names: &[&str]) -> Identity {
    authority.sign(names, ExtendedKeyUsagePurpose::ServerAuth)
}

#[tokio::test]
async fn with_certificates_that_fit_a_manager_is_followed() {
    let ca = Authority::new("swarm");
    for version in VERSIONS {
        for host in ["localhost", "127.0.0.1"] {
            let port = manager(&server_of(&ca, &[host]), &ca, version).await;
            match first_words(host, port, &ca, &client_of(&ca)).await {
                Said::Follow(wishes, place) => {
                    assert_eq!(wishes.services[0].service.name, "my-web");
                    assert_eq!(place.endpoint, format!("tcp://{host}:{port}"));
                }
                Said::Failed(why) => panic!("{version:?}: {why}"),
            }
        }
    }
}

#[tokio::test]
async fn a_manager_of_another_authority_is_not_believed() {
    let (ca, other) = (Authority::new("swarm"), Authority::new("another"));
    let port = manager(&server_of(&other, &["localhost"]), &ca, &TLS13).await;
    assert_eq!(
        complaint("localhost", port, &ca, &client_of(&ca)).await,
        format!(
            "tcp://localhost:{port}: invalid peer certificate: UnknownIssuer: swarm.ca must be the CA that signed the \
             manager's certificate"
        )
    );
}

#[tokio::test]
async fn a_manager_of_another_name_is_not_believed() {
    let ca = Authority::new("swarm");
    let port = manager(&server_of(&ca, &["manager-1"]), &ca, &TLS13).await;
    let why = complaint("127.0.0.1", port, &ca, &client_of(&ca)).await;
    assert!(why.starts_with(&format!("tcp://127.0.0.1:{port}: invalid peer certificate: ")), "{why}");
    assert!(why.contains("manager-1"), "{why}");
    assert!(why.ends_with(": name the manager in swarm.endpoints as its certificate does (subjectAltName)"), "{why}");
}

/// With TLS 1.3 the handshake is over for the client before the manager has looked at its certificate.
#[tokio::test]
async fn what_a_manager_refuses_is_told_with_the_remedy() {
    let (ca, other) = (Authority::new("swarm"), Authority::new("another"));
    for version in VERSIONS {
        let port = manager(&server_of(&ca, &["localhost"]), &ca, version).await;
        for own in [client_of(&other), server_of(&ca, &["gateway"])] {
            for _ in 0..10 {
                let why = complaint("localhost", port, &ca, &own).await;
                assert!(why.starts_with(&format!("tcp://localhost:{port}: received fatal alert: ")), "{why}");
                assert!(why.contains("swarm.cert and swarm.key must be a client's, signed by the CA"), "{why}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_certificate_a_manager_refuses() {
    let ca = Authority::new("swarm");
    for version in VERSIONS {
        let port = manager(&server_of(&ca, &["localhost"]), &ca, version).await;
        let endpoint = Endpoint::Tcp { host: "localhost".to_owned(), port };
        let bare = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let bare = bare.with_safe_default_protocol_versions().unwrap();
        let bare = bare.with_root_certificates(ca.roots()).with_no_client_auth();
        let asked = async {
            let mut connection = Engine::new(endpoint, Some(Arc::new(bare))).connect().await?;
            connection.get("/services").await
        };
        let why = asked.await.unwrap_err().to_string();
        assert!(why.starts_with(&format!("tcp://localhost:{port}: received fatal alert: ")), "{version:?}: {why}");
        assert!(why.contains("swarm.cert and swarm.key must be a client's"), "{version:?}: {why}");
    }
}

#[tokio::test]
async fn a_manager_without_tls_is_told_from_one_with() {
    let ca = Authority::new("swarm");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Answers::recorded().converse(stream));
        }
    });
    let why = complaint("localhost", port, &ca, &client_of(&ca)).await;
    assert!(why.ends_with("does the manager's dockerd speak TLS there (tlsverify, port 2376)?"), "{why}");
    // And the other way round.
    let port = manager(&server_of(&ca, &["localhost"]), &ca, &TLS13).await;
    let endpoint = Endpoint::Tcp { host: "localhost".to_owned(), port };
    let mut connection = Engine::new(endpoint, None).connect().await.unwrap();
    let why = connection.get("/services").await.unwrap_err().to_string();
    assert!(why.starts_with(&format!("tcp://localhost:{port}: ")) && why.contains("ca, cert and key"), "{why}");
}

#[test]
fn files_that_are_none_are_named_at_the_start() {
    let ca = Authority::new("swarm");
    let directory = Directory::new();
    let good = files(&directory, &ca, &client_of(&ca));
    assert!(tls::client(&good).is_ok());
    let refused = |files: &TlsConfig| tls::client(files).unwrap_err().to_string();
    let none = directory.path.join("none.pem");
    let why = refused(&TlsConfig { ca: none.clone(), ..good.clone() });
    assert!(why.contains(&none.display().to_string()) && why.contains("ca, cert and key are files in PEM"), "{why}");
    let why = refused(&TlsConfig { cert: good.key.clone(), ..good.clone() });
    assert!(why.contains("there is no certificate in it"), "{why}");
    std::fs::write(&good.key, client_of(&ca).key.serialize_pem()).unwrap();
    let why = refused(&good);
    assert!(why.contains("cert.pem"), "the key of another certificate: {why}");
}
