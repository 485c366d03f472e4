//! `multipart.unverifiable: read-back`: an object that nobody could hash on its way, or not as its readers get it, is read
//! after it was put together, and removed where it is listed, or cannot be decoded within the bounds.
//!
//! From before the Complete is released until the verdict every request on the key, and every copy from it, is told to
//! come again. What is under way is written down first, so that a restart takes it up again. It is never done with object
//! lock, where nothing could be removed, or with a customer's key, where nothing could be read.

use super::observe::{Later, decide_later};
use super::own::{self, Identity, Place, Removal};
use super::quarantine::{self, Read};
use super::written_down;
use crate::config::settings::Unverifiable;
use crate::decide::{Finding, Reply, Subject, Verdict, Why};
use crate::digest::Hashing;
use crate::error::Failure;
use crate::forward::{AnswerBody, buffered};
use crate::gate::Gate;
use crate::inspect::Decoding;
use crate::s3::code::{Code, error_xml};
use crate::s3::head::content_encoding;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const FOLDER: &str = "read-back";

/// What is sent to a client that waits, and how often: clients take blanks before the document as S3 sends them.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client waits for a verdict at most; the key stays shut until there is one.
const CLIENT_WAITS_MAX: Duration = Duration::from_secs(15 * 60);

/// Between two attempts to read or remove.
const RETRY: Duration = Duration::from_secs(5);

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Keys that are being read back.
pub struct ReadBacks {
    dir: PathBuf,
    /// Names of objects, each as often as it is being read back.
    shut: Mutex<HashMap<String, usize>>,
    stopping: watch::Sender<bool>,
}

/// One object that is to be read back.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where it will be.
    pub place: Place,
    /// Its name in every way in which a request can be read; see [`Target::names`](crate::s3::target::Target::names).
    pub names: Vec<String>,
    /// For the rules.
    pub subject: Subject,
    /// Our id for the request.
    pub request: String,
}

/// A job that is written down, and whose key is shut. Dropped before it was cancelled or run, it is run: the origin may
/// have the object.
pub struct Pending {
    gate: Arc<Gate>,
    job: Option<Job>,
    file: PathBuf,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Clean,
    Removed,
    /// Removed, for nobody can tell what its readers would have got.
    Undecodable,
}

impl ReadBacks {
    /// Opens the folder below the state folder, and makes it where it is not there.
    ///
    /// # Errors
    /// The system's, with the path in question.
    pub fn open(state_dir: &Path) -> io::Result<ReadBacks> {
        let dir = state_dir.join(FOLDER);
        fs::create_dir_all(&dir)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))?;
        Ok(ReadBacks { dir, shut: Mutex::default(), stopping: watch::Sender::new(false) })
    }

    /// Whether one of these names is being read back.
    pub fn is_shut(&self, names: &[String]) -> bool {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        !shut.is_empty() && names.iter().any(|name| shut.contains_key(name))
    }

    /// Ends what is under way; the next start takes it up again.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until the next attempt. False where the gate ends instead.
    async fn pause(&self) -> bool {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            // An error means that nobody is left who could say it: the same thing.
            _ = stopping.wait_for(|stop| *stop) => false,
            () = sleep(RETRY) => true,
        }
    }

    fn shut(&self, names: &[String]) {
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            *shut.entry(name.clone()).or_default() += 1;
        }
    }

    fn open_again(&self, names: &[String]) {
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if let Some(count) = shut.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    shut.remove(name);
                }
            }
        }
    }
}

/// Whether a request brings a customer's key: its object can be read with that alone.
pub fn has_customer_key(parts: &Parts) -> bool {
    parts.headers.keys().any(|name| name.as_str().contains("-encryption-customer-"))
}

/// Whether an object may be read back: the setting says so, no customer's key is needed, and the bucket locks nothing.
pub async fn is_possible(gate: &Gate, request: &Parts, bucket: &str) -> bool {
    if gate.settings.multipart.unverifiable != Unverifiable::ReadBack || has_customer_key(request) {
        return false;
    }
    let Some(bucket) = own::bucket_of(request, bucket, &gate.settings.listen.base_domains) else { return false };
    match own::ask(&gate.settings, &gate.origin, &bucket, "object-lock=").await {
        Some((status, body)) if status.is_success() => !body.contains("Enabled"),
        // No such configuration, or a store that knows none.
        Some((status, _)) => own::knows_no_such(status),
        None => false,
    }
}

