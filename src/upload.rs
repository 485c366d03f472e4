//! The story of one request, from its first header to its audit line. Every branch is here.
//!
//! Open a record; find what is asked; find the caller; wrap the body so that it is hashed; forward all but the end; ask
//! for the verdict; release or reject; close the record; answer.

use crate::act::{self, Place, read_back};
use crate::answer::{self, Answer};
use crate::authenticate::Caller;
use crate::config::settings::Unverifiable;
use crate::copying;
use crate::decide::{self, Subject, Verdict, Why};
use crate::error::Failure;
use crate::forward::{AnswerBody, Asked, Held, Interrupted, OriginHead, Reframe, WINDOW, buffered, release};
use crate::gate::Gate;
use crate::inspect::{Inspected, Inspection, Pace};
use crate::multipart::{Completing, Role, UploadId};
use crate::record::Record;
use crate::relay;
use crate::route::{Errand, Operation, object_key};
use crate::s3::authorization;
use crate::s3::chunked::{FramingError, Mark, Segment};
use crate::s3::complete::{self, part_number};
use crate::s3::head::Head;
use crate::s3::target::{copy_source, encode_path};
use http::header::ETAG;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use time::OffsetDateTime;

/// Serves one request of the client at `peer`.
pub async fn serve(gate: &Arc<Gate>, peer: SocketAddr, request: Request<Incoming>) -> Response<Answer> {
    let mut record = Record::open(gate.sinks.clone(), peer);
    let (parts, body) = request.into_parts();
    let host = Head::of(&parts).header("host").unwrap_or_default().to_owned();
    let resource = parts.uri.path().to_owned();
    let mut client = Client { body: Some(body), expects_100: parts.headers.contains_key("expect"), heard: false };
    match attempt(gate, peer, &mut record, parts, &mut client).await {
        Ok(origin) => answer::pass_on(origin, &host, &resource, record),
        Err(failure) => {
            let read_whole = client.drain(gate.limits().drain).await;
            answer::fail(&failure, &resource, record, read_whole)
        }
    }
}

