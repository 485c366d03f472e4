//! Asking a service about digests: a mock of the HashCheckServer; nothing here ever calls a real one.

use crate::support::fake_origin::{Answering, Exchange, FakeOrigin, Step, answer};
use crate::support::gate::{Gate, assert_refused, gate};

use crate::support::store::Store;
use hashgate::digest::{Algorithm, Digests};
use std::sync::{Arc, Mutex};

/// What the mock does.
#[derive(Clone)]
pub(crate) enum Mood {
    /// Says true to these digests in hexadecimal.
    Knows(Vec<String>),
    /// Does this, whatever it is asked.
    Fails(Vec<Step>),
}

pub(crate) struct Mock {
    server: FakeOrigin,
    mood: Arc<Mutex<Mood>>,
}

impl Mock {
    pub(crate) async fn start(mood: Mood) -> Mock {
        let mood = Arc::new(Mutex::new(mood));
        let now = mood.clone();
        let server = FakeOrigin::start(move |_, request| match &*now.lock().expect("no panic while locked") {
            Mood::Knows(digests) => vec![Step::ReadAll, knowing(digests.clone())],
            Mood::Fails(steps) => {
                assert!(request.line().starts_with("POST "), "{}", request.line());
                steps.clone()
            }
        })
        .await;
        Mock { server, mood }
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        *self.mood.lock().expect("no panic while locked") = mood;
    }

    pub(crate) fn asked(&self) -> Vec<Exchange> {
        self.server.exchanges()
    }

    pub(crate) fn yaml(&self) -> String {
        format!(
            "services: [ {{ name: eokm, protocol: hashcheckserver, endpoint: 'http://{}/v1/test/check', \
             category: 'eokm:any', credentials: {{ username: us, password: secret }}, timeout: 500ms }} ]",
            self.server.address
        )
    }
}

/// Answers by what the body says.
fn knowing(digests: Vec<String>) -> Step {
    Step::Answer(Answering(Arc::new(move |exchange| {
        let asked = String::from_utf8_lossy(&exchange.body).into_owned();
        let word = if digests.contains(&asked) { "true" } else { "false" };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{word}", word.len()).into_bytes()
    })))
}

fn hex(payload: &[u8], algorithm: Algorithm) -> String {
    Digests::of(payload).get(algorithm).expect("all were computed").to_hex()
}

async fn put(gate: &Gate, key: &str, payload: &[u8]) -> u16 {
    gate.client().request("PUT", key, &[], payload).await.status
}

fn results(metrics: &crate::support::gate::Metrics, result: &str) -> f64 {
    let name = format!("hashgate_service_answers_total{{result=\"{result}\",service=\"eokm\"}}");
    metrics.0.get(&name).copied().unwrap_or_default()
}

/// One digest a call, in both algorithms, with the credentials; a yes to either is a match; answers are kept.
#[tokio::test]
async fn a_service_is_asked_while_the_end_is_held() {
    let known = vec![hex(b"by md5", Algorithm::Md5), hex(b"by sha1", Algorithm::Sha1)];
    let (mock, origin) = (Mock::start(Mood::Knows(known)).await, FakeOrigin::accepting().await);
    let gate = gate(&Store::fake(origin.address)).yaml(&mock.yaml()).start().await;
    let listed = gate.client().request("PUT", "/b/k", &[], b"by md5").await;
    assert_refused(&listed);
    assert_eq!(put(&gate, "/b/k", b"by sha1").await, 403);
    assert_eq!(put(&gate, "/b/k", b"clean").await, 200);
    gate.audit_line("the match", |line| line["matched"][0]["category"] == "eokm:any").await;
    let first = mock.asked().remove(0);
    assert_eq!(first.line(), "POST /v1/test/check/md5 HTTP/1.1");
    assert_eq!(first.headers("authorization"), ["Basic dXM6c2VjcmV0"]);
    assert_eq!(String::from_utf8_lossy(&first.body), hex(b"by md5", Algorithm::Md5));
    let asked = mock.asked().len();
    assert_eq!(asked, 5, "md5; md5 and sha1; md5 and sha1");
    assert_eq!((put(&gate, "/b/k", b"clean").await, put(&gate, "/b/k", b"by sha1").await), (200, 403));
    assert_eq!(mock.asked().len(), asked, "the answers were kept");
    let metrics = gate.metrics().await;
    assert_eq!(
        (results(&metrics, "listed"), results(&metrics, "unlisted"), results(&metrics, "cached")),
        (2.0, 3.0, 4.0)
    );
    gate.stop().await;
}

/// Whatever is neither `true` nor `false` is no answer, and no answer is no clean upload; a list still refuses its own.
#[tokio::test]
async fn no_answer_is_refused() {
    let slow = vec![Step::ReadAll, Step::Stall];
    for (n, steps) in [
        vec![Step::Close],
        slow,
        vec![Step::ReadAll, answer("200 OK", &[], b"maybe")],
        vec![Step::ReadAll, answer("200 OK", &[], b"")],
        vec![Step::ReadAll, answer("401 Unauthorized", &[], b"false")],
        vec![Step::ReadAll, answer("302 Found", &[("Location", "http://127.0.0.1:1/")], b"false")],
        vec![Step::ReadAll, answer("500 Internal Server Error", &[], b"false")],
    ]
    .into_iter()
    .enumerate()
    {
        let (mock, origin) = (Mock::start(Mood::Fails(steps)).await, FakeOrigin::accepting().await);
        let gate = gate(&Store::fake(origin.address))
            .list("sample", [hex(b"listed", Algorithm::Sha256)])
            .yaml(&mock.yaml())
            .start()
            .await;
        assert_eq!((put(&gate, "/b/k", b"clean").await, put(&gate, "/b/k", b"listed").await), (503, 403), "{n}");
        let line = gate.audit_line("undecided", |line| line["reason"] == "service_away").await;
        assert!(line["outcome"] == "undecidable" && line.get("sha256").is_none(), "{line}");
        // It may have been asked about the caller, by a head alone.
        assert!(origin.exchanges().iter().all(|exchange| exchange.body.is_empty()), "{n}");
        // What brings no object does not wait for the service.
        let tags = gate.client().request("PUT", "/b/k?tagging", &[], b"<Tagging/>").await;
        assert_eq!(tags.status, 200, "{n}: {tags:?}");
        mock.becomes(Mood::Knows(Vec::new()));
        assert_eq!(put(&gate, "/b/k", b"clean").await, 200, "{n}: it answers again");
        gate.stop().await;
    }
}

/// A service that fails again and again is left alone for a while.
#[tokio::test]
async fn a_service_that_is_down_is_not_asked_each_time() {
    let (mock, origin) = (Mock::start(Mood::Fails(vec![Step::Close])).await, FakeOrigin::accepting().await);
    let gate = gate(&Store::fake(origin.address)).yaml(&mock.yaml()).start().await;
    for n in 0..20_u8 {
        assert_eq!(put(&gate, "/b/k", &[n]).await, 503);
    }
    let metrics = gate.metrics().await;
    assert_eq!((results(&metrics, "failed"), results(&metrics, "circuit_open")), (5.0, 35.0));
    gate.stop().await;
}
