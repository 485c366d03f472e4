//! Lists that lie in a bucket.

use crate::support::client::Form;
use crate::support::eventually;
use crate::support::gate::gate;
use crate::support::payload::Payload;
use crate::support::store::stores;

/// An object is a list, read with credentials, refreshed by itself.
#[tokio::test]
async fn a_list_in_a_bucket() {
    for store in stores().await {
        let room = store.room("lists").await;
        let name = format!("/{room}/police/list 1.txt").replace(' ', "%20");
        let (one, two) = (Payload::random(1, 1000), Payload::random(2, 1000));
        let upload = async |payload: &Payload| {
            let list = Payload::from(payload.sha256().into_bytes());
            assert_eq!(store.client().put(Form::RawSigned, &name, &list).await.expect("stored").status, 200);
        };
        upload(&one).await;
        let gate = gate(&store)
            .yaml(&format!(
                "lists: [ {{ name: remote, source: 's3://{room}/police/list 1.txt', endpoint: 'http://{}', region: {}, \
                 credentials: {{ access_key: {}, secret_key: {} }}, refresh: 1s }} ]",
                store.address, store.region, store.access_key, store.secret_key
            ))
            .start()
            .await;
        let put = async |payload: &Payload| {
            let answer = gate.client().put(Form::RawSigned, &format!("/{room}/k"), payload).await;
            answer.expect("an answer").status
        };
        assert_eq!((put(&one).await, put(&two).await), (403, 200), "{}", store.name);
        upload(&two).await;
        eventually("the new version", async || (put(&two).await == 403).then_some(())).await;
        assert_eq!(put(&one).await, 200, "{}", store.name);
        gate.stop().await;
    }
}
