//! Why a caller is not believed.

use crate::s3::authorization::{AuthorizationError, Place};
use crate::s3::code::Code;
use crate::s3::post_policy::PolicyError;

/// Why a request, or a piece of its body, is refused. `Display` is for the client: it holds no secret, and no signature
/// that we computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The authorization itself is unusable.
    #[error(transparent)]
    Authorization(#[from] AuthorizationError),
    /// A version of signatures that is not verified here.
    #[error("This authorization mechanism is not supported. Please use AWS4-HMAC-SHA256.")]
    Version,
    /// Nobody has that access key.
    #[error("{}", Code::InvalidAccessKeyId.message())]
    UnknownAccessKey,
    /// Signed more than 15 minutes away from now.
    #[error("The difference between the request time and the server's time is too large.")]
    Skewed,
    /// Presigned for more than a week, or for no time at all.
    #[error(
        "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
    )]
    ExpiresRange,
    /// Presigned too far in the future.
    #[error("Request is not valid yet.")]
    NotYetValid,
    /// Presigned too long ago.
    #[error("Request has expired.")]
    Expired,
    /// The scope's day is not that of signing.
    #[error("{0} names another day in its credential than the request was signed on.")]
    ScopeDate(Place),
    /// The scope's region is not ours.
    #[error("{place} names a wrong region; expecting '{expected}'.")]
    Region {
        /// Where the authorization stands.
        place: Place,
        /// The region that is configured.
        expected: String,
    },
    /// An `x-amz-*` header could have been added by somebody else.
    #[error("The request has x-amz-* headers that its signature does not cover.")]
    UnsignedHeader,
    /// A control header twice, or a header and a query parameter that disagree.
    #[error("An x-amz-* header or parameter is given twice.")]
    Ambiguous,
    /// No `x-amz-content-sha256`.
    #[error("Missing required header for this request: x-amz-content-sha256.")]
    PayloadMissing,
    /// A value of `x-amz-content-sha256` that is not in the table.
    #[error("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING value, or a valid sha256 value.")]
    PayloadUnknown,
    /// A kind of payload that does not go with the authorization.
    #[error("The kind of payload in x-amz-content-sha256 does not go with this authorization.")]
    PayloadKind,
    /// The request's signature is wrong.
    #[error("{}", Code::SignatureDoesNotMatch.message())]
    Signature,
    /// A form's authorization lacks a field, or has one that cannot be read.
    #[error(
        "The form lacks policy, x-amz-algorithm, x-amz-credential, x-amz-date or x-amz-signature, or one is malformed."
    )]
    FormIncomplete,
    /// A form of a user who would have to be signed anew.
    #[error("Form uploads of this user do not pass through this gateway.")]
    FormResigned,
    /// A form's policy does not allow it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A chunk's is.
    #[error("The signature of a chunk does not match what was received.")]
    ChunkSignature,
    /// The trailer's is.
    #[error("The signature of the trailer does not match what was received.")]
    TrailerSignature,
}

impl AuthError {
    /// The code to answer with.
    pub fn code(&self) -> Code {
        match self {
            AuthError::Authorization(error) => error.code(),
            AuthError::UnknownAccessKey => Code::InvalidAccessKeyId,
            AuthError::Skewed => Code::RequestTimeTooSkewed,
            AuthError::Policy(PolicyError::Malformed) => Code::InvalidPolicyDocument,
            AuthError::Policy(_) => Code::AccessDenied,
            AuthError::FormIncomplete => Code::InvalidArgument,
            AuthError::FormResigned => Code::NotImplemented,
            AuthError::NotYetValid | AuthError::Expired | AuthError::UnsignedHeader => Code::AccessDenied,
            AuthError::ExpiresRange => Code::AuthorizationQueryParametersError,
            AuthError::ScopeDate(place) | AuthError::Region { place, .. } => place.code(),
            AuthError::PayloadUnknown => Code::InvalidArgument,
            AuthError::Version | AuthError::Ambiguous | AuthError::PayloadMissing | AuthError::PayloadKind => {
                Code::InvalidRequest
            }
            AuthError::Signature | AuthError::ChunkSignature | AuthError::TrailerSignature => {
                Code::SignatureDoesNotMatch
            }
        }
    }

    /// The fixed word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            AuthError::Authorization(error) => error.label(),
            AuthError::Version => "version",
            AuthError::UnknownAccessKey => "unknown_access_key",
            AuthError::Skewed => "skewed",
            AuthError::ExpiresRange => "expires_range",
            AuthError::NotYetValid => "not_yet_valid",
            AuthError::Expired => "expired",
            AuthError::ScopeDate(_) => "scope_date",
            AuthError::Region { .. } => "region",
            AuthError::UnsignedHeader => "unsigned_header",
            AuthError::Ambiguous => "ambiguous",
            AuthError::PayloadMissing => "payload_missing",
            AuthError::PayloadUnknown => "payload_unknown",
            AuthError::PayloadKind => "payload_kind",
            AuthError::FormIncomplete => "form_incomplete",
            AuthError::FormResigned => "form_resigned",
            AuthError::Policy(_) => "form_policy",
            AuthError::Signature => "signature",
            AuthError::ChunkSignature => "chunk_signature",
            AuthError::TrailerSignature => "trailer_signature",
        }
    }
}
