//! `hashgate observe`

use super::Exit;
use crate::act::{self, Order};
use crate::config;
use crate::config::settings::Role;
use anyhow::{Context as _, bail};
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(super) fn run(on: bool, config: &Path, who: &str, reason: &str) -> anyhow::Result<Exit> {
    // Reads the token of that officer and no other secret: who cannot read it is not that officer.
    let desk = match config::desk(config, Some(who)) {
        Ok(desk) => desk,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Configuration);
        }
    };
    let now = OffsetDateTime::now_utc();
    if desk.operator.role != Role::Officer {
        bail!("{who} is no officer");
    }
    if desk.operator.expires <= now {
        bail!("the token of {who} has expired");
    }
    if reason.trim().is_empty() {
        bail!("a reason is needed: it goes into the audit log");
    }
    let order = Order { on, who: who.to_owned(), reason: reason.to_owned(), time: now.format(&Rfc3339)? };
    act::order(&desk.state_dir, &order).with_context(|| {
        let state = desk.state_dir.display();
        format!(
            "the order may not stand; {state}: is it the state folder of a gate that has run, and may you write to it?"
        )
    })?;
    let what = if on { "every match is let through and counted" } else { "matches are treated as the rules say" };
    println!("{what}, within a second by a gate that runs, and by one that does not when it starts");
    Ok(Exit::Done)
}
