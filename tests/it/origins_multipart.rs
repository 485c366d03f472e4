//! Objects that come in parts: whatever the order, a whole that is listed never becomes an object, and any other does.

use crate::encodings::{deflate, gzip, zstd};
use crate::support::client::{Client, Form, Response};
use crate::support::gate::{Builder, Gate, Mode, assert_absent, assert_refused, assert_stored_exactly, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, stores};
use std::fs;
use std::time::Duration;
use tokio::task::JoinSet;

/// The least that stores take for a part that is not the last.
const PART: u64 = 5 << 20;

/// An object in parts of the least size, the last one shorter, and its whole.
pub(crate) fn object(parts: u64) -> (Vec<Payload>, Payload) {
    let sizes = (0..parts).map(|n| if n + 1 == parts { 1000 } else { PART });
    let parts: Vec<Payload> = sizes.enumerate().map(|(n, size)| Payload::random(n as u64, size)).collect();
    let whole: Vec<u8> = parts.iter().flat_map(|part| part.bytes()).collect();
    (parts, Payload::from(whole))
}

/// One upload of parts through a client.
pub(crate) struct Upload {
    pub(crate) client: Client,
    target: String,
    id: String,
}

impl Upload {
    pub(crate) async fn create(client: &Client, target: &str) -> Upload {
        Upload::describe(client, target, &[]).await
    }

    /// One whose object is described by these headers.
    pub(crate) async fn describe(client: &Client, target: &str, headers: &[(&str, &str)]) -> Upload {
        Upload { client: client.clone(), target: target.into(), id: client.describe_multipart(target, headers).await }
    }

    async fn part(&self, number: usize, form: Form, payload: &Payload) -> Response {
        let target = format!("{}?partNumber={number}&uploadId={}", self.target, self.id);
        self.client.put(form, &target, payload).await.expect("an answer")
    }

    /// Sends a part that must be taken; its ETag.
    pub(crate) async fn put(&self, number: usize, payload: &Payload) -> (usize, String) {
        let answer = self.part(number, Form::RawSigned, payload).await;
        assert_eq!(answer.status, 200, "part {number}: {answer:?}");
        (number, answer.header("etag").expect("an ETag").to_owned())
    }

    /// Has the store copy a part; its ETag.
    pub(crate) async fn copy(&self, number: usize, source: &str) -> (usize, String) {
        let target = format!("{}?partNumber={number}&uploadId={}", self.target, self.id);
        let answer = self.client.request("PUT", &target, &[("x-amz-copy-source", source)], b"").await;
        assert_eq!(answer.status, 200, "part {number}: {answer:?}");
        let etag = answer.element("ETag").expect("an ETag").replace("&#34;", "\"").replace("&quot;", "\"");
        (number, etag)
    }

    /// Sends a part and is gone so long after its last byte; its ETag, where the store has it.
    pub(crate) async fn put_and_leave(&self, number: usize, payload: &Payload, after: Duration) -> Option<String> {
        let target = format!("{}?partNumber={number}&uploadId={}", self.target, self.id);
        let mut wire = self.client.connect().await.expect("the gate listens");
        wire.write(&self.client.upload(Form::RawUnsigned, &target, payload).bytes()).await.expect("taken");
        tokio::time::sleep(after).await;
        wire.reset();
        let parts = self.client.list_parts(&self.target, &self.id).await;
        parts.into_iter().find(|(found, _)| *found == number.to_string()).map(|(_, etag)| etag)
    }

    pub(crate) async fn complete(&self, parts: &[(usize, String)]) -> Response {
        let mut parts = parts.to_vec();
        parts.sort();
        let xml: String = parts
            .iter()
            .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
            .collect();
        let xml = format!("<CompleteMultipartUpload>{xml}</CompleteMultipartUpload>");
        let target = format!("{}?uploadId={}", self.target, self.id);
        self.client.request("POST", &target, &[], xml.as_bytes()).await
    }

    pub(crate) async fn abort(&self) {
        self.client.delete(&format!("{}?uploadId={}", self.target, self.id)).await;
    }
}

async fn completes(gate: &Gate, whole: &str) -> f64 {
    let metrics = gate.metrics().await.0;
    metrics.get(&format!("hashgate_completes_total{{whole=\"{whole}\"}}")).copied().unwrap_or_default()
}

