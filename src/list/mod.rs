//! The lists: reading them, keeping the last good version of each, and exchanging all of them at once.

mod catalog;
pub mod entry;
pub mod feed;
pub mod index;
mod kept;
mod retire;
mod sealed;
pub mod source;
#[cfg(test)]
mod tests;
pub mod text;

pub use catalog::Catalog;
pub use retire::Retiring;
pub use sealed::Sealed;

use crate::config::settings::{ListSource, Settings};
use crate::decide::{Finding, Label, Undecidable};
use crate::digest::Digests;
use arc_swap::ArcSwap;
use index::IndexError;
use index::seal::{Key, KeyError};
use kept::{Content, Kept};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

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
    /// It lost more entries than it may.
    #[error(
        "list {name}: {path} has {entries} entries and had {before}; that is less than shrink_max lets go. Restart the gate if it is right"
    )]
    Shrunk {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// Entries now.
        entries: u64,
        /// Entries in use.
        before: u64,
    },
    /// A sealed index without a key to open it with.
    #[error(
        "list {name}: {path} is a sealed index; name the key file that it was compiled with: list_key: hashgate.key"
    )]
    NoKey {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// The key file.
    #[error("list_key: {0}")]
    Key(KeyError),
    /// The index.
    #[error("list {name}: {error}")]
    Index {
        /// The list.
        name: String,
        /// What is wrong with it.
        error: IndexError,
    },
    /// An index of files that are known to be harmless.
    #[error(
        "list {name}: {path} is a known-good list, which does not decide about uploads; give it to: hashgate list compile --veto"
    )]
    KnownGood {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
    },
}

/// What lists need beside their sources.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    /// The key file of sealed indexes.
    pub key_file: Option<PathBuf>,
    /// Where private copies of indexes go; without it indexes are checked, but say nothing.
    pub state_dir: Option<PathBuf>,
}

impl Keeping {
    /// What the configuration says of it.
    pub fn of(settings: &Settings) -> Keeping {
        Keeping { key_file: settings.list_key.clone(), state_dir: Some(settings.state_dir.clone()) }
    }
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
    /// Lookups whose digest is an entry, but whose size is not.
    pub wrong_sizes: u64,
    /// Pages of its index that were found damaged.
    pub bad_pages: u64,
}

/// All lists of a gate.
pub struct Lists {
    /// Taken down off the path of requests: the last reader of an old table may be one.
    current: ArcSwap<Retiring<Catalog>>,
    kept: Mutex<Vec<Kept>>,
    keeping: Keeping,
}

impl Lists {
    /// Reads every list; indexes whose source is away are taken from their last good copy. It blocks.
    ///
    /// # Errors
    /// All lists that cannot be used, at once.
    pub fn load(sources: &[ListSource], keeping: Keeping) -> Result<Lists, Vec<ListError>> {
        // Also where no list needs it today: who can read it can read every index that it seals.
        if let Some(file) = &keeping.key_file {
            Key::read(file).map_err(|error| vec![ListError::Key(error)])?;
        }
        let (mut kept, mut errors) = (Vec::new(), Vec::new());
        for source in sources {
            let wrong_sizes = Arc::default();
            match Kept::read(source, &keeping, &wrong_sizes, None)
                .or_else(|error| Kept::last_good(source, &keeping, &wrong_sizes, error))
            {
                Ok(list) => kept.push(list),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let contents = kept.iter().map(|list| (list.label(), list.content.clone())).collect();
        Ok(Lists { current: ArcSwap::from_pointee(build(contents)), kept: Mutex::new(kept), keeping })
    }

    /// The table that is in use now.
    pub fn current(&self) -> Arc<Retiring<Catalog>> {
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
        let of = |list: &Kept| Status {
            wrong_sizes: list.wrong_sizes.load(Ordering::Relaxed),
            bad_pages: list.content.bad_pages(),
            ..list.status.clone()
        };
        self.lock().iter().map(of).collect()
    }

    /// Verifies the pages of every index, resting for `pause` after each mebibyte, and names those that are damaged with
    /// the number of bad pages; they are read anew at the next refresh. It blocks.
    pub fn scrub(&self, pause: Duration, stop: &dyn Fn() -> bool) -> Vec<(String, u64)> {
        let indexes: Vec<(String, Arc<Sealed>)> = self
            .lock()
            .iter()
            .filter_map(|list| match &list.content {
                Content::Index(sealed) => Some((list.source.name.clone(), sealed.clone())),
                Content::Text(_) => None,
            })
            .collect();
        let mut damaged = Vec::new();
        for (name, sealed) in indexes {
            let bad = sealed.scrub(pause, stop);
            if bad > 0 {
                for list in self.lock().iter_mut().filter(|list| list.source.name == name) {
                    list.status.failed = true;
                }
                damaged.push((name, bad));
            }
        }
        damaged
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
        let sources: Vec<(ListSource, Arc<AtomicU64>)> = self
            .lock()
            .iter_mut()
            .filter_map(|list| due(list).then(|| (list.source.clone(), list.wrong_sizes.clone())))
            .collect();
        let mut results = Vec::new();
        let mut old = Vec::new();
        for (source, wrong_sizes) in sources {
            let entries =
                self.lock().iter().find(|list| list.source.name == source.name).map(|list| list.status.entries);
            let read = Kept::read(&source, &self.keeping, &wrong_sizes, Some(entries.unwrap_or_default()));
            let mut kept = self.lock();
            let Some(list) = kept.iter_mut().find(|list| list.source.name == source.name) else { continue };
            let result = read.map(|new| {
                // Dropped when the lock is free again.
                old.push(std::mem::replace(list, new));
                Loaded { entries: list.status.entries, bad_lines: list.status.bad_lines }
            });
            list.status.failed = result.is_err();
            results.push((source.name, result));
        }
        if results.iter().any(|(_, result)| result.is_ok()) {
            let contents = self.lock().iter().map(|list| (list.label(), list.content.clone())).collect();
            self.current.store(Arc::new(build(contents)));
        }
        results
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(contents: Vec<(Label, Content)>) -> Retiring<Catalog> {
    let texts = contents.iter().filter_map(|(label, content)| match content {
        Content::Text(entries) => Some((label.clone(), entries.as_slice())),
        Content::Index(_) => None,
    });
    let indexes = contents.iter().filter_map(|(_, content)| match content {
        Content::Index(sealed) => Some(sealed.clone()),
        Content::Text(_) => None,
    });
    Retiring::new(Catalog::build(texts).with_indexes(indexes.collect()))
}
