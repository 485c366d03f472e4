//! The last good version of one list, and what takes its place.

use super::bring::{Brought, bring};
use super::index::{About, Access, Index, IndexError};
use super::sealed::{Counts, Sealed};
use super::shelf::{File, Note, Shelf};
use super::{How, ListError, Loaded, Reaching, Status, Why};
use crate::config::settings::ListSource;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Rest after each mebibyte of a new version that is verified: requests go on meanwhile.
const VERIFY_PAUSE: Duration = Duration::from_millis(1);

/// After the first failure; twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_secs(10);

/// The longest wait after failures, unless `refresh` is longer.
const RETRY_LAST: Duration = Duration::from_secs(600);

/// Refreshes that may fail before a list without a `max_age` is stale.
const STALE_AFTER: u32 = 3;

/// One list, as it is in use.
pub(super) struct Kept {
    pub(super) source: ListSource,
    pub(super) sealed: Arc<Sealed>,
    note: Note,
    counts: Arc<Counts>,
    failed: bool,
    /// Pages of the version in use are damaged: even the same is read again.
    damaged: bool,
    failures: u32,
    due: Instant,
    read_at: Instant,
}

/// What a new version is compared with.
struct Basis {
    entries: u64,
    categories: Vec<Vec<String>>,
}

impl Basis {
    fn of(about: &About) -> Basis {
        Basis { entries: about.entries, categories: about.category_sets.clone() }
    }
}

impl Kept {
    /// Reads a list at the start. Where its source is away or no good, the last good version is used, and the gate says
    /// so, and what went wrong with the source comes with it. It blocks.
    pub(super) fn start(
        list: &ListSource,
        shelf: &Shelf,
        reaching: Option<&Reaching>,
    ) -> Result<(Kept, Result<Loaded, ListError>), ListError> {
        let accepted = shelf.has(&list.name, File::Accept);
        let counts: Arc<Counts> = Arc::default();
        let last = shelf.note(list).and_then(|note| match in_use(list, shelf, &counts) {
            Ok(sealed) => Some((sealed, note)),
            Err(why) => {
                // Said for itself: what comes next may be that the source is away, which is then only half of the story.
                tracing::error!(
                    list = list.name,
                    "the last good version cannot be used, the source is read anew: {why}"
                );
                None
            }
        });
        let seen = last.as_ref().map(|(_, note)| &note.seen);
        match (next(list, shelf, reaching, &counts, seen), last) {
            (Ok(Some((sealed, note))), _) => {
                let kept = Kept::of(list, sealed, note, counts);
                let loaded = kept.loaded(if accepted { How::Accepted } else { How::Loaded });
                Ok((kept, Ok(loaded)))
            }
            (Ok(None), Some((sealed, note))) => {
                let mut kept = Kept::of(list, sealed, note, counts);
                kept.was_read(shelf);
                let loaded = kept.loaded(How::Kept);
                Ok((kept, Ok(loaded)))
            }
            (Ok(None), None) => Err(ListError::of(list, Why::Changed)),
            (Err(why), Some((sealed, note))) if why.is_of_the_source() => {
                let error = ListError::of(list, why);
                tracing::error!(list = list.name, "the last good version is in use: {error}");
                let age = note.read_at.elapsed().unwrap_or_default();
                let mut kept = Kept::of(list, sealed, note, counts);
                kept.read_at = Instant::now().checked_sub(age).unwrap_or(kept.read_at);
                kept.has_failed();
                Ok((kept, Err(error)))
            }
            (Err(why), _) => Err(ListError::of(list, why)),
        }
    }

    fn of(list: &ListSource, sealed: Sealed, note: Note, counts: Arc<Counts>) -> Kept {
        let (now, sealed) = (Instant::now(), Arc::new(sealed));
        let mut kept = Kept {
            source: list.clone(),
            sealed,
            note,
            counts,
            failed: false,
            damaged: false,
            failures: 0,
            due: now,
            read_at: now,
        };
        kept.due = now + jittered(list.refresh);
        kept
    }

    /// What [`Looking::look`] needs, so that it can be done while the list is in use.
    pub(super) fn looking(&self, shelf: &Shelf) -> Looking {
        Looking {
            list: self.source.clone(),
            note: self.note.clone(),
            counts: self.counts.clone(),
            damaged: self.damaged,
            accepted: shelf.has(&self.source.name, File::Accept),
        }
    }

