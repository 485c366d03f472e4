//! Configuration: as written (a file), then as meant ([`settings`]).

pub mod settings;
