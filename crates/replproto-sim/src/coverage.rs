//! What a batch of worlds has reached. A mark that stays at zero means that a part of the world does nothing.

use replproto_core::error::Watchdog;
use replproto_core::{Input, PauseReason, PauseReasons, Stats};

use crate::faults::Fault;

/// A batch of fewer worlds may miss a mark by chance.
pub const WORLDS: u64 = 5000;

/// What a link is at, as its host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// The socket is not open yet.
    Dialled,
    /// The peer has not said its name.
    Greeting,
    /// The subscription is not answered.
    Subscribing,
    Copying,
    Following,
    Draining,
    Closed,
}

impl LinkState {
    const NAMES: [&str; 7] = [
        "dialled",
        "greeting",
        "subscribing",
        "copying",
        "following",
        "draining",
        "closed",
    ];
}

/// The kinds of inputs, in the order of [`kind`].
const INPUTS: [&str; 21] = [
    "connected",
    "peer_closed",
    "transport_lost",
    "message",
    "text_message",
    "too_large",
    "heard",
    "pong",
    "consumed",
    "committed",
    "blob_written",
    "blob_saved",
    "blob_failed",
    "skipped",
    "ready",
    "not_ready",
    "drain",
    "shutdown",
    "allowance",
    "blob_aborted",
    "tick",
];

pub(crate) const fn kind(input: &Input) -> usize {
    match input {
        Input::Connected => 0,
        Input::PeerClosed { .. } => 1,
        Input::TransportLost => 2,
        Input::Message { .. } => 3,
        Input::TextMessage => 4,
        Input::TooLarge { .. } => 5,
        Input::Heard { .. } => 6,
        Input::Pong => 7,
        Input::Consumed { .. } => 8,
        Input::Committed(_) => 9,
        Input::BlobWritten { .. } => 10,
        Input::BlobSaved(_) => 11,
        Input::BlobFailed { .. } => 12,
        Input::Skipped { .. } => 13,
        Input::Ready => 14,
        Input::NotReady => 15,
        Input::Drain { .. } => 16,
        Input::Shutdown => 17,
        Input::Allowance { .. } => 18,
        Input::BlobAborted(_) => 19,
        _ => 20,
    }
}

/// Why a link in this state is never given this input.
fn never_given(state: usize, input: usize) -> Option<&'static str> {
    match (LinkState::NAMES[state], INPUTS[input]) {
        ("dialled" | "closed", "connected") => None,
        (_, "connected") => Some("a socket opens once"),
        (
            "dialled",
            "message" | "text_message" | "too_large" | "heard" | "pong" | "peer_closed",
        ) => Some("nothing arrives before the socket is open"),
        _ => None,
    }
}

const SETS: usize = 1 << PauseReason::ALL.len();

/// How often each mark was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    faults: [u64; Fault::ALL.len()],
    pauses: [u64; SETS],
    inputs: [[u64; INPUTS.len()]; LinkState::NAMES.len()],
    stats: Stats,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            faults: [0; Fault::ALL.len()],
            pauses: [0; SETS],
            inputs: [[0; INPUTS.len()]; LinkState::NAMES.len()],
            stats: Stats::default(),
        }
    }
}

