//! The gate with a sealed index.

use crate::cli::run;
use crate::scripted::{Script, gate, origin};
use hashgate::digest::Digests;
use std::path::Path;

fn compile(folder: &Path, payload: &[u8]) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("source"), hex::encode(Digests::of(payload).sha256)).unwrap();
    let (code, _, err) = run(&["list", "compile", "-o", &path("index"), "--key", &path("key"), &path("source")], "");
    assert_eq!(code, Some(0), "{err}");
}

/// An index takes the place of a list while the gate runs, a newer one that of an older, and a damaged one that of none.
#[tokio::test]
async fn the_gate_takes_a_new_index_and_keeps_the_last_good_one() {
    let (compiled, origin) = (tempfile::tempdir().unwrap(), origin(Script::Take).await);
    let path = |name: &str| compiled.path().join(name);
    compile(compiled.path(), b"one");
    let more = format!("|list_key: {}", path("key").display());
    let gate = gate(origin.address, &[b"one", b"two"], &more).await;
    let list = gate.folder.path().join("list");
    let becomes = async |payload: &[u8]| {
        compile(compiled.path(), payload);
        std::fs::rename(path("index"), &list).unwrap();
        gate.running.reload().await;
    };
    becomes(b"one").await;
    assert_eq!((gate.put(b"one").await.0, gate.put(b"two").await.0), (403, 200));
    becomes(b"two").await;
    assert_eq!((gate.put(b"one").await.0, gate.put(b"two").await.0), (200, 403));
    let mut damaged = std::fs::read(&list).unwrap();
    damaged.truncate(5000);
    std::fs::write(&list, damaged).unwrap();
    gate.running.reload().await;
    assert_eq!((gate.put(b"one").await.0, gate.put(b"two").await.0), (200, 403));
    gate.wait_for_metric("hashgate_list_failed{list=\"sample\"}", 1.0).await;
}
