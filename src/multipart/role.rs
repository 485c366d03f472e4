//! What a request is to a multipart upload.

use super::{Busy, Multipart, Part, UploadId};
use crate::digest::Algorithms;
use crate::route::{Errand, Operation};
use crate::s3::chunked::Segment;
use crate::s3::complete::{self, NamedPart};

/// A part, the Complete, or neither.
pub enum Role {
    /// Nothing of a multipart upload.
    None,
    /// A part that streams.
    Part(Part),
    /// A Complete, and its body as far as it came: at most `limits.list_body` bytes.
    Complete(UploadId, Vec<u8>),
}

impl Role {
    /// That of a request. Waits where it is a part that comes too early and there is no room for it. `number` is its
    /// partNumber; `wanted` are the algorithms that the lists need.
    pub async fn of(
        multipart: &Multipart,
        errand: &Errand,
        upload: Option<UploadId>,
        number: Option<u16>,
        wanted: Algorithms,
    ) -> Result<Role, Busy> {
        match (errand.operation, upload, number) {
            (Operation::UploadPart, Some(id), Some(number)) => {
                Ok(Role::Part(multipart.part(id, number, errand.framing.declared_length, wanted).await?))
            }
            (Operation::CompleteMultipartUpload, Some(id), _) => Ok(Role::Complete(id, Vec::new())),
            _ => Ok(Role::None),
        }
    }

    /// The parts that a Complete names, once its body has come.
    pub fn named_parts(&self) -> Option<Vec<NamedPart>> {
        match self {
            Role::Complete(_, xml) => complete::parts(xml).ok(),
            Role::None | Role::Part(_) => None,
        }
    }

    /// Takes the next segment of the body.
    ///
    /// # Errors
    /// As for [`Part::see`].
    pub async fn see(&mut self, segment: &Segment) -> Result<(), Busy> {
        let Segment::Payload(payload) = segment else { return Ok(()) };
        match self {
            Role::None => Ok(()),
            Role::Part(part) => part.see(payload).await,
            Role::Complete(_, xml) => {
                xml.extend_from_slice(payload);
                Ok(())
            }
        }
    }
}
