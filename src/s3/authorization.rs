//! How a request says who sent it: the `Authorization` header or its counterpart in the query, parsed strictly.
//!
//! What two stores could read differently is refused: two kinds at once, parameters in another spelling or twice,
//! signed headers that are out of order. Nothing is checked against a secret or a clock here; `canonical` builds what
//! the signature is computed over.
//!
//! Sources: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)" with its pages "Using the
//! Authorization Header" and "Using Query Parameters"; Amazon S3 User Guide, "Signing and authenticating REST
//! requests" (signature version 2); "AWS SigV4A", IAM User Guide.

mod canonical;
mod error;

pub use canonical::{canonical_request, canonical_uris, chunk_to_sign, request_to_sign, trailer_to_sign};
pub use error::{AuthorizationError, Fault, Place};

use super::head::Head;
use std::fmt;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// The one algorithm that can be verified with a shared secret.
pub const ALGORITHM_V4: &str = "AWS4-HMAC-SHA256";
/// SigV4A: needs an elliptic-curve key derived from the secret; only ever passed on.
const ALGORITHM_V4A: &str = "AWS4-ECDSA-P256-SHA256";
/// The scheme of signature version 2.
const SCHEME_V2: &str = "AWS";
/// The last element of every credential scope.
const SCOPE_END: &str = "aws4_request";
/// Services that an S3 endpoint answers to: the store itself, temporary credentials, and what Ceph RGW and MinIO serve at
/// the same address (users, notification topics).
const SERVICES: [&str; 4] = ["s3", "sts", "iam", "sns"];
/// Ceph RGW takes a whole base64 token for an access key (LDAP, STS), so this is far more than AWS's 128 characters.
const ACCESS_KEY_MAX: usize = 1024;
/// `YYYYMMDD'T'HHMMSS'Z'`, the only form of a date that all stores read alike.
const TIMESTAMP: StaticFormatDescription = format_description!("[year][month][day]T[hour][minute][second]Z");

/// What a request presents as proof of who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// Nothing.
    Anonymous,
    /// Signature version 4 in the `Authorization` header.
    HeaderV4(Authorization),
    /// Signature version 4 in the query.
    PresignedV4(Presigned),
    /// SigV4A in the `Authorization` header.
    HeaderV4a {
        /// The access key id.
        access_key: String,
    },
    /// SigV4A in the query.
    PresignedV4a {
        /// The access key id.
        access_key: String,
    },
    /// Signature version 2 in the `Authorization` header.
    HeaderV2 {
        /// The access key id.
        access_key: String,
    },
    /// Signature version 2 in the query.
    PresignedV2 {
        /// The access key id.
        access_key: String,
    },
}

impl Presented {
    /// The access key id that the request names; `None` for an anonymous one.
    pub fn access_key(&self) -> Option<&str> {
        match self {
            Presented::Anonymous => None,
            Presented::HeaderV4(authorization) => Some(&authorization.access_key),
            Presented::PresignedV4(presigned) => Some(&presigned.authorization.access_key),
            Presented::HeaderV4a { access_key }
            | Presented::PresignedV4a { access_key }
            | Presented::HeaderV2 { access_key }
            | Presented::PresignedV2 { access_key } => Some(access_key),
        }
    }
}

/// The fields of a version 4 signature.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The access key id.
    pub access_key: String,
    /// What the signing key is bound to.
    pub scope: Scope,
    /// Names in lower case, ascending, none twice, `host` among them.
    pub signed_headers: Vec<String>,
    /// 64 lower-case hexadecimal digits.
    pub signature: String,
}

impl fmt::Debug for Authorization {
    /// Without the signature: that of a presigned URL is as good as a password until it expires.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorization({}, {}, {:?})", self.access_key, self.scope, self.signed_headers)
    }
}

/// A version 4 signature in the query, with what only exists there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// The fields that it shares with the header.
    pub authorization: Authorization,
    /// `X-Amz-Date`.
    pub signed_at: OffsetDateTime,
    /// `X-Amz-Expires`, in seconds; its range is not checked yet.
    pub expires_s: u32,
}

/// A credential scope: `date/region/service/aws4_request`, as `Display` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The day, `YYYYMMDD`.
    pub date: String,
    /// The region.
    pub region: String,
    /// The service, one of those that an S3 endpoint answers to.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{SCOPE_END}", self.date, self.region, self.service)
    }
}

/// Finds out what the request presents. Parameter names are looked for in any case, because stores differ in that, but
/// only their published spelling is accepted.
pub fn presented(head: Head<'_>) -> Result<Presented, AuthorizationError> {
    let mut headers = head.headers.get_all(http::header::AUTHORIZATION).iter();
    let header = headers.next();
    let v4 = has_any_parameter(head, &["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"]);
    let v2 = has_any_parameter(head, &["AWSAccessKeyId", "Signature"]);
    if headers.next().is_some() {
        return Err(AuthorizationError::MoreThanOne);
    }
    match (header, v4, v2) {
        (None, false, false) => Ok(Presented::Anonymous),
        (Some(value), false, false) => {
            let value = value.to_str().map_err(|_| AuthorizationError::Unsupported(Place::Header))?;
            in_header(value)
        }
        (None, true, false) => in_query_v4(head),
        (None, false, true) => in_query_v2(head),
        _ => Err(AuthorizationError::MoreThanOne),
    }
}

