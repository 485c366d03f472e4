//! The flood breaker: an entry that suddenly hits many unrelated tenants, or very many uploads, is more likely a mistake of
//! the list than a wave of crime. It raises an alarm, until an operator decides.
//!
//! Only callers that were verified count as tenants: a name that anybody can claim proves nothing.

use crate::config::settings::Flood;
use crate::decide::{Label, Mark};
use crate::list::Decisions;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Entries that are counted at once; when there are more, those that are not flooding are counted anew.
const ENTRIES_MAX: usize = 100_000;

/// The counts of all entries that hit lately.
pub struct Floods {
    bounds: Flood,
    entries: Mutex<HashMap<Mark, Window>>,
    any: AtomicBool,
}

struct Window {
    since: Instant,
    uploads: u64,
    tenants: BTreeSet<String>,
    flooding: bool,
}

/// An entry that has just become a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Its uploads within the window so far.
    pub uploads: u64,
    /// The verified tenants that they came from.
    pub tenants: usize,
}

impl Floods {
    /// Counts nothing yet.
    pub fn new(bounds: Flood) -> Floods {
        Floods { bounds, entries: Mutex::default(), any: AtomicBool::new(false) }
    }

    /// Counts a hit; `tenant` is that of a verified caller. The alarm is raised once.
    pub fn hit(&self, labels: &[Label], tenant: Option<&str>, decisions: &Decisions) -> Option<Alarm> {
        let marks: BTreeSet<Mark> = labels.iter().map(|label| label.payload).collect();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, window| window.flooding);
        }
        let mut alarm = None;
        for mark in marks.into_iter().filter(|mark| decisions.of(mark).is_none()) {
            let window = entries.entry(mark).or_insert_with(Window::new);
            if !window.flooding && window.since.elapsed() >= self.bounds.window {
                *window = Window::new();
            }
            window.uploads += 1;
            // One more than the bound is enough to know.
            if let Some(tenant) = tenant.filter(|_| window.tenants.len() <= self.bounds.tenants) {
                window.tenants.insert(tenant.to_owned());
            }
            let over = window.uploads > self.bounds.uploads || window.tenants.len() > self.bounds.tenants;
            if over && !window.flooding {
                window.flooding = true;
                self.any.store(true, Ordering::Relaxed);
                alarm = Some(Alarm { uploads: window.uploads, tenants: window.tenants.len() });
            }
        }
        alarm
    }

    /// Whether an entry is a flood, or was one until somebody decided.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Whether one of these payloads' entries is a flood about which nobody has decided.
    pub fn is_flooding(&self, labels: &[Label], decisions: &Decisions) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let flooding = |label: &Label| entries.get(&label.payload).is_some_and(|window| window.flooding);
        labels.iter().any(|label| flooding(label) && decisions.of(&label.payload).is_none())
    }

    /// Entries that are a flood, and about which nobody has decided yet.
    pub fn flooding(&self, decisions: &Decisions) -> usize {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|mark, _| decisions.of(mark).is_none());
        let flooding = entries.values().filter(|window| window.flooding).count();
        self.any.store(flooding > 0, Ordering::Relaxed);
        flooding
    }
}

impl Window {
    fn new() -> Window {
        Window { since: Instant::now(), uploads: 0, tenants: BTreeSet::new(), flooding: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digests;
    use crate::list::{Decision, decide};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn many_tenants_or_many_uploads_raise_one_alarm() {
        let dir = tempfile::tempdir().unwrap();
        let decisions = Decisions::open(dir.path()).unwrap();
        let floods = Floods::new(Flood { tenants: 2, uploads: 5, window: Duration::from_secs(60) });
        let labels = |payload: &[u8]| {
            let payload = decisions.mark(&Digests::of(payload));
            vec![Label { list: "a".into(), category: "b:c".into(), on_probation: false, payload }]
        };
        for tenant in ["one", "two", "one", "two"] {
            assert_eq!(floods.hit(&labels(b"x"), Some(tenant), &decisions), None);
        }
        assert_eq!(floods.hit(&labels(b"x"), Some("three"), &decisions), Some(Alarm { uploads: 5, tenants: 3 }));
        assert_eq!(floods.hit(&labels(b"x"), Some("four"), &decisions), None, "once");

        for n in 0..6 {
            // Nobody is verified: only uploads count, and those of the last window only.
            tokio::time::advance(Duration::from_secs(if n == 0 { 0 } else { 20 })).await;
            assert_eq!(floods.hit(&labels(b"y"), None, &decisions), None);
        }
        for _ in 0..2 {
            floods.hit(&labels(b"y"), None, &decisions);
        }
        assert_eq!(floods.flooding(&decisions), 1);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(floods.flooding(&decisions), 1, "until somebody decides");
        let mark = decisions.mark(&Digests::of(b"x"));
        decide(dir.path(), "case", &[mark], Decision::Confirm, "now").unwrap();
        decisions.refresh();
        assert_eq!((floods.flooding(&decisions), decisions.of(&mark)), (0, Some(Decision::Confirm)));
        for tenant in ["a", "b", "c", "d"] {
            assert_eq!(floods.hit(&labels(b"x"), Some(tenant), &decisions), None, "it was decided");
        }
        // The last word counts, also over a restart.
        decide(dir.path(), "case", &[mark], Decision::Veto, "now").unwrap();
        assert_eq!(Decisions::open(dir.path()).unwrap().of(&mark), Some(Decision::Veto));
    }
}
