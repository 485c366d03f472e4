//! `hashgate quarantine verify`: do the cases open, on the day on which it counts?

use super::vault::Vault;
use crate::act::quarantine::Manifest;
use crate::cli::Exit;
use anyhow::Context as _;
use clap::Args;
use std::io::{Write as _, stdout};
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// A configuration file with `origin` and `quarantine`; nothing else of it is read
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The recipient's key, as age-keygen has made it
    #[arg(long, value_name = "KEYFILE")]
    identity: PathBuf,
    /// The public key that must have signed them (`hashgate quarantine key`); once more for a gate of before
    #[arg(long = "gate-key", value_name = "KEY", required = true)]
    gate_keys: Vec<String>,
    /// How many cases, taken at random
    #[arg(long, default_value_t = 20, conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// Every case
    #[arg(long)]
    all: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let keys = arguments.gate_keys.clone();
    let vault = Vault::open(&arguments.config, &arguments.identity, keys, runtime.handle().clone())?;
    let mut cases = vault.cases()?;
    if cases.is_empty() {
        eprintln!("hashgate: the quarantine bucket holds no case");
        return Ok(Exit::NothingFound);
    }
    let (all, mut bad) = (cases.len(), 0);
    if !arguments.all {
        shuffle(&mut cases)?;
        cases.truncate(arguments.sample as usize);
        cases.sort_unstable();
    }
    let mut out = stdout().lock();
    for case in &cases {
        match check(&vault, case) {
            Ok(found) => writeln!(out, "{case}: good, {found}")?,
            Err(error) => {
                bad += 1;
                writeln!(out, "{case}: BAD, {error:#}")?;
            }
        }
    }
    writeln!(out, "{} of {all} cases opened, {bad} bad", cases.len())?;
    Ok(if bad == 0 { Exit::Done } else { Exit::Failed })
}

fn check(vault: &Vault, case: &str) -> anyhow::Result<String> {
    let manifest = vault.manifest(case).context("manifest")?;
    if let Some(why) = &manifest.payload.payload_not_kept {
        return Ok(format!("its payload was not kept: {why}"));
    }
    vault.payload(&manifest, |_| Ok(())).context("payload")?;
    let Manifest { size, .. } = manifest;
    Ok(format!("{size} bytes"))
}

/// Each order is as likely as any other, as far as anybody can tell.
fn shuffle(cases: &mut [String]) -> anyhow::Result<()> {
    for at in (1..cases.len()).rev() {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        cases.swap(at, (u64::from_le_bytes(bytes) % (at as u64 + 1)) as usize);
    }
    Ok(())
}