/// In every order of three parts, and all at once, in both modes.
#[tokio::test]
async fn a_listed_whole_is_refused_in_every_order_of_its_parts() {
    for store in stores().await {
        let (parts, whole) = object(3);
        for mode in Mode::BOTH {
            let room = store.room("parts").await;
            let gate = gate(&store).list("sample", [whole.sha1()]).mode(mode).start().await;
            for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1], [0, 0, 0]] {
                let target = format!("/{room}/{}{}{}", order[0], order[1], order[2]);
                let upload = Upload::create(&gate.client(), &target).await;
                let mut etags = Vec::new();
                if order[0] == 0 {
                    let put = |number: usize| upload.put(number, &parts[number - 1]);
                    let (one, two, three) = tokio::join!(put(1), put(2), put(3));
                    etags.extend([one, two, three]);
                } else {
                    for number in order {
                        etags.push(upload.put(number, &parts[number - 1]).await);
                    }
                }
                for _ in 0..2 {
                    assert_refused(&upload.complete(&etags).await);
                }
                assert_absent(&store, &target).await;
                // A shorter object of the same parts is not the listed one. Ceph RGW takes all parts or none.
                if order == [1, 2, 3] && store.name != "rgw" {
                    etags.sort();
                    let answer = upload.complete(&etags[..2]).await;
                    assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
                    let shorter: Vec<u8> = parts[..2].iter().flat_map(|part| part.bytes()).collect();
                    assert_stored_exactly(&store, &target, &shorter, None).await;
                } else {
                    upload.abort().await;
                }
            }
            assert_eq!(completes(&gate, "unknown").await, 0.0);
            gate.stop().await;
        }
    }
}

/// Clean objects arrive byte for byte with the ETag that a direct upload in the same parts gets, from every form of part.
#[tokio::test]
async fn a_clean_whole_is_stored_as_directly() {
    for store in stores().await {
        let (parts, whole) = object(3);
        let room = store.room("parts").await;
        let gate = gate(&store).start().await;
        let direct = Upload::create(&store.client(), &format!("/{room}/direct")).await;
        let mut etags = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            etags.push(direct.put(n + 1, part).await);
        }
        assert_eq!(direct.complete(&etags).await.status, 200);
        let expected = store.client().head(&format!("/{room}/direct")).await;
        for form in [Form::RawUnsigned, Form::Presigned, Form::SignedChunks, Form::UnsignedTrailer, Form::Expect100] {
            let target = format!("/{room}/{form:?}");
            let upload = Upload::create(&gate.client(), &target).await;
            let mut etags = Vec::new();
            for (n, part) in parts.iter().enumerate().rev() {
                let answer = upload.part(n + 1, form, part).await;
                // A store may not take this form from anybody.
                if answer.status != 200 {
                    let directly = Upload { client: store.client(), ..upload };
                    assert_eq!(directly.part(n + 1, form, part).await.status, answer.status, "{}", store.name);
                    etags.clear();
                    directly.abort().await;
                    break;
                }
                etags.push((n + 1, answer.header("etag").expect("an ETag").to_owned()));
                if n == 0 {
                    let answer = upload.complete(&etags).await;
                    assert_eq!(answer.status, 200, "{} {form:?}: {answer:?}", store.name);
                    assert_stored_exactly(&store, &target, &whole.bytes(), expected.header("etag")).await;
                    break;
                }
            }
        }
        gate.stop().await;
    }
}

/// A part that is sent again: the same bytes change nothing; other bytes make what follows unknown until it comes again;
/// what was listed stays refused, and what is not known is refused as unknown, never let through.
#[tokio::test]
async fn parts_that_are_sent_again() {
    for store in stores().await {
        let (parts, whole) = object(3);
        let room = store.room("again").await;
        let gate = gate(&store).list("sample", [whole.sha256()]).start().await;
        let target = format!("/{room}/k");
        let upload = Upload::create(&gate.client(), &target).await;
        let other = Payload::random(77, PART);
        let mut etags =
            vec![upload.put(1, &other).await, upload.put(2, &parts[1]).await, upload.put(3, &parts[2]).await];
        // Now it is the listed object, and nobody has hashed it as such.
        etags[0] = upload.put(1, &parts[0]).await;
        let answer = upload.complete(&etags).await;
        assert_eq!((answer.status, answer.code().as_str()), (501, "NotImplemented"), "{}: {answer:?}", store.name);
        for (n, part) in parts.iter().enumerate() {
            etags[n] = upload.put(n + 1, part).await;
        }
        assert_refused(&upload.complete(&etags).await);
        assert_absent(&store, &target).await;
        assert_eq!(completes(&gate, "unknown").await, 1.0);
        upload.abort().await;
        gate.stop().await;
    }
}

