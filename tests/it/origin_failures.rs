//! An origin that answers early, dies, stalls or is not there: the client hears the right S3 error, nothing leaks, and it is
//! written down.

use crate::support::client::{Form, Response};
use crate::support::fake_origin::{End, FakeOrigin, Step, answer};
use crate::support::gate::{Gate, assert_refused, field, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;

const LARGE: u64 = 8 << 20;

fn error_xml(code: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>theirs</Message></Error>").into_bytes()
}

/// Puts 8 MiB, more than sockets buffer.
async fn put_large(gate: &Gate) -> Response {
    let payload = Payload::random(1, LARGE);
    gate.client().put(Form::RawUnsigned, "/bucket/key", &payload).await.expect("an answer")
}

/// Ours: an S3 error with a request id, and time to wait where that helps.
#[track_caller]
fn assert_unavailable(answer: &Response) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.code(), "ServiceUnavailable", "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(answer.element("RequestId").as_deref(), answer.header("x-amz-request-id"), "{answer:?}");
}

/// One audit line with this outcome and reason, and no connection to the origin left over.
async fn assert_recorded(gate: &Gate, outcome: &str, reason: Option<&str>) {
    let what = format!("{outcome} {reason:?}");
    gate.audit_line(&what, |line| {
        field(line, "outcome") == Some(&outcome.into()) && field(line, "reason") == reason.map(Into::into).as_ref()
    })
    .await;
    assert_eq!(gate.audit().len(), 1, "one request, one line: {:?}", gate.audit());
    assert_no_origin_connection(gate).await;
}

async fn assert_no_origin_connection(gate: &Gate) {
    crate::support::eventually("no connection to the origin", async || {
        (gate.metrics().await.sum("hashgate_origin_connections_open") == 0.0).then_some(())
    })
    .await;
    gate.quiet().await;
}

/// A refusal that comes early, at the head or in the middle of the body, reaches the client as it is, and the origin gets
/// no more of the upload.
#[tokio::test]
async fn an_early_refusal_is_passed_on() {
    for (status, code) in
        [("403 Forbidden", "AccessDenied"), ("404 Not Found", "NoSuchBucket"), ("503 Slow Down", "SlowDown")]
    {
        for at in [0, 100_000] {
            let xml = error_xml(code);
            let steps = vec![Step::ReadBody(at), answer(status, &[("x-amz-request-id", "theirs")], &xml)];
            let origin = FakeOrigin::start(move |_, _| steps.clone()).await;
            let gate = gate(&Store::fake(origin.address)).start().await;
            let answer = put_large(&gate).await;
            assert!(status.starts_with(&answer.status.to_string()), "{status} {at}: {answer:?}");
            assert_eq!(answer.code(), code, "{answer:?}");
            assert_eq!(answer.header("x-amz-request-id"), Some("theirs"), "{answer:?}");
            assert_recorded(&gate, "origin_refused", None).await;
            let all = origin.wait("its end", |all| all.iter().all(|c| c.end != End::Open)).await;
            assert_eq!(all[0].end, End::Reset, "{status} {at}");
            assert!(!all[0].exchanges[0].complete, "{status} {at}");
            gate.stop().await;
        }
    }
}

/// An origin that refuses early and closes at once is heard all the same.
#[tokio::test]
async fn an_early_refusal_is_heard_though_the_origin_has_closed() {
    let steps = vec![answer("403 Forbidden", &[], &error_xml("AccessDenied")), Step::Close];
    let origin = FakeOrigin::start(move |_, _| steps.clone()).await;
    let gate = gate(&Store::fake(origin.address)).start().await;
    let answer = put_large(&gate).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.element("Message").as_deref(), Some("theirs"), "{answer:?}");
    gate.stop().await;
}

