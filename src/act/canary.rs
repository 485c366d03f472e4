//! The canary: an upload of random bytes, made anew for this installation, that must never be stored.
//!
//! It takes the whole way: through the function that serves clients' connections, signed with the gate's own credentials,
//! hashed, held and sent to the real origin, under a digest that only the canary's list has. That list can only reject,
//! whatever rules and switches say, and a hit on it is nobody's. Where the object was not at the origin and is there
//! afterwards, the gate does not keep out what it must: uploads are refused until somebody has looked and starts it anew.
//! One that was there before this process sent anything says nothing about it, and is in the way of the test.

use super::own::{self, Identity, Place, Removal};
use crate::authenticate::{Authenticator, sign};
use crate::config::settings::{self, Authentication, Credentials, HostHeader, Settings, User};
use crate::digest::{Algorithms, Digests, Hashing};
use crate::forward::AnswerBody;
use crate::gate::Gate;
use crate::list::index::put_private;
use crate::listen;
use crate::record::Alarm;
use crate::s3::target::encode_path;
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// In the state folder.
const FILE: &str = "canary";

/// Its object, if it ever becomes one.
const KEY: &str = "hashgate-canary";

/// The first is shorter than what is held before the origin hears of an upload, the second longer.
const SIZES: [usize; 2] = [4 << 10, 160 << 10];

const IN_THE_WAY: &str = "another object is in the way: remove `hashgate-canary` from the canary's bucket";

/// For one round; an origin that takes longer fails it.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// So many failed rounds are an alarm: an origin is restarted now and then.
const FAILURES_MAX: u32 = 3;

/// Marks a request of the gate's own. No client can: it is no part of what is read from a connection.
#[derive(Clone, Copy, Debug)]
pub struct Internal;

/// What the canary needs, made at the start.
pub struct Canary {
    payloads: [Bytes; SIZES.len()],
    digests: [Digests; SIZES.len()],
    /// Knows the gate's own credentials, and nobody else's.
    pub authenticator: Authenticator,
    credentials: Credentials,
    settings: settings::Canary,
    /// The request that was refused last because of what is listed here.
    refused: Mutex<String>,
}

/// How it is sent.
#[derive(Clone, Copy, Debug)]
struct Shape {
    size: usize,
    chunked: bool,
}

/// Every way in which it is sent, in turn.
const SHAPES: [Shape; 4] = [
    Shape { size: 0, chunked: false },
    Shape { size: 1, chunked: false },
    Shape { size: 0, chunked: true },
    Shape { size: 1, chunked: true },
];

/// What came of a round.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Refused, and not there.
    Refused,
    /// It could not be tried, and why.
    Failing(String),
    /// It is there.
    Stored,
}

impl Canary {
    /// Reads its payloads from the state folder, and draws them where they are not there. They are kept, so that one which
    /// was stored and not removed is still known after a restart. `None` where the configuration has no canary.
    ///
    /// # Errors
    /// The file cannot be read or made.
    pub fn new(settings: &Settings) -> io::Result<Option<Canary>> {
        let (Some(canary), Some(credentials)) = (&settings.canary, &settings.origin.credentials) else {
            return Ok(None);
        };
        let mut large = payloads(&settings.state_dir.join(FILE))?;
        let payloads = [large.split_to(SIZES[0]), large];
        Ok(Some(Canary {
            digests: payloads.each_ref().map(|payload| Digests::of(payload)),
            payloads,
            authenticator: authenticator(settings, credentials),
            credentials: credentials.clone(),
            settings: canary.clone(),
            refused: Mutex::default(),
        }))
    }

    /// Whether a payload is the canary.
    pub fn is(&self, digests: &Digests) -> bool {
        self.digests.iter().any(|known| known.sha256 == digests.sha256)
    }