/// The gate is stopped and started between any two parts; what it knew, it still knows.
#[tokio::test]
async fn a_restart_between_parts() {
    for store in stores().await {
        let (parts, whole) = object(3);
        let room = store.room("restart").await;
        let mut gate = gate(&store).list("sample", [whole.md5()]).start().await;
        for (name, listed) in [("listed", true), ("clean", false)] {
            let target = format!("/{room}/{name}");
            let mut upload = Upload::create(&gate.client(), &target).await;
            let mut etags = Vec::new();
            for (n, part) in parts.iter().enumerate() {
                let part = if listed || n < 2 { part } else { &parts[1] };
                etags.push(upload.put(n + 1, part).await);
                gate = gate.restart().await;
                upload.client = gate.client();
            }
            let answer = upload.complete(&etags).await;
            if listed {
                assert_refused(&answer);
                assert_absent(&store, &target).await;
                upload.abort().await;
            } else {
                assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
            }
        }
        assert_eq!(completes(&gate, "unknown").await, 0.0);
        gate.stop().await;
    }
}

/// An early part for which there is no room is told to come again, and only that one; with room on disk it is kept there.
#[tokio::test]
async fn room_for_early_parts() {
    for store in stores().await {
        let (parts, _) = object(3);
        let room = store.room("room").await;
        for (yaml, early) in [
            ("multipart: { spool_memory: 0, spool_disk: 0, spool_wait: 100ms }", 503),
            ("multipart: { spool_memory: 0 }", 200),
        ] {
            let gate = gate(&store).yaml(yaml).start().await;
            let upload = Upload::create(&gate.client(), &format!("/{room}/{early}")).await;
            let answer = upload.part(2, Form::RawSigned, &parts[1]).await;
            assert_eq!(answer.status, early, "{}: {answer:?}", store.name);
            if early == 503 {
                assert_eq!(answer.code(), "SlowDown");
            } else {
                let used = gate.metrics().await.0["hashgate_spool_bytes{place=\"disk\"}"];
                assert_eq!(used, parts[1].len() as f64);
            }
            let mut etags = Vec::new();
            for (n, part) in parts.iter().enumerate() {
                etags.push(upload.put(n + 1, part).await);
            }
            let answer = upload.complete(&etags).await;
            assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
            let metrics = gate.metrics().await;
            assert_eq!(metrics.sum("hashgate_spool_bytes"), 0.0);
            gate.stop().await;
        }
    }
}

/// Several Completes at once, and an Abort in the middle of one: never the listed object, and nothing hangs.
#[tokio::test]
async fn completes_and_aborts_at_once() {
    for store in stores().await {
        let (parts, whole) = object(2);
        let room = store.room("once").await;
        let gate = gate(&store).list("sample", [whole.sha256()]).start().await;
        for (name, last) in [("listed", &parts[1]), ("clean", &Payload::random(9, 500))] {
            let target = format!("/{room}/{name}");
            let upload = Upload::create(&gate.client(), &target).await;
            let etags = [upload.put(1, &parts[0]).await, upload.put(2, last).await];
            let again = async {
                // The same bytes, at the very moment.
                upload.part(1, Form::RawSigned, &parts[0]).await
            };
            let (one, two, _, ()) =
                tokio::join!(upload.complete(&etags), upload.complete(&etags), again, upload.abort());
            for answer in [one, two] {
                if name == "listed" {
                    assert!(matches!(answer.status, 403 | 404 | 501), "{}: {answer:?}", store.name);
                } else {
                    assert!(answer.status == 200 || (400..=501).contains(&answer.status), "{}: {answer:?}", store.name);
                }
            }
            if name == "listed" {
                assert_absent(&store, &target).await;
            }
        }
        gate.quiet().await;
        gate.stop().await;
    }
}

