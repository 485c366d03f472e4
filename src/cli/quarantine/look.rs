//! `hashgate quarantine list`, `show` and `report`: from the gate, or, where none runs, from its journal.

use super::Who;
use super::api::{self, Told, encode};
use crate::act::Quarantine;
use crate::act::quarantine::report::{self, Reporter};
use crate::act::quarantine::{Case, view};
use crate::admin::audit_line;
use crate::cli::Exit;
use crate::config::Desk;
use crate::config::settings::Role;
use crate::record::{Audit, AuditError};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::io::{self, Write as _, stdout};
use time::OffsetDateTime;

#[derive(Args)]
pub(in crate::cli) struct ListArguments {
    /// Only those in this state: kept, stored or purged
    #[arg(long)]
    state: Option<String>,
    /// Only those received at this day or time, or later
    #[arg(long)]
    from: Option<String>,
    /// Only those received before this day or time
    #[arg(long)]
    to: Option<String>,
    /// Only those meant for this bucket
    #[arg(long)]
    bucket: Option<String>,
    /// Only those of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Print one JSON object for each case
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    who: Who,
}

#[derive(Args)]
pub(in crate::cli) struct ReportArguments {
    /// The case
    case: String,
    /// Who reports: the organisation
    #[arg(long, default_value = "", hide_default_value = true)]
    reporter_org: String,
    /// Its address for questions
    #[arg(long, default_value = "", hide_default_value = true)]
    reporter_contact: String,
    /// Its domain
    #[arg(long, default_value = "", hide_default_value = true)]
    reporter_domain: String,
    /// It is JSON in any case
    #[arg(long, hide = true)]
    json: bool,
    #[command(flatten)]
    who: Who,
}

pub(super) fn list(arguments: &ListArguments) -> anyhow::Result<Exit> {
    let desk = arguments.who.desk()?;
    let filters: Vec<(&str, &String)> = [
        ("state", &arguments.state),
        ("from", &arguments.from),
        ("to", &arguments.to),
        ("bucket", &arguments.bucket),
        ("tenant", &arguments.tenant),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_ref()?)))
    .collect();
    let cases = match pages(&desk, &filters) {
        Err(error) if api::is_away(&error) => {
            anyhow::ensure!(
                filters.is_empty(),
                "no gate runs; without one, all cases are listed: leave the filters out"
            );
            let offline = Offline::open(&desk, error)?;
            offline.all()?.iter().map(|case| view::summary(case, |_| false)).collect()
        }
        cases => cases?,
    };
    let mut out = stdout().lock();
    if arguments.json {
        cases.iter().try_for_each(|case| writeln!(out, "{case}"))?;
    } else if !cases.is_empty() {
        table(&mut out, &cases)?;
    }
    Ok(if cases.is_empty() { Exit::NothingFound } else { Exit::Done })
}

fn pages(desk: &Desk, filters: &[(&str, &String)]) -> anyhow::Result<Vec<Value>> {
    let filters: String = filters.iter().map(|(name, value)| format!("&{name}={}", encode(value))).collect();
    let (mut cases, mut after) = (Vec::new(), String::new());
    loop {
        let mut page = match api::get(desk, &format!("/v1/cases?limit=1000{filters}{after}"))? {
            Told::This(page) => page,
            Told::NotThere(message) | Told::No(message) => anyhow::bail!(message),
        };
        if let Value::Array(more) = page["cases"].take() {
            cases.extend(more);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encode(next)),
            None => return Ok(cases),
        }
    }
}

pub(super) fn show(case: &str, json: bool, who: &Who) -> anyhow::Result<Exit> {
    let desk = who.desk()?;
    let told = match api::get(&desk, &format!("/v1/cases/{}", encode(case))) {
        Err(error) if api::is_away(&error) => {
            Offline::open(&desk, error)?.one(case, "CaseShow", |case| Ok(view::detail(case, |_| false)))?
        }
        told => told?,
    };
    told.print(|case| match json {
        true => writeln!(stdout(), "{case}"),
        false => lines(&mut stdout().lock(), case, ""),
    })
}

