use super::*;
use crate::config::settings::{Encodings, Multipart as Settings};
use prometheus::Registry;
use std::io::Write as _;
use tokio::time::advance;

fn id(upload: &str) -> UploadId {
    UploadId { bucket: "b".into(), key: "k".into(), upload: upload.into() }
}

fn open(dir: &Path) -> Arc<Multipart> {
    let settings = Settings {
        expire: Duration::from_secs(1000),
        spool_idle: Duration::from_secs(100),
        uploads: 3,
        ..Settings::default()
    };
    Multipart::open(&settings, &Encodings::default(), dir, Metrics::new(Registry::new()).unwrap()).unwrap()
}

/// Sends a part, which the store takes under this ETag.
async fn put(multipart: &Arc<Multipart>, upload: &str, number: u16, etag: &str) {
    let payload = Bytes::from(format!("{upload} {number}"));
    let mut part = multipart.part(id(upload), number, Some(payload.len() as u64), Algorithms::NONE).await.unwrap();
    part.see(&payload).await.unwrap();
    part.releasing(&Digests::of(&payload)).await.answered(Some(etag)).await;
}

/// Waits until nothing is done any more in the background.
async fn quiet(multipart: &Multipart) {
    while multipart.lock().values().any(|upload| Arc::strong_count(upload) > 1) {
        tokio::task::yield_now().await;
    }
}

async fn is_known(multipart: &Arc<Multipart>, upload: &str) -> bool {
    let named = vec![NamedPart { number: 1, etag: "one".into() }];
    matches!(multipart.completing(&id(upload), named).await.whole, Whole::Known(_))
}

/// An upload that is never finished is forgotten in the end, its early parts long before that, in memory and on the disk.
#[tokio::test(start_paused = true)]
async fn what_nobody_comes_back_for_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let multipart = open(dir.path());
    put(&multipart, "u", 1, "one").await;
    put(&multipart, "u", 3, "three").await;
    assert_eq!(multipart.status(), (1, (3, 0)), "part 3 waits");
    quiet(&multipart).await;
    advance(Duration::from_secs(99)).await;
    multipart.expire();
    assert_eq!(multipart.status(), (1, (3, 0)));
    advance(Duration::from_secs(2)).await;
    multipart.expire();
    assert_eq!(multipart.status(), (1, (0, 0)), "nobody waits for part 2 any more");
    assert!(is_known(&multipart, "u").await);
    assert!(is_known(&open(dir.path()), "u").await, "a restart keeps it");
    advance(Duration::from_secs(1000)).await;
    multipart.expire();
    assert_eq!(multipart.status(), (0, (0, 0)));
    assert!(!is_known(&multipart, "u").await);
    assert_eq!(open(dir.path()).status().0, 0, "nor on the disk");
}

