//! The story of a copy that the store makes by itself: no byte of it passes through us, so its source is read first.
//!
//! A copy can only be made of what the store has, which came past an earlier list, or past no gate at all. With
//! credentials of its own the gate reads the source and looks it up in today's lists. A copied part goes into the chain of
//! its upload like any other, if the store then says that it copied the very bytes that were read: its ETag is their MD5.
//! Otherwise its Complete is unverifiable.

use crate::act::quarantine::{Keeping, NotKept, Payload, Seen};
use crate::act::{Source, SourceRead, read_source};
use crate::config::settings::{UnknownCopy, Unverifiable};
use crate::decide::{self, OnUnavailable, Verdict};
use crate::digest::{Algorithm, Digests, Hashing};
use crate::error::Failure;
use crate::forward::{AnswerBody, OriginError, OriginHead, buffered};
use crate::gate::Gate;
use crate::inspect::{Decoded, Decoding};
use crate::multipart::{Part, UploadId};
use crate::record::Record;
use crate::route::{Errand, Operation};
use crate::s3::complete::part_number;
use crate::s3::encoding::Encoding;
use crate::s3::head::{Head, content_encoding};
use crate::s3::target::path_style_host;
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use quick_xml::escape::unescape;
use std::sync::Arc;

/// Makes the copy, once its source was found on no list, or may be unknown.
pub async fn copy(
    gate: &Arc<Gate>,
    record: &mut Record,
    seen: Seen<'_>,
    upload: Option<UploadId>,
    head: OriginHead,
) -> Result<Response<AnswerBody>, Failure> {
    let (errand, parts, policy) = (seen.errand, seen.parts, &gate.settings.policy);
    let source = match source(gate, parts) {
        Some(source) => read_source(gate, &source).await,
        None => SourceRead::Failed,
    };
    let source = match (source, &upload) {
        (SourceRead::Begun(source), _) => source,
        (SourceRead::Absent, Some(_)) => return send_unread(gate, upload, parts, head).await,
        _ => {
            gate.sinks.metrics.copy("unknown");
            return unknown(gate, record, errand, parts, upload, head).await;
        }
    };
    let place = upload.clone().zip(Head::of(parts).query_value("partNumber").as_deref().and_then(part_number));
    let mut part = match upload {
        Some(id) => part(gate, id, parts, &source).await?,
        None => None,
    };
    let quarantine = gate.quarantine.as_ref().filter(|_| policy.may_quarantine(seen.subject) || gate.floods.any());
    let mut keeping = quarantine.map(|quarantine| quarantine.keeping());
    let (digests, decoded) = read(gate, source, part.as_mut(), keeping.as_mut(), &parts.headers).await?;
    gate.sinks.metrics.copy("read");
    record.inspected(digests);
    let finding = gate.look_up_as_read(&digests, decoded.as_ref(), true).await?;
    let moment = gate.moment(OnUnavailable::Refuse);
    if moment.observe_all {
        record.observing_all();
    }
    match decide::verdict(finding, seen.subject, policy, moment) {
        Verdict::Forward(_, why) => {
            record.decided(&why);
            let releasing = match part {
                Some(part) => Some(part.releasing(&digests).await),
                None => None,
            };
            record.released();
            let answer = gate.origin.send(head.bare()).await?;
            match releasing {
                Some(releasing) => {
                    let (answer, etag) = copied(answer, &digests).await?;
                    // Its whole may turn out to be listed; kept before it is known.
                    if let (Some(quarantine), Some(part), Some(keeping), Some(etag)) =
                        (&gate.quarantine, place, keeping, &etag)
                    {
                        quarantine.part_stored(part, etag, keeping).await;
                    }
                    releasing.answered(etag.as_deref()).await;
                    Ok(answer)
                }
                None => Ok(answer),
            }
        }
        Verdict::Reject(why, _) => {
            record.decided(&why);
            Err(Failure::Listed)
        }
        // What a copy would have answered, its dates and versions, nobody can make up: it is refused in every case.
        Verdict::Quarantine(why, _) => {
            record.decided(&why);
            let payload = keeping.map_or(Payload::Parts(Err(NotKept::NotSeen)), Payload::Streamed);
            seen.keep(gate, record, &why, &digests, payload).await;
            Err(Failure::Quarantined)
        }
        Verdict::Defer(why) => Err(Failure::Undecidable(why)),
    }
}

/// What is copied from where; `None` where that cannot be told, or there is nothing to read it with.
fn source(gate: &Gate, parts: &Parts) -> Option<Source> {
    gate.settings.origin.credentials.as_ref()?;
    let head = Head::of(parts);
    if parts.headers.keys().any(|name| name.as_str().starts_with("x-amz-copy-source-server-side-encryption-customer")) {
        return None;
    }
    let host = path_style_host(head.header("host")?, &gate.settings.listen.base_domains)?;
    let range = head.effective("x-amz-copy-source-range");
    Some(Source::read(&head.effective("x-amz-copy-source")?, host, range))
}

