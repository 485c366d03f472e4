//! How often one tenant hits: whoever tries file after file to learn what is listed, or uploads a collection, hits often.
//!
//! Only callers that were verified count: a name that anybody can claim proves nothing. Tenants come from the
//! configuration, so there are never more of them than that names.

use crate::config::settings::{self, User};
use crate::record::{Alarm, Alarms, Metrics};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// The counts of all tenants that hit lately.
pub struct TenantHits {
    bounds: settings::TenantHits,
    tenants: Mutex<HashMap<String, Window>>,
}

struct Window {
    since: Instant,
    hits: u64,
    is_over: bool,
}

impl TenantHits {
    /// Counts nothing yet; every tenant of `users` has a 0 in the metric that alerts can rise from.
    pub fn new(bounds: settings::TenantHits, users: &[User], metrics: &Metrics) -> TenantHits {
        for tenant in users.iter().filter_map(|user| user.tenant.as_deref()) {
            metrics.tenant_matched(tenant, 0);
        }
        TenantHits { bounds, tenants: Mutex::default() }
    }

    /// Counts a hit of a verified caller of this tenant.
    pub fn hit(&self, tenant: &str, metrics: &Metrics, alarms: &Alarms) {
        metrics.tenant_matched(tenant, 1);
        if self.is_now_over(tenant) {
            let (hits, window) = (self.bounds.hits, self.bounds.window.as_secs());
            let detail = format!("tenant {tenant} has hit more than {hits} times within {window} seconds");
            alarms.raise_about(Alarm::TenantHits, tenant, &detail);
        }
    }

    /// Ends the alarms of tenants that have not hit so often any more.
    pub fn refresh(&self, alarms: &Alarms) {
        for tenant in self.calmed() {
            alarms.clear_about(Alarm::TenantHits, &tenant);
        }
    }

    fn is_now_over(&self, tenant: &str) -> bool {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let window = tenants.entry(tenant.to_owned()).or_insert_with(Window::new);
        if window.since.elapsed() >= self.bounds.window {
            let is_over = window.is_over;
            *window = Window { is_over, ..Window::new() };
        }
        window.hits += 1;
        let is_over = window.hits > self.bounds.hits;
        let is_news = is_over && !window.is_over;
        window.is_over |= is_over;
        is_news
    }

    /// Those whose last window has ended without a further hit, or with few.
    fn calmed(&self) -> Vec<String> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let mut calmed = Vec::new();
        tenants.retain(|tenant, window| {
            let ended = window.since.elapsed() >= self.bounds.window;
            if ended && window.is_over {
                calmed.push(tenant.clone());
            }
            !ended
        });
        calmed
    }
}

impl Window {
    fn new() -> Window {
        Window { since: Instant::now(), hits: 0, is_over: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_tenant_is_over_once_and_calms_down() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        let bounds = settings::TenantHits { hits: 2, window: Duration::from_secs(60) };
        let hits = TenantHits::new(bounds, &[], &metrics);
        let over: Vec<bool> = ["a", "a", "b", "a", "a"].map(|tenant| hits.is_now_over(tenant)).into();
        assert_eq!(over, [false, false, false, true, false]);
        assert_eq!(hits.calmed(), [""; 0], "within the window");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!hits.is_now_over("a"), "a window of its own");
        assert_eq!(hits.calmed(), [""; 0], "it hits still");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(hits.calmed(), ["a"]);
        assert_eq!(hits.calmed(), [""; 0], "once");
    }
}
