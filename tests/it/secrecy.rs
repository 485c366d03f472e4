//! No listed digest, list name or secret reaches anything that is written or answered.

use crate::cli::run;
use crate::operators::{call_at, keeping_for_operators, token};
use crate::services::{Mock, Mood};
use crate::support::client::{Client, Form, Response};
use crate::support::eventually;
use crate::support::fake_origin::{FakeOrigin, Step};
use crate::support::gate::{Mode, files, gate, spawn};
use crate::support::payload::Payload;
use crate::support::store::{Store, embedded};
use age::x25519::Identity;
use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::Compression;
use flate2::read::GzEncoder;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::JoinHandle;

/// The program itself at its most talkative: its clients and it must not share a log.
struct Program {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    log: JoinHandle<std::io::Result<String>>,
}

impl Program {
    fn start(config: &Path) -> Program {
        let (mut child, address, admin) = spawn(config);
        // What it logs is kept while it runs: a full pipe would stop it.
        let mut stderr = child.stderr.take().expect("piped");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).map(|_| log)
        });
        Program { child, address, admin, log }
    }

    /// Ends it, and gives everything that it has written: metrics, log, and the files in its state folder.
    async fn end(mut self, store: &Store, state: &Path) -> String {
        let metrics = Client::new(store, self.admin).get("/metrics").await.text();
        // SIGTERM, by its number: the program ends in order, and what it kept back is written.
        let ended = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill is there");
        assert!(ended.success() && self.child.wait().expect("its end").success());
        let mut written = metrics + &self.log.join().expect("no panic").expect("text");
        for path in files(state) {
            written += &String::from_utf8_lossy(&std::fs::read(&path).expect("readable"));
        }
        written
    }
}

/// What a client gets to see of an answer.
fn seen(answer: &Response) -> String {
    answer.headers.iter().fold(answer.text(), |seen, (name, value)| seen + name + ": " + value + "\n")
}

fn assert_holds_none(written: &str, digests: &[String]) {
    let lower = written.to_lowercase();
    for digest in digests {
        assert!(!lower.contains(digest), "{digest} was written:\n{}", around(&lower, digest));
        let bytes = hex::decode(digest).expect("hexadecimal");
        let encoded = BASE64_STANDARD.encode(&bytes);
        let encoded = encoded.trim_end_matches('=');
        assert!(!written.contains(encoded), "{encoded} was written:\n{}", around(written, encoded));
    }
    for secret in ["fake-secret", "embedded-secret"] {
        assert!(!written.contains(secret), "{secret} was written");
    }
}

/// A listed payload in every form and both modes, under keys and with metadata that spell its digests in every usual way:
/// the answers, the metrics, the audit file and the log at its most talkative hold none of them.
#[tokio::test]
async fn a_listed_digest_is_written_nowhere() {
    let payload = Payload::random(1, 100_000);
    let hex = [payload.sha256(), payload.sha1(), payload.md5()];
    let mut written = String::new();
    let knowing = Mock::start(Mood::Knows(vec![payload.md5()])).await;
    let silent = Mock::start(Mood::Fails(vec![Step::Close])).await;
    for (mode, service) in
        Mode::BOTH.into_iter().flat_map(|mode| [None, Some(&knowing), Some(&silent)].map(|s| (mode, s)))
    {
        let origin = FakeOrigin::accepting().await;
        let store = Store::fake(origin.address);
        let gate = gate(&store).mode(mode).yaml("log: { format: json, level: trace }");
        let gate = match service {
            None => gate.list("sample", &hex),
            Some(mock) => gate.yaml(&mock.yaml()),
        };
        // What nobody could decide about may be listed as well.
        let decided = service.is_none_or(|mock| std::ptr::eq(mock, &knowing));
        let (folder, config) = gate.write();
        let program = Program::start(&config);
        let client = Client::new(&store, program.address);
        for form in Form::ALL.into_iter().filter(|form| *form != Form::Expect100) {
            for digest in &hex {
                let encoded = BASE64_STANDARD.encode(hex::decode(digest).expect("hexadecimal"));
                for key in [digest.clone(), format!("{digest}.jpg"), digest.to_uppercase(), encoded.replace('/', "%2F")]
                {
                    let target = format!("/bucket/{key}?x={digest}");
                    let upload = client.upload_with(form, &target, &payload, &[("x-amz-meta-digest", digest.as_str())]);
                    let answer = client.send(upload).await.expect("an answer");
                    assert_eq!(answer.status, if decided { 403 } else { 503 }, "{answer:?}");
                    // The key comes back as the client wrote it; nothing else of the answer may tell.
                    written += &seen(&answer).replace(&format!("/bucket/{key}"), "");
                }
            }
        }
        let told = program.end(&store, &folder.path().join("state")).await;
        assert!(told.contains(&format!("\"matched\":{decided}")), "the log was not heard: {told}");
        written += &told;
    }
    assert!(written.contains("\"outcome\"") && written.contains("hashgate_matches_total"));
    assert_holds_none(&written, &hex);
}

