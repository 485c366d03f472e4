//! Answers of a service, for a while.

use crate::digest::Digest;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The category of a digest, if the service has it.
type Answer = Option<String>;

/// Answers by digest, at most so many, and not older than they may be.
///
/// In two generations: what is looked up moves to the young one; when that is full, it becomes the old one, whose answers
/// go.
pub(super) struct Cache {
    entries: usize,
    time: Duration,
    generations: Mutex<[HashMap<Digest, (Instant, Answer)>; 2]>,
}

impl Cache {
    pub(super) fn new(entries: usize, time: Duration) -> Cache {
        Cache { entries, time, generations: Mutex::default() }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Answer> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        let kept = young.get(digest).cloned().or_else(|| old.remove(digest));
        let (since, answer) = kept.filter(|(since, _)| since.elapsed() < self.time)?;
        insert(&mut generations, self.entries, digest, (since, answer.clone()));
        Some(answer)
    }

    pub(super) fn put(&self, digest: &Digest, answer: Answer) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        insert(&mut generations, self.entries, digest, (Instant::now(), answer));
    }
}

fn insert(
    generations: &mut [HashMap<Digest, (Instant, Answer)>; 2],
    entries: usize,
    digest: &Digest,
    kept: (Instant, Answer),
) {
    if generations[0].len() >= (entries / 2).max(1) && !generations[0].contains_key(digest) {
        generations[1] = std::mem::take(&mut generations[0]);
    }
    generations[0].insert(*digest, kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digests;

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_for_a_while_and_never_too_many() {
        let cache = Cache::new(10, Duration::from_secs(60));
        let digest = |number: u64| Digest::Sha256(Digests::of(&number.to_le_bytes()).sha256);
        cache.put(&digest(0), Some("a:b".into()));
        for number in 1..100 {
            assert_eq!(cache.get(&digest(0)), Some(Some("a:b".into())), "what is asked for stays");
            assert_eq!(cache.get(&digest(number)), None);
            cache.put(&digest(number), None);
            assert_eq!(cache.get(&digest(number)), Some(None));
            let generations = cache.generations.lock().unwrap();
            assert!(generations[0].len() + generations[1].len() <= 10);
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((cache.get(&digest(0)), cache.get(&digest(99))), (None, None));
    }
}
