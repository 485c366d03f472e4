//! Checks a version 4 signature against a secret.
//!
//! Sources: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)"; the 15 minutes are those of
//! its page on request times, the week that of "Using Query Parameters".

use super::{AuthError, ChunkVerifier};
use crate::config::settings::Secret;
use crate::s3::authorization::{self, Authorization, Payload, Place, Presigned, Scope};
use crate::s3::head::Head;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use std::collections::HashSet;
use subtle::{Choice, ConstantTimeEq as _};
use time::{Duration, OffsetDateTime};

/// How far a client's clock may be from ours.
const SKEW: Duration = Duration::minutes(15);
/// The longest that a presigned URL may be good for.
const EXPIRES_MAX_S: u32 = 604_800;
const PAYLOAD: &str = "x-amz-content-sha256";

/// Checks a request with an `Authorization` header. Where its chunks are signed as well, gives what verifies them.
pub(super) fn header(
    head: Head<'_>,
    authorization: &Authorization,
    secret: &Secret,
    region: Option<&str>,
    now: OffsetDateTime,
) -> Result<Option<ChunkVerifier>, AuthError> {
    let signed_at = authorization::signed_at(head)?;
    if (now - signed_at).abs() > SKEW {
        return Err(AuthError::Skewed);
    }
    let value = payload_header(head)?.ok_or(AuthError::PayloadMissing)?;
    let payload = Payload::parse(value).ok_or(AuthError::PayloadUnknown)?;
    check_scope(&authorization.scope, signed_at, region, Place::Header)?;
    let key = check_signature(head, authorization, signed_at, value, secret)?;
    match payload {
        Payload::Sha256(_) | Payload::Unsigned | Payload::UnsignedChunksTrailer => Ok(None),
        Payload::SignedChunks { trailer } => {
            let timestamp = authorization::timestamp(signed_at);
            Ok(Some(ChunkVerifier::new(key, timestamp, authorization, trailer)))
        }
        // Its chunks are signed with a key that the header's algorithm does not have.
        Payload::V4aChunks { .. } => Err(AuthError::PayloadKind),
    }
}

/// Checks a presigned URL.
pub(super) fn presigned(
    head: Head<'_>,
    presigned: &Presigned,
    secret: &Secret,
    region: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), AuthError> {
    let Presigned { authorization, signed_at, expires_s } = presigned;
    check_times(*signed_at, *expires_s, now)?;
    check_scope(&authorization.scope, *signed_at, region, Place::Query)?;
    payload_header(head)?;
    check_one_value_each(head)?;
    let value = head.effective(PAYLOAD).unwrap_or_else(|| Payload::UNSIGNED.to_owned());
    match Payload::parse(&value).ok_or(AuthError::PayloadUnknown)? {
        Payload::Sha256(_) | Payload::Unsigned => {}
        // There is no seed for chunks in a URL, and a store that takes the unsigned kind does not check the URL
        // (CVE-2026-41145).
        _ => return Err(AuthError::PayloadKind),
    }
    check_signature(head, authorization, *signed_at, &value, secret)?;
    Ok(())
}

/// A presigned URL may be made by a clock that is ahead of ours, and ends when it says.
fn check_times(signed_at: OffsetDateTime, expires_s: u32, now: OffsetDateTime) -> Result<(), AuthError> {
    if !(1..=EXPIRES_MAX_S).contains(&expires_s) {
        return Err(AuthError::ExpiresRange);
    }
    // Subtracted and never added: a date at the end of the calendar would overflow.
    let age = now - signed_at;
    if age < -SKEW {
        return Err(AuthError::NotYetValid);
    }
    if age > Duration::seconds(expires_s.into()) {
        return Err(AuthError::Expired);
    }
    Ok(())
}

pub(super) fn check_scope(
    scope: &Scope,
    signed_at: OffsetDateTime,
    region: Option<&str>,
    place: Place,
) -> Result<(), AuthError> {
    if !authorization::timestamp(signed_at).starts_with(&scope.date) {
        return Err(AuthError::ScopeDate(place));
    }
    match region {
        Some(expected) if expected != scope.region => Err(AuthError::Region { place, expected: expected.to_owned() }),
        _ => Ok(()),
    }
}

/// The value of `x-amz-content-sha256`, which may be there once: stores differ in which of several they read.
fn payload_header<'a>(head: Head<'a>) -> Result<Option<&'a str>, AuthError> {
    let mut values = head.headers.get_all(PAYLOAD).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().map_err(|_| AuthError::PayloadUnknown)?)),
        _ => Err(AuthError::Ambiguous),
    }
}

/// In a presigned URL an `x-amz-*` parameter acts as the header of its name: there may be one of them, or a header that
/// says the same.
fn check_one_value_each(head: Head<'_>) -> Result<(), AuthError> {
    let mut seen = HashSet::new();
    for (name, value) in head.query_pairs() {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-") {
            continue;
        }
        let agrees = head.headers.get_all(&name).iter().all(|header| header.as_bytes() == value.as_bytes());
        if !agrees || !seen.insert(name) {
            return Err(AuthError::Ambiguous);
        }
    }
    Ok(())
}

/// Compares with the signature over either canonical URI; gives the signing key.
fn check_signature(
    head: Head<'_>,
    authorization: &Authorization,
    signed_at: OffsetDateTime,
    payload: &str,
    secret: &Secret,
) -> Result<Vec<u8>, AuthError> {
    check_all_signed(head, &authorization.signed_headers)?;
    let Authorization { scope, signed_headers, signature, .. } = authorization;
    let key = generate_signing_key(secret.expose(), signed_at.into(), &scope.region, &scope.service);
    let timestamp = authorization::timestamp(signed_at);
    let [raw, encoded] = authorization::canonical_uris(head.path);
    let readings = if raw == encoded { vec![raw] } else { vec![raw, encoded] };
    let mut matches = Choice::from(0);
    for uri in readings {
        let request = authorization::canonical_request(head, &uri, signed_headers, payload)?;
        let to_sign = authorization::request_to_sign(&timestamp, scope, &request);
        matches |= same(&calculate_signature(&key, to_sign.as_bytes()), signature);
    }
    match matches.into() {
        true => Ok(key.as_ref().to_vec()),
        false => Err(AuthError::Signature),
    }
}

/// Every `x-amz-*` header must be covered: else somebody else could have added it. `x-amz-content-sha256` always is, as
/// the canonical request's last line.
fn check_all_signed(head: Head<'_>, signed_headers: &[String]) -> Result<(), AuthError> {
    let covered = |name: &str| name == PAYLOAD || signed_headers.iter().any(|signed| signed == name);
    let mut amz = head.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-amz-"));
    match amz.all(covered) {
        true => Ok(()),
        false => Err(AuthError::UnsignedHeader),
    }
}

/// Compares two signatures in constant time.
pub(super) fn same(computed: &str, presented: &str) -> Choice {
    computed.as_bytes().ct_eq(presented.as_bytes())
}
