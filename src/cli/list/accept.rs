//! `hashgate list accept`

use crate::cli::Exit;
use crate::config;
use crate::list;
use anyhow::Context as _;
use std::path::Path;

pub(super) fn run(name: &str, config: &Path) -> anyhow::Result<Exit> {
    let settings = match config::load(config) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Configuration);
        }
    };
    if settings.lists.iter().all(|list| list.name != name) {
        eprintln!("hashgate: {} names no list `{name}`", config.display());
        return Ok(Exit::NothingFound);
    }
    list::accept(&settings.state_dir, name)
        .with_context(|| format!("{}: is it the state folder of a gate that has run?", settings.state_dir.display()))?;
    println!("{name}: accepted; a gate that runs takes it within seconds, one that does not when it starts");
    Ok(Exit::Done)
}