/// With credentials of its own the gate aborts a listed upload, so that its parts go; the answer stays what it was.
#[tokio::test]
async fn a_listed_upload_is_aborted_at_the_store() {
    for store in stores().await {
        let (parts, whole) = object(2);
        let room = store.room("abort").await;
        let gate = gate(&store)
            .list("sample", [whole.sha256()])
            .yaml(&format!(
                "origin: {{ credentials: {{ access_key: {}, secret_key: {} }} }}",
                store.access_key, store.secret_key
            ))
            .start()
            .await;
        let target = format!("/{room}/k");
        let upload = Upload::create(&gate.client(), &target).await;
        let etags = [upload.put(1, &parts[0]).await, upload.put(2, &parts[1]).await];
        for _ in 0..2 {
            assert_refused(&upload.complete(&etags).await);
        }
        let left = store.client().get(&format!("{target}?uploadId={}", upload.id)).await;
        // The embedded store lists no part where others know no upload.
        assert!(left.status == 404 || left.elements("Part").is_empty(), "{}: {left:?}", store.name);
        gate.stop().await;
    }
}

/// Parts that this gate has not seen, ETags that are not the store's, numbers out of order, and no part at all.
#[tokio::test]
async fn what_is_not_known_is_not_completed() {
    for store in stores().await {
        let (parts, _) = object(2);
        let room = store.room("unknown").await;
        let gate = gate(&store).start().await;
        let target = format!("/{room}/k");
        let mut upload = Upload::create(&gate.client(), &target).await;
        let one = upload.put(1, &parts[0]).await;
        upload.client = store.client();
        let two = upload.put(2, &parts[1]).await;
        upload.client = gate.client();
        let other = (1, "\"00112233445566778899aabbccddeeff\"".to_owned());
        for (named, code) in [
            (vec![one.clone(), two.clone()], "InvalidPart"),
            (vec![two.clone()], "InvalidPart"),
            (vec![other.clone()], "InvalidPart"),
            (vec![], "MalformedXML"),
        ] {
            let answer = upload.complete(&named).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, code), "{} {named:?}: {answer:?}", store.name);
        }
        assert_absent(&store, &target).await;
        assert_eq!(completes(&gate, "unknown").await, 3.0);
        // A gate that was started later cannot say what the store has.
        let gate = gate.restart().await;
        upload.client = gate.client();
        for (named, status) in [(vec![one, two], 501), (vec![other], 501)] {
            let answer = upload.complete(&named).await;
            assert_eq!(answer.status, status, "{} {named:?}: {answer:?}", store.name);
        }
        assert_absent(&store, &target).await;
        upload.abort().await;
        gate.stop().await;
    }
}

/// Many parts at once, as transfer managers send them, in rounds of whatever order comes of it.
#[tokio::test]
async fn a_transfer_managers_day() {
    for store in stores().await {
        let count = 12;
        let room = store.room("many").await;
        let parts: Vec<Payload> = (0..count).map(|n| Payload::random(100 + n, PART)).collect();
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.bytes()).collect();
        let bad = Payload::from(whole.clone());
        for listed in [false, true] {
            let list = if listed { bad.sha256() } else { bad.md5().replace('a', "b") };
            let gate = gate(&store).list("sample", [list]).start().await;
            let target = format!("/{room}/{listed}");
            let upload = std::sync::Arc::new(Upload::create(&gate.client(), &target).await);
            let (mut running, mut etags) = (JoinSet::new(), Vec::new());
            for (n, part) in parts.iter().cloned().enumerate() {
                let upload = upload.clone();
                running.spawn(async move { upload.put(n + 1, &part).await });
                if running.len() >= 10 {
                    etags.push(running.join_next().await.expect("some").expect("no panic"));
                }
            }
            while let Some(etag) = running.join_next().await {
                etags.push(etag.expect("no panic"));
            }
            let answer = upload.complete(&etags).await;
            if listed {
                assert_refused(&answer);
                assert_absent(&store, &target).await;
                upload.abort().await;
            } else {
                assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
                assert_stored_exactly(&store, &target, &whole, None).await;
            }
            assert_eq!(completes(&gate, "unknown").await, 0.0);
            gate.stop().await;
        }
    }
}

/// A gate with this `multipart.unverifiable`, and credentials of its own.
fn unverifiable(store: &Store, setting: &str) -> Builder {
    gate(store).yaml(&format!(
        "multipart: {{ unverifiable: {setting} }}\norigin: {{ credentials: {{ access_key: {}, secret_key: {} }} }}",
        store.access_key, store.secret_key
    ))
}

