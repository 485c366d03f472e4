//! What a verdict of `quarantine` does: the payload, sealed, and what is known of it become a case, which is on the disk
//! before anybody is answered, and goes to the quarantine bucket in its own time.
//!
//! The gate holds no key that opens a payload. A case that is written down is never lost: the journal is synced, has room
//! set aside for it on a full disk, and is gone through until the bucket has all of it.

mod account;
pub mod acts;
mod case;
mod journal;
mod manifest;
mod parts;
mod payload;
pub mod permits;
pub mod report;
mod reserve;
pub mod rules;
mod sealer;
mod spool;
mod store;
mod transfer;
pub mod view;

pub use account::{Read, Seen, describing_headers, keep_found};
pub use case::{Act, CallerInfo, Case, GateInfo, HexDigests, Manifest, Match, State, TargetInfo, UploadInfo};
pub use journal::{Journal, Reading};
pub use manifest::{ManifestError, read as read_manifest};
pub use parts::PartsKept;
pub use payload::{Keeping, NotKept, Sealed};
pub use store::{Store, StoreError};
pub use transfer::{run, watch};

use crate::config::settings;
use crate::forward::{OriginError, RootsError};
use crate::gate::Gate;
use crate::list::index::seal::KeyError;
use crate::multipart::UploadId;
use crate::record::{Alarm, Metrics};
use crate::signing::Signing;
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use case::{LocalPiece, PayloadInfo, PieceInfo};
use permits::Permits;
use reserve::Reserve;
use spool::Spool;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::Content;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

const FOLDER: &str = "quarantine";

/// The name of a case's manifest in the bucket.
pub const MANIFEST: &str = "manifest.age";

/// For a checkpoint of the audit log: the next one is on its way soon.
const ANCHOR_TIMEOUT: Duration = Duration::from_secs(10);

/// What cases are made with, and where they are.
pub struct Quarantine {
    settings: settings::Quarantine,
    signing: Arc<Signing>,
    spool: Arc<Spool>,
    reserve: Arc<Reserve>,
    journal: Journal,
    store: Store,
    parts: PartsKept,
    permits: Permits,
    new_case: Notify,
    away: AtomicBool,
}

/// What a quarantine needs and does not have.
#[derive(Debug, thiserror::Error)]
pub enum Wanted {
    /// The bucket.
    #[error("quarantine.bucket: there is no bucket `{0}`; make it, for the gate alone")]
    Bucket(String),
    /// Object lock.
    #[error(
        "quarantine.object_lock: the store of bucket `{0}` does not lock its objects; make it with object lock, or write `none`"
    )]
    ObjectLock(String),
    /// The store itself.
    #[error("quarantine: {0}")]
    Store(String),
}

