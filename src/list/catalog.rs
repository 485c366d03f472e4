//! All lists as one immutable table: text lists as a hash map, indexes as they are, behind the seam of
//! [`Catalog::lookup`].

use super::sealed::Sealed;
use crate::decide::{Finding, Label, Undecidable};
use crate::digest::{Algorithm, Algorithms, Digest, Digests};
use std::collections::HashMap;
use std::sync::Arc;

/// All entries of all lists.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Digest -> which of `label_sets`.
    rows: HashMap<Digest, u32>,
    label_sets: Vec<Vec<Label>>,
    indexes: Vec<Arc<Sealed>>,
    algorithms: Algorithms,
}

impl Catalog {
    /// Builds it from the entries of each list with its label.
    pub fn build<'a>(lists: impl IntoIterator<Item = (Label, &'a [Digest])>) -> Catalog {
        let mut catalog = Catalog::default();
        let mut set_ids: HashMap<Vec<Label>, u32> = HashMap::new();
        for (label, entries) in lists {
            for entry in entries {
                catalog.algorithms = catalog.algorithms.with(entry.algorithm());
                let mut labels =
                    catalog.rows.get(entry).map(|&id| catalog.label_sets[id as usize].clone()).unwrap_or_default();
                if labels.contains(&label) {
                    continue;
                }
                labels.push(label.clone());
                labels.sort();
                let next = catalog.label_sets.len() as u32;
                let id = *set_ids.entry(labels.clone()).or_insert(next);
                if id == next {
                    catalog.label_sets.push(labels);
                }
                catalog.rows.insert(*entry, id);
            }
        }
        catalog
    }

    /// This table and these indexes.
    #[must_use]
    pub fn with_indexes(mut self, indexes: Vec<Arc<Sealed>>) -> Catalog {
        for sealed in &indexes {
            let used = Algorithm::ALL.into_iter().filter(|&a| sealed.index().algorithms().contains(a));
            self.algorithms = used.fold(self.algorithms, Algorithms::with);
        }
        self.indexes = indexes;
        self
    }

    /// Its indexes.
    pub fn indexes(&self) -> &[Arc<Sealed>] {
        &self.indexes
    }

    /// The algorithms that its entries use.
    pub fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    /// What the lists say of a payload with these digests.
    pub fn lookup(&self, digests: &Digests) -> Finding {
        let mut labels: Vec<Label> = digests.iter().flat_map(|digest| self.labels(&digest)).cloned().collect();
        for sealed in &self.indexes {
            for digest in digests.iter() {
                match sealed.labels(&digest, Some(digests.length)) {
                    Ok(found) => labels.extend_from_slice(found),
                    // Also where another list has it: what is on that page may ask for more than the other does.
                    Err(_) => return Finding::Undecidable(Undecidable::ListDamaged),
                }
            }
        }
        labels.sort();
        labels.dedup();
        if !labels.is_empty() {
            return Finding::Listed(labels);
        }
        let missing = |a: &Algorithm| self.algorithms.contains(*a) && digests.get(*a).is_none();
        if Algorithm::ALL.iter().any(missing) {
            return Finding::Undecidable(Undecidable::DigestMissing);
        }
        Finding::Unlisted
    }

    /// Whether a digest is an entry of any list, or might be.
    pub fn is_listed(&self, digest: &Digest) -> bool {
        let may_have = |sealed: &Arc<Sealed>| sealed.labels(digest, None).map_or(true, |labels| !labels.is_empty());
        self.rows.contains_key(digest) || self.indexes.iter().any(may_have)
    }

    fn labels(&self, digest: &Digest) -> &[Label] {
        self.rows.get(digest).map(|&id| self.label_sets[id as usize].as_slice()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Hashing;

    fn label(list: &str) -> Label {
        Label { list: list.into(), category: "house:test".into() }
    }

    #[test]
    fn labels_of_all_lists_and_algorithms_are_put_together() {
        let digests = Digests::of(b"x");
        let (md5, sha1) = (digests.get(Algorithm::Md5).unwrap(), digests.get(Algorithm::Sha1).unwrap());
        let catalog =
            Catalog::build([(label("b"), &[md5, md5][..]), (label("a"), &[sha1][..]), (label("c"), &[md5][..])]);
        assert_eq!(catalog.lookup(&digests), Finding::Listed(vec![label("a"), label("b"), label("c")]));
        assert_eq!(catalog.lookup(&Digests::of(b"y")), Finding::Unlisted);
        assert!(catalog.is_listed(&md5) && !catalog.is_listed(&Digests::of(b"y").get(Algorithm::Md5).unwrap()));
        assert_eq!(catalog.algorithms(), Algorithms::NONE.with(Algorithm::Md5).with(Algorithm::Sha1));
    }

    #[test]
    fn a_digest_that_was_not_computed_is_no_clean_one() {
        let digests = Digests::of(b"x");
        let catalog = Catalog::build([(label("a"), &[digests.get(Algorithm::Md5).unwrap()][..])]);
        let mut hashing = Hashing::new(Algorithms::NONE);
        hashing.update(b"x");
        assert_eq!(catalog.lookup(&hashing.finish()), Finding::Undecidable(Undecidable::DigestMissing));
    }
}
