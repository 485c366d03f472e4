//! The audit log: one JSON line for every upload, every refusal and every act of an operator, only ever appended to, each
//! chained to the one before, with the gate's signature over the end of the chain every now and then.
//!
//! Whoever changes, drops or adds a line breaks the chain at that line; whoever makes the chain anew from there cannot sign
//! it. What a crash has torn stays where it is, and the next start puts it on record.

mod chain;
mod export;
mod head;
mod heard;
mod lines;
mod recover;
mod run;
mod signed;
#[cfg(test)]
mod tests;
mod verify;
mod walk;

pub use chain::{Link, Misfit};
pub use export::{Days, Hit, export};
pub use heard::Heard;
pub use lines::{Line, Lines, LogFile, files};
pub use run::Run;
pub use signed::{Checkpoint, read_anchors};
pub use verify::{Broken, FileReport, Recovered, Report, verify};

use crate::list::index::seal::KeyError;
use crate::signing::Signing;
use head::Head;
use lines::{CURRENT, name_of};
use recover::{End, Lost};
use serde_json::{Map, Value, json};
use signed::sign;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;

/// The file whose lock says that a process uses the folder.
const LOCK: &str = "lock";

/// A new file in the making.
const NEW: &str = "audit.log.new";

/// After so many lines a checkpoint is due, whatever the clock says.
const LINES_UNSIGNED_MAX: u64 = 1000;

/// Why the state folder or the audit log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The folder cannot be made, or a file not opened.
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
    /// The key that signs checkpoints.
    #[error("state.dir: {0}")]
    Key(#[from] KeyError),
}

/// Makes room on a full disk; false where there is none left.
type Room = Box<dyn Fn() -> bool + Send + Sync>;

/// The audit log of this process.
pub struct Audit {
    dir: PathBuf,
    rotate: u64,
    signing: Arc<Signing>,
    file: Mutex<Appender>,
    /// Checkpoints are made one at a time.
    turn: Mutex<()>,
    due: Notify,
    broken: AtomicBool,
    room: OnceLock<Room>,
    /// Held as long as the process uses the folder.
    _lock: File,
}

struct Appender {
    file: Arc<File>,
    /// The number of its first line.
    first: u64,
    /// Where its last whole line ends.
    len: u64,
    /// The last write ended inside a line.
    torn: bool,
    link: Link,
    /// Lines since the last checkpoint.
    unsigned: u64,
    /// What the last start of the gate said of itself.
    run: Option<Map<String, Value>>,
}

