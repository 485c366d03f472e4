//! `hashgate list rekey` and `list forget`.

use crate::cli::Exit;
use crate::list::index::seal::Key;
use crate::list::index::{Ids, about_unverified, destroy, files_in, rekey as rekey_index};
use crate::list::is_kept_for;
use anyhow::Context as _;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Beside the indexes that were destroyed, and only ever appended to.
const RECORD: &str = "forgotten.log";

/// The same for indexes in a gate's folder that got another key.
const REKEYED: &str = "rekeyed.log";

pub(super) fn rekey(key_file: &Path, new_key_file: &Path, indexes: &[PathBuf]) -> anyhow::Result<Exit> {
    let old = Key::read(key_file)?;
    let new = if new_key_file.exists() { Key::read(new_key_file)? } else { Key::make(new_key_file)? };
    anyhow::ensure!(old.id() != new.id(), "{} and {} hold the same key", key_file.display(), new_key_file.display());
    for index in indexes {
        let record = record_of_rekeying(index).with_context(|| index.display().to_string())?;
        rekey_index(index, &old, &new)?;
        if let Some(mut record) = record {
            let line = json!({
                "time": OffsetDateTime::now_utc().format(&Rfc3339)?,
                "rekeyed": index.file_name().unwrap_or_default().to_string_lossy(),
                "from": hex::encode(old.id()), "to": hex::encode(new.id()),
            });
            writeln!(record, "{line}")?;
            record.sync_all()?;
        }
        println!("{}: sealed with {}", index.display(), new_key_file.display());
    }
    eprintln!(
        "hashgate: copies of these indexes still open with {}; destroy it when no other index needs it",
        key_file.display()
    );
    Ok(Exit::Done)
}

/// Beside an index of a gate, whose audit log gets a line of it; nothing is rekeyed whose rekeying could not be recorded.
fn record_of_rekeying(index: &Path) -> anyhow::Result<Option<File>> {
    let folder = fs::canonicalize(index)?.parent().map(Path::to_owned).unwrap_or_default();
    let is_of_a_gate = folder.ends_with("lists") && folder.with_file_name("audit.head").exists();
    let open = || OpenOptions::new().append(true).create(true).open(folder.join(REKEYED));
    Ok(is_of_a_gate.then(open).transpose()?)
}

pub(super) fn forget(name: &str, folders: &[PathBuf]) -> anyhow::Result<Exit> {
    let mut exit = Exit::NothingFound;
    for folder in folders {
        fs::metadata(folder).with_context(|| folder.display().to_string())?;
        for index in files_in(folder) {
            let about = about_unverified(&index).ok();
            // The gate names its copies by the configured list, whatever the index calls itself.
            let is_copy = index.file_name().is_some_and(|file| is_kept_for(name, file));
            if !is_copy && about.as_ref().is_none_or(|about| about.name != name) {
                continue;
            }
            // Nothing is destroyed whose destruction could not be recorded.
            let path = folder.join(RECORD);
            let open = || OpenOptions::new().append(true).create(true).open(&path);
            let mut record = open().with_context(|| path.display().to_string())?;
            let ids = Ids::path_of(&index);
            let bytes = fs::metadata(&index)?.len();
            for file in [ids, index.clone()].into_iter().filter(|file| file.exists()) {
                destroy(&file).with_context(|| file.display().to_string())?;
            }
            File::open(folder)?.sync_all()?;
            let line = json!({
                "time": OffsetDateTime::now_utc().format(&Rfc3339)?, "destroyed": index.display().to_string(),
                "list": name, "bytes": bytes, "entries": about.as_ref().map(|about| about.entries),
                "compiled": about.as_ref().map(|about| about.built),
            });
            writeln!(record, "{line}")?;
            record.sync_all()?;
            println!("{}: destroyed, see {}", index.display(), path.display());
            exit = Exit::Done;
        }
    }
    if exit == Exit::NothingFound {
        eprintln!("hashgate: there is no index of a list `{name}` in the folders that were named");
    }
    Ok(exit)
}
