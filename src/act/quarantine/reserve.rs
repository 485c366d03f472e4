//! Room on the disk that is set aside, so that a full disk refuses uploads but still takes cases.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is given up at once.
const STEP: u64 = 256 << 10;

/// A file that is there to be cut short.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    left: Mutex<u64>,
    /// Asked at every upload, which must not wait for a disk.
    whole: AtomicBool,
}

impl Reserve {
    /// Opens the file, makes it where it is not there, and fills it as far as the disk lets it.
    ///
    /// # Errors
    /// The system's; a full disk is none.
    pub(super) fn open(path: &Path, bytes: u64) -> io::Result<Reserve> {
        let left = fs::metadata(path).map_or(0, |meta| meta.len()).min(bytes);
        let whole = AtomicBool::new(left == bytes);
        let reserve = Reserve { path: path.to_owned(), bytes, left: Mutex::new(left), whole };
        reserve.refill()?;
        Ok(reserve)
    }

    /// Of no room at all, for who writes nothing.
    pub(super) fn none() -> Reserve {
        Reserve { path: PathBuf::new(), bytes: 0, left: Mutex::new(0), whole: AtomicBool::new(true) }
    }

    /// Does what needs room; where the disk is full, gives up a part of the reserve and does it again.
    ///
    /// # Errors
    /// Those of `work`; the disk's, once nothing is left to give up.
    pub fn with_room<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match work() {
                Err(error) if is_full(&error) && self.give_up()? => {}
                done => return done,
            }
        }
    }

    /// Whether nothing of it was given up.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Fills it up again. True where it is whole after that.
    ///
    /// # Errors
    /// The system's; a full disk is none.
    pub fn refill(&self) -> io::Result<bool> {
        let mut left = self.lock();
        if *left == self.bytes {
            return Ok(true);
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        file.set_len(*left)?;
        file.seek(SeekFrom::End(0))?;
        let filled = fill(&mut file, self.bytes - *left).and_then(|()| file.sync_all());
        *left = file.metadata()?.len().min(self.bytes);
        match filled {
            Err(error) if is_full(&error) => Ok(false),
            filled => {
                self.whole.store(*left == self.bytes, Ordering::Release);
                filled.map(|()| *left == self.bytes)
            }
        }
    }

    /// Gives up a part of it, for what must be written now. False where there is nothing left.
    pub fn make_room(&self) -> bool {
        self.give_up().unwrap_or(false)
    }

    fn give_up(&self) -> io::Result<bool> {
        let mut left = self.lock();
        if *left == 0 {
            return Ok(false);
        }
        self.whole.store(false, Ordering::Release);
        *left = left.saturating_sub(STEP);
        OpenOptions::new().write(true).open(&self.path)?.set_len(*left)?;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disk, or what its owner may use of it.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// With random bytes: a file system that packs would set nothing aside for others.
fn fill(file: &mut File, mut bytes: u64) -> io::Result<()> {
    let mut noise = vec![0; STEP as usize];
    getrandom::fill(&mut noise).map_err(io::Error::other)?;
    while bytes > 0 {
        let now = bytes.min(STEP);
        file.write_all(&noise[..now as usize])?;
        bytes -= now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_what_was_set_aside_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let reserve = Reserve::open(&path, 3 * STEP).unwrap();
        let length = || fs::metadata(&path).unwrap().len();
        assert_eq!((reserve.is_whole(), length()), (true, 3 * STEP));
        // A disk that has room once two steps were given up.
        let full = |until: u64| if length() > until { Err(io::Error::from(ErrorKind::StorageFull)) } else { Ok(()) };
        reserve.with_room(|| full(STEP)).unwrap();
        assert_eq!((reserve.is_whole(), length()), (false, STEP));
        let none = reserve.with_room(|| Err::<(), _>(io::Error::from(ErrorKind::StorageFull)));
        assert_eq!((none.unwrap_err().kind(), length()), (ErrorKind::StorageFull, 0));
        assert!(Reserve::open(&path, 3 * STEP).unwrap().is_whole(), "made whole at the next start");
        let other = reserve.with_room(|| Err::<(), _>(io::Error::from(ErrorKind::PermissionDenied)));
        assert_eq!(other.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
}
