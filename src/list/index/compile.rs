//! Making an index from any number of entries in little memory.
//!
//! Entries become rows of marks as they come, and only marks go to temporary files. An entry with an id waits until all
//! are known, because a later one with the same id takes its place.

use super::ids::{ID_WIDTH, Ids};
use super::seal::{Key, Seal};
use super::sort::{RUN_BYTES, Sorter};
use super::versions::{VERSION_WIDTH, Versions, VersionsWriter};
use super::veto::{algorithms, veto};
use super::write::Writer;
use super::{About, Access, Index, IndexError, Kind, ROW_WIDTH};

use crate::digest::Algorithm;
use crate::list::entry::{Entry, Item};
use crate::list::feed::{Fed, Place};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use super::veto::{SIZE_MIN, Veto, Vetoed};

/// Vetoed entries that are named one by one; the others are only counted.
const VETOED_NAMED: usize = 100;

/// Why an index was not made.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The system says no, or the source could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The index that is to be replaced cannot be opened.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Another file stands there, maybe a source.
    #[error("{0} is there and is no index; it is not replaced. Remove it, or name another output")]
    Occupied(PathBuf),
    /// Not one entry is left.
    #[error(
        "no entry is left to put into the index ({vetoed} vetoed, {bad_lines} lines could not be read); it was not written"
    )]
    Empty {
        /// Entries that were left out.
        vetoed: u64,
        /// Places that hold no entry but should.
        bad_lines: u64,
    },
}

/// What to compile.
#[derive(Clone, Debug)]
pub struct Options {
    /// The list's name.
    pub name: String,
    /// Good or bad.
    pub kind: Kind,
    /// The category of entries that bring none; without it, that of the configuration counts.
    pub category: Option<String>,
    /// Entries of files that are smaller are left out.
    pub size_min: u64,
}

/// What was compiled.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the index says of itself.
    pub about: About,
    /// The first entries that were left out.
    pub vetoed: Vec<Vetoed>,
    /// Entries that a later one with the same id replaced or removed.
    pub replaced: u64,
}

/// An index in the making.
pub struct Compiler {
    place: PathBuf,
    seal: Seal,
    options: Options,
    goods: Vec<Index>,
    source: String,
    /// What tells the source's ids from those of others.
    id_space: String,
    /// mark 16, category 2 (big-endian), size mark, algorithm.
    rows: Sorter<20>,
    versions: Sorter<VERSION_WIDTH>,
    /// Where the entries themselves are kept, for later changes.
    versions_place: Option<PathBuf>,
    /// id's mark 16, mark 16.
    ids: Sorter<ID_WIDTH>,
    categories: HashMap<String, u16>,
    items: u64,
    entries: u64,
    vetoed_count: u64,
    vetoed: Vec<Vetoed>,
    bad_lines: u64,
    sources: Vec<(String, String)>,
}

impl Compiler {
    /// Begins the index that is to stand at `place`. An index that stands there keeps its data key, so that both can be
    /// compared; it must have been sealed with the same key. `goods` are known-good indexes.
    ///
    /// # Errors
    /// The index that stands there has another key; the system's.
    pub fn new(place: &Path, key: &Key, options: Options, goods: Vec<Index>) -> Result<Compiler, CompileError> {
        Compiler::with_runs_of(RUN_BYTES, place, key, options, goods)
    }

    pub(super) fn with_runs_of(
        run_bytes: usize,
        place: &Path,
        key: &Key,
        options: Options,
        goods: Vec<Index>,
    ) -> Result<Compiler, CompileError> {
        let seal = match place.exists().then(|| Index::open(place, key, Access::Seal)) {
            Some(Ok(old)) => old.seal().clone(),
            Some(Err(IndexError::NoIndex(path))) => return Err(CompileError::Occupied(path)),
            Some(Err(IndexError::Damaged(_) | IndexError::Version { .. })) | None => Seal::random()?,
            Some(Err(error)) => return Err(error.into()),
        };
        Compiler::sealed(run_bytes, place, seal, options, goods)
    }

    /// As [`Compiler::new`], for an index that is compared with another one: with its data key.
    ///
    /// # Errors
    /// The system's.
    pub fn like(other: &Index, place: &Path, options: Options) -> Result<Compiler, CompileError> {
        Compiler::sealed(RUN_BYTES, place, other.seal().clone(), options, Vec::new())
    }

