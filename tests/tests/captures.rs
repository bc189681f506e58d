//! What the protocol's home implementation sent, byte for byte, against this one.
//!
//! `REPLPROTO_CAPTURES` names another folder of recordings in the same form.

#[path = "captures/host.rs"]
mod host;
#[path = "captures/recording.rs"]
mod recording;

use std::time::Duration;

use bytes::Bytes;
use host::Host;
use recording::Recording;
use replproto_core::config::Mode;
use replproto_core::key::Key;
use replproto_core::value::Value;
use replproto_core::wire::Message;
use replproto_core::wire::message::{CopyResume, SubscriptionRequest};
use replproto_core::{Config, CopyCursor, Cursor, Input, Instant, Sequence, Start, WallTime};
use replproto_tests::tagged;
use serde_json::Value as Json;

/// Messages up to this length are cut at each of their bytes.
const SMALL: usize = 2048;

fn mode(recording: &Recording) -> Mode {
    if recording.is_old() { Mode::A } else { Mode::B }
}

/// The follower of the recordings.
fn config(recording: &Recording) -> Config {
    Config {
        peer_name: Some("node-a".into()),
        mode: mode(recording),
        excluded_origins: vec!["node-other".into()],
        ..Config::new("node-follower", "data")
    }
}

fn number(json: &Json) -> f64 {
    match tagged::value(json) {
        Value::Number(number) => number,
        other => panic!("{other:?} is no number"),
    }
}

/// Feeds a whole recording; `cut` says how each of its messages is cut.
fn receive(recording: &Recording, cut: impl Fn(&Bytes) -> Vec<Bytes>) -> Host {
    let asked = &recording.json["answersTo"][1][0]["startTime"];
    let start = match number(asked) {
        0.0 => Start::Copy,
        sequence => Start::At(Sequence(sequence)),
    };
    let mut host = Host::connected(config(recording), start);
    for message in &recording.messages {
        host.feed(&cut(message));
    }
    host
}

fn whole(message: &Bytes) -> Vec<Bytes> {
    vec![message.clone()]
}

/// What the description of a recording says a receiver is to be handed: tables, records, ends of transactions.
fn expected_lines(recording: &Recording) -> Vec<String> {
    const EVENTS: [&str; 6] = [
        "put",
        "delete",
        "message",
        "invalidate",
        "patch",
        "relocate",
    ];
    let text = |json: &Json| json.as_str().expect("text").to_owned();
    let mut lines = Vec::new();
    for message in recording.described() {
        if message["command"] == "TABLE_FIXED_STRUCTURE" {
            lines.push(format!("table {}", text(&message["content"][3])));
        }
        let Some(batch) = message.get("batch") else {
            continue;
        };
        for entry in batch["entries"].as_array().expect("entries") {
            let kind = text(&entry["type"]);
            assert!(EVENTS.contains(&&*kind), "{kind}");
            lines.push(format!(
                "record {}\t{}\t{kind}\t{:016x}\t{}",
                text(&entry["table"]),
                text(&entry["keyHex"]),
                number(&entry["version"]).to_bits(),
                text(&entry["origin"]),
            ));
        }
        let sequence = (!batch["sequence"].is_null()).then(|| number(&batch["sequence"]));
        lines.push(format!("end {sequence:?}"));
    }
    lines
}

/// The newest position that the recorded publisher announced.
fn last_sequence(recording: &Recording) -> f64 {
    let sequences = recording.described().filter_map(|message| {
        if message["command"] == "SEQUENCE_ID_UPDATE" {
            return Some(number(&message["content"][1]));
        }
        let sequence = &message.get("batch")?["sequence"];
        (!sequence.is_null()).then(|| number(sequence))
    });
    sequences.fold(f64::NAN, f64::max)
}

