//! What two parsers could read differently is refused, and nothing of it is stored; what a parser of HTTP makes unambiguous
//! before us is stored as we hashed it. Every row runs on every store in both modes, with a clean and with a listed payload.

use crate::support::client::{CHUNK, Client, Form, Gone, Head, Response, http_chunks};
use crate::support::gate::{Gate, Mode, field, gate};
use crate::support::payload::Payload;
use crate::support::store::{Room, Store, stores};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// What must come of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// A refusal, and nothing stored, whatever the payload.
    Refused,
    /// Whatever the store says; what it then has is what was hashed, and is on no list.
    Consistent,
}

/// Where a row's upload goes, who sends it, and what.
struct Row<'a> {
    client: &'a Client,
    room: &'a Room,
    payload: Payload,
}

impl Row<'_> {
    fn target(&self) -> String {
        format!("/{}/key", self.room)
    }

    /// A PUT with the payload's SHA-256, signed over these further headers, ready to be spoilt.
    fn put(&self, headers: &[(&str, &str)]) -> Head {
        self.put_to(&self.target(), headers)
    }

    fn put_to(&self, target: &str, headers: &[(&str, &str)]) -> Head {
        self.client.upload_with(Form::RawSigned, target, &self.payload, headers).head
    }

    fn with_body(&self, head: &Head) -> Vec<u8> {
        [head.bytes(), self.payload.bytes().to_vec()].concat()
    }

    /// An upload in this form whose head is spoilt by `spoil` after it was signed.
    fn spoilt(&self, form: Form, spoil: impl FnOnce(&mut Head)) -> Vec<u8> {
        let mut upload = self.client.upload(form, &self.target(), &self.payload);
        let body = upload.body_bytes();
        spoil(&mut upload.head);
        [upload.head.bytes(), body].concat()
    }

    /// A raw upload with further headers, properly signed.
    fn with(&self, headers: &[(&str, &str)]) -> Vec<u8> {
        self.with_body(&self.put(headers))
    }

    /// A chunked upload, unsigned with trailer, with this body and declared length, everything else in order.
    fn framed(&self, decoded: u64, body: &[u8]) -> Vec<u8> {
        self.framed_as("STREAMING-UNSIGNED-PAYLOAD-TRAILER", decoded, body)
    }

    fn framed_as(&self, mode: &str, decoded: u64, body: &[u8]) -> Vec<u8> {
        let mut head = Head::new("PUT", &self.target());
        head.push("Host", &self.client.host);
        head.push("Content-Encoding", "aws-chunked");
        head.push("x-amz-decoded-content-length", &decoded.to_string());
        if mode.ends_with("-TRAILER") {
            head.push("x-amz-trailer", "x-amz-checksum-crc32");
        }
        head.push("Content-Length", &body.len().to_string());
        self.client.sign(&mut head, mode);
        [head.bytes(), body.to_vec()].concat()
    }

    /// The payload in one chunk with this size line, and a good end.
    fn size_line(&self, line: &str) -> Vec<u8> {
        let payload = self.payload.bytes();
        let body = [line.as_bytes(), &payload, b"\r\n", self.end().as_bytes()].concat();
        self.framed(payload.len() as u64, &body)
    }

    fn len(&self) -> u64 {
        self.payload.len()
    }

    /// The last chunk with its trailer.
    fn end(&self) -> String {
        format!("0\r\nx-amz-checksum-crc32:{}\r\n\r\n", self.crc())
    }

    fn crc(&self) -> String {
        let wire = self.client.upload(Form::UnsignedTrailer, "/x/y", &self.payload).body_bytes();
        let text = String::from_utf8_lossy(&wire[wire.len() - 12..]).into_owned();
        text[..8].to_owned()
    }

    /// The one chunk that holds the payload.
    fn chunk(&self) -> Vec<u8> {
        let payload = self.payload.bytes();
        [format!("{:x}\r\n", payload.len()).as_bytes(), &payload, b"\r\n"].concat()
    }

    /// A good chunk, and this end.
    fn ends_with(&self, end: &str) -> Vec<u8> {
        self.framed(self.len(), &[&self.chunk(), end.as_bytes()].concat())
    }

    fn chunked_http(&self, mut head: Head, coding: &str) -> Vec<u8> {
        head.remove("content-length");
        head.push("Transfer-Encoding", coding);
        let body: Vec<u8> = http_chunks(std::iter::once(self.payload.bytes())).flatten().collect();
        [head.bytes(), body].concat()
    }
}

