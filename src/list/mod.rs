//! The lists: reading them, keeping the last good version of each, and exchanging all of them at once.

mod bring;
mod catalog;
mod decisions;
pub mod entry;
pub mod feed;
pub mod index;
mod kept;
mod retire;
mod sealed;
mod shelf;
pub mod source;
#[cfg(test)]
mod tests;
pub mod text;

pub use catalog::Catalog;
pub use decisions::{Decision, Decisions, decide};
pub use retire::Retiring;
pub use sealed::Sealed;

use crate::config::settings::{ListSource, Settings};
use crate::decide::{Finding, Undecidable};
use crate::digest::Digests;
use crate::forward::RootsError;
use crate::web::WebError;
use arc_swap::ArcSwap;
use index::seal::KeyError;
use index::{IndexError, Kind};
use kept::{Kept, Looking, Taken};
use serde_json::json;
use shelf::Shelf;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Handle;

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("list {list}: {}{why}", .from.as_ref().map(|from| format!("{from}: ")).unwrap_or_default())]
pub struct ListError {
    /// Its name.
    pub list: String,
    /// Its source, where the reason does not name it.
    pub from: Option<String>,
    /// The reason.
    pub why: Why,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Where it comes from gives no answer, or another one.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The certificates to trust.
    #[error(transparent)]
    Roots(RootsError),
    /// Nothing is asked over the network here.
    #[error("it is read when the gate runs")]
    NotReached,
    /// Not one entry in it.
    #[error(
        "it holds no entry ({bad_lines} lines could not be read, {vetoed} entries were left out); expected one MD5, SHA-1 or SHA-256 digest in hexadecimal a line, or another format that hashgate list compile reads"
    )]
    Empty {
        /// Entries of empty or small files.
        vetoed: u64,
        /// Lines that are no entry.
        bad_lines: u64,
    },
    /// It lost more entries than it may.
    #[error(
        "it has {entries} entries and had {before}; that is less than shrink_max lets go. If it is right: hashgate list accept"
    )]
    Shrunk {
        /// Entries now.
        entries: u64,
        /// Entries in use.
        before: u64,
    },
    /// Somebody writes to it.
    #[error("it changed while it was read; it is read again")]
    Changed,
    /// No signature, or one that does not fit.
    #[error("it is not signed by the key of signed_by: {0}")]
    Unsigned(String),
    /// A sealed index without a key to open it with.
    #[error("it is a sealed index; name the key file that it was compiled with: list_key: hashgate.key")]
    NoKey,
    /// An index in a folder of sources.
    #[error("{0} is a sealed index among other files; name it as a source of its own")]
    IndexAmongSources(String),
    /// The key file.
    #[error("list_key: {0}")]
    Key(KeyError),
    /// The index.
    #[error(transparent)]
    Index(IndexError),
    /// Known-good and known-bad are two things.
    #[error("it is a {} list, and is configured as {}; say so with kind, or compile it with --kind", .is.word(), .wanted.word())]
    OtherKind {
        /// What it is.
        is: Kind,
        /// What the configuration says.
        wanted: Kind,
    },
}

impl Why {
    /// The fixed word that tells one reason from another in the audit log.
    pub fn label(&self) -> &'static str {
        match self {
            Why::Read(_) => "unreadable",
            Why::Web(_) => "source_away",
            Why::Roots(_) => "certificates",
            Why::NotReached => "not_reached",
            Why::Empty { .. } => "empty",
            Why::Shrunk { .. } => "shrunk",
            Why::Changed => "changed_meanwhile",
            Why::Unsigned(_) => "unsigned",
            Why::NoKey | Why::Key(_) => "key",
            Why::IndexAmongSources(_) => "index_among_sources",
            Why::Index(_) => "damaged",
            Why::OtherKind { .. } => "other_kind",
        }
    }

    /// Whether the last good version may be used instead: the source is away or no good. What is wrong with the
    /// configuration or the key is not for the gate to overlook.
    fn is_of_the_source(&self) -> bool {
        match self {
            Why::Read(_)
            | Why::Web(_)
            | Why::Empty { .. }
            | Why::Shrunk { .. }
            | Why::Changed
            | Why::IndexAmongSources(_)
            | Why::Unsigned(_) => true,
            Why::Index(error) => {
                matches!(error, IndexError::Damaged(_) | IndexError::Io(..) | IndexError::NoIndex(_))
            }
            Why::Roots(_) | Why::NotReached | Why::NoKey | Why::Key(_) | Why::OtherKind { .. } => false,
        }
    }
}

