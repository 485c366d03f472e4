//! Everything that brings no bytes passes as it came.

use crate::scripted::{Script, gate, header, origin};

/// Path, query, Host and header case stay; who connects from where is ours to say.
#[tokio::test]
async fn a_head_arrives_as_it_was_sent() {
    let origin = origin(Script::Answer("HTTP/1.1 200 OK\r\nX-Odd-CASE: Yes\r\nContent-Length: 4\r\n\r\nbody")).await;
    let gate = gate(origin.address, &[], "").await;
    let request = "GET /b//k%2Fx+y?list-type=2&a=%20+b HTTP/1.1\r\nhOST: Some.Name:81\r\nX-Amz-Meta-MiXed: 1\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\nForwarded: for=1\r\nX-Real-IP: 9\r\nConnection: keep-alive\r\nRange: bytes=0-3\r\n\r\n";
    let (status, head, body) = gate.send(request.as_bytes()).await;
    assert_eq!((status, body.as_str()), (200, "body"));
    assert!(head.contains("X-Odd-CASE: Yes"), "{head}");
    let seen = origin.seen().pop().unwrap().head;
    assert!(seen.starts_with("GET /b//k%2Fx+y?list-type=2&a=%20+b HTTP/1.1\r\n"), "{seen}");
    for line in ["hOST: Some.Name:81\r\n", "X-Amz-Meta-MiXed: 1\r\n", "Range: bytes=0-3\r\n"] {
        assert!(seen.contains(line), "{line} is not in {seen}");
    }
    assert_eq!(header(&seen, "x-forwarded-for"), Some("127.0.0.1"));
    for name in ["x-forwarded-host", "forwarded", "x-real-ip", "connection"] {
        assert_eq!(header(&seen, name), None, "{seen}");
    }
}

/// A redirect to another host would lead the client past the gate.
#[tokio::test]
async fn redirects_to_elsewhere_are_not_passed_on() {
    for (location, status) in [("http://origin:9001/b/k", 500), ("/b/other", 307), ("//evil/x", 500)] {
        let answer = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let origin = origin(Script::Answer(answer.leak())).await;
        let gate = gate(origin.address, &[], "").await;
        let (seen, head, _) = gate.send(b"GET /b/k HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        assert_eq!(seen, status, "{location}");
        assert_eq!(header(&head, "location").is_some(), status == 307);
    }
}

/// A body is hashed whatever call it comes with, and bounded where it makes no object.
#[tokio::test]
async fn other_bodies_are_hashed_and_bounded() {
    let origin = origin(Script::Take).await;
    let gate = gate(origin.address, &[b"listed"], "limits: { control_body: 1KiB }").await;
    let put = |target: &str, size: usize| {
        format!("PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n").into_bytes()
    };
    let (status, _, _) = gate.send(&[put("/b/k?tagging", 6), b"listed".to_vec()].concat()).await;
    assert_eq!(status, 403);
    let (status, _, body) = gate.send(&[put("/b/k?tagging", 2000), vec![b'x'; 2000]].concat()).await;
    assert!(status == 400 && body.contains("EntityTooLarge"), "{status} {body}");
    assert_eq!(gate.send(&[put("/b/k?tagging", 500), vec![b'x'; 500]].concat()).await.0, 200);
}

/// A Complete of one part passes, of two it does not, unless the setting waives it, which is counted.
#[tokio::test]
async fn completes() {
    let complete = |parts: usize| {
        let body = format!("<C>{}</C>", "<Part><PartNumber>1</PartNumber></Part>".repeat(parts));
        format!("POST /b/k?uploadId=u HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let origin = origin(Script::Take).await;
    let strict = gate(origin.address, &[], "").await;
    assert_eq!(strict.send(complete(1).as_bytes()).await.0, 200);
    assert_eq!(strict.send(complete(2).as_bytes()).await.0, 501);
    assert_eq!(origin.seen().len(), 1);
    let waived = gate(origin.address, &[], "multipart: { unverifiable: allow }").await;
    assert_eq!(waived.send(complete(2).as_bytes()).await.0, 200);
    assert_eq!(waived.metric("hashgate_waived_total{setting=\"multipart_unverifiable\"}").await, 1.0);
}

/// Observing lets a match pass, and says so in a metric.
#[tokio::test]
async fn observing_is_counted() {
    let origin = origin(Script::Take).await;
    let gate = gate(origin.address, &[b"listed"], "policy: { on_match: observe }").await;
    assert_eq!(gate.put(b"listed").await.0, 200);
    assert_eq!(gate.metric("hashgate_waived_total{setting=\"observe\"}").await, 1.0);
    assert_eq!(gate.metric("hashgate_matches_total{action=\"observe\",list=\"sample\"}").await, 1.0);
}
