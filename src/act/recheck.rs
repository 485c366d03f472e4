//! `policy.on_unavailable: allow-and-recheck`: what nobody could decide was let through, is looked up again until it is
//! decided, and removed where it turns out to be listed.
//!
//! The queue is a folder with one file for each upload, written and synced before its end is released: neither a restart
//! nor a full memory forgets one. A file holds digests that may turn out to be listed; only the gate's user can read it.

use super::observe::{Later, decide_later};
use super::own::{self, Identity, Place, Removal};
use super::quarantine::{self, Read};
use super::read_back::read_object;
use crate::decide::{Finding, Subject, Undecidable, Verdict, Why};
use crate::digest::Digests;
use crate::forward::AnswerBody;
use crate::gate::Gate;
use crate::list::index::folder_of;
use http::{HeaderMap, Method, Response};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::iter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

const FOLDER: &str = "recheck";

/// Between two rounds through the queue.
const EVERY: Duration = Duration::from_secs(5);

/// Uploads in the queue; further ones are refused.
const QUEUE_MAX: usize = 100_000;

/// The queue.
pub struct Rechecks {
    dir: PathBuf,
    waiting: AtomicUsize,
}

/// An upload that was let through undecided.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where it is.
    pub place: Place,
    /// For the rules.
    pub subject: Subject,
    /// Our id for the request.
    pub request: String,
    /// The object's own digests, and then those of what its readers get.
    pub digests: Vec<Digests>,
}

/// A job in the queue. Its upload may be released; the answer says which object it became.
pub struct Queued {
    file: PathBuf,
    job: Job,
}

impl Rechecks {
    /// Opens the folder below the state folder, and makes it where it is not there.
    ///
    /// # Errors
    /// The system's, with the path in question.
    pub fn open(state_dir: &Path) -> io::Result<Rechecks> {
        let dir = state_dir.join(FOLDER);
        let open = || {
            fs::create_dir_all(&dir)?;
            // What a crash left half written was never released.
            Ok(fs::read_dir(&dir)?.flatten().filter(|entry| is_job(&entry.path())).count())
        };
        let waiting =
            open().map_err(|error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))?;
        Ok(Rechecks { dir, waiting: AtomicUsize::new(waiting) })
    }

    /// Uploads that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn finish(&self, file: &Path) {
        match fs::remove_file(file) {
            Ok(()) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Err(error) => tracing::error!("{}: {error}", file.display()),
        }
    }
}

/// Puts a job into the queue; it is on the disk when this returns.
///
/// # Errors
/// The system's; the queue is full.
pub async fn enqueue(gate: &Arc<Gate>, job: Job) -> io::Result<Queued> {
    let queue = &gate.rechecks;
    if queue.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE_MAX {
        queue.waiting.fetch_sub(1, Ordering::Relaxed);
        return Err(io::Error::other("the queue of rechecks is full"));
    }
    let file = queue.dir.join(format!("{}.json", job.request));
    let queued = Queued { file, job };
    let write = queued.write(None);
    let written = spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    if written.is_err() {
        queue.waiting.fetch_sub(1, Ordering::Relaxed);
    }
    written.map(|()| queued)
}

impl Queued {
    /// The origin has answered: what it stored can be told from what comes under the key later.
    pub async fn answered(self, gate: &Gate, answer: &Response<AnswerBody>) {
        if answer.status().is_client_error() {
            // What it refuses it does not have.
            return gate.rechecks.finish(&self.file);
        }
        if answer.status().is_success() {
            let write = self.write(Some(Identity::of(answer.headers())));
            // Without it the object is read before it is removed.
            if let Ok(Err(error)) = spawn_blocking(write).await {
                tracing::warn!("{}: {error}", self.file.display());
            }
        }
    }

