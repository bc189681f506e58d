//! Which parts of messages are kept in memory by what was handed out: the smallest slice of a part keeps all of it.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A part that something handed out points into.
pub(super) type Pin = usize;

#[derive(Debug)]
struct Part {
    /// Kept, so that no other part can come to lie at the same address.
    bytes: Bytes,
    pins: u32,
}

/// The parts that were fed, by address.
#[derive(Debug, Default)]
pub(super) struct Pins {
    parts: BTreeMap<usize, Part>,
    /// Bytes of all parts that are pinned, and how many those are.
    pub(super) bytes: u64,
    pub(super) count: u64,
}

impl Pins {
    pub(super) fn arrive(&mut self, bytes: &Bytes) {
        if !bytes.is_empty() {
            self.parts
                .entry(bytes.as_ptr() as usize)
                .or_insert_with(|| Part {
                    bytes: bytes.clone(),
                    pins: 0,
                });
        }
    }

    /// This slice was handed out. `None`: it was copied out of its part.
    pub(super) fn pin(&mut self, slice: &[u8]) -> Option<Pin> {
        let at = slice.as_ptr() as usize;
        let (start, part) = self.parts.range_mut(..=at).next_back()?;
        if slice.is_empty() || at >= start + part.bytes.len() {
            return None;
        }
        part.pins += 1;
        if part.pins == 1 {
            self.bytes += part.bytes.len() as u64;
            self.count += 1;
        }
        Some(*start)
    }

    pub(super) fn unpin(&mut self, pin: Option<Pin>) {
        let Some(part) = pin.and_then(|pin| self.parts.get_mut(&pin)) else {
            return;
        };
        part.pins -= 1;
        if part.pins == 0 {
            self.bytes -= part.bytes.len() as u64;
            self.count -= 1;
        }
    }

    /// Everything that has arrived is decoded: nothing new can point into these parts.
    pub(super) fn forget_decoded(&mut self) {
        if !self.parts.is_empty() {
            self.parts.retain(|_, part| part.pins > 0);
        }
    }
}
