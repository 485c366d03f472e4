//! An origin that follows a script and remembers every byte that it was sent.

use super::io::Io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

type Make = dyn Fn(&Exchange) -> Vec<u8> + Send + Sync;

/// Makes the bytes of an answer.
#[derive(Clone)]
pub(crate) struct Answering(pub(crate) Arc<Make>);

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answering")
    }
}

/// What the origin does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Reads until this many bytes of the body are there, or its end.
    ReadBody(usize),
    /// Reads the body to its end.
    ReadAll,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends what it makes of the request, as far as it was read.
    Answer(Answering),
    /// Reads no more, and holds the connection.
    Stall,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
}

/// A complete answer.
pub(crate) fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Step {
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    Step::Send(bytes)
}

/// How a connection ended, seen from the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Fin,
    Reset,
    /// The script ended it.
    Ours,
}

/// One request, as far as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    /// Up to and with the empty line, exactly.
    pub(crate) head: Vec<u8>,
    /// What came behind it, exactly.
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) complete: bool,
}

impl Exchange {
    pub(crate) fn head_text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    pub(crate) fn line(&self) -> String {
        self.head_text().split("\r\n").next().unwrap_or_default().to_owned()
    }

    /// Every value of a header.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let text = self.head_text();
        let headers = text.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        headers.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
    }

    /// The body with the framing of `Transfer-Encoding: chunked` taken off.
    pub(crate) fn content(&self) -> Vec<u8> {
        if self.headers("transfer-encoding").is_empty() {
            return self.body.clone();
        }
        dechunk(&self.body).0
    }
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) end: End,
}

type Script = Arc<dyn Fn(usize, &Exchange) -> Vec<Step> + Send + Sync>;

/// A running origin.
#[derive(Clone)]
pub(crate) struct FakeOrigin {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl FakeOrigin {
    /// `script` is asked at the head of each request; its first argument counts requests from 0.
    pub(crate) async fn start(script: impl Fn(usize, &Exchange) -> Vec<Step> + Send + Sync + 'static) -> FakeOrigin {
        FakeOrigin::start_tls(None, script).await
    }

    /// The same, encrypted.
    pub(crate) async fn start_tls(
        tls: Option<tokio_rustls::TlsAcceptor>,
        script: impl Fn(usize, &Exchange) -> Vec<Step> + Send + Sync + 'static,
    ) -> FakeOrigin {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = FakeOrigin { address: listener.local_addr().expect("bound"), connections: Arc::default() };
        let script: Script = Arc::new(script);
        let count = Arc::new(Mutex::new(0));
        let connections = origin.connections.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).expect("an open socket takes its options");
                let (script, count, connections, tls) =
                    (script.clone(), count.clone(), connections.clone(), tls.clone());
                tokio::spawn(async move {
                    let io = match tls {
                        None => Io::Plain(tcp),
                        Some(acceptor) => match acceptor.accept(tcp).await {
                            Ok(stream) => Io::Tls(Box::new(stream.into())),
                            // A peer that does not like our certificate never becomes a connection.
                            Err(_) => return,
                        },
                    };
                    let index = {
                        let mut all = connections.lock().expect("no panic while locked");
                        all.push(Connection { exchanges: Vec::new(), end: End::Open });
                        all.len() - 1
                    };
                    let serving = Serving { io, script, count, log: Log { connections, index } };
                    serving.run().await;
                });
            }
        });
        origin
    }

    /// Answers every request with 200 once its body is there, and says 100 where that is expected.
    pub(crate) async fn accepting() -> FakeOrigin {
        FakeOrigin::start(|_, request| {
            let mut steps = Vec::new();
            if !request.headers("expect").is_empty() {
                steps.push(Step::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
            }
            steps.extend([Step::ReadAll, answer("200 OK", &[("ETag", "\"e\"")], b"")]);
            steps
        })
        .await
    }

    /// Everything seen so far.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.connections.lock().expect("no panic while locked").clone()
    }

    /// Every request seen so far, connection by connection.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.connections().into_iter().flat_map(|c| c.exchanges).collect()
    }

    /// Waits until the record looks as wanted.
    pub(crate) async fn wait(&self, what: &str, wanted: impl Fn(&[Connection]) -> bool) -> Vec<Connection> {
        super::eventually(what, async || Some(self.connections()).filter(|all| wanted(all))).await
    }
}

struct Log {
    connections: Arc<Mutex<Vec<Connection>>>,
    index: usize,
}

impl Log {
    fn with<T>(&self, act: impl FnOnce(&mut Connection) -> T) -> T {
        act(&mut self.connections.lock().expect("no panic while locked")[self.index])
    }
}

