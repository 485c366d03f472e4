//! Every store, every mode, every form, every interesting size: what is clean arrives as if we were not there, what is
//! listed never does.

use crate::support::client::{Client, Form, Response};
use crate::support::gate::{Mode, assert_absent, assert_refused, assert_stored_exactly, gate};
use crate::support::payload::Payload;
use crate::support::store::{Room, Store, stores};

/// Nothing; a byte; around AWS' smallest chunk; around the window; and enough for many chunks.
const SIZES: [u64; 6] = [0, 1, 8191, 65_536, 65_537, (5 << 20) + 1];

fn clean(size: u64) -> Payload {
    Payload::random(1, size)
}

fn listed(size: u64) -> Payload {
    Payload::random(2, size)
}

fn listed_digests() -> Vec<String> {
    // The digest of nothing is never taken as an entry.
    SIZES.iter().filter(|size| **size > 0).map(|size| listed(*size).sha256()).collect()
}

/// The bytes of an older object, different from everything else.
fn older() -> Payload {
    Payload::random(3, 1000)
}

/// An upload in any form arrives byte for byte with the ETag of a direct one; a listed one is refused and leaves nothing,
/// or the older object as it was (pass-through).
#[tokio::test]
async fn objects_in_every_form_are_stored_or_refused_in_pass_through() {
    objects(Mode::PassThrough).await;
}

/// The same where the gate verifies signatures.
#[tokio::test]
async fn objects_in_every_form_are_stored_or_refused_in_verify() {
    objects(Mode::Verify).await;
}

async fn objects(mode: Mode) {
    for store in stores().await {
        let room = store.room("forms").await;
        let gate = gate(&store).list("sample", listed_digests()).mode(mode).start().await;
        let (direct, through) = (store.client(), gate.client());
        for form in Form::ALL {
            for size in SIZES {
                let at = |kind: &str| format!("/{room}/{kind}/{form:?}/{size}");
                let what = format!("{} {mode:?} {form:?} {size}", store.name);
                let expected = direct.put(form, &at("direct"), &clean(size)).await.expect(&what);
                let answer = through.put(form, &at("clean"), &clean(size)).await.expect(&what);
                assert_same(&what, &expected, &answer);
                let taken = expected.status == 200;
                if taken {
                    let etag = expected.header("etag");
                    assert_stored_exactly(&store, &at("clean"), &clean(size).bytes(), etag).await;
                } else {
                    assert!(expected.status < 500 || expected.status == 501, "{what}: {expected:?}");
                    println!("{what}: the store refuses this form itself: {} {}", expected.status, expected.code());
                    assert_absent(&store, &at("clean")).await;
                }
                if size == 0 {
                    continue;
                }
                let answer = through.put(form, &at("listed"), &listed(size)).await.expect(&what);
                assert_kept_out(&what, taken, &answer);
                assert_absent(&store, &at("listed")).await;

                let stored = direct.put(Form::RawSigned, &at("older"), &older()).await.expect(&what);
                assert_eq!(stored.status, 200, "{what}: {stored:?}");
                let before = direct.head(&at("older")).await;
                let answer = through.put(form, &at("older"), &listed(size)).await.expect(&what);
                assert_kept_out(&what, taken, &answer);
                let after = direct.head(&at("older")).await;
                for name in ["etag", "last-modified", "content-length", "x-amz-version-id"] {
                    assert_eq!(before.header(name), after.header(name), "{what}: {name}");
                }
                assert_stored_exactly(&store, &at("older"), &older().bytes(), before.header("etag")).await;
                if room.versioned {
                    assert_eq!(versions(&store, &room, &at("listed")).await, 0, "{what}");
                    assert_eq!(versions(&store, &room, &at("older")).await, 1, "{what}");
                }
            }
        }
        gate.quiet().await;
        gate.stop().await;
    }
}

/// A part in any form is listed with the ETag of a direct one; a listed part is refused and ListParts does not know it
/// (pass-through).
#[tokio::test]
async fn parts_in_every_form_are_stored_or_refused_in_pass_through() {
    parts(Mode::PassThrough).await;
}

/// The same where the gate verifies signatures.
#[tokio::test]
async fn parts_in_every_form_are_stored_or_refused_in_verify() {
    parts(Mode::Verify).await;
}

