//! How slow a client may be.

use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A client that is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooSlow {
    /// It sent nothing for the idle time-out.
    #[error("the client sent nothing for too long")]
    Silent,
    /// Its average rate is below the least.
    #[error("the client sends too slowly")]
    Crawling,
    /// The body takes longer than any may.
    #[error("the upload takes too long")]
    Endless,
}

/// Measures how long we wait for the client; time that we wait for the origin does not count against it.
#[derive(Debug)]
pub struct Pace {
    idle_timeout: Duration,
    rate_min: u64,
    total_max: Duration,
    waited: Duration,
    received: u64,
}

impl Pace {
    /// The bounds: longest silence, least average rate in bytes a second, longest waiting in total.
    pub fn new(idle_timeout: Duration, rate_min: u64, total_max: Duration) -> Pace {
        Pace { idle_timeout, rate_min, total_max, waited: Duration::ZERO, received: 0 }
    }

    /// Awaits the client's next bytes.
    pub async fn watch<T>(&mut self, next: impl Future<Output = T>) -> Result<T, TooSlow> {
        let left = self.total_max.checked_sub(self.waited).ok_or(TooSlow::Endless)?;
        let started = Instant::now();
        let next = timeout(self.idle_timeout.min(left), next).await;
        self.waited += started.elapsed();
        match next {
            Err(_) if self.waited >= self.total_max => Err(TooSlow::Endless),
            Err(_) => Err(TooSlow::Silent),
            Ok(next) => Ok(next),
        }
    }

    /// Counts bytes that came, and looks at the average.
    pub fn received(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.received += bytes as u64;
        if self.crawls() { Err(TooSlow::Crawling) } else { Ok(()) }
    }

    /// The rate is looked at only after the first idle time-out: short stalls at the start are ordinary.
    fn crawls(&self) -> bool {
        self.waited > self.idle_timeout && (self.received as f64) < self.rate_min as f64 * self.waited.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use tokio::time::sleep;

    fn pace() -> Pace {
        Pace::new(Duration::from_secs(10), 100, Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_body() {
        assert_eq!(pace().watch(pending::<()>()).await, Err(TooSlow::Silent));
    }

    #[tokio::test(start_paused = true)]
    async fn crawling_ends_a_body_and_a_steady_trickle_does_not() {
        for (bytes, expected) in [(400, Err(TooSlow::Crawling)), (600, Ok(()))] {
            let mut pace = pace();
            let mut last = Ok(());
            for _ in 0..4 {
                pace.watch(sleep(Duration::from_secs(5))).await.unwrap();
                last = pace.received(bytes);
            }
            assert_eq!(last, expected, "{bytes} bytes every 5 seconds");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_body_is_endless() {
        let mut pace = Pace::new(Duration::from_secs(10), 0, Duration::from_secs(12));
        assert_eq!(pace.watch(sleep(Duration::from_secs(9))).await, Ok(()));
        assert_eq!(pace.watch(pending::<()>()).await, Err(TooSlow::Endless));
    }

    #[tokio::test(start_paused = true)]
    async fn time_spent_elsewhere_does_not_count() {
        let mut pace = pace();
        sleep(Duration::from_secs(1000)).await;
        assert_eq!(pace.watch(ready(())).await, Ok(()));
    }
}