impl ListError {
    fn of(list: &ListSource, why: Why) -> ListError {
        let from = (!matches!(why, Why::Index(_))).then(|| list.source.to_string());
        ListError { list: list.name.clone(), from, why }
    }
}

/// The runtime that speaks to services for those who block.
#[derive(Clone, Debug)]
pub struct Reaching(pub Handle);

/// What lists need beside their sources.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    /// The key file of sealed indexes.
    pub key_file: Option<PathBuf>,
    /// Where versions are kept; without it they are gone with the process.
    pub state_dir: Option<PathBuf>,
    /// For sources that are not files; without it they are not read.
    pub reaching: Option<Reaching>,
}

impl Keeping {
    /// What the configuration says of it.
    pub fn of(settings: &Settings) -> Keeping {
        Keeping {
            key_file: settings.list_key.clone(),
            state_dir: Some(settings.state_dir.clone()),
            reaching: Handle::try_current().ok().map(Reaching),
        }
    }
}

/// A list that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its entries.
    pub entries: u64,
    /// Lines that are no entry.
    pub bad_lines: u64,
    /// What happened.
    pub how: How,
}

/// How a version came to be in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It came from the source.
    Loaded,
    /// The same, but something of it is only observed.
    OnProbation,
    /// An operator had said that it is right.
    Accepted,
    /// It was in use before the gate started, and its source has not changed.
    Kept,
}

impl How {
    /// Its word in the audit log.
    pub fn label(self) -> &'static str {
        match self {
            How::Loaded => "loaded",
            How::OnProbation => "on_probation",
            How::Accepted => "accepted",
            How::Kept => "kept",
        }
    }
}

/// What came of reading a list; lists of which there is nothing to tell are not named.
pub type News = Vec<(String, Result<Loaded, ListError>)>;

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
    /// Matches that this known-good list has taken back.
    pub vetoed: u64,
    /// Pages of its index that were found damaged.
    pub bad_pages: u64,
    /// Whether something of it is only observed, until an operator accepts it.
    pub on_probation: bool,
    /// Whether it has become so old that an operator should look.
    pub is_stale: bool,
}

/// All lists of a gate.
pub struct Lists {
    /// Taken down off the path of requests: the last reader of an old table may be one.
    current: ArcSwap<Retiring<Catalog>>,
    kept: Mutex<Vec<Kept>>,
    /// One look at a time: two would write to the same files.
    looking: Mutex<()>,
    shelf: Shelf,
    reaching: Option<Reaching>,
    /// What happened at the start, until somebody asks.
    at_start: Mutex<News>,
}

