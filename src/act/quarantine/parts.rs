//! Payloads of parts whose upload is not complete yet: should the whole turn out to be listed, they are its evidence.
//!
//! Each has a note in a folder of its own, with the header that its recipients open it with, so that it outlives the
//! process. Both go when the upload is over: completed, aborted, or not come back for. They are brought to the disk for
//! good only when they become a case: a power failure before that may cost a part, or, where its length is right, its
//! content.

use super::payload::{NotKept, Sealed};
use super::sealer::Sealer;
use super::spool::{Spool, SpoolFile};
use crate::multipart::UploadId;
use crate::s3::complete::{NamedPart, plain_etag};
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// The parts of all uploads.
pub struct PartsKept {
    notes: Notes,
    uploads: Mutex<HashMap<UploadId, Upload>>,
}

struct Upload {
    parts: BTreeMap<u16, Part>,
    touched: Instant,
    /// How long ago the last part came when the gate started.
    idle_before: Duration,
}

struct Part {
    etag: String,
    sealed: Sealed,
}

/// A part as it is written down.
#[derive(Serialize, Deserialize)]
struct Note {
    upload: UploadId,
    number: u16,
    etag: String,
    /// The age header in base64.
    header: String,
    /// Of the payload, in bytes.
    length: u64,
    /// Of the file in the spool, in bytes.
    file_size: u64,
}

/// The folder of what is written down: one file for each part, with the name of its file in the spool.
#[derive(Clone)]
struct Notes {
    dir: PathBuf,
    sealer: Arc<Sealer>,
    spool: Arc<Spool>,
}

impl PartsKept {
    /// Takes up the parts of an earlier run whose files are whole, and are in no case: `cases` has those.
    ///
    /// # Errors
    /// The system's, with the path in question.
    pub(super) fn open(
        dir: &Path,
        sealer: Arc<Sealer>,
        spool: Arc<Spool>,
        cases: &[String],
    ) -> io::Result<(PartsKept, Vec<String>)> {
        let notes = Notes { dir: dir.to_owned(), sealer, spool };
        let (mut uploads, mut files) = (HashMap::new(), Vec::new());
        for (file, note, age) in notes.read_all(cases)? {
            let Ok(header) = BASE64.decode(&note.header) else { continue };
            let sealed = Sealed { header, file: SpoolFile::kept(&notes.spool, &file), length: note.length };
            let upload: &mut Upload = uploads.entry(note.upload).or_insert_with(|| Upload::new(age));
            upload.idle_before = upload.idle_before.min(age);
            upload.parts.insert(note.number, Part { etag: note.etag, sealed });
            files.push(file);
        }
        Ok((PartsKept { notes, uploads: Mutex::new(uploads) }, files))
    }

    /// The store took a part under this ETag; an older one of its number is forgotten.
    pub async fn stored(&self, id: UploadId, number: u16, etag: &str, sealed: Sealed) {
        let etag = plain_etag(etag).to_owned();
        sealed.file.keep();
        let note = Note {
            upload: id.clone(),
            number,
            etag: etag.clone(),
            header: BASE64.encode(&sealed.header),
            length: sealed.length,
            file_size: sealed.file.size(),
        };
        let (notes, file) = (self.notes.clone(), sealed.file.name().to_owned());
        let written = spawn_blocking(move || notes.write(&file, &note)).await;
        if let Err(error) = written.map_err(io::Error::other).flatten() {
            tracing::error!("state.dir: a part is only known until the next start: {error}");
        }
        let mut uploads = self.lock();
        let upload = uploads.entry(id).or_insert_with(|| Upload::new(Duration::ZERO));
        (upload.touched, upload.idle_before) = (Instant::now(), Duration::ZERO);
        let older = upload.parts.insert(number, Part { etag, sealed });
        drop(uploads);
        self.discard(older);
    }

    /// Takes the parts that a Complete names out, in order, and forgets the others. Tell `settled` when they
    /// are in a case: until then another run would find them again.
    ///
    /// # Errors
    /// One of them did not come past, or is not known any more.
    pub fn take(&self, id: &UploadId, named: &[NamedPart]) -> Result<Vec<Sealed>, NotKept> {
        let mut upload = self.lock().remove(id).ok_or(NotKept::NotSeen)?;
        let is_known = |named: &NamedPart| upload.parts.get(&named.number).is_some_and(|part| part.etag == named.etag);
        let taken = if named.iter().all(is_known) {
            Ok(named.iter().filter_map(|named| upload.parts.remove(&named.number)).map(|part| part.sealed).collect())
        } else {
            Err(NotKept::NotSeen)
        };
        self.discard(upload.parts.into_values());
        taken
    }