impl Audit {
    /// Locks the state folder, which is made where it is missing, and goes on with the log in it: a new file is begun where
    /// it is longer than `rotate` bytes. What the last process has left torn is put on record. [`Audit::begin`] is next.
    pub fn open(dir: &Path, rotate: u64) -> Result<Audit, AuditError> {
        let failed = |path: &Path, error| AuditError::Open { path: path.to_owned(), error };
        fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
        let lock_path = dir.join(LOCK);
        let lock = append_to(&lock_path).map_err(|error| failed(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&lock_path, error)),
        }
        let signing = Arc::new(Signing::open(dir)?);
        let path = dir.join(CURRENT);
        let file = resume(dir, &signing).map_err(|error| failed(&path, error))?;
        Ok(Audit {
            dir: dir.to_owned(),
            rotate,
            signing,
            file: Mutex::new(file),
            turn: Mutex::default(),
            due: Notify::new(),
            broken: AtomicBool::new(false),
            room: OnceLock::new(),
            _lock: lock,
        })
    }

    /// Writes the first line of this process, with what is other than at the start before, and signs the log as it is.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(&self, run: &Run) -> io::Result<Checkpoint> {
        let mut file = self.lock();
        let line = sign(run::START, file.link, &now(), run.members(), &self.signing);
        file.append(&mut opened(&line)?)?;
        let changes = file.run.as_ref().map(|before| run::changes(before, &line)).unwrap_or_default();
        for change in changes {
            let words = ["sections", "which"].map(|name| change.get(name).map(ToString::to_string).unwrap_or_default());
            tracing::warn!("{}: {}", signed::text(&change, "operation"), words.concat());
            file.append(&mut opened(&change)?)?;
        }
        file.run = Some(line);
        drop(file);
        self.checkpoint()
    }

    /// The key of the gate, which signs the log.
    pub fn signing(&self) -> &Arc<Signing> {
        &self.signing
    }

    /// From now on the line of a case (one with a member `case`) makes room by this where the disk is full.
    pub fn set_reserve(&self, room: impl Fn() -> bool + Send + Sync + 'static) {
        // A gate has one reserve.
        self.room.set(Box::new(room)).ok();
    }

    /// Appends one line; the time comes with it where it has none.
    ///
    /// # Errors
    /// The system's, on which [`Audit::is_broken`] is true until a line could be written again.
    pub fn append(&self, line: &Map<String, Value>) -> io::Result<()> {
        let mut text = opened(line)?;
        let mut file = self.lock();
        let mut written = file.append(&mut text);
        while line.contains_key("case") && written.as_ref().is_err_and(is_full) && self.make_room() {
            written = file.append(&mut text);
        }
        self.broken.store(written.is_err(), Ordering::Release);
        let due = file.unsigned >= LINES_UNSIGNED_MAX || file.len >= self.rotate;
        drop(file);
        if due {
            self.due.notify_one();
        }
        written
    }

    fn make_room(&self) -> bool {
        self.room.get().is_some_and(|room| room())
    }

    /// Whether the last line could not be written.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Waits until so much was written that a checkpoint is due before its time.
    pub async fn checkpoint_due(&self) {
        self.due.notified().await;
    }

    /// Signs the end of the chain, in the log and in `audit.head`; begins a new file where the log is too long. When this
    /// returns, everything that the checkpoint speaks of is on the disk. It blocks; a line waits for the disk only while a
    /// file is put aside, and then for the few lines before it.
    ///
    /// # Errors
    /// The system's; [`Audit::is_broken`] says whether the log took the checkpoint, as for any line. Where uploads are
    /// refused because it is broken, and nobody sends one, nothing else would find out that it is not any more.
    pub fn checkpoint(&self) -> io::Result<Checkpoint> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.lock();
        let mut rotated = Ok(());
        if file.len >= self.rotate {
            // The most of it goes to the disk while lines can still be written.
            let current = file.file.clone();
            drop(file);
            let synced = current.sync_data();
            file = self.lock();
            rotated = synced.and_then(|()| self.put_aside(&mut file));
        }
        let signed = file.sign(&self.signing);
        self.broken.store(signed.is_err(), Ordering::Release);
        let current = file.file.clone();
        drop(file);
        let head = signed?;
        current.sync_data()?;
        head.write(&self.dir)?;
        rotated.map(|()| head.checkpoint)
    }

    /// Ends the file with a checkpoint, gives it the name of its first line, and begins a new one. All of it is on the disk
    /// before it has that name: what a power loss tears is at the end of `audit.log`, where the next start looks.
    fn put_aside(&self, file: &mut Appender) -> io::Result<()> {
        let (current, new, aside) = (self.dir.join(CURRENT), self.dir.join(NEW), self.dir.join(name_of(file.first)));
        if aside.exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there", aside.display())));
        }
        file.sign(&self.signing)?;
        file.file.sync_data()?;
        OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
        let next = append_to(&new)?;
        fs::rename(&current, &aside)?;
        if let Err(error) = fs::rename(&new, &current) {
            fs::rename(&aside, &current)?;
            return Err(error);
        }
        file.file = Arc::new(next);
        (file.first, file.len) = (file.link.seq + 1, 0);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Appender> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Appender {
    /// Appends a line that lacks its end. Where that fails, the text is as it was.
    fn append(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        if self.torn {
            // It was never whole, and nobody was told that it was written.
            if self.file.metadata()?.len() > self.len {
                self.file.set_len(self.len)?;
            }
            self.torn = false;
        }
        let body = text.len();
        let link = self.link.close(text);
        text.push(b'\n');
        let written = (&*self.file).write_all(text);
        if written.is_ok() {
            (self.link, self.len, self.unsigned) = (link, self.len + text.len() as u64, self.unsigned + 1);
        } else {
            self.torn = true;
        }
        text.truncate(body);
        written
    }

    /// Signs the last line by another one.
    fn sign(&mut self, signing: &Signing) -> io::Result<Head> {
        let checkpoint = Checkpoint::sign(self.link, &now(), signing);
        let head = Head { checkpoint, first: self.first, offset: self.len, run: self.run.clone() };
        self.append(&mut opened(head.checkpoint.json())?)?;
        self.unsigned = 0;
        Ok(head)
    }
}

