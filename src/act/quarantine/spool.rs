//! The folder of sealed payloads: those whose verdict is not known yet, parts of uploads that are not complete yet, and those
//! that the quarantine bucket does not have yet. One bound for all.

use age::x25519::Recipient;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a payload takes beside its bytes: a block of its file, and one of the note that a part has. It bounds their number.
const FILE_COST: u64 = 8 << 10;

/// The folder, and what is left of its bound.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    recipients: Vec<Recipient>,
    bytes_max: u64,
    used: AtomicU64,
    /// Files that stay until they are removed, with the room that they take in bytes.
    kept: Mutex<HashMap<String, u64>>,
    /// Whether there was no room.
    full: AtomicBool,
}

impl Spool {
    /// Opens the folder, and makes it where it is not there.
    ///
    /// # Errors
    /// The system's, with the path in question.
    pub(super) fn open(dir: &Path, recipients: Vec<Recipient>, bytes_max: u64) -> io::Result<Spool> {
        fs::create_dir_all(dir).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))?;
        let (used, full) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Spool { dir: dir.to_owned(), recipients, bytes_max, used, kept: Mutex::default(), full })
    }

    /// Whom payloads are sealed for.
    pub(super) fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// Room in use, in bytes.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Whether something found no room, and there is hardly any still.
    pub(super) fn is_full(&self) -> bool {
        if self.used() <= self.bytes_max / 10 * 9 {
            self.full.store(false, Ordering::Release);
        }
        self.full.load(Ordering::Acquire)
    }

    /// A new file under a name of its own.
    pub(super) fn create(self: &Arc<Self>) -> io::Result<(SpoolFile, SpoolWriter)> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let name = format!("{}.body", hex::encode(name));
        self.take(FILE_COST)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path_of(&name));
        let file = file.inspect_err(|_| self.give_back(FILE_COST))?;
        let (bytes, is_kept) = (AtomicU64::new(0), AtomicBool::new(false));
        let spooled = Arc::new(Spooled { spool: self.clone(), name, bytes, is_kept });
        Ok((SpoolFile(spooled.clone()), SpoolWriter { file, spooled }))
    }

    /// Takes over the files that cases and parts have from an earlier run, and removes all others, unless one of them may be a
    /// case's: nobody has a header for them.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn take_over(&self, names: &[String], others_go: bool) -> io::Result<()> {
        let mut kept = self.kept();
        for name in names {
            // One that is gone is told of where it is missed.
            let room = FILE_COST + fs::metadata(self.path_of(name)).map_or(0, |meta| meta.len());
            self.used.fetch_add(room, Ordering::AcqRel);
            kept.insert(name.clone(), room);
        }
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if others_go && entry.file_name().to_str().is_none_or(|name| !kept.contains_key(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Where a file is.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Brings all of a file to the disk.
    pub(super) fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.path_of(name))?.sync_all()?;
        // Its name, too.
        File::open(&self.dir)?.sync_all()
    }

    /// Removes a file that stayed.
    pub(super) fn remove(&self, name: &str) {
        if let Some(room) = self.kept().remove(name) {
            self.give_back(room);
        }
        if let Err(error) = fs::remove_file(self.path_of(name)) {
            tracing::error!("{}: {error}", self.path_of(name).display());
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: u64) -> io::Result<()> {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.bytes_max);
        if self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok() {
            return Ok(());
        }
        self.full.store(true, Ordering::Release);
        Err(io::ErrorKind::QuotaExceeded.into())
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// A file of the spool. It goes when the last of these does, unless it was told to stay.
#[derive(Clone, Debug)]
pub(super) struct SpoolFile(Arc<Spooled>);

#[derive(Debug)]
struct Spooled {
    spool: Arc<Spool>,
    name: String,
    bytes: AtomicU64,
    is_kept: AtomicBool,
}

impl SpoolFile {
    /// One that is there, and stays.
    pub(super) fn kept(spool: &Arc<Spool>, name: &str) -> SpoolFile {
        let bytes = fs::metadata(spool.path_of(name)).map_or(0, |meta| meta.len());
        let (name, is_kept) = (name.to_owned(), AtomicBool::new(true));
        SpoolFile(Arc::new(Spooled { spool: spool.clone(), name, bytes: AtomicU64::new(bytes), is_kept }))
    }

    /// Its length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.0.bytes.load(Ordering::Acquire)
    }

    /// Its name within the folder.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// It stays until it is removed.
    pub(super) fn keep(&self) {
        self.0.spool.kept().insert(self.0.name.clone(), FILE_COST + self.size());
        self.0.is_kept.store(true, Ordering::Release);
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if *self.is_kept.get_mut() {
            return;
        }
        self.spool.give_back(FILE_COST + *self.bytes.get_mut());
        if let Err(error) = fs::remove_file(self.spool.path_of(&self.name)) {
            tracing::error!("{}: {error}; it holds nothing that could be read", self.name);
        }
    }
}

/// Writes into a file of the spool, within its bound.
pub(super) struct SpoolWriter {
    file: File,
    spooled: Arc<Spooled>,
}

impl Write for SpoolWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let spool = &self.spooled.spool;
        spool.take(bytes.len() as u64)?;
        let written = self.file.write(bytes);
        let unused = bytes.len() - written.as_ref().copied().unwrap_or(0);
        spool.give_back(unused as u64);
        self.spooled.bytes.fetch_add((bytes.len() - unused) as u64, Ordering::AcqRel);
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            spool.full.store(true, Ordering::Release);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
