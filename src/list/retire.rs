//! Dropping what is large away from requests.
//!
//! The last reader of an old table may be a request. To unmap gigabytes, or to free a map with a million rows, would hold
//! up everything on its thread; so it only hands the table over.

use std::ops::Deref;
use std::sync::LazyLock;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;

/// Something that is dropped by a thread of its own, whoever drops it.
pub struct Retiring<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Retiring<T> {
    /// Wraps it.
    pub fn new(inner: T) -> Retiring<T> {
        Retiring(Some(inner))
    }
}

impl<T: Send + 'static> Deref for Retiring<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only Drop takes it out")
    }
}

impl<T: Send + 'static> Drop for Retiring<T> {
    fn drop(&mut self) {
        let (Some(inner), Some(thread)) = (self.0.take(), &*THREAD) else { return };
        // Without the thread, or with one that is far behind, it is dropped here: late for a request, but right.
        if let Err(TrySendError::Full(inner) | TrySendError::Disconnected(inner)) = thread.try_send(Box::new(inner)) {
            drop(inner);
        }
    }
}

/// What waits to be dropped; lists are exchanged seldom.
const WAITING_MAX: usize = 64;

static THREAD: LazyLock<Option<SyncSender<Box<dyn Send>>>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::sync_channel::<Box<dyn Send>>(WAITING_MAX);
    let started = thread::Builder::new().name("hashgate-retire".to_owned()).spawn(move || {
        for retired in receiver {
            drop(retired);
        }
    });
    started.is_ok().then_some(sender)
});

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::ThreadId;

    struct Tells(SyncSender<ThreadId>);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn another_thread_drops_it() {
        let (sender, receiver) = mpsc::sync_channel(1);
        drop(Retiring::new(Tells(sender)));
        assert_ne!(receiver.recv().unwrap(), thread::current().id());
    }
}
