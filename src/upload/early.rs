//! The origin answered before it had the end of an upload, or is lost.

use super::client::Client;
use crate::act::quarantine::{NotKept, Payload, Seen};
use crate::act::{self, Place};
use crate::decide::{self, OnUnavailable, Verdict, Why};
use crate::error::Failure;
use crate::forward::{AnswerBody, Interrupted, buffered};
use crate::gate::Gate;
use crate::inspect::{Inspected, Inspection};
use crate::multipart::Role;
use crate::record::Record;
use http::Response;
use hyper::body::Incoming;
use std::sync::Arc;

/// What is left of an upload that the origin answered before its end.
pub(super) struct Early<'a> {
    pub(super) inspection: Inspection<Incoming>,
    pub(super) seen: Seen<'a>,
    pub(super) client: &'a mut Client,
    /// Where the object would be.
    pub(super) place: Option<Place>,
    pub(super) role: Role,
}

/// The origin answered early, or is lost.
pub(super) async fn interruption(
    gate: &Arc<Gate>,
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
    gate: &Arc<Gate>,
    record: &mut Record,
    answer: Response<AnswerBody>,
    early: Option<Early<'_>>,
) -> Result<Response<AnswerBody>, Failure> {
    let Some(Early { mut inspection, seen, client, place, role }) = early else { return Err(Failure::EarlyCommit) };
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
    let finding = gate.look_up_as_read(&digests, decoded.as_ref(), true).await?;
    match decide::verdict(finding, seen.subject, &gate.settings.policy, gate.moment(OnUnavailable::Refuse)) {
        Verdict::Quarantine(why @ Why::Listed(_), _) => {
            record.decided(&why);
            // What came while the origin answered was hashed, but not kept.
            seen.keep(gate, record, &why, &digests, Payload::Parts(Err(NotKept::NotSeen))).await;
            act::remove_committed(gate, place, answer).await;
            Err(Failure::Quarantined)
        }
        Verdict::Reject(why @ Why::Listed(_), _) => {
            record.decided(&why);
            act::remove_committed(gate, place, answer).await;
            Err(Failure::Listed)
        }
        _ => Err(Failure::EarlyCommit),
    }
}