/// The same of what comes in parts, compressed, as a copy, and later; of a list whose lines are broken, and of the command
/// that takes an entry out.
#[tokio::test]
async fn nor_on_any_other_path() {
    let store = embedded().await;
    let room = store.room("secrecy").await;
    let (first, second) = (Payload::random(2, 5 << 20), Payload::random(3, 1000));
    let whole = Payload::from([first.bytes(), second.bytes()].concat());
    let (single, copied, later) = (Payload::random(4, 1000), Payload::random(5, 1000), Payload::random(6, 1000));
    let hex: Vec<String> =
        [&whole, &single, &copied, &later].iter().flat_map(|p| [p.sha256(), p.sha1(), p.md5()]).collect();
    // Good lines, and the same digests in lines that are none.
    let rows = hex[..9].iter().skip(1).step_by(3).map(|sha1| format!("{sha1},house:test"));
    let broken =
        hex.iter().flat_map(|digest| [format!("{digest}0,x"), format!("x,{digest}"), format!("{digest}\"\",\"")]);
    let lines: Vec<String> = std::iter::once("sha1,kind".to_owned()).chain(rows).chain(broken).collect();
    let mock = Mock::start(Mood::Fails(vec![Step::Close])).await;
    let (folder, config) = gate(&store)
        .list("sample", lines)
        .yaml("lists: [ { name: sample, source: '{dir}/sample.txt', columns: 'sha1=sha1,category=kind' } ]")
        .yaml(&format!(
            "origin: {{ credentials: {{ access_key: {}, secret_key: {} }} }}",
            store.access_key, store.secret_key
        ))
        .yaml(&mock.yaml())
        .yaml("policy: { on_unavailable: allow-and-recheck }")
        .yaml("log: { format: json, level: trace }")
        .write();
    let program = Program::start(&config);
    let client = Client::new(&store, program.address);
    let mut written = String::new();
    let mut heard = |answer: Response, status: u16| {
        assert_eq!(answer.status, status, "{answer:?}");
        written += &seen(&answer);
    };
    let at = |name: &str| format!("/{room}/{name}");

    let direct = store.client().put(Form::RawSigned, &at("there"), &copied).await.expect("an answer");
    assert_eq!(direct.status, 200);
    heard(client.request("PUT", &at("copy"), &[("x-amz-copy-source", &at("there"))], b"").await, 403);
    let mut zipped = Vec::new();
    GzEncoder::new(&single.bytes()[..], Compression::fast()).read_to_end(&mut zipped).expect("memory");
    heard(client.request("PUT", &at("zipped"), &[("content-encoding", "gzip")], &zipped).await, 403);
    // Nobody knows yet; then somebody does.
    // The store's own answer has the ETag, which is an MD5.
    assert_eq!(client.request("PUT", &at("later"), &[], &later.bytes()).await.status, 200);
    mock.becomes(Mood::Knows(vec![later.md5()]));
    let admin = Client::new(&store, program.admin);
    eventually("it was looked up again", async || {
        admin.get("/metrics").await.text().contains("hashgate_recheck_queue 0").then_some(())
    })
    .await;
    let id = client.create_multipart(&at("parts")).await;
    let mut xml = String::new();
    for (number, payload) in [(1, &first), (2, &second)] {
        let target = format!("{}?partNumber={number}&uploadId={id}", at("parts"));
        let answer = client.put(Form::RawSigned, &target, payload).await.expect("an answer");
        let etag = answer.header("etag").expect("an ETag").to_owned();
        xml += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        heard(answer, 200);
    }
    let xml = format!("<CompleteMultipartUpload>{xml}</CompleteMultipartUpload>");
    let complete = format!("{}?uploadId={id}", at("parts"));
    heard(client.request("POST", &complete, &[], xml.as_bytes()).await, 403);

    let state = folder.path().join("state");
    let audit = std::fs::read_to_string(state.join("audit.log")).expect("there are lines");
    let mut lines = audit.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let case = lines.find(|line| line["matched"][0]["mark"].is_string()).expect("a match");
    let case = case["request"].as_str().expect("a name").to_owned();
    let place = config.to_str().expect("a text").to_owned();
    let veto = move || run(&["list", "veto", "--case", &case, "--config", &place], "");
    let (code, out, err) = tokio::task::spawn_blocking(veto).await.expect("no panic");
    assert_eq!(code, Some(0), "{err}");
    written += &(out + &err);
    let told = program.end(&store, &state).await;
    assert!(told.contains("skipped") && told.contains("\"operation\":\"Recheck\""), "it was not heard: {told}");
    assert_holds_none(&(written + &told), &hex);
}

