//! Requests of the gate's own, with `origin.credentials`.

use crate::config::settings::Settings;
use crate::forward::{AnswerBody, Origin, OriginHead, buffered};
use crate::gate::Gate;
use crate::s3::head::query_pairs;
use crate::s3::target::{Target, decode, encode_path, path_style_host};
use http::header::{CONTENT_LENGTH, ETAG, HOST, HeaderMap, HeaderName, HeaderValue, IF_MATCH, RANGE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use time::OffsetDateTime;

/// SHA-256 of no bytes: the payload hash of a request without a body.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// An object at the origin, as a client addresses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The Host that the client sent.
    pub host: String,
    /// The raw path.
    pub path: String,
}

impl Place {
    /// That of a client's request; `None` where it names no Host. `form_key` is the key that a form names.
    pub fn of(parts: &Parts, form_key: Option<&str>) -> Option<Place> {
        let host = parts.headers.get(HOST)?.to_str().ok()?.to_owned();
        let path = parts.uri.path();
        let path = match form_key {
            None => path.to_owned(),
            Some(key) => format!("{}/{}", path.trim_end_matches('/'), encode_path(key)),
        };
        Some(Place { host, path })
    }
}

/// What a copy is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    place: Place,
    query: String,
    range: Option<String>,
}

impl Source {
    /// That of `x-amz-copy-source` and `x-amz-copy-source-range`, decoded or not. `host` addresses the store in path
    /// style.
    pub fn read(copy_source: &str, host: String, range: Option<String>) -> Source {
        let (name, query) = copy_source.split_once('?').unwrap_or((copy_source, ""));
        let path = format!("/{}", encode_path(&decode(name.trim_start_matches('/'))));
        let version = query_pairs(query).find(|(name, _)| name == "versionId").map(|(_, version)| version);
        let query = version.map(|version| format!("versionId={}", encode(&version))).unwrap_or_default();
        Source { place: Place { host, path }, query, range }
    }
}

/// What the store gives of the source of a copy.
pub enum SourceRead {
    /// Its bytes.
    Begun(Response<AnswerBody>),
    /// That there is nothing of the kind: no such object, version or range.
    Absent,
    /// Something else, or nothing.
    Failed,
}

/// Begins to read the source of a copy.
pub async fn read_source(gate: &Gate, source: &Source) -> SourceRead {
    let range = source.range.as_deref().map(|range| (RANGE, range));
    let expected = if source.range.is_some() { 206 } else { 200 };
    match call(gate, &source.place, Method::GET, &source.query, range).await {
        Some(answer) if answer.status() == expected => SourceRead::Begun(answer),
        Some(answer) if matches!(answer.status().as_u16(), 400 | 404 | 416) => SourceRead::Absent,
        _ => SourceRead::Failed,
    }
}

/// What one object is told from another under the same key by: its version, else its ETag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// The version, in a bucket that keeps them.
    pub(super) version: Option<String>,
    /// The ETag, with its quotes.
    pub(super) etag: Option<String>,
}

impl Identity {
    /// What an answer says that it is about.
    pub(super) fn of(headers: &HeaderMap) -> Identity {
        let text = |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
        // `null` is the version of an object that was there before versions were kept.
        let version = text(headers.get("x-amz-version-id"));
        Identity { version, etag: text(headers.get(ETAG)) }
    }

    /// Whether it is the same as what was found; `None` where nothing can be compared.
    fn is(&self, found: &Identity) -> Option<bool> {
        let same = |ours: &Option<String>, theirs: &Option<String>| Some(ours.as_ref()? == theirs.as_ref()?);
        let compared = [same(&self.version, &found.version), same(&self.etag, &found.etag)];
        compared.into_iter().flatten().reduce(|all, one| all && one)
    }
}

/// Sends a request without a body. `query` is raw, without its `?`. `None`: there are no credentials, or no answer.
pub(super) async fn call(
    gate: &Gate,
    place: &Place,
    method: Method,
    query: &str,
    header: Option<(HeaderName, &str)>,
) -> Option<Response<AnswerBody>> {
    send(&gate.settings, &gate.origin, place, method, query, header).await
}

/// What the origin says of one of a place's settings: status and a short body. `None` as for [`call`].
pub(super) async fn ask(
    settings: &Settings,
    origin: &Arc<Origin>,
    place: &Place,
    query: &str,
) -> Option<(StatusCode, String)> {
    let answer = send(settings, origin, place, Method::GET, query, None).await?;
    let status = answer.status();
    let body = buffered(answer).await.ok()?.into_body().collect_short().await.ok()?;
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Whether a status says that there is no such setting, or that the store knows none of its kind.
pub(super) fn knows_no_such(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 405 | 501)
}

