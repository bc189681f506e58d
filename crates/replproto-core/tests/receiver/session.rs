//! Set-up, confirmations and the other words that we send.

use std::time::Duration;

use replproto_core::error::Watchdog;
use replproto_core::wire::Message;
use replproto_core::{
    Command, Cursor, Event, Input, LinkError, Misuse, PauseReason, Sequence, Start,
};

use crate::driver::{Driver, config};
use crate::wire::{self, Batch};

fn resumed_at(sequence: f64) -> Driver {
    Driver::connected(config(), Start::Resume(Cursor::at(Sequence(sequence))))
}

#[test]
fn the_handshake_is_name_request_and_answer() {
    let mut driver = resumed_at(7.5);
    assert!(matches!(
        &driver.commands[..],
        [Command::Transmit(_), Command::Ping]
    ));
    driver.feed(wire::node_name("peer"));
    let sent: Vec<Message> = driver.sent().collect();
    let [
        Message::NodeName(name),
        Message::SubscriptionRequest(request),
    ] = &sent[..]
    else {
        panic!("{sent:?}");
    };
    assert_eq!(name.name.as_deref(), Some("us"));
    assert_eq!(request.request, Some(1));
    assert_eq!(request.excluded, ["us"]);
    let [subscription] = &request.subscriptions[..] else {
        panic!("{request:?}");
    };
    assert_eq!(
        (&*subscription.name, subscription.start),
        ("peer", Sequence(7.5))
    );
    assert!(!driver.receiver.is_set_up());
    driver.feed(wire::schema(Some(1)));
    assert!(driver.receiver.is_set_up());
    assert!(matches!(driver.events().next(), Some(Event::Schema(_))));
}

#[test]
fn a_ping_that_is_due_does_not_make_a_link_busy() {
    let mut driver = Driver::following(config());
    assert!(driver.receiver.is_idle());
    let later = driver.now.after(config().timeouts.ping_interval);
    driver.receiver.handle(later, Input::Tick).unwrap();
    assert!(driver.receiver.is_idle());
    let next = driver.receiver.poll_command();
    assert!(matches!(next, Some(Command::Ping)), "{next:?}");
}

#[test]
fn an_application_that_is_not_ready_does_not_hold_up_the_handshake() {
    let mut driver = resumed_at(1.0);
    driver.input(Input::NotReady);
    driver.feed_all(wire::handshake());
    assert!(driver.receiver.is_set_up());
    assert!(driver.is_paused_for(PauseReason::NotReady));
    driver.feed(Batch::new().put("k").end_at(5.0));
    assert_eq!(driver.records().count(), 0);
    driver.pass(Duration::from_secs(59));
    driver.input(Input::Ready);
    assert_eq!(driver.records().count(), 1);
}

#[test]
fn only_the_answer_to_our_request_ends_the_set_up() {
    for (budget, expected) in [
        (None, 150),
        (Some(1.0), 150),
        (Some(-1.0), 150),
        (Some(f64::NAN), 150),
        (Some(200_000.0), 200),
        (Some(f64::MAX), 600),
        (Some(f64::INFINITY), 600),
    ] {
        let mut driver = resumed_at(1.0);
        driver.feed(wire::node_name_with("peer", budget));
        for second in 0..700 {
            if driver.close.is_none() {
                driver.pass(Duration::from_secs(1));
            }
            if driver.close.is_none() && second % 10 == 0 {
                driver.feed(wire::schema([None, Some(2)][second % 20 / 10]));
                assert!(!driver.receiver.is_set_up());
            }
        }
        let LinkError::TimedOut {
            watchdog: Watchdog::Setup,
            ..
        } = driver.error()
        else {
            panic!("{:?}", driver.error());
        };
        // The driver's clock begins at one second.
        let waited = driver.now.as_micros() / 1_000_000 - 1;
        assert_eq!(waited, expected, "{budget:?}");
    }
}

