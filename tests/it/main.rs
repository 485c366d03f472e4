//! The gate as a whole, against an origin that the test scripts.

#![allow(unreachable_pub, missing_docs, reason = "a test binary has no outside")]

mod cli;
mod failures;
mod hold;
mod relay;
mod scripted;
mod tidy;
