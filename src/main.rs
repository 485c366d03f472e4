//! The binary: parse, run, name the exit codes.

use hashgate::cli::{self, Exit};
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(match cli::run(std::env::args_os()) {
        Exit::Done => 0,
        Exit::Failed => 1,
        Exit::NothingFound => 3,
        Exit::Usage => 64,
        Exit::Configuration => 78,
    })
}