type Build = fn(&Row<'_>) -> Vec<u8>;

const REFUSED: &[(&str, Build)] = &[
    // Header hygiene.
    ("an underscore in a control header", |r| {
        r.with_body(&pushed(r.put(&[]), "x_amz_content_sha256", "UNSIGNED-PAYLOAD"))
    }),
    ("an underscore in a length", |r| r.with_body(&pushed(r.put(&[]), "content_length", "1"))),
    ("an underscore in metadata", |r| r.with_body(&pushed(r.put(&[]), "x_amz_meta_a", "b"))),
    ("two hosts", |r| r.with_body(&pushed(r.put(&[]), "Host", "other.example.test"))),
    ("two content types", |r| {
        r.with_body(&pushed(r.put(&[("Content-Type", "text/plain")]), "Content-Type", "image/png"))
    }),
    ("two authorizations", |r| {
        let head = r.put(&[]);
        let authorization = head.header("authorization").expect("signed").to_owned();
        r.with_body(&pushed(head, "Authorization", &authorization))
    }),
    ("two payload hashes", |r| r.with_body(&pushed(r.put(&[]), "x-amz-content-sha256", "UNSIGNED-PAYLOAD"))),
    ("two dates", |r| {
        let head = r.put(&[]);
        let date = head.header("x-amz-date").expect("signed").to_owned();
        r.with_body(&pushed(head, "X-Amz-Date", &date))
    }),
    ("two decoded lengths", |r| r.spoilt(Form::UnsignedTrailer, |head| head.push("x-amz-decoded-content-length", "1"))),
    ("two trailer headers", |r| {
        r.spoilt(Form::UnsignedTrailer, |head| head.push("x-amz-trailer", "x-amz-checksum-sha1"))
    }),
    ("two copy sources", |r| r.with(&[("x-amz-copy-source", "/a/b"), ("x-amz-copy-source", "/a/c")])),
    ("no host", |r| {
        let mut head = r.put(&[]);
        head.remove("host");
        r.with_body(&head)
    }),
    ("a foreign authority in the target", |r| {
        let mut head = r.put(&[]);
        head.target = format!("http://other.example.test{}", head.target);
        r.with_body(&head)
    }),
    ("HTTP/1.0", |r| {
        let text = r.with_body(&r.put(&[]));
        let at = text.windows(8).position(|w| w == b"HTTP/1.1").expect("a request line");
        [&text[..at], b"HTTP/1.0", &text[at + 8..]].concat()
    }),
    // Transfer-Encoding.
    ("plain chunked without a length", |r| r.chunked_http(r.put(&[]), "chunked")),
    ("gzip, chunked", |r| r.chunked_http(r.put(&[]), "gzip, chunked")),
    ("chunked twice", |r| r.chunked_http(r.put(&[]), "chunked, chunked")),
    ("identity", |r| r.with_body(&pushed(r.put(&[]), "Transfer-Encoding", "identity"))),
    ("a misspelt coding", |r| r.with_body(&pushed(r.put(&[]), "Transfer-Encoding", "xchunked"))),
    ("HTTP trailers", |r| {
        let mut upload = r.client.upload(Form::UnsignedTrailerChunked, &r.target(), &r.payload);
        upload.head.push("Trailer", "x-amz-meta-a");
        let mut bytes = upload.bytes();
        bytes.truncate(bytes.len() - 2);
        bytes.extend_from_slice(b"x-amz-meta-a: b\r\n\r\n");
        bytes
    }),
    // Two authorizations, chunked payloads where they do not belong.
    ("signed in header and query", |r| {
        let mut head = Head::new("PUT", &r.target());
        head.push("Host", &r.client.host);
        head.push("Content-Length", &r.len().to_string());
        r.client.presign(&mut head, 600);
        r.client.sign(&mut head, &r.payload.sha256());
        r.with_body(&head)
    }),
    ("presigned, and a streaming header", |r| {
        let mut upload = r.client.upload(Form::UnsignedTrailer, &r.target(), &r.payload);
        for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
            upload.head.remove(name);
        }
        r.client.presign(&mut upload.head, 600);
        upload.head.push("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        upload.bytes()
    }),
    ("presigned, streaming in the query", |r| {
        let mut head =
            Head::new("PUT", &format!("{}?X-Amz-Content-Sha256=STREAMING-UNSIGNED-PAYLOAD-TRAILER", r.target()));
        head.push("Host", &r.client.host);
        head.push("x-amz-decoded-content-length", &r.len().to_string());
        head.push("x-amz-trailer", "x-amz-checksum-crc32");
        let body = [r.chunk(), r.end().into_bytes()].concat();
        head.push("Content-Length", &body.len().to_string());
        r.client.presign(&mut head, 600);
        [head.bytes(), body].concat()
    }),
    // CVE-2026-41145: the store that takes it lets anybody write.
    ("a made-up presigned URL, and a streaming header", |r| {
        let forged = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260101T000000Z&X-Amz-Expires=604800&X-Amz-SignedHeaders=host";
        let target = format!(
            "{}?{forged}&X-Amz-Credential={}%2F20260101%2F{}%2Fs3%2Faws4_request&X-Amz-Signature={}",
            r.target(),
            r.client.access_key,
            r.client.region,
            "0".repeat(64),
        );
        let mut upload = r.client.upload(Form::UnsignedTrailer, &target, &r.payload);
        upload.head.remove("authorization");
        upload.bytes()
    }),
    ("streaming without any signature", |r| {
        let mut upload = r.client.upload(Form::UnsignedTrailer, &r.target(), &r.payload);
        upload.head.remove("authorization");
        upload.bytes()
    }),
    ("version 2 in the header", |r| {
        let mut head = r.put(&[]);
        head.set("authorization", "AWS key:c2lnbmF0dXJl");
        r.with_body(&head)
    }),
    ("version 2 in the header, and a streaming body", |r| {
        r.spoilt(Form::UnsignedTrailer, |head| head.set("authorization", "AWS key:c2lnbmF0dXJl"))
    }),
    ("an unknown authorization scheme", |r| r.with_body(&set(r.put(&[]), "authorization", "Basic a2V5OnNlY3JldA=="))),
    ("aws-chunked without a streaming value", |r| r.with(&[("Content-Encoding", "aws-chunked")])),
    ("aws-chunked among others, in capitals", |r| r.with(&[("Content-Encoding", "gzip, AWS-Chunked")])),
    ("a decoded length without chunks", |r| r.with(&[("x-amz-decoded-content-length", "5")])),
    ("a trailer header without chunks", |r| r.with(&[("x-amz-trailer", "x-amz-checksum-crc32")])),
    ("an unknown streaming value", |r| {
        r.framed_as("STREAMING-UNSIGNED-PAYLOAD", r.len(), &[r.chunk(), b"0\r\n\r\n".to_vec()].concat())
    }),
    ("a streaming value in small letters", |r| {
        r.framed_as("streaming-unsigned-payload-trailer", r.len(), &[r.chunk(), r.end().into_bytes()].concat())
    }),
    ("a payload hash that is none", |r| {
        let mut head = Head::new("PUT", &r.target());
        head.push("Host", &r.client.host);
        head.push("Content-Length", &r.len().to_string());
        r.client.sign(&mut head, "yes");
        r.with_body(&head)
    }),
    ("no decoded length", |r| r.spoilt(Form::SignedChunks, |head| head.remove("x-amz-decoded-content-length"))),
    ("a decoded length with a sign", |r| {
        let value = format!("+{}", r.len());
        r.spoilt(Form::UnsignedTrailer, |head| head.set("x-amz-decoded-content-length", &value))
    }),
    ("a decoded length with a zero in front", |r| {
        let value = format!("0{}", r.len());
        r.spoilt(Form::UnsignedTrailer, |head| head.set("x-amz-decoded-content-length", &value))
    }),
    ("a decoded length in hexadecimal", |r| {
        let value = format!("{:#x}", r.len());
        r.spoilt(Form::UnsignedTrailer, |head| head.set("x-amz-decoded-content-length", &value))
    }),
    ("no trailer header", |r| r.spoilt(Form::UnsignedTrailer, |head| head.remove("x-amz-trailer"))),
    // Paths and queries.
    ("a dot-dot segment", |r| r.with_body(&r.put_to(&format!("/{}/a/../key", r.room), &[]))),
    ("an encoded dot-dot segment", |r| r.with_body(&r.put_to(&format!("/{}/a/%2e%2E/key", r.room), &[]))),
    ("a dot segment", |r| r.with_body(&r.put_to(&format!("/{}/./key", r.room), &[]))),
    ("a dot-dot segment behind backslashes", |r| r.with_body(&r.put_to(&format!("/{}/a%5C..%5Ckey", r.room), &[]))),
    ("a broken escape", |r| {
        let mut head = r.put(&[]);
        head.target += "%zz";
        r.with_body(&head)
    }),
    ("an upload id twice", |r| {
        r.with_body(&r.put_to(&format!("{}?partNumber=1&uploadId=a&uploadId=b", r.target()), &[]))
    }),
    ("a part number twice, once encoded", |r| {
        r.with_body(&r.put_to(&format!("{}?partNumber=1&part%4eumber=2&uploadId=a", r.target()), &[]))
    }),
    ("a part number with a zero in front", |r| {
        r.with_body(&r.put_to(&format!("{}?partNumber=01&uploadId=a", r.target()), &[]))
    }),
    ("part number 0", |r| r.with_body(&r.put_to(&format!("{}?partNumber=0&uploadId=a", r.target()), &[]))),
    ("part number 10001", |r| r.with_body(&r.put_to(&format!("{}?partNumber=10001&uploadId=a", r.target()), &[]))),
    ("a part number with a sign", |r| {
        r.with_body(&r.put_to(&format!("{}?partNumber=%2B1&uploadId=a", r.target()), &[]))
    }),
    ("an upload id in other letters", |r| {
        r.with_body(&r.put_to(&format!("{}?partNumber=1&uploadid=a", r.target()), &[]))
    }),
    // Operations that bring bytes in ways that nobody can hash.
    ("an append by offset", |r| r.with(&[("x-amz-write-offset-bytes", "0")])),
    ("an append by query", |r| r.with_body(&r.put_to(&format!("{}?append&position=0", r.target()), &[]))),
    ("an append in encoded letters", |r| r.with_body(&r.put_to(&format!("{}?%61ppend&position=0", r.target()), &[]))),
    ("an archive that the store unpacks", |r| r.with(&[("x-amz-meta-snowball-auto-extract", "true")])),
    ("an archive, by a value that only looks like it", |r| r.with(&[("X-Amz-Meta-Snowball-Auto-Extract", "xtruey")])),
    ("a peer's header", |r| r.with(&[("x-minio-source-etag", "\"00000000000000000000000000000000\"")])),
    ("a replica's header", |r| r.with(&[("x-minio-replication-server-side-encryption-seal-algorithm", "a")])),
    ("a replica's status", |r| r.with(&[("x-amz-replication-status", "REPLICA")])),
    ("an internal header", |r| r.with(&[("x-minio-internal-a", "b")])),
    ("a range on an upload", |r| r.with(&[("Content-Range", "bytes 0-4/5")])),
    ("a copy with a body", |r| {
        let source = format!("/{}/source", r.room);
        r.with(&[("x-amz-copy-source", &source)])
    }),
    ("a copied part", |r| {
        let source = format!("/{}/source", r.room);
        let target = format!("{}?partNumber=1&uploadId=a", r.target());
        let (head, _) = r.client.prepare("PUT", &target, &[("x-amz-copy-source", &source)], b"");
        head.bytes()
    }),
    ("an answer of an object lambda", |r| {
        let (head, body) =
            r.client.prepare("POST", "/WriteGetObjectResponse", &[("x-amz-request-route", "a")], &r.payload.bytes());
        [&head.bytes()[..], &body].concat()
    }),
    ("Swift", |r| {
        let (head, body) = r.client.prepare("PUT", &format!("/swift/v1/{}/key", r.room), &[], &r.payload.bytes());
        [&head.bytes()[..], &body].concat()
    }),
    ("Swift's manifest", |r| r.with(&[("X-Object-Manifest", "a/b")])),
    ("Swift's copy", |r| r.with(&[("X-Copy-From", "/a/b")])),
    ("COPY", |r| method(r, "COPY")),
    ("PATCH", |r| method(r, "PATCH")),
    ("PROPFIND", |r| method(r, "PROPFIND")),
    ("MKCOL", |r| method(r, "MKCOL")),
    ("TRACE", |r| method(r, "TRACE")),
    ("an unknown method", |r| method(r, "FROBNICATE")),
    ("CONNECT", |r| {
        let mut head = r.put(&[]);
        (head.method, head.target) = ("CONNECT".into(), r.client.host.clone());
        r.with_body(&head)
    }),
    ("an upgrade", |r| r.with_body(&pushed(pushed(r.put(&[]), "Connection", "Upgrade"), "Upgrade", "websocket"))),
    ("an upgrade to h2c", |r| {
        let head = pushed(r.put(&[]), "Connection", "Upgrade, HTTP2-Settings");
        r.with_body(&pushed(pushed(head, "Upgrade", "h2c"), "HTTP2-Settings", "AAMAAABkAAQAAP__"))
    }),
    ("a Connection that names a header", |r| r.with_body(&pushed(r.put(&[]), "Connection", "x-amz-content-sha256"))),
    ("an expectation that nobody knows", |r| r.with_body(&pushed(r.put(&[]), "Expect", "200-ok"))),
    ("a form", |r| {
        let body = [
            b"--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n",
            r.room.prefix.as_bytes(),
            b"/key\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n",
            &r.payload.bytes(),
            b"\r\n--b--\r\n",
        ]
        .concat();
        let headers = [("Content-Type", "multipart/form-data; boundary=b")];
        let (head, body) = r.client.prepare("POST", &format!("/{}", r.room.bucket), &headers, &body);
        [&head.bytes()[..], &body].concat()
    }),
    ("a POST that is nothing", |r| {
        let (head, body) = r.client.prepare("POST", &r.target(), &[], &r.payload.bytes());
        [&head.bytes()[..], &body].concat()
    }),
    // Size lines.
    ("a size with a zero in front", |r| r.size_line(&format!("0{:x}\r\n", r.len()))),
    ("a size with a prefix", |r| r.size_line(&format!("{:#x}\r\n", r.len()))),
    ("a size with a blank in front", |r| r.size_line(&format!(" {:x}\r\n", r.len()))),
    ("a size with a blank behind", |r| r.size_line(&format!("{:x} \r\n", r.len()))),
    ("a size with a tab", |r| r.size_line(&format!("\t{:x}\r\n", r.len()))),
    ("a size with a plus", |r| r.size_line(&format!("+{:x}\r\n", r.len()))),
    ("a size with a minus", |r| r.size_line("-1\r\n")),
    ("a size of nine digits", |r| r.size_line(&format!("{:09x}\r\n", r.len()))),
    ("a size of nine digits that is large", |r| r.size_line(&format!("1{:08x}\r\n", r.len()))),
    ("a size that is none", |r| r.size_line(&format!("{:x}zz\r\n", r.len()))),
    ("no size", |r| r.size_line("\r\n")),
    ("a size line that ends in a line feed", |r| r.size_line(&format!("{:x}\n", r.len()))),
    ("a size line that ends in a carriage return", |r| r.size_line(&format!("{:x}\r", r.len()))),
    ("a chunk extension", |r| r.size_line(&format!("{:x};a=b\r\n", r.len()))),
    ("an empty chunk extension", |r| r.size_line(&format!("{:x};\r\n", r.len()))),
    ("a signature where none belongs", |r| {
        r.size_line(&format!("{:x};chunk-signature={}\r\n", r.len(), "0".repeat(64)))
    }),
    ("a size line without end", |r| r.size_line(&"0".repeat(4096))),
    // Lengths that do not add up.
    ("more payload than declared", |r| r.framed(r.len() - 1, &[r.chunk(), r.end().into_bytes()].concat())),
    ("less payload than declared", |r| r.framed(r.len() + 1, &[r.chunk(), r.end().into_bytes()].concat())),
    ("a chunk behind the declared length", |r| {
        r.framed(r.len(), &[r.chunk(), b"4\r\njunk\r\n".to_vec(), r.end().into_bytes()].concat())
    }),
    ("a chunk longer than its size", |r| {
        let payload = r.payload.bytes();
        let size = format!("{:x}\r\n", payload.len() - 1);
        r.framed(r.len(), &[size.as_bytes(), &payload, b"\r\n", r.end().as_bytes()].concat())
    }),
    ("a chunk shorter than its size", |r| {
        let payload = r.payload.bytes();
        let size = format!("{:x}\r\n", payload.len() + 1);
        r.framed(r.len(), &[size.as_bytes(), &payload, b"\r\n", r.end().as_bytes()].concat())
    }),
    ("a chunk that ends in a line feed", |r| {
        let chunk = r.chunk();
        r.framed(r.len(), &[&chunk[..chunk.len() - 2], b"\n", r.end().as_bytes()].concat())
    }),
    // Ends.
    ("junk behind the trailer", |r| r.ends_with(&format!("{}junk", r.end()))),
    ("a blank line behind the trailer", |r| r.ends_with(&format!("{}\r\n", r.end()))),
    ("a second body behind the trailer", |r| {
        let again = String::from_utf8_lossy(&r.chunk()).into_owned() + &r.end();
        r.ends_with(&format!("{}{again}", r.end()))
    }),
    ("junk in an HTTP chunk behind the trailer", |r| {
        let mut bytes = r.client.upload(Form::UnsignedTrailerChunked, &r.target(), &r.payload).bytes();
        bytes.truncate(bytes.len() - 5);
        bytes.extend_from_slice(b"4\r\njunk\r\n0\r\n\r\n");
        bytes
    }),
    ("no last chunk", |r| r.framed(r.len(), &r.chunk())),
    ("no trailer", |r| r.ends_with("0\r\n\r\n")),
    ("no blank line behind the trailer", |r| r.ends_with(r.end().trim_end_matches("\r\n"))),
    ("another trailer than announced", |r| {
        r.ends_with("0\r\nx-amz-checksum-sha1:2jmj7l5rSw0yVb/vlWAYkK/YBwk=\r\n\r\n")
    }),
    ("an additional trailer", |r| {
        let end = r.end();
        r.ends_with(&format!("{}x-amz-meta-a:b\r\n\r\n", &end[..end.len() - 2]))
    }),
    ("the trailer twice", |r| {
        r.ends_with(&format!("0\r\nx-amz-checksum-crc32:{0}\r\nx-amz-checksum-crc32:{0}\r\n\r\n", r.crc()))
    }),
    ("a trailer line without a colon", |r| r.ends_with(&format!("0\r\nx-amz-checksum-crc32 {}\r\n\r\n", r.crc()))),
    ("a trailer line that is folded", |r| r.ends_with(&format!("0\r\nx-amz-checksum-crc32:\r\n {}\r\n\r\n", r.crc()))),
    ("a trailer that is too long", |r| {
        r.ends_with(&format!("0\r\nx-amz-checksum-crc32:{}\r\n\r\n", "A".repeat(20_000)))
    }),
    ("a trailer of another payload", |r| r.ends_with("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n")),
    ("a trailer in a mode without", |r| {
        let mut upload = r.client.upload(Form::SignedChunks, &r.target(), &r.payload);
        let mut body = upload.body_bytes();
        body.truncate(body.len() - 2);
        body.extend_from_slice(format!("x-amz-checksum-crc32:{}\r\n\r\n", r.crc()).as_bytes());
        upload.head.set("content-length", &body.len().to_string());
        [upload.head.bytes(), body].concat()
    }),
    ("junk behind signed chunks", |r| {
        let mut upload = r.client.upload(Form::SignedChunks, &r.target(), &r.payload);
        let body = [upload.body_bytes(), b"junk".to_vec()].concat();
        upload.head.set("content-length", &body.len().to_string());
        [upload.head.bytes(), body].concat()
    }),
    ("signed chunks whose size line has a zero in front", |r| {
        let mut upload = r.client.upload(Form::SignedChunks, &r.target(), &r.payload);
        let body = [b"0".to_vec(), upload.body_bytes()].concat();
        upload.head.set("content-length", &body.len().to_string());
        [upload.head.bytes(), body].concat()
    }),
    // What the client promised of its bytes.
    ("the hash of another payload", |r| {
        let mut head = r.client.upload(Form::RawSigned, &r.target(), &Payload::from("something else")).head;
        head.set("content-length", &r.len().to_string());
        r.with_body(&head)
    }),
    ("the MD5 of another payload", |r| r.with(&[("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")])),
    ("the checksum of another payload", |r| r.with(&[("x-amz-checksum-crc32", "AAAAAA==")])),
];

const CONSISTENT: &[(&str, Build)] = &[
    // hyper makes these plain before we see them.
    ("two equal lengths", |r| {
        let length = r.len().to_string();
        r.with_body(&pushed(r.put(&[]), "Content-Length", &length))
    }),
    ("two different lengths", |r| r.with_body(&pushed(r.put(&[]), "Content-Length", "1"))),
    ("a length and chunked", |r| {
        let mut upload = r.client.upload(Form::UnsignedTrailerChunked, &r.target(), &r.payload);
        upload.head.push("Content-Length", "5");
        upload.bytes()
    }),
    ("a length in front of chunked", |r| {
        let mut upload = r.client.upload(Form::UnsignedTrailerChunked, &r.target(), &r.payload);
        upload.head.headers.insert(1, ("Content-Length".into(), "5".into()));
        upload.bytes()
    }),
    ("a fragment in the target", |r| {
        let mut head = r.put(&[]);
        head.target += "#fragment";
        r.with_body(&head)
    }),
    ("bytes behind the length", |r| [r.with_body(&r.put(&[])), b"junk".to_vec()].concat()),
    ("bytes behind the length that are another request", |r| {
        let smuggled = format!("DELETE /{} HTTP/1.1\r\nHost: {}\r\n\r\n", r.room.bucket, r.client.host);
        [r.with_body(&r.put(&[])), smuggled.into_bytes()].concat()
    }),
    // Odd, and yet all read them alike.
    ("header names in capitals", |r| {
        r.spoilt(Form::UnsignedTrailer, |head| {
            head.headers.iter_mut().for_each(|(name, _)| name.make_ascii_uppercase());
        })
    }),
    ("a size in capitals", |r| r.size_line(&format!("{:X}\r\n", r.len()))),
    ("the trailer in capitals", |r| r.ends_with(&format!("0\r\nX-AMZ-CHECKSUM-CRC32:{}\r\n\r\n", r.crc()))),
    ("a trailer value that ends in a line feed", |r| {
        r.ends_with(&format!("0\r\nx-amz-checksum-crc32:{}\n\r\n\r\n", r.crc()))
    }),
    ("chunks of a byte each", |r| {
        let chunks = r.payload.bytes().iter().flat_map(|b| [b"1\r\n", &[*b][..], b"\r\n"].concat()).collect();
        r.framed(r.len(), &[chunks, r.end().into_bytes()].concat())
    }),
    ("a chunked body that is meant literally", |r| {
        let body = [r.chunk(), r.end().into_bytes()].concat();
        r.client.upload(Form::RawUnsigned, &r.target(), &Payload::from(body)).bytes()
    }),
    ("an upload id in encoded letters", |r| {
        r.with_body(&r.put_to(&format!("{}?partNumber=1&upl%6fadId=a", r.target()), &[]))
    }),
    ("a part number without an upload", |r| r.with_body(&r.put_to(&format!("{}?partNumber=1", r.target()), &[]))),
    ("a query that means nothing", |r| r.with_body(&r.put_to(&format!("{}?x-id=PutObject", r.target()), &[]))),
    ("tagging on an upload", |r| r.with_body(&r.put_to(&format!("{}?tagging", r.target()), &[]))),
    ("a gzipped payload", |r| r.with(&[("Content-Encoding", "gzip")])),
];

fn pushed(mut head: Head, name: &str, value: &str) -> Head {
    head.push(name, value);
    head
}

fn set(mut head: Head, name: &str, value: &str) -> Head {
    head.set(name, value);
    head
}

fn method(r: &Row<'_>, method: &str) -> Vec<u8> {
    let (head, body) = r.client.prepare(method, &r.target(), &[], &r.payload.bytes());
    [&head.bytes()[..], &body].concat()
}

/// Each row on every store, in pass-through.
#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused_in_pass_through() {
    refusals(Mode::PassThrough).await;
}

