//! What the origin has been given, and when.

use crate::scripted::{Script, gate, header, origin, put_request, read_answer};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const MINIO: &str = ", kind: minio|";

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

/// A clean upload arrives byte for byte, at every size around the window.
#[tokio::test]
async fn a_clean_upload_arrives_unchanged() {
    let origin = origin(Script::Take).await;
    let gate = gate(origin.address, &[], "").await;
    for size in [0, 1, 8191, 65_536, 65_537, 5 << 20] {
        let (status, head, _) = gate.put(&payload(size)).await;
        assert_eq!(status, 200, "{size}");
        assert_eq!(header(&head, "etag"), Some("\"x\""));
        let seen = origin.seen().pop().unwrap();
        assert!(seen.whole && seen.body == payload(size), "{size}");
    }
}

/// A listed upload longer than the window is reset before its last byte; the client is told AccessDenied.
#[tokio::test]
async fn a_long_listed_upload_never_ends_at_the_origin() {
    let origin = origin(Script::Take).await;
    let listed = payload(300_000);
    let gate = gate(origin.address, &[&listed], "").await;
    let (status, _, body) = gate.put(&listed).await;
    assert_eq!(status, 403);
    assert!(body.contains("<Code>AccessDenied</Code>") && !body.contains("sample"), "{body}");
    origin.wait_for(|seen| seen.len() == 1 && seen[0].reset).await;
    let seen = &origin.seen()[0];
    assert!(!seen.whole && seen.body.len() < listed.len());
    // The connection is gone: the next upload comes over another one, and is untouched by the first.
    assert_eq!(gate.put(b"clean").await.0, 200);
}

/// A listed upload of up to a window never reaches the origin: with a kind that answers the header alone, only that is
/// sent, with `Expect` and no byte of the body.
#[tokio::test]
async fn a_short_listed_upload_is_at_most_asked_about() {
    for size in [1, 8191, 65_536] {
        let listed = payload(size);
        let silent = origin(Script::Take).await;
        let gate_before = gate(silent.address, &[&listed], "").await;
        assert_eq!(gate_before.put(&listed).await.0, 403);
        assert!(silent.seen().is_empty());

        let asked = origin(Script::AnswerEarly("HTTP/1.1 100 Continue\r\n\r\n")).await;
        let gate_before = gate(asked.address, &[&listed], MINIO).await;
        assert_eq!(gate_before.put(&listed).await.0, 403);
        asked.wait_for(|seen| seen.len() == 1 && seen[0].reset).await;
        let seen = &asked.seen()[0];
        assert_eq!(header(&seen.head, "expect"), Some("100-continue"));
        assert!(seen.body.is_empty());
    }
}

/// Where the origin refuses the caller, the caller sees that, and learns nothing of the list.
#[tokio::test]
async fn a_stranger_gets_the_origins_refusal() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nforbidden";
    let origin = origin(Script::AnswerEarly(refusal)).await;
    let gate = gate(origin.address, &[b"listed"], MINIO).await;
    let (status, _, body) = gate.put(b"listed").await;
    assert_eq!((status, body.as_str()), (403, "forbidden"));
}

/// However long the client waits with its last byte, the origin does not get the piece before it.
#[tokio::test]
async fn the_end_waits_for_the_verdict() {
    let origin = origin(Script::Take).await;
    let gate = gate(origin.address, &[], "").await;
    let whole = put_request(&payload(200_000));
    let mut stream = TcpStream::connect(gate.running.address()).await.unwrap();
    stream.write_all(&whole[..whole.len() - 1]).await.unwrap();
    origin.wait_for(|seen| seen.len() == 1 && seen[0].body.len() > 65_536).await;
    assert!(origin.seen()[0].body.len() < 200_000 - 1);
    stream.write_all(&whole[whole.len() - 1..]).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.0, 200);
    assert_eq!(origin.seen()[0].body, payload(200_000));
}

