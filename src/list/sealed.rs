//! A configured list whose source is a sealed index: its private copy in the state folder, mapped.

use super::index::seal::Key;
use super::index::{Access, BadPage, Hit, Index, IndexError, Kind, copy_private, is_sealed};
use super::kept::check_shrinking;
use super::{Keeping, ListError};
use crate::config::settings::ListSource;
use crate::decide::Label;
use crate::digest::Digest;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Rest after each mebibyte of a new copy that is verified: requests go on meanwhile.
const COPY_PAUSE: Duration = Duration::from_millis(1);

/// An open index with the labels of its configured list.
#[derive(Debug)]
pub struct Sealed {
    index: Index,
    /// For each of the index's category sets.
    labels: Vec<Vec<Label>>,
    /// Shared by all versions of the list.
    wrong_sizes: Arc<AtomicU64>,
    bad_pages: AtomicU64,
}

impl Sealed {
    /// Opens the index that is a list's source; with a state folder, a copy of it there, every page of which is verified
    /// before it takes the place of the last good one. `before`: the entries of the version in use; at the start there is
    /// none, and a copy that seems to be the same is taken as it is.
    pub(super) fn open(
        source: &ListSource,
        keeping: &Keeping,
        wrong_sizes: Arc<AtomicU64>,
        before: Option<u64>,
    ) -> Result<Sealed, ListError> {
        let key = key_for(source, keeping)?;
        let failed = |error| ListError::Index { name: source.name.clone(), error };
        let Some(copy) = copy_path(source, keeping) else {
            return Sealed::check(
                source,
                Index::open(&source.source, &key, Access::Seal).map_err(failed)?,
                wrong_sizes,
            );
        };
        if before.is_none() && is_same(&source.source, &copy).unwrap_or(false) {
            return Sealed::check(source, Index::open(&copy, &key, Access::Map).map_err(failed)?, wrong_sizes);
        }
        // What is wrong with it is found before it takes the last good one's place.
        let new = copy.with_extension("new");
        let in_system = |error| ListError::Read { name: source.name.clone(), path: source.source.clone(), error };
        let opened = make_folder(&copy)
            .and_then(|()| copy_private(&source.source, &new))
            .map_err(in_system)
            .and_then(|()| Index::open(&new, &key, Access::Map).map_err(|error| failed(named(error, &source.source))))
            .and_then(|index| Sealed::check(source, index, wrong_sizes))
            .and_then(|sealed| match sealed.scrub(COPY_PAUSE, &|| false) {
                0 => check_shrinking(source, sealed.index.about().entries, before).map(|()| sealed),
                _ => Err(failed(IndexError::Damaged(source.source.clone()))),
            });
        match opened {
            Ok(sealed) => fs::rename(&new, &copy).map_err(in_system).map(|()| sealed),
            Err(error) => {
                // A leftover is overwritten by the next one.
                fs::remove_file(&new).ok();
                Err(error)
            }
        }
    }

    /// The last good copy, for when the source is away.
    pub(super) fn open_last_good(
        source: &ListSource,
        keeping: &Keeping,
        wrong_sizes: Arc<AtomicU64>,
    ) -> Option<Result<Sealed, ListError>> {
        let copy = copy_path(source, keeping).filter(|copy| copy.exists())?;
        let open = || {
            let key = key_for(source, keeping)?;
            let failed = |error| ListError::Index { name: source.name.clone(), error };
            Sealed::check(source, Index::open(&copy, &key, Access::Map).map_err(failed)?, wrong_sizes)
        };
        Some(open())
    }

    fn check(source: &ListSource, index: Index, wrong_sizes: Arc<AtomicU64>) -> Result<Sealed, ListError> {
        if index.about().kind != Kind::KnownBad {
            return Err(ListError::KnownGood { name: source.name.clone(), path: source.source.clone() });
        }
        let label = |category: &String| Label {
            list: source.name.clone(),
            category: if category.is_empty() { source.category.clone() } else { category.clone() },
        };
        let labels = index.about().category_sets.iter().map(|set| set.iter().map(label).collect()).collect();
        Ok(Sealed { index, labels, wrong_sizes, bad_pages: AtomicU64::new(0) })
    }

    /// The index itself.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The labels of a digest of a payload of this size; an entry of another size has none, and is counted.
    pub(super) fn labels(&self, digest: &Digest, size: Option<u64>) -> Result<&[Label], BadPage> {
        match self.index.look_up(digest, size)? {
            // A row of a set that is not there cannot be, its page and the description are verified; but never "no".
            Hit::Row(set) => self.labels.get(usize::from(set)).map(Vec::as_slice).ok_or(BadPage),
            Hit::None => Ok(&[]),
            Hit::WrongSize => {
                self.wrong_sizes.fetch_add(1, Ordering::Relaxed);
                Ok(&[])
            }
        }
    }

    /// Verifies every page, and remembers how many are damaged.
    pub(super) fn scrub(&self, pause: Duration, stop: &dyn Fn() -> bool) -> u64 {
        let bad = self.index.scrub(pause, stop);
        self.bad_pages.store(bad, Ordering::Relaxed);
        bad
    }

    /// Pages that the last scrub found damaged.
    pub fn bad_pages(&self) -> u64 {
        self.bad_pages.load(Ordering::Relaxed)
    }
}

/// Forgets the copy of a list that is no index any more, so that it never comes back.
pub(super) fn forget_copy(source: &ListSource, keeping: &Keeping) -> io::Result<()> {
    match copy_path(source, keeping).map(fs::remove_file) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a list's source is an index.
pub(super) fn is_index(source: &ListSource) -> io::Result<bool> {
    is_sealed(&source.source)
}

fn key_for(source: &ListSource, keeping: &Keeping) -> Result<Key, ListError> {
    let no_key = || ListError::NoKey { name: source.name.clone(), path: source.source.clone() };
    let file = keeping.key_file.as_ref().ok_or_else(no_key)?;
    Key::read(file).map_err(ListError::Key)
}

fn copy_path(source: &ListSource, keeping: &Keeping) -> Option<PathBuf> {
    // Names hold letters, digits, `.`, `_` and `-` only.
    keeping.state_dir.as_ref().map(|state| state.join("lists").join(format!("{}.index", source.name)))
}

fn make_folder(copy: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    copy.parent().map_or(Ok(()), |folder| fs::DirBuilder::new().recursive(true).mode(0o700).create(folder))
}

/// Whether two indexes have the same first page: it holds a fresh salt, and the root of everything else.
fn is_same(source: &Path, copy: &Path) -> io::Result<bool> {
    let first_page = |path: &Path| {
        let mut page = Vec::new();
        File::open(path)?.take(4096).read_to_end(&mut page)?;
        Ok::<_, io::Error>((page, fs::metadata(path)?.len()))
    };
    Ok(first_page(source)? == first_page(copy)?)
}

/// The error with the name of the file that the operator knows.
fn named(error: IndexError, path: &Path) -> IndexError {
    let path = path.to_owned();
    match error {
        IndexError::Io(_, error) => IndexError::Io(path, error),
        IndexError::NoIndex(_) => IndexError::NoIndex(path),
        IndexError::Version { version, .. } => IndexError::Version { path, version },
        IndexError::WrongKey(_) => IndexError::WrongKey(path),
        IndexError::Damaged(_) => IndexError::Damaged(path),
    }
}
