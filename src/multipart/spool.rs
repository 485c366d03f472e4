//! Bytes of parts that came before their predecessor: in memory first, then in files that have no name, so that nothing
//! is left of them when the process ends, however it does.

use bytes::Bytes;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

/// What is handed over at once.
const READ_SIZE: usize = 256 << 10;

/// The room for early parts of all uploads.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    memory: Room,
    disk: Room,
    freed: Notify,
}

/// Bytes of which only so many are given out.
#[derive(Debug)]
pub(super) struct Room {
    used: AtomicU64,
    max: u64,
}

impl Room {
    /// So many bytes.
    pub(super) fn new(max: u64) -> Room {
        Room { used: AtomicU64::new(0), max }
    }

    /// Takes `bytes` of it; false where there are not so many.
    pub(super) fn reserve(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    /// Gives back what was taken.
    pub(super) fn free(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Bytes that there are.
    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// Bytes that are taken.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }
}

/// Room that was set aside for one part; dropped, it is free again.
#[derive(Debug)]
struct Reserved {
    spool: Arc<Spool>,
    bytes: u64,
    in_memory: bool,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let room = if self.in_memory { &self.spool.memory } else { &self.spool.disk };
        room.free(self.bytes);
        self.spool.freed.notify_waiters();
    }
}

/// The bytes of one part, being written or whole.
#[derive(Debug)]
pub(super) struct Spooled {
    place: Place,
    length: u64,
    reserved: Reserved,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    /// Shared with the writing of the last piece.
    File(Arc<File>),
}

impl Spool {
    /// Room for so many bytes in memory, and so many in files below `dir`.
    pub(super) fn new(dir: &Path, memory_max: u64, disk_max: u64) -> Arc<Spool> {
        let (memory, disk) = (Room::new(memory_max), Room::new(disk_max));
        Arc::new(Spool { dir: dir.to_owned(), memory, disk, freed: Notify::new() })
    }

    /// Sets room for `bytes` aside; `None` where there is none at the moment.
    ///
    /// # Errors
    /// The system's, where no file can be made.
    pub(super) fn reserve(self: &Arc<Spool>, bytes: u64) -> io::Result<Option<Spooled>> {
        let reserved = |in_memory| Reserved { spool: self.clone(), bytes, in_memory };
        if self.memory.reserve(bytes) {
            let place = Place::Memory(Vec::with_capacity(bytes as usize));
            return Ok(Some(Spooled { place, length: 0, reserved: reserved(true) }));
        }
        if !self.disk.reserve(bytes) {
            return Ok(None);
        }
        let reserved = reserved(false);
        let file = tempfile::tempfile_in(&self.dir)?;
        Ok(Some(Spooled { place: Place::File(Arc::new(file)), length: 0, reserved }))
    }

    /// Waits until room was given back. Ask for the future before looking for room, or that moment may be missed.
    pub(super) fn freed(&self) -> impl Future<Output = ()> + '_ {
        self.freed.notified()
    }

    /// Bytes that are set aside: in memory, and in files.
    pub(super) fn used(&self) -> (u64, u64) {
        (self.memory.used(), self.disk.used())
    }
}

impl Spooled {
    /// Takes the next piece of the part. Never more than was set aside: `Err` says so.
    pub(super) async fn push(&mut self, piece: Bytes) -> io::Result<()> {
        self.length += piece.len() as u64;
        if self.length > self.reserved.bytes {
            return Err(io::Error::other("a part is longer than it was declared"));
        }
        match &mut self.place {
            Place::Memory(bytes) => {
                bytes.extend_from_slice(&piece);
                Ok(())
            }
            Place::File(file) => {
                let file = file.clone();
                let written = spawn_blocking(move || (&*file).write_all(&piece)).await;
                written.unwrap_or_else(|panic| Err(io::Error::other(panic)))
            }
        }
    }

    /// Hands its bytes over, piece by piece. It blocks.
    pub(super) fn read(&self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let file = match &self.place {
            Place::Memory(bytes) => {
                bytes.chunks(READ_SIZE).for_each(take);
                return Ok(());
            }
            Place::File(file) => &**file,
        };
        let mut buffer = vec![0; READ_SIZE];
        let mut at = 0;
        while at < self.length {
            let wanted = (self.length - at).min(READ_SIZE as u64) as usize;
            // It has no place of its own: two may read it.
            file.read_exact_at(&mut buffer[..wanted], at)?;
            take(&buffer[..wanted]);
            at += wanted as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_first_then_files_then_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path(), 100, 1 << 20);
        let payload: Vec<u8> = (0..600_000_u32).map(|n| n as u8).collect();
        let mut small = spool.reserve(100).unwrap().unwrap();
        let mut large = spool.reserve(600_000).unwrap().unwrap();
        assert_eq!(spool.used(), (100, 600_000));
        assert!(spool.reserve(600_000).unwrap().is_none());
        for piece in payload.chunks(65_536) {
            large.push(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        small.push(Bytes::copy_from_slice(&payload[..100])).await.unwrap();
        assert!(small.push(Bytes::from_static(b"x")).await.is_err());
        for _ in 0..2 {
            let mut read = Vec::new();
            large.read(|bytes| read.extend_from_slice(bytes)).unwrap();
            assert!(read == payload);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "its files have no names");
        let freed = spool.freed();
        drop(large);
        freed.await;
        assert_eq!(spool.used(), (100, 0));
    }
}