/// When a request with an `Authorization` header was signed: `x-amz-date`, else a `Date` in the same form.
pub fn signed_at(head: Head<'_>) -> Result<OffsetDateTime, AuthorizationError> {
    let name = if head.headers.contains_key("x-amz-date") { "x-amz-date" } else { "date" };
    let mut values = head.headers.get_all(name).iter();
    let time = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(parse_timestamp),
        _ => None,
    };
    time.ok_or(AuthorizationError::Malformed(Place::Header, Fault::Date))
}

/// A time as signatures write it.
pub fn timestamp(time: OffsetDateTime) -> String {
    time.to_offset(time::UtcOffset::UTC).format(TIMESTAMP).expect("a date has every component that the format names")
}

/// The time in a `YYYYMMDD'T'HHMMSS'Z'`, strictly.
pub fn parse_timestamp(text: &str) -> Option<OffsetDateTime> {
    // The parser would take a sign in front of the year.
    let valid = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'Z'));
    let time = PrimitiveDateTime::parse(text, TIMESTAMP).ok()?;
    valid.then(|| time.assume_utc())
}

/// What `x-amz-content-sha256` says about the payload.
///
/// Source: Amazon S3 API Reference, "Using the Authorization Header", table of x-amz-content-sha256 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Its digest.
    Sha256([u8; 32]),
    /// Nothing: `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// Chunks, each signed with version 4: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    SignedChunks {
        /// Whether a signed trailer follows (`-TRAILER`).
        trailer: bool,
    },
    /// Chunks without signatures, and a trailer: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedChunksTrailer,
    /// Chunks, each signed with SigV4A: `STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD`.
    V4aChunks {
        /// Whether a signed trailer follows (`-TRAILER`).
        trailer: bool,
    },
}

impl Payload {
    /// The value for a payload that is not covered by the signature.
    pub const UNSIGNED: &'static str = "UNSIGNED-PAYLOAD";

    /// Reads the header's value. A digest may be in either case: stores decode it. `None` for any other text.
    pub fn parse(value: &str) -> Option<Payload> {
        Some(match value {
            Payload::UNSIGNED => Payload::Unsigned,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Payload::SignedChunks { trailer: false },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Payload::SignedChunks { trailer: true },
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Payload::UnsignedChunksTrailer,
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD" => Payload::V4aChunks { trailer: false },
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => Payload::V4aChunks { trailer: true },
            digest => Payload::Sha256(hex::decode(digest).ok()?.try_into().ok()?),
        })
    }
}

fn in_header(value: &str) -> Result<Presented, AuthorizationError> {
    let malformed = |fault| AuthorizationError::Malformed(Place::Header, fault);
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    match scheme {
        ALGORITHM_V4 => {
            let [credential, signed_headers, signature] = fields(rest).map_err(malformed)?;
            let authorization = Authorization::parse(credential, signed_headers, signature);
            authorization.map(Presented::HeaderV4).map_err(malformed)
        }
        ALGORITHM_V4A => {
            let [credential, signed_headers, _] = fields(rest).map_err(malformed)?;
            parse_signed_headers(signed_headers).map_err(malformed)?;
            let access_key = parse_credential_v4a(credential).map_err(malformed)?;
            Ok(Presented::HeaderV4a { access_key })
        }
        SCHEME_V2 => {
            // Keystone and Swift names hold colons; a base64 signature does not.
            let (access_key, signature) = rest.rsplit_once(':').ok_or(malformed(Fault::Fields))?;
            let access_key = parse_access_key(access_key).map_err(malformed)?;
            if signature.is_empty() {
                return Err(malformed(Fault::Fields));
            }
            Ok(Presented::HeaderV2 { access_key })
        }
        _ => Err(AuthorizationError::Unsupported(Place::Header)),
    }
}

fn in_query_v4(head: Head<'_>) -> Result<Presented, AuthorizationError> {
    let malformed = |fault| AuthorizationError::Malformed(Place::Query, fault);
    let value = |name| parameter(head, name)?.ok_or(malformed(Fault::Fields));
    let (credential, signed_headers) = (value("X-Amz-Credential")?, value("X-Amz-SignedHeaders")?);
    let (signature, expires) = (value("X-Amz-Signature")?, value("X-Amz-Expires")?);
    let signed_at = parse_timestamp(&value("X-Amz-Date")?).ok_or(malformed(Fault::Date))?;
    let negative = expires.strip_prefix('-').is_some_and(|digits| parse_seconds(digits).is_some());
    let fault = if negative { Fault::ExpiresSign } else { Fault::Expires };
    let expires_s = parse_seconds(&expires).ok_or(malformed(fault))?;
    parameter(head, "X-Amz-Security-Token")?;
    match value("X-Amz-Algorithm")?.as_str() {
        ALGORITHM_V4 => {
            let authorization = Authorization::parse(&credential, &signed_headers, &signature).map_err(malformed)?;
            Ok(Presented::PresignedV4(Presigned { authorization, signed_at, expires_s }))
        }
        ALGORITHM_V4A => {
            parse_signed_headers(&signed_headers).map_err(malformed)?;
            let access_key = parse_credential_v4a(&credential).map_err(malformed)?;
            Ok(Presented::PresignedV4a { access_key })
        }
        _ => Err(AuthorizationError::Unsupported(Place::Query)),
    }
}

