//! Cases: who may look at them, and who may act on them. Every act, and every look at one case, is an audit line.

use super::Admin;
use super::auth::{Problem, officer};
use crate::act::Quarantine;
use crate::act::quarantine::acts::{ActError, Done, is_case_id};
use crate::act::quarantine::report::{self, Reporter};
use crate::act::quarantine::rules::{APPROVAL, Word, text};
use crate::act::quarantine::{Case, view};
use crate::config::settings::Operator;
use crate::s3::head::query_pairs;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io;
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};
use tokio::task::spawn_blocking;

/// Cases on one page.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

/// Of a reason.
const REASON_MAX: usize = 1000;

/// What the gate is, for who has to check its signatures elsewhere.
pub(super) async fn gate(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    admin.operator(&headers)?;
    Ok(json_answer(&json!({ "version": env!("CARGO_PKG_VERSION"), "key": admin.quarantine()?.public_key() })))
}

/// One page of cases, oldest first.
pub(super) async fn list(
    State(admin): State<Admin>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    admin.operator(&headers)?;
    let wanted = Wanted::read(query.as_deref().unwrap_or_default())?;
    let quarantine = admin.quarantine()?;
    let cases = aside(move || quarantine.journal().all()).await?;
    let begin = match &wanted.after {
        None => 0,
        Some(after) => {
            let at = cases.iter().position(|case| case.manifest.case == *after);
            at.ok_or_else(|| Problem::bad("after: there is no such case; use `next` of the page before"))? + 1
        }
    };
    let mut page: Vec<&Case> = cases[begin..].iter().filter(|case| wanted.fits(case)).take(wanted.limit + 1).collect();
    let more = page.len() > wanted.limit;
    page.truncate(wanted.limit);
    let next = page.last().filter(|_| more).map(|case| &case.manifest.case);
    let catalog = admin.gate.sinks.lists.current();
    let shown: Vec<Value> = page.iter().map(|case| view::summary(case, |digest| catalog.is_listed(digest))).collect();
    Ok(json_answer(&json!({ "cases": shown, "next": next })))
}

/// One case, without its digests.
pub(super) async fn show(
    State(admin): State<Admin>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let operator = admin.operator(&headers)?;
    let case = admin.read(&id).await?;
    // Before it is shown: nobody looks unseen.
    admin.looked(operator, "CaseShow", &id)?;
    let catalog = admin.gate.sinks.lists.current();
    Ok(json_answer(&view::detail(&case, |digest| catalog.is_listed(digest))))
}

/// What a case is reported with. It names digests and persons.
pub(super) async fn report(
    State(admin): State<Admin>,
    headers: HeaderMap,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let operator = admin.operator(&headers)?;
    let case = admin.read(&id).await?;
    if let Err(problem) = officer(operator) {
        admin.write_down(operator, "CaseReport", &id, problem.code());
        return Err(problem);
    }
    let mut reporter = Reporter::default();
    for (name, value) in query_pairs(query.as_deref().unwrap_or_default()) {
        match &*name {
            "reporter_org" => reporter.org = value,
            "reporter_contact" => reporter.contact = value,
            "reporter_domain" => reporter.domain = value,
            _ => return Err(Problem::bad("only reporter_org, reporter_contact and reporter_domain can be given")),
        }
    }
    let scheme = if admin.gate.settings.listen.tls.is_some() { "https" } else { "http" };
    let report = report::report(&case, &reporter, scheme)
        .map_err(|error| Problem::new(StatusCode::CONFLICT, "conflict", error.to_string()))?;
    admin.looked(operator, "CaseReport", &id)?;
    Ok(json_answer(&report))
}

/// What an officer says with an act.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    reason: String,
    #[serde(default)]
    all_of_entry: bool,
}

pub(super) async fn release(
    State(admin): State<Admin>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let gate = admin.gate.clone();
    let act = async move |quarantine: Arc<Quarantine>, id: String, by: String, said: Said| {
        let all = said.all_of_entry;
        let releasing = spawn_blocking(move || {
            let word = Word { by: &by, reason: &said.reason, now: OffsetDateTime::now_utc() };
            match all {
                true => quarantine.release_entry(&gate.settings.state_dir, &id, word),
                false => quarantine.release(&id, word),
            }
            .inspect(|_| gate.decisions.refresh())
        });
        releasing.await.map_err(io::Error::other)?
    };
    to_its_end(async move { admin.act("CaseRelease", &headers, id, &body, act).await }).await
}

