//! An encoding that is said where the payload does not come with it, so that nobody looks up what its readers will get:
//! for an upload in parts before its first part, unless its first bytes tell the same, and for an object that is there
//! already, in the query of its reader.
//! (For a copy, see [`crate::copying`].)

use super::{Operation, Reason, Refusal, Rules};
use crate::s3::encoding::Encoding;
use crate::s3::head::Head;

pub(super) fn check(head: Head<'_>, operation: Operation, rules: &Rules, has_body: bool) -> Result<(), Refusal> {
    let in_query = |wanted: &str| {
        let mut pairs = head.query_pairs();
        pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    // MinIO takes a parameter for the header, and SeaweedFS the header of a form for a field of it.
    let form = operation == Operation::PostObject;
    if in_query("content-encoding").is_some() || (form && !head.content_encoding().is_empty()) {
        return Err(Reason::EncodingPlace.into());
    }
    let unseen = match operation {
        // The whole will be read back. With a body, which nobody sends, its answer would not be.
        Operation::CreateMultipartUpload if rules.encoded_read_back && !has_body => return Ok(()),
        Operation::CreateMultipartUpload => {
            let said = head.content_encoding();
            if Encoding::named(&said).all(Encoding::is_recognised) && !has_body {
                return Ok(());
            }
            said
        }
        _ => in_query("response-content-encoding").unwrap_or_default(),
    };
    if rules.encodings_refused && Encoding::named(&unseen).next().is_some() {
        return Err(Reason::EncodingUnseen.into());
    }
    Ok(())
}
