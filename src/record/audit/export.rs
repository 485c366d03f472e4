//! `hashgate audit export`: the check on the hash check. Every hit, when it came, was decided and acted on, with no content,
//! digest or name of anybody.
//!
//! A hit and what was done about it are lines that may lie far apart: a release comes weeks after its match. They are
//! joined by their id (a case has that of its request) and where there are too many for memory, the log is gone along
//! several times, each time for a share of the ids.

use super::lines::{Lines, files};
use super::signed::text;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime};

/// Hits that are joined in one passage: some 50 MB.
const HITS_MAX: u64 = 100_000;

/// Acts that are told of one hit.
const ACTS_MAX: usize = 32;

/// What comes of an operator's act or look that was not refused. Anything else is the word for why it was.
const DONE: [&str; 6] = ["approved", "permitted", "purged", "held", "unheld", "shown"];

/// Which hits are wanted, by the day on which they were received; in UTC, both inclusive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Days {
    /// The first.
    pub from: Option<Date>,
    /// The last.
    pub to: Option<Date>,
}

/// A hit, and all that was done about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hit {
    /// Its id: that of the case, or else of the request.
    pub case: String,
    /// What the request asked for.
    pub operation: String,
    /// When it came.
    pub received: String,
    /// When the verdict was there.
    pub decided: String,
    /// The lists that have it, with their categories.
    pub matched: Vec<(String, String)>,
    /// What was done first about it as a hit, and when: it was rejected, quarantined, let through, or removed.
    pub acted: (String, String),
    /// All that was done, before and after that, and when.
    pub acts: Vec<(String, String)>,
}

impl Hit {
    /// As one JSON object.
    pub fn json(&self) -> Value {
        let matched: Vec<Value> =
            self.matched.iter().map(|(list, category)| json!({ "list": list, "category": category })).collect();
        let acts: Vec<Value> = self.acts.iter().map(|(time, act)| json!({ "time": time, "act": act })).collect();
        json!({
            "case": self.case, "operation": self.operation, "received": self.received, "decided": self.decided,
            "acted": self.acted.0, "act": self.acted.1, "matched": matched, "acts": acts,
        })
    }
}

/// Hands every hit on, in the order of the log; where there are more than 100,000, share by share.
///
/// # Errors
/// The log cannot be read, or the hit not be taken.
pub fn export<E: From<io::Error>>(
    dir: &Path,
    days: Days,
    take: &mut dyn FnMut(&Hit) -> Result<(), E>,
) -> Result<(), E> {
    export_in_shares(dir, days, HITS_MAX, take)
}

