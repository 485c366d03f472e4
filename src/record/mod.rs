//! The one account of what happened to a request: metrics, audit line and log line all come from a [`Record`], once.

mod alarms;
pub mod audit;
mod mask;
mod metrics;

pub use alarms::{Alarm, Alarms};
pub use audit::{Audit, AuditError, Checkpoint, Heard, Run};
pub use mask::{mask, mask_base64, mask_name};
pub use metrics::{DOCUMENTED, Gauge, Metrics};

use crate::act::Events;
use crate::authenticate::Caller;
use crate::config::settings::{Event, ListSource, Source};
use crate::decide::{Label, Why};
use crate::digest::{Digest, Digests};
use crate::error::Failure;
use crate::forward::OriginError;
use crate::list::{How, ListError, Lists, Loaded, News, Why as NotUsed};
use crate::route::{Errand, Operation};
use serde_json::{Map, Value, json};
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// How a request ended; also the metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome { $($(#[$doc])* $name,)* }

        impl Outcome {
            /// Every outcome.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$name,)*];

            /// Its label.
            pub fn label(self) -> &'static str {
                match self { $(Outcome::$name => $label,)* }
            }
        }
    };
}

outcomes! {
    /// The origin's answer was passed on, and it was a success.
    Forwarded = "forwarded",
    /// The origin's answer was passed on, and it was a refusal or an error.
    OriginRefused = "origin_refused",
    /// A listed payload was kept from the origin.
    Rejected = "rejected",
    /// A payload was kept from the origin, and sealed as evidence.
    Quarantined = "quarantined",
    /// Refused before its body was looked at.
    Refused = "refused",
    /// The signature or the caller was not good.
    Unauthenticated = "unauthenticated",
    /// The body was not what its head promised.
    Malformed = "malformed",
    /// Nobody could say whether it is listed.
    Undecidable = "undecidable",
    /// The client went away.
    ClientGone = "client_gone",
    /// The client was too slow.
    ClientSlow = "client_slow",
    /// The origin was lost, or gave an answer that cannot be passed on.
    OriginFailed = "origin_failed",
    /// The origin said it had stored what it had not been given.
    EarlyCommit = "early_commit",
    /// Too many policy refusals from one address.
    RateLimited = "rate_limited",
    /// The audit log takes no line.
    AuditBroken = "audit_broken",
    /// The disk is so full that what is left of it goes to cases alone.
    JournalTight = "journal_tight",
    /// What the gate tests itself with was kept from the origin.
    Canary = "canary",
}

/// Where records go.
#[derive(Clone)]
pub struct Sinks {
    /// Counters.
    pub metrics: Metrics,
    /// The audit file.
    pub audit: Arc<Audit>,
    /// For masking listed digests in names.
    pub lists: Arc<Lists>,
    /// What an operator must look at now.
    pub alarms: Arc<Alarms>,
    /// Whom webhooks tell.
    pub events: Arc<Events>,
}

impl Sinks {
    /// An audit line of its own, an object, about what is no request.
    pub fn put_down(&self, line: Value) {
        if let Value::Object(line) = line
            && self.audit.append(&line).is_err()
        {
            self.metrics.audit_failure();
        }
    }

    /// The lines about lists that were read: how many entries, from what kind of source, what happened; never an entry.
    pub fn put_down_lists(&self, sources: &[ListSource], news: &News) {
        for (name, result) in news {
            let source = sources.iter().find(|source| source.name == *name).map(|list| match list.source {
                Source::Path(_) => "file",
                Source::Web { .. } => "https",
                Source::S3 { .. } => "s3",
            });
            self.put_down(match result {
                Ok(Loaded { entries, bad_lines, how }) => json!({
                    "operation": if *how == How::Accepted { "ListAccepted" } else { "ListLoaded" }, "list": name,
                    "source": source, "how": how.label(), "entries": entries, "bad_lines": bad_lines,
                }),
                Err(ListError { why: why @ NotUsed::Shrunk { entries, before }, .. }) => json!({
                    "operation": "ListRefused", "list": name, "source": source, "why": why.label(),
                    "entries": entries, "before": before,
                }),
                Err(ListError { why, .. }) => json!({
                    "operation": "ListRefused", "list": name, "source": source, "why": why.label(),
                }),
            });
        }
    }
}