/// An origin that refuses and loses its own answer's body, because it closes with something unread: its status counts.
#[tokio::test]
async fn a_refusal_without_its_body_is_passed_on() {
    for read in [Step::ReadBody(100_000), Step::ReadAll] {
        let head = Step::Send(b"HTTP/1.1 411 Length Required\r\nContent-Length: 264\r\n\r\n<Err".to_vec());
        let steps = vec![read, head, Step::Close];
        let origin = FakeOrigin::start(move |_, _| steps.clone()).await;
        let gate = gate(&Store::fake(origin.address)).start().await;
        let answer = put_large(&gate).await;
        assert_eq!((answer.status, &*answer.body), (411, b"".as_slice()), "{answer:?}");
        assert_recorded(&gate, "origin_refused", None).await;
        gate.stop().await;
    }
}

/// An origin that reports success before it has the end is an incident: counted, written down, and no success to the client.
#[tokio::test]
async fn an_early_success_is_an_incident() {
    for at in [0, 100_000] {
        let steps = vec![Step::ReadBody(at), answer("200 OK", &[("ETag", "\"e\"")], b"")];
        let origin = FakeOrigin::start(move |_, _| steps.clone()).await;
        let gate = gate(&Store::fake(origin.address)).start().await;
        let answer = put_large(&gate).await;
        assert_eq!((answer.status, &*answer.code()), (500, "InternalError"), "{answer:?}");
        assert_eq!(gate.metrics().await.sum("hashgate_early_commits_total"), 1.0);
        assert_recorded(&gate, "early_commit", Some("early_commit")).await;
        gate.stop().await;
    }
}

/// Where what was committed early is listed and the gate has credentials, that very version is deleted.
#[tokio::test]
async fn a_listed_payload_that_was_committed_early_is_deleted() {
    let origin = FakeOrigin::start(|_, request| match request.line().split(' ').next() {
        Some("DELETE") => vec![answer("204 No Content", &[], b"")],
        _ => vec![Step::ReadBody(100_000), answer("200 OK", &[("ETag", "\"e\""), ("x-amz-version-id", "v1")], b"")],
    })
    .await;
    let payload = Payload::random(1, LARGE);
    let gate = gate(&Store::fake(origin.address))
        .list("sample", [payload.sha256()])
        .yaml("origin: { credentials: { access_key: gate-key, secret_key: gate-secret } }")
        .start()
        .await;
    assert_refused(&put_large(&gate).await);
    let deletes: Vec<_> = origin.exchanges().into_iter().filter(|e| e.line().starts_with("DELETE")).collect();
    assert_eq!(deletes.len(), 1, "{:?}", origin.exchanges().iter().map(|e| e.line()).collect::<Vec<_>>());
    assert_eq!(deletes[0].line(), "DELETE /bucket/key?versionId=v1 HTTP/1.1");
    assert!(deletes[0].headers("authorization")[0].contains("Credential=gate-key/"));
    assert_eq!(gate.metrics().await.sum("hashgate_early_commits_total"), 1.0);
    gate.stop().await;
}

/// An origin that closes or resets before, during or after the body costs the client a 503, and the gate no connection.
#[tokio::test]
async fn an_origin_that_dies_is_a_503() {
    for steps in [
        vec![Step::Close],
        vec![Step::Reset],
        vec![Step::ReadBody(100_000), Step::Close],
        vec![Step::ReadBody(100_000), Step::Reset],
        vec![Step::ReadAll, Step::Close],
        vec![Step::ReadAll, Step::Reset],
        vec![Step::ReadAll, Step::Send(b"HTTP/1.1 200 OK\r\nContent-".to_vec()), Step::Close],
        vec![Step::ReadAll, Step::Send(b"SMTP no\r\n\r\n".to_vec()), Step::Close],
    ] {
        let script = steps.clone();
        let origin = FakeOrigin::start(move |_, _| script.clone()).await;
        let gate = gate(&Store::fake(origin.address)).start().await;
        let answer = put_large(&gate).await;
        assert_unavailable(&answer);
        assert_recorded(&gate, "origin_failed", Some("origin_broken")).await;
        gate.stop().await;
        println!("{steps:?}");
    }
}

