//! What is at the origin though it should not be: an object that was committed before it was given its end, and the
//! parts of a listed upload.

use super::own::{self, Identity, Place, Removal};
use crate::forward::AnswerBody;
use crate::gate::Gate;
use crate::s3::head::Head;
use http::request::Parts;
use http::{Method, Response};

/// Removes what the origin said that it stored, and where. Needs `origin.credentials`.
pub async fn remove_committed(gate: &Gate, place: Option<Place>, answer: Response<AnswerBody>) {
    let identity = Identity::of(answer.headers());
    let removed = match place {
        Some(place) => own::remove(gate, &place, &identity).await == Removal::Gone,
        None => false,
    };
    if removed {
        tracing::warn!("what the origin had stored too early was removed");
    } else {
        tracing::error!(
            "what the origin stored too early could not be removed: look for the object of this request and remove it"
        );
    }
}

/// Aborts the upload whose Complete this is the head of, so that its parts go. Without credentials they stay until the
/// bucket's own rule for unfinished uploads removes them.
pub async fn abort_multipart(gate: &Gate, complete: &Parts) {
    if gate.settings.origin.credentials.is_none() {
        return;
    }
    let upload = Head::of(complete).query_value("uploadId").unwrap_or_default();
    let query = format!("uploadId={}", own::encode(&upload));
    let aborted = match Place::of(complete, None) {
        Some(place) => own::call(gate, &place, Method::DELETE, &query, None).await,
        None => None,
    };
    if !aborted.is_some_and(|answer| answer.status().is_success()) {
        tracing::error!(
            "a listed upload in parts could not be aborted at the origin: its parts stay there, unreadable"
        );
    }
}