pub(super) async fn purge(
    State(admin): State<Admin>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let act = async |quarantine: Arc<Quarantine>, id: String, by: String, said: Said| {
        let word = Word { by: &by, reason: &said.reason, now: OffsetDateTime::now_utc() };
        quarantine.purge(&id, word).await
    };
    to_its_end(async move { admin.act("CasePurge", &headers, id, &body, act).await }).await
}

pub(super) async fn hold(
    State(admin): State<Admin>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let act = async |q, id, by, said| hold_or_not(q, id, by, said, true).await;
    to_its_end(async move { admin.act("CaseHold", &headers, id, &body, act).await }).await
}

pub(super) async fn unhold(
    State(admin): State<Admin>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let act = async |q, id, by, said| hold_or_not(q, id, by, said, false).await;
    to_its_end(async move { admin.act("CaseUnhold", &headers, id, &body, act).await }).await
}

/// An act that was begun ends, and is written down, also where its client has gone away.
async fn to_its_end(
    act: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    tokio::spawn(act).await.unwrap_or_else(|error| Err(Problem::broken(error.to_string())))
}

async fn hold_or_not(
    quarantine: Arc<Quarantine>,
    id: String,
    by: String,
    said: Said,
    on: bool,
) -> Result<Done, ActError> {
    let holding = spawn_blocking(move || {
        quarantine.hold(&id, on, Word { by: &by, reason: &said.reason, now: OffsetDateTime::now_utc() })
    });
    holding.await.map_err(io::Error::other)?
}

impl Admin {
    /// One act of an officer, from their token to the audit line. Acts go one after another: a hold that is set while a
    /// purge is under way waits for it, and says that it came too late.
    async fn act(
        &self,
        what: &'static str,
        headers: &HeaderMap,
        id: String,
        body: &[u8],
        act: impl AsyncFnOnce(Arc<Quarantine>, String, String, Said) -> Result<Done, ActError>,
    ) -> Result<Response, Problem> {
        let operator = self.operator(headers)?;
        self.read(&id).await?;
        let done = async {
            officer(operator)?;
            let said = said(body, what)?;
            if self.gate.sinks.audit.is_broken() {
                return Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "audit_broken",
                    "the audit log takes no line, so nothing is done; look at the disk of state.dir",
                ));
            }
            let _alone = self.acting.lock().await;
            act(self.quarantine()?, id.clone(), operator.name.clone(), said).await.map_err(problem)
        }
        .await;
        let outcome = match &done {
            Ok(done) => done.word(),
            Err(problem) => problem.code(),
        };
        let written = self.write_down(operator, what, &id, outcome);
        let done = done?;
        if !written {
            return Err(Problem::broken(
                "it was done, but the audit log took no line about it; look at the disk of state.dir",
            ));
        }
        if matches!(done, Done::Purged) {
            self.quarantine()?.tell(&self.gate, "purged", self.read(&id).await?.manifest).await;
        }
        Ok(json_answer(&told(&id, &done)))
    }

    fn quarantine(&self) -> Result<Arc<Quarantine>, Problem> {
        let message = "nothing is kept: there is no quarantine section in the configuration";
        self.gate.quarantine.clone().ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no_quarantine", message))
    }

    async fn read(&self, id: &str) -> Result<Case, Problem> {
        let (quarantine, id) = (self.quarantine()?, id.to_owned());
        let case = if is_case_id(&id) { aside(move || quarantine.journal().read(&id)).await? } else { None };
        case.ok_or_else(|| problem(ActError::NoCase))
    }

    /// # Errors
    /// The audit log takes no line.
    fn looked(&self, operator: &Operator, what: &'static str, case: &str) -> Result<(), Problem> {
        if self.write_down(operator, what, case, "shown") {
            return Ok(());
        }
        let message = "the audit log takes no line, so nothing is shown; look at the disk of state.dir";
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "audit_broken", message))
    }

    /// The audit line of an operator: their name, what, of which case, and what came of it. True where it was written.
    fn write_down(&self, operator: &Operator, what: &'static str, case: &str, outcome: &'static str) -> bool {
        tracing::info!(operator = operator.name, operation = what, case, outcome, "operator");
        let line = audit_line(&operator.name, what, case, outcome);
        let written = self.gate.sinks.audit.append(&line).is_ok();
        if !written {
            self.gate.sinks.metrics.audit_failure();
        }
        written
    }
}

