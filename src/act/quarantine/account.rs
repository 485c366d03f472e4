//! What of a request goes into the manifest of its case.

use super::case::{self as form, CallerInfo, GateInfo, Manifest, PayloadInfo, TargetInfo, UploadInfo};
use super::{Keeping, NotKept, Payload, Quarantine};
use crate::act::Place;
use crate::authenticate::Caller;
use crate::decide::{Action, Label, Subject, Why};
use crate::digest::Digests;
use crate::gate::Gate;
use crate::inspect::Decoded;
use crate::record::Record;
use crate::route::{Errand, Operation};
use crate::s3::tagging;
use crate::s3::target::Target;
use http::HeaderMap;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::spawn_blocking;

/// Headers, and form fields, that describe an object. Whoever puts it where it was meant to go sends them again.
const DESCRIBING: [&str; 11] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-acl",
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
];

/// Families of those. A customer's key is none of them.
const DESCRIBING_FAMILIES: [&str; 3] = ["x-amz-meta-", "x-amz-grant-", "x-amz-object-lock-"];

/// A request whose payload is kept.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// When its head came.
    pub received: OffsetDateTime,
    /// Its head.
    pub parts: &'a Parts,
    /// What it asks for.
    pub errand: &'a Errand,
    /// Who sent it.
    pub caller: &'a Caller,
    /// The address that connected.
    pub peer: SocketAddr,
    /// What is said of the object elsewhere than in the head: a form's fields in order, or the headers of
    /// CreateMultipartUpload.
    pub elsewhere: &'a [(String, String)],
    /// What the rules were asked about.
    pub subject: &'a Subject,
}

impl Seen<'_> {
    /// Makes a case, which is on the disk before the client is answered. An upload of which none can be made is refused
    /// all the same. `digests` are those of what would have become the object.
    pub async fn keep(&self, gate: &Arc<Gate>, record: &mut Record, why: &Why, digests: &Digests, payload: Payload) {
        let Some(quarantine) = &gate.quarantine else { return };
        let manifest = self.manifest(gate, quarantine, record.id(), why, digests);
        match quarantine.keep(gate, manifest, payload).await {
            Ok(payload_kept) => record.kept(payload_kept),
            Err(error) => {
                tracing::error!(request = record.id(), "a match is refused, but there is no case of it: {error}");
            }
        }
    }

    /// The manifest, which does not say yet what is kept of the payload.
    fn manifest(&self, gate: &Gate, quarantine: &Quarantine, case: &str, why: &Why, digests: &Digests) -> Manifest {
        let text = |name| self.parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let target = TargetInfo {
            bucket: self.errand.target.bucket.clone(),
            key: self.errand.target.key.clone(),
            host: text(HOST).unwrap_or_default(),
            path: self.parts.uri.path().to_owned(),
        };
        let caller = CallerInfo {
            confidence: self.caller.confidence.label().to_owned(),
            access_key: self.caller.access_key.clone(),
            tenant: self.caller.tenant.clone(),
            address: self.peer.ip().to_string(),
            port: self.peer.port(),
            user_agent: text(USER_AGENT),
        };
        let upload = UploadInfo {
            operation: self.errand.operation.name().to_owned(),
            framing: self.errand.framing.label().to_owned(),
        };
        let request = (target, caller, upload, self.describing());
        manifest(gate, quarantine, case, (self.received, self.subject), why, digests, request)
    }

    fn describing(&self) -> Vec<(String, String)> {
        let mut headers = describing_headers(&self.parts.headers);
        // The Content-Type of a form is not that of its file, nor is that of a part that of the object.
        if !self.elsewhere.is_empty() || self.errand.operation == Operation::CompleteMultipartUpload {
            headers.retain(|(name, _)| name != "content-type");
        }
        headers.into_iter().chain(self.elsewhere.iter().filter_map(|(name, value)| as_header(name, value))).collect()
    }
}

