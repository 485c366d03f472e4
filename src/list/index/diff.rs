//! What changed between two versions of an index, in numbers only.

use super::{BadPage, Index, Kind, ROW_WIDTH};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// How many digests two indexes do not have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Only in the new one.
    pub added: u64,
    /// Only in the old one.
    pub removed: u64,
    /// In both, in other categories or with another size.
    pub changed: u64,
    /// In both, alike.
    pub unchanged: u64,
}

/// Compares two indexes that have the same data key; `None` where they have not, so that nothing can be compared.
///
/// # Errors
/// A page of one of them is damaged.
pub fn diff(old: &Index, new: &Index) -> Result<Option<Diff>, BadPage> {
    if old.seal().data_key() != new.seal().data_key() {
        return Ok(None);
    }
    let mut diff = Diff::default();
    let (mut left, mut right) = (0, 0);
    while left < old.rows() && right < new.rows() {
        let (ours, theirs) = (old.row(left)?, new.row(right)?);
        match ours[..16].cmp(&theirs[..16]) {
            Ordering::Less => (diff.removed, left) = (diff.removed + 1, left + 1),
            Ordering::Greater => (diff.added, right) = (diff.added + 1, right + 1),
            Ordering::Equal => {
                let (our_set, their_set) = (set(ours), set(theirs));
                let is_same = match new.about().kind {
                    // There the number is no name of a set, but the set itself.
                    Kind::KnownGood => our_set == their_set,
                    Kind::KnownBad => is_same_set(old.categories(our_set), new.categories(their_set)),
                };
                let alike = is_same && ours[18] == theirs[18] && old.about().kind == new.about().kind;
                let count = if alike { &mut diff.unchanged } else { &mut diff.changed };
                *count += 1;
                (left, right) = (left + 1, right + 1);
            }
        }
    }
    diff.removed += u64::from(old.rows() - left);
    diff.added += u64::from(new.rows() - right);
    Ok(Some(diff))
}

fn set(row: &[u8; ROW_WIDTH]) -> u16 {
    u16::from_le_bytes([row[16], row[17]])
}

/// Sets are numbered, and the names in them ordered, as each compile met them.
fn is_same_set(ours: &[String], theirs: &[String]) -> bool {
    ours == theirs
        || ours.len() == theirs.len() && ours.iter().collect::<BTreeSet<_>>() == theirs.iter().collect::<BTreeSet<_>>()
}
