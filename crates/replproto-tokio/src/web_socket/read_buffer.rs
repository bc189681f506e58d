//! Where bytes of a socket are read to.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at once when little comes.
const SMALLEST: usize = 4 << 10;

/// How much is read at once when much comes: what may still come out of the buffer after a pause. Two and four times as
/// much were not faster.
pub(super) const LARGEST: usize = 64 << 10;

/// How many allocations are kept that parts have taken over: as soon as nobody holds those parts any more they are used
/// again. To have new ones from the system for each read costs more than to read.
const SPENT_MAX: usize = 8;

/// The most that is held, besides what parts hold alone.
#[cfg(test)]
pub(super) const HELD_MAX: usize = (1 + SPENT_MAX) * LARGEST;

/// A buffer that is as large as what comes lately, and that is not there while nothing comes.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    /// Empty, each with a share of an allocation of `size` bytes that went to parts; the one longest ago first.
    spent: VecDeque<BytesMut>,
    /// What was read and not taken.
    unread: BytesMut,
    /// Size of the allocation behind it.
    allocated: usize,
    /// Size of the next allocation.
    size: usize,
}

impl ReadBuffer {
    pub(super) fn new(first: &[u8]) -> Self {
        Self {
            spent: VecDeque::new(),
            unread: BytesMut::from(first),
            allocated: first.len(),
            size: SMALLEST,
        }
    }

    /// The bytes that come next.
    pub(super) fn unread(&mut self) -> &mut [u8] {
        &mut self.unread
    }

    /// Passes over bytes.
    pub(super) fn skip(&mut self, count: usize) {
        self.unread.advance(count);
    }

    /// Takes bytes out. They keep at most twice their length in memory: a slice of less than half the buffer is copied.
    pub(super) fn take(&mut self, count: usize) -> Bytes {
        if count * 2 < self.allocated {
            let taken = Bytes::copy_from_slice(&self.unread[..count]);
            self.unread.advance(count);
            return taken;
        }
        let taken = self.unread.split_to(count).freeze();
        if self.unread.is_empty() {
            let allocated = self.allocated;
            let spent = self.release();
            self.keep(spent, allocated);
        }
        taken
    }

