//! What operators may do about cases, by the API and by the commands that stand on it.

use crate::cli::run;
use crate::support::client::{Client, Form, Response};
use crate::support::eventually;
use crate::support::fake_origin::FakeOrigin;
use crate::support::gate::{Builder, Gate, Mode, assert_absent, assert_refused, files, gate};
use crate::support::payload::Payload;
use crate::support::store::{Room, Store, stores};
use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A viewer, three officers, and one whose token has ended; each has a token that says who they are.
const OPERATORS: [(&str, &str, &str); 5] = [
    ("vera", "viewer", "2999-01-01"),
    ("otto", "officer", "2999-01-01"),
    ("olga", "officer", "2999-01-01"),
    ("omar", "officer", "2999-01-01T00:00:00Z"),
    ("past", "officer", "2020-01-01"),
];

/// A gate with a quarantine and operators, the key of its recipient, and a folder for their secrets.
struct Desk {
    gate: Gate,
    room: Room,
    identity: Identity,
    secrets: tempfile::TempDir,
}

pub(crate) fn token(name: &str) -> String {
    format!("token-of-{name}-0123456789abcdef")
}

/// A gate that keeps every match, for these operators.
pub(crate) fn keeping_for_operators(store: &Store, room: &Room, identity: &Identity, secrets: &Path) -> Builder {
    let mut tokens = Vec::new();
    for (name, role, expires) in OPERATORS {
        let path = secrets.join(name);
        write_secret(&path, &token(name));
        tokens.push(format!("{{ name: {name}, role: {role}, token_file: {}, expires: '{expires}' }}", path.display()));
    }
    let yaml = format!(
        "admin: {{ tokens: [ {} ] }}\n\
         origin: {{ credentials: {{ access_key: {}, secret_key: {} }} }}\n\
         quarantine: {{ bucket: {}, prefix: {}-cases/, recipients: [ {} ], reserve: 1MiB }}\n\
         policy: {{ on_match: quarantine }}",
        tokens.join(", "),
        store.access_key,
        store.secret_key,
        room.bucket,
        room.prefix,
        identity.to_public(),
    );
    gate(store).mode(Mode::Verify).yaml(&yaml)
}

impl Desk {
    async fn start(store: &Store, listed: &[&Payload], more: &str) -> Desk {
        let room = store.room("operators").await;
        let identity = Identity::generate();
        let secrets = tempfile::tempdir().expect("a folder");
        let builder = keeping_for_operators(store, &room, &identity, secrets.path());
        let builder = builder.list("sample", listed.iter().map(|payload| payload.sha256()));
        let gate = builder.yaml(more).start().await;
        Desk { gate, room, identity, secrets }
    }

    /// A call of the API.
    async fn call(&self, who: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        call(&self.gate, &format!("Bearer {}", token(who)), method, path, &body.to_string()).await
    }

    async fn get(&self, who: &str, path: &str) -> (u16, Value) {
        call(&self.gate, &format!("Bearer {}", token(who)), "GET", path, "").await
    }

    async fn act(&self, who: &str, case: &str, act: &str) -> (u16, Value) {
        self.call(who, "POST", &format!("/v1/cases/{case}/{act}"), json!({ "reason": "a test" })).await
    }

    /// Uploads a listed payload; the case of that.
    async fn case(&self, key: &str, payload: &Payload, headers: &[(&str, &str)]) -> String {
        let client = self.gate.client();
        let upload = client.upload_with(Form::SignedChunks, &format!("/{}/{key}", self.room), payload, headers);
        let known = self.gate.audit().len();
        assert_refused(&client.send(upload).await.expect("an answer"));
        let made = eventually("a case", async || {
            self.gate.audit().into_iter().skip(known).find(|line| line["outcome"] == "quarantined")
        });
        let case = made.await["case"].as_str().expect("a case").to_owned();
        eventually("the bucket has it", async || {
            let (_, shown) = self.get("vera", &format!("/v1/cases/{case}")).await;
            (shown["state"] == "stored").then_some(())
        })
        .await;
        case
    }

    async fn put(&self, target: &str, payload: &Payload, permission: &str) -> Response {
        let client = self.gate.client();
        let mut upload = client.upload(Form::RawSigned, target, payload);
        upload.head.push("X-Hashgate-Permission", permission);
        client.send(upload).await.expect("an answer")
    }

