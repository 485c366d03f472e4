//! `hashgate check`

use super::Exit;
use crate::config::settings::{ListSource, Source};
use crate::config::{self, ConfigError, Problem};
use crate::forward::Origin;
use crate::list::{Keeping, Lists};
use crate::listen::TlsIdentity;
use crate::record::Metrics;
use std::path::Path;

pub(super) fn run(path: &Path) -> anyhow::Result<Exit> {
    let settings = match config::load(path) {
        Ok(settings) => settings,
        Err(error) => return Ok(refuse(&error)),
    };
    let mut problems = Vec::new();
    let mut note = |path: &str, message: String| problems.push(Problem { path: path.to_owned(), message });
    let (here, elsewhere): (Vec<ListSource>, Vec<ListSource>) =
        settings.lists.iter().cloned().partition(|list| matches!(list.source, Source::Path(_)));
    let lists = Lists::load(&here, Keeping { state_dir: None, ..Keeping::of(&settings) });
    if let Err(errors) = &lists {
        for error in errors {
            note("lists", error.to_string());
        }
    }
    if let Some(Err(error)) = settings.listen.tls.as_ref().map(TlsIdentity::load) {
        note("", error.to_string());
    }
    if let Err(error) = Origin::new(&settings.origin, &settings.limits, Metrics::new(prometheus::Registry::new())?) {
        note("", error.to_string());
    }
    if !problems.is_empty() {
        return Ok(refuse(&ConfigError { problems }));
    }
    println!("{}: the configuration can be used", path.display());
    for status in lists.iter().flat_map(Lists::status) {
        println!("list {}: {} entries, {} bad lines", status.name, status.entries, status.bad_lines);
    }
    for list in elsewhere {
        println!("list {}: {} is not asked now, but when the gate runs", list.name, list.source);
    }
    Ok(Exit::Done)
}

fn refuse(error: &ConfigError) -> Exit {
    eprintln!("{error}");
    Exit::Configuration
}
