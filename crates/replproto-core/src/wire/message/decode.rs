//! Reading commands.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{
    Capabilities, ChunkHeader, CopyResume, Message, NodeName, Subscription, SubscriptionRequest,
    TableStructure, code,
};
use crate::config::Mode;
use crate::msgpack::{Reader, Token};
use crate::table::{Attribute, TableDefinition};
use crate::time::{Sequence, WallTime};
use crate::wire::WireError;
use crate::wire::control::{self, Elements};

impl Message {
    /// Reads a whole command.
    ///
    /// # Errors
    /// It is not one MessagePack array that starts with a code, or an element has the wrong type.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::decode_within(bytes, usize::MAX)
    }

    /// The same for a command of a peer that is not trusted: what it unfolds to takes at most about `room` bytes of memory.
    /// A list of short names takes many times its own bytes.
    ///
    /// # Errors
    /// As [`Message::decode`], and [`WireError::Unfolds`].
    pub fn decode_within(bytes: &[u8], mut room: usize) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (count, code) = read_code(&mut reader)?;
        let message = Self::decode_after_code(&mut reader, count, code, &mut room)?;
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
        room: &mut usize,
    ) -> Result<Self, WireError> {
        if code == code::BLOB_CHUNK {
            let (header, length) = read_chunk_header(reader, &mut count)?;
            let body = Bytes::copy_from_slice(reader.take(length as usize)?);
            control::skip(reader, u64::from(count))?;
            return Ok(Self::BlobChunk { header, body });
        }
        let name = command_name(code);
        let mut elements = Elements::new(reader, count, name, room);
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
                id: elements.required("residencyId", Elements::id)?,
            },
            code::TABLE_FIXED_STRUCTURE => {
                let mut structure = TableStructure::default();
                elements
                    .map("structures", |key, value| {
                        match key {
                            "typedStructs" => structure.typed = value.any("list")?,
                            "structures" => structure.named = value.any("list")?,
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
                structure.table = elements.required("tableId", Elements::id)?;
                structure.definition.table = elements.required("tableName", Elements::text)?;
                Self::TableStructure(structure)
            }
            code::GET_RECORD => Self::GetRecord {
                request: elements.required("requestId", Elements::id)?,
                table: elements.required("tableId", Elements::id)?,
                record: elements.required("recordId", Elements::any)?,
                table_name: elements.text("tableName")?,
            },
            code::GET_RECORD_RESPONSE => Self::GetRecordResponse {
                request: elements.required("requestId", Elements::id)?,
                answer: elements.any("answer")?,
            },
            code::OPERATION_REQUEST => {
                Self::OperationRequest(elements.required("operation", Elements::any)?)
            }
            code::OPERATION_RESPONSE => {
                Self::OperationResponse(elements.required("response", Elements::any)?)
            }
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
                            value.take_room(2 * size_of::<(String, u32)>())?;
                            ids.push((value.keep_text(name.as_bytes())?, id));
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
}

/// Reads the start of a command: how many elements it has and its code. Both are known after at most 14 bytes.
pub(crate) fn read_code(reader: &mut Reader<'_>) -> Result<(u32, u32), WireError> {
    let Token::Array(count) = reader.token()? else {
        return Err(WireError::NotACommand);
    };
    let mut room = 0;
    let mut elements = Elements::new(reader, count, "a command", &mut room);
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
    // Three texts, none of them longer than the header.
    let mut room = usize::MAX;
    let mut elements = Elements::new(reader, 1.min(*left), COMMAND, &mut room);
    *left = left.saturating_sub(1);
    elements.map("header", |key, value| {
        match key {
            "fileId" => file = value.text("fileId")?,
            "transferId" => header.transfer = value.number("transferId")?.map(|id| id as u64),
            "size" => header.size = value.number("size")?.map(|size| size as u64),
            "finished" => header.finished = value.boolean("finished")?.unwrap_or(false),
            "error" => header.error = value.short_text()?,
            "errorCode" => header.error_code = value.short_text()?,
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