/// What is remembered is bounded: the upload that was idle longest goes first.
#[tokio::test(start_paused = true)]
async fn no_more_uploads_are_remembered_than_there_is_room_for() {
    let dir = tempfile::tempdir().unwrap();
    let multipart = open(dir.path());
    for upload in ["a", "b", "c", "a", "d"] {
        put(&multipart, upload, 1, "one").await;
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(multipart.status().0, 3);
    for (upload, known) in [("a", true), ("b", false), ("c", true), ("d", true)] {
        assert_eq!(is_known(&multipart, upload).await, known, "{upload}");
    }
}

/// What a beginning said counts over a restart; an upload whose beginning nobody saw may be anything.
#[tokio::test]
async fn what_create_said_is_known_until_the_complete() {
    let dir = tempfile::tempdir().unwrap();
    let multipart = open(dir.path());
    let plain = Beginning { headers: vec![("content-type".into(), "image/x".into())], ..Beginning::default() };
    let encoded = Beginning { encoded: true, ..Beginning::default() };
    multipart.begin(id("plain"), plain.clone(), Algorithms::NONE);
    multipart.begin(id("encoded"), encoded.clone(), Algorithms::NONE);
    for upload in ["plain", "encoded", "unseen"] {
        put(&multipart, upload, 1, "one").await;
    }
    for multipart in [multipart, open(dir.path())] {
        for (upload, beginning) in [("plain", Some(&plain)), ("encoded", Some(&encoded)), ("unseen", None)] {
            assert_eq!(multipart.beginning(&id(upload)).as_ref(), beginning, "{upload}");
            let completing = multipart.completing(&id(upload), Vec::new()).await;
            assert_eq!(completing.beginning.as_ref(), beginning, "{upload}");
        }
    }
}

/// A part that never came past is not at the store, where the upload began here; who was started later cannot say.
#[tokio::test]
async fn what_never_came_past_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let multipart = open(dir.path());
    multipart.begin(id("u"), Beginning::default(), Algorithms::NONE);
    put(&multipart, "u", 1, "one").await;
    put(&multipart, "unseen", 1, "one").await;
    let named = |number, etag: &str| vec![NamedPart { number, etag: etag.into() }];
    let whole = async |multipart: &Multipart, upload, named| multipart.completing(&id(upload), named).await.whole;
    assert_eq!(whole(&multipart, "u", named(2, "two")).await, Whole::Absent);
    assert_eq!(whole(&multipart, "u", named(1, "other")).await, Whole::Absent);
    assert_eq!(whole(&multipart, "unseen", named(2, "two")).await, Whole::Unknown);
    assert_eq!(whole(&multipart, "unseen", named(1, "other")).await, Whole::Unknown);
    assert_eq!(whole(&multipart, "never heard of", named(1, "one")).await, Whole::Unknown);
    // One whose fate nobody knows.
    let part = multipart.part(id("u"), 2, Some(1), Algorithms::NONE).await.unwrap();
    part.committed_early().await;
    assert_eq!(whole(&multipart, "u", named(2, "two")).await, Whole::Unknown);
    let part = multipart.part(id("u"), 4, Some(1), Algorithms::NONE).await.unwrap();
    drop(part.releasing_unknown().await);
    assert_eq!(whole(&multipart, "u", named(4, "four")).await, Whole::Unknown);
    let later = open(dir.path());
    assert_eq!(whole(&later, "u", named(3, "three")).await, Whole::Unknown);
    assert_eq!(whole(&later, "u", named(1, "other")).await, Whole::Unknown);
    // The same bytes again: a store may have given them another ETag, and its answer was not heard.
    drop(multipart.part(id("u"), 1, Some(3), Algorithms::NONE).await.unwrap().releasing(&Digests::of(b"u 1")).await);
    assert_eq!(whole(&multipart, "u", named(1, "other")).await, Whole::Unknown);
}

/// Bytes that do not pack, in gzip: longer than so many.
fn compressed() -> (Vec<u8>, Vec<u8>) {
    let mut payload = vec![0; 3000];
    blake3::Hasher::new().update(b"compressed").finalize_xof().fill(&mut payload);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&payload).unwrap();
    (payload, encoder.finish().unwrap())
}

/// Sends these bytes as a part, in small pieces; its ETag is the number.
async fn send(multipart: &Multipart, number: u16, bytes: &[u8]) -> Releasing {
    let mut part = multipart.part(id("u"), number, Some(bytes.len() as u64), Algorithms::NONE).await.unwrap();
    for piece in bytes.chunks(5) {
        part.see(&Bytes::copy_from_slice(piece)).await.unwrap();
    }
    part.releasing(&Digests::of(bytes)).await
}

async fn as_read(multipart: &Multipart, numbers: &[u16]) -> AsRead {
    let named = numbers.iter().map(|number| NamedPart { number: *number, etag: number.to_string() }).collect();
    let completing = multipart.completing(&id("u"), named).await;
    assert!(matches!(completing.whole, Whole::Known(_)), "{numbers:?}");
    completing.as_read.clone()
}

fn is_decoded(as_read: &AsRead, bytes: &[u8]) -> bool {
    let AsRead::Known(Some(decoded)) = as_read else { return false };
    decoded.layers.iter().any(|layer| layer.sha256 == Digests::of(bytes).sha256)
}

/// A whole that is compressed is known as its readers get it, in whatever order its parts come.
#[tokio::test]
async fn a_compressed_whole_is_decoded_in_every_order() {
    let (payload, sent) = compressed();
    // The last cut is inside its first bytes, where nobody can tell yet what it is.
    for (one, two) in [(1000, 2000), (1000, 1001), (2, 1000)] {
        let parts = [&sent[..one], &sent[one..two], &sent[two..]];
        for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
            let dir = tempfile::tempdir().unwrap();
            let multipart = open(dir.path());
            for number in order {
                let part = send(&multipart, number, parts[usize::from(number) - 1]).await;
                part.answered(Some(&number.to_string())).await;
            }
            for _ in 0..2 {
                assert!(is_decoded(&as_read(&multipart, &[1, 2, 3]).await, &payload), "{one} {two} {order:?}");
            }
        }
    }
}