    /// A case has these files now, or nobody has. It blocks.
    pub(super) fn settled(&self, files: &[SpoolFile]) {
        files.iter().for_each(|file| self.notes.remove(file.name()));
    }

    /// The upload is over.
    pub fn forget(&self, id: &UploadId) {
        let forgotten = self.lock().remove(id);
        self.discard(forgotten.into_iter().flat_map(|upload| upload.parts.into_values()));
    }

    /// Forgets uploads of which nothing came for so long.
    pub fn expire(&self, idle_max: Duration) {
        let forgotten: Vec<Upload> = self
            .lock()
            .extract_if(|_, upload| upload.touched.elapsed() + upload.idle_before >= idle_max)
            .map(|(_, upload)| upload)
            .collect();
        self.discard(forgotten.into_iter().flat_map(|upload| upload.parts.into_values()));
    }

    /// Removes files where that holds nobody up.
    fn discard(&self, parts: impl IntoIterator<Item = Part>) {
        let files: Vec<String> = parts.into_iter().map(|part| part.sealed.file.name().to_owned()).collect();
        if files.is_empty() {
            return;
        }
        let notes = self.notes.clone();
        spawn_blocking(move || {
            for file in files {
                notes.spool.remove(&file);
                notes.remove(&file);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    fn new(idle_before: Duration) -> Upload {
        Upload { parts: BTreeMap::new(), touched: Instant::now(), idle_before }
    }
}

impl Notes {
    fn write(&self, file: &str, note: &Note) -> io::Result<()> {
        let sealed = self.sealer.seal(file, serde_json::to_vec(note)?)?;
        let path = self.dir.join(file);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(&sealed)
    }

    /// Those whose payload is there, and in none of these files, with their age; the others are removed.
    fn read_all(&self, cases: &[String]) -> io::Result<Vec<(String, Note, Duration)>> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.dir.display()));
        fs::create_dir_all(&self.dir).map_err(failed)?;
        let mut notes = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            match self.read(&file).filter(|_| !cases.contains(&file)) {
                Some(note) => notes.push((file, note, age)),
                None => self.remove(&file),
            }
        }
        Ok(notes)
    }

    fn read(&self, file: &str) -> Option<Note> {
        let sealed = fs::read(self.dir.join(file)).ok()?;
        let note: Note = serde_json::from_slice(&self.sealer.open(file, &sealed)?).ok()?;
        let size = fs::metadata(self.spool.path_of(file)).ok()?.len();
        (size == note.file_size).then_some(note)
    }

