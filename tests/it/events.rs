//! Webhooks: at least once, signed, and nothing in them that must stay in the house.

use crate::support::eventually;
use crate::support::fake_origin::{Exchange, FakeOrigin, Step, answer};
use crate::support::gate::{Gate, assert_refused, files, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use hashgate::signing::Signing;
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// A receiver that does this, whatever it is told.
struct Receiver {
    server: FakeOrigin,
    mood: Arc<Mutex<Vec<Step>>>,
}

impl Receiver {
    async fn start(steps: Vec<Step>) -> Receiver {
        let mood = Arc::new(Mutex::new(steps));
        let now = mood.clone();
        let server = FakeOrigin::start(move |_, _| {
            [vec![Step::ReadAll], now.lock().expect("no panic while locked").clone()].concat()
        })
        .await;
        Receiver { server, mood }
    }

    fn becomes(&self, steps: Vec<Step>) {
        *self.mood.lock().expect("no panic while locked") = steps;
    }

    fn yaml(&self, events: &str) -> String {
        format!("webhooks: [ {{ url: 'http://{}/told?by=gate', events: [{events}] }} ]", self.server.address)
    }

    /// What was told so far, of this kind.
    fn told(&self, kind: &str) -> Vec<(Exchange, Value)> {
        let told = self.server.exchanges().into_iter().filter(|exchange| exchange.complete);
        let parsed = told.map(|exchange| {
            let event: Value = serde_json::from_slice(&exchange.body).expect("JSON");
            (exchange, event)
        });
        parsed.filter(|(_, event)| event["type"] == kind).collect()
    }
}

fn takes() -> Vec<Step> {
    vec![answer("204 No Content", &[], b"")]
}

async fn waiting(gate: &Gate) -> f64 {
    gate.metrics().await.0["hashgate_events_waiting"]
}

/// What a receiver does: the signature of Standard Webhooks over id, time and body.
fn assert_signed(gate: &Gate, exchange: &Exchange) {
    let header = |name: &str| exchange.headers(name).first().cloned().unwrap_or_default();
    let key = Signing::open(&gate.dir().join("state")).expect("the gate's key").webhook_public();
    let public = BASE64.decode(key.strip_prefix("whpk_").expect("its prefix")).expect("base64");
    let signature = header("webhook-signature");
    let signature = BASE64.decode(signature.strip_prefix("v1a,").expect("its version")).expect("base64");
    let mut message = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
    message.extend_from_slice(&exchange.body);
    UnparsedPublicKey::new(&ED25519, public).verify(&message, &signature).expect("the gate's signature");
    let age = time::OffsetDateTime::now_utc().unix_timestamp() - header("webhook-timestamp").parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "the time of this try: {age} seconds ago");
}

/// A match is told with its case, list, category and action; no digest, no key, no address.
#[tokio::test]
async fn a_match_is_told_and_keeps_its_secrets() {
    let (receiver, origin) = (Receiver::start(takes()).await, FakeOrigin::accepting().await);
    let bad = Payload::random(1, 1000);
    let gate =
        gate(&Store::fake(origin.address)).list("sample", [bad.sha256()]).yaml(&receiver.yaml("match")).start().await;
    assert_refused(&gate.client().request("PUT", "/bucket/a-telling-name", &[], &bad.bytes()).await);
    let (exchange, event) = eventually("it is told", async || receiver.told("match").pop()).await;
    assert_eq!(exchange.line(), "POST /told?by=gate HTTP/1.1");
    assert_signed(&gate, &exchange);
    let audit = gate.audit_line("the match", |line| line["outcome"] == "rejected").await;
    assert_eq!(event["data"]["case"], audit["request"]);
    assert_eq!(event["data"]["matched"][0]["list"], "sample");
    assert_eq!(event["data"]["matched"][0]["category"], "house:test");
    assert_eq!((&event["data"]["action"], &event["data"]["bucket"]), (&"reject".into(), &"bucket".into()));
    assert!(event["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{event}");
    let text = event.to_string();
    for secret in
        [bad.sha256(), bad.md5(), "a-telling-name".into(), "127.0.0.1".into(), audit["access_key"].to_string()]
    {
        assert!(!text.contains(secret.trim_matches('"')), "{text}");
    }
    eventually("nothing waits", async || (waiting(&gate).await == 0.0).then_some(())).await;
    assert_eq!(files(&gate.dir().join("state/events")).len(), 0);
    assert_eq!(receiver.told("match").len(), 1);
    gate.stop().await;
}

/// Whatever is not 2xx is told again, also over a restart, under the same id and with the same body; a redirect is not
/// followed.
#[tokio::test]
async fn what_is_not_taken_is_told_again() {
    let elsewhere = Receiver::start(takes()).await;
    let location = format!("http://{}/", elsewhere.server.address);
    for (n, steps) in [
        vec![answer("500 Internal Server Error", &[], b"")],
        vec![answer("307 Temporary Redirect", &[("Location", &location)], b"")],
        vec![Step::Close],
    ]
    .into_iter()
    .enumerate()
    {
        let (receiver, origin) = (Receiver::start(steps).await, FakeOrigin::accepting().await);
        let bad = Payload::random(1, 1000);
        let gate = gate(&Store::fake(origin.address))
            .list("sample", [bad.sha256()])
            .yaml(&receiver.yaml("match, alarm"))
            .start()
            .await;
        assert_refused(&gate.client().request("PUT", "/bucket/key", &[], &bad.bytes()).await);
        let (first, _) = eventually("a first try", async || receiver.told("match").pop()).await;
        eventually("it failed", async || (waiting(&gate).await == 1.0).then_some(())).await;
        let gate = gate.restart().await;
        eventually("a try after the restart", async || (receiver.told("match").len() >= 2).then_some(())).await;
        assert_eq!(waiting(&gate).await, 1.0, "{n}");
        receiver.becomes(takes());
        eventually("it is taken", async || (waiting(&gate).await == 0.0).then_some(())).await;
        for (again, _) in receiver.told("match") {
            assert_eq!((again.headers("webhook-id"), &again.body), (first.headers("webhook-id"), &first.body), "{n}");
            assert_signed(&gate, &again);
        }
        let delivered = gate.metrics().await.0["hashgate_events_total{result=\"delivered\"}"];
        assert_eq!(delivered, 1.0, "{n}");
        gate.stop().await;
    }
    assert_eq!(elsewhere.server.exchanges().len(), 0);
}
