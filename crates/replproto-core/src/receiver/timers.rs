//! Everything that a link waits for, in one table.

use core::time::Duration;

use crate::time::Instant;

/// What a deadline is for. When several are due they fire in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The next ping. Always armed while the link is open, so an open link always has a deadline.
    Ping,
    /// The confirmation that waits for others to join it.
    Confirm,
    /// The peer to say anything. Armed while reading is not paused.
    Silence,
    /// The subscription to be answered. Armed until it is; link time.
    Setup,
    /// The application to make progress. Armed while reading is paused.
    PauseStall,
    /// The application to become ready. Armed while it is not.
    NotReady,
    /// The silent blob that has been silent longest. Armed while there is any that could be; link time.
    BlobIdle,
    /// The link to be renewed for a blob that failed. Armed while the cursor is held by one.
    BlobGap,
    /// The peer to go on with a message that it has begun. Armed from its beginning until its end; link time.
    Message,
    /// The base copy to go on. Armed from its start until its last row; link time.
    CopyProgress,
    /// The base copy to become durable. Armed from its last row until it is.
    CopyFinish,
    /// The close frame behind a DISCONNECT. Armed from that on until it comes.
    LastWord,
    /// The end of a drain. Armed while draining.
    Drain,
}

impl Timer {
    const ALL: [Self; 13] = [
        Self::Ping,
        Self::Confirm,
        Self::Silence,
        Self::Setup,
        Self::PauseStall,
        Self::NotReady,
        Self::BlobIdle,
        Self::BlobGap,
        Self::Message,
        Self::CopyProgress,
        Self::CopyFinish,
        Self::LastWord,
        Self::Drain,
    ];

    /// Whether this timer stands still while reading is paused: then the peer cannot be heard.
    const fn is_link_time(self) -> bool {
        matches!(
            self,
            Self::Setup | Self::BlobIdle | Self::Message | Self::CopyProgress
        )
    }
}

/// Deadlines, and the link's own clock: link time is the time during which reading was not paused.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    /// Link timers in link time since the start, the others in host time.
    deadlines: [Option<Duration>; Timer::ALL.len()],
    now: Instant,
    paused_before: Duration,
    paused_since: Option<Instant>,
    /// Nothing is due before this: most inputs come long before, and need not look at each deadline.
    quiet_until: Instant,
}

