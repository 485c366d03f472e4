//! The signer of the `aws-sigv4` crate is the oracle: what it signs verifies, and what we sign it signs alike.

use super::*;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
use std::time::Duration;

const HOST: &str = "gate.example.test:9000";

const PATHS: [&str; 17] = [
    "/",
    "/b/k",
    "/b//k//",
    "/b/%20",
    "/b/a%2Fb",
    "/b/a%2fb",
    "/b/%E2%82%AC",
    "/b/%e2%82%ac",
    "/b/+",
    "/b/%2B",
    "/b/a/./c/../d",
    "/b/(1)!*'.txt",
    "/b/$&,:;=@",
    "/b/~%7E%7e",
    "/b/%25%32%35",
    "/b/%FF%00%0A",
    "/b/%zz%",
];

const QUERIES: [&str; 15] = [
    "",
    "list-type=2&prefix=a%2Fb&delimiter=%2F",
    "acl",
    "acl=",
    "b=2&a=1&a=0&a",
    "prefix=a+b",
    "prefix=a%2Bb",
    "prefix=%20",
    "a=b=c&d==",
    "&&a&",
    "%C3%A9=%E2%82%AC",
    "key=~-_.%7E",
    "A=1&a=1&Z=&-=x",
    "a=%2525&a-b=1&a.b=2",
    "q=*'()!$,;:@/?",
];

fn settings(location: SignatureLocation) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.signature_location = location;
    settings.expires_in = Some(Duration::from_secs(3600));
    settings
}

fn sign_by_oracle(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: SignableBody<'_>,
    location: SignatureLocation,
) -> Parts {
    let identity = aws_credential_types::Credentials::new(ACCESS_KEY, SECRET, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(at(DATE).into())
        .settings(settings(location))
        .build()
        .unwrap()
        .into();
    let uri = format!("http://{HOST}{target}");
    let signable = SignableRequest::new(method, &uri, headers.iter().copied(), body).unwrap();
    let (instructions, _) = aws_sigv4::http_request::sign(signable, &params).unwrap().into_parts();
    let mut signed = Request::from_parts(request(method, &uri, headers), ());
    instructions.apply_to_request_http1x(&mut signed);
    signed.into_parts().0
}

fn target(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[test]
fn what_the_oracle_signs_in_the_header_verifies() {
    let headers = [
        ("host", HOST),
        ("content-type", "text/plain;  charset=utf-8"),
        ("content-length", "12"),
        ("expect", "100-continue"),
        ("x-amz-meta-blanks", "  one   two  "),
        ("x-amz-meta-twice", "b"),
        ("x-amz-meta-twice", "a"),
        ("x-amz-meta-empty", ""),
    ];
    for path in PATHS {
        for query in QUERIES {
            let target = target(path, query);
            let body = SignableBody::Precomputed(EMPTY_SHA256.to_owned());
            let parts = sign_by_oracle("PUT", &target, &headers, body, SignatureLocation::Headers);
            verify(&parts).unwrap_or_else(|error| panic!("{target}: {error}"));
        }
    }
}

#[test]
fn what_the_oracle_presigns_verifies() {
    for path in PATHS {
        for query in QUERIES {
            let target = target(path, query);
            let headers = [("host", HOST), ("x-amz-meta-a", "b")];
            let location = SignatureLocation::QueryParams;
            let parts = sign_by_oracle("GET", &target, &headers, SignableBody::UnsignedPayload, location);
            verify(&parts).unwrap_or_else(|error| panic!("{target}: {error}"));
        }
    }
}

/// Signed over the raw path by one signer, over the encoded one by the other: both are read.
#[test]
fn what_we_sign_verifies() {
    for path in PATHS {
        for query in QUERIES {
            let target = target(path, query);
            let mut parts = request("PUT", &target, &[("host", HOST), ("content-type", "a/b"), ("x-amz-meta-a", "b")]);
            sign(&mut parts, "UNSIGNED-PAYLOAD", &credentials(), "us-east-1", at(DATE));
            verify(&parts).unwrap_or_else(|error| panic!("{target}: {error}"));
            assert_eq!(parts.uri.to_string(), target, "the target keeps its bytes");
        }
    }
}

#[test]
fn we_sign_as_the_oracle_does() {
    let headers = [
        ("host", HOST),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ("content-type", "text/plain"),
        ("x-amz-meta-a", "one  two"),
        ("x-amz-storage-class", "STANDARD"),
    ];
    for path in ["/", "/b/k", "/b//k", "/b/%20%2B%E2%82%AC", "/b/~._-"] {
        for query in QUERIES {
            let target = target(path, query);
            let body = SignableBody::StreamingUnsignedPayloadTrailer;
            let oracle = sign_by_oracle("PUT", &target, &headers, body, SignatureLocation::Headers);
            let mut ours = request("PUT", &target, &headers);
            sign(&mut ours, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", &credentials(), "us-east-1", at(DATE));
            for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
                assert_eq!(ours.headers[name], oracle.headers[name], "{name} of {target}");
            }
        }
    }
}

#[test]
fn signing_removes_what_was_there() {
    let stays = "x-amz-acl=private&&partNumber=1+2&%75ploadId=x";
    let target = format!("{PRESIGNED}&X-Amz-Security-Token=t&x%2Damz-content-sha256=U&{stays}");
    let headers =
        [("host", HOST), ("date", "today"), ("x-amz-security-token", "t"), ("x-amz-date", "20000101T000000Z")];
    let mut parts = request("PUT", &target, &headers);
    sign(&mut parts, "UNSIGNED-PAYLOAD", &credentials(), "us-east-1", at(DATE));
    assert_eq!(parts.uri.to_string(), format!("/test.txt?{stays}"));
    assert_eq!(parts.headers["date"], "today");
    assert!(!parts.headers.contains_key("x-amz-security-token"));
    verify(&parts).unwrap();

    let mut parts = request("GET", "/b/k?AWSAccessKeyId=A&Expires=1&Signature=s", &[("host", HOST)]);
    sign(&mut parts, "UNSIGNED-PAYLOAD", &credentials(), "us-east-1", at(DATE));
    assert_eq!(parts.uri.to_string(), "/b/k");
    verify(&parts).unwrap();
}
