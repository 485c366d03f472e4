//! Archives that MinIO unpacks: with `snowball: inspect` every member is looked up before any is there.

use crate::support::client::Form;
use crate::support::fake_origin::FakeOrigin;
use crate::support::gate::{Mode, assert_refused, gate};
use crate::support::payload::Payload;
use crate::support::store::{Store, stores};
use std::io::Read as _;

fn archive(members: &[(&str, &Payload)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, payload) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(payload.len());
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &payload.bytes()[..]).expect("memory");
    }
    builder.into_inner().expect("memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut out).expect("memory");
    out
}

const HEADER: (&str, &str) = ("x-amz-meta-snowball-auto-extract", "true");

#[tokio::test]
async fn every_member_of_an_archive_is_looked_up() {
    for store in stores().await {
        let room = store.room("snowball").await;
        let (bad, one, two) = (Payload::random(1, 90_000), Payload::random(2, 70_000), Payload::random(3, 10));
        let long = format!("{}/{}", room.prefix, "n".repeat(150));
        let (at_bad, at_one) = (format!("{}/bad", room.prefix), format!("{}/one", room.prefix));
        for mode in Mode::BOTH {
            let gate = gate(&store).list("sample", [bad.sha256()]).yaml("snowball: inspect").mode(mode).start().await;
            let client = gate.client();
            let target = format!("/{}/{}/archive.tar", room.bucket, room.prefix);
            let put = async |form: Form, body: Vec<u8>| {
                let upload = client.upload_with(form, &target, &Payload::from(body), &[HEADER]);
                client.send(upload).await.expect("an answer")
            };
            let listed = archive(&[(&at_one, &one), (&at_bad, &bad), (&long, &two)]);
            for body in [listed.clone(), gzip(&listed), zstd::encode_all(&listed[..], 1).expect("memory")] {
                assert_refused(&put(Form::RawUnsigned, body.clone()).await);
                assert_refused(&put(Form::SignedChunks, body).await);
                assert_eq!(store.contents(&room).await, Vec::<String>::new(), "{}", store.name);
            }
            let clean = archive(&[(&at_one, &one), (&long, &two)]);
            // What cannot be read is not let through, however clean: nobody knows what the store makes of it.
            let mut odd = clean.clone();
            odd.extend_from_slice(b"behind the end");
            for body in [odd, b"BZh91AY&SY".to_vec(), clean[..700].to_vec(), gzip(&clean[..700])] {
                let answer = put(Form::RawUnsigned, body).await;
                assert_eq!((answer.status, &*answer.code()), (400, "InvalidRequest"), "{answer:?}");
            }
            // Its signature is never checked by the store.
            assert_eq!(put(Form::UnsignedTrailer, clean.clone()).await.status, 501);
            for body in [clean.clone(), gzip(&clean)] {
                let answer = put(Form::RawUnsigned, body).await;
                assert_eq!(answer.status, 200, "{}: {answer:?}", store.name);
                let contents = store.contents(&room).await;
                let expected = if store.name == "minio" {
                    vec![long.clone(), at_one.clone()]
                } else {
                    vec![format!("{}/archive.tar", room.prefix)]
                };
                assert_eq!(contents, expected, "{}", store.name);
                for key in contents {
                    store.client().delete(&format!("/{}/{key}", room.bucket)).await;
                }
            }
            gate.stop().await;
        }
    }
}

/// MinIO makes objects of members while the rest of an archive is still coming: nothing of a listed one may go on, however
/// much follows the listed member. What is too long for that is refused.
#[tokio::test]
async fn nothing_of_a_listed_archive_goes_on() {
    let origin = FakeOrigin::accepting().await;
    let store = Store::fake(origin.address);
    let (bad, more) = (Payload::random(4, 90_000), Payload::random(5, 3 << 20));
    let gate = gate(&store).list("sample", [bad.sha256()]).yaml("snowball: inspect").start().await;
    let client = gate.client();
    let put = async |form: Form, body: Payload| {
        client.send(client.upload_with(form, "/bucket/a.tar", &body, &[HEADER])).await.expect("an answer")
    };
    for form in [Form::RawUnsigned, Form::SignedChunks, Form::Expect100] {
        assert_refused(&put(form, archive(&[("bad", &bad), ("more", &more)]).into()).await);
    }
    assert!(origin.exchanges().iter().all(|exchange| exchange.body.is_empty()));
    assert_eq!(put(Form::RawUnsigned, archive(&[("more", &more)]).into()).await.status, 200);
    let large = put(Form::RawUnsigned, Payload::random(6, (64 << 20) + 1)).await;
    assert_eq!((large.status, &*large.code()), (400, "EntityTooLarge"));
    gate.stop().await;
}
