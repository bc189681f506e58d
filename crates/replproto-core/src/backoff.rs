//! The delay before the next dial.

use core::time::Duration;

/// The delay before each dial of one link: it doubles from dial to dial and starts again after real progress
/// (`protocol.md` section 12.3).
///
/// An open socket is no progress: a peer that accepts and fails at once would be dialled in a tight loop. Progress is a
/// cursor that has advanced, or half a minute of health after set-up.
///
/// ```
/// use core::time::Duration;
/// use replproto_core::Backoff;
///
/// let mut backoff = Backoff::default();
/// assert_eq!(backoff.next_delay(), Duration::from_millis(500));
/// assert_eq!(backoff.next_delay(), Duration::from_secs(1));
/// backoff.cursor_advanced();
/// assert_eq!(backoff.next_delay(), Duration::from_millis(500));
/// ```
///
/// With [full jitter](Self::with_full_jitter) each delay is a random part of that, so that many links which lost their peer at
/// the same moment do not all come back at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    jitter: Option<Jitter>,
}

/// A small generator of numbers (SplitMix64): the same seed gives the same delays.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Jitter(u64);

impl Jitter {
    /// A duration from zero to this one.
    fn below(&mut self, longest: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        // The high half of the product is spread evenly.
        Duration::from_micros(((u128::from(bits) * u128::from(micros)) >> 64) as u64)
    }
}

impl Backoff {
    /// How long a link has to be healthy after its set-up for the delay to start again.
    pub const HEALTHY_AFTER: Duration = Duration::from_secs(30);

    /// No delay is shorter, but for jitter: nothing is dialled in a tight loop.
    pub const SHORTEST: Duration = Duration::from_millis(1);

    /// Delays that double from `first` to `longest`. If `longest` is less than `first`, all of them are `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        let (first, longest) = (first.max(Self::SHORTEST), longest.max(Self::SHORTEST));
        Self {
            first,
            longest,
            next: first,
            jitter: None,
        }
    }

    /// Each delay is drawn evenly between zero and what it would be. The seed should be another for each link.
    #[must_use]
    pub const fn with_full_jitter(mut self, seed: u64) -> Self {
        self.jitter = Some(Jitter(seed));
        self
    }

    /// The same, with jitter of its own for one of many links. Without jitter nothing changes.
    #[must_use]
    pub fn of_link(mut self, number: u64) -> Self {
        if let Some(Jitter(seed)) = &mut self.jitter {
            // The next numbers of two generators a step apart would be the same.
            *seed ^= number.wrapping_mul(0xd1b5_4a32_d192_ed03);
        }
        self
    }

    /// How long to wait now, before the next dial.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next.min(self.longest);
        self.next = delay.saturating_mul(2);
        match &mut self.jitter {
            Some(jitter) => jitter.below(delay),
            None => delay,
        }
    }

    /// The durable cursor has advanced.
    pub const fn cursor_advanced(&mut self) {
        self.next = self.first;
    }

    /// A link has ended that was healthy for this long after its set-up.
    pub fn was_healthy_for(&mut self, duration: Duration) {
        if duration >= Self::HEALTHY_AFTER {
            self.next = self.first;
        }
    }
}

impl Default for Backoff {
    /// From 500 ms to 30 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn delays(backoff: &mut Backoff, count: usize) -> Vec<u128> {
        (0..count)
            .map(|_| backoff.next_delay().as_millis())
            .collect()
    }

    #[test]
    fn the_delays_of_the_protocol() {
        assert_eq!(
            delays(&mut Backoff::default(), 9),
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
        );
    }

    #[test]
    fn progress_starts_them_again() {
        let mut backoff = Backoff::default();
        delays(&mut backoff, 5);
        backoff.cursor_advanced();
        assert_eq!(delays(&mut backoff, 2), [500, 1000]);
    }

    #[test]
    fn only_real_health_starts_them_again() {
        let mut backoff = Backoff::default();
        delays(&mut backoff, 3);
        backoff.was_healthy_for(Duration::from_millis(29_999));
        assert_eq!(delays(&mut backoff, 1), [4000]);
        backoff.was_healthy_for(Duration::from_secs(30));
        assert_eq!(delays(&mut backoff, 1), [500]);
    }

    #[test]
    fn jitter_spreads_the_delays_and_a_seed_repeats_them() {
        let mut plain = Backoff::default();
        let mut one = Backoff::default().with_full_jitter(1);
        let mut again = one.clone();
        let mut other = Backoff::default().with_full_jitter(2);
        let (mut sum, mut longest, mut is_other) = (0.0, 0.0, false);
        for _ in 0..1000 {
            let (most, delay) = (plain.next_delay(), one.next_delay());
            assert!(delay <= most);
            assert_eq!(again.next_delay(), delay);
            is_other |= other.next_delay() != delay;
            sum += delay.as_secs_f64();
            longest += most.as_secs_f64();
        }
        assert!(is_other);
        let mut first = Backoff::default().with_full_jitter(1).of_link(1);
        let mut second = Backoff::default().with_full_jitter(1).of_link(2);
        assert_ne!(delays(&mut first, 9), delays(&mut second, 9));
        let mut plain = Backoff::default().of_link(2);
        assert_eq!(delays(&mut plain, 3), [500, 1000, 2000]);
        assert!(
            (0.45..0.55).contains(&(sum / longest)),
            "{sum} of {longest}"
        );
    }

    #[test]
    fn no_delay_is_zero() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::from_millis(3));
        assert_eq!(delays(&mut backoff, 4), [1, 2, 3, 3]);
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(delays(&mut backoff, 2), [1, 1]);
    }

    #[test]
    fn no_delay_is_longer_than_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(3), Duration::from_secs(2));
        assert_eq!(delays(&mut backoff, 3), [2000, 2000, 2000]);
    }
}
