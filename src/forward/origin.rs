//! The origin: its connections, and requests that need no hold.

use super::body::{AnswerBody, RequestBody};
use super::connect::{AbortSwitch, Connector, RootsError};
use crate::config::settings;
use crate::record::Metrics;
use http::{Method, Request, Response};
use hyper::client::conn::http1::{Builder, SendRequest};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Why the origin gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// No connection.
    #[error("cannot connect to the origin: {0}")]
    Connect(io::Error),
    /// Not within the time for it.
    #[error("connecting to the origin took too long")]
    ConnectTimeout,
    /// No TLS session: a certificate that is not trusted, for instance.
    #[error("no TLS session with the origin: {0}")]
    Tls(io::Error),
    /// The connection broke.
    #[error("the origin closed the connection without an answer: {0}")]
    Broken(String),
    /// It took no byte, or sent none, for too long.
    #[error("the origin stalled")]
    Stalled,
}

impl OriginError {
    /// The metric label.
    pub fn label(&self) -> &'static str {
        match self {
            OriginError::Connect(_) => "origin_connect",
            OriginError::ConnectTimeout => "origin_connect_timeout",
            OriginError::Tls(_) => "origin_tls",
            OriginError::Broken(_) => "origin_broken",
            OriginError::Stalled => "origin_stalled",
        }
    }

    pub(super) fn from_hyper(error: &hyper::Error) -> OriginError {
        OriginError::Broken(error.to_string())
    }
}

/// The store behind us.
pub struct Origin {
    connector: Connector,
    idle: Mutex<Vec<Idle>>,
    limits: Limits,
    metrics: Metrics,
}

#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) answer_timeout: Duration,
    idle_max: Duration,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// An open connection that no request uses.
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) abort: AbortSwitch,
    /// Whether a request went over it before, so that it may have been closed by the other side meanwhile.
    reused: bool,
}

/// What gives a connection back to the pool once the answer on it was read to its end.
pub(super) struct Lease {
    pub(super) origin: Arc<Origin>,
    pub(super) connection: Connection,
}

impl Lease {
    pub(super) fn give_back(self) {
        self.origin.park(self.connection);
    }
}

impl Origin {
    /// Sets up TLS; opens nothing yet.
    pub fn new(
        origin: &settings::Origin,
        limits: &settings::Limits,
        metrics: Metrics,
    ) -> Result<Arc<Origin>, RootsError> {
        Ok(Arc::new(Origin {
            connector: Connector::new(origin, limits.connect_timeout)?,
            idle: Mutex::new(Vec::new()),
            limits: Limits { answer_timeout: limits.origin_timeout, idle_max: limits.origin_idle },
            metrics,
        }))
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Sends a request that carries nothing to inspect, and gives the answer when its head is there.
    ///
    /// A kept connection may have been closed by the origin at this very moment; a request that is idempotent (RFC 9110,
    /// section 9.2.2), and whose body is at hand, is then sent once more over a new one. The client would do the same.
    pub async fn send(self: &Arc<Self>, request: Request<RequestBody>) -> Result<Response<AnswerBody>, OriginError> {
        let (parts, body) = request.into_parts();
        let connection = self.connection().await?;
        let idempotent =
            matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
        let again = body.again().filter(|_| idempotent && connection.reused);
        let again = again.map(|body| Request::from_parts(parts.clone(), body));
        match (self.exchange(connection, Request::from_parts(parts, body)).await, again) {
            (Err(OriginError::Broken(_)), Some(again)) => {
                let fresh = self.open().await?;
                self.exchange(fresh, again).await
            }
            (answer, _) => answer,
        }
    }

    /// Sends a request whose body the caller hands over piece by piece, and watches while it does: there is no limit on how
    /// long the answer takes, and none for the whole.
    pub async fn send_watched(
        self: &Arc<Self>,
        request: Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, OriginError> {
        let mut connection = self.connection().await?;
        let answer = connection.sender.send_request(request).await.map_err(|error| OriginError::from_hyper(&error))?;
        let lease = Lease { origin: self.clone(), connection };
        Ok(answer.map(|body| AnswerBody::new(body, Some(lease), self.limits.answer_timeout)))
    }

    async fn exchange(
        self: &Arc<Self>,
        mut connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, OriginError> {
        let answer = timeout(self.limits.answer_timeout, connection.sender.send_request(request))
            .await
            .map_err(|_| OriginError::Stalled)?
            .map_err(|error| OriginError::from_hyper(&error))?;
        let lease = Lease { origin: self.clone(), connection };
        Ok(answer.map(|body| AnswerBody::new(body, Some(lease), self.limits.answer_timeout)))
    }

    /// A connection that is ready for a request: a kept one, or a new one.
    pub(super) async fn connection(&self) -> Result<Connection, OriginError> {
        while let Some(mut connection) = self.unpark() {
            // Ready as soon as its task has seen the end of the last answer; an error says that it was closed.
            if connection.sender.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        self.open().await
    }

    /// A new connection, driven by its own task until it ends.
    pub(super) async fn open(&self) -> Result<Connection, OriginError> {
        let (stream, abort) = self.connector.connect().await?;
        let (sender, driver) = Builder::new()
            .preserve_header_case(true)
            .max_buf_size(super::WINDOW)
            .handshake(stream)
            .await
            .map_err(|error| OriginError::from_hyper(&error))?;
        let open = self.metrics.origin_connection_opened();
        let switch = abort.clone();
        tokio::spawn(async move {
            // The error, if any, also reaches whoever waits for the answer.
            if driver.await.is_err() {
                switch.throw();
            }
            drop(open);
        });
        Ok(Connection { sender, abort, reused: false })
    }

    fn unpark(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = Instant::now().checked_sub(self.limits.idle_max);
        idle.retain(|kept| oldest.is_none_or(|oldest| kept.since > oldest) && !kept.connection.sender.is_closed());
        Some(idle.pop()?.connection)
    }

    fn park(&self, connection: Connection) {
        if connection.sender.is_closed() || connection.abort.is_thrown() {
            return;
        }
        let connection = Connection { reused: true, ..connection };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Idle { connection, since: Instant::now() });
    }
}
