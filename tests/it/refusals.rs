//! Refusals look alike, whatever their reason. Their time is looked at by `tests/load/refusals.py`.

use crate::support::client::{Form, Response};
use crate::support::fake_origin::FakeOrigin;
use crate::support::gate::{Mode, assert_refused, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;

/// What can be seen of a refusal but its time: status, names, order and lengths of its headers, and the shape of its body.
fn shape(answer: &Response) -> (u16, Vec<(String, usize)>, usize, String) {
    let headers = answer.headers.iter().map(|(name, value)| (name.clone(), value.len())).collect();
    let id = answer.element("RequestId").expect("an id");
    (answer.status, headers, answer.body.len(), answer.text().replace(&id, "ID"))
}

/// A match and a refusal of policy look alike, whatever the size and form of the upload.
#[tokio::test]
async fn refusals_look_alike() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    for mode in Mode::BOTH {
        for (len, form) in [(1000, Form::RawSigned), (300_000, Form::SignedChunks), (300_000, Form::UnsignedTrailer)] {
            let bad = Payload::random(1, len);
            let gate = gate(&store).list("sample", [bad.sha256()]).mode(mode).start().await;
            let client = gate.client();
            let listed = client.put(form, "/bucket/key", &bad).await.expect("an answer");
            assert_refused(&listed);
            let header = [("x-minio-source-mtime", "2026-01-01T00:00:00Z")];
            let policy = client.send(client.upload_with(form, "/bucket/key", &bad, &header)).await.expect("an answer");
            assert_eq!(shape(&listed), shape(&policy), "{mode:?} {form:?} {len}");
            gate.stop().await;
        }
    }
}
