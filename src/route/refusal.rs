//! Why a request is refused before anything of its body is looked at.

use crate::s3::code::Code;
use std::fmt;

/// A refusal: the reason, and a message for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub Reason);

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal(reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.message())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $code:ident, $message:literal;)*) => {
        /// The reasons, each with its metric label, S3 code and message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The metric label.
            pub fn label(self) -> &'static str {
                match self { $(Reason::$name => $label,)* }
            }

            /// The S3 error code.
            pub fn code(self) -> Code {
                match self { $(Reason::$name => Code::$code,)* }
            }

            /// The message for the client.
            pub fn message(self) -> &'static str {
                match self { $(Reason::$name => $message,)* }
            }
        }
    };
}

reasons! {
    /// HTTP/1.0 and older.
    HttpVersion = "http_version", InvalidRequest, "Only HTTP/1.1 is served.";
    /// No Host, or a Host that the target's authority contradicts.
    Host = "host", InvalidRequest, "The Host header is missing, or differs from the request's target.";
    /// A target that is neither a path nor an absolute http URI.
    TargetForm = "target_form", InvalidURI, "The request target must be a path.";
    /// Malformed percent-encoding, or `.` and `..` segments.
    Path = "path", InvalidURI, "The path holds a malformed percent-encoding, or a segment `.` or `..`.";
    /// A query name given twice, also by way of a header.
    DuplicateParameter = "duplicate_parameter", InvalidRequest, "A parameter was given more than once.";
    /// A query name that stores know in another letter case.
    ParameterCase = "parameter_case", InvalidArgument, "A query parameter has a known name in another letter case.";
    /// Sub-resources that contradict each other.
    ParameterMix = "parameter_mix", InvalidRequest, "The query names more than one operation.";
    /// `partNumber` that is not a plain number from 1 to 10,000.
    PartNumber = "part_number", InvalidArgument, "partNumber must be a plain number from 1 to 10000.";
    /// A header that may be there once only.
    DuplicateHeader = "duplicate_header", InvalidRequest, "A header was given more than once.";
    /// A header name with `_`, which some stores read as `-`, outside of metadata.
    HeaderUnderscore = "header_underscore", InvalidRequest, "The name of a header that is no metadata holds an underscore.";
    /// Content-Length together with Transfer-Encoding, or another coding than `chunked`.
    TransferEncoding = "transfer_encoding", InvalidRequest, "Transfer-Encoding must be exactly `chunked`, without Content-Length.";
    /// `Connection` that names anything but close, keep-alive and TE.
    Connection = "connection", InvalidRequest, "Connection may name close, keep-alive and TE only.";
    /// Upgrade, h2c.
    Upgrade = "upgrade", InvalidRequest, "Protocol upgrades are not served.";
    /// `Expect` of anything but 100-continue.
    Expect = "expect", InvalidRequest, "Expect must be `100-continue`.";
    /// A method that no S3 operation uses.
    Method = "method", MethodNotAllowed, "The specified method is not allowed against this resource.";
    /// A POST that is none of the known operations.
    PostOperation = "post_operation", MethodNotAllowed, "This POST is no operation that passes through this gateway.";
    /// A form that is not posted to a bucket, or names a sub-resource.
    FormTarget = "form_target", InvalidRequest, "A form must be posted to its bucket, without any sub-resource.";
    /// A Content-Type of a form that is not `multipart/form-data` with one plain boundary.
    FormType = "form_type", MalformedPOSTRequest, "The body of your POST request is not well-formed multipart/form-data.";
    /// A form that is signed in its header or query.
    FormAuthorization = "form_authorization", MalformedPOSTRequest, "The authorization of a form must be in its fields.";
    /// A field that opens another door.
    FormField = "form_field", NotImplemented, "The form holds a field that does not pass through this gateway.";
    /// No field `key`.
    FormKey = "form_key", InvalidArgument, "The form has no field `key`, or an unusable one.";
    /// `Content-Range` on an upload.
    ContentRange = "content_range", InvalidRequest, "Content-Range is not allowed on an upload.";
    /// Appending to an object.
    Append = "append", NotImplemented, "Appending to an object does not pass through this gateway.";
    /// MinIO's snowball archives.
    Snowball = "snowball", NotImplemented, "Archives that the store unpacks do not pass through this gateway.";
    /// Headers that stores use among themselves.
    PeerHeader = "peer_header", AccessDenied, "Access Denied.";
    /// Swift and other interfaces on the same port.
    OtherInterface = "other_interface", AccessDenied, "Access Denied.";
    /// A path below a reserved prefix.
    ReservedPrefix = "reserved_prefix", AccessDenied, "Access Denied.";
    /// No bucket where one is needed.
    NoBucket = "no_bucket", InvalidURI, "The path names no bucket.";
    /// A body on a call that has none.
    BodyNotAllowed = "body_not_allowed", InvalidRequest, "This call takes no body.";
    /// Signature version 2 in the header of an upload.
    SignatureV2 = "signature_v2", InvalidRequest, "Uploads must be signed with AWS4-HMAC-SHA256.";
    /// An upload without a length.
    NoLength = "no_length", MissingContentLength, "You must provide the Content-Length HTTP header.";
    /// An unknown `STREAMING-` value, or any other unknown one.
    ContentSha256 = "content_sha256", InvalidRequest, "The value of x-amz-content-sha256 is not known.";
    /// SigV4A chunks where signatures are verified here.
    SignatureV4a = "signature_v4a", NotImplemented, "AWS4-ECDSA-P256-SHA256 is not verified by this gateway.";
    /// A `STREAMING-` body that is not a PUT signed in its header.
    StreamingAuthorization = "streaming_authorization", InvalidRequest, "Chunked payloads must be PUT with an AWS4-HMAC-SHA256 Authorization header.";
    /// `aws-chunked` without a `STREAMING-` value.
    AwsChunkedEncoding = "aws_chunked_encoding", InvalidRequest, "Content-Encoding aws-chunked needs x-amz-content-sha256 to be a STREAMING value.";
    /// `Content-Encoding` as a query parameter, or of a form as a whole: some stores take it for what is said of the payload.
    EncodingPlace = "encoding_place", InvalidRequest, "Content-Encoding must be a header of the upload, or a field of the form.";
    /// An encoding of bytes that come with other requests, or are there already.
    EncodingUnseen = "encoding_unseen", NotImplemented, "A Content-Encoding passes this gateway only together with the whole payload.";
    /// A missing or malformed `x-amz-decoded-content-length`, or one without need.
    DecodedLength = "decoded_length", InvalidRequest, "x-amz-decoded-content-length is missing or malformed, or the body is not chunked.";
    /// A missing or malformed `x-amz-trailer`, or one without need.
    TrailerHeader = "trailer_header", InvalidRequest, "x-amz-trailer is missing or malformed, or the body has no trailer.";
}
