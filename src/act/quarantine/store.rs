//! The quarantine bucket, on whatever store it lies.

use super::Wanted;
use super::acts::is_case_id;
use crate::authenticate;
use crate::config::settings::{self, ObjectLock};
use crate::forward::{AnswerBody, Origin, OriginError, Piece, RequestBody, RootsError, buffered};
use crate::record::Metrics;
use crate::s3::target::encode_path;
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use md5::Md5;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::escape::unescape;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// SHA-256 of no bytes: the payload hash of a request without a body.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a piece of a file that goes to the store is read in.
const READ_SIZE: usize = 256 << 10;

/// How long an object may still be on its way when the store has said that it has it.
const AFTER_ANSWER: Duration = Duration::from_secs(2);

/// What tells an object that is there from another: the SHA-256 of its bytes, which are sealed.
const SHA256_HEADER: &str = "x-amz-meta-sha256";

/// Why the quarantine bucket did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer.
    #[error("the quarantine store: {0}")]
    Away(#[from] OriginError),
    /// It refused.
    #[error("the quarantine store answers {status} {code}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// The S3 code, where it gives one.
        code: String,
    },
    /// What was to be sent cannot be read.
    #[error("state.dir: {0}")]
    Local(#[from] io::Error),
}

impl StoreError {
    fn refused(status: StatusCode) -> StoreError {
        StoreError::Refused { status, code: String::new() }
    }
}

/// The bucket.
pub struct Store {
    origin: Arc<Origin>,
    settings: settings::Quarantine,
    /// How long it may take no byte of an object, or give no answer.
    stall_max: Duration,
}

/// What an object is made of.
pub(super) struct Content {
    /// It begins with these bytes.
    pub(super) head: Vec<u8>,
    /// And goes on with those of a file.
    pub(super) file: Option<PathBuf>,
}

/// What has to be said of it beforehand.
struct Sums {
    length: u64,
    sha256: String,
    md5: String,
}

impl Store {
    /// Sets up TLS; asks nothing yet.
    ///
    /// # Errors
    /// The certificates to trust cannot be read.
    pub fn new(
        settings: &settings::Quarantine,
        limits: &settings::Limits,
        metrics: Metrics,
    ) -> Result<Store, RootsError> {
        let origin = Origin::new(&settings.store, limits, metrics)?;
        Ok(Store { origin, settings: settings.clone(), stall_max: limits.origin_timeout })
    }

    /// The key of an object of a case.
    pub fn key(&self, case: &str, object: &str) -> String {
        format!("{}{case}/{object}", self.settings.prefix)
    }

    /// Puts an object there, unless it is there already: a transfer that was cut off may have been further than we know.
    /// It is locked until `retain_until`, where objects are.
    pub(super) async fn put(
        &self,
        key: &str,
        content: Content,
        retain_until: Option<OffsetDateTime>,
    ) -> Result<(), StoreError> {
        let content = Arc::new(content);
        let summed = content.clone();
        let sums = spawn_blocking(move || summed.sums()).await.map_err(io::Error::other)??;
        if self.has(key, &sums).await? {
            return Ok(());
        }
        let mut request = self.request(Method::PUT, key, "", RequestBody::Empty);
        let headers = request.headers_mut();
        headers.insert(CONTENT_LENGTH, sums.length.into());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(SHA256_HEADER, header(&sums.sha256));
        headers.insert("content-md5", header(&sums.md5));
        if let (Some(lock), Some(until)) = (self.settings.object_lock, retain_until) {
            let mode = match lock {
                ObjectLock::Governance => "GOVERNANCE",
                ObjectLock::Compliance => "COMPLIANCE",
            };
            headers.insert("x-amz-object-lock-mode", HeaderValue::from_static(mode));
            let until = until.format(&Rfc3339).map_err(io::Error::other)?;
            headers.insert("x-amz-object-lock-retain-until-date", header(&until));
        }
        let (pieces, body) = mpsc::channel(2);
        let answer = self.sign(request.map(|_| RequestBody::Held(body)), &sums.sha256);
        let answer = self.origin.send_watched(answer);
        tokio::pin!(answer);
        let sending = content.send(pieces, self.stall_max);
        tokio::pin!(sending);
        let (sent, answer) = tokio::select! {
            sent = &mut sending => {
                let answer = timeout(self.stall_max, answer).await.map_err(|_| OriginError::Stalled)??;
                (sent?, expect_success(answer).await?)
            }
            // A refusal, or it has counted the bytes and waits for no more: then nothing is left to be handed over.
            answer = &mut answer => {
                let answer = expect_success(answer?).await?;
                (timeout(AFTER_ANSWER, sending).await.map_err(|_| OriginError::Stalled)??, answer)
            }
        };
        buffered(answer).await?;
        if sent == sums.length {
            return Ok(());
        }
        Err(StoreError::Away(OriginError::Broken("it did not take the whole object".into())))
    }

