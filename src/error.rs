//! Every way in which a request can fail, as an S3 answer, a metric label and a text for the log: one exhaustive match
//! each.

use crate::authenticate::AuthError;
use crate::decide::Undecidable;
use crate::forward::OriginError;
use crate::inspect::{InspectError, TooSlow};
use crate::record::Outcome;
use crate::route::{Reason, Refusal};
use crate::s3::chunked::FramingError;
use crate::s3::code::Code;

/// Why a request did not go its ordinary way.
#[derive(Debug)]
pub enum Failure {
    /// Refused before its body was looked at.
    Refused(Reason),
    /// The caller could not be made sure of.
    Unauthenticated(AuthError),
    /// The body could not go on.
    Body(InspectError),
    /// The body of a CompleteMultipartUpload cannot be read.
    MalformedXml,
    /// A CompleteMultipartUpload of several parts, whose whole nobody hashed.
    Unverifiable,
    /// On a list, and refused by policy.
    Listed,
    /// Nobody knows whether it is on a list.
    Undecidable(Undecidable),
    /// Too many policy refusals from this address.
    RefusalRate,
    /// The audit log takes no line, so nothing may pass that would need one.
    AuditBroken,
    /// The origin is lost.
    Origin(OriginError),
    /// The origin said that it had stored what it had not been given.
    EarlyCommit,
    /// The origin sent the client elsewhere.
    PastTheGate,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal.0)
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Failure {
        Failure::Unauthenticated(error)
    }
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Failure {
        Failure::Body(error)
    }
}

impl From<OriginError> for Failure {
    fn from(error: OriginError) -> Failure {
        Failure::Origin(error)
    }
}

impl Failure {
    /// The code and the message for the client. What a policy refuses is told from nothing else that is denied.
    pub fn answer(&self) -> (Code, String) {
        let (code, message) = match self {
            Failure::Refused(reason) => (reason.code(), reason.message().to_owned()),
            Failure::Unauthenticated(error) => (error.code(), error.to_string()),
            Failure::Body(error) => return body_answer(error),
            Failure::MalformedXml => (Code::MalformedXML, Code::MalformedXML.message().to_owned()),
            Failure::Unverifiable => (
                Code::NotImplemented,
                "Multipart uploads of more than one part do not pass through this gateway.".to_owned(),
            ),
            Failure::Listed => (Code::AccessDenied, Code::AccessDenied.message().to_owned()),
            Failure::RefusalRate => (Code::SlowDown, Code::SlowDown.message().to_owned()),
            Failure::Undecidable(_) | Failure::AuditBroken | Failure::Origin(_) => {
                (Code::ServiceUnavailable, Code::ServiceUnavailable.message().to_owned())
            }
            Failure::EarlyCommit | Failure::PastTheGate => {
                (Code::InternalError, Code::InternalError.message().to_owned())
            }
        };
        (code, message)
    }

    /// How the record calls the end of the request.
    pub fn outcome(&self) -> Outcome {
        match self {
            Failure::Refused(_) | Failure::Unverifiable => Outcome::Refused,
            Failure::Unauthenticated(_) | Failure::Body(InspectError::Signature(_)) => Outcome::Unauthenticated,
            Failure::Body(InspectError::ClientGone) => Outcome::ClientGone,
            Failure::Body(InspectError::Slow(_)) => Outcome::ClientSlow,
            Failure::Body(_) | Failure::MalformedXml => Outcome::Malformed,
            Failure::Listed => Outcome::Rejected,
            Failure::Undecidable(_) => Outcome::Undecidable,
            Failure::RefusalRate => Outcome::RateLimited,
            Failure::AuditBroken => Outcome::AuditBroken,
            Failure::Origin(_) | Failure::PastTheGate => Outcome::OriginFailed,
            Failure::EarlyCommit => Outcome::EarlyCommit,
        }
    }

    /// The fixed word that tells one failure from another in metrics, audit and log.
    pub fn label(&self) -> &'static str {
        match self {
            Failure::Refused(reason) => reason.label(),
            Failure::Unauthenticated(error) | Failure::Body(InspectError::Signature(error)) => error.label(),
            Failure::Body(InspectError::Framing(error)) => framing_label(*error),
            Failure::Body(InspectError::TooLarge) => "too_large",
            Failure::Body(InspectError::HttpTrailers) => "http_trailers",
            Failure::Body(InspectError::Promise(promise)) => promise.label(),
            Failure::Body(InspectError::Slow(TooSlow::Silent)) => "client_silent",
            Failure::Body(InspectError::Slow(TooSlow::Crawling)) => "client_crawls",
            Failure::Body(InspectError::Slow(TooSlow::Endless)) => "client_endless",
            Failure::Body(InspectError::ClientGone) => "client_gone",
            Failure::MalformedXml => "malformed_xml",
            Failure::Unverifiable => "multipart_unverifiable",
            Failure::Listed => "listed",
            Failure::Undecidable(Undecidable::ListTooOld) => "list_too_old",
            Failure::Undecidable(Undecidable::DigestMissing) => "digest_missing",
            Failure::Undecidable(Undecidable::ListDamaged) => "list_damaged",
            Failure::RefusalRate => "refusal_rate",
            Failure::AuditBroken => "audit_broken",
            Failure::Origin(error) => error.label(),
            Failure::EarlyCommit => "early_commit",
            Failure::PastTheGate => "redirect_past_the_gate",
        }
    }

    /// The text for the operator; `None` where the label says it all.
    pub fn detail(&self) -> Option<String> {
        match self {
            Failure::Origin(error) => Some(error.to_string()),
            _ => None,
        }
    }
}

fn body_answer(error: &InspectError) -> (Code, String) {
    let code = match error {
        InspectError::Framing(FramingError::SizeLine) => Code::InvalidChunkSizeError,
        InspectError::Framing(FramingError::Trailer) => Code::MalformedTrailerError,
        InspectError::Framing(_) | InspectError::ClientGone => Code::IncompleteBody,
        InspectError::TooLarge => Code::EntityTooLarge,
        InspectError::HttpTrailers => Code::InvalidRequest,
        InspectError::Promise(promise) => promise.code(),
        InspectError::Signature(error) => return (error.code(), error.to_string()),
        InspectError::Slow(_) => Code::RequestTimeout,
    };
    (code, code.message().to_owned())
}

fn framing_label(error: FramingError) -> &'static str {
    match error {
        FramingError::SizeLine => "chunk_size_line",
        FramingError::ChunkEnd => "chunk_end",
        FramingError::TooLong => "body_too_long",
        FramingError::TooShort => "body_too_short",
        FramingError::Truncated => "body_truncated",
        FramingError::AfterEnd => "bytes_after_end",
        FramingError::Trailer => "trailer_malformed",
    }
}
