//! The story of one request, from its first header to its audit line. Every branch is here.
//!
//! Open a record; find what is asked; find the caller; wrap the body so that it is hashed; forward all but the end; ask
//! for the verdict; release or reject; close the record; answer.

mod client;
mod early;
mod grid;

use crate::act::canary::Internal;
use crate::act::quarantine::permits::{Permission, Redeemed};
use crate::act::quarantine::{Keeping, NotKept, Payload, Seen};
use crate::act::{self, Place, read_back, recheck};
use crate::answer::{self, Answer};
use crate::authenticate::Caller;
use crate::config::settings::Unverifiable;
use crate::copying;
use crate::decide::{self, Clear, Finding, Label, Moment, OnUnavailable, Reply, Subject, Verdict, Why};
use crate::digest::Digests;
use crate::error::Failure;
use crate::forward::{AnswerBody, Asked, Held, Interrupted, OriginHead, Reframe, WINDOW, release};
use crate::gate::Gate;
use crate::inspect::{Decoded, InspectError, Inspected, Inspection};
use crate::multipart::{AsRead, Completing, Role, UploadId, Whole};
use crate::record::{Alarm, Record};
use crate::relay;
use crate::route::{Errand, Operation, Reason, form_redirect, object_key};
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
use tokio::time::Instant;

/// Serves one request of the client at `peer`.
pub async fn serve(gate: &Arc<Gate>, peer: SocketAddr, request: Request<Incoming>) -> Response<Answer> {
    let came = Instant::now();
    let mut record = Record::open(gate.sinks.clone(), peer);
    let (parts, body) = request.into_parts();
    if parts.extensions.get::<Internal>().is_some() {
        record.mark_internal();
    }
    let host = Head::of(&parts).header("host").unwrap_or_default().to_owned();
    let resource = parts.uri.path().to_owned();
    let expects_100 = parts.headers.contains_key("expect");
    let mut client = Client { body: Some(body), expects_100, heard: false, ended: None, redirect: None };
    match attempt(gate, peer, &mut record, parts, &mut client).await {
        Ok(origin) => answer::pass_on(origin, &host, client.redirect.as_deref(), &resource, record),
        Err(failure) => {
            let read_whole = client.drain(gate.limits().drain).await;
            let ended = client.ended.unwrap_or_else(Instant::now);
            // Written down before the wait: a client that goes away meanwhile was refused all the same.
            let answer = answer::fail(&failure, &resource, record, read_whole);
            if failure.is_on_grid() {
                grid::wait(came, ended, gate.limits().refusal_grid).await;
            }
            answer
        }
    }
}

/// Finds out what is asked, and by whom; then the request goes its way.
async fn attempt(
    gate: &Arc<Gate>,
    peer: SocketAddr,
    record: &mut Record,
    mut parts: Parts,
    client: &mut Client,
) -> Result<Response<AnswerBody>, Failure> {
    let permission = Permission::take(&mut parts.headers);
    let has_body = client.body.as_ref().is_some_and(|body| !body.is_end_stream());
    let head = Head::of(&parts);
    let presented = authorization::presented(head).map_err(crate::authenticate::AuthError::from)?;
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let errand = gate.rules.route(head, parts.version, authority, &presented, has_body)?;
    record.routed(&errand);
    let now = OffsetDateTime::now_utc();
    let canary = gate.canary.as_ref().filter(|_| parts.extensions.get::<Internal>().is_some());
    let authenticator = canary.map_or(&gate.authenticator, |canary| &canary.authenticator);
    let caller = authenticator.authenticate(head, &presented, now)?;
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
        return relay::relay(gate, &parts, &errand, id, origin_head).await;
    }

    if gate.sinks.audit.is_broken() {
        return Err(Failure::AuditBroken);
    }
    if gate.quarantine.as_ref().is_some_and(|quarantine| quarantine.is_tight()) {
        return Err(Failure::JournalTight);
    }
    if gate.sinks.alarms.is_raised(Alarm::CanaryStored) {
        return Err(Failure::CanaryStored);
    }
    if canary.is_none() && !caller.is_verified() && gate.refusals.is_spent(peer.ip()) {
        return Err(Failure::RefusalRate);
    }
    let _in_flight = gate.sinks.metrics.upload();
    let elsewhere = id.as_ref().and_then(|id| gate.multipart.beginning(id)).unwrap_or_default().headers;
    if copy {
        let (parts, errand, caller, subject) = (&parts, &errand, &caller, &subject(&errand, &caller));
        let seen = Seen { received: now, parts, errand, caller, peer, elsewhere: &elsewhere, subject };
        return copying::copy(gate, record, seen, id, origin_head).await;
    }
    let upload = Upload { gate, peer, parts, errand, caller, names, now, elsewhere, permission };
    upload.run(record, client, id, origin_head, reframe).await
}