    /// Takes what [`Looking::look`] found. The old version is given back, so that it can be dropped without a lock.
    pub(super) fn take(
        &mut self,
        found: Result<Option<(Sealed, Note)>, Why>,
        shelf: &Shelf,
    ) -> Result<Taken, ListError> {
        match found {
            Ok(Some((sealed, note))) => {
                let old = std::mem::replace(self, Kept::of(&self.source, sealed, note, self.counts.clone()));
                Ok(Taken::New(old.sealed))
            }
            Ok(None) => {
                self.was_read(shelf);
                Ok(Taken::Unchanged)
            }
            Err(why) => {
                self.has_failed();
                Err(ListError::of(&self.source, why))
            }
        }
    }

    /// Unchanged is as good as read.
    fn was_read(&mut self, shelf: &Shelf) {
        self.note.read_at = SystemTime::now();
        if let Err(error) = shelf.write_note(&self.source, &self.note) {
            tracing::warn!(list = self.source.name, "its age is not remembered: {error}");
        }
        let now = Instant::now();
        (self.failed, self.failures, self.read_at, self.due) = (false, 0, now, now + jittered(self.source.refresh));
    }

    /// Pages of the version in use were found damaged: it is read anew.
    pub(super) fn is_damaged(&mut self) {
        (self.failed, self.damaged) = (true, true);
        self.due = Instant::now();
    }

    fn has_failed(&mut self) {
        let wait = RETRY_FIRST.min(self.source.refresh) * (1 << self.failures.min(16));
        self.due = Instant::now() + jittered(wait.min(RETRY_LAST.max(self.source.refresh)));
        (self.failed, self.failures) = (true, self.failures + 1);
    }

    /// Whether it is time to look at its source, or an operator has accepted what was not.
    pub(super) fn is_due(&self, shelf: &Shelf) -> bool {
        self.due <= Instant::now() || shelf.has(&self.source.name, File::Accept)
    }

    /// Whether it was not read for longer than its `max_age`.
    pub(super) fn is_too_old(&self) -> bool {
        self.source.max_age.is_some_and(|max| self.read_at.elapsed() > max)
    }

    /// What is in use now, and how that came.
    pub(super) fn loaded(&self, how: How) -> Loaded {
        let Status { entries, bad_lines, on_probation, .. } = self.status();
        let how = if on_probation && how == How::Loaded { How::OnProbation } else { how };
        Loaded { entries, bad_lines, how }
    }

    pub(super) fn status(&self) -> Status {
        let about = self.sealed.index().about();
        Status {
            name: self.source.name.clone(),
            entries: about.entries,
            bad_lines: about.bad_lines,
            read_at: self.note.read_at,
            failed: self.failed,
            wrong_sizes: self.counts.wrong_sizes.load(Ordering::Relaxed),
            vetoed: self.counts.vetoed.load(Ordering::Relaxed),
            bad_pages: self.sealed.bad_pages(),
            on_probation: self.sealed.is_on_probation(),
            is_stale: self.is_stale(),
        }
    }

    /// Whether it is too old to decide anything, or has failed for so long that it soon will be.
    fn is_stale(&self) -> bool {
        let patience = self.source.max_age.map_or(self.source.refresh * STALE_AFTER, |max| max / 2);
        self.is_too_old() || (self.failed && self.read_at.elapsed() > patience)
    }
}

/// What came of looking at a list.
pub(super) enum Taken {
    /// A new version is in use; this was the old one.
    New(Arc<Sealed>),
    /// It is as it was.
    Unchanged,
}

/// A look at the source of a list that is in use.
pub(super) struct Looking {
    list: ListSource,
    note: Note,
    counts: Arc<Counts>,
    damaged: bool,
    accepted: bool,
}

impl Looking {
    /// Whether an operator had said before it that what it finds is right.
    pub(super) fn is_accepted(&self) -> bool {
        self.accepted
    }

    pub(super) fn name(&self) -> &str {
        &self.list.name
    }

    /// Looks, and makes a new version where there is one. `None`: it is unchanged. It blocks.
    pub(super) fn look(&self, shelf: &Shelf, reaching: Option<&Reaching>) -> Result<Option<(Sealed, Note)>, Why> {
        let name = &self.list.name;
        if shelf.has(name, File::Accept) && shelf.has(name, File::Accepted) {
            // What is in use on probation is what the operator has seen: no other version takes its place now.
            shelf.remove(name, File::Accepted)?;
            shelf.remove(name, File::Accept)?;
            let sealed = in_use(&self.list, shelf, &self.counts)?;
            tracing::info!(list = name, "accepted as a whole");
            return Ok(Some((sealed, self.note.clone())));
        }
        let seen = (!self.damaged).then_some(&self.note.seen);
        next(&self.list, shelf, reaching, &self.counts, seen)
    }
}

