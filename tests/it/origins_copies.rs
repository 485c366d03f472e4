//! Copies that the store makes by itself: what is listed is not multiplied, and copied parts make no listed whole.

use crate::support::client::Form;
use crate::support::gate::{Gate, assert_absent, assert_refused, assert_stored_exactly, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, stores};
use std::io::Read as _;

const PART: u64 = 5 << 20;

/// A gate with credentials of its own at the store.
async fn reading(store: &Store, listed: &Payload) -> Gate {
    let yaml =
        format!("origin: {{ credentials: {{ access_key: {}, secret_key: {} }} }}", store.access_key, store.secret_key);
    gate(store).list("sample", [listed.sha256()]).yaml(&yaml).start().await
}

/// Puts an object past the gate: it was there before.
async fn was_there(store: &Store, target: &str, payload: &Payload) {
    let answer = store.client().put(Form::RawSigned, target, payload).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
}

/// What is listed today and was there before is not copied; anything else is.
#[tokio::test]
async fn a_listed_object_is_not_copied() {
    for store in stores().await {
        let room = store.room("copy").await;
        let (bad, good) = (Payload::random(1, 100_000), Payload::random(2, 100_000));
        let (bad_at, good_at) = (format!("/{room}/bad ü+"), format!("/{room}/good"));
        let bad_at = bad_at.replace(' ', "%20").replace('ü', "%C3%BC").replace('+', "%2B");
        was_there(&store, &bad_at, &bad).await;
        was_there(&store, &good_at, &good).await;
        let reading = reading(&store, &bad).await;
        for (n, source) in [bad_at.clone(), bad_at.trim_start_matches('/').to_owned()].iter().enumerate() {
            let target = format!("/{room}/copy{n}");
            assert_refused(&reading.client().request("PUT", &target, &[("x-amz-copy-source", source)], b"").await);
            assert_absent(&store, &target).await;
        }
        let target = format!("/{room}/copy");
        let answer = reading.client().request("PUT", &target, &[("x-amz-copy-source", &good_at)], b"").await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
        assert_stored_exactly(&store, &target, &good.bytes(), None).await;
        assert_eq!(reading.metrics().await.0["hashgate_copies_total{source=\"read\"}"], 3.0);
        reading.stop().await;

        for (setting, status) in [("allow", 200), ("refuse", 501)] {
            let blind = gate(&store)
                .list("sample", [bad.sha256()])
                .yaml(&format!("copies: {{ unknown: {setting} }}"))
                .start()
                .await;
            let target = format!("/{room}/{setting}");
            let answer = blind.client().request("PUT", &target, &[("x-amz-copy-source", &good_at)], b"").await;
            assert_eq!(answer.status, status, "{}: {answer:?}", store.name);
            blind.stop().await;
        }
    }
}

/// A copy may say that its bytes are encoded, which nobody said before: then it is what its readers get.
#[tokio::test]
async fn a_copy_that_says_how_it_is_encoded_is_looked_up_so() {
    for store in stores().await {
        let room = store.room("copy-encoded").await;
        let bad = Payload::random(6, 100_000);
        let deflated = compressed(&bad.bytes());
        let source = format!("/{room}/source");
        was_there(&store, &source, &Payload::from(deflated)).await;
        let reading = reading(&store, &bad).await;
        let blind = gate(&store).list("sample", [bad.sha256()]).start().await;
        for directive in ["REPLACE", "COPY"] {
            let headers = [
                ("x-amz-copy-source", source.as_str()),
                ("x-amz-metadata-directive", directive),
                ("Content-Encoding", "deflate"),
            ];
            let target = format!("/{room}/{directive}");
            assert_refused(&reading.client().request("PUT", &target, &headers, b"").await);
            // Without credentials nobody can read the source.
            let answer = blind.client().request("PUT", &target, &headers, b"").await;
            assert_eq!(answer.status, 501, "{}: {answer:?}", store.name);
            assert_absent(&store, &target).await;
        }
        // What the source says counts, too: a copy keeps it where no directive says otherwise.
        let said = [("Content-Encoding", "deflate")];
        let upload =
            store.client().upload_with(Form::RawSigned, &source, &Payload::from(compressed(&bad.bytes())), &said);
        assert_eq!(store.client().send(upload).await.expect("an answer").status, 200);
        let headers = [("x-amz-copy-source", source.as_str()), ("Content-Encoding", "identity")];
        let answer = reading.client().request("PUT", &format!("/{room}/kept"), &headers, b"").await;
        // The embedded store does not remember an encoding.
        if store.client().head(&source).await.header("content-encoding").is_some() {
            assert_refused(&answer);
        }
        reading.stop().await;
        blind.stop().await;
    }
}

/// By an encoding that has no magic number.
fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::DeflateEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut out).expect("memory");
    out
}

/// A listed object that is put together out of ranges of clean ones, parts sent and parts copied, is refused; a clean one
/// is known without being read back.
#[tokio::test]
async fn copied_parts_are_part_of_the_whole() {
    for store in stores().await {
        let room = store.room("copy-part").await;
        // SeaweedFS gives a copied part an ETag of its own pieces.
        let etag_is_md5 = store.name != "seaweedfs";
        let (head, tail) = (Payload::random(3, PART), Payload::random(4, 1000));
        let source = Payload::from([&b"before"[..], &head.bytes(), b"behind"].concat());
        let source_at = format!("/{room}/source");
        was_there(&store, &source_at, &source).await;
        let whole = Payload::from([head.bytes(), tail.bytes()].concat());
        let gate = reading(&store, &whole).await;
        let client = gate.client();
        for (name, last) in [("listed", &tail), ("clean", &Payload::random(5, 1000))] {
            let target = format!("/{room}/{name}");
            let id = client.create_multipart(&target).await;
            let part = |number: u16| format!("{target}?partNumber={number}&uploadId={id}");
            // The last part comes first and waits.
            let sent = client.put(Form::RawSigned, &part(2), last).await.expect("an answer");
            let range = format!("bytes=6-{}", 5 + PART);
            let headers = [("x-amz-copy-source", source_at.as_str()), ("x-amz-copy-source-range", range.as_str())];
            let copied = client.request("PUT", &part(1), &headers, b"").await;
            assert_eq!(copied.status, 200, "{}: {copied:?}", store.name);
            let etag = copied.element("ETag").expect("an ETag");
            let xml = format!(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part><Part><PartNumber>2</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
                sent.header("etag").expect("an ETag")
            );
            let answer = client.request("POST", &format!("{target}?uploadId={id}"), &[], xml.as_bytes()).await;
            if !etag_is_md5 {
                // Nobody can say whether the store copied what was read.
                assert_eq!(answer.status, 501, "{}: {answer:?}", store.name);
                assert_absent(&store, &target).await;
            } else if name == "listed" {
                assert_refused(&answer);
                assert_absent(&store, &target).await;
            } else {
                assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
                assert_stored_exactly(&store, &target, &[head.bytes(), last.bytes()].concat(), None).await;
            }
        }
        let metrics = gate.metrics().await.0;
        let unknown = if etag_is_md5 { 0.0 } else { 2.0 };
        assert_eq!(metrics["hashgate_completes_total{whole=\"unknown\"}"], unknown, "{}", store.name);
        gate.stop().await;
    }
}