    async fn has(&self, key: &str, sums: &Sums) -> Result<bool, StoreError> {
        let Some(found) = self.head(key).await? else { return Ok(false) };
        let same = |name: &str, value: &str| found.get(name).is_some_and(|there| there.as_bytes() == value.as_bytes());
        Ok(same(SHA256_HEADER, &sums.sha256) && same(CONTENT_LENGTH.as_str(), &sums.length.to_string()))
    }

    /// The headers of an object; `None` where it is not there.
    pub(super) async fn head(&self, key: &str) -> Result<Option<HeaderMap>, StoreError> {
        let answer = self.send(self.request(Method::HEAD, key, "", RequestBody::Empty), EMPTY_SHA256).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(answer.headers().clone())),
            status => Err(StoreError::refused(status)),
        }
    }

    /// Begins to read an object.
    pub async fn get(&self, key: &str) -> Result<Response<AnswerBody>, StoreError> {
        let answer = self.send(self.request(Method::GET, key, "", RequestBody::Empty), EMPTY_SHA256).await?;
        if answer.status().is_success() { Ok(answer) } else { expect_success(answer).await }
    }

    /// The ids of all cases of which the bucket has something.
    ///
    /// # Errors
    /// The store's.
    pub async fn cases(&self) -> Result<Vec<String>, StoreError> {
        let (mut cases, mut after) = (BTreeSet::new(), String::new());
        loop {
            // Few at a time: answers are read whole, and short.
            let query = format!(
                "list-type=2&max-keys=50&prefix={}&start-after={}",
                encode(&self.settings.prefix),
                encode(&after)
            );
            let query = query.strip_suffix("&start-after=").unwrap_or(&query);
            let answer = self.send(self.request(Method::GET, "", query, RequestBody::Empty), EMPTY_SHA256).await?;
            let body = buffered(expect_success(answer).await?).await?.into_body().collect_short().await?;
            let keys = keys_in(&String::from_utf8_lossy(&body));
            let Some(last) = keys.iter().max() else { break };
            if *last <= after {
                break;
            }
            after.clone_from(last);
            let names = keys.iter().filter_map(|key| key.strip_prefix(&*self.settings.prefix)?.split_once('/'));
            // Checkpoints of the audit log lie beside them.
            cases.extend(names.map(|(case, _)| case.to_owned()).filter(|case| is_case_id(case)));
        }
        Ok(cases.into_iter().collect())
    }

    /// Removes every version of every object of a case; nothing of it is there when this returns `Ok`.
    pub(super) async fn remove(&self, case: &str, objects: &[String]) -> Result<(), StoreError> {
        for object in objects {
            let key = self.key(case, object);
            for version in self.versions(&key).await? {
                let query = format!("versionId={}", encode(&version));
                self.delete(&key, &query).await?;
            }
            if self.head(&key).await?.is_some() {
                self.delete(&key, "").await?;
            }
            if self.head(&key).await?.is_some() {
                return Err(StoreError::Refused {
                    status: StatusCode::CONFLICT,
                    code: "the object is still there".into(),
                });
            }
        }
        Ok(())
    }

    async fn delete(&self, key: &str, query: &str) -> Result<(), StoreError> {
        let answer = self.send(self.request(Method::DELETE, key, query, RequestBody::Empty), EMPTY_SHA256).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        expect_success(answer).await.map(drop)
    }

    /// The versions of an object; none where the store keeps none.
    async fn versions(&self, key: &str) -> Result<Vec<String>, StoreError> {
        let query = format!("prefix={}&versions=", encode(key));
        let answer = self.send(self.request(Method::GET, "", &query, RequestBody::Empty), EMPTY_SHA256).await?;
        if matches!(answer.status().as_u16(), 400 | 404 | 405 | 501) {
            // A store that keeps none, or says nothing of them.
            return Ok(Vec::new());
        }
        let body = buffered(expect_success(answer).await?).await?.into_body().collect_short().await?;
        Ok(versions_in(&String::from_utf8_lossy(&body), key))
    }

    /// Whether the bucket is there, and locks objects where that is wanted.
    ///
    /// # Errors
    /// What is missing.
    pub async fn check(&self) -> Result<(), Wanted> {
        let bucket = &self.settings.bucket;
        let answer = self.send(self.request(Method::HEAD, "", "", RequestBody::Empty), EMPTY_SHA256).await;
        match answer.map(|answer| answer.status()) {
            Err(error) => return Err(Wanted::Store(StoreError::from(error).to_string())),
            Ok(StatusCode::NOT_FOUND) => return Err(Wanted::Bucket(bucket.clone())),
            Ok(status) if !status.is_success() => {
                return Err(Wanted::Store(StoreError::refused(status).to_string()));
            }
            Ok(_) => {}
        }
        if self.settings.object_lock.is_none() {
            return Ok(());
        }
        let answer = self.send(self.request(Method::GET, "", "object-lock=", RequestBody::Empty), EMPTY_SHA256).await;
        let locks = match answer {
            Ok(answer) if answer.status().is_success() => {
                let body = async { buffered(answer).await?.into_body().collect_short().await }.await;
                body.is_ok_and(|body| String::from_utf8_lossy(&body).contains("Enabled"))
            }
            _ => false,
        };
        if locks { Ok(()) } else { Err(Wanted::ObjectLock(bucket.clone())) }
    }

    fn request(&self, method: Method, key: &str, query: &str, body: RequestBody) -> Request<RequestBody> {
        let separator = if key.is_empty() { "" } else { "/" };
        let mark = if query.is_empty() { "" } else { "?" };
        let path = format!("/{}{separator}{}{mark}{query}", self.settings.bucket, encode_path(key));
        let mut request = Request::new(body);
        *request.method_mut() = method;
        // What `encode_path` and `encode` give is a path and a query.
        *request.uri_mut() = path.parse::<Uri>().unwrap_or_default();
        request.headers_mut().insert(HOST, header(&self.settings.store.authority));
        request.headers_mut().insert(CONTENT_LENGTH, 0.into());
        request
    }

    async fn send(&self, request: Request<RequestBody>, sha256: &str) -> Result<Response<AnswerBody>, OriginError> {
        self.origin.send(self.sign(request, sha256)).await
    }

    fn sign(&self, request: Request<RequestBody>, sha256: &str) -> Request<RequestBody> {
        let (mut parts, body) = request.into_parts();
        let region = self.settings.store.region.as_deref().unwrap_or("us-east-1");
        authenticate::sign(&mut parts, sha256, &self.settings.credentials, region, OffsetDateTime::now_utc());
        Request::from_parts(parts, body)
    }
}

