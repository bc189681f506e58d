//! What is to happen, by time and then by the order in which it was decided.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

#[derive(Debug)]
struct Scheduled<E> {
    at: u64,
    number: u64,
    event: E,
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

#[derive(Debug)]
pub(super) struct Heap<E> {
    events: BinaryHeap<Scheduled<E>>,
    next: u64,
}

impl<E> Heap<E> {
    pub(super) const fn new() -> Self {
        Self {
            events: BinaryHeap::new(),
            next: 0,
        }
    }

    pub(super) fn push(&mut self, at: u64, event: E) {
        let number = self.next;
        self.next += 1;
        self.events.push(Scheduled { at, number, event });
    }

    /// The next event, with its time.
    pub(super) fn pop(&mut self) -> Option<(u64, E)> {
        let Scheduled { at, event, .. } = self.events.pop()?;
        Some((at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::Heap;

    #[test]
    fn what_is_earlier_comes_first_and_then_what_was_decided_first() {
        let mut heap = Heap::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            heap.push(at, event);
        }
        let order: String = std::iter::from_fn(|| heap.pop())
            .map(|(_, event)| event)
            .collect();
        assert_eq!(order, "abcd");
    }
}
