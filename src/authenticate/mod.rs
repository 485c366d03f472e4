//! Who sent a request, and is every chunk signed by them?
//!
//! In `pass-through` the origin judges: the caller is who they claim to be. In `verify` the signature is checked here,
//! over the raw head, and the chunks' signatures as they stream by; afterwards the same bytes go to the origin, which
//! checks them again. Only users with credentials of their own at the origin are signed anew, by [`sign()`].
//!
//! Nothing here reads a clock, a socket or a file; the time is an argument.

mod chunks;
mod error;
mod form;
mod sign;
mod verify;

pub use chunks::ChunkVerifier;
pub use error::AuthError;
pub use sign::sign;

use crate::config::settings::{self, Credentials, Mode, Secret};
use crate::s3::authorization::{Payload, Presented};
use crate::s3::head::Head;
use std::collections::HashMap;
use time::OffsetDateTime;

/// Who sent a request, and how sure we are. Its `Debug` shows names only: secrets and keys are masked by their types.
#[derive(Debug)]
pub struct Caller {
    /// The access key id; `None` for an anonymous caller.
    pub access_key: Option<String>,
    /// The tenant of the configured user with that key.
    pub tenant: Option<String>,
    /// How sure we are.
    pub confidence: Confidence,
    /// Must see every segment of the body, where its chunks are signed and signatures are verified here.
    pub chunks: Option<ChunkVerifier>,
    /// Where set, the request must be signed anew with these.
    pub origin_credentials: Option<Credentials>,
}

/// How sure we are of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// Nobody is named.
    Anonymous,
    /// The request names them; the origin will judge.
    Claimed,
    /// The signature is theirs.
    Verified,
}

impl Confidence {
    /// The fixed word for records and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Confidence::Anonymous => "anonymous",
            Confidence::Claimed => "claimed",
            Confidence::Verified => "verified",
        }
    }
}

/// Knows the users, and finds the caller of a request.
#[derive(Debug)]
pub struct Authenticator {
    mode: Mode,
    users: HashMap<String, User>,
    region: Option<String>,
}

#[derive(Debug)]
struct User {
    secret_key: Option<Secret>,
    tenant: Option<String>,
    origin_credentials: Option<Credentials>,
}

impl Caller {
    /// Whether we checked the signature ourselves.
    pub fn is_verified(&self) -> bool {
        self.confidence == Confidence::Verified
    }
}

impl Authenticator {
    /// Takes the users as they are configured, and the region that signatures must name; `None` takes any.
    pub fn new(authentication: &settings::Authentication, region: Option<&str>) -> Authenticator {
        let users = authentication.users.iter().map(|user| {
            let known = User {
                secret_key: user.secret_key.clone(),
                tenant: user.tenant.clone(),
                origin_credentials: user.origin_credentials.clone(),
            };
            (user.access_key.clone(), known)
        });
        Authenticator { mode: authentication.mode, users: users.collect(), region: region.map(str::to_owned) }
    }

    /// The caller of the request that `head` opens and that presents `presented`. `now` is the time at which the head
    /// came: a slow upload must not fail later.
    pub fn authenticate(
        &self,
        head: Head<'_>,
        presented: &Presented,
        now: OffsetDateTime,
    ) -> Result<Caller, AuthError> {
        match self.mode {
            Mode::PassThrough => Ok(self.claimed(presented)),
            Mode::Verify => self.verified(head, presented, now),
        }
    }

    fn claimed(&self, presented: &Presented) -> Caller {
        self.claimed_as(presented.access_key().map(str::to_owned))
    }

    fn claimed_as(&self, access_key: Option<String>) -> Caller {
        let Some(access_key) = access_key else {
            return Caller::anonymous();
        };
        Caller {
            tenant: self.users.get(&access_key).and_then(|user| user.tenant.clone()),
            access_key: Some(access_key),
            confidence: Confidence::Claimed,
            chunks: None,
            origin_credentials: None,
        }
    }

    fn verified(&self, head: Head<'_>, presented: &Presented, now: OffsetDateTime) -> Result<Caller, AuthError> {
        let authorization = match presented {
            Presented::Anonymous => return anonymous(head),
            Presented::HeaderV4(authorization) => authorization,
            Presented::PresignedV4(presigned) => &presigned.authorization,
            Presented::HeaderV4a { .. }
            | Presented::PresignedV4a { .. }
            | Presented::HeaderV2 { .. }
            | Presented::PresignedV2 { .. } => return Err(AuthError::Version),
        };
        let user = self.users.get(&authorization.access_key).ok_or(AuthError::UnknownAccessKey)?;
        let secret = user.secret_key.as_ref().ok_or(AuthError::UnknownAccessKey)?;
        let region = self.region.as_deref();
        let chunks = match presented {
            Presented::PresignedV4(presigned) => {
                verify::presigned(head, presigned, secret, region, now)?;
                None
            }
            _ => verify::header(head, authorization, secret, region, now)?,
        };
        Ok(Caller {
            access_key: Some(authorization.access_key.clone()),
            tenant: user.tenant.clone(),
            confidence: Confidence::Verified,
            chunks,
            origin_credentials: user.origin_credentials.clone(),
        })
    }
}

impl Caller {
    fn anonymous() -> Caller {
        Caller {
            access_key: None,
            tenant: None,
            confidence: Confidence::Anonymous,
            chunks: None,
            origin_credentials: None,
        }
    }
}

/// Nobody can have signed the chunks of an anonymous request, and a store that takes them would not check them either.
fn anonymous(head: Head<'_>) -> Result<Caller, AuthError> {
    let payload = head.effective("x-amz-content-sha256");
    match payload.as_deref().and_then(Payload::parse) {
        Some(Payload::SignedChunks { .. } | Payload::V4aChunks { .. }) => Err(AuthError::PayloadKind),
        _ => Ok(Caller::anonymous()),
    }
}

#[cfg(test)]
mod tests;
