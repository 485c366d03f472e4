//! What operators watch. Labels come from enums and configured names only, never from a request.

use super::{Alarm, Outcome};
use crate::list::Lists;
use crate::multipart::Multipart;
use crate::route::Operation;
use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Every metric: name, labels, and what it says. The README's table is held to it by a test.
pub const DOCUMENTED: &[(&str, &[&str], &str)] = &[
    ("hashgate_build_info", &["version"], "Always 1; the version that runs."),
    ("hashgate_requests_total", &["operation", "outcome"], "Requests by S3 operation and by how they ended."),
    ("hashgate_request_seconds", &["operation"], "Time from a request's head to its record."),
    ("hashgate_failures_total", &["reason"], "Requests that the gate itself answered with an error, by reason."),
    ("hashgate_payload_bytes_total", &["framing"], "Payload bytes that were hashed."),
    ("hashgate_answer_bytes_total", &[], "Bytes of answers passed on from the origin."),
    ("hashgate_matches_total", &["list", "action"], "Listed payloads, by list and by what was done."),
    (
        "hashgate_waived_total",
        &["setting"],
        "Times that a setting let through what the first promise would have kept out.",
    ),
    (
        "hashgate_early_commits_total",
        &[],
        "Times that the origin reported success before it had the end of an upload: an incident.",
    ),
    (
        "hashgate_parts_total",
        &["way"],
        "Parts that came: chained to their predecessor as they came, spooled until it was there, or unknown.",
    ),
    (
        "hashgate_completes_total",
        &["whole"],
        "Completes of uploads in parts, by how the whole object was known: chained, lost (as it was sent only, after a restart), read back, or unknown.",
    ),
    (
        "hashgate_copies_total",
        &["source"],
        "Copies that the store makes, by what the gate knew of their source: read, or unknown.",
    ),
    (
        "hashgate_decoded_total",
        &["result"],
        "Payloads and wholes of parts that are encoded, by what came of decoding them: decoded, broken, the bound that was reached, or lost (not decoded as its parts came).",
    ),
    ("hashgate_multipart_uploads", &[], "Uploads in parts that are remembered."),
    ("hashgate_spool_bytes", &["place"], "Room taken by parts that came before their predecessors."),
    ("hashgate_vetoed_total", &[], "Matches that an operator's veto has taken back."),
    (
        "hashgate_flooding_entries",
        &[],
        "Entries that hit more tenants or uploads than policy.flood allows, and about which nobody has decided: an alarm.",
    ),
    (
        "hashgate_cases_total",
        &["payload"],
        "Cases that were made: with their payload, without it, or lost because nothing could be written.",
    ),
    ("hashgate_quarantine_backlog", &[], "Cases that the quarantine bucket does not have yet."),
    (
        "hashgate_quarantine_spool_bytes",
        &[],
        "Room taken by sealed payloads: of uploads under way, and of cases that the bucket does not have yet.",
    ),
    ("hashgate_recheck_queue", &[], "Uploads that were let through undecided and are not decided yet."),
    (
        "hashgate_service_answers_total",
        &["service", "result"],
        "What a service that is asked about digests said: listed, unlisted, cached (an earlier answer), failed, or circuit_open (not asked for a while).",
    ),
    ("hashgate_service_seconds", &["service"], "Time that a service took to answer, or to fail."),
    (
        "hashgate_alarm",
        &["alarm"],
        "1 while an alarm is raised: canary_stored, canary_failing, list_stale, quarantine_away, quarantine_full, journal_full, tenant_hits, flood, audit_broken, observe_all, case_lost.",
    ),
    ("hashgate_events_waiting", &[], "Events that a webhook has not taken yet."),
    (
        "hashgate_events_total",
        &["result"],
        "What came of events: delivered, failed (a try; it is tried again), dropped (too many matches waited), or lost (the disk took none; those of alarms and cases wait in memory then).",
    ),
    (
        "hashgate_canary_total",
        &["result"],
        "What came of the upload by which the gate tests itself: refused, as it must be, failing (it could not be tried), or stored.",
    ),
    (
        "hashgate_tenant_matches_total",
        &["tenant"],
        "Listed payloads of a configured tenant whose signature the gate has verified.",
    ),
    ("hashgate_audit_failures_total", &[], "Audit lines that could not be written."),
    (
        "hashgate_connection_errors_total",
        &["kind"],
        "Client connections that ended in an error before or between requests.",
    ),
    ("hashgate_connections_open", &[], "Client connections now."),
    ("hashgate_uploads_in_flight", &[], "Requests with a body now."),
    ("hashgate_origin_connections_open", &[], "Connections to the origin now."),
    ("hashgate_origin_connections_opened_total", &[], "Connections to the origin that were opened."),
    ("hashgate_list_entries", &["list"], "Entries of a list that are in use."),
    ("hashgate_list_bad_lines", &["list"], "Lines of a list that could not be read, at the last good read."),
    ("hashgate_list_read_timestamp_seconds", &["list"], "Time of the last good read of a list."),
    ("hashgate_list_failed", &["list"], "1 while the last read of a list failed and an older version is in use."),
    (
        "hashgate_list_wrong_size_total",
        &["list"],
        "Payloads with the digest of an entry and another size: no match; a damaged list, or made to collide.",
    ),
    (
        "hashgate_list_on_probation",
        &["list"],
        "1 while something of a list is only observed, until an operator accepts it.",
    ),
    ("hashgate_list_vetoed_total", &["list"], "Matches of other lists that a known-good list has taken back."),
    (
        "hashgate_list_bad_pages",
        &["list"],
        "Damaged pages of a list's index, at the last check; lookups that need one are refused.",
    ),
];

