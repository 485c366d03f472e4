//! What officers may do about a case, and when. Pure: who, why and what time it is go in, and the case comes out changed.

use super::case::{Act, Case, State};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How long an approval waits for the second one: who says yes today does not say yes to what is known next month.
pub const APPROVAL: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is written down of each act.
pub mod act {
    /// An officer approves the release of one case.
    pub const APPROVE_RELEASE: &str = "approve_release";
    /// An officer approves the release of every case of an entry, and its veto.
    pub const APPROVE_ENTRY: &str = "approve_entry";
    /// A permission was given out.
    pub const PERMITTED: &str = "permitted";
    /// An upload used the permission up.
    pub const USED: &str = "permission_used";
    /// The store took that upload.
    pub const RELEASED: &str = "released";
    /// An officer approves the removal.
    pub const APPROVE_PURGE: &str = "approve_purge";
    /// It was removed.
    pub const PURGED: &str = "purged";
    /// A legal hold was put on it.
    pub const HOLD: &str = "hold";
    /// And taken off.
    pub const UNHOLD: &str = "unhold";
    /// Its entry is heeded no more.
    pub const VETOED: &str = "vetoed";
}

/// An officer, the reason that they give, and the time.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Their name in `admin.tokens`.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
    /// When.
    pub now: OffsetDateTime,
}

/// Where something stands that needs two officers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Another officer is needed.
    First,
    /// Two different ones have spoken.
    Complete,
}

/// Why an officer may not; the words say what would have to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Two are needed.
    #[error("you have approved it already; another officer has to, within 7 days")]
    SameOfficer,
    /// Too early.
    #[error("it has to be kept until {0}; purge it after that")]
    Retention(String),
    /// Somebody wants it kept.
    #[error("it is under a legal hold, set by {by} at {at}; an officer has to take that off first (unhold)")]
    Hold {
        /// Who.
        by: String,
        /// When.
        at: String,
    },
    /// Nothing to take off.
    #[error("it is under no legal hold")]
    NoHold,
    /// Too late.
    #[error("it was purged: nothing of its payload is left")]
    Purged,
    /// Too early in another way.
    #[error("the quarantine bucket does not have all of it yet; wait until its state is `stored`")]
    NotStored,
    /// A part alone is no object.
    #[error(
        "it is one part of an upload, and alone no object: release all of its entry (all_of_entry), and have its client send the upload again"
    )]
    OnlyAPart,
    /// Nobody could tell whether it is listed.
    #[error("it was kept without a match: there is no entry to release")]
    NoEntry,
    /// A request to the service or a bucket.
    #[error("it was meant for no key; there is nowhere to put it")]
    NoTarget,
}

impl Case {
    /// An officer wants it where it was meant to go.
    ///
    /// # Errors
    /// What stands against it.
    pub fn approve_release(&mut self, word: Word<'_>) -> Result<Approval, Refused> {
        self.is_releasable()?;
        self.approve(act::APPROVE_RELEASE, &[act::PERMITTED], word)
    }

    /// An officer wants all cases of its entry released, and the entry heeded no more.
    ///
    /// # Errors
    /// The approval that stands is their own.
    pub fn approve_entry(&mut self, word: Word<'_>) -> Result<Approval, Refused> {
        self.approve(act::APPROVE_ENTRY, &[act::VETOED], word)
    }

    /// Whether a permission for it makes sense.
    ///
    /// # Errors
    /// It does not.
    pub fn is_releasable(&self) -> Result<(), Refused> {
        if matches!(self.state, State::Purged { .. }) {
            return Err(Refused::Purged);
        }
        if matches!(&*self.manifest.upload.operation, "UploadPart" | "UploadPartCopy") {
            return Err(Refused::OnlyAPart);
        }
        match (&self.manifest.target.bucket, &self.manifest.target.key) {
            (Some(_), Some(_)) => Ok(()),
            _ => Err(Refused::NoTarget),
        }
    }

    /// An officer wants its payload removed for good.
    ///
    /// # Errors
    /// What stands against it.
    pub fn approve_purge(&mut self, word: Word<'_>) -> Result<Approval, Refused> {
        match self.state {
            State::Purged { .. } => return Err(Refused::Purged),
            State::Kept { .. } => return Err(Refused::NotStored),
            State::Stored { .. } => {}
        }
        if self.legal_hold {
            let set = self.acts.iter().rfind(|done| done.what == act::HOLD);
            let (by, at) = set.map(|set| (set.by.clone(), set.at.clone())).unwrap_or_default();
            return Err(Refused::Hold { by, at });
        }
        if word.now < self.manifest.retain_until {
            return Err(Refused::Retention(text(self.manifest.retain_until)));
        }
        // Who approved before somebody put a hold on it did not know of that.
        self.approve(act::APPROVE_PURGE, &[act::HOLD], word)
    }

    /// Sets a legal hold.
    ///
    /// # Errors
    /// There is nothing to hold, or a hold.
    pub fn hold(&mut self, word: Word<'_>) -> Result<(), Refused> {
        if matches!(self.state, State::Purged { .. }) {
            return Err(Refused::Purged);
        }
        self.legal_hold = true;
        self.note(act::HOLD, word);
        Ok(())
    }