    /// The gate has refused it in this request.
    pub fn was_refused(&self, request: &str) {
        request.clone_into(&mut self.refused.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn has_refused(&self, request: &str) -> bool {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) == request
    }
}

/// The bytes of all payloads, one after the other.
fn payloads(file: &Path) -> io::Result<Bytes> {
    let length = SIZES.iter().sum();
    let bytes = match fs::read(file) {
        Ok(bytes) if bytes.len() == length => bytes,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {
            let mut random = vec![0; length];
            getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
            put_private(&mut &random[..], file)?;
            random
        }
    };
    Ok(bytes.into())
}

/// One that takes the gate's own credentials as those of a user without a tenant.
fn authenticator(settings: &Settings, credentials: &Credentials) -> Authenticator {
    let user = User {
        access_key: credentials.access_key.clone(),
        secret_key: Some(credentials.secret_key.clone()),
        tenant: None,
        // Where the origin wants its own name, every request is signed anew.
        origin_credentials: (settings.origin.host_header == HostHeader::Endpoint).then(|| credentials.clone()),
    };
    let authentication = Authentication { users: vec![user], ..settings.authentication.clone() };
    Authenticator::new(&authentication, settings.origin.region.as_deref())
}

/// Sends it again and again, until the gate ends.
pub async fn run(gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    let Some(canary) = &gate.canary else { return };
    let place = Place {
        host: gate.settings.origin.authority.clone(),
        path: format!("/{}/{KEY}", encode_path(&canary.settings.bucket)),
    };
    let (mut trouble, mut was_absent) = (Trouble::default(), false);
    for shape in SHAPES.into_iter().cycle() {
        let outcome = tokio::select! {
            outcome = timeout(ROUND_MAX, round(&gate, canary, &place, shape, &mut was_absent, stop.clone())) => outcome,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let outcome = outcome.unwrap_or_else(|_| Outcome::Failing("the origin takes too long".to_owned()));
        tell(&gate, &outcome, &mut trouble);
        if outcome == Outcome::Stored {
            return remove(&gate, canary, &place, stop).await;
        }
        tokio::select! {
            () = sleep(canary.settings.every) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn tell(gate: &Gate, outcome: &Outcome, trouble: &mut Trouble) {
    let (metrics, alarms) = (&gate.sinks.metrics, &gate.sinks.alarms);
    match outcome {
        Outcome::Refused => {
            metrics.canary("refused");
            if trouble.is_over() {
                alarms.clear(Alarm::CanaryFailing);
            }
        }
        Outcome::Failing(why) => {
            metrics.canary("failing");
            tracing::warn!("the canary could not be tried: {why}");
            if trouble.is_too_much() {
                alarms.raise(Alarm::CanaryFailing, &format!("the canary cannot be tried: {why}"));
            }
        }
        Outcome::Stored => {
            metrics.canary("stored");
            // Nothing clears it: whatever let it through may let anything through.
            alarms.raise(
                Alarm::CanaryStored,
                "what must never be stored was stored: uploads are refused until the gate is looked at and restarted",
            );
        }
    }
}

/// Failures since every shape has passed in a row: what fails in one shape alone, as in a store that does not take it, is
/// not made good by the others.
#[derive(Default)]
struct Trouble {
    failures: u32,
    passed: usize,
}

impl Trouble {
    /// One more has passed. True where the trouble is over.
    fn is_over(&mut self) -> bool {
        self.passed += 1;
        if self.passed >= SHAPES.len() {
            self.failures = 0;
        }
        self.failures == 0
    }

    /// One more has failed. True where that is an alarm.
    fn is_too_much(&mut self) -> bool {
        (self.failures, self.passed) = (self.failures + 1, 0);
        self.failures >= FAILURES_MAX
    }
}

/// One canary, from the client's side and from the origin's. `was_absent` says whether this process has found it absent
/// yet: what is there later was stored since, by this round or by an earlier one whose store was slow.
async fn round(
    gate: &Arc<Gate>,
    canary: &Canary,
    place: &Place,
    shape: Shape,
    was_absent: &mut bool,
    stop: watch::Receiver<bool>,
) -> Outcome {
    match stored(gate, canary, place).await {
        Ok(None) => *was_absent = true,
        Ok(Some(_)) if *was_absent => return Outcome::Stored,
        Ok(Some(identity)) => return Outcome::Failing(left_over(gate, place, &identity).await),
        Err(why) => return Outcome::Failing(why),
    }
    let answer = send(gate, canary, place, shape, stop).await;
    match (stored(gate, canary, place).await, answer) {
        (Ok(Some(_)), _) => Outcome::Stored,
        (_, Ok(answer)) if answer.status.is_success() => Outcome::Stored,
        (Err(why), _) | (_, Err(why)) => Outcome::Failing(why),
        (Ok(None), Ok(answer)) if answer.status == StatusCode::FORBIDDEN && canary.has_refused(&answer.request) => {
            Outcome::Refused
        }
        (Ok(None), Ok(answer)) => {
            Outcome::Failing(format!("the answer was {}, and not the gate's own refusal", answer.status.as_u16()))
        }
    }
}

/// Removes what an earlier process has left, and says what came of that.
async fn left_over(gate: &Gate, place: &Place, identity: &Identity) -> String {
    let removed = own::remove(gate, place, identity).await == Removal::Gone;
    let done = if removed { "it is removed now" } else { "remove `hashgate-canary` from the canary's bucket" };
    format!("its object is left over from before the start: {done}")
}

struct Answered {
    status: StatusCode,
    /// The gate's id for the request, where it was the gate that answered.
    request: String,
}

/// Sends it as a client would, over a connection in memory.
async fn send(
    gate: &Arc<Gate>,
    canary: &Canary,
    place: &Place,
    shape: Shape,
    stop: watch::Receiver<bool>,
) -> Result<Answered, String> {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let answered = async {
        let request = request(gate, canary, place, shape)?;
        let failed = |error: hyper::Error| error.to_string();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.map_err(failed)?;
        // It ends with either end of the connection.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(failed)?;
        let (head, mut body) = answer.into_parts();
        while body.frame().await.transpose().map_err(failed)?.is_some() {}
        let request = head.headers.get("x-amz-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        Ok(Answered { status: head.status, request: request.to_owned() })
    };
    tokio::select! {
        biased;
        answered = answered => answered,
        () = listen::serve_internal(gate, theirs, stop) => Err("the gate ended the connection".to_owned()),
    }
}

fn request(gate: &Gate, canary: &Canary, place: &Place, shape: Shape) -> Result<Request<Full<Bytes>>, String> {
    let payload = &canary.payloads[shape.size];
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::PUT;
    parts.uri = place.path.parse().map_err(|_| "canary.bucket is no name of a bucket".to_owned())?;
    let host = place.host.parse().map_err(|_| "origin.endpoint fits into no header".to_owned())?;
    parts.headers.insert(HOST, host);
    let body = if shape.chunked { chunked(&mut parts, payload) } else { payload.clone() };
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let hash = if shape.chunked {
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned()
    } else {
        hex::encode(canary.digests[shape.size].sha256)
    };
    let region = gate.settings.origin.region.as_deref().unwrap_or("us-east-1");
    sign(&mut parts, &hash, &canary.credentials, region, OffsetDateTime::now_utc());
    Ok(Request::from_parts(parts, Full::new(body)))
}

/// The body as unsigned chunks with a trailing checksum, as most SDKs send it over TLS.
fn chunked(parts: &mut Parts, payload: &Bytes) -> Bytes {
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, payload) as u32;
    let mut body = format!("{:x}\r\n", payload.len()).into_bytes();
    body.extend_from_slice(payload);
    let checksum = BASE64.encode(checksum.to_be_bytes());
    body.extend_from_slice(format!("\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n").as_bytes());
    let headers = &mut parts.headers;
    headers.insert(CONTENT_ENCODING, http::HeaderValue::from_static("aws-chunked"));
    headers.insert("x-amz-decoded-content-length", payload.len().into());
    headers.insert("x-amz-trailer", http::HeaderValue::from_static("x-amz-checksum-crc32"));
    body.into()
}

/// The object under its key, where that has the canary's bytes. `Err` where the origin does not say.
async fn stored(gate: &Gate, canary: &Canary, place: &Place) -> Result<Option<Identity>, String> {
    let asked = |answer: Option<http::Response<_>>| answer.ok_or_else(|| "the origin does not answer".to_owned());
    let head = asked(own::call(gate, place, Method::HEAD, "", None).await)?;
    match head.status() {
        StatusCode::NOT_FOUND => return Ok(None),
        status if status.is_success() && !SIZES.contains(&length(&head)) => return Err(IN_THE_WAY.to_owned()),
        status if status.is_success() => {}
        status => return Err(format!("the origin answers {} when it is asked for the canary", status.as_u16())),
    }
    let identity = Identity::of(head.headers());
    let answer = asked(own::call(gate, place, Method::GET, "", None).await)?;
    if !answer.status().is_success() {
        return Err(format!(
            "the origin has an object `{KEY}`, and answers {} when it is read",
            answer.status().as_u16()
        ));
    }
    match hash(answer).await {
        Some(digests) if canary.is(&digests) => Ok(Some(identity)),
        Some(_) => Err(IN_THE_WAY.to_owned()),
        None => Err("the origin's answer broke off".to_owned()),
    }
}

async fn hash(answer: http::Response<AnswerBody>) -> Option<Digests> {
    let mut hashing = Hashing::new(Algorithms::NONE);
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            hashing.update(&data);
        }
    }
    Some(hashing.finish())
}

fn length<T>(head: &http::Response<T>) -> usize {
    let length = head.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.unwrap_or(usize::MAX)
}

/// Removes it until it is gone. Nothing is sent any more: no upload goes through.
async fn remove(gate: &Gate, canary: &Canary, place: &Place, mut stop: watch::Receiver<bool>) {
    loop {
        match stored(gate, canary, place).await {
            Ok(Some(identity)) if own::remove(gate, place, &identity).await == Removal::Gone => {
                return tracing::warn!("the canary that was stored is removed");
            }
            Ok(None) => return,
            Ok(Some(_)) => tracing::error!("the canary that was stored could not be removed; it is tried again"),
            Err(why) => tracing::error!("the canary that was stored is not removed yet: {why}"),
        }
        tokio::select! {
            () = sleep(canary.settings.every) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shape_that_always_fails_is_an_alarm() {
        let mut trouble = Trouble::default();
        assert!(trouble.is_over());
        let rounds = [false, true, false, true, true, false]
            .map(|passes| if passes { trouble.is_over() } else { trouble.is_too_much() });
        assert_eq!(rounds, [false, false, false, false, false, true]);
        assert_eq!([(); 4].map(|()| trouble.is_over()), [false, false, false, true]);
        assert!(!trouble.is_too_much(), "it begins anew");
    }

    /// Made once for each installation, and no shorter for having been cut off.
    #[test]
    fn its_bytes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        let first = payloads(&file).unwrap();
        assert_eq!((payloads(&file).unwrap(), first.len()), (first.clone(), SIZES[0] + SIZES[1]));
        fs::write(&file, b"cut off").unwrap();
        assert_eq!(payloads(&file).unwrap().len(), first.len());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(payloads(&other.path().join(FILE)).unwrap(), first);
    }
}
