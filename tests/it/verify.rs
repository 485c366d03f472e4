//! The gate checks signatures itself: what is wrong in the middle or at the end of a body aborts it, and users with
//! credentials of their own at the origin are signed anew.

use crate::support::client::{Client, Form, Head};
use crate::support::fake_origin::{End, FakeOrigin};
use crate::support::gate::{Mode, assert_refused, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, embedded};

/// A signature of a chunk, of the last chunk or of the trailer that is wrong though the head's is right: known late, it
/// ends as a listed payload does, in a reset before the last payload byte.
#[tokio::test]
async fn a_wrong_signature_found_late_aborts() {
    for form in [Form::SignedChunks, Form::SignedChunksTrailer] {
        let origin = FakeOrigin::accepting().await;
        let gate = gate(&Store::fake(origin.address)).mode(Mode::Verify).start().await;
        let upload = gate.client().upload(form, "/b/k", &Payload::random(1, 200_000));
        let (head, body) = (upload.head.bytes(), upload.body_bytes());
        let signatures: Vec<usize> = (0..body.len() - 10)
            .filter(|&at| body[at..].starts_with(b"-signature"))
            .map(|at| at + "-signature=".len())
            .collect();
        assert_eq!(signatures.len(), if form == Form::SignedChunks { 5 } else { 6 });
        for at in signatures {
            let mut spoilt = body.clone();
            spoilt[at] = if spoilt[at] == b'0' { b'1' } else { b'0' };
            let answer = gate.client().raw(&[&head[..], &spoilt].concat(), false).await.expect("an answer");
            assert_eq!((answer.status, answer.code().as_str()), (403, "SignatureDoesNotMatch"), "{form:?} {at}");
        }
        // A payload byte that is not the signed one.
        let mut spoilt = body.clone();
        spoilt[150_000] ^= 1;
        let answer = gate.client().raw(&[&head[..], &spoilt].concat(), false).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (403, "SignatureDoesNotMatch"), "{form:?}");
        let all = origin.wait("every end", |all| all.iter().all(|c| c.end != End::Open)).await;
        for connection in all {
            assert_eq!(connection.end, End::Reset);
            assert!(connection.exchanges[0].body.len() < 200_000);
        }
        // Untouched, it goes through.
        assert_eq!(gate.client().raw(&[&head[..], &body].concat(), false).await.expect("an answer").status, 200);
        gate.stop().await;
    }
}

/// Strangers, wrong secrets and clocks that go wrong are told apart as S3 does, before a byte of the body is asked for.
#[tokio::test]
async fn strangers_are_refused_at_the_head() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).mode(Mode::Verify).start().await;
    let known = gate.client();
    for (client, code) in [
        (known.keys("nobody", "fake-secret"), "InvalidAccessKeyId"),
        (known.keys("fake-key", "wrong"), "SignatureDoesNotMatch"),
        (Client { clock_offset: -3600, ..known.clone() }, "RequestTimeTooSkewed"),
        (Client { clock_offset: 3600, ..known.clone() }, "RequestTimeTooSkewed"),
    ] {
        for form in [Form::RawSigned, Form::RawUnsigned, Form::SignedChunks, Form::UnsignedTrailer, Form::Expect100] {
            let answer = client.put(form, "/b/k", &Payload::random(1, 200_000)).await.expect("an answer");
            assert_eq!((answer.status, answer.code().as_str()), (403, code), "{form:?}");
            assert!(answer.interim.is_empty(), "{form:?}: it was told to go on");
        }
    }
    assert!(origin.connections().is_empty());
    gate.stop().await;
}

/// A user with credentials of their own at the origin: the store knows only those, and takes every form of upload.
#[tokio::test]
async fn a_user_is_signed_anew() {
    for more in ["trailers: unsigned", "trailers: none", "trailers: none, host: endpoint"] {
        let store = embedded().await;
        let payload = Payload::random(1, 200_000);
        let listed = Payload::random(2, 200_000);
        let gate = gate(&store)
            .list("sample", [listed.sha256()])
            .yaml(&format!(
                "origin: {{ {more} }}\nauthentication: {{ mode: verify, users: [ {{ access_key: alias, secret_key: alias-secret, origin_credentials: {{ access_key: {}, secret_key: {} }} }} ] }}",
                store.access_key, store.secret_key
            ))
            .start()
            .await;
        let room = store.room("anew").await;
        let client = gate.client().keys("alias", "alias-secret");
        for form in Form::ALL.into_iter().filter(|form| *form != Form::Anonymous) {
            let target = format!("/{room}/{form:?} +%C3%A4");
            let target = target.replace(' ', "%20");
            let answer = client.put(form, &target, &payload).await.expect("an answer");
            assert_eq!(answer.status, 200, "{more} {form:?}: {answer:?}");
            let stored = client.get(&target).await;
            assert!(stored.status == 200 && stored.body == payload.bytes(), "{more} {form:?}");
            assert_refused(&client.put(form, &format!("/{room}/bad-{form:?}"), &listed).await.expect("an answer"));
        }
        assert!(store.contents(&room).await.iter().all(|key| !key.contains("bad-")));
        // The alias means nothing to the store itself.
        let direct = store.client().keys("alias", "alias-secret").get(&format!("/{room}/x")).await;
        assert_eq!(direct.status, 403, "{direct:?}");
        gate.stop().await;
    }
}

/// An absolute target, as a forward proxy gets it, is read like any other as long as it names the same host.
#[tokio::test]
async fn a_target_that_names_another_host_is_refused() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address)).start().await;
    for (authority, status) in [("gate:1", 200), ("other:1", 400)] {
        let mut head = Head::new("GET", &format!("http://{authority}/b/k"));
        head.push("Host", "gate:1");
        let answer = gate.client().raw(&head.bytes(), false).await.expect("an answer");
        assert_eq!(answer.status, status, "{authority}: {answer:?}");
    }
    gate.stop().await;
}