/// What the audit log has of an operator: no digest, no person but them, no reason (which may name one).
pub(crate) fn audit_line(operator: &str, operation: &str, case: &str, outcome: &str) -> Map<String, Value> {
    let members = [("operation", operation), ("operator", operator), ("case", case), ("outcome", outcome)];
    members.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn problem(error: ActError) -> Problem {
    let message = error.to_string();
    match error {
        ActError::NoCase => Problem::new(
            StatusCode::NOT_FOUND,
            "no_case",
            "there is no such case; GET /v1/cases lists them, and an id has 16 hexadecimal digits",
        ),
        ActError::Refused(_) => Problem::new(StatusCode::CONFLICT, "conflict", message),
        ActError::Io(_) => Problem::broken(message),
        ActError::Store(_) => Problem::new(StatusCode::BAD_GATEWAY, "store", message),
    }
}

fn said(body: &[u8], what: &str) -> Result<Said, Problem> {
    let said: Said = serde_json::from_slice(body).map_err(|error| {
        let shape = r#"send a JSON object such as {"reason": "why"}"#;
        Problem::bad(format!("{shape} (release takes \"all_of_entry\": true as well): {error}"))
    })?;
    if said.all_of_entry && what != "CaseRelease" {
        return Err(Problem::bad("all_of_entry belongs to release alone"));
    }
    if said.reason.trim().is_empty() || said.reason.len() > REASON_MAX {
        return Err(Problem::bad(format!("reason: say why, in 1 to {REASON_MAX} bytes")));
    }
    Ok(said)
}

/// What an officer is told. Permissions are in no other place.
fn told(case: &str, done: &Done) -> Value {
    let mut told = json!({ "case": case, "outcome": done.word() });
    if let Done::Permitted(permissions) = done {
        let all: Vec<Value> = permissions
            .iter()
            .map(|permission| json!({ "case": permission.case(), "permission": permission.expose() }))
            .collect();
        told["permissions"] = json!(all);
        told["expires"] = json!(text(OffsetDateTime::now_utc() + APPROVAL));
    }
    told
}

/// Which cases are asked for.
struct Wanted {
    state: Option<String>,
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
    bucket: Option<String>,
    tenant: Option<String>,
    after: Option<String>,
    limit: usize,
}

impl Wanted {
    fn read(query: &str) -> Result<Wanted, Problem> {
        let mut wanted =
            Wanted { state: None, from: None, to: None, bucket: None, tenant: None, after: None, limit: PAGE };
        for (name, value) in query_pairs(query) {
            match &*name {
                "state" if ["kept", "stored", "purged"].contains(&&*value) => wanted.state = Some(value),
                "state" => return Err(Problem::bad("state: use kept, stored or purged")),
                "from" => wanted.from = Some(time(&name, &value)?),
                "to" => wanted.to = Some(time(&name, &value)?),
                "bucket" => wanted.bucket = Some(value),
                "tenant" => wanted.tenant = Some(value),
                "after" => wanted.after = Some(value),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    let message = format!("limit: use a number from 1 to {PAGE_MAX}");
                    wanted.limit = limit.ok_or_else(|| Problem::bad(message))?;
                }
                _ => return Err(Problem::bad("use state, from, to, bucket, tenant, after or limit")),
            }
        }
        Ok(wanted)
    }

    fn fits(&self, case: &Case) -> bool {
        let manifest = &case.manifest;
        self.state.as_deref().is_none_or(|state| state == case.state.word())
            && self.from.is_none_or(|from| manifest.received >= from)
            && self.to.is_none_or(|to| manifest.received < to)
            && self.bucket.as_ref().is_none_or(|bucket| manifest.target.bucket.as_ref() == Some(bucket))
            && self.tenant.as_ref().is_none_or(|tenant| manifest.caller.tenant.as_ref() == Some(tenant))
    }
}

/// A day, which stands for its beginning in UTC, or a time.
fn time(name: &str, value: &str) -> Result<OffsetDateTime, Problem> {
    let day = Date::parse(value, format_description!("[year]-[month]-[day]")).ok();
    let time = day.map(|day| day.midnight().assume_utc()).or_else(|| OffsetDateTime::parse(value, &Rfc3339).ok());
    time.ok_or_else(|| Problem::bad(format!("{name}: use a day such as 2026-01-31, or a time as in RFC 3339")))
}

fn json_answer(value: &Value) -> Response {
    let content = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (content, value.to_string()).into_response()
}

/// What blocks runs on a thread of its own.
async fn aside<T: Send + 'static>(read: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Problem> {
    spawn_blocking(read).await.map_err(io::Error::other).flatten().map_err(|error| Problem::broken(error.to_string()))
}
