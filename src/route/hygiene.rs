//! What no request may hold, whatever it asks for: heads that two servers could read differently.

use super::operation::SNOWBALL;
use super::{Reason, Refusal};
use crate::s3::head::Head;
use crate::s3::target;
use http::{Method, Version};

/// Headers of which there may be one. Stores read the first, the last or all of several.
const SINGLE: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "authorization",
    "content-type",
    "content-md5",
    "expect",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-copy-source",
    "x-amz-copy-source-range",
    "x-amz-sdk-checksum-algorithm",
    SNOWBALL,
];

/// Checks the head of any request.
pub(super) fn check(head: Head<'_>, version: Version, authority: Option<&str>) -> Result<(), Refusal> {
    if version != Version::HTTP_11 {
        return Err(Reason::HttpVersion.into());
    }
    if *head.method == Method::CONNECT {
        return Err(Reason::Upgrade.into());
    }
    check_headers(head)?;
    check_host(head, authority)?;
    check_connection(head)?;
    check_transfer_encoding(head)?;
    if !head.path.starts_with('/') {
        return Err(Reason::TargetForm.into());
    }
    target::check_path(head.path).map_err(|_| Reason::Path)?;
    Ok(())
}

fn check_headers(head: Head<'_>) -> Result<(), Refusal> {
    if head.headers.keys().any(|name| has_odd_underscore(name.as_str())) {
        return Err(Reason::HeaderUnderscore.into());
    }
    for name in SINGLE {
        let in_headers = head.headers.get_all(*name).iter().count();
        // In a presigned URL an x-amz parameter is that header; stores disagree on which of two wins.
        let in_query = if name.starts_with("x-amz-") {
            head.query_pairs().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count()
        } else {
            0
        };
        if in_headers + in_query > 1 {
            return Err(Reason::DuplicateHeader.into());
        }
    }
    match head.headers.get("expect") {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(Reason::Expect.into()),
        _ => Ok(()),
    }
}

/// Some stores read `_` as `-`. In the names that users give to their metadata that changes nothing that we act on.
fn has_odd_underscore(name: &str) -> bool {
    name.contains('_') && !(name.starts_with("x-amz-meta-") && name.replace('_', "-") != SNOWBALL)
}

fn check_host(head: Head<'_>, authority: Option<&str>) -> Result<(), Refusal> {
    match (head.header("host"), authority) {
        (None | Some(""), _) => Err(Reason::Host.into()),
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => Err(Reason::Host.into()),
        (Some(host), _) if host.contains(['@', '/', '\\', ' ', ',']) => Err(Reason::Host.into()),
        _ => Ok(()),
    }
}

/// A `Connection` that names a header asks us to drop it, and with it perhaps what the signature or the framing says.
fn check_connection(head: Head<'_>) -> Result<(), Refusal> {
    if head.headers.contains_key("upgrade") || head.headers.contains_key("http2-settings") {
        return Err(Reason::Upgrade.into());
    }
    for value in head.headers.get_all("connection") {
        let value = value.to_str().map_err(|_| Reason::Connection)?;
        for token in value.split(',').map(str::trim).filter(|token| !token.is_empty()) {
            if !["close", "keep-alive", "te"].iter().any(|allowed| token.eq_ignore_ascii_case(allowed)) {
                return Err(Reason::Connection.into());
            }
        }
    }
    Ok(())
}

fn check_transfer_encoding(head: Head<'_>) -> Result<(), Refusal> {
    let Some(coding) = head.headers.get("transfer-encoding") else { return Ok(()) };
    let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !chunked || head.headers.contains_key("content-length") {
        return Err(Reason::TransferEncoding.into());
    }
    Ok(())
}
