//! Alarms: a list that goes stale, a tenant that hits often, every match let through.

use crate::cli::run;
use crate::support::client::Form;
use crate::support::eventually;
use crate::support::fake_origin::FakeOrigin;
use crate::support::gate::{Gate, Mode, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, embedded};
use hashgate::act::Order;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

async fn put(gate: &Gate, payload: &Payload) -> u16 {
    gate.client().put(Form::SignedChunks, "/bucket/key", payload).await.expect("an answer").status
}

/// A list that cannot be refreshed for long raises an alarm, which ends when it can.
#[tokio::test]
async fn a_stale_list_is_an_alarm() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address))
        .yaml("lists: [ { name: hotline, source: '{dir}/sample.txt', category: 'house:test', refresh: 100ms } ]")
        .start()
        .await;
    let (list, away) = (gate.dir().join("sample.txt"), gate.dir().join("away.txt"));
    assert!(!gate.alarm("list_stale").await);
    std::fs::rename(&list, &away).unwrap();
    eventually("the alarm", async || gate.alarm("list_stale").await.then_some(())).await;
    let alarm = gate.audit_line("raised", |line| line["alarm"] == "list_stale").await;
    assert_eq!((&alarm["subject"], &alarm["outcome"]), (&"hotline".into(), &"raised".into()));
    assert_eq!(put(&gate, &Payload::random(1, 10)).await, 200, "without a max_age uploads go on");
    std::fs::rename(&away, &list).unwrap();
    eventually("it ends", async || (!gate.alarm("list_stale").await).then_some(())).await;
    gate.audit_line("cleared", |line| line["alarm"] == "list_stale" && line["outcome"] == "cleared").await;
    gate.stop().await;
}

/// Matches of one verified tenant over the bound raise an alarm that names it; claims count for nobody.
#[tokio::test]
async fn a_verified_tenant_that_hits_often_is_an_alarm() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    let bad = Payload::random(1, 1000);
    let users = format!("authentication: {{ users: [ {{ access_key: {}, tenant: acme }} ] }}", store.access_key);
    for mode in Mode::BOTH {
        let mut builder =
            gate(&store).list("sample", [bad.sha256()]).mode(mode).yaml("policy: { tenant_hits: { hits: 2 } }");
        if mode == Mode::PassThrough {
            builder = builder.yaml(&users);
        }
        let gate = builder.start().await;
        for _ in 0..2 {
            assert_eq!(put(&gate, &bad).await, 403);
        }
        assert!(!gate.alarm("tenant_hits").await, "two may be an accident");
        assert_eq!(put(&gate, &bad).await, 403);
        let matches = gate.metrics().await.0["hashgate_tenant_matches_total{tenant=\"acme\"}"];
        assert_eq!((gate.alarm("tenant_hits").await, matches > 0.0), (mode == Mode::Verify, mode == Mode::Verify));
        if mode == Mode::Verify {
            let alarm = gate.audit_line("raised", |line| line["alarm"] == "tenant_hits").await;
            assert_eq!((&alarm["subject"], matches), (&"acme".into(), 3.0));
        }
        gate.stop().await;
    }
}

