//! The story of an object that comes in parts.
//!
//! Each part is an upload of its own: hashed, held, looked up by itself. Beside that its bytes go into the `chain`: the
//! digest states behind part 1, 2, 3 and so on. A part that comes before its predecessor is kept in the `spool` until
//! the chain has reached it; where there is no room the client waits, and then gets 503 SlowDown for that part alone. The
//! chain goes on when the store has taken the part, and the `journal` keeps it over a restart. A Complete is let
//! through when the chain covers exactly the parts and ETags that it names, and the digest of the whole is on no list.
//!
//! CreateMultipartUpload says what the object will be described by, and whether its readers will decode it. What begins as
//! gzip, zlib or zstd is decoded as its chain goes on (the `reading`), whatever was said; other encodings are not known by their
//! first bytes, so what the chain knows of such a whole is not what its readers get: that is for whoever asks to heed.
//!
//! Between the release of a part and the store's answer nobody knows which bytes the store has; so a Complete waits for
//! releases under way, and no part is released while a Complete is.

mod chain;
mod journal;
mod reading;
mod role;
mod spool;
mod upload_id;

pub use chain::Body;
pub use reading::AsRead;
pub use role::Role;
pub use upload_id::UploadId;

use crate::config::settings::{self, Unverifiable};
use crate::digest::{Algorithms, Digests, Hashing};
use crate::inspect::{Begun, Decoded};
use crate::record::Metrics;
use crate::s3::complete::{NamedPart, plain_etag};
use bytes::Bytes;
use chain::{Base, Chain, Change, Cover, Fed};
use journal::{Journal, Loaded, Page};
use reading::Reading;
use serde::{Deserialize, Serialize};
use spool::{Room, Spool, Spooled};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Every multipart upload that this gate knows parts of.
pub struct Multipart {
    uploads: Mutex<HashMap<UploadId, Arc<Upload>>>,
    shared: Arc<Shared>,
    spool: Arc<Spool>,
    settings: settings::Multipart,
    metrics: Metrics,
}

/// What all uploads share.
struct Shared {
    journal: Journal,
    /// Links of all chains, for the bound on them.
    links: AtomicUsize,
    encodings: settings::Encodings,
    /// Memory for decoders.
    decoders: Arc<Room>,
}

struct Upload {
    id: UploadId,
    /// What CreateMultipartUpload said; `None` where that did not come past.
    beginning: Option<Beginning>,
    state: Mutex<State>,
    /// Locked after `state`, where both are.
    reading: Mutex<Reading>,
    shared: Arc<Shared>,
    /// Held for reading from a part's release to the store's answer, for writing by a Complete.
    releases: Arc<RwLock<()>>,
    /// Held by whoever hashes waiting parts into the chain.
    advancing: tokio::sync::Mutex<()>,
    /// The chain got longer.
    advanced: Notify,
    /// The store has put it together: nobody needs it but a Complete that comes again.
    finished: AtomicBool,
}

struct State {
    chain: Chain<Arc<Spooled>>,
    page: Page,
    /// The algorithms that the lists needed when something of it came last.
    wanted: Algorithms,
    touched: Instant,
}

/// Why a part has to be sent again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// It came early, and its predecessors did not come either.
    #[error("no room for a part that came before its predecessor")]
    Early,
    /// It begins something compressed.
    #[error("no room for one more decoder")]
    Decoder,
}

impl Multipart {
    /// Reads what the state folder holds of unfinished uploads.
    ///
    /// # Errors
    /// The system's, with the path in question.
    pub fn open(
        settings: &settings::Multipart,
        encodings: &settings::Encodings,
        state_dir: &Path,
        metrics: Metrics,
    ) -> io::Result<Arc<Multipart>> {
        let shared = Arc::new(Shared {
            journal: Journal::open(state_dir)?,
            links: AtomicUsize::new(0),
            encodings: encodings.clone(),
            decoders: Arc::new(Room::new(settings.decoder_memory)),
        });
        let spool = Spool::new(state_dir, settings.spool_memory, settings.spool_disk);
        let mut uploads = HashMap::new();
        for Loaded { id, beginning, chain, page, age } in shared.journal.load(settings.expire)? {
            shared.links.fetch_add(chain.links().len(), Ordering::Relaxed);
            let mut state = State::new(chain, page, Algorithms::NONE);
            // The clock may not go back that far.
            state.touched = state.touched.checked_sub(age).unwrap_or(state.touched);
            uploads.insert(id.clone(), Arc::new(Upload::new(id, beginning, state, shared.clone())));
        }
        let settings = settings.clone();
        Ok(Arc::new(Multipart { uploads: Mutex::new(uploads), shared, spool, settings, metrics }))
    }

