//! All lists as one immutable table, behind the seam of [`Catalog::lookup`].

use super::index::Kind;
use super::sealed::Sealed;
use crate::decide::{Finding, Label, Undecidable};
use crate::digest::{Algorithm, Algorithms, Digest, Digests};
use std::sync::Arc;

/// All entries of all lists.
#[derive(Debug, Default)]
pub struct Catalog {
    bad: Vec<Arc<Sealed>>,
    good: Vec<Arc<Sealed>>,
    /// Those without which nothing can be decided.
    needed: Algorithms,
    /// Those, and what the known-good lists use.
    algorithms: Algorithms,
}

impl Catalog {
    /// Of these lists, known-bad and known-good.
    pub fn new(lists: Vec<Arc<Sealed>>) -> Catalog {
        let (bad, good): (Vec<_>, Vec<_>) =
            lists.into_iter().partition(|list| list.index().about().kind == Kind::KnownBad);
        let union = |all: Algorithms, list: &Arc<Sealed>| {
            let used = list.index().algorithms();
            Algorithm::ALL.into_iter().filter(|&a| used.contains(a)).fold(all, Algorithms::with)
        };
        let needed = bad.iter().fold(Algorithms::default(), union);
        let algorithms = good.iter().fold(needed, union);
        Catalog { bad, good, needed, algorithms }
    }

    /// The algorithms that its entries use.
    pub fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    /// What the lists say of a payload with these digests.
    pub fn lookup(&self, digests: &Digests) -> Finding {
        let mut labels: Vec<Label> = Vec::new();
        for list in &self.bad {
            for digest in digests.iter() {
                match list.labels(&digest, Some(digests.length)) {
                    Ok(found) => labels.extend(found),
                    // Also where another list has it: what is on that page may ask for more than the other does.
                    Err(_) => return Finding::Undecidable(Undecidable::ListDamaged),
                }
            }
        }
        if !labels.is_empty() && self.good.iter().any(|list| list.takes_back(digests)) {
            labels.clear();
        }
        labels.sort();
        labels.dedup();
        if !labels.is_empty() {
            return Finding::Listed(labels);
        }
        let missing = |a: &Algorithm| self.needed.contains(*a) && digests.get(*a).is_none();
        if Algorithm::ALL.iter().any(missing) {
            return Finding::Undecidable(Undecidable::DigestMissing);
        }
        Finding::Unlisted
    }

    /// Whether a digest is an entry of any known-bad list, or might be.
    pub fn is_listed(&self, digest: &Digest) -> bool {
        self.bad.iter().any(|list| list.labels(digest, None).map_or(true, |labels| !labels.is_empty()))
    }
}