/// The account of one request. Whatever happens it is written once: by [`Record::close`], or as `client_gone` when it is
/// dropped because the request's future was.
pub struct Record {
    sinks: Sinks,
    started: Instant,
    id: String,
    peer: SocketAddr,
    operation: Operation,
    bucket: Option<String>,
    key: Option<String>,
    access_key: Option<String>,
    tenant: Option<String>,
    confidence: &'static str,
    framing: Option<&'static str>,
    digests: Option<Digests>,
    payload: u64,
    labels: Vec<Label>,
    undecided: bool,
    /// Two officers have released it.
    permitted: bool,
    released: bool,
    /// Whether there is a case, and its payload with it.
    case: Option<bool>,
    /// What is written down where the client is told that all went well.
    accepted: Option<Outcome>,
    answered: u64,
    observing_all: bool,
    is_internal: bool,
    end: Option<End>,
}

#[derive(Clone, Copy)]
struct End {
    outcome: Outcome,
    reason: Option<&'static str>,
    status: u16,
}

impl Record {
    /// Opens the record of a request from `peer`.
    pub fn open(sinks: Sinks, peer: SocketAddr) -> Record {
        Record {
            sinks,
            started: Instant::now(),
            id: request_id(),
            peer,
            operation: Operation::Unknown,
            bucket: None,
            key: None,
            access_key: None,
            tenant: None,
            confidence: "anonymous",
            framing: None,
            digests: None,
            payload: 0,
            labels: Vec::new(),
            undecided: false,
            permitted: false,
            released: false,
            case: None,
            accepted: None,
            answered: 0,
            observing_all: false,
            is_internal: false,
            end: None,
        }
    }

    /// Our id for the request, 16 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// It is the gate's own, by which it tests itself: it gets its audit line, and is in no counter that adds up what
    /// clients did.
    pub fn mark_internal(&mut self) {
        self.is_internal = true;
    }

    /// What the request asks for.
    pub fn routed(&mut self, errand: &Errand) {
        self.operation = errand.operation;
        self.bucket.clone_from(&errand.target.bucket);
        self.key.clone_from(&errand.target.key);
        self.framing = Some(errand.framing.label());
    }

    /// Who sent it.
    pub fn called_by(&mut self, caller: &Caller) {
        self.access_key.clone_from(&caller.access_key);
        self.tenant.clone_from(&caller.tenant);
        self.confidence = caller.confidence.label();
    }

    /// Payload bytes seen so far.
    pub fn saw(&mut self, payload: u64) {
        self.payload = payload;
    }

    /// The whole payload was hashed.
    pub fn inspected(&mut self, digests: Digests) {
        self.payload = digests.length;
        self.digests = Some(digests);
    }

    /// The whole object that its parts make was hashed.
    pub fn assembled(&mut self, whole: Digests) {
        self.digests = Some(whole);
    }

    /// What was decided, and why.
    pub fn decided(&mut self, why: &Why) {
        match why {
            Why::Unlisted | Why::Canary => {}
            Why::Listed(labels) => self.labels.clone_from(labels),
            Why::Permitted(labels) => {
                self.labels.clone_from(labels);
                self.permitted = true;
            }
            Why::Undecided(_) => self.undecided = true,
        }
    }

    /// There is a case of it, with its payload or without.
    pub fn kept(&mut self, payload_kept: bool) {
        self.case = Some(payload_kept);
    }

    /// The client is told that all went well.
    pub fn accepted(&mut self, outcome: Outcome) {
        self.accepted = Some(outcome);
    }

    /// An officer has switched every match to `observe`.
    pub fn observing_all(&mut self) {
        self.observing_all = true;
    }

    /// The end is about to be let go: from here on the origin may have the object, whatever else happens.
    pub fn released(&mut self) {
        self.released = true;
        if !self.labels.is_empty() {
            let all_new = self.labels.iter().all(|label| label.on_probation);
            self.sinks.metrics.waived(match (self.permitted, self.observing_all, all_new) {
                (true, ..) => "release",
                (_, true, _) => "observe_all",
                (_, _, true) => "probation",
                _ => "observe",
            });
        }
        if self.undecided {
            self.sinks.metrics.waived("on_unavailable");
        }
    }