    /// The permission that two officers give.
    async fn permission(&self, case: &str) -> String {
        assert_eq!(self.act("otto", case, "release").await.1["outcome"], "approved");
        let (status, told) = self.act("olga", case, "release").await;
        assert_eq!((status, &told["outcome"]), (200, &json!("permitted")), "{told}");
        told["permissions"][0]["permission"].as_str().expect("a permission").to_owned()
    }

    /// The gate's configuration, as a command needs it: with the address at which the gate really listens.
    fn config(&self) -> String {
        let text = fs::read_to_string(self.gate.dir().join("hashgate.yaml")).expect("a configuration");
        let mut config: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
        config["admin"]["address"] = self.gate.admin.to_string().into();
        let path = self.gate.dir().join("desk.yaml");
        fs::write(&path, serde_yaml::to_string(&config).expect("YAML")).expect("writable");
        path.display().to_string()
    }

    /// A command of `hashgate quarantine`; the gate is in this process, so it must not stand still meanwhile.
    async fn command(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut all = vec!["quarantine".to_owned(), arguments[0].to_owned(), "--config".to_owned(), self.config()];
        all.extend(arguments[1..].iter().map(|argument| (*argument).to_owned()));
        tokio::task::spawn_blocking(move || run(&all.iter().map(String::as_str).collect::<Vec<_>>(), ""))
            .await
            .expect("it ends")
    }

    fn identity_file(&self) -> String {
        let path = self.secrets.path().join("identity");
        write_secret(&path, &format!("# a key\n{}\n", self.identity.to_string().expose_secret()));
        path.display().to_string()
    }
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).expect("writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("ours");
}

/// A call of the API of a gate; `Null` where the answer is no JSON.
async fn call(gate: &Gate, authorization: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    call_at(&Client { address: gate.admin, ..gate.client() }, authorization, method, path, body).await
}

/// The same at an admin address.
pub(crate) async fn call_at(
    client: &Client,
    authorization: &str,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, Value) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n\r\n{body}",
        client.address,
        body.len()
    );
    let answer = client.raw(request.as_bytes(), false).await.expect("an answer");
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("no message in {answer}"))
}

