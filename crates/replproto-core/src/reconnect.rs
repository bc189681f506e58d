//! When a link is dialled.

use core::time::Duration;

use crate::backoff::Backoff;
use crate::id::Epoch;
use crate::time::Instant;

/// Keeps one link up: says when to dial, and that there is at most one session at a time.
///
/// A session begins with a dial and ends once, whatever ended it: a host's name without an address, a refused upgrade, a close
/// of either side, a watchdog, an error of the application. Each end leads to exactly one dial later, after the delay of
/// [`Backoff`], until [`unsubscribe`](Self::unsubscribe). What is told of a session that is over changes nothing.
///
/// ```
/// use core::time::Duration;
/// use replproto_core::{Backoff, Epoch, Instant, Reconnect};
///
/// let mut now = Instant::ZERO;
/// let mut link = Reconnect::new(Backoff::default(), Epoch(0), now);
/// let first = link.poll_dial(now).expect("the first dial is due at once");
/// assert_eq!(link.poll_dial(now), None, "one session at a time");
///
/// // The dial came to nothing.
/// link.ended(now, first, Duration::ZERO);
/// assert_eq!(link.deadline(), Some(now.after(Duration::from_millis(500))));
/// now = now.after(Duration::from_millis(500));
/// let second = link.poll_dial(now).expect("due");
///
/// // The link is not wanted any more, and ends.
/// link.unsubscribe();
/// link.ended(now, second, Duration::ZERO);
/// assert!(link.is_over());
/// assert_eq!(link.deadline(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Reconnect {
    backoff: Backoff,
    state: State,
    /// Of the newest session.
    epoch: Epoch,
    is_wanted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is no session; the next begins then.
    Waiting(Instant),
    /// There is one.
    Live,
    Over,
}

impl Reconnect {
    /// A link that is to be dialled at once. `last` is the epoch of the newest session before, or zero.
    pub const fn new(backoff: Backoff, last: Epoch, now: Instant) -> Self {
        Self {
            backoff,
            state: State::Waiting(now),
            epoch: last,
            is_wanted: true,
        }
    }

    /// Begins a session if one is due, and gives its epoch, which is higher than any before. The session has to be
    /// [`ended`](Self::ended), once everything of it is gone.
    pub fn poll_dial(&mut self, now: Instant) -> Option<Epoch> {
        match self.state {
            State::Waiting(at) if at <= now => {
                self.state = State::Live;
                self.epoch.0 += 1;
                Some(self.epoch)
            }
            _ => None,
        }
    }