/// Each row on every store where the gate verifies signatures.
#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused_in_verify() {
    refusals(Mode::Verify).await;
}

async fn refusals(mode: Mode) {
    let rows = REFUSED.iter().map(|row| (row, Want::Refused));
    let rows: Vec<_> = rows.chain(CONSISTENT.iter().map(|row| (row, Want::Consistent))).collect();
    // Longer than the window and shorter, so that the origin is in the middle of it or has not heard of it.
    let payload = |row: usize, listed: bool| {
        let len = if row.is_multiple_of(2) { 300 } else { CHUNK as u64 };
        Payload::random(1000 + 2 * row as u64 + u64::from(listed), len)
    };
    for store in stores().await {
        let listed: BTreeSet<String> = (0..rows.len()).map(|row| payload(row, true).sha256()).collect();
        let gate = gate(&store).list("sample", &listed).mode(mode).start().await;
        let client = gate.client();
        let mut failures = Vec::new();
        // Only a store that speaks Swift, or of which nothing is known, has a door there; elsewhere it is a bucket.
        let swift_is_a_bucket = ["minio", "seaweedfs", "garage"].contains(&store.name.as_str());
        for (index, ((name, build), want)) in rows.iter().enumerate() {
            let want = if *name == "Swift" && swift_is_a_bucket { &Want::Consistent } else { want };
            for is_listed in [false, true] {
                let room = store.room("refusals").await;
                let row = Row { client: &client, room: &room, payload: payload(index, is_listed) };
                let answer = client.raw(&build(&row), *name == "HEAD").await;
                let what = format!("{} {mode:?} {name}, listed: {is_listed}", store.name);
                if let Err(problem) = judge(&gate, &store, &room, &listed, *want, &answer).await {
                    failures.push(format!("{what}: {problem}: {answer:?}"));
                }
            }
        }
        assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), 2 * rows.len(), failures.join("\n"));
        gate.quiet().await;
        gate.stop().await;
    }
}

