//! The parts of messages that are held: those not decoded yet, and those that something handed out still points into.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::flow::Gauge;

/// Charged for each part besides its bytes, so that a flood of tiny parts is bounded by the same budget.
pub(crate) const PART_OVERHEAD: u64 = 128;

/// Neighbouring parts of one message are joined while they are together at most this long: a message that comes byte by
/// byte must not cost [`PART_OVERHEAD`] for each of them.
const COALESCE: usize = 4096;

/// For how many parts and events there is room while nothing is held: what a burst has taken beyond it is given back.
pub(super) const ROOM_KEPT: usize = 64;

/// The charge of one part, for as long as anything holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot(u32);

/// How many things hold each part. A part is charged to the gauge from its arrival until nothing holds it, because the
/// smallest slice of it keeps all of it in memory.
#[derive(Debug, Default)]
struct Holds {
    slots: Vec<Hold>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    count: u32,
    charge: u64,
}

impl Holds {
    fn open(&mut self, charge: u64) -> Slot {
        let hold = Hold { count: 1, charge };
        if let Some(index) = self.free.pop() {
            self.slots[index as usize] = hold;
            Slot(index)
        } else {
            self.slots.push(hold);
            Slot(self.slots.len() as u32 - 1)
        }
    }

    /// Gives what is no longer charged.
    fn release(&mut self, slot: Slot) -> Option<u64> {
        let hold = &mut self.slots[slot.0 as usize];
        hold.count -= 1;
        if hold.count > 0 {
            return None;
        }
        let charge = hold.charge;
        self.free.push(slot.0);
        if self.free.len() == self.slots.len() && self.slots.len() > ROOM_KEPT {
            // Nothing is held: give back what a burst of parts has taken.
            self.slots = Vec::new();
            self.free = Vec::new();
        }
        Some(charge)
    }
}

#[derive(Debug)]
struct Part {
    bytes: PartBytes,
    /// Bytes decoded already. `at <= bytes.len()`.
    at: usize,
    slot: Slot,
    /// The message ends with this part.
    is_last: bool,
}

#[derive(Debug)]
enum PartBytes {
    /// As the host gave them.
    Shared(Bytes),
    /// Small parts, joined.
    Joined(Vec<u8>),
}

impl PartBytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }

    fn extend(&mut self, more: &[u8]) {
        match self {
            Self::Joined(joined) => joined.extend_from_slice(more),
            Self::Shared(bytes) => {
                let mut joined = Vec::with_capacity(bytes.len() + more.len());
                joined.extend_from_slice(bytes);
                joined.extend_from_slice(more);
                *self = Self::Joined(joined);
            }
        }
    }
}

impl Part {
    fn rest(&self) -> &[u8] {
        &self.bytes.as_slice()[self.at..]
    }

    /// The bytes as something that can be shared.
    fn shared(&mut self) -> &Bytes {
        if let PartBytes::Joined(joined) = &mut self.bytes {
            self.bytes = PartBytes::Shared(core::mem::take(joined).into());
        }
        match &self.bytes {
            PartBytes::Shared(bytes) => bytes,
            PartBytes::Joined(_) => unreachable!("made shared just above"),
        }
    }
}

/// The queue of parts, seen as a queue of messages of which only the first can be looked at.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    parts: VecDeque<Part>,
    holds: Holds,
    /// Bytes of the first message that are here and not taken.
    ready: u64,
    /// The last part of the first message is here.
    is_complete: bool,
    /// The newest part is not the last of its message.
    is_mid_message: bool,
    /// Slices that have not been released.
    slices_out: u64,
}

