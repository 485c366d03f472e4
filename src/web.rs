//! HTTP to services other than the origin: where lists come from, and what is asked about digests.
//!
//! Certificates are always checked. Redirects are not followed: a list must come from where the configuration says.

use crate::config::settings::Login;
use crate::forward::{RootsError, roots};
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::fmt::Display;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

/// For a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Why a service gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No connection, or one that broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// Nothing came for too long.
    #[error("it does not answer in time")]
    Silent,
    /// Another status than the one that was hoped for.
    #[error("it answers {status}{}", hint(*.status))]
    Status {
        /// The status.
        status: u16,
    },
    /// Something that is no answer to what was asked.
    #[error("its answer cannot be read: {0}")]
    Answer(String),
}

fn hint(status: u16) -> &'static str {
    match status {
        301 | 302 | 303 | 307 | 308 => "; redirects are not followed: give the address that it leads to",
        401 | 403 => "; look at its credentials",
        404 => "; look at its address",
        _ => "",
    }
}

/// The Authorization header of a login: Basic (RFC 7617) or Bearer (RFC 6750).
///
/// # Errors
/// It fits into no header.
pub fn authorization(login: &Login) -> Result<HeaderValue, WebError> {
    let text = match login {
        Login::Basic { username, password } => {
            format!("Basic {}", BASE64.encode(format!("{username}:{}", password.expose())))
        }
        Login::Bearer(token) => format!("Bearer {}", token.expose()),
    };
    let mut value =
        HeaderValue::try_from(text).map_err(|_| WebError::Answer("the credentials fit into no header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A client of one service.
#[derive(Clone, Debug)]
pub struct Web(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Web {
    /// One that trusts the system's certificates, or only those of `ca_file`.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn new(ca_file: Option<&Path>) -> Result<Web, RootsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let config = ClientConfig::builder().with_root_certificates(roots(ca_file)?).with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector.wrap_connector(tcp));
        Ok(Web(client))
    }

    /// Sends a request and gives the head of its answer, within `limit`.
    ///
    /// # Errors
    /// No answer came. Its status is not looked at.
    pub async fn send(&self, request: Request<Full<Bytes>>, limit: Duration) -> Result<Response<Incoming>, WebError> {
        let unreachable = |error: hyper_util::client::legacy::Error| {
            // The error itself says only "client error (Connect)".
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            WebError::Unreachable(cause.to_string())
        };
        timeout(limit, self.0.request(request)).await.map_err(|_| WebError::Silent)?.map_err(unreachable)
    }

    /// Sends a request, and reads an answer of at most `bytes_max`, all of it within `limit`.
    ///
    /// # Errors
    /// No answer came, or a longer one.
    pub async fn call(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, WebError> {
        timeout(limit, async {
            let (head, mut body) = self.send(request, limit).await?.into_parts();
            let mut whole = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| WebError::Unreachable(error.to_string()))?;
                whole.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                if whole.len() > bytes_max {
                    return Err(WebError::Answer(format!("it is longer than {bytes_max} bytes")));
                }
            }
            Ok(Response::from_parts(head, whole.into()))
        })
        .await
        .map_err(|_| WebError::Silent)?
    }
}

/// An answer that is read by a thread of its own, never by one of the runtime.
#[derive(Debug)]
pub struct Download<B = Incoming> {
    runtime: Handle,
    body: B,
    idle_max: Duration,
    rest: Bytes,
}

impl<B> Download<B> {
    /// Of this body; an error when nothing of it comes for `idle_max`.
    pub fn new(runtime: Handle, body: B, idle_max: Duration) -> Download<B> {
        Download { runtime, body, idle_max, rest: Bytes::new() }
    }
}

impl<B: Body<Data = Bytes, Error: Display> + Unpin> Read for Download<B> {
    /// A body that is shorter than its head said is an error, never an end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let silent = || io::Error::new(io::ErrorKind::TimedOut, "the download stopped");
            let next = self.runtime.block_on(async { timeout(self.idle_max, self.body.frame()).await });
            match next.map_err(|_| silent())? {
                None => return Ok(0),
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error.to_string())),
            }
        }
        let taken = self.rest.split_to(buffer.len().min(self.rest.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
