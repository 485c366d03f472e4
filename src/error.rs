//! Every way in which a request can fail, as an S3 answer, a metric label and a text for the log: one exhaustive match
//! each.

use crate::authenticate::AuthError;
use crate::decide::Undecidable;
use crate::forward::OriginError;
use crate::inspect::{ArchiveError, InspectError, TooSlow};
use crate::multipart::Busy;
use crate::record::Outcome;
use crate::route::{Reason, Refusal};
use crate::s3::chunked::FramingError;
use crate::s3::code::Code;
use crate::s3::complete::CompleteError;

/// Why a request did not go its ordinary way.
#[derive(Debug)]
pub enum Failure {
    /// Refused before its body was looked at.
    Refused(Reason),
    /// The caller could not be made sure of.
    Unauthenticated(AuthError),
    /// The body could not go on.
    Body(InspectError),
    /// The parts that a CompleteMultipartUpload names cannot be told.
    Complete(CompleteError),
    /// A CompleteMultipartUpload whose parts are not all known.
    Unverifiable,
    /// A CompleteMultipartUpload that names a part which the store does not have.
    PartAbsent,
    /// An archive that the store would unpack, whose members cannot all be told.
    Archive(ArchiveError),
    /// A header says that the payload is encoded, and it cannot be decoded within the bounds.
    Undecodable,
    /// A copy whose source nobody could read.
    UnknownCopy,
    /// The object is being read back.
    ReadBack,
    /// The job of reading an object back cannot be written down.
    ReadBackBroken,
    /// An upload that nobody could decide about cannot be put into the queue.
    RecheckBroken,
    /// No room for a part that came before its predecessor.
    PartTooEarly,
    /// No memory for decoding one more object in parts.
    DecodersBusy,
    /// On a list, and refused by policy.
    Listed,
    /// Refused by policy, and kept as evidence.
    Quarantined,
    /// The room that is set aside for cases is in use: the disk is full.
    JournalTight,
    /// What the gate tests itself with; refused as if it were listed.
    Canary,
    /// That was stored once: nothing may pass any more.
    CanaryStored,
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

impl From<CompleteError> for Failure {
    fn from(error: CompleteError) -> Failure {
        Failure::Complete(error)
    }
}

impl From<Busy> for Failure {
    fn from(busy: Busy) -> Failure {
        match busy {
            Busy::Early => Failure::PartTooEarly,
            Busy::Decoder => Failure::DecodersBusy,
        }
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
            Failure::Complete(CompleteError::Malformed) => {
                (Code::MalformedXML, Code::MalformedXML.message().to_owned())
            }
            Failure::Complete(CompleteError::Order) => {
                (Code::InvalidPartOrder, Code::InvalidPartOrder.message().to_owned())
            }
            Failure::PartAbsent => (Code::InvalidPart, Code::InvalidPart.message().to_owned()),
            Failure::Unverifiable => (
                Code::NotImplemented,
                "The parts of this upload are not all known to this gateway. Please upload them again.".to_owned(),
            ),
            Failure::Undecodable => (
                Code::InvalidRequest,
                "The payload cannot be decoded as its Content-Encoding says, within the bounds for that.".to_owned(),
            ),
            Failure::UnknownCopy => (
                Code::NotImplemented,
                "The source of this copy cannot be read by this gateway. Please upload its bytes instead.".to_owned(),
            ),
            Failure::Listed | Failure::Quarantined | Failure::Canary => {
                (Code::AccessDenied, Code::AccessDenied.message().to_owned())
            }
            Failure::RefusalRate | Failure::PartTooEarly | Failure::DecodersBusy | Failure::ReadBack => {
                (Code::SlowDown, Code::SlowDown.message().to_owned())
            }
            Failure::Archive(_) => (
                Code::InvalidRequest,
                "The archive cannot be read: it must be a plain tar file of files and folders, as it is or as gzip or zstd."
                    .to_owned(),
            ),
            Failure::Undecidable(_)
            | Failure::CanaryStored
            | Failure::AuditBroken
            | Failure::JournalTight
            | Failure::ReadBackBroken
            | Failure::RecheckBroken
            | Failure::Origin(_) => {
                (Code::ServiceUnavailable, Code::ServiceUnavailable.message().to_owned())
            }
            Failure::EarlyCommit | Failure::PastTheGate => {
                (Code::InternalError, Code::InternalError.message().to_owned())
            }
        };
        (code, message)
    }