fn in_query_v2(head: Head<'_>) -> Result<Presented, AuthorizationError> {
    let malformed = |fault| AuthorizationError::Malformed(Place::Query, fault);
    let value = |name| parameter(head, name)?.ok_or(malformed(Fault::Fields));
    parse_seconds(&value("Expires")?).ok_or(malformed(Fault::Expires))?;
    if value("Signature")?.is_empty() {
        return Err(malformed(Fault::Fields));
    }
    let access_key = parse_access_key(&value("AWSAccessKeyId")?).map_err(malformed)?;
    Ok(Presented::PresignedV2 { access_key })
}

fn has_any_parameter(head: Head<'_>, names: &[&str]) -> bool {
    head.query_pairs().any(|(found, _)| names.iter().any(|name| found.eq_ignore_ascii_case(name)))
}

/// The value of a query parameter that may be there once, in exactly this spelling.
fn parameter(head: Head<'_>, name: &str) -> Result<Option<String>, AuthorizationError> {
    let mut found = head.query_pairs().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((spelling, value)), None) if spelling == name => Ok(Some(value)),
        _ => Err(AuthorizationError::Malformed(Place::Query, Fault::Fields)),
    }
}

/// The three fields behind the algorithm, in any order, with blanks allowed around the commas.
fn fields(text: &str) -> Result<[&str; 3], Fault> {
    const NAMES: [&str; 3] = ["Credential", "SignedHeaders", "Signature"];
    let mut values = [""; 3];
    for field in text.split(',') {
        let (name, value) = field.trim_matches(' ').split_once('=').ok_or(Fault::Fields)?;
        let at = NAMES.iter().position(|n| *n == name).ok_or(Fault::Fields)?;
        if value.is_empty() || !values[at].is_empty() {
            return Err(Fault::Fields);
        }
        values[at] = value;
    }
    match values.contains(&"") {
        true => Err(Fault::Fields),
        false => Ok(values),
    }
}

impl Authorization {
    fn parse(credential: &str, signed_headers: &str, signature: &str) -> Result<Authorization, Fault> {
        let lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if signature.len() != 64 || !signature.bytes().all(lower_hex) {
            return Err(Fault::Signature);
        }
        let (access_key, scope) = parse_credential(credential)?;
        let signed_headers = parse_signed_headers(signed_headers)?;
        Ok(Authorization { access_key, scope, signed_headers, signature: signature.to_owned() })
    }
}

/// `ACCESS-KEY/date/region/service/aws4_request`, split from behind: MinIO allows `/` in an access key.
pub fn parse_credential(text: &str) -> Result<(String, Scope), Fault> {
    let pieces: Vec<&str> = text.rsplitn(5, '/').collect();
    let &[end, service, region, date, access_key] = pieces.as_slice() else {
        return Err(Fault::Credential);
    };
    parse_scope_ends(date, service, end)?;
    if region.is_empty() || !region.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Fault::Credential);
    }
    let scope = Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((parse_access_key(access_key)?, scope))
}

/// `ACCESS-KEY/date/service/aws4_request`: a SigV4A scope has no region.
fn parse_credential_v4a(text: &str) -> Result<String, Fault> {
    let pieces: Vec<&str> = text.rsplitn(4, '/').collect();
    let &[end, service, date, access_key] = pieces.as_slice() else {
        return Err(Fault::Credential);
    };
    parse_scope_ends(date, service, end)?;
    parse_access_key(access_key)
}

fn parse_scope_ends(date: &str, service: &str, end: &str) -> Result<(), Fault> {
    if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) || end != SCOPE_END {
        return Err(Fault::Credential);
    }
    match SERVICES.contains(&service) {
        true => Ok(()),
        false => Err(Fault::Service),
    }
}

fn parse_access_key(text: &str) -> Result<String, Fault> {
    let valid = (1..=ACCESS_KEY_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    valid.then(|| text.to_owned()).ok_or(Fault::Credential)
}

fn parse_signed_headers(text: &str) -> Result<Vec<String>, Fault> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let lower = names.iter().all(|n| http::HeaderName::from_lowercase(n.as_bytes()).is_ok());
    // Strictly ascending: that leaves no name twice.
    let ascending = names.is_sorted_by(|a, b| a < b);
    let host = names.iter().any(|n| n == "host");
    (lower && ascending && host).then_some(names).ok_or(Fault::SignedHeaders)
}

fn parse_seconds(text: &str) -> Option<u32> {
    // `parse` alone would take a sign.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests;
