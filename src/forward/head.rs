//! The head of the request as the origin gets it, and the head of its answer as the client does.

use super::body::RequestBody;
use crate::authenticate;
use crate::config::settings::{Credentials, HostHeader};
use crate::s3::target::Target;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Request, response};
use std::net::IpAddr;
use time::OffsetDateTime;

/// Headers about one connection, which end with it.
const HOP_BY_HOP: [HeaderName; 4] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
];

/// What a client may not tell the origin about who connects from where.
const CLAIMS: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

/// The head of a request to the origin: the client's own, as it came.
#[derive(Clone, Debug)]
pub struct OriginHead {
    parts: Parts,
}

impl OriginHead {
    /// Takes over a client's head: raw path, query, Host, header case and framing stay. Only what concerns the
    /// client's connection is left out, and X-Forwarded-For is set to the address that connected.
    pub fn of_client(mut parts: Parts, client: IpAddr) -> OriginHead {
        for name in &HOP_BY_HOP {
            parts.headers.remove(name);
        }
        for name in CLAIMS {
            parts.headers.remove(name);
        }
        parts
            .headers
            .insert("x-forwarded-for", HeaderValue::try_from(client.to_string()).expect("an address is ASCII"));
        // An absolute target has been found equal to Host; the origin gets the usual form.
        parts.uri = Uri::from(parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
        OriginHead { parts }
    }

    /// Signs the request anew for a user with credentials of their own at the origin.
    pub fn sign(
        &mut self,
        payload: &str,
        credentials: &Credentials,
        region: &str,
        host: (HostHeader, &str),
        target: &Target,
        now: OffsetDateTime,
    ) {
        if let (HostHeader::Endpoint, authority) = host {
            self.address(authority, target);
        }
        authenticate::sign(&mut self.parts, payload, credentials, region, now);
    }

    /// Moves the request to the origin's own name, in path style.
    fn address(&mut self, authority: &str, target: &Target) {
        if let Ok(value) = HeaderValue::try_from(authority) {
            self.parts.headers.insert(HOST, value);
        }
        let virtual_hosted = !target.path_style_only && target.readings.first() == target.bucket.as_ref();
        let by_path = self.parts.uri.path().split('/').nth(1);
        if let (true, Some(bucket)) = (virtual_hosted, &target.bucket)
            && by_path != Some(bucket)
            && let Ok(uri) = Uri::try_from(format!("/{bucket}{}", self.parts.uri))
        {
            self.parts.uri = uri;
        }
    }

    /// Makes the body plain: framing headers of `aws-chunked` go, and the length becomes that of the payload.
    pub fn unchunk(&mut self, payload_length: u64) {
        self.forget_chunk_signatures();
        for name in ["x-amz-trailer", "x-amz-decoded-content-length", "transfer-encoding"] {
            self.parts.headers.remove(name);
        }
        self.parts.headers.insert(http::header::CONTENT_LENGTH, payload_length.into());
        let codings: Vec<String> = self
            .parts
            .headers
            .get_all("content-encoding")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|coding| coding.trim().to_owned())
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
            .collect();
        self.parts.headers.remove("content-encoding");
        if !codings.is_empty()
            && let Ok(value) = HeaderValue::try_from(codings.join(","))
        {
            self.parts.headers.insert("content-encoding", value);
        }
    }

    /// Makes a signed `aws-chunked` body an unsigned one with its trailer; its length is no longer known beforehand.
    pub fn rechunk(&mut self) {
        self.forget_chunk_signatures();
        self.parts.headers.remove(http::header::CONTENT_LENGTH);
        self.parts.headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
    }

    fn forget_chunk_signatures(&mut self) {
        self.parts.headers.remove("x-amz-content-sha256");
    }

    /// Asks the origin to judge the head before the body, unless the client asked already.
    pub fn expect_continue(&mut self) {
        self.parts.headers.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
    }

    /// The request itself.
    pub(super) fn request(&self, body: RequestBody) -> Request<RequestBody> {
        Request::from_parts(self.parts.clone(), body)
    }

    /// The request of a call that carries nothing.
    pub fn bare(self) -> Request<RequestBody> {
        Request::from_parts(self.parts, RequestBody::Empty)
    }
}

/// Takes hop-by-hop headers out of an answer's head. `Err`: a redirect that would lead the client past the gate, to
/// another host than these: the one it asked, and the one to which it wants to be sent.
pub fn answer_head(mut head: response::Parts, hosts: &[&str]) -> Result<response::Parts, PastTheGate> {
    if matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308) && !stays(&head.headers, hosts) {
        return Err(PastTheGate);
    }
    for name in &HOP_BY_HOP {
        head.headers.remove(name);
    }
    Ok(head)
}

/// A redirect to somewhere else.
#[derive(Debug)]
pub struct PastTheGate;

fn stays(headers: &HeaderMap, hosts: &[&str]) -> bool {
    let Some(location) = headers.get(LOCATION) else {
        // Amazon S3 names the other endpoint in the body.
        return false;
    };
    let Some(uri) = location.to_str().ok().and_then(|text| text.parse::<Uri>().ok()) else { return false };
    match uri.authority() {
        None => location.as_bytes().starts_with(b"/") && !location.as_bytes().starts_with(b"//"),
        Some(authority) => hosts.iter().any(|host| authority.as_str().eq_ignore_ascii_case(host)),
    }
}