async fn judge(
    gate: &Gate,
    store: &Store,
    room: &Room,
    listed: &BTreeSet<String>,
    want: Want,
    answer: &Result<Response, Gone>,
) -> Result<(), String> {
    let refused = matches!(answer, Ok(response) if (400..500).contains(&response.status) || response.status == 501);
    if want == Want::Refused && !refused {
        return Err("not refused".into());
    }
    let contents = store.contents(room).await;
    if want == Want::Refused && !contents.is_empty() {
        return Err(format!("stored all the same: {contents:?}"));
    }
    for key in contents {
        let stored = store.client().get(&format!("/{}/{key}", room.bucket)).await;
        let digest = hex::encode(Sha256::digest(&stored.body));
        if listed.contains(&digest) {
            return Err(format!("a listed payload is stored as {key}"));
        }
        let hashed = gate.audit_line("the upload that was stored", |line| {
            field(line, "sha256").is_some_and(|hash| hash == digest.as_str())
                && field(line, "released") == Some(&true.into())
        });
        if tokio::time::timeout(std::time::Duration::from_secs(5), hashed).await.is_err() {
            return Err(format!("what is stored as {key} is not what was hashed: {digest}"));
        }
    }
    Ok(())
}

/// Paths that only the store's own tools use do not pass, in whatever letters or escapes they are written.
#[tokio::test]
async fn reserved_paths_do_not_pass() {
    for store in stores().await {
        for (kind, paths) in [
            ("minio", &["/minio/admin/v3/info", "/%6dinio/admin/v3/info", "/minio", "/minio/v2/metrics/cluster"][..]),
            ("rgw", &["/admin/user?uid=t", "/swift/v1/b/k", "/auth/v1.0"][..]),
        ] {
            let gate = gate(&store).yaml(&format!("origin: {{ kind: {kind} }}")).start().await;
            for path in paths {
                for method in ["GET", "PUT", "POST"] {
                    let answer = gate.client().request(method, path, &[], b"").await;
                    assert_eq!(answer.status, 403, "{} {kind} {method} {path}: {answer:?}", store.name);
                }
            }
            gate.stop().await;
        }
    }
}

