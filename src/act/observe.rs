//! The emergency switch: every match is let through and counted, until an officer takes that back.
//!
//! It is for the day on which a list refuses what everybody uploads. An order is a line in a file of the state folder: a
//! gate that runs heeds it within a second, one that starts as it starts, and each puts it into its audit log once.

use crate::record::{Alarm, Sinks};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

const FILE: &str = "observe.log";

/// How many orders are in the audit log already.
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
    audited: Mutex<usize>,
}

impl ObserveAll {
    /// Reads the orders in a state folder.
    ///
    /// # Errors
    /// The system's, with the path in question: nobody knows then what an officer wants.
    pub fn open(state_dir: &Path) -> io::Result<ObserveAll> {
        let (file, audited_file) = (state_dir.join(FILE), state_dir.join(AUDITED));
        let audited = fs::read_to_string(&audited_file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let observe = ObserveAll { file, audited_file, on: AtomicBool::new(false), audited: Mutex::new(audited) };
        let orders = observe.orders()?;
        observe.on.store(orders.last().is_some_and(|order| order.on), Ordering::Release);
        Ok(observe)
    }

    /// Whether every match is let through.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Heeds what was ordered since the last time. It blocks.
    pub fn refresh(&self, sinks: &Sinks) {
        let orders = match self.orders() {
            Ok(orders) => orders,
            Err(error) => return tracing::error!("{error}; what was ordered last still holds"),
        };
        let last = orders.last();
        self.on.store(last.is_some_and(|order| order.on), Ordering::Release);
        self.audit(&orders, sinks);
        match last.filter(|order| order.on) {
            // Who and why are in the audit log: an event names nobody.
            Some(_) => sinks.alarms.raise(Alarm::ObserveAll, "an officer has every match let through"),
            None => sinks.alarms.clear(Alarm::ObserveAll),
        }
    }

    fn orders(&self) -> io::Result<Vec<Order>> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.file.display()));
        match fs::read_to_string(&self.file) {
            Ok(text) => Ok(text.lines().filter_map(read).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }

    /// A line for each order that has none, before the number of those that have: after a crash one may be there twice, and
    /// none is missing.
    fn audit(&self, orders: &[Order], sinks: &Sinks) {
        let mut audited = self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.len() <= *audited {
            return;
        }
        for order in &orders[*audited..] {
            let outcome = if order.on { "on" } else { "off" };
            tracing::warn!(operator = order.who, reason = order.reason, "observe {outcome}");
            let line = json!({
                "time": order.time, "operation": "Observe", "outcome": outcome,
                "operator": order.who, "reason": order.reason,
            });
            let Value::Object(line) = line else { return };
            if sinks.audit.append(&line).is_err() {
                // It is written the next time.
                return sinks.metrics.audit_failure();
            }
            *audited += 1;
        }
        if let Err(error) = fs::write(&self.audited_file, audited.to_string()) {
            tracing::error!("{}: {error}", self.audited_file.display());
        }
    }
}

/// Writes an order down.
///
/// # Errors
/// The system's.
pub fn order(state_dir: &Path, order: &Order) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(state_dir.join(FILE))?;
    let line = json!({ "time": order.time, "on": order.on, "who": order.who, "reason": order.reason });
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}

fn read(line: &str) -> Option<Order> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Some(Order { on: value["on"].as_bool()?, who: text("who")?, reason: text("reason")?, time: text("time")? })
}