    /// As [`Compiler::new`], with the entries of an earlier version, which those that come replace or remove.
    ///
    /// # Errors
    /// The earlier version is damaged; the system's.
    pub fn on_top_of(base: &Versions, place: &Path, options: Options) -> Result<Compiler, CompileError> {
        let mut compiler = Compiler::sealed(RUN_BYTES, place, base.seal().clone(), options, Vec::new())?;
        for entry in base.entries() {
            let (mut version, category) = entry.map_err(io::Error::other)?;
            // Before everything that comes.
            version[16..24].fill(0);
            let number = compiler.category_number(category)?;
            version[25..27].copy_from_slice(&number.to_be_bytes());
            compiler.versions.push(version)?;
        }
        Ok(compiler)
    }

    /// Keeps the entries one by one at `place`, for [`Compiler::on_top_of`].
    #[must_use]
    pub fn keeping_versions(mut self, place: &Path) -> Compiler {
        self.versions_place = Some(place.to_owned());
        self
    }

    fn sealed(
        run_bytes: usize,
        place: &Path,
        seal: Seal,
        options: Options,
        goods: Vec<Index>,
    ) -> Result<Compiler, CompileError> {
        let folder = super::folder_of(place);
        Ok(Compiler {
            place: place.to_owned(),
            seal,
            options,
            goods,
            source: String::new(),
            id_space: String::new(),
            rows: Sorter::new(folder, run_bytes),
            versions: Sorter::new(folder, run_bytes),
            versions_place: None,
            ids: Sorter::new(folder, run_bytes),
            categories: HashMap::new(),
            items: 0,
            entries: 0,
            vetoed_count: 0,
            vetoed: Vec::new(),
            bad_lines: 0,
            sources: Vec::new(),
        })
    }

