//! What must not get through: anything changed, anything too early or too late, anything that nobody signed.

use super::*;
use crate::s3::code::Code;

const TARGET: &str = "/bucket/some/key?partNumber=7&uploadId=abc";
const HEADERS: [(&str, &str); 5] = [
    ("host", "gate.example.test"),
    ("content-type", "text/plain"),
    ("x-amz-content-sha256", EMPTY_SHA256),
    ("x-amz-date", DATE),
    ("x-amz-meta-a", "value"),
];

fn valid() -> Parts {
    signed("PUT", TARGET, &HEADERS)
}

/// Every text that differs from `text` in one byte, and is still made of letters and digits there.
fn flipped(text: &str) -> Vec<String> {
    let flip = |at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'e' { b'a' } else { b'e' };
        String::from_utf8(bytes).unwrap()
    };
    (0..text.len()).map(flip).collect()
}

fn signature_at(parts: &Parts) -> usize {
    parts.headers["authorization"].len() - 64
}

#[test]
fn the_unchanged_request_verifies() {
    verify(&valid()).unwrap();
}

#[test]
fn another_method() {
    for method in ["GET", "POST", "PUU", "put"] {
        let mut parts = valid();
        parts.method = method.parse().unwrap();
        assert_eq!(verify(&parts).unwrap_err(), AuthError::Signature, "{method}");
    }
}

#[test]
fn another_target() {
    for target in flipped(TARGET).into_iter().skip(1) {
        let mut parts = valid();
        parts.uri = target.parse().unwrap();
        assert_eq!(verify(&parts).unwrap_err(), AuthError::Signature, "{target}");
    }
    for more in ["&acl", "&partNumber=7", "%20"] {
        let mut parts = valid();
        parts.uri = format!("{TARGET}{more}").parse().unwrap();
        assert_eq!(verify(&parts).unwrap_err(), AuthError::Signature, "{more}");
    }
}

#[test]
fn another_header() {
    for (name, value) in HEADERS {
        for changed in flipped(value) {
            let mut parts = valid();
            parts.headers.insert(name, HeaderValue::from_str(&changed).unwrap());
            verify(&parts).expect_err(&changed);
        }
        let mut parts = valid();
        parts.headers.append(name, HeaderValue::from_static("more"));
        verify(&parts).expect_err(name);
        let mut parts = valid();
        parts.headers.remove(name);
        verify(&parts).expect_err(name);
    }
}

#[test]
fn another_authorization() {
    let parts = valid();
    let (value, signature_at) = (parts.headers["authorization"].to_str().unwrap().to_owned(), signature_at(&parts));
    for (at, changed) in flipped(&value).into_iter().enumerate() {
        let mut parts = valid();
        parts.headers.insert("authorization", HeaderValue::from_str(&changed).unwrap());
        let error = verify(&parts).expect_err(&changed);
        if at >= signature_at {
            assert_eq!(error, AuthError::Signature);
        }
    }
}

#[test]
fn another_presigned_target() {
    for target in flipped(PRESIGNED).into_iter().skip(1) {
        let mut parts = published_presigned();
        parts.uri = target.parse().unwrap();
        if let Ok(caller) = verify(&parts) {
            // Without its `?` there is no query, and another path.
            assert!(!target.contains('?'), "{target}");
            assert_eq!(caller.confidence, Confidence::Anonymous);
        }
    }
    let mut parts = published_presigned();
    parts.headers.insert("host", HeaderValue::from_static("other.s3.amazonaws.com"));
    assert_eq!(verify(&parts).unwrap_err(), AuthError::Signature);
}

#[test]
fn clock_of_a_header() {
    for (now, error) in [
        ("20130524T000000Z", None),
        ("20130524T001500Z", None),
        ("20130524T001501Z", Some(AuthError::Skewed)),
        ("20130523T234500Z", None),
        ("20130523T234459Z", Some(AuthError::Skewed)),
        ("20140524T000000Z", Some(AuthError::Skewed)),
    ] {
        assert_eq!(verify_at(&valid(), now).err(), error, "{now}");
    }
    assert_eq!(AuthError::Skewed.code(), Code::RequestTimeTooSkewed);
}

#[test]
fn clock_of_a_presigned_url() {
    for (now, error) in [
        ("20130524T000000Z", None),
        ("20130525T000000Z", None),
        ("20130525T000001Z", Some(AuthError::Expired)),
        ("20130523T234500Z", None),
        ("20130523T234459Z", Some(AuthError::NotYetValid)),
        ("99991231T235959Z", Some(AuthError::Expired)),
    ] {
        assert_eq!(verify_at(&published_presigned(), now).err(), error, "{now}");
    }
    assert_eq!(AuthError::Expired.code(), Code::AccessDenied);
    assert_eq!(AuthError::Expired.to_string(), "Request has expired.");
}

fn presign(expires: &str, more: &str, headers: &[(&str, &str)], signed_headers: &[&str], payload: &str) -> Parts {
    let target = format!(
        "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date={DATE}\
         &X-Amz-Expires={expires}&X-Amz-SignedHeaders={}{more}",
        signed_headers.join("%3B")
    );
    let mut parts = request("PUT", &target, headers);
    let names: Vec<String> = signed_headers.iter().map(|name| name.to_string()).collect();
    let signature = signature_of(&parts, DATE, &names, payload);
    parts.uri = format!("{target}&X-Amz-Signature={signature}").parse().unwrap();
    parts
}

