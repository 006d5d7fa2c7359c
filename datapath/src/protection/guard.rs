//! Buckets and counters of one service, from one generation of tables to the next.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::utils::CachePadded;

use super::SynCookies;
use super::alarm::Alarm;
use super::cookie::{self, Cookies};
use super::rate::{Bucket, Rate};
use super::sources::Sources;
use crate::counters::Counter;
use wire::{FiveTuple, TcpOffer};

/// What a service remembers of those who come. What all workers write to stands apart from what they only read.
#[derive(Debug, Default)]
pub struct Guard {
    workers: Box<[WorkerGuard]>,
    all: CachePadded<Bucket>,
    /// Made by control when a rate per source is first wanted.
    sources: OnceLock<Sources>,
    cookies: Cookies,
    alarm: Alarm,
}

/// What one worker counts for one service. Only that worker writes; anybody reads.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerGuard {
    /// Packets of sources that the lists keep out.
    pub denied: Counter,
    /// New flows beyond the rate of their source.
    pub over_rate_per_source: Counter,
    /// New flows beyond the rate of the service.
    pub over_rate: Counter,
    /// SYNs that were answered by a cookie.
    pub cookies_sent: Counter,
    /// Cookies that came back: flows that were opened for them.
    pub cookies_accepted: Counter,
    /// Segments without a flow that brought no cookie of ours while some were about.
    pub cookies_rejected: Counter,
    half_open: AtomicU64,
}

/// Sums over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardTotals {
    /// See [`WorkerGuard::denied`].
    pub denied: u64,
    /// See [`WorkerGuard::over_rate_per_source`].
    pub over_rate_per_source: u64,
    /// See [`WorkerGuard::over_rate`].
    pub over_rate: u64,
    /// Flows of which the handshake is not complete, now.
    pub half_open: u64,
    /// See [`WorkerGuard::cookies_sent`].
    pub cookies_sent: u64,
    /// See [`WorkerGuard::cookies_accepted`].
    pub cookies_accepted: u64,
    /// See [`WorkerGuard::cookies_rejected`].
    pub cookies_rejected: u64,
    /// Sources of which the bucket was forgotten before it was full.
    pub evicted_sources: u64,
}