async fn parts(mode: Mode) {
    for store in stores().await {
        let room = store.room("parts").await;
        let gate = gate(&store).list("sample", listed_digests()).mode(mode).start().await;
        let (direct, through) = (store.client(), gate.client());
        for form in Form::ALL {
            let key = format!("/{room}/{form:?}");
            let id = direct.create_multipart(&key).await;
            let mut wanted = Vec::new();
            let mut number = 0;
            let mut next = || {
                number += 1;
                (number.to_string(), format!("{key}?partNumber={number}&uploadId={id}"))
            };
            for size in SIZES.into_iter().filter(|size| *size > 0) {
                let what = format!("{} {mode:?} part {form:?} {size}", store.name);
                let (n, at) = next();
                let expected = direct.put(form, &at, &clean(size)).await.expect(&what);
                let etag = expected.header("etag").unwrap_or_default().to_owned();
                let (m, at) = next();
                let answer = through.put(form, &at, &clean(size)).await.expect(&what);
                assert_same(&what, &expected, &answer);
                let taken = expected.status == 200;
                if taken {
                    wanted.push((n, etag.clone()));
                    wanted.push((m, etag));
                } else {
                    assert!(expected.status < 500 || expected.status == 501, "{what}: {expected:?}");
                    println!("{what}: the store refuses this form itself: {} {}", expected.status, expected.code());
                }
                let (_, at) = next();
                let answer = through.put(form, &at, &listed(size)).await.expect(&what);
                assert_kept_out(&what, taken, &answer);
            }
            let mut parts = direct.list_parts(&key, &id).await;
            // Some stores list ETags without quotes.
            let bare = |etag: &str| etag.trim_matches('"').to_owned();
            parts.iter_mut().for_each(|(_, etag)| *etag = bare(etag));
            parts.sort_by_key(|(number, _)| number.parse::<u32>().ok());
            let lists_etags = parts.iter().all(|(_, etag)| !etag.is_empty());
            wanted.iter_mut().for_each(|(_, etag)| *etag = if lists_etags { bare(etag) } else { String::new() });
            assert_eq!(parts, wanted, "{} {mode:?} {form:?}", store.name);
            direct.delete(&format!("{key}?uploadId={id}")).await;
        }
        gate.quiet().await;
        gate.stop().await;
    }
}

/// An entry may be an MD5, a SHA-1 or a SHA-256.
#[tokio::test]
async fn entries_of_every_algorithm_refuse() {
    for store in stores().await {
        let room = store.room("algorithms").await;
        for mode in Mode::BOTH {
            let payloads: Vec<Payload> = (10..13).map(|seed| Payload::random(seed, 70_000)).collect();
            let entries = [payloads[0].md5(), payloads[1].sha1(), payloads[2].sha256()];
            let gate = gate(&store).list("sample", entries).mode(mode).start().await;
            for form in [Form::RawUnsigned, Form::SignedChunks] {
                for payload in &payloads {
                    let at = format!("/{room}/key");
                    let answer = gate.client().put(form, &at, payload).await.expect("an answer");
                    assert_refused(&answer);
                    assert_absent(&store, &at).await;
                }
            }
            gate.stop().await;
        }
    }
}

/// A gibibyte is hashed as it streams; before the embedded store, where it would only cost time, a sixteenth of it.
#[tokio::test]
async fn a_gibibyte_is_stored_or_refused() {
    for store in stores().await {
        let size = if store.name == "embedded" { 1 << 26 } else { 1 << 30 };
        let room = store.room("large").await;
        let (good, bad) = (Payload::random(20, size), Payload::random(21, size));
        let gate = gate(&store).list("sample", [bad.sha256()]).start().await;
        let at = format!("/{room}/large");
        let answer = gate.client().put(Form::RawUnsigned, &at, &bad).await.expect("an answer");
        assert_refused(&answer);
        assert_absent(&store, &at).await;
        let answer = gate.client().put(Form::SignedChunks, &at, &good).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
        let head = store.client().head(&at).await;
        assert_eq!(head.header("content-length"), Some(&*size.to_string()), "{}", store.name);
        assert_eq!(head.header("etag"), Some(&*format!("\"{}\"", good.md5())), "{}", store.name);
        store.client().delete(&at).await;
        gate.stop().await;
    }
}

/// Versions and delete markers of one key.
async fn versions(store: &Store, room: &Room, target: &str) -> usize {
    let key = &target[room.bucket.len() + 2..];
    store.client().list_versions(&room.bucket, key).await
}

/// What the store says directly, the client hears through the gate.
#[track_caller]
fn assert_same(what: &str, direct: &Response, through: &Response) {
    assert_eq!(direct.status, through.status, "{what}: {direct:?} but {through:?}");
    // A store that refuses without reading may reset its connection and lose the body of its answer, directly as well.
    if !(through.status >= 400 && through.body.is_empty()) {
        assert_eq!(direct.code(), through.code(), "{what}");
    }
    assert_eq!(direct.header("etag"), through.header("etag"), "{what}");
}

/// Refused by us, or by a store that does not take the form at all.
#[track_caller]
fn assert_kept_out(what: &str, taken: bool, answer: &Response) {
    if taken {
        assert_eq!(answer.status, 403, "{what}: {answer:?}");
        assert_refused(answer);
    } else {
        assert!(answer.status >= 400, "{what}: {answer:?}");
    }
}

/// Uploads one after the other on one connection are each judged by themselves, and a refused one that was read whole
/// costs the client no new connection.
#[tokio::test]
async fn uploads_on_one_connection_are_judged_one_by_one() {
    for store in stores().await {
        let room = store.room("keepalive").await;
        let gate = gate(&store).list("sample", listed_digests()).mode(Mode::Verify).start().await;
        let client: Client = gate.client();
        let mut wire = client.connect().await.expect("the gate listens");
        for round in 0..3 {
            let at = |kind: &str| format!("/{room}/{kind}{round}");
            let upload = client.upload(Form::RawSigned, &at("clean"), &clean(8191));
            let answer = wire.exchange(upload).await.expect("an answer");
            assert_eq!(answer.status, 200, "{answer:?}");
            let upload = client.upload(Form::SignedChunks, &at("listed"), &listed(8191));
            let answer = wire.exchange(upload).await.expect("an answer");
            assert_refused(&answer);
            assert_stored_exactly(&store, &at("clean"), &clean(8191).bytes(), None).await;
            assert_absent(&store, &at("listed")).await;
        }
        gate.stop().await;
    }
}
