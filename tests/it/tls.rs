//! TLS on both sides of the gate.

use crate::support::client::Form;
use crate::support::fake_origin::{FakeOrigin, Step, answer};
use crate::support::gate::{Gate, field, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

pub(crate) fn certificate() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate")
}

fn write(dir: &Path, name: &str, certificate: &CertifiedKey<KeyPair>) {
    std::fs::write(dir.join(format!("{name}.pem")), certificate.cert.pem()).expect("writable");
    std::fs::write(dir.join(format!("{name}.key")), certificate.signing_key.serialize_pem()).expect("writable");
}

/// A client's TLS that trusts this certificate alone.
fn trusting(certificate: &CertifiedKey<KeyPair>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).expect("a root");
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// An origin that speaks TLS with this certificate.
async fn origin(certificate: &CertifiedKey<KeyPair>) -> FakeOrigin {
    FakeOrigin::start_tls(Some(acceptor(certificate)), |_, _| {
        vec![Step::ReadAll, answer("200 OK", &[("ETag", "\"e\"")], b"")]
    })
    .await
}

/// A server's TLS with this certificate.
pub(crate) fn acceptor(certificate: &CertifiedKey<KeyPair>) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .expect("they belong together");
    TlsAcceptor::from(Arc::new(config))
}

async fn put(gate: &Gate, tls: Option<Arc<ClientConfig>>) -> Option<u16> {
    let client = crate::support::client::Client { tls, ..gate.client() };
    client.put(Form::UnsignedTrailerChunked, "/b/k", &Payload::random(1, 200_000)).await.ok().map(|a| a.status)
}

/// Clients see the configured certificate, and after a reload the one that lies there then; connections that are open
/// live on, and a certificate that cannot be read changes nothing.
#[tokio::test]
async fn a_certificate_is_exchanged_without_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = (certificate(), certificate());
    write(dir.path(), "gate", &first);
    let origin = FakeOrigin::accepting().await;
    let path = dir.path().display();
    let gate = gate(&Store::fake(origin.address))
        .yaml(&format!("listen: {{ tls: {{ certificate: {path}/gate.pem, key: {path}/gate.key }} }}"))
        .start()
        .await;
    assert_eq!(put(&gate, Some(trusting(&first))).await, Some(200));
    assert_eq!(put(&gate, Some(trusting(&second))).await, None);
    let client = crate::support::client::Client { tls: Some(trusting(&first)), ..gate.client() };
    let mut open = client.connect().await.expect("a connection");

    write(dir.path(), "gate", &second);
    gate.running.reload().await;
    assert_eq!(put(&gate, Some(trusting(&second))).await, Some(200));
    assert_eq!(put(&gate, Some(trusting(&first))).await, None);
    let answer = open.exchange(client.upload(Form::RawSigned, "/b/k", &Payload::from("x"))).await;
    assert_eq!(answer.expect("the old connection lives").status, 200);

    std::fs::write(dir.path().join("gate.pem"), "no certificate").expect("writable");
    gate.running.reload().await;
    assert_eq!(put(&gate, Some(trusting(&second))).await, Some(200));
    assert!(gate.metrics().await.0["hashgate_connection_errors_total{kind=\"tls\"}"] >= 2.0);
    gate.stop().await;
}

/// An origin with a certificate of the configured authority is used; any other is a 503 and gets no byte of a request.
#[tokio::test]
async fn the_origins_certificate_is_checked() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (its_own, other) = (certificate(), certificate());
    write(dir.path(), "origin", &its_own);
    write(dir.path(), "other", &other);
    let origin = origin(&its_own).await;
    for (ca, name, status) in [("origin", "localhost", 200), ("other", "localhost", 503), ("origin", "127.0.0.1", 503)]
    {
        let yaml = format!(
            "origin: {{ endpoint: 'https://{name}:{}', ca_file: {}/{ca}.pem }}",
            origin.address.port(),
            dir.path().display()
        );
        let gate = gate(&Store::fake(origin.address)).yaml(&yaml).start().await;
        assert_eq!(put(&gate, None).await, Some(status), "{ca} {name}");
        if status == 503 {
            gate.audit_line("why", |line| field(line, "reason") == Some(&"origin_tls".into())).await;
        }
        gate.stop().await;
    }
    assert_eq!(origin.exchanges().len(), 1, "only the trusted one was sent a request");
}
