//! The lists: reading them, keeping the last good version of each, and exchanging all of them at once.

mod catalog;
pub mod entry;
pub mod text;

pub use catalog::Catalog;

use crate::config::settings::ListSource;
use crate::decide::{Finding, Label, Undecidable};
use crate::digest::{Digest, Digests};
use arc_swap::ArcSwap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::time::Instant;

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("list {name}: {path}: {error}")]
    Read {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not one entry in it.
    #[error(
        "list {name}: {path} holds no entry ({bad_lines} lines could not be read); expected one MD5, SHA-1 or SHA-256 digest in hexadecimal a line, a file name may follow"
    )]
    Empty {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// Lines that are no entry.
        bad_lines: u64,
    },
}

/// A list that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its entries.
    pub entries: u64,
    /// Lines that are no entry.
    pub bad_lines: u64,
}

/// What a list says of itself.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Entries in use.
    pub entries: u64,
    /// Lines that are no entry, at the last good read.
    pub bad_lines: u64,
    /// Time of the last good read.
    pub read_at: SystemTime,
    /// Whether the last read failed.
    pub failed: bool,
}

/// All lists of a gate.
pub struct Lists {
    current: ArcSwap<Catalog>,
    kept: Mutex<Vec<Kept>>,
}

/// The last good version of one list.
struct Kept {
    source: ListSource,
    entries: Vec<Digest>,
    status: Status,
    /// What the file looked like when it was read.
    stamp: Option<(SystemTime, u64)>,
    looked_at: Instant,
    read_at: Instant,
}

