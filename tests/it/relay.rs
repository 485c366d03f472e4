//! Everything that is not an upload passes as it came, in both directions.

use crate::support::client::{Client, Head};
use crate::support::fake_origin::{FakeOrigin, Step, answer};
use crate::support::gate::{assert_refused, end_in_order, gate, spawn};
use crate::support::store::Store;

/// Answers every request with this.
async fn answering(status: &'static str, headers: &'static [(&str, &str)], body: &'static [u8]) -> FakeOrigin {
    FakeOrigin::start(move |_, _| vec![Step::ReadAll, answer(status, headers, body)]).await
}

/// Path, query, Host and header case stay; who connects from where is ours to say.
#[tokio::test]
async fn a_head_arrives_as_it_was_sent() {
    let origin = answering("200 OK", &[("X-Odd-CASE", "Yes")], b"body").await;
    let gate = gate(&Store::fake(origin.address)).start().await;
    let mut head = Head::new("GET", "/b//k%2Fx+y?list-type=2&a=%20+b");
    for (name, value) in [
        ("hOST", "Some.Name:81"),
        ("X-Amz-Meta-MiXed", "1"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-Host", "evil"),
        ("Forwarded", "for=1"),
        ("X-Real-IP", "9"),
        ("Connection", "keep-alive"),
        ("Range", "bytes=0-3"),
    ] {
        head.push(name, value);
    }
    let answer = gate.client().raw(&head.bytes(), false).await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
    assert!(answer.headers.iter().any(|(name, _)| name == "X-Odd-CASE"), "{answer:?}");
    let seen = &origin.exchanges()[0];
    assert_eq!(seen.line(), "GET /b//k%2Fx+y?list-type=2&a=%20+b HTTP/1.1");
    for line in ["hOST: Some.Name:81\r\n", "X-Amz-Meta-MiXed: 1\r\n", "Range: bytes=0-3\r\n"] {
        assert!(seen.head_text().contains(line), "{line} is not in {}", seen.head_text());
    }
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    for name in ["x-forwarded-host", "forwarded", "x-real-ip", "connection"] {
        assert!(seen.headers(name).is_empty(), "{}", seen.head_text());
    }
    gate.stop().await;
}

/// Behind a balancer that speaks the PROXY protocol, the origin and the records hear of the client and not of the
/// balancer; a connection without the header is closed.
#[tokio::test]
async fn the_proxy_protocol_tells_who_connects() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    let proxied = || gate(&store).yaml("listen: { proxy_protocol: true }").yaml("log: { format: json, level: info }");
    let gate = proxied().start().await;
    let mut client = gate.client();
    client.prelude = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 9000\r\n".to_vec();
    assert_eq!(client.request("PUT", "/b/k", &[], b"x").await.status, 200);
    assert_eq!(origin.exchanges()[0].headers("x-forwarded-for"), ["192.0.2.7"]);
    client.prelude.clear();
    let (head, _) = client.prepare("GET", "/b/k", &[], b"");
    assert!(client.raw(&head.bytes(), false).await.is_err());
    assert_eq!(origin.exchanges().len(), 1);
    assert_eq!(gate.metrics().await.0["hashgate_connection_errors_total{kind=\"proxy_protocol\"}"], 1.0);
    gate.stop().await;

    // The log has the address; the audit log, which is kept for years, does not.
    let (folder, config) = proxied().write();
    let (child, address, _) = spawn(&config);
    let mut client = Client::new(&store, address);
    client.prelude = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 9000\r\n".to_vec();
    assert_eq!(client.request("PUT", "/b/k", &[], b"x").await.status, 200);
    let log = end_in_order(child);
    assert!(log.contains("\"peer\":\"192.0.2.7:4711\""), "{log}");
    let audit = std::fs::read_to_string(folder.path().join("state/audit.log")).expect("written");
    assert!(audit.contains("\"PutObject\"") && !audit.contains("192.0.2.7"), "{audit}");
}

/// A redirect to another host would lead the client past the gate.
#[tokio::test]
async fn redirects_to_elsewhere_are_not_passed_on() {
    for (location, status) in [("http://origin:9001/b/k", 500), ("/b/other", 307), ("//evil/x", 500)] {
        let steps = vec![answer("307 Temporary Redirect", &[("Location", location)], b"")];
        let origin = FakeOrigin::start(move |_, _| steps.clone()).await;
        let gate = gate(&Store::fake(origin.address)).start().await;
        let answer = gate.client().get("/b/k").await;
        assert_eq!(answer.status, status, "{location}");
        assert_eq!(answer.header("location").is_some(), status == 307);
        gate.stop().await;
    }
}

/// A body is hashed whatever call it comes with, and bounded where it makes no object.
#[tokio::test]
async fn other_bodies_are_hashed_and_bounded() {
    let origin = FakeOrigin::accepting().await;
    let listed = crate::support::payload::Payload::from("listed").sha256();
    let gate = gate(&Store::fake(origin.address))
        .list("sample", [listed])
        .yaml("limits: { control_body: 1KiB }")
        .start()
        .await;
    let client = gate.client();
    assert_refused(&client.request("PUT", "/b/k?tagging", &[], b"listed").await);
    let answer = client.request("PUT", "/b/k?tagging", &[], &[b'x'; 2000]).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "EntityTooLarge"));
    assert_eq!(client.request("PUT", "/b/k?tagging", &[], &[b'x'; 500]).await.status, 200);
    gate.stop().await;
}

/// A Complete of parts that nobody has hashed is refused, unless the setting waives it, which is counted.
#[tokio::test]
async fn completes_of_unknown_parts() {
    let part = "<Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>";
    let xml = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
    let origin = FakeOrigin::accepting().await;
    for (unverifiable, status) in [("refuse", 501), ("allow", 200)] {
        let gate = gate(&Store::fake(origin.address))
            .yaml(&format!("multipart: {{ unverifiable: {unverifiable} }}"))
            .start()
            .await;
        let answer = gate.client().request("POST", "/b/k?uploadId=u", &[], xml.as_bytes()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let waived = gate.metrics().await.0["hashgate_waived_total{setting=\"multipart_unverifiable\"}"];
        assert_eq!(waived, if status == 200 { 1.0 } else { 0.0 });
        gate.stop().await;
    }
    assert_eq!(origin.exchanges().len(), 1);
}

/// Observing lets a match pass, and says so in a metric.
#[tokio::test]
async fn observing_is_counted() {
    let origin = FakeOrigin::accepting().await;
    let listed = crate::support::payload::Payload::from("listed").sha256();
    let gate =
        gate(&Store::fake(origin.address)).list("sample", [listed]).yaml("policy: { on_match: observe }").start().await;
    assert_eq!(gate.client().request("PUT", "/b/k", &[], b"listed").await.status, 200);
    let metrics = gate.metrics().await.0;
    assert_eq!(metrics["hashgate_waived_total{setting=\"observe\"}"], 1.0);
    assert_eq!(metrics["hashgate_matches_total{action=\"observe\",list=\"sample\"}"], 1.0);
    gate.stop().await;
}
