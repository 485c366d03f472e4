//! Which entries are left out when a list is compiled: a bad entry must not stop harmless files.

use super::{BadPage, Hit, Index};
use crate::digest::Digest;
use crate::list::entry::Entry;
use crate::list::feed::Place;
use crate::list::text::is_of_empty_file;

/// Files below this size are never entries, unless it is set otherwise: nothing that can be seen fits in.
pub const SIZE_MIN: u64 = 64;

/// Why an entry was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Veto {
    /// One of its digests is that of every empty file.
    EmptyFile,
    /// Its file is too small.
    TooSmall,
    /// A known-good list has its file.
    KnownGood,
}

impl Veto {
    /// The reason, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Veto::EmptyFile => "every empty file has this digest",
            Veto::TooSmall => "the file is too small",
            Veto::KnownGood => "a known-good list has this file",
        }
    }
}

/// An entry that was left out, by where it stands: its digest is never named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vetoed {
    /// The source.
    pub source: String,
    /// Where in it.
    pub place: Place,
    /// The reason.
    pub why: Veto,
}

/// Why an entry is left out of a known-bad list, if it is.
pub(super) fn veto(entry: &Entry, size_min: u64, goods: &[Index]) -> Result<Option<Veto>, BadPage> {
    if entry.digests.iter().any(is_of_empty_file) {
        return Ok(Some(Veto::EmptyFile));
    }
    if entry.size.is_some_and(|size| size < size_min) {
        return Ok(Some(Veto::TooSmall));
    }
    for good in goods {
        if is_known_good(&entry.digests, entry.size, good)? {
            return Ok(Some(Veto::KnownGood));
        }
    }
    Ok(None)
}

/// Whether a known-good list has the file with these digests.
///
/// # Errors
/// The answer stands on a damaged page.
pub(in crate::list) fn is_known_good(digests: &[Digest], size: Option<u64>, good: &Index) -> Result<bool, BadPage> {
    let ours = algorithms(digests);
    for digest in digests {
        let Hit::Row(forms) = good.look_up(digest, size)? else { continue };
        // In which algorithms the good list has this file; an MD5 alone counts only where nothing stronger is in both,
        // because two files can be made to have the same.
        let is_strongest = |theirs: u8| (ours & theirs).ilog2() == digest.algorithm() as u32;
        if (1..8).any(|theirs: u8| forms & (1 << theirs) != 0 && ours & theirs != 0 && is_strongest(theirs)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The algorithms of an entry as bits, the strongest highest; never 0.
pub(super) fn algorithms(digests: &[Digest]) -> u8 {
    digests.iter().fold(0, |bits, digest| bits | 1 << digest.algorithm() as u8)
}
