//! The sections about what is kept and who is told: `quarantine`, `audit`, `webhooks`, `canary`, `admin.tokens`.

use super::load::{Endpoint, check_url, credentials, parse_endpoint, secret_file};
use super::read::Section;
use super::settings::{Audit, Canary, Event, Mode, ObjectLock, Operator, Origin, Quarantine, Role, Webhook};
use crate::decide::{Action, OnUnavailable, Policy, Reply};
use crate::s3::target::OriginKind;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// US law (18 USC 2258A, as of 2024) has the content of a report kept for a year.
const RETENTION: Duration = Duration::from_secs(365 * 24 * 3600);

const SPOOL: u64 = 20 << 30;

/// Hundreds of cases, each of which takes a few kilobytes.
const RESERVE: u64 = 16 << 20;

/// `quarantine:`, of which a store of its own takes what it does not say from the origin.
pub(super) fn quarantine(mut section: Section, origin: Option<&Origin>) -> Option<Quarantine> {
    let bucket = section.required("bucket");
    let prefix = section.text("prefix").unwrap_or_default();
    let recipients = section.texts("recipients");
    if recipients.is_empty() {
        section.complain("recipients", "at least one age recipient (age1...) is needed; age-keygen makes one");
    }
    for recipient in &recipients {
        if recipient.parse::<age::x25519::Recipient>().is_err() {
            section.complain("recipients", format!("`{recipient}` is no age recipient such as age1..."));
        }
    }
    let retention = section.duration("retention").unwrap_or(RETENTION);
    let locks =
        [("none", None), ("governance", Some(ObjectLock::Governance)), ("compliance", Some(ObjectLock::Compliance))];
    let object_lock = section.word("object_lock", &locks).flatten();
    let spool = section.size("spool").unwrap_or(SPOOL);
    let reserve = section.size("reserve").unwrap_or(RESERVE);
    let elsewhere = section.text("endpoint").and_then(|text| {
        let endpoint = parse_endpoint(&text);
        if endpoint.is_none() {
            section.complain("endpoint", format!("`{text}` is no address such as https://s3.example.test (no path)"));
        }
        endpoint
    });
    let is_elsewhere = elsewhere.is_some();
    let mut store = origin.cloned();
    if let (Some(store), Some(Endpoint { tls, authority, host, port })) = (&mut store, elsewhere) {
        let at_origin = store.clone();
        *store =
            Origin { tls, authority, host, port, kind: OriginKind::Other, ca_file: None, region: None, ..at_origin };
    }
    let (ca_file, region) = (section.path("ca_file"), section.text("region"));
    if let Some(store) = &mut store {
        store.ca_file = ca_file.or(store.ca_file.take());
        store.region = region.or(store.region.take());
    }
    let own = section.optional_section("credentials").and_then(credentials);
    let of_origin = origin.and_then(|origin| origin.credentials.clone()).filter(|_| !is_elsewhere);
    let credentials = own.or(of_origin);
    if credentials.is_none() && (origin.is_some() || is_elsewhere) {
        section.complain("credentials", "are needed: access_key and secret_key (or secret_key_file)");
    }
    section.end();
    Some(Quarantine {
        bucket: bucket?,
        prefix,
        store: store?,
        credentials: credentials?,
        recipients,
        retention,
        object_lock,
        spool,
        reserve,
    })
}

/// `audit:`
pub(super) fn audit(mut section: Section) -> Audit {
    let default = Audit::default();
    let audit = Audit {
        rotate: section.size("rotate").unwrap_or(default.rotate),
        checkpoint: section.duration("checkpoint").unwrap_or(default.checkpoint),
    };
    section.end();
    audit
}

/// `webhooks:`
pub(super) fn webhooks(root: &mut Section) -> Vec<Webhook> {
    root.sections("webhooks").unwrap_or_default().into_iter().filter_map(webhook).collect()
}

