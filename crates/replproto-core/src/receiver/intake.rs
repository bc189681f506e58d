//! From items to commands: commands of the peer change what we know of it, chunks become bytes of blobs. Entries have a
//! file of their own, [`run`](super::run).

use super::Receiver;
use super::blobs::{CHUNK_OVERHEAD, Key as BlobKey, MAX_FILE_ID, OnChunk, TooMany, copied};
use super::context::{BadTable, Beyond};
use super::decoder::{Item, NoItem};
use super::timers::Timer;
use crate::command::Command;
use crate::error::{LinkError, Oversize};
use crate::event::{EndTransaction, Event};
use crate::id::Name;
use crate::time::Sequence;
use crate::wire::Message;
use crate::wire::WireError;
use crate::wire::message::{ChunkHeader, TableStructure};

/// How much one call looks at if it finds nothing to hand out.
const ITEMS_PER_POLL: u32 = 1024;
const BYTES_PER_POLL: u64 = 64 << 10;

/// The chunk whose body is being decoded.
#[derive(Debug)]
pub(super) struct Chunk {
    key: BlobKey,
    /// The transfer that the body belongs to; `None`: it is dropped.
    transfer: Option<u64>,
}

impl Receiver {
    /// Decodes until there is a command, but not for ever.
    pub(super) fn decode(&mut self) -> Option<Command> {
        let ready = self.inbox.ready();
        let mut items = ITEMS_PER_POLL;
        while items > 0 {
            items -= 1;
            match self.decoder.next(&mut self.inbox, &mut self.flow.inbound) {
                Ok(item) => {
                    let command = if self.session.is_following() {
                        self.item(item, &mut items)
                    } else {
                        self.early_item(item, &mut items)
                    };
                    if let Some(command) = command {
                        return Some(command);
                    }
                }
                Err(NoItem::Error(error)) => self.fail(error),
                Err(NoItem::Starved | NoItem::Empty) => {
                    self.is_drained = true;
                    self.note_starvation();
                    if self.is_checkpoint_due() {
                        return Some(self.checkpoint());
                    }
                    return None;
                }
            }
            if let Some(command) = self.control.pop_front() {
                return Some(command);
            }
            if let Some(event) = self.pending.pop_front() {
                return Some(self.hand_out(event, None));
            }
            if self.is_drained {
                // The link ends here.
                return None;
            }
            if ready.saturating_sub(self.inbox.ready()) > BYTES_PER_POLL {
                break;
            }
        }
        None
    }

    /// Before the set-up. Not inlined: later items would be moved once more because this one looks at them.
    #[cold]
    #[inline(never)]
    fn early_item(&mut self, item: Item, items: &mut u32) -> Option<Command> {
        if self.admits(&item) {
            self.item(item, items)
        } else {
            None
        }
    }

    #[inline]
    fn item(&mut self, item: Item, items: &mut u32) -> Option<Command> {
        match item {
            Item::Entry(first) => self.run(first, items),
            Item::Oversized { head, size } => self.oversized(head, size),
            Item::EndOfBatch(sequence) => Some(self.end_of_batch(sequence)),
            Item::Command(message) => {
                self.command(message);
                None
            }
            Item::Chunk(header) => self.chunk_header(header),
            Item::Body { length, is_last } => self.chunk_body(length, is_last),
            Item::EndOfMessage => {
                self.stats.messages += 1;
                self.is_checkpoint_due().then(|| self.checkpoint())
            }
        }
    }

    pub(super) fn malformed(&mut self, error: WireError) {
        let error = self.decoder.malformed(error);
        self.fail(error);
    }

    pub(super) fn too_many(&mut self, TooMany { what, limit }: TooMany) {
        self.fail(LinkError::TooLarge {
            message: self.decoder.message(),
            what,
            limit,
            actual: limit.saturating_add(1),
        });
    }

    #[inline]
    pub(super) fn pass(&mut self, count: usize) {
        self.decoder
            .advance(count, &mut self.inbox, &mut self.flow.inbound);
    }

    fn end_of_batch(&mut self, sequence: Option<Sequence>) -> Command {
        self.copy_frame();
        let advance = self.batch_ends(sequence);
        let (number, cursor) = self.ledger.end(advance);
        self.commit_out();
        self.stats.transactions += 1;
        let event = Event::EndTransaction(EndTransaction {
            id: self.commit_id(number),
            sequence,
            cursor,
        });
        self.hand_out(event, None)
    }