#[test]
fn every_publisher_is_followed_to_the_state_that_it_had() {
    for recording in Recording::all("accepting-") {
        let name = &recording.name;
        let host = receive(&recording, whole);
        assert_eq!(host.lines, expected_lines(&recording), "{name}");
        host.check_state(name, &recording.json["state"]);
        let is_copy = name.contains("copy");
        assert_eq!(
            host.copies,
            (u32::from(is_copy), u32::from(is_copy)),
            "{name}"
        );
        let cursor = host.cursor.as_ref().map(|cursor| cursor.sequence.0);
        if name.contains("A-blob-error") {
            // Without a code nobody knows whether the blob will come, so the cursor stays before its record.
            assert_eq!((host.held.len(), host.gone.len()), (1, 0), "{name}");
            assert!(
                cursor.is_none_or(|cursor| cursor < last_sequence(&recording)),
                "{name}"
            );
            assert!(!host.receiver.is_idle(), "{name}");
        } else {
            let gone = usize::from(name.contains("blob-error"));
            assert_eq!((host.held.len(), host.gone.len()), (0, gone), "{name}");
            assert_eq!(cursor, Some(last_sequence(&recording)), "{name}");
            assert_eq!(host.receiver.retained_bytes(), 0, "{name}");
        }
        println!("{name}: {} messages", recording.messages.len());
    }
}

#[test]
fn it_makes_no_difference_where_the_messages_are_cut() {
    for recording in Recording::all("accepting-") {
        let expected = receive(&recording, whole);
        let small = recording
            .messages
            .iter()
            .map(Bytes::len)
            .filter(|length| *length <= SMALL);
        let longest = small.max().expect("small messages");
        let mut seed = 1_u64;
        for position in 1..longest {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let host = receive(&recording, |message| {
                let at = if message.len() <= SMALL {
                    position
                } else {
                    (seed >> 33) as usize % message.len()
                };
                let at = at.min(message.len() - 1);
                vec![message.slice(..at), message.slice(at..)]
            });
            assert_eq!(
                host.lines, expected.lines,
                "{} at {position}",
                recording.name
            );
            assert_eq!(
                host.cursor, expected.cursor,
                "{} at {position}",
                recording.name
            );
            if position % 16 == 1 {
                host.check_state(&recording.name, &recording.json["state"]);
            }
        }
        let bytewise = receive(&recording, |message| {
            message.chunks(1).map(Bytes::copy_from_slice).collect()
        });
        assert_eq!(bytewise.lines, expected.lines);
        bytewise.check_state(&recording.name, &recording.json["state"]);
    }
}

/// Compares a decoded command with its description.
fn check_content(name: &str, message: &Message, content: &Json) {
    match message {
        Message::NodeName(node) => {
            assert_eq!(
                content[1],
                node.name.as_deref().unwrap_or_default(),
                "{name}"
            );
            assert_eq!(content[2], *node.database, "{name}");
            assert!(node.tables.is_empty());
            let capabilities = node.capabilities.as_ref();
            assert_eq!(content.get(4).is_some(), capabilities.is_some(), "{name}");
            if let Some(capabilities) = capabilities {
                assert_eq!(
                    content[4]["subscriptionSetupAck"].as_f64(),
                    Some(capabilities.setup_ack)
                );
                assert_eq!(
                    content[4]["subscriptionSetupBudgetMs"].as_f64(),
                    capabilities.setup_budget
                );
            }
        }
        Message::SubscriptionRequest(request) => check_request(name, request, content),
        Message::CommittedUpdate(sequence) => assert_eq!(sequence.0, number(&content[1]), "{name}"),
        other => panic!("{name}: a subscriber sends no {other:?}"),
    }
}

fn check_request(name: &str, request: &SubscriptionRequest, content: &Json) {
    assert_eq!(content[2], Json::from(request.excluded.clone()), "{name}");
    assert_eq!(
        content.get(3).and_then(Json::as_u64),
        request.request.map(u64::from)
    );
    let [subscription] = &request.subscriptions[..] else {
        panic!("{name}: {request:?}");
    };
    let described = &content[1][0];
    assert_eq!(described["name"], *subscription.name);
    assert_eq!(
        described["replicateByDefault"],
        subscription.replicate_by_default
    );
    assert_eq!(described["tables"], Json::from(subscription.tables.clone()));
    assert_eq!(number(&described["startTime"]), subscription.start.0);
    assert_eq!(described["isLeader"].as_bool(), subscription.is_leader);
    assert_eq!(subscription.end, None);
    let resume = &described["copyResume"];
    assert_eq!(
        resume.get("copyOrder").is_some(),
        subscription.copy_resume.is_some()
    );
    if let Some(copy) = &subscription.copy_resume {
        assert_eq!(number(&resume["copyStartTime"]), copy.start.0);
        assert_eq!(resume["currentTable"], *copy.table);
        assert_eq!(resume["copyOrder"], copy.order);
        assert_eq!(copy.after_key, control(&resume["afterKey"]));
    }
}

