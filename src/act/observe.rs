//! The emergency switch: every match is let through and counted, until an officer takes that back.
//!
//! It is for the day on which a list refuses what everybody uploads. An order is a line in a file of the state folder: a
//! gate that runs heeds it within a second, one that starts as it starts, and each puts it into its audit log once. What
//! a full disk or a crash has torn is no order: where it is the last line, matches are treated as the rules say.

use crate::decide::{self, Finding, Moment, OnUnavailable, Policy, Subject, Verdict, Why};
use crate::gate::Gate;
use crate::record::{Alarm, Sinks};
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

const FILE: &str = "observe.log";

/// How much of that is in the audit log already.
const AUDITED: &str = "observe.seen";

/// What an officer has ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whether every match is to be let through.
    pub on: bool,
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
    /// When (RFC 3339).
    pub time: String,
}

/// Whether every match is let through now.
pub struct ObserveAll {
    file: PathBuf,
    audited_file: PathBuf,
    on: AtomicBool,
    audited: Mutex<Audited>,
}

/// What is in the audit log: so many bytes, and which they were, so that a file that was exchanged is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Audited {
    len: usize,
    digest: String,
}

impl Audited {
    fn of(text: &[u8]) -> Audited {
        Audited { len: text.len(), digest: blake3::hash(text).to_hex().to_string() }
    }

    fn read(file: &Path) -> Option<Audited> {
        let value: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        Some(Audited { len: value["len"].as_u64()?.try_into().ok()?, digest: value["digest"].as_str()?.to_owned() })
    }

    fn is_start_of(&self, text: &[u8]) -> bool {
        text.get(..self.len).is_some_and(|start| Audited::of(start) == *self)
    }
}

impl ObserveAll {
    /// Reads the orders in a state folder.
    ///
    /// # Errors
    /// The system's, with the path in question: nobody knows then what an officer wants.
    pub fn open(state_dir: &Path) -> io::Result<ObserveAll> {
        let (file, audited_file) = (state_dir.join(FILE), state_dir.join(AUDITED));
        // Without it, every order is put on record again.
        let audited = Audited::read(&audited_file).unwrap_or_else(|| Audited::of(b""));
        let observe = ObserveAll { file, audited_file, on: AtomicBool::new(false), audited: Mutex::new(audited) };
        let text = text(&observe.file)?;
        observe.on.store(last(&text).is_some_and(|order| order.on), Ordering::Release);
        Ok(observe)
    }

    /// Whether every match is let through.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Heeds what was ordered since the last time. It blocks.
    pub fn refresh(&self, sinks: &Sinks) {
        let text = match text(&self.file) {
            Ok(text) => text,
            Err(error) => return tracing::error!("{error}; what was ordered last still holds"),
        };
        let is_on = last(&text).is_some_and(|order| order.on);
        self.on.store(is_on, Ordering::Release);
        if self.audit(&text, |line| sinks.audit.append(line)).is_err() {
            // It is written the next time.
            sinks.metrics.audit_failure();
        }
        if is_on {
            // Who and why are in the audit log: an event names nobody.
            sinks.alarms.raise(Alarm::ObserveAll, "an officer has every match let through");
        } else {
            sinks.alarms.clear(Alarm::ObserveAll);
        }
    }

    /// A line for each order that has none, before it is noted how far that went: after a crash one may be there twice, and
    /// none is missing.
    fn audit(&self, text: &[u8], mut append: impl FnMut(&Map<String, Value>) -> io::Result<()>) -> io::Result<()> {
        let mut append = |line: Value| append(line.as_object().unwrap_or(&Map::new()));
        let mut audited = self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        let before = audited.clone();
        if !audited.is_start_of(text) {
            // It is only ever appended to; whoever did something else is not the command line.
            append(json!({ "operation": "ActsRewritten", "file": FILE }))?;
            *audited = Audited::of(b"");
        }
        let mut outcome = Ok(());
        let mut end = audited.len;
        for line in text[end..].split_inclusive(|byte| *byte == b'\n') {
            let order = read(line);
            if order.is_none() && !line.ends_with(b"\n") {
                // Its writer may be in the middle of it.
                break;
            }
            if !line.trim_ascii().is_empty() {
                outcome = append(told(order.as_ref()));
            }
            if outcome.is_err() {
                break;
            }
            end += line.len();
        }
        *audited = Audited::of(&text[..end]);
        if *audited != before {
            let seen = json!({ "len": audited.len, "digest": audited.digest }).to_string();
            if let Err(error) = fs::write(&self.audited_file, seen) {
                tracing::error!("{}: {error}", self.audited_file.display());
            }
        }
        outcome
    }
}

/// What the rules say of an object that is stored already.
pub(super) enum Later {
    /// This.
    Is(Verdict),
    /// It is listed, and while every match is let through, nothing is removed: it waits until that is taken back. Nobody
    /// forgets it as if it were clean.
    Waits,
}

/// Decides about an object that was stored before it was looked up. The switch is read once, so that an order in this very
/// moment makes it neither clean nor gone.
pub(super) fn decide_later(gate: &Gate, finding: Finding, subject: &Subject) -> Later {
    later(finding, subject, &gate.settings.policy, gate.moment(OnUnavailable::Refuse))
}

fn later(finding: Finding, subject: &Subject, policy: &Policy, moment: Moment) -> Later {
    match decide::verdict(finding, subject, policy, Moment { observe_all: false, ..moment }) {
        Verdict::Reject(Why::Listed(_), _) | Verdict::Quarantine(Why::Listed(_), _) if moment.observe_all => {
            Later::Waits
        }
        verdict => Later::Is(verdict),
    }
}

