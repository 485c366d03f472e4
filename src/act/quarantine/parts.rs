//! Payloads of parts whose upload is not complete yet: should the whole turn out to be listed, they are its evidence.
//!
//! They are forgotten with their upload, and with the process: their headers are in memory alone.

use super::payload::{NotKept, Sealed};
use crate::multipart::UploadId;
use crate::s3::complete::{NamedPart, plain_etag};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// The parts of all uploads.
#[derive(Default)]
pub struct PartsKept(Mutex<HashMap<UploadId, Upload>>);

struct Upload {
    parts: BTreeMap<u16, Part>,
    touched: Instant,
}

struct Part {
    etag: String,
    sealed: Sealed,
}

impl PartsKept {
    /// The store took a part under this ETag; an older one of its number is forgotten.
    pub fn stored(&self, id: UploadId, number: u16, etag: &str, sealed: Sealed) {
        let mut uploads = self.lock();
        let upload = uploads.entry(id).or_insert_with(|| Upload { parts: BTreeMap::new(), touched: Instant::now() });
        upload.touched = Instant::now();
        let older = upload.parts.insert(number, Part { etag: plain_etag(etag).to_owned(), sealed });
        drop(uploads);
        remove_elsewhere(older);
    }

    /// Takes the parts that a Complete names out, in order, and forgets the others.
    ///
    /// # Errors
    /// One of them did not come past this process.
    pub fn take(&self, id: &UploadId, named: &[NamedPart]) -> Result<Vec<Sealed>, NotKept> {
        let mut upload = self.lock().remove(id).ok_or(NotKept::NotSeen)?;
        let taken: Result<Vec<Sealed>, NotKept> = named
            .iter()
            .map(|named| {
                let part = upload.parts.remove(&named.number).filter(|part| part.etag == named.etag);
                part.map(|part| part.sealed).ok_or(NotKept::NotSeen)
            })
            .collect();
        remove_elsewhere(upload);
        taken
    }

    /// The upload is over.
    pub fn forget(&self, id: &UploadId) {
        let forgotten = self.lock().remove(id);
        remove_elsewhere(forgotten);
    }

    /// Forgets uploads of which nothing came for so long.
    pub fn expire(&self, idle_max: Duration) {
        let forgotten: Vec<Upload> = self
            .lock()
            .extract_if(|_, upload| upload.touched.elapsed() >= idle_max)
            .map(|(_, upload)| upload)
            .collect();
        remove_elsewhere(forgotten);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes files where that holds nobody up.
fn remove_elsewhere(forgotten: impl Send + 'static) {
    spawn_blocking(move || drop(forgotten));
}
