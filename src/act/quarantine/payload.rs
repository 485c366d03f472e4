//! A payload that is kept while it streams, so that it is at hand should it turn out to be listed.
//!
//! Up to the first window it stays in memory. What is longer goes to disk as the body of an age file (age-encryption.org/v1)
//! under a random file key, whose header, the only thing that its recipients could open it with, stays in memory until
//! the verdict. So what a killed gate leaves behind is noise to everybody, and is removed at the next start. (A part that
//! waits for the Complete of its upload has had a verdict of its own.)

use super::spool::{Spool, SpoolFile, SpoolWriter};
use crate::forward::WINDOW;
use age::Encryptor;
use age::stream::StreamWriter;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::{JoinHandle, spawn_blocking};

/// What is handed to a thread that may block, at once.
const BATCH: usize = 256 << 10;

/// Why a payload is not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// There was no room for it in the spool, or on the disk.
    #[error("no room for the payload in quarantine.spool")]
    NoRoom,
    /// The disk failed.
    #[error("the payload could not be written")]
    Disk,
    /// Its bytes did not come past, or not all of them.
    #[error("the payload did not come past")]
    NotSeen,
}

impl NotKept {
    /// The word that the manifest has for it.
    pub fn word(self) -> &'static str {
        match self {
            NotKept::NoRoom => "no_room",
            NotKept::Disk => "disk",
            NotKept::NotSeen => "not_seen",
        }
    }
}

/// A payload that streams and may have to be kept.
pub struct Keeping {
    spool: Arc<Spool>,
    state: State,
    /// Copied, for a piece may be a few bytes of a large buffer.
    batch: Vec<u8>,
    length: u64,
}

enum State {
    /// All of it is in the batch.
    Window,
    /// Being written; the handle gives the writer back.
    Disk(JoinHandle<Result<Sealing, NotKept>>),
    Lost(NotKept),
}

/// A payload, sealed and on disk. Dropped, it goes, unless its file was told to stay.
pub struct Sealed {
    /// The age header with the nonce that follows it: together with the file's content it is an age file.
    pub(super) header: Vec<u8>,
    pub(super) file: SpoolFile,
    /// Of the payload, in bytes.
    pub(super) length: u64,
}

impl Keeping {
    /// Of a payload that begins.
    pub(super) fn new(spool: Arc<Spool>) -> Keeping {
        Keeping { spool, state: State::Window, batch: Vec::new(), length: 0 }
    }

    /// Takes the next piece of it. A payload that cannot be kept goes on all the same.
    pub async fn see(&mut self, payload: &[u8]) {
        self.length += payload.len() as u64;
        let bound = match self.state {
            State::Lost(_) => return,
            State::Window => WINDOW,
            State::Disk(_) => BATCH,
        };
        self.batch.extend_from_slice(payload);
        if self.batch.len() > bound {
            self.write().await;
        }
    }

    /// The sealed payload, written but not synced.
    pub async fn finish(mut self) -> Result<Sealed, NotKept> {
        self.write().await;
        let sealing = match mem::replace(&mut self.state, State::Lost(NotKept::NotSeen)) {
            State::Disk(writing) => joined(writing).await?,
            State::Lost(why) => return Err(why),
            State::Window => return Err(NotKept::NotSeen),
        };
        let length = self.length;
        blocking(move || sealing.finish(length)).await
    }

    /// Hands the batch to a thread that may block, once that has done with the one before.
    async fn write(&mut self) {
        let batch = mem::take(&mut self.batch);
        let sealing = match mem::replace(&mut self.state, State::Window) {
            State::Window => {
                let spool = self.spool.clone();
                blocking(move || Sealing::begin(&spool)).await
            }
            State::Disk(writing) => joined(writing).await,
            State::Lost(why) => Err(why),
        };
        self.state = match sealing {
            Ok(sealing) => State::Disk(spawn_blocking(move || sealing.write(&batch))),
            Err(why) => State::Lost(why),
        };
    }
}

impl Drop for Keeping {
    /// A payload that nobody wants: its file is removed where that holds nobody up.
    fn drop(&mut self) {
        if let State::Disk(writing) = mem::replace(&mut self.state, State::Lost(NotKept::NotSeen)) {
            tokio::spawn(async move {
                let sealing = writing.await;
                spawn_blocking(move || drop(sealing));
            });
        }
    }
}

/// An age file whose header is not on the disk.
struct Sealing {
    writer: StreamWriter<Split>,
    header: Vec<u8>,
    file: SpoolFile,
}

/// What age writes first; taken as soon as it is complete.
type Header = Arc<Mutex<Option<Vec<u8>>>>;

/// Where age writes: its header, and the nonce behind it, to memory as long as that takes any; then to the disk.
struct Split {
    header: Header,
    body: BufWriter<SpoolWriter>,
}