/// The audit line of an order; of one that cannot be read, nobody knows whose it was.
fn told(order: Option<&Order>) -> Value {
    let Some(Order { on, who, reason, time }) = order else {
        tracing::error!("an order in {FILE} cannot be read: while it is the last one, it counts as `off`");
        return json!({ "operation": "Observe", "outcome": "unreadable" });
    };
    let outcome = if *on { "on" } else { "off" };
    tracing::warn!(operator = who, reason, "observe {outcome}");
    json!({ "time": time, "operation": "Observe", "outcome": outcome, "operator": who, "reason": reason })
}

/// Writes an order down, on a line of its own whatever was torn before it, and makes sure that it is the last one.
///
/// # Errors
/// The system's; the order is not what a gate will read.
pub fn order(state_dir: &Path, order: &Order) -> io::Result<()> {
    let path = state_dir.join(FILE);
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
    // Two orders at once come one after the other.
    file.lock()?;
    let begin = if is_torn(&mut file)? { "\n" } else { "" };
    let line = json!({ "time": order.time, "on": order.on, "who": order.who, "reason": order.reason });
    file.write_all(format!("{begin}{line}\n").as_bytes())?;
    file.sync_all()?;
    // The name of a new file is durable with its folder only.
    File::open(state_dir)?.sync_all()?;
    if last(&text(&path)?).as_ref() == Some(order) {
        Ok(())
    } else {
        Err(io::Error::other(format!("{}: the order is not its last line: it is not heeded", path.display())))
    }
}

/// Whether the file ends inside a line.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut end = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut end)?;
    Ok(end != *b"\n")
}

/// Bytes: a tear may be inside a character.
fn text(file: &Path) -> io::Result<Vec<u8>> {
    match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
        text => text,
    }
}

/// The order that holds: none where the last line is none.
fn last(text: &[u8]) -> Option<Order> {
    text.split(|byte| *byte == b'\n').rfind(|line| !line.trim_ascii().is_empty()).and_then(read)
}

fn read(line: &[u8]) -> Option<Order> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Some(Order { on: value["on"].as_bool()?, who: text("who")?, reason: text("reason")?, time: text("time")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(on: bool, reason: &str) -> Order {
        Order { on, who: "olga".into(), reason: reason.into(), time: "2026-01-01T00:00:00Z".into() }
    }

    fn is_on(dir: &Path) -> bool {
        ObserveAll::open(dir).unwrap().is_on()
    }

    /// What a gate puts on record now.
    fn audited(observe: &ObserveAll) -> Vec<String> {
        let mut lines = Vec::new();
        let audit = observe.audit(&text(&observe.file).unwrap(), |line| {
            lines.push(line.get("reason").or(line.get("outcome")).unwrap_or(&line["operation"]).to_string());
            Ok(())
        });
        audit.unwrap();
        lines
    }

    /// Wherever a tear is, also inside a character, it lets nothing through, and the next order stands.
    #[test]
    fn a_torn_order_is_off_and_hides_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        order(dir.path(), &given(true, "größer")).unwrap();
        let whole = fs::read(&file).unwrap();
        for len in 0..whole.len() {
            fs::write(&file, [&whole[..], &whole[..len]].concat()).unwrap();
            let no_tear = len == 0 || len == whole.len() - 1;
            assert_eq!(is_on(dir.path()), no_tear, "{len}");
            for on in [false, true] {
                order(dir.path(), &given(on, "next")).unwrap();
                assert_eq!(is_on(dir.path()), on, "{len}");
            }
        }
    }

    #[test]
    fn each_order_is_on_record_once_also_in_a_file_that_was_exchanged() {
        let dir = tempfile::tempdir().unwrap();
        let (file, open) = (dir.path().join(FILE), || ObserveAll::open(dir.path()).unwrap());
        order(dir.path(), &given(true, "1")).unwrap();
        assert_eq!(audited(&open()), ["\"1\""]);
        order(dir.path(), &given(false, "2")).unwrap();
        fs::write(&file, [fs::read(&file).unwrap(), b"{\"on\": tr".to_vec()].concat()).unwrap();
        let observe = open();
        assert_eq!(audited(&observe), ["\"2\""]);
        assert_eq!(audited(&observe), [""; 0], "perhaps somebody is writing it");
        order(dir.path(), &given(true, "3")).unwrap();
        assert_eq!(audited(&observe), ["\"unreadable\"", "\"3\""]);
        assert_eq!(audited(&open()), [""; 0], "and over a restart");

        let rewritten = "\"ActsRewritten\"";
        fs::remove_file(&file).unwrap();
        order(dir.path(), &given(true, "4")).unwrap();
        assert_eq!(audited(&observe), [rewritten, "\"4\""], "a shorter one");
        fs::remove_file(&file).unwrap();
        order(dir.path(), &given(true, "5")).unwrap();
        order(dir.path(), &given(false, "6")).unwrap();
        assert_eq!(audited(&observe), [rewritten, "\"5\"", "\"6\""], "a longer one");
        fs::remove_file(&file).unwrap();
        assert_eq!(audited(&observe), [rewritten]);
        assert_eq!(audited(&observe), [""; 0]);
    }

    /// What the audit log does not take is tried again, and nothing twice.
    #[test]
    fn a_full_audit_log_hides_no_order() {
        let dir = tempfile::tempdir().unwrap();
        for reason in ["1", "2"] {
            order(dir.path(), &given(true, reason)).unwrap();
        }
        let observe = ObserveAll::open(dir.path()).unwrap();
        let mut room = 1;
        let full = observe.audit(&text(&observe.file).unwrap(), |_| {
            room -= 1;
            if room < 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        assert!(full.is_err());
        assert_eq!(audited(&observe), ["\"2\""]);
    }
}
