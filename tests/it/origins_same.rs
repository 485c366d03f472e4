//! Whatever is asked, the answer through the gate is the one that the store gives directly, in both modes: names, headers,
//! checksums, sub-resources.

use crate::support::client::{Client, Form, Head, Response};
use crate::support::gate::{Mode, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, stores};
use base64::prelude::{BASE64_STANDARD, Engine};
use sha2::Digest as _;

/// Percent-encoded as clients do it: everything but the unreserved, slashes kept.
fn encode(name: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
    name.iter().map(|byte| if plain(byte) { (*byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn keys() -> Vec<String> {
    let long = format!("{}/{}", "d".repeat(250), "n".repeat(250));
    let names = [
        "plain",
        "a b",
        "a+b",
        "a%2Fb",
        "a%b",
        "ü",
        "日本語",
        "🦀",
        "a//b",
        "trail/",
        "a?b",
        "a&b=c",
        "a#b",
        "~-._",
        "'\"`",
        "back\\slash",
        "<x>",
        "a:b@c",
        "*",
        "a;b",
        "[1]",
        "{1}",
        "|^",
        "$!()",
        "a,b",
        "tab\tx",
        "e\u{301}",
        "CON",
        ".hidden",
        "x.",
        "nul.",
        "%",
        "%25",
        "%zz",
        "a=b",
    ];
    let mut keys: Vec<String> = names.iter().map(|name| encode(name.as_bytes())).collect();
    // As some clients send them: not all that could be encoded is.
    keys.extend(["a+b/raw", "a:b@c,d;e=f&g$h!i'j(k)l*", "%7Ex", "%2e%2e%2e", "%41"].map(str::to_owned));
    keys.push(long);
    keys
}

/// The same key is stored as directly, or the same refusal comes; over both ways of writing it into a target.
#[tokio::test]
async fn names() {
    for store in stores().await {
        for mode in Mode::BOTH {
            let gate = gate(&store).mode(mode).start().await;
            let mut seen = Vec::new();
            for client in [store.client(), gate.client()] {
                let room = store.room("names").await;
                let mut answers = Vec::new();
                for (n, key) in keys().iter().enumerate() {
                    let target = format!("/{room}/{n}/{key}");
                    let payload = Payload::from(format!("content of {n}").into_bytes());
                    let put = client.put(Form::RawSigned, &target, &payload).await.expect("an answer");
                    let get = client.get(&target).await;
                    let content = (get.status == 200).then_some(get.body);
                    answers.push((key.clone(), put.status, put.code(), get.status, content));
                }
                let mut stored = store.contents(&room).await;
                stored.iter_mut().for_each(|key| *key = key.replacen(&room.prefix, "", 1));
                seen.push((answers, stored));
            }
            let through = seen.pop().expect("two");
            let direct = seen.pop().expect("two");
            for (direct, through) in direct.0.iter().zip(&through.0) {
                // Segments of dots are refused here whatever the store says.
                if direct.0.contains("%2e%2e") || through.1 != 400 || direct.1 != 400 {
                    assert_eq!(direct, through, "{} {mode:?}", store.name);
                }
            }
            assert_eq!(direct.1, through.1, "{} {mode:?}", store.name);
            gate.stop().await;
        }
    }
}

/// Checksums of every algorithm of the API, right ones.
fn checksums(payload: &[u8]) -> Vec<(&'static str, String)> {
    use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc32IsoHdlc, Crc64Nvme};
    let encode = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let crc32 = |algorithm| (crc_fast::checksum(algorithm, payload) as u32).to_be_bytes();
    vec![
        ("Content-MD5", encode(&md5::Md5::digest(payload))),
        ("x-amz-checksum-crc32", encode(&crc32(Crc32IsoHdlc))),
        ("x-amz-checksum-crc32c", encode(&crc32(Crc32Iscsi))),
        ("x-amz-checksum-crc64nvme", encode(&crc_fast::checksum(Crc64Nvme, payload).to_be_bytes())),
        ("x-amz-checksum-sha1", encode(&sha1::Sha1::digest(payload))),
        ("x-amz-checksum-sha256", encode(&sha2::Sha256::digest(payload))),
        ("x-amz-checksum-sha512", encode(&sha2::Sha512::digest(payload))),
        ("x-amz-checksum-md5", encode(&md5::Md5::digest(payload))),
        ("x-amz-checksum-xxhash64", encode(&twox_hash::XxHash64::oneshot(0, payload).to_be_bytes())),
        ("x-amz-checksum-xxhash3", encode(&twox_hash::XxHash3_64::oneshot(payload).to_be_bytes())),
        ("x-amz-checksum-xxhash128", encode(&twox_hash::XxHash3_128::oneshot(payload).to_be_bytes())),
    ]
}

type Call = (&'static str, String, Vec<(&'static str, String)>, Vec<u8>);

/// One day of calls on the objects below `at`, in order.
fn calls(at: &str, bucket: &str) -> Vec<Call> {
    let payload = b"0123456789".repeat(100);
    let text = |pairs: &[(&'static str, &str)]| pairs.iter().map(|(n, v)| (*n, v.to_string())).collect::<Vec<_>>();
    let mut calls: Vec<Call> = Vec::new();
    let mut call = |method, target: String, headers: Vec<(&'static str, String)>, body: &[u8]| {
        calls.push((method, target, headers, body.to_vec()));
    };
    call(
        "PUT",
        format!("{at}/k"),
        text(&[
            ("x-amz-meta-Mixed", "a  b"),
            ("Cache-Control", "no-store"),
            ("Content-Language", "nl"),
            ("Content-Disposition", "attachment; filename=\"x\""),
            ("Content-Type", "image/png"),
            ("Expires", "Thu, 01 Dec 2033 16:00:00 GMT"),
        ]),
        &payload,
    );
    for (name, value) in checksums(&payload) {
        call("PUT", format!("{at}/{name}"), vec![(name, value)], &payload);
        call(
            "PUT",
            format!("{at}/{name}-empty"),
            vec![checksums(b"").into_iter().find(|(n, _)| *n == name).expect("there")],
            b"",
        );
    }
    for headers in [
        text(&[("If-None-Match", "*")]),
        text(&[("If-Match", "\"00000000000000000000000000000000\"")]),
        text(&[("x-amz-tagging", "a=b&c=%20d")]),
        text(&[("x-amz-acl", "private")]),
        text(&[("x-amz-storage-class", "STANDARD")]),
        text(&[("x-amz-storage-class", "NONSENSE")]),
        text(&[("x-amz-server-side-encryption", "AES256")]),
        text(&[
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-server-side-encryption-customer-key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
            ("x-amz-server-side-encryption-customer-key-MD5", "hRasmdxgYDKV3nvbahU1MA=="),
        ]),
        text(&[("x-amz-object-lock-legal-hold", "ON")]),
        text(&[
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z"),
        ]),
        text(&[("x-amz-website-redirect-location", "/elsewhere")]),
        text(&[("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")]),
        text(&[("x-amz-request-payer", "requester")]),
        text(&[("x-amz-expected-bucket-owner", "000000000000")]),
    ] {
        call("PUT", format!("{at}/k"), headers, &payload);
    }
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    let delete = b"<Delete><Object><Key>nothing</Key></Object><Quiet>true</Quiet></Delete>";
    let md5 = |body: &[u8]| vec![("Content-MD5", BASE64_STANDARD.encode(md5::Md5::digest(body)))];
    call("PUT", format!("{at}/k?annotation&annotationName=n"), Vec::new(), b"an annotation");
    call("PUT", format!("{at}/k?tagging"), md5(tags), tags);
    call("GET", format!("{at}/k?tagging"), Vec::new(), b"");
    call("DELETE", format!("{at}/k?tagging"), Vec::new(), b"");
    call("GET", format!("{at}/k?acl"), Vec::new(), b"");
    call("GET", format!("{at}/k?attributes"), text(&[("x-amz-object-attributes", "ETag,ObjectSize")]), b"");
    for range in ["bytes=0-9", "bytes=-5", "bytes=990-", "bytes=5000-", "bytes=0-1,3-4", "nonsense"] {
        call("GET", format!("{at}/k"), text(&[("Range", range)]), b"");
    }
    call("GET", format!("{at}/k?response-content-type=text%2Fplain&response-cache-control=x"), Vec::new(), b"");
    call("GET", format!("{at}/k?partNumber=1"), Vec::new(), b"");
    call("HEAD", format!("{at}/k"), Vec::new(), b"");
    call("HEAD", format!("{at}/missing"), Vec::new(), b"");
    call("GET", format!("{at}/missing"), Vec::new(), b"");
    call("GET", format!("{at}/k"), text(&[("If-None-Match", "\"nothing\"")]), b"");
    call("GET", format!("{at}/k"), text(&[("If-Modified-Since", "Thu, 01 Dec 2033 16:00:00 GMT")]), b"");
    for query in [
        "list-type=2&max-keys=1",
        "list-type=2&delimiter=%2F&prefix=none",
        "max-keys=0",
        "uploads",
        "location",
        "versioning",
        "cors",
        "lifecycle",
        "policy",
        "notification",
        "website",
        "encryption",
        "replication",
        "logging",
        "object-lock",
        "nonsense",
    ] {
        let separator = if query.contains("max-keys=1") { "&prefix=none" } else { "" };
        call("GET", format!("/{bucket}?{query}{separator}"), Vec::new(), b"");
    }
    call("POST", format!("/{bucket}?delete"), md5(delete), delete);
    call("PUT", format!("/{bucket}?cors"), Vec::new(), b"<CORSConfiguration>");
    call("DELETE", format!("{at}/k"), Vec::new(), b"");
    call("DELETE", format!("{at}/missing"), Vec::new(), b"");
    calls
}

/// What two answers must have in common.
fn shape(answer: &Response) -> (u16, String, Vec<(String, String)>, usize) {
    let same = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-range",
        "content-type",
        "etag",
        "expires",
        "x-amz-checksum-crc32",
        "x-amz-checksum-sha256",
        "x-amz-meta-mixed",
        "x-amz-storage-class",
        "x-amz-tagging-count",
        "x-amz-website-redirect-location",
        "x-amz-server-side-encryption",
    ];
    let mut headers: Vec<(String, String)> =
        answer.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    headers.retain(|(name, _)| same.contains(&name.as_str()));
    headers.sort();
    let length = if answer.status < 300 && answer.header("content-type") != Some("application/xml") {
        answer.body.len()
    } else {
        0
    };
    (answer.status, answer.code(), headers, length)
}

#[tokio::test]
async fn calls_of_every_kind() {
    for store in stores().await {
        for mode in Mode::BOTH {
            let gate = gate(&store).mode(mode).start().await;
            let (direct, through) = (run(&store, &store.client()).await, run(&store, &gate.client()).await);
            for ((what, direct), (_, through)) in direct.iter().zip(&through) {
                // A body that is not what was promised is refused here before the store has it, with S3's own codes.
                let promise =
                    [400, 501].contains(&direct.0) && ["BadDigest", "InvalidDigest"].contains(&through.1.as_str());
                let at_store = direct.0 < 300 && through.1 == "BadDigest";
                assert!(
                    direct == through || promise || at_store,
                    "{} {mode:?} {what}:\n{direct:?} directly,\n{through:?}",
                    store.name
                );
            }
            gate.stop().await;
        }
    }
}

async fn run(store: &Store, client: &Client) -> Vec<(String, (u16, String, Vec<(String, String)>, usize))> {
    let room = store.room("same").await;
    let mut answers = Vec::new();
    for (method, target, headers, body) in calls(&format!("/{room}"), &room.bucket) {
        let what = format!("{method} {} {headers:?}", target.replace(&room.to_string(), ""));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client.request(method, &target, &headers, &body).await;
        answers.push((what, shape(&answer)));
    }
    // A preflight, which nobody signs.
    let mut head = Head::new("OPTIONS", &format!("/{room}/k"));
    for (name, value) in
        [("Host", client.host.as_str()), ("Origin", "http://example.test"), ("Access-Control-Request-Method", "PUT")]
    {
        head.push(name, value);
    }
    let answer = client.raw(&head.bytes(), false).await.expect("an answer");
    answers.push(("preflight".into(), shape(&answer)));
    answers
}

/// A bucket that is named by the Host: the store, the record and the rules all mean the same one. Of the stores here MinIO
/// is told its domain.
#[tokio::test]
async fn buckets_in_the_host() {
    for store in stores().await.into_iter().filter(|store| store.name == "minio") {
        let room = store.room("virtual").await;
        let bad = Payload::random(1, 70_000);
        for mode in Mode::BOTH {
            let gate = gate(&store)
                .list("sample", [bad.sha256()])
                .mode(mode)
                .yaml(&format!("listen: {{ base_domains: [s3.example.test] }}\npolicy: {{ on_match: observe, rules: [ {{ bucket: {}, action: reject }} ] }}", room.bucket))
                .start()
                .await;
            let client =
                Client { host: format!("{}.s3.example.test:{}", room.bucket, gate.address.port()), ..gate.client() };
            let target = format!("/{}/k%20%C3%BC", room.prefix);
            let answer = client.put(Form::RawSigned, &target, &Payload::from("clean")).await.expect("an answer");
            assert_eq!(answer.status, 200, "{mode:?}: {answer:?}");
            let stored = store.client().get(&format!("/{}{target}", room.bucket)).await;
            assert_eq!(stored.text(), "clean");
            let answer = client.put(Form::RawSigned, &target, &bad).await.expect("an answer");
            crate::support::gate::assert_refused(&answer);
            gate.audit_line("the bucket", |line| line["bucket"] == room.bucket && line["outcome"] == "rejected").await;
            gate.stop().await;
        }
    }
}