impl Timers {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            deadlines: [None; Timer::ALL.len()],
            now,
            paused_before: Duration::ZERO,
            paused_since: None,
            quiet_until: Instant::ZERO,
        }
    }

    pub(super) const fn now(&self) -> Instant {
        self.now
    }

    pub(super) const fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// The link's own clock.
    pub(super) fn link_now(&self) -> Duration {
        self.paused_since
            .unwrap_or(self.now)
            .since(Instant::ZERO)
            .saturating_sub(self.paused_before)
    }

    /// Whether reading is paused.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused_since.is_some()
    }

    /// Reading is paused or goes on. Gives whether that is new.
    pub(super) fn set_paused(&mut self, is_paused: bool) -> bool {
        match (self.paused_since, is_paused) {
            (None, true) => self.paused_since = Some(self.now),
            (Some(since), false) => {
                self.paused_before += self.now.since(since);
                self.paused_since = None;
                self.quiet_until = Instant::ZERO;
            }
            _ => return false,
        }
        true
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    /// Arms the timer, from now.
    pub(super) fn set(&mut self, timer: Timer, after: Duration) {
        let base = if timer.is_link_time() {
            self.link_now()
        } else {
            self.now.since(Instant::ZERO)
        };
        self.arm(timer, Some(base.saturating_add(after)));
    }

    fn arm(&mut self, timer: Timer, deadline: Option<Duration>) {
        self.deadlines[timer as usize] = deadline;
        if let Some(at) = self.due_at(timer) {
            self.quiet_until = self.quiet_until.min(at);
        }
    }

    /// Arms the timer unless it is armed.
    pub(super) fn start(&mut self, timer: Timer, after: Duration) {
        if !self.is_set(timer) {
            self.set(timer, after);
        }
    }

    /// Arms a host timer for a given moment.
    pub(super) fn set_at(&mut self, timer: Timer, at: Instant) {
        debug_assert!(!timer.is_link_time());
        self.arm(timer, Some(at.since(Instant::ZERO)));
    }

    /// The same, unless it fires before.
    pub(super) fn set_at_most(&mut self, timer: Timer, at: Instant) {
        let set = self.due_at(timer);
        self.set_at(timer, set.map_or(at, |set| set.min(at)));
    }

    /// Arms a link timer for a moment of link time.
    pub(super) fn set_link_time(&mut self, timer: Timer, at: Option<Duration>) {
        debug_assert!(timer.is_link_time());
        self.arm(timer, at);
    }

    pub(super) const fn is_set(&self, timer: Timer) -> bool {
        self.deadlines[timer as usize].is_some()
    }

    /// When this timer fires, if nothing changes.
    fn due_at(&self, timer: Timer) -> Option<Instant> {
        let deadline = self.deadlines[timer as usize]?;
        if !timer.is_link_time() {
            return Some(Instant::ZERO.after(deadline));
        }
        if self.paused_since.is_some() {
            return None;
        }
        Some(Instant::ZERO.after(deadline.saturating_add(self.paused_before)))
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        Timer::ALL
            .into_iter()
            .filter_map(|timer| self.due_at(timer))
            .min()
    }

    /// Takes the first timer that is due.
    #[inline]
    pub(super) fn pop_due(&mut self) -> Option<Timer> {
        if self.now < self.quiet_until {
            return None;
        }
        self.search_due()
    }

    fn search_due(&mut self) -> Option<Timer> {
        let due = Timer::ALL
            .into_iter()
            .find(|timer| self.due_at(*timer).is_some_and(|at| at <= self.now));
        match due {
            Some(timer) => self.clear(timer),
            None => self.quiet_until = self.next().unwrap_or(Instant::from_micros(u64::MAX)),
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// Whatever was remembered of when nothing is due: what fires is what a look at each deadline finds.
        #[test]
        fn a_timer_fires_when_it_is_due_and_not_before(
            steps in prop::collection::vec((0..13_usize, 0..30_u64, 0..20_u64, 0..4_u8), 0..100),
        ) {
            let mut timers = Timers::new(at(5));
            for (index, pass, after, what) in steps {
                let timer = Timer::ALL[index];
                timers.set_now(timers.now().after(Duration::from_secs(pass)));
                match what {
                    0 => timers.clear(timer),
                    1 => timers.set(timer, Duration::from_secs(after)),
                    _ => {
                        timers.set_paused(what == 2);
                    }
                }
                let due = |timer: &Timer| timers.due_at(*timer).is_some_and(|at| at <= timers.now());
                let expected: Vec<Timer> = Timer::ALL.into_iter().filter(due).collect();
                let fired: Vec<Timer> = core::iter::from_fn(|| timers.pop_due()).collect();
                prop_assert_eq!(fired, expected);
            }
        }
    }

    const fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn link_timers_stand_still_while_paused() {
        let mut timers = Timers::new(at(10));
        timers.set(Timer::BlobIdle, Duration::from_secs(120));
        timers.set(Timer::Ping, Duration::from_secs(30));
        assert_eq!(timers.next(), Some(at(40)));
        timers.set_now(at(20));
        assert!(timers.set_paused(true));
        timers.set_now(at(320));
        assert_eq!(timers.pop_due(), Some(Timer::Ping));
        assert_eq!(timers.pop_due(), None);
        assert_eq!(timers.next(), None);
        assert!(timers.set_paused(false) && !timers.set_paused(false));
        // 10 seconds had passed before the pause; 110 are left.
        assert_eq!(timers.next(), Some(at(430)));
        timers.set_now(at(430));
        assert_eq!(timers.pop_due(), Some(Timer::BlobIdle));
    }

    #[test]
    fn pausing_often_does_not_extend_a_link_timer() {
        let mut timers = Timers::new(at(0));
        timers.set(Timer::Setup, Duration::from_secs(60));
        let mut active = 0;
        for step in 0.. {
            timers.set_now(at(step));
            if timers.pop_due().is_some() {
                break;
            }
            let pause = step % 2 == 0;
            timers.set_paused(pause);
            active += u64::from(!pause);
        }
        assert!((60..=61).contains(&active), "{active}");
    }
}