/// What is not known is read when it is there, where the setting says so: a listed whole is gone before its client hears
/// of it, any other stays.
#[tokio::test]
async fn what_is_not_known_is_read_back() {
    for store in stores().await {
        let (parts, whole) = object(2);
        let room = store.room("back").await;
        let gate = unverifiable(&store, "read-back").list("sample", [whole.sha256()]).start().await;
        for (name, last) in [("listed", &parts[1]), ("clean", &Payload::random(9, 500))] {
            let target = format!("/{room}/{name}");
            let upload = Upload::create(&gate.client(), &target).await;
            let past = Upload { client: store.client(), target: target.clone(), id: upload.id.clone() };
            let etags = [past.put(1, &parts[0]).await, upload.put(2, last).await];
            let answer = upload.complete(&etags).await;
            assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
            assert!(answer.text().starts_with("<?xml"), "{answer:?}");
            if name == "listed" {
                assert_eq!(answer.code(), "AccessDenied", "{answer:?}");
                assert_absent(&store, &target).await;
                if room.versioned {
                    let key = &target[room.bucket.len() + 2..];
                    assert_eq!(store.client().list_versions(&room.bucket, key).await, 0, "{}", store.name);
                }
            } else {
                assert!(answer.element("ETag").is_some(), "{}: {answer:?}", store.name);
                let bytes = [parts[0].bytes(), last.bytes()].concat();
                assert_stored_exactly(&store, &target, &bytes, None).await;
            }
        }
        assert_eq!(completes(&gate, "read_back").await, 2.0);
        gate.audit_line("what was removed", |line| line["operation"] == "ReadBack" && line["outcome"] == "removed")
            .await;
        gate.stop().await;
    }
}

/// What the first bytes of an object do not tell can only be looked up decoded when the object is there, even where the gate
/// was started again between its parts.
#[tokio::test]
async fn an_encoded_whole_is_read_back() {
    for store in stores().await {
        let room = store.room("encoded").await;
        let (listed, clean) = (Payload::random(21, PART + 500), Payload::random(22, PART + 500));
        let mut gate = unverifiable(&store, "read-back").list("sample", [listed.sha256()]).start().await;
        for (name, payload) in [("listed", &listed), ("clean", &clean)] {
            let sent = deflate(&payload.bytes());
            let target = format!("/{room}/{name}");
            let describing = [("Content-Encoding", "deflate"), ("x-amz-meta-kind", "test")];
            let mut upload = Upload::describe(&gate.client(), &target, &describing).await;
            let mut etags = vec![upload.put(1, &Payload::from(sent[..PART as usize].to_vec())).await];
            gate = gate.restart().await;
            upload.client = gate.client();
            etags.push(upload.put(2, &Payload::from(sent[PART as usize..].to_vec())).await);
            let answer = upload.complete(&etags).await;
            assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
            if name == "listed" {
                assert_eq!(answer.code(), "AccessDenied", "{}: {answer:?}", store.name);
                assert_absent(&store, &target).await;
            } else {
                assert!(answer.element("ETag").is_some(), "{}: {answer:?}", store.name);
                let stored = store.client().get(&target).await;
                assert!(stored.body == sent, "{}", store.name);
                assert_eq!(stored.header("content-encoding"), Some("deflate"), "{}", store.name);
            }
            assert_eq!(completes(&gate, "read_back").await, 1.0);
        }
        gate.stop().await;
    }
}

/// What was begun as encoded stays so: a gate that was started again with another setting has no way of looking it up.
#[tokio::test]
async fn an_encoded_whole_is_unverified_under_every_setting() {
    for store in stores().await {
        let room = store.room("encoded").await;
        let listed = Payload::random(23, PART + 500);
        let sent = deflate(&listed.bytes());
        for setting in ["refuse", "allow"] {
            let gate = unverifiable(&store, "read-back").list("sample", [listed.sha256()]).start().await;
            let target = format!("/{room}/{setting}");
            let mut upload = Upload::describe(&gate.client(), &target, &[("Content-Encoding", "deflate")]).await;
            let mut etags = vec![upload.put(1, &Payload::from(sent[..PART as usize].to_vec())).await];
            etags.push(upload.put(2, &Payload::from(sent[PART as usize..].to_vec())).await);
            let config = gate.dir().join("hashgate.yaml");
            let text = fs::read_to_string(&config).unwrap();
            assert!(text.contains("unverifiable: read-back"), "{text}");
            fs::write(&config, text.replace("unverifiable: read-back", &format!("unverifiable: {setting}"))).unwrap();
            let gate = gate.restart().await;
            upload.client = gate.client();
            let answer = upload.complete(&etags).await;
            let waived = gate.metrics().await.0["hashgate_waived_total{setting=\"multipart_unverifiable\"}"];
            let expected = if setting == "refuse" { (501, 0.0) } else { (200, 1.0) };
            assert_eq!((answer.status, waived), expected, "{} {setting}: {answer:?}", store.name);
            if setting == "refuse" {
                assert_absent(&store, &target).await;
            }
            gate.stop().await;
        }
    }
}

