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
    // Reads every token file: who cannot read an officer's is none.
    let settings = match config::load(config) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Configuration);
        }
    };
    let now = OffsetDateTime::now_utc();
    let operators = settings.admin.iter().flat_map(|admin| &admin.operators);
    let Some(operator) = operators.into_iter().find(|operator| operator.name == who) else {
        eprintln!("hashgate: admin.tokens of {} name no `{who}`", config.display());
        return Ok(Exit::NothingFound);
    };
    if operator.role != Role::Officer {
        bail!("{who} is no officer");
    }
    if operator.expires <= now {
        bail!("the token of {who} has expired");
    }
    if reason.trim().is_empty() {
        bail!("a reason is needed: it goes into the audit log");
    }
    let order = Order { on, who: who.to_owned(), reason: reason.to_owned(), time: now.format(&Rfc3339)? };
    act::order(&settings.state_dir, &order)
        .with_context(|| format!("{}: is it the state folder of a gate that has run?", settings.state_dir.display()))?;
    let what = if on { "every match is let through and counted" } else { "matches are treated as the rules say" };
    println!("{what}, within a second by a gate that runs, and by one that does not when it starts");
    Ok(Exit::Done)
}