    fn write(&self, identity: Option<Identity>) -> impl FnOnce() -> io::Result<()> + use<> {
        let identity = identity.unwrap_or_default();
        let digests = |digests: &Digests| {
            let hex = |bytes: Option<&[u8]>| bytes.map(hex::encode);
            json!({
                "length": digests.length, "sha256": hex(Some(&digests.sha256)),
                "sha1": hex(digests.sha1.as_ref().map(|sha1| sha1.as_slice())),
                "md5": hex(digests.md5.as_ref().map(|md5| md5.as_slice())),
            })
        };
        let text = json!({
            "host": self.job.place.host, "path": self.job.place.path,
            "buckets": self.job.subject.buckets, "tenant": self.job.subject.tenant,
            "request": self.job.request, "version": identity.version, "etag": identity.etag,
            "digests": self.job.digests.iter().map(digests).collect::<Vec<_>>(),
        });
        let (file, text) = (self.file.clone(), text.to_string());
        move || {
            let new = file.with_extension("new");
            let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            written.write_all(text.as_bytes())?;
            written.sync_all()?;
            fs::rename(&new, &file)?;
            // The new name is durable with its folder only.
            File::open(folder_of(&file))?.sync_all()
        }
    }
}

fn read(text: &[u8]) -> Option<(Job, Identity)> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let word = |key: &str| value[key].as_str().map(str::to_owned);
    let digests = |value: &Value| {
        let bytes = |key: &str| value[key].as_str().and_then(|text| hex::decode(text).ok());
        Some(Digests {
            md5: bytes("md5").and_then(|md5| md5.try_into().ok()),
            sha1: bytes("sha1").and_then(|sha1| sha1.try_into().ok()),
            sha256: bytes("sha256")?.try_into().ok()?,
            length: value["length"].as_u64()?,
        })
    };
    let buckets = value["buckets"].as_array()?.iter().map(|bucket| bucket.as_str().map(str::to_owned));
    let job = Job {
        place: Place { host: word("host")?, path: word("path")? },
        subject: Subject { buckets: buckets.collect::<Option<_>>()?, tenant: word("tenant") },
        request: word("request")?,
        digests: value["digests"].as_array()?.iter().map(digests).collect::<Option<Vec<_>>>()?,
    };
    (!job.digests.is_empty()).then_some((job, Identity { version: word("version"), etag: word("etag") }))
}

/// Goes through the queue again and again, until the gate ends.
pub async fn run(gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // While every match is let through, nothing is removed, and what waits is not forgotten.
        if gate.rechecks.waiting() == 0 || gate.observe.is_on() {
            continue;
        }
        tokio::select! {
            () = round(&gate) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn round(gate: &Arc<Gate>) {
    let files = match fs::read_dir(&gate.rechecks.dir) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()),
        Err(error) => return tracing::error!("{}: {error}", gate.rechecks.dir.display()),
    };
    for file in files.filter(|file| is_job(file)) {
        let Some((job, identity)) = fs::read(&file).ok().and_then(|text| read(&text)) else {
            tracing::error!("{}: cannot be read; an object that nobody has looked up may be there", file.display());
            continue;
        };
        match look_again(gate, &job, &identity).await {
            Ok(()) => {
                gate.rechecks.finish(&file);
            }
            // Nobody answers yet; the others would not be decided either.
            Err(NotYet::Undecided) => return,
            Err(NotYet::Unread) => {
                tracing::error!(request = job.request, "a list needs a digest of an object that cannot be read yet");
            }
            Err(NotYet::NotRemoved) => {
                tracing::error!(request = job.request, "a listed object cannot be removed yet");
            }
        }
    }
}

enum NotYet {
    Undecided,
    Unread,
    NotRemoved,
}

fn is_job(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "json")
}

/// Looks one upload up again, and removes it where it is listed.
async fn look_again(gate: &Arc<Gate>, job: &Job, identity: &Identity) -> Result<(), NotYet> {
    let mut finding = look_up_all(gate, &job.digests).await;
    if finding == Finding::Undecidable(Undecidable::DigestMissing) {
        let Some(digests) = read_again(gate, job, identity).await.ok_or(NotYet::Unread)? else {
            super::written_down(gate, &job.request, "Recheck", "gone", &Why::Undecided(Undecidable::DigestMissing));
            return Ok(());
        };
        finding = look_up_all(gate, &digests).await;
        if finding == Finding::Undecidable(Undecidable::DigestMissing) {
            return Err(NotYet::Unread);
        }
    }
    match decide_later(gate, finding, &job.subject) {
        Later::Waits => Err(NotYet::Undecided),
        Later::Is(verdict) => act_on(gate, job, identity, verdict).await,
    }
}

