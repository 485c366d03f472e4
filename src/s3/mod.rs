//! The wire vocabulary of S3: names, framing, XML and error codes. No I/O, and nothing of ours is imported here.

pub mod authorization;
pub mod chunked;
pub mod code;
pub mod complete;
pub mod encoding;
pub mod form;
pub mod head;
pub mod post_policy;
pub mod tagging;
pub mod target;
