use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::memory::{ADDITIONS, FIELDS, ORIGINS, WINDOW};
use super::*;
use crate::checksum::checksum;
use crate::value::Value;

fn number(value: f64) -> Value {
    Value::Number(value)
}

fn adding(amount: f64) -> Value {
    let operation = Value::Text("add".into());
    Value::Object(vec![
        ("__op__".into(), operation),
        ("value".into(), number(amount)),
    ])
}

fn object(fields: &[(&str, Value)]) -> Content<Value> {
    let fields = fields.iter();
    let fields: Vec<_> = fields
        .map(|(name, value)| (String::from(*name), value.clone()))
        .collect();
    fields.into()
}

fn entry(version: f64, origin: &str, action: Action<Content<Value>>) -> Entry<Content<Value>> {
    let text = alloc::format!("{action:?}");
    Entry {
        version: WallTime(version),
        origin: origin.into(),
        expires_at: None,
        digest: checksum(text.bytes()),
        repeats: false,
        action,
    }
}

fn patch(version: f64, origin: &str, fields: &[(&str, Value)]) -> Entry<Content<Value>> {
    entry(version, origin, Action::Patch(object(fields)))
}

fn put(version: f64, origin: &str, fields: &[(&str, Value)]) -> Entry<Content<Value>> {
    entry(version, origin, Action::Put(Some(object(fields))))
}

fn play(entries: &[Entry<Content<Value>>]) -> Row<Value> {
    let mut row = Row::default();
    for entry in entries {
        let _ = row.apply(entry);
    }
    row
}

fn shows(row: &Row<Value>, fields: &[(&str, Value)]) -> bool {
    row.content() == Some(&object(fields))
}

#[test]
fn a_late_patch_of_another_field_is_merged_below() {
    let row = play(&[
        put(1.0, "a", &[("x", number(0.0)), ("y", number(0.0))]),
        patch(3.0, "a", &[("x", number(2.0))]),
        patch(2.0, "b", &[("x", number(1.0)), ("y", number(1.0))]),
    ]);
    assert!(
        shows(&row, &[("x", number(2.0)), ("y", number(1.0))]),
        "{row:?}"
    );
    assert_eq!(row.memory().head().unwrap().version, WallTime(3.0));
}

#[test]
fn additions_count_once_and_below_later_values() {
    let counted = patch(2.0, "a", &[("n", adding(2.0))]);
    let mut row = play(&[put(1.0, "a", &[("n", number(5.0))]), counted.clone()]);
    assert!(shows(&row, &[("n", number(7.0))]));
    assert!(row.apply(&counted).unwrap().is_dropped);
    // A value that was written before the addition, and comes after it.
    row.apply(&patch(1.5, "b", &[("n", number(100.0))]))
        .unwrap();
    assert!(shows(&row, &[("n", number(102.0))]), "{row:?}");
}

#[test]
fn what_nobody_knows_is_an_error_and_changes_nothing() {
    let order = Value::Object(vec![("__op__".into(), Value::Text("multiply".into()))]);
    let mut row = play(&[put(1.0, "a", &[("n", number(5.0))])]);
    let unknown = patch(2.0, "a", &[("m", number(1.0)), ("n", order)]);
    let error = row.apply(&unknown).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the patch asks for the unknown operation "multiply""#
    );
    assert!(shows(&row, &[("n", number(5.0))]));
    assert_eq!(row.memory().head().unwrap().version, WallTime(1.0));

    let mut row = play(&[put(1.0, "a", &[("n", Value::BigInt(5_u64.into()))])]);
    let error = row
        .apply(&patch(2.0, "a", &[("n", adding(0.5))]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the patch adds to the field "n": a bigint takes whole numbers only"#
    );
}

#[test]
fn an_invalidated_record_is_shown_by_a_patch_or_a_message_with_its_version() {
    let left = || Some(object(&[("x", number(1.0))]));
    let invalidated = || play(&[entry(2.0, "a", Action::Invalidate(left()))]);
    let mut row = invalidated();
    assert_eq!((row.content(), row.hidden()), (None, left().as_ref()));
    row.apply(&entry(3.0, "a", Action::Message)).unwrap();
    row.apply(&entry(3.0, "a", Action::Relocate)).unwrap();
    assert_eq!(row.content(), None);
    row.apply(&patch(4.0, "a", &[("y", number(2.0))])).unwrap();
    assert!(shows(&row, &[("x", number(1.0)), ("y", number(2.0))]));

    let mut row = invalidated();
    row.apply(&entry(2.0, "b", Action::Message)).unwrap();
    assert!(shows(&row, &[("x", number(1.0))]));
}