/// Numbers with gaps: what waits is decoded when the Complete names it.
#[tokio::test]
async fn a_compressed_whole_with_gaps_in_its_numbers() {
    let (payload, sent) = compressed();
    for numbers in [[1, 5, 7], [3, 5, 7]] {
        let dir = tempfile::tempdir().unwrap();
        let multipart = open(dir.path());
        for (number, bytes) in numbers.iter().zip(sent.chunks(1200)) {
            send(&multipart, *number, bytes).await.answered(Some(&number.to_string())).await;
        }
        for _ in 0..2 {
            assert!(is_decoded(&as_read(&multipart, &numbers).await, &payload), "{numbers:?}");
        }
    }
}

/// A part of which a first try broke off, was not answered, or was refused, is sent again with the same bytes.
#[tokio::test]
async fn a_compressed_part_that_is_sent_again() {
    let (payload, sent) = compressed();
    let (first, second) = sent.split_at(1500);
    let dir = tempfile::tempdir().unwrap();
    let multipart = open(dir.path());
    for (number, bytes) in [(1, first), (2, second)] {
        let mut part = multipart.part(id("u"), number, Some(bytes.len() as u64), Algorithms::NONE).await.unwrap();
        part.see(&Bytes::copy_from_slice(&bytes[..700])).await.unwrap();
        drop(part);
        drop(send(&multipart, number, bytes).await);
        quiet(&multipart).await;
        send(&multipart, number, bytes).await.answered(Some(&number.to_string())).await;
        send(&multipart, number, bytes).await.answered(Some(&number.to_string())).await;
    }
    assert!(is_decoded(&as_read(&multipart, &[1, 2]).await, &payload));
}

/// Whatever was there before: what the store has in the end is decoded, or not known.
#[tokio::test]
async fn no_other_part_hides_a_compressed_one() {
    let (payload, sent) = compressed();
    let (first, second) = sent.split_at(1500);
    let (mut other, plain) = (second.to_vec(), vec![b'x'; 1500]);
    other[5] ^= 1;
    let lost = AsRead::Lost { by_restart: false };
    for (before, expected) in [
        // Nothing was begun for what is plain.
        (vec![(1, &plain[..])], None),
        (vec![(1, &plain[..]), (2, second)], None),
        (vec![(1, &first[..3])], None),
        (vec![(1, first), (2, &other)], Some(&lost)),
        (vec![(1, second), (2, second)], None),
        (vec![(1, &sent), (2, second)], Some(&lost)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let multipart = open(dir.path());
        for (number, bytes) in before.into_iter().chain([(1, first), (2, second)]) {
            send(&multipart, number, bytes).await.answered(Some(&number.to_string())).await;
        }
        let as_read = as_read(&multipart, &[1, 2]).await;
        match expected {
            None => assert!(is_decoded(&as_read, &payload), "{as_read:?}"),
            Some(expected) => assert_eq!(&as_read, expected),
        }
    }
}

/// A decoder does not outlive the process; what is plain is known to be so.
#[tokio::test]
async fn a_restart_between_compressed_parts() {
    let (payload, sent) = compressed();
    let plain = vec![b'x'; 100];
    for (bytes, expected) in [(&sent, AsRead::Lost { by_restart: true }), (&plain, AsRead::Known(None))] {
        let dir = tempfile::tempdir().unwrap();
        send(&open(dir.path()), 1, &bytes[..60]).await.answered(Some("1")).await;
        let multipart = open(dir.path());
        send(&multipart, 2, &bytes[60..]).await.answered(Some("2")).await;
        assert_eq!(as_read(&multipart, &[1, 2]).await, expected);
    }
    // One that had no part yet begins anew.
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).begin(id("u"), Beginning::default(), Algorithms::NONE);
    let multipart = open(dir.path());
    send(&multipart, 1, &sent).await.answered(Some("1")).await;
    assert!(is_decoded(&as_read(&multipart, &[1]).await, &payload));
}