/// An origin that takes no more, or gives no answer, is given up after `limits.origin_timeout`.
#[tokio::test]
async fn an_origin_that_stalls_is_a_503() {
    for steps in [vec![Step::Stall], vec![Step::ReadBody(100_000), Step::Stall], vec![Step::ReadAll, Step::Stall]] {
        let script = steps.clone();
        let origin = FakeOrigin::start(move |_, _| script.clone()).await;
        let gate = gate(&Store::fake(origin.address)).yaml("limits: { origin_timeout: 300ms }").start().await;
        let payload = Payload::random(1, 32 << 20);
        let answer = gate.client().put(Form::RawUnsigned, "/bucket/key", &payload).await.expect("an answer");
        assert_unavailable(&answer);
        assert_recorded(&gate, "origin_failed", Some("origin_stalled")).await;
        gate.stop().await;
        println!("{steps:?}");
    }
}

/// Nobody listens there.
#[tokio::test]
async fn an_origin_that_is_not_there_is_a_503() {
    // Bound, so that nobody else gets the port, and never listening.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("bound");
    for size in [0, 100, LARGE] {
        let gate = gate(&Store::fake(address)).start().await;
        let payload = Payload::random(1, size);
        let answer = gate.client().put(Form::RawUnsigned, "/bucket/key", &payload).await.expect("an answer");
        assert_unavailable(&answer);
        assert_recorded(&gate, "origin_failed", Some("origin_connect")).await;
        let answer = gate.client().get("/bucket/key").await;
        assert_unavailable(&answer);
        gate.stop().await;
    }
}

/// A kept connection that the origin closes as it is used again: what is idempotent and at hand is sent once more, as its
/// client would; a POST is not.
#[tokio::test]
async fn a_kept_connection_may_be_gone() {
    for end in [Step::Close, Step::Reset] {
        for (method, target) in [("GET", "/bucket/key"), ("PUT", "/bucket/key"), ("POST", "/bucket/key?uploads")] {
            let dying = end.clone();
            let origin = FakeOrigin::start(move |number, _| match number {
                1 => vec![dying.clone()],
                _ => vec![Step::ReadAll, answer("200 OK", &[("ETag", "\"e\"")], b"")],
            })
            .await;
            let gate = gate(&Store::fake(origin.address)).start().await;
            let first = gate.client().get("/bucket/key").await;
            assert_eq!(first.status, 200, "{first:?}");
            let second = gate.client().request(method, target, &[], b"").await;
            match method {
                "POST" => assert_unavailable(&second),
                _ => assert_eq!(second.status, 200, "{method} {end:?}: {second:?}"),
            }
            let third = gate.client().request(method, target, &[], b"").await;
            assert_eq!(third.status, 200, "{end:?} {method}: {third:?}");
            gate.stop().await;
        }
    }
}

/// A connection that carried a whole upload is used for the next one, whatever its size and form.
#[tokio::test]
async fn a_connection_is_used_again_after_an_upload() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).start().await;
    let forms = Form::ALL.into_iter().filter(|form| *form != Form::Expect100);
    for form in forms {
        for size in [100, 200_000] {
            let payload = Payload::random(1, size);
            let answer = gate.client().put(form, "/bucket/key", &payload).await.expect("an answer");
            assert_eq!(answer.status, 200, "{form:?} {size}: {answer:?}");
        }
    }
    assert_eq!(origin.connections().len(), 1);
    gate.stop().await;
}

/// An answer that breaks off in the middle breaks off at the client, too: it is never made to look whole.
#[tokio::test]
async fn a_download_that_breaks_off_is_not_made_whole() {
    for framing in ["Content-Length: 1000\r\n\r\nonly this", "Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\n{framing}").into_bytes();
        let origin = FakeOrigin::start(move |_, _| vec![Step::Send(head.clone()), Step::Close]).await;
        let gate = gate(&Store::fake(origin.address)).start().await;
        let client = gate.client();
        let (request, _) = client.prepare("GET", "/bucket/key", &[], b"");
        let answer = client.raw(&request.bytes(), false).await;
        assert!(answer.is_err(), "{framing:?}: {answer:?}");
        assert_no_origin_connection(&gate).await;
        gate.stop().await;
    }
}
