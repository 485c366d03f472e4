//! A body that hashes what passes through it.
//!
//! Wire bytes come in from the client, segments go out; on the way every payload byte goes through the digests, the
//! promised checksums and, where we verify signatures, the chunk signatures. Nothing here knows where the segments go.

mod archive;
mod decode;
mod gzip;
mod pace;
mod promise;

pub use archive::ArchiveError;
pub use decode::{Begun, Bound, Decoded, Decoding};
pub use pace::{Pace, TooSlow};
pub use promise::{BrokenPromise, Promises};

use crate::authenticate::{AuthError, ChunkVerifier};
use crate::config::settings;
use crate::digest::{Algorithm, Algorithms, Digests, Hashing};
use crate::route::Errand;
use crate::s3::chunked::{Framer, FramingError, Mark, Segment, Trailers};
use crate::s3::form::Fields;
use crate::s3::head::content_encoding;
use crate::s3::post_policy::LengthRange;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt as _;

/// Why a body cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The framing is not what we take.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// More payload than the operation takes.
    #[error("the body is larger than this call takes")]
    TooLarge,
    /// Less payload than the form's policy asks for.
    #[error("the payload is smaller than the policy allows")]
    TooSmall,
    /// HTTP trailers, which S3 does not use and stores treat differently.
    #[error("the body has HTTP trailers")]
    HttpTrailers,
    /// A promise was not kept.
    #[error(transparent)]
    Promise(#[from] BrokenPromise),
    /// A chunk's or trailer's signature is wrong.
    #[error(transparent)]
    Signature(#[from] AuthError),
    /// The client is silent or crawls.
    #[error(transparent)]
    Slow(#[from] TooSlow),
    /// The client is gone.
    #[error("the client closed the connection inside the body")]
    ClientGone,
}

/// What was seen of a whole body.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Of the payload as it was sent.
    pub digests: Digests,
    /// Of the payload as its readers get it, where it is encoded.
    pub decoded: Option<Decoded>,
}

/// A request body under inspection.
pub struct Inspection<B> {
    body: B,
    pace: Pace,
    framer: Framer,
    hashing: Hashing,
    /// Only for uploads: nothing else is read by anybody.
    decodings: Vec<Decoding>,
    promises: Promises,
    chunks: Option<ChunkVerifier>,
    trailers: Trailers,
    payload_max: u64,
    length_min: u64,
    payload: u64,
    ended: bool,
}

impl<B> Inspection<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Wraps `body`. `wanted` are the algorithms that the lists need; `chunks` verifies chunk signatures; `encodings` are
    /// the bounds for decoding.
    pub fn new(
        body: B,
        headers: &HeaderMap,
        errand: &Errand,
        wanted: Algorithms,
        chunks: Option<ChunkVerifier>,
        pace: Pace,
        encodings: &settings::Encodings,
    ) -> Result<Inspection<B>, InspectError> {
        let announced = errand.framing.chunked.as_ref().and_then(|chunking| chunking.trailers.as_deref());
        let about_object = errand.operation == crate::route::Operation::CompleteMultipartUpload;
        let promises = Promises::read(headers, errand.framing.promised, announced.unwrap_or_default(), about_object)?;
        let mut algorithms = wanted;
        if promises.needs_md5() {
            algorithms = algorithms.with(Algorithm::Md5);
        }
        if promises.needs_sha1() {
            algorithms = algorithms.with(Algorithm::Sha1);
        }
        let mut decodings = match errand.operation.is_upload() {
            true => Decoding::ways(&content_encoding(headers), encodings, wanted),
            false => Vec::new(),
        };
        if errand.unpacked {
            decodings = decodings.into_iter().map(Decoding::unpacking).collect();
        }
        Ok(Inspection {
            body,
            pace,
            framer: errand.framing.framer(),
            hashing: Hashing::new(algorithms),
            decodings,
            promises,
            chunks,
            trailers: Trailers::default(),
            payload_max: errand.payload_max.unwrap_or(u64::MAX),
            length_min: 0,
            payload: 0,
            ended: false,
        })
    }

    /// The next segments, inspected; empty at the end of the body, whose framing was then complete. Nothing is lost where
    /// the future is dropped before it is done.
    pub async fn next(&mut self) -> Result<Vec<Segment>, InspectError> {
        let mut segments = Vec::new();
        while segments.is_empty() && !self.ended {
            let Some(frame) = self.pace.watch(self.body.frame()).await? else {
                self.ended = true;
                self.framer.finish(&mut segments)?;
                break;
            };
            let wire =
                frame.map_err(|_| InspectError::ClientGone)?.into_data().map_err(|_| InspectError::HttpTrailers)?;
            self.pace.received(wire.len())?;
            self.framer.push(wire, &mut segments)?;
        }
        for segment in &segments {
            self.look_at(segment)?;
        }
        Ok(segments)
    }

    /// What was seen of the payload, once every promise about it was found kept. Call it after the end of the body.
    pub fn finish(self) -> Result<Inspected, InspectError> {
        if self.chunks.is_some_and(|chunks| !chunks.finished()) {
            return Err(FramingError::Truncated.into());
        }
        if self.payload < self.length_min {
            return Err(InspectError::TooSmall);
        }
        if self.payload > self.payload_max {
            return Err(InspectError::TooLarge);
        }
        let digests = self.hashing.finish();
        self.promises.check(&digests, &self.trailers.fields)?;
        Ok(Inspected { digests, decoded: Decoding::finish_all(self.decodings) })
    }

    /// A form says in its fields how its payload is encoded, and how long it may be. `came_with` are the segments that
    /// came together with them, and were looked at before.
    pub fn heed(
        &mut self,
        fields: &Fields,
        came_with: &[Segment],
        encodings: &settings::Encodings,
        wanted: Algorithms,
        range: LengthRange,
    ) {
        self.decodings = Decoding::ways(fields.get("content-encoding").unwrap_or_default(), encodings, wanted);
        for segment in came_with {
            if let Segment::Payload(payload) = segment {
                self.decodings.iter_mut().for_each(|decoding| decoding.update(payload));
            }
        }
        self.length_min = range.min;
        self.payload_max = range.max;
    }

    /// Payload bytes seen so far.
    pub fn payload_len(&self) -> u64 {
        self.payload
    }

    /// Gives back the body, for draining what is left of it.
    pub fn into_body(self) -> B {
        self.body
    }

    fn look_at(&mut self, segment: &Segment) -> Result<(), InspectError> {
        match segment {
            Segment::Payload(payload) => {
                self.payload += payload.len() as u64;
                if self.payload > self.payload_max {
                    return Err(InspectError::TooLarge);
                }
                self.hashing.update(payload);
                self.promises.update(payload);
                self.decodings.iter_mut().for_each(|decoding| decoding.update(payload));
            }
            Segment::Frame(_, Mark::End(trailers)) => self.trailers = trailers.clone(),
            Segment::Frame(..) => {}
        }
        if let Some(chunks) = &mut self.chunks {
            chunks.segment(segment)?;
        }
        Ok(())
    }
}