impl Sealing {
    fn begin(spool: &Arc<Spool>) -> Result<Sealing, NotKept> {
        let (file, writer) = spool.create()?;
        let recipients = spool.recipients().iter().map(|recipient| recipient as &dyn age::Recipient);
        // It fails for an empty list, which the configuration does not let through.
        let encryptor = Encryptor::with_recipients(recipients).map_err(|_| NotKept::Disk)?;
        let header = Header::new(Mutex::new(Some(Vec::new())));
        let split = Split { header: header.clone(), body: BufWriter::with_capacity(BATCH, writer) };
        let writer = encryptor.wrap_output(split)?;
        let header = lock(&header).take().unwrap_or_default();
        Ok(Sealing { writer, header, file })
    }

    fn write(mut self, batch: &[u8]) -> Result<Sealing, NotKept> {
        self.writer.write_all(batch)?;
        Ok(self)
    }

    fn finish(self, length: u64) -> Result<Sealed, NotKept> {
        let Sealing { writer, header, file } = self;
        writer.finish()?.body.into_inner().map_err(|error| NotKept::from(error.into_error()))?;
        Ok(Sealed { header, file, length })
    }
}

impl Write for Split {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *lock(&self.header) {
            Some(header) => header.write(bytes),
            None => self.body.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.body.flush()
    }
}

impl From<io::Error> for NotKept {
    fn from(error: io::Error) -> NotKept {
        if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) {
            return NotKept::NoRoom;
        }
        tracing::error!("state.dir: a payload cannot be kept: {error}");
        NotKept::Disk
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, NotKept> + Send + 'static) -> Result<T, NotKept> {
    joined(spawn_blocking(work)).await
}

async fn joined<T>(work: JoinHandle<Result<T, NotKept>>) -> Result<T, NotKept> {
    // A thread that panicked has written who knows what.
    work.await.unwrap_or(Err(NotKept::Disk))
}

fn lock(header: &Header) -> MutexGuard<'_, Option<Vec<u8>>> {
    header.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::x25519::Identity;
    use std::path::Path;

    fn open(header: &[u8], body: &Path, identity: &Identity) -> Option<Vec<u8>> {
        age::decrypt(identity, &[header, &std::fs::read(body).unwrap()].concat()).ok()
    }

    #[tokio::test]
    async fn what_was_seen_is_what_the_recipient_reads() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::generate();
        let spool = Arc::new(Spool::open(dir.path(), vec![identity.to_public()], 10 << 20).unwrap());
        for length in [1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * BATCH + 7] {
            let payload: Vec<u8> = (0..length).map(|n| (n * 7 % 251) as u8).collect();
            let mut keeping = Keeping::new(spool.clone());
            for piece in payload.chunks(8_191) {
                keeping.see(piece).await;
            }
            let on_disk = std::fs::read_dir(dir.path()).unwrap().count();
            assert_eq!(on_disk, usize::from(length > WINDOW), "{length}: short ones stay in memory");
            let sealed = keeping.finish().await.unwrap();
            assert_eq!(sealed.length, length as u64);
            let body = dir.path().join(sealed.file.name());
            assert!(open(&sealed.header, &body, &identity).unwrap() == payload, "{length}");
            // Without its header the file is noise, also to its recipient.
            assert!(open(&[], &body, &identity).is_none());
            drop(sealed);
            assert_eq!((std::fs::read_dir(dir.path()).unwrap().count(), spool.used()), (0, 0), "{length}: it goes");
        }
    }

    #[tokio::test]
    async fn where_there_is_no_room_nothing_is_kept_and_nothing_left() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), vec![Identity::generate().to_public()], 1 << 20).unwrap();
        let mut keeping = Keeping::new(Arc::new(spool));
        for _ in 0..40 {
            keeping.see(&[7; 64 << 10]).await;
        }
        let spool = keeping.spool.clone();
        assert!(matches!(keeping.finish().await, Err(NotKept::NoRoom)));
        assert_eq!((std::fs::read_dir(dir.path()).unwrap().count(), spool.used()), (0, 0));
    }

    /// However short they are, only so many fit.
    #[tokio::test]
    async fn the_number_of_payloads_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::open(dir.path(), vec![Identity::generate().to_public()], 1 << 20).unwrap());
        let mut kept = Vec::new();
        loop {
            let mut keeping = Keeping::new(spool.clone());
            keeping.see(b"x").await;
            match keeping.finish().await {
                Ok(sealed) => kept.push(sealed),
                Err(why) => {
                    assert_eq!(why, NotKept::NoRoom);
                    break;
                }
            }
        }
        assert!((100..130).contains(&kept.len()), "{}", kept.len());
        kept.clear();
        assert_eq!((std::fs::read_dir(dir.path()).unwrap().count(), spool.used()), (0, 0));
    }
}