/// `seen` is when the payload came, and what the rules were asked about; `request` what a request says.
fn manifest(
    gate: &Gate,
    quarantine: &Quarantine,
    case: &str,
    seen: (OffsetDateTime, &Subject),
    why: &Why,
    digests: &Digests,
    request: (TargetInfo, CallerInfo, UploadInfo, Vec<(String, String)>),
) -> Manifest {
    let ((received, subject), (target, caller, upload, headers)) = (seen, request);
    let labels: &[Label] = match why {
        Why::Listed(labels) | Why::Permitted(labels) => labels,
        Why::Unlisted | Why::Undecided(_) | Why::Canary => &[],
    };
    let (policy, decided) = (&gate.settings.policy, OffsetDateTime::now_utc());
    Manifest {
        manifest_version: Manifest::VERSION,
        case: case.to_owned(),
        gate: GateInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key: quarantine.public_key(),
            policy: blake3::hash(format!("{policy:?}").as_bytes()).to_hex()[..32].to_owned(),
        },
        received,
        decided,
        retain_until: decided + quarantine.retention(),
        reason: form::reason(why).to_owned(),
        matches: form::matches(labels, versions(gate)),
        rule: policy.rule_for(labels, subject).filter(|rule| policy.rules[*rule].action == Action::Quarantine),
        digests: digests.into(),
        size: digests.length,
        media_type: headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.clone()),
        target,
        caller,
        upload,
        headers,
        payload: PayloadInfo { payload_not_kept: None, pieces: Vec::new() },
    }
}

/// An object that was read after it was stored.
pub struct Read {
    /// Of its bytes.
    pub digests: Digests,
    /// Of its bytes as they are read.
    pub decoded: Option<Decoded>,
    /// Its bytes, where a rule could have them kept.
    pub keeping: Option<Keeping>,
    /// Of the origin's answer.
    pub headers: HeaderMap,
}

/// Makes a case of an object that is about to be removed, once. Who sent it is in the audit line of its request.
///
/// # Errors
/// The system's: there is no case, and the object must not go yet.
pub async fn keep_found(
    gate: &Arc<Gate>,
    request: &str,
    place: &Place,
    subject: &Subject,
    why: &Why,
    read: Read,
) -> io::Result<()> {
    let Some(quarantine) = &gate.quarantine else { return Ok(()) };
    let (Read { digests, keeping, headers, .. }, journal, case) = (read, quarantine.clone(), request.to_owned());
    if spawn_blocking(move || journal.journal().read(&case)).await.map_err(io::Error::other)??.is_some() {
        return Ok(());
    }
    let target = Target::read(&place.host, &place.path, &gate.settings.listen.base_domains);
    let target =
        TargetInfo { bucket: target.bucket, key: target.key, host: place.host.clone(), path: place.path.clone() };
    let caller = CallerInfo {
        confidence: "unknown".to_owned(),
        access_key: None,
        tenant: subject.tenant.clone(),
        address: String::new(),
        port: 0,
        user_agent: None,
    };
    let upload = UploadInfo { operation: "GetObject".to_owned(), framing: "raw".to_owned() };
    let found = (OffsetDateTime::now_utc(), subject);
    let manifest = manifest(
        gate,
        quarantine,
        request,
        found,
        why,
        &digests,
        (target, caller, upload, describing_headers(&headers)),
    );
    let payload = keeping.map_or(Payload::Parts(Err(NotKept::NotSeen)), Payload::Streamed);
    quarantine.keep(gate, manifest, payload).await.map(drop)
}

/// When the version of a list that is in use was read.
fn versions(gate: &Gate) -> impl Fn(&str) -> Option<String> {
    let status = gate.sinks.lists.status();
    move |name| {
        let list = status.iter().find(|list| list.name == name)?;
        OffsetDateTime::from(list.read_at).format(&Rfc3339).ok()
    }
}

/// The headers that describe an object, in order.
pub fn describing_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let readable = headers.iter().filter(|(name, _)| describes(name.as_str()));
    readable.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
}

/// The header that describes the object as a form's field does; `None` where that does not.
fn as_header(field: &str, value: &str) -> Option<(String, String)> {
    match field {
        "acl" => Some(("x-amz-acl".to_owned(), value.to_owned())),
        "tagging" => Some(("x-amz-tagging".to_owned(), tagging::header_value(value)?)),
        field => describes(field).then(|| (field.to_owned(), value.to_owned())),
    }
}

fn describes(name: &str) -> bool {
    DESCRIBING.contains(&name) || DESCRIBING_FAMILIES.iter().any(|family| name.starts_with(family))
}
