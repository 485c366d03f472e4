//! Which S3 operation a request is. Only what changes our handling is told apart; the rest is [`Operation::Other`].
//!
//! The class never decides whether a body is hashed (every body is): it decides what is refused, and how large a body
//! may be. So a store that reads an unknown parameter otherwise still gets nothing that was not looked up.

use super::{Reason, Refusal};
use crate::s3::head::Head;
use crate::s3::target::{self, OriginKind, Target};
use http::Method;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// An operation by its S3 API name; also the metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are those of the Amazon S3 API Reference")]
        pub enum Operation { $($(#[$doc])* $name,)* }

        impl Operation {
            /// Every operation.
            pub const ALL: &'static [Operation] = &[$(Operation::$name,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Operation::$name => stringify!($name),)* }
            }
        }
    };
}

operations! {
    PutObject, PostObject, UploadPart, PutObjectAnnotation,
    CopyObject, UploadPartCopy, RenameObject,
    CreateMultipartUpload, CompleteMultipartUpload, AbortMultipartUpload,
    GetObject, HeadObject, DeleteObject, DeleteObjects,
    /// Everything else: listings, bucket and object settings, STS.
    Other,
    /// What could not be told, because the request was refused before.
    Unknown,
}

impl Operation {
    /// Whether its body becomes an object, or a part of one.
    pub fn is_upload(self) -> bool {
        matches!(
            self,
            Operation::PutObject | Operation::PostObject | Operation::UploadPart | Operation::PutObjectAnnotation
        )
    }
}

/// Sub-resources that select an operation on their own; two of them contradict each other.
pub(super) const SELECTORS: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "append",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];

/// Settings of an object that every store knows. A PUT with any other sub-resource is an upload to some store or other.
pub(super) const OBJECT_SETTINGS: &[&str] = &["acl", "legal-hold", "retention", "tagging"];

/// Further names that change what an operation does.
const MODIFIERS: &[&str] = &["annotationName", "partNumber", "position", "versionId"];

/// Tells the operation, or refuses it.
pub(super) fn classify(head: Head<'_>, target: &Target, kind: OriginKind) -> Result<Operation, Refusal> {
    let names: Vec<String> = head.query_pairs().map(|(name, _)| name).collect();
    check_names(head.method, &names)?;
    refuse_other_doors(head, &names, kind)?;
    let has = |name: &str| names.iter().any(|n| n == name);
    let object = target.key.is_some() || (!target.path_style_only && target.bucket.is_some() && head.path != "/");
    match *head.method {
        Method::PUT => put(head, target, object, &has),
        Method::POST => post(head, target, &has),
        Method::DELETE if has("uploadId") => Ok(Operation::AbortMultipartUpload),
        Method::DELETE if object && !names.iter().any(|n| SELECTORS.contains(&n.as_str())) => {
            Ok(Operation::DeleteObject)
        }
        Method::GET if object && !names.iter().any(|n| SELECTORS.contains(&n.as_str())) => Ok(Operation::GetObject),
        Method::HEAD if object => Ok(Operation::HeadObject),
        Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS => Ok(Operation::Other),
        _ => Err(Reason::Method.into()),
    }
}

fn put(head: Head<'_>, target: &Target, object: bool, has: &dyn Fn(&str) -> bool) -> Result<Operation, Refusal> {
    if head.headers.contains_key("content-range") {
        return Err(Reason::ContentRange.into());
    }
    if target.bucket.is_none() {
        // An empty first segment: stores differ on what `PUT //key` names.
        return Err(Reason::NoBucket.into());
    }
    if has("partNumber") {
        check_part_number(head)?;
    }
    let copy = head.effective("x-amz-copy-source").is_some();
    if has("partNumber") && has("uploadId") {
        return Ok(if copy { Operation::UploadPartCopy } else { Operation::UploadPart });
    }
    if copy {
        return Ok(Operation::CopyObject);
    }
    if has("renameObject") {
        return Ok(Operation::RenameObject);
    }
    if has("annotation") {
        return Ok(Operation::PutObjectAnnotation);
    }
    let setting = OBJECT_SETTINGS.iter().any(|name| has(name));
    Ok(if object && !setting { Operation::PutObject } else { Operation::Other })
}

