//! The audit file: one JSON line for every upload and every refusal, only ever appended to.

use serde_json::{Map, Value};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Why the state folder or the audit file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The folder cannot be made, or the file not opened.
    #[error("state.dir: {path}: {error}; give the gate a folder that it may write to")]
    Open {
        /// Which path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another gate uses it.
    #[error("state.dir: {0} is in use by another process; every gate needs a folder of its own")]
    InUse(PathBuf),
}

/// The audit file of this process.
pub struct Audit {
    file: Mutex<Appender>,
    broken: AtomicBool,
}

struct Appender {
    file: File,
    /// The last write ended inside a line.
    torn: bool,
    /// Held as long as the process uses the folder.
    _lock: File,
}

impl Audit {
    /// Opens `audit.log` in `dir`, which is made where it is missing, and locks the folder.
    pub fn open(dir: &Path) -> Result<Audit, AuditError> {
        let failed = |path: &Path, error| AuditError::Open { path: path.to_owned(), error };
        std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
        let lock_path = dir.join("lock");
        let mut options = OpenOptions::new();
        let lock = options.create(true).append(true).open(&lock_path).map_err(|error| failed(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&lock_path, error)),
        }
        let path = dir.join("audit.log");
        let mut file = options.read(true).open(&path).map_err(|error| failed(&path, error))?;
        let torn = ends_inside_a_line(&mut file).map_err(|error| failed(&path, error))?;
        Ok(Audit { file: Mutex::new(Appender { file, torn, _lock: lock }), broken: AtomicBool::new(false) })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// The system's, on which [`Audit::is_broken`] is true until a line could be written again.
    pub fn append(&self, line: &Map<String, Value>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let mut appender = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = appender.append(&text);
        self.broken.store(written.is_err(), Ordering::Release);
        written
    }

    /// Whether the last line could not be written.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

impl Appender {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
        }
        self.torn = true;
        self.file.write_all(line)?;
        self.torn = false;
        Ok(())
    }
}

/// A killed process may have left half a line; the next one starts on a line of its own.
fn ends_inside_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(n: u32) -> Map<String, Value> {
        json!({ "n": n }).as_object().cloned().unwrap()
    }

    #[test]
    fn lines_are_appended_and_a_torn_one_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("audit.log"), "{\"n\":1}\n{\"n\"").unwrap();
        let audit = Audit::open(dir.path()).unwrap();
        audit.append(&line(2)).unwrap();
        audit.append(&line(3)).unwrap();
        let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        assert_eq!(text, "{\"n\":1}\n{\"n\"\n{\"n\":2}\n{\"n\":3}\n");
    }

    #[test]
    fn a_folder_serves_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let first = Audit::open(dir.path()).unwrap();
        assert!(matches!(Audit::open(dir.path()), Err(AuditError::InUse(_))));
        drop(first);
        assert!(Audit::open(dir.path()).is_ok());
    }

    #[test]
    fn a_full_disk_is_noticed_and_gets_better() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path()).unwrap();
        let good = std::mem::replace(
            &mut audit.file.lock().unwrap().file,
            OpenOptions::new().write(true).open("/dev/full").unwrap(),
        );
        assert!(audit.append(&line(1)).is_err());
        assert!(audit.is_broken());
        audit.file.lock().unwrap().file = good;
        audit.append(&line(2)).unwrap();
        assert!(!audit.is_broken());
    }
}
