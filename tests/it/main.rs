//! The integration tests, all in one binary.

mod origins_forms;
mod origins_refusals;
mod support;
