//! The integration tests, all in one binary.

mod clients_bad;
mod hold;
mod origin_failures;
mod origins_forms;
mod origins_refusals;
mod origins_vanish;
mod support;
