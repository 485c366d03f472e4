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
    multipart.completing(&id(upload), vec![NamedPart { number: 1, etag: "one".into() }]).await.whole.is_some()
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