/// The bucket of a client's request, as a place; `None` where its Host may name a bucket or not.
pub(super) fn bucket_of(parts: &Parts, bucket: &str, base_domains: &[String]) -> Option<Place> {
    let host = path_style_host(&Place::of(parts, None)?.host, base_domains)?;
    Some(Place { host, path: format!("/{}", encode_path(bucket)) })
}

async fn send(
    settings: &Settings,
    store: &Arc<Origin>,
    place: &Place,
    method: Method,
    query: &str,
    header: Option<(HeaderName, &str)>,
) -> Option<Response<AnswerBody>> {
    let credentials = settings.origin.credentials.as_ref()?;
    let separator = if query.is_empty() { "" } else { "?" };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method;
    parts.uri = format!("{}{separator}{query}", place.path).parse::<Uri>().ok()?;
    parts.headers.insert(HOST, HeaderValue::try_from(&place.host).ok()?);
    parts.headers.insert(CONTENT_LENGTH, 0.into());
    if let Some((name, value)) = header {
        parts.headers.insert(name, HeaderValue::try_from(value).ok()?);
    }
    let origin = &settings.origin;
    let region = origin.region.as_deref().unwrap_or("us-east-1");
    let target = Target::read(&place.host, &place.path, &settings.listen.base_domains);
    let mut head = OriginHead::of_client(parts, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let now = OffsetDateTime::now_utc();
    head.sign(EMPTY_SHA256, credentials, region, (origin.host_header, &origin.authority), &target, now);
    store.send(head.bare()).await.ok()
}

/// The query that names a version, or nothing.
pub(super) fn version_query(identity: &Identity) -> String {
    let version = identity.version.as_deref().filter(|version| *version != "null");
    version.map(|version| format!("versionId={}", encode(version))).unwrap_or_default()
}

/// What came of removing an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// It is gone, by this or before.
    Gone,
    /// What is under its key does not look like it.
    Another,
    /// It could not be done, or not be made sure of.
    Failed,
}

/// Removes that very object: its version, or, without versions, what is under the key while its ETag is still that one.
///
/// It is looked at first in every case: some stores give each object a version that they take no notice of later, and
/// would delete whatever is under the key.
pub(super) async fn remove(gate: &Gate, place: &Place, identity: &Identity) -> Removal {
    let query = version_query(identity);
    match call(gate, place, Method::HEAD, &query, None).await {
        Some(head) if head.status() == 404 => return Removal::Gone,
        Some(head) if head.status().is_success() => match identity.is(&Identity::of(head.headers())) {
            Some(true) => {}
            Some(false) => return Removal::Another,
            None => return Removal::Failed,
        },
        _ => return Removal::Failed,
    }
    let if_match = identity.etag.as_deref().filter(|_| query.is_empty()).map(|etag| (IF_MATCH, etag));
    let removed = call(gate, place, Method::DELETE, &query, if_match).await;
    let gone = removed.is_some_and(|answer| answer.status().is_success() || answer.status() == 404);
    if gone { Removal::Gone } else { Removal::Failed }
}

/// A value for a query.
pub(super) fn encode(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_is_told_from_another() {
        let of = |version: Option<&str>, etag: Option<&str>| Identity {
            version: version.map(str::to_owned),
            etag: etag.map(str::to_owned),
        };
        for (ours, found, same) in [
            (of(Some("1"), Some("a")), of(Some("1"), Some("a")), Some(true)),
            (of(Some("1"), None), of(Some("2"), Some("a")), Some(false)),
            (of(Some("1"), Some("a")), of(Some("1"), Some("b")), Some(false)),
            (of(Some("1"), Some("a")), of(None, Some("a")), Some(true)),
            (of(None, Some("a")), of(Some("1"), Some("b")), Some(false)),
            (of(Some("1"), None), of(None, Some("a")), None),
            (of(None, None), of(Some("1"), Some("a")), None),
        ] {
            assert_eq!(ours.is(&found), same, "{ours:?} {found:?}");
        }
    }

    #[test]
    fn sources_of_copies() {
        for (given, path, query) in [
            ("b/k", "/b/k", ""),
            ("/b/a%20b%2Fc", "/b/a%20b/c", ""),
            ("b/ü+#", "/b/%C3%BC%2B%23", ""),
            ("b/k?versionId=a%2Fb", "/b/k", "versionId=a%2Fb"),
        ] {
            let source = Source::read(given, "h".into(), None);
            assert_eq!((source.place.path.as_str(), source.query.as_str()), (path, query), "{given}");
        }
    }
}