fn post(head: Head<'_>, target: &Target, has: &dyn Fn(&str) -> bool) -> Result<Operation, Refusal> {
    let content_type = head.header("content-type").unwrap_or_default().to_ascii_lowercase();
    // By content type, on any path with any query: MinIO takes a form wherever it comes.
    if content_type.contains("multipart/") {
        return form(target, has);
    }
    match () {
        () if has("uploads") => Ok(Operation::CreateMultipartUpload),
        () if has("uploadId") => Ok(Operation::CompleteMultipartUpload),
        () if has("delete") => Ok(Operation::DeleteObjects),
        () if has("restore") || has("select") => Ok(Operation::Other),
        // STS and IAM calls go to the service itself.
        () if target.bucket.is_none() && !has("position") => Ok(Operation::Other),
        () => Err(Reason::PostOperation.into()),
    }
}

/// Posted to a bucket, without any sub-resource: anything else is a form at some stores and another call at others.
fn form(target: &Target, has: &dyn Fn(&str) -> bool) -> Result<Operation, Refusal> {
    let plain = !SELECTORS.iter().chain(MODIFIERS).any(|name| has(name));
    if target.bucket.is_none() || target.key.is_some() || !plain {
        return Err(Reason::FormTarget.into());
    }
    Ok(Operation::PostObject)
}

fn check_names(method: &Method, names: &[String]) -> Result<(), Refusal> {
    // Reads may repeat a name: MinIO's `events` filters do.
    let repeats = matches!(*method, Method::GET | Method::HEAD);
    for (at, name) in names.iter().enumerate() {
        if !repeats && names[..at].iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
            return Err(Reason::DuplicateParameter.into());
        }
        let known = SELECTORS.iter().chain(MODIFIERS).find(|known| known.eq_ignore_ascii_case(name));
        if known.is_some_and(|known| known != name) {
            return Err(Reason::ParameterCase.into());
        }
    }
    let selectors = names.iter().filter(|name| SELECTORS.contains(&name.as_str()));
    if selectors.count() > 1 {
        return Err(Reason::ParameterMix.into());
    }
    Ok(())
}

/// S3 numbers parts from 1 to 10,000; `01`, `+1` and ` 1` are one at some stores and an error at others.
fn check_part_number(head: Head<'_>) -> Result<(), Refusal> {
    let text = head.query_value("partNumber").unwrap_or_default();
    let number = text.parse::<u16>().ok().filter(|n| (1..=10_000).contains(n));
    match number {
        Some(number) if number.to_string() == text => Ok(()),
        _ => Err(Reason::PartNumber.into()),
    }
}

/// MinIO unpacks what comes with this header, whatever its value: it looks for `true` anywhere in it.
pub(super) const SNOWBALL: &str = "x-amz-meta-snowball-auto-extract";

/// Whether the store will unpack the payload.
pub(super) fn is_snowball(head: Head<'_>) -> bool {
    head.headers.contains_key(SNOWBALL)
}

/// Ways into a bucket that are not open, by header, query or path.
fn refuse_other_doors(head: Head<'_>, names: &[String], kind: OriginKind) -> Result<(), Refusal> {
    let has_query = |name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    let effective = |name: &str| head.headers.contains_key(name) || has_query(name);
    if has_query("append") || has_query("position") || effective("x-amz-write-offset-bytes") {
        return Err(Reason::Append.into());
    }
    // Only the header of that name is known to unpack anything; a parameter may at some version.
    if has_query(SNOWBALL) {
        return Err(Reason::Snowball.into());
    }
    let header_names = head.headers.keys().map(|name| name.as_str().to_owned());
    let query_names = names.iter().map(|name| name.to_ascii_lowercase());
    for name in header_names.chain(query_names) {
        let peer = ["x-minio-source-", "x-minio-replication-", "x-minio-internal-"];
        if name == "x-amz-replication-status" || peer.iter().any(|prefix| name.starts_with(prefix)) {
            return Err(Reason::PeerHeader.into());
        }
        let swift = ["x-copy-from", "x-object-manifest", "x-amz-account-id", "multipart-manifest", "extract-archive"];
        if swift.contains(&name.as_str()) {
            return Err(Reason::OtherInterface.into());
        }
    }
    refuse_reserved(head, kind)
}

fn refuse_reserved(head: Head<'_>, kind: OriginKind) -> Result<(), Refusal> {
    let Some(first) = target::first_segment(head.path) else { return Ok(()) };
    if first == "WriteGetObjectResponse" {
        return Err(Reason::OtherInterface.into());
    }
    let reserved = kind.reserved_prefixes().iter().any(|prefix| first.eq_ignore_ascii_case(prefix));
    let health = head.path.starts_with("/minio/health/") && matches!(*head.method, Method::GET | Method::HEAD);
    if reserved && !health {
        return Err(Reason::ReservedPrefix.into());
    }
    Ok(())
}
