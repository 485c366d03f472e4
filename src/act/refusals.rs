//! How many policy refusals one address may draw: each tells a stranger whether a file is listed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are remembered at most; behind that, those whose window is over are forgotten.
const ADDRESSES_MAX: usize = 100_000;

/// Refusals by address in the current minute.
pub struct Refusals {
    per_minute: u32,
    windows: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Refusals {
    /// With so many a minute for each address.
    pub fn new(per_minute: u32) -> Refusals {
        Refusals { per_minute, windows: Mutex::default() }
    }

    /// Whether the address has drawn as many as it may.
    pub fn is_spent(&self, address: IpAddr) -> bool {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows
            .get(&network(address))
            .is_some_and(|(since, count)| since.elapsed() < WINDOW && *count >= self.per_minute)
    }

    /// Counts one.
    pub fn spend(&self, address: IpAddr) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= ADDRESSES_MAX {
            windows.retain(|_, (since, _)| since.elapsed() < WINDOW);
            if windows.len() >= ADDRESSES_MAX {
                windows.clear();
            }
        }
        let (since, count) = windows.entry(network(address)).or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() >= WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count = count.saturating_add(1);
    }
}

/// An IPv6 customer has a /64 at least, and could use another address for each try.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_spent_address_recovers_after_a_minute() {
        let refusals = Refusals::new(2);
        let (one, other): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        refusals.spend(one);
        assert!(!refusals.is_spent(one));
        refusals.spend("2001:db8::2".parse().unwrap());
        assert!(refusals.is_spent(one));
        assert!(!refusals.is_spent(other));
        tokio::time::advance(WINDOW).await;
        assert!(!refusals.is_spent(one));
        refusals.spend(one);
        assert!(!refusals.is_spent(one));
    }
}