impl Lists {
    /// Reads every list. It blocks.
    ///
    /// # Errors
    /// All lists that cannot be used, at once.
    pub fn load(sources: &[ListSource]) -> Result<Lists, Vec<ListError>> {
        let (mut kept, mut errors) = (Vec::new(), Vec::new());
        for source in sources {
            match Kept::read(source) {
                Ok(list) => kept.push(list),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Lists { current: ArcSwap::from_pointee(build(&kept)), kept: Mutex::new(kept) })
    }

    /// The table that is in use now.
    pub fn current(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// What the lists say of a payload, now.
    pub fn look_up(&self, digests: &Digests) -> Finding {
        match self.current.load().lookup(digests) {
            // A hit is a hit, however old the list.
            Finding::Unlisted if self.any_too_old() => Finding::Undecidable(Undecidable::ListTooOld),
            finding => finding,
        }
    }

    /// Whether a list was not read for longer than its `max_age`.
    pub fn any_too_old(&self) -> bool {
        let too_old = |list: &Kept| list.source.max_age.is_some_and(|max| list.read_at.elapsed() > max);
        self.lock().iter().any(too_old)
    }

    /// What each list says of itself.
    pub fn status(&self) -> Vec<Status> {
        self.lock().iter().map(|list| list.status.clone()).collect()
    }

    /// Reads every list again and exchanges the table, which no request waits for. A list that cannot be read, or that
    /// yields nothing, stays as it was. It blocks.
    pub fn reload(&self) -> Vec<(String, Result<Loaded, ListError>)> {
        self.read_again(|_| true)
    }

    /// As [`Lists::reload`], but only lists whose `refresh` time is over and whose file changed.
    pub fn refresh(&self) -> Vec<(String, Result<Loaded, ListError>)> {
        self.read_again(Kept::is_due)
    }

    fn read_again(&self, due: impl Fn(&mut Kept) -> bool) -> Vec<(String, Result<Loaded, ListError>)> {
        // Read from copies of the sources: lookups take the lock for an instant only, and must not wait for a disk.
        let sources: Vec<ListSource> =
            self.lock().iter_mut().filter_map(|list| due(list).then(|| list.source.clone())).collect();
        let mut results = Vec::new();
        for source in sources {
            let read = Kept::read(&source);
            let mut kept = self.lock();
            let Some(list) = kept.iter_mut().find(|list| list.source.name == source.name) else { continue };
            let result = read.map(|new| {
                *list = new;
                Loaded { entries: list.status.entries, bad_lines: list.status.bad_lines }
            });
            list.status.failed = result.is_err();
            results.push((source.name, result));
        }
        if results.iter().any(|(_, result)| result.is_ok()) {
            let labelled: Vec<(Label, Vec<Digest>)> =
                self.lock().iter().map(|list| (list.label(), list.entries.clone())).collect();
            let catalog = Catalog::build(labelled.iter().map(|(label, entries)| (label.clone(), entries.as_slice())));
            // The old table goes with its last reader; it is only memory that is given back then.
            self.current.store(Arc::new(catalog));
        }
        results
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(kept: &[Kept]) -> Catalog {
    Catalog::build(kept.iter().map(|list| (list.label(), list.entries.as_slice())))
}

impl Kept {
    fn read(source: &ListSource) -> Result<Kept, ListError> {
        let failed = |error| ListError::Read { name: source.name.clone(), path: source.source.clone(), error };
        let file = File::open(&source.source).map_err(failed)?;
        let stamp = file.metadata().and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
        let read = text::read(BufReader::with_capacity(256 << 10, file)).map_err(failed)?;
        for (line, why) in &read.first_bad {
            tracing::warn!(list = source.name, "{}:{line}: skipped: {why}", source.source.display());
        }
        if read.entries.is_empty() {
            let (name, path) = (source.name.clone(), source.source.clone());
            return Err(ListError::Empty { name, path, bad_lines: read.bad_lines });
        }
        let now = Instant::now();
        let status = Status {
            name: source.name.clone(),
            entries: read.entries.len() as u64,
            bad_lines: read.bad_lines,
            read_at: SystemTime::now(),
            failed: false,
        };
        Ok(Kept { source: source.clone(), entries: read.entries, status, stamp, looked_at: now, read_at: now })
    }

    fn label(&self) -> Label {
        Label { list: self.source.name.clone(), category: self.source.category.clone() }
    }

    fn is_due(&mut self) -> bool {
        let Some(refresh) = self.source.refresh else { return false };
        if self.looked_at.elapsed() < refresh {
            return false;
        }
        self.looked_at = Instant::now();
        let stamp = std::fs::metadata(&self.source.source).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
        if stamp.is_some() && stamp == self.stamp && !self.status.failed {
            // Unchanged is as good as read.
            self.read_at = Instant::now();
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    fn source(path: &Path) -> ListSource {
        ListSource {
            name: "sample".into(),
            source: path.into(),
            category: "house:test".into(),
            refresh: None,
            max_age: None,
        }
    }

    fn hex(payload: &[u8]) -> String {
        hex::encode(Digests::of(payload).sha256)
    }

    #[test]
    fn a_list_that_gets_worse_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        fs::write(&path, hex(b"one")).unwrap();
        let lists = Lists::load(&[source(&path)]).unwrap();
        let listed = |payload: &[u8]| matches!(lists.look_up(&Digests::of(payload)), Finding::Listed(_));
        assert!(listed(b"one") && !listed(b"two"));

        fs::write(&path, "# nothing\n").unwrap();
        assert!(matches!(lists.reload()[0].1, Err(ListError::Empty { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(lists.reload()[0].1, Err(ListError::Read { .. })));
        assert!(listed(b"one") && lists.status()[0].failed);

        fs::write(&path, hex(b"two")).unwrap();
        assert_eq!(lists.reload()[0].1.as_ref().unwrap(), &Loaded { entries: 1, bad_lines: 0 });
        assert!(!listed(b"one") && listed(b"two") && !lists.status()[0].failed);
    }

    #[test]
    fn an_old_list_decides_nothing_but_its_hits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        fs::write(&path, hex(b"one")).unwrap();
        let lists = Lists::load(&[ListSource { max_age: Some(Duration::ZERO), ..source(&path) }]).unwrap();
        assert!(matches!(lists.look_up(&Digests::of(b"one")), Finding::Listed(_)));
        assert_eq!(lists.look_up(&Digests::of(b"two")), Finding::Undecidable(Undecidable::ListTooOld));
    }

    #[test]
    fn every_list_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, empty) = (dir.path().join("missing"), dir.path().join("empty"));
        fs::write(&empty, "").unwrap();
        let errors = Lists::load(&[source(&missing), source(&empty)]).err().unwrap();
        assert!(matches!(errors[..], [ListError::Read { .. }, ListError::Empty { .. }]));
    }
}