async fn attempt(
    gate: &Arc<Gate>,
    peer: SocketAddr,
    record: &mut Record,
    parts: Parts,
    client: &mut Client,
) -> Result<Response<AnswerBody>, Failure> {
    let has_body = client.body.as_ref().is_some_and(|body| !body.is_end_stream());
    let head = Head::of(&parts);
    let presented = authorization::presented(head).map_err(crate::authenticate::AuthError::from)?;
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let mut errand = gate.rules.route(head, parts.version, authority, &presented, has_body)?;
    record.routed(&errand);
    let now = OffsetDateTime::now_utc();
    let mut caller = gate.authenticator.authenticate(head, &presented, now)?;
    record.called_by(&caller);

    let mut origin_head = OriginHead::of_client(parts.clone(), peer.ip());
    let reframe = gate.resigning.apply(&mut origin_head, &errand, &caller, now);
    let names = errand.target.names(head.path);
    let source = head.effective("x-amz-copy-source").map(|source| copy_source(&source));
    if gate.read_backs.is_shut(&names) || source.is_some_and(|source| gate.read_backs.is_shut(&[source])) {
        return Err(Failure::ReadBack);
    }
    let upload = UploadId::of(head, &errand);
    if matches!(errand.operation, Operation::CopyObject | Operation::UploadPartCopy) {
        return copying::copy(gate, record, &errand, &parts, subject(&errand, &caller), upload, origin_head).await;
    }
    if !has_body && !errand.operation.is_upload() {
        return relay::relay(gate, &errand, upload, origin_head).await;
    }

    if gate.sinks.audit.is_broken() {
        return Err(Failure::AuditBroken);
    }
    if !caller.is_verified() && gate.refusals.is_spent(peer.ip()) {
        return Err(Failure::RefusalRate);
    }
    let _in_flight = gate.sinks.metrics.upload();
    let number = head.query_value("partNumber").as_deref().and_then(part_number);
    let mut role = Role::of(&gate.multipart, &errand, upload, number, gate.algorithms()).await?;
    let mut held = Held::new(gate.origin.clone(), origin_head);
    // A client that waits for 100 Continue hears the origin's own word, unless its payload is so short that the origin
    // must not hear of it yet.
    if client.expects_100 && errand.framing.declared_length.is_some_and(|length| length > WINDOW as u64) {
        match held.open_and_wait().await {
            Ok(()) => {}
            Err(interrupted) => return interruption(gate, record, interrupted, None).await,
        }
    }
    let mut inspection = client.inspect(gate, &parts, &errand, &mut caller)?;
    let mut first = Vec::new();
    if errand.operation == Operation::PostObject {
        match admit_form(gate, record, &mut errand, &mut inspection, &parts, now).await {
            Ok((segments, sent_by)) => (first, caller) = (segments, sent_by),
            Err(failure) => {
                client.take_back(inspection);
                return Err(failure);
            }
        }
    }
    let streamed = stream(first, &mut inspection, &mut held, &mut role, reframe).await;
    record.saw(inspection.payload_len());
    if let Err(error) = streamed {
        return match error {
            Streaming::Failed(failure) => {
                client.take_back(inspection);
                Err(failure)
            }
            Streaming::Interrupted(interrupted) => {
                let subject = subject(&errand, &caller);
                let place = Place::of(&parts, errand.form_key());
                let early = Early { inspection, subject, client, place, role };
                interruption(gate, record, interrupted, Some(early)).await
            }
        };
    }

    let Inspected { digests, decoded } = inspection.finish()?;
    record.inspected(digests);
    let mut finding = gate.look_up_as_read(&digests, decoded.as_ref())?;
    let mut assembling = None;
    if let Role::Complete(id, xml) = &role {
        let completing = gate.multipart.completing(id, complete::parts(xml)?).await;
        if let Some(whole) = completing.whole {
            gate.sinks.metrics.complete("chained");
            record.assembled(whole);
            finding = finding.and(gate.look_up(&whole));
        }
        assembling = Some(completing);
    }
    match decide::verdict(finding, &subject(&errand, &caller), &gate.settings.policy) {
        Verdict::Forward(clear, why) => {
            record.decided(&why);
            let read_back = match &assembling {
                Some(Completing { whole: None, .. }) => {
                    unverifiable(gate, record, &parts, names, subject(&errand, &caller)).await?
                }
                _ => None,
            };
            let releasing = match role {
                Role::Part(part) => Some(part.releasing(&digests).await),
                _ => None,
            };
            record.released();
            let answer = release(held, clear).await?;
            if let Some(releasing) = releasing {
                releasing.answered(stored_etag(&answer)).await;
            }
            let answer = match read_back {
                Some(pending) if answer.status().is_success() => pending.answer(answer),
                Some(pending) => {
                    pending.refused(answer.status());
                    answer
                }
                None => answer,
            };
            // A store may say 200 long before it has put the parts together.
            Ok(answer.map(|body| body.keeping(assembling)))
        }
        Verdict::Reject(why) => {
            record.decided(&why);
            if assembling.is_some() {
                act::abort_multipart(gate, &parts).await;
            }
            reject(gate, peer, held, &caller).await
        }
        Verdict::Defer(why) => Err(Failure::Undecidable(why)),
    }
}

