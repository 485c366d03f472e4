//! The gate as a whole: against an origin that the test scripts, against the embedded store, and, where `HASHGATE_ORIGINS`
//! names some, against real stores.

#![allow(unreachable_pub, missing_docs, reason = "a test binary has no outside")]

mod cli;
mod cli_list;
mod clients_bad;
mod failures;
mod hold;
mod hold_every_form;
mod origin_failures;
mod origins_forms;
mod origins_refusals;
mod origins_vanish;
mod relay;
mod scripted;
mod sealed_list;
mod support;
mod tidy;
