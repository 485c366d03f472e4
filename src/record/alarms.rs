//! What an operator must look at now: each alarm is raised once and ends once, however often its cause is noticed.
//!
//! Both edges are a log line, an audit line, an event for webhooks, and the gauge `hashgate_alarm`. The log and the gauge
//! come at once; what goes to a disk is handed to a thread that may wait, and what a full disk does not take is kept and
//! tried again.

use super::{Audit, Metrics};
use crate::act::Events;
use crate::config::settings::Event;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Handle;

/// Audit lines that wait for room on the disk; of more, the oldest go.
const OWED_MAX: usize = 1000;

macro_rules! alarms {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// What can be wrong; also the metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Alarm { $($(#[$doc])* $name,)* }

        impl Alarm {
            /// Every alarm.
            pub const ALL: &'static [Alarm] = &[$(Alarm::$name,)*];

            /// Its label.
            pub fn label(self) -> &'static str {
                match self { $(Alarm::$name => $label,)* }
            }
        }
    };
}

alarms! {
    /// The canary was stored: the gate does not keep out what it must. Until a restart.
    CanaryStored = "canary_stored",
    /// The canary could not be tried.
    CanaryFailing = "canary_failing",
    /// A list is too old, or its refresh fails.
    ListStale = "list_stale",
    /// The quarantine's store cannot be reached.
    QuarantineAway = "quarantine_away",
    /// The spool of the quarantine is full.
    QuarantineFull = "quarantine_full",
    /// The journal of cases takes no more.
    JournalFull = "journal_full",
    /// One verified tenant hits often.
    TenantHits = "tenant_hits",
    /// One entry hits so much that it may be a mistake.
    Flood = "flood",
    /// The audit log takes no line.
    AuditBroken = "audit_broken",
    /// An operator has switched every match to `observe`.
    ObserveAll = "observe_all",
    /// A case could not be made, or its payload is gone. Until a restart.
    CaseLost = "case_lost",
}

/// Which alarms are raised.
pub struct Alarms {
    metrics: Metrics,
    books: Arc<Books>,
    /// With what each is about: the name of a list or of a tenant, or nothing.
    raised: Mutex<BTreeSet<(Alarm, String)>>,
    /// The same without the names, one bit each, for those who ask at every upload.
    bits: AtomicU32,
}

/// Where edges are written down.
struct Books {
    metrics: Metrics,
    audit: Arc<Audit>,
    events: Arc<Events>,
    /// Whoever writes; nobody who only notes something waits for it.
    turn: Mutex<()>,
    owed: Mutex<Owed>,
}

/// What is not written down yet, in order.
#[derive(Default)]
struct Owed {
    lines: VecDeque<Map<String, Value>>,
    /// The first line was tried already, and counted as a failure.
    is_stuck: bool,
    events: VecDeque<Map<String, Value>>,
}

impl Alarms {
    /// None is raised.
    pub fn new(metrics: Metrics, audit: Arc<Audit>, events: Arc<Events>) -> Alarms {
        let books = Books { metrics: metrics.clone(), audit, events, turn: Mutex::default(), owed: Mutex::default() };
        Alarms { metrics, books: Arc::new(books), raised: Mutex::default(), bits: AtomicU32::new(0) }
    }

    /// Raises an alarm; where it is raised already, nothing happens. `detail` is one sentence for an operator. It leaves
    /// the house, so it holds no digest, no key and nothing about a person. Within a runtime nothing waits for the disk.
    pub fn raise(&self, alarm: Alarm, detail: &str) {
        self.raise_about(alarm, "", detail);
    }

    /// The same about one list or tenant; the alarm ends when it is cleared for all of them.
    pub fn raise_about(&self, alarm: Alarm, subject: &str, detail: &str) {
        if self.note(|raised| raised.insert((alarm, subject.to_owned()))) {
            tracing::error!(alarm = alarm.label(), subject, "alarm: {detail}");
            self.write(alarm, "raised", subject, Some(detail));
        }
    }