fn export_in_shares<E: From<io::Error>>(
    dir: &Path,
    days: Days,
    hits_max: u64,
    take: &mut dyn FnMut(&Hit) -> Result<(), E>,
) -> Result<(), E> {
    let mut candidates = 0;
    each_line(dir, &mut |members| candidates += u64::from(may_be_hit(members, days)))?;
    let (shares, hasher) = (candidates / hits_max + 1, RandomState::new());
    for share in 0..shares {
        let (mut hits, mut by_id) = (Vec::<Joined>::new(), HashMap::<String, usize>::new());
        each_line(dir, &mut |members| {
            let id = id(members);
            if hasher.hash_one(id) % shares != share {
                return;
            }
            let at = by_id.get(id).copied().or_else(|| {
                may_be_hit(members, days).then(|| {
                    by_id.insert(id.to_owned(), hits.len());
                    hits.push(Joined::default());
                    hits.len() - 1
                })
            });
            if let Some(at) = at {
                hits[at].add(members);
            }
        })?;
        for joined in hits.iter().filter(|joined| joined.is_wanted(days)) {
            take(&joined.hit)?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Joined {
    hit: Hit,
    is_hit: bool,
}

/// Every line that names a request or a case.
fn each_line(dir: &Path, take: &mut dyn FnMut(&Map<String, Value>)) -> io::Result<()> {
    for file in files(dir)? {
        let mut lines = Lines::open(&file.path, 0)?;
        while let Some(line) = lines.line()? {
            if let Some(members) = parse(line.bytes) {
                take(&members);
            }
        }
    }
    Ok(())
}

fn id(members: &Map<String, Value>) -> &str {
    match text(members, "case") {
        "" => text(members, "request"),
        case => case,
    }
}

/// Lines that name a request or a case, and nothing else.
fn parse(line: &[u8]) -> Option<Map<String, Value>> {
    let has = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
    (has(b"\"request\":") || has(b"\"case\":")).then(|| serde_json::from_slice(line).ok()).flatten()
}

fn is_hit(members: &Map<String, Value>) -> bool {
    members.get("matched").and_then(Value::as_array).is_some_and(|matched| !matched.is_empty())
}

/// Also what turns out to be one later: its first line says when it came.
fn may_be_hit(members: &Map<String, Value>, days: Days) -> bool {
    if days.from.is_some_and(|from| day(text(members, "time")) < Some(from)) {
        return false;
    }
    let unknown_whole = text(members, "operation") == "CompleteMultipartUpload" && !members.contains_key("sha256");
    is_hit(members)
        || members.contains_key("undecided")
        || members.contains_key("case")
        || text(members, "operation") == "Flood"
        || unknown_whole
}

impl Joined {
    fn add(&mut self, members: &Map<String, Value>) {
        if is_refused_act(members) {
            return;
        }
        let (hit, time) = (&mut self.hit, text(members, "time"));
        let operation = text(members, "operation");
        let act = act(members, operation);
        id(members).clone_into(&mut hit.case);
        if is_hit(members) {
            self.is_hit = true;
            if hit.decided.is_empty() {
                // The line that first names what it hit is the one that says what was done about that.
                time.clone_into(&mut hit.decided);
                hit.acted = (time.to_owned(), act.clone());
            }
            for label in members.get("matched").and_then(Value::as_array).into_iter().flatten() {
                let word = |name: &str| label[name].as_str().unwrap_or_default().to_owned();
                let label = (word("list"), word("category"));
                if !hit.matched.contains(&label) {
                    hit.matched.push(label);
                }
            }
        }
        // The line of the request itself, which is written at its end.
        if let Some(seconds) = members.get("seconds").and_then(Value::as_f64) {
            operation.clone_into(&mut hit.operation);
            hit.received = began(time, seconds);
        }
        if hit.received.is_empty() {
            time.clone_into(&mut hit.received);
        }
        if hit.acts.len() < ACTS_MAX {
            hit.acts.push((time.to_owned(), act));
        }
    }

    fn is_wanted(&self, days: Days) -> bool {
        let received = day(&self.hit.received);
        let in_time =
            days.from.is_none_or(|from| received >= Some(from)) && days.to.is_none_or(|to| received <= Some(to));
        self.is_hit && in_time
    }
}

/// Whether an operator was refused what they asked for: then nothing was done about the hit. The log has it all the same.
fn is_refused_act(members: &Map<String, Value>) -> bool {
    members.contains_key("operator") && !DONE.contains(&text(members, "outcome"))
}

/// What a line says was done.
fn act(members: &Map<String, Value>, operation: &str) -> String {
    let outcome = text(members, "outcome");
    let is_request = members.contains_key("seconds");
    if !is_request {
        // `Recheck removed`, `ListVeto`.
        return if outcome.is_empty() { operation.to_owned() } else { format!("{operation} {outcome}") };
    }
    let let_through = members.get("released") == Some(&Value::Bool(true));
    if let_through && outcome != "rejected" { format!("let through, {outcome}") } else { outcome.to_owned() }
}

fn day(time: &str) -> Option<Date> {
    OffsetDateTime::parse(time, &Rfc3339).ok().map(OffsetDateTime::date)
}

fn began(time: &str, seconds: f64) -> String {
    let length = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let end = OffsetDateTime::parse(time, &Rfc3339).ok();
    end.and_then(|end| (end - length).format(&Rfc3339).ok()).unwrap_or_else(|| time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use time::macros::date;

    fn log(dir: &Path) {
        let matched = json!([{ "list": "a", "category": "x:1", "mark": "m" }, { "list": "b", "category": "y:2" }]);
        let line = |day: u32, request: &str, more: Value| {
            let mut line = json!({ "time": format!("2026-01-{day:02}T12:00:10Z"), "request": request });
            for (name, value) in more.as_object().unwrap() {
                line[name] = value.clone();
            }
            format!("{line}\n")
        };
        let put = |day, request: &str, outcome: &str, more: Value| {
            let mut all = json!({ "operation": "PutObject", "outcome": outcome, "seconds": 10.0, "sha256": "no" });
            for (name, value) in more.as_object().unwrap() {
                all[name] = value.clone();
            }
            line(day, request, all)
        };
        let officer = |day: &str, operation: &str, outcome: &str| {
            let time = format!("2026-02-{day}T00:00:00Z");
            let line =
                json!({ "time": time, "operation": operation, "case": "R6", "operator": "o", "outcome": outcome });
            format!("{line}\n")
        };
        let aside = [
            put(1, "R1", "rejected", json!({ "matched": matched })),
            put(1, "R2", "forwarded", json!({})),
            put(2, "R3", "forwarded", json!({ "undecided": true, "released": true })),
            put(2, "R4", "forwarded", json!({ "undecided": true, "released": true })),
            line(3, "R5", json!({ "operation": "Flood", "outcome": "alarm" })),
            put(3, "R5", "forwarded", json!({ "matched": matched, "released": true })),
            line(3, "R6", json!({ "operation": "Case", "outcome": "kept", "case": "R6" })),
            put(3, "R6", "quarantined", json!({ "matched": matched, "case": "R6" })),
        ];
        let current = [
            line(4, "R3", json!({ "operation": "Recheck", "outcome": "removed", "matched": matched })),
            line(4, "R4", json!({ "operation": "Recheck", "outcome": "clean", "matched": [] })),
            "{\"time\":\"2026-01-05T00:00:00Z\",\"operation\":\"ListVeto\",\"case\":\"R5\"}\n".to_owned(),
            officer("03", "CasePurge", "conflict"),
            officer("04", "CaseShow", "shown"),
            officer("05", "CaseRelease", "not_an_officer"),
            officer("06", "CasePurge", "approved"),
            officer("07", "CasePurge", "purged"),
            officer("08", "CaseHold", "conflict"),
            "no JSON \"request\":\n".to_owned(),
        ];
        fs::write(dir.join("audit-1.log"), aside.concat()).unwrap();
        fs::write(dir.join("audit.log"), current.concat()).unwrap();
    }

    fn shown(hit: &Hit) -> String {
        let acts: Vec<String> = hit.acts.iter().map(|(time, act)| format!("{} {act}", &time[5..10])).collect();
        let (acted, act) = &hit.acted;
        let times = [&hit.received[5..19], &hit.decided[5..19]].join(" ");
        format!("{} {times} {} {act} | {}", hit.case, &acted[5..10], acts.join("; "))
    }

    /// However few hits find room at once.
    #[test]
    fn every_hit_is_joined_with_all_that_was_done_about_it() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path());
        let expected = [
            "R1 01-01T12:00:00 01-01T12:00:10 01-01 rejected | 01-01 rejected",
            "R3 01-02T12:00:00 01-04T12:00:10 01-04 Recheck removed | 01-02 let through, forwarded; 01-04 Recheck removed",
            "R5 01-03T12:00:00 01-03T12:00:10 01-03 let through, forwarded \
             | 01-03 Flood alarm; 01-03 let through, forwarded; 01-05 ListVeto",
            "R6 01-03T12:00:00 01-03T12:00:10 01-03 quarantined \
             | 01-03 Case kept; 01-03 quarantined; 02-04 CaseShow shown; 02-06 CasePurge approved; 02-07 CasePurge purged",
        ];
        for hits_max in [1, 2, 3, 100] {
            let mut found = Vec::new();
            export_in_shares(dir.path(), Days::default(), hits_max, &mut |hit| -> io::Result<()> {
                found.push(shown(hit));
                Ok(())
            })
            .unwrap();
            if hits_max < 100 {
                // The order is that of the shares.
                found.sort();
            }
            assert_eq!(found, expected, "{hits_max}");
        }
    }

    /// A word that is missing there would make a done act one that was refused.
    #[test]
    fn what_officers_can_do_is_known_here() {
        use crate::act::quarantine::acts::Done;
        for done in [Done::Approved, Done::Permitted(Vec::new()), Done::Purged, Done::Held, Done::Unheld] {
            assert!(DONE.contains(&done.word()), "{done:?}");
        }
    }

    #[test]
    fn days_are_those_on_which_it_came() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path());
        let cases = |from, to| {
            let mut cases = Vec::new();
            let days = Days { from, to };
            export(dir.path(), days, &mut |hit| -> io::Result<()> {
                cases.push(hit.case.clone());
                Ok(())
            })
            .unwrap();
            cases.join(" ")
        };
        assert_eq!(cases(None, None), "R1 R3 R5 R6");
        assert_eq!(cases(Some(date!(2026 - 01 - 02)), None), "R3 R5 R6");
        assert_eq!(cases(Some(date!(2026 - 01 - 02)), Some(date!(2026 - 01 - 02))), "R3");
        assert_eq!(cases(None, Some(date!(2026 - 01 - 01))), "R1");
    }
}