    /// Takes a source, all of whose items `read` gives to the sink. `name` tells its ids from those of other sources.
    ///
    /// # Errors
    /// Those of `read`, and of temporary files.
    pub fn source(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut dyn FnMut(Place, Item) -> io::Result<()>) -> io::Result<Fed>,
    ) -> io::Result<Fed> {
        self.source_with_ids(name, name, read)
    }

    /// As [`Compiler::source`]; sources with the same `id_space` are parts of one.
    ///
    /// # Errors
    /// As there.
    pub fn source_with_ids(
        &mut self,
        name: &str,
        id_space: &str,
        read: impl FnOnce(&mut dyn FnMut(Place, Item) -> io::Result<()>) -> io::Result<Fed>,
    ) -> io::Result<Fed> {
        self.source = name.to_owned();
        self.id_space = id_space.to_owned();
        let fed = read(&mut |place, item| self.take(place, item))?;
        self.bad_lines += fed.bad_lines;
        // Pages of one source are one.
        let source = (name.to_owned(), fed.format.clone());
        if self.sources.last() != Some(&source) {
            self.sources.push(source);
        }
        Ok(fed)
    }

    fn take(&mut self, place: Place, item: Item) -> io::Result<()> {
        self.items += 1;
        match item {
            Item::Removed(id) => self.versions.push(self.version(&id)),
            Item::Entry(entry) => {
                let left_out = match self.options.kind {
                    Kind::KnownBad => veto(&entry, self.options.size_min, &self.goods).map_err(io::Error::other)?,
                    Kind::KnownGood => None,
                };
                if let Some(why) = left_out {
                    self.vetoed_count += 1;
                    if self.vetoed.len() < VETOED_NAMED {
                        self.vetoed.push(Vetoed { source: self.source.clone(), place, why });
                    }
                    // What stood there before under its id is gone all the same.
                    return entry.id.map_or(Ok(()), |id| self.versions.push(self.version(&id)));
                }
                self.take_entry(entry)
            }
        }
    }

    fn take_entry(&mut self, entry: Entry) -> io::Result<()> {
        let category = self.category(&entry)?;
        let parts: Vec<(Algorithm, [u8; 16], u8)> = entry
            .digests
            .iter()
            .map(|digest| {
                let mark = self.seal.mark(digest);
                (digest.algorithm(), mark, entry.size.map_or(0, |size| self.seal.size_mark(&mark, size)))
            })
            .collect();
        // What can be changed later needs a name.
        let nameless = || parts.last().filter(|_| self.versions_place.is_some()).map(|part| hex::encode(part.1));
        let Some(id) = entry.id.or_else(nameless) else {
            self.entries += 1;
            return parts.iter().try_for_each(|(algorithm, mark, size)| {
                self.rows.push(unsorted_row(*mark, category, *size, *algorithm as u8))
            });
        };
        let mut version = self.version(&id);
        version[25..27].copy_from_slice(&category.to_be_bytes());
        for (algorithm, mark, size) in parts {
            version[24] |= 1 << algorithm as u8;
            let at = 27 + 17 * algorithm as usize;
            version[at..at + 16].copy_from_slice(&mark);
            version[at + 16] = size;
        }
        self.versions.push(version)
    }

    /// A version of the entry with this id, without any digest.
    fn version(&self, id: &str) -> [u8; VERSION_WIDTH] {
        let mut version = [0; VERSION_WIDTH];
        version[..16].copy_from_slice(&self.seal.id_mark(&self.id_space, id));
        version[16..24].copy_from_slice(&self.items.to_be_bytes());
        version
    }

    /// The number of an entry's category; for known-good lists, the set of algorithm sets in which its digests come.
    fn category(&mut self, entry: &Entry) -> io::Result<u16> {
        if self.options.kind == Kind::KnownGood {
            return Ok(1 << algorithms(&entry.digests));
        }
        let category = entry.category.as_ref().or(self.options.category.as_ref()).cloned().unwrap_or_default();
        self.category_number(&category)
    }

    fn category_number(&mut self, category: &str) -> io::Result<u16> {
        if let Some(&number) = self.categories.get(category) {
            return Ok(number);
        }
        let number = u16::try_from(self.categories.len()).map_err(|_| too_many("categories"))?;
        self.categories.insert(category.to_owned(), number);
        Ok(number)
    }

    /// Writes the index and its side file, and puts them in place.
    ///
    /// # Errors
    /// Nothing is left to write; the system's. What stood there before then still does.
    pub fn finish(mut self, key: &Key) -> Result<Compiled, CompileError> {
        let mut replaced = 0;
        let versions = std::mem::replace(&mut self.versions, Sorter::new(Path::new(""), 0));
        let kept = self.versions_place.as_ref().map(|place| VersionsWriter::new(place, &self.seal, versions.records()));
        let mut kept = kept.transpose()?;
        let mut versions = versions.sorted()?;
        let mut next = versions.next()?;
        while let Some(version) = next {
            next = versions.next()?;
            if next.is_some_and(|next| next[..16] == version[..16]) {
                replaced += u64::from(version[24] != 0);
            } else {
                self.keep(&version)?;
                if let Some(kept) = kept.as_mut().filter(|_| version[24] != 0) {
                    kept.push(&version)?;
                }
            }
        }
        drop(versions);
        if let Some(kept) = kept {
            kept.finish(key, &self.category_names())?;
        }
        if self.rows.records() == 0 {
            return Err(CompileError::Empty { vetoed: self.vetoed_count, bad_lines: self.bad_lines });
        }
        let ids = std::mem::replace(&mut self.ids, Sorter::new(Path::new(""), 0));
        let about = self.write_rows(key)?;
        // The index first: a side file that is older names rows that may be gone, and none that is wrong.
        write_ids(&Ids::path_of(&self.place), ids, &self.seal, key)?;
        Ok(Compiled { about, vetoed: self.vetoed, replaced })
    }

    /// Takes what is left of the entries with one id: the last one.
    fn keep(&mut self, version: &[u8; VERSION_WIDTH]) -> io::Result<()> {
        if version[24] == 0 {
            return Ok(());
        }
        self.entries += 1;
        let category = u16::from_be_bytes([version[25], version[26]]);
        for algorithm in Algorithm::ALL.map(|algorithm| algorithm as u8) {
            if version[24] & (1 << algorithm) == 0 {
                continue;
            }
            let part = &version[27 + 17 * usize::from(algorithm)..][..17];
            let mut id = [0; ID_WIDTH];
            id[..16].copy_from_slice(&version[..16]);
            id[16..].copy_from_slice(&part[..16]);
            self.ids.push(id)?;
            let mut mark = [0; 16];
            mark.copy_from_slice(&part[..16]);
            self.rows.push(unsorted_row(mark, category, part[16], algorithm))?;
        }
        Ok(())
    }

    fn category_names(&self) -> Vec<String> {
        let mut names = vec![String::new(); self.categories.len()];
        for (name, number) in &self.categories {
            names[usize::from(*number)].clone_from(name);
        }
        names
    }

    /// Merges what stands for the same digest into one row, and writes the index.
    fn write_rows(&mut self, key: &Key) -> io::Result<About> {
        let unsorted = std::mem::replace(&mut self.rows, Sorter::new(Path::new(""), 0));
        let mut writer = Writer::<ROW_WIDTH>::new(&self.place, &self.seal, unsorted.records())?;
        let names = self.category_names();
        let mut sets = Sets::default();
        let mut rows = [0; 3];
        let mut sorted = unsorted.sorted()?;
        let mut next = sorted.next()?;
        let mut categories = Vec::new();
        while let Some(first) = next {
            let mut size = first[18];
            categories.clear();
            while let Some(same) = next.filter(|row| row[..16] == first[..16]) {
                let category = u16::from_be_bytes([same[16], same[17]]);
                if categories.last() != Some(&category) {
                    categories.push(category);
                }
                if same[18] != size {
                    // Two sizes for one digest: one of them is wrong, so neither may keep it from matching.
                    size = 0;
                }
                next = sorted.next()?;
            }
            let set = match self.options.kind {
                Kind::KnownGood => categories.iter().fold(0, |forms, form| forms | form),
                Kind::KnownBad => sets.number(&categories)?,
            };
            let mut row = [0; ROW_WIDTH];
            row[..16].copy_from_slice(&first[..16]);
            row[16..18].copy_from_slice(&set.to_le_bytes());
            row[18] = size;
            rows[usize::from(first[19])] += 1;
            writer.push(&row)?;
        }
        let built = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let named = |set: Vec<u16>| set.iter().map(|&number| names[usize::from(number)].clone()).collect();
        let about = About {
            name: self.options.name.clone(),
            kind: self.options.kind,
            built,
            entries: self.entries,
            vetoed: self.vetoed_count,
            bad_lines: self.bad_lines,
            rows,
            sources: std::mem::take(&mut self.sources),
            category_sets: sets.in_order.into_iter().map(named).collect(),
        };
        writer.finish(key, &about.to_json())?;
        Ok(about)
    }
}

