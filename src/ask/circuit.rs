//! A circuit breaker: who has failed again and again is left alone for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 5;

/// How long it stays open before one request may try.
const OPEN_FOR: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Circuit(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    /// When the next request may try.
    try_at: Option<Instant>,
}

impl Circuit {
    /// Whether a request may go. While it is open, one in [`OPEN_FOR`] may.
    pub(super) fn lets_through(&self) -> bool {
        let mut state = self.state();
        match state.try_at {
            None => true,
            Some(at) if at <= Instant::now() => {
                state.try_at = Some(Instant::now() + OPEN_FOR);
                true
            }
            Some(_) => false,
        }
    }

    pub(super) fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// Counts a failure; true where it opens by it.
    pub(super) fn failed(&self) -> bool {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let opens = state.failures >= FAILURES_MAX && state.try_at.is_none();
        if opens {
            state.try_at = Some(Instant::now() + OPEN_FOR);
        }
        opens
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_tries_and_closes() {
        let circuit = Circuit::default();
        for _ in 1..FAILURES_MAX {
            assert!(circuit.lets_through() && !circuit.failed());
        }
        assert!(circuit.failed() && !circuit.lets_through());
        tokio::time::advance(OPEN_FOR).await;
        assert!(circuit.lets_through() && !circuit.lets_through(), "one may try");
        circuit.failed();
        assert!(!circuit.lets_through());
        tokio::time::advance(OPEN_FOR).await;
        assert!(circuit.lets_through());
        circuit.succeeded();
        assert!(circuit.lets_through() && circuit.lets_through());
    }
}
