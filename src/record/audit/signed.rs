//! Lines that the gate signs: the start of a process, checkpoints, and what it found broken.
//!
//! The signature is over the line's members but for itself, `seq` and `hash`, by name: so it also holds for a checkpoint that
//! went through a webhook and had its members put into another order. Which place of the chain is meant is said by
//! `before_seq` and `before_hash`, the line before.

use super::chain::Link;
use crate::signing::{Signing, is_signed};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

const PURPOSE: &str = "hashgate audit";

/// The operation of a [`Checkpoint`].
pub(super) const CHECKPOINT: &str = "Checkpoint";

/// A statement of the gate that the line with this number had this hash, at that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The line.
    pub line: Link,
    members: Map<String, Value>,
}

impl Checkpoint {
    /// Signs that `line` is where the chain ends now.
    pub(super) fn sign(line: Link, time: &str, signing: &Signing) -> Checkpoint {
        Checkpoint { line, members: sign(CHECKPOINT, line, time, Map::new(), signing) }
    }

    /// Finds the checkpoint in a JSON value: itself, a line of the log, or something that has it within. `None` where there
    /// is none whose signature holds.
    pub fn find(value: &Value) -> Option<Checkpoint> {
        match value {
            Value::Object(members) if members.get("operation").is_some_and(|operation| operation == CHECKPOINT) => {
                let mut members = members.clone();
                signer(&members)?;
                members.remove("seq");
                members.remove("hash");
                Some(Checkpoint { line: before(&members)?, members })
            }
            Value::Object(members) => members.values().find_map(Checkpoint::find),
            Value::Array(values) => values.iter().find_map(Checkpoint::find),
            _ => None,
        }
    }

    /// As JSON, for whoever keeps it elsewhere; [`Checkpoint::find`] reads it.
    pub fn json(&self) -> &Map<String, Value> {
        &self.members
    }

    /// The public key of the gate that signed it.
    pub fn key(&self) -> &str {
        text(&self.members, "key")
    }

    /// When it was signed.
    pub fn time(&self) -> &str {
        text(&self.members, "time")
    }
}

/// The members of a line of `operation` that comes after `before`, with the signature over all of them.
pub(super) fn sign(
    operation: &str,
    before: Link,
    time: &str,
    mut members: Map<String, Value>,
    signing: &Signing,
) -> Map<String, Value> {
    members.insert("operation".to_owned(), json!(operation));
    members.insert("time".to_owned(), json!(time));
    members.insert("before_seq".to_owned(), json!(before.seq));
    members.insert("before_hash".to_owned(), json!(hex::encode(before.hash)));
    members.insert("key".to_owned(), json!(signing.public()));
    let signature = signing.sign(PURPOSE, &canonical(&members));
    members.insert("signature".to_owned(), json!(signature));
    members
}

/// The key whose signature a line bears, if it is good.
pub(super) fn signer(members: &Map<String, Value>) -> Option<&str> {
    let key = members.get("key")?.as_str()?;
    is_signed(key, PURPOSE, &canonical(members), members.get("signature")?.as_str()?).then_some(key)
}

/// The members of a line that says that it is signed.
pub(super) fn parse(line: &[u8]) -> Option<Map<String, Value>> {
    const SIGNATURE: &[u8] = b"\"signature\":\"";
    // Nearly no line is: not worth parsing.
    line.windows(SIGNATURE.len()).any(|window| window == SIGNATURE).then(|| serde_json::from_slice(line).ok()).flatten()
}

/// The place after which a signed line says that it comes.
pub(super) fn before(members: &Map<String, Value>) -> Option<Link> {
    let hash = hex::decode(members.get("before_hash")?.as_str()?).ok()?;
    Some(Link { seq: members.get("before_seq")?.as_u64()?, hash: hash.try_into().ok()? })
}

pub(super) fn text<'a>(members: &'a Map<String, Value>, name: &str) -> &'a str {
    members.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What is signed: the members sorted by name. Their values hold no further objects, whose members would need it as well.
fn canonical(members: &Map<String, Value>) -> Vec<u8> {
    let sorted: BTreeMap<_, _> =
        members.iter().filter(|(name, _)| !matches!(name.as_str(), "signature" | "seq" | "hash")).collect();
    serde_json::to_vec(&sorted).expect("JSON can be written as JSON")
}

/// The checkpoints in a file: JSON values one after the other, such as a copy of `audit.head` or events of a webhook.
///
/// # Errors
/// It cannot be read; it is no JSON; a value in it has no checkpoint, or one whose signature does not hold.
pub fn read_anchors(path: &Path) -> io::Result<Vec<Checkpoint>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()));
    let text = fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let mut anchors = Vec::new();
    for value in serde_json::Deserializer::from_slice(&text).into_iter::<Value>() {
        let value = value.map_err(|error| invalid(error.to_string()))?;
        let found = Checkpoint::find(&value);
        anchors.push(found.ok_or_else(|| invalid("a value without a checkpoint whose signature holds".to_owned()))?);
    }
    if anchors.is_empty() { Err(invalid("no checkpoint is in it".to_owned())) } else { Ok(anchors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_found_wherever_it_went_and_only_if_nobody_touched_it() {
        let dir = tempfile::tempdir().unwrap();
        let signing = Signing::open(dir.path()).unwrap();
        let line = Link { seq: 7, hash: [3; 32] };
        let checkpoint = Checkpoint::sign(line, "2026-01-01T00:00:00Z", &signing);
        assert_eq!((checkpoint.key(), checkpoint.time()), (signing.public().as_str(), "2026-01-01T00:00:00Z"));
        let plain = Value::Object(checkpoint.json().clone());
        let mut in_the_log = plain.clone();
        in_the_log["seq"] = json!(8);
        in_the_log["hash"] = json!("ab");
        for value in [plain.clone(), in_the_log, json!({ "event": "checkpoint", "all": [1, { "checkpoint": plain }] })]
        {
            assert_eq!(Checkpoint::find(&value), Some(checkpoint.clone()), "{value}");
        }
        let other = Signing::open(tempfile::tempdir().unwrap().path()).unwrap().public();
        for (name, value) in [
            ("before_seq", json!(8)),
            ("before_hash", json!("00")),
            ("time", json!("2026-01-01T00:00:01Z")),
            ("key", json!(other)),
            ("more", json!(1)),
        ] {
            let mut changed = plain.clone();
            changed[name] = value;
            assert_eq!(Checkpoint::find(&changed), None, "{name}");
        }
    }
}
