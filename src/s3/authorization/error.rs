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
    #[error("{}", malformed(*.0, *.1))]
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

/// In Amazon S3's own words where it has some for that: programs look for them.
fn malformed(place: Place, fault: Fault) -> String {
    let words = match (place, fault) {
        (Place::Query, Fault::Fields) => {
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        }
        (Place::Query, Fault::Credential) => {
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
        }
        (Place::Query, Fault::Date) => "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
        (_, Fault::Expires) => "X-Amz-Expires should be a number",
        (_, Fault::ExpiresSign) => "X-Amz-Expires must be non-negative",
        (place, fault) => return format!("{place} is malformed: {fault}."),
    };
    words.to_owned()
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
    /// A time of expiry below nought.
    ExpiresSign,
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
            Fault::Expires | Fault::ExpiresSign => "X-Amz-Expires must be a number of seconds",
        })
    }
}