#[test]
fn presigned_for_how_long() {
    for (expires, error) in
        [("0", Some(AuthError::ExpiresRange)), ("1", None), ("604800", None), ("604801", Some(AuthError::ExpiresRange))]
    {
        let parts = presign(expires, "", &[("host", "h")], &["host"], "UNSIGNED-PAYLOAD");
        assert_eq!(verify(&parts).err(), error, "{expires}");
    }
}

#[test]
fn presigned_payloads() {
    let host = [("host", "h")];
    let in_query = |value: &str| format!("&X-Amz-Content-Sha256={value}");
    let parts = presign("60", &in_query(EMPTY_SHA256), &host, &["host"], EMPTY_SHA256);
    verify(&parts).unwrap();

    let streaming = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let parts = presign("60", &in_query(streaming), &host, &["host"], streaming);
    assert_eq!(verify(&parts).unwrap_err(), AuthError::PayloadKind);

    let differs = [("host", "h"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let parts = presign("60", &in_query(EMPTY_SHA256), &differs, &["host"], "UNSIGNED-PAYLOAD");
    assert_eq!(verify(&parts).unwrap_err(), AuthError::Ambiguous);

    let parts = presign("60", "&x-amz-acl=private&X-Amz-Acl=public-read", &host, &["host"], "UNSIGNED-PAYLOAD");
    assert_eq!(verify(&parts).unwrap_err(), AuthError::Ambiguous);
}

#[test]
fn a_header_that_nobody_signed() {
    for (mut parts, name) in [(valid(), "x-amz-acl"), (published_presigned(), "x-amz-meta-b")] {
        parts.headers.insert(name, HeaderValue::from_static("public-read"));
        assert_eq!(verify(&parts).unwrap_err(), AuthError::UnsignedHeader);
    }
    // Its value is the last line of the canonical request: it is covered without being named.
    let headers = [("host", "h"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    verify(&presign("60", "", &headers, &["host"], "UNSIGNED-PAYLOAD")).unwrap();
}

#[test]
fn unknown_key_and_other_versions() {
    let mut parts = valid();
    let value = parts.headers["authorization"].to_str().unwrap().replace(ACCESS_KEY, "NOBODY");
    parts.headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
    assert_eq!(verify(&parts).unwrap_err().code(), Code::InvalidAccessKeyId);

    let access_key = ACCESS_KEY.to_owned();
    for other in [
        Presented::HeaderV2 { access_key: access_key.clone() },
        Presented::PresignedV2 { access_key: access_key.clone() },
        Presented::HeaderV4a { access_key: access_key.clone() },
        Presented::PresignedV4a { access_key },
    ] {
        let error = authenticator(Mode::Verify).authenticate(Head::of(&parts), &other, at(DATE)).unwrap_err();
        assert_eq!(error.code(), Code::InvalidRequest);
        assert!(error.to_string().contains("AWS4-HMAC-SHA256"));
    }
}

#[test]
fn another_day_or_region() {
    for (from, to, code) in [
        ("20130524/", "20130523/", Code::AuthorizationHeaderMalformed),
        ("us-east-1", "eu-west-1", Code::AuthorizationHeaderMalformed),
    ] {
        let mut parts = valid();
        let value = parts.headers["authorization"].to_str().unwrap().replace(from, to);
        parts.headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
        assert_eq!(verify(&parts).unwrap_err().code(), code, "{to}");

        let mut parts = published_presigned();
        parts.uri = PRESIGNED
            .replace(from.trim_end_matches('/'), to.trim_end_matches('/'))
            .replacen("Date=20130523", "Date=20130524", 1)
            .parse()
            .unwrap();
        assert_eq!(verify(&parts).unwrap_err().code(), Code::AuthorizationQueryParametersError, "{to}");
    }
}

#[test]
fn payload_header() {
    let mut parts = valid();
    parts.headers.remove("x-amz-content-sha256");
    assert_eq!(verify(&parts).unwrap_err(), AuthError::PayloadMissing);

    for (value, error) in
        [("whatever", AuthError::PayloadUnknown), ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", AuthError::PayloadKind)]
    {
        let mut headers = HEADERS;
        headers[2].1 = value;
        assert_eq!(verify(&signed("PUT", TARGET, &headers)).unwrap_err(), error);
    }
}

#[test]
fn a_date_is_needed() {
    let mut parts = valid();
    parts.headers.remove("x-amz-date");
    assert_eq!(verify(&parts).unwrap_err().code(), Code::AccessDenied);
}

/// No message may help to forge.
#[test]
fn messages_hold_no_signature() {
    let mut parts = valid();
    parts.method = "GET".parse().unwrap();
    let names: Vec<String> = HEADERS.iter().map(|(name, _)| name.to_string()).collect();
    let mut sorted = names.clone();
    sorted.sort();
    let expected = signature_of(&parts, DATE, &sorted, EMPTY_SHA256);
    let error = verify(&parts).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(&expected));
    assert_eq!(error.to_string(), Code::SignatureDoesNotMatch.message());
}
