//! Acts of operators that come by files in the state folder: a gate that runs, or the next one, puts each on record.
//!
//! The very files that make an act take effect are read, so that none takes effect and is not on record. How far each was
//! read is kept in `audit.heard`; a crash in between puts an act on record twice, never not at all.

use super::Audit;
use super::head::put;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FILE: &str = "audit.heard";
const NEW: &str = "audit.heard.new";

/// A file of acts below the state folder.
struct Acts {
    name: &'static str,
    /// What a line in it is in the audit log.
    account: fn(&Value) -> Value,
}

const FILES: [Acts; 4] = [
    Acts { name: "decisions.log", account: decision },
    Acts { name: "lists/accepted.log", account: acceptance },
    Acts { name: "lists/forgotten.log", account: destruction },
    Acts { name: "lists/rekeyed.log", account: rekeying },
];

/// How far the acts of operators were read.
pub struct Heard {
    dir: PathBuf,
    read: Mutex<BTreeMap<String, u64>>,
}

impl Heard {
    /// Goes on where the last process was.
    pub fn open(state_dir: &Path) -> Heard {
        let text = fs::read(state_dir.join(FILE)).unwrap_or_default();
        // Without it, everything is put on record again.
        let read = serde_json::from_slice(&text).unwrap_or_default();
        Heard { dir: state_dir.to_owned(), read: Mutex::new(read) }
    }

    /// Puts on record what is new. It blocks.
    ///
    /// # Errors
    /// A file cannot be read, or the log not written; then it is tried again the next time.
    pub fn listen(&self, audit: &Audit) -> io::Result<()> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for Acts { name, account } in FILES {
            let path = self.dir.join(name);
            let len = match fs::metadata(&path) {
                Ok(meta) => meta.len(),
                Err(error) if error.kind() == ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            let from = read.get(name).copied().unwrap_or_default();
            if len == from {
                continue;
            }
            // It is only ever appended to; whoever did something else is not the command line.
            let from = if len < from {
                audit.append(&line(json!({ "operation": "ActsRewritten", "file": name })))?;
                0
            } else {
                from
            };
            let to = if len == 0 { 0 } else { hear(&path, from, &mut |value| audit.append(&line(account(value))))? };
            if read.insert(name.to_owned(), to) != Some(to) {
                put(&self.dir, NEW, FILE, json!(*read).to_string().as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Hands the whole lines of a file on, from an offset; says where the last of them ends.
fn hear(path: &Path, mut from: u64, act: &mut dyn FnMut(&Value) -> io::Result<()>) -> io::Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let (mut file, mut text) = (BufReader::new(file), Vec::new());
    while file.read_until(b'\n', &mut text)? > 0 && text.ends_with(b"\n") {
        act(&serde_json::from_slice(&text).unwrap_or_default())?;
        from += text.len() as u64;
        text.clear();
    }
    Ok(from)
}

fn decision(value: &Value) -> Value {
    let operation = match value["decision"].as_str() {
        Some("veto") => "ListVeto",
        Some("confirm") => "ListConfirm",
        _ => "MalformedAct",
    };
    json!({ "operation": operation, "case": value["case"], "mark": value["mark"], "decided": value["time"] })
}

fn acceptance(value: &Value) -> Value {
    json!({ "operation": "ListAccept", "list": value["list"], "decided": value["time"] })
}

fn destruction(value: &Value) -> Value {
    json!({
        "operation": "ListForget", "list": value["list"], "entries": value["entries"], "bytes": value["bytes"],
        "decided": value["time"],
    })
}

fn rekeying(value: &Value) -> Value {
    json!({
        "operation": "ListRekey", "index": value["rekeyed"], "from": value["from"], "to": value["to"],
        "decided": value["time"],
    })
}

fn line(value: Value) -> Map<String, Value> {
    let members = value.as_object().cloned().unwrap_or_default();
    members.into_iter().filter(|(_, value)| !value.is_null()).collect()
}
