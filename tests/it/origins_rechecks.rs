//! `policy.on_unavailable: allow-and-recheck` at real stores.

use crate::services::{Mock, Mood};
use crate::support::client::Form;
use crate::support::eventually;
use crate::support::fake_origin::Step;
use crate::support::gate::{Builder, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, stores};

fn rechecking(store: &Store, mock: &Mock) -> Builder {
    gate(store).yaml(&mock.yaml()).yaml("policy: { on_unavailable: allow-and-recheck }").yaml(&credentials(store))
}

fn credentials(store: &Store) -> String {
    format!("origin: {{ credentials: {{ access_key: {}, secret_key: {} }} }}", store.access_key, store.secret_key)
}

/// `allow-and-recheck`: what nobody could decide passes, waits on disk over a restart, and goes when the answer is yes;
/// what took its place in the meantime stays.
#[tokio::test]
async fn what_passed_undecided_is_looked_up_again() {
    for store in stores().await {
        let room = store.room("recheck").await;
        let (bad, other) = (Payload::random(7, 70_000), Payload::random(8, 70_000));
        let mock = Mock::start(Mood::Fails(vec![Step::Close])).await;
        let gate = rechecking(&store, &mock).start().await;
        let client = gate.client();
        let at = |name: &str| format!("/{room}/{name}");
        for (name, payload) in [("bad", &bad), ("replaced", &bad), ("good", &other)] {
            let answer = client.put(Form::RawSigned, &at(name), payload).await.expect("an answer");
            assert_eq!(answer.status, 200, "{} {name}: {answer:?}", store.name);
        }
        let id = client.create_multipart(&at("parts")).await;
        let part = client.put(Form::RawSigned, &format!("{}?partNumber=1&uploadId={id}", at("parts")), &other).await;
        assert_eq!(part.expect("an answer").status, 503, "a part waits");
        assert_eq!(gate.metrics().await.0["hashgate_recheck_queue"], 3.0);
        assert_eq!(gate.metrics().await.0["hashgate_waived_total{setting=\"on_unavailable\"}"], 3.0);
        let line = gate.audit_line("let through", |line| line["undecided"] == true).await;
        assert!(line.get("sha256").is_none(), "it may be a listed one: {line}");
        let direct = store.client();
        assert_eq!(direct.put(Form::RawSigned, &at("replaced"), &other).await.expect("an answer").status, 200);

        let gate = gate.restart().await;
        assert_eq!(gate.metrics().await.0["hashgate_recheck_queue"], 3.0, "{}", store.name);
        mock.becomes(Mood::Knows(vec![bad.md5()]));
        eventually("the queue is empty", async || {
            (gate.metrics().await.0["hashgate_recheck_queue"] == 0.0).then_some(())
        })
        .await;
        let statuses = [direct.head(&at("bad")).await.status, direct.head(&at("good")).await.status];
        assert_eq!(statuses, [404, 200], "{}", store.name);
        if !room.versioned {
            assert_eq!(direct.get(&at("replaced")).await.body, other.bytes(), "{}", store.name);
        }
        gate.audit_line("removed", |line| line["operation"] == "Recheck" && line["outcome"] == "removed").await;
        let again = gate.client().put(Form::RawSigned, &at("bad"), &bad).await.expect("an answer");
        assert_eq!(again.status, 403, "{}", store.name);
        gate.stop().await;
    }
}

/// A list that came since and needs another digest has the object read; nobody else in the queue waits for one that cannot
/// be read.
#[tokio::test]
async fn a_digest_that_nobody_computed_is_computed_later() {
    for store in stores().await {
        let room = store.room("recheck").await;
        let (bad, good) = (Payload::random(9, 70_000), Payload::random(10, 70_000));
        let mock = Mock::start(Mood::Fails(vec![Step::Close])).await;
        let only_md5 = mock.yaml().replace("timeout:", "algorithms: [md5], timeout:");
        let gate = gate(&store)
            .list("sample", [Payload::random(11, 10).sha256()])
            .yaml(&only_md5)
            .yaml("policy: { on_unavailable: allow-and-recheck }")
            .yaml(&credentials(&store))
            .start()
            .await;
        let at = |name: &str| format!("/{room}/{name}");
        for (name, payload) in [("gone", &bad), ("bad", &bad), ("good", &good)] {
            let answer = gate.client().put(Form::RawSigned, &at(name), payload).await.expect("an answer");
            assert_eq!(answer.status, 200, "{} {name}: {answer:?}", store.name);
        }
        let direct = store.client();
        direct.delete(&at("gone")).await;
        std::fs::write(gate.dir().join("sample.txt"), bad.sha1()).expect("writable");
        gate.running.reload().await;
        mock.becomes(Mood::Knows(Vec::new()));
        eventually("the queue is empty", async || {
            (gate.metrics().await.0["hashgate_recheck_queue"] == 0.0).then_some(())
        })
        .await;
        let statuses = [direct.head(&at("bad")).await.status, direct.head(&at("good")).await.status];
        assert_eq!(statuses, [404, 200], "{}", store.name);
        gate.stop().await;
    }
}
