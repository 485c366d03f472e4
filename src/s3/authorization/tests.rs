use super::*;
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

const SIGNATURE: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
const CREDENTIAL: &str = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
const SIGNED: &str = "host;range;x-amz-content-sha256;x-amz-date";

fn presented_of(authorization: &[&str], query: &str) -> Result<Presented, AuthorizationError> {
    let mut headers = HeaderMap::new();
    for value in authorization {
        headers.append("authorization", HeaderValue::from_str(value).unwrap());
    }
    presented(Head { method: &Method::GET, path: "/", query, headers: &headers })
}

fn v4(credential: &str, signed: &str, signature: &str) -> Result<Presented, AuthorizationError> {
    let value = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}");
    presented_of(&[&value], "")
}

fn query(parameters: &[(&str, &str)]) -> String {
    let pieces: Vec<String> = parameters.iter().map(|(n, v)| format!("{n}={}", v.replace('/', "%2F"))).collect();
    pieces.join("&")
}

fn presigned() -> Vec<(&'static str, &'static str)> {
    vec![
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", CREDENTIAL),
        ("X-Amz-Date", "20130524T000000Z"),
        ("X-Amz-Expires", "86400"),
        ("X-Amz-SignedHeaders", "host"),
        ("X-Amz-Signature", SIGNATURE),
    ]
}

fn malformed(place: Place, fault: Fault) -> Result<Presented, AuthorizationError> {
    Err(AuthorizationError::Malformed(place, fault))
}

#[test]
fn nothing_is_anonymous() {
    assert_eq!(presented_of(&[], "prefix=a&x-amz-acl=private"), Ok(Presented::Anonymous));
}

#[test]
fn the_three_fields_stand_in_any_order_with_or_without_blanks() {
    let fields =
        [format!("Credential={CREDENTIAL}"), format!("SignedHeaders={SIGNED}"), format!("Signature={SIGNATURE}")];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        for separator in [",", ", ", " ,  "] {
            let joined = order.map(|at| fields[at].as_str()).join(separator);
            let found = presented_of(&[&format!("AWS4-HMAC-SHA256 {joined}")], "").unwrap();
            let Presented::HeaderV4(found) = found else { panic!("{found:?}") };
            assert_eq!(found.access_key, "AKIAIOSFODNN7EXAMPLE");
            assert_eq!(found.scope.to_string(), "20130524/us-east-1/s3/aws4_request");
            assert_eq!(found.signed_headers.join(";"), SIGNED);
            assert_eq!(found.signature, SIGNATURE);
        }
    }
}

#[test]
fn malformed_headers() {
    let upper = SIGNATURE.to_uppercase();
    let place = Place::Header;
    for (credential, signed, signature, fault) in [
        (CREDENTIAL, SIGNED, &SIGNATURE[1..], Fault::Signature),
        (CREDENTIAL, SIGNED, upper.as_str(), Fault::Signature),
        (CREDENTIAL, "range;host", SIGNATURE, Fault::SignedHeaders),
        (CREDENTIAL, "host;host", SIGNATURE, Fault::SignedHeaders),
        (CREDENTIAL, "Host", SIGNATURE, Fault::SignedHeaders),
        (CREDENTIAL, "range", SIGNATURE, Fault::SignedHeaders),
        (CREDENTIAL, "host;", SIGNATURE, Fault::SignedHeaders),
        (CREDENTIAL, "ho st;host", SIGNATURE, Fault::SignedHeaders),
        (CREDENTIAL, "", SIGNATURE, Fault::Fields),
        ("AK/20130524/us-east-1/s3", SIGNED, SIGNATURE, Fault::Credential),
        ("/20130524/us-east-1/s3/aws4_request", SIGNED, SIGNATURE, Fault::Credential),
        ("AK/2013052/us-east-1/s3/aws4_request", SIGNED, SIGNATURE, Fault::Credential),
        ("AK/2013052x/us-east-1/s3/aws4_request", SIGNED, SIGNATURE, Fault::Credential),
        ("AK/20130524//s3/aws4_request", SIGNED, SIGNATURE, Fault::Credential),
        ("AK/20130524/us-east-1/s3/aws4_reques", SIGNED, SIGNATURE, Fault::Credential),
        ("AK/20130524/us-east-1/ec2/aws4_request", SIGNED, SIGNATURE, Fault::Service),
    ] {
        assert_eq!(v4(credential, signed, signature), malformed(place, fault), "{credential} {signed} {signature}");
    }
    for fields in [
        "".to_owned(),
        format!("Credential={CREDENTIAL}, SignedHeaders={SIGNED}"),
        format!("Credential={CREDENTIAL}, SignedHeaders={SIGNED}, Signature={SIGNATURE},"),
        format!("Credential={CREDENTIAL}, SignedHeaders={SIGNED}, Signature={SIGNATURE}, Extra=1"),
        format!("Credential={CREDENTIAL}, Credential={CREDENTIAL}, Signature={SIGNATURE}"),
        format!("credential={CREDENTIAL}, SignedHeaders={SIGNED}, Signature={SIGNATURE}"),
    ] {
        let value = format!("AWS4-HMAC-SHA256 {fields}");
        assert_eq!(presented_of(&[&value], ""), malformed(place, Fault::Fields), "{fields}");
    }
}

