//! From messages to items, one at a time, as far as their bytes have arrived.
//!
//! Nothing here depends on how a message was cut into parts: an item is looked at when all of it is here, and a limit is
//! applied to what the bytes say, not to what happens to be in memory. The one exception is the body of a blob's chunk,
//! which is handed on as it comes, and an entry that is too large, which is passed over as it comes.

use core::ops::Range;

use crate::config::{LargeRecord, Limits, RECORD_MAX};
use crate::error::{LinkError, Oversize};
use crate::msgpack::Reader;
use crate::time::Sequence;
use crate::wire::WireError;
use crate::wire::message::{self, ChunkHeader, Message, code};
use crate::wire::{BATCH_FIRST_BYTE, batch, control, entry, varint};

use super::flow::Gauge;
use super::inbox::Inbox;

/// A longer entry is no entry that is too large, but no entry (`protocol.md` section 15, ruling 20).
const ENTRY_MAX: usize = 128 << 20;

/// The parts of a longer entry are brought together as they come.
const GATHERED: usize = 256 << 10;

/// Where the decoder is in the first message of the inbox.
#[derive(Debug, Default)]
enum State {
    /// Nothing of the message has been read.
    #[default]
    Start,
    /// Between two items of a batch.
    Batch { has_items: bool },
    /// In an entry that is too large, of which this much is left.
    Oversized { left: u64 },
    /// At the start of a command. It is tried again when this many bytes are here, twice as many each time, so that the
    /// work stays linear however slowly they come.
    Command { try_at: u64 },
    /// In the body of a blob's chunk.
    Body {
        left: u32,
        elements: u32,
        is_last: bool,
    },
    /// After the body of a blob's chunk, with this many elements left.
    Tail { elements: u32 },
    /// What is left of the message is of no interest.
    Skip,
}

/// What the decoder found. The bytes of an entry or of a body lie at the front of the inbox and have not been taken.
#[derive(Debug)]
pub(super) enum Item {
    /// An audit entry: its bytes are in this range of the front.
    Entry(Range<usize>),
    /// An audit entry that is too large: its first bytes are in this range of the front, and it has `size` in all. To be left
    /// with [`Decoder::pass_over`].
    Oversized { head: Range<usize>, size: usize },
    /// The batch ends, with a sequence if it has a terminator.
    EndOfBatch(Option<Sequence>),
    /// A command other than a blob's chunk.
    Command(Message),
    /// A blob's chunk begins.
    Chunk(ChunkHeader),
    /// Bytes of the chunk's body: the first `length` of the front.
    Body { length: usize, is_last: bool },
    /// The message is over. It has been left.
    EndOfMessage,
}

/// Why there is no item.
#[derive(Debug)]
pub(super) enum NoItem {
    /// More bytes have to come.
    Starved,
    /// There is no message at all.
    Empty,
    /// The link has to end.
    Error(LinkError),
}

impl From<LinkError> for NoItem {
    fn from(error: LinkError) -> Self {
        Self::Error(error)
    }
}

#[derive(Debug)]
pub(super) struct Decoder {
    limits: Limits,
    state: State,
    /// Messages begun before this one.
    message: u64,
    /// Bytes of this message that have been taken.
    offset: u64,
}