/// A copy whose source was not read, or was not there a moment ago. If the store makes it, nobody knows what was copied: a
/// part is not known from before that on.
async fn send_unread(
    gate: &Gate,
    upload: Option<UploadId>,
    parts: &Parts,
    head: OriginHead,
) -> Result<Response<AnswerBody>, Failure> {
    let number = Head::of(parts).query_value("partNumber").as_deref().and_then(part_number);
    let _releasing = match upload.zip(number) {
        Some((id, number)) => {
            let part = gate.multipart.part(id, number, None, gate.algorithms()).await?;
            Some(part.releasing_unknown().await)
        }
        None => None,
    };
    Ok(gate.origin.send(head.bare()).await?)
}

/// A source that nobody read.
async fn unknown(
    gate: &Gate,
    record: &Record,
    errand: &Errand,
    parts: &Parts,
    upload: Option<UploadId>,
    head: OriginHead,
) -> Result<Response<AnswerBody>, Failure> {
    let settings = &gate.settings;
    // Not those bytes were there before, but others: what readers will make of them.
    let encoded = Encoding::named(&content_encoding(&parts.headers)).next().is_some();
    if encoded && settings.encodings.unseen_refused() {
        return Err(Failure::UnknownCopy);
    }
    match (errand.operation, settings.multipart.unverifiable, settings.copies) {
        (Operation::UploadPartCopy, Unverifiable::Refuse, _) => return Err(Failure::UnknownCopy),
        (Operation::UploadPartCopy, Unverifiable::Allow, _) => record.waived("multipart_unverifiable"),
        // Its Complete will be read back.
        (Operation::UploadPartCopy, Unverifiable::ReadBack, _) | (_, _, UnknownCopy::Allow) => {}
        (_, _, UnknownCopy::Refuse) => return Err(Failure::UnknownCopy),
    }
    send_unread(gate, upload, parts, head).await
}

/// The copied part's place in its upload.
async fn part(
    gate: &Gate,
    id: UploadId,
    parts: &Parts,
    source: &Response<AnswerBody>,
) -> Result<Option<Part>, Failure> {
    let number = Head::of(parts).query_value("partNumber").as_deref().and_then(part_number);
    let length = source.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(number) = number else { return Ok(None) };
    Ok(Some(gate.multipart.part(id, number, length, gate.algorithms()).await?))
}

/// Hashes the source, on its way into the chain. `headers` are the copy's: it may say that the bytes are encoded, which
/// they were not said to be before.
async fn read(
    gate: &Gate,
    source: Response<AnswerBody>,
    mut part: Option<&mut Part>,
    mut keeping: Option<&mut Keeping>,
    headers: &HeaderMap,
) -> Result<(Digests, Option<Decoded>), Failure> {
    let mut decodings = decodings(gate, content_encoding(headers), content_encoding(source.headers()));
    let mut hashing = Hashing::new(gate.algorithms().with(Algorithm::Md5));
    let mut body = source.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        hashing.update(&data);
        decodings.iter_mut().for_each(|decoding| decoding.update(&data));
        if let Some(part) = &mut part {
            part.see(&data).await?;
        }
        if let Some(keeping) = &mut keeping {
            keeping.see(&data).await;
        }
    }
    Ok((hashing.finish(), Decoding::finish_all(decodings)))
}

/// The copy keeps what its source said, or says something else instead: which of them depends on a directive, and on the
/// store. So both count.
fn decodings(gate: &Gate, copy: String, source: String) -> Vec<Decoding> {
    let mut said = vec![source, copy];
    said.dedup();
    if said.len() > 1 {
        said.retain(|value| !value.is_empty());
    }
    said.iter().flat_map(|value| Decoding::ways(value, &gate.settings.encodings, gate.algorithms())).collect()
}

/// The store copied a part: it is known where its ETag, which is given then, is the MD5 of what was read.
async fn copied(
    answer: Response<AnswerBody>,
    digests: &Digests,
) -> Result<(Response<AnswerBody>, Option<String>), Failure> {
    let success = answer.status().is_success();
    let (head, body) = buffered(answer).await?.into_parts();
    let body = body.collect_short().await.map_err(|error: OriginError| Failure::Origin(error))?;
    let etag = Some(&body).filter(|_| success).and_then(|body| copied_etag(body));
    let same = digests.md5.map(hex::encode).is_some_and(|md5| etag.as_deref() == Some(&md5));
    let etag = etag.filter(|_| same);
    Ok((Response::from_parts(head, AnswerBody::whole(body)), etag))
}

/// The ETag in a CopyPartResult, without quotes.
fn copied_etag(xml: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(xml).ok()?;
    let (_, rest) = text.split_once("<ETag>")?;
    let etag = unescape(rest.split_once("</ETag>")?.0).ok()?;
    Some(crate::s3::complete::plain_etag(&etag).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_a_copied_part() {
        for etag in ["\"0a\"", "&quot;0a&quot;", "&#34;0a&#34;", "0a"] {
            let xml = format!(
                "<?xml version=\"1.0\"?>\n<CopyPartResult><LastModified>x</LastModified><ETag>{etag}</ETag></CopyPartResult>"
            );
            assert_eq!(copied_etag(xml.as_bytes()).as_deref(), Some("0a"), "{etag}");
        }
        assert_eq!(copied_etag(b"<Error><Code>NoSuchKey</Code></Error>"), None);
    }
}