    /// The entry that this payload has hit is a flood by now: an alarm, in the log and in an audit line of its own.
    pub fn flooding(&self, tenants: usize, uploads: u64, labels: &[Label]) {
        let list = labels.first().map_or("", |label| label.list.as_str());
        tracing::error!(
            request = self.id,
            list,
            tenants,
            uploads,
            "one entry hits so much that it may be a mistake: hashgate list veto --case {id}, or list confirm --case {id}",
            id = self.id
        );
        // Once for all of them: the line below is there for each.
        let detail = format!("an entry hits so much that it may be a mistake; its case is {}", self.id);
        self.sinks.alarms.raise(Alarm::Flood, &detail);
        self.sinks.put_down(json!({
            "request": self.id, "operation": "Flood", "outcome": "alarm", "tenants": tenants, "uploads": uploads,
        }));
    }

    /// A promise was waived by a setting, and this counts it.
    pub fn waived(&self, setting: &'static str) {
        self.sinks.metrics.waived(setting);
    }

    /// The origin committed before it was given the end.
    pub fn early_commit(&self) {
        self.sinks.metrics.early_commit();
        tracing::error!(request = self.id, "the origin answered with success before it had the end of the upload");
    }

    /// The origin's answer with this status goes to the client; the record is written with its last byte.
    pub fn answering(&mut self, status: u16) {
        let outcome = if status < 400 { Outcome::Forwarded } else { Outcome::OriginRefused };
        let outcome = self.accepted.unwrap_or(outcome);
        self.end = Some(End { outcome, reason: None, status });
    }

    /// Bytes of the answer that went to the client.
    pub fn answered(&mut self, bytes: usize) {
        self.answered += bytes as u64;
        self.sinks.metrics.answered(bytes);
    }

    /// Closes the record of a request whose answer is ready as it is.
    pub fn close(self) {
        drop(self);
    }

    /// Closes the record of a request that failed and is answered with `status`.
    pub fn fail(mut self, failure: &Failure, status: u16) {
        if let Some(detail) = failure.detail() {
            tracing::warn!(request = self.id, reason = failure.label(), "{detail}");
        }
        self.undecided |= matches!(failure, Failure::Undecidable(_));
        self.end = Some(End { outcome: failure.outcome(), reason: Some(failure.label()), status });
    }

    /// The origin's answer broke off in the middle; what was said of its status stands.
    pub fn broke_off(mut self, error: &OriginError) {
        let status = self.end.map_or(0, |end| end.status);
        self.end = Some(End { outcome: Outcome::OriginFailed, reason: Some(error.label()), status });
    }

    /// Forgets the ordinary end: the client did not wait for it.
    pub fn abandoned(&mut self) {
        self.end = None;
    }

    fn write(&mut self) {
        let end = self.end.unwrap_or(End { outcome: Outcome::ClientGone, reason: None, status: 0 });
        let elapsed = self.started.elapsed();
        if !self.is_internal {
            self.count(end, elapsed);
        }
        let action = match end.outcome {
            Outcome::Rejected => "reject",
            Outcome::Quarantined => "quarantine",
            _ if self.permitted => "release",
            _ => "observe",
        };
        for label in &self.labels {
            self.sinks.metrics.matched(&label.list, action);
        }
        if !self.labels.is_empty() {
            let bucket = self.masked(self.bucket.as_deref());
            let tenant = self.tenant.as_deref();
            tell_match(&self.sinks.events, &self.id, action, &self.labels, bucket, tenant);
        }
        let line = self.line(end, elapsed);
        let weighty = self.operation.is_upload() || self.digests.is_some() || end.reason.is_some();
        if weighty && self.sinks.audit.append(&line).is_err() {
            self.sinks.metrics.audit_failure();
        }
        self.log(&line, weighty);
    }

    fn count(&self, end: End, elapsed: Duration) {
        self.sinks.metrics.request(self.operation, end.outcome, elapsed, self.payload, self.framing);
        if let Some(reason) = end.reason {
            self.sinks.metrics.failure(reason);
        }
    }

