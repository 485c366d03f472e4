//! An S3 client on bare sockets. It signs with the crate aws-sigv4, sends every form of upload that clients are known to
//! send, and can stop, crawl, vanish and lie at any byte.

use super::io::Io;
use super::payload::Payload;
use super::store::Store;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningParams,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the SDKs leave unencoded in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The chunk size of the AWS SDK for Rust and of minio-go.
pub(crate) const CHUNK: usize = 64 << 10;

/// Every way in which PutObject and UploadPart carry their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// The SHA-256 of the body is in the signed header.
    RawSigned,
    /// `UNSIGNED-PAYLOAD`.
    RawUnsigned,
    /// The signature is in the query.
    Presigned,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    SignedChunks,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER` with a CRC-32.
    SignedChunksTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER` with Content-Length.
    UnsignedTrailer,
    /// The same inside `Transfer-Encoding: chunked`, as boto3 does it over TLS.
    UnsignedTrailerChunked,
    /// No signature at all.
    Anonymous,
    /// `RawSigned`, and the body waits for `100 Continue`.
    Expect100,
}

impl Form {
    pub(crate) const ALL: [Form; 9] = [
        Form::RawSigned,
        Form::RawUnsigned,
        Form::Presigned,
        Form::SignedChunks,
        Form::SignedChunksTrailer,
        Form::UnsignedTrailer,
        Form::UnsignedTrailerChunked,
        Form::Anonymous,
        Form::Expect100,
    ];

    /// Whether the payload travels in chunks of its own.
    pub(crate) fn is_chunked(self) -> bool {
        matches!(
            self,
            Form::SignedChunks | Form::SignedChunksTrailer | Form::UnsignedTrailer | Form::UnsignedTrailerChunked
        )
    }
}

/// Where to connect, how, and with which keys.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// What goes into `Host`.
    pub(crate) host: String,
    pub(crate) tls: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    /// The moment that signatures name, as an offset from now in seconds.
    pub(crate) clock_offset: i64,
    /// Sent before anything else on each connection.
    pub(crate) prelude: Vec<u8>,
}

impl Client {
    /// A client of `store` that talks to `address`, which is the store's own or a gate's.
    pub(crate) fn new(store: &Store, address: SocketAddr) -> Client {
        Client {
            address,
            host: address.to_string(),
            tls: None,
            region: store.region.clone(),
            access_key: store.access_key.clone(),
            secret_key: store.secret_key.clone(),
            clock_offset: 0,
            prelude: Vec::new(),
        }
    }

    /// The same with other keys.
    pub(crate) fn keys(&self, access_key: &str, secret_key: &str) -> Client {
        Client { access_key: access_key.into(), secret_key: secret_key.into(), ..self.clone() }
    }

