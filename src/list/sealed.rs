//! The version of a list that is in use: its index, mapped, and what of it is on probation.

use super::Why;
use super::index::veto::is_known_good;
use super::index::{BadPage, Hit, Index, Kind};
use crate::config::settings::ListSource;
use crate::decide::{Label, Mark};
use crate::digest::{Digest, Digests};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An open index with the labels of its configured list.
#[derive(Debug)]
pub struct Sealed {
    index: Index,
    /// For each of the index's category sets.
    labels: Vec<Vec<Label>>,
    probation: Option<Probation>,
    counts: Arc<Counts>,
    bad_pages: AtomicU64,
}

/// What is counted of a list, over all its versions.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Lookups whose digest is an entry, but whose size is not.
    pub(super) wrong_sizes: AtomicU64,
    /// Matches that this known-good list has taken back.
    pub(super) vetoed: AtomicU64,
}

/// What is new since the last version that an operator has accepted, or that needed no accepting.
#[derive(Debug)]
pub(super) enum Probation {
    /// Categories that the accepted version did not have; the labels say which.
    Categories,
    /// The version as a whole: what the accepted one has not is only observed.
    Growth(Box<Index>),
}

impl Sealed {
    /// Takes an opened index into use. `known` are the categories of the last accepted version.
    pub(super) fn new(
        list: &ListSource,
        index: Index,
        counts: Arc<Counts>,
        known: Option<&[Vec<String>]>,
        grown_since: Option<Index>,
    ) -> Result<Sealed, Why> {
        let wanted = list.kind.unwrap_or(Kind::KnownBad);
        if index.about().kind != wanted {
            return Err(Why::OtherKind { is: index.about().kind, wanted });
        }
        let is_known = |category: &String| known.is_none_or(|known| known.iter().any(|set| set.contains(category)));
        let label = |category: &String| Label {
            list: list.name.clone(),
            category: if category.is_empty() { list.category.clone() } else { category.clone() },
            on_probation: !is_known(category),
            payload: Mark::default(),
        };
        let labels: Vec<Vec<Label>> =
            index.about().category_sets.iter().map(|set| set.iter().map(label).collect()).collect();
        let any_new = labels.iter().flatten().any(|label| label.on_probation);
        let probation = match grown_since {
            Some(before) => Some(Probation::Growth(Box::new(before))),
            None => any_new.then_some(Probation::Categories),
        };
        Ok(Sealed { index, labels, probation, counts, bad_pages: AtomicU64::new(0) })
    }

    /// The index itself.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Whether something of it is only observed.
    pub fn is_on_probation(&self) -> bool {
        self.probation.is_some()
    }

    /// The labels of a digest of a payload of this size; an entry of another size has none, and is counted.
    pub(super) fn labels(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<Label>, BadPage> {
        match self.index.look_up(digest, size)? {
            Hit::Row(set) => {
                // A row of a set that is not there cannot be, its page and the description are verified; but never "no".
                let mut labels = self.labels.get(usize::from(set)).cloned().ok_or(BadPage)?;
                if let Some(Probation::Growth(before)) = &self.probation
                    && !matches!(before.look_up(digest, size)?, Hit::Row(_))
                {
                    labels.iter_mut().for_each(|label| label.on_probation = true);
                }
                Ok(labels)
            }
            Hit::None => Ok(Vec::new()),
            Hit::WrongSize => {
                self.counts.wrong_sizes.fetch_add(1, Ordering::Relaxed);
                Ok(Vec::new())
            }
        }
    }

    /// Whether this known-good list has the file with these digests. What cannot be read, or is on probation, takes
    /// nothing back.
    pub(super) fn takes_back(&self, digests: &Digests) -> bool {
        let all: Vec<Digest> = digests.iter().collect();
        let has = |index: &Index| is_known_good(&all, Some(digests.length), index).unwrap_or(false);
        let before = match &self.probation {
            Some(Probation::Growth(before)) => Some(before),
            _ => None,
        };
        let takes = has(&self.index) && before.is_none_or(|before| has(before));
        if takes {
            self.counts.vetoed.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }

    /// Verifies every page, and remembers how many are damaged.
    pub(super) fn scrub(&self, pause: Duration, stop: &dyn Fn() -> bool) -> u64 {
        let mut bad = self.index.scrub(pause, stop);
        if let Some(Probation::Growth(before)) = &self.probation {
            bad += before.scrub(pause, stop);
        }
        self.bad_pages.store(bad, Ordering::Relaxed);
        bad
    }

    /// Pages that the last scrub found damaged.
    pub fn bad_pages(&self) -> u64 {
        self.bad_pages.load(Ordering::Relaxed)
    }
}