/// Shuts the key and writes the job down. It blocks for a write to the disk.
///
/// # Errors
/// The system's; the key is open then.
pub fn begin(gate: &Arc<Gate>, job: Job) -> io::Result<Pending> {
    let file = gate.read_backs.dir.join(format!("{}.json", job.request));
    let line = json!({
        "host": job.place.host,
        "path": job.place.path,
        "names": job.names,
        "buckets": job.subject.buckets,
        "tenant": job.subject.tenant,
        "request": job.request,
    });
    let mut written = File::create(&file)?;
    written.write_all(line.to_string().as_bytes())?;
    written.sync_all()?;
    gate.read_backs.shut(&job.names);
    Ok(Pending { gate: gate.clone(), job: Some(job), file })
}

/// Takes up what was under way when the gate ended. A file that cannot be read is kept, and named in the log.
///
/// # Errors
/// The system's.
pub fn resume(gate: &Arc<Gate>) -> io::Result<()> {
    for entry in fs::read_dir(&gate.read_backs.dir)? {
        let file = entry?.path();
        match fs::read(&file).ok().and_then(|text| read(&text)) {
            Some(job) => {
                gate.read_backs.shut(&job.names);
                drop(Pending { gate: gate.clone(), job: Some(job), file });
            }
            None => tracing::error!(
                "{}: cannot be read; the object of an upload in parts may be there that nobody has looked up",
                file.display()
            ),
        }
    }
    Ok(())
}

fn read(text: &[u8]) -> Option<Job> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let word = |key: &str| value.get(key)?.as_str().map(str::to_owned);
    let words = |key: &str| -> Option<Vec<String>> {
        value.get(key)?.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
    };
    Some(Job {
        place: Place { host: word("host")?, path: word("path")? },
        names: words("names")?,
        subject: Subject { buckets: words("buckets")?, tenant: word("tenant") },
        request: word("request")?,
    })
}

impl Pending {
    /// The origin has no such object after all.
    pub fn cancel(mut self) {
        if let Some(job) = self.job.take() {
            finish(&self.gate, &job, &self.file);
        }
    }

    /// The origin refused the Complete. What it refuses it does not have; of an error of its own nobody knows.
    pub fn refused(self, status: StatusCode) {
        if status.is_client_error() {
            self.cancel();
        }
    }

    /// The answer for the client, which waits for the verdict. `complete` is the origin's answer, a success by its head.
    pub fn answer(self, complete: Response<AnswerBody>) -> Response<AnswerBody> {
        let (mut head, body) = complete.into_parts();
        let (pieces, receiver) = mpsc::channel(1);
        let answered = Response::from_parts(head.clone(), body);
        tokio::spawn(async move {
            // A client that does not wait changes nothing: the object is read all the same.
            pieces.send(Bytes::from_static(DECLARATION.as_bytes())).await.ok();
            let verdict = tokio::spawn(self.verdict(answered));
            tokio::pin!(verdict);
            let end = Box::pin(sleep(CLIENT_WAITS_MAX));
            tokio::pin!(end);
            let document = loop {
                tokio::select! {
                    document = &mut verdict => break document.unwrap_or_else(|_| failed("")),
                    () = &mut end => break failed(""),
                    () = sleep(PATIENCE) => { pieces.send(Bytes::from_static(b" ")).await.ok(); }
                }
            };
            let document = document.strip_prefix(DECLARATION.trim_end()).unwrap_or(&document).to_owned();
            pieces.send(document.into()).await.ok();
        });
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove("transfer-encoding");
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        Response::from_parts(head, AnswerBody::channel(receiver))
    }

