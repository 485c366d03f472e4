//! The gate as a whole: against an origin that the test scripts, against the embedded store, and, where `HASHGATE_ORIGINS`
//! names some, against real stores.

#![allow(unreachable_pub, missing_docs, reason = "a test binary has no outside")]
#![allow(clippy::disallowed_methods, reason = "tests measure, and read whole bodies")]

mod alarms;
mod audit;
mod canary;
mod cli;
mod cli_list;
mod clients_bad;
mod decisions;
mod encodings;
mod events;
mod hold;
mod list_sources;
mod operators;
mod origin_failures;
mod origins_copies;
mod origins_doors;
mod origins_evasions;
mod origins_forms;
mod origins_lists;
mod origins_multipart;
mod origins_posts;
mod origins_quarantine;
mod origins_rechecks;
mod origins_refusals;
mod origins_same;
mod origins_snowball;
mod origins_vanish;
mod promises;
mod read_back;
mod refusals;
mod relay;
mod sealed_list;
mod secrecy;
mod services;
mod support;
mod tidy;
mod tls;
mod verify;
