//! Commands (`protocol.md` section 3).

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::control::{self, Elements, Writer};
use crate::config::Mode;
use crate::error::WireError;
use crate::msgpack::{Reader, Token};
use crate::table::{Attribute, TableDefinition};
use crate::time::{Sequence, WallTime};

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
    /// The sender could not read the blob.
    pub error: Option<String>,
    /// A file-system code, from newer peers.
    pub error_code: Option<String>,
    /// A status, from newer peers.
    pub error_status: Option<u16>,
}

/// Reads the start of a command: how many elements it has and its code. Both are known after at most 14 bytes.
pub(crate) fn read_code(reader: &mut Reader<'_>) -> Result<(u32, u32), WireError> {
    let Token::Array(count) = reader.token()? else {
        return Err(WireError::NotACommand);
    };
    let mut elements = Elements::new(reader, count, "a command");
    match elements.id("code") {
        Ok(Some(code)) => Ok((count - 1, code)),
        Err(error @ WireError::Truncated(_)) => Err(error),
        _ => Err(WireError::NotACommand),
    }
}

/// Whether this code is one that [`Message::decode`] reads.
pub(crate) const fn is_known(code: u32) -> bool {
    matches!(code, 129 | 130 | 132..=134 | 136 | 137 | 140..=149)
}

/// More than the longest array header and code.
pub(crate) const CODE_LENGTH: usize = 14;

/// Reads the header of a BLOB_CHUNK, after its code, up to its body. Gives the header and the length of the body, which
/// follows; 0 if there is no body. `left` counts the elements and is counted down.
pub(crate) fn read_chunk_header(
    reader: &mut Reader<'_>,
    left: &mut u32,
) -> Result<(ChunkHeader, u32), WireError> {
    const COMMAND: &str = "BLOB_CHUNK";
    let mut header = ChunkHeader::default();
    let mut file = None;
    let mut elements = Elements::new(reader, 1.min(*left), COMMAND);
    *left = left.saturating_sub(1);
    elements.map("header", |key, value| {
        match key {
            "fileId" => file = value.text("fileId")?,
            "transferId" => header.transfer = value.number("transferId")?.map(|id| id as u64),
            "size" => header.size = value.number("size")?.map(|size| size as u64),
            "finished" => header.finished = value.boolean("finished")?.unwrap_or(false),
            "error" => header.error = value.any_text()?,
            "errorCode" => header.error_code = value.any_text()?,
            "errorStatus" => {
                header.error_status = value.number("errorStatus")?.map(|status| status as u16);
            }
            _ => {}
        }
        Ok(())
    })?;
    header.file = file.ok_or(WireError::Field {
        command: COMMAND,
        field: "fileId",
    })?;
    if *left == 0 {
        return Ok((header, 0));
    }
    *left -= 1;
    // Only the length of the body is read here: the body itself may not have arrived yet.
    let [first] = reader.array()?;
    let length = match first {
        0xc4 => u32::from(u8::from_be_bytes(reader.array()?)),
        0xc5 => u32::from(u16::from_be_bytes(reader.array()?)),
        0xc6 => u32::from_be_bytes(reader.array()?),
        0xc0 => 0,
        0xd4 => {
            // undefined
            reader.take(2)?;
            0
        }
        _ => {
            return Err(WireError::Field {
                command: COMMAND,
                field: "body",
            });
        }
    };
    Ok((header, length))
}

