//! Signs a request anew, with other credentials than it came with.

use crate::config::settings::Credentials;
use crate::s3::authorization::{self, ALGORITHM_V4, Scope};
use crate::s3::head::{Head, query_pairs};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use http::header::{AUTHORIZATION, HeaderValue};
use http::request;
use http::uri::{PathAndQuery, Uri};
use time::OffsetDateTime;

/// Parameters that carry an authorization, or a header that we set ourselves; in lower case.
const REPLACED: [&str; 11] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "awsaccesskeyid",
    "expires",
    "signature",
];

/// Replaces the authorization of a request, whatever it was, by a version 4 signature in the `Authorization` header.
///
/// `payload` becomes `x-amz-content-sha256`. Covered are host, content-type, content-md5 and every `x-amz-*` header:
/// what a store demands and no proxy on the way changes. The target keeps its bytes but for the parameters of an
/// authorization in the query. `parts` must carry the Host that the origin will see.
///
/// Source: Amazon S3 API Reference, "Using the Authorization Header".
pub fn sign(parts: &mut request::Parts, payload: &str, credentials: &Credentials, region: &str, now: OffsetDateTime) {
    strip(parts);
    let timestamp = authorization::timestamp(now);
    parts.headers.insert("x-amz-date", header_value(&timestamp));
    parts.headers.insert("x-amz-content-sha256", header_value(payload));
    let signed_headers = to_be_signed(parts);
    let scope = Scope { date: timestamp[..8].to_owned(), region: region.to_owned(), service: "s3".to_owned() };

    let head = Head::of(parts);
    let [_, uri] = authorization::canonical_uris(head.path);
    let request = authorization::canonical_request(head, &uri, &signed_headers, payload)
        .expect("only headers that are there are to be signed");
    let to_sign = authorization::request_to_sign(&timestamp, &scope, &request);
    let key = generate_signing_key(credentials.secret_key.expose(), now.into(), region, &scope.service);
    let signature = calculate_signature(key, to_sign.as_bytes());

    let authorization = format!(
        "{ALGORITHM_V4} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
        credentials.access_key,
        signed_headers.join(";"),
    );
    parts.headers.insert(AUTHORIZATION, header_value(&authorization));
}

fn strip(parts: &mut request::Parts) {
    for name in ["authorization", "x-amz-date", "x-amz-security-token"] {
        parts.headers.remove(name);
    }
    let Some(query) = parts.uri.query() else {
        return;
    };
    let kept: Vec<&str> = query.split('&').filter(|piece| !is_replaced(piece)).collect();
    let target = match kept.is_empty() {
        true => parts.uri.path().to_owned(),
        false => format!("{}?{}", parts.uri.path(), kept.join("&")),
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(PathAndQuery::try_from(target).expect("pieces of a valid target make a valid one"));
    parts.uri = Uri::from_parts(uri).expect("what was valid with the longer query is valid with the shorter one");
}

fn is_replaced(piece: &str) -> bool {
    query_pairs(piece).any(|(name, _)| REPLACED.contains(&name.to_ascii_lowercase().as_str()))
}

fn to_be_signed(parts: &request::Parts) -> Vec<String> {
    let chosen = |name: &&str| matches!(*name, "host" | "content-type" | "content-md5") || name.starts_with("x-amz-");
    let names = parts.headers.keys().map(|name| name.as_str());
    let mut names: Vec<String> = names.filter(chosen).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// A text that cannot stand in a header (a configured key with a line feed) becomes an empty one: the origin refuses it,
/// and nothing is injected.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