#[test]
fn pauses_neither_use_up_nor_renew_the_time_for_the_set_up() {
    let mut config = config();
    config.flow.consumer.high.items = 1;
    let mut driver = Driver::connected(config, Start::At(Sequence(1.0)));
    driver.feed(wire::node_name("peer"));
    let mut waited = 0;
    while driver.close.is_none() && waited < 300 {
        driver.auto.consume = false;
        while !driver.is_paused_for(PauseReason::ConsumerQueue) {
            driver.feed(wire::schema(None));
        }
        driver.pass(Duration::from_secs(100));
        assert!(driver.close.is_none(), "nothing was waited for");
        driver.auto.consume = true;
        driver.run();
        assert!(!driver.receiver.is_paused());
        driver.pass(Duration::from_secs(10));
        waited += 10;
    }
    assert!(matches!(
        driver.error(),
        LinkError::TimedOut {
            watchdog: Watchdog::Setup,
            ..
        }
    ));
    assert_eq!(waited, 150);
}

#[test]
fn a_link_that_is_never_connected_has_a_deadline() {
    let mut driver = Driver::unconnected(config(), Start::Copy, 1);
    let deadline = driver.receiver.poll_timeout().expect("a deadline");
    assert!(deadline > driver.now);
    driver.pass(Duration::from_secs(151));
    assert!(driver.close.is_some());
    assert_eq!(driver.pings(), 0);
}

#[test]
fn the_names_of_tables_and_origins_become_part_of_the_request() {
    use replproto_core::config::TableFilter;

    for (filter, by_default, names) in [
        (TableFilter::All, true, vec![]),
        (TableFilter::Only(vec!["Dog".into()]), false, vec!["Dog"]),
        // Nothing is wanted yet, which is no wish to end.
        (TableFilter::Only(vec![]), false, vec![]),
        (TableFilter::Except(vec!["Cat".into()]), true, vec!["Cat"]),
    ] {
        let mut config = config();
        config.tables = filter;
        config.excluded_origins = vec!["far".into()];
        let mut driver = Driver::connected(config, Start::Copy);
        driver.feed(wire::node_name("peer"));
        let Some(Message::SubscriptionRequest(request)) = driver.sent().last() else {
            panic!("no request");
        };
        let subscription = &request.subscriptions[0];
        assert_eq!(subscription.replicate_by_default, by_default);
        assert_eq!(subscription.tables, names);
        assert_eq!(subscription.start.0.to_bits(), 0.0_f64.to_bits());
        assert_eq!(request.excluded, ["us", "far"]);
    }
}

#[test]
fn an_old_peer_is_told_which_tables_to_leave_out() {
    use replproto_core::config::TableFilter;
    use replproto_core::wire::message::NodeName;

    let mut config = config();
    config.tables = TableFilter::Only(vec!["Dog".into(), "Fox".into()]);
    let mut driver = Driver::connected(config.clone(), Start::Copy);
    let node = Message::NodeName(NodeName {
        name: Some("peer".into()),
        database: "data".into(),
        tables: ["Cat", "Dog", "Eel"].map(wire::definition).into(),
        capabilities: None,
    });
    driver.feed(node.encode().into());
    let Some(Message::SubscriptionRequest(request)) = driver.sent().last() else {
        panic!("no request");
    };
    let subscription = &request.subscriptions[0];
    assert!(subscription.replicate_by_default);
    assert_eq!(subscription.tables, ["Cat", "Eel"]);
    assert_eq!(driver.receiver.tables_offered(), "Cat, Dog, Eel");
    // It lists what it was not told to leave out, and that is nothing to us.
    driver.feed(
        Message::Schema {
            tables: ["Dog", "New"].map(wire::definition).into(),
            database: "data".into(),
            request: None,
        }
        .encode()
        .into(),
    );
    let listed: Vec<_> = driver
        .events()
        .filter_map(|event| match event {
            Event::Schema(schema) => Some(&schema.tables),
            _ => None,
        })
        .flat_map(|tables| tables.iter())
        .map(|definition| definition.table.as_str())
        .collect();
    assert_eq!(listed, ["Dog"]);
    let definitions = ["Cat", "Dog"].map(wire::definition);
    let missing: Vec<_> = config.tables.missing(&definitions).collect();
    assert_eq!(missing, ["Fox"]);
}

