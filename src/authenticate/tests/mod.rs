mod chunks;
mod oracle;
mod refused;

use super::*;
use crate::config::settings::{Authentication, User as ConfiguredUser};
use crate::s3::authorization::{parse_timestamp, presented};
use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderValue, Request};

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const DATE: &str = "20130524T000000Z";
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn credentials() -> Credentials {
    Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: Secret::new(SECRET) }
}

fn authenticator(mode: Mode) -> Authenticator {
    let user = ConfiguredUser {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: Some(Secret::new(SECRET)),
        tenant: Some("acme".to_owned()),
        origin_credentials: Some(Credentials {
            access_key: "ORIGIN".to_owned(),
            secret_key: Secret::new("origin-secret"),
        }),
    };
    let authentication = Authentication { mode, users: vec![user], signature_v2: true };
    Authenticator::new(&authentication, Some("us-east-1"))
}

fn at(text: &str) -> OffsetDateTime {
    parse_timestamp(text).unwrap()
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut parts = Request::builder().method(method).uri(target).body(()).unwrap().into_parts().0;
    for (name, value) in headers {
        parts.headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    parts
}

fn authorization(signed_headers: &str, signature: &str) -> HeaderValue {
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed_headers},\
         Signature={signature}"
    );
    HeaderValue::from_str(&value).unwrap()
}

/// Signed as it stands, all headers covered, by the functions under test: the published examples and the oracle show
/// that those are right.
fn signed(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut parts = request(method, target, headers);
    let mut names: Vec<String> = parts.headers.keys().map(|name| name.to_string()).collect();
    names.sort();
    let payload = parts.headers["x-amz-content-sha256"].to_str().unwrap().to_owned();
    let timestamp = parts.headers["x-amz-date"].to_str().unwrap().to_owned();
    let signature = signature_of(&parts, &timestamp, &names, &payload);
    parts.headers.insert("authorization", authorization(&names.join(";"), &signature));
    parts
}

fn signature_of(parts: &Parts, timestamp: &str, names: &[String], payload: &str) -> String {
    use crate::s3::authorization::{Scope, canonical_request, request_to_sign};
    let scope = Scope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
    let head = Head::of(parts);
    let request = canonical_request(head, head.path, names, payload).unwrap();
    let key = aws_sigv4::sign::v4::generate_signing_key(SECRET, at(DATE).into(), &scope.region, &scope.service);
    let to_sign = request_to_sign(timestamp, &scope, &request);
    aws_sigv4::sign::v4::calculate_signature(key, to_sign.as_bytes())
}

fn verify_at(parts: &Parts, now: &str) -> Result<Caller, AuthError> {
    let head = Head::of(parts);
    authenticator(Mode::Verify).authenticate(head, &presented(head)?, at(now))
}

fn verify(parts: &Parts) -> Result<Caller, AuthError> {
    verify_at(parts, DATE)
}

/// Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in a Single
/// Chunk", its four examples.
#[test]
fn published_examples_in_the_header() {
    let host = ("host", "examplebucket.s3.amazonaws.com");
    let empty = ("x-amz-content-sha256", EMPTY_SHA256);
    let date = ("x-amz-date", DATE);
    let put = [
        host,
        date,
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
    ];
    let get = [host, empty, date, ("range", "bytes=0-9")];
    let plain = [host, empty, date];
    let (short, ranged) = ("host;x-amz-content-sha256;x-amz-date", "host;range;x-amz-content-sha256;x-amz-date");
    let stored = "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class";
    let cases = [
        ("GET", "/test.txt", &get[..], ranged, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("PUT", "/test$file.text", &put, stored, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        ("GET", "/?lifecycle", &plain, short, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            &plain,
            short,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ];
    for (method, target, headers, names, signature) in cases {
        let mut parts = request(method, target, headers);
        parts.headers.insert("authorization", authorization(names, signature));
        let caller = verify(&parts).unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(caller.access_key.as_deref(), Some(ACCESS_KEY));
        assert_eq!(caller.tenant.as_deref(), Some("acme"));
        assert_eq!(caller.confidence, Confidence::Verified);
        assert_eq!(caller.origin_credentials.map(|c| c.access_key).as_deref(), Some("ORIGIN"));
        assert!(caller.chunks.is_none());
    }
}

const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z\
    &X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
    &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

/// Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters", its example.
fn published_presigned() -> Parts {
    request("GET", PRESIGNED, &[("host", "examplebucket.s3.amazonaws.com")])
}

#[test]
fn published_example_in_the_query() {
    let caller = verify(&published_presigned()).unwrap();
    assert_eq!(caller.confidence, Confidence::Verified);
}

#[test]
fn pass_through_believes_the_name_and_no_more() {
    let mut parts = published_presigned();
    parts.method = http::Method::DELETE;
    let head = Head::of(&parts);
    let caller = authenticator(Mode::PassThrough).authenticate(head, &presented(head).unwrap(), at(DATE)).unwrap();
    assert_eq!(caller.confidence.label(), "claimed");
    assert_eq!(caller.tenant.as_deref(), Some("acme"));
    assert!(caller.origin_credentials.is_none() && caller.chunks.is_none());

    let stranger = Presented::HeaderV2 { access_key: "STRANGER".to_owned() };
    let caller = authenticator(Mode::PassThrough).authenticate(head, &stranger, at(DATE)).unwrap();
    assert_eq!((caller.access_key.as_deref(), caller.tenant), (Some("STRANGER"), None));
}

#[test]
fn anonymous_stays_anonymous_unless_it_claims_signed_chunks() {
    let plain = request("PUT", "/b/k", &[("host", "h"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]);
    assert_eq!(verify(&plain).unwrap().confidence, Confidence::Anonymous);
    let chunks = [("host", "h"), ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")];
    assert_eq!(verify(&request("PUT", "/b/k", &chunks)).unwrap_err(), AuthError::PayloadKind);
}

#[test]
fn nothing_secret_is_shown() {
    let shown = format!("{:?} {:?}", authenticator(Mode::Verify), verify(&published_presigned()).unwrap());
    assert!(!shown.contains(SECRET) && !shown.contains("origin-secret"), "{shown}");
}
