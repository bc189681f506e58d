//! Commands (`protocol.md` section 3).

mod decode;
mod encode;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::config::Mode;
use crate::table::TableDefinition;
use crate::time::{Sequence, WallTime};

pub(crate) use decode::{CODE_LENGTH, is_known, read_chunk_header, read_code};

/// The codes of the commands.
pub mod code {
    #![allow(missing_docs)]
    pub const SUBSCRIPTION_REQUEST: u32 = 129;
    pub const RESIDENCY_LIST: u32 = 130;
    pub const TABLE_FIXED_STRUCTURE: u32 = 132;
    pub const GET_RECORD: u32 = 133;
    pub const GET_RECORD_RESPONSE: u32 = 134;
    pub const OPERATION_REQUEST: u32 = 136;
    pub const OPERATION_RESPONSE: u32 = 137;
    pub const NODE_NAME: u32 = 140;
    pub const NODE_NAME_TO_ID_MAP: u32 = 141;
    pub const DISCONNECT: u32 = 142;
    pub const SEQUENCE_ID_UPDATE: u32 = 143;
    pub const COMMITTED_UPDATE: u32 = 144;
    pub const DB_SCHEMA: u32 = 145;
    pub const BLOB_CHUNK: u32 = 146;
    pub const SUBSCRIPTION_UPDATE: u32 = 147;
    pub const COPY_START: u32 = 148;
    pub const COPY_COMPLETE: u32 = 149;
}

/// A command, whole.
///
/// Elements and map keys that are not known are ignored when reading, and undefined is the same as absent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// 129
    SubscriptionRequest(SubscriptionRequest),
    /// 130: the nodes that hold the records which carry this residency id.
    ResidencyList {
        /// The nodes' names.
        nodes: Vec<String>,
        /// The id.
        id: u32,
    },
    /// 132
    TableStructure(TableStructure),
    /// 133
    GetRecord {
        /// Counts from 1 on each connection.
        request: u32,
        /// The requester's own id of the table.
        table: u32,
        /// The record's id, as MessagePack.
        record: Vec<u8>,
        /// Only the first time that the table is asked for.
        table_name: Option<String>,
    },
    /// 134
    GetRecordResponse {
        /// The request's number.
        request: u32,
        /// The answer's map, as MessagePack; `None`: there is no such record.
        answer: Option<Vec<u8>>,
    },
    /// 136: the operation's map, as MessagePack.
    OperationRequest(Vec<u8>),
    /// 137: the response's map, as MessagePack.
    OperationResponse(Vec<u8>),
    /// 140
    NodeName(NodeName),
    /// 141: all ids that the sender uses for nodes. The sender itself is 0.
    NodeMap {
        /// Names and ids.
        ids: Vec<(String, u32)>,
        /// The names in the request.
        subscribed: Vec<String>,
    },
    /// 142
    Disconnect,
    /// 143: everything up to here has been examined.
    SequenceUpdate(Sequence),
    /// 144: everything up to here is durable at the subscriber.
    CommittedUpdate(Sequence),
    /// 145
    Schema {
        /// The tables.
        tables: Vec<TableDefinition>,
        /// The database.
        database: String,
        /// The request that this answers.
        request: Option<u32>,
    },
    /// 146
    BlobChunk {
        /// What it belongs to.
        header: ChunkHeader,
        /// The bytes.
        body: Bytes,
    },
    /// 147
    SubscriptionUpdate {
        /// Origins not to send any more.
        exclude: Vec<String>,
        /// Origins to send again.
        include: Vec<String>,
    },
    /// 148
    CopyStart {
        /// The copy's identity.
        start: WallTime,
        /// The version of the order in which tables are copied.
        order: u32,
    },
    /// 149
    CopyComplete,
    /// A code that is not known. Not an error (`protocol.md` section 2.1).
    Unknown(u32),
}

/// 140: who speaks, and of which database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeName {
    /// The speaker's name; `None` or empty is to be ignored.
    pub name: Option<String>,
    /// The database.
    pub database: String,
    /// The speaker's tables; only for information.
    pub tables: Vec<TableDefinition>,
    /// Only from newer peers.
    pub capabilities: Option<Capabilities>,
}

/// What a newer peer can do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Capabilities {
    /// It takes a request id, and answers with it when it is at least 1.
    pub setup_ack: f64,
    /// How long its set-up may take, in milliseconds.
    pub setup_budget: Option<f64>,
}

/// 129: what a subscriber wants.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionRequest {
    /// Which layout: that of mode A has neither `copyResume` nor a request id.
    pub mode: Mode,
    /// The first is for the publisher itself.
    pub subscriptions: Vec<Subscription>,
    /// Origins not to send: the subscriber itself first.
    pub excluded: Vec<String>,
    /// Counts from 1 on each connection; only if the publisher has said that it takes one.
    pub request: Option<u32>,
}

/// What is wanted of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// The node whose writes are wanted.
    pub name: String,
    /// What `tables` means: those to leave out if true, those to include if false.
    pub replicate_by_default: bool,
    /// Names of tables.
    pub tables: Vec<String>,
    /// Where to start; 0 asks for a base copy.
    pub start: Sequence,
    /// Only for information.
    pub is_leader: Option<bool>,
    /// Where to stop.
    pub end: Option<f64>,
    /// An interrupted base copy to go on with.
    pub copy_resume: Option<CopyResume>,
}

/// Where to go on with an interrupted base copy.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyResume {
    /// The copy's identity.
    pub start: WallTime,
    /// The table of the last row.
    pub table: String,
    /// The id of the last row, as MessagePack (`protocol.md` section 15, ruling 4).
    pub after_key: Vec<u8>,
    /// The version of the order of tables.
    pub order: u32,
}

/// 132: what decodes the values of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableStructure {
    /// The list of typed structures, as MessagePack. `None`: empty.
    pub typed: Option<Vec<u8>>,
    /// The list of record structures, as MessagePack. `None`: empty.
    pub named: Option<Vec<u8>>,
    /// The table's name and attributes.
    pub definition: TableDefinition,
    /// The sender's id of the table.
    pub table: u32,
}

/// 146: which blob a chunk belongs to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChunkHeader {
    /// The sender's id of the blob's file.
    pub file: String,
    /// The identity of this transfer, in base copies of newer peers. When it is there, it is the key instead of the file id.
    pub transfer: Option<u64>,
    /// The full size in bytes, if known.
    pub size: Option<u64>,
    /// The last chunk.
    pub finished: bool,
    /// The sender could not read the blob. Cut to [`TEXT_MAX`](crate::TEXT_MAX) when it is read, like the code.
    pub error: Option<String>,
    /// A file-system code, from newer peers.
    pub error_code: Option<String>,
    /// A status, from newer peers.
    pub error_status: Option<u16>,
}
