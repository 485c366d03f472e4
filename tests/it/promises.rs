//! What a client promises about its payload is checked before the end goes on: some stores do not. And what the lists say
//! is what they say now.

use crate::support::client::{Form, Head};
use crate::support::fake_origin::{End, FakeOrigin};
use crate::support::gate::{assert_refused, field, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Short payloads never reach the origin.
#[tokio::test]
async fn broken_promises() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).start().await;
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (name, value, code) in [
        ("x-amz-content-sha256", abc, "XAmzContentSHA256Mismatch"),
        ("Content-MD5", "kAFQmDzST7DWlj99KOF/cg==", "BadDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("Content-MD5", "nonsense", "InvalidDigest"),
    ] {
        let mut head = Head::new("PUT", "/b/k");
        head.push("Host", "127.0.0.1");
        head.push("Content-Length", "5");
        head.push(name, value);
        let answer = gate.client().raw(&[&head.bytes()[..], b"clean"].concat(), false).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{name}");
    }
    assert!(origin.connections().is_empty());
    gate.stop().await;
}

/// A wrong trailing checksum is known at the very end: the origin gets neither the last payload byte nor the trailer.
#[tokio::test]
async fn a_wrong_trailing_checksum_aborts() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).start().await;
    let upload = gate.client().upload(Form::UnsignedTrailer, "/b/k", &Payload::random(1, 200_000));
    let mut wire = upload.bytes();
    let crc = wire.len() - "AAAAAA==\r\n\r\n".len();
    wire[crc] = if wire[crc] == b'A' { b'B' } else { b'A' };
    let answer = gate.client().raw(&wire, false).await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (400, "BadDigest"));
    let all = origin.wait("its end", |all| all.iter().all(|c| c.end != End::Open)).await;
    assert_eq!(all[0].end, End::Reset);
    assert!(!all[0].exchanges[0].body.windows(5).any(|window| window == b"x-amz"));
    gate.stop().await;
}

/// A reload that brings an algorithm while a payload streams makes its verdict undecidable, not negative.
#[tokio::test]
async fn a_new_algorithm_in_the_middle_is_a_503() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).start().await;
    let payload = Payload::random(1, 200_000);
    let wire = gate.client().upload(Form::RawUnsigned, "/b/k", &payload).bytes();
    let mut client = gate.client().connect().await.expect("the gate listens");
    client.write(&wire[..150_000]).await.expect("taken");
    origin.wait("its head", |all| all.len() == 1).await;
    let other = Payload::from("other");
    std::fs::write(gate.dir().join("sample.txt"), other.md5()).expect("writable");
    gate.running.reload().await;
    client.write(&wire[150_000..]).await.expect("taken");
    assert_eq!(client.read_response(false).await.expect("an answer").status, 503);
    gate.audit_line("why", |line| field(line, "reason") == Some(&"digest_missing".into())).await;
    let answer = gate.client().put(Form::RawUnsigned, "/b/k", &other).await.expect("an answer");
    assert_refused(&answer);
    gate.stop().await;
}

/// Lists are reloaded while uploads run: none fails, none waits for the reading of a list, and from the moment that a
/// reload is done the new entries are refused and the old ones pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_stalls_no_upload() {
    let origin = FakeOrigin::accepting().await;
    let (one, two) = (Payload::from("one"), Payload::from("two"));
    let gate = Arc::new(gate(&Store::fake(origin.address)).list("sample", [one.sha256()]).start().await);
    let (done, puts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = tokio::spawn({
        let (gate, done, puts) = (gate.clone(), done.clone(), puts.clone());
        async move {
            let clean = Payload::random(3, 1000);
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let start = Instant::now();
                let answer = gate.client().put(Form::RawUnsigned, "/b/clean", &clean).await.expect("an answer");
                assert_eq!(answer.status, 200);
                longest = longest.max(start.elapsed());
                puts.fetch_add(1, Ordering::Relaxed);
            }
            longest
        }
    });
    // Long enough to be seen if a request had to wait for it.
    let filler: String = (0..100_000_u64).map(|n| format!("{n:064x}\n")).collect();
    let mut reading = Duration::ZERO;
    for round in 0..6 {
        let (listed, unlisted) = if round % 2 == 0 { (&two, &one) } else { (&one, &two) };
        std::fs::write(gate.dir().join("sample.txt"), filler.clone() + &listed.sha256()).expect("writable");
        let before = puts.load(Ordering::Relaxed);
        let start = Instant::now();
        gate.running.reload().await;
        reading += start.elapsed();
        assert!(puts.load(Ordering::Relaxed) > before, "no upload ended while the list was read");
        assert_refused(&gate.client().put(Form::RawUnsigned, "/b/k", listed).await.expect("an answer"));
        let answer = gate.client().put(Form::RawUnsigned, "/b/k", unlisted).await.expect("an answer");
        assert_eq!(answer.status, 200);
    }
    done.store(true, Ordering::Relaxed);
    let longest = load.await.expect("no upload failed");
    println!("6 reloads took {reading:?}, the longest upload meanwhile {longest:?}");
}
