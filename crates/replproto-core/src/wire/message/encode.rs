//! Writing commands.

use alloc::string::String;
use alloc::vec::Vec;

use super::{ChunkHeader, Message, SubscriptionRequest, code};
use crate::config::Mode;
use crate::table::TableDefinition;
use crate::wire::control::Writer;

impl Message {
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
