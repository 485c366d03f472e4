//! The integration tests, all in one binary.

mod origins_forms;
mod support;