    /// Ends an alarm; where it is not raised, nothing happens.
    pub fn clear(&self, alarm: Alarm) {
        self.clear_about(alarm, "");
    }

    /// The same for one list or tenant.
    pub fn clear_about(&self, alarm: Alarm, subject: &str) {
        if self.note(|raised| raised.remove(&(alarm, subject.to_owned()))) {
            tracing::info!(alarm = alarm.label(), subject, "the alarm has ended");
            self.write(alarm, "cleared", subject, None);
        }
    }

    /// Whether it is raised for anything.
    pub fn is_raised(&self, alarm: Alarm) -> bool {
        self.bits.load(Ordering::Acquire) & bit(alarm) != 0
    }

    /// Changes what is raised, and what is seen of it. True where it was a change.
    fn note(&self, change: impl FnOnce(&mut BTreeSet<(Alarm, String)>) -> bool) -> bool {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut raised);
        if changed {
            let bits = raised.iter().fold(0, |bits, (alarm, _)| bits | bit(*alarm));
            self.bits.store(bits, Ordering::Release);
            for alarm in Alarm::ALL {
                self.metrics.alarm(alarm.label(), bits & bit(*alarm) != 0);
            }
        }
        changed
    }

    /// Writes down what is owed: what a full disk did not take the last time, too. It blocks.
    pub fn settle(&self) {
        self.books.settle();
    }

    fn write(&self, alarm: Alarm, state: &'static str, subject: &str, detail: Option<&str>) {
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let mut told = Map::new();
        let mut put = |name: &str, value: Value| told.insert(name.to_owned(), value);
        put("alarm", json!(alarm.label()));
        if !subject.is_empty() {
            put("subject", json!(subject));
        }
        if let Some(detail) = detail {
            put("detail", json!(detail));
        }
        let mut line = told.clone();
        line.insert("time".to_owned(), json!(now));
        line.insert("operation".to_owned(), json!("Alarm"));
        line.insert("outcome".to_owned(), json!(state));
        told.insert("state".to_owned(), json!(state));
        self.books.owe(line, told);
        match Handle::try_current() {
            Ok(runtime) => {
                let books = self.books.clone();
                // Where the runtime ends before that, whoever stops the gate settles.
                runtime.spawn_blocking(move || books.settle());
            }
            Err(_) => self.books.settle(),
        }
    }
}

impl Books {
    fn owe(&self, line: Map<String, Value>, event: Map<String, Value>) {
        let mut owed = self.owed();
        owed.events.push_back(event);
        owed.lines.push_back(line);
        if owed.lines.len() > OWED_MAX {
            tracing::error!("the audit log takes no line for long: the line of an alarm is lost");
            owed.lines.pop_front();
        }
    }

    fn settle(&self) {
        self.settle_with(|line| self.audit.append(line));
    }

