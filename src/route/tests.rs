use super::*;
use crate::s3::authorization;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const V4: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024";
const STREAMING: (&str, &str) = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");

fn rules(kind: OriginKind) -> Rules {
    Rules {
        base_domains: vec!["s3.example.test".into()],
        kind,
        verify: false,
        signature_v2: false,
        plain_chunked: false,
        snowball: false,
        encodings_refused: true,
        encoded_read_back: false,
        list_body: 8 << 20,
        control_body: 1 << 20,
    }
}

fn route(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Errand, Reason> {
    let mut map = HeaderMap::new();
    map.insert("host", HeaderValue::from_static("127.0.0.1:9000"));
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let head = Head { method: &method, path, query, headers: &map };
    let presented = authorization::presented(head).unwrap();
    let has_body =
        map.get("content-length").is_some_and(|length| length != "0") || map.contains_key("transfer-encoding");
    rules(OriginKind::Minio).route(head, Version::HTTP_11, None, &presented, has_body).map_err(|refusal| refusal.0)
}

fn operation(method: &str, target: &str, headers: &[(&str, &str)]) -> Operation {
    route(method, target, headers).unwrap_or_else(|reason| panic!("{method} {target}: {reason:?}")).operation
}

#[test]
fn operations_are_told_apart() {
    let length = ("content-length", "5");
    let copy = ("x-amz-copy-source", "/b/other");
    for (method, target, headers, expected) in [
        ("PUT", "/b/k", vec![length], Operation::PutObject),
        ("PUT", "/b/k?x-id=PutObject", vec![length], Operation::PutObject),
        ("PUT", "/b/k?unknown", vec![length], Operation::PutObject),
        ("PUT", "/b/k?partNumber=1&uploadId=u", vec![length], Operation::UploadPart),
        ("PUT", "/b/k?%70artNumber=10000&upload%49d=u", vec![length], Operation::UploadPart),
        ("PUT", "/b/k?annotation&annotationName=n", vec![length], Operation::PutObjectAnnotation),
        ("PUT", "/b/k?tagging", vec![length], Operation::Other),
        // A setting of a bucket only: stores take it for an upload.
        ("PUT", "/b/k?cors", vec![length], Operation::PutObject),
        ("PUT", "/b/k?torrent", vec![length], Operation::PutObject),
        ("PUT", "/b?cors", vec![length], Operation::Other),
        ("PUT", "/b", vec![], Operation::Other),
        ("PUT", "/b/k", vec![copy], Operation::CopyObject),
        ("POST", "/b/k?uploads", vec![], Operation::CreateMultipartUpload),
        ("POST", "/b/k?uploadId=u", vec![length], Operation::CompleteMultipartUpload),
        ("POST", "/b?delete", vec![length], Operation::DeleteObjects),
        ("POST", "/b/k?uploads", vec![("content-encoding", "identity")], Operation::CreateMultipartUpload),
        ("PUT", "/b/k", vec![length, ("x-amz-meta-my_own", "a")], Operation::PutObject),
        ("DELETE", "/b/k?uploadId=u", vec![], Operation::AbortMultipartUpload),
        ("DELETE", "/b/k?versionId=v", vec![], Operation::DeleteObject),
        ("GET", "/b/k?versionId=v", vec![], Operation::GetObject),
        ("GET", "/b?list-type=2", vec![], Operation::Other),
        ("HEAD", "/b/k", vec![], Operation::HeadObject),
        ("OPTIONS", "/b/k", vec![], Operation::Other),
        ("GET", "/minio/health/live", vec![], Operation::GetObject),
    ] {
        assert_eq!(operation(method, target, &headers), expected, "{method} {target}");
    }
}

/// Under any sub-resource that is not a setting of objects everywhere, the body of a PUT is taken for an object.
#[test]
fn what_may_become_an_object_is_an_upload() {
    for name in operation::SELECTORS.iter().filter(|name| !operation::OBJECT_SETTINGS.contains(name)) {
        let routed = route("PUT", &format!("/b/k?{name}"), &[("content-length", "5")]);
        assert!(routed.map_or(true, |errand| errand.operation.is_upload()), "{name}");
    }
}

/// Every door that is not open, and every head that two servers could read differently.
#[test]
fn refusals() {
    let length = ("content-length", "5");
    let auth = ("authorization", V4);
    let decoded = ("x-amz-decoded-content-length", "5");
    let trailer = ("x-amz-trailer", "x-amz-checksum-crc32");
    for (method, target, headers, expected) in [
        ("PUT", "/b/../k", vec![length], Reason::Path),
        ("PUT", "/b/%2e%2e/k", vec![length], Reason::Path),
        ("PUT", "/b/a%5c..%5ck", vec![length], Reason::Path),
        ("PUT", "/b/%zz", vec![length], Reason::Path),
        ("PUT", "//k", vec![length], Reason::NoBucket),
        ("PUT", "/b/k?a=1&a=2", vec![length], Reason::DuplicateParameter),
        ("PUT", "/b/k?UploadId=u&partNumber=1", vec![length], Reason::ParameterCase),
        ("PUT", "/b/k?acl&tagging", vec![length], Reason::ParameterMix),
        ("POST", "/b/k?uploads&uploadId=u", vec![length], Reason::ParameterMix),
        ("PUT", "/b/k?partNumber=01&uploadId=u", vec![length], Reason::PartNumber),
        ("PUT", "/b/k?partNumber=10001&uploadId=u", vec![length], Reason::PartNumber),
        ("PUT", "/b/k?partNumber=%2B1&uploadId=u", vec![length], Reason::PartNumber),
        ("PUT", "/b/k", vec![length, ("content-type", "a/b"), ("content-type", "c/d")], Reason::DuplicateHeader),
        ("PUT", "/b/k?X-Amz-Content-Sha256=x", vec![length, STREAMING], Reason::DuplicateHeader),
        ("PUT", "/b/k", vec![length, ("x_amz_content_sha256", "x")], Reason::HeaderUnderscore),
        ("PUT", "/b/k", vec![length, ("transfer-encoding", "chunked")], Reason::TransferEncoding),
        ("PUT", "/b/k", vec![("transfer-encoding", "gzip, chunked")], Reason::TransferEncoding),
        ("PUT", "/b/k", vec![length, ("connection", "close, content-type")], Reason::Connection),
        ("GET", "/b/k", vec![("connection", "upgrade"), ("upgrade", "h2c")], Reason::Upgrade),
        ("PUT", "/b/k", vec![length, ("expect", "200-ok")], Reason::Expect),
        ("PUT", "/b/k", vec![length, ("host", "other")], Reason::DuplicateHeader),
        ("CONNECT", "/b/k", vec![], Reason::Upgrade),
        ("PATCH", "/b/k", vec![], Reason::Method),
        ("COPY", "/b/k", vec![], Reason::Method),
        ("POST", "/b/k", vec![length], Reason::PostOperation),
        ("POST", "/b", vec![length, ("content-type", "multipart/mixed; boundary=x")], Reason::FormType),
        ("POST", "/b", vec![("content-type", "multipart/form-data; boundary=x")], Reason::NoLength),
        ("POST", "/b/k", vec![length, ("content-type", "Multipart/Form-Data; boundary=x")], Reason::FormTarget),
        ("POST", "/b/k?uploads", vec![("content-type", "multipart/form-data")], Reason::FormTarget),
        ("PUT", "/b/k", vec![length, ("content-range", "bytes 0-4/10")], Reason::ContentRange),
        ("PUT", "/b/k?append&position=0", vec![length], Reason::Append),
        ("PUT", "/b/k", vec![length, ("x-amz-write-offset-bytes", "0")], Reason::Append),
        ("PUT", "/b/k", vec![length, ("x-amz-meta-snowball-auto-extract", "xtruey")], Reason::Snowball),
        ("PUT", "/b/k?X-Amz-Meta-Snowball-Auto-Extract=true", vec![length], Reason::Snowball),
        ("PUT", "/b/k", vec![length, ("x-minio-source-etag", "x")], Reason::PeerHeader),
        ("PUT", "/b/k", vec![length, ("x-amz-replication-status", "REPLICA")], Reason::PeerHeader),
        ("PUT", "/b/k", vec![length, ("x-object-manifest", "b/k")], Reason::OtherInterface),
        ("PUT", "/b/k?multipart-manifest=put", vec![length], Reason::OtherInterface),
        ("POST", "/WriteGetObjectResponse", vec![length], Reason::OtherInterface),
        ("GET", "/minio/admin/v3/info", vec![], Reason::ReservedPrefix),
        ("PUT", "/%6Dinio/health/x", vec![length], Reason::ReservedPrefix),
        ("PUT", "/b/k", vec![length, ("x-amz-copy-source", "b/k")], Reason::BodyNotAllowed),
        ("PUT", "/b/k?renameObject", vec![length], Reason::BodyNotAllowed),
        ("PUT", "/b/k", vec![length, ("authorization", "AWS AKIAIOSFODNN7EXAMPLE:c2ln")], Reason::SignatureV2),
        ("PUT", "/b/k", vec![], Reason::NoLength),
        ("PUT", "/b/k", vec![length, ("x-amz-meta-snowball_auto-extract", "true")], Reason::HeaderUnderscore),
        ("PUT", "/b/k", vec![length, ("x-amz_meta-a", "b")], Reason::HeaderUnderscore),
        ("PUT", "/b/k?Content-Encoding=br", vec![length], Reason::EncodingPlace),
        ("PUT", "/b/k?content%2Dencoding=br", vec![length], Reason::EncodingPlace),
        ("POST", "/b/k?uploads&CONTENT-ENCODING=br", vec![], Reason::EncodingPlace),
        (
            "POST",
            "/b",
            vec![length, ("content-type", "multipart/form-data; boundary=x"), ("content-encoding", "br")],
            Reason::EncodingPlace,
        ),
        ("POST", "/b/k?uploads", vec![("content-encoding", "identity, BR")], Reason::EncodingUnseen),
        ("POST", "/b/k?uploads", vec![("content-encoding", "gzip, deflate")], Reason::EncodingUnseen),
        ("GET", "/b/k?response-content-encoding=br", vec![], Reason::EncodingUnseen),
        ("PUT", "/b/k", vec![("transfer-encoding", "chunked")], Reason::NoLength),
        ("PUT", "/b/k", vec![length, ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD")], Reason::ContentSha256),
        ("PUT", "/b/k", vec![length, STREAMING, decoded, trailer], Reason::StreamingAuthorization),
        ("POST", "/b?delete", vec![length, auth, STREAMING, decoded, trailer], Reason::StreamingAuthorization),
        ("PUT", "/b/k", vec![length, ("content-encoding", "gzip, AWS-chunked")], Reason::AwsChunkedEncoding),
        ("PUT", "/b/k", vec![length, decoded], Reason::DecodedLength),
        ("PUT", "/b/k", vec![length, trailer], Reason::TrailerHeader),
        ("PUT", "/b/k", vec![length, auth, STREAMING, trailer], Reason::DecodedLength),
        (
            "PUT",
            "/b/k",
            vec![length, auth, STREAMING, trailer, ("x-amz-decoded-content-length", "05")],
            Reason::DecodedLength,
        ),
        ("PUT", "/b/k", vec![length, auth, STREAMING, decoded], Reason::TrailerHeader),
        ("PUT", "/b/k", vec![length, auth, STREAMING, decoded, ("x-amz-trailer", "a, a")], Reason::TrailerHeader),
    ] {
        let refused = route(method, target, &headers).map(|errand| errand.operation);
        assert_eq!(refused, Err(expected), "{method} {target} {headers:?}");
    }
}

/// CVE-2026-41145: a made-up presigned signature together with the unsigned trailer mode.
#[test]
fn a_presigned_url_never_carries_a_chunked_payload() {
    let target = "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let headers = [
        ("content-length", "5"),
        STREAMING,
        ("x-amz-decoded-content-length", "5"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    assert_eq!(route("PUT", target, &headers).map(|_| ()), Err(Reason::StreamingAuthorization));
    assert_eq!(route("PUT", target, &headers[..1]).map(|errand| errand.operation), Ok(Operation::PutObject));
}

#[test]
fn labels_are_distinct() {
    let labels: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
    assert_eq!(labels.len(), Reason::ALL.len());
}