#[test]
fn another_name_than_expected_is_told_and_refused() {
    for second in [false, true] {
        let mut config = config();
        config.peer_name = (!second).then(|| "peer".into());
        let mut driver = Driver::connected(config, Start::Copy);
        if second {
            driver.feed(wire::node_name("peer"));
        }
        driver.feed(wire::node_name("impostor"));
        assert!(matches!(driver.error(), LinkError::WrongName { .. }));
        assert_eq!(driver.sent().last(), Some(Message::Disconnect));
        assert_eq!(driver.close_code(), Some(1008));
        let frame = driver.close.unwrap().frame.unwrap();
        assert_eq!(frame.reason, "Node name mismatch");
    }
}

#[test]
fn the_same_name_again_changes_nothing() {
    let mut driver = Driver::following(config());
    driver.feed(wire::node_name("peer"));
    assert!(driver.close.is_none());
    assert_eq!(driver.commands.len(), 0);
}

#[test]
fn a_peer_without_a_name_is_waited_for() {
    let mut driver = resumed_at(1.0);
    driver.feed(wire::node_name(""));
    assert_eq!(driver.sent().count(), 1);
    driver.feed(wire::node_name("peer"));
    assert_eq!(driver.sent().count(), 2);
}

#[test]
fn confirmations_that_come_together_are_sent_together() {
    let mut driver = Driver::following(config());
    for sequence in 2..10 {
        driver.feed(Batch::new().put("k").end_at(f64::from(sequence)));
    }
    driver.pass(Duration::from_micros(1999));
    assert!(driver.confirmed.is_empty());
    driver.pass(Duration::from_micros(1));
    assert_eq!(driver.confirmed, [9.0]);
    driver.pass(Duration::from_secs(1));
    assert_eq!(driver.confirmed, [9.0]);
}

#[test]
fn the_stored_sequence_is_confirmed_once_at_set_up() {
    let mut driver = resumed_at(7.5);
    driver.feed_all(wire::handshake());
    driver.pass(Duration::from_millis(2));
    assert_eq!(driver.confirmed, [7.5]);

    // Neither a configured start nor a copy has anything to confirm.
    for start in [Start::At(Sequence(7.5)), Start::Copy] {
        let mut driver = Driver::connected(config(), start);
        driver.feed_all(wire::handshake());
        driver.pass(Duration::from_secs(1));
        assert_eq!(driver.confirmed.len(), 0);
    }
}

#[test]
fn a_position_without_records_moves_the_cursor() {
    let mut driver = Driver::following(config());
    driver.feed(wire::sequence_update(9.0));
    driver.pass(Duration::from_millis(2));
    assert_eq!(driver.confirmed, [9.0]);
    // It never goes back.
    driver.feed(wire::sequence_update(8.0));
    driver.pass(Duration::from_millis(2));
    assert_eq!(driver.confirmed, [9.0]);
    assert_eq!(driver.persisted().sequence.0, 9.0);
}

#[test]
fn a_second_connection_and_a_message_before_the_first_are_misuse() {
    let mut driver = Driver::unconnected(config(), Start::Copy, 1);
    let message = Input::Message {
        bytes: wire::node_name("peer"),
        last: true,
    };
    assert_eq!(driver.try_input(message), Err(Misuse::OutOfOrder));
    assert!(driver.try_input(Input::Connected).is_ok());
    assert_eq!(driver.try_input(Input::Connected), Err(Misuse::OutOfOrder));
}