    pub(crate) async fn connect(&self) -> std::io::Result<Wire> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let mut io = Io::Plain(tcp);
        if !self.prelude.is_empty() {
            io.write_all(&self.prelude).await?;
        }
        if let (Io::Plain(tcp), Some(config)) = (&io, &self.tls) {
            let _ = tcp;
            let Io::Plain(tcp) = io else { unreachable!("just matched") };
            let name = "localhost".try_into().expect("a valid name");
            let stream = tokio_rustls::TlsConnector::from(config.clone()).connect(name, tcp).await?;
            io = Io::Tls(Box::new(stream.into()));
        }
        Ok(Wire { io, buffer: BytesMut::new() })
    }

    /// The moment that signatures name.
    pub(crate) fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        if self.clock_offset < 0 {
            now - Duration::from_secs(self.clock_offset.unsigned_abs())
        } else {
            now + Duration::from_secs(self.clock_offset.unsigned_abs())
        }
    }

    /// Signs `head` in its header. `payload` is what `x-amz-content-sha256` says. Signs `host`, `x-amz-*`, `content-md5`,
    /// `content-type` and `content-encoding`, as SDKs do.
    pub(crate) fn sign(&self, head: &mut Head, payload: &str) -> Signer {
        let body = match payload {
            "UNSIGNED-PAYLOAD" => SignableBody::UnsignedPayload,
            other => SignableBody::Precomputed(other.into()),
        };
        let mut settings = settings();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let (added, _, signer) = self.run_signer(head, body, settings);
        head.headers.extend(added);
        signer
    }

    /// Signs `head` in its query, for `seconds`.
    pub(crate) fn presign(&self, head: &mut Head, seconds: u64) {
        let mut settings = settings();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(seconds));
        let (_, params, _) = self.run_signer(head, SignableBody::UnsignedPayload, settings);
        for (name, value) in params {
            let separator = if head.target.contains('?') { '&' } else { '?' };
            head.target += &format!("{separator}{name}={}", utf8_percent_encode(&value, QUERY));
        }
    }

    #[allow(clippy::type_complexity, reason = "names would say no more")]
    fn run_signer(
        &self,
        head: &Head,
        body: SignableBody<'_>,
        settings: SigningSettings,
    ) -> (Vec<(String, String)>, Vec<(String, String)>, Signer) {
        let time = self.now();
        let credentials = Credentials::builder()
            .access_key_id(&self.access_key)
            .secret_access_key(&self.secret_key)
            .provider_name("tests")
            .build();
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(time)
            .settings(settings)
            .build()
            .expect("every field is set");
        let params = SigningParams::V4(params);
        let signed = head.headers.iter().filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            name.starts_with("x-amz-") && name != "x-amz-content-sha256"
                || ["content-md5", "content-type", "content-encoding"].contains(&name.as_str())
        });
        let host = head.header("host").unwrap_or(&self.host);
        let request = SignableRequest::new(
            &head.method,
            format!("http://{host}{}", head.target),
            signed.map(|(name, value)| (name.as_str(), value.as_str())),
            body,
        )
        .expect("a target that http takes");
        let (instructions, signature) = sign(request, &params).expect("signable").into_parts();
        let (headers, params) = instructions.into_parts();
        let date = time::OffsetDateTime::from(time);
        let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        let signer =
            Signer { client: self.clone(), time, date: date.format(&format).expect("a date"), previous: signature };
        (
            headers.iter().map(|h| (h.name().to_owned(), h.value().to_owned())).collect(),
            params.into_iter().map(|(n, v)| (n.to_owned(), v.into_owned())).collect(),
            signer,
        )
    }

    /// An upload to `target` (path and query, raw), ready to be sent or spoilt.
    pub(crate) fn upload(&self, form: Form, target: &str, payload: &Payload) -> Upload {
        self.upload_with(form, target, payload, &[])
    }

    /// The same with further headers, signed where SDKs would sign them.
    pub(crate) fn upload_with(&self, form: Form, target: &str, payload: &Payload, headers: &[(&str, &str)]) -> Upload {
        let mut head = Head::new("PUT", target);
        head.push("Host", &self.host);
        for (name, value) in headers {
            head.push(name, value);
        }
        let len = payload.len();
        let mut expect = false;
        let body = match form {
            Form::RawSigned | Form::Expect100 => {
                if form == Form::Expect100 {
                    head.push("Expect", "100-continue");
                    expect = true;
                }
                head.push("Content-Length", &len.to_string());
                self.sign(&mut head, &payload.sha256());
                Body::Raw(payload.clone())
            }
            Form::RawUnsigned => {
                head.push("Content-Length", &len.to_string());
                self.sign(&mut head, "UNSIGNED-PAYLOAD");
                Body::Raw(payload.clone())
            }
            Form::Presigned => {
                head.push("Content-Length", &len.to_string());
                self.presign(&mut head, 600);
                Body::Raw(payload.clone())
            }
            Form::Anonymous => {
                head.push("Content-Length", &len.to_string());
                Body::Raw(payload.clone())
            }
            Form::SignedChunks | Form::SignedChunksTrailer | Form::UnsignedTrailer | Form::UnsignedTrailerChunked => {
                let trailer = form != Form::SignedChunks;
                let signed = matches!(form, Form::SignedChunks | Form::SignedChunksTrailer);
                head.push("Content-Encoding", "aws-chunked");
                head.push("x-amz-decoded-content-length", &len.to_string());
                if trailer {
                    head.push("x-amz-trailer", "x-amz-checksum-crc32");
                }
                let in_http_chunks = form == Form::UnsignedTrailerChunked;
                if in_http_chunks {
                    head.push("Transfer-Encoding", "chunked");
                } else {
                    head.push("Content-Length", &encoded_len(len, signed, trailer).to_string());
                }
                let signer = self.sign(
                    &mut head,
                    match form {
                        Form::SignedChunks => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                        Form::SignedChunksTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                        _ => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                    },
                );
                Body::Chunked { payload: payload.clone(), signer: signed.then_some(signer), trailer, in_http_chunks }
            }
        };
        Upload { head, body, expect }
    }

    /// Sends an upload on a connection of its own and reads the answer.
    pub(crate) async fn send(&self, upload: Upload) -> Result<Response, Gone> {
        let mut wire = self.connect().await.map_err(|e| Gone(format!("connect: {e}")))?;
        wire.exchange(upload).await
    }

    pub(crate) async fn put(&self, form: Form, target: &str, payload: &Payload) -> Result<Response, Gone> {
        self.send(self.upload(form, target, payload)).await
    }

    /// A signed request of any method with a body that is kept in memory.
    pub(crate) async fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let (head, body) = self.prepare(method, target, headers, body);
        self.raw(&[&head.bytes()[..], &body[..]].concat(), method == "HEAD")
            .await
            .unwrap_or_else(|gone| panic!("{method} {target}: {gone:?}"))
    }

    /// The same, not yet sent.
    pub(crate) fn prepare(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> (Head, Bytes) {
        let mut head = Head::new(method, target);
        head.push("Host", &self.host);
        for (name, value) in headers {
            head.push(name, value);
        }
        if !body.is_empty() || matches!(method, "PUT" | "POST") {
            head.push("Content-Length", &body.len().to_string());
        }
        self.sign(&mut head, &hex::encode(Sha256::digest(body)));
        (head, Bytes::copy_from_slice(body))
    }

    /// Sends these very bytes on a connection of their own and reads one answer.
    pub(crate) async fn raw(&self, wire_bytes: &[u8], is_head: bool) -> Result<Response, Gone> {
        let mut wire = self.connect().await.map_err(|e| Gone(format!("connect: {e}")))?;
        wire.exchange_pieces(std::iter::once(Bytes::copy_from_slice(wire_bytes)), is_head).await
    }

    pub(crate) async fn get(&self, target: &str) -> Response {
        self.request("GET", target, &[], b"").await
    }

    pub(crate) async fn head(&self, target: &str) -> Response {
        self.request("HEAD", target, &[], b"").await
    }

    pub(crate) async fn delete(&self, target: &str) -> Response {
        self.request("DELETE", target, &[], b"").await
    }

    pub(crate) async fn create_bucket(&self, bucket: &str) {
        let response = self.request("PUT", &format!("/{bucket}"), &[], b"").await;
        assert_eq!(response.status, 200, "bucket {bucket}: {response:?}");
    }

    /// The upload id.
    pub(crate) async fn create_multipart(&self, target: &str) -> String {
        self.describe_multipart(target, &[]).await
    }

    /// Begins an upload in parts of an object with these headers; its id.
    pub(crate) async fn describe_multipart(&self, target: &str, headers: &[(&str, &str)]) -> String {
        let response = self.request("POST", &format!("{target}?uploads"), headers, b"").await;
        assert_eq!(response.status, 200, "{response:?}");
        response.element("UploadId").expect("an UploadId")
    }

    /// Part numbers and ETags that the store lists.
    pub(crate) async fn list_parts(&self, target: &str, upload_id: &str) -> Vec<(String, String)> {
        let response = self.get(&format!("{target}?uploadId={upload_id}")).await;
        assert_eq!(response.status, 200, "{response:?}");
        let parts = response.elements("Part");
        parts
            .iter()
            .map(|part| {
                let inner = |name| element(part, name).unwrap_or_default();
                (inner("PartNumber"), inner("ETag").replace("&quot;", "\"").replace("&#34;", "\""))
            })
            .collect()
    }

    /// Number of versions and delete markers of the objects below a prefix.
    pub(crate) async fn list_versions(&self, bucket: &str, prefix: &str) -> usize {
        let response = self.get(&format!("/{bucket}?prefix={prefix}&versions")).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.elements("Version").len() + response.elements("DeleteMarker").len()
    }
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings
}

