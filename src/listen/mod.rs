//! Accepting clients: connections, their limits and deadlines, and an orderly end.

mod proxy;
mod tls;

pub use tls::{TlsError, TlsIdentity};

use crate::act::canary::Internal;
use crate::gate::Gate;
use crate::upload;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutWriter;

/// Bytes that are read from a client ahead of what is used; with the hold, most of what an upload costs in memory.
const READ_BUFFER: usize = 64 << 10;

/// Accepts until `stopping` says true, then waits for the requests in flight, at most `limits.drain_timeout`.
pub async fn serve(
    gate: Arc<Gate>,
    listener: TcpListener,
    tls: Option<Arc<TlsIdentity>>,
    stopping: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(gate.limits().connections));
    let (alive, mut all_done) = tokio::sync::mpsc::channel::<Infallible>(1);
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(stopping.clone()) => break,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: without the pause this loop would spin until some are free.
                tracing::warn!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (gate, tls, stopping, alive) = (gate.clone(), tls.clone(), stopping.clone(), alive.clone());
        tokio::spawn(async move {
            let open = gate.sinks.metrics.connection();
            if let Err(kind) = connection(&gate, tcp, peer, tls, stopping).await {
                gate.sinks.metrics.connection_error(kind);
            }
            drop((open, slot, alive));
        });
    }
    drop((listener, alive));
    if timeout(gate.limits().drain_timeout, all_done.recv()).await.is_err() {
        tracing::warn!("some requests did not end within limits.drain_timeout and were cut off");
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that nobody is left who could say it: the same thing.
    stopping.wait_for(|stop| *stop).await.ok();
}

/// Serves one connection. `Err` gives the kind of error for the metric.
async fn connection(
    gate: &Arc<Gate>,
    mut tcp: TcpStream,
    mut peer: SocketAddr,
    tls: Option<Arc<TlsIdentity>>,
    stopping: watch::Receiver<bool>,
) -> Result<(), &'static str> {
    // Answers are small; waiting to fill a packet would delay them.
    tcp.set_nodelay(true).map_err(|_| "io")?;
    let deadline = gate.limits().header_timeout;
    if gate.settings.listen.proxy_protocol {
        let header = timeout(deadline, proxy::read_header(&mut tcp)).await;
        peer = header.map_err(|_| "timeout")?.map_err(|_| "proxy_protocol")?.unwrap_or(peer);
    }
    match tls {
        None => http(gate, tcp, peer, false, stopping).await,
        Some(identity) => {
            let handshake = timeout(deadline, identity.acceptor().accept(tcp)).await;
            let stream = handshake.map_err(|_| "timeout")?.map_err(|_| "tls")?;
            http(gate, stream, peer, false, stopping).await
        }
    }
}

/// Serves one connection of the gate with itself, in memory: as a client's, but for the way that it came.
pub async fn serve_internal(gate: &Arc<Gate>, stream: DuplexStream, stopping: watch::Receiver<bool>) {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // The other end knows by its answer, or by the lack of one.
    http(gate, stream, peer, true, stopping).await.ok();
}

async fn http(
    gate: &Arc<Gate>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    internal: bool,
    stopping: watch::Receiver<bool>,
) -> Result<(), &'static str> {
    // A client that does not take its answer holds a connection at the origin open.
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(gate.limits().idle_timeout));
    let service = service_fn(|mut request: Request<Incoming>| async move {
        if internal {
            request.extensions_mut().insert(Internal);
        }
        Ok::<_, Infallible>(upload::serve(gate, peer, request).await)
    });
    let mut server = http1::Builder::new();
    server
        .preserve_header_case(true)
        .timer(TokioTimer::new())
        .header_read_timeout(gate.limits().header_timeout)
        .max_buf_size(READ_BUFFER);
    let mut serving = pin!(server.serve_connection(TokioIo::new(Box::pin(stream)), service));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stopped(stopping) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    served.map_err(|error| error_kind(&error))
}

/// hyper answers what it cannot parse by itself, before we see it: counted here.
fn error_kind(error: &hyper::Error) -> &'static str {
    if error.is_parse() {
        "parse"
    } else if error.is_timeout() {
        "timeout"
    } else {
        "io"
    }
}

/// Opens the listening socket.
///
/// # Errors
/// The system's: the port is taken, or the address is not one of this machine.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}
