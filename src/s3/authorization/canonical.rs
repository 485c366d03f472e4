//! What a signature is computed over: the canonical request, and the strings to sign for it, for a chunk and for a
//! trailer.
//!
//! Everything is built from the raw target and the raw header values, byte by byte: a name or value that is not UTF-8
//! keeps its bytes.
//!
//! Sources: Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in a
//! Single Chunk", "... in Multiple Chunks", and "... Including Trailing Headers".

use super::{ALGORITHM_V4, AuthorizationError, Scope};
use crate::s3::head::Head;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path the slash stays as well.
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// The two canonical URIs that stores compute for a path, neither normalised: the path as it was sent (Garage), and
/// decoded, then encoded once (MinIO, Ceph RGW, Amazon S3). A signer may have used either.
pub fn canonical_uris(path: &str) -> [Cow<'_, str>; 2] {
    let decoded: Cow<'_, [u8]> = percent_decode(path.as_bytes()).into();
    let encoded: Cow<'_, str> = percent_encode(&decoded, ENCODED_IN_PATH).into();
    [Cow::Borrowed(path), Cow::Owned(encoded.into_owned())]
}

/// The canonical request with `uri` for its path. `payload` is the text of `x-amz-content-sha256`, as it was sent.
pub fn canonical_request(
    head: Head<'_>,
    uri: &str,
    signed_headers: &[String],
    payload: &str,
) -> Result<Vec<u8>, AuthorizationError> {
    let query = canonical_query(head.query);
    let mut request = [head.method.as_str(), "\n", uri, "\n", &query, "\n"].concat().into_bytes();
    for name in signed_headers {
        append_header(&mut request, head, name)?;
    }
    request.push(b'\n');
    request.extend_from_slice(signed_headers.join(";").as_bytes());
    request.push(b'\n');
    request.extend_from_slice(payload.as_bytes());
    Ok(request)
}

/// The string to sign for a request.
pub fn request_to_sign(timestamp: &str, scope: &Scope, canonical_request: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(canonical_request));
    format!("{ALGORITHM_V4}\n{timestamp}\n{scope}\n{digest}")
}

/// The string to sign for a chunk whose data has the digest `data`. `previous` is the signature of the chunk before it,
/// and that of the request for the first one.
pub fn chunk_to_sign(timestamp: &str, scope: &Scope, previous: &str, data: &[u8; 32]) -> String {
    let (nothing, data) = (hex::encode(Sha256::digest(b"")), hex::encode(data));
    format!("{ALGORITHM_V4}-PAYLOAD\n{timestamp}\n{scope}\n{previous}\n{nothing}\n{data}")
}

/// The string to sign for the trailing headers behind the last chunk, whose signature is `previous`.
pub fn trailer_to_sign(timestamp: &str, scope: &Scope, previous: &str, trailers: &[(String, String)]) -> String {
    let mut fields: Vec<(String, &str)> = trailers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.trim())).collect();
    // By name and not by line: `-` sorts before the colon.
    fields.sort_unstable();
    let lines: String = fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let digest = hex::encode(Sha256::digest(lines));
    format!("{ALGORITHM_V4}-TRAILER\n{timestamp}\n{scope}\n{previous}\n{digest}")
}

/// Split at `&`, decoded with `+` for a blank, encoded again, sorted by encoded name, then value. A name without `=`
/// gets one. The signature itself is left out; in a request with an `Authorization` header there is none.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
        .map(|(name, value)| (encode_again(name), encode_again(value)))
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort_unstable();
    let pieces: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pieces.join("&")
}

fn encode_again(text: &str) -> String {
    let blanks = text.replace('+', " ");
    let decoded: Cow<'_, [u8]> = percent_decode(blanks.as_bytes()).into();
    percent_encode(&decoded, ENCODED).to_string()
}

/// `name:value\n`, with outer blanks cut, inner ones collapsed, and the values of a repeated header joined by commas.
fn append_header(request: &mut Vec<u8>, head: Head<'_>, name: &str) -> Result<(), AuthorizationError> {
    request.extend_from_slice(name.as_bytes());
    let mut separator = b':';
    for value in head.headers.get_all(name) {
        request.push(separator);
        append_collapsed(request, value.as_bytes());
        separator = b',';
    }
    request.push(b'\n');
    match separator {
        b',' => Ok(()),
        _ => Err(AuthorizationError::SignedHeaderAbsent),
    }
}

fn append_collapsed(request: &mut Vec<u8>, value: &[u8]) {
    let mut previous = b'x';
    for &byte in value.trim_ascii() {
        if byte != b' ' || previous != b' ' {
            request.push(byte);
        }
        previous = byte;
    }
}
