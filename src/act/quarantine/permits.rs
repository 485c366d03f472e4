//! Permissions to put a released payload where it was meant to go, each for one upload.
//!
//! What is kept of one is a digest over its secret and all that it is for. Whoever reads the folder can neither use one
//! nor tell what is listed; and one that is shown for another payload, key or bucket is simply not there.

use super::Quarantine;
use super::acts;
use super::case::Manifest;
use super::rules::{self, act};
use crate::digest::Digests;
use crate::forward::AnswerBody;
use crate::gate::Gate;
use crate::route::{Errand, Operation};
use http::{HeaderMap, Response};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::task::spawn_blocking;

/// The header in which a permission comes. It never goes on to the origin.
pub const HEADER: &str = "x-hashgate-permission";

const ENDING: &str = "permit";

/// The permissions of one state folder that were given out and not used.
pub struct Permits {
    dir: PathBuf,
}

/// A permission as its officer has it: `CASE.TOKEN`.
#[derive(Clone, PartialEq, Eq)]
pub struct Permission {
    case: String,
    token: [u8; 32],
}

/// What a permission is for.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// Of the payload.
    pub sha256: &'a [u8; 32],
    /// Where it goes.
    pub bucket: &'a str,
    /// Under which key.
    pub key: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Permit {
    case: String,
    #[serde(with = "time::serde::rfc3339")]
    expires: OffsetDateTime,
}