struct Serving {
    io: Io,
    script: Script,
    count: Arc<Mutex<usize>>,
    log: Log,
}

impl Serving {
    async fn run(mut self) {
        let mut early = Vec::new();
        loop {
            let head = match self.head(&mut early).await {
                Ok(head) => head,
                Err(end) => return self.log.with(|c| c.end = end),
            };
            let exchange = Exchange { head, ..Exchange::default() };
            let length = exchange.headers("content-length").first().and_then(|v| v.parse::<usize>().ok());
            let chunked = !exchange.headers("transfer-encoding").is_empty();
            self.log.with(|c| c.exchanges.push(exchange.clone()));
            let number = {
                let mut count = self.count.lock().expect("no panic while locked");
                *count += 1;
                *count - 1
            };
            let end_of = |body: &[u8]| match (chunked, length) {
                (true, _) => dechunk(body).1,
                (false, length) => (body.len() >= length.unwrap_or(0)).then_some(length.unwrap_or(0)),
            };
            self.take(&mut early, &end_of);
            for step in (self.script)(number, &exchange) {
                let done = match step {
                    Step::ReadBody(n) => self.read_body(&mut early, &end_of, n).await,
                    Step::ReadAll => self.read_body(&mut early, &end_of, usize::MAX).await,
                    Step::Send(bytes) => self.send(&bytes).await,
                    Step::Answer(answering) => {
                        let asked = self.log.with(|c| c.exchanges.last().expect("one is open").clone());
                        self.send(&(answering.0)(&asked)).await
                    }
                    Step::Stall => std::future::pending().await,
                    Step::Close => Err(End::Ours),
                    Step::Reset => {
                        self.io.tcp().set_zero_linger().expect("an open socket takes its options");
                        Err(End::Ours)
                    }
                };
                if let Err(end) = done {
                    return self.log.with(|c| c.end = end);
                }
            }
            // What still comes belongs to this body; a connection with an unfinished body takes no other request.
            if let Err(end) = self.read_body(&mut early, &end_of, usize::MAX).await {
                return self.log.with(|c| c.end = end);
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        match self.io.write_all(bytes).await.and(self.io.flush().await) {
            Ok(()) => Ok(()),
            Err(_) => Err(End::Reset),
        }
    }

    async fn head(&mut self, early: &mut Vec<u8>) -> Result<Vec<u8>, End> {
        loop {
            if let Some(at) = early.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = early.split_off(at + 4);
                return Ok(std::mem::replace(early, rest));
            }
            self.read(early).await?;
        }
    }

    async fn read(&mut self, into: &mut Vec<u8>) -> Result<(), End> {
        match self.io.read_buf(into).await {
            Ok(0) => Err(End::Fin),
            Ok(_) => Ok(()),
            Err(_) => Err(End::Reset),
        }
    }

    /// Moves what belongs to the current body into the record.
    fn take(&mut self, early: &mut Vec<u8>, end_of: &impl Fn(&[u8]) -> Option<usize>) {
        self.log.with(|c| {
            let exchange = c.exchanges.last_mut().expect("one is open");
            if exchange.complete {
                return;
            }
            exchange.body.append(early);
            if let Some(end) = end_of(&exchange.body) {
                *early = exchange.body.split_off(end);
                exchange.complete = true;
            }
        });
    }

    async fn read_body(
        &mut self,
        early: &mut Vec<u8>,
        end_of: &impl Fn(&[u8]) -> Option<usize>,
        wanted: usize,
    ) -> Result<(), End> {
        loop {
            let enough = self.log.with(|c| {
                let exchange = c.exchanges.last().expect("one is open");
                exchange.complete || exchange.body.len() >= wanted
            });
            if enough {
                return Ok(());
            }
            self.read(early).await?;
            self.take(early, end_of);
        }
    }
}

/// Takes off the framing of `Transfer-Encoding: chunked`; the second value is where the body ends, once it does.
fn dechunk(mut body: &[u8]) -> (Vec<u8>, Option<usize>) {
    let whole = body.len();
    let mut content = Vec::new();
    loop {
        let Some(at) = body.windows(2).position(|w| w == b"\r\n") else {
            return (content, None);
        };
        let line = String::from_utf8_lossy(&body[..at]).into_owned();
        let size = usize::from_str_radix(line.split(';').next().unwrap_or(""), 16)
            .unwrap_or_else(|_| panic!("chunk size {line:?}"));
        body = &body[at + 2..];
        if body.len() < size + 2 {
            content.extend_from_slice(&body[..body.len().min(size)]);
            return (content, None);
        }
        content.extend_from_slice(&body[..size]);
        body = &body[size + 2..];
        if size == 0 {
            return (content, Some(whole - body.len()));
        }
    }
}