#[test]
fn a_row_that_had_puts_in_order_costs_nothing() {
    let row = play(&[put(1.0, "a", &[("n", number(1.0))]), put(2.0, "b", &[])]);
    assert!(row.memory().to_bytes().is_empty());
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut row = play(&[put(1.0, "a", &[])]);
    for step in 0..3_000_u32 {
        let version = 2.0 + f64::from(step);
        let origin = alloc::format!("node-{}", step % 100);
        let field = alloc::format!("f{}", step % 1500);
        row.apply(&patch(
            version,
            &origin,
            &[("n", adding(1.0)), (&field, number(1.0))],
        ))
        .unwrap();
        assert!(row.memory().fields.len() <= FIELDS);
        assert!(row.memory().counted.len() <= ORIGINS);
        for window in row.memory().counted.values() {
            assert!(window.writes.len() <= WINDOW);
        }
        for history in row.memory().fields.values() {
            assert!(history.additions.len() <= ADDITIONS);
        }
    }
    // All of them were counted, and none is counted again, known or forgotten.
    assert_eq!(row.fields().unwrap().get("n"), Some(&number(3_000.0)));
    for step in 0..3_000_u32 {
        let origin = alloc::format!("node-{}", step % 100);
        let field = alloc::format!("f{}", step % 1500);
        let again = patch(
            2.0 + f64::from(step),
            &origin,
            &[("n", adding(1.0)), (&field, number(1.0))],
        );
        row.apply(&again).unwrap();
    }
    assert_eq!(row.fields().unwrap().get("n"), Some(&number(3_000.0)));
}

/// The row as a store would read it again.
fn stored(row: &Row<Value>) -> Row<Value> {
    let (head, is_copied) = (row.memory().head().cloned(), row.memory().is_copied());
    let memory = Memory::from_bytes(head, is_copied, &row.memory().to_bytes());
    let content = row.content().or_else(|| row.hidden()).cloned();
    Row::new(
        content,
        row.content().is_some(),
        row.expires_at(),
        memory.unwrap(),
    )
}

fn message(version: f64, expires_at: f64) -> Entry<Content<Value>> {
    Entry {
        expires_at: Some(WallTime(expires_at)),
        digest: expires_at.to_bits(),
        ..entry(version, "m", Action::Message)
    }
}

#[test]
fn a_message_that_comes_again_has_no_effect() {
    let log = [
        put(5.0, "a", &[("x", number(1.0))]),
        message(5.0, 70.0),
        message(5.0, 80.0),
        patch(3.0, "b", &[("y", number(2.0))]),
        put(4.0, "b", &[]),
    ];
    let mut row = play(&log[..3]);
    assert_eq!(row.expires_at(), Some(WallTime(80.0)));
    row = play(&log);
    let expires_at = row.expires_at();
    for start in 0..log.len() {
        for entry in &log[start..] {
            row.apply(entry).unwrap();
        }
        assert_eq!(row.expires_at(), expires_at, "from {start}");
    }

    // What was invalidated after it stays hidden.
    let left = || Some(object(&[("x", number(1.0))]));
    let log = [
        entry(5.0, "a", Action::Invalidate(left())),
        message(5.0, 70.0),
        entry(5.0, "b", Action::Invalidate(left())),
    ];
    let mut row = play(&log);
    assert_eq!(row.content(), None);
    for entry in &log[1..] {
        row.apply(entry).unwrap();
    }
    assert_eq!(row.content(), None);
}

#[test]
fn amounts_of_all_kinds_are_stored() {
    for amount in [
        number(0.1),
        number(f64::INFINITY),
        Value::BigInt("123456789012345678901234567890".parse().unwrap()),
        Value::Undefined,
        Value::Null,
        Value::Bool(true),
        Value::Text("5".into()),
        Value::Date(1000.0),
    ] {
        let mut bytes = Vec::new();
        amount.write(&mut bytes);
        assert_eq!(Value::read(&bytes), Some(amount));
    }
    assert_eq!(Value::read(&[]), None);
}