    /// The store has begun an upload. It blocks.
    pub fn begin(&self, id: UploadId, beginning: Beginning, wanted: Algorithms) {
        let state = State::new(Chain::of_new_upload(), self.shared.journal.page(&id), wanted);
        let upload = Arc::new(Upload::new(id.clone(), Some(beginning), state, self.shared.clone()));
        let mut uploads = self.lock();
        if uploads.contains_key(&id) {
            // Somebody found the id at the store and sent a part before this: nobody knows all of its parts.
            return;
        }
        self.make_room(&mut uploads);
        uploads.insert(id, upload.clone());
        drop(uploads);
        upload.write_beginning();
    }

    /// What [`Multipart::begin`] was told; `None` where the beginning did not come past.
    pub fn beginning(&self, id: &UploadId) -> Option<Beginning> {
        self.lock().get(id)?.beginning.clone()
    }

    /// A part of `length` bytes is about to come. Waits where it comes too early and there is no room for it.
    /// `wanted` are the algorithms that the lists need.
    pub async fn part(&self, id: UploadId, number: u16, length: Option<u64>, wanted: Algorithms) -> Result<Part, Busy> {
        let upload = self.upload(id, wanted);
        let deadline = Instant::now() + self.settings.spool_wait;
        let feed = loop {
            let (advanced, freed) = (upload.advanced.notified(), self.spool.freed());
            let (base, at) = {
                let state = upload.lock();
                (state.chain.base(number, &state.start()), upload.place(&state.chain, number))
            };
            if let Some((base, hashing)) = base.and_then(|(base, state)| Some((base, Hashing::restore(&state)?))) {
                break Feed::Chained(Box::new(Chained { base, hashing, at, begun: Begun::default() }));
            }
            let Some(length) = length else { break Feed::Nothing };
            match self.spool.reserve(length) {
                Ok(Some(spooled)) => break Feed::Spooled(spooled),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("state.dir: no file for a part that came early: {error}");
                    break Feed::Nothing;
                }
            }
            let room = async {
                tokio::select! { () = advanced => {}, () = freed => {} }
            };
            timeout_at(deadline, room).await.map_err(|_| Busy::Early)?;
        };
        self.metrics.part(feed.label());
        Ok(Part { upload, number, feed, wanted })
    }

    /// What these parts are together; the upload stays as it is until the answer is dropped.
    pub async fn completing(&self, id: &UploadId, parts: Vec<NamedPart>) -> Completing {
        let Some(upload) = self.lock().get(id).cloned() else { return Completing::unknown() };
        let still = Some(upload.releases.clone().write_owned().await);
        upload.advance().await;
        let (beginning, assembled) = (upload.beginning.clone(), upload.clone());
        let (whole, as_read) = spawn_blocking(move || assembled.whole(&parts)).await.unwrap_or((Whole::Unknown, PLAIN));
        Completing { whole, as_read, beginning, upload: Some(upload), _still: still }
    }

    /// The upload is aborted at the store.
    pub fn forget(&self, id: &UploadId) {
        if let Some(upload) = self.lock().remove(id) {
            upload.retire();
        }
    }

    /// Drops what nobody came back for.
    pub fn expire(&self) {
        let (expire, spool_idle) = (self.settings.expire, self.settings.spool_idle);
        self.lock().retain(|_, upload| {
            let idle = upload.lock().touched.elapsed();
            let is_alone = Arc::strong_count(upload) == 1;
            if idle >= spool_idle && is_alone {
                upload.lock().chain.drop_waiting();
                if self.shared.decoders.used() > self.shared.decoders.max() / 2 {
                    upload.reading().give_up();
                }
            }
            let over = idle >= expire && is_alone;
            if over {
                upload.retire();
            }
            !over
        });
    }

    /// For the gauges: uploads that are known, and bytes of early parts in memory and in files.
    pub fn status(&self) -> (usize, (u64, u64)) {
        (self.lock().len(), self.spool.used())
    }

    fn upload(&self, id: UploadId, wanted: Algorithms) -> Arc<Upload> {
        let mut uploads = self.lock();
        if let Some(upload) = uploads.get(&id) {
            let mut state = upload.lock();
            // A list that needs another algorithm may have come since it began; of what is chained its own state counts.
            (state.touched, state.wanted) = (Instant::now(), wanted);
            drop(state);
            return upload.clone();
        }
        self.make_room(&mut uploads);
        let state = State::new(Chain::default(), self.shared.journal.page(&id), wanted);
        let upload = Arc::new(Upload::new(id.clone(), self.presumed(), state, self.shared.clone()));
        uploads.insert(id, upload.clone());
        upload
    }

    /// What is taken to have been said of an upload that began elsewhere, or long ago: where any encoding is let through,
    /// to be read back, it may have one, also in the eyes of a later run with another setting.
    fn presumed(&self) -> Option<Beginning> {
        let may_be_encoded =
            self.settings.unverifiable == Unverifiable::ReadBack && self.shared.encodings.unseen_refused();
        may_be_encoded.then(|| Beginning { encoded: true, ..Beginning::default() })
    }

    /// Forgets uploads as long as there are too many: those that the store has put together, then those without a part,
    /// which are quickly made, then others, each time the one that was idle longest. The Complete of such a one is then
    /// unverifiable.
    fn make_room(&self, uploads: &mut HashMap<UploadId, Arc<Upload>>) {
        loop {
            let too_many = uploads.len() >= self.settings.uploads;
            if !too_many && self.shared.links.load(Ordering::Relaxed) < self.settings.parts {
                return;
            }
            let idle = uploads.iter().filter(|(_, upload)| Arc::strong_count(upload) == 1);
            let ranked = idle.filter_map(|(id, upload)| {
                let state = upload.lock();
                let helps = too_many || !state.chain.links().is_empty();
                let rank = (!upload.finished.load(Ordering::Relaxed), !state.chain.is_empty(), state.touched);
                helps.then_some((rank, id))
            });
            let Some(id) = ranked.min_by_key(|(rank, _)| *rank).map(|(_, id)| id.clone()) else { return };
            if let Some(upload) = uploads.remove(&id) {
                upload.retire();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Upload>>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(chain: Chain<Arc<Spooled>>, page: Page, wanted: Algorithms) -> State {
        State { chain, page, wanted, touched: Instant::now() }
    }

    /// The digest state before the first byte.
    fn start(&self) -> impl Fn() -> Vec<u8> + use<> {
        let wanted = self.wanted;
        move || Hashing::new(wanted).save()
    }
}

impl Upload {
    fn new(id: UploadId, beginning: Option<Beginning>, state: State, shared: Arc<Shared>) -> Upload {
        let reading = match state.chain.links() {
            [] => Reading::new(&shared.encodings, &shared.decoders),
            _ => Reading::of_earlier_run(&shared.encodings, &shared.decoders),
        };
        Upload {
            id,
            beginning,
            state: Mutex::new(state),
            reading: Mutex::new(reading),
            shared,
            releases: Arc::default(),
            advancing: tokio::sync::Mutex::default(),
            advanced: Notify::new(),
            finished: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what CreateMultipartUpload said. It blocks.
    fn write_beginning(&self) {
        let mut state = self.lock();
        if let Err(error) = self.shared.journal.begin(&mut state.page, &self.id, self.beginning.as_ref()) {
            tracing::error!("state.dir: the beginning of an upload cannot be written down: {error}");
            self.shared.journal.remove(&state.page);
            state.page = self.shared.journal.page(&self.id);
        }
    }

    /// Changes the chain, and writes the change down before anybody acts on it. It blocks.
    fn change(&self, change: impl FnOnce(&mut Chain<Arc<Spooled>>) -> Option<Change>) {
        let mut state = self.lock();
        let State { chain, page, touched, .. } = &mut *state;
        *touched = Instant::now();
        let before = chain.links().len();
        let changed = change(chain);
        let after = chain.links().len();
        self.shared.links.fetch_add(after, Ordering::Relaxed);
        self.shared.links.fetch_sub(before, Ordering::Relaxed);
        let Some(changed) = changed else { return };
        if changed == Change::Cut(1) {
            self.reading().first_is_gone();
        }
        let written = self.shared.journal.begin(page, &self.id, self.beginning.as_ref());
        if let Err(error) = written.and_then(|()| self.shared.journal.write(page, chain, changed)) {
            // What stays on the disk might say more than is known, so nothing may stay.
            tracing::error!("state.dir: the parts of an upload cannot be written down: {error}");
            self.shared.journal.remove(page);
            *page = self.shared.journal.page(&self.id);
        }
    }

    /// Hashes parts that wait into the chain, as far as it now reaches.
    async fn advance(self: &Arc<Upload>) {
        let _alone = self.advancing.lock().await;
        loop {
            let upload = self.clone();
            let went_on = spawn_blocking(move || upload.advance_one()).await;
            if !went_on.unwrap_or(false) {
                return;
            }
            self.advanced.notify_waiters();
        }
    }

    /// The next part that waits. It blocks. False where there is none.
    fn advance_one(&self) -> bool {
        let mut state = self.lock();
        let start = state.start();
        let Some((number, base, before, waiting)) = state.chain.take_next(&start) else { return false };
        let (mut at, wanted) = (self.place(&state.chain, number), state.wanted);
        // Others may begin and end their parts while this one is hashed.
        drop(state);
        let behind = hash_on(&before, |take| {
            waiting.bytes.read(|bytes| {
                // Where there is no room for it the whole is lost to the decoder.
                self.feed(&mut at, bytes, wanted).ok();
                take(bytes);
            })
        });
        self.change(|chain| match behind {
            Ok(behind) => chain.hashed(number, base, behind.save()),
            Err(error) => {
                tracing::error!("a part that came early cannot be read again: {error}");
                chain.cut(number)
            }
        });
        true
    }

    /// What these parts are together. It blocks.
    fn whole(&self, parts: &[NamedPart]) -> (Whole, AsRead) {
        let state = self.lock();
        let (before, rest) = match state.chain.cover(parts, &state.start()) {
            Cover::Whole(before, rest) => (before, rest),
            Cover::Absent => return (Whole::Absent, PLAIN),
            Cover::Unknown => return (Whole::Unknown, PLAIN),
        };
        let chained = parts.len() - rest.len();
        let (mut at, wanted) = (self.place(&state.chain, chained as u16 + 1), state.wanted);
        let waiting: Vec<_> =
            rest.iter().filter_map(|number| Some(state.chain.waiting(*number)?.bytes.clone())).collect();
        // What follows may take long, and changes nothing in the chain.
        drop(state);
        // Without the first part it is another object than the one that has been decoded so far.
        let mut anew = (chained == 0).then(|| Reading::new(&self.shared.encodings, &self.shared.decoders));
        let read = |take: &mut dyn FnMut(&[u8])| {
            waiting.iter().try_for_each(|waiting| {
                waiting.read(|bytes| {
                    // Where there is no room for it the whole is lost to the decoder.
                    match &mut anew {
                        Some(anew) => feed(anew, &mut at, bytes, wanted).ok(),
                        None => self.feed(&mut at, bytes, wanted).ok(),
                    };
                    take(bytes);
                })
            })
        };
        let Ok(hashing) = hash_on(&before, read) else { return (Whole::Unknown, PLAIN) };
        let whole = hashing.finish();
        let as_read = match (at, &mut anew) {
            (None, _) => PLAIN,
            (Some(_), Some(anew)) => anew.end(&whole),
            (Some(_), None) => self.reading().end(&whole),
        };
        (Whole::Known(whole), as_read)
    }

    /// Where part `number` begins in an object that has to be decoded.
    fn place(&self, chain: &Chain<Arc<Spooled>>, number: u16) -> Option<u64> {
        chain.compressed_before(number).filter(|_| self.shared.encodings.decode)
    }

    fn feed(&self, at: &mut Option<u64>, bytes: &[u8], wanted: Algorithms) -> Result<(), Busy> {
        if at.is_some() { feed(&mut self.reading(), at, bytes, wanted) } else { Ok(()) }
    }

    /// Nothing of it is known any more.
    fn retire(&self) {
        let mut state = self.lock();
        self.shared.links.fetch_sub(state.chain.links().len(), Ordering::Relaxed);
        state.chain = Chain::default();
        self.shared.journal.remove(&state.page);
    }
}

/// The state behind what `read` hands over, when that follows what `before` stands for.
fn hash_on(before: &[u8], read: impl FnOnce(&mut dyn FnMut(&[u8])) -> io::Result<()>) -> io::Result<Hashing> {
    let mut hashing = Hashing::restore(before).ok_or_else(|| io::Error::other("no digest state"))?;
    read(&mut |bytes| hashing.update(bytes))?;
    Ok(hashing)
}

/// Offers bytes to a decoder, and goes on behind them; nothing where the object has none.
fn feed(reading: &mut Reading, at: &mut Option<u64>, bytes: &[u8], wanted: Algorithms) -> Result<(), Busy> {
    let Some(at) = at else { return Ok(()) };
    let from = *at;
    *at += bytes.len() as u64;
    reading.feed(from, bytes, wanted)
}

/// Of a whole that is not decoded.
const PLAIN: AsRead = AsRead::Known(None);

/// A part that streams.
pub struct Part {
    upload: Arc<Upload>,
    number: u16,
    feed: Feed,
    wanted: Algorithms,
}

/// A part that follows on what is known.
struct Chained {
    base: Base,
    hashing: Hashing,
    begun: Begun,
    /// Where its next byte is in an object that has to be decoded.
    at: Option<u64>,
}

enum Feed {
    /// Hashed on from its predecessor.
    Chained(Box<Chained>),
    /// Kept until its predecessor is there.
    Spooled(Spooled),
    /// Neither; its Complete will be unverifiable.
    Nothing,
}

impl Feed {
    /// The metric label.
    fn label(&self) -> &'static str {
        match self {
            Feed::Chained(_) => "chained",
            Feed::Spooled(_) => "spooled",
            Feed::Nothing => "unknown",
        }
    }
}

impl Part {
    /// Takes the next piece of its payload.
    ///
    /// # Errors
    /// It begins something compressed, and there is no room for one more decoder.
    pub async fn see(&mut self, payload: &Bytes) -> Result<(), Busy> {
        match &mut self.feed {
            Feed::Chained(chained) => {
                chained.hashing.update(payload);
                chained.begun.see(payload);
                if self.number == 1 && chained.begun.is_plain() {
                    chained.at = None;
                }
                self.upload.feed(&mut chained.at, payload, self.wanted)?;
            }
            Feed::Spooled(spooled) => {
                if let Err(error) = spooled.push(payload.clone()).await {
                    tracing::error!("state.dir: a part that came early cannot be kept: {error}");
                    self.feed = Feed::Nothing;
                }
            }
            Feed::Nothing => {}
        }
        Ok(())
    }

    /// The store says that it has the part, and nobody knows which bytes of it.
    pub async fn committed_early(self) {
        let Part { upload, number, .. } = self;
        // It does not fail: a panic in there has ended the chain with it.
        spawn_blocking(move || upload.change(|chain| chain.cut(number))).await.ok();
    }

    /// The store is about to have it, and nobody knows which bytes. Waits as [`Part::releasing`] does; keep what it gives
    /// until the store has answered.
    pub async fn releasing_unknown(self) -> impl Send {
        let still = self.upload.releases.clone().read_owned().await;
        let (upload, number) = (self.upload, self.number);
        // It does not fail: a panic in there has ended the chain with it.
        spawn_blocking(move || upload.change(|chain| chain.cut(number))).await.ok();
        still
    }

    /// Its end is about to be let go. Waits while a Complete of the same upload is under way.
    pub async fn releasing(self, digests: &Digests) -> Releasing {
        let body = Body::from(digests);
        let still = self.upload.releases.clone().read_owned().await;
        let (upload, number) = (self.upload.clone(), self.number);
        // It does not fail: what it did not do, the end of the release does.
        spawn_blocking(move || upload.change(|chain| chain.releasing(number, body))).await.ok();
        Releasing { part: Some(self), body, still: Some(still) }
    }
}

/// A part whose end the store may have. Dropped without an answer, nobody knows.
pub struct Releasing {
    part: Option<Part>,
    body: Body,
    still: Option<OwnedRwLockReadGuard<()>>,
}

impl Releasing {
    /// The store answered: with this ETag, where it took the part.
    pub async fn answered(mut self, etag: Option<&str>) {
        let Some(etag) = etag else { return };
        let Some(Part { upload, number, feed, .. }) = self.part.take() else { return };
        let (etag, body) = (plain_etag(etag).to_owned(), self.body);
        let fed = match feed {
            Feed::Chained(chained) => {
                Fed::Chained(chained.base, chained.hashing.save(), number == 1 && chained.begun.is_plain())
            }
            Feed::Spooled(spooled) => Fed::Spooled(Arc::new(spooled)),
            Feed::Nothing => Fed::Nothing,
        };
        let stored = upload.clone();
        spawn_blocking(move || stored.change(|chain| chain.stored(number, &etag, body, fed))).await.ok();
        upload.advanced.notify_waiters();
        // The client need not wait until all that waited is hashed.
        tokio::spawn(async move { upload.advance().await });
    }
}

impl Drop for Releasing {
    fn drop(&mut self) {
        let Some(Part { upload, number, .. }) = self.part.take() else { return };
        let (body, still) = (self.body, self.still.take());
        spawn_blocking(move || {
            upload.change(|chain| chain.lost(number, body));
            drop(still);
        });
    }
}

/// What the parts that a Complete names are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// The digests of the whole object.
    Known(Digests),
    /// The store has no such parts.
    Absent,
    /// Nobody knows.
    Unknown,
}

/// A Complete that is under way: while it lives, no part of its upload is released.
pub struct Completing {
    /// The object.
    pub whole: Whole,
    /// The object as its readers get it, where it is known.
    pub as_read: AsRead,
    /// What CreateMultipartUpload said; `None` where that did not come past.
    pub beginning: Option<Beginning>,
    upload: Option<Arc<Upload>>,
    _still: Option<OwnedRwLockWriteGuard<()>>,
}

impl Completing {
    /// The store said that it has put the object together.
    pub fn took(&self) {
        if let Some(upload) = &self.upload {
            upload.finished.store(true, Ordering::Relaxed);
        }
    }

    /// What came of decoding the whole, where it is compressed and was decoded. A beginning that nobody saw may have said
    /// so.
    pub fn decoded(&self) -> Option<Decoded> {
        let AsRead::Known(Some(decoded)) = &self.as_read else { return None };
        let declared = self.beginning.as_ref().is_none_or(|beginning| beginning.encoded);
        Some(Decoded { declared, ..decoded.clone() })
    }

    /// Of an upload of which nothing is known.
    fn unknown() -> Completing {
        Completing { whole: Whole::Unknown, as_read: PLAIN, beginning: None, upload: None, _still: None }
    }
}

/// What CreateMultipartUpload said of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Its `Content-Encoding` names an encoding that readers undo.
    pub encoded: bool,
    /// Every encoding that it names is undone here as well, without being told.
    #[serde(default)]
    pub recognised: bool,
    /// It is encrypted with a customer's key: nobody else can read it.
    #[serde(default)]
    pub customer_key: bool,
    /// The headers that describe it, where a case of it would need them.
    pub headers: Vec<(String, String)>,
}

/// How often uploads are looked through for those that nobody came back for.
pub const EXPIRE_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
