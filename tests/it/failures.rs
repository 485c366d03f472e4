//! Origins that answer early, die or stall; clients that vanish, are silent or too slow.

use crate::scripted::{Script, gate, origin, put_request, read_answer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

/// An early refusal goes to the client as it is.
#[tokio::test]
async fn an_early_refusal_is_passed_on() {
    for (answer, status) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 404),
        ("HTTP/1.1 503 Slow Down\r\nContent-Length: 2\r\n\r\nno", 503),
    ] {
        let origin = origin(Script::AnswerEarly(answer)).await;
        let gate = gate(origin.address, &[], "").await;
        let (seen, _, body) = gate.put(&payload(500_000)).await;
        assert_eq!((seen, body.as_str()), (status, "no"));
    }
}

/// Success before the end is an incident: counted, and an error for the client, listed or not.
#[tokio::test]
async fn an_early_success_is_an_incident() {
    let listed = payload(400_000);
    let origin = origin(Script::AnswerAfter(70_000, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await;
    let gate = gate(origin.address, &[&listed], "").await;
    for (number, (payload, status)) in [(payload(500_000), 500), (listed, 403)].into_iter().enumerate() {
        let request = put_request(&payload);
        let mut stream = TcpStream::connect(gate.running.address()).await.unwrap();
        stream.write_all(&request[..200_000]).await.unwrap();
        gate.wait_for_metric("hashgate_early_commits_total", number as f64 + 1.0).await;
        stream.write_all(&request[200_000..]).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.0, status);
    }
}

/// An origin that is lost before, in or after the body is a 503 that clients retry.
#[tokio::test]
async fn a_lost_origin_is_a_503() {
    for script in [Script::CloseAfter(0), Script::CloseAfter(100_000), Script::CloseAfter(500_000)] {
        let origin = origin(script.clone()).await;
        let gate = gate(origin.address, &[], "").await;
        let (status, head, body) = gate.put(&payload(500_000)).await;
        assert!(status == 503 && body.contains("ServiceUnavailable"), "{script:?}: {status} {body}");
        assert!(head.to_lowercase().contains("retry-after"), "{head}");
        gate.wait_for_metric("hashgate_origin_connections_open", 0.0).await;
        assert!(gate.audit().contains("\"outcome\":\"origin_failed\""));
    }
    let gate = gate("127.0.0.1:9".parse().unwrap(), &[], "").await;
    assert_eq!(gate.put(b"x").await.0, 503);
    assert!(gate.audit().contains("origin_connect"));
}

/// An origin that stalls is given up.
#[tokio::test]
async fn a_stalled_origin_is_given_up() {
    let origin = origin(Script::AnswerEarly("")).await;
    let gate = gate(origin.address, &[], "limits: { origin_timeout: 200ms }").await;
    // The script reads the body and then closes without an answer; an address that takes nothing at all is this one:
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stalled = crate::scripted::gate(silent.local_addr().unwrap(), &[], "limits: { origin_timeout: 200ms }").await;
    for gate in [&gate, &stalled] {
        assert_eq!(gate.put(&payload(100_000)).await.0, 503);
    }
    assert!(stalled.audit().contains("origin_stalled"));
}

/// A silent client gets RequestTimeout, and nothing of its upload stays anywhere.
#[tokio::test]
async fn a_silent_client_times_out() {
    let origin = origin(Script::Take).await;
    let gate = gate(origin.address, &[], "limits: { idle_timeout: 200ms }").await;
    let request = put_request(&payload(100_000));
    let mut stream = TcpStream::connect(gate.running.address()).await.unwrap();
    stream.write_all(&request[..90_000]).await.unwrap();
    let (status, _, body) = read_answer(&mut stream).await;
    assert!(status == 400 && body.contains("RequestTimeout"), "{status} {body}");
    origin.wait_for(|seen| seen.iter().all(|seen| seen.reset)).await;
}

/// A client that vanishes leaves no request, connection or descriptor behind, and a record that says so.
#[tokio::test]
async fn a_vanished_client_is_recorded() {
    let origin = origin(Script::Take).await;
    let gate = gate(origin.address, &[], "").await;
    let request = put_request(&payload(200_000));
    for sent in [40, 100, 70_000, 199_000] {
        let mut stream = TcpStream::connect(gate.running.address()).await.unwrap();
        stream.write_all(&request[..sent]).await.unwrap();
        stream.set_zero_linger().unwrap();
    }
    gate.wait_for_metric("hashgate_connections_open", 0.0).await;
    gate.wait_for_metric("hashgate_uploads_in_flight", 0.0).await;
    gate.wait_for_metric("hashgate_origin_connections_open", 0.0).await;
    assert!(origin.seen().iter().all(|seen| !seen.whole));
    assert!(gate.audit().contains("\"outcome\":\"client_gone\""));
}

/// A reload that brings an algorithm while a payload streams makes its verdict undecidable, not negative.
#[tokio::test]
async fn a_new_algorithm_in_the_middle_is_a_503() {
    let origin = origin(Script::Take).await;
    let gate = gate(origin.address, &[], "").await;
    let request = put_request(&payload(200_000));
    let mut stream = TcpStream::connect(gate.running.address()).await.unwrap();
    stream.write_all(&request[..150_000]).await.unwrap();
    origin.wait_for(|seen| seen.len() == 1).await;
    let md5 = hashgate::digest::Digests::of(b"other").md5.unwrap();
    std::fs::write(gate.folder.path().join("list"), hex::encode(md5)).unwrap();
    gate.running.reload().await;
    stream.write_all(&request[150_000..]).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.0, 503);
    assert!(gate.audit().contains("digest_missing"));
    assert_eq!(gate.put(b"other").await.0, 403);
}