/// Opens `audit.log` where the last process has left it, and puts on record what does not fit or is not there.
fn resume(dir: &Path, signing: &Signing) -> io::Result<Appender> {
    let End { link, gap, first, run, lost, torn } = End::find(dir, &signing.public())?;
    if link == Link::NONE && gap.is_none() && lost.is_none() {
        // From now on a log without a head is one whose head was taken away.
        let checkpoint = Checkpoint::sign(link, &now(), signing);
        Head { checkpoint, first: 1, offset: 0, run: None }.write(dir)?;
    }
    if let Some(torn) = torn {
        // Nothing came after it: a line that covers what is torn has to follow in the same file.
        fs::rename(torn, dir.join(CURRENT))?;
    }
    let file = Arc::new(append_to(&dir.join(CURRENT))?);
    let len = file.metadata()?.len();
    let mut appender = Appender { file, first, len, torn: false, link, unsigned: 0, run };
    if let Some(unended) = gap.as_ref().and_then(|gap| gap.unended) {
        // All of the line is there but its end: with that nothing is lost.
        (&*appender.file).write_all(b"\n")?;
        (appender.link, appender.len) = (unended, appender.len + 1);
    } else if let Some(mut gap) = gap {
        tracing::warn!("audit.log: {} bytes at its end are no whole line; they stay, and are put on record", gap.bytes);
        if !gap.ended {
            (&*appender.file).write_all(b"\n")?;
            appender.len += 1;
            gap.end();
        }
        let members = json!({ "bytes": gap.bytes, "sha256": gap.digest(), "whole_lines": gap.whole_lines });
        appender.append_signed(walk::RECOVERED, members, signing)?;
    }
    if let Some(lost) = lost {
        let members = match lost {
            Lost::Lines(checkpoint) => json!({
                "reason": "shorter than audit.head says", "lost_seq": checkpoint.line.seq,
                "lost_hash": hex::encode(checkpoint.line.hash), "lost_time": checkpoint.time(),
            }),
            Lost::Head => json!({ "reason": "audit.head is missing, or not signed by the gate" }),
        };
        tracing::error!("the audit log is not what it was: {members}; see hashgate audit verify");
        appender.append_signed(walk::TRUNCATED, members, signing)?;
    }
    Ok(appender)
}

impl Appender {
    fn append_signed(&mut self, operation: &str, members: Value, signing: &Signing) -> io::Result<()> {
        let members = members.as_object().cloned().unwrap_or_default();
        self.append(&mut opened(&sign(operation, self.link, &now(), members, signing))?)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// A line without its closing brace: the chain adds to it.
fn opened(line: &Map<String, Value>) -> io::Result<Vec<u8>> {
    // Nearly every line fits, with what is added.
    let mut text = Vec::with_capacity(768);
    serde_json::to_writer(&mut text, line)?;
    text.pop();
    if !line.contains_key("time") {
        let comma = if line.is_empty() { "" } else { "," };
        write!(text, "{comma}\"time\":\"{}\"", now())?;
    }
    Ok(text)
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}