/// A key as the requests write it.
fn control(key: &Json) -> Vec<u8> {
    let mut bytes = Vec::new();
    let key = tagged::key(key).expect("a key");
    key.write_control(&mut bytes)
        .expect("a key that can be sent");
    bytes
}

#[test]
fn what_subscribers_send_is_read_and_written_as_it_was() {
    for recording in Recording::all("dialling-") {
        for (bytes, description) in recording.messages.iter().zip(recording.described()) {
            let message = Message::decode(bytes).expect("valid");
            check_content(&recording.name, &message, &description["content"]);
            assert_eq!(message.encode(), &bytes[..], "{}", recording.name);
        }
    }
}

/// What a receiver of the same configuration sends when it is to follow from the same position up to `confirmed`.
fn dialled(recording: &Recording, request: &SubscriptionRequest, confirmed: f64) -> Vec<Bytes> {
    let subscription = &request.subscriptions[0];
    let start = match &subscription.copy_resume {
        Some(copy) => Start::Resume(Cursor {
            sequence: Sequence(0.0),
            announced: Sequence(0.0),
            copy: Some(Box::new(copy_cursor(copy))),
            selection: None,
        }),
        None if subscription.start.0 > 0.0 => Start::At(subscription.start),
        None => Start::Copy,
    };
    let mut host = Host::connected(config(recording), start);
    // The other side of such a connection, as it was recorded.
    let side = if recording.is_old() {
        "accepting-A-incremental"
    } else {
        "accepting-B-incremental"
    };
    let publisher = Recording::all(side).remove(0);
    for message in &publisher.messages[..2] {
        host.feed(&whole(message));
    }
    let batch = replproto_core::wire::BatchBuilder::new(WallTime(confirmed));
    host.feed(&[batch.finish(Some(Sequence(confirmed))).into()]);
    host.now = Instant::from_micros(1).after(Duration::from_millis(2));
    host.input(Input::Tick);
    host.sent
}

fn copy_cursor(copy: &CopyResume) -> CopyCursor {
    // The ids of the recordings are texts.
    let text = replproto_core::value::RawValue::control(&copy.after_key).decode();
    let Ok(Value::Text(text)) = text else {
        panic!("{text:?}");
    };
    CopyCursor {
        copy_start: copy.start,
        table: copy.table.as_str().into(),
        after_key: Key::Text(text).encode().expect("a key").into(),
        order: copy.order,
    }
}

#[test]
fn our_own_messages_have_the_recorded_layout() {
    for recording in Recording::all("dialling-") {
        let name = &recording.name;
        let [_, request, confirmation] = &recording.messages[..] else {
            panic!("{name}: three messages");
        };
        let Ok(Message::SubscriptionRequest(request)) = Message::decode(request) else {
            panic!("{name}: the second is the request");
        };
        let Ok(Message::CommittedUpdate(confirmed)) = Message::decode(confirmation) else {
            panic!("{name}: the third is the confirmation");
        };
        let sent = dialled(&recording, &request, confirmed.0);
        // Who leads is not known to us, and only for information; the rest is the same to the last byte.
        let mut expected = request;
        for subscription in &mut expected.subscriptions {
            subscription.is_leader = None;
        }
        let expected = Message::SubscriptionRequest(expected).encode();
        assert_eq!(sent[0], recording.messages[0], "{name}");
        assert_eq!(sent[1], expected, "{name}");
        assert_eq!(sent[2], confirmation, "{name}");
        assert_eq!(sent.len(), 3, "{name}");
    }
}