/// A Complete whose whole nobody has hashed: refused, let through, or read when it is there. In that case its key is shut
/// from now on.
async fn unverifiable(
    gate: &Arc<Gate>,
    record: &Record,
    parts: &Parts,
    names: Vec<String>,
    subject: Subject,
) -> Result<Option<read_back::Pending>, Failure> {
    let setting = gate.settings.multipart.unverifiable;
    if setting == Unverifiable::Allow {
        gate.sinks.metrics.complete("unknown");
        record.waived("multipart_unverifiable");
        return Ok(None);
    }
    let bucket = subject.buckets.first().cloned().unwrap_or_default();
    let (Some(place), true) = (Place::of(parts, None), read_back::is_possible(gate, parts, &bucket).await) else {
        gate.sinks.metrics.complete("unknown");
        return Err(Failure::Unverifiable);
    };
    gate.sinks.metrics.complete("read_back");
    record.waived("multipart_read_back");
    let job = read_back::Job { place, names, subject, request: record.id().to_owned() };
    let gate = gate.clone();
    let begun = tokio::task::spawn_blocking(move || read_back::begin(&gate, job)).await;
    match begun {
        Ok(Ok(pending)) => Ok(Some(pending)),
        _ => Err(Failure::ReadBackBroken),
    }
}

/// The ETag of an answer by which the origin took an upload.
fn stored_etag(answer: &Response<AnswerBody>) -> Option<&str> {
    let etag = answer.headers().get(ETAG).filter(|_| answer.status().is_success());
    etag.and_then(|etag| etag.to_str().ok())
}

/// Moves the body through the inspection into the hold, until its end.
async fn stream(
    mut segments: Vec<Segment>,
    inspection: &mut Inspection<Incoming>,
    held: &mut Held,
    role: &mut Role,
    reframe: Reframe,
) -> Result<(), Streaming> {
    loop {
        for segment in segments {
            role.see(&segment).await;
            for segment in reframe.convert(segment) {
                held.push(segment).await.map_err(Streaming::Interrupted)?;
            }
        }
        // An answer may come while the client is silent: a refusal should not wait for the next bytes.
        segments = tokio::select! {
            biased;
            interrupted = held.interrupted() => return Err(Streaming::Interrupted(interrupted)),
            segments = inspection.next() => segments.map_err(|error| Streaming::Failed(error.into()))?,
        };
        if segments.is_empty() {
            return Ok(());
        }
    }
}

/// A form says who sent it, and what is asked, in its fields: they are read before anything goes on. Gives the segments
/// that came with them, and the caller.
async fn admit_form(
    gate: &Gate,
    record: &mut Record,
    errand: &mut Errand,
    inspection: &mut Inspection<Incoming>,
    parts: &Parts,
    now: OffsetDateTime,
) -> Result<(Vec<Segment>, Caller), Failure> {
    let segments = inspection.next().await?;
    let Some(Segment::Frame(_, Mark::Fields(fields))) = segments.first() else {
        return Err(Failure::Body(FramingError::Truncated.into()));
    };
    let key = object_key(fields)?;
    let names = errand.target.names(&format!("{}/{}", parts.uri.path(), encode_path(&key)));
    if gate.read_backs.is_shut(&names) {
        return Err(Failure::ReadBack);
    }
    errand.target.key = Some(key);
    record.routed(errand);
    let bucket = errand.target.bucket.as_deref().unwrap_or_default();
    let (caller, range) = gate.authenticator.authenticate_form(fields, bucket, now)?;
    record.called_by(&caller);
    inspection.heed(fields, &segments, &gate.settings.encodings, gate.algorithms(), range);
    Ok((segments, caller))
}

enum Streaming {
    Failed(Failure),
    Interrupted(Interrupted),
}

fn subject(errand: &Errand, caller: &Caller) -> Subject {
    Subject { buckets: errand.target.readings.clone(), tenant: caller.tenant.clone() }
}

/// Aborts a listed upload. Where the caller is only claimed, the origin is asked whether it knows them: a stranger must
/// not learn from us what is listed.
async fn reject(gate: &Gate, peer: SocketAddr, held: Held, caller: &Caller) -> Result<Response<AnswerBody>, Failure> {
    if !caller.is_verified() {
        gate.refusals.spend(peer.ip());
        if gate.asks_origin()
            && let Ok(Asked::Refuses(refusal)) = held.abort_and_ask().await
        {
            return Ok(refusal);
        }
    }
    Err(Failure::Listed)
}