    /// The same account as a log line: uploads and refusals at `info`, everything else at `debug`.
    fn log(&self, line: &Map<String, Value>, weighty: bool) {
        // Who it was is told here, where it is gone after a while, and not in the audit log, which is kept for years.
        let (key, access_key) = (self.masked(self.key.as_deref()), self.masked(self.access_key.as_deref()));
        let peer = self.peer.to_string();
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        let number = |name: &str| line.get(name).and_then(Value::as_u64);
        macro_rules! write {
            ($level:ident) => {
                tracing::$level!(
                    request = self.id,
                    peer,
                    operation = text("operation"),
                    bucket = text("bucket"),
                    key = key.as_str(),
                    access_key = access_key.as_str(),
                    tenant = text("tenant"),
                    payload_bytes = self.payload,
                    matched = !self.labels.is_empty(),
                    outcome = text("outcome"),
                    reason = text("reason"),
                    status = number("status"),
                    seconds = line.get("seconds").and_then(|value| value.as_f64()),
                    "request"
                )
            };
        }
        if weighty { write!(info) } else { write!(debug) }
    }

    fn line(&self, end: End, elapsed: Duration) -> Map<String, Value> {
        let listed = !self.labels.is_empty();
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                line.insert(name.to_owned(), value);
            }
        };
        put("time", json!(now));
        put("request", json!(self.id));
        put("operation", json!(if self.is_internal { "Canary" } else { self.operation.name() }));
        put("bucket", self.masked(self.bucket.as_deref()));
        put("caller", json!(self.confidence));
        put("tenant", json!(self.tenant));
        put("framing", json!(self.framing));
        put("payload_bytes", json!(self.payload));
        // The digest of a listed payload is a listed digest, and that of an undecided one may be.
        put("undecided", json!(self.undecided.then_some(true)));
        let is_secret = listed || self.undecided || self.is_internal;
        put("sha256", json!(self.digests.filter(|_| !is_secret).map(|d| hex::encode(d.sha256))));
        put(
            "matched",
            json!(listed.then_some(&self.labels).map(|labels| {
                labels
                    .iter()
                    .map(|l| {
                        json!({
                            "list": l.list, "category": l.category, "on_probation": l.on_probation,
                            "mark": l.payload.to_string(),
                        })
                    })
                    .collect::<Vec<_>>()
            })),
        );
        put("case", json!(self.case.map(|_| &self.id)));
        put("payload_kept", json!(self.case));
        put("permitted", json!(self.permitted.then_some(true)));
        put("released", json!(self.released));
        put("outcome", json!(end.outcome.label()));
        put("reason", json!(end.reason));
        put("status", json!((end.status != 0).then_some(end.status)));
        put("answer_bytes", json!((self.answered != 0).then_some(self.answered)));
        put("seconds", json!((elapsed.as_secs_f64() * 1e6).round() / 1e6));
        line
    }

    fn masked(&self, text: Option<&str>) -> Value {
        let Some(text) = text else { return Value::Null };
        let catalog = self.sinks.lists.current();
        let computed: Vec<Digest> = self.digests.iter().flat_map(Digests::iter).collect();
        json!(mask_name(text, &computed, |digest| catalog.is_listed(digest)))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.write();
    }
}

/// Publishes the event of a match: who has what is in the audit log, under this case.
pub(crate) fn tell_match(
    events: &Events,
    case: &str,
    action: &'static str,
    labels: &[Label],
    bucket: Value,
    tenant: Option<&str>,
) {
    let matched: Vec<Value> =
        labels.iter().map(|label| json!({ "list": label.list, "category": label.category })).collect();
    let told = json!({ "case": case, "action": action, "matched": matched, "bucket": bucket, "tenant": tenant });
    if let Value::Object(mut told) = told {
        told.retain(|_, value| !value.is_null());
        events.publish(Event::Match, told);
    }
}

/// 16 hexadecimal digits that nobody can foresee and that do not repeat.
fn request_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    thread_local!(static SEED: RandomState = RandomState::new());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    SEED.with(|seed| format!("{:016X}", seed.hash_one(count)))
}
