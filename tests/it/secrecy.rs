//! No listed digest, list name or secret reaches anything that is written or answered.

use crate::services::{Mock, Mood};
use crate::support::client::{Client, Form};
use crate::support::fake_origin::{FakeOrigin, Step};
use crate::support::gate::{Mode, files, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;
use base64::prelude::{BASE64_STANDARD, Engine};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// The program itself at its most talkative, and where it listens: its clients and it must not share a log.
fn spawn(config: &std::path::Path) -> (Child, SocketAddr, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hashgate"))
        .args(["serve", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    let mut addresses = line.split("http://").skip(1).map(|rest| {
        let end = rest.find([',', '\n', '/']).unwrap_or(rest.len());
        rest[..end].parse().unwrap_or_else(|e| panic!("{e} in {line}"))
    });
    let (address, admin) = (addresses.next().expect("one"), addresses.next().expect("two"));
    (child, address, admin)
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
        let (mut child, address, admin) = spawn(&config);
        // What it logs is kept while it runs: a full pipe would stop it.
        let mut stderr = child.stderr.take().expect("piped");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).map(|_| log)
        });
        let client = Client::new(&store, address);
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
                    write!(written, "{}", answer.text().replace(&format!("/bucket/{key}"), "")).expect("a String");
                    for (name, value) in answer.headers {
                        write!(written, "{name}: {value}").expect("a String");
                    }
                }
            }
        }
        written += &Client::new(&store, admin).get("/metrics").await.text();
        // SIGTERM, by its number: the program ends in order, and what it kept back is written.
        let ended = Command::new("kill").arg(child.id().to_string()).status().expect("kill is there");
        assert!(ended.success() && child.wait().expect("its end").success());
        let log = log.join().expect("no panic").expect("text");
        assert!(log.contains(&format!("\"matched\":{decided}")), "the log was not heard: {log}");
        written += &log;
        for path in files(&folder.path().join("state")) {
            written += &String::from_utf8_lossy(&std::fs::read(&path).expect("readable"));
        }
    }
    assert!(written.contains("\"outcome\"") && written.contains("hashgate_matches_total"));
    let lower = written.to_lowercase();
    for digest in &hex {
        assert!(!lower.contains(digest), "{digest} was written:\n{}", around(&lower, digest));
        let bytes = hex::decode(digest).expect("hexadecimal");
        let encoded = BASE64_STANDARD.encode(&bytes);
        let encoded = encoded.trim_end_matches('=');
        assert!(!written.contains(encoded), "{encoded} was written:\n{}", around(&written, encoded));
    }
    for secret in ["fake-secret", "embedded-secret"] {
        assert!(!written.contains(secret), "{secret} was written");
    }
}

/// A part of `text` around `what`.
fn around(text: &str, what: &str) -> String {
    let at = text.find(what).unwrap_or(0);
    text.chars().skip(at.saturating_sub(200)).take(500).collect()
}
