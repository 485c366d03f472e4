//! Opening a connection to the origin.

use super::origin::OriginError;
use crate::config::settings;
use hyper_util::rt::TokioIo;
use std::fs;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How to reach the origin.
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connect_timeout: Duration,
}

/// Why the certificates to trust could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read, or holds no certificate.
    #[error("ca_file: no certificate could be read from it: {0}")]
    File(String),
    /// The system has none.
    #[error("the system has no root certificates: install them (Debian: ca-certificates), or set ca_file")]
    NoSystemRoots,
    /// The host of the endpoint is no name that a certificate could have.
    #[error("origin.endpoint: its host cannot be checked against a certificate")]
    HostName,
}

impl Connector {
    pub(super) fn new(origin: &settings::Origin, connect_timeout: Duration) -> Result<Connector, RootsError> {
        let tls = if origin.tls {
            let name = ServerName::try_from(origin.host.clone()).map_err(|_| RootsError::HostName)?;
            let mut config =
                ClientConfig::builder().with_root_certificates(roots(origin.ca_file.as_deref())?).with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Connector { host: origin.host.clone(), port: origin.port, tls, connect_timeout })
    }

    /// Connects, within the time for it. Gives the stream, and the switch that makes its end a reset.
    pub(super) async fn connect(&self) -> Result<(TokioIo<Stream>, AbortSwitch), OriginError> {
        timeout(self.connect_timeout, self.connect_unbounded()).await.map_err(|_| OriginError::ConnectTimeout)?
    }

    async fn connect_unbounded(&self) -> Result<(TokioIo<Stream>, AbortSwitch), OriginError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(OriginError::Connect)?;
        tcp.set_nodelay(true).map_err(OriginError::Connect)?;
        // From the start, so that even a killed gate resets what it had not finished: a store may take a FIN for the
        // end of an object.
        tcp.set_zero_linger().map_err(OriginError::Connect)?;
        let abort = AbortSwitch::default();
        let transport = match &self.tls {
            None => Transport::Plain(tcp),
            Some((connector, name)) => {
                Transport::Tls(Box::new(connector.connect(name.clone(), tcp).await.map_err(OriginError::Tls)?))
            }
        };
        Ok((TokioIo::new(Stream { transport, abort: abort.clone() }), abort))
    }
}

/// The certificates to trust: those of a PEM file, or the system's.
///
/// # Errors
/// There are none.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let pem = fs::read(file).map_err(|error| RootsError::File(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| RootsError::File(error.to_string()))?;
                roots.add(certificate).map_err(|error| RootsError::File(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(RootsError::File("it holds no certificate".into()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(RootsError::NoSystemRoots);
            }
        }
    }
    Ok(roots)
}

/// Once it is thrown, its connection ends by reset only: nothing more is written, and nothing is shut down in order.
#[derive(Clone, Debug, Default)]
pub(super) struct AbortSwitch(Arc<AtomicBool>);

impl AbortSwitch {
    pub(super) fn throw(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_thrown(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection to the origin.
pub(super) struct Stream {
    transport: Transport,
    abort: AbortSwitch,
}

/// An origin that refuses early may have closed by the time we write, and its answer waits to be read. So a write that
/// nobody takes is no error yet: what is read next, an answer or an end, says what happened.
fn unheard(written: Poll<io::Result<usize>>, len: usize) -> Poll<io::Result<usize>> {
    match written {
        Poll::Ready(Err(error))
            if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
        {
            Poll::Ready(Ok(len))
        }
        written => written,
    }
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.abort.is_thrown() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match &mut this.transport {
            Transport::Plain(stream) => unheard(Pin::new(stream).poll_write(cx, buf), buf.len()),
            Transport::Tls(stream) => unheard(Pin::new(stream).poll_write(cx, buf), buf.len()),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.abort.is_thrown() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let len = bufs.iter().map(|buf| buf.len()).sum();
        match &mut this.transport {
            Transport::Plain(stream) => unheard(Pin::new(stream).poll_write_vectored(cx, bufs), len),
            Transport::Tls(stream) => unheard(Pin::new(stream).poll_write_vectored(cx, bufs), len),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.abort.is_thrown() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.abort.is_thrown() {
            // An orderly end could be taken for the end of the object; dropping the socket resets it.
            return Poll::Ready(Ok(()));
        }
        match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