/// The chain of chunk signatures behind a request's own.
#[derive(Clone)]
pub(crate) struct Signer {
    client: Client,
    time: SystemTime,
    date: String,
    previous: String,
}

impl Signer {
    /// The next chunk's signature.
    pub(crate) fn chunk(&mut self, data: &Bytes) -> String {
        let credentials = Credentials::builder()
            .access_key_id(&self.client.access_key)
            .secret_access_key(&self.client.secret_key)
            .provider_name("tests")
            .build();
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.client.region)
            .name("s3")
            .time(self.time)
            .settings(())
            .build()
            .expect("every field is set");
        let output = v4::sign_chunk(data, &self.previous, &params).expect("signable");
        self.previous = output.signature().to_owned();
        self.previous.clone()
    }

    /// The signature of the trailers, given in canonical form.
    pub(crate) fn trailer(&self, canonical: &str) -> String {
        let region = &self.client.region;
        let key = v4::generate_signing_key(&self.client.secret_key, self.time, region, "s3");
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}/{region}/s3/aws4_request\n{}\n{}",
            self.date,
            &self.date[..8],
            self.previous,
            hex::encode(Sha256::digest(canonical)),
        );
        v4::calculate_signature(key, text.as_bytes())
    }
}

/// The head of a request: names as they are sent, in the order in which they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn new(method: &str, target: &str) -> Head {
        Head { method: method.into(), target: target.into(), headers: Vec::new() }
    }

    pub(crate) fn push(&mut self, name: &str, value: &str) {
        self.headers.push((name.into(), value.into()));
    }

    /// Replaces the value of a header, which must be there.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let header = self.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name));
        header.expect("the header is there").1 = value.into();
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

