//! The command line, one file per subcommand. Results go to stdout, everything else to stderr.

mod audit;
mod check;
mod demo;
mod hash;
mod list;
mod observe;
mod quarantine;
mod serve;

use crate::config::settings::Log;
use clap::{Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a command ended; `main` gives each its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Done,
    /// Something failed while running.
    Failed,
    /// A lookup found nothing.
    NothingFound,
    /// The command line makes no sense.
    Usage,
    /// The configuration cannot be used.
    Configuration,
}

#[derive(Parser)]
#[command(
    name = "hashgate",
    version,
    about = "Keeps known illegal files out of S3 buckets: hashes every upload while it streams to the store, and lets its end go only when no list has its digest",
    after_help = "Try it:  hashgate demo\nUse it:  hashgate check --config hashgate.yaml && hashgate serve --config hashgate.yaml\n\nExit codes: 0 done, 1 failed, 3 nothing found, 64 usage, 78 configuration"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show it working: a store, a sample list and the gate, all on this machine
    Demo {
        /// Run the scenario (clean upload stored, listed upload refused, counters shown) and exit
        #[arg(long)]
        once: bool,
    },
    /// Run the gate
    #[command(
        after_help = "SIGTERM stops it when the requests in flight are done; SIGHUP reads lists and certificates again."
    )]
    Serve {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read and validate a configuration and all it names, and touch nothing
    Check {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the MD5, SHA-1 and SHA-256 digests of files
    Hash {
        /// Print one JSON object for each file
        #[arg(long)]
        json: bool,
        /// The files; `-` for standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check the audit log, and export from it
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// In an emergency: let every match through and count it, or end that
    Observe {
        /// Whether to
        state: Switch,
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Who orders it: an officer of admin.tokens
        #[arg(long = "as", value_name = "NAME")]
        who: String,
        /// Why; it goes into the audit log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Work with hash lists
    #[command(subcommand)]
    List(list::ListCommand),
    /// Work with cases: what was kept as evidence
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Parses the arguments, the program's name first, and runs the command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // Nowhere is left to say that the message could not be printed.
            error.print().ok();
            return exit;
        }
    };
    let done = match cli.command {
        Command::Demo { once } => demo::run(once),
        Command::Serve { config } => serve::run(&config),
        Command::Check { config } => check::run(&config),
        Command::Hash { json, files } => hash::run(&files, json),
        Command::Audit(command) => audit::run(command),
        Command::Observe { state, config, who, reason } => observe::run(state == Switch::On, &config, &who, &reason),
        Command::List(command) => list::run(command),
        Command::Quarantine(command) => quarantine::run(command),
    };
    match done {
        Ok(exit) => exit,
        // The reader of our output has had enough: not an error of ours.
        Err(error) if is_broken_pipe(&error) => Exit::Done,
        Err(error) => {
            eprintln!("hashgate: {error:#}");
            Exit::Failed
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Sends log lines to stderr.
fn start_log(log: Log) {
    // The embedded store of `demo` speaks of every reset connection; ours is the only voice here.
    let ours = Targets::new().with_target("hashgate", log.level);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry();
    // An error says that a subscriber is there already.
    if log.json {
        registry.with(lines.json().flatten_event(true).with_filter(ours)).try_init().ok();
    } else {
        registry.with(lines.with_filter(ours)).try_init().ok();
    }
}
