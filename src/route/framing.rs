//! How the body of a request is framed, and what the client promised about its payload.
//!
//! Whether a body is `aws-chunked` is decided differently by each store, so only the one combination is taken that all
//! of them read alike: a PUT with a V4 Authorization header and a known `STREAMING-` value.

use super::{Operation, Reason, Refusal, Rules};
use crate::s3::authorization::{Payload, Presented};
use crate::s3::chunked::{Framer, Signing};
use crate::s3::form::Form;
use crate::s3::head::Head;
use http::Method;

/// How a body is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framing {
    /// `aws-chunked`, and how it is signed; `None`: the body is the payload, or a form.
    pub chunked: Option<Chunking>,
    /// The Content-Type of a form.
    pub form: Option<String>,
    /// The payload length that the client declared.
    pub declared_length: Option<u64>,
    /// What `x-amz-content-sha256` says.
    pub promised: Promised,
}

/// The `aws-chunked` kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// How chunks are signed.
    pub signing: Signing,
    /// Names of the trailers to come, in lower case; `None` in modes without.
    pub trailers: Option<Vec<String>>,
}

/// What `x-amz-content-sha256` promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promised {
    /// Nothing: absent, unsigned, or chunked.
    Nothing,
    /// This SHA-256 of the payload.
    Sha256([u8; 32]),
}

impl Framing {
    /// The framer for the body.
    pub fn framer(&self) -> Framer {
        if let Some(Ok(form)) = self.form.as_deref().map(Form::new) {
            return Framer::Form(Box::new(form));
        }
        match &self.chunked {
            None => Framer::raw(self.declared_length),
            Some(chunking) => {
                Framer::chunked(chunking.signing, self.declared_length.unwrap_or(0), chunking.trailers.clone())
            }
        }
    }

    /// The label in records and metrics.
    pub fn label(&self) -> &'static str {
        match &self.chunked {
            None if self.form.is_some() => "form",
            None => "raw",
            Some(Chunking { signing: Signing::Unsigned, .. }) => "aws_chunked_unsigned_trailer",
            Some(Chunking { trailers: None, .. }) => "aws_chunked_signed",
            Some(Chunking { trailers: Some(_), .. }) => "aws_chunked_signed_trailer",
        }
    }
}

pub(super) fn read(
    head: Head<'_>,
    presented: &Presented,
    operation: Operation,
    rules: &Rules,
) -> Result<Framing, Refusal> {
    let payload = match head.effective("x-amz-content-sha256") {
        None => Payload::Unsigned,
        Some(value) => Payload::parse(&value).ok_or(Reason::ContentSha256)?,
    };
    let (signing, trailer) = match payload {
        Payload::Unsigned => return raw(head, Promised::Nothing, operation, rules),
        Payload::Sha256(digest) => return raw(head, Promised::Sha256(digest), operation, rules),
        Payload::SignedChunks { trailer } => (Signing::V4, trailer),
        Payload::UnsignedChunksTrailer => (Signing::Unsigned, true),
        Payload::V4aChunks { .. } if rules.verify => return Err(Reason::SignatureV4a.into()),
        Payload::V4aChunks { trailer } => (Signing::V4a, trailer),
    };
    let signed_in_header = match presented {
        Presented::HeaderV4(_) => signing != Signing::V4a,
        Presented::HeaderV4a { .. } => signing != Signing::V4,
        _ => false,
    };
    // By header and on a PUT only: presigned, anonymous and POSTed bodies are decoded by some stores and not by others,
    // and one store takes a forged presigned URL for signed when it sees the unsigned trailer mode (CVE-2026-41145).
    if !signed_in_header || *head.method != Method::PUT || !head.headers.contains_key("x-amz-content-sha256") {
        return Err(Reason::StreamingAuthorization.into());
    }
    Ok(Framing {
        chunked: Some(Chunking { signing, trailers: announced_trailers(head, trailer)? }),
        form: None,
        declared_length: Some(decoded_length(head)?),
        promised: Promised::Nothing,
    })
}

fn raw(head: Head<'_>, promised: Promised, operation: Operation, rules: &Rules) -> Result<Framing, Refusal> {
    let encodings = head.headers.get_all("content-encoding");
    if encodings.iter().any(|value| value.as_bytes().to_ascii_lowercase().windows(11).any(|w| w == b"aws-chunked")) {
        return Err(Reason::AwsChunkedEncoding.into());
    }
    if head.effective("x-amz-decoded-content-length").is_some() {
        return Err(Reason::DecodedLength.into());
    }
    if head.effective("x-amz-trailer").is_some() {
        return Err(Reason::TrailerHeader.into());
    }
    let declared_length = match head.headers.get("content-length") {
        None => None,
        Some(value) => Some(plain_number(value.to_str().unwrap_or_default()).ok_or(Reason::NoLength)?),
    };
    let has_length =
        declared_length.is_some() || (rules.plain_chunked && head.headers.contains_key("transfer-encoding"));
    if operation.is_upload() && !has_length {
        return Err(Reason::NoLength.into());
    }
    let form = match operation {
        Operation::PostObject => Some(form_type(head)?),
        _ => None,
    };
    // Of a form the length of the payload is not known beforehand.
    let declared_length = declared_length.filter(|_| form.is_none());
    Ok(Framing { chunked: None, form, declared_length, promised })
}

fn form_type(head: Head<'_>) -> Result<String, Refusal> {
    let content_type = head.header("content-type").unwrap_or_default();
    Form::new(content_type).map_err(|_| Reason::FormType)?;
    Ok(content_type.to_owned())
}

fn decoded_length(head: Head<'_>) -> Result<u64, Refusal> {
    let value = head.header("x-amz-decoded-content-length").ok_or(Reason::DecodedLength)?;
    plain_number(value).ok_or(Reason::DecodedLength.into())
}

/// Digits only, without a leading zero: `+5`, `0x5`, ` 5` and `05` are read differently from store to store.
fn plain_number(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (number.to_string() == text).then_some(number)
}

fn announced_trailers(head: Head<'_>, expected: bool) -> Result<Option<Vec<String>>, Refusal> {
    let Some(value) = head.effective("x-amz-trailer") else {
        return if expected { Err(Reason::TrailerHeader.into()) } else { Ok(None) };
    };
    let names: Vec<String> = value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let valid = |name: &String| {
        !name.is_empty()
            && name.bytes().all(token)
            && name != "x-amz-trailer-signature"
            && !name.starts_with("x-amz-meta-")
    };
    let distinct = names.iter().enumerate().all(|(at, name)| !names[..at].contains(name));
    if !expected || !head.headers.contains_key("x-amz-trailer") || !names.iter().all(valid) || !distinct {
        return Err(Reason::TrailerHeader.into());
    }
    Ok(Some(names))
}
