//! The client's side of a request.

use crate::answer;
use crate::authenticate::Caller;
use crate::error::Failure;
use crate::gate::Gate;
use crate::inspect::{Inspection, Pace};
use crate::route::Errand;
use http::request::Parts;
use hyper::body::Incoming;
use tokio::time::Instant;

/// Its body, wherever that is at the moment.
pub(super) struct Client {
    pub(super) body: Option<Incoming>,
    pub(super) expects_100: bool,
    /// Whether its body was asked for, so that a client which expects 100 Continue has been told to send it.
    pub(super) heard: bool,
    /// The host to which its form says that it wants to be sent when all is done.
    pub(super) redirect: Option<String>,
    /// When its body was there, as far as it came.
    pub(super) ended: Option<Instant>,
}

impl Client {
    pub(super) fn inspect(
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

    pub(super) fn take_back(&mut self, inspection: Inspection<Incoming>) {
        self.body = Some(inspection.into_body());
    }

    /// Reads on for a while, so that the client gets to read the answer and not a reset. True where the body ended.
    ///
    /// A client that expects 100 Continue and was not told to go on sends nothing: asking for its body would tell it.
    pub(super) async fn drain(&mut self, bytes_max: u64) -> bool {
        let Some(mut body) = self.body.take() else { return true };
        if self.expects_100 && !self.heard {
            return false;
        }
        let drained = tokio::time::timeout(answer::DRAIN_TIMEOUT, answer::drain(&mut body, bytes_max)).await;
        drained.unwrap_or(false)
    }
}
