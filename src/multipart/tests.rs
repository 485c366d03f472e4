use super::*;
use crate::config::settings::Multipart as Settings;
use prometheus::Registry;
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
    Multipart::open(&settings, dir, Metrics::new(Registry::new()).unwrap()).unwrap()
}

/// Sends a part, which the store takes under this ETag.
async fn put(multipart: &Arc<Multipart>, upload: &str, number: u16, etag: &str) {
    let payload = Bytes::from(format!("{upload} {number}"));
    let mut part = multipart.part(id(upload), number, Some(payload.len() as u64), Algorithms::NONE).await.unwrap();
    part.see(&payload).await;
    part.releasing(&Digests::of(&payload)).await.answered(Some(etag)).await;
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