impl Inbox {
    /// Stores a part.
    pub(crate) fn push(&mut self, bytes: Bytes, is_last: bool, gauge: &mut Gauge) {
        let is_first_message = !self.is_complete;
        let continues = self.is_mid_message;
        self.is_mid_message = !is_last;
        if is_first_message {
            self.ready += bytes.len() as u64;
            self.is_complete = is_last;
        }
        if continues
            && let Some(back) = self.parts.back_mut()
            && !back.is_last
        {
            let length = back.bytes.as_slice().len();
            if length + bytes.len() <= COALESCE {
                back.bytes.extend(&bytes);
                back.is_last = is_last;
                let more = bytes.len() as u64;
                self.holds.slots[back.slot.0 as usize].charge += more;
                gauge.add(0, more);
                return;
            }
        }
        if bytes.is_empty() && !is_last {
            return;
        }
        let charge = bytes.len() as u64 + PART_OVERHEAD;
        gauge.add(1, charge);
        self.parts.push_back(Part {
            bytes: PartBytes::Shared(bytes),
            at: 0,
            slot: self.holds.open(charge),
            is_last,
        });
    }

    /// Whether there is any (part of a) message.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a message has begun and has not been taken to its end.
    pub(crate) fn is_within_message(&self) -> bool {
        !self.is_empty() || self.is_mid_message
    }

    /// Bytes of the first message that are here and not taken.
    pub(crate) const fn ready(&self) -> u64 {
        self.ready
    }

    /// Whether the first message is here to its end.
    pub(crate) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The next bytes of the first message, as far as they lie together.
    #[inline]
    pub(crate) fn front(&self) -> &[u8] {
        self.parts.front().map_or(&[], Part::rest)
    }

    /// Makes [`Inbox::front`] at least this long, copying where parts meet. `length <= ready()`.
    #[inline]
    pub(crate) fn join(&mut self, length: usize, gauge: &mut Gauge) {
        if self.front().len() < length {
            self.join_parts(length, gauge);
        }
    }

    /// Brings together what is here of the first `length` bytes, of which more will come, so that these are not there twice when
    /// all of them are.
    pub(crate) fn gather(&mut self, length: usize, gauge: &mut Gauge) {
        if (self.front().len() as u64) < self.ready {
            self.join_parts(length, gauge);
        }
    }

    /// Goes on with the memory of the first part if that is its own. It grows to `length`, but by no more than twice what is
    /// here: that is only what the peer claims.
    #[inline(never)]
    fn join_parts(&mut self, length: usize, gauge: &mut Gauge) {
        let Some(first) = self.parts.pop_front() else {
            return;
        };
        let (mut joined, slot) = match first.bytes {
            PartBytes::Joined(joined) if first.at == 0 => (joined, first.slot),
            _ => {
                let rest = first.rest();
                let here = usize::try_from(self.ready).unwrap_or(usize::MAX);
                let mut joined = Vec::with_capacity(length.min(here));
                joined.extend_from_slice(rest);
                let charge = joined.len() as u64 + PART_OVERHEAD;
                gauge.add(1, charge);
                let slot = self.holds.open(charge);
                self.drop_hold(first.slot, gauge);
                (joined, slot)
            }
        };
        let mut is_last = first.is_last;
        while joined.len() < length
            && !is_last
            && let Some(part) = self.parts.front_mut()
        {
            let rest = part.rest();
            let taken = rest.len().min(length - joined.len());
            if joined.capacity() - joined.len() < taken {
                let wanted = joined.len().min(length - joined.len());
                joined.reserve_exact(wanted.max(taken));
            }
            joined.extend_from_slice(&rest[..taken]);
            part.at += taken;
            self.holds.slots[slot.0 as usize].charge += taken as u64;
            gauge.add(0, taken as u64);
            if part.rest().is_empty() {
                is_last = part.is_last;
                self.pop(gauge);
            }
        }
        self.parts.push_front(Part {
            bytes: PartBytes::Joined(joined),
            at: 0,
            slot,
            is_last,
        });
    }

    fn pop(&mut self, gauge: &mut Gauge) {
        if let Some(part) = self.parts.pop_front() {
            self.drop_hold(part.slot, gauge);
        }
        if self.parts.is_empty() {
            self.parts.shrink_to(ROOM_KEPT);
        }
    }

