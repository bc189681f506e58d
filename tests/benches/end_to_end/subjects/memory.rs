//! What memory itself takes: the limits of anything that is done with messages in memory.

use std::hint::black_box;
use std::time::Instant;

use super::Outcome;
use crate::frames::{self, Frames};
use crate::plan::Plan;

/// Copies each message into the same buffer. The source is read once from end to end, so it comes from main memory unless
/// the set fits into the cache; the buffer is as large as the largest message, so it is in the cache unless that is large.
pub(super) fn copy(frames: &Frames, plan: Plan) -> Outcome {
    let longest = frames.messages(Plan::ONCE).map(|it| it.len()).max();
    let mut buffer = vec![0; longest.unwrap_or_default()];
    let mut messages = 0;
    let start = Instant::now();
    for message in frames.messages(plan) {
        buffer[..message.len()].copy_from_slice(&message);
        black_box(&mut buffer);
        messages += 1;
    }
    Outcome::since(start).messages(messages)
}

/// Reads the length of each entry and takes a slice of the message for each: what any receiver has to do that hands out
/// records one by one without copying them.
pub(super) fn slice(frames: &Frames, plan: Plan) -> Outcome {
    let mut records = 0;
    let start = Instant::now();
    for message in frames.messages(plan) {
        if frames::is_transaction(&message) {
            for entry in frames::entries(frames::without_terminator(&message)) {
                black_box(message.slice(entry));
                records += 1;
            }
        }
    }
    Outcome::since(start).records(records)
}
