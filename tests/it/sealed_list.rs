//! The gate with a sealed index.

use crate::cli::run;
use crate::support::fake_origin::FakeOrigin;
use crate::support::gate::gate;
use crate::support::store::Store;
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
    let (compiled, origin) = (tempfile::tempdir().unwrap(), FakeOrigin::accepting().await);
    let path = |name: &str| compiled.path().join(name);
    compile(compiled.path(), b"one");
    let digest = |payload: &[u8]| hex::encode(Digests::of(payload).sha256);
    let gate = gate(&Store::fake(origin.address))
        .list("sample", [digest(b"one"), digest(b"two")])
        .yaml(&format!("list_key: {}", path("key").display()))
        .start()
        .await;
    let client = gate.client();
    let put = async |payload: &[u8]| client.request("PUT", "/b/k", &[], payload).await.status;
    let list = gate.dir().join("sample.txt");
    let becomes = async |payload: &[u8]| {
        compile(compiled.path(), payload);
        std::fs::rename(path("index"), &list).unwrap();
        gate.running.reload().await;
    };
    becomes(b"one").await;
    assert_eq!((put(b"one").await, put(b"two").await), (403, 200));
    becomes(b"two").await;
    assert_eq!((put(b"one").await, put(b"two").await), (200, 403));
    let mut damaged = std::fs::read(&list).unwrap();
    damaged.truncate(5000);
    std::fs::write(&list, damaged).unwrap();
    gate.running.reload().await;
    assert_eq!((put(b"one").await, put(b"two").await), (200, 403));
    assert_eq!(gate.metrics().await.0["hashgate_list_failed{list=\"sample\"}"], 1.0);
    gate.stop().await;
}