fn actions() -> impl Strategy<Value = Action<Content<Value>>> {
    let value = prop_oneof![
        (0..9_i32).prop_map(|it| number(it.into())),
        (-3..9_i32).prop_map(|it| adding(it.into())),
    ];
    let fields = prop::collection::vec((prop::sample::select(vec!["x", "y", "n"]), value), 0..3);
    let content = fields.prop_map(|fields| object(&fields));
    prop_oneof![
        3 => content.clone().prop_map(|content| Action::Put(Some(content))),
        6 => content.clone().prop_map(Action::Patch),
        1 => Just(Action::Delete),
        1 => prop::option::of(content).prop_map(Action::Invalidate),
        1 => Just(Action::Relocate),
    ]
}

/// The log of a record, by transactions: late entries, ties, several writers, several writes at once, and never the same
/// version and origin twice.
fn logs() -> impl Strategy<Value = Vec<Vec<Entry<Content<Value>>>>> {
    let one = (
        0..20_u32,
        prop::sample::select(vec!["a", "b", "c"]),
        prop::option::of(30..40_u32),
        prop_oneof![
            4 => prop::collection::vec(actions(), 1..2),
            1 => prop::collection::vec(actions(), 2..5),
            1 => Just(vec![Action::Message]),
        ],
    );
    prop::collection::vec(one, 1..12).prop_map(|all| {
        let mut seen = Vec::new();
        let mut log = Vec::new();
        let mut writes = Writes::default();
        let mut row = Row::default();
        for (number, (mut version, origin, expires_at, actions)) in all.into_iter().enumerate() {
            let is_message = matches!(actions[..], [Action::Message]);
            if is_message {
                // It has the row's version. (With a version of its own it would only matter if a later write had that too.)
                let Some(head) = row.memory().head() else {
                    continue;
                };
                version = head.version.0 as u32;
            } else if seen.contains(&(version, origin)) {
                continue;
            } else {
                seen.push((version, origin));
            }
            writes.end_transaction();
            let entries = actions.into_iter().map(|action| {
                // No two messages are the same.
                let number = if is_message { number } else { 0 };
                let text = alloc::format!("{action:?}{number}");
                let write = writes.note(("t", b"k"), true, || {
                    ContentHash::new(0).with(text.as_bytes())
                });
                Entry {
                    digest: write.digest,
                    repeats: write.repeats,
                    expires_at: expires_at.map(|time| WallTime(time.into())),
                    ..entry(version.into(), origin, action)
                }
            });
            log.push(entries.collect());
            play_all(&mut row, &log[log.len() - 1..]);
        }
        log
    })
}

fn play_all(row: &mut Row<Value>, log: &[Vec<Entry<Content<Value>>>]) {
    for entry in log.iter().flatten() {
        let _ = row.apply(entry);
    }
}

proptest! {
    /// Whatever is repeated, how often, and whether the row was stored in between.
    #[test]
    fn a_replay_changes_nothing(log in logs(), starts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let mut row = Row::default();
        play_all(&mut row, &log);
        let mut again = row.clone();
        for start in starts {
            again = stored(&again);
            play_all(&mut again, &log[start.index(log.len() + 1)..]);
        }
        prop_assert_eq!(again.content(), row.content());
        prop_assert_eq!(again.hidden(), row.hidden());
        prop_assert_eq!(again.expires_at(), row.expires_at());
        prop_assert_eq!(again.memory().head(), row.memory().head());
    }

    #[test]
    fn a_replay_that_is_cut_changes_nothing(log in logs(), cuts in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..4)) {
        // Any part of the log that ends before the place from which it goes on.
        let mut row = Row::default();
        play_all(&mut row, &log);
        let mut cut = Row::default();
        let mut done = 0;
        for (end, start) in cuts {
            let end = end.index(log.len() + 1).max(done);
            play_all(&mut cut, &log[done..end]);
            done = start.index(end + 1);
            cut = stored(&cut);
        }
        play_all(&mut cut, &log[done..]);
        prop_assert_eq!(cut.content(), row.content());
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_memory(log in logs(), place in any::<prop::sample::Index>(), change in 1..=255_u8) {
        let mut row = Row::default();
        play_all(&mut row, &log);
        let mut damaged = row.memory().to_bytes();
        if damaged.is_empty() {
            return Ok(());
        }
        let place = place.index(damaged.len());
        damaged[place] ^= change;
        let _ = Memory::<Value>::from_bytes(None, false, &damaged);
    }
}
