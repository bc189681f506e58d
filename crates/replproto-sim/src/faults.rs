//! Which faults a world has. A seed first turns a random half of them off, so that a run has few kinds at strong rates.

use std::fmt;

use crate::rng::Rng;

/// The faults of a world, and how often they strike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Messages arrive in parts.
    pub split: bool,
    /// The link is cut, between messages or inside one.
    pub cut: bool,
    /// The receiving process dies, and with it all that is not durable.
    pub crash: bool,
    /// The consumer stalls now and then.
    pub stall: bool,
    /// The consumer takes one event at a time.
    pub slow: bool,
    /// The application says that it is not ready.
    pub not_ready: bool,
    /// Transactions become durable, and are acknowledged, out of order.
    pub reorder: bool,
    /// The blob store fails one save of this many; 0: none.
    pub failing_saves: u64,
    /// The source cannot read one blob of this many; 0: none.
    pub failing_reads: u64,
    /// The publisher forgets the beginning of its log.
    pub purge: bool,
    /// The publisher begins its copy again on the same link.
    pub recopy: bool,
    /// The link is drained and closed by its host.
    pub drain: bool,
}

impl Faults {
    /// The faults of a seed.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut on = || rng.chance(500);
        let (save, read) = (on(), on());
        Self {
            split: on(),
            cut: on(),
            crash: on(),
            stall: on(),
            slow: on(),
            not_ready: on(),
            reorder: on(),
            failing_saves: if save { 7 } else { 0 },
            failing_reads: if read { 11 } else { 0 },
            purge: on(),
            recopy: on(),
            drain: on(),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("split", self.split),
            ("cut", self.cut),
            ("crash", self.crash),
            ("stall", self.stall),
            ("slow", self.slow),
            ("not_ready", self.not_ready),
            ("reorder", self.reorder),
            ("failing_saves", self.failing_saves > 0),
            ("failing_reads", self.failing_reads > 0),
            ("purge", self.purge),
            ("recopy", self.recopy),
            ("drain", self.drain),
        ];
        let on: Vec<&str> = named
            .iter()
            .filter(|(_, on)| *on)
            .map(|(name, _)| *name)
            .collect();
        f.write_str(if on.is_empty() { "none" } else { "" })?;
        f.write_str(&on.join(", "))
    }
}
