//! What officers do about cases. The rules are in `rules`; here the journal, the bucket and the permissions follow them.

use super::case::{Case, State};
use super::permits::{Object, Permission};
use super::rules::{Approval, Refused, Word, act, text};
use super::store::StoreError;
use super::{MANIFEST, Quarantine};
use crate::decide::Mark;
use crate::list::{self, Decision};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Why an act was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// Nobody has heard of it.
    #[error("there is no such case")]
    NoCase,
    /// A rule stands against it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The state folder.
    #[error("state.dir: {0}")]
    Io(#[from] io::Error),
    /// The bucket.
    #[error("{0}; nothing is purged until it takes that")]
    Store(#[from] StoreError),
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// Another officer is needed.
    Approved,
    /// These may be put where they were meant to go.
    Permitted(Vec<Permission>),
    /// It is gone.
    Purged,
    /// The hold is set.
    Held,
    /// The hold is off.
    Unheld,
}

impl Done {
    /// Its word.
    pub fn word(&self) -> &'static str {
        match self {
            Done::Approved => "approved",
            Done::Permitted(_) => "permitted",
            Done::Purged => "purged",
            Done::Held => "held",
            Done::Unheld => "unheld",
        }
    }
}

/// Whether a text can name a case; anything else is not looked for, and not repeated either.
pub fn is_case_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Quarantine {
    /// An officer wants a case released. It blocks.
    ///
    /// # Errors
    /// It was not approved.
    pub fn release(&self, case: &str, word: Word<'_>) -> Result<Done, ActError> {
        self.change(case, |case| match case.approve_release(word)? {
            Approval::First => Ok(Done::Approved),
            Approval::Complete => Ok(Done::Permitted(vec![self.permit(case, word)?])),
        })
    }

    /// An officer wants every case released that the entry of this one has made, and the entry heeded no more. Both have to
    /// say so of the same case. It blocks.
    ///
    /// # Errors
    /// It was not approved.
    pub fn release_entry(&self, state_dir: &Path, case: &str, word: Word<'_>) -> Result<Done, ActError> {
        let (approval, marks) = self.change(case, |case| {
            let marks = marks(case);
            if marks.is_empty() {
                return Err(Refused::NoEntry.into());
            }
            Ok((case.approve_entry(word)?, marks))
        })?;
        if approval == Approval::First {
            return Ok(Done::Approved);
        }
        // The veto comes first: it is what keeps further uploads from becoming cases.
        list::decide(state_dir, case, &marks, Decision::Veto, &text(word.now))?;
        let mut permissions = Vec::new();
        for other in self.journal().all()? {
            if shares(&other, &marks) && other.is_releasable().is_ok() {
                permissions.push(self.change(&other.manifest.case, |case| self.permit(case, word))?);
            }
        }
        // Last: what fails before is asked for again by either of the two.
        self.change(case, |case| {
            case.note(act::VETOED, word);
            Ok(())
        })?;
        Ok(Done::Permitted(permissions))
    }

    /// An officer wants the payload of a case removed. Both approvals stand when the store refuses.
    ///
    /// # Errors
    /// It was not approved, or not removed.
    pub async fn purge(self: &Arc<Self>, case: &str, word: Word<'_>) -> Result<Done, ActError> {
        let approved = self.aside(case, word, |case, word| Ok((case.approve_purge(word)?, objects(case)))).await?;
        let (Approval::Complete, objects) = approved else { return Ok(Done::Approved) };
        self.store().remove(case, &objects).await?;
        self.aside(case, word, |case, word| {
            case.state = State::Purged { at: text(word.now) };
            case.note(act::PURGED, word);
            Ok(Done::Purged)
        })
        .await
    }

    /// An officer sets a legal hold, or takes it off. It blocks.
    ///
    /// # Errors
    /// A rule stands against it.
    pub fn hold(&self, case: &str, on: bool, word: Word<'_>) -> Result<Done, ActError> {
        self.change(case, |case| match on {
            true => Ok(case.hold(word).map(|()| Done::Held)?),
            false => Ok(case.unhold(word).map(|()| Done::Unheld)?),
        })
    }

    /// Gives a permission out. It is on the disk before the case says so: one that nobody was told of can do no harm.
    fn permit(&self, case: &mut Case, word: Word<'_>) -> Result<Permission, ActError> {
        let target = &case.manifest.target;
        let (Some(bucket), Some(key)) = (&target.bucket, &target.key) else { return Err(Refused::NoTarget.into()) };
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&case.manifest.digests.sha256, &mut sha256).map_err(io::Error::other)?;
        let permission = self.permits().mint(&case.manifest.case, Object { sha256: &sha256, bucket, key }, word.now)?;
        case.note(act::PERMITTED, word);
        Ok(permission)
    }

    fn change<T>(&self, id: &str, change: impl FnOnce(&mut Case) -> Result<T, ActError>) -> Result<T, ActError> {
        self.journal().change(id, change)?.ok_or(ActError::NoCase)?
    }

    /// The same on a thread that may block.
    async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        case: &str,
        word: Word<'_>,
        change: impl FnOnce(&mut Case, Word<'_>) -> Result<T, ActError> + Send + 'static,
    ) -> Result<T, ActError> {
        let (quarantine, id) = (self.clone(), case.to_owned());
        let (by, reason, now) = (word.by.to_owned(), word.reason.to_owned(), word.now);
        let changing = move || quarantine.change(&id, |case| change(case, Word { by: &by, reason: &reason, now }));
        spawn_blocking(changing).await.map_err(io::Error::other)?
    }
}

/// What tells the payloads of a case from all others.
fn marks(case: &Case) -> Vec<Mark> {
    let mut marks: Vec<Mark> = case.manifest.matches.iter().filter_map(|found| found.mark.parse().ok()).collect();
    // All zeros were never made for a payload.
    marks.retain(|mark| *mark != Mark::default());
    marks.sort();
    marks.dedup();
    marks
}

fn shares(case: &Case, wanted: &[Mark]) -> bool {
    marks(case).iter().any(|mark| wanted.contains(mark))
}

/// Everything of a case in the bucket.
fn objects(case: &Case) -> Vec<String> {
    let pieces = case.manifest.payload.pieces.iter().map(|piece| piece.object.clone());
    // The manifest says what there is, so it goes last.
    pieces.chain([MANIFEST.to_owned()]).collect()
}
