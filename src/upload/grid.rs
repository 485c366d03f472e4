//! When a refusal leaves: at a time that says nothing of its reason.
//!
//! A match is looked up, may be kept as evidence, and the origin may be asked about its caller; a refusal by the head
//! alone is ready at once. All of them leave on multiples of `limits.refusal_grid` after the head came.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Waits for the moment at which a refusal may leave whose head came at `came` and whose body was there at `ended`.
pub(super) async fn wait(came: Instant, ended: Instant, grid: Duration) {
    let sent = ended.saturating_duration_since(came);
    sleep_until(came + leaves_after(sent, came.elapsed(), grid)).await;
}

/// The first multiple of `grid` that is half of it behind the end of the body at least.
///
/// Without that half a client could learn the reason by its own timing: it would send its last byte just before a
/// multiple, which the quick refusals still reach and the slow ones miss. This way the multiple follows from what the
/// client itself did, as long as `ready` comes within that half.
fn leaves_after(sent: Duration, ready: Duration, grid: Duration) -> Duration {
    let earliest = ready.max(sent + grid / 2).as_nanos();
    let multiples = earliest.div_ceil(grid.as_nanos().max(1));
    grid.saturating_mul(u32::try_from(multiples).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_follows_from_the_client_alone() {
        let ms = Duration::from_millis;
        for (sent, leaves) in [(0, 100), (49, 100), (51, 200), (99, 200), (149, 200), (1_234, 1_300)] {
            for took in [0, 1, 30, 50] {
                assert_eq!(leaves_after(ms(sent), ms(sent + took), ms(100)), ms(leaves), "{sent} {took}");
            }
        }
        assert_eq!(leaves_after(ms(0), ms(101), ms(100)), ms(200), "one that is late leaves on the grid, too");
        assert_eq!(leaves_after(ms(5), ms(7), Duration::ZERO), Duration::ZERO, "no grid");
    }
}
