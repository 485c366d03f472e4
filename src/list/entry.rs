//! One entry of a list, whatever its source looked like.

use crate::digest::Digest;

/// What a source says of one file.
///
/// The digests of one entry are of the same file: a known-good digest vetoes all of them, by the strongest that both
/// have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// At most one of each algorithm, at least one.
    pub digests: Vec<Digest>,
    /// The file's length in bytes, where the source gives it.
    pub size: Option<u64>,
    /// `scheme:value`, where the source gives it; else the list's own counts.
    pub category: Option<String>,
    /// What the source calls it; unique within the source, where there is one.
    pub id: Option<String>,
}

/// What a source yields, in its order. A later item with the same id takes the place of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An entry.
    Entry(Entry),
    /// The entry with this id is none any more (a tombstone).
    Removed(String),
}
