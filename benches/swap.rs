//! What exchanging a list costs those who upload meanwhile.
//!
//!     HASHGATE_BENCH_ENTRIES=100000000 cargo bench --bench swap
//!
//! Two indexes of synthetic entries, a million each unless the environment says otherwise, take each other's place 30
//! times while 4 KiB objects are uploaded at a steady rate. Printed is the median of the seconds' 99.9th percentiles:
//! of the seconds in which an index was copied, verified and exchanged, and of the others. `HASHGATE_BENCH_DIR` is where
//! everything is written.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and has no requests to stop")]

use hashgate::config;
use hashgate::digest::Digest;
use hashgate::list::entry::{Entry, Item};
use hashgate::list::feed::{Fed, Place};
use hashgate::list::index::Kind;
use hashgate::list::index::compile::{Compiler, Options, SIZE_MIN};
use hashgate::list::index::seal::Key;
use hashgate::serve;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const SWAPS: usize = 30;
const CONNECTIONS: u32 = 16;
/// Uploads a second: a third of what two cores do, so that what is measured is not a queue.
const RATE: u32 = 1600;
const SIZE: usize = 4096;
/// Between two swaps, in seconds without one.
const REST: Duration = Duration::from_secs(3);

fn main() {
    let entries = std::env::var("HASHGATE_BENCH_ENTRIES").map_or(1_000_000, |text| text.parse().expect("a number"));
    let folder = std::env::var_os("HASHGATE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(folder).expect("a temporary folder");
    let key = Key::make(&dir.path().join("hashgate.key")).expect("a key");
    for (name, seed) in [("one.index", 1), ("two.index", 2)] {
        compile(&dir.path().join(name), &key, entries, seed);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(dir.path(), entries));
}

fn compile(place: &Path, key: &Key, entries: u64, seed: u64) {
    let options =
        Options { name: "bench".into(), kind: Kind::KnownBad, category: Some("test:bench".into()), size_min: SIZE_MIN };
    let mut compiler = Compiler::new(place, key, options, Vec::new()).expect("a compiler");
    let read = |sink: &mut dyn FnMut(Place, Item) -> std::io::Result<()>| {
        for number in 0..entries {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            digest[8..16].copy_from_slice(&seed.to_le_bytes());
            let entry = Entry { digests: vec![Digest::Sha256(digest)], size: Some(10_000), ..Entry::default() };
            sink(Place::Line(number + 1), Item::Entry(entry))?;
        }
        Ok(Fed { format: "synthetic".into(), ..Fed::default() })
    };
    compiler.source("synthetic", read).expect("the source is read");
    compiler.finish(key).expect("the index is written");
}

async fn measure(dir: &Path, entries: u64) {
    let origin = origin().await;
    let source = dir.join("list.index");
    std::fs::hard_link(dir.join("one.index"), &source).expect("a link");
    let text = format!(
        "listen: {{ address: '127.0.0.1:0' }}\norigin: {{ endpoint: 'http://{origin}' }}\nlist_key: hashgate.key\n\
         lists: [ {{ name: bench, source: list.index, refresh: 1d }} ]\nlog: {{ level: error }}\n"
    );
    std::fs::write(dir.join("hashgate.yaml"), text).expect("written");
    let settings = config::load(&dir.join("hashgate.yaml")).expect("a configuration");
    let running = Arc::new(serve::start(settings).await.expect("the gate starts"));
    let samples: Arc<Mutex<Vec<(Instant, Duration)>>> = Arc::default();
    for number in 0..CONNECTIONS {
        tokio::spawn(upload(running.address(), number, samples.clone()));
    }
    // The first scrub is over, the connections are open.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let began = Instant::now();
    let mut swaps = Vec::new();
    for number in 0..SWAPS {
        tokio::time::sleep(REST).await;
        let next = if number % 2 == 0 { "two.index" } else { "one.index" };
        let link = dir.join("link");
        std::fs::hard_link(dir.join(next), &link).expect("a link");
        std::fs::rename(&link, &source).expect("renamed");
        let from = Instant::now();
        running.reload().await;
        swaps.push((from, Instant::now()));
    }
    let samples = std::mem::take(&mut *samples.lock().expect("no panic while locked"));
    report(entries, began, &swaps, &samples);
}

fn report(entries: u64, began: Instant, swaps: &[(Instant, Instant)], samples: &[(Instant, Duration)]) {
    let end = swaps.last().expect("some").1;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for second in 0..end.duration_since(began).as_secs() {
        let (from, to) = (began + Duration::from_secs(second), began + Duration::from_secs(second + 1));
        let mut times: Vec<Duration> = samples.iter().filter(|(at, _)| (from..to).contains(at)).map(|s| s.1).collect();
        assert!(
            times.len() > RATE as usize / 2,
            "{} uploads in a second: this machine cannot keep the rate",
            times.len()
        );
        times.sort_unstable();
        let worst = times[times.len() * 999 / 1000];
        let swapping = swaps.iter().any(|(begin, end)| *begin < to && from < *end);
        if swapping { &mut with } else { &mut without }.push(worst);
    }
    let mut took: Vec<Duration> = swaps.iter().map(|(from, to)| *to - *from).collect();
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    println!("entries                    {entries:>9}");
    println!("uploads                    {:>9}, {RATE} a second", samples.len());
    println!("one swap                   {:>9.0} ms, verifying included", median(&mut took));
    println!("{:>3} seconds with a swap    {:>9.2} ms at the 99.9th percentile", with.len(), median(&mut with));
    println!("{:>3} seconds without        {:>9.2} ms", without.len(), median(&mut without));
    println!("ratio                      {:>9.2}", median(&mut with) / median(&mut without));
}

/// Uploads one object again and again at its share of the rate, and remembers how long each took.
async fn upload(gate: SocketAddr, number: u32, samples: Arc<Mutex<Vec<(Instant, Duration)>>>) {
    let mut stream = TcpStream::connect(gate).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let head = format!(
        "PUT /bucket/key-{number} HTTP/1.1\r\nHost: {gate}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n\
         Content-Length: {SIZE}\r\n\r\n"
    );
    let request = [head.into_bytes(), vec![7; SIZE]].concat();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * CONNECTIONS / RATE);
    let mut answer = vec![0; 4096];
    loop {
        ticks.tick().await;
        let began = Instant::now();
        stream.write_all(&request).await.expect("written");
        let length = stream.read(&mut answer).await.expect("read");
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
        samples.lock().expect("no panic while locked").push((began, began.elapsed()));
    }
}

/// A store that takes everything and keeps nothing.
async fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("an option");
            tokio::spawn(async move {
                let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    bytes.extend_from_slice(&buffer[..length]);
                    let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                    if bytes.len() >= at + 4 + SIZE {
                        bytes.drain(..at + 4 + SIZE);
                        let answer = b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\n\r\n";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}