    fn remove(&self, file: &str) {
        let path = self.dir.join(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::error!("{}: {error}", path.display()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::quarantine::payload::Keeping;
    use crate::list::index::seal::Key;
    use age::x25519::Identity;

    struct Room {
        dir: tempfile::TempDir,
        key: Key,
        identity: Identity,
    }

    impl Room {
        fn new() -> Room {
            let dir = tempfile::tempdir().unwrap();
            Room { dir, key: Key::random().unwrap(), identity: Identity::generate() }
        }

        fn spool(&self) -> Arc<Spool> {
            let recipients = vec![self.identity.to_public()];
            Arc::new(Spool::open(&self.dir.path().join("spool"), recipients, 1 << 30).unwrap())
        }

        /// What a gate that starts knows; `cases` have some files.
        fn open(&self, cases: &[String]) -> (PartsKept, Arc<Spool>) {
            let spool = self.spool();
            let sealer = Arc::new(Sealer::new(&self.key, Path::new("key")).unwrap());
            let (parts, files) = PartsKept::open(&self.dir.path().join("parts"), sealer, spool.clone(), cases).unwrap();
            spool.take_over(&[cases, &files].concat(), true).unwrap();
            (parts, spool)
        }

        fn files(&self, folder: &str) -> Vec<PathBuf> {
            fs::read_dir(self.dir.path().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
        }

        /// Waits until there are so many payloads and notes: they are removed elsewhere.
        async fn left(&self, payloads: usize, notes: usize) {
            for _ in 0..1000 {
                if self.files("spool").len() == payloads && self.files("parts").len() == notes {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            panic!("{:?} and {:?}, not {payloads} and {notes}", self.files("spool"), self.files("parts"));
        }
    }

    async fn put(parts: &PartsKept, spool: &Arc<Spool>, upload: &str, number: u16, payload: &[u8]) {
        let mut keeping = Keeping::new(spool.clone());
        keeping.see(payload).await;
        parts.stored(id(upload), number, &format!("\"{number}\""), keeping.finish().await.unwrap()).await;
    }

    fn id(upload: &str) -> UploadId {
        UploadId { bucket: "b".into(), key: "k".into(), upload: upload.into() }
    }

    fn named(numbers: &[u16]) -> Vec<NamedPart> {
        numbers.iter().map(|number| NamedPart { number: *number, etag: number.to_string() }).collect()
    }

    fn read(room: &Room, sealed: &Sealed) -> Vec<u8> {
        let body = fs::read(room.dir.path().join("spool").join(sealed.file.name())).unwrap();
        age::decrypt(&room.identity, &[&sealed.header[..], &body].concat()).unwrap()
    }

    #[tokio::test]
    async fn parts_come_back_over_restarts_until_a_case_has_them() {
        let room = Room::new();
        let (parts, spool) = room.open(&[]);
        put(&parts, &spool, "u", 2, b"two").await;
        put(&parts, &spool, "u", 1, b"other").await;
        put(&parts, &spool, "u", 1, &[1; 100_000]).await;
        put(&parts, &spool, "v", 1, b"one").await;
        room.left(3, 3).await;
        for _ in 0..2 {
            // Taken, and then the gate was killed before there was a case.
            let (parts, spool) = room.open(&[]);
            let taken = parts.take(&id("u"), &named(&[1, 2])).unwrap();
            let read: Vec<Vec<u8>> = taken.iter().map(|sealed| read(&room, sealed)).collect();
            assert!(read == [vec![1; 100_000], b"two".to_vec()]);
            assert!(spool.used() > 100_000);
        }
        // The case was written, and then it was killed.
        let (parts, _) = room.open(&[]);
        let taken = parts.take(&id("u"), &named(&[1, 2])).unwrap();
        let cases: Vec<String> = taken.iter().map(|sealed| sealed.file.name().to_owned()).collect();
        let (parts, _) = room.open(&cases);
        assert_eq!((room.files("spool").len(), room.files("parts").len()), (3, 1));
        assert!(matches!(parts.take(&id("u"), &named(&[1, 2])), Err(NotKept::NotSeen)));
        parts.forget(&id("v"));
        room.left(2, 0).await;
        let (_, spool) = room.open(&[]);
        room.left(0, 0).await;
        assert_eq!(spool.used(), 0);
    }

    #[tokio::test]
    async fn what_is_not_whole_or_not_ours_is_not_taken_up() {
        let room = Room::new();
        for spoil in ["note", "payload", "key", "name"] {
            let (parts, spool) = room.open(&[]);
            put(&parts, &spool, "u", 1, &[1; 1000]).await;
            let (note, payload) = (room.files("parts").remove(0), room.files("spool").remove(0));
            let (mut key, mut bytes) = (room.key.clone(), fs::read(&note).unwrap());
            match spoil {
                "note" => {
                    bytes[20] ^= 1;
                    fs::write(&note, bytes).unwrap();
                }
                "payload" => fs::OpenOptions::new().write(true).open(&payload).unwrap().set_len(500).unwrap(),
                "key" => key = Key::random().unwrap(),
                _ => {
                    fs::rename(&note, note.with_file_name("0.body")).unwrap();
                    fs::rename(&payload, payload.with_file_name("0.body")).unwrap();
                }
            }
            let other = Room { dir: tempfile::tempdir().unwrap(), key, identity: Identity::generate() };
            for folder in ["parts", "spool"] {
                fs::rename(room.dir.path().join(folder), other.dir.path().join(folder)).unwrap();
            }
            let (parts, _) = other.open(&[]);
            assert!(parts.take(&id("u"), &named(&[1])).is_err(), "{spoil}");
            other.left(0, 0).await;
        }
    }

    #[tokio::test]
    async fn a_complete_of_other_parts_and_one_that_nobody_came_back_for() {
        let room = Room::new();
        let (parts, spool) = room.open(&[]);
        put(&parts, &spool, "u", 1, b"one").await;
        put(&parts, &spool, "v", 1, b"one").await;
        assert!(matches!(parts.take(&id("u"), &named(&[1, 2])), Err(NotKept::NotSeen)));
        room.left(1, 1).await;
        parts.expire(Duration::from_secs(1000));
        assert_eq!(room.files("parts").len(), 1);
        // However often it is started: what counts is when the part came.
        let note = fs::File::options().write(true).open(room.files("parts").remove(0)).unwrap();
        note.set_modified(std::time::SystemTime::now() - Duration::from_secs(900)).unwrap();
        let (parts, spool) = room.open(&[]);
        parts.expire(Duration::from_secs(1000));
        assert_eq!(room.files("parts").len(), 1);
        parts.expire(Duration::from_secs(800));
        room.left(0, 0).await;
        assert_eq!(spool.used(), 0);
    }
}