/// The sets of categories that rows have, numbered as they come.
#[derive(Default)]
struct Sets {
    numbers: HashMap<Vec<u16>, u16>,
    in_order: Vec<Vec<u16>>,
}

impl Sets {
    fn number(&mut self, set: &[u16]) -> io::Result<u16> {
        if let Some(&number) = self.numbers.get(set) {
            return Ok(number);
        }
        let number = u16::try_from(self.in_order.len()).map_err(|_| too_many("combinations of categories"))?;
        self.numbers.insert(set.to_vec(), number);
        self.in_order.push(set.to_vec());
        Ok(number)
    }
}

fn write_ids(place: &Path, ids: Sorter<ID_WIDTH>, seal: &Seal, key: &Key) -> io::Result<()> {
    if ids.records() == 0 {
        return match std::fs::remove_file(place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let mut writer = Writer::<ID_WIDTH>::new(place, seal, ids.records())?;
    let mut sorted = ids.sorted()?;
    while let Some(id) = sorted.next()? {
        writer.push(&id)?;
    }
    writer.finish(key, &serde_json::json!({}))
}

fn unsorted_row(mark: [u8; 16], category: u16, size: u8, algorithm: u8) -> [u8; 20] {
    let mut row = [0; 20];
    row[..16].copy_from_slice(&mark);
    row[16..18].copy_from_slice(&category.to_be_bytes());
    (row[18], row[19]) = (size, algorithm);
    row
}

fn too_many(what: &str) -> io::Error {
    io::Error::other(format!("more than 65536 {what} do not go into one index; compile the sources apart"))
}
