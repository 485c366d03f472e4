//! Names in a request target: the store's kind, reserved prefixes, bucket and key.

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
