//! Names in a request target: bucket and key, in every way in which they can be read, and prefixes that are not buckets.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::net::IpAddr;

/// Which store the origin is: decides reserved prefixes and quirks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginKind {
    /// MinIO.
    Minio,
    /// Ceph RADOS Gateway.
    Rgw,
    /// SeaweedFS.
    Seaweedfs,
    /// Garage.
    Garage,
    /// Amazon S3.
    Aws,
    /// Anything else.
    Other,
}

impl OriginKind {
    /// First path segments that are doors of the store's own and never buckets: administration, peers, Swift.
    pub fn reserved_prefixes(self) -> &'static [&'static str] {
        match self {
            OriginKind::Minio => &["minio"],
            OriginKind::Rgw => &["admin", "auth", "swift"],
            OriginKind::Seaweedfs | OriginKind::Garage | OriginKind::Aws => &[],
            // Nobody told us which store it is, so none of the known doors is open.
            OriginKind::Other => &["minio", "admin", "auth", "swift"],
        }
    }
}

/// Bucket and key of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The likeliest bucket; `None` for calls on the service itself.
    pub bucket: Option<String>,
    /// The likeliest key.
    pub key: Option<String>,
    /// Every bucket that a store could read out of the request; the first is `bucket`.
    pub readings: Vec<String>,
    /// Whether the Host leaves no doubt that the path alone names bucket and key.
    pub path_style_only: bool,
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `%` without two hexadecimal digits behind it.
    #[error("the path holds a malformed percent-encoding")]
    PercentEncoding,
    /// A segment `.` or `..`, however it is written.
    #[error("the path holds a segment `.` or `..`")]
    DotSegment,
}

impl Target {
    /// Reads bucket and key out of a Host value and a raw path. `base_domains` are in lower case, longest first.
    ///
    /// A Host below a base domain names the bucket (virtual-hosted style). An address, a name without a dot or a base
    /// domain itself means path style. Any other name could be either at the store, so both readings are kept.
    pub fn read(host: &str, path: &str, base_domains: &[String]) -> Target {
        let host = host_name(host);
        let (first, rest) = split_path(path);
        let by_path = |path_style_only| Target {
            bucket: first.clone(),
            key: rest.clone(),
            readings: first.clone().into_iter().collect(),
            path_style_only,
        };
        if host.parse::<IpAddr>().is_ok() || !host.contains('.') || base_domains.contains(&host) {
            return by_path(true);
        }
        let below = base_domains.iter().find_map(|domain| host.strip_suffix(domain.as_str())?.strip_suffix('.'));
        if let Some(bucket) = below {
            let key = decode(path.trim_start_matches('/'));
            return Target {
                bucket: Some(bucket.to_owned()),
                key: Some(key).filter(|key| !key.is_empty()),
                readings: [bucket.to_owned()].into_iter().chain(first).collect(),
                path_style_only: false,
            };
        }
        let mut target = by_path(false);
        target.readings.extend(host.match_indices('.').map(|(at, _)| host[..at].to_owned()));
        target.readings.push(host);
        target
    }
}

impl Target {
    /// The object's name with its bucket, in every way in which the request can be read. Empty segments are left out:
    /// some stores do that, and two names that are one there must not differ here. `path` is raw.
    pub fn names(&self, path: &str) -> Vec<String> {
        let plain = |name: &str| name.split('/').filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/");
        let path = decode(path);
        let mut names = vec![plain(&path)];
        if !self.path_style_only {
            names.extend(self.readings.iter().map(|bucket| plain(&format!("{bucket}/{path}"))));
        }
        names
    }
}

/// A Host under which the store is addressed in path style by whoever sent this one; `None` where a Host may name a
/// bucket or not.
pub fn path_style_host(host: &str, base_domains: &[String]) -> Option<String> {
    let name = host_name(host);
    if name.parse::<IpAddr>().is_ok() || !name.contains('.') || base_domains.contains(&name) {
        return Some(host.to_owned());
    }
    let domain = base_domains.iter().find(|domain| name.ends_with(&format!(".{domain}")))?;
    let port = host.rsplit_once(':').map(|(_, port)| format!(":{port}")).unwrap_or_default();
    Some(format!("{domain}{port}"))
}

/// A name as it stands in a path, its slashes kept.
pub fn encode_path(name: &str) -> String {
    const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
    utf8_percent_encode(name, PATH).to_string()
}

/// The name of the object that a copy is made from, with its bucket: `x-amz-copy-source`, decoded, without its version
/// and its empty segments.
pub fn copy_source(value: &str) -> String {
    let value = decode(value.split('?').next().unwrap_or(value));
    value.split('/').filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/")
}

