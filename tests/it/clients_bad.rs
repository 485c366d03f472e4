//! Clients that are slow, silent or gone: each gets its answer where there is somebody to get it, and none costs the gate
//! anything afterwards.

use crate::support::client::{Form, Wire};
use crate::support::fake_origin::{End, FakeOrigin, Step, answer};
use crate::support::gate::{Gate, field, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;
use std::time::Duration;

const SIZE: u64 = 1 << 20;

/// A gate with short deadlines before an origin that takes everything, and a client that has sent a head and 100,000 bytes.
async fn begun(limits: &str, form: Form) -> (FakeOrigin, Gate, Wire) {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).yaml(&format!("limits: {{ {limits} }}")).start().await;
    let upload = gate.client().upload(form, "/bucket/key", &Payload::random(1, SIZE));
    let mut wire = gate.client().connect().await.expect("the gate listens");
    wire.write(&upload.bytes()[..100_000]).await.expect("taken");
    (origin, gate, wire)
}

async fn assert_aborted(origin: &FakeOrigin) {
    let all = origin.wait("the abort", |all| all.iter().all(|c| c.end != End::Open)).await;
    for connection in all {
        assert_eq!(connection.end, End::Reset);
        assert!(!connection.exchanges[0].complete);
    }
}

/// A client that falls silent in its body is answered 400 RequestTimeout.
#[tokio::test]
async fn silence_is_answered_with_request_timeout() {
    for form in [Form::RawUnsigned, Form::SignedChunks, Form::UnsignedTrailerChunked] {
        let (origin, gate, mut wire) = begun("idle_timeout: 200ms", form).await;
        let answer = wire.read_response(false).await.expect("an answer");
        assert_eq!((answer.status, &*answer.code()), (400, "RequestTimeout"), "{form:?}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
        assert_aborted(&origin).await;
        gate.audit_line("a slow client", |line| field(line, "outcome") == Some(&"client_slow".into())).await;
        drop(wire);
        gate.quiet().await;
        gate.stop().await;
    }
}

/// A client that sends a byte now and then is no better than a silent one.
#[tokio::test]
async fn crawling_is_answered_with_request_timeout() {
    let (origin, gate, mut wire) = begun("idle_timeout: 300ms, body_rate_min: 1000000", Form::RawUnsigned).await;
    let answer = loop {
        wire.write(b"x").await.ok();
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(20), wire.read_response(false)).await {
            break answer.expect("an answer");
        }
    };
    assert_eq!((answer.status, &*answer.code()), (400, "RequestTimeout"), "{answer:?}");
    assert_aborted(&origin).await;
    drop(wire);
    gate.quiet().await;
    gate.stop().await;
}

/// A body that takes longer than `limits.upload_timeout` is cut off, though it flows.
#[tokio::test]
async fn an_endless_body_is_answered_with_request_timeout() {
    let (origin, gate, mut wire) = begun("upload_timeout: 300ms, body_rate_min: 1", Form::RawUnsigned).await;
    let answer = loop {
        wire.write(b"x").await.ok();
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(20), wire.read_response(false)).await {
            break answer.expect("an answer");
        }
    };
    assert_eq!((answer.status, &*answer.code()), (400, "RequestTimeout"), "{answer:?}");
    assert_aborted(&origin).await;
    drop(wire);
    gate.quiet().await;
    gate.stop().await;
}

/// A head that does not come to its end within `limits.header_timeout` ends the connection; so does nothing at all.
#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).yaml("limits: { header_timeout: 200ms }").start().await;
    for begun in ["", "PUT /bucket/key HTTP/1.1\r\nHost: a\r\nX-Slow", "GET / HTTP/1.1\r\n"] {
        let mut wire = gate.client().connect().await.expect("the gate listens");
        wire.write(begun.as_bytes()).await.expect("taken");
        wire.closed().await;
    }
    gate.quiet().await;
    assert!(origin.connections().is_empty());
    gate.stop().await;
}

/// A client that vanishes before, in and after its body is written down once, aborts what was begun, and leaves nothing.
#[tokio::test]
async fn a_client_that_vanishes_costs_nothing() {
    let stalling = || FakeOrigin::start(|_, _| vec![Step::ReadAll, Step::Stall]);
    for reset in [true, false] {
        for cut in ["head", "body", "all"] {
            let origin = stalling().await;
            let gate = gate(&Store::fake(origin.address)).yaml("limits: { origin_timeout: 30s }").start().await;
            let upload = gate.client().upload(Form::RawUnsigned, "/bucket/key", &Payload::random(1, SIZE));
            let (wire, head) = (upload.bytes(), upload.head.bytes().len());
            let mut client = gate.client().connect().await.expect("the gate listens");
            let sent = match cut {
                "head" => head,
                "body" => head + 200_000,
                _ => wire.len(),
            };
            client.write(&wire[..sent]).await.expect("taken");
            if cut == "body" {
                origin
                    .wait("some of the body", |all| {
                        all.iter().any(|c| c.exchanges.first().is_some_and(|e| !e.body.is_empty()))
                    })
                    .await;
            }
            if cut == "all" {
                origin
                    .wait("the whole body", |all| all.iter().any(|c| c.exchanges.first().is_some_and(|e| e.complete)))
                    .await;
            }
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            gate.quiet().await;
            gate.audit_line("a client that is gone", |line| field(line, "outcome") == Some(&"client_gone".into()))
                .await;
            assert_eq!(gate.audit().len(), 1, "{:?}", gate.audit());
            if cut == "body" {
                assert_aborted(&origin).await;
            }
            gate.stop().await;
        }
    }
}

/// A client that does not read a large download stops the origin from sending it, and is let go after
/// `limits.idle_timeout`.
#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let large = vec![7; 64 << 20];
    let origin = FakeOrigin::start(move |_, _| vec![answer("200 OK", &[], &large)]).await;
    let gate = gate(&Store::fake(origin.address)).yaml("limits: { idle_timeout: 300ms }").start().await;
    let client = gate.client();
    let (head, _) = client.prepare("GET", "/bucket/key", &[], b"");
    let mut wire = client.connect().await.expect("the gate listens");
    wire.write(&head.bytes()).await.expect("taken");
    // Still open at our end; the gate has given it up.
    gate.quiet().await;
    drop(wire);
    gate.stop().await;
}

/// Garbage, TLS where none is spoken, and requests that are none end the connection and nothing else.
#[tokio::test]
async fn garbage_ends_its_connection_only() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).start().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"PUT /bucket/key HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"PUT /bucket/key HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut wire = gate.client().connect().await.expect("the gate listens");
        wire.write(garbage).await.expect("taken");
        if let Ok(answer) = wire.read_response(false).await {
            assert!((400..=505).contains(&answer.status), "{garbage:?}: {answer:?}");
        }
        drop(wire);
        let answer = gate.client().get("/bucket/key").await;
        assert_eq!(answer.status, 200, "after {garbage:?}: {answer:?}");
    }
    gate.quiet().await;
    gate.stop().await;
}