    fn command(&mut self, message: Message) {
        match message {
            Message::NodeName(node) => self.node_name(node),
            Message::Schema {
                tables,
                database,
                request,
            } => self.schema(tables, &database, request),
            Message::NodeMap { ids, .. } => {
                if let Err(Beyond) = self.context.set_nodes(ids) {
                    self.beyond_context();
                }
            }
            Message::TableStructure(structure) => self.table_structure(structure),
            Message::ResidencyList { nodes, id } => {
                if let Err(Beyond) = self.context.set_residency(id, &nodes) {
                    self.beyond_context();
                }
            }
            Message::SequenceUpdate(sequence) => self.sequence_update(sequence),
            Message::CopyStart { start, order } => self.start_copy(Some((start, order))),
            Message::CopyComplete => self.copy_complete(),
            Message::Disconnect => self.disconnected(),
            // The rest is not for a subscriber, or unknown: ignored either way.
            _ => self.stats.unknown_commands += 1,
        }
    }

    fn table_structure(&mut self, structure: TableStructure) {
        let is_wanted = self.config.tables.wants(&structure.definition.table);
        match self.context.set_table(structure, is_wanted) {
            Ok(table) if is_wanted => self.pending.push_back(Event::Table(table)),
            Ok(_) => {}
            Err(BadTable::Beyond) => self.beyond_context(),
            Err(BadTable::Malformed(error)) => self.malformed(error),
        }
    }

    /// The context is over its limit.
    pub(super) fn beyond_context(&mut self) {
        self.too_many(TooMany {
            what: Oversize::Context,
            limit: self.config.limits.context as u64,
        });
    }

    fn chunk_header(&mut self, header: ChunkHeader) -> Option<Command> {
        if header.file.is_empty() || header.file.len() > MAX_FILE_ID {
            self.malformed(WireError::Field {
                command: "BLOB_CHUNK",
                field: "fileId",
            });
            return None;
        }
        self.copy_frame();
        let file = Name::from(header.file.as_str());
        let key = BlobKey::new(file.clone(), header.transfer);
        let now = self.timers.link_now();
        let on_chunk = match self.blobs.chunk(key.clone(), &header, now) {
            Ok(on_chunk) => on_chunk,
            Err(too_many) => {
                self.too_many(too_many);
                return None;
            }
        };
        let mut chunk = Chunk {
            key,
            transfer: None,
        };
        let mut command = None;
        match on_chunk {
            OnChunk::Deliver { id, opened } => {
                chunk.transfer = Some(id);
                if opened {
                    self.stats.blobs_opened += 1;
                    self.watch_gap();
                    self.timers
                        .start(Timer::BlobIdle, self.config.timeouts.blob);
                    command = Some(Command::OpenBlob {
                        blob: self.blob_id(id),
                        file,
                        size: header.size,
                    });
                }
            }
            OnChunk::Drop => self.stats.chunks_dropped += 1,
            OnChunk::Failed(failure) => self.blob_has_failed(failure),
        }
        self.chunk = Some(chunk);
        command
    }

    fn chunk_body(&mut self, length: usize, is_last: bool) -> Option<Command> {
        let transfer = self.chunk.as_ref().and_then(|chunk| chunk.transfer);
        let Some(id) = transfer.filter(|id| self.blobs.is_open(*id)) else {
            self.pass(length);
            if is_last && let Some(chunk) = &self.chunk {
                self.blobs.dropped(&chunk.key);
            }
            return None;
        };
        // The body of one chunk may itself take long to come.
        self.copy_frame();
        let now = self.timers.link_now();
        if let Some(failure) = self.blobs.body(id, length as u64, is_last, now) {
            self.pass(length);
            self.blob_has_failed(failure);
            return None;
        }
        if length == 0 && !is_last {
            // It says nothing, and nobody would say that it was written.
            return None;
        }
        let (bytes, slot) = self.inbox.slice(0, length, &self.flow.inbound);
        self.pass(length);
        let size = length as u64;
        self.blobs.handed_out(id, size, slot);
        // A transfer that has ended counts until the store has answered: it needs no more bytes of the peer, so it may pause
        // reading, which bounds how many blobs wait for a slow disk.
        let items = 1 + u64::from(is_last);
        self.flow.blobs.add(items, size + CHUNK_OVERHEAD);
        self.flow.copied += copied(size, slot);
        self.stats.blob_bytes += size;
        self.stats.peak_blob_bytes_out = self.stats.peak_blob_bytes_out.max(self.blob_bytes_out());
        Some(Command::BlobChunk {
            blob: self.blob_id(id),
            bytes,
            last: is_last,
        })
    }
}