/// The largest archive that is let through to a store that unpacks it, in bytes: all of it is kept in memory until every
/// member was looked up.
const UNPACKED_MAX: u64 = 64 << 20;

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
    /// What is said of the object elsewhere than in the head: a form's fields, or the headers of CreateMultipartUpload.
    elsewhere: Vec<(String, String)>,
    /// Two officers' word that this very object may go on, once.
    permission: Option<Permission>,
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
        let mut role = Role::of(&gate.multipart, &self.errand, id.clone(), number, gate.algorithms()).await?;
        let mut held = Held::new(gate.origin.clone(), origin_head);
        let length = self.errand.framing.declared_length;
        if self.errand.unpacked {
            // Its members become objects as they arrive, each before the end of the archive.
            if length.is_none_or(|length| length > UNPACKED_MAX) {
                return Err(Failure::Body(InspectError::TooLarge));
            }
            held = held.whole();
        }
        // A client that waits for 100 Continue hears the origin's own word, unless its payload is so short that the
        // origin must not hear of it yet.
        if client.expects_100 && !self.errand.unpacked && length.is_some_and(|length| length > WINDOW as u64) {
            match held.open_and_wait().await {
                Ok(()) => {}
                Err(interrupted) => return interruption(gate, record, interrupted, None).await,
            }
        }
        let mut inspection = client.inspect(gate, &self.parts, &self.errand, &mut self.caller)?;
        let admitted = self.admit_form(record, &mut inspection, client).await;
        let mut keeping = self.keeping();
        let streamed = match admitted {
            Ok(first) => stream(first, &mut inspection, &mut held, &mut role, &mut keeping, reframe).await,
            Err(failure) => Err(Streaming::Failed(failure)),
        };
        client.ended = Some(Instant::now());
        record.saw(inspection.payload_len());
        match streamed {
            Ok(()) => {
                let part = id.zip(number);
                self.judge(record, inspection.finish()?, role, held, Kept { keeping, part }).await
            }
            Err(Streaming::Failed(failure)) => {
                client.take_back(inspection);
                Err(failure)
            }
            Err(Streaming::Interrupted(interrupted)) => {
                let subject = self.subject();
                let place = Place::of(&self.parts, self.errand.form_key());
                let early = Early { inspection, seen: self.seen(&subject), client, place, role };
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
        client: &mut Client,
    ) -> Result<Vec<Segment>, Failure> {
        if self.errand.operation != Operation::PostObject {
            return Ok(Vec::new());
        }
        let segments = inspection.next().await?;
        let Some(Segment::Frame(_, Mark::Fields(fields))) = segments.first() else {
            return Err(Failure::Body(FramingError::Truncated.into()));
        };
        let key = object_key(fields)?;
        client.redirect = form_redirect(fields);
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
        self.elsewhere.clone_from(&fields.fields);
        inspection.heed(fields, &segments, &self.gate.settings.encodings, self.gate.algorithms(), range);
        Ok(segments)
    }

    /// Asks for the verdict, and does what it says.
    async fn judge(
        self,
        record: &mut Record,
        inspected: Inspected,
        role: Role,
        held: Held,
        kept: Kept,
    ) -> Result<Response<AnswerBody>, Failure> {
        let gate = self.gate;
        let (finding, found) = self.find(record, inspected, role, kept).await?;
        let redeemed = self.redeem(&finding, &found.object).await;
        if let (Finding::Listed(labels), None) = (&finding, &redeemed) {
            self.count_hit(record, labels);
        }
        let (flooding, permitted) = (self.is_flooding(&finding), redeemed.is_some());
        let moment = Moment { flooding, permitted, ..gate.moment(self.on_unavailable(found.assembling.as_ref())) };
        if moment.observe_all {
            record.observing_all();
        }
        match decide::verdict(finding, &self.subject(), &gate.settings.policy, moment) {
            Verdict::Forward(clear, why) => {
                record.decided(&why);
                self.let_go(record, &why, found, held, clear, redeemed).await
            }
            Verdict::Reject(Why::Canary, _) => self.reject_canary(record, held).await,
            Verdict::Reject(why, reply) => {
                record.decided(&why);
                self.refuse(record, reply, Failure::Listed, found, Some(held)).await
            }
            Verdict::Quarantine(why, reply) => {
                record.decided(&why);
                let mut held = Some(held);
                // A stranger must not fill the bucket with what is on no list.
                if let Why::Undecided(_) = why
                    && let Some(refusal) = self.refused_by_origin(held.take()).await
                {
                    return Ok(refusal);
                }
                // A match is kept first of all: a client that goes away now changes nothing any more.
                let (object, payload) = (found.object, found.kept.payload(gate, &found.role));
                self.seen(&self.subject()).keep(gate, record, &why, &object, payload).await;
                let found = Found { kept: Kept::NOTHING, ..found };
                self.refuse(record, reply, Failure::Quarantined, found, held).await
            }
            Verdict::Defer(why) => Err(Failure::Undecidable(why)),
        }
    }

    /// Looks up the payload as it was sent, as it is read, and the whole that its parts make.
    async fn find(
        &self,
        record: &mut Record,
        inspected: Inspected,
        role: Role,
        kept: Kept,
    ) -> Result<(Finding, Found), Failure> {
        let gate = self.gate;
        let Inspected { digests, decoded } = inspected;
        record.inspected(digests);
        let becomes_object = self.errand.operation.is_upload();
        let mut finding = gate.look_up_as_read(&digests, decoded.as_ref(), becomes_object).await?;
        let mut found = Found { digests, decoded, object: digests, assembling: None, role, kept };
        if let Role::Complete(id, xml) = &found.role {
            let completing = gate.multipart.completing(id, complete::parts(xml)?).await;
            if self.is_verified(&completing) {
                gate.sinks.metrics.complete(match completing.as_read {
                    AsRead::Known(_) => "chained",
                    AsRead::Lost { .. } => "lost",
                });
            }
            if let Whole::Known(whole) = completing.whole {
                record.assembled(whole);
                let decoded = completing.decoded();
                if let AsRead::Lost { .. } = completing.as_read {
                    gate.sinks.metrics.decoded("lost");
                }
                finding = finding.and(gate.look_up_as_read(&whole, decoded.as_ref(), true).await?);
                (found.object, found.decoded) = (whole, decoded);
            }
            found.assembling = Some(completing);
        }
        Ok((finding, found))
    }

    /// Lets the end go, and tells those who wait for the store's answer.
    async fn let_go(
        self,
        record: &mut Record,
        why: &Why,
        found: Found,
        held: Held,
        clear: Clear,
        redeemed: Option<Redeemed>,
    ) -> Result<Response<AnswerBody>, Failure> {
        let gate = self.gate;
        let Found { digests, decoded, object, assembling, role, kept } = found;
        let mut queued = None;
        if let Why::Undecided(_) = why {
            let read = decoded.iter().flat_map(|decoded| &decoded.layers);
            queued = Some(self.look_up_again(record, iter::once(&object).chain(read)).await?);
        }
        let answer = match (role, assembling) {
            (role, Some(completing)) => {
                let answer = self.complete(record, completing, held, clear, redeemed.is_some()).await;
                kept.completed(gate, &role, &answer);
                answer
            }
            (Role::Part(part), None) => {
                let releasing = part.releasing(&digests).await;
                record.released();
                let answer = release(held, clear).await?;
                // Kept before it is known: of a whole that is known, every part is to be at hand.
                kept.stored(gate, stored_etag(&answer)).await;
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
        if let (Some(redeemed), Ok(answer)) = (redeemed, &answer) {
            redeemed.answered(gate, answer).await;
        }
        answer
    }

    /// Aborts, and answers as the policy says.
    async fn refuse(
        self,
        record: &mut Record,
        reply: Reply,
        failure: Failure,
        found: Found,
        held: Option<Held>,
    ) -> Result<Response<AnswerBody>, Failure> {
        if let Some(refusal) = self.refused_by_origin(held).await {
            return Ok(refusal);
        }
        if found.assembling.is_some() {
            act::abort_multipart(self.gate, &self.parts).await;
        }
        self.answer(record, reply, failure, &found.object, &found.role).await
    }

    /// Uses up the permission that came along, where it is for this very object. What nobody can decide is not released.
    async fn redeem(&self, finding: &Finding, object: &Digests) -> Option<Redeemed> {
        let permission = self.permission.as_ref().filter(|_| !matches!(finding, Finding::Undecidable(_)))?;
        permission.redeem(self.gate, &self.errand, object).await
    }

    /// Counts the hit of an entry and of a tenant; one that hits too much raises an alarm.
    fn count_hit(&self, record: &Record, labels: &[Label]) {
        let tenant = self.caller.tenant.as_deref().filter(|_| self.caller.is_verified());
        // What nobody has accepted yet says something about its list, and nothing about who sent it.
        if let Some(tenant) = tenant.filter(|_| labels.iter().any(|label| !label.on_probation)) {
            self.gate.tenant_hits.hit(tenant, &self.gate.sinks.metrics, &self.gate.sinks.alarms);
        }
        if let Some(alarm) = self.gate.floods.hit(labels, tenant, &self.gate.decisions) {
            record.flooding(alarm.tenants, alarm.uploads, labels);
        }
    }

    /// What to do where nobody can tell. Only whole objects can be found again, and removed; a part waits. What becomes no
    /// object is not kept.
    fn on_unavailable(&self, assembling: Option<&Completing>) -> OnUnavailable {
        let is_object = match assembling {
            Some(completing) => matches!(completing.whole, Whole::Known(_)),
            None => matches!(self.errand.operation, Operation::PutObject | Operation::PostObject),
        };
        let is_kept = is_object || self.errand.operation.is_upload();
        match self.gate.settings.policy.on_unavailable {
            OnUnavailable::AllowAndRecheck if is_object => OnUnavailable::AllowAndRecheck,
            OnUnavailable::Quarantine if is_kept => OnUnavailable::Quarantine,
            _ => OnUnavailable::Refuse,
        }
    }

    /// Whether the entry that was hit hits so much that what would be rejected is kept, too.
    fn is_flooding(&self, finding: &Finding) -> bool {
        let Finding::Listed(labels) = finding else { return false };
        self.gate.quarantine.is_some() && self.gate.floods.is_flooding(labels, &self.gate.decisions)
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
        permitted: bool,
    ) -> Result<Response<AnswerBody>, Failure> {
        // What two officers release is known, and listed.
        let read_back = match permitted || self.is_verified(&completing) {
            true => None,
            false => self.unverifiable(record, &completing).await?,
        };
        if read_back.is_none() && matches!(completing.as_read, AsRead::Lost { .. }) {
            record.waived("multipart_lost");
        }
        record.released();
        let answer = release(held, clear).await?;
        if answer.status().is_success() {
            completing.took();
        }
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

    /// Whether what was looked up of an object in parts is what its readers will get. What was begun as encoded stays so
    /// under every setting that a gate is started with later.
    fn is_verified(&self, completing: &Completing) -> bool {
        let settings = &self.gate.settings;
        let (beginning, refused) = (completing.beginning.as_ref(), settings.encodings.unseen_refused());
        let is_seen = match &completing.as_read {
            // Where the beginning is not known, an encoding may have been let through only to be read back. What is said
            // to be encoded, and does not begin so, may be decoded all the same.
            AsRead::Known(decoded) => match beginning {
                None => !settings.encoded_read_back(),
                Some(beginning) => !beginning.encoded || (beginning.recognised && decoded.is_some()),
            },
            // What does not say that it is compressed is mostly somebody's archive, and its readers get it as it was sent.
            // A restart is no reason to have a day's upload sent again, and nobody but the operator makes one; whoever
            // waits for it is counted.
            AsRead::Lost { by_restart: true } if !settings.encoded_read_back() => {
                beginning.is_some_and(|beginning| !beginning.encoded)
            }
            AsRead::Lost { .. } => false,
        };
        matches!(completing.whole, Whole::Known(_)) && (is_seen || !refused)
    }

    /// A Complete of which nobody has hashed what its readers will get: refused, let through, or read when it is there. In
    /// that case its key is shut from now on.
    async fn unverifiable(
        &self,
        record: &Record,
        completing: &Completing,
    ) -> Result<Option<read_back::Pending>, Failure> {
        let (gate, subject) = (self.gate, self.subject());
        if gate.settings.multipart.unverifiable == Unverifiable::Allow {
            gate.sinks.metrics.complete("unknown");
            record.waived("multipart_unverifiable");
            return Ok(None);
        }
        let bucket = subject.buckets.first().cloned().unwrap_or_default();
        let customer_key = completing.beginning.as_ref().is_some_and(|beginning| beginning.customer_key);
        let possible = !customer_key && read_back::is_possible(gate, &self.parts, &bucket).await;
        let (Some(place), true) = (Place::of(&self.parts, None), possible) else {
            gate.sinks.metrics.complete("unknown");
            return Err(match completing.whole {
                Whole::Absent => Failure::PartAbsent,
                Whole::Known(_) if matches!(completing.as_read, AsRead::Known(_)) => match &completing.beginning {
                    Some(beginning) if beginning.recognised => Failure::Undecodable,
                    _ => Failure::Refused(Reason::EncodingUnseen),
                },
                Whole::Known(_) | Whole::Unknown => Failure::Unverifiable,
            });
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

    /// Aborts an upload. Where the caller is only claimed, the origin is asked whether it knows them, and its refusal is
    /// theirs: a stranger must not learn from us what is listed.
    async fn refused_by_origin(&self, held: Option<Held>) -> Option<Response<AnswerBody>> {
        let held = held.filter(|_| !self.caller.is_verified())?;
        self.gate.refusals.spend(self.peer.ip());
        if !self.gate.asks_origin() {
            return None;
        }
        match held.abort_and_ask().await {
            Ok(Asked::Refuses(refusal)) => Some(refusal),
            Ok(Asked::WouldTake) | Err(_) => None,
        }
    }

    /// A payload that may have to be kept, from its first byte on.
    fn keeping(&self) -> Option<Keeping> {
        let quarantine = self.gate.quarantine.as_ref().filter(|_| self.errand.operation.is_upload())?;
        let possible = self.gate.settings.policy.may_quarantine(&self.subject()) || self.gate.floods.any();
        possible.then(|| quarantine.keeping())
    }

    /// What a case is told of this request.
    fn seen<'a>(&'a self, subject: &'a Subject) -> Seen<'a> {
        let Upload { peer, parts, errand, caller, now, elsewhere, .. } = self;
        Seen { received: *now, parts, errand, caller, peer: *peer, elsewhere, subject }
    }

    /// What the client is told of an upload that is not let through.
    async fn answer(
        &self,
        record: &mut Record,
        reply: Reply,
        failure: Failure,
        object: &Digests,
        role: &Role,
    ) -> Result<Response<AnswerBody>, Failure> {
        if reply == Reply::Refuse {
            return Err(failure);
        }
        match act::accepted(self.gate, &self.parts, &self.errand, object, role.named_parts().as_deref()).await {
            Some(answer) => {
                record.accepted(failure.outcome());
                Ok(answer)
            }
            None => Err(failure),
        }
    }

    /// Ends what the gate tests itself with: nobody's hit, and nobody's refusal. The origin is asked as it is for everybody:
    /// the hold has been tried by then, and credentials that it does not know are a failure to be told.
    async fn reject_canary(&self, record: &Record, held: Held) -> Result<Response<AnswerBody>, Failure> {
        if !self.caller.is_verified()
            && self.gate.asks_origin()
            && let Ok(Asked::Refuses(refusal)) = held.abort_and_ask().await
        {
            return Ok(refusal);
        }
        if let Some(canary) = &self.gate.canary {
            canary.was_refused(record.id());
        }
        Err(Failure::Canary)
    }

    fn subject(&self) -> Subject {
        subject(&self.errand, &self.caller)
    }
}

/// An upload whose body has ended, as far as it is known.
struct Found {
    /// Of the payload as it was sent.
    digests: Digests,
    /// Of the payload as it is read.
    decoded: Option<Decoded>,
    /// Of what would become the object.
    object: Digests,
    /// Where it is a Complete.
    assembling: Option<Completing>,
    role: Role,
    kept: Kept,
}

/// What is kept of a payload until its verdict, and which part of an upload it is.
struct Kept {
    keeping: Option<Keeping>,
    part: Option<(UploadId, u16)>,
}

impl Kept {
    const NOTHING: Kept = Kept { keeping: None, part: None };

    /// The store took a part under this ETag: it is kept on, for its whole may turn out to be listed.
    async fn stored(self, gate: &Gate, etag: Option<&str>) {
        if let (Some(quarantine), Some(keeping), Some(part), Some(etag)) =
            (&gate.quarantine, self.keeping, self.part, etag)
        {
            quarantine.part_stored(part, etag, keeping).await;
        }
    }

    /// A Complete was let go, and took: its parts need not be kept any more.
    fn completed(self, gate: &Gate, role: &Role, answer: &Result<Response<AnswerBody>, Failure>) {
        let stored = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
        if let (true, Role::Complete(id, _), Some(quarantine)) = (stored, role, &gate.quarantine) {
            quarantine.parts().forget(id);
        }
    }

    /// The payload of a case: what has just streamed, or the parts that a Complete names.
    fn payload(self, gate: &Gate, role: &Role) -> Payload {
        let named = role.named_parts();
        match (self.keeping, role, named, &gate.quarantine) {
            (_, Role::Complete(id, _), Some(named), Some(quarantine)) => {
                Payload::Parts(quarantine.parts().take(id, &named))
            }
            (Some(keeping), _, _, _) => Payload::Streamed(keeping),
            _ => Payload::Parts(Err(NotKept::NotSeen)),
        }
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
    keeping: &mut Option<Keeping>,
    reframe: Reframe,
) -> Result<(), Streaming> {
    loop {
        for segment in segments {
            role.see(&segment).await.map_err(|busy| Streaming::Failed(busy.into()))?;
            if let (Some(keeping), Segment::Payload(payload)) = (keeping.as_mut(), &segment) {
                keeping.see(payload).await;
            }
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