/// The version of a list that the shelf has.
fn in_use(list: &ListSource, shelf: &Shelf, counts: &Arc<Counts>) -> Result<Sealed, Why> {
    let open = |file| Index::open(&shelf.path(&list.name, file), shelf.key(), Access::Map).map_err(Why::Index);
    let index = open(File::Index)?;
    if !shelf.has(&list.name, File::Accepted) {
        return Sealed::new(list, index, counts.clone(), None, None);
    }
    let accepted = open(File::Accepted)?;
    let basis = Basis::of(accepted.about());
    let before = has_grown(list, index.about().entries, &basis).then_some(accepted);
    Sealed::new(list, index, counts.clone(), Some(&basis.categories), before)
}

/// A new version, checked and put on the shelf; `None` where the source looks as it did.
fn next(
    list: &ListSource,
    shelf: &Shelf,
    reaching: Option<&Reaching>,
    counts: &Arc<Counts>,
    seen: Option<&super::shelf::Seen>,
) -> Result<Option<(Sealed, Note)>, Why> {
    let Brought::New(seen) = bring(list, shelf, reaching, seen)? else { return Ok(None) };
    let note = Note { seen, read_at: SystemTime::now() };
    let sealed = adopt(list, shelf, counts, &note);
    if sealed.is_err() {
        shelf.remove(&list.name, File::New)?;
        shelf.remove(&list.name, File::NewVersions)?;
    }
    Ok(Some((sealed?, note)))
}

/// Checks the version in the making against the last accepted one, and exchanges them.
fn adopt(list: &ListSource, shelf: &Shelf, counts: &Arc<Counts>, note: &Note) -> Result<Sealed, Why> {
    let name = &list.name;
    let access = shelf.access(name);
    let index = Index::open(&shelf.path(name, File::New), shelf.key(), access)
        .map_err(|error| Why::Index(error.named(&list.source.to_string())))?;
    let accepted = (!shelf.has(name, File::Accept)).then(|| last_accepted(list, shelf)).flatten();
    let basis = accepted.as_ref().map(|accepted| Basis::of(accepted.about()));
    let entries = index.about().entries;
    if let Some(basis) = &basis
        && has_shrunk(list, entries, basis)
    {
        return Err(Why::Shrunk { entries, before: basis.entries });
    }
    let grown = basis.as_ref().is_some_and(|basis| has_grown(list, entries, basis));
    let known = basis.as_ref().map(|basis| basis.categories.as_slice());
    let sealed = Sealed::new(list, index, counts.clone(), known, accepted.filter(|_| grown))?;
    if access == Access::Map && sealed.scrub(VERIFY_PAUSE, &|| false) > 0 {
        return Err(Why::Index(IndexError::Damaged(list.source.to_string().into())));
    }
    if sealed.is_on_probation() {
        let before = basis.map_or(0, |basis| basis.entries);
        tracing::warn!(
            list = name,
            entries,
            before,
            "{}: it is only observed until an operator says that it is right: hashgate list accept {name} --config FILE",
            if grown {
                "it has grown by more than growth_max"
            } else {
                "it has a category that was never in it before"
            },
        );
    }
    shelf.exchange(list, note, sealed.is_on_probation())?;
    Ok(sealed)
}

/// The version that a new one is compared with.
fn last_accepted(list: &ListSource, shelf: &Shelf) -> Option<Index> {
    // A list from another source is another list.
    shelf.note(list)?;
    let file = if shelf.has(&list.name, File::Accepted) { File::Accepted } else { File::Index };
    Index::open(&shelf.path(&list.name, file), shelf.key(), Access::Map).ok()
}

fn has_shrunk(list: &ListSource, entries: u64, basis: &Basis) -> bool {
    let share = |percent: u32| u128::from(basis.entries) * u128::from(100 - percent);
    list.shrink_max_percent.is_some_and(|percent| u128::from(entries) * 100 < share(percent))
}

fn has_grown(list: &ListSource, entries: u64, basis: &Basis) -> bool {
    let share = |percent: u32| u128::from(basis.entries) * (100 + u128::from(percent));
    list.growth_max_percent.is_some_and(|percent| u128::from(entries) * 100 > share(percent))
}

/// A tenth more or less, so that many gates do not ask one service at the same moment.
fn jittered(wait: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness there is no jitter.
    let share = getrandom::fill(&mut random).map_or(0.5, |()| f64::from(u16::from_le_bytes(random)) / 65536.0);
    wait.mul_f64(0.9 + 0.2 * share)
}
