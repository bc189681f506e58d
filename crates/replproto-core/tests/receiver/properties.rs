//! Acknowledgements in any order, at any time, in any portions.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use replproto_core::{Config, Input};

use crate::driver::{Auto, Driver, config};
use crate::splits::message;
use crate::wire;

/// What a host does next.
#[derive(Clone, Debug)]
enum Act {
    Feed,
    Consume(Index),
    Commit(Index),
    Repeat(Index),
    Write(Index, Index),
    Save(Index),
    Fail(Index),
    Ready(bool),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<Index>;
    prop_oneof![
        6 => Just(Act::Feed),
        4 => index().prop_map(Act::Consume),
        3 => index().prop_map(Act::Commit),
        1 => index().prop_map(Act::Repeat),
        4 => (index(), index()).prop_map(|(blob, bytes)| Act::Write(blob, bytes)),
        3 => index().prop_map(Act::Save),
        1 => index().prop_map(Act::Fail),
        1 => any::<bool>().prop_map(Act::Ready),
        1 => (0..5_000_000_u64).prop_map(Act::Pass),
    ]
}

fn tight() -> Config {
    let mut config = config();
    config.flow.inbound.high.bytes = 5000;
    config.flow.inbound.low.bytes = 2500;
    config.flow.consumer.high.items = 5;
    config.flow.commits.high.items = 3;
    config.flow.commits.low.items = 1;
    config.flow.blobs.high.bytes = 4000;
    config.flow.blobs.low.bytes = 2000;
    config.flow.blobs.high.items = 4;
    config.flow.blobs.low.items = 2;
    config
}

/// Does it, as far as there is anything to do it to. Gives whether a blob failed.
fn perform(
    driver: &mut Driver,
    act: &Act,
    messages: &mut impl Iterator<Item = bytes::Bytes>,
) -> bool {
    match act {
        Act::Feed => {
            if let Some(message) = messages.next() {
                driver.feed(message);
            }
        }
        Act::Consume(portion) => {
            let out = driver.receiver.events_out();
            driver.consume(portion.index(out as usize + 1) as u64);
        }
        Act::Commit(which) if !driver.uncommitted.is_empty() => {
            let ids: Vec<_> = driver.uncommitted.keys().copied().collect();
            driver.commit(ids[which.index(ids.len())]);
        }
        Act::Repeat(which) => {
            // Of what is committed already, if anything is.
            let ends: Vec<_> = driver.ends().map(|end| end.id).collect();
            let done: Vec<_> = ends
                .iter()
                .filter(|id| !driver.uncommitted.contains_key(id))
                .collect();
            if !done.is_empty() {
                driver.input(Input::Committed(*done[which.index(done.len())]));
            }
        }
        Act::Write(which, portion) => {
            let unwritten = driver.unwritten();
            if !unwritten.is_empty() {
                let (blob, bytes) = unwritten[which.index(unwritten.len())];
                driver.written(blob, portion.index(bytes as usize + 1) as u64);
            }
        }
        Act::Save(which) => {
            let whole = driver.whole();
            if !whole.is_empty() {
                driver.save(whole[which.index(whole.len())]);
            }
        }
        Act::Fail(which) => {
            let open: Vec<_> = driver.unfinished();
            if !open.is_empty() {
                driver.fail(open[which.index(open.len())]);
                return true;
            }
        }
        Act::Ready(true) => driver.input(Input::Ready),
        Act::Ready(false) => driver.input(Input::NotReady),
        Act::Pass(micros) => driver.pass(Duration::from_micros(*micros)),
        Act::Commit(_) => {}
    }
    driver.run();
    false
}

proptest! {
    #[test]
    fn no_order_of_acknowledgements_breaks_a_rule(
        messages in prop::collection::vec(message(), 1..40),
        acts in prop::collection::vec(act(), 0..150),
    ) {
        let mut driver = Driver::following(tight());
        driver.auto = Auto::NONE;
        let mut rest = messages.clone().into_iter();
        let mut failures = 0;
        for act in &acts {
            if driver.close.is_none() {
                failures += usize::from(perform(&mut driver, act, &mut rest));
            }
        }
        driver.auto = Auto::ALL;
        driver.input(Input::Ready);
        driver.feed_all(rest);
        driver.pass(Duration::from_millis(2));
        prop_assert_eq!(driver.waiting(), 0, "the link does not go on");
        // A second start of a copy counts differently before and after the first has become durable.
        let copies = messages.iter().filter(|message| **message == wire::copy_start(500.0)).count();
        if failures == 0 && copies < 2 && driver.close.is_none() {
            let mut reference = Driver::following(tight());
            reference.feed_all(messages);
            reference.pass(Duration::from_millis(2));
            prop_assert_eq!(driver.persisted(), reference.persisted());
            let last = driver.confirmed.last();
            prop_assert_eq!(last, reference.confirmed.last());
        }
        driver.input(Input::Shutdown);
        prop_assert!(driver.receiver.is_closed());
    }
}