/// MinIO takes access keys with a slash, Ceph RGW whole base64 tokens.
#[test]
fn unusual_access_keys() {
    for key in ["team/ci", "eyJSR1dfVE9LRU4iOnt9fQ=="] {
        let found = v4(&format!("{key}/20130524/r/s3/aws4_request"), "host", SIGNATURE).unwrap();
        assert_eq!(found.access_key(), Some(key));
    }
}

#[test]
fn unknown_schemes_are_refused() {
    for value in
        ["Bearer abc", "Basic YTpi", "aws4-hmac-sha256 x", "AWS4-HMAC-SHA512 x", "", "AWS4-HMAC-SHA256Credential=x"]
    {
        assert_eq!(presented_of(&[value], ""), Err(AuthorizationError::Unsupported(Place::Header)), "{value}");
    }
}

#[test]
fn other_versions_are_named() {
    let v4a = format!(
        "AWS4-ECDSA-P256-SHA256 Credential=AK/20130524/s3/aws4_request, SignedHeaders=host, Signature=3045{SIGNATURE}"
    );
    let key = || "AK".to_owned();
    assert_eq!(presented_of(&[&v4a], ""), Ok(Presented::HeaderV4a { access_key: key() }));
    let mut parameters = presigned();
    parameters[0].1 = "AWS4-ECDSA-P256-SHA256";
    parameters[1].1 = "AK/20130524/s3/aws4_request";
    assert_eq!(presented_of(&[], &query(&parameters)), Ok(Presented::PresignedV4a { access_key: key() }));
    assert_eq!(presented_of(&["AWS AK:c2ln"], ""), Ok(Presented::HeaderV2 { access_key: key() }));
    assert_eq!(presented_of(&["AWS tenant:user:c2ln"], "").unwrap().access_key(), Some("tenant:user"));
    assert_eq!(
        presented_of(&[], "Expires=1141889120&AWSAccessKeyId=AK&Signature=c2ln"),
        Ok(Presented::PresignedV2 { access_key: key() })
    );
    assert_eq!(presented_of(&["AWS AK"], ""), malformed(Place::Header, Fault::Fields));
    assert_eq!(presented_of(&[], "AWSAccessKeyId=AK&Signature=c2ln"), malformed(Place::Query, Fault::Fields));
}

#[test]
fn presigned_is_parsed() {
    let found = presented_of(&[], &query(&presigned())).unwrap();
    let Presented::PresignedV4(found) = found else { panic!("{found:?}") };
    assert_eq!(timestamp(found.signed_at), "20130524T000000Z");
    assert_eq!(found.expires_s, 86400);
    assert_eq!(found.authorization.signature, SIGNATURE);
}

#[test]
fn malformed_presigned() {
    for (at, value, fault) in [
        (1, "AK", Fault::Credential),
        (2, "20130524", Fault::Date),
        (2, "+0130524T000000Z", Fault::Date),
        (2, "20130524T006100Z", Fault::Date),
        (3, "+5", Fault::Expires),
        (3, "", Fault::Expires),
        (3, "99999999999", Fault::Expires),
        (4, "range", Fault::SignedHeaders),
        (5, "abc", Fault::Signature),
    ] {
        let mut parameters = presigned();
        parameters[at].1 = value;
        let parameters = query(&parameters).replace('+', "%2B");
        assert_eq!(presented_of(&[], &parameters), malformed(Place::Query, fault), "{parameters}");
    }
    for at in 0..6 {
        let mut parameters = presigned();
        parameters.remove(at);
        assert_eq!(presented_of(&[], &query(&parameters)), malformed(Place::Query, Fault::Fields), "without {at}");
        let mut parameters = presigned();
        parameters.push(parameters[at]);
        assert_eq!(presented_of(&[], &query(&parameters)), malformed(Place::Query, Fault::Fields), "{at} twice");
    }
    let misspelt = query(&presigned()).replace("X-Amz-Date", "x-amz-date");
    assert_eq!(presented_of(&[], &misspelt), malformed(Place::Query, Fault::Fields));
    let mut parameters = presigned();
    parameters[0].1 = "AWS4-HMAC-SHA512";
    assert_eq!(presented_of(&[], &query(&parameters)), Err(AuthorizationError::Unsupported(Place::Query)));
}

/// Names in any case, and encoded.
#[test]
fn two_kinds_at_once_are_refused() {
    let header = format!("AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders={SIGNED}, Signature={SIGNATURE}");
    for parameter in [
        "X-Amz-Signature=1",
        "x-amz-algorithm",
        "X-AMZ-CREDENTIAL=",
        "X%2DAmz%2DSignature=1",
        "signature=1",
        "AwsAccessKeyId=1",
    ] {
        assert_eq!(presented_of(&[&header], parameter), Err(AuthorizationError::MoreThanOne), "{parameter}");
    }
    assert_eq!(presented_of(&[&header, &header], ""), Err(AuthorizationError::MoreThanOne));
    let both = format!("{}&AWSAccessKeyId=AK&Signature=s&Expires=1", query(&presigned()));
    assert_eq!(presented_of(&[], &both), Err(AuthorizationError::MoreThanOne));
}