    /// Bytes of memory that it keeps.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.allocated + self.spent.len() * self.size
    }

    /// Reads once, as much as comes. Gives how many bytes; 0 at the end. What is unread is less than [`SMALLEST`]: at most
    /// an incomplete header or control frame.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let room = self.size.saturating_sub(self.unread.len());
        if self.allocated != self.size || !self.unread.try_reclaim(room) {
            let larger = self.allocate();
            let allocated = self.allocated;
            let spent = self.move_to(larger);
            self.keep(spent, allocated);
        }
        let room = self.unread.capacity() - self.unread.len();
        let polled = pin!(stream.read_buf(&mut self.unread)).poll(context);
        if polled.is_pending() {
            self.rest();
        }
        let count = ready!(polled)?;
        if count == room {
            self.resize((self.size * 2).min(LARGEST));
        } else if count < self.size / 4 {
            self.resize((self.size / 2).max(SMALLEST));
        }
        Poll::Ready(Ok(count))
    }

    /// Nothing comes for now, perhaps for long.
    fn rest(&mut self) {
        self.spent = VecDeque::new();
        if self.unread.is_empty() {
            self.release();
        } else if self.allocated > SMALLEST {
            self.move_to(BytesMut::with_capacity(self.unread.len()));
        }
    }

    /// Gives up the allocation, which parts may hold.
    fn release(&mut self) -> BytesMut {
        self.allocated = 0;
        std::mem::take(&mut self.unread)
    }

    /// Moves what is unread to this allocation. Gives up the one before.
    fn move_to(&mut self, mut other: BytesMut) -> BytesMut {
        other.extend_from_slice(&self.unread);
        self.allocated = other.capacity();
        std::mem::replace(&mut self.unread, other)
    }

    fn resize(&mut self, size: usize) {
        if self.size != size {
            self.size = size;
            self.spent.clear();
        }
    }

    /// An allocation of the usual size: one that nobody holds any more, or a new one.
    fn allocate(&mut self) -> BytesMut {
        let size = self.size;
        let is_free = |spent: &mut BytesMut| spent.try_reclaim(size);
        let free = self.spent.iter_mut().position(is_free);
        free.and_then(|index| self.spent.remove(index))
            .unwrap_or_else(|| BytesMut::with_capacity(size))
    }

    /// Keeps an allocation for later, if it has the usual size. Those that went out first come back first, so when there are
    /// too many it is the new one that is let go.
    fn keep(&mut self, mut spent: BytesMut, allocated: usize) {
        if allocated == self.size && self.spent.len() < SPENT_MAX {
            spent.clear();
            self.spent.push_back(spent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    fn fill(buffer: &mut ReadBuffer, mut from: &[u8]) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        match buffer.poll_fill(&mut from, &mut context) {
            Poll::Ready(Ok(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    fn fill_nothing(buffer: &mut ReadBuffer) {
        let (mut ours, _theirs) = tokio::io::duplex(1);
        let mut context = Context::from_waker(Waker::noop());
        assert!(buffer.poll_fill(&mut ours, &mut context).is_pending());
    }

    /// How many bytes of memory a part keeps.
    fn kept(part: Bytes) -> usize {
        part.try_into_mut().expect("it is shared").capacity()
    }

    #[test]
    fn grows_while_reads_fill_it_and_shrinks_back() {
        let bytes = vec![7; 1 << 20];
        let mut buffer = ReadBuffer::new(&[]);
        let mut expected = SMALLEST;
        for _ in 0..10 {
            assert_eq!(fill(&mut buffer, &bytes), expected);
            assert_eq!(buffer.allocated, expected);
            buffer.skip(expected);
            expected = (expected * 2).min(LARGEST);
        }
        for _ in 0..10 {
            assert_eq!(fill(&mut buffer, &bytes[..100]), 100);
            buffer.skip(100);
        }
        fill(&mut buffer, &bytes);
        assert_eq!(buffer.allocated, SMALLEST);
        buffer.skip(SMALLEST);
    }

    #[test]
    fn costs_nothing_while_nothing_comes() {
        let bytes = vec![7; 1 << 20];
        let mut buffer = ReadBuffer::new(&[]);
        for _ in 0..10 {
            let count = fill(&mut buffer, &bytes);
            buffer.skip(count);
        }
        fill_nothing(&mut buffer);
        assert_eq!(buffer.allocated, 0);
        fill(&mut buffer, &bytes);
        buffer.skip(LARGEST - 3);
        fill_nothing(&mut buffer);
        assert_eq!(buffer.unread(), [7; 3]);
        assert!(buffer.allocated <= 64, "{}", buffer.allocated);
        fill(&mut buffer, &[8]);
        assert_eq!(buffer.unread(), [7, 7, 7, 8]);
    }

    #[test]
    fn a_part_keeps_at_most_twice_its_length() {
        let bytes = vec![7; 1 << 20];
        for count in [
            1,
            100,
            SMALLEST / 2 - 1,
            SMALLEST / 2,
            SMALLEST - 1,
            SMALLEST,
        ] {
            let mut buffer = ReadBuffer::new(&[]);
            fill(&mut buffer, &bytes);
            let part = buffer.take(count);
            buffer.skip(SMALLEST - count);
            fill_nothing(&mut buffer);
            assert!(kept(part) <= 2 * count, "{count}");
        }
    }

    proptest! {
        #[test]
        fn gives_what_came_and_no_part_keeps_more_than_twice_its_length(
            steps in prop::collection::vec((0..20_000usize, 1..20_000usize, any::<bool>()), 1..60),
        ) {
            let bytes: Vec<u8> = (0..600_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
            let mut buffer = ReadBuffer::new(&bytes[..100]);
            let (mut read, mut taken) = (100, 0);
            let mut parts = Vec::new();
            for (come, take, is_skipped) in steps {
                read += fill(&mut buffer, &bytes[read..(read + come).min(bytes.len())]);
                // Some is left over, but less than a buffer.
                while read - taken >= SMALLEST {
                    let take = take.min(read - taken);
                    let allocated = buffer.allocated;
                    prop_assert!(allocated <= LARGEST);
                    if is_skipped {
                        buffer.skip(take);
                    } else {
                        let part = buffer.take(take);
                        prop_assert!(2 * take >= allocated || part.is_unique());
                        parts.push((taken, part));
                    }
                    taken += take;
                    prop_assert_eq!(&*buffer.unread(), &bytes[taken..read]);
                }
            }
            for (at, part) in parts {
                prop_assert_eq!(&part[..], &bytes[at..at + part.len()]);
            }
        }
    }

    #[test]
    fn a_part_that_is_kept_is_not_overwritten() {
        let mut buffer = ReadBuffer::new(&[]);
        fill(&mut buffer, &[1; 3000]);
        let part = buffer.take(2500);
        fill(&mut buffer, &[2; 3000]);
        assert_eq!(part, [1; 2500][..]);
        assert_eq!(buffer.unread()[..500], [1; 500]);
        assert_eq!(buffer.unread()[500..], [2; 3000]);
    }

    #[test]
    fn what_parts_no_longer_hold_is_read_into_again() {
        let bytes = vec![7; 1 << 20];
        for parts in 0..SPENT_MAX {
            let mut buffer = ReadBuffer::new(&[]);
            let mut places = std::collections::BTreeSet::new();
            let mut held = VecDeque::new();
            for turn in 0..100 {
                let count = fill(&mut buffer, &bytes);
                if turn >= 20 {
                    places.insert(buffer.unread().as_ptr());
                }
                held.push_back(buffer.take(count));
                if held.len() > parts {
                    held.pop_front();
                }
            }
            assert!(places.len() <= parts + 1, "{parts}: {}", places.len());
            assert!(buffer.allocated() <= SPENT_MAX * LARGEST);
            fill_nothing(&mut buffer);
            assert_eq!(buffer.allocated(), 0);
        }
    }

    #[test]
    fn the_buffer_is_used_again() {
        let mut buffer = ReadBuffer::new(&[]);
        fill(&mut buffer, &[1; 1000]);
        let place = buffer.unread().as_ptr();
        for _ in 0..100 {
            let part = buffer.take(1000);
            assert_eq!(part, [1; 1000][..]);
            fill(&mut buffer, &[1; 1000]);
            assert_eq!(buffer.unread().as_ptr(), place);
        }
    }
}
