//! The story of one request, from its first header to its audit line. Every branch is here.
//!
//! Open a record; find what is asked; find the caller; wrap the body so that it is hashed; forward all but the end; ask
//! for the verdict; release or reject; close the record; answer.

mod client;
mod early;

use crate::act::{self, Place, read_back, recheck};
use crate::answer::{self, Answer};
use crate::authenticate::Caller;
use crate::config::settings::Unverifiable;
use crate::copying;
use crate::decide::{self, Clear, Finding, Label, Moment, OnUnavailable, Subject, Verdict, Why};
use crate::digest::Digests;
use crate::error::Failure;
use crate::forward::{AnswerBody, Asked, Held, Interrupted, OriginHead, Reframe, WINDOW, release};
use crate::gate::Gate;
use crate::inspect::{Inspected, Inspection};
use crate::multipart::{Completing, Role, UploadId};
use crate::record::Record;
use crate::relay;
use crate::route::{Errand, Operation, object_key};
use crate::s3::authorization;
use crate::s3::chunked::{FramingError, Mark, Segment};
use crate::s3::complete::{self, part_number};
use crate::s3::head::Head;
use crate::s3::target::{copy_source, encode_path};
use client::Client;
use early::{Early, interruption};
use http::header::ETAG;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::task::spawn_blocking;

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

/// Finds out what is asked, and by whom; then the request goes its way.
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
    let errand = gate.rules.route(head, parts.version, authority, &presented, has_body)?;
    record.routed(&errand);
    let now = OffsetDateTime::now_utc();
    let caller = gate.authenticator.authenticate(head, &presented, now)?;
    record.called_by(&caller);

    let names = errand.target.names(head.path);
    let source = head.effective("x-amz-copy-source").map(|source| copy_source(&source));
    if gate.read_backs.is_shut(&names) || source.is_some_and(|source| gate.read_backs.is_shut(&[source])) {
        return Err(Failure::ReadBack);
    }
    let mut origin_head = OriginHead::of_client(parts.clone(), peer.ip());
    let reframe = gate.resigning.apply(&mut origin_head, &errand, &caller, now);
    let id = UploadId::of(head, &errand);
    let copy = matches!(errand.operation, Operation::CopyObject | Operation::UploadPartCopy);
    if !has_body && !copy && !errand.operation.is_upload() {
        return relay::relay(gate, &errand, id, origin_head).await;
    }

    if gate.sinks.audit.is_broken() {
        return Err(Failure::AuditBroken);
    }
    if !caller.is_verified() && gate.refusals.is_spent(peer.ip()) {
        return Err(Failure::RefusalRate);
    }
    let _in_flight = gate.sinks.metrics.upload();
    if copy {
        return copying::copy(gate, record, &errand, &parts, subject(&errand, &caller), id, origin_head).await;
    }
    let upload = Upload { gate, peer, parts, errand, caller, names, now };
    upload.run(record, client, id, origin_head, reframe).await
}

/// A request whose body has to be looked up.
struct Upload<'a> {
    gate: &'a Arc<Gate>,
    peer: SocketAddr,
    parts: Parts,
    errand: Errand,
    caller: Caller,
    /// The object's name in every way in which the request can be read.
    names: Vec<String>,
    /// When its head came.
    now: OffsetDateTime,
}

