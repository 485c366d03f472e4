//! The upload by which the gate tests itself.

use crate::support::client::Form;
use crate::support::eventually;
use crate::support::fake_origin::{Exchange, FakeOrigin, Step, answer};
use crate::support::gate::{Gate, Mode, assert_absent, assert_refused, field, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, embedded};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

const KEY: &str = "/canaries/hashgate-canary";

fn yaml(store: &Store, every: &str) -> String {
    format!(
        "canary: {{ bucket: canaries, every: {every} }}\n\
         origin: {{ credentials: {{ access_key: {}, secret_key: {} }} }}",
        store.access_key, store.secret_key
    )
}

async fn count(gate: &Gate, result: &str) -> f64 {
    gate.metrics().await.0[&format!("hashgate_canary_total{{result=\"{result}\"}}")]
}

async fn put(gate: &Gate) -> u16 {
    gate.client().request("PUT", "/canaries/another", &[], b"clean").await.status
}

/// Both sizes in both forms are refused and not there, whatever rules and switches say; nobody has hit, and no counter of
/// what clients did has a sample of it.
#[tokio::test]
async fn the_canary_is_refused_and_counts_for_nobody() {
    for mode in Mode::BOTH {
        let store = embedded().await;
        store.client().create_bucket("canaries").await;
        let gate = gate(&store)
            .mode(mode)
            .yaml(&yaml(&store, "50ms"))
            .yaml("policy: { on_match: observe, tenant_hits: { hits: 1 } }\nlimits: { refusals_per_minute: 1 }")
            .yaml("listen: { proxy_protocol: true }")
            .start()
            .await;
        eventually("each shape twice", async || (count(&gate, "refused").await >= 8.0).then_some(())).await;
        assert_absent(&store, KEY).await;
        let metrics = gate.metrics().await;
        for nothing in
            ["hashgate_requests_total", "hashgate_failures_total", "hashgate_matches_total", "hashgate_waived_total"]
        {
            assert_eq!(metrics.sum(nothing), 0.0, "{mode:?} {nothing}");
        }
        assert_eq!(metrics.sum("hashgate_alarm") + count(&gate, "failing").await, 0.0, "{mode:?}");
        let line = gate.audit_line("of the canary", |line| line["operation"] == "Canary").await;
        assert_eq!((&line["outcome"], &line["status"]), (&"canary".into(), &403.into()), "{line}");
        assert!(field(&line, "sha256").is_none() && field(&line, "matched").is_none(), "{line}");
        gate.stop().await;
    }
}

/// In `verify` the gate's own key is good for the canary alone.
#[tokio::test]
async fn nobody_else_gets_in_with_the_gates_own_key() {
    let store = embedded().await;
    store.client().create_bucket("canaries").await;
    let gate = gate(&store)
        .yaml(&yaml(&store, "50ms"))
        .yaml("authentication: { mode: verify, users: [ { access_key: user, secret_key: secret } ] }")
        .start()
        .await;
    eventually("it is tried", async || (count(&gate, "refused").await >= 1.0).then_some(())).await;
    let answer = gate.client().put(Form::RawSigned, KEY, &Payload::random(1, 10)).await;
    assert_eq!(answer.expect("an answer").code(), "InvalidAccessKeyId");
    gate.stop().await;
}

/// An origin that has the canary, or another object under its key, or lost everything.
#[derive(Clone)]
enum Mood {
    Nothing,
    Refuses,
    Has(PathBuf),
    /// The same, and it removes nothing.
    Keeps(PathBuf),
}

fn acts(mood: &Mutex<Mood>, request: &Exchange) -> Vec<Step> {
    let line = request.line();
    let mut mood = mood.lock().expect("no panic while locked");
    if !line.contains(KEY) {
        return vec![Step::ReadAll, answer("200 OK", &[("ETag", "\"e\"")], b"")];
    }
    let large = |path: &PathBuf| std::fs::read(path).expect("the gate keeps it")[4096..].to_vec();
    match (&*mood, line.split(' ').next().unwrap_or_default()) {
        (Mood::Refuses, _) => vec![Step::ReadAll, answer("403 Forbidden", &[], b"")],
        (_, "PUT") => vec![Step::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), Step::ReadAll, Step::Stall],
        (Mood::Nothing, _) => vec![answer("404 Not Found", &[], b"")],
        (Mood::Has(_) | Mood::Keeps(_), "HEAD") => {
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 163840\r\nETag: \"e\"\r\n\r\n".to_vec())]
        }
        (Mood::Has(path) | Mood::Keeps(path), "GET") => vec![answer("200 OK", &[("ETag", "\"e\"")], &large(path))],
        (Mood::Keeps(_), _) => vec![answer("403 Forbidden", &[], b"")],
        (Mood::Has(_), _) => {
            *mood = Mood::Nothing;
            vec![answer("204 No Content", &[], b"")]
        }
    }
}

async fn origin() -> (FakeOrigin, Arc<Mutex<Mood>>) {
    let mood = Arc::new(Mutex::new(Mood::Nothing));
    let now = mood.clone();
    (FakeOrigin::start(move |_, request| acts(&now, request)).await, mood)
}

