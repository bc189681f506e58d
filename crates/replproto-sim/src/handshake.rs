//! What a well-behaved publisher says before its first batch.

use bytes::Bytes;
use replproto_core::TableDefinition;
use replproto_core::wire::Message;
use replproto_core::wire::message::{Capabilities, NodeName, TableStructure};

/// The messages that set a link up, up to the structures of its only table.
pub(crate) fn handshake(table: &str, id: u32, structures: &[u8]) -> Vec<Bytes> {
    let definition = TableDefinition {
        table: table.into(),
        ..TableDefinition::default()
    };
    [
        Message::NodeName(NodeName {
            name: Some("peer".into()),
            database: "data".into(),
            tables: Vec::new(),
            capabilities: Some(Capabilities {
                setup_ack: 1.0,
                setup_budget: None,
            }),
        }),
        Message::Schema {
            tables: vec![definition.clone()],
            database: "data".into(),
            request: Some(1),
        },
        Message::NodeMap {
            ids: vec![("peer".into(), 0)],
            subscribed: vec!["peer".into()],
        },
        Message::TableStructure(TableStructure {
            definition,
            named: Some(structures.into()),
            table: id,
            ..TableStructure::default()
        }),
    ]
    .map(|message| message.encode().into())
    .into()
}
