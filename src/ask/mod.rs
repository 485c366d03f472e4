//! Asking a service about digests, instead of holding its list.
//!
//! A service is asked while the end of an upload is held, within a deadline. Answers are kept for a while, and one that
//! fails again and again is not asked for a while: then the answer is "nobody knows", at once. What a protocol looks like
//! on the wire is a module of its own; nothing on the path knows which it is.

mod cache;
mod circuit;
mod hash_check_server;

use crate::config::settings;
use crate::decide::{Finding, Label, Mark, Undecidable};
use crate::digest::{Algorithm, Algorithms, Digest, Digests};
use crate::forward::RootsError;
use crate::record::Metrics;
use crate::web::{Web, WebError};
use cache::Cache;
use circuit::Circuit;
use hash_check_server::HashCheckServer;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Every service of a gate.
pub struct Services(Vec<Service>);

struct Service {
    name: String,
    category: String,
    algorithms: Algorithms,
    protocol: Protocol,
    deadline: Duration,
    cache: Cache,
    circuit: Circuit,
    metrics: Metrics,
}

/// What is spoken on the wire. Another one needs a variant here, and a module.
enum Protocol {
    HashCheckServer(HashCheckServer),
}

impl Protocol {
    /// The category under which the service has this digest, if it has it; `None` in `Some` where it does not say.
    async fn look_up(&self, digest: &Digest, limit: Duration) -> Result<Option<Option<String>>, WebError> {
        match self {
            // It says yes or no, and nothing else.
            Protocol::HashCheckServer(client) => Ok(client.has(digest, limit).await?.then_some(None)),
        }
    }
}

impl Services {
    /// Those of the configuration; nothing is asked yet.
    ///
    /// # Errors
    /// The certificates of one cannot be read.
    pub fn new(all: &[settings::Service], metrics: &Metrics) -> Result<Services, RootsError> {
        let service = |service: &settings::Service| {
            let web = Web::new(service.ca_file.as_deref())?;
            let settings::Protocol::HashCheckServer = service.protocol;
            Ok(Service {
                name: service.name.clone(),
                category: service.category.clone(),
                algorithms: service.algorithms,
                protocol: Protocol::HashCheckServer(HashCheckServer::new(web, service)),
                deadline: service.timeout,
                cache: Cache::new(service.cache_entries, service.cache_time),
                circuit: Circuit::default(),
                metrics: metrics.clone(),
            })
        };
        all.iter().map(service).collect::<Result<_, _>>().map(Services)
    }

    /// The algorithms that the services ask for.
    pub fn algorithms(&self) -> Algorithms {
        let all = |union: Algorithms, service: &Service| {
            Algorithm::ALL.into_iter().filter(|&a| service.algorithms.contains(a)).fold(union, Algorithms::with)
        };
        self.0.iter().fold(Algorithms::NONE, all)
    }

    /// What the services say of a payload. One that says yes counts, whatever the others do not say.
    pub async fn look_up(&self, digests: &Digests) -> Finding {
        let mut finding = Finding::Unlisted;
        for service in &self.0 {
            finding = finding.and(service.look_up(digests).await);
            if matches!(finding, Finding::Listed(_)) {
                break;
            }
        }
        finding
    }
}

impl Service {
    async fn look_up(&self, digests: &Digests) -> Finding {
        let deadline = Instant::now() + self.deadline;
        let mut undecidable = None;
        for algorithm in Algorithm::ALL.into_iter().filter(|&algorithm| self.algorithms.contains(algorithm)) {
            let Some(digest) = digests.get(algorithm) else {
                undecidable = Some(Undecidable::DigestMissing);
                continue;
            };
            match self.ask(&digest, deadline).await {
                Some(Some(category)) => {
                    let label =
                        Label { list: self.name.clone(), category, on_probation: false, payload: Mark::default() };
                    return Finding::Listed(vec![label]);
                }
                Some(None) => {}
                None => undecidable = Some(Undecidable::ServiceAway),
            }
        }
        undecidable.map_or(Finding::Unlisted, Finding::Undecidable)
    }

    /// The category of a digest, if the service has it; `None` where it does not answer.
    async fn ask(&self, digest: &Digest, deadline: Instant) -> Option<Option<String>> {
        let count = |result| self.metrics.asked(&self.name, result);
        if let Some(known) = self.cache.get(digest) {
            count("cached");
            return Some(known);
        }
        if !self.circuit.lets_through() {
            count("circuit_open");
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let started = Instant::now();
        let answer = timeout_at(deadline, self.protocol.look_up(digest, left)).await;
        self.metrics.asked_for(&self.name, started.elapsed());
        match answer.unwrap_or(Err(WebError::Silent)) {
            Ok(found) => {
                self.circuit.succeeded();
                let found = found.map(|category| category.unwrap_or_else(|| self.category.clone()));
                count(if found.is_some() { "listed" } else { "unlisted" });
                self.cache.put(digest, found.clone());
                Some(found)
            }
            Err(error) => {
                count("failed");
                if self.circuit.failed() {
                    tracing::error!(service = self.name, "it is not asked for a while: {error}");
                } else {
                    tracing::warn!(service = self.name, "it gave no answer: {error}");
                }
                None
            }
        }
    }
}