impl Upload<'_> {
    /// Wraps the body, forwards all but its end, and goes on to the verdict.
    async fn run(
        mut self,
        record: &mut Record,
        client: &mut Client,
        id: Option<UploadId>,
        origin_head: OriginHead,
        reframe: Reframe,
    ) -> Result<Response<AnswerBody>, Failure> {
        let gate = self.gate;
        let number = Head::of(&self.parts).query_value("partNumber").as_deref().and_then(part_number);
        let mut role = Role::of(&gate.multipart, &self.errand, id, number, gate.algorithms()).await?;
        let mut held = Held::new(gate.origin.clone(), origin_head);
        // A client that waits for 100 Continue hears the origin's own word, unless its payload is so short that the
        // origin must not hear of it yet.
        if client.expects_100 && self.errand.framing.declared_length.is_some_and(|length| length > WINDOW as u64) {
            match held.open_and_wait().await {
                Ok(()) => {}
                Err(interrupted) => return interruption(gate, record, interrupted, None).await,
            }
        }
        let mut inspection = client.inspect(gate, &self.parts, &self.errand, &mut self.caller)?;
        let streamed = match self.admit_form(record, &mut inspection).await {
            Ok(first) => stream(first, &mut inspection, &mut held, &mut role, reframe).await,
            Err(failure) => Err(Streaming::Failed(failure)),
        };
        record.saw(inspection.payload_len());
        match streamed {
            Ok(()) => self.judge(record, inspection.finish()?, role, held).await,
            Err(Streaming::Failed(failure)) => {
                client.take_back(inspection);
                Err(failure)
            }
            Err(Streaming::Interrupted(interrupted)) => {
                let place = Place::of(&self.parts, self.errand.form_key());
                let early = Early { inspection, subject: self.subject(), client, place, role };
                interruption(gate, record, interrupted, Some(early)).await
            }
        }
    }

    /// A form says who sent it, and what is asked, in its fields: they are read before anything goes on. Gives the
    /// segments that came with them; none for anything but a form.
    async fn admit_form(
        &mut self,
        record: &mut Record,
        inspection: &mut Inspection<Incoming>,
    ) -> Result<Vec<Segment>, Failure> {
        if self.errand.operation != Operation::PostObject {
            return Ok(Vec::new());
        }
        let segments = inspection.next().await?;
        let Some(Segment::Frame(_, Mark::Fields(fields))) = segments.first() else {
            return Err(Failure::Body(FramingError::Truncated.into()));
        };
        let key = object_key(fields)?;
        self.names = self.errand.target.names(&format!("{}/{}", self.parts.uri.path(), encode_path(&key)));
        if self.gate.read_backs.is_shut(&self.names) {
            return Err(Failure::ReadBack);
        }
        self.errand.target.key = Some(key);
        record.routed(&self.errand);
        let bucket = self.errand.target.bucket.as_deref().unwrap_or_default();
        let (caller, range) = self.gate.authenticator.authenticate_form(fields, bucket, self.now)?;
        record.called_by(&caller);
        self.caller = caller;
        inspection.heed(fields, &segments, &self.gate.settings.encodings, self.gate.algorithms(), range);
        Ok(segments)
    }

    /// Asks for the verdict, over the payload as it was sent, as it is read, and over the whole that its parts make.
    async fn judge(
        self,
        record: &mut Record,
        inspected: Inspected,
        role: Role,
        held: Held,
    ) -> Result<Response<AnswerBody>, Failure> {
        let gate = self.gate;
        let Inspected { digests, decoded } = inspected;
        record.inspected(digests);
        let becomes_object = self.errand.operation.is_upload();
        let mut finding = gate.look_up_as_read(&digests, decoded.as_ref(), becomes_object).await?;
        let mut object = digests;
        let mut assembling = None;
        if let Role::Complete(id, xml) = &role {
            let completing = gate.multipart.completing(id, complete::parts(xml)?).await;
            if let Some(whole) = completing.whole {
                gate.sinks.metrics.complete("chained");
                record.assembled(whole);
                finding = finding.and(gate.look_up(&whole).await);
                object = whole;
            }
            assembling = Some(completing);
        }
        if let Finding::Listed(labels) = &finding {
            self.count_hit(record, labels);
        }
        let moment = Moment { on_unavailable: self.on_unavailable(assembling.as_ref()), ..Moment::ORDINARY };
        match decide::verdict(finding, &self.subject(), &gate.settings.policy, moment) {
            Verdict::Forward(clear, why) => {
                record.decided(&why);
                let mut queued = None;
                if let Why::Undecided(_) = why {
                    let read = decoded.iter().flat_map(|decoded| &decoded.layers);
                    queued = Some(self.look_up_again(record, iter::once(&object).chain(read)).await?);
                }
                let answer = match (role, assembling) {
                    (_, Some(completing)) => self.complete(record, completing, held, clear).await,
                    (Role::Part(part), None) => {
                        let releasing = part.releasing(&digests).await;
                        record.released();
                        let answer = release(held, clear).await?;
                        releasing.answered(stored_etag(&answer)).await;
                        Ok(answer)
                    }
                    (_, None) => {
                        record.released();
                        Ok(release(held, clear).await?)
                    }
                };
                if let (Some(queued), Ok(answer)) = (queued, &answer) {
                    queued.answered(gate, answer).await;
                }
                answer
            }
            Verdict::Reject(why, _) | Verdict::Quarantine(why, _) => {
                record.decided(&why);
                if assembling.is_some() {
                    act::abort_multipart(gate, &self.parts).await;
                }
                self.reject(held).await
            }
            Verdict::Defer(why) => Err(Failure::Undecidable(why)),
        }
    }

    /// Counts the hit of an entry; one that hits too much raises an alarm.
    fn count_hit(&self, record: &Record, labels: &[Label]) {
        let tenant = self.caller.tenant.as_deref().filter(|_| self.caller.is_verified());
        if let Some(alarm) = self.gate.floods.hit(labels, tenant, &self.gate.decisions) {
            record.flooding(alarm.tenants, alarm.uploads, labels);
        }
    }

    /// What to do where nobody can tell. Only whole objects can be found again, and removed; a part waits.
    fn on_unavailable(&self, assembling: Option<&Completing>) -> OnUnavailable {
        let is_object = match assembling {
            Some(completing) => completing.whole.is_some(),
            None => matches!(self.errand.operation, Operation::PutObject | Operation::PostObject),
        };
        if is_object { self.gate.settings.policy.on_unavailable } else { OnUnavailable::Refuse }
    }

    /// Puts the object into the queue of those that are looked up again.
    async fn look_up_again(
        &self,
        record: &Record,
        digests: impl Iterator<Item = &Digests>,
    ) -> Result<recheck::Queued, Failure> {
        let place = Place::of(&self.parts, self.errand.form_key()).ok_or(Failure::RecheckBroken)?;
        let (subject, request) = (self.subject(), record.id().to_owned());
        let job = recheck::Job { place, subject, request, digests: digests.copied().collect() };
        recheck::enqueue(self.gate, job).await.map_err(|error| {
            tracing::error!(request = record.id(), "an undecided upload is refused: {error}");
            Failure::RecheckBroken
        })
    }

    /// Lets a Complete go; of a whole that nobody has hashed, as the setting says. No part of its upload is released until
    /// the answer has ended: a store may say 200 long before it has put the parts together.
    async fn complete(
        self,
        record: &mut Record,
        completing: Completing,
        held: Held,
        clear: Clear,
    ) -> Result<Response<AnswerBody>, Failure> {
        let read_back = match completing.whole {
            Some(_) => None,
            None => self.unverifiable(record).await?,
        };
        record.released();
        let answer = release(held, clear).await?;
        let answer = match read_back {
            Some(pending) if answer.status().is_success() => pending.answer(answer),
            Some(pending) => {
                pending.refused(answer.status());
                answer
            }
            None => answer,
        };
        Ok(answer.map(|body| body.keeping(completing)))
    }

    /// A Complete whose whole nobody has hashed: refused, let through, or read when it is there. In that case its key is
    /// shut from now on.
    async fn unverifiable(&self, record: &Record) -> Result<Option<read_back::Pending>, Failure> {
        let (gate, subject) = (self.gate, self.subject());
        if gate.settings.multipart.unverifiable == Unverifiable::Allow {
            gate.sinks.metrics.complete("unknown");
            record.waived("multipart_unverifiable");
            return Ok(None);
        }
        let bucket = subject.buckets.first().cloned().unwrap_or_default();
        let possible = read_back::is_possible(gate, &self.parts, &bucket).await;
        let (Some(place), true) = (Place::of(&self.parts, None), possible) else {
            gate.sinks.metrics.complete("unknown");
            return Err(Failure::Unverifiable);
        };
        gate.sinks.metrics.complete("read_back");
        record.waived("multipart_read_back");
        let job = read_back::Job { place, names: self.names.clone(), subject, request: record.id().to_owned() };
        let gate = gate.clone();
        match spawn_blocking(move || read_back::begin(&gate, job)).await {
            Ok(Ok(pending)) => Ok(Some(pending)),
            _ => Err(Failure::ReadBackBroken),
        }
    }

    /// Aborts a listed upload. Where the caller is only claimed, the origin is asked whether it knows them: a stranger
    /// must not learn from us what is listed.
    async fn reject(&self, held: Held) -> Result<Response<AnswerBody>, Failure> {
        if !self.caller.is_verified() {
            self.gate.refusals.spend(self.peer.ip());
            if self.gate.asks_origin()
                && let Ok(Asked::Refuses(refusal)) = held.abort_and_ask().await
            {
                return Ok(refusal);
            }
        }
        Err(Failure::Listed)
    }

    fn subject(&self) -> Subject {
        subject(&self.errand, &self.caller)
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

enum Streaming {
    Failed(Failure),
    Interrupted(Interrupted),
}

fn subject(errand: &Errand, caller: &Caller) -> Subject {
    Subject { buckets: errand.target.readings.clone(), tenant: caller.tenant.clone() }
}