impl Permits {
    /// Opens the folder, and makes it where it is not there.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(dir: &Path) -> io::Result<Permits> {
        fs::create_dir_all(dir)?;
        Ok(Permits { dir: dir.to_owned() })
    }

    /// Makes one, which is on the disk when this returns. It blocks.
    ///
    /// # Errors
    /// The system's; then there is none.
    pub(super) fn mint(&self, case: &str, object: Object<'_>, now: OffsetDateTime) -> io::Result<Permission> {
        self.forget_expired(now)?;
        let mut token = [0; 32];
        getrandom::fill(&mut token).map_err(io::Error::other)?;
        let permission = Permission { case: case.to_owned(), token };
        let permit = Permit { case: case.to_owned(), expires: now + rules::APPROVAL };
        let path = self.path_of(&permission, object);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(&serde_json::to_vec(&permit)?)?;
        file.sync_all()?;
        self.sync()?;
        Ok(permission)
    }

    /// Uses one up: true where it was good for this object until now. From then on it is not, also after a crash. It
    /// blocks.
    ///
    /// # Errors
    /// The system's; then it was not used.
    pub(super) fn redeem(&self, permission: &Permission, object: Object<'_>, now: OffsetDateTime) -> io::Result<bool> {
        let path = self.path_of(permission, object);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            text => text?,
        };
        let permit: Permit = serde_json::from_slice(&text)?;
        match fs::remove_file(&path) {
            // Of two at the same time only one removes it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            removed => removed?,
        }
        self.sync()?;
        Ok(now < permit.expires)
    }

    fn forget_expired(&self, now: OffsetDateTime) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let permit = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Permit>(&text).ok());
            if permit.is_some_and(|permit| permit.expires <= now) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn path_of(&self, permission: &Permission, object: Object<'_>) -> PathBuf {
        let mut hasher = blake3::Hasher::new_derive_key("hashgate permission v1");
        let Permission { case, token } = permission;
        for part in [&token[..], case.as_bytes(), object.sha256, object.bucket.as_bytes(), object.key.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        self.dir.join(format!("{}.{ENDING}", hasher.finalize().to_hex()))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

impl Permission {
    /// Takes it out of the headers of a request, whatever it is: none must go on to the origin.
    pub fn take(headers: &mut HeaderMap) -> Option<Permission> {
        let permission = Permission::parse(headers.get(HEADER)?.to_str().unwrap_or_default());
        headers.remove(HEADER);
        permission
    }

    /// Reads `CASE.TOKEN`.
    pub fn parse(text: &str) -> Option<Permission> {
        let (case, secret) = text.split_once('.')?;
        let mut token = [0; 32];
        hex::decode_to_slice(secret, &mut token).ok()?;
        acts::is_case_id(case).then(|| Permission { case: case.to_owned(), token })
    }

    /// The case that it is for.
    pub fn case(&self) -> &str {
        &self.case
    }

    /// `CASE.TOKEN`, for the officer alone.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.case, hex::encode(self.token))
    }

    /// Uses it up for this request's object, where it is for that.
    pub async fn redeem(&self, gate: &Gate, errand: &Errand, object: &Digests) -> Option<Redeemed> {
        let quarantine = gate.quarantine.clone()?;
        let (permission, sha256) = (self.clone(), object.sha256);
        // A part and a form can be read in ways in which it was not approved; so can a Host that may name a bucket.
        let is_object = matches!(errand.operation, Operation::PutObject | Operation::CompleteMultipartUpload);
        let (bucket, key) = (errand.target.bucket.clone()?, errand.target.key.clone()?);
        if !is_object || errand.target.readings.iter().any(|reading| *reading != bucket) {
            return None;
        }
        let redeeming = quarantine.clone();
        let redeemed = spawn_blocking(move || {
            let object = Object { sha256: &sha256, bucket: &bucket, key: &key };
            let is_good = redeeming.permits().redeem(&permission, object, OffsetDateTime::now_utc())?;
            if is_good {
                // Here, where it happens even if the client is gone by now.
                note(&redeeming, &permission.case, act::USED)?;
            }
            Ok(is_good)
        });
        match redeemed.await.map_err(io::Error::other).flatten() {
            Ok(true) => Some(Redeemed { quarantine, case: self.case.clone() }),
            Ok(false) => {
                tracing::warn!(case = self.case, "a permission is used, expired, or not for this object");
                None
            }
            Err(error) => {
                tracing::error!(case = self.case, "a permission cannot be used: {error}");
                None
            }
        }
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permission").field(&self.case).finish()
    }
}

/// An upload that goes on under a permission, which is used up.
pub struct Redeemed {
    quarantine: Arc<Quarantine>,
    case: String,
}

impl Redeemed {
    /// Writes down what the store said.
    pub async fn answered(self, gate: &Arc<Gate>, answer: &Response<AnswerBody>) {
        if !answer.status().is_success() {
            tracing::warn!(case = self.case, status = answer.status().as_u16(), "the origin did not take a release");
            return;
        }
        let (quarantine, case) = (self.quarantine.clone(), self.case.clone());
        let noted = spawn_blocking(move || note(&quarantine, &case, act::RELEASED));
        match noted.await.map_err(io::Error::other).flatten() {
            Ok(Some(manifest)) => self.quarantine.tell(gate, "released", manifest).await,
            Ok(None) => {}
            Err(error) => tracing::error!(case = self.case, "a release is not written down in its case: {error}"),
        }
    }
}

/// Writes down what became of a permission: it is the word of the officer to whom it was given. It blocks.
fn note(quarantine: &Quarantine, case: &str, what: &str) -> io::Result<Option<Manifest>> {
    let noted = quarantine.journal().change(case, |case| {
        let given = case.acts.iter().rfind(|done| done.what == act::PERMITTED);
        let by = given.map(|given| given.by.clone()).unwrap_or_default();
        case.note(what, rules::Word { by: &by, reason: "", now: OffsetDateTime::now_utc() });
        Ok::<_, Infallible>(case.manifest.clone())
    })?;
    Ok(noted.map(|Ok(manifest)| manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = "0123456789ABCDEF";

    #[test]
    fn a_permission_is_for_one_upload_of_one_object() {
        let dir = tempfile::tempdir().unwrap();
        let permits = Permits::open(dir.path()).unwrap();
        let now = OffsetDateTime::now_utc();
        let object = Object { sha256: &[1; 32], bucket: "b", key: "k" };
        let permission = permits.mint(CASE, object, now).unwrap();
        assert_eq!(Permission::parse(&permission.expose()), Some(permission.clone()));
        let other_case = Permission { case: "F".repeat(16), ..permission.clone() };
        for (permission, object) in [
            (&permission, Object { sha256: &[2; 32], ..object }),
            (&permission, Object { bucket: "bk", key: "", ..object }),
            (&permission, Object { key: "l", ..object }),
            (&other_case, object),
            (&Permission { token: [0; 32], ..permission.clone() }, object),
        ] {
            assert!(!permits.redeem(permission, object, now).unwrap(), "{permission:?} {object:?}");
        }
        // The next process knows it, and its use, as well.
        let permits = Permits::open(dir.path()).unwrap();
        assert!(permits.redeem(&permission, object, now).unwrap());
        assert!(!permits.redeem(&permission, object, now).unwrap());
    }

    #[test]
    fn a_permission_ends() {
        let dir = tempfile::tempdir().unwrap();
        let permits = Permits::open(dir.path()).unwrap();
        let now = OffsetDateTime::now_utc();
        let object = Object { sha256: &[1; 32], bucket: "b", key: "k" };
        let permission = permits.mint(CASE, object, now).unwrap();
        assert!(!permits.redeem(&permission, object, now + rules::APPROVAL).unwrap());
        permits.mint(CASE, object, now).unwrap();
        permits.mint(CASE, object, now + rules::APPROVAL).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the expired one is gone");
    }

    #[test]
    fn what_is_kept_of_one_does_not_give_it_away() {
        let dir = tempfile::tempdir().unwrap();
        let permits = Permits::open(dir.path()).unwrap();
        let object = Object { sha256: &[0xab; 32], bucket: "b", key: "k" };
        let permission = permits.mint(CASE, object, OffsetDateTime::now_utc()).unwrap();
        let path = permits.path_of(&permission, object);
        let kept = format!("{}{}", path.display(), fs::read_to_string(&path).unwrap());
        assert!(!kept.contains(&hex::encode(permission.token)) && !kept.contains(&hex::encode([0xab; 32])), "{kept}");
    }

    #[test]
    fn every_such_header_is_taken_out() {
        let mut headers = HeaderMap::new();
        for text in ["0123456789ABCDEF.00", "nonsense"] {
            headers.append(HEADER, text.parse().unwrap());
        }
        assert_eq!(Permission::take(&mut headers), None);
        assert!(headers.is_empty());
        for text in ["", ".", "0123456789ABCDEF", "../x.00"] {
            assert_eq!(Permission::parse(text), None);
        }
    }
}
