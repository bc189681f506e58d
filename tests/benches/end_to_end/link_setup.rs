//! The conversation at the start of a link, as both ends have it here.

use replproto_core::Sequence;
use replproto_core::config::Mode;
use replproto_core::wire::Message;
use replproto_core::wire::message::{Capabilities, NodeName, Subscription, SubscriptionRequest};

/// The publisher's name, as the sets have it.
pub(crate) const PUBLISHER: &str = "node-a";
/// The receiver's name.
pub(crate) const RECEIVER: &str = "bench";
pub(crate) const DATABASE: &str = "data";

/// The whole log: not a base copy, so that positions count.
pub(crate) const START: Sequence = Sequence(1.0);

/// The publisher's last word is that its log has been examined up to here, which is past every time in the sets: the
/// measurement ends when that has arrived.
pub(crate) const END: Sequence = Sequence(9e12);

/// How that message begins.
const END_PREFIX: [u8; 3] = [0x92, 0xcc, 0x8f];

/// Whether this message of a publisher is its last.
pub(crate) fn is_last(message: &[u8]) -> bool {
    message.starts_with(&END_PREFIX)
}

/// The publisher's greeting.
pub(crate) fn publisher_name() -> Message {
    Message::NodeName(NodeName {
        name: Some(PUBLISHER.into()),
        database: DATABASE.into(),
        tables: Vec::new(),
        capabilities: Some(Capabilities {
            setup_ack: 1.0,
            setup_budget: None,
        }),
    })
}

/// The publisher's answer to a request.
pub(crate) fn schema(request: Option<u32>) -> Message {
    Message::Schema {
        tables: Vec::new(),
        database: DATABASE.into(),
        request,
    }
}

/// What a receiver says that does not listen to the answers.
pub(crate) fn receiver_words() -> [Message; 2] {
    let name = NodeName {
        name: Some(RECEIVER.into()),
        database: DATABASE.into(),
        tables: Vec::new(),
        capabilities: None,
    };
    let request = SubscriptionRequest {
        mode: Mode::A,
        subscriptions: vec![Subscription {
            name: PUBLISHER.into(),
            replicate_by_default: true,
            tables: Vec::new(),
            start: START,
            is_leader: None,
            end: None,
            copy_resume: None,
        }],
        excluded: vec![RECEIVER.into()],
        request: None,
    };
    [
        Message::NodeName(name),
        Message::SubscriptionRequest(request),
    ]
}
