//! What is this request? The answer is an [`Errand`], or a [`Refusal`] where the request could be read in two ways, or
//! brings bytes in by a door that is not open.
//!
//! Pure: the head of the request goes in, nothing is read or sent.

mod encoding;
mod form;
mod framing;
mod hygiene;
mod operation;
mod refusal;

pub use form::{form_redirect, object_key};
pub use framing::{Framing, Promised};
pub use operation::Operation;
pub use refusal::{Reason, Refusal};

use crate::config::settings::{Limits, Mode, Settings};
use crate::s3::authorization::Presented;
use crate::s3::chunked::Signing;
use crate::s3::head::Head;
use crate::s3::target::{OriginKind, Target};
use http::Version;

/// What routing needs of the settings.
#[derive(Clone, Debug)]
pub struct Rules {
    base_domains: Vec<String>,
    kind: OriginKind,
    verify: bool,
    signature_v2: bool,
    plain_chunked: bool,
    snowball: bool,
    encodings_refused: bool,
    encoded_read_back: bool,
    list_body: u64,
    control_body: u64,
}

/// A request that is understood.
#[derive(Clone, Debug)]
pub struct Errand {
    /// What it asks for.
    pub operation: Operation,
    /// Bucket and key.
    pub target: Target,
    /// How its body is framed, and what the client promised about it.
    pub framing: Framing,
    /// Most payload bytes that this operation takes; `None` for uploads.
    pub payload_max: Option<u64>,
    /// The store will unpack the payload.
    pub unpacked: bool,
}

impl Errand {
    /// The key that a form names in its fields, and not in its path.
    pub fn form_key(&self) -> Option<&str> {
        self.target.key.as_deref().filter(|_| self.operation == Operation::PostObject)
    }
}

impl Rules {
    /// Takes what routing needs out of the settings.
    pub fn new(settings: &Settings) -> Rules {
        let Limits { list_body, control_body, .. } = settings.limits;
        Rules {
            base_domains: settings.listen.base_domains.clone(),
            kind: settings.origin.kind,
            verify: settings.authentication.mode == Mode::Verify,
            signature_v2: settings.authentication.signature_v2,
            plain_chunked: settings.origin.plain_chunked,
            snowball: settings.snowball_inspected,
            encodings_refused: settings.encodings.unseen_refused(),
            encoded_read_back: settings.encoded_read_back(),
            list_body,
            control_body,
        }
    }

    /// Reads a request. `presented` is what its authorization says; `has_body` whether bytes follow the head.
    pub fn route(
        &self,
        head: Head<'_>,
        version: Version,
        authority: Option<&str>,
        presented: &Presented,
        has_body: bool,
    ) -> Result<Errand, Refusal> {
        hygiene::check(head, version, authority)?;
        let host = head.header("host").unwrap_or_default();
        let target = Target::read(host, head.path, &self.base_domains);
        let operation = operation::classify(head, &target, self.kind)?;
        encoding::check(head, operation, self, has_body)?;
        let unpacked = operation::is_snowball(head);
        if unpacked && !(self.snowball && operation == Operation::PutObject) {
            return Err(Reason::Snowball.into());
        }
        let carries_nothing =
            matches!(operation, Operation::CopyObject | Operation::UploadPartCopy | Operation::RenameObject);
        if carries_nothing && has_body {
            return Err(Reason::BodyNotAllowed.into());
        }
        let brings_bytes = operation.is_upload() || has_body;
        if brings_bytes && matches!(presented, Presented::HeaderV2 { .. }) && !self.signature_v2 {
            return Err(Reason::SignatureV2.into());
        }
        if operation == Operation::PostObject && *presented != Presented::Anonymous {
            return Err(Reason::FormAuthorization.into());
        }
        let framing = framing::read(head, presented, operation, self)?;
        // Its signature is never checked by the store that unpacks it (CVE-2026-40344).
        if unpacked && framing.chunked.as_ref().is_some_and(|chunking| chunking.signing == Signing::Unsigned) {
            return Err(Reason::Snowball.into());
        }
        Ok(Errand { payload_max: self.payload_max(operation), operation, target, framing, unpacked })
    }

    fn payload_max(&self, operation: Operation) -> Option<u64> {
        match operation {
            operation if operation.is_upload() => None,
            Operation::CompleteMultipartUpload | Operation::DeleteObjects => Some(self.list_body),
            _ => Some(self.control_body),
        }
    }
}

#[cfg(test)]
mod tests;
