//! `answer: accept`: the client is told that its upload went well, with the ETag that it would have got, and the object is
//! not there afterwards.
//!
//! Only where a real answer would say no more than that: in a bucket without versions and without encryption. Whether it
//! is one is asked at the moment of the match, of the origin itself.

use super::own::{self, Place};
use crate::config::settings::Settings;
use crate::digest::Digests;
use crate::forward::{AnswerBody, Origin};
use crate::gate::Gate;
use crate::route::{Errand, Operation};
use crate::s3::complete::NamedPart;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::request::Parts;
use http::{HeaderValue, Response};
use md5::{Digest as _, Md5};
use quick_xml::escape::escape;
use std::sync::Arc;

/// The answer; `None` where the client has to be refused instead. `named` are the parts of a Complete.
pub async fn accepted(
    gate: &Gate,
    parts: &Parts,
    errand: &Errand,
    object: &Digests,
    named: Option<&[NamedPart]>,
) -> Option<Response<AnswerBody>> {
    let bucket = errand.target.bucket.as_deref()?;
    let key = errand.target.key.as_deref()?;
    if parts.headers.keys().any(|name| name.as_str().starts_with("x-amz-server-side-encryption")) {
        return None;
    }
    let place = own::bucket_of(parts, bucket, &gate.settings.listen.base_domains)?;
    why_not(&gate.settings, &gate.origin, &place).await.is_none().then_some(())?;
    match (errand.operation, named) {
        (Operation::PutObject, None) => {
            let etag = format!("\"{}\"", hex::encode(object.md5?));
            let mut answer = Response::new(AnswerBody::whole(Bytes::new()));
            answer.headers_mut().insert(CONTENT_LENGTH, 0.into());
            answer.headers_mut().insert(ETAG, HeaderValue::try_from(etag).ok()?);
            Some(answer)
        }
        (Operation::CompleteMultipartUpload, Some(named)) => {
            let xml = complete_result(&place, bucket, key, &etag_of_parts(named)?);
            let mut answer = Response::new(AnswerBody::whole(xml.into()));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            Some(answer)
        }
        _ => None,
    }
}

/// Why uploads to a bucket cannot be accepted in appearance; `None` where they can.
pub async fn why_not(settings: &Settings, origin: &Arc<Origin>, bucket: &Place) -> Option<&'static str> {
    match own::ask(settings, origin, bucket, "versioning=").await {
        Some((status, body)) if status.is_success() && body.contains("<Status>") => return Some("it keeps versions"),
        Some((status, _)) if status.is_success() || own::knows_no_such(status) => {}
        _ => return Some("the origin does not say whether it keeps versions"),
    }
    match own::ask(settings, origin, bucket, "encryption=").await {
        Some((status, body)) if status.is_success() && body.contains("<ServerSideEncryption") => {
            Some("it is encrypted")
        }
        // An older store lists the bucket instead.
        Some((status, _)) if status.is_success() || own::knows_no_such(status) => None,
        _ => Some("the origin does not say whether it is encrypted"),
    }
}

/// The ETag of an object in parts: MD5 over the MD5s of its parts, and their number.
fn etag_of_parts(named: &[NamedPart]) -> Option<String> {
    let mut md5 = Md5::new();
    for part in named {
        md5.update(hex::decode(&part.etag).ok()?);
    }
    Some(format!("{}-{}", hex::encode(md5.finalize()), named.len()))
}

fn complete_result(place: &Place, bucket: &str, key: &str, etag: &str) -> String {
    let location = format!("http://{}/{bucket}/{key}", place.host);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Location>{}</Location><Bucket>{}</Bucket><Key>{}</Key><ETag>&#34;{etag}&#34;</ETag></CompleteMultipartUploadResult>",
        escape(location),
        escape(bucket),
        escape(key),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What MinIO gives two parts of 5 MiB of zeros and one byte: MD5 of both MD5s.
    #[test]
    fn the_etag_of_an_object_in_parts() {
        let md5 = |bytes: &[u8]| hex::encode(Md5::digest(bytes));
        let parts = [md5(&[0; 5 << 20]), md5(b"x")];
        let named: Vec<NamedPart> =
            (1..).zip(&parts).map(|(number, etag)| NamedPart { number, etag: etag.clone() }).collect();
        let together: Vec<u8> = parts.iter().flat_map(|part| hex::decode(part).unwrap()).collect();
        assert_eq!(etag_of_parts(&named).unwrap(), format!("{}-2", md5(&together)));
        assert_eq!(etag_of_parts(&[NamedPart { number: 1, etag: "no hex".into() }]), None);
    }
}