/// An upload that has not been sent yet.
pub(crate) struct Upload {
    pub(crate) head: Head,
    pub(crate) body: Body,
    /// Whether the body waits for `100 Continue`.
    pub(crate) expect: bool,
}

impl Upload {
    /// The body as it goes over the wire, piece by piece.
    pub(crate) fn body_pieces(&self) -> Box<dyn Iterator<Item = Bytes> + Send> {
        match &self.body {
            Body::Raw(payload) => payload.pieces(CHUNK),
            Body::Chunked { payload, signer, trailer, in_http_chunks } => {
                let pieces = chunked(payload, signer.clone(), *trailer);
                if *in_http_chunks { Box::new(http_chunks(pieces)) } else { pieces }
            }
        }
    }

    /// The whole body in memory.
    pub(crate) fn body_bytes(&self) -> Vec<u8> {
        self.body_pieces().flatten().collect()
    }

    /// The whole request in memory.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.bytes();
        bytes.extend(self.body_pieces().flatten());
        bytes
    }
}

/// How the payload is wrapped.
pub(crate) enum Body {
    Raw(Payload),
    Chunked { payload: Payload, signer: Option<Signer>, trailer: bool, in_http_chunks: bool },
}

/// The length of an aws-chunked body.
fn encoded_len(payload: u64, signed: bool, trailer: bool) -> u64 {
    let extension = if signed { ";chunk-signature=".len() as u64 + 64 } else { 0 };
    let chunk = |size: u64| format!("{size:x}").len() as u64 + extension + 2 + size + 2;
    let full = payload / CHUNK as u64;
    let rest = payload % CHUNK as u64;
    let mut len = full * chunk(CHUNK as u64) + if rest > 0 { chunk(rest) } else { 0 };
    len += 1 + extension + 2;
    if trailer {
        len += "x-amz-checksum-crc32:AAAAAA==\r\n".len() as u64;
        if signed {
            len += "x-amz-trailer-signature:\r\n".len() as u64 + 64;
        }
    }
    len + 2
}

