//! A listed file that was compressed is as readable as it was, so it is refused like itself.

use crate::support::client::Form;
use crate::support::fake_origin::FakeOrigin;
use crate::support::gate::{assert_refused, gate};
use crate::support::payload::Payload;
use crate::support::store::Store;
use flate2::Compression;
use flate2::read::{GzEncoder, ZlibEncoder};
use std::io::Read as _;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzEncoder::new(bytes, Compression::fast()).read_to_end(&mut out).expect("memory");
    out
}

/// With a name that some libraries find too long, and readers pass over.
pub(crate) fn named_gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = flate2::GzBuilder::new().filename(vec![b'x'; 70_000]).read(bytes, Compression::fast());
    encoder.read_to_end(&mut out).expect("memory");
    out
}

pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ZlibEncoder::new(bytes, Compression::fast()).read_to_end(&mut out).expect("memory");
    out
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

#[tokio::test]
async fn a_compressed_listed_file_is_refused() {
    let origin = FakeOrigin::accepting().await;
    let listed = Payload::random(1, 200_000);
    let bytes = listed.bytes();
    let gate = gate(&Store::fake(origin.address)).list("sample", [listed.md5()]).start().await;
    for (header, encoded) in [
        (Some("gzip"), gzip(&bytes)),
        (None, gzip(&bytes)),
        (Some("deflate"), deflate(&bytes)),
        (Some("zstd"), zstd(&bytes)),
        (None, zstd(&bytes)),
        (Some("gzip, zstd"), zstd(&gzip(&bytes))),
        (None, gzip(&gzip(&bytes))),
        // Some readers stop behind the first member.
        (Some("gzip"), [gzip(&bytes), gzip(b"more")].concat()),
        (Some("gzip"), [gzip(&bytes[..1000]), gzip(&bytes[1000..])].concat()),
        (Some("gzip"), [gzip(&bytes), b"garbage".to_vec()].concat()),
        // What is said, and what is there: readers go by either.
        (Some("gzip"), deflate(&bytes)),
        (Some("deflate"), gzip(&bytes)),
        (Some("br"), gzip(&bytes)),
        (Some("gzip"), named_gzip(&bytes)),
        (None, named_gzip(&bytes)),
    ] {
        let encoded = Payload::from(encoded);
        for form in [Form::RawUnsigned, Form::UnsignedTrailerChunked] {
            let headers: Vec<_> = header.iter().map(|value| ("Content-Encoding", *value)).collect();
            let upload = gate.client().upload_with(form, "/b/k", &encoded, &headers);
            assert_refused(&gate.client().send(upload).await.expect("an answer"));
        }
    }
    // Another file, compressed, arrives as it was sent.
    let clean = Payload::from(gzip(&Payload::random(2, 200_000).bytes()));
    let upload = gate.client().upload_with(Form::RawUnsigned, "/b/k", &clean, &[("Content-Encoding", "gzip")]);
    assert_eq!(gate.client().send(upload).await.expect("an answer").status, 200);
    assert!(origin.exchanges().last().expect("one").body == clean.bytes());
    let metrics = gate.metrics().await.0;
    assert!(metrics["hashgate_decoded_total{result=\"decoded\"}"] > 10.0);
    gate.stop().await;
}

/// A bomb that a header declares is refused, and counted; one that nothing declares passes, and is counted. So does what
/// only claims to be encoded.
#[tokio::test]
async fn what_cannot_be_decoded() {
    let origin = FakeOrigin::accepting().await;
    let bomb = Payload::from(gzip(&vec![0; 30 << 20]));
    for (undecodable, header, status) in
        [("refuse", Some("gzip"), 400), ("refuse", None, 200), ("allow", Some("gzip"), 200)]
    {
        let gate = gate(&Store::fake(origin.address))
            .yaml(&format!("encodings: {{ undecodable: {undecodable} }}"))
            .start()
            .await;
        let headers: Vec<_> = header.iter().map(|value| ("Content-Encoding", *value)).collect();
        let upload = gate.client().upload_with(Form::RawSigned, "/b/k", &bomb, &headers);
        let answer = gate.client().send(upload).await.expect("an answer");
        assert_eq!(answer.status, status, "{undecodable} {header:?}: {answer:?}");
        assert_eq!(gate.metrics().await.0["hashgate_decoded_total{result=\"ratio\"}"], 1.0);
        let plain = Payload::from("no gzip at all");
        let upload = gate.client().upload_with(Form::RawSigned, "/b/k", &plain, &[("Content-Encoding", "gzip")]);
        assert_eq!(gate.client().send(upload).await.expect("an answer").status, 200);
        gate.stop().await;
    }
}

/// Where an object could not be read back, nothing of one is taken that is encoded and cannot be told by its first bytes.
#[tokio::test]
async fn an_encoded_upload_in_parts_begins_only_where_it_can_be_read_back() {
    let origin = FakeOrigin::accepting().await;
    let gate = gate(&Store::fake(origin.address))
        .yaml("multipart: { unverifiable: read-back }\norigin: { credentials: { access_key: a, secret_key: s } }")
        .start()
        .await;
    let told = ("Content-Encoding", "gzip");
    let (encoding, key) =
        (("Content-Encoding", "gzip, br"), ("x-amz-server-side-encryption-customer-algorithm", "AES256"));
    for (headers, body, status) in [
        (&[encoding][..], &b""[..], 200),
        (&[encoding, key], b"", 501),
        (&[encoding], b"x", 501),
        (&[key], b"", 200),
        (&[told, key], b"", 200),
        (&[told], b"x", 501),
    ] {
        let answer = gate.client().request("POST", "/b/k?uploads", headers, body).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
    gate.stop().await;
}

/// Where an encoding is said and the payload does not come with it, nobody could look it up decoded.
#[tokio::test]
async fn an_encoding_passes_only_together_with_its_payload() {
    let origin = FakeOrigin::accepting().await;
    for (undecodable, status) in [("refuse", 501), ("allow", 200)] {
        let gate = gate(&Store::fake(origin.address))
            .yaml(&format!("encodings: {{ undecodable: {undecodable} }}"))
            .start()
            .await;
        let copy = [("x-amz-copy-source", "/b/s"), ("x-amz-metadata-directive", "REPLACE"), ("Content-Encoding", "br")];
        for (method, target, headers) in [
            ("POST", "/b/k?uploads", &[("Content-Encoding", "br")][..]),
            ("GET", "/b/k?response-content-encoding=br", &[]),
            ("PUT", "/b/k", &copy),
        ] {
            let answer = gate.client().request(method, target, headers, b"").await;
            assert_eq!(answer.status, status, "{undecodable} {method} {target}: {answer:?}");
        }
        gate.stop().await;
    }
}
