//! The threads that compute, behind a bounded queue: when it is full the answer is "later", at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct Full;

/// A job that did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the computation broke")]
pub struct Broke;

/// Threads and their queue.
pub struct Pool {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    clock: Instant,
    /// For each thread, when its present job began: milliseconds on `clock` plus one, 0 when it has none.
    began_ms: Arc<[AtomicU64]>,
}

impl Pool {
    /// Starts `threads` threads; at most `queue` jobs wait (at least one).
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(threads: usize, queue: usize) -> std::io::Result<Self> {
        let (jobs, receiver) = sync_channel::<Job>(queue.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        let waiting = Arc::new(AtomicUsize::new(0));
        let clock = Instant::now();
        let began_ms: Arc<[AtomicU64]> = (0..threads.max(1)).map(|_| AtomicU64::new(0)).collect();
        for n in 0..began_ms.len() {
            let (receiver, waiting) = (Arc::clone(&receiver), Arc::clone(&waiting));
            let began_ms = Arc::clone(&began_ms);
            std::thread::Builder::new()
                .name(format!("infer-{n}"))
                .spawn(move || work(&receiver, &waiting, &began_ms[n], clock))?;
        }
        Ok(Self { jobs, waiting, clock, began_ms })
    }
    /// Jobs that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
    /// How long the longest of the running jobs has been running at `now`.
    #[must_use]
    pub fn longest(&self, now: Instant) -> Duration {
        let began = self.began_ms.iter().map(|b| b.load(Relaxed)).filter(|&b| b > 0).min();
        let since = now.saturating_duration_since(self.clock);
        began.map_or(Duration::ZERO, |b| since.saturating_sub(Duration::from_millis(b)))
    }
    /// Queues `job`; nothing is computed when its caller has gone before its turn.
    ///
    /// # Errors
    /// [`Full`] at once. The receiver answers an error when the job panicked or was not wanted any more.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Broke>>, Full> {
        let (tell, told) = oneshot::channel();
        let job = Box::new(move || {
            if !tell.is_closed() {
                // A caller that went away meanwhile does not want to know.
                let _ = tell.send(catch_unwind(AssertUnwindSafe(job)).map_err(|_| Broke));
            }
        });
        self.waiting.fetch_add(1, Relaxed);
        match self.jobs.try_send(job) {
            Ok(()) => Ok(told),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.waiting.fetch_sub(1, Relaxed);
                Err(Full)
            }
        }
    }
}

fn work(receiver: &Mutex<Receiver<Job>>, waiting: &AtomicUsize, began_ms: &AtomicU64, clock: Instant) {
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        waiting.fetch_sub(1, Relaxed);
        let now_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        began_ms.store(now_ms.saturating_add(1), Relaxed);
        job();
        began_ms.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_says_so_and_a_panic_stays_inside() {
        let pool = Pool::start(1, 1).unwrap();
        let (release, gate) = sync_channel::<()>(0);
        let (started, running) = sync_channel::<()>(0);
        let first = pool.run(move || (started.send(()), gate.recv()).1.is_ok()).unwrap();
        running.recv().unwrap();
        let second = pool.run(|| -> u8 { panic!("on purpose") }).unwrap();
        assert_eq!(pool.run(|| 0).err(), Some(Full));
        assert_eq!(pool.waiting(), 1);
        let hour = Duration::from_secs(3600);
        assert!(pool.longest(Instant::now() + hour) > hour / 2, "a job that never ends is noticed");
        release.send(()).unwrap();
        assert_eq!(first.blocking_recv().unwrap(), Ok(true));
        assert_eq!(second.blocking_recv().unwrap(), Err(Broke));
        assert_eq!(pool.run(|| 7).unwrap().blocking_recv().unwrap(), Ok(7), "the thread lives on");
    }

    #[test]
    fn a_job_nobody_waits_for_is_not_computed() {
        let pool = Pool::start(1, 4).unwrap();
        let (release, gate) = sync_channel::<()>(0);
        let first = pool.run(move || gate.recv().is_ok()).unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&ran);
        drop(pool.run(move || seen.fetch_add(1, Relaxed)).unwrap());
        release.send(()).unwrap();
        assert_eq!(first.blocking_recv().unwrap(), Ok(true));
        pool.run(|| ()).unwrap().blocking_recv().unwrap().unwrap();
        assert_eq!(ran.load(Relaxed), 0);
    }
}
