//! What is written is read back as it was.

use bytes::Bytes;
use proptest::prelude::*;
use replproto_core::config::Mode;
use replproto_core::wire::Message;
use replproto_core::wire::message::{
    Capabilities, ChunkHeader, CopyResume, NodeName, Subscription, SubscriptionRequest,
    TableStructure,
};
use replproto_core::{Attribute, Sequence, TableDefinition, WallTime};

fn number() -> impl Strategy<Value = f64> {
    use prop::num::f64::{NEGATIVE, NORMAL, POSITIVE, ZERO};
    prop_oneof![
        (POSITIVE | NEGATIVE | NORMAL | ZERO).prop_map(|number| number + 0.0),
        any::<u32>().prop_map(f64::from),
        any::<i32>().prop_map(f64::from),
    ]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(".{0,40}", 0..5)
}

/// A value in MessagePack that stands for itself.
fn raw() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![0x90]),
        Just(vec![0x91, 0x92, 0xa1, b'a', 0xc3]),
        Just(vec![
            0xde, 0, 1, 0xa1, b'a', 0xcb, 0x42, 0, 0, 0, 0, 0, 0, 0
        ]),
    ]
}

fn definition() -> impl Strategy<Value = TableDefinition> {
    let attribute = (".{0,20}", prop::option::of(".{0,10}"), any::<bool>());
    let attribute = attribute.prop_map(|(name, kind, is_primary_key)| Attribute {
        name,
        kind,
        is_primary_key,
    });
    let attributes = prop::collection::vec(attribute, 0..4);
    (".{0,40}", any::<bool>(), attributes).prop_map(|(table, schema_defined, attributes)| {
        TableDefinition {
            table,
            schema_defined,
            attributes,
        }
    })
}

fn chunk() -> impl Strategy<Value = Message> {
    let whole = || prop::option::of(0..1_u64 << 53);
    let error = prop::option::of((
        ".{0,20}",
        prop::option::of("[A-Z]{1,8}"),
        any::<Option<u16>>(),
    ));
    let body = prop::collection::vec(any::<u8>(), 0..70_000);
    (
        "[0-9a-f]{1,16}",
        whole(),
        whole(),
        any::<bool>(),
        error,
        body,
    )
        .prop_map(|(file, transfer, size, finished, error, body)| {
            let (error, error_code, error_status) = error
                .map_or((None, None, None), |(text, code, status)| {
                    (Some(text), code, status)
                });
            let header = ChunkHeader {
                file,
                transfer,
                size,
                finished,
                error,
                error_code,
                error_status,
            };
            Message::BlobChunk {
                header,
                body: Bytes::from(body),
            }
        })
}

fn request() -> impl Strategy<Value = Message> {
    let resume =
        (number(), ".{0,20}", raw(), any::<u32>()).prop_map(|(start, table, after_key, order)| {
            CopyResume {
                start: WallTime(start),
                table,
                after_key,
                order,
            }
        });
    let subscription = (
        ".{0,20}",
        any::<bool>(),
        texts(),
        number(),
        any::<Option<bool>>(),
        prop::option::of(number()),
        prop::option::of(resume),
    );
    let subscriptions = prop::collection::vec(subscription, 0..3);
    (any::<bool>(), subscriptions, texts(), any::<Option<u32>>()).prop_map(
        |(is_b, subscriptions, excluded, request)| {
            let subscriptions = subscriptions.into_iter();
            let subscriptions = subscriptions.map(
                |(name, replicate_by_default, tables, start, is_leader, end, resume)| {
                    Subscription {
                        name,
                        replicate_by_default,
                        tables,
                        start: Sequence(start),
                        is_leader,
                        end,
                        copy_resume: resume.filter(|_| is_b),
                    }
                },
            );
            Message::SubscriptionRequest(SubscriptionRequest {
                mode: if is_b { Mode::B } else { Mode::A },
                subscriptions: subscriptions.collect(),
                excluded,
                request: request.filter(|_| is_b),
            })
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let definitions = || prop::collection::vec(definition(), 0..4);
    prop_oneof![
        request(),
        (texts(), any::<u32>()).prop_map(|(nodes, id)| Message::ResidencyList { nodes, id }),
        (
            prop::option::of(raw()),
            prop::option::of(raw()),
            definition(),
            any::<u32>()
        )
            .prop_map(|(typed, named, definition, table)| Message::TableStructure(
                TableStructure {
                    typed,
                    named,
                    definition,
                    table
                }
            )),
        (
            any::<u32>(),
            any::<u32>(),
            raw(),
            prop::option::of(".{0,20}")
        )
            .prop_map(|(request, table, record, table_name)| Message::GetRecord {
                request,
                table,
                record,
                table_name
            }),
        (any::<u32>(), prop::option::of(raw()))
            .prop_map(|(request, answer)| Message::GetRecordResponse { request, answer }),
        raw().prop_map(Message::OperationRequest),
        raw().prop_map(Message::OperationResponse),
        (
            prop::option::of(".{1,20}"),
            ".{0,20}",
            definitions(),
            prop::option::of((number(), prop::option::of(number())))
        )
            .prop_map(|(name, database, tables, capabilities)| Message::NodeName(
                NodeName {
                    name,
                    database,
                    tables,
                    capabilities: capabilities.map(|(setup_ack, setup_budget)| Capabilities {
                        setup_ack,
                        setup_budget
                    }),
                }
            )),
        (
            prop::collection::vec((".{0,20}", any::<u32>()), 0..5),
            texts()
        )
            .prop_map(|(ids, subscribed)| Message::NodeMap { ids, subscribed }),
        Just(Message::Disconnect),
        number().prop_map(|sequence| Message::SequenceUpdate(Sequence(sequence))),
        number().prop_map(|sequence| Message::CommittedUpdate(Sequence(sequence))),
        (definitions(), ".{0,20}", any::<Option<u32>>()).prop_map(|(tables, database, request)| {
            Message::Schema {
                tables,
                database,
                request,
            }
        }),
        chunk(),
        (texts(), texts())
            .prop_map(|(exclude, include)| Message::SubscriptionUpdate { exclude, include }),
        (number(), any::<u32>()).prop_map(|(start, order)| Message::CopyStart {
            start: WallTime(start),
            order
        }),
        Just(Message::CopyComplete),
        (150..u32::MAX).prop_map(Message::Unknown),
    ]
}

proptest! {
    #[test]
    fn every_message_comes_back(message in message()) {
        let bytes = message.encode();
        prop_assert!(bytes[0] > 0x7f);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
        prop_assert_eq!(Message::decode(&bytes).unwrap().encode(), bytes);
    }

    #[test]
    fn every_prefix_is_an_error(message in message(), cut: prop::sample::Index) {
        let bytes = message.encode();
        // An unknown command has nothing that could be missing but its code.
        prop_assert!(Message::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, code in 129..150_u8) {
        let _ = Message::decode(&bytes);
        let mut command = vec![0x90 | (1 + bytes.len() as u8 % 8), 0xcc, code];
        command.extend(bytes);
        let _ = Message::decode(&command);
    }
}