impl Coverage {
    pub(crate) const fn strike(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(crate) fn pause(&mut self, reasons: PauseReasons) {
        self.pauses[index(reasons)] += 1;
    }

    pub(crate) const fn input(&mut self, state: LinkState, input: &Input) {
        self.inputs[state as usize][kind(input)] += 1;
    }

    pub(crate) fn link(&mut self, stats: &Stats) {
        self.stats.absorb(stats);
    }

    /// Adds what another world has reached.
    pub fn absorb(&mut self, other: &Self) {
        let inputs = self.inputs.as_flattened_mut();
        let counts = self.faults.iter_mut().chain(&mut self.pauses).chain(inputs);
        let inputs = other.inputs.as_flattened();
        for (count, more) in counts.zip(other.faults.iter().chain(&other.pauses).chain(inputs)) {
            *count += more;
        }
        self.stats.absorb(&other.stats);
    }

    /// Every mark with its count, and for one that cannot be reached the reason.
    pub fn marks(&self) -> Vec<(String, u64, Option<&'static str>)> {
        let faults = Fault::ALL.into_iter().zip(self.faults);
        let mut marks: Vec<_> = faults
            .map(|(fault, count)| (format!("fault {}", fault.as_str()), count, None))
            .collect();
        for (set, count) in self.pauses.iter().enumerate().skip(1) {
            let has = |reason: PauseReason| set >> reason.index() & 1 == 1;
            let names = PauseReason::ALL.into_iter().filter(|reason| has(*reason));
            let names: Vec<&str> = names.map(PauseReason::as_str).collect();
            let others = has(PauseReason::ConsumerQueue) || has(PauseReason::CommitBacklog);
            let unreachable = (has(PauseReason::BlobStream) && others).then_some(
                "no command is both an event and a chunk, and after either pause none follows",
            );
            marks.push((format!("pause {}", names.join("+")), *count, unreachable));
        }
        for (state, counts) in self.inputs.iter().enumerate() {
            for (input, count) in counts.iter().enumerate() {
                let name = format!("input {} when {}", INPUTS[input], LinkState::NAMES[state]);
                marks.push((name, *count, never_given(state, input)));
            }
        }
        marks.extend(self.counters());
        marks
    }

    fn counters(&self) -> impl Iterator<Item = (String, u64, Option<&'static str>)> {
        let stats = &self.stats;
        [
            ("messages", stats.messages),
            ("bytes", stats.bytes),
            ("unknown_commands", stats.unknown_commands),
            ("records", stats.records),
            ("transactions", stats.transactions),
            ("checkpoints", stats.checkpoints),
            ("events", stats.events),
            ("skipped_unknown", stats.skipped_unknown),
            ("skipped_local", stats.skipped_local),
            ("skipped_unwanted", stats.skipped_unwanted),
            ("skipped_undecodable", stats.skipped_undecodable),
            ("skipped_by_host", stats.skipped_by_host),
            ("commits", stats.commits),
            ("confirmations", stats.confirmations),
            ("blobs_opened", stats.blobs_opened),
            ("blobs_saved", stats.blobs_saved),
            ("blobs_aborted", stats.blobs_aborted),
            ("blobs_held", stats.blobs_held),
            ("blobs_gone", stats.blobs_gone),
            ("blob_bytes", stats.blob_bytes),
            ("chunks_dropped", stats.chunks_dropped),
            ("late_acknowledgements", stats.late_acknowledgements),
            ("pings", stats.pings),
        ]
        .into_iter()
        .map(|(name, count)| (format!("counter {name}"), count, None))
        .chain(
            Watchdog::NAMES
                .into_iter()
                .zip(stats.watchdogs)
                .map(|(name, count)| (format!("watchdog {name}"), count, None)),
        )
    }

    /// The marks that were not reached and can be.
    pub fn missing(&self) -> Vec<String> {
        self.marks()
            .into_iter()
            .filter(|(_, count, unreachable)| *count == 0 && unreachable.is_none())
            .map(|(name, ..)| name)
            .collect()
    }
}

fn index(reasons: PauseReasons) -> usize {
    reasons
        .iter()
        .fold(0, |set, reason| set | 1 << reason.index())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_missing_until_it_is_reached() {
        let mut coverage = Coverage::default();
        let missing = coverage.missing().len();
        assert!(coverage.missing().contains(&"fault cut".into()));
        coverage.strike(Fault::Cut);
        coverage.link(&Stats::default());
        assert!(!coverage.missing().contains(&"fault cut".into()));
        assert_eq!(coverage.missing().len(), missing - 1);
        let mut total = Coverage::default();
        total.absorb(&coverage);
        assert_eq!(total, coverage);
    }
}
