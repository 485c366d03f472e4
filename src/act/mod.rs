//! What a verdict does beyond releasing or dropping the hold.

use crate::config::settings::Event;
use crate::decide::Why;
use crate::digest::Digest;
use crate::gate::Gate;
use crate::record::{mask_name, tell_match};
use serde_json::{Value, json};

mod accept;
pub mod canary;
pub mod events;
mod flood;
mod incident;
mod observe;
mod own;
pub mod quarantine;
pub mod read_back;
pub mod recheck;
mod refusals;
mod tenant_hits;

pub use accept::{accepted, why_not};
pub use canary::Canary;
pub use events::Events;
pub use flood::Floods;
pub use incident::{abort_multipart, remove_committed};
pub use observe::{ObserveAll, Order, order};
pub use own::{Place, Source, SourceRead, read_source};
pub use quarantine::Quarantine;
pub use read_back::ReadBacks;
pub use recheck::Rechecks;
pub use refusals::Refusals;
pub use tenant_hits::TenantHits;

/// The audit line and the event of a case that has got further: no digest, no name of an object, no person. It blocks.
fn case_line(gate: &Gate, outcome: &'static str, manifest: &quarantine::Manifest) {
    let payload_kept = manifest.payload.payload_not_kept.is_none();
    let digests = &manifest.digests;
    let own = [digests.md5.as_deref(), digests.sha1.as_deref(), Some(&*digests.sha256)];
    let own: Vec<Digest> = own.into_iter().flatten().filter_map(Digest::from_hex).collect();
    // Tenants name buckets, too, and could name one after what they put into it.
    let catalog = gate.sinks.lists.current();
    let bucket = manifest.target.bucket.as_deref();
    let bucket = bucket.map(|bucket| mask_name(bucket, &own, |digest| catalog.is_listed(digest)));
    tracing::info!(case = manifest.case, outcome, payload_kept, "case");
    let line = json!({
        "request": manifest.case, "case": manifest.case, "operation": "Case", "outcome": outcome,
        "bucket": bucket, "tenant": manifest.caller.tenant, "payload_kept": payload_kept,
        "reason": manifest.reason,
    });
    if let Value::Object(line) = &line {
        gate.sinks.events.publish(Event::Quarantine, line.clone());
    }
    gate.sinks.put_down(line);
}

/// An audit line of its own, of an object that was looked up after its request: the request's is written already, or
/// belongs to a process that is gone.
fn written_down(gate: &Gate, request: &str, operation: &'static str, outcome: &'static str, why: &Why) {
    let labels = match why {
        Why::Listed(labels) | Why::Permitted(labels) => labels.as_slice(),
        Why::Unlisted | Why::Undecided(_) | Why::Canary => &[],
    };
    let action = if outcome == "clean" { "observe" } else { "reject" };
    for label in labels {
        gate.sinks.metrics.matched(&label.list, action);
    }
    if !labels.is_empty() {
        tell_match(&gate.sinks.events, request, action, labels, Value::Null, None);
    }
    let matched: Vec<Value> = labels
        .iter()
        .map(|l| json!({ "list": l.list, "category": l.category, "mark": l.payload.to_string() }))
        .collect();
    tracing::info!(request, operation, outcome, matched = !labels.is_empty(), "looked up after the request");
    gate.sinks.put_down(json!({ "request": request, "operation": operation, "outcome": outcome, "matched": matched }));
}