impl Decoder {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::default(),
            message: 0,
            offset: 0,
        }
    }

    /// Whether what comes next belongs to a batch, as far as one can see.
    pub(super) fn is_at_batch(&self, inbox: &Inbox) -> bool {
        match self.state {
            State::Batch { .. } | State::Oversized { .. } => true,
            State::Start => inbox.front().first() == Some(&BATCH_FIRST_BYTE),
            _ => false,
        }
    }

    /// Which message of the link is being decoded, from 0.
    pub(super) const fn message(&self) -> u64 {
        self.message
    }

    /// An error at the item that begins at the front.
    pub(super) const fn malformed(&self, error: WireError) -> LinkError {
        LinkError::Malformed {
            message: self.message,
            offset: self.offset,
            error,
        }
    }

    const fn too_large(&self, what: Oversize, limit: u64, actual: u64) -> LinkError {
        LinkError::TooLarge {
            message: self.message,
            what,
            limit,
            actual,
        }
    }

    /// More than the limit has come. How much more depends on how it came, so that is not told.
    const fn beyond(&self, what: Oversize, limit: u64) -> LinkError {
        self.too_large(what, limit, limit.saturating_add(1))
    }

    /// Takes bytes off the front, which was an item or a part of one.
    #[inline]
    pub(super) fn advance(&mut self, count: usize, inbox: &mut Inbox, gauge: &mut Gauge) {
        self.offset += count as u64;
        inbox.advance(count, gauge);
    }

    /// The next item.
    #[inline]
    pub(super) fn next(&mut self, inbox: &mut Inbox, gauge: &mut Gauge) -> Result<Item, NoItem> {
        if let State::Batch { has_items } = self.state {
            return self.batch_item(has_items, inbox, gauge);
        }
        self.other(inbox, gauge)
    }

    fn other(&mut self, inbox: &mut Inbox, gauge: &mut Gauge) -> Result<Item, NoItem> {
        loop {
            match self.state {
                State::Start => self.start(inbox, gauge)?,
                State::Batch { has_items } => return self.batch_item(has_items, inbox, gauge),
                State::Oversized { left } => self.oversized(left, inbox, gauge)?,
                State::Command { try_at } => return self.command(try_at, inbox, gauge),
                State::Body {
                    left,
                    elements,
                    is_last,
                } => return self.body(left, elements, is_last, inbox),
                State::Tail { elements } => self.tail(elements, inbox, gauge)?,
                State::Skip => {
                    self.offset += inbox.ready();
                    if self.offset > self.limits.message {
                        return Err(self.beyond(Oversize::Message, self.limits.message).into());
                    }
                    inbox.skip(u64::MAX, gauge);
                    if !inbox.is_complete() {
                        return Err(NoItem::Starved);
                    }
                    return Ok(self.end_message(inbox, gauge));
                }
            }
        }
    }

    fn start(&mut self, inbox: &mut Inbox, gauge: &mut Gauge) -> Result<(), NoItem> {
        let Some(first) = inbox.front().first().copied() else {
            return Err(if inbox.is_complete() {
                self.malformed(WireError::EmptyMessage).into()
            } else if inbox.is_empty() {
                NoItem::Empty
            } else {
                NoItem::Starved
            });
        };
        if first > 0x7f {
            self.state = State::Command {
                try_at: message::CODE_LENGTH as u64,
            };
            return Ok(());
        }
        if first != BATCH_FIRST_BYTE {
            return Err(self.malformed(WireError::FirstByte(first)).into());
        }
        if inbox.ready() < batch::HEADER_LENGTH as u64 {
            return Err(self.starved_or(inbox, WireError::Truncated("the header of a batch")));
        }
        inbox.join(batch::HEADER_LENGTH, gauge);
        self.advance(batch::HEADER_LENGTH, inbox, gauge);
        self.state = State::Batch { has_items: false };
        Ok(())
    }

    /// Waits for more bytes if there can be any, else fails.
    fn starved_or(&self, inbox: &Inbox, error: WireError) -> NoItem {
        if inbox.is_complete() {
            self.malformed(error).into()
        } else {
            NoItem::Starved
        }
    }

    /// Fails if the message is larger than allowed when the next item has this many bytes.
    fn check_message_size(&self, item: u64) -> Result<(), LinkError> {
        let size = self.offset + item;
        if size > self.limits.message {
            return Err(self.too_large(Oversize::Message, self.limits.message, size));
        }
        Ok(())
    }

    #[inline]
    fn batch_item(
        &mut self,
        has_items: bool,
        inbox: &mut Inbox,
        gauge: &mut Gauge,
    ) -> Result<Item, NoItem> {
        let (length, start) = loop {
            let front = inbox.front();
            if let Some(found) = varint::decode(front) {
                break found;
            }
            let ready = inbox.ready();
            if (front.len() as u64) < ready {
                inbox.join(ready.min(varint::MAX_LENGTH as u64) as usize, gauge);
            } else if ready == 0 && inbox.is_complete() {
                if !has_items {
                    return Err(self.malformed(WireError::EmptyBatch).into());
                }
                self.state = State::Skip;
                return Ok(Item::EndOfBatch(None));
            } else {
                return Err(self.starved_or(inbox, WireError::Truncated("a length")));
            }
        };
        let length = length as usize;
        let end = start.saturating_add(length);
        let is_impossible = length > self.limits.record.max(ENTRY_MAX);
        if length as u64 > self.limits.message || is_impossible {
            // No message that we accept, or that a sender sends, can hold it.
            return Err(self
                .malformed(WireError::Truncated("an audit entry"))
                .into());
        }
        let is_oversized = length > self.limits.record;
        if is_oversized {
            self.check_oversized(length)?;
        }
        self.check_message_size(end as u64)?;
        if is_oversized {
            // All of what may be looked at, so that it makes no difference how it came.
            let head = start + length.min(entry::HEAD_BYTES_MAX);
            if (head as u64) > inbox.ready() {
                return Err(self.starved_or(inbox, WireError::Truncated("an audit entry")));
            }
            inbox.join(head, gauge);
            return Ok(Item::Oversized {
                head: start..head,
                size: length,
            });
        }
        if (end as u64) > inbox.ready() {
            if end > GATHERED {
                inbox.gather(end, gauge);
            }
            return Err(self.starved_or(inbox, WireError::Truncated("an audit entry")));
        }
        inbox.join(end, gauge);
        if length == batch::TERMINATOR_LENGTH
            && let Some(sequence) = batch::terminator(&inbox.front()[start..end])
        {
            if !sequence.0.is_finite() {
                return Err(self.malformed(WireError::NotFinite("a sequence")).into());
            }
            self.advance(end, inbox, gauge);
            // What follows the terminator is ignored (`protocol.md` section 4).
            self.state = State::Skip;
            return Ok(Item::EndOfBatch(Some(sequence)));
        }
        self.state = State::Batch { has_items: true };
        Ok(Item::Entry(start..end))
    }

    /// Fails if an entry of this length, which is above the limit, is not to be passed over.
    #[cold]
    fn check_oversized(&self, length: usize) -> Result<(), LinkError> {
        let limit = match self.limits.large_record {
            LargeRecord::Skip if length <= RECORD_MAX => return Ok(()),
            LargeRecord::Skip => RECORD_MAX.max(self.limits.record),
            LargeRecord::EndLink => self.limits.record,
        };
        Err(self.too_large(Oversize::Record, limit as u64, length as u64))
    }

    /// Leaves the entry that is too large and was just found: of its bytes, those behind its head as they come.
    pub(super) fn pass_over(
        &mut self,
        head: Range<usize>,
        size: usize,
        inbox: &mut Inbox,
        gauge: &mut Gauge,
    ) {
        let left = size - head.len();
        self.advance(head.end, inbox, gauge);
        self.state = State::Oversized { left: left as u64 };
    }

    fn oversized(&mut self, left: u64, inbox: &mut Inbox, gauge: &mut Gauge) -> Result<(), NoItem> {
        let here = inbox.skip(left, gauge);
        self.offset += here;
        let left = left - here;
        self.state = State::Oversized { left };
        if left > 0 {
            return Err(self.starved_or(inbox, WireError::Truncated("an audit entry")));
        }
        self.state = State::Batch { has_items: true };
        Ok(())
    }

    /// The entry that follows after `at` bytes of the front, if all of it lies there and nothing is wrong with it. Otherwise
    /// it is for [`Decoder::next`] to say what it is.
    #[inline]
    pub(super) fn following(&self, front: &[u8], at: usize) -> Option<Range<usize>> {
        let (length, size) = varint::decode(front.get(at..)?)?;
        let (start, length) = (at + size, length as usize);
        let end = start.checked_add(length)?;
        let item = front.get(start..end)?;
        let is_entry = length <= self.limits.record
            && self.offset + end as u64 <= self.limits.message
            && (length != batch::TERMINATOR_LENGTH || batch::terminator(item).is_none());
        is_entry.then_some(start..end)
    }

    fn command(
        &mut self,
        try_at: u64,
        inbox: &mut Inbox,
        gauge: &mut Gauge,
    ) -> Result<Item, NoItem> {
        let limit = self.limits.command as u64;
        let ready = inbox.ready();
        if ready < try_at && !inbox.is_complete() {
            return Err(NoItem::Starved);
        }
        let tried = ready.min(try_at.max(message::CODE_LENGTH as u64));
        inbox.join(tried as usize, gauge);
        let front = inbox.front();
        let mut reader = Reader::new(front);
        let (mut elements, code) = message::read_code(&mut reader).map_err(|error| {
            // Whatever it is that is so long, it is no code; how much of it is joined must not tell.
            let is_long = front.len() >= message::CODE_LENGTH;
            self.malformed(match error {
                WireError::Truncated(_) if is_long => WireError::NotACommand,
                error => error,
            })
        })?;
        match code {
            code::BLOB_CHUNK => {
                match message::read_chunk_header(&mut reader, &mut elements) {
                    Ok((header, left)) => {
                        let length = reader.position();
                        if length as u64 > limit {
                            return Err(self.beyond(Oversize::Command, limit).into());
                        }
                        let is_last = header.finished;
                        self.check_message_size(length as u64 + u64::from(left))?;
                        self.advance(length, inbox, gauge);
                        self.state = State::Body {
                            left,
                            elements,
                            is_last,
                        };
                        Ok(Item::Chunk(header))
                    }
                    Err(WireError::Truncated(what)) => {
                        let joined = front.len() as u64;
                        if joined > limit {
                            return Err(self.beyond(Oversize::Command, limit).into());
                        }
                        if joined < ready {
                            // All of it may be here already, in parts that are not joined yet.
                            return self.command(2 * tried, inbox, gauge);
                        }
                        self.state = State::Command { try_at: 2 * ready };
                        Err(self.starved_or(inbox, WireError::Truncated(what)))
                    }
                    Err(error) => Err(self.malformed(error).into()),
                }
            }
            code if message::is_known(code) => {
                if ready > limit {
                    return Err(self.beyond(Oversize::Command, limit).into());
                }
                if !inbox.is_complete() {
                    // Again when it is here, or when it cannot be short enough any more.
                    self.state = State::Command {
                        try_at: limit.saturating_add(1),
                    };
                    return Err(NoItem::Starved);
                }
                inbox.join(ready as usize, gauge);
                let message = match Message::decode_within(inbox.front(), self.limits.context) {
                    Ok(message) => message,
                    Err(WireError::Unfolds) => {
                        let limit = self.limits.context as u64;
                        return Err(self.beyond(Oversize::Context, limit).into());
                    }
                    Err(error) => return Err(self.malformed(error).into()),
                };
                self.state = State::Skip;
                Ok(Item::Command(message))
            }
            _ => {
                self.state = State::Skip;
                Ok(Item::Command(Message::Unknown(code)))
            }
        }
    }

    fn body(
        &mut self,
        left: u32,
        elements: u32,
        is_last: bool,
        inbox: &Inbox,
    ) -> Result<Item, NoItem> {
        let here = inbox.front().len().min(left as usize);
        if here == 0 && left > 0 {
            return Err(self.starved_or(inbox, WireError::Truncated("the body of a chunk")));
        }
        let left = left - here as u32;
        self.state = if left == 0 {
            State::Tail { elements }
        } else {
            State::Body {
                left,
                elements,
                is_last,
            }
        };
        Ok(Item::Body {
            length: here,
            is_last: is_last && left == 0,
        })
    }

    fn tail(&mut self, elements: u32, inbox: &mut Inbox, gauge: &mut Gauge) -> Result<(), NoItem> {
        let (ready, limit) = (inbox.ready(), self.limits.command as u64);
        if ready > limit {
            return Err(self.beyond(Oversize::Command, limit).into());
        }
        if !inbox.is_complete() {
            return Err(NoItem::Starved);
        }
        inbox.join(ready as usize, gauge);
        let mut reader = Reader::new(inbox.front());
        control::skip(&mut reader, u64::from(elements)).map_err(|error| self.malformed(error))?;
        if !reader.is_at_end() {
            return Err(self.malformed(WireError::TrailingBytes).into());
        }
        self.state = State::Skip;
        Ok(())
    }

    fn end_message(&mut self, inbox: &mut Inbox, gauge: &mut Gauge) -> Item {
        inbox.next_message(gauge);
        self.state = State::Start;
        self.message += 1;
        self.offset = 0;
        Item::EndOfMessage
    }
}
