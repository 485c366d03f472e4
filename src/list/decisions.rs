//! What operators have decided about entries, by the cases that these have hit: nobody ever types a digest.
//!
//! A payload that was found listed has a *mark* in its audit line: a keyed digest of its SHA-256, which says nothing
//! without the key in the state folder. A decision is about the very payload: a file that only shares an MD5 with it is
//! still refused.

use super::index::seal::{Key, KeyError};
use crate::decide::Mark;
use crate::digest::Digests;
use arc_swap::ArcSwap;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

const KEY_FILE: &str = "entries.key";
const FILE: &str = "decisions.log";

/// What can be decided about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is a mistake: what it hits is let through.
    Veto,
    /// It is right, however often it hits.
    Confirm,
}

impl Decision {
    const ALL: [Decision; 2] = [Decision::Veto, Decision::Confirm];

    fn word(self) -> &'static str {
        match self {
            Decision::Veto => "veto",
            Decision::Confirm => "confirm",
        }
    }
}

/// The decisions of one state folder.
pub struct Decisions {
    key: Key,
    file: PathBuf,
    current: ArcSwap<HashMap<Mark, Decision>>,
    seen: Mutex<Option<(SystemTime, u64)>>,
}

impl Decisions {
    /// Opens the decisions in a state folder, and makes their key where there is none.
    ///
    /// # Errors
    /// The key file cannot be used.
    pub fn open(state_dir: &Path) -> Result<Decisions, KeyError> {
        let (key, _) = Key::read_or_make(&state_dir.join(KEY_FILE), &[])?;
        let file = state_dir.join(FILE);
        let decisions = Decisions { key, file, current: ArcSwap::default(), seen: Mutex::default() };
        decisions.refresh();
        Ok(decisions)
    }

    /// The mark of a payload.
    pub fn mark(&self, digests: &Digests) -> Mark {
        Mark(self.key.mark("entry", &digests.sha256))
    }

    /// What was decided about it.
    pub fn of(&self, mark: &Mark) -> Option<Decision> {
        self.current.load().get(mark).copied()
    }

    /// Reads the decisions again where there are new ones. It blocks.
    pub fn refresh(&self) {
        let stamp = fs::metadata(&self.file).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == stamp {
            return;
        }
        match fs::read_to_string(&self.file) {
            Ok(text) => {
                self.current.store(text.lines().filter_map(read).collect::<HashMap<_, _>>().into());
                *seen = stamp;
            }
            Err(error) => tracing::error!("{}: decisions are not read: {error}", self.file.display()),
        }
    }
}

fn read(line: &str) -> Option<(Mark, Decision)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let decision = Decision::ALL.into_iter().find(|decision| value["decision"] == decision.word())?;
    Some((value["mark"].as_str()?.parse().ok()?, decision))
}

/// Writes a decision about these marks down; a gate that runs with this state folder heeds it within seconds.
///
/// # Errors
/// The system's.
pub fn decide(state_dir: &Path, case: &str, marks: &[Mark], decision: Decision, time: &str) -> io::Result<()> {
    let path = state_dir.join(FILE);
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    for mark in marks {
        let line = json!({ "time": time, "case": case, "mark": mark.to_string(), "decision": decision.word() });
        file.write_all(format!("{line}\n").as_bytes())?;
    }
    file.sync_all()
}