/// What is left of an upload that the origin answered before its end.
struct Early<'a> {
    inspection: Inspection<Incoming>,
    subject: Subject,
    client: &'a mut Client,
    /// Where the object would be.
    place: Option<Place>,
    role: Role,
}

/// The origin answered early, or is lost.
async fn interruption(
    gate: &Gate,
    record: &mut Record,
    interrupted: Interrupted,
    early: Option<Early<'_>>,
) -> Result<Response<AnswerBody>, Failure> {
    match interrupted {
        Interrupted::Lost(error) => {
            if let Some(early) = early {
                early.client.take_back(early.inspection);
            }
            Err(error.into())
        }
        Interrupted::Answered(answer) if answer.status().is_success() => {
            record.early_commit();
            early_commit(gate, record, answer, early).await
        }
        Interrupted::Answered(answer) => {
            // A refusal of the head, or an error: the client gets it once it has said a little more of its body.
            let answer = buffered(answer).await?;
            if let Some(early) = early {
                early.client.take_back(early.inspection);
                early.client.drain(gate.limits().drain).await;
            }
            Ok(answer)
        }
    }
}

/// The origin says that it has stored what it was not given. We still want to know what it was: if it is listed, and the
/// gate has credentials, that very version goes.
async fn early_commit(
    gate: &Gate,
    record: &mut Record,
    answer: Response<AnswerBody>,
    early: Option<Early<'_>>,
) -> Result<Response<AnswerBody>, Failure> {
    let Some(Early { mut inspection, subject, client, place, role }) = early else { return Err(Failure::EarlyCommit) };
    if let Role::Part(part) = role {
        part.committed_early().await;
    }
    let inspected: Result<Inspected, Failure> = async {
        while !inspection.next().await?.is_empty() {}
        Ok(inspection.finish()?)
    }
    .await;
    client.body = None;
    let Inspected { digests, decoded } = inspected?;
    record.inspected(digests);
    match decide::verdict(gate.look_up_as_read(&digests, decoded.as_ref())?, &subject, &gate.settings.policy) {
        Verdict::Reject(why @ Why::Listed(_)) => {
            record.decided(&why);
            act::remove_committed(gate, place, answer).await;
            Err(Failure::Listed)
        }
        _ => Err(Failure::EarlyCommit),
    }
}

/// The client's side of the request: its body, wherever it is at the moment.
struct Client {
    body: Option<Incoming>,
    expects_100: bool,
    /// Whether its body was asked for, so that a client which expects 100 Continue has been told to send it.
    heard: bool,
}

impl Client {
    fn inspect(
        &mut self,
        gate: &Gate,
        parts: &Parts,
        errand: &Errand,
        caller: &mut Caller,
    ) -> Result<Inspection<Incoming>, Failure> {
        let limits = gate.limits();
        let pace = Pace::new(limits.idle_timeout, limits.body_rate_min, limits.upload_timeout);
        let Some(body) = self.body.take() else { return Err(Failure::EarlyCommit) };
        self.heard = true;
        Ok(Inspection::new(
            body,
            &parts.headers,
            errand,
            gate.algorithms(),
            caller.chunks.take(),
            pace,
            &gate.settings.encodings,
        )?)
    }

    fn take_back(&mut self, inspection: Inspection<Incoming>) {
        self.body = Some(inspection.into_body());
    }

    /// Reads on for a while, so that the client gets to read the answer and not a reset. True where the body ended.
    ///
    /// A client that expects 100 Continue and was not told to go on sends nothing: asking for its body would tell it.
    async fn drain(&mut self, bytes_max: u64) -> bool {
        let Some(mut body) = self.body.take() else { return true };
        if self.expects_100 && !self.heard {
            return false;
        }
        let drained = tokio::time::timeout(answer::DRAIN_TIMEOUT, answer::drain(&mut body, bytes_max)).await;
        drained.unwrap_or(false)
    }
}
