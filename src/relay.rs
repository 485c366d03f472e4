//! Everything that brings no bytes: passed through as it came, in both directions, at the pace of the slower side.

use crate::error::Failure;
use crate::forward::{AnswerBody, OriginHead};
use crate::gate::Gate;
use crate::multipart::UploadId;
use crate::route::{Errand, Operation};
use http::Response;

/// Sends the request on; `upload` is the multipart upload that it names, if any. The answer streams: nothing of it is kept here.
pub async fn relay(
    gate: &Gate,
    errand: &Errand,
    upload: Option<UploadId>,
    head: OriginHead,
) -> Result<Response<AnswerBody>, Failure> {
    let answer = gate.origin.send(head.bare()).await?;
    if let (Operation::AbortMultipartUpload, Some(upload)) = (errand.operation, upload)
        && answer.status().is_success()
    {
        gate.multipart.forget(&upload);
        if let Some(quarantine) = &gate.quarantine {
            quarantine.parts().forget(&upload);
        }
    }
    Ok(answer)
}