/// Nor where operators look and act: of all that they are told only a report names digests, and that goes to them alone.
#[tokio::test]
async fn nor_where_operators_look() {
    let store = embedded().await;
    let room = store.room("secrecy").await;
    let payload = Payload::random(3, 100_000);
    let hex = [payload.sha256(), payload.sha1(), payload.md5()];
    let secrets = tempfile::tempdir().expect("a folder");
    let (folder, config) = keeping_for_operators(&store, &room, &Identity::generate(), secrets.path())
        .list("sample", &hex)
        .yaml("log: { format: json, level: trace }")
        .write();
    let program = Program::start(&config);
    let client = Client::new(&store, program.address);
    let metadata = [("x-amz-meta-sum", &*hex[0]), ("x-amz-meta-md5", &*hex[2])];
    let target = format!("/{room}/{}.png", hex[1]);
    let upload = client.upload_with(Form::SignedChunks, &target, &payload, &metadata);
    assert_eq!(client.send(upload).await.expect("an answer").status, 403);
    // Nor where a bucket is named after it.
    store.client().create_bucket(&hex[2]).await;
    let in_bucket = client.upload_with(Form::SignedChunks, &format!("/{}/key", hex[2]), &payload, &[]);
    assert_eq!(client.send(in_bucket).await.expect("an answer").status, 403);
    let admin = Client::new(&store, program.admin);
    let bearer = |who: &str| format!("Bearer {}", token(who));
    let case = eventually("a case in the bucket", async || {
        let (_, page) = call_at(&admin, &bearer("vera"), "GET", "/v1/cases?state=stored", "").await;
        page["cases"][0]["case"].as_str().map(str::to_owned)
    })
    .await;
    let mut told = String::new();
    for (who, method, path) in [
        ("otto", "GET", "/v1/cases".to_owned()),
        ("vera", "GET", format!("/v1/cases/{case}")),
        ("otto", "POST", format!("/v1/cases/{case}/hold")),
        ("otto", "POST", format!("/v1/cases/{case}/purge")),
        ("otto", "POST", format!("/v1/cases/{case}/release")),
        ("olga", "POST", format!("/v1/cases/{case}/release")),
        ("otto", "GET", format!("/v1/cases/{}", hex[0])),
        ("otto", "POST", format!("/v1/cases/{}/hold", hex[0])),
    ] {
        let body = if method == "POST" { r#"{"reason": "a test"}"# } else { "" };
        told += &call_at(&admin, &bearer(who), method, &path, body).await.1.to_string();
    }
    let (status, report) = call_at(&admin, &bearer("otto"), "GET", &format!("/v1/cases/{case}/report"), "").await;
    assert!(status == 200 && report.to_string().contains(&hex[0]), "{report}");
    assert!(told.contains("\"permission\":") && told.contains("[digest]"), "{told}");
    let written = program.end(&store, &folder.path().join("state")).await;
    assert!(written.contains("\"operation\":\"CaseReport\""), "{written}");
    let permission = told.split(&format!("\"{case}.")).nth(1).expect("it was given out")[..64].to_owned();
    for secret in [token("vera"), token("otto"), token("olga"), permission] {
        assert!(!written.contains(&secret), "{secret}");
    }
    assert_holds_none(&(told + &written), &hex);
}

/// A part of `text` around `what`.
fn around(text: &str, what: &str) -> String {
    let at = text.find(what).unwrap_or(0);
    text.chars().skip(at.saturating_sub(200)).take(500).collect()
}
