//! `hashgate quarantine`: cases, for those who answer for them.
//!
//! Looking and acting go through the gate's API, so that they are written down by it. Opening a case needs the recipient's
//! key, and happens on the machine of whoever has that.

mod api;
mod look;
mod put;
mod vault;
mod verify;

use super::Exit;
use crate::config::{self, ConfigError, Desk};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::{self, Write as _, stdout};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum QuarantineCommand {
    /// List cases; exits 3 if there is none
    List(look::ListArguments),
    /// Show what is known of a case, but for its digests; exits 3 if there is no such case
    Show {
        /// The case
        case: String,
        /// Print it as the API gives it
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        who: Who,
    },
    /// Print what a case is reported with: the XARF v4 report, and the fields for NCMEC. It names digests and persons
    Report(look::ReportArguments),
    /// Approve a release, or put the object of a released case where it was meant to go
    #[command(
        after_help = "Two different officers approve; the second is told the permission. With --permission, on the machine that has\nthe recipient's key, the object is put through the gate, with its headers and tags."
    )]
    Release(ReleaseArguments),
    /// Approve the removal of a case's payload; the second of two officers does it
    Purge(ActArguments),
    /// Set a legal hold: no purge until it is taken off
    Hold(ActArguments),
    /// Take a legal hold off
    Unhold(ActArguments),
    /// Open cases of the bucket with the recipient's key, and check them: the drill for the day on which it counts
    Verify(verify::Arguments),
    /// Print the public key of the gate's signature
    Key {
        #[command(flatten)]
        who: Who,
    },
}

/// Which gate, and who asks.
#[derive(Args)]
pub(super) struct Who {
    /// The configuration file of the gate
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A name of admin.tokens whose token file you can read; the first such without it
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
}

#[derive(Args)]
pub(super) struct ActArguments {
    /// The case
    case: String,
    /// Why; it stays with the case
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    who: Who,
}

#[derive(Args)]
pub(super) struct ReleaseArguments {
    /// The case
    case: String,
    /// Why; it stays with the case
    #[arg(long, required_unless_present = "permission")]
    reason: Option<String>,
    /// All cases of the same entry, and heed the entry no more
    #[arg(long, conflicts_with = "permission")]
    like: bool,
    #[command(flatten)]
    put: put::Arguments,
    #[command(flatten)]
    who: Who,
}

pub(super) fn run(command: QuarantineCommand) -> anyhow::Result<Exit> {
    let done = match command {
        QuarantineCommand::List(arguments) => look::list(&arguments),
        QuarantineCommand::Show { case, json, who } => look::show(&case, json, &who),
        QuarantineCommand::Report(arguments) => look::report(&arguments),
        QuarantineCommand::Release(ReleaseArguments { case, reason, like, put, who }) => match put.permission.is_some()
        {
            true => put::run(&case, &put, &who.config),
            false => act("release", &case, &who, json!({ "reason": reason, "all_of_entry": like })),
        },
        QuarantineCommand::Purge(act_) => act("purge", &act_.case, &act_.who, json!({ "reason": act_.reason })),
        QuarantineCommand::Hold(act_) => act("hold", &act_.case, &act_.who, json!({ "reason": act_.reason })),
        QuarantineCommand::Unhold(act_) => act("unhold", &act_.case, &act_.who, json!({ "reason": act_.reason })),
        QuarantineCommand::Verify(arguments) => verify::run(&arguments),
        QuarantineCommand::Key { who } => key(&who),
    };
    done.or_else(|error| match error.downcast::<ConfigError>() {
        Ok(error) => {
            eprintln!("{error}");
            Ok(Exit::Configuration)
        }
        Err(error) => Err(error),
    })
}

impl Who {
    fn desk(&self) -> anyhow::Result<Desk> {
        Ok(config::desk(&self.config, self.name.as_deref())?)
    }
}

fn key(who: &Who) -> anyhow::Result<Exit> {
    let told = api::get(&who.desk()?, "/v1/gate")?;
    told.print(|gate| writeln!(stdout(), "{}", gate["key"].as_str().unwrap_or_default()))
}

/// An act of an officer, and what came of it.
fn act(what: &str, case: &str, who: &Who, said: Value) -> anyhow::Result<Exit> {
    let desk = who.desk()?;
    let told = api::post(&desk, &format!("/v1/cases/{}/{what}", api::encode(case)), &said)?;
    told.print(|told| match told["outcome"].as_str() {
        Some("approved") => {
            writeln!(stdout(), "{case}: {what} approved by {}; another officer has to", desk.operator.name)
        }
        Some("permitted") => print_permissions(told),
        outcome => writeln!(stdout(), "{case}: {}", outcome.unwrap_or_default()),
    })
}

/// They are printed once, and are in no other place.
fn print_permissions(told: &Value) -> io::Result<()> {
    for permission in told["permissions"].as_array().into_iter().flatten() {
        writeln!(stdout(), "{}", permission["permission"].as_str().unwrap_or_default())?;
    }
    eprintln!(
        "hashgate: each is for one upload, until {}: release CASE --permission PERMISSION, where the recipient's key is",
        told["expires"].as_str().unwrap_or_default()
    );
    Ok(())
}
