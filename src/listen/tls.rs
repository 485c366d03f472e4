//! The certificate that we show to clients. It can be exchanged while connections live.

use crate::config::settings::Tls;
use arc_swap::ArcSwap;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of the certificate chain.
    #[error("listen.tls.certificate: {0}: {1}")]
    Certificate(String, String),
    /// The file of the key.
    #[error("listen.tls.key: {0}: {1}")]
    Key(String, String),
    /// They do not fit together, say.
    #[error("listen.tls: certificate and key cannot be used together: {0}")]
    Pair(rustls::Error),
}

/// Certificate and key, as last read.
pub struct TlsIdentity {
    files: Tls,
    config: ArcSwap<ServerConfig>,
}

impl TlsIdentity {
    /// Reads both files.
    pub fn load(files: &Tls) -> Result<TlsIdentity, TlsError> {
        Ok(TlsIdentity { files: files.clone(), config: ArcSwap::new(read(files)?) })
    }

    /// Reads both files again; new connections get the new certificate. On an error the old one stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(read(&self.files)?);
        Ok(())
    }

    /// For the handshake of one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

fn read(files: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let certificate = |error: String| TlsError::Certificate(files.certificate.display().to_string(), error);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .map_err(|error| certificate(error.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|error| certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(certificate("it holds no certificate in PEM form".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::Key(files.key.display().to_string(), error.to_string()))?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