fn table_definition(elements: &mut Elements<'_, '_>) -> Result<TableDefinition, WireError> {
    let mut definition = TableDefinition::default();
    elements.map("table", |key, value| {
        match key {
            "table" => definition.table = value.text("table")?.unwrap_or_default(),
            "schemaDefined" => definition.schema_defined = value.is_true()?,
            "attributes" => definition.attributes = value.list("attributes", attribute)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(definition)
}

fn attribute(elements: &mut Elements<'_, '_>) -> Result<Attribute, WireError> {
    let mut attribute = Attribute::default();
    elements.map("attribute", |key, value| {
        match key {
            "name" => attribute.name = value.any_text()?.unwrap_or_default(),
            "type" => attribute.kind = value.any_text()?,
            "isPrimaryKey" => attribute.is_primary_key = value.is_true()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(attribute)
}

fn subscription(elements: &mut Elements<'_, '_>) -> Result<Subscription, WireError> {
    let mut subscription = Subscription {
        name: String::new(),
        replicate_by_default: true,
        tables: Vec::new(),
        start: Sequence(0.0),
        is_leader: None,
        end: None,
        copy_resume: None,
    };
    elements.map("subscription", |key, value| {
        match key {
            "name" => subscription.name = value.text("name")?.unwrap_or_default(),
            "replicateByDefault" => {
                subscription.replicate_by_default =
                    value.boolean("replicateByDefault")?.unwrap_or(false);
            }
            "tables" => subscription.tables = value.texts("tables")?,
            "startTime" => {
                subscription.start = Sequence(value.number("startTime")?.unwrap_or(f64::NAN));
            }
            "isLeader" => subscription.is_leader = value.boolean("isLeader")?,
            "endTime" => subscription.end = value.number("endTime")?,
            "copyResume" => subscription.copy_resume = copy_resume(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(subscription)
}

fn copy_resume(elements: &mut Elements<'_, '_>) -> Result<Option<CopyResume>, WireError> {
    let mut resume = CopyResume {
        start: WallTime(0.0),
        table: String::new(),
        after_key: Vec::new(),
        order: 0,
    };
    let is_there = elements.map("copyResume", |key, value| {
        match key {
            "copyStartTime" => {
                resume.start = WallTime(value.number("copyStartTime")?.unwrap_or_default());
            }
            "currentTable" => resume.table = value.text("currentTable")?.unwrap_or_default(),
            "afterKey" => resume.after_key = value.raw()?.unwrap_or_default().to_vec(),
            "copyOrder" => resume.order = value.id("copyOrder")?.unwrap_or_default(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(is_there.map(|()| resume))
}

impl Message {
    /// Reads a whole command.
    ///
    /// # Errors
    /// It is not one MessagePack array that starts with a code, or an element has the wrong type.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (count, code) = read_code(&mut reader)?;
        let message = Self::decode_after_code(&mut reader, count, code)?;
        if reader.is_at_end() {
            Ok(message)
        } else {
            Err(WireError::TrailingBytes)
        }
    }

    fn decode_after_code(
        reader: &mut Reader<'_>,
        mut count: u32,
        code: u32,
    ) -> Result<Self, WireError> {
        if code == code::BLOB_CHUNK {
            let (header, length) = read_chunk_header(reader, &mut count)?;
            let body = Bytes::copy_from_slice(reader.take(length as usize)?);
            control::skip(reader, u64::from(count))?;
            return Ok(Self::BlobChunk { header, body });
        }
        let name = command_name(code);
        let mut elements = Elements::new(reader, count, name);
        let missing = |field| WireError::Field {
            command: name,
            field,
        };
        let message = match code {
            code::SUBSCRIPTION_REQUEST => Self::SubscriptionRequest(SubscriptionRequest {
                mode: if count > 2 { Mode::B } else { Mode::A },
                subscriptions: elements.list("subscriptions", subscription)?,
                excluded: elements.texts("excludedNodes")?,
                request: elements.id("requestId")?,
            }),
            code::RESIDENCY_LIST => Self::ResidencyList {
                nodes: elements.texts("nodeNames")?,
                id: elements
                    .id("residencyId")?
                    .ok_or_else(|| missing("residencyId"))?,
            },
            code::TABLE_FIXED_STRUCTURE => {
                let mut structure = TableStructure::default();
                elements
                    .map("structures", |key, value| {
                        match key {
                            "typedStructs" => structure.typed = value.raw()?.map(<[u8]>::to_vec),
                            "structures" => structure.named = value.raw()?.map(<[u8]>::to_vec),
                            "attributes" => {
                                structure.definition.attributes =
                                    value.list("attributes", attribute)?;
                            }
                            "schemaDefined" => {
                                structure.definition.schema_defined = value.is_true()?;
                            }
                            _ => {}
                        }
                        Ok(())
                    })?
                    .ok_or_else(|| missing("structures"))?;
                structure.table = elements.id("tableId")?.ok_or_else(|| missing("tableId"))?;
                structure.definition.table = elements
                    .text("tableName")?
                    .ok_or_else(|| missing("tableName"))?;
                Self::TableStructure(structure)
            }
            code::GET_RECORD => Self::GetRecord {
                request: elements
                    .id("requestId")?
                    .ok_or_else(|| missing("requestId"))?,
                table: elements.id("tableId")?.ok_or_else(|| missing("tableId"))?,
                record: elements.raw()?.ok_or_else(|| missing("recordId"))?.to_vec(),
                table_name: elements.text("tableName")?,
            },
            code::GET_RECORD_RESPONSE => Self::GetRecordResponse {
                request: elements
                    .id("requestId")?
                    .ok_or_else(|| missing("requestId"))?,
                answer: elements.raw()?.map(<[u8]>::to_vec),
            },
            code::OPERATION_REQUEST => Self::OperationRequest(
                elements
                    .raw()?
                    .ok_or_else(|| missing("operation"))?
                    .to_vec(),
            ),
            code::OPERATION_RESPONSE => Self::OperationResponse(
                elements.raw()?.ok_or_else(|| missing("response"))?.to_vec(),
            ),
            code::NODE_NAME => Self::NodeName(NodeName {
                name: elements.text("nodeName")?,
                database: elements.text("databaseName")?.unwrap_or_default(),
                tables: elements.list("tables", table_definition)?,
                capabilities: capabilities(&mut elements)?,
            }),
            code::NODE_NAME_TO_ID_MAP => {
                let mut ids = Vec::new();
                elements
                    .map("map", |name, value| {
                        if let Some(id) = value.id("id")? {
                            ids.push((name.into(), id));
                        }
                        Ok(())
                    })?
                    .ok_or_else(|| missing("map"))?;
                Self::NodeMap {
                    ids,
                    subscribed: elements.texts("subscribedNames")?,
                }
            }
            code::DISCONNECT => Self::Disconnect,
            code::SEQUENCE_ID_UPDATE => Self::SequenceUpdate(sequence(&mut elements)?),
            code::COMMITTED_UPDATE => Self::CommittedUpdate(sequence(&mut elements)?),
            code::DB_SCHEMA => Self::Schema {
                tables: elements.list("tables", table_definition)?,
                database: elements.text("databaseName")?.unwrap_or_default(),
                request: elements.id("requestId")?,
            },
            code::SUBSCRIPTION_UPDATE => {
                let (mut exclude, mut include) = (Vec::new(), Vec::new());
                elements.map("change", |key, value| {
                    match key {
                        "excludeNodes" => exclude = value.texts("excludeNodes")?,
                        "includeNodes" => include = value.texts("includeNodes")?,
                        _ => {}
                    }
                    Ok(())
                })?;
                Self::SubscriptionUpdate { exclude, include }
            }
            code::COPY_START => Self::CopyStart {
                start: WallTime(sequence(&mut elements)?.0),
                order: elements.id("copyOrderVersion")?.unwrap_or_default(),
            },
            code::COPY_COMPLETE => Self::CopyComplete,
            other => Self::Unknown(other),
        };
        elements.finish()?;
        Ok(message)
    }

    /// Writes the command, in the layout of the peers.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::SubscriptionRequest(request) => encode_request(&mut out, request),
            Self::ResidencyList { nodes, id } => {
                command(&mut out, code::RESIDENCY_LIST, 2);
                out.texts(nodes).number(f64::from(*id));
            }
            Self::TableStructure(structure) => {
                command(&mut out, code::TABLE_FIXED_STRUCTURE, 3);
                out.map(4);
                let lists = [
                    ("typedStructs", &structure.typed),
                    ("structures", &structure.named),
                ];
                for (name, list) in lists {
                    out.text(name).optional(list.as_deref(), |out, list| {
                        out.raw(list);
                    });
                }
                out.text("attributes");
                attributes(&mut out, &structure.definition);
                out.text("schemaDefined")
                    .boolean(structure.definition.schema_defined)
                    .number(f64::from(structure.table))
                    .text(&structure.definition.table);
            }
            Self::GetRecord {
                request,
                table,
                record,
                table_name,
            } => {
                let count = 3 + usize::from(table_name.is_some());
                command(&mut out, code::GET_RECORD, count);
                out.number(f64::from(*request))
                    .number(f64::from(*table))
                    .raw(record);
                if let Some(name) = table_name {
                    out.text(name);
                }
            }
            Self::GetRecordResponse { request, answer } => {
                let count = 1 + usize::from(answer.is_some());
                command(&mut out, code::GET_RECORD_RESPONSE, count);
                out.number(f64::from(*request))
                    .raw(answer.as_deref().unwrap_or_default());
            }
            Self::OperationRequest(operation) => {
                command(&mut out, code::OPERATION_REQUEST, 1);
                out.raw(operation);
            }
            Self::OperationResponse(response) => {
                command(&mut out, code::OPERATION_RESPONSE, 1);
                out.raw(response);
            }
            Self::NodeName(node) => {
                let count = 3 + usize::from(node.capabilities.is_some());
                command(&mut out, code::NODE_NAME, count);
                out.optional(node.name.as_deref(), |out, name| {
                    out.text(name);
                })
                .text(&node.database);
                tables(&mut out, &node.tables);
                if let Some(capabilities) = &node.capabilities {
                    let budget = capabilities.setup_budget;
                    out.map(1 + u16::from(budget.is_some()))
                        .text("subscriptionSetupAck")
                        .number(capabilities.setup_ack);
                    if let Some(budget) = budget {
                        out.text("subscriptionSetupBudgetMs").number(budget);
                    }
                }
            }
            Self::NodeMap { ids, subscribed } => {
                command(&mut out, code::NODE_NAME_TO_ID_MAP, 2);
                out.map(ids.len() as u16);
                for (name, id) in ids {
                    out.text(name).number(f64::from(*id));
                }
                out.texts(subscribed);
            }
            Self::Disconnect => {
                command(&mut out, code::DISCONNECT, 0);
            }
            Self::SequenceUpdate(sequence) => {
                command(&mut out, code::SEQUENCE_ID_UPDATE, 1);
                out.number(sequence.0);
            }
            Self::CommittedUpdate(sequence) => {
                command(&mut out, code::COMMITTED_UPDATE, 1);
                out.number(sequence.0);
            }
            Self::Schema {
                tables: list,
                database,
                request,
            } => {
                command(&mut out, code::DB_SCHEMA, 3);
                tables(&mut out, list);
                out.text(database).optional(*request, |out, request| {
                    out.number(f64::from(request));
                });
            }
            Self::BlobChunk { header, body } => {
                command(&mut out, code::BLOB_CHUNK, 2);
                encode_chunk_header(&mut out, header);
                out.bytes(body);
            }
            Self::SubscriptionUpdate { exclude, include } => {
                command(&mut out, code::SUBSCRIPTION_UPDATE, 1);
                out.map(2)
                    .text("excludeNodes")
                    .texts(exclude)
                    .text("includeNodes")
                    .texts(include);
            }
            Self::CopyStart { start, order } => {
                command(&mut out, code::COPY_START, 2);
                out.number(start.0).number(f64::from(*order));
            }
            Self::CopyComplete => {
                command(&mut out, code::COPY_COMPLETE, 0);
            }
            Self::Unknown(code) => {
                command(&mut out, *code, 0);
            }
        }
        out.finish()
    }
}

fn sequence(elements: &mut Elements<'_, '_>) -> Result<Sequence, WireError> {
    let number = elements
        .number("sequence")?
        .ok_or_else(|| elements.field_error("sequence"))?;
    if number.is_finite() {
        Ok(Sequence(number))
    } else {
        Err(WireError::NotFinite("a sequence"))
    }
}

fn capabilities(elements: &mut Elements<'_, '_>) -> Result<Option<Capabilities>, WireError> {
    let mut capabilities = Capabilities::default();
    let is_there = elements.map("capabilities", |key, value| {
        match key {
            "subscriptionSetupAck" => {
                capabilities.setup_ack = value.number("subscriptionSetupAck")?.unwrap_or_default();
            }
            "subscriptionSetupBudgetMs" => {
                capabilities.setup_budget = value.number("subscriptionSetupBudgetMs")?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(is_there.map(|()| capabilities))
}

/// The header of a command whose code is followed by `count` elements.
fn command(out: &mut Writer, code: u32, count: usize) {
    out.array(1 + count).number(f64::from(code));
}

fn encode_request(out: &mut Writer, request: &SubscriptionRequest) {
    let is_b = request.mode == Mode::B;
    command(out, code::SUBSCRIPTION_REQUEST, 2 + usize::from(is_b));
    out.array(request.subscriptions.len());
    for subscription in &request.subscriptions {
        out.map(6 + u16::from(is_b))
            .text("name")
            .text(&subscription.name)
            .text("replicateByDefault")
            .boolean(subscription.replicate_by_default)
            .text("tables")
            .texts(&subscription.tables)
            .text("startTime")
            .number(subscription.start.0)
            .text("isLeader")
            .optional(subscription.is_leader, |out, is_leader| {
                out.boolean(is_leader);
            })
            .text("endTime")
            .optional(subscription.end, |out, end| {
                out.number(end);
            });
        if is_b {
            out.text("copyResume")
                .optional(subscription.copy_resume.as_ref(), |out, resume| {
                    out.map(4)
                        .text("copyStartTime")
                        .number(resume.start.0)
                        .text("currentTable")
                        .text(&resume.table)
                        .text("afterKey")
                        .raw(&resume.after_key)
                        .text("copyOrder")
                        .number(f64::from(resume.order));
                });
        }
    }
    out.texts(&request.excluded);
    if is_b {
        out.optional(request.request, |out, request| {
            out.number(f64::from(request));
        });
    }
}

fn encode_chunk_header(out: &mut Writer, header: &ChunkHeader) {
    let text = |out: &mut Writer, name: &str, value: &Option<String>| {
        if let Some(value) = value {
            out.text(name).text(value);
        }
    };
    let number = |out: &mut Writer, name: &str, value: Option<f64>| {
        if let Some(value) = value {
            out.text(name).number(value);
        }
    };
    let members = [
        header.transfer.is_some(),
        header.size.is_some(),
        header.finished,
        header.error.is_some(),
        header.error_code.is_some(),
        header.error_status.is_some(),
    ];
    out.map(1 + members.iter().filter(|is_there| **is_there).count() as u16)
        .text("fileId")
        .text(&header.file);
    number(out, "transferId", header.transfer.map(|id| id as f64));
    number(out, "size", header.size.map(|size| size as f64));
    if header.finished {
        out.text("finished").boolean(true);
    }
    text(out, "error", &header.error);
    text(out, "errorCode", &header.error_code);
    number(out, "errorStatus", header.error_status.map(f64::from));
}

fn tables(out: &mut Writer, definitions: &[TableDefinition]) {
    out.array(definitions.len());
    for definition in definitions {
        out.map(3)
            .text("table")
            .text(&definition.table)
            .text("schemaDefined")
            .boolean(definition.schema_defined)
            .text("attributes");
        attributes(out, definition);
    }
}

fn attributes(out: &mut Writer, definition: &TableDefinition) {
    out.array(definition.attributes.len());
    for attribute in &definition.attributes {
        out.map(3)
            .text("name")
            .text(&attribute.name)
            .text("type")
            .optional(attribute.kind.as_deref(), |out, kind| {
                out.text(kind);
            })
            .text("isPrimaryKey")
            .optional(attribute.is_primary_key.then_some(true), |out, value| {
                out.boolean(value);
            });
    }
}

const fn command_name(code: u32) -> &'static str {
    match code {
        code::SUBSCRIPTION_REQUEST => "SUBSCRIPTION_REQUEST",
        code::RESIDENCY_LIST => "RESIDENCY_LIST",
        code::TABLE_FIXED_STRUCTURE => "TABLE_FIXED_STRUCTURE",
        code::GET_RECORD => "GET_RECORD",
        code::GET_RECORD_RESPONSE => "GET_RECORD_RESPONSE",
        code::OPERATION_REQUEST => "OPERATION_REQUEST",
        code::OPERATION_RESPONSE => "OPERATION_RESPONSE",
        code::NODE_NAME => "NODE_NAME",
        code::NODE_NAME_TO_ID_MAP => "NODE_NAME_TO_ID_MAP",
        code::SEQUENCE_ID_UPDATE => "SEQUENCE_ID_UPDATE",
        code::COMMITTED_UPDATE => "COMMITTED_UPDATE",
        code::DB_SCHEMA => "DB_SCHEMA",
        code::SUBSCRIPTION_UPDATE => "SUBSCRIPTION_UPDATE",
        code::COPY_START => "COPY_START",
        _ => "a command",
    }
}