/// Why the quarantine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state folder.
    #[error("state.dir: {0}")]
    Io(#[from] io::Error),
    /// The key of the cases.
    #[error("state.dir: {0}")]
    Key(#[from] KeyError),
    /// The certificates of its store.
    #[error("quarantine: {0}")]
    Roots(#[from] RootsError),
}

impl Quarantine {
    /// Opens the journal, takes up what an earlier run has left of cases and of parts, and removes what is of neither.
    ///
    /// # Errors
    /// The system's; a key that is lost.
    pub fn open(
        settings: &settings::Quarantine,
        limits: &settings::Limits,
        state_dir: &Path,
        signing: Arc<Signing>,
        metrics: Metrics,
    ) -> Result<Quarantine, OpenError> {
        let dir = state_dir.join(FOLDER);
        let recipients =
            settings.recipients.iter().map(|text| text.parse().map_err(|_| io::Error::other("a recipient")));
        let recipients = recipients.collect::<Result<_, _>>()?;
        let spool = Arc::new(Spool::open(&dir.join("spool"), recipients, settings.spool)?);
        let reserve = Arc::new(Reserve::open(&dir.join("reserve"), settings.reserve)?);
        let journal = Journal::open(&dir.join("cases"), state_dir, reserve.clone())?;
        let (mut files, mut damaged) = (Vec::new(), false);
        for id in journal.kept() {
            match journal.read(&id) {
                Ok(Some(Case { state: State::Kept { pieces }, .. })) => {
                    files.extend(pieces.into_iter().map(|piece| piece.file));
                }
                Ok(_) => {}
                // One of the files here may be its payload.
                Err(error) => {
                    tracing::error!("{error}; the others go on, and nothing is removed from the spool");
                    damaged = true;
                }
            }
        }
        let (parts, of_parts) = PartsKept::open(&dir.join("parts"), journal.sealer().clone(), spool.clone(), &files)?;
        files.extend(of_parts);
        spool.take_over(&files, !damaged)?;
        let store = Store::new(settings, limits, metrics)?;
        Ok(Quarantine {
            settings: settings.clone(),
            signing,
            spool,
            reserve,
            journal,
            store,
            parts,
            permits: Permits::open(&dir.join("permits"))?,
            new_case: Notify::new(),
            away: AtomicBool::new(false),
        })
    }

    /// The cases of a state folder that no gate uses; `None` where there never was one.
    ///
    /// # Errors
    /// Their key cannot be read.
    pub fn reading(state_dir: &Path) -> Result<Option<Reading>, KeyError> {
        Reading::open(&state_dir.join(FOLDER).join("cases"), state_dir)
    }

    /// The cases on disk.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The bucket.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Parts of uploads that are not complete yet.
    pub fn parts(&self) -> &PartsKept {
        &self.parts
    }

    /// Permissions that were given out and not used.
    pub fn permits(&self) -> &Permits {
        &self.permits
    }

    /// The room that is set aside for cases, and for the audit lines about them.
    pub fn reserve(&self) -> &Arc<Reserve> {
        &self.reserve
    }

    /// How long a case is kept.
    pub fn retention(&self) -> Duration {
        self.settings.retention
    }

    /// The public key of the gate's signature.
    pub fn public_key(&self) -> String {
        self.signing.public()
    }

    /// A payload that begins, and that may have to be kept.
    pub fn keeping(&self) -> Keeping {
        Keeping::new(self.spool.clone())
    }

    /// Bytes in the spool, and cases that the bucket does not have yet.
    pub fn status(&self) -> (u64, usize) {
        (self.spool.used(), self.journal.backlog())
    }

    /// Whether the spool has hardly any room.
    pub fn is_full(&self) -> bool {
        self.spool.is_full()
    }

    /// Whether room that is set aside for cases had to be given up: uploads are refused then, so that what is left of it
    /// goes to cases alone.
    pub fn is_tight(&self) -> bool {
        !self.reserve.is_whole()
    }

    /// The store took this part of an upload under this ETag, and its payload is kept on. Also where nobody waits for it any
    /// more.
    pub async fn part_stored(self: &Arc<Self>, (id, number): (UploadId, u16), etag: &str, keeping: Keeping) {
        let (quarantine, etag) = (self.clone(), etag.to_owned());
        let storing = tokio::spawn(async move {
            if let Ok(sealed) = keeping.finish().await {
                quarantine.parts.stored(id, number, &etag, sealed).await;
            }
        });
        // It does not fail: a part that is not kept is not at hand, and its case says so.
        storing.await.ok();
    }

    /// Makes a case. It is on the disk, synced, when this returns, also where nobody waits for it any more. Says whether
    /// the payload is kept.
    ///
    /// # Errors
    /// The system's: there is no case.
    pub async fn keep(self: &Arc<Self>, gate: &Arc<Gate>, manifest: Manifest, payload: Payload) -> io::Result<bool> {
        let (quarantine, gate) = (self.clone(), gate.clone());
        let keeping = tokio::spawn(async move {
            let made = quarantine.make(&gate, manifest, payload).await;
            gate.sinks.metrics.case(match &made {
                Ok(true) => "kept",
                Ok(false) => "not_kept",
                Err(_) => "lost",
            });
            if let Err(error) = &made {
                gate.sinks
                    .alarms
                    .raise(Alarm::CaseLost, &format!("a match is refused, but there is no case of it: {error}"));
            }
            made
        });
        keeping.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    async fn make(self: &Arc<Self>, gate: &Arc<Gate>, mut manifest: Manifest, payload: Payload) -> io::Result<bool> {
        let (pieces, of_parts) = match payload {
            Payload::Streamed(keeping) => (keeping.finish().await.map(|sealed| vec![sealed]), false),
            Payload::Parts(parts) => (parts, true),
        };
        let files: Vec<spool::SpoolFile> = pieces.iter().flatten().map(|sealed| sealed.file.clone()).collect();
        let local = match &pieces {
            Ok(pieces) => {
                manifest.payload = PayloadInfo { payload_not_kept: None, pieces: piece_infos(pieces) };
                pieces.iter().map(LocalPiece::of).collect()
            }
            Err(why) => {
                manifest.payload = case::not_kept(*why);
                Vec::new()
            }
        };
        let mut case = Case { manifest, state: State::Kept { pieces: local }, legal_hold: false, acts: Vec::new() };
        // Before the case is there: its transfer may begin at once.
        files.iter().for_each(spool::SpoolFile::keep);
        let writing = self.clone();
        let write = move || {
            let written = writing.write(&files, &mut case);
            if of_parts {
                writing.parts.settled(&files);
            }
            written.map(|()| case.manifest)
        };
        let manifest = spawn_blocking(write).await.map_err(io::Error::other)??;
        let payload_kept = manifest.payload.payload_not_kept.is_none();
        self.new_case.notify_one();
        self.tell(gate, "kept", manifest).await;
        Ok(payload_kept)
    }

    /// Syncs the payload's files and writes the case; one whose payload cannot be synced is a case without. It blocks.
    fn write(&self, files: &[spool::SpoolFile], case: &mut Case) -> io::Result<()> {
        let synced = files.iter().try_for_each(|file| self.spool.sync(file.name()));
        if let Err(error) = synced {
            tracing::error!(case = case.manifest.case, "state.dir: a payload cannot be kept: {error}");
            case.manifest.payload = case::not_kept(NotKept::Disk);
            case.state = State::Kept { pieces: Vec::new() };
            files.iter().for_each(|file| self.spool.remove(file.name()));
            return self.journal.write(case);
        }
        let written = self.journal.write(case);
        if written.is_err() {
            files.iter().for_each(|file| self.spool.remove(file.name()));
        }
        written
    }

    /// The audit line and the event of a case that has got further.
    pub async fn tell(&self, gate: &Arc<Gate>, what: &'static str, manifest: Manifest) {
        let gate = gate.clone();
        // It does not fail: what could not be written is in the log, and counted.
        spawn_blocking(move || super::case_line(&gate, what, &manifest)).await.ok();
    }

    /// Keeps the last checkpoint of a day of the audit log in the bucket: whoever changes the log later cannot change that.
    ///
    /// # Errors
    /// The store did not take it within the time for that.
    pub async fn anchor(&self, day: &str, checkpoint: Vec<u8>) -> Result<(), StoreError> {
        let gate = &blake3::hash(self.public_key().as_bytes()).to_hex()[..16];
        let key = self.store.key("audit", &format!("{day}-{gate}.json"));
        let content = Content { head: checkpoint, file: None };
        match timeout(ANCHOR_TIMEOUT, self.store.put(&key, content, None)).await {
            Ok(put) => put,
            Err(_) => Err(StoreError::Away(OriginError::Stalled)),
        }
    }

    /// A piece that the bucket has, or nobody wants any more.
    fn drop_piece(&self, file: &str) {
        self.spool.remove(file);
    }

    /// Notes whether the bucket can be reached.
    fn is_away(&self, error: Option<&StoreError>) {
        self.away.store(error.is_some(), Ordering::Release);
    }

    /// Whether the last transfer failed.
    pub fn bucket_is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// What has to be done again and again: the reserve is made whole where the disk has room again, and operators are told
    /// of what stands in the way.
    async fn look_after(self: &Arc<Self>, gate: &Arc<Gate>) {
        let (quarantine, gate) = (self.clone(), gate.clone());
        let looked = spawn_blocking(move || {
            if let Err(error) = quarantine.reserve.refill() {
                tracing::error!("state.dir: room for cases cannot be set aside again: {error}");
            }
            let set = |alarm, is_raised, detail| {
                if is_raised { gate.sinks.alarms.raise(alarm, detail) } else { gate.sinks.alarms.clear(alarm) }
            };
            set(Alarm::QuarantineAway, quarantine.bucket_is_away(), "cases wait: the quarantine bucket takes none");
            set(Alarm::QuarantineFull, quarantine.is_full(), "payloads are not kept: quarantine.spool is full");
            set(
                Alarm::JournalFull,
                quarantine.is_tight(),
                "the disk is full: uploads are refused, cases are still taken",
            );
        });
        if let Err(error) = looked.await {
            tracing::error!("the quarantine is no longer looked after: {error}");
        }
    }
}

/// A payload that becomes part of a case.
pub enum Payload {
    /// One that has just ended.
    Streamed(Keeping),
    /// The parts that a Complete names, or why they are not at hand.
    Parts(Result<Vec<Sealed>, NotKept>),
}

/// The names of a payload's pieces in the bucket.
fn piece_infos(pieces: &[Sealed]) -> Vec<PieceInfo> {
    let name = |at: usize| match pieces.len() {
        1 => "payload.age".to_owned(),
        _ => format!("payload-{:05}.age", at + 1),
    };
    pieces.iter().enumerate().map(|(at, piece)| PieceInfo { object: name(at), size: piece.length }).collect()
}

impl LocalPiece {
    fn of(sealed: &Sealed) -> LocalPiece {
        LocalPiece { file: sealed.file.name().to_owned(), header: BASE64.encode(&sealed.header) }
    }
}
