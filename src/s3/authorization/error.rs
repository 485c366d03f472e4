//! Why an authorization cannot be used, whoever signed it.

use crate::s3::code::Code;
use std::fmt;

/// Where an authorization stands; the stores answer with different codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the headers.
    Header,
    /// In the query.
    Query,
    /// In the fields of a form.
    Form,
}

impl Place {
    /// The code for an authorization that is malformed there.
    pub fn code(self) -> Code {
        match self {
            Place::Header => Code::AuthorizationHeaderMalformed,
            Place::Query => Code::AuthorizationQueryParametersError,
            Place::Form => Code::InvalidArgument,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Header => "The authorization header",
            Place::Query => "The authorization in the query",
            Place::Form => "The authorization in the form",
        })
    }
}

/// Why an authorization cannot be used, whoever signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// More than one kind, or one kind twice.
    #[error("A request must carry one authorization: the Authorization header, or query parameters of one version.")]
    MoreThanOne,
    /// A scheme or algorithm that no store behind us takes.
    #[error("{0} is of an unsupported type. Please use AWS4-HMAC-SHA256.")]
    Unsupported(Place),
    /// A part of it is not of the grammar.
    #[error("{0} is malformed: {1}.")]
    Malformed(Place, Fault),
    /// A name in SignedHeaders has no header.
    #[error("A header that the signature covers is not in the request.")]
    SignedHeaderAbsent,
}

impl AuthorizationError {
    /// The code to answer with.
    pub fn code(&self) -> Code {
        match self {
            AuthorizationError::MoreThanOne | AuthorizationError::Unsupported(_) => Code::InvalidArgument,
            // As Amazon S3 answers where there is no date at all.
            AuthorizationError::Malformed(Place::Header, Fault::Date) => Code::AccessDenied,
            AuthorizationError::Malformed(place, _) => place.code(),
            AuthorizationError::SignedHeaderAbsent => Code::SignatureDoesNotMatch,
        }
    }

    /// The fixed word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            AuthorizationError::MoreThanOne => "more_than_one",
            AuthorizationError::Unsupported(_) => "unsupported",
            AuthorizationError::Malformed(..) => "malformed",
            AuthorizationError::SignedHeaderAbsent => "signed_header_absent",
        }
    }
}

/// The part that is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The fields or parameters themselves.
    Fields,
    /// The credential with its scope.
    Credential,
    /// The service in the scope.
    Service,
    /// The list of signed headers.
    SignedHeaders,
    /// The signature.
    Signature,
    /// The date of signing.
    Date,
    /// The time of expiry.
    Expires,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Fields => "a field is missing, unknown, misspelt or given twice",
            Fault::Credential => "the credential must be ACCESS-KEY/YYYYMMDD/REGION/SERVICE/aws4_request",
            Fault::Service => "the credential names a service that is not served here",
            Fault::SignedHeaders => "signed headers must be lower case, sorted, each once, with host among them",
            Fault::Signature => "the signature must be 64 lower-case hexadecimal digits",
            Fault::Date => "a valid x-amz-date (YYYYMMDD'T'HHMMSS'Z') is required",
            Fault::Expires => "X-Amz-Expires must be a number of seconds",
        })
    }
}