    /// Passes over bytes that lie together. `count <= front().len()`.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize, gauge: &mut Gauge) {
        if count == 0 {
            return;
        }
        self.ready -= count as u64;
        if let Some(part) = self.parts.front_mut() {
            part.at += count;
            if part.rest().is_empty() {
                if part.is_last {
                    // It stays until its message is left, to mark where it ends, but without what it held.
                    part.bytes = PartBytes::Shared(Bytes::new());
                    part.at = 0;
                } else {
                    self.pop(gauge);
                }
            }
        }
    }

    /// A shared slice of the front, and a hold on its part that must be given back with [`Inbox::release`]. When more is
    /// held than the budget allows, a slice of less than a quarter of its part is copied instead: it would keep all of
    /// the part.
    #[inline]
    pub(crate) fn slice(
        &mut self,
        start: usize,
        end: usize,
        gauge: &Gauge,
    ) -> (Bytes, Option<Slot>) {
        // Nothing points nowhere: an empty slice keeps no part in memory.
        let Some(part) = self.parts.front_mut().filter(|_| start < end) else {
            return (Bytes::new(), None);
        };
        let (start, end) = (part.at + start, part.at + end);
        let bytes = part.shared();
        if gauge.is_above_bytes() && (end - start) * 4 < bytes.len() {
            return (Bytes::copy_from_slice(&bytes[start..end]), None);
        }
        let slice = bytes.slice(start..end);
        self.holds.slots[part.slot.0 as usize].count += 1;
        self.slices_out += 1;
        (slice, Some(part.slot))
    }

    /// Gives back the hold of a slice.
    #[inline]
    pub(crate) fn release(&mut self, slot: Slot, gauge: &mut Gauge) {
        self.slices_out -= 1;
        self.drop_hold(slot, gauge);
    }

    #[inline]
    fn drop_hold(&mut self, slot: Slot, gauge: &mut Gauge) {
        if let Some(charge) = self.holds.release(slot) {
            gauge.sub(1, charge);
        }
    }

    /// Whether slices of parts are held outside, which will be given back without more bytes from the peer.
    pub(crate) const fn has_slices_out(&self) -> bool {
        self.slices_out > 0
    }

    /// Passes over what is here of the first message, at most `most` bytes. Gives how many.
    pub(crate) fn skip(&mut self, most: u64, gauge: &mut Gauge) -> u64 {
        let mut left = most.min(self.ready);
        let skipped = left;
        while left > 0 {
            let front = self.front().len();
            let count = usize::try_from(left).map_or(front, |left| left.min(front));
            self.advance(count, gauge);
            left -= count as u64;
        }
        skipped
    }

    /// Leaves the first message, all of whose bytes have been taken.
    pub(crate) fn next_message(&mut self, gauge: &mut Gauge) {
        debug_assert!(self.is_complete && self.ready == 0);
        self.pop(gauge);
        self.is_complete = false;
        for part in &self.parts {
            self.ready += part.rest().len() as u64;
            if part.is_last {
                self.is_complete = true;
                break;
            }
        }
    }

    /// Lets go of all that has not been taken.
    pub(crate) fn clear(&mut self, gauge: &mut Gauge) {
        self.skip(u64::MAX, gauge);
        while self.is_complete {
            self.next_message(gauge);
            self.skip(u64::MAX, gauge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Level, Marks};
    use alloc::vec;
    use proptest::prelude::*;

    fn gauge(high: u64) -> Gauge {
        let level = |bytes| Level {
            items: Level::UNBOUNDED,
            bytes,
        };
        Gauge::new(Marks::new(level(high), level(high / 2)))
    }

    /// Feeds messages in the given pieces and takes them out again in others.
    fn run(
        messages: &[Vec<u8>],
        cuts: &[usize],
        takes: &[usize],
        high: u64,
    ) -> (Vec<Vec<u8>>, Gauge) {
        let mut gauge = gauge(high);
        let mut inbox = Inbox::default();
        let mut cuts = cuts.iter().copied().cycle();
        for message in messages {
            let mut rest = Bytes::copy_from_slice(message);
            loop {
                let cut = cuts
                    .next()
                    .unwrap_or(7)
                    .clamp(1, rest.len().max(1))
                    .min(rest.len());
                let part = rest.split_to(cut);
                inbox.push(part, rest.is_empty(), &mut gauge);
                if rest.is_empty() {
                    break;
                }
            }
        }
        let mut takes = takes.iter().copied().cycle();
        let mut out = Vec::new();
        let mut held = Vec::new();
        while !inbox.is_empty() {
            let mut message = Vec::new();
            while inbox.ready() > 0 {
                let want = takes.next().unwrap_or(3).clamp(1, inbox.ready() as usize);
                if want % 3 == 0 {
                    inbox.gather(want + 100, &mut gauge);
                }
                inbox.join(want, &mut gauge);
                let (bytes, slot) = inbox.slice(0, want, &gauge);
                message.extend_from_slice(&bytes);
                held.extend(slot);
                inbox.advance(want, &mut gauge);
            }
            assert!(inbox.is_complete());
            inbox.next_message(&mut gauge);
            out.push(message);
        }
        for slot in held {
            inbox.release(slot, &mut gauge);
        }
        (out, gauge)
    }

    proptest! {
        #[test]
        fn gives_back_what_it_got_and_ends_uncharged(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 0..6),
            cuts in prop::collection::vec(1..6000usize, 1..10),
            takes in prop::collection::vec(1..3000usize, 1..10),
            high in 1..20_000u64,
        ) {
            let (out, gauge) = run(&messages, &cuts, &takes, high);
            prop_assert_eq!(out, messages);
            prop_assert_eq!(gauge.level(), Level { items: 0, bytes: 0 });
        }
    }

    #[test]
    fn a_message_that_comes_byte_by_byte_is_joined() {
        let mut gauge = gauge(1 << 20);
        let mut inbox = Inbox::default();
        for i in 0..100_000u32 {
            inbox.push(Bytes::from(vec![i as u8]), i == 99_999, &mut gauge);
        }
        let level = gauge.level();
        assert!(level.items < 60 && level.bytes < 110_000, "{level:?}");
    }

    #[test]
    fn what_is_gathered_as_it_comes_is_there_once() {
        let mut gauge = gauge(1 << 20);
        let mut inbox = Inbox::default();
        for i in 0..100_u32 {
            inbox.push(Bytes::from(vec![i as u8; 10_000]), false, &mut gauge);
            inbox.gather(1_500_000, &mut gauge);
            let here = 10_000 * (u64::from(i) + 1);
            assert_eq!(inbox.front().len() as u64, here);
            let (bytes, items) = (here + PART_OVERHEAD, 1);
            assert_eq!(gauge.level(), Level { items, bytes });
        }
        let PartBytes::Joined(joined) = &inbox.parts[0].bytes else {
            panic!("{:?}", inbox.parts[0].bytes);
        };
        assert!(joined.capacity() <= 1_500_000);
        let before = inbox.front().as_ptr();
        inbox.join(1_000_000, &mut gauge);
        assert_eq!(inbox.front().as_ptr(), before);
    }

    #[test]
    fn a_small_slice_pins_its_part_until_it_is_released() {
        let mut gauge = gauge(1 << 20);
        let mut inbox = Inbox::default();
        inbox.push(Bytes::from(vec![0; 1000]), true, &mut gauge);
        let (bytes, slot) = inbox.slice(0, 10, &gauge);
        inbox.advance(1000, &mut gauge);
        inbox.next_message(&mut gauge);
        assert_eq!(bytes.len(), 10);
        assert_eq!(gauge.level().bytes, 1000 + PART_OVERHEAD);
        inbox.release(slot.unwrap(), &mut gauge);
        assert_eq!(gauge.level().bytes, 0);
    }

    #[test]
    fn above_the_budget_small_slices_are_copied() {
        let mut gauge = gauge(500);
        let mut inbox = Inbox::default();
        inbox.push(Bytes::from(vec![0; 1000]), true, &mut gauge);
        assert!(inbox.slice(0, 10, &gauge).1.is_none());
        assert!(inbox.slice(0, 250, &gauge).1.is_some());
    }
}
