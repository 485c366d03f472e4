//! Everything that brings no bytes: passed through as it came, in both directions, at the pace of the slower side.

use crate::act::quarantine::describing_headers;
use crate::act::read_back;
use crate::error::Failure;
use crate::forward::{AnswerBody, OriginHead, buffered};
use crate::gate::Gate;
use crate::multipart::{Beginning, UploadId};
use crate::route::{Errand, Operation, Reason};
use crate::s3::encoding::Encoding;
use crate::s3::head::content_encoding;
use http::Response;
use http::request::Parts;
use quick_xml::escape::unescape;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Most bytes of headers that are kept of one upload. Amazon S3 takes 2 KiB of metadata, and 10 tags.
const DESCRIBED_MAX: usize = 8 << 10;

/// Sends the request on; `upload` is the multipart upload that it names, if any. The answer streams, but for that to
/// CreateMultipartUpload, which is short, and names the upload.
pub async fn relay(
    gate: &Arc<Gate>,
    parts: &Parts,
    errand: &Errand,
    upload: Option<UploadId>,
    head: OriginHead,
) -> Result<Response<AnswerBody>, Failure> {
    if errand.operation == Operation::CreateMultipartUpload {
        check_encoded(gate, parts, errand).await?;
    }
    let answer = gate.origin.send(head.bare()).await?;
    if !answer.status().is_success() {
        return Ok(answer);
    }
    match (errand.operation, upload) {
        (Operation::CreateMultipartUpload, _) => begun(gate, parts, errand, answer).await,
        (Operation::AbortMultipartUpload, Some(upload)) => {
            gate.multipart.forget(&upload);
            if let Some(quarantine) = &gate.quarantine {
                quarantine.parts().forget(&upload);
            }
            Ok(answer)
        }
        _ => Ok(answer),
    }
}

/// Notes what CreateMultipartUpload said of the object: a case of it will need it, and whoever decides whether its whole
/// is known.
async fn begun(
    gate: &Arc<Gate>,
    parts: &Parts,
    errand: &Errand,
    answer: Response<AnswerBody>,
) -> Result<Response<AnswerBody>, Failure> {
    let (head, body) = buffered(answer).await?.into_parts();
    let body = body.collect_short().await?;
    if let Some(upload) = upload_id(&body) {
        let id = UploadId::of_target(&errand.target, upload);
        let beginning = beginning(gate, parts);
        let gate = gate.clone();
        // It does not fail: what is not noted is not known.
        spawn_blocking(move || gate.multipart.begin(id, beginning, gate.algorithms())).await.ok();
    }
    Ok(Response::from_parts(head, AnswerBody::whole(body)))
}

/// An object in parts that its readers decode, and that is not decoded as it comes, has to be read when it is there: where
/// that cannot be, nothing of it is let through. (Where it is not the setting, routing has refused it.)
async fn check_encoded(gate: &Gate, parts: &Parts, errand: &Errand) -> Result<(), Failure> {
    if is_recognised(parts) || !gate.settings.encoded_read_back() {
        return Ok(());
    }
    let bucket = errand.target.bucket.as_deref().unwrap_or_default();
    let possible = read_back::is_possible(gate, parts, bucket).await;
    if possible { Ok(()) } else { Err(Failure::Refused(Reason::EncodingUnseen)) }
}

fn is_encoded(parts: &Parts) -> bool {
    Encoding::named(&content_encoding(&parts.headers)).next().is_some()
}

/// Whether the first bytes of the object tell all that its readers will undo.
fn is_recognised(parts: &Parts) -> bool {
    Encoding::named(&content_encoding(&parts.headers)).all(Encoding::is_recognised)
}

fn beginning(gate: &Gate, parts: &Parts) -> Beginning {
    let mut room = DESCRIBED_MAX;
    let mut headers: Vec<(String, String)> =
        gate.quarantine.iter().flat_map(|_| describing_headers(&parts.headers)).collect();
    headers.retain(|(name, value)| {
        let fits = room.checked_sub(name.len() + value.len());
        room = fits.unwrap_or(room);
        fits.is_some()
    });
    Beginning {
        encoded: is_encoded(parts),
        recognised: is_recognised(parts),
        customer_key: read_back::has_customer_key(parts),
        headers,
    }
}

/// The id in an InitiateMultipartUploadResult.
fn upload_id(xml: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(xml).ok()?;
    let (_, rest) = text.split_once("<UploadId>")?;
    Some(unescape(rest.split_once("</UploadId>")?.0).ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_upload() {
        let xml = b"<?xml version=\"1.0\"?>\n<InitiateMultipartUploadResult xmlns=\"x\"><Bucket>b</Bucket><Key>&lt;UploadId&gt;</Key><UploadId>a&amp;+b/==</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(upload_id(xml).as_deref(), Some("a&+b/=="));
        assert_eq!(upload_id(b"<Error><Code>NoSuchBucket</Code></Error>"), None);
    }
}
