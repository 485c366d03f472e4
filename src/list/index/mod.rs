//! The sealed index: one file with the entries of a list, from which nobody can read what is listed without the key.
//!
//! A **row** has the keyed BLAKE3 of a digest (its *mark*: 16 bytes, another key for each algorithm), the number of a set
//! of categories, and one byte for the size, keyed as well: 19 bytes. Rows are sorted, a table over their first bits tells
//! where a mark would stand, and since marks are uniform its next bits tell where in that bucket. Nothing in the file can
//! be compared with anything outside without the key.
//!
//! **What is verified when.** Opening reads the header, the description and the digests of all pages, and checks them
//! under one keyed root. A page is checked against its digest when it is first used ([`Index::scrub`] checks all); a
//! lookup that needs a bad page is an error, never "not listed". Every byte of the file is under one of the two.
//!
//! **What is mapped.** Only private copies that nobody changes: [`Access::Map`] is for what this program wrote and
//! renamed into place in a folder of its own, such as the copies in the state folder that `serve` makes of every
//! configured index. Everything else is opened with [`Access::Read`].

pub mod compile;
mod diff;
mod guide;
mod ids;
mod layout;
pub mod map;
pub mod seal;
mod sort;
mod table;
#[cfg(test)]
mod tests;
mod versions;
pub(super) mod veto;
mod write;

pub use diff::{Diff, diff};
pub use ids::Ids;
pub use table::Access;
pub use versions::Versions;

use crate::digest::{Algorithm, Algorithms, Digest};
use layout::{MAGIC, PAGE};
use seal::{Key, Seal};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::Table;

/// A row: mark, category set (little-endian), size mark.
const ROW_WIDTH: usize = 19;

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The system says no.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// Another kind of file.
    #[error("{0} is no sealed index; make one with: hashgate list compile")]
    NoIndex(PathBuf),
    /// Of another version.
    #[error(
        "{path} has version {version} of the index format, which this program does not know; compile the list again"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Sealed with another key.
    #[error("{0} was sealed with another key; name the key file that it was compiled with, or compile the list again")]
    WrongKey(PathBuf),
    /// Changed, or cut short.
    #[error("{0} is damaged: its content does not fit its seal; compile the list again, or copy the file again")]
    Damaged(PathBuf),
}

impl IndexError {
    /// The error with the name of the file that the operator knows.
    pub(super) fn named(self, name: &str) -> IndexError {
        let path = PathBuf::from(name);
        match self {
            IndexError::Io(_, error) => IndexError::Io(path, error),
            IndexError::NoIndex(_) => IndexError::NoIndex(path),
            IndexError::Version { version, .. } => IndexError::Version { path, version },
            IndexError::WrongKey(_) => IndexError::WrongKey(path),
            IndexError::Damaged(_) => IndexError::Damaged(path),
        }
    }

    fn io(path: &Path, error: io::Error) -> IndexError {
        IndexError::Io(path.to_owned(), error)
    }
}

/// A page of an index is damaged, so that a lookup in it has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page of the index is damaged; copy or compile it again")]
pub struct BadPage;

/// Whether a list names what must not be stored, or what is known to be harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Entries are refused.
    KnownBad,
    /// Entries veto those of other lists when these are compiled.
    KnownGood,
}

impl Kind {
    /// As it is written on the command line and in an index.
    pub fn word(self) -> &'static str {
        match self {
            Kind::KnownBad => "known-bad",
            Kind::KnownGood => "known-good",
        }
    }
}

/// What an index says of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// It has no row.
    None,
    /// It has one, whose categories are this [`Index::categories`].
    Row(u16),
    /// It has one, for a file of another size: no match.
    WrongSize,
}

/// An open index.
pub struct Index {
    table: Table<ROW_WIDTH>,
    about: About,
}