/// A canary that is there ends all uploads, fails readiness and is removed; reads go on, and a restart begins anew.
#[tokio::test]
async fn a_canary_that_is_stored_ends_all_uploads() {
    let (origin, mood) = origin().await;
    let store = Store::fake(origin.address);
    let gate = gate(&store).yaml(&yaml(&store, "50ms")).start().await;
    eventually("it is tried", async || (count(&gate, "refused").await >= 1.0).then_some(())).await;
    assert_eq!((put(&gate).await, gate.ready().await.0), (200, 200));

    *mood.lock().unwrap() = Mood::Has(gate.dir().join("state/canary"));
    eventually("the alarm", async || gate.alarm("canary_stored").await.then_some(())).await;
    let refused = gate.client().request("PUT", "/canaries/another", &[], b"clean").await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "ServiceUnavailable"), "{refused:?}");
    let (status, why) = gate.ready().await;
    assert!(status == 503 && why.contains("canary"), "{why}");
    assert_eq!(gate.client().get("/canaries/another").await.status, 200, "reads go on");
    origin
        .wait("the removal", |all| {
            let mut exchanges = all.iter().flat_map(|connection| &connection.exchanges);
            exchanges
                .any(|exchange| exchange.line().starts_with("DELETE ") && exchange.headers("if-match") == ["\"e\""])
        })
        .await;
    assert_eq!((put(&gate).await, count(&gate, "stored").await), (503, 1.0), "and until a restart");
    let alarm = gate.audit_line("the alarm", |line| line["operation"] == "Alarm").await;
    assert_eq!((&alarm["alarm"], &alarm["outcome"]), (&"canary_stored".into(), &"raised".into()));

    let gate = gate.restart().await;
    eventually("it is tried again", async || (count(&gate, "refused").await >= 1.0).then_some(())).await;
    assert_eq!((put(&gate).await, gate.ready().await.0), (200, 200));
    gate.stop().await;
}

/// A canary that could not be removed when it was stored is in the way of the next process, which stores nothing of the
/// kind: an alarm of another sort. One that it can remove, it does.
#[tokio::test]
async fn a_canary_that_is_left_over_ends_no_uploads() {
    let (origin, mood) = origin().await;
    let store = Store::fake(origin.address);
    let gate = gate(&store).yaml(&yaml(&store, "50ms")).start().await;
    eventually("it is tried", async || (count(&gate, "refused").await >= 1.0).then_some(())).await;
    *mood.lock().unwrap() = Mood::Keeps(gate.dir().join("state/canary"));
    eventually("the alarm", async || gate.alarm("canary_stored").await.then_some(())).await;

    let gate = gate.restart().await;
    eventually("the other alarm", async || gate.alarm("canary_failing").await.then_some(())).await;
    assert_eq!((put(&gate).await, gate.ready().await.0), (200, 200));
    assert_eq!((gate.alarm("canary_stored").await, count(&gate, "stored").await), (false, 0.0));
    let alarm = gate.audit_line("the detail", |line| line["alarm"] == "canary_failing").await;
    assert!(alarm["detail"].as_str().is_some_and(|detail| detail.contains("left over from before")), "{alarm}");

    *mood.lock().unwrap() = Mood::Has(gate.dir().join("state/canary"));
    eventually("removed, and tried again", async || (count(&gate, "refused").await >= 1.0).then_some(())).await;
    assert_eq!(count(&gate, "stored").await, 0.0);
    *mood.lock().unwrap() = Mood::Keeps(gate.dir().join("state/canary"));
    eventually("what comes later is no rest", async || gate.alarm("canary_stored").await.then_some(())).await;
    gate.stop().await;
}

/// Where it cannot be tried three times in a row, there is an alarm, and uploads go on.
#[tokio::test]
async fn a_canary_that_cannot_be_tried_is_an_alarm() {
    let (origin, mood) = origin().await;
    *mood.lock().unwrap() = Mood::Refuses;
    let store = Store::fake(origin.address);
    let gate = gate(&store).yaml(&yaml(&store, "50ms")).start().await;
    eventually("the alarm", async || gate.alarm("canary_failing").await.then_some(())).await;
    assert!(count(&gate, "failing").await >= 3.0 && count(&gate, "refused").await == 0.0);
    assert_eq!((put(&gate).await, gate.ready().await.0), (200, 200));
    *mood.lock().unwrap() = Mood::Nothing;
    eventually("it ends", async || (!gate.alarm("canary_failing").await).then_some(())).await;
    gate.stop().await;
}

/// Who sends the canary's own bytes is refused like anybody with a listed file, and it is nobody's hit.
#[tokio::test]
async fn the_canarys_bytes_pass_for_nobody() {
    let (origin, _) = origin().await;
    let store = Store::fake(origin.address);
    let gate = gate(&store).yaml(&yaml(&store, "1h")).start().await;
    let payload = std::fs::read(gate.dir().join("state/canary")).unwrap()[..4096].to_vec();
    let refused = gate.client().request("PUT", "/canaries/stolen", &[], &payload).await;
    assert_refused(&refused);
    assert_eq!(gate.metrics().await.sum("hashgate_matches_total"), 0.0);
    gate.stop().await;
}
