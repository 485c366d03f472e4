//! Everything that brings no bytes: passed through as it came, in both directions, at the pace of the slower side.

use crate::error::Failure;
use crate::forward::{AnswerBody, OriginHead};
use crate::gate::Gate;
use crate::record::Record;
use crate::route::{Errand, Operation};
use http::Response;

/// Sends the request on. The answer streams: nothing of it is kept here.
pub async fn relay(
    gate: &Gate,
    record: &Record,
    errand: &Errand,
    head: OriginHead,
) -> Result<Response<AnswerBody>, Failure> {
    if errand.operation == Operation::UploadPartCopy {
        // Routed here only where the setting allows it.
        record.waived("multipart_unverifiable");
    }
    Ok(gate.origin.send(head.bare()).await?)
}
