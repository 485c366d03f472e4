//! hashgate
pub mod config;
pub mod decide;
pub mod digest;
pub mod s3;
