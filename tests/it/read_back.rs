//! While an object is being read back nobody gets at it, not even over a restart of the gate.

use crate::alarms::switch;
use crate::support::client::{Client, Response};
use crate::support::eventually;
use crate::support::fake_origin::{FakeOrigin, Step, answer};
use crate::support::gate::gate;
use crate::support::payload::Payload;
use crate::support::store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const XML: &str =
    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>";

async fn complete(client: &Client) -> Response {
    client.request("POST", "/b/k?uploadId=u", &[], XML.as_bytes()).await
}

/// An origin that has the object as soon as it is completed, and gives it to the gate's own user once it may.
async fn origin(object: Payload, readable: Arc<AtomicBool>) -> FakeOrigin {
    let object = object.bytes().to_vec();
    FakeOrigin::start(move |_, request| {
        let line = request.line();
        let own = request.headers("authorization").iter().any(|value| value.contains("Credential=own/"));
        match line.split(' ').next() {
            _ if line.contains("object-lock") => vec![answer("404 Not Found", &[], b"")],
            Some("POST") => {
                let xml = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><CompleteMultipartUploadResult/>";
                vec![Step::ReadAll, answer("200 OK", &[], xml)]
            }
            Some("GET") if own && !readable.load(Ordering::Relaxed) => vec![answer("503 Slow Down", &[], b"")],
            Some("GET") => vec![answer("200 OK", &[("ETag", "\"e-1\"")], &object)],
            Some("HEAD") => vec![Step::Send(b"HTTP/1.1 200 OK\r\nETag: \"e-1\"\r\nContent-Length: 0\r\n\r\n".to_vec())],
            _ => vec![Step::ReadAll, answer("204 No Content", &[], b"")],
        }
    })
    .await
}

const YAML: &str =
    "multipart: { unverifiable: read-back }\norigin: { credentials: { access_key: own, secret_key: s } }";

#[tokio::test]
async fn the_key_is_shut_until_the_verdict_even_over_a_restart() {
    let listed = Payload::random(1, 300_000);
    let readable = Arc::new(AtomicBool::new(false));
    let origin = origin(listed.clone(), readable.clone()).await;
    let gate = gate(&Store::fake(origin.address)).list("sample", [listed.sha1()]).yaml(YAML).start().await;
    let client = gate.client();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move {
            let (head, body) = client.prepare("POST", "/b/k?uploadId=u", &[], XML.as_bytes());
            client.raw(&[&head.bytes()[..], &body[..]].concat(), false).await
        }
    });
    origin
        .wait("the first attempt to read", |all| {
            all.iter().flat_map(|c| &c.exchanges).any(|e| e.line() == "GET /b/k HTTP/1.1")
        })
        .await;
    let copy = [("x-amz-copy-source", "/b/%6B?versionId=1")];
    for (method, target, headers) in [
        ("GET", "/b/k", &[][..]),
        ("GET", "//b/%6b", &[]),
        ("HEAD", "/b/k", &[]),
        ("PUT", "/b/k", &[]),
        ("DELETE", "/b/k", &[]),
        ("GET", "/b/k?versionId=1", &[]),
        ("PUT", "/b/other", &copy),
    ] {
        let answer = client.request(method, target, headers, b"").await;
        assert_eq!(answer.status, 503, "{method} {target}: {answer:?}");
    }
    assert_eq!(client.get("/b/other").await.status, 200);

    let gate = gate.restart().await;
    waiting.abort();
    let client = gate.client();
    assert_eq!(client.get("/b/k").await.status, 503, "the restart opened the key");
    assert!(!origin.exchanges().iter().any(|e| e.line().starts_with("DELETE")));
    readable.store(true, Ordering::Relaxed);
    eventually("the object removed, and its key open", async || (client.get("/b/k").await.status == 200).then_some(()))
        .await;
    let deletes: Vec<_> = origin.exchanges().into_iter().filter(|e| e.line().starts_with("DELETE")).collect();
    assert_eq!(deletes.len(), 1);
    assert_eq!(deletes[0].headers("if-match"), ["\"e-1\""]);
    assert_eq!(std::fs::read_dir(gate.dir().join("state/read-back")).expect("a folder").count(), 0);
    gate.stop().await;
}

/// While every match is let through, what is read back and listed is neither let go as if it were clean nor removed: its
/// key stays shut until the rules hold again.
#[tokio::test]
async fn what_is_listed_waits_while_every_match_is_let_through() {
    let listed = Payload::random(1, 300_000);
    let origin = origin(listed.clone(), Arc::new(AtomicBool::new(true))).await;
    let gate = gate(&Store::fake(origin.address)).list("sample", [listed.sha1()]).yaml(YAML).start().await;
    switch(&gate, true).await;
    let client = gate.client();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { complete(&client).await }
    });
    let reads = || origin.exchanges().iter().filter(|exchange| exchange.line() == "GET /b/k HTTP/1.1").count();
    eventually("it is read again and again", async || (reads() >= 2).then_some(())).await;
    assert_eq!(client.get("/b/k").await.status, 503);
    assert!(!origin.exchanges().iter().any(|exchange| exchange.line().starts_with("DELETE")));
    assert!(!gate.audit().iter().any(|line| line["operation"] == "ReadBack"));

    switch(&gate, false).await;
    let answer = waiting.await.expect("no panic");
    assert!(answer.text().contains("AccessDenied"), "{answer:?}");
    gate.audit_line("removed", |line| line["operation"] == "ReadBack" && line["outcome"] == "removed").await;
    gate.stop().await;
}

/// What cannot be read, or not be removed, is not let through at all.
#[tokio::test]
async fn never_with_a_customers_key_or_object_lock() {
    let lock = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    for (locked, headers) in
        [(true, vec![]), (false, vec![("x-amz-server-side-encryption-customer-algorithm", "AES256")])]
    {
        let origin = FakeOrigin::start(move |_, _| match locked {
            true => vec![Step::ReadAll, answer("200 OK", &[], lock)],
            false => vec![Step::ReadAll, answer("404 Not Found", &[], b"")],
        })
        .await;
        let gate = gate(&Store::fake(origin.address)).yaml(YAML).start().await;
        let answer = gate.client().request("POST", "/b/k?uploadId=u", &headers, XML.as_bytes()).await;
        assert_eq!(answer.status, 501, "{answer:?}");
        assert!(!origin.exchanges().iter().any(|e| e.line().starts_with("POST")));
        gate.stop().await;
    }
}

/// A refusal of the origin, in its status or in the body of a success, opens the key at once.
#[tokio::test]
async fn a_complete_that_the_origin_refuses_is_not_read() {
    for (status, body) in [
        ("404 Not Found", "<Error><Code>NoSuchUpload</Code></Error>"),
        ("200 OK", "<Error><Code>InternalError</Code></Error>"),
    ] {
        let origin = FakeOrigin::start(move |_, request| match request.line().contains("object-lock") {
            true => vec![answer("404 Not Found", &[], b"")],
            false => vec![Step::ReadAll, answer(status, &[], body.as_bytes())],
        })
        .await;
        let gate = gate(&Store::fake(origin.address)).yaml(YAML).start().await;
        let answer = complete(&gate.client()).await;
        assert!(answer.text().contains(body), "{answer:?}");
        assert!(!origin.exchanges().iter().any(|e| e.line() == "GET /b/k HTTP/1.1"));
        assert_ne!(gate.client().head("/b/k").await.status, 503);
        gate.stop().await;
    }
}