/// Checks what two parsers of a path could read differently. `path` is raw.
pub fn check_path(path: &str) -> Result<(), PathError> {
    let bytes = path.as_bytes();
    for (at, _) in path.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(PathError::PercentEncoding);
        }
    }
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let dots = |segment: &[u8]| segment == b"." || segment == b"..";
    if decoded.split(|&b| b == b'/' || b == b'\\').any(dots) {
        return Err(PathError::DotSegment);
    }
    Ok(())
}

/// The first path segment, decoded, whatever the addressing style: stores look at reserved prefixes before the Host.
pub fn first_segment(path: &str) -> Option<String> {
    let decoded = decode(path);
    decoded.split('/').find(|segment| !segment.is_empty()).map(str::to_owned)
}

fn split_path(path: &str) -> (Option<String>, Option<String>) {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let some = |text: &str| (!text.is_empty()).then(|| decode(text));
    (some(first), some(rest))
}

/// Decodes a path. Bytes that are not UTF-8 become U+FFFD.
pub fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A Host value without port and brackets, in lower case.
fn host_name(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(host: &str, path: &str) -> (Option<String>, Option<String>, Vec<String>) {
        let target = Target::read(host, path, &["s3.example.test".to_owned()]);
        (target.bucket, target.key, target.readings)
    }

    fn expect(bucket: &str, key: &str, readings: &[&str]) -> (Option<String>, Option<String>, Vec<String>) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (some(bucket), some(key), readings.iter().map(|r| r.to_string()).collect())
    }

    #[test]
    fn bucket_and_key_in_every_style() {
        assert_eq!(read("127.0.0.1:9000", "/b/k/x"), expect("b", "k/x", &["b"]));
        assert_eq!(read("[::1]:9000", "/b/k"), expect("b", "k", &["b"]));
        assert_eq!(read("localhost", "/b"), expect("b", "", &["b"]));
        assert_eq!(read("s3.example.test", "/b/k%2Fx"), expect("b", "k/x", &["b"]));
        assert_eq!(read("B.S3.example.test:80", "/k/x"), expect("b", "k/x", &["b", "k"]));
        assert_eq!(read("a.b.s3.example.test", "/"), expect("a.b", "", &["a.b"]));
        assert_eq!(read("b.other.test", "/k/x"), expect("k", "x", &["k", "b", "b.other", "b.other.test"]));
        assert_eq!(read("127.0.0.1", "/"), expect("", "", &[]));
        assert_eq!(read("127.0.0.1", "//k"), expect("", "k", &[]));
    }

    #[test]
    fn names_of_objects() {
        let names = |host: &str, path: &str| Target::read(host, path, &["s3.example.test".to_owned()]).names(path);
        assert_eq!(names("127.0.0.1", "//b/k%2F%41//x/"), ["b/k/A/x"]);
        assert_eq!(names("b.s3.example.test", "/k/x"), ["k/x", "b/k/x", "k/k/x"]);
        assert_eq!(copy_source("/b/k%20%2Fx?versionId=3"), "b/k /x");
        assert_eq!(copy_source("b//k"), "b/k");
        let domains = ["s3.example.test".to_owned()];
        for (host, path_style) in [
            ("127.0.0.1:9000", Some("127.0.0.1:9000")),
            ("b.S3.example.test:9000", Some("s3.example.test:9000")),
            ("s3.example.test", Some("s3.example.test")),
            ("b.other.test", None),
        ] {
            assert_eq!(path_style_host(host, &domains).as_deref(), path_style, "{host}");
        }
    }

    #[test]
    fn paths_that_two_parsers_read_differently() {
        for bad in ["/b/../k", "/b/%2e%2E/k", "/b/.", "/b\\..\\k", "/b/%5c..%5ck", "/b/.%2e"] {
            assert_eq!(check_path(bad), Err(PathError::DotSegment), "{bad}");
        }
        for bad in ["/b/%", "/b/%4", "/b/%zz", "/%%41"] {
            assert_eq!(check_path(bad), Err(PathError::PercentEncoding), "{bad}");
        }
        for good in ["/b/...", "/b/a..b", "/b//k", "/b/%2F", "/b/%25", "/", "/b/.hidden"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn reserved_prefixes_are_seen_through_encoding_and_slashes() {
        assert_eq!(first_segment("//%6dinio/admin").as_deref(), Some("minio"));
        assert_eq!(first_segment("/minio").as_deref(), Some("minio"));
        assert_eq!(first_segment("/"), None);
    }
}