fn officers(dir: &Path) -> String {
    for name in ["officer", "viewer", "late"] {
        std::fs::write(dir.join(name), name).unwrap();
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let token = |name: &str, role: &str, expires: &str| {
        let file = dir.join(name).display().to_string();
        format!("{{ name: {name}, role: {role}, token_file: {file}, expires: {expires} }}")
    };
    format!(
        "admin: {{ tokens: [ {}, {}, {} ] }}",
        token("officer", "officer", "2099-12-31"),
        token("viewer", "viewer", "2099-12-31"),
        token("late", "officer", "2020-01-01")
    )
}

/// One command of an officer lets every match through, also over a restart, until another takes it back; both are in the
/// audit log once, with who and why.
#[tokio::test]
async fn an_officer_lets_everything_through_in_an_emergency() {
    let (origin, tokens) = (FakeOrigin::accepting().await, tempfile::tempdir().unwrap());
    let bad = Payload::random(1, 1000);
    let gate =
        gate(&Store::fake(origin.address)).list("sample", [bad.sha256()]).yaml(&officers(tokens.path())).start().await;
    let config = gate.dir().join("hashgate.yaml").display().to_string();
    let observe = |state: &str, who: &str, reason: &str| {
        run(&["observe", state, "--config", &config, "--as", who, "--reason", reason], "")
    };
    for (who, reason, code) in [("viewer", "r", 1), ("late", "r", 1), ("nobody", "r", 78), ("officer", " ", 1)] {
        assert_eq!(observe("on", who, reason).0, Some(code), "{who}");
    }
    assert_eq!(put(&gate, &bad).await, 403);
    // The secret of anybody else need not be readable, and the officer's own must be.
    let hidden = tokens.path().join("hidden");
    let hide = |name: &str| std::fs::rename(tokens.path().join(name), &hidden).unwrap();
    let show = |name: &str| std::fs::rename(&hidden, tokens.path().join(name)).unwrap();
    hide("officer");
    assert_eq!(observe("on", "officer", "r").0, Some(78));
    show("officer");
    hide("viewer");
    let (code, _, err) = observe("on", "officer", "the list refuses our logo");
    assert_eq!(code, Some(0), "{err}");
    show("viewer");
    eventually("it is heeded", async || (put(&gate, &bad).await == 200).then_some(())).await;
    eventually("the alarm", async || gate.alarm("observe_all").await.then_some(())).await;
    assert_eq!(gate.metrics().await.0["hashgate_waived_total{setting=\"observe_all\"}"], 1.0);

    let gate = gate.restart().await;
    assert_eq!((put(&gate, &bad).await, gate.alarm("observe_all").await), (200, true));
    // The configuration stays where it is.
    assert_eq!(observe("off", "officer", "the list is mended").0, Some(0));
    eventually("it is taken back", async || (put(&gate, &bad).await == 403).then_some(())).await;
    eventually("the alarm ends", async || (!gate.alarm("observe_all").await).then_some(())).await;
    let orders: Vec<_> = gate.audit_of_all().into_iter().filter(|line| line["operation"] == "Observe").collect();
    let said: Vec<_> = orders.iter().map(|l| [&l["outcome"], &l["operator"], &l["reason"]]).collect();
    assert_eq!(
        serde_json::json!(said),
        serde_json::json!([["on", "officer", "the list refuses our logo"], ["off", "officer", "the list is mended"]])
    );
    gate.stop().await;
}

/// A copy of a listed object that passes because of it is counted as an upload is.
#[tokio::test]
async fn a_copy_that_is_let_through_is_counted() {
    let (store, bad) = (embedded().await, Payload::random(1, 1000));
    store.client().create_bucket("bucket").await;
    assert_eq!(store.client().put(Form::RawSigned, "/bucket/there", &bad).await.expect("an answer").status, 200);
    let credentials =
        format!("origin: {{ credentials: {{ access_key: {}, secret_key: {} }} }}", store.access_key, store.secret_key);
    let gate = gate(&store).list("sample", [bad.sha256()]).yaml(&credentials).start().await;
    let source = [("x-amz-copy-source", "/bucket/there")];
    let copy = async || gate.client().request("PUT", "/bucket/copy", &source, b"").await.status;
    assert_eq!(copy().await, 403);
    switch(&gate, true).await;
    assert_eq!(copy().await, 200);
    let metrics = gate.metrics().await.0;
    let waived =
        ["observe_all", "observe"].map(|setting| metrics[&format!("hashgate_waived_total{{setting=\"{setting}\"}}")]);
    assert_eq!(waived, [1.0, 0.0]);
    gate.stop().await;
}

/// An officer orders it, and the gate heeds it.
pub(crate) async fn switch(gate: &Gate, on: bool) {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
    let order = Order { on, who: "officer".into(), reason: "a test".into(), time: now };
    hashgate::act::order(&gate.dir().join("state"), &order).expect("it is written");
    eventually("it is heeded", async || (gate.alarm("observe_all").await == on).then_some(())).await;
}
