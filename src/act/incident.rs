//! The origin committed a listed payload before it was given the end: take away that very object.

use crate::forward::{AnswerBody, OriginHead};
use crate::gate::Gate;
use crate::s3;
use http::header::{CONTENT_LENGTH, ETAG, HOST, HeaderMap, HeaderValue, IF_MATCH};
use http::request::Parts;
use http::{Method, Request, Response, Uri};
use std::net::{IpAddr, Ipv4Addr};
use time::OffsetDateTime;

/// SHA-256 of no bytes: the payload hash of a request without a body.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Removes what the origin said that it stored: that version, or, without versions, the object under a key whose ETag
/// is still the one that it gave. `upload` is the head of the client's request. Needs `origin.credentials`.
pub async fn remove_committed(gate: &Gate, upload: &Parts, answer: Response<AnswerBody>) {
    let path = upload.uri.path();
    let removed = match answer.headers().get("x-amz-version-id") {
        Some(version) => {
            let version = version.to_str().unwrap_or_default();
            let version = percent_encoding::utf8_percent_encode(version, percent_encoding::NON_ALPHANUMERIC);
            call(gate, upload, Method::DELETE, &format!("{path}?versionId={version}"), None).await
        }
        None => match unchanged(gate, upload, answer.headers().get(ETAG)).await {
            Some(etag) => call(gate, upload, Method::DELETE, path, Some(etag)).await,
            None => None,
        },
    };
    match removed.map(|answer| answer.status()) {
        Some(status) if status.is_success() => tracing::warn!("what the origin had stored too early was removed"),
        _ => tracing::error!(
            "what the origin stored too early could not be removed: look for the object of this request and remove it"
        ),
    }
}

/// Aborts the upload whose Complete this is the head of, so that its parts go. Without credentials they stay until the
/// bucket's own rule for unfinished uploads removes them.
pub async fn abort_multipart(gate: &Gate, complete: &Parts) {
    if gate.settings.origin.credentials.is_none() {
        return;
    }
    let upload = s3::head::Head::of(complete).query_value("uploadId").unwrap_or_default();
    let upload = percent_encoding::utf8_percent_encode(&upload, percent_encoding::NON_ALPHANUMERIC);
    let target = format!("{}?uploadId={upload}", complete.uri.path());
    let aborted = call(gate, complete, Method::DELETE, &target, None).await;
    if !aborted.is_some_and(|answer| answer.status().is_success()) {
        tracing::error!(
            "a listed upload in parts could not be aborted at the origin: its parts stay there, unreadable"
        );
    }
}

/// The ETag, where the object under the key still has it.
async fn unchanged(gate: &Gate, upload: &Parts, etag: Option<&HeaderValue>) -> Option<HeaderValue> {
    let etag = etag?;
    let current = call(gate, upload, Method::HEAD, upload.uri.path(), None).await?;
    (current.headers().get(ETAG) == Some(etag)).then(|| etag.clone())
}

async fn call(
    gate: &Gate,
    upload: &Parts,
    method: Method,
    target: &str,
    etag: Option<HeaderValue>,
) -> Option<Response<AnswerBody>> {
    let credentials = gate.settings.origin.credentials.as_ref()?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method;
    parts.uri = target.parse::<Uri>().ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, upload.headers.get(HOST)?.clone());
    headers.insert(CONTENT_LENGTH, 0.into());
    if let Some(etag) = etag {
        headers.insert(IF_MATCH, etag);
    }
    parts.headers = headers;
    let region = gate.settings.origin.region.as_deref().unwrap_or("us-east-1");
    crate::authenticate::sign(&mut parts, EMPTY_SHA256, credentials, region, OffsetDateTime::now_utc());
    let head = OriginHead::of_client(parts, IpAddr::V4(Ipv4Addr::LOCALHOST));
    gate.origin.send(head.bare()).await.ok()
}