impl Guard {
    /// Nothing counted, all buckets full.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| WorkerGuard::default()).collect();
        Self { workers, ..Self::default() }
    }

    /// Makes the buckets of sources, once; for control.
    pub fn prepare_sources(&self) {
        self.sources.get_or_init(Sources::new);
    }

    /// What one worker counts; `None` when there are fewer workers.
    #[must_use]
    pub fn worker(&self, index: usize) -> Option<&WorkerGuard> {
        self.workers.get(index)
    }

    /// Whether the source has a token.
    pub(crate) fn has_of(&self, source: IpAddr, rate: Rate, now: Duration) -> bool {
        self.sources.get().is_none_or(|sources| sources.has(source, rate, now.into()))
    }

    /// Whether the service has a token.
    pub(crate) fn has(&self, rate: Rate, now: Duration) -> bool {
        self.all.has(rate, now.into())
    }

    /// Takes a token of the source.
    pub(crate) fn take_of(&self, source: IpAddr, rate: Rate, now: Duration) -> bool {
        self.sources.get().is_none_or(|sources| sources.take(source, rate, now.into()))
    }

    /// Takes a token of the service.
    pub(crate) fn take(&self, rate: Rate, now: Duration) -> bool {
        self.all.take(rate, now.into())
    }

    /// Flows of which the handshake is not complete, over all workers.
    #[must_use]
    pub fn half_open(&self) -> u64 {
        self.workers.iter().map(|worker| worker.half_open.load(Ordering::Relaxed)).sum()
    }

    /// Whether SYNs are to be answered by cookies now.
    pub(crate) fn is_baking(&self, when: SynCookies, now: Duration) -> bool {
        match when {
            SynCookies::Never => false,
            SynCookies::Always => true,
            SynCookies::Above { half_open } => {
                self.alarm.is_on(u64::from(half_open), now, || self.half_open(), || self.unanswered())
            }
        }
    }

    /// Whether SYNs are answered by cookies: as `Guard::is_baking`, for who only looks.
    #[must_use]
    pub fn bakes_now(&self, when: SynCookies, now: Duration) -> bool {
        match when {
            SynCookies::Never => false,
            SynCookies::Always => true,
            SynCookies::Above { .. } => self.alarm.was_on(Duration::ZERO, now),
        }
    }

    /// Whether a cookie may still come back.
    pub(crate) fn expects_cookies(&self, when: SynCookies, now: Duration) -> bool {
        match when {
            SynCookies::Never => false,
            SynCookies::Always => true,
            SynCookies::Above { .. } => self.alarm.was_on(cookie::LIFETIME, now),
        }
    }

    /// Cookies that were sent and have not come back.
    fn unanswered(&self) -> u64 {
        // A worker may hear the answer to what another one has sent.
        self.sum(|worker| &worker.cookies_sent).saturating_sub(self.sum(|worker| &worker.cookies_accepted))
    }

    /// Our sequence number for a SYN.
    pub(crate) fn bake(&self, client: &FiveTuple, isn: u32, offer: TcpOffer, now: Duration) -> u32 {
        self.cookies.bake(client, isn, offer, now)
    }

    /// What the SYN said that got this sequence number.
    pub(crate) fn read_cookie(&self, client: &FiveTuple, isn: u32, cookie: u32, now: Duration) -> Option<TcpOffer> {
        self.cookies.read(client, isn, cookie, now)
    }

    /// Sums over all workers.
    #[must_use]
    pub fn totals(&self) -> GuardTotals {
        GuardTotals {
            denied: self.sum(|worker| &worker.denied),
            over_rate_per_source: self.sum(|worker| &worker.over_rate_per_source),
            over_rate: self.sum(|worker| &worker.over_rate),
            half_open: self.half_open(),
            cookies_sent: self.sum(|worker| &worker.cookies_sent),
            cookies_accepted: self.sum(|worker| &worker.cookies_accepted),
            cookies_rejected: self.sum(|worker| &worker.cookies_rejected),
            evicted_sources: self.sources.get().map_or(0, Sources::evicted),
        }
    }

    fn sum(&self, counter: fn(&WorkerGuard) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| counter(worker).get()).sum()
    }
}

impl WorkerGuard {
    /// A flow has begun its handshake (1) or ended it (-1).
    pub(crate) fn half_open(&self, change: i64) {
        let now = self.half_open.load(Ordering::Relaxed);
        self.half_open.store(now.saturating_add_signed(change), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_sum_over_workers() {
        let guard = Guard::new(2);
        let worker = |index| guard.worker(index).unwrap();
        worker(0).denied.add(2);
        worker(1).denied.add(1);
        worker(1).over_rate.add(4);
        worker(0).over_rate_per_source.add(8);
        worker(0).half_open(1);
        worker(1).half_open(1);
        worker(1).half_open(-1);
        worker(1).half_open(-1);
        let expected =
            GuardTotals { denied: 3, over_rate_per_source: 8, over_rate: 4, half_open: 1, ..GuardTotals::default() };
        assert_eq!(guard.totals(), expected);
        assert!(guard.worker(2).is_none());
    }

    #[test]
    fn what_one_worker_sends_another_may_hear_the_answer_to() {
        let guard = Guard::new(2);
        guard.worker(0).unwrap().cookies_sent.add(100);
        guard.worker(1).unwrap().cookies_accepted.add(99);
        assert_eq!(guard.unanswered(), 1);
    }

    #[test]
    fn without_buckets_every_source_passes() {
        let (guard, rate) = (Guard::new(1), Rate::new(1, Duration::from_secs(1), 1));
        let source = IpAddr::from([198, 19, 0, 2]);
        let taken = |guard: &Guard| (0..3).filter(|_| guard.take_of(source, rate, Duration::from_secs(5))).count();
        assert_eq!(taken(&guard), 3);
        guard.prepare_sources();
        assert_eq!(taken(&guard), 1);
    }
}