#[test]
fn debug_hides_the_signature() {
    let found = v4(CREDENTIAL, SIGNED, SIGNATURE).unwrap();
    assert!(!format!("{found:?}").contains(SIGNATURE));
}

#[test]
fn payload_values() {
    for (value, payload) in [
        ("UNSIGNED-PAYLOAD", Some(Payload::Unsigned)),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Some(Payload::SignedChunks { trailer: false })),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", Some(Payload::SignedChunks { trailer: true })),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Some(Payload::UnsignedChunksTrailer)),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", Some(Payload::V4aChunks { trailer: false })),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", Some(Payload::V4aChunks { trailer: true })),
        ("STREAMING-UNSIGNED-PAYLOAD", None),
        ("unsigned-payload", None),
        ("", None),
        (&SIGNATURE[2..], None),
        (" f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", None),
    ] {
        assert_eq!(Payload::parse(value), payload, "{value}");
    }
    let digest = Payload::parse(SIGNATURE);
    assert!(matches!(digest, Some(Payload::Sha256(_))));
    assert_eq!(Payload::parse(&SIGNATURE.to_uppercase()), digest);
}

#[test]
fn both_readings_of_a_path() {
    for (path, encoded) in [
        ("/b/k", "/b/k"),
        ("/b//k/", "/b//k/"),
        ("/b/a%2fb", "/b/a/b"),
        ("/b/a+b", "/b/a%2Bb"),
        ("/b/%7e(1)", "/b/~%281%29"),
        ("/b/%ff%e2%82%ac", "/b/%FF%E2%82%AC"),
        ("/b/../k", "/b/../k"),
        ("/b/100%", "/b/100%25"),
    ] {
        assert_eq!(canonical_uris(path), [path, encoded]);
    }
}

#[test]
fn canonical_parts() {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("h:9000"));
    headers.append("x-amz-meta-a", HeaderValue::from_static("  one   two "));
    headers.append("x-amz-meta-a", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    let query = "b=2&a=%7e&a=+&&c&%C3%A9=%2f&b=1&d=e=f&X-Amz-Signature=00&q=%ff";
    let head = Head { method: &Method::PUT, path: "/", query, headers: &headers };
    let names = ["host".to_owned(), "x-amz-meta-a".to_owned()];
    let request = canonical_request(head, "/", &names, "UNSIGNED-PAYLOAD").unwrap();
    let expected =
        b"PUT\n/\n%C3%A9=%2F&a=%20&a=~&b=1&b=2&c=&d=e%3Df&q=%FF\nhost:h:9000\nx-amz-meta-a:one two,caf\xe9\n\n\
        host;x-amz-meta-a\nUNSIGNED-PAYLOAD";
    assert_eq!(String::from_utf8_lossy(&request), String::from_utf8_lossy(expected));
    assert_eq!(request, expected);

    let absent = ["expect".to_owned(), "host".to_owned()];
    assert_eq!(canonical_request(head, "/", &absent, ""), Err(AuthorizationError::SignedHeaderAbsent));
}

/// `-` sorts before the colon behind a name.
#[test]
fn trailers_are_sorted_by_name() {
    let scope = Scope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let one = trailer_to_sign("t", &scope, "p", &[pair("a-b", "2"), pair("A", " 1 ")]);
    let other = trailer_to_sign("t", &scope, "p", &[pair("a", "1"), pair("a-b", "2")]);
    assert_eq!(one, other);
    use sha2::{Digest as _, Sha256};
    assert!(one.ends_with(&hex::encode(Sha256::digest("a:1\na-b:2\n"))));
}

proptest! {
    #[test]
    fn presented_never_panics(header in proptest::option::of(any::<Vec<u8>>()), query in any::<String>()) {
        check(header, &query);
    }

    #[test]
    fn presented_never_panics_near_the_grammar(
        scheme in "(AWS4-HMAC-SHA256|AWS|AWS4-ECDSA-P256-SHA256)[ ]{0,2}",
        fields in "((Credential|SignedHeaders|Signature)=[a-z0-9/;=]{0,80}[, :]{0,2}){0,4}",
        query in "(&?(X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature)|Signature|Expires)=?[A-Z0-9%+/-]{0,20}){0,9}",
    ) {
        check(Some(format!("{scheme}{fields}").into_bytes()), "");
        check(None, &query);
    }
}

fn check(header: Option<Vec<u8>>, query: &str) {
    let mut headers = HeaderMap::new();
    if let Some(value) = header.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok()) {
        headers.insert("authorization", value);
    }
    let found = presented(Head { method: &Method::PUT, path: "/", query, headers: &headers });
    if let Ok(Presented::HeaderV4(found) | Presented::PresignedV4(Presigned { authorization: found, .. })) = found {
        assert_eq!(found.signature.len(), 64);
        assert!(found.signed_headers.iter().any(|name| name == "host"));
    }
}
