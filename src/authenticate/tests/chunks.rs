use super::*;
use crate::s3::chunked::{Framer, Signing};
use aws_sigv4::sign::v4;
use bytes::Bytes;

const CHUNKS: [&str; 3] = [
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
];
const CHUNKS_BEFORE_TRAILER: [&str; 3] = [
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
];
const TRAILER: &str = "x-amz-checksum-crc32c:sOO8/Q==\r\n\
    x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n";

/// The request of "Transferring Payload in Multiple Chunks", and that of "... Including Trailing Headers".
fn published_request(trailer: bool) -> Parts {
    let mut headers = vec![
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", DATE),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ];
    let (names, signature) = if trailer {
        headers.push(("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"));
        headers.push(("x-amz-trailer", "x-amz-checksum-crc32c"));
        (
            "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;\
             x-amz-trailer",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        )
    } else {
        headers.push(("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"));
        headers.push(("content-length", "66824"));
        (
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
             x-amz-storage-class",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        )
    };
    let mut parts = request("PUT", "/examplebucket/chunkObject.txt", &headers);
    parts.headers.insert("authorization", authorization(names, signature));
    parts
}

fn published_body(signatures: [&str; 3], end: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (size, signature) in [65536, 1024, 0].into_iter().zip(signatures) {
        append_chunk(&mut body, &vec![b'a'; size], signature);
    }
    body.extend_from_slice(end.as_bytes());
    body.extend_from_slice(b"\r\n");
    body
}

fn append_chunk(body: &mut Vec<u8>, data: &[u8], signature: &str) {
    body.extend_from_slice(format!("{:x};chunk-signature={signature}\r\n", data.len()).as_bytes());
    body.extend_from_slice(data);
    if !data.is_empty() {
        body.extend_from_slice(b"\r\n");
    }
}

/// Whether all of `body`, sent in pieces of `step` bytes, is framed and signed as it should be.
fn accepted(mut verifier: ChunkVerifier, body: &[u8], decoded: u64, trailer: bool, step: usize) -> bool {
    let announced = trailer.then(|| vec!["x-amz-checksum-crc32c".to_owned()]);
    let mut framer = Framer::chunked(Signing::V4, decoded, announced);
    let mut segments = Vec::new();
    for piece in body.chunks(step) {
        if framer.push(Bytes::copy_from_slice(piece), &mut segments).is_err() {
            return false;
        }
    }
    let framed = framer.finish(&mut Vec::new()).is_ok();
    let verified = segments.iter().try_for_each(|segment| verifier.segment(segment));
    assert!(verified.is_ok() || !verifier.finished(), "what failed never finishes");
    framed && verified.is_ok() && verifier.finished()
}

fn verifier_of(parts: &Parts) -> ChunkVerifier {
    verify(parts).unwrap().chunks.expect("signed chunks are verified")
}

#[test]
fn published_chunks() {
    let body = published_body(CHUNKS, "");
    for step in [1 << 20, 1000, 65537] {
        assert!(accepted(verifier_of(&published_request(false)), &body, 66560, false, step), "{step}");
    }
}

#[test]
fn published_chunks_with_trailer() {
    let body = published_body(CHUNKS_BEFORE_TRAILER, TRAILER);
    for step in [1 << 20, 999] {
        assert!(accepted(verifier_of(&published_request(true)), &body, 66560, true, step), "{step}");
    }
}

#[test]
fn unsigned_chunks_need_no_verifier() {
    let headers = [
        ("host", "h"),
        ("x-amz-date", DATE),
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-trailer", "x-amz-checksum-crc32c"),
    ];
    let caller = verify(&signed("PUT", "/b/k", &headers)).unwrap();
    assert!(caller.chunks.is_none());
}

/// A small body, its chunks signed by the crate's own signer and its trailer by the function that the published example
/// checks.
fn small(trailer: bool) -> (Parts, Vec<u8>) {
    let value = match trailer {
        true => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        false => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    };
    let parts = signed("PUT", "/b/k", &[("host", "h"), ("x-amz-date", DATE), ("x-amz-content-sha256", value)]);
    let authorization = parts.headers["authorization"].to_str().unwrap();
    let mut previous = authorization[authorization.len() - 64..].to_owned();

    let identity = aws_credential_types::Credentials::new(ACCESS_KEY, SECRET, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(at(DATE).into())
        .settings(())
        .build()
        .unwrap();
    let mut body = Vec::new();
    for data in ["hello ", "world, how are you", ""] {
        previous = v4::sign_chunk(&Bytes::from(data), &previous, &params).unwrap().signature().to_owned();
        append_chunk(&mut body, data.as_bytes(), &previous);
    }
    if trailer {
        body.extend_from_slice(small_trailer(&previous).as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    (parts, body)
}

fn small_trailer(previous: &str) -> String {
    use crate::s3::authorization::{Scope, trailer_to_sign};
    let scope = Scope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
    let fields = [("x-amz-checksum-crc32c".to_owned(), "AAAAAA==".to_owned())];
    let key = v4::generate_signing_key(SECRET, at(DATE).into(), "us-east-1", "s3");
    let signature = v4::calculate_signature(key, trailer_to_sign(DATE, &scope, previous, &fields).as_bytes());
    format!("x-amz-checksum-crc32c:AAAAAA==\r\nx-amz-trailer-signature:{signature}\r\n")
}

const SMALL_LEN: u64 = 24;

#[test]
fn any_byte_changed_is_refused() {
    for trailer in [false, true] {
        let (parts, body) = small(trailer);
        assert!(accepted(verifier_of(&parts), &body, SMALL_LEN, trailer, 7));
        for at in 0..body.len() {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert!(!accepted(verifier_of(&parts), &changed, SMALL_LEN, trailer, 1 << 20), "byte {at}");
        }
    }
}

#[test]
fn nothing_unfinished_is_finished() {
    for trailer in [false, true] {
        let (parts, body) = small(trailer);
        for len in 0..body.len() {
            assert!(!accepted(verifier_of(&parts), &body[..len], SMALL_LEN, trailer, 1 << 20), "{len} bytes");
        }
    }
}

/// Two chunks in the other order, each with its own true signature: the chain does not hold.
#[test]
fn chunks_in_another_order() {
    let (parts, body) = small(false);
    let second = body.windows(2).position(|w| w == b"12").unwrap();
    let last = body.windows(4).position(|w| w == b"\n0;c").unwrap() + 1;
    let swapped = [&body[second..last], &body[..second], &body[last..]].concat();
    assert!(!accepted(verifier_of(&parts), &swapped, SMALL_LEN, false, 1 << 20));
}

#[test]
fn an_error_is_final() {
    let (parts, body) = small(false);
    let mut framer = Framer::chunked(Signing::V4, SMALL_LEN, None);
    let mut segments = Vec::new();
    framer.push(Bytes::from(body), &mut segments).unwrap();
    let mut verifier = verifier_of(&parts);
    verifier.segment(&segments[1]).expect_err("payload before its chunk");
    for segment in &segments {
        verifier.segment(segment).expect_err("nothing is taken after an error");
    }
    assert!(!verifier.finished());
    assert!(!format!("{verifier:?}").contains("key"));
}
