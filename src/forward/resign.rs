//! Signing anew for users that have credentials of their own at the origin, and what that does to an `aws-chunked` body:
//! its chunk signatures hang on the signature that we replace, so they go.

use super::head::OriginHead;
use crate::authenticate::Caller;
use crate::config::settings::{self, HostHeader, Trailers};
use crate::route::{Errand, Promised};
use crate::s3::authorization::Payload;
use crate::s3::chunked::{Mark, Segment, Signing};
use bytes::Bytes;
use time::OffsetDateTime;

/// What signing anew needs of the settings.
#[derive(Clone, Debug)]
pub struct Resigning {
    region: String,
    host: HostHeader,
    authority: String,
    trailers: Trailers,
}

/// How segments are turned into what the origin gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reframe {
    /// As they came.
    Keep,
    /// The payload alone.
    Payload,
    /// Unsigned chunks, and the trailer without its signature.
    UnsignedChunks,
}

impl Resigning {
    /// Takes what it needs.
    pub fn new(origin: &settings::Origin) -> Resigning {
        Resigning {
            region: origin.region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
            host: origin.host_header,
            authority: origin.authority.clone(),
            trailers: origin.trailers,
        }
    }

    /// Signs the head anew where the caller has credentials for that; leaves it alone otherwise.
    pub fn apply(&self, head: &mut OriginHead, errand: &Errand, caller: &Caller, now: OffsetDateTime) -> Reframe {
        let Some(credentials) = &caller.origin_credentials else { return Reframe::Keep };
        let (reframe, payload) = match (&errand.framing.chunked, errand.framing.promised) {
            (None, Promised::Sha256(digest)) => (Reframe::Keep, hex::encode(digest)),
            (None, Promised::Nothing) => (Reframe::Keep, Payload::UNSIGNED.to_owned()),
            (Some(chunking), _) => match (self.trailers, chunking.signing, &chunking.trailers) {
                (Trailers::Unsigned, Signing::Unsigned, _) => (Reframe::Keep, UNSIGNED_TRAILER.to_owned()),
                (Trailers::Unsigned, _, Some(_)) => {
                    head.rechunk();
                    (Reframe::UnsignedChunks, UNSIGNED_TRAILER.to_owned())
                }
                _ => {
                    head.unchunk(errand.framing.declared_length.unwrap_or(0));
                    (Reframe::Payload, Payload::UNSIGNED.to_owned())
                }
            },
        };
        head.sign(&payload, credentials, &self.region, (self.host, &self.authority), &errand.target, now);
        reframe
    }
}

/// The value of x-amz-content-sha256 for unsigned chunks with a trailer.
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

impl Reframe {
    /// What the origin gets in the place of `segment`.
    pub fn convert(self, segment: Segment) -> impl Iterator<Item = Segment> {
        let segments = match (self, segment) {
            (Reframe::Keep, segment) | (Reframe::Payload, segment @ Segment::Payload(_)) => [Some(segment), None, None],
            (Reframe::Payload, Segment::Frame(..)) => [None, None, None],
            (Reframe::UnsignedChunks, Segment::Payload(payload)) => {
                let size = payload.len() as u64;
                let start = Segment::Frame(format!("{size:x}\r\n").into(), Mark::ChunkStart { size, signature: None });
                let end = Segment::Frame(Bytes::from_static(b"\r\n"), Mark::ChunkEnd);
                [Some(start), Some(Segment::Payload(payload)), Some(end)]
            }
            (Reframe::UnsignedChunks, Segment::Frame(_, Mark::End(trailers))) => {
                let mut end = String::from("0\r\n");
                for (name, value) in &trailers.fields {
                    end.extend([name, ":", value, "\r\n"]);
                }
                end.push_str("\r\n");
                [Some(Segment::Frame(end.into(), Mark::End(trailers))), None, None]
            }
            (Reframe::UnsignedChunks, Segment::Frame(..)) => [None, None, None],
        };
        segments.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::chunked::{Framer, Trailers as Fields};

    fn signed_body() -> Vec<Segment> {
        let frame = |text: &'static str, mark| Segment::Frame(Bytes::from_static(text.as_bytes()), mark);
        let signature = Some("0".repeat(64));
        vec![
            frame("3;chunk-signature=..\r\n", Mark::ChunkStart { size: 3, signature: signature.clone() }),
            Segment::Payload(Bytes::from_static(b"abc")),
            frame("\r\n", Mark::ChunkEnd),
            frame("0;chunk-signature=..\r\n", Mark::ChunkStart { size: 0, signature: signature.clone() }),
            frame(
                "..",
                Mark::End(Fields { fields: vec![("x-amz-checksum-crc32".into(), "NSRBwg==".into())], signature }),
            ),
        ]
    }

    fn wire(reframe: Reframe) -> Vec<u8> {
        let segments = signed_body().into_iter().flat_map(|segment| reframe.convert(segment));
        segments.flat_map(|segment| segment.wire().to_vec()).collect()
    }

    #[test]
    fn a_signed_body_becomes_plain_or_unsigned_chunks() {
        assert_eq!(wire(Reframe::Payload), b"abc");
        let chunks = wire(Reframe::UnsignedChunks);
        assert_eq!(chunks, b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n");
        let mut framer = Framer::chunked(Signing::Unsigned, 3, Some(vec!["x-amz-checksum-crc32".into()]));
        framer.push(chunks.into(), &mut Vec::new()).unwrap();
        framer.finish(&mut Vec::new()).unwrap();
    }
}