pub(super) fn report(arguments: &ReportArguments) -> anyhow::Result<Exit> {
    let desk = arguments.who.desk()?;
    let ReportArguments { case, reporter_org, reporter_contact, reporter_domain, .. } = arguments;
    for (option, value) in [
        ("--reporter-org", reporter_org),
        ("--reporter-contact", reporter_contact),
        ("--reporter-domain", reporter_domain),
    ] {
        if value.is_empty() {
            eprintln!("hashgate: {option} is empty; who receives the report will ask for it");
        }
    }
    let query: String = [("org", reporter_org), ("contact", reporter_contact), ("domain", reporter_domain)]
        .iter()
        .map(|(name, value)| format!("&reporter_{name}={}", encode(value)))
        .collect();
    let told = match api::get(&desk, &format!("/v1/cases/{}/report?{}", encode(case), &query[1..])) {
        Err(error) if api::is_away(&error) => {
            anyhow::ensure!(desk.operator.role == Role::Officer, "only an officer may do this");
            let reporter = Reporter {
                org: reporter_org.clone(),
                contact: reporter_contact.clone(),
                domain: reporter_domain.clone(),
            };
            let scheme = if desk.is_tls { "https" } else { "http" };
            Offline::open(&desk, error)?.one(case, "CaseReport", |case| Ok(report::report(case, &reporter, scheme)?))?
        }
        told => told?,
    };
    told.print(|report| writeln!(stdout(), "{report:#}"))
}

/// The journal of a gate that does not run. It is locked while it is read, and every look is an audit line as ever.
struct Offline<'a> {
    desk: &'a Desk,
    audit: Audit,
}

impl Offline<'_> {
    /// `away` is why the gate could not be asked.
    fn open(desk: &Desk, away: anyhow::Error) -> anyhow::Result<Offline<'_>> {
        // Nothing is made for somebody who looks into the wrong folder.
        anyhow::ensure!(desk.state_dir.is_dir(), "{away:#}; and there is no state folder {}", desk.state_dir.display());
        let token_ended = desk.operator.expires <= OffsetDateTime::now_utc();
        anyhow::ensure!(!token_ended, "the token of {} has expired", desk.operator.name);
        match Audit::open(&desk.state_dir, u64::MAX) {
            Ok(audit) => Ok(Offline { desk, audit }),
            Err(AuditError::InUse(_)) => Err(away.context("a gate runs, but does not answer")),
            Err(error) => Err(error.into()),
        }
    }

    fn all(&self) -> anyhow::Result<Vec<Case>> {
        let reading = Quarantine::reading(&self.desk.state_dir)?;
        Ok(reading.map(|reading| reading.all()).transpose()?.unwrap_or_default())
    }

    fn one(&self, id: &str, what: &str, show: impl FnOnce(&Case) -> anyhow::Result<Value>) -> anyhow::Result<Told> {
        let reading = Quarantine::reading(&self.desk.state_dir)?;
        let Some(case) = reading.map(|reading| reading.read(id)).transpose()?.flatten() else {
            return Ok(Told::NotThere("there is no such case; quarantine list has them all".into()));
        };
        let shown = show(&case)?;
        let line = audit_line(&self.desk.operator.name, what, &case.manifest.case, "shown");
        self.audit.append(&line).and_then(|()| self.audit.checkpoint()).context("audit.log")?;
        Ok(Told::This(shown))
    }
}

/// For people.
fn table(out: &mut impl io::Write, cases: &[Value]) -> io::Result<()> {
    let heads = ["CASE", "RECEIVED", "STATE", "HOLD", "BUCKET", "TENANT", "SIZE", "LISTS", "KEPT UNTIL"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(cases.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn row(case: &Value) -> [String; 9] {
    let text = |name: &str| case[name].as_str().unwrap_or("-").to_owned();
    // To the second, and to the day: people read it.
    let until = |name: &str, length: usize| text(name).chars().take(length).collect::<String>();
    let mut lists: Vec<&str> =
        case["matches"].as_array().into_iter().flatten().filter_map(|found| found["list"].as_str()).collect();
    lists.dedup();
    let size = if case["payload_kept"] == json!(false) { "not kept".to_owned() } else { case["size"].to_string() };
    let hold = if case["legal_hold"] == json!(true) { "hold" } else { "-" };
    let lists = if lists.is_empty() { text("reason") } else { lists.join(",") };
    [
        text("case"),
        until("received", 19),
        text("state"),
        hold.to_owned(),
        text("bucket"),
        text("tenant"),
        size,
        lists,
        until("retain_until", 10),
    ]
}

/// A case for people: one line for each thing that is known.
fn lines(out: &mut impl io::Write, value: &Value, name: &str) -> io::Result<()> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(field, value)| {
            let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
            lines(out, value, &name)
        }),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().enumerate().try_for_each(|(at, item)| lines(out, item, &format!("{name}[{at}]")))
        }
        Value::Array(items) => {
            let words: Vec<String> = items.iter().map(plain).collect();
            writeln!(out, "{name}: {}", words.join(": "))
        }
        Value::Null => Ok(()),
        value => writeln!(out, "{name}: {}", plain(value)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
