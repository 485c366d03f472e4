//! The integration tests, all in one binary.

mod support;