/// An aws-chunked body, each size line, payload piece and end as a piece of its own.
fn chunked(payload: &Payload, mut signer: Option<Signer>, trailer: bool) -> Box<dyn Iterator<Item = Bytes> + Send> {
    let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc);
    let pieces = payload.pieces(CHUNK).map(Some).chain(std::iter::once(None));
    Box::new(pieces.flat_map(move |piece| {
        let data = piece.clone().unwrap_or_default();
        let mut line = format!("{:x}", data.len());
        if let Some(signer) = &mut signer {
            line += &format!(";chunk-signature={}", signer.chunk(&data));
        }
        line += "\r\n";
        if piece.is_some() {
            crc.update(&data);
            return vec![Bytes::from(line), data, Bytes::from_static(b"\r\n")];
        }
        if trailer {
            let value = BASE64_STANDARD.encode((crc.clone().finalize() as u32).to_be_bytes());
            line += &format!("x-amz-checksum-crc32:{value}\r\n");
            if let Some(signer) = &signer {
                let signature = signer.trailer(&format!("x-amz-checksum-crc32:{value}\n"));
                line += &format!("x-amz-trailer-signature:{signature}\r\n");
            }
        }
        line += "\r\n";
        vec![Bytes::from(line)]
    }))
}

/// Wraps pieces into the chunks of `Transfer-Encoding: chunked`.
pub(crate) fn http_chunks(pieces: impl Iterator<Item = Bytes> + Send) -> impl Iterator<Item = Bytes> + Send {
    let chunks = pieces.map(|piece| {
        let mut chunk = format!("{:X}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(&piece);
        chunk.extend_from_slice(b"\r\n");
        Bytes::from(chunk)
    });
    chunks.chain(std::iter::once(Bytes::from_static(b"0\r\n\r\n")))
}

/// No answer came; how the connection ended instead.
#[derive(Debug)]
pub(crate) struct Gone(#[allow(dead_code, reason = "shown when a test fails")] pub(crate) String);

/// An open connection.
pub(crate) struct Wire {
    pub(crate) io: Io,
    buffer: BytesMut,
}

impl Wire {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Vanishes with a reset.
    pub(crate) fn reset(self) {
        self.io.reset();
    }

    /// Sends an upload and reads its final answer. An answer that comes early ends the sending.
    pub(crate) async fn exchange(&mut self, upload: Upload) -> Result<Response, Gone> {
        let head = Bytes::from(upload.head.bytes());
        if upload.expect {
            self.write(&head).await.map_err(|e| Gone(format!("head: {e}")))?;
            let first = self.read_head().await?;
            if first.status != 100 {
                return self.read_body(first, false).await;
            }
            let mut response = self.exchange_pieces(upload.body_pieces(), false).await?;
            response.interim.insert(0, 100);
            return Ok(response);
        }
        self.exchange_pieces(std::iter::once(head).chain(upload.body_pieces()), false).await
    }

    /// Writes the pieces and reads the final answer at the same time.
    pub(crate) async fn exchange_pieces(
        &mut self,
        pieces: impl Iterator<Item = Bytes> + Send,
        is_head: bool,
    ) -> Result<Response, Gone> {
        let (read, mut write) = tokio::io::split(&mut self.io);
        let mut reader = Reader { read, buffer: &mut self.buffer };
        let writing = async {
            for piece in pieces {
                // A peer that has stopped reading may still have answered.
                if write.write_all(&piece).await.is_err() || write.flush().await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await
        };
        tokio::select! {
            response = reader.response(is_head) => response,
            () = writing => unreachable!("never ends"),
        }
    }

    /// Reads the final answer.
    pub(crate) async fn read_response(&mut self, is_head: bool) -> Result<Response, Gone> {
        let mut reader = Reader { read: &mut self.io, buffer: &mut self.buffer };
        reader.response(is_head).await
    }

    /// Reads one head, be it interim.
    pub(crate) async fn read_head(&mut self) -> Result<Response, Gone> {
        let mut reader = Reader { read: &mut self.io, buffer: &mut self.buffer };
        reader.head().await
    }

    /// Reads the body that belongs to a final head.
    pub(crate) async fn read_body(&mut self, head: Response, is_head: bool) -> Result<Response, Gone> {
        let mut reader = Reader { read: &mut self.io, buffer: &mut self.buffer };
        reader.body(head, is_head).await
    }

    /// Waits until the peer closes; true when it did so with a reset.
    pub(crate) async fn closed(&mut self) -> bool {
        let mut sink = [0; 4096];
        loop {
            match tokio::time::timeout(super::DEADLINE, self.io.read(&mut sink)).await {
                Err(_) => panic!("the connection was never closed"),
                Ok(Ok(0)) => return false,
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return true,
            }
        }
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The statuses of interim answers before it.
    pub(crate) interim: Vec<u16>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first XML element of that name.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        element(&self.text(), name)
    }

    /// What is inside each XML element of that name.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let found = text.split(&open).skip(1);
        found.map(|rest| rest.split(&close).next().unwrap_or("").to_owned()).collect()
    }

    /// The S3 error code.
    pub(crate) fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once('<')?.0.to_owned())
}

struct Reader<'a, R> {
    read: R,
    buffer: &'a mut BytesMut,
}