    /// When the next dial is due. There is one exactly while the link is wanted and there is no session.
    pub const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(at) => Some(at),
            State::Live | State::Over => None,
        }
    }

    /// The durable cursor has advanced by what this session brought.
    pub fn cursor_advanced(&mut self, epoch: Epoch) {
        if epoch == self.epoch {
            self.backoff.cursor_advanced();
        }
    }

    /// The session is over, and nothing of it is left: no task, no timer, no commit under way. It was healthy for `set_up_for`:
    /// from the answer to its subscription on. Gives the delay before the next dial; `None` if there will be none, or if the
    /// session was over already.
    pub fn ended(&mut self, now: Instant, epoch: Epoch, set_up_for: Duration) -> Option<Duration> {
        if self.state != State::Live || epoch != self.epoch {
            return None;
        }
        if !self.is_wanted {
            self.state = State::Over;
            return None;
        }
        self.backoff.was_healthy_for(set_up_for);
        let delay = self.backoff.next_delay();
        self.state = State::Waiting(now.after(delay));
        Some(delay)
    }

    /// The link is not wanted any more: there is no other dial. A session that lives is for the host to end.
    pub const fn unsubscribe(&mut self) {
        self.is_wanted = false;
        if let State::Waiting(_) = self.state {
            self.state = State::Over;
        }
    }

    /// Whether there is no session and will be none.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    /// Dials when it is due, and ends the session at once. Gives when the dials were.
    fn dials(link: &mut Reconnect, count: usize) -> Vec<u64> {
        (0..count)
            .map(|_| {
                let now = link.deadline().unwrap();
                let epoch = link.poll_dial(now).unwrap();
                link.ended(now, epoch, Duration::ZERO);
                now.as_micros() / 1000
            })
            .collect()
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_delays() {
        let mut link = Reconnect::new(Backoff::default(), Epoch(0), at(0));
        assert_eq!(
            dials(&mut link, 8),
            [0, 500, 1500, 3500, 7500, 15_500, 31_500, 61_500]
        );
    }

    #[test]
    fn an_open_link_is_no_progress_and_a_healthy_one_is() {
        let mut link = Reconnect::new(Backoff::default(), Epoch(0), at(0));
        dials(&mut link, 3);
        for (healthy, delay) in [(29_999, 4000), (30_000, 500)] {
            let now = link.deadline().unwrap();
            let epoch = link.poll_dial(now).unwrap();
            let healthy = Duration::from_millis(healthy);
            let delay = Duration::from_millis(delay);
            assert_eq!(link.ended(now, epoch, healthy), Some(delay));
        }
    }

    #[test]
    fn only_the_session_itself_makes_progress() {
        let mut link = Reconnect::new(Backoff::default(), Epoch(0), at(0));
        dials(&mut link, 2);
        let now = link.deadline().unwrap();
        let epoch = link.poll_dial(now).unwrap();
        link.cursor_advanced(Epoch(1));
        assert_eq!(link.ended(now, Epoch(1), Duration::ZERO), None);
        assert_eq!(
            link.ended(now, epoch, Duration::ZERO),
            Some(Duration::from_secs(2))
        );
        assert_eq!(
            link.ended(now, epoch, Duration::ZERO),
            None,
            "it has ended once"
        );
        let now = link.deadline().unwrap();
        let epoch = link.poll_dial(now).unwrap();
        link.cursor_advanced(epoch);
        assert_eq!(
            link.ended(now, epoch, Duration::ZERO),
            Some(Duration::from_millis(500))
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pass(u64),
        Dial,
        Advance(u64),
        End(u64),
        Unsubscribe,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..70_000_u64).prop_map(Step::Pass),
            4 => Just(Step::Dial),
            1 => (0..3_u64).prop_map(Step::Advance),
            4 => (0..3_u64).prop_map(Step::End),
            1 => Just(Step::Unsubscribe),
        ]
    }

    proptest! {
        /// Whatever happens, and whatever comes late: at most one session, and exactly one deadline while there is none and
        /// the link is wanted.
        #[test]
        fn a_wanted_link_has_a_session_or_a_deadline(
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut link = Reconnect::new(Backoff::default(), Epoch(0), at(0));
            let (mut now, mut newest, mut lives, mut is_wanted) = (at(0), 0, false, true);
            for step in steps {
                match step {
                    Step::Pass(millis) => now = now.after(Duration::from_millis(millis)),
                    Step::Dial => {
                        let is_due = link.deadline().is_some_and(|at| at <= now);
                        let begun = link.poll_dial(now);
                        prop_assert_eq!(begun.is_some(), is_due);
                        if let Some(epoch) = begun {
                            prop_assert!(!lives && is_wanted);
                            prop_assert_eq!(epoch.0, newest + 1);
                            newest += 1;
                            lives = true;
                        }
                    }
                    Step::Advance(back) => link.cursor_advanced(Epoch(newest.saturating_sub(back))),
                    Step::End(back) => {
                        let is_it = lives && back == 0;
                        let delay = link.ended(now, Epoch(newest.saturating_sub(back)), Duration::ZERO);
                        prop_assert_eq!(delay.is_some(), is_it && is_wanted);
                        lives &= !is_it;
                        if let Some(delay) = delay {
                            prop_assert_eq!(link.deadline(), Some(now.after(delay)));
                        }
                    }
                    Step::Unsubscribe => {
                        link.unsubscribe();
                        is_wanted = false;
                    }
                }
                prop_assert_eq!(link.deadline().is_some(), is_wanted && !lives);
                prop_assert_eq!(link.is_over(), !is_wanted && !lives);
            }
        }
    }
}
