//! `audit.head`: the last checkpoint, and where its place in the log is, so that a start does not walk along all of it.

use super::signed::Checkpoint;
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

const FILE: &str = "audit.head";
const NEW: &str = "audit.head.new";

/// What the log was at the last checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    /// The checkpoint itself.
    pub(super) checkpoint: Checkpoint,
    /// The number of the first line of the file that it is in.
    pub(super) first: u64,
    /// Where in that file the line ends that it speaks of.
    pub(super) offset: u64,
    /// What the last start of the gate said of itself.
    pub(super) run: Option<Map<String, Value>>,
}

impl Head {
    /// Reads it; `None` where it is missing, or is no such file.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Head>> {
        match fs::read(dir.join(FILE)) {
            Ok(text) => Ok(Head::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &[u8]) -> Option<Head> {
        let value: Value = serde_json::from_slice(text).ok()?;
        Some(Head {
            checkpoint: Checkpoint::find(&value["checkpoint"])?,
            first: value["first"].as_u64()?,
            offset: value["offset"].as_u64()?,
            run: value["run"].as_object().cloned(),
        })
    }

    /// Puts it in the place of the one before: there is always a whole one.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let text = json!({
            "checkpoint": self.checkpoint.json(), "first": self.first, "offset": self.offset, "run": self.run,
        });
        put(dir, NEW, FILE, format!("{text}\n").as_bytes())
    }
}

/// Writes a file in the state folder anew, so that a crash leaves the old one or the new one.
pub(super) fn put(dir: &Path, new: &str, name: &str, text: &[u8]) -> io::Result<()> {
    let new = dir.join(new);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    file.write_all(text)?;
    file.sync_data()?;
    fs::rename(&new, dir.join(name))?;
    File::open(dir)?.sync_all()
}