const CHUNKED_HEAD: &str = "PUT /bucket/key HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024\r\nx-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-trailer: x-amz-checksum-crc32\r\nContent-Encoding: aws-chunked\r\n";

fn chunked(payload: &[u8], crc32: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in payload.chunks(70_000) {
        body.extend(format!("{:x}\r\n", chunk.len()).bytes());
        body.extend(chunk);
        body.extend(b"\r\n");
    }
    body.extend(format!("0\r\nx-amz-checksum-crc32:{crc32}\r\n\r\n").bytes());
    let lengths = format!("x-amz-decoded-content-length: {}\r\nContent-Length: {}\r\n\r\n", payload.len(), body.len());
    [CHUNKED_HEAD.as_bytes(), lengths.as_bytes(), &body].concat()
}

/// A chunked body passes with its frames; a wrong trailing checksum, a body cut anywhere in its trailer, and a listed
/// payload do not.
#[tokio::test]
async fn chunked_bodies() {
    use base64::Engine as _;
    let encode = |crc: u64| base64::engine::general_purpose::STANDARD.encode((crc as u32).to_be_bytes());
    let bytes = payload(200_000);
    let crc = encode(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &bytes));
    let listed = payload(210_000);
    let listed_crc = encode(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &listed));
    let origin = origin(Script::Take).await;
    let gate = gate(origin.address, &[&listed], "").await;

    let request = chunked(&bytes, &crc);
    assert_eq!(gate.send(&request).await.0, 200);
    let seen = origin.seen().pop().unwrap();
    assert!(request.ends_with(&seen.body) && seen.whole);

    let (status, _, body) = gate.send(&chunked(&bytes, &encode(1))).await;
    assert!(status == 400 && body.contains("BadDigest"), "{status} {body}");
    assert_eq!(gate.send(&chunked(&listed, &listed_crc)).await.0, 403);
    for cut in 1..40 {
        let mut stream = TcpStream::connect(gate.running.address()).await.unwrap();
        stream.write_all(&request[..request.len() - cut]).await.unwrap();
        stream.shutdown().await.unwrap();
        read_answer(&mut stream).await;
    }
    origin.wait_for(|seen| seen.iter().skip(1).all(|seen| seen.reset)).await;
    // Never a byte behind the payload.
    for seen in origin.seen().iter().skip(1) {
        assert!(!seen.whole && !seen.body.windows(5).any(|window| window == b"\r\n0\r\n" || window == b"x-amz"));
    }
}

/// What a client promises is checked before the end goes on: some stores do not.
#[tokio::test]
async fn broken_promises() {
    let origin = origin(Script::Take).await;
    let gate = gate(origin.address, &[], "").await;
    for (header, code) in [
        (
            "x-amz-content-sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "XAmzContentSHA256Mismatch",
        ),
        ("Content-MD5: kAFQmDzST7DWlj99KOF/cg==", "BadDigest"),
        ("x-amz-checksum-crc32: AAAAAA==", "BadDigest"),
        ("Content-MD5: nonsense", "InvalidDigest"),
    ] {
        let request = format!("PUT /b/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n{header}\r\n\r\nclean");
        let (status, _, body) = gate.send(request.as_bytes()).await;
        assert!(status == 400 && body.contains(code), "{header}: {status} {body}");
    }
    assert!(origin.seen().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Any split of the same bytes at the client gives the same bytes at the origin.
    #[test]
    fn any_split_gives_the_same_bytes(mut cuts in proptest::collection::vec(0_usize..150_000, 0..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let origin = origin(Script::Take).await;
            let gate = gate(origin.address, &[], "").await;
            let request = put_request(&payload(150_000));
            cuts.sort_unstable();
            let mut stream = TcpStream::connect(gate.running.address()).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut sent = 0;
            for cut in cuts.into_iter().chain([request.len()]) {
                stream.write_all(&request[sent..cut]).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
                sent = cut;
            }
            assert_eq!(read_answer(&mut stream).await.0, 200);
            assert_eq!(origin.seen()[0].body, payload(150_000));
        });
    }
}