async fn decoded(gate: &Gate, result: &str) -> f64 {
    let metrics = gate.metrics().await.0;
    metrics.get(&format!("hashgate_decoded_total{{result=\"{result}\"}}")).copied().unwrap_or_default()
}

/// An object in parts that is gzip or zstd is looked up as its readers get it, said or not, in any order of its parts, and
/// nothing is read back for that.
#[tokio::test]
async fn a_compressed_listed_whole_is_refused() {
    for store in stores().await {
        let room = store.room("compressed").await;
        let (listed, clean) = (Payload::random(24, PART + 500), Payload::random(25, PART + 500));
        let gate = gate(&store).list("sample", [listed.md5()]).start().await;
        let mut uploads = 0.0;
        for (name, said, encode) in [
            ("said", &[("Content-Encoding", "gzip")][..], &gzip as &dyn Fn(&[u8]) -> Vec<u8>),
            ("unsaid", &[], &gzip),
            ("zstd", &[], &zstd),
            ("twice", &[("Content-Encoding", "gzip, zstd")], &|bytes| zstd(&gzip(bytes))),
        ] {
            for order in [[1, 2], [2, 1]] {
                for payload in [&listed, &clean] {
                    uploads += 1.0;
                    let sent = encode(&payload.bytes());
                    let parts = sent.split_at(PART as usize);
                    let target = format!("/{room}/{name}{}{uploads}", order[0]);
                    let upload = Upload::describe(&gate.client(), &target, said).await;
                    let mut etags = Vec::new();
                    for number in order {
                        let part = if number == 1 { parts.0 } else { parts.1 };
                        etags.push(upload.put(number, &Payload::from(part.to_vec())).await);
                    }
                    let answer = upload.complete(&etags).await;
                    if std::ptr::eq(payload, &listed) {
                        assert_refused(&answer);
                        assert_absent(&store, &target).await;
                        upload.abort().await;
                    } else {
                        assert_eq!(answer.status, 200, "{} {name}: {answer:?}", store.name);
                        let stored = store.client().get(&target).await;
                        assert!(stored.body == sent, "{} {name}", store.name);
                        assert_eq!(stored.header("content-encoding"), said.first().map(|said| said.1), "{name}");
                    }
                }
            }
        }
        assert_eq!(completes(&gate, "chained").await, uploads);
        assert!(decoded(&gate, "decoded").await >= uploads, "a first part may count by itself");
        gate.stop().await;
    }
}

/// What hides a compressed whole from its decoder gets nothing past, and is told to be sent again.
#[tokio::test]
async fn a_compressed_whole_that_is_lost_to_its_decoder() {
    for store in stores().await {
        let room = store.room("lost").await;
        let (listed, clean) = (Payload::random(26, PART + 500), Payload::random(27, PART + 500));
        let gate = gate(&store).list("sample", [listed.sha256()]).start().await;
        for (name, payload) in [("listed", &listed), ("clean", &clean)] {
            let sent = gzip(&payload.bytes());
            let (one, two) = sent.split_at(PART as usize);
            let target = format!("/{room}/{name}");
            let upload = Upload::create(&gate.client(), &target).await;
            let first = upload.put(1, &Payload::from(one.to_vec())).await;
            upload.put(2, &Payload::random(28, 700)).await;
            let second = upload.put(2, &Payload::from(two.to_vec())).await;
            let answer = upload.complete(&[first, second]).await;
            assert_eq!((answer.status, answer.code()), (501, "NotImplemented".to_owned()), "{answer:?}");
            assert_absent(&store, &target).await;
            upload.abort().await;
        }
        assert_eq!((completes(&gate, "unknown").await, decoded(&gate, "lost").await), (2.0, 2.0));
        gate.stop().await;
    }
}