/// What an index says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The list's name when it was compiled.
    pub name: String,
    /// Good or bad.
    pub kind: Kind,
    /// Seconds since 1970 when it was compiled.
    pub built: u64,
    /// Entries, each of one file.
    pub entries: u64,
    /// Entries that were left out as known good, empty or too small.
    pub vetoed: u64,
    /// Lines that could not be read.
    pub bad_lines: u64,
    /// Rows for each algorithm, in the order of [`Algorithm::ALL`].
    pub rows: [u64; 3],
    /// Names and formats of the sources.
    pub sources: Vec<(String, String)>,
    /// The category sets that rows name by number; an empty text stands for the list's own category.
    pub category_sets: Vec<Vec<String>>,
}

impl Index {
    /// Opens an index.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn open(path: &Path, key: &Key, access: Access) -> Result<Index, IndexError> {
        let table = Table::open(path, key, access)?;
        let about = About::from_json(table.about()).ok_or_else(|| IndexError::Damaged(path.to_owned()))?;
        Ok(Index { table, about })
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The algorithms that its rows use.
    pub fn algorithms(&self) -> Algorithms {
        let used = Algorithm::ALL.into_iter().filter(|&a| self.about.rows[a as usize] > 0);
        used.fold(Algorithms::NONE, Algorithms::with)
    }

    /// Rows in it.
    pub fn rows(&self) -> u32 {
        self.table.rows()
    }

    /// Bytes of its file.
    pub fn file_len(&self) -> u64 {
        self.table.file_len()
    }

    /// What it says of a digest of a file with this size.
    ///
    /// # Errors
    /// The answer stands on a page that is damaged.
    pub fn look_up(&self, digest: &Digest, size: Option<u64>) -> Result<Hit, BadPage> {
        // Most uploads have digests that most indexes do not use.
        if self.about.rows[digest.algorithm() as usize] == 0 {
            return Ok(Hit::None);
        }
        self.look_up_mark(&self.seal().mark(digest), size)
    }

    /// As [`Index::look_up`], for a digest whose mark is known.
    ///
    /// # Errors
    /// As there.
    pub fn look_up_mark(&self, mark: &[u8; 16], size: Option<u64>) -> Result<Hit, BadPage> {
        let Some((_, row)) = self.table.find(*mark)? else { return Ok(Hit::None) };
        let size_mark = row[18];
        if size_mark != 0 && size.is_some_and(|size| self.seal().size_mark(mark, size) != size_mark) {
            return Ok(Hit::WrongSize);
        }
        Ok(Hit::Row(u16::from_le_bytes([row[16], row[17]])))
    }

    /// The categories of a row that was found; an empty text stands for the list's own.
    pub fn categories(&self, set: u16) -> &[String] {
        self.about.category_sets.get(set as usize).map_or(&[], Vec::as_slice)
    }

    /// Verifies every page and returns how many are damaged. Rests for `pause` after each mebibyte; stops early when
    /// told to.
    pub fn scrub(&self, pause: Duration, stop: &dyn Fn() -> bool) -> u64 {
        self.table.scrub(pause, stop)
    }

    /// What its marks are made with.
    pub fn seal(&self) -> &Seal {
        self.table.seal()
    }

    /// One row's bytes.
    fn row(&self, number: u32) -> Result<&[u8; ROW_WIDTH], BadPage> {
        self.table.row(number)
    }

    fn find_mark(&self, mark: [u8; 16]) -> Result<Option<u32>, BadPage> {
        Ok(self.table.find(mark)?.map(|(number, _)| number))
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({})", self.about.name)
    }
}

impl About {
    fn to_json(&self) -> Value {
        serde_json::json!({
            "name": self.name, "kind": self.kind.word(), "built": self.built, "entries": self.entries,
            "vetoed": self.vetoed, "bad_lines": self.bad_lines, "rows": self.rows, "sources": self.sources,
            "category_sets": self.category_sets,
        })
    }

