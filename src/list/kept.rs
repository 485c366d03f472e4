//! The last good version of one list.

use super::index::IndexError;
use super::sealed::{self, Sealed};
use super::{Keeping, ListError, Status, text};
use crate::config::settings::ListSource;
use crate::decide::Label;
use crate::digest::Digest;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The last good version of one list.
pub(super) struct Kept {
    pub(super) source: ListSource,
    pub(super) content: Content,
    pub(super) status: Status,
    pub(super) wrong_sizes: Arc<AtomicU64>,
    /// What the file looked like when it was read.
    stamp: Option<(SystemTime, u64)>,
    looked_at: Instant,
    pub(super) read_at: Instant,
}

#[derive(Clone)]
pub(super) enum Content {
    Text(Vec<Digest>),
    Index(Arc<Sealed>),
}

impl Content {
    pub(super) fn bad_pages(&self) -> u64 {
        match self {
            Content::Index(sealed) => sealed.bad_pages(),
            Content::Text(_) => 0,
        }
    }
}

impl Kept {
    /// Reads a list. `before`: the entries of the version in use, unless this is the start.
    pub(super) fn read(
        source: &ListSource,
        keeping: &Keeping,
        wrong_sizes: &Arc<AtomicU64>,
        before: Option<u64>,
    ) -> Result<Kept, ListError> {
        let failed = |error| ListError::Read { name: source.name.clone(), path: source.source.clone(), error };
        let file = File::open(&source.source).map_err(failed)?;
        let stamp = file.metadata().and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
        if sealed::is_index(source).map_err(failed)? {
            let sealed = Sealed::open(source, keeping, wrong_sizes.clone(), before)?;
            return Ok(Kept::of_index(source, sealed, wrong_sizes, stamp, SystemTime::now()));
        }
        let read = text::read(BufReader::with_capacity(256 << 10, file)).map_err(failed)?;
        for (line, why) in &read.first_bad {
            tracing::warn!(list = source.name, "{}:{line}: skipped: {why}", source.source.display());
        }
        if read.entries.is_empty() {
            let (name, path) = (source.name.clone(), source.source.clone());
            return Err(ListError::Empty { name, path, bad_lines: read.bad_lines });
        }
        check_shrinking(source, read.entries.len() as u64, before)?;
        sealed::forget_copy(source, keeping).map_err(failed)?;
        let (entries, content) = (read.entries.len() as u64, Content::Text(read.entries));
        Ok(Kept::of(source, content, wrong_sizes, stamp, Status::good(source, entries, read.bad_lines)))
    }

    /// The last good copy of an index whose source cannot be read: the gate starts with it, and says so. A key that does
    /// not fit is an error all the same.
    pub(super) fn last_good(
        source: &ListSource,
        keeping: &Keeping,
        wrong_sizes: &Arc<AtomicU64>,
        error: ListError,
    ) -> Result<Kept, ListError> {
        let is_away = matches!(
            error,
            ListError::Read { .. }
                | ListError::Empty { .. }
                | ListError::Index { error: IndexError::Damaged(_) | IndexError::Io(..) | IndexError::NoIndex(_), .. }
        );
        let Some(Ok(sealed)) = is_away.then(|| Sealed::open_last_good(source, keeping, wrong_sizes.clone())).flatten()
        else {
            return Err(error);
        };
        tracing::error!(list = source.name, "the last good copy in the state folder is in use: {error}");
        let built = SystemTime::UNIX_EPOCH + Duration::from_secs(sealed.index().about().built);
        let mut kept = Kept::of_index(source, sealed, wrong_sizes, None, built);
        kept.status.failed = true;
        // Its age counts from when it was compiled: nobody knows when it was last read.
        let age = built.elapsed().unwrap_or_default();
        kept.read_at = Instant::now().checked_sub(age).unwrap_or(kept.read_at);
        Ok(kept)
    }

    fn of_index(
        source: &ListSource,
        sealed: Sealed,
        wrong_sizes: &Arc<AtomicU64>,
        stamp: Option<(SystemTime, u64)>,
        read_at: SystemTime,
    ) -> Kept {
        let about = sealed.index().about();
        let status = Status { read_at, ..Status::good(source, about.entries, about.bad_lines) };
        Kept::of(source, Content::Index(Arc::new(sealed)), wrong_sizes, stamp, status)
    }

    fn of(
        source: &ListSource,
        content: Content,
        wrong_sizes: &Arc<AtomicU64>,
        stamp: Option<(SystemTime, u64)>,
        status: Status,
    ) -> Kept {
        let (now, wrong_sizes) = (Instant::now(), wrong_sizes.clone());
        Kept { source: source.clone(), content, status, wrong_sizes, stamp, looked_at: now, read_at: now }
    }

    pub(super) fn label(&self) -> Label {
        Label { list: self.source.name.clone(), category: self.source.category.clone() }
    }

    pub(super) fn is_due(&mut self) -> bool {
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

/// Whether a new version with this many entries may take the place of one that has `before`.
pub(super) fn check_shrinking(source: &ListSource, entries: u64, before: Option<u64>) -> Result<(), ListError> {
    let (Some(before), Some(percent)) = (before, source.shrink_max_percent) else { return Ok(()) };
    if u128::from(entries) * 100 >= u128::from(before) * u128::from(100 - percent) {
        return Ok(());
    }
    Err(ListError::Shrunk { name: source.name.clone(), path: source.source.clone(), entries, before })
}

impl Status {
    fn good(source: &ListSource, entries: u64, bad_lines: u64) -> Status {
        let (name, read_at) = (source.name.clone(), SystemTime::now());
        Status { name, entries, bad_lines, read_at, failed: false, wrong_sizes: 0, bad_pages: 0 }
    }
}
