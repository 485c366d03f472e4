//! The error codes of S3 that we answer with, their statuses, and the XML they travel in.
//!
//! Source: Amazon S3 API Reference, "Error responses"; statuses as MinIO and Amazon S3 send them.

use http::StatusCode;
use std::fmt::Write as _;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $message:literal;)*) => {
        /// An S3 error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are S3's own, and the message says what each means")]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// The code as it stands in `<Code>`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> StatusCode {
                let status = match self { $(Code::$name => $status,)* };
                StatusCode::from_u16(status).expect("every status in the table is valid")
            }

            /// The message for the client.
            pub fn message(self) -> &'static str {
                match self { $(Code::$name => $message,)* }
            }
        }
    };
}

codes! {
    AccessDenied = 403, "Access Denied.";
    AuthorizationHeaderMalformed = 400, "The authorization header is malformed.";
    AuthorizationQueryParametersError = 400, "Error parsing the X-Amz-Credential parameter or another authorization query parameter.";
    BadDigest = 400, "The Content-MD5 or checksum that you specified did not match what we received.";
    EntityTooSmall = 400, "Your proposed upload is smaller than the minimum allowed object size.";
    EntityTooLarge = 400, "Your proposed upload exceeds the maximum allowed size.";
    IncompleteBody = 400, "You did not provide the number of bytes specified by the Content-Length or x-amz-decoded-content-length header, or the body's framing is malformed.";
    InternalError = 500, "We encountered an internal error. Please try again.";
    InvalidAccessKeyId = 403, "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument = 400, "Invalid argument.";
    InvalidChunkSizeError = 400, "The size of a chunk is malformed.";
    InvalidDigest = 400, "The Content-MD5 or checksum value that you specified is not valid.";
    InvalidPart = 400, "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartOrder = 400, "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidPolicyDocument = 400, "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRequest = 400, "Invalid request.";
    InvalidURI = 400, "Couldn't parse the specified URI.";
    MalformedPOSTRequest = 400, "The body of your POST request is not well-formed multipart/form-data.";
    MalformedTrailerError = 400, "The trailer of the request body is malformed or is not the one that x-amz-trailer announced.";
    MalformedXML = 400, "The XML you provided was not well-formed or did not validate against our published schema.";
    MethodNotAllowed = 405, "The specified method is not allowed against this resource.";
    MissingContentLength = 411, "You must provide the Content-Length HTTP header.";
    NotImplemented = 501, "A header or parameter that you provided implies functionality that is not implemented.";
    RequestTimeTooSkewed = 403, "The difference between the request time and the server's time is too large.";
    RequestTimeout = 400, "Your socket connection to the server was not read from or written to within the timeout period.";
    ServiceUnavailable = 503, "Service is unable to handle request.";
    SignatureDoesNotMatch = 403, "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown = 503, "Please reduce your request rate.";
    XAmzContentSHA256Mismatch = 400, "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

/// The body of an error answer. `resource` is the request's path as it was sent, `request_id` our id for it.
pub fn error_xml(code: Code, message: &str, resource: &str, request_id: &str) -> String {
    let mut xml = String::with_capacity(256 + resource.len());
    xml.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    for (element, text) in
        [("Code", code.name()), ("Message", message), ("Resource", resource), ("RequestId", request_id)]
    {
        write!(xml, "<{element}>{}</{element}>", quick_xml::escape::escape(text)).expect("a String takes every write");
    }
    xml.push_str("</Error>");
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_is_escaped() {
        let xml = error_xml(Code::AccessDenied, "no", "/b/<k>&\"", "ID");
        assert!(xml.contains("<Resource>/b/&lt;k&gt;&amp;&quot;</Resource>"), "{xml}");
        assert!(xml.contains("<Code>AccessDenied</Code>"));
    }

    #[test]
    fn statuses_follow_the_table() {
        assert_eq!(Code::AccessDenied.status(), 403);
        assert_eq!(Code::SlowDown.status(), 503);
        assert_eq!(Code::EntityTooLarge.status(), 400);
    }
}
