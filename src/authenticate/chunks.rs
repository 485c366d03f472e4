//! Checks the signatures of chunks and trailers as a body streams by.
//!
//! Sources: Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in
//! Multiple Chunks (Chunked Upload)", and "... Including Trailing Headers".

use super::AuthError;
use super::verify::same;
use crate::s3::authorization::{Authorization, Scope, chunk_to_sign, trailer_to_sign};
use crate::s3::chunked::{Mark, Segment, Trailers};
use aws_sigv4::sign::v4::calculate_signature;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Follows the chain of signatures from the request's to the trailer's. After an error it takes nothing any more.
pub struct ChunkVerifier {
    key: Vec<u8>,
    timestamp: String,
    scope: Scope,
    /// The signature before the next one; at first the request's.
    previous: String,
    trailer: bool,
    state: State,
}

enum State {
    /// A chunk's size line comes next.
    Start,
    /// Inside a chunk that claims `signature`.
    Chunk { signature: String, data: Sha256 },
    /// The last chunk was right; the end comes next.
    Last,
    /// All of it was right.
    Finished,
    /// Something was not.
    Failed,
}

impl ChunkVerifier {
    /// For a body whose request was verified with the signing key `key`.
    pub(super) fn new(key: Vec<u8>, timestamp: String, authorization: &Authorization, trailer: bool) -> ChunkVerifier {
        ChunkVerifier {
            key,
            timestamp,
            scope: authorization.scope.clone(),
            previous: authorization.signature.clone(),
            trailer,
            state: State::Start,
        }
    }

    /// Takes the next segment of the body. A chunk's signature is checked when the chunk is complete: its payload may
    /// have gone on by then, so the end of the body must be held back until [`finished`](Self::finished).
    pub fn segment(&mut self, segment: &Segment) -> Result<(), AuthError> {
        // Whatever returns early leaves the verifier failed.
        let state = std::mem::replace(&mut self.state, State::Failed);
        self.state = match (state, segment) {
            (State::Chunk { signature, mut data }, Segment::Payload(payload)) => {
                data.update(payload);
                State::Chunk { signature, data }
            }
            (State::Start, Segment::Frame(_, Mark::ChunkStart { size, signature: Some(signature) })) => {
                self.start(*size, signature)?
            }
            (State::Chunk { signature, data }, Segment::Frame(_, Mark::ChunkEnd)) => {
                self.check_chunk(&signature, data)?;
                State::Start
            }
            (State::Last, Segment::Frame(_, Mark::End(trailers))) => self.end(trailers)?,
            _ => return Err(AuthError::ChunkSignature),
        };
        Ok(())
    }

    /// Whether every chunk, the last one among them, and the trailer, where there is one, were seen and were right.
    pub fn finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    fn start(&mut self, size: u64, signature: &str) -> Result<State, AuthError> {
        if size > 0 {
            return Ok(State::Chunk { signature: signature.to_owned(), data: Sha256::new() });
        }
        self.check_chunk(signature, Sha256::new())?;
        Ok(State::Last)
    }

    fn check_chunk(&mut self, signature: &str, data: Sha256) -> Result<(), AuthError> {
        let to_sign = chunk_to_sign(&self.timestamp, &self.scope, &self.previous, &data.finalize().into());
        self.check(signature, &to_sign, AuthError::ChunkSignature)
    }

    fn end(&mut self, trailers: &Trailers) -> Result<State, AuthError> {
        match (&trailers.signature, self.trailer) {
            (Some(signature), true) => {
                let to_sign = trailer_to_sign(&self.timestamp, &self.scope, &self.previous, &trailers.fields);
                self.check(signature, &to_sign, AuthError::TrailerSignature)?;
                Ok(State::Finished)
            }
            (None, false) if trailers.fields.is_empty() => Ok(State::Finished),
            _ => Err(AuthError::TrailerSignature),
        }
    }

    fn check(&mut self, signature: &str, to_sign: &str, error: AuthError) -> Result<(), AuthError> {
        let computed = calculate_signature(&self.key, to_sign.as_bytes());
        if !bool::from(same(&computed, signature)) {
            return Err(error);
        }
        self.previous = computed;
        Ok(())
    }
}

impl fmt::Debug for ChunkVerifier {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkVerifier").field("scope", &self.scope).finish_non_exhaustive()
    }
}
