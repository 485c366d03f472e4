//! What the tests stand on: a client that can misbehave, stores to put objects into, the gate itself, and an origin that
//! follows a script.

pub(crate) mod client;
pub(crate) mod fake_origin;
pub(crate) mod gate;
pub(crate) mod io;
pub(crate) mod payload;
pub(crate) mod store;

use std::time::{Duration, Instant};

/// How long anything that must happen may take. Generous: a slow machine is no failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Asks again and again until `probe` yields something; panics with `what` when it has not by the deadline.
pub(crate) async fn eventually<T, F: AsyncFnMut() -> Option<T>>(what: &str, mut probe: F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A name that no other test of any run uses: for buckets.
pub(crate) fn unique(stem: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis() % 1_000_000_000;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("it-{stem}-{}-{since}-{count}", std::process::id())
}
