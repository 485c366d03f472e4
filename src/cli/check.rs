//! `hashgate check`

use super::Exit;
use crate::act::quarantine::Store;
use crate::act::{self, Place};
use crate::config::settings::{ListSource, Settings, Source};
use crate::config::{self, ConfigError, Problem};
use crate::decide::Reply;
use crate::forward::Origin;
use crate::list::{Keeping, Lists};
use crate::listen::TlsIdentity;
use crate::record::Metrics;
use std::path::Path;
use std::sync::Arc;

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
    match Origin::new(&settings.origin, &settings.limits, Metrics::new(prometheus::Registry::new())?) {
        Ok(origin) => {
            for (path, message) in ask_stores(&settings, &origin)? {
                note(&path, message);
            }
        }
        Err(error) => note("", error.to_string()),
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

/// What only the stores can say: whether the quarantine bucket is there and locks its objects, and whether uploads to a
/// bucket can be accepted in appearance. They are asked, and nothing is changed. Nothing is asked where nothing needs it.
fn ask_stores(settings: &Settings, origin: &Arc<Origin>) -> anyhow::Result<Vec<(String, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut problems = Vec::new();
        if let Some(quarantine) = &settings.quarantine {
            let metrics = Metrics::new(prometheus::Registry::new())?;
            match Store::new(quarantine, &settings.limits, metrics) {
                Ok(store) => {
                    problems.extend(store.check().await.err().map(|wanted| (String::new(), wanted.to_string())))
                }
                Err(error) => problems.push(("quarantine".to_owned(), error.to_string())),
            }
        }
        let accepting = settings.policy.rules.iter().enumerate().filter(|(_, rule)| rule.answer == Reply::Accept);
        for (at, rule) in accepting {
            let place = Place { host: settings.origin.authority.clone(), path: format!("/{}", rule.bucket) };
            if let Some(why) = act::why_not(settings, origin, &place).await {
                let message = format!("`accept` cannot be offered for bucket `{}`: {why}", rule.bucket);
                problems.push((format!("policy.rules[{at}].answer"), message));
            }
        }
        Ok(problems)
    })
}

fn refuse(error: &ConfigError) -> Exit {
    eprintln!("{error}");
    Exit::Configuration
}