/// A body is read as the client framed it, wherever HTTP chunks end: inside size lines, payload and trailer.
#[tokio::test]
async fn http_chunks_may_end_anywhere() {
    for store in stores().await {
        let room = store.room("chunks").await;
        let payload = Payload::random(5, 70_000);
        let bad = Payload::random(6, 70_000);
        let gate = gate(&store).list("sample", [bad.sha256()]).start().await;
        let client = gate.client();
        // A store that refuses this form from anybody refuses it through the gate, too.
        let direct = store.client().put(Form::UnsignedTrailerChunked, &format!("/{room}/direct"), &payload).await;
        let direct = direct.expect("an answer").status;
        let stored = direct == 200;
        for (n, size) in [7, 1000, 65_535].into_iter().enumerate() {
            for (payload, name) in [(&payload, "good"), (&bad, "bad")] {
                let target = format!("/{room}/{name}{n}");
                let upload = client.upload(Form::UnsignedTrailerChunked, &target, payload);
                let plain = client.upload(Form::UnsignedTrailer, &target, payload).body_bytes();
                let pieces: Vec<Bytes> = plain.chunks(size).map(Bytes::copy_from_slice).collect();
                let body: Vec<u8> = http_chunks(pieces.into_iter()).flatten().collect();
                let answer = client.raw(&[upload.head.bytes(), body].concat(), false).await.expect("an answer");
                let expected = if name == "good" || !stored { direct } else { 403 };
                assert_eq!(answer.status, expected, "{}: {answer:?}", store.name);
            }
        }
        assert_eq!(store.contents(&room).await.len(), if stored { 4 } else { 0 }, "{}", store.name);
        gate.stop().await;
    }
}
