//! Which multipart upload a request belongs to.

use crate::route::Errand;
use crate::s3::head::Head;
use crate::s3::target::Target;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of an upload: its id is the store's, and only means something together with bucket and key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UploadId {
    /// The bucket as the path or Host names it.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// The `uploadId`.
    pub upload: String,
}

impl UploadId {
    /// Of a request with `uploadId`; `None` for any other.
    pub fn of(head: Head<'_>, errand: &Errand) -> Option<UploadId> {
        Some(UploadId::of_target(&errand.target, head.query_value("uploadId")?))
    }

    /// Of an upload for this object.
    pub fn of_target(target: &Target, upload: String) -> UploadId {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        UploadId { bucket: name(&target.bucket), key: name(&target.key), upload }
    }
}

impl fmt::Display for UploadId {
    /// Unambiguous: lengths stand before the names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UploadId { bucket, key, upload } = self;
        write!(f, "{}:{bucket}{}:{key}{}:{upload}", bucket.len(), key.len(), upload.len())
    }
}
