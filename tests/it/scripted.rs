//! A gate in this process, an origin that does what it is told, and a client that sends what it is told.

use hashgate::digest::Digests;
use hashgate::serve::{self, Running};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest time that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the origin does with a request.
#[derive(Clone, Debug)]
pub enum Script {
    /// Reads head and body, and answers 200.
    Take,
    /// Answers with this as soon as it has the head.
    AnswerEarly(&'static str),
    /// Answers with this when it has the head and so many body bytes.
    AnswerAfter(usize, &'static str),
    /// Closes the connection when it has the head and so many body bytes.
    CloseAfter(usize),
    /// Reads head and body, and answers with this.
    Answer(&'static str),
}

/// What the origin saw of one request.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
    /// The connection was reset before the body was complete.
    pub reset: bool,
    /// The body came whole.
    pub whole: bool,
}

pub struct FakeOrigin {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

pub async fn origin(script: Script) -> FakeOrigin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, script.clone(), log.clone()));
        }
    });
    FakeOrigin { address, seen }
}

impl FakeOrigin {
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until what it saw is as expected.
    pub async fn wait_for(&self, expected: impl Fn(&[Seen]) -> bool) {
        let arrived = async {
            while !expected(&self.seen()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, arrived).await.is_err() {
            panic!("the origin never saw what was expected, but {:?}", self.seen());
        }
    }
}

async fn connection(mut stream: TcpStream, script: Script, log: Arc<Mutex<Vec<Seen>>>) {
    let mut buffer = Vec::new();
    loop {
        let Some(head_end) = read_head(&mut stream, &mut buffer).await else { return };
        let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
        buffer.drain(..head_end);
        let index = {
            let mut log = log.lock().unwrap();
            log.push(Seen { head: head.clone(), ..Seen::default() });
            log.len() - 1
        };
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let length = header(&head, "content-length").and_then(|value| value.parse::<usize>().ok()).unwrap_or(0);
        if let Script::AnswerEarly(answer) = script {
            stream.write_all(answer.as_bytes()).await.ok();
        }
        loop {
            let whole = if chunked { buffer.ends_with(b"0\r\n\r\n") } else { buffer.len() >= length };
            {
                let mut log = log.lock().unwrap();
                log[index].body.clone_from(&buffer);
                log[index].whole = whole;
            }
            match script {
                Script::CloseAfter(bytes) if buffer.len() >= bytes => return,
                Script::AnswerAfter(bytes, answer) if buffer.len() >= bytes && !whole => {
                    stream.write_all(answer.as_bytes()).await.ok();
                }
                _ => {}
            }
            if whole {
                break;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(_) => {
                    log.lock().unwrap()[index].reset = true;
                    return;
                }
            }
        }
        buffer.clear();
        let answer = match script {
            Script::Take => "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 0\r\n\r\n",
            Script::Answer(answer) => answer,
            _ => return,
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Some(at + 4);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The value of a header in the text of a head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (given, value) = line.split_once(':')?;
        given.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub struct TestGate {
    pub running: Running,
    pub folder: TempDir,
}

/// A gate before `origin` whose list holds the SHA-256 digests of `listed`. `more` is further YAML.
pub async fn gate(origin: SocketAddr, listed: &[&[u8]], more: &str) -> TestGate {
    let folder = tempfile::tempdir().unwrap();
    let mut list = hex::encode(Digests::of(b"something, so that the list is never empty").sha256);
    for payload in listed {
        list.push('\n');
        list.push_str(&hex::encode(Digests::of(payload).sha256));
    }
    std::fs::write(folder.path().join("list"), list).unwrap();
    let kind = if more.contains("kind:") { "" } else { ", kind: seaweedfs" };
    let (inside, outside) = more.split_once('|').unwrap_or(("", more));
    let yaml = format!(
        "listen: {{ address: '127.0.0.1:0' }}\nadmin: {{ address: '127.0.0.1:0' }}\norigin: {{ endpoint: 'http://{origin}'{kind}{inside} }}\nlists: [ {{ name: sample, source: list }} ]\n{outside}\n"
    );
    let file = folder.path().join("hashgate.yaml");
    std::fs::write(&file, yaml).unwrap();
    let settings = hashgate::config::load(&file).unwrap_or_else(|error| panic!("{error}"));
    TestGate { running: serve::start(settings).await.unwrap(), folder }
}

impl TestGate {
    /// Sends raw bytes and reads one whole answer: status, head, body.
    pub async fn send(&self, request: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.running.address()).await.unwrap();
        // The gate may answer and close before it has taken all.
        stream.write_all(request).await.ok();
        read_answer(&mut stream).await
    }

    /// A PutObject with an unsigned payload.
    pub async fn put(&self, payload: &[u8]) -> (u16, String, String) {
        self.send(&put_request(payload)).await
    }

    pub async fn metric(&self, line: &str) -> f64 {
        let mut stream = TcpStream::connect(self.running.admin_address().unwrap()).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let (status, _, body) = read_answer(&mut stream).await;
        assert_eq!(status, 200);
        let value = body.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }

    /// Waits until a metric has a value.
    pub async fn wait_for_metric(&self, line: &str, expected: f64) {
        let reached = async {
            while self.metric(line).await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, reached).await.is_err() {
            panic!("{line} is {} and not {expected}", self.metric(line).await);
        }
    }

    pub fn audit(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("state/audit.log")).unwrap()
    }
}

pub fn put_request(payload: &[u8]) -> Vec<u8> {
    let head = format!("PUT /bucket/key HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", payload.len());
    let mut request = head.into_bytes();
    request.extend_from_slice(payload);
    request
}

pub async fn read_answer(stream: &mut TcpStream) -> (u16, String, String) {
    let answer = async {
        let mut buffer = Vec::new();
        loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&buffer[..end + 4]).into_owned();
                let status = head[9..12].parse().unwrap();
                let length: usize = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
                while buffer.len() < end + 4 + length && stream.read_buf(&mut buffer).await.unwrap_or(0) > 0 {}
                return (status, head, String::from_utf8_lossy(&buffer[end + 4..]).into_owned());
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return (0, String::new(), String::new());
            }
        }
    };
    timeout(PATIENCE, answer).await.expect("an answer in time")
}
