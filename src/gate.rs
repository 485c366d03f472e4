//! What every request shares.

use crate::act::{Canary, Floods, ObserveAll, Quarantine, ReadBacks, Rechecks, Refusals, TenantHits};
use crate::ask::Services;
use crate::authenticate::Authenticator;
use crate::config::settings::{Limits, Mode, Settings};
use crate::decide::{Finding, Moment, OnUnavailable};
use crate::digest::{Algorithm, Algorithms, Digests};
use crate::error::Failure;
use crate::forward::{Origin, Resigning};
use crate::inspect::Decoded;
use crate::list::{Decision, Decisions};
use crate::multipart::Multipart;
use crate::record::Sinks;
use crate::route::Rules;
use crate::s3::target::OriginKind;
use std::sync::Arc;

/// The shared state of a gate.
pub struct Gate {
    /// The configuration.
    pub settings: Settings,
    /// For routing.
    pub rules: Rules,
    /// For finding the caller.
    pub authenticator: Authenticator,
    /// For signing anew.
    pub resigning: Resigning,
    /// The store behind us.
    pub origin: Arc<Origin>,
    /// Where records go, and the lists.
    pub sinks: Sinks,
    /// Policy refusals by address.
    pub refusals: Refusals,
    /// Uploads that come in parts.
    pub multipart: Arc<Multipart>,
    /// Objects that are being read back.
    pub read_backs: ReadBacks,
    /// Uploads that are looked up again.
    pub rechecks: Rechecks,
    /// Where matches are kept, if anywhere.
    pub quarantine: Option<Arc<Quarantine>>,
    /// Services that are asked about digests.
    pub services: Services,
    /// What operators have decided about entries.
    pub decisions: Decisions,
    /// Entries that hit too much.
    pub floods: Floods,
    /// Tenants that hit often.
    pub tenant_hits: TenantHits,
    /// Whether every match is let through.
    pub observe: ObserveAll,
    /// What the gate tests itself with.
    pub canary: Option<Canary>,
}

/// What had to be opened, and could fail, before there is a gate. Its fields are the gate's.
#[allow(missing_docs, reason = "they are the gate's")]
pub struct Opened {
    pub origin: Arc<Origin>,
    pub multipart: Arc<Multipart>,
    pub read_backs: ReadBacks,
    pub rechecks: Rechecks,
    pub quarantine: Option<Arc<Quarantine>>,
    pub services: Services,
    pub decisions: Decisions,
    pub observe: ObserveAll,
    pub canary: Option<Canary>,
}

impl Gate {
    /// Puts the parts together.
    pub fn new(settings: Settings, opened: Opened, sinks: Sinks) -> Gate {
        let Opened { origin, multipart, read_backs, rechecks, quarantine, services, decisions, observe, canary } =
            opened;
        Gate {
            rules: Rules::new(&settings),
            authenticator: Authenticator::new(&settings.authentication, settings.origin.region.as_deref()),
            resigning: Resigning::new(&settings.origin),
            refusals: Refusals::new(settings.limits.refusals_per_minute),
            origin,
            multipart,
            read_backs,
            rechecks,
            quarantine,
            services,
            decisions,
            floods: Floods::new(settings.flood),
            tenant_hits: TenantHits::new(settings.tenant_hits, &settings.authentication.users, &sinks.metrics),
            observe,
            canary,
            sinks,
            settings,
        }
    }

    /// Every bound.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// The algorithms that today's lists need.
    pub fn algorithms(&self) -> Algorithms {
        let needed = self.sinks.lists.current().algorithms().and(self.services.algorithms());
        // Who is told that all went well is told the ETag, too.
        if self.settings.policy.accepts() { needed.with(Algorithm::Md5) } else { needed }
    }

    /// What holds now, beside the policy. `on_unavailable` is what this kind of request allows.
    pub fn moment(&self, on_unavailable: OnUnavailable) -> Moment {
        Moment { on_unavailable, observe_all: self.observe.is_on(), ..Moment::ORDINARY }
    }

    /// What today's lists say of a payload, and where they say nothing, the services.
    pub async fn look_up(&self, digests: &Digests) -> Finding {
        if self.canary.as_ref().is_some_and(|canary| canary.is(digests)) {
            return Finding::Canary;
        }
        match self.sinks.lists.look_up(digests) {
            listed @ Finding::Listed(_) => self.heeding_vetoes(digests, listed),
            finding => self.heeding_vetoes(digests, finding.and(self.services.look_up(digests).await)),
        }
    }

    /// What operators have let through is listed no more; what is listed gets its mark.
    fn heeding_vetoes(&self, digests: &Digests, mut finding: Finding) -> Finding {
        if let Finding::Listed(labels) = &mut finding {
            let mark = self.decisions.mark(digests);
            if self.decisions.of(&mark) == Some(Decision::Veto) {
                self.sinks.metrics.vetoed();
                return Finding::Unlisted;
            }
            labels.iter_mut().for_each(|label| label.payload = mark);
        }
        finding
    }

    /// The same of a payload as it was sent, and as its readers get it. Services are asked only about what becomes an
    /// object: no call of another kind waits for them.
    ///
    /// # Errors
    /// A header says that it is encoded, it could not be decoded within the bounds, and the setting refuses that.
    pub async fn look_up_as_read(
        &self,
        digests: &Digests,
        decoded: Option<&Decoded>,
        becomes_object: bool,
    ) -> Result<Finding, Failure> {
        let look_up = async |digests: &Digests| {
            if becomes_object {
                return self.look_up(digests).await;
            }
            self.heeding_vetoes(digests, self.sinks.lists.look_up(digests))
        };
        let mut finding = look_up(digests).await;
        let Some(decoded) = decoded else { return Ok(finding) };
        self.sinks.metrics.decoded(decoded.label());
        for layer in &decoded.layers {
            finding = finding.and(look_up(layer).await);
        }
        if let Some(Err(error)) = decoded.archive
            && !matches!(finding, Finding::Listed(_))
        {
            return Err(Failure::Archive(error));
        }
        let unknown = decoded.bound.is_some() && decoded.declared && !matches!(finding, Finding::Listed(_));
        if unknown && self.settings.encodings.undecodable_refused { Err(Failure::Undecodable) } else { Ok(finding) }
    }

    /// Whether the origin is asked about a caller whom we do not know before one of their uploads is refused. SeaweedFS
    /// says 100 before it looks at the signature.
    pub fn asks_origin(&self) -> bool {
        self.settings.authentication.mode == Mode::PassThrough && self.settings.origin.kind != OriginKind::Seaweedfs
    }
}
