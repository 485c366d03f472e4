//! The story of an object that comes in parts.
//!
//! Each part is an upload of its own, looked up by itself. Of a whole object we know the digest only where its Complete
//! names one part: then it is the part's. A Complete of several parts is refused, unless `multipart.unverifiable` allows
//! it: a listed file that was split would pass.

use crate::config::settings::Unverifiable;
use crate::error::Failure;
use crate::record::Record;
use crate::route::Operation;
use crate::s3::chunked::Segment;
use crate::s3::complete::count_parts;

/// What a CompleteMultipartUpload asks for, read while its body passes.
pub struct Completion {
    /// The body so far, at most `limits.list_body` bytes; `None` for any other operation.
    xml: Option<Vec<u8>>,
}

impl Completion {
    /// Of a request for this operation.
    pub fn of(operation: Operation) -> Completion {
        Completion { xml: (operation == Operation::CompleteMultipartUpload).then(Vec::new) }
    }

    /// Takes the next segment of the body.
    pub fn see(&mut self, segment: &Segment) {
        if let (Some(xml), Segment::Payload(payload)) = (&mut self.xml, segment) {
            xml.extend_from_slice(payload);
        }
    }

    /// Whether it may be let through: one part, or as many as the setting allows.
    pub fn check(&self, setting: Unverifiable, record: &Record) -> Result<(), Failure> {
        let Some(xml) = &self.xml else { return Ok(()) };
        let parts = count_parts(xml).map_err(|_| Failure::MalformedXml)?;
        match setting {
            _ if parts <= 1 => Ok(()),
            Unverifiable::Refuse => Err(Failure::Unverifiable),
            Unverifiable::Allow => {
                record.waived("multipart_unverifiable");
                Ok(())
            }
        }
    }
}