/// What declares an encoding is refused where a bound is reached; so is what nobody saw begin.
#[tokio::test]
async fn who_declared_it_is_said() {
    let (_, sent) = compressed();
    for (beginning, declared) in [
        (None, true),
        (Some(Beginning::default()), false),
        (Some(Beginning { encoded: true, recognised: true, ..Beginning::default() }), true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let multipart = open(dir.path());
        if let Some(beginning) = beginning {
            multipart.begin(id("u"), beginning, Algorithms::NONE);
        }
        send(&multipart, 1, &sent).await.answered(Some("1")).await;
        let named = vec![NamedPart { number: 1, etag: "1".into() }];
        assert_eq!(multipart.completing(&id("u"), named).await.decoded().map(|d| d.declared), Some(declared));
    }
}

/// Where every encoding is let through to be read back, what began unseen may have one, whatever a later run lets through.
#[tokio::test]
async fn what_began_unseen_may_be_encoded() {
    for (unverifiable, encoded) in [(Unverifiable::ReadBack, Some(true)), (Unverifiable::Refuse, None)] {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { unverifiable, ..Settings::default() };
        let metrics = || Metrics::new(Registry::new()).unwrap();
        let multipart = Multipart::open(&settings, &Encodings::default(), dir.path(), metrics()).unwrap();
        put(&multipart, "u", 1, "one").await;
        drop(multipart);
        let beginning = open(dir.path()).beginning(&id("u"));
        assert_eq!(beginning.map(|beginning| beginning.encoded), encoded);
    }
}

/// Empty uploads are quickly made: they push nothing out that has parts.
#[tokio::test(start_paused = true)]
async fn uploads_without_parts_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let multipart = open(dir.path());
    for upload in ["a", "b"] {
        put(&multipart, upload, 1, "one").await;
        quiet(&multipart).await;
    }
    for n in 0..10 {
        advance(Duration::from_secs(1)).await;
        multipart.begin(id(&format!("empty {n}")), Beginning::default(), Algorithms::NONE);
    }
    assert_eq!(multipart.status().0, 3);
    assert!(is_known(&multipart, "a").await && is_known(&multipart, "b").await);
}

/// Those that the store has put together go first of all, and as long as there is room for them nobody else goes.
#[tokio::test(start_paused = true)]
async fn uploads_that_are_finished_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let multipart = open(dir.path());
    multipart.begin(id("begun"), Beginning::default(), Algorithms::NONE);
    advance(Duration::from_secs(1)).await;
    for n in 0..10 {
        let upload = format!("finished {n}");
        put(&multipart, &upload, 1, "one").await;
        quiet(&multipart).await;
        let named = vec![NamedPart { number: 1, etag: "one".into() }];
        multipart.completing(&id(&upload), named).await.took();
        assert!(is_known(&multipart, &upload).await, "its Complete may come again");
        advance(Duration::from_secs(1)).await;
    }
    assert!(multipart.beginning(&id("begun")).is_some());
}

/// An empty first part begins nothing; the decoder begins with the second, and with every algorithm.
#[tokio::test]
async fn a_compressed_whole_behind_an_empty_part() {
    let (payload, sent) = compressed();
    let dir = tempfile::tempdir().unwrap();
    let multipart = open(dir.path());
    let wanted = Algorithms::NONE.with(crate::digest::Algorithm::Md5);
    for (number, bytes) in [(2, &sent[..]), (1, b"")] {
        let mut part = multipart.part(id("u"), number, Some(bytes.len() as u64), wanted).await.unwrap();
        part.see(&Bytes::copy_from_slice(bytes)).await.unwrap();
        part.releasing(&Digests::of(bytes)).await.answered(Some(&number.to_string())).await;
        quiet(&multipart).await;
    }
    let as_read = as_read(&multipart, &[1, 2]).await;
    assert!(is_decoded(&as_read, &payload), "{as_read:?}");
    let AsRead::Known(Some(decoded)) = as_read else { unreachable!() };
    assert!(decoded.layers[0].md5.is_some());
}

/// zlib that was called gzip, where nobody heard that: the record of its beginning is gone, or another gate's.
#[tokio::test]
async fn zlib_is_read_as_gzip() {
    let (payload, _) = compressed();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&payload).unwrap();
    let sent = encoder.finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let multipart = open(dir.path());
    for (number, bytes) in [(1, &sent[..1000]), (2, &sent[1000..])] {
        send(&multipart, number, bytes).await.answered(Some(&number.to_string())).await;
    }
    let as_read = as_read(&multipart, &[1, 2]).await;
    assert!(is_decoded(&as_read, &payload), "{as_read:?}");
}
