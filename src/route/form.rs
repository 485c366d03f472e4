//! What the fields of a form ask for.

use super::{Reason, Refusal};
use crate::s3::form::Fields;
use http::Uri;

/// Fields that make more of an upload than an object: archives that are unpacked, many keys, copies, what stores say
/// among themselves, and what decides how a body is read.
const OTHER_DOORS: [&str; 9] = [
    "append",
    "position",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-meta-snowball-auto-extract",
    "x-amz-replication-status",
    "x-amz-trailer",
    "x-amz-write-offset-bytes",
    "x-minio-fanout-list",
];

/// Beginnings of such names.
const OTHER_DOOR_PREFIXES: [&str; 5] =
    ["x-amz-copy-source", "x-minio-extract", "x-minio-internal-", "x-minio-replication-", "x-minio-source-"];

/// The key of the object that a form makes, with the file's name in the place of `${filename}`.
pub fn object_key(fields: &Fields) -> Result<String, Refusal> {
    let other =
        |name: &str| OTHER_DOORS.contains(&name) || OTHER_DOOR_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if fields.fields.iter().any(|(name, _)| other(name)) {
        return Err(Reason::FormField.into());
    }
    if fields.get("content-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("aws-chunked")) {
        return Err(Reason::AwsChunkedEncoding.into());
    }
    // Some browsers give the whole path of the file.
    let filename = fields.filename.as_deref().and_then(|name| name.rsplit(['/', '\\']).next()).unwrap_or_default();
    let key = fields.get("key").unwrap_or_default().replace("${filename}", filename);
    let dots = |segment: &str| segment == "." || segment == "..";
    if key.is_empty() || key.split(['/', '\\']).any(dots) {
        return Err(Reason::FormKey.into());
    }
    Ok(key)
}

/// The host of the page to which the form wants its sender to be sent; `None` where it names none.
pub fn form_redirect(fields: &Fields) -> Option<String> {
    let page = fields.get("success_action_redirect").or_else(|| fields.get("redirect"))?;
    Some(page.parse::<Uri>().ok()?.authority()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_form_leads() {
        for (name, page, host) in [
            ("success_action_redirect", "https://www.example.test:8080/done?a=b", Some("www.example.test:8080")),
            ("redirect", "http://example.test", Some("example.test")),
            ("success_action_redirect", "/done", None),
            ("success_action_redirect", "not an address", None),
        ] {
            let fields = Fields { fields: vec![(name.into(), page.into())], filename: None };
            assert_eq!(form_redirect(&fields).as_deref(), host, "{page}");
        }
    }

    fn key(fields: &[(&str, &str)], filename: Option<&str>) -> Result<String, Refusal> {
        let fields = fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        object_key(&Fields { fields, filename: filename.map(str::to_owned) })
    }

    #[test]
    fn keys_and_doors() {
        assert_eq!(key(&[("key", "a/${filename}")], Some("C:\\x\\b.png")), Ok("a/b.png".into()));
        assert_eq!(key(&[("key", "a")], None), Ok("a".into()));
        for fields in [&[][..], &[("key", "")], &[("key", "a/../b")], &[("key", "${filename}")]] {
            assert_eq!(key(fields, None), Err(Reason::FormKey.into()), "{fields:?}");
        }
        for name in
            ["x-minio-fanout-list", "x-amz-meta-snowball-auto-extract", "x-minio-source-mtime", "x-amz-copy-source"]
        {
            assert_eq!(key(&[("key", "a"), (name, "")], None), Err(Reason::FormField.into()), "{name}");
        }
        let encoded = [("key", "a"), ("content-encoding", "AWS-chunked")];
        assert_eq!(key(&encoded, None), Err(Reason::AwsChunkedEncoding.into()));
    }
}