fn webhook(mut section: Section) -> Option<Webhook> {
    let url = section.required("url");
    if let Some(url) = &url {
        check_url(&section, "url", url);
    }
    let ca_file = section.path("ca_file");
    let mut events = Vec::new();
    for text in section.texts("events") {
        match Event::ALL.iter().find(|(word, _)| *word == text) {
            Some((_, event)) => events.push(*event),
            None => {
                let choice = Event::ALL.map(|(word, _)| word).join(", ");
                section.complain("events", format!("`{text}` is unknown; use some of: {choice}"));
            }
        }
    }
    if events.is_empty() {
        events = Event::ALL.iter().map(|(_, event)| *event).collect();
    }
    section.end();
    Some(Webhook { url: url?, ca_file, events })
}

/// `canary:`
pub(super) fn canary(mut section: Section) -> Option<Canary> {
    let bucket = section.required("bucket");
    let every = section.duration("every").unwrap_or(Duration::from_secs(60));
    section.end();
    Some(Canary { bucket: bucket?, every })
}

/// `admin.tokens:`
pub(super) fn operators(section: &mut Section) -> Vec<Operator> {
    let mut operators: Vec<Operator> = Vec::new();
    for token in section.sections("tokens").unwrap_or_default() {
        if let Some(operator) = operator(token, &operators) {
            operators.push(operator);
        }
    }
    operators
}

pub(super) fn operator(mut section: Section, others: &[Operator]) -> Option<Operator> {
    let name = section.required("name");
    let there = section.has("role");
    let role = section.word("role", &[("viewer", Role::Viewer), ("officer", Role::Officer)]);
    if !there {
        section.complain("role", "is needed: viewer or officer");
    }
    let there = section.has("token_file");
    let token = secret_file(&mut section, "token_file");
    if !there {
        section.complain("token_file", "is needed");
    }
    let expires = section.required("expires").and_then(|text| {
        let date = parse_time(&text);
        if date.is_none() {
            section.complain("expires", format!("`{text}` is no day such as 2027-01-31, in UTC"));
        }
        date
    });
    for other in others {
        if Some(&other.name) == name.as_ref() {
            section.complain("name", "is given to two tokens");
        }
        if token.as_ref().is_some_and(|token| token.expose() == other.token.expose()) {
            section.complain("token_file", "holds the token of another operator; release and purge need two");
        }
    }
    section.end();
    Some(Operator { name: name?, role: role?, token: token?, expires: expires? })
}

/// A day, which ends the token as it begins, or a time (RFC 3339).
fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
    day.map(|day| day.midnight().assume_utc()).or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok())
}

/// What only several sections together can get wrong.
pub(super) fn check_together(
    root: &Section,
    quarantine: bool,
    policy: &Policy,
    canary: bool,
    origin: &Origin,
    mode: Mode,
) {
    for (at, _) in policy.rules.iter().enumerate().filter(|(_, rule)| rule.answer == Reply::Accept) {
        let key = format!("policy.rules[{at}].answer");
        if mode != Mode::Verify {
            root.complain(
                &key,
                "`accept` needs authentication.mode: verify, or strangers would be told that all went well",
            );
        }
        if origin.credentials.is_none() {
            root.complain(&key, "`accept` needs origin.credentials: the bucket is asked whether it keeps versions");
        }
    }
    if !quarantine {
        if policy.on_match == Action::Quarantine {
            root.complain("policy.on_match", "`quarantine` needs a quarantine section: bucket and recipients");
        }
        if policy.on_unavailable == OnUnavailable::Quarantine {
            root.complain("policy.on_unavailable", "`quarantine` needs a quarantine section: bucket and recipients");
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            if rule.action == Action::Quarantine {
                let key = format!("policy.rules[{at}].action");
                root.complain(&key, "`quarantine` needs a quarantine section: bucket and recipients");
            }
        }
    }
    if canary && origin.credentials.is_none() {
        root.complain("origin.credentials", "are needed for canary");
    }
}