    /// Whether it leaves on the grid that all refusals of policy leave on, so that its time says nothing of its reason.
    pub fn is_on_grid(&self) -> bool {
        self.answer().0 == Code::AccessDenied
    }

    /// How the record calls the end of the request.
    pub fn outcome(&self) -> Outcome {
        match self {
            Failure::Archive(_)
            | Failure::Refused(_)
            | Failure::PartAbsent
            | Failure::Unverifiable
            | Failure::Undecodable
            | Failure::UnknownCopy
            | Failure::PartTooEarly
            | Failure::DecodersBusy => Outcome::Refused,
            Failure::ReadBack | Failure::ReadBackBroken | Failure::RecheckBroken | Failure::CanaryStored => {
                Outcome::Undecidable
            }
            Failure::Canary => Outcome::Canary,
            Failure::Unauthenticated(_) | Failure::Body(InspectError::Signature(_)) => Outcome::Unauthenticated,
            Failure::Body(InspectError::ClientGone) => Outcome::ClientGone,
            Failure::Body(InspectError::Slow(_)) => Outcome::ClientSlow,
            Failure::Body(_) | Failure::Complete(_) => Outcome::Malformed,
            Failure::Listed => Outcome::Rejected,
            Failure::Quarantined => Outcome::Quarantined,
            Failure::JournalTight => Outcome::JournalTight,
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
            Failure::Body(InspectError::TooSmall) => "too_small",
            Failure::Body(InspectError::HttpTrailers) => "http_trailers",
            Failure::Body(InspectError::Promise(promise)) => promise.label(),
            Failure::Body(InspectError::Slow(TooSlow::Silent)) => "client_silent",
            Failure::Body(InspectError::Slow(TooSlow::Crawling)) => "client_crawls",
            Failure::Body(InspectError::Slow(TooSlow::Endless)) => "client_endless",
            Failure::Body(InspectError::ClientGone) => "client_gone",
            Failure::Complete(CompleteError::Malformed) => "malformed_xml",
            Failure::Complete(CompleteError::Order) => "part_order",
            Failure::PartTooEarly => "part_too_early",
            Failure::DecodersBusy => "decoders_busy",
            Failure::Archive(ArchiveError::Members) => "archive_members",
            Failure::Archive(_) => "archive_unreadable",
            Failure::Undecodable => "undecodable",
            Failure::UnknownCopy => "copy_unknown",
            Failure::ReadBack => "read_back_pending",
            Failure::ReadBackBroken => "read_back_broken",
            Failure::PartAbsent => "part_absent",
            Failure::Unverifiable => "multipart_unverifiable",
            Failure::Listed => "listed",
            Failure::Quarantined => "quarantined",
            Failure::JournalTight => "journal_tight",
            Failure::Canary => "canary",
            Failure::CanaryStored => "canary_stored",
            Failure::Undecidable(Undecidable::ListTooOld) => "list_too_old",
            Failure::Undecidable(Undecidable::DigestMissing) => "digest_missing",
            Failure::Undecidable(Undecidable::ListDamaged) => "list_damaged",
            Failure::Undecidable(Undecidable::ServiceAway) => "service_away",
            Failure::RecheckBroken => "recheck_broken",
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
        InspectError::Framing(FramingError::Form(_)) => Code::MalformedPOSTRequest,
        InspectError::Framing(_) | InspectError::ClientGone => Code::IncompleteBody,
        InspectError::TooLarge => Code::EntityTooLarge,
        InspectError::TooSmall => Code::EntityTooSmall,
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
        FramingError::Form(_) => "form_malformed",
    }
}