async fn act_on(gate: &Arc<Gate>, job: &Job, identity: &Identity, verdict: Verdict) -> Result<(), NotYet> {
    match verdict {
        Verdict::Defer(_) => Err(NotYet::Undecided),
        Verdict::Forward(_, why) => {
            super::written_down(gate, &job.request, "Recheck", "clean", &why);
            Ok(())
        }
        Verdict::Quarantine(why @ Why::Listed(_), _) => {
            let read = find(gate, job, identity).await.ok_or(NotYet::NotRemoved)?;
            let kept = quarantine::keep_found(gate, &job.request, &job.place, &job.subject, &why, read).await;
            kept.map_err(|error| {
                tracing::error!(request = job.request, "a listed object stays until there is a case of it: {error}");
                NotYet::NotRemoved
            })?;
            let gone = remove(gate, job, identity).await.ok_or(NotYet::NotRemoved)?;
            super::written_down(gate, &job.request, "Recheck", gone, &why);
            Ok(())
        }
        Verdict::Reject(why @ Why::Listed(_), _) => {
            let gone = remove(gate, job, identity).await.ok_or(NotYet::NotRemoved)?;
            super::written_down(gate, &job.request, "Recheck", gone, &why);
            Ok(())
        }
        Verdict::Reject(..) | Verdict::Quarantine(..) => Err(NotYet::Undecided),
    }
}

/// Reads that very object; only what is known of it, where it is not there any more. `None` where that cannot be told.
async fn find(gate: &Gate, job: &Job, identity: &Identity) -> Option<Read> {
    let answer = own::call(gate, &job.place, Method::GET, &own::version_query(identity), None).await?;
    let gone = Read { digests: job.digests[0], decoded: None, keeping: None, headers: HeaderMap::new() };
    match answer.status().as_u16() {
        200 => {}
        404 => return Some(gone),
        _ => return None,
    }
    let read = read_object(gate, answer, &job.subject, Vec::new()).await?;
    Some(if read.digests.sha256 == job.digests[0].sha256 { read } else { gone })
}

async fn look_up_all(gate: &Gate, all: &[Digests]) -> Finding {
    let mut finding = Finding::Unlisted;
    for digests in all {
        finding = finding.and(gate.look_up(digests).await);
    }
    finding
}

/// A list has come since that needs a digest which nobody computed: the object is read, and what is known of it comes
/// with all of them. `Some(None)` where it is not there any more, `None` where that cannot be told.
async fn read_again(gate: &Gate, job: &Job, identity: &Identity) -> Option<Option<Vec<Digests>>> {
    let answer = own::call(gate, &job.place, Method::GET, &own::version_query(identity), None).await?;
    if answer.status() == 404 {
        return Some(None);
    }
    if !answer.status().is_success() {
        return None;
    }
    let read = read_object(gate, answer, &job.subject, Vec::new()).await?.digests;
    let is_it = read.sha256 == job.digests[0].sha256;
    Some(is_it.then(|| iter::once(read).chain(job.digests[1..].iter().copied()).collect()))
}

/// Removes that very object. `None` where that could not be done yet.
async fn remove(gate: &Gate, job: &Job, identity: &Identity) -> Option<&'static str> {
    if *identity != Identity::default() {
        match own::remove(gate, &job.place, identity).await {
            Removal::Gone => return Some("removed"),
            Removal::Failed => return None,
            Removal::Another => {}
        }
    }
    // Nobody knows which object it became, or another is there: only one that has these bytes is meant.
    let answer = own::call(gate, &job.place, Method::GET, "", None).await?;
    if answer.status() == 404 {
        return Some("gone");
    }
    let found = Identity::of(answer.headers());
    if !answer.status().is_success() {
        return None;
    }
    if read_object(gate, answer, &job.subject, Vec::new()).await?.digests.sha256 != job.digests[0].sha256 {
        return Some("gone");
    }
    (own::remove(gate, &job.place, &found).await == Removal::Gone).then_some("removed")
}