/// The metrics of one gate. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    failures: IntCounterVec,
    payload: IntCounterVec,
    answers: IntCounter,
    matches: IntCounterVec,
    waived: IntCounterVec,
    early_commits: IntCounter,
    parts: IntCounterVec,
    completes: IntCounterVec,
    copies: IntCounterVec,
    decoded: IntCounterVec,
    multipart_uploads: IntGauge,
    spool: IntGaugeVec,
    alarms: IntGaugeVec,
    events_waiting: IntGauge,
    events: IntCounterVec,
    canary: IntCounterVec,
    tenant_matches: IntCounterVec,
    audit_failures: IntCounter,
    connection_errors: IntCounterVec,
    connections: IntGauge,
    uploads: IntGauge,
    origin_connections: IntGauge,
    origin_opened: IntCounter,
    list_entries: IntGaugeVec,
    list_bad_lines: IntGaugeVec,
    list_read: GaugeVec,
    list_failed: IntGaugeVec,
    list_wrong_sizes: IntCounterVec,
    vetoed: IntCounter,
    flooding: IntGauge,
    cases: IntCounterVec,
    backlog: IntGauge,
    quarantine_spool: IntGauge,
    recheck_queue: IntGauge,
    service_answers: IntCounterVec,
    service_seconds: HistogramVec,
    list_on_probation: IntGaugeVec,
    list_vetoed: IntCounterVec,
    list_bad_pages: IntGaugeVec,
}

/// Counts one more while it lives.
pub struct Gauge(IntGauge);