/// Only who has a token that has not ended is heard; viewers look; what is asked wrongly is answered with how it is right.
/// Every act, refused ones too, and every look at one case is one audit line.
#[tokio::test]
async fn who_may_do_what() {
    for store in stores().await {
        let bad = Payload::random(1, 70_000);
        let desk = Desk::start(&store, &[&bad], "{}").await;
        let case = desk.case("bad", &bad, &[]).await;
        let looks = desk.gate.audit_of_all().iter().filter(|line| line["operator"].is_string()).count();
        let path = format!("/v1/cases/{case}");
        for (authorization, code) in [
            ("", "unknown_token"),
            ("Bearer ", "unknown_token"),
            ("Basic b3R0bzpvdHRv", "unknown_token"),
            (&*format!("Bearer {}x", token("otto")), "unknown_token"),
            (&*format!("Bearer {}", token("past")), "expired_token"),
        ] {
            for (method, path) in [("GET", "/v1/cases"), ("GET", &path), ("POST", &format!("{path}/release"))] {
                let (status, answer) = call(&desk.gate, authorization, method, path, "").await;
                assert_eq!((status, &answer["error"]["code"]), (401, &json!(code)), "{authorization} {answer}");
            }
        }
        assert_eq!(desk.get("vera", &path).await.0, 200);
        for act in ["release", "purge", "hold", "unhold"] {
            let (status, answer) = desk.act("vera", &case, act).await;
            assert_eq!((status, &answer["error"]["code"]), (403, &json!("not_an_officer")), "{act}");
        }
        assert_eq!(desk.get("vera", &format!("{path}/report")).await.0, 403);
        for (method, path, body, status, words) in [
            ("POST", format!("{path}/release"), "", 400, "send a JSON object"),
            ("POST", format!("{path}/release"), r#"{"reason": " "}"#, 400, "reason: say why"),
            ("POST", format!("{path}/hold"), r#"{"reason": "x", "all_of_entry": true}"#, 400, "release alone"),
            ("POST", format!("{path}/hold"), r#"{"reason": "x", "why": 1}"#, 400, "unknown field"),
            ("POST", "/v1/cases/0123456789ABCDEF/hold".into(), r#"{"reason": "x"}"#, 404, "no such case"),
            ("GET", "/v1/cases/..%2fx".into(), "", 404, "no such case"),
            ("GET", format!("{path}/report?x=1"), "", 400, "reporter_org"),
            ("GET", "/v1/cases?state=gone".into(), "", 400, "kept, stored or purged"),
            ("GET", "/v1/cases?from=soon".into(), "", 400, "2026-01-31"),
            ("GET", "/v1/cases?limit=0".into(), "", 400, "1 to 1000"),
            ("GET", "/v1/cases?after=x".into(), "", 400, "next"),
            ("GET", "/v1/cases?colour=red".into(), "", 400, "bucket"),
            ("GET", "/v1/nothing".into(), "", 404, "no such path"),
            ("DELETE", path.clone(), "", 405, "method"),
        ] {
            let (got, answer) = call(&desk.gate, &format!("Bearer {}", token("otto")), method, &path, body).await;
            assert!(got == status && message(&answer).contains(words), "{method} {path} {body}: {got} {answer}");
        }
        let lines: Vec<Value> =
            desk.gate.audit_of_all().into_iter().filter(|line| line["operator"].is_string()).skip(looks).collect();
        let told: Vec<(&str, &str, &str)> = lines
            .iter()
            .map(|line| {
                let word = |name: &str| line[name].as_str().unwrap_or_default();
                assert_eq!(word("case"), case);
                (word("operator"), word("operation"), word("outcome"))
            })
            .collect();
        let expected = [
            ("vera", "CaseShow", "shown"),
            ("vera", "CaseRelease", "not_an_officer"),
            ("vera", "CasePurge", "not_an_officer"),
            ("vera", "CaseHold", "not_an_officer"),
            ("vera", "CaseUnhold", "not_an_officer"),
            ("vera", "CaseReport", "not_an_officer"),
            ("otto", "CaseRelease", "bad_request"),
            ("otto", "CaseRelease", "bad_request"),
            ("otto", "CaseHold", "bad_request"),
            ("otto", "CaseHold", "bad_request"),
        ];
        assert_eq!(told, expected);
        desk.gate.stop().await;
    }
}

/// A gate without operators says how it gets one, and one without a quarantine that there is none.
#[tokio::test]
async fn an_api_that_is_not_set_up_says_so() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    let bare = gate(&store).start().await;
    let (status, answer) = call(&bare, "Bearer x", "GET", "/v1/cases", "").await;
    assert!(status == 404 && message(&answer).contains("admin.tokens"), "{answer}");
    bare.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    write_secret(&folder.path().join("otto"), &token("otto"));
    let file = folder.path().join("otto").display().to_string();
    let yaml =
        format!("admin: {{ tokens: [ {{ name: otto, role: officer, token_file: {file}, expires: 2999-01-01 }} ] }}");
    let without = gate(&store).yaml(&yaml).start().await;
    let (status, answer) = call(&without, &format!("Bearer {}", token("otto")), "GET", "/v1/cases", "").await;
    assert!(status == 404 && message(&answer).contains("quarantine"), "{answer}");
    without.stop().await;
}

/// Pages, and filters.
#[tokio::test]
async fn cases_are_found() {
    for store in stores().await {
        let bad = Payload::random(2, 1000);
        let desk = Desk::start(&store, &[&bad], "{}").await;
        let mut cases = Vec::new();
        for key in ["a", "b", "c"] {
            cases.push(desk.case(key, &bad, &[]).await);
        }
        let found = async |query: &str| {
            let (status, page) = desk.get("vera", &format!("/v1/cases?{query}")).await;
            assert_eq!(status, 200, "{page}");
            let ids =
                page["cases"].as_array().expect("cases").iter().map(|case| case["case"].as_str().unwrap().to_owned());
            (ids.collect::<Vec<_>>(), page["next"].clone())
        };
        assert_eq!(found("").await, (cases.clone(), Value::Null));
        assert_eq!(found("limit=2").await, (cases[..2].to_vec(), json!(cases[1])));
        assert_eq!(found(&format!("limit=2&after={}", cases[1])).await, (cases[2..].to_vec(), Value::Null));
        let bucket = &desk.room.bucket;
        for (query, count) in [
            ("state=stored", 3),
            ("state=purged", 0),
            ("tenant=acme", 3),
            ("tenant=other", 0),
            (&*format!("bucket={bucket}"), 3),
            ("bucket=other", 0),
            ("from=2020-01-01&to=2999-01-01T00:00:00Z", 3),
            ("from=2999-01-01", 0),
            ("to=2020-01-01", 0),
        ] {
            assert_eq!(found(query).await.0.len(), count, "{query}");
        }
        desk.gate.stop().await;
    }
}

/// Two different officers; then one upload of that payload to that place, and no other. What they are given survives a
/// restart, is written nowhere, and is good once.
#[tokio::test]
async fn a_release_takes_two_officers_and_is_for_one_upload() {
    for store in stores().await {
        let (bad, worse) = (Payload::random(3, 70_000), Payload::random(4, 70_000));
        let mut desk = Desk::start(&store, &[&bad, &worse], "{}").await;
        let elsewhere = crate::support::unique("elsewhere");
        store.client().create_bucket(&elsewhere).await;
        let case = desk.case("bad", &bad, &[]).await;
        let target = format!("/{}/bad", desk.room);
        let (status, told) = desk.act("otto", &case, "release").await;
        assert_eq!((status, &told), (200, &json!({ "case": case, "outcome": "approved" })));
        let (status, told) = desk.act("otto", &case, "release").await;
        assert!(status == 409 && message(&told).contains("another officer"), "{told}");
        assert_refused(&desk.put(&target, &bad, &format!("{case}.{}", "0".repeat(64))).await);
        let (_, told) = desk.act("olga", &case, "release").await;
        let permission = told["permissions"][0]["permission"].as_str().expect("a permission").to_owned();
        desk.gate = desk.gate.restart().await;
        let secret = permission.split_once('.').expect("two").1;
        for path in files(desk.gate.dir()) {
            assert!(
                !fs::read(&path).unwrap().windows(64).any(|window| window == secret.as_bytes()),
                "{}",
                path.display()
            );
        }
        assert_refused(&desk.put(&format!("/{}/other", desk.room), &bad, &permission).await);
        assert_refused(&desk.put(&format!("/{elsewhere}/{}/bad", desk.room.prefix), &bad, &permission).await);
        assert_refused(&desk.put(&target, &worse, &permission).await);
        assert_absent(&store, &target).await;
        let clean = Payload::random(5, 70_000);
        assert_eq!(desk.put(&target, &clean, &permission).await.status, 200, "what needs none uses none up");
        let answer = desk.put(&target, &bad, &permission).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(store.client().get(&target).await.body, bad.bytes());
        assert_refused(&desk.put(&target, &bad, &permission).await);
        desk.gate.audit_line("the release", |l| l["outcome"] == "released" && l["case"] == json!(case)).await;
        desk.gate.audit_line("the upload", |l| l["permitted"] == json!(true) && l["released"] == json!(true)).await;
        let (_, shown) = desk.get("vera", &format!("/v1/cases/{case}")).await;
        let acts: Vec<(&str, &str)> = shown["acts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|act| (act["what"].as_str().unwrap(), act["by"].as_str().unwrap()))
            .collect();
        let expected = [
            ("approve_release", "otto"),
            ("approve_release", "olga"),
            ("permitted", "olga"),
            ("permission_used", "olga"),
            ("released", "olga"),
        ];
        assert_eq!(acts, expected);
        let metrics = desk.gate.metrics().await;
        assert_eq!(metrics.0[r#"hashgate_waived_total{setting="release"}"#], 1.0);
        desk.gate.stop().await;
    }
}

/// Whatever a request is, the permission that comes with it does not go on.
#[tokio::test]
async fn a_permission_never_reaches_the_origin() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    let gate = gate(&store).start().await;
    let client = gate.client();
    let permission = format!("0123456789ABCDEF.{}", "ab".repeat(32));
    let (small, large) = (Payload::random(6, 10), Payload::random(7, 300_000));
    let mut sent = 0;
    for form in Form::ALL {
        for payload in [&small, &large] {
            let mut upload = client.upload(form, "/bucket/key", payload);
            upload.head.push("X-Hashgate-Permission", &permission);
            upload.head.push("x-hashgate-permission", "another");
            sent += u32::from(client.send(upload).await.expect("an answer").status == 200);
        }
    }
    for (method, target) in
        [("GET", "/bucket/key"), ("HEAD", "/bucket/key"), ("DELETE", "/bucket/key"), ("POST", "/bucket/key?uploads")]
    {
        let (mut head, body) = client.prepare(method, target, &[], b"");
        head.push("X-Hashgate-Permission", &permission);
        let answer = client.raw(&[&head.bytes()[..], &body[..]].concat(), method == "HEAD").await;
        sent += u32::from(answer.expect("an answer").status == 200);
    }
    assert!(sent >= 14, "only {sent} went on");
    for exchange in origin.exchanges() {
        assert!(!exchange.head_text().to_lowercase().contains("hashgate"), "{}", exchange.head_text());
    }
    gate.stop().await;
}

/// The entry was a mistake: two officers release all its cases in one command, and it is heeded no more.
#[tokio::test]
async fn a_bad_entry_is_released_as_a_whole() {
    for store in stores().await {
        let (logo, bad) = (Payload::random(8, 5000), Payload::random(9, 5000));
        let desk = Desk::start(&store, &[&logo, &bad], "{}").await;
        let cases = [desk.case("a", &logo, &[]).await, desk.case("b", &logo, &[]).await];
        let other = desk.case("c", &bad, &[]).await;
        let all = async |who: &str| {
            let body = json!({ "reason": "a logo", "all_of_entry": true });
            desk.call(who, "POST", &format!("/v1/cases/{}/release", cases[0]), body).await
        };
        // What was said of one case only is no word about the entry.
        assert_eq!(desk.act("omar", &cases[0], "release").await.1["outcome"], "approved");
        assert_eq!(all("otto").await.1["outcome"], "approved");
        assert_eq!(all("otto").await.0, 409);
        let (status, told) = all("olga").await;
        assert_eq!((status, &told["outcome"]), (200, &json!("permitted")), "{told}");
        let mut permitted: Vec<&str> =
            told["permissions"].as_array().unwrap().iter().map(|p| p["case"].as_str().unwrap()).collect();
        permitted.sort_unstable();
        let mut expected: Vec<&str> = cases.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(permitted, expected);
        let permission = told["permissions"][0]["permission"].as_str().unwrap();
        let key = if permission.starts_with(&cases[0]) { "a" } else { "b" };
        let (client, room) = (desk.gate.client(), &desk.room);
        let plain = client.put(Form::RawSigned, &format!("/{room}/d"), &logo).await.expect("an answer");
        assert_eq!(plain.status, 200, "the entry is heeded no more");
        assert_eq!(desk.put(&format!("/{room}/{key}"), &logo, permission).await.status, 200);
        desk.gate.audit_line("the release", |line| line["outcome"] == "released").await;
        assert_refused(&client.put(Form::RawSigned, &format!("/{room}/e"), &bad).await.expect("an answer"));
        let (_, shown) = desk.get("vera", &format!("/v1/cases/{other}")).await;
        assert_eq!(shown["acts"], json!([]));
        desk.gate.stop().await;
    }
}

/// Nothing is purged before its time, under a hold, or by one officer. After that the bucket has nothing of it, and the
/// journal still knows what it was.
#[tokio::test]
async fn a_purge_waits_for_retention_hold_and_a_second_officer() {
    for store in stores().await {
        let bad = Payload::random(10, 70_000);
        let long = Desk::start(&store, &[&bad], "{}").await;
        let case = long.case("bad", &bad, &[]).await;
        let (status, told) = long.act("otto", &case, "purge").await;
        assert!(status == 409 && message(&told).contains("has to be kept until 20"), "{told}");
        long.gate.stop().await;

        let desk = Desk::start(&store, &[&bad], "quarantine: { retention: 1s }").await;
        let case = desk.case("bad", &bad, &[]).await;
        let prefix = Room { prefix: format!("{}-cases/{case}", desk.room.prefix), ..desk.room.clone() };
        assert_eq!(store.contents(&prefix).await.len(), 2);
        assert_eq!(desk.act("otto", &case, "hold").await.1["outcome"], "held");
        eventually("its retention is over", async || {
            let (status, told) = desk.act("olga", &case, "purge").await;
            assert_eq!(status, 409, "{told}");
            message(&told).contains("legal hold, set by otto").then_some(())
        })
        .await;
        assert_eq!(desk.act("olga", &case, "unhold").await.1["outcome"], "unheld");
        assert_eq!(desk.act("olga", &case, "unhold").await.0, 409);
        eventually("its retention is over", async || {
            let (status, told) = desk.act("olga", &case, "purge").await;
            assert!(status == 200 || message(&told).contains("kept until"), "{told}");
            (status == 200).then_some(())
        })
        .await;
        assert_eq!(desk.act("olga", &case, "purge").await.0, 409, "the same officer");
        assert_eq!(store.contents(&prefix).await.len(), 2);
        let (status, told) = desk.act("otto", &case, "purge").await;
        assert_eq!((status, &told["outcome"]), (200, &json!("purged")), "{told}");
        assert_eq!(store.contents(&prefix).await, Vec::<String>::new());
        desk.gate.audit_line("the purge", |l| l["outcome"] == "purged" && l["case"] == json!(case)).await;
        let (_, shown) = desk.get("vera", &format!("/v1/cases/{case}")).await;
        assert_eq!((&shown["state"], &shown["manifest"]["size"]), (&json!("purged"), &json!(70_000)));
        for act in ["purge", "release", "hold"] {
            assert_eq!(desk.act("otto", &case, act).await.0, 409, "{act}");
        }
        desk.gate.stop().await;
    }
}

/// A report has the fields of XARF v4 and of NCMEC, and neither the payload nor anything that would stand for it. No other
/// answer, no log and no audit line holds a digest, also where an object is named after it.
#[tokio::test]
async fn a_report_names_what_nothing_else_does() {
    for store in stores().await {
        let bad = Payload::random(11, 70_000);
        let desk = Desk::start(&store, &[&bad], "{}").await;
        let base64 = BASE64_STANDARD.encode(hex::decode(bad.sha256()).unwrap());
        let headers = [("x-amz-meta-sum", &*bad.sha256()), ("x-amz-meta-b64", &*base64), ("Content-Type", "image/png")];
        let case = desk.case(&format!("{}.png", bad.sha256()), &bad, &headers).await;
        let query = "reporter_org=Example%20BV&reporter_contact=abuse@example.test&reporter_domain=example.test";
        let (status, report) = desk.get("otto", &format!("/v1/cases/{case}/report?{query}")).await;
        assert_eq!(status, 200, "{report}");
        let us = json!({ "org": "Example BV", "contact": "abuse@example.test", "domain": "example.test" });
        let xarf = &report["xarf"];
        assert_eq!((&xarf["reporter"], &xarf["sender"]), (&us, &us));
        for (field, value) in [
            ("xarf_version", "4.0.0"),
            ("category", "content"),
            ("type", "csam"),
            ("detection_method", "hash_match"),
            ("source_identifier", "127.0.0.1"),
            ("media_type", "image"),
        ] {
            assert_eq!(xarf[field], value, "{xarf}");
        }
        assert_eq!(xarf["hash_values"]["sha256"], bad.sha256());
        assert!(xarf["source_port"].as_u64().is_some_and(|port| (1..=65_535).contains(&port)));
        assert!(xarf["url"].as_str().is_some_and(|url| url.starts_with("http://") && url.ends_with(".png")), "{xarf}");
        assert!(xarf["evidence"].is_null() && xarf["classification"].is_null(), "house:test names no class");
        let known = [
            "xarf_version",
            "report_id",
            "timestamp",
            "reporter",
            "sender",
            "source_identifier",
            "source_port",
            "category",
            "type",
            "evidence_source",
            "url",
            "detection_method",
            "hash_values",
            "content_removed",
            "description",
            "media_type",
            "classification",
        ];
        assert!(xarf.as_object().unwrap().keys().all(|field| known.contains(&&**field)), "{xarf}");
        let details = &report["ncmec"]["fileDetails"];
        assert_eq!(details["originalFileName"], format!("{}.png", bad.sha256()));
        let hashes = details["originalFileHash"].as_array().unwrap();
        assert!(hashes.contains(&json!({ "hashType": "SHA256", "value": bad.sha256() })), "{details}");
        let event = &details["ipCaptureEvent"];
        assert_eq!((&event["ipAddress"], &event["eventName"]), (&json!("127.0.0.1"), &json!("Upload")));
        for field in ["fileViewedByEsp", "exifViewedByEsp", "publiclyAvailable"] {
            assert_eq!(details[field], false, "{field}");
        }
        assert_eq!((&details["fileAnnotations"], &details["industryClassification"]), (&json!({}), &Value::Null));
        assert_eq!(report["ncmec"]["personOrUserReported"]["espIdentifier"], store.access_key);

        desk.permission(&case).await;
        let answers = [
            desk.get("otto", "/v1/cases").await.1,
            desk.get("otto", &format!("/v1/cases/{case}")).await.1,
            desk.act("otto", &case, "purge").await.1,
            desk.act("otto", &case, "hold").await.1,
        ];
        let written = format!("{answers:?}{}", desk.gate.audit_text()).to_lowercase();
        for secret in [bad.sha256(), bad.sha1(), bad.md5(), base64.trim_end_matches('=').to_lowercase()] {
            assert!(!written.contains(&secret), "{secret} in {written}");
        }
        desk.gate.stop().await;
    }
}

/// The document has every path and every method, and each of them is there.
#[tokio::test]
async fn the_openapi_document_is_true() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).start().await;
    let (status, document) = call(&gate, "", "GET", "/v1/openapi.json", "").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let documented: Vec<String> = operations.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let (status, answer) = call(&gate, "", method, &path.replace("{case}", "0123456789ABCDEF"), "").await;
            let is_there = status != 405 && answer["error"]["code"] != "no_such_path";
            assert_eq!(is_there, documented.iter().any(|m| m == method), "{method} {path}: {status} {answer}");
        }
    }
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap_or_default();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    gate.stop().await;
}

/// The commands of operators: from the gate as long as it runs, then from its journal; and what an officer with the
/// recipient's key does: put an object where it was meant to go, with all that described it.
#[tokio::test]
async fn the_commands_do_what_the_api_does() {
    for store in stores().await {
        let bad = Payload::random(12, 3_000_000);
        let desk = Desk::start(&store, &[&bad], "{}").await;
        let ended = async |arguments: &[&str]| desk.command(arguments).await;
        assert_eq!(ended(&["list"]).await.0, Some(3), "there is no case");
        assert_eq!(ended(&["show", "0123456789ABCDEF"]).await.0, Some(3));
        assert_eq!(ended(&["list", "--as", "nobody"]).await.0, Some(78));
        let headers = [("x-amz-meta-colour", "red"), ("Content-Type", "image/png"), ("x-amz-tagging", "a=b")];
        let case = desk.case("bad", &bad, &headers).await;
        let (code, out, err) = ended(&["list"]).await;
        assert!(
            code == Some(0) && out.starts_with("CASE ") && out.contains(&case) && out.contains("sample"),
            "{out}{err}"
        );
        let (_, out, _) = ended(&["list", "--json", "--state", "stored", "--as", "otto"]).await;
        assert_eq!(serde_json::from_str::<Value>(&out).expect("one line of JSON")["case"], json!(case));
        let (code, out, err) = ended(&["show", &case]).await;
        assert!(
            code == Some(0) && out.contains("manifest.size: 3000000\n") && out.contains("state: stored\n"),
            "{out}{err}"
        );
        let (code, _, err) = ended(&["report", &case, "--as", "vera"]).await;
        assert!(code == Some(1) && err.contains("only an officer"), "{err}");
        let (_, out, _) = ended(&["report", &case, "--as", "otto", "--reporter-org", "Us"]).await;
        assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON")["xarf"]["reporter"]["org"], "Us");
        assert_eq!(ended(&["purge", &case]).await.0, Some(64), "without a reason");
        let (code, _, err) = ended(&["purge", &case, "--as", "otto", "--reason", "old"]).await;
        assert!(code == Some(1) && err.contains("has to be kept until"), "{err}");

        let (code, out, err) = ended(&["release", &case, "--as", "otto", "--reason", "a logo"]).await;
        assert!(code == Some(0) && out.contains("approved by otto"), "{out}{err}");
        let (code, permission, err) = ended(&["release", &case, "--as", "olga", "--reason", "a logo"]).await;
        assert_eq!(code, Some(0), "{err}");
        let (_, key, _) = ended(&["key"]).await;
        let (identity, endpoint) = (desk.identity_file(), format!("http://{}", desk.gate.address));
        let release = [
            "release",
            &case,
            "--permission",
            permission.trim(),
            "--identity",
            &identity,
            "--endpoint",
            &endpoint,
            "--gate-key",
            key.trim(),
        ];
        let (code, out, err) = ended(&release).await;
        assert!(code == Some(0) && out.contains("put to /"), "{out}{err}");
        let stored = store.client().get(&format!("/{}/bad", desk.room)).await;
        assert!(stored.body == bad.bytes(), "other bytes");
        assert_eq!(
            (stored.header("x-amz-meta-colour"), stored.header("content-type")),
            (Some("red"), Some("image/png"))
        );
        let (code, _, err) = ended(&release).await;
        assert!(code == Some(1) && err.contains("used, expired"), "{err}");

        let config = desk.config();
        let audit_lines = desk.gate.audit_of_all().len();
        let Desk { gate, secrets, .. } = desk;
        let dir = gate.stop_and_keep().await;
        let offline = |arguments: &[&str]| {
            run(&[&["quarantine", arguments[0], "--config", &config], &arguments[1..]].concat(), "")
        };
        let (code, out, err) = offline(&["list"]);
        assert!(code == Some(0) && out.contains(&case), "{out}{err}");
        let (code, out, err) = offline(&["show", &case]);
        assert!(code == Some(0) && out.contains("released") && !out.contains(&bad.sha256()), "{out}{err}");
        let (code, out, err) = offline(&["report", &case, "--as", "otto"]);
        assert!(code == Some(0) && out.contains(&bad.sha256()), "{out}{err}");
        assert_eq!(offline(&["report", &case, "--as", "vera"]).0, Some(1));
        let (code, _, err) = offline(&["hold", &case, "--as", "otto", "--reason", "x"]);
        assert!(code == Some(1) && err.contains("admin.address"), "acts need the gate: {err}");
        let audit = fs::read_to_string(dir.path().join("state/audit.log")).expect("an audit log");
        let looks = audit.lines().skip(audit_lines).filter(|line| line.contains("\"operator\"")).count();
        assert_eq!(looks, 2, "every look at one case is written down");
        drop(secrets);
    }
}

/// The drill: good cases open; a byte that was changed in the bucket, and a manifest of a gate that we do not know, are
/// found.
#[tokio::test]
async fn the_drill_finds_what_is_not_as_it_was() {
    for store in stores().await {
        let bad = Payload::random(13, 300_000);
        let desk = Desk::start(&store, &[&bad], "{}").await;
        let (_, key, _) = desk.command(&["key"]).await;
        let identity = desk.identity_file();
        let verify = async |more: &[&str]| {
            let base = ["verify", "--identity", &identity, "--gate-key", key.trim()];
            desk.command(&[&base, more].concat()).await
        };
        assert_eq!(verify(&[]).await.0, Some(3), "an empty bucket");
        let cases = [desk.case("a", &bad, &[]).await, desk.case("b", &bad, &[]).await];
        let (code, out, err) = verify(&["--all"]).await;
        assert!(code == Some(0) && out.contains(&format!("{}: good, 300000 bytes", cases[0])), "{out}{err}");
        assert_eq!(verify(&["--sample", "1"]).await.1.lines().count(), 2);

        let (code, out, _) = desk
            .command(&["verify", "--identity", &identity, "--all", "--gate-key", &BASE64_STANDARD.encode([7; 32])])
            .await;
        assert!(code == Some(1) && out.contains("its signature is not that of the gate"), "{out}");
        let stranger = desk.secrets.path().join("stranger");
        write_secret(&stranger, Identity::generate().to_string().expose_secret());
        let stranger = stranger.display().to_string();
        let (code, out, _) = desk.command(&["verify", "--identity", &stranger, "--gate-key", key.trim()]).await;
        assert!(code == Some(1) && out.contains("cannot be opened with this key"), "{out}");

        let target = format!("/{}/{}-cases/{}/payload.age", desk.room.bucket, desk.room.prefix, cases[0]);
        let mut sealed = store.client().get(&target).await.body.to_vec();
        let middle = sealed.len() / 2;
        sealed[middle] ^= 1;
        assert_eq!(store.client().request("PUT", &target, &[], &sealed).await.status, 200);
        let (code, out, _) = verify(&["--all"]).await;
        assert!(code == Some(1) && out.contains(&format!("{}: BAD, payload", cases[0])), "{out}");
        assert!(out.contains(&format!("{}: good", cases[1])), "{out}");

        let manifest = |case: &str| format!("/{}/{}-cases/{case}/manifest.age", desk.room.bucket, desk.room.prefix);
        let other = store.client().get(&manifest(&cases[1])).await.body;
        assert_eq!(store.client().request("PUT", &manifest(&cases[0]), &[], &other).await.status, 200);
        let (_, out, _) = verify(&["--all"]).await;
        assert!(
            out.contains(&format!("{}: BAD, manifest: its manifest is that of case {}", cases[0], cases[1])),
            "{out}"
        );
        desk.gate.stop().await;
    }
}