    /// Takes the legal hold off.
    ///
    /// # Errors
    /// There is none.
    pub fn unhold(&mut self, word: Word<'_>) -> Result<(), Refused> {
        if !self.legal_hold {
            return Err(Refused::NoHold);
        }
        self.legal_hold = false;
        self.note(act::UNHOLD, word);
        Ok(())
    }

    /// Writes down what was done.
    pub fn note(&mut self, what: &str, word: Word<'_>) {
        let reason = Some(word.reason.to_owned()).filter(|reason| !reason.is_empty());
        self.acts.push(Act { at: text(word.now), by: word.by.to_owned(), what: what.to_owned(), reason });
    }

    /// Adds an approval; it counts with those that stand since the last act of `ends`.
    fn approve(&mut self, what: &str, ends: &[&str], word: Word<'_>) -> Result<Approval, Refused> {
        let standing = standing(&self.acts, what, ends, word.now);
        let (approval, is_new) = (judge(&standing, word.by)?, !standing.contains(&word.by));
        if is_new {
            self.note(what, word);
        }
        Ok(approval)
    }
}

/// What one more approval makes of those that stand.
fn judge(standing: &[&str], by: &str) -> Result<Approval, Refused> {
    match standing {
        [] => Ok(Approval::First),
        [only] if *only == by => Err(Refused::SameOfficer),
        // Also where two stand: what they wanted failed half-way (a store that is away), and is asked for again.
        _ => Ok(Approval::Complete),
    }
}

/// The officers whose approvals of `what` still count, each once.
fn standing<'a>(acts: &'a [Act], what: &str, ends: &[&str], now: OffsetDateTime) -> Vec<&'a str> {
    let begin = acts.iter().rposition(|done| ends.contains(&&*done.what)).map_or(0, |at| at + 1);
    let is_fresh = |at: &str| OffsetDateTime::parse(at, &Rfc3339).is_ok_and(|at| now - at < APPROVAL);
    let mut officers: Vec<&str> =
        acts[begin..].iter().filter(|done| done.what == what && is_fresh(&done.at)).map(|done| &*done.by).collect();
    officers.sort_unstable();
    officers.dedup();
    officers
}

/// A time as it is written down and said.
pub fn text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn case() -> Case {
        super::super::case::tests::case("0123456789ABCDEF")
    }

    fn word(by: &str, now: OffsetDateTime) -> Word<'_> {
        Word { by, reason: "because", now }
    }

    #[test]
    fn a_release_needs_two_officers_within_a_week() {
        let (mut case, now) = (case(), OffsetDateTime::now_utc());
        assert_eq!(case.approve_release(word("a", now)), Ok(Approval::First));
        assert_eq!(case.approve_release(word("a", now + HOUR)), Err(Refused::SameOfficer));
        assert_eq!(case.acts.len(), 1, "a refused word is not written down");
        assert_eq!(case.approve_release(word("b", now + APPROVAL)), Ok(Approval::First), "the first one is too old");
        assert_eq!(case.approve_release(word("a", now + APPROVAL)), Ok(Approval::Complete));
        case.note(act::PERMITTED, word("a", now + APPROVAL));
        assert_eq!(case.approve_release(word("b", now + APPROVAL)), Ok(Approval::First), "two again for the next");
    }

    #[test]
    fn what_alone_is_no_object_is_not_released() {
        let now = OffsetDateTime::now_utc();
        let mut part = case();
        part.manifest.upload.operation = "UploadPart".into();
        assert_eq!(part.approve_release(word("a", now)), Err(Refused::OnlyAPart));
        let mut nowhere = case();
        nowhere.manifest.target.key = None;
        assert_eq!(nowhere.approve_release(word("a", now)), Err(Refused::NoTarget));
    }

    #[test]
    fn a_purge_waits_for_retention_and_hold() {
        let (mut case, now) = (case(), OffsetDateTime::now_utc());
        case.state = State::Stored { at: text(now) };
        case.manifest.retain_until = now + HOUR;
        assert_eq!(case.approve_purge(word("a", now)), Err(Refused::Retention(text(now + HOUR))));
        let later = now + 2 * HOUR;
        assert_eq!(case.approve_purge(word("a", later)), Ok(Approval::First));
        case.hold(word("lawyer", later)).unwrap();
        let held = Refused::Hold { by: "lawyer".into(), at: text(later) };
        assert_eq!(case.approve_purge(word("b", later)), Err(held));
        case.unhold(word("b", later)).unwrap();
        assert_eq!(case.unhold(word("b", later)), Err(Refused::NoHold));
        assert_eq!(case.approve_purge(word("b", later)), Ok(Approval::First), "the hold has ended the round");
        assert_eq!(case.approve_purge(word("a", later)), Ok(Approval::Complete));
        assert_eq!(case.approve_purge(word("b", later)), Ok(Approval::Complete), "it failed, and is asked for again");
        assert_eq!(case.acts.iter().filter(|done| done.what == act::APPROVE_PURGE).count(), 3);
        case.state = State::Purged { at: text(later) };
        assert_eq!(case.hold(word("a", later)), Err(Refused::Purged));
        case.state = State::Kept { pieces: Vec::new() };
        assert_eq!(case.approve_purge(word("a", later)), Err(Refused::NotStored));
    }
}