impl Gauge {
    fn up(gauge: &IntGauge) -> Gauge {
        gauge.inc();
        Gauge(gauge.clone())
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers every metric of [`DOCUMENTED`] with `registry`.
    ///
    /// # Errors
    /// The registry has one of these names already.
    pub fn new(registry: Registry) -> Result<Metrics, prometheus::Error> {
        let make = Maker(&registry);
        make.gauges("hashgate_build_info")?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let inner = Inner {
            requests: make.counters("hashgate_requests_total")?,
            seconds: make.histogram("hashgate_request_seconds")?,
            failures: make.counters("hashgate_failures_total")?,
            payload: make.counters("hashgate_payload_bytes_total")?,
            answers: make.counters("hashgate_answer_bytes_total")?.with_label_values::<&str>(&[]),
            matches: make.counters("hashgate_matches_total")?,
            waived: make.counters("hashgate_waived_total")?,
            early_commits: make.counters("hashgate_early_commits_total")?.with_label_values::<&str>(&[]),
            parts: make.counters("hashgate_parts_total")?,
            completes: make.counters("hashgate_completes_total")?,
            copies: make.counters("hashgate_copies_total")?,
            decoded: make.counters("hashgate_decoded_total")?,
            multipart_uploads: make.gauges("hashgate_multipart_uploads")?.with_label_values::<&str>(&[]),
            spool: make.gauges("hashgate_spool_bytes")?,
            alarms: make.gauges("hashgate_alarm")?,
            events_waiting: make.gauges("hashgate_events_waiting")?.with_label_values::<&str>(&[]),
            events: make.counters("hashgate_events_total")?,
            canary: make.counters("hashgate_canary_total")?,
            tenant_matches: make.counters("hashgate_tenant_matches_total")?,
            audit_failures: make.counters("hashgate_audit_failures_total")?.with_label_values::<&str>(&[]),
            connection_errors: make.counters("hashgate_connection_errors_total")?,
            connections: make.gauges("hashgate_connections_open")?.with_label_values::<&str>(&[]),
            uploads: make.gauges("hashgate_uploads_in_flight")?.with_label_values::<&str>(&[]),
            origin_connections: make.gauges("hashgate_origin_connections_open")?.with_label_values::<&str>(&[]),
            origin_opened: make.counters("hashgate_origin_connections_opened_total")?.with_label_values::<&str>(&[]),
            list_entries: make.gauges("hashgate_list_entries")?,
            list_bad_lines: make.gauges("hashgate_list_bad_lines")?,
            list_read: make.times("hashgate_list_read_timestamp_seconds")?,
            list_failed: make.gauges("hashgate_list_failed")?,
            list_wrong_sizes: make.counters("hashgate_list_wrong_size_total")?,
            vetoed: make.counters("hashgate_vetoed_total")?.with_label_values::<&str>(&[]),
            flooding: make.gauges("hashgate_flooding_entries")?.with_label_values::<&str>(&[]),
            cases: make.counters("hashgate_cases_total")?,
            backlog: make.gauges("hashgate_quarantine_backlog")?.with_label_values::<&str>(&[]),
            quarantine_spool: make.gauges("hashgate_quarantine_spool_bytes")?.with_label_values::<&str>(&[]),
            recheck_queue: make.gauges("hashgate_recheck_queue")?.with_label_values::<&str>(&[]),
            service_answers: make.counters("hashgate_service_answers_total")?,
            service_seconds: make.histogram("hashgate_service_seconds")?,
            list_on_probation: make.gauges("hashgate_list_on_probation")?,
            list_vetoed: make.counters("hashgate_list_vetoed_total")?,
            list_bad_pages: make.gauges("hashgate_list_bad_pages")?,
            registry: registry.clone(),
        };
        // Alerts on these need a 0 to rise from.
        for setting in [
            "observe",
            "observe_all",
            "on_unavailable",
            "probation",
            "release",
            "multipart_read_back",
            "multipart_unverifiable",
            "multipart_lost",
        ] {
            inner.waived.with_label_values(&[setting]);
        }
        for alarm in Alarm::ALL {
            inner.alarms.with_label_values(&[alarm.label()]);
        }
        for result in ["delivered", "failed", "dropped", "lost"] {
            inner.events.with_label_values(&[result]);
        }
        for result in ["refused", "failing", "stored"] {
            inner.canary.with_label_values(&[result]);
        }
        for way in ["chained", "spooled", "unknown"] {
            inner.parts.with_label_values(&[way]);
        }
        for payload in ["kept", "not_kept", "lost"] {
            inner.cases.with_label_values(&[payload]);
        }
        for whole in ["chained", "lost", "read_back", "unknown"] {
            inner.completes.with_label_values(&[whole]);
        }
        for result in ["decoded", "broken", "ratio", "size", "time", "layers", "memory", "format", "lost"] {
            inner.decoded.with_label_values(&[result]);
        }
        for source in ["read", "unknown"] {
            inner.copies.with_label_values(&[source]);
        }
        for kind in ["parse", "timeout", "tls", "proxy_protocol", "io"] {
            inner.connection_errors.with_label_values(&[kind]);
        }
        Ok(Metrics(Arc::new(inner)))
    }

    /// The text exposition format, for `/metrics`.
    ///
    /// # Errors
    /// The encoder's; none is known for metrics that were registered.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Sets what the lists say of themselves.
    pub fn lists(&self, lists: &Lists) {
        for status in lists.status() {
            let name = [status.name.as_str()];
            self.0.list_entries.with_label_values(&name).set(status.entries as i64);
            self.0.list_bad_lines.with_label_values(&name).set(status.bad_lines as i64);
            let read = status.read_at.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.0.list_read.with_label_values(&name).set(read.as_secs_f64());
            self.0.list_failed.with_label_values(&name).set(i64::from(status.failed));
            self.0.list_bad_pages.with_label_values(&name).set(status.bad_pages as i64);
            self.0.list_on_probation.with_label_values(&name).set(i64::from(status.on_probation));
            let vetoed = self.0.list_vetoed.with_label_values(&name);
            vetoed.inc_by(status.vetoed.saturating_sub(vetoed.get()));
            let wrong_sizes = self.0.list_wrong_sizes.with_label_values(&name);
            wrong_sizes.inc_by(status.wrong_sizes.saturating_sub(wrong_sizes.get()));
        }
    }

    /// Sets what is known of uploads in parts.
    pub fn multipart(&self, multipart: &Multipart) {
        let (uploads, (memory, disk)) = multipart.status();
        self.0.multipart_uploads.set(uploads as i64);
        self.0.spool.with_label_values(&["memory"]).set(memory as i64);
        self.0.spool.with_label_values(&["disk"]).set(disk as i64);
    }

    pub(crate) fn part(&self, way: &'static str) {
        self.0.parts.with_label_values(&[way]).inc();
    }

    pub(crate) fn copy(&self, source: &'static str) {
        self.0.copies.with_label_values(&[source]).inc();
    }

    pub(crate) fn decoded(&self, result: &'static str) {
        self.0.decoded.with_label_values(&[result]).inc();
    }

    pub(crate) fn complete(&self, whole: &'static str) {
        self.0.completes.with_label_values(&[whole]).inc();
    }

    /// A client connection, as long as the guard lives.
    pub fn connection(&self) -> Gauge {
        Gauge::up(&self.0.connections)
    }

    /// A client connection that ended in an error of this kind.
    pub fn connection_error(&self, kind: &'static str) {
        self.0.connection_errors.with_label_values(&[kind]).inc();
    }

    /// A request with a body, as long as the guard lives.
    pub fn upload(&self) -> Gauge {
        Gauge::up(&self.0.uploads)
    }

    pub(crate) fn origin_connection_opened(&self) -> Gauge {
        self.0.origin_opened.inc();
        Gauge::up(&self.0.origin_connections)
    }

    pub(super) fn request(
        &self,
        operation: Operation,
        outcome: Outcome,
        elapsed: Duration,
        payload: u64,
        framing: Option<&'static str>,
    ) {
        self.0.requests.with_label_values(&[operation.name(), outcome.label()]).inc();
        self.0.seconds.with_label_values(&[operation.name()]).observe(elapsed.as_secs_f64());
        if payload > 0 {
            self.0.payload.with_label_values(&[framing.unwrap_or("raw")]).inc_by(payload);
        }
    }

    pub(super) fn failure(&self, reason: &'static str) {
        self.0.failures.with_label_values(&[reason]).inc();
    }

    pub(super) fn answered(&self, bytes: usize) {
        self.0.answers.inc_by(bytes as u64);
    }

    pub(crate) fn matched(&self, list: &str, action: &'static str) {
        self.0.matches.with_label_values(&[list, action]).inc();
    }

    pub(super) fn waived(&self, setting: &'static str) {
        self.0.waived.with_label_values(&[setting]).inc();
    }

    pub(super) fn early_commit(&self) {
        self.0.early_commits.inc();
    }

    /// What came of asking a service.
    pub(crate) fn asked(&self, service: &str, result: &'static str) {
        self.0.service_answers.with_label_values(&[service, result]).inc();
    }

    /// How long a service took.
    pub(crate) fn asked_for(&self, service: &str, elapsed: Duration) {
        self.0.service_seconds.with_label_values(&[service]).observe(elapsed.as_secs_f64());
    }

    /// A match that an operator's veto has taken back.
    pub(crate) fn vetoed(&self) {
        self.0.vetoed.inc();
    }

    /// Sets how many entries are a flood.
    pub fn flooding(&self, entries: usize) {
        self.0.flooding.set(entries as i64);
    }

    /// A case was made, or could not be.
    pub(crate) fn case(&self, payload: &'static str) {
        self.0.cases.with_label_values(&[payload]).inc();
    }

    /// Sets the bytes in the quarantine's spool, and its backlog.
    pub fn quarantine(&self, (spool, backlog): (u64, usize)) {
        self.0.quarantine_spool.set(spool as i64);
        self.0.backlog.set(backlog as i64);
    }

    /// Sets what waits to be looked up again.
    pub fn rechecks(&self, waiting: usize) {
        self.0.recheck_queue.set(waiting as i64);
    }

    pub(super) fn alarm(&self, alarm: &'static str, raised: bool) {
        self.0.alarms.with_label_values(&[alarm]).set(i64::from(raised));
    }

    /// Sets how many events wait for a webhook.
    pub(crate) fn events_waiting(&self, events: usize) {
        self.0.events_waiting.set(events as i64);
    }

    pub(crate) fn event(&self, result: &'static str) {
        self.0.events.with_label_values(&[result]).inc();
    }

    pub(crate) fn canary(&self, result: &'static str) {
        self.0.canary.with_label_values(&[result]).inc();
    }

    /// Matches of a tenant; `tenant` is one that the configuration names.
    pub(crate) fn tenant_matched(&self, tenant: &str, matches: u64) {
        self.0.tenant_matches.with_label_values(&[tenant]).inc_by(matches);
    }

    pub(crate) fn audit_failure(&self) {
        self.0.audit_failures.inc();
    }
}

/// Registers what [`DOCUMENTED`] describes.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn described(name: &str) -> (Opts, &'static [&'static str]) {
        let (name, labels, help) =
            DOCUMENTED.iter().find(|(known, _, _)| *known == name).expect("every metric is documented above");
        (Opts::new(*name, *help), labels)
    }

    fn counters(&self, name: &str) -> Result<IntCounterVec, prometheus::Error> {
        let (opts, labels) = Self::described(name);
        let metric = IntCounterVec::new(opts, labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(&self, name: &str) -> Result<IntGaugeVec, prometheus::Error> {
        let (opts, labels) = Self::described(name);
        let metric = IntGaugeVec::new(opts, labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn times(&self, name: &str) -> Result<GaugeVec, prometheus::Error> {
        let (opts, labels) = Self::described(name);
        let metric = GaugeVec::new(opts, labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histogram(&self, name: &str) -> Result<HistogramVec, prometheus::Error> {
        let (opts, labels) = Self::described(name);
        // From a small object on the same machine to a slow upload of gigabytes.
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
        let metric = HistogramVec::new(HistogramOpts::from(opts).buckets(buckets), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