impl Content {
    /// It blocks.
    fn sums(&self) -> io::Result<Sums> {
        let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
        sha256.update(&self.head);
        md5.update(&self.head);
        let mut length = self.head.len() as u64;
        if let Some(path) = &self.file {
            let (mut file, mut buffer) = (File::open(path)?, vec![0; READ_SIZE]);
            loop {
                let read = file.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                sha256.update(&buffer[..read]);
                md5.update(&buffer[..read]);
                length += read as u64;
            }
        }
        Ok(Sums { length, sha256: hex::encode(sha256.finalize()), md5: BASE64.encode(md5.finalize()) })
    }

    /// Hands all of it over, and says how much was taken. Dropped, or failed, before its end, the request is aborted.
    ///
    /// # Errors
    /// It cannot be read; the store takes nothing for so long.
    async fn send(self: Arc<Self>, pieces: mpsc::Sender<Piece>, stall_max: Duration) -> Result<u64, StoreError> {
        let mut taken = 0;
        let mut next = Bytes::copy_from_slice(&self.head);
        let mut file = None;
        if let Some(path) = self.file.clone() {
            file = Some(spawn_blocking(move || File::open(path)).await.map_err(io::Error::other)??);
        }
        loop {
            let length = next.len() as u64;
            match timeout(stall_max, pieces.send(Piece::Wire(next))).await {
                Ok(Ok(())) => taken += length,
                // Nobody listens any more: the answer says why.
                Ok(Err(_)) => return Ok(taken),
                Err(_) => return Err(OriginError::Stalled.into()),
            }
            let Some(open) = file.take() else { break };
            let read = spawn_blocking(move || next_of(open)).await.map_err(io::Error::other)?;
            let (bytes, rest) = read?;
            if bytes.is_empty() {
                break;
            }
            (next, file) = (bytes, Some(rest));
        }
        // One that has counted the bytes needs no word that they were the last.
        pieces.send(Piece::End).await.ok();
        Ok(taken)
    }
}

/// The next bytes of a file; none at its end. It blocks.
fn next_of(mut file: File) -> io::Result<(Bytes, File)> {
    let mut buffer = vec![0; READ_SIZE];
    let read = file.read(&mut buffer)?;
    buffer.truncate(read);
    Ok((buffer.into(), file))
}

async fn expect_success(answer: Response<AnswerBody>) -> Result<Response<AnswerBody>, StoreError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = async { buffered(answer).await?.into_body().collect_short().await }.await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    Err(StoreError::Refused { status, code: code.map(|(code, _)| code.to_owned()).unwrap_or_default() })
}

/// The version ids that a ListObjectVersions answer has for one key.
fn versions_in(xml: &str, key: &str) -> Vec<String> {
    let element = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(unescape(rest.split_once(&format!("</{name}>"))?.0).ok()?.into_owned())
    };
    let entries = xml.split("<Version>").chain(xml.split("<DeleteMarker>")).filter(|entry| entry.contains("<Key>"));
    let mut versions: Vec<String> = entries
        .filter(|entry| element(entry, "Key").as_deref() == Some(key))
        .filter_map(|entry| element(entry, "VersionId"))
        .collect();
    versions.sort();
    versions.dedup();
    versions
}

/// The keys that a ListObjectsV2 answer has.
fn keys_in(xml: &str) -> Vec<String> {
    let keys = xml.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
    keys.filter_map(|(key, _)| Some(unescape(key).ok()?.into_owned())).collect()
}

fn encode(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

/// Of what is known to be visible ASCII.
fn header(value: &str) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}