    fn from_json(value: &Value) -> Option<About> {
        let number = |key: &str| value[key].as_u64();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let kind = [Kind::KnownBad, Kind::KnownGood].into_iter().find(|kind| value["kind"] == kind.word())?;
        let rows: Vec<u64> = value["rows"].as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
        let source = |source: &Value| Some((text(&source[0])?, text(&source[1])?));
        let set = |set: &Value| set.as_array()?.iter().map(text).collect::<Option<Vec<_>>>();
        Some(About {
            name: text(&value["name"])?,
            kind,
            built: number("built")?,
            entries: number("entries")?,
            vetoed: number("vetoed")?,
            bad_lines: number("bad_lines")?,
            rows: rows.try_into().ok()?,
            sources: value["sources"].as_array()?.iter().map(source).collect::<Option<_>>()?,
            category_sets: value["category_sets"].as_array()?.iter().map(set).collect::<Option<_>>()?,
        })
    }
}

/// Whether a file begins like a sealed one. It may still be damaged.
///
/// # Errors
/// The system's.
pub fn is_sealed(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == MAGIC)
}

/// Whether these first bytes are those of a sealed file.
pub fn starts_sealed(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

/// What an index says of itself, without a key: nothing of it is verified.
///
/// # Errors
/// It is no index.
pub fn about_unverified(path: &Path) -> Result<About, IndexError> {
    let file = File::open(path).map_err(|error| IndexError::io(path, error))?;
    let header = table::header(&file, path)?;
    let damaged = || IndexError::Damaged(path.to_owned());
    let length = file.metadata().map_err(|error| IndexError::io(path, error))?.len();
    if header.layout.file_len() != length {
        return Err(damaged());
    }
    let mut about = vec![0; header.layout.about as usize];
    file.read_exact_at(&mut about, header.layout.about_at()).map_err(|error| IndexError::io(path, error))?;
    serde_json::from_slice(&about).ok().and_then(|about| About::from_json(&about)).ok_or_else(damaged)
}

/// Puts another key over a sealed file: its rows stay, its header is sealed anew, and it takes the old one's place at
/// once. For the side file as well, where there is one.
///
/// # Errors
/// The file does not fit the old key, or cannot be written.
pub fn rekey(path: &Path, old: &Key, new: &Key) -> Result<(), IndexError> {
    rekey_file::<ROW_WIDTH>(path, old, new)?;
    let ids = Ids::path_of(path);
    if ids.exists() { rekey_file::<{ ids::ID_WIDTH }>(&ids, old, new) } else { Ok(()) }
}

fn rekey_file<const W: usize>(path: &Path, old: &Key, new: &Key) -> Result<(), IndexError> {
    let failed = |error| IndexError::io(path, error);
    // Opening verifies the header, the description and the page digests, which are sealed anew as they are.
    let table = Table::<W>::open(path, old, Access::Read)?;
    if table.scrub(Duration::ZERO, &|| false) > 0 {
        return Err(IndexError::Damaged(path.to_owned()));
    }
    let copy = tempfile::Builder::new().prefix(".rekey-").tempfile_in(folder_of(path)).map_err(failed)?;
    io::copy(&mut File::open(path).map_err(failed)?, &mut copy.as_file()).map_err(failed)?;
    let header = table.sealed_anew(new).map_err(failed)?;
    copy.as_file().write_all_at(&header[..], 0).map_err(failed)?;
    write::put_in_place(copy, path).map_err(failed)
}

/// Copies an index to where it may be mapped: into place at once, durable, and never written to again.
///
/// # Errors
/// The system's.
pub fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    put_private(&mut File::open(from)?, to)
}

/// As [`copy_private`], for an index that comes as a stream.
///
/// # Errors
/// As there; those of the stream.
pub fn put_private(from: &mut dyn io::Read, to: &Path) -> io::Result<()> {
    let mut copy = tempfile::Builder::new().prefix(".copy-").tempfile_in(folder_of(to))?;
    io::copy(from, copy.as_file_mut())?;
    write::put_in_place(copy, to)
}

/// Destroys a sealed file: its wrapped data key is overwritten, without which nothing in it means anything, and then it
/// is removed.
///
/// # Errors
/// The system's.
pub fn destroy(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&[0; PAGE], 0)?;
    file.sync_all()?;
    fs::remove_file(path)
}

/// The sealed files in a folder, in the order of their names.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_file() && is_sealed(path).unwrap_or(false)).collect();
    found.sort();
    found
}

/// The folder that a file is in; `.` where its path names none.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