impl<R: AsyncReadExt + Unpin> Reader<'_, R> {
    async fn fill(&mut self) -> Result<usize, Gone> {
        // Longer than any time-out of the gate's that a test waits for.
        match tokio::time::timeout(Duration::from_secs(60), self.read.read_buf(self.buffer)).await {
            Err(_) => Err(Gone("silent for 60 seconds".into())),
            Ok(Err(e)) => Err(Gone(e.to_string())),
            Ok(Ok(n)) => Ok(n),
        }
    }

    async fn response(&mut self, is_head: bool) -> Result<Response, Gone> {
        let mut interim = Vec::new();
        loop {
            let head = self.head().await?;
            if head.status >= 200 {
                let mut response = self.body(head, is_head).await?;
                response.interim = interim;
                return Ok(response);
            }
            interim.push(head.status);
        }
    }

    async fn head(&mut self) -> Result<Response, Gone> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill().await? == 0 {
                return Err(Gone(format!("closed after {} bytes of a head", self.buffer.len())));
            }
        };
        let head = self.buffer.split_to(end);
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        Ok(Response {
            status: status.ok_or_else(|| Gone(format!("no status in {text:?}")))?,
            headers: headers.map(|(n, v)| (n.to_owned(), v.trim().to_owned())).collect(),
            body: Bytes::new(),
            interim: Vec::new(),
        })
    }

    async fn body(&mut self, mut response: Response, is_head: bool) -> Result<Response, Gone> {
        if is_head || response.status == 204 || response.status == 304 {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            let mut body = BytesMut::new();
            loop {
                let line = self.line().await?;
                let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16);
                let size = size.map_err(|_| Gone(format!("chunk size {line:?}")))?;
                body.extend_from_slice(&self.exactly(size).await?);
                let end = self.line().await?;
                if size == 0 {
                    if !end.is_empty() {
                        return Err(Gone(format!("a trailer in an answer: {end:?}")));
                    }
                    response.body = body.freeze();
                    return Ok(response);
                }
            }
        }
        match response.header("content-length") {
            Some(length) => {
                let length = length.parse().map_err(|_| Gone(format!("content-length {length:?}")))?;
                response.body = self.exactly(length).await?;
            }
            None => {
                while self.fill().await? > 0 {}
                response.body = self.buffer.split().freeze();
            }
        }
        Ok(response)
    }

    async fn line(&mut self) -> Result<String, Gone> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer.split_to(at + 2);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.fill().await? == 0 {
                return Err(Gone("closed inside a chunked answer".into()));
            }
        }
    }

    async fn exactly(&mut self, len: usize) -> Result<Bytes, Gone> {
        while self.buffer.len() < len {
            if self.fill().await? == 0 {
                return Err(Gone(format!("closed after {} of {len} bytes", self.buffer.len())));
            }
        }
        Ok(self.buffer.split_to(len).freeze())
    }
}