    /// Waits for the end of the origin's answer, reads the object, and gives the document for the client.
    async fn verdict(mut self, complete: Response<AnswerBody>) -> String {
        let identity = Identity { etag: None, ..Identity::of(complete.headers()) };
        let document = match buffered(complete).await {
            Ok(answer) => answer.into_body().collect_short().await.unwrap_or_default(),
            // The drop of this reads the object: the origin may have it.
            Err(_) => return failed(""),
        };
        let document = String::from_utf8_lossy(&document).trim_start().to_owned();
        if document.contains("<Error>") {
            self.cancel();
            return document;
        }
        let Some(job) = self.job.take() else { return failed("") };
        let Some(found) = run(&self.gate, &job, &identity).await else { return failed("") };
        finish(&self.gate, &job, &self.file);
        match found {
            Found::Clean => document,
            Found::Removed => {
                error_xml(Code::AccessDenied, Code::AccessDenied.message(), &job.place.path, &job.request)
            }
            Found::Undecodable => {
                let (code, message) = Failure::Undecodable.answer();
                error_xml(code, &message, &job.place.path, &job.request)
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        let (gate, file) = (self.gate.clone(), self.file.clone());
        tokio::spawn(async move {
            if run(&gate, &job, &Identity::default()).await.is_some() {
                finish(&gate, &job, &file);
            }
        });
    }
}

/// Nothing is left to be done: opens the key.
fn finish(gate: &Gate, job: &Job, file: &Path) {
    // Removed first: a key that is open has nothing to be taken up again.
    if let Err(error) = fs::remove_file(file) {
        tracing::error!("{}: {error}", file.display());
    }
    gate.read_backs.open_again(&job.names);
}

fn failed(path: &str) -> String {
    error_xml(Code::ServiceUnavailable, Code::ServiceUnavailable.message(), path, "")
}

/// Reads the object until there is a verdict, and removes it until it is gone. `None` where the gate ends before that.
async fn run(gate: &Arc<Gate>, job: &Job, identity: &Identity) -> Option<Found> {
    let (identity, why, found) = loop {
        let looked = look(gate, job, identity).await;
        match looked.map(|looked| (looked.later, looked.identity, looked.read)) {
            Some((Later::Is(Verdict::Reject(why @ Why::Unlisted, _)), identity, _)) => {
                break (identity, why, Found::Undecodable);
            }
            Some((Later::Is(Verdict::Forward(_, why)), ..)) => {
                written_down(gate, &job.request, "ReadBack", "clean", &why);
                return Some(Found::Clean);
            }
            Some((Later::Is(Verdict::Reject(why, _)), identity, _)) => break (identity, why, Found::Removed),
            Some((Later::Is(Verdict::Quarantine(why, _)), identity, Some(read))) => {
                match quarantine::keep_found(gate, &job.request, &job.place, &job.subject, &why, read).await {
                    Ok(()) => break (identity, why, Found::Removed),
                    Err(error) => {
                        tracing::error!(
                            request = job.request,
                            "a listed object stays until there is a case of it: {error}"
                        );
                    }
                }
                if !gate.read_backs.pause().await {
                    return None;
                }
            }
            Some((Later::Waits | Later::Is(Verdict::Defer(_) | Verdict::Quarantine(..)), ..)) | None => {
                tracing::warn!(request = job.request, "an object cannot be decided about yet; its key stays shut");
                if !gate.read_backs.pause().await {
                    return None;
                }
            }
        }
    };
    // Another object has taken its place since it was read: it is gone. Nothing is removed while all is let through.
    while gate.observe.is_on() || own::remove(gate, &job.place, &identity).await == Removal::Failed {
        tracing::error!(request = job.request, "a listed object cannot be removed yet; its key stays shut");
        if !gate.read_backs.pause().await {
            return None;
        }
    }
    written_down(gate, &job.request, "ReadBack", "removed", &why);
    Some(found)
}

/// An object that was looked at.
struct Looked {
    identity: Identity,
    later: Later,
    read: Option<Read>,
}

/// What the lists say of the object; `None` where it could not be read. One that is gone is clean.
async fn look(gate: &Gate, job: &Job, identity: &Identity) -> Option<Looked> {
    let answer = own::call(gate, &job.place, Method::GET, &own::version_query(identity), None).await?;
    let identity = Identity::of(answer.headers());
    let (later, read) = match answer.status().as_u16() {
        200 => {
            let encoding = content_encoding(answer.headers());
            let decodings = Decoding::ways(&encoding, &gate.settings.encodings, gate.algorithms());
            let read = read_object(gate, answer, &job.subject, decodings).await?;
            let later = match gate.look_up_as_read(&read.digests, read.decoded.as_ref(), true).await {
                Ok(finding) => decide_later(gate, finding, &job.subject),
                // Everything is let through.
                Err(_) if gate.observe.is_on() => decide_later(gate, Finding::Unlisted, &job.subject),
                // It cannot be decoded, and that is refused.
                Err(_) => Later::Is(Verdict::Reject(Why::Unlisted, Reply::Refuse)),
            };
            (later, Some(read))
        }
        404 => (decide_later(gate, Finding::Unlisted, &job.subject), None),
        _ => return None,
    };
    Some(Looked { identity, later, read })
}

/// Reads the body of an answer; it is kept on the way where it could have to be, and decoded where that is asked for.
pub(super) async fn read_object(
    gate: &Gate,
    answer: Response<AnswerBody>,
    subject: &Subject,
    mut decodings: Vec<Decoding>,
) -> Option<Read> {
    let mut hashing = Hashing::new(gate.algorithms());
    let quarantine = gate.quarantine.as_ref().filter(|_| gate.settings.policy.may_quarantine(subject));
    let mut keeping = quarantine.map(|quarantine| quarantine.keeping());
    let (head, mut body) = answer.into_parts();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            hashing.update(&data);
            decodings.iter_mut().for_each(|decoding| decoding.update(&data));
            if let Some(keeping) = &mut keeping {
                keeping.see(&data).await;
            }
        }
    }
    Some(Read { digests: hashing.finish(), decoded: Decoding::finish_all(decodings), keeping, headers: head.headers })
}