/// A restart ends every decoder: what says that it is encoded is sent again, or read back where that is the setting. What
/// does not say so goes on, and is counted.
#[tokio::test]
async fn a_restart_between_the_parts_of_a_compressed_whole() {
    for store in stores().await {
        let room = store.room("restarted").await;
        let (listed, clean) = (Payload::random(29, PART + 500), Payload::random(30, PART + 500));
        for (setting, said, payload, expected) in [
            ("refuse", &[("Content-Encoding", "gzip")][..], &listed, Err("NotImplemented")),
            ("refuse", &[], &clean, Ok(())),
            ("read-back", &[("Content-Encoding", "gzip")], &listed, Err("AccessDenied")),
            ("read-back", &[], &listed, Err("AccessDenied")),
            ("read-back", &[], &clean, Ok(())),
        ] {
            let gate = unverifiable(&store, setting).list("sample", [listed.sha256()]).start().await;
            let sent = gzip(&payload.bytes());
            let (one, two) = sent.split_at(PART as usize);
            let target = format!("/{room}/{setting}-{}-{}", said.len(), expected.is_ok());
            let mut upload = Upload::describe(&gate.client(), &target, said).await;
            let mut etags = vec![upload.put(1, &Payload::from(one.to_vec())).await];
            let gate = gate.restart().await;
            upload.client = gate.client();
            etags.push(upload.put(2, &Payload::from(two.to_vec())).await);
            let answer = upload.complete(&etags).await;
            match expected {
                Ok(()) => {
                    assert!(answer.element("ETag").is_some(), "{} {setting}: {answer:?}", store.name);
                    assert_stored_exactly(&store, &target, &sent, None).await;
                }
                Err(code) => {
                    assert_eq!(answer.code(), code, "{} {setting}: {answer:?}", store.name);
                    assert_absent(&store, &target).await;
                }
            }
            let how = if setting == "read-back" {
                "read_back"
            } else if said.is_empty() {
                "lost"
            } else {
                "unknown"
            };
            assert_eq!((completes(&gate, how).await, decoded(&gate, "lost").await), (1.0, 1.0), "{setting}");
            let waived = gate.metrics().await.0["hashgate_waived_total{setting=\"multipart_lost\"}"];
            assert_eq!(waived, f64::from(how == "lost"), "{setting}");
            gate.stop().await;
        }
    }
}

/// What says gzip is read as its readers may read it: zlib as such, and what begins with something else is not verified.
#[tokio::test]
async fn a_whole_that_is_not_what_it_says() {
    for store in stores().await {
        let room = store.room("said").await;
        let (listed, clean) = (Payload::random(33, PART + 500), Payload::random(34, PART + 500));
        let plain = [&b"plain"[..], &clean.bytes()].concat();
        for (setting, name, sent, code) in [
            ("refuse", "listed", deflate(&listed.bytes()), Some("AccessDenied")),
            ("refuse", "clean", deflate(&clean.bytes()), None),
            ("refuse", "plain", plain.clone(), Some("InvalidRequest")),
            ("read-back", "listed", deflate(&listed.bytes()), Some("AccessDenied")),
            ("read-back", "plain", plain.clone(), None),
        ] {
            let gate = unverifiable(&store, setting).list("sample", [listed.sha256()]).start().await;
            let (one, two) = sent.split_at(PART as usize);
            let target = format!("/{room}/{setting}-{name}");
            let upload = Upload::describe(&gate.client(), &target, &[("Content-Encoding", "gzip")]).await;
            let first = upload.put(1, &Payload::from(one.to_vec())).await;
            let second = upload.put(2, &Payload::from(two.to_vec())).await;
            let answer = upload.complete(&[first, second]).await;
            match code {
                Some(code) => {
                    assert_eq!(answer.code(), code, "{} {setting} {name}: {answer:?}", store.name);
                    assert_absent(&store, &target).await;
                    upload.abort().await;
                }
                None => {
                    assert!(answer.element("ETag").is_some(), "{} {setting} {name}: {answer:?}", store.name);
                    assert!(store.client().get(&target).await.body == sent, "{} {setting} {name}", store.name);
                }
            }
            gate.stop().await;
        }
    }
}