impl Lists {
    /// Reads every list; where its source is away, its last good version is used. It blocks.
    ///
    /// # Errors
    /// All lists that cannot be used, at once.
    pub fn load(sources: &[ListSource], keeping: Keeping) -> Result<Lists, Vec<ListError>> {
        // Also where no list needs it today: who can read the key can read every index that it seals.
        let shelf = Shelf::open(&keeping)
            .map_err(|error| vec![ListError { list: "*".to_owned(), from: None, why: Why::Key(error) }])?;
        let (mut kept, mut errors, mut news) = (Vec::new(), Vec::new(), Vec::new());
        for source in sources {
            match Kept::start(source, &shelf, keeping.reaching.as_ref()) {
                Ok((list, started)) => {
                    news.push((source.name.clone(), started));
                    kept.push(list);
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let current = ArcSwap::from_pointee(build(&kept));
        let (kept, looking, at_start) = (Mutex::new(kept), Mutex::default(), Mutex::new(news));
        Ok(Lists { current, kept, looking, shelf, reaching: keeping.reaching, at_start })
    }

    /// What happened to each list at the start; told once.
    pub fn news_of_start(&self) -> News {
        std::mem::take(&mut self.at_start.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the key that seals lists from others, without giving it away.
    pub fn key_id(&self) -> [u8; 16] {
        self.shelf.key().id()
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
        self.lock().iter().any(Kept::is_too_old)
    }

    /// What each list says of itself.
    pub fn status(&self) -> Vec<Status> {
        self.lock().iter().map(Kept::status).collect()
    }

    /// Verifies the pages of every index, resting for `pause` after each mebibyte, and names those that are damaged with
    /// the number of bad pages; they are read anew at the next refresh. It blocks.
    pub fn scrub(&self, pause: Duration, stop: &dyn Fn() -> bool) -> Vec<(String, u64)> {
        let indexes: Vec<(String, Arc<Sealed>)> =
            self.lock().iter().map(|list| (list.source.name.clone(), list.sealed.clone())).collect();
        let mut damaged = Vec::new();
        for (name, sealed) in indexes {
            let bad = sealed.scrub(pause, stop);
            if bad > 0 {
                for list in self.lock().iter_mut().filter(|list| list.source.name == name) {
                    list.is_damaged();
                }
                damaged.push((name, bad));
            }
        }
        damaged
    }

    /// Looks at every list again and exchanges the table, which no request waits for. A list that cannot be read, or that
    /// yields nothing, stays as it was. It blocks.
    pub fn reload(&self) -> News {
        self.look_again(|_| true)
    }

    /// As [`Lists::reload`], but only lists whose time has come. Those that are unchanged are not named.
    pub fn refresh(&self) -> News {
        self.look_again(|list| list.is_due(&self.shelf))
    }

    fn look_again(&self, due: impl Fn(&Kept) -> bool) -> News {
        let _alone = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        // Lookups take the lock for an instant only, and must not wait for a disk or a network.
        let due: Vec<Looking> =
            self.lock().iter().filter(|list| due(list)).map(|list| list.looking(&self.shelf)).collect();
        let (mut results, mut old) = (Vec::new(), Vec::new());
        for looking in due {
            let found = looking.look(&self.shelf, self.reaching.as_ref());
            let mut kept = self.lock();
            let Some(list) = kept.iter_mut().find(|list| list.source.name == looking.name()) else { continue };
            let result = list.take(found, &self.shelf).map(|taken| match taken {
                Taken::New(sealed) => {
                    old.push(sealed);
                    Some(list.loaded(if looking.is_accepted() { How::Accepted } else { How::Loaded }))
                }
                Taken::Unchanged => None,
            });
            results.extend(result.transpose().map(|result| (looking.name().to_owned(), result)));
        }
        if !old.is_empty() {
            let table = build(&self.lock());
            self.current.store(Arc::new(table));
        }
        results
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that what a list has now, or will have next, is right, whatever it looks like: a gate that runs with this state
/// folder takes its word within seconds.
///
/// # Errors
/// The folder cannot be written to.
pub fn accept(state_dir: &Path, list: &str) -> io::Result<()> {
    let folder = shelf::folder(state_dir);
    // For the audit log; first of all, so that nothing is accepted that is not on record.
    let time = OffsetDateTime::now_utc().format(&Rfc3339).map_err(io::Error::other)?;
    let mut record = OpenOptions::new().append(true).create(true).open(folder.join("accepted.log"))?;
    record.write_all(format!("{}\n", json!({ "time": time, "list": list })).as_bytes())?;
    record.sync_all()?;
    std::fs::write(shelf::path(&folder, list, shelf::File::Accept), b"")
}

/// Whether a gate keeps a sealed file with this name for a list: versions in use, in the making, or accepted before.
pub fn is_kept_for(list: &str, file_name: &std::ffi::OsStr) -> bool {
    shelf::is_of(list, file_name)
}

fn build(lists: &[Kept]) -> Retiring<Catalog> {
    Retiring::new(Catalog::new(lists.iter().map(|list| list.sealed.clone()).collect()))
}