    fn settle_with(&self, append: impl Fn(&Map<String, Value>) -> io::Result<()>) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // First: an event that finds no room on the disk is told all the same.
        while let Some(event) = self.next(|owed| owed.events.pop_front()) {
            self.events.publish(Event::Alarm, event);
        }
        while let Some(line) = self.next(|owed| owed.lines.pop_front()) {
            let failed = append(&line).is_err();
            let mut owed = self.owed();
            if failed {
                owed.lines.push_front(line);
                if !std::mem::replace(&mut owed.is_stuck, true) {
                    self.metrics.audit_failure();
                }
                return;
            }
            owed.is_stuck = false;
        }
    }

    /// The next of them, and nobody waits while it is written.
    fn next<T>(&self, take: impl FnOnce(&mut Owed) -> Option<T>) -> Option<T> {
        take(&mut self.owed())
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bit(alarm: Alarm) -> u32 {
    1 << alarm as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::Signing;
    use prometheus::Registry;
    use std::path::Path;

    fn alarms(dir: &Path) -> (Alarms, Metrics) {
        let metrics = Metrics::new(Registry::new()).unwrap();
        let audit = Arc::new(Audit::open(dir, 1 << 20).unwrap());
        let signing = Arc::new(Signing::open(dir).unwrap());
        let events = Arc::new(Events::open(&[], dir, signing, metrics.clone()).unwrap());
        (Alarms::new(metrics.clone(), audit, events), metrics)
    }

    #[test]
    fn only_the_edges_count() {
        let dir = tempfile::tempdir().unwrap();
        let (alarms, metrics) = alarms(dir.path());
        for alarm in Alarm::ALL {
            let sample = format!("hashgate_alarm{{alarm=\"{}\"}} 0", alarm.label());
            assert!(metrics.render().unwrap().contains(&sample), "{sample}: there from the start");
        }
        alarms.clear(Alarm::Flood);
        for _ in 0..3 {
            alarms.raise(Alarm::Flood, "again and again");
        }
        alarms.raise_about(Alarm::ListStale, "one", "old");
        alarms.raise_about(Alarm::ListStale, "two", "old");
        alarms.clear_about(Alarm::ListStale, "one");
        assert!(alarms.is_raised(Alarm::ListStale), "two still is");
        assert!(metrics.render().unwrap().contains("hashgate_alarm{alarm=\"list_stale\"} 1"));
        alarms.clear_about(Alarm::ListStale, "two");
        assert!(!alarms.is_raised(Alarm::ListStale) && alarms.is_raised(Alarm::Flood));
        assert!(metrics.render().unwrap().contains("hashgate_alarm{alarm=\"list_stale\"} 0"));

        let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> = lines.iter().map(|line| (&line["alarm"], &line["outcome"], &line["subject"])).collect();
        assert_eq!(
            json!(told),
            json!([
                ["flood", "raised", null],
                ["list_stale", "raised", "one"],
                ["list_stale", "raised", "two"],
                ["list_stale", "cleared", "one"],
                ["list_stale", "cleared", "two"],
            ])
        );
        assert!(!dir.path().join("events").exists(), "nobody is to be told");
    }

    /// What a full disk does not take is written once there is room, in order; what is told meanwhile is told once.
    #[test]
    fn what_a_full_disk_does_not_take_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let (alarms, metrics) = alarms(dir.path());
        let (line, full) = (|n: usize| json!({ "n": n }).as_object().cloned().unwrap(), io::ErrorKind::StorageFull);
        alarms.books.owe(line(0), line(0));
        for _ in 0..3 {
            alarms.books.settle_with(|_| Err(full.into()));
        }
        assert!(metrics.render().unwrap().contains("hashgate_audit_failures_total 1"), "one line");
        for n in 1..=OWED_MAX {
            alarms.books.owe(line(n), line(n));
        }
        let text = || std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        assert_eq!((text(), alarms.books.owed().events.len()), (String::new(), OWED_MAX));
        alarms.settle();
        let lines: Vec<Value> = text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["n"], lines.len(), alarms.books.owed().events.len()), (&json!(1), OWED_MAX, 0));
        alarms.settle();
        assert_eq!(text().lines().count(), OWED_MAX);
    }

    /// Who raises it from within a runtime does not wait for the disk.
    #[tokio::test]
    async fn a_request_does_not_wait_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (alarms, _) = alarms(dir.path());
        let busy = alarms.books.clone();
        let (held, is_held) = std::sync::mpsc::sync_channel(1);
        let (end, ended) = std::sync::mpsc::sync_channel::<()>(1);
        let disk = std::thread::spawn(move || {
            let _turn = busy.turn.lock().unwrap();
            held.send(()).unwrap();
            ended.recv()
        });
        is_held.recv().unwrap();
        alarms.raise(Alarm::Flood, "while the disk is busy");
        assert!(alarms.is_raised(Alarm::Flood));
        end.send(()).unwrap();
        disk.join().unwrap().unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(10), async {
            while !std::fs::read_to_string(dir.path().join("audit.log")).unwrap().contains("\"flood\"") {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }
}
