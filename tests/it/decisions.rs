//! What operators decide about entries.

use crate::cli::run;
use crate::support::client::{Client, Form};
use crate::support::eventually;
use crate::support::fake_origin::FakeOrigin;
use crate::support::gate::{Mode, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;

/// An entry that hits several verified tenants raises an alarm; by one of its cases an operator lets its file through, and
/// takes that back.
#[tokio::test]
async fn an_entry_that_floods_is_taken_out_by_a_case() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    let (logo, bad) = (Payload::random(1, 1000), Payload::random(2, 1000));
    let users = ["a", "b", "c"].map(|name| format!("{{ access_key: {name}, secret_key: secret, tenant: {name} }}"));
    let gate = gate(&store)
        .list("sample", [logo.md5(), bad.sha256()])
        .mode(Mode::Verify)
        .yaml(&format!("authentication: {{ users: [ {} ] }}", users.join(", ")))
        .yaml("policy: { flood: { tenants: 2 } }")
        .start()
        .await;
    let address = gate.address;
    let put = async |user: &str, payload: &Payload| {
        let mut as_user = store.clone();
        (as_user.access_key, as_user.secret_key) = (user.into(), "secret".into());
        let client = Client::new(&as_user, address);
        client.put(Form::SignedChunks, "/bucket/key", payload).await.expect("an answer").status
    };
    let flooding = async || gate.metrics().await.0["hashgate_flooding_entries"];
    for (user, alarms) in [("a", 0.0), ("b", 0.0), ("a", 0.0), ("c", 1.0)] {
        assert_eq!((put(user, &logo).await, flooding().await), (403, alarms), "{user}");
    }
    assert_eq!((put("a", &bad).await, flooding().await), (403, 1.0));
    let alarm = gate.audit_line("the alarm", |line| line["operation"] == "Flood").await;
    assert_eq!((alarm["tenants"].as_u64(), alarm["uploads"].as_u64()), (Some(3), Some(4)));

    let config = gate.dir().join("hashgate.yaml").display().to_string();
    let case = alarm["request"].as_str().expect("a case").to_owned();
    let decide = |word: &str, case: &str| run(&["list", word, "--case", case, "--config", &config], "");
    assert_eq!(decide("veto", "0123456789ABCDEF").0, Some(3));
    let (code, out, err) = decide("veto", &case);
    assert!(code == Some(0) && out.contains("sample house:test"), "{out}{err}");
    eventually("the veto is heard", async || (put("a", &logo).await == 200).then_some(())).await;
    assert_eq!((put("b", &bad).await, flooding().await), (403, 0.0), "and nothing else is let through");
    assert_eq!(gate.metrics().await.0["hashgate_vetoed_total"], 1.0);
    assert_eq!(decide("confirm", &case).0, Some(0));
    eventually("it is taken back", async || (put("a", &logo).await == 403).then_some(())).await;
    for user in ["a", "b", "c"] {
        assert_eq!((put(user, &logo).await, flooding().await), (403, 0.0), "it was confirmed");
    }
    gate.stop().await;
}
