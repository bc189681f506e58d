//! Arbitrary bytes as an audit entry.

use replproto_core::wire::NewEntry;
use replproto_core::wire::entry::{Action, Entry, Flags, Span};

use super::alloc;

/// Runs the input. Reading a header allocates nothing.
///
/// # Panics
/// A rule does not hold.
pub fn run(data: &[u8]) {
    let (action, parsed) = alloc::within(0, || (Action::parse(data), Entry::parse(data)));
    let Ok(entry) = parsed else { return };
    let action = action.expect("an entry begins with its action word");
    assert_eq!((action.kind, action.flags), (entry.kind, entry.flags));
    let part = |span: Span| &data[span.range()];
    // The version may be any number: that is judged where the record is made of the entry.
    assert!(entry.optional.expires_at.is_none_or(f64::is_finite));
    // A short action word without a type is impossible, and longer keys cannot be written.
    if entry.kind == 0 || part(entry.key).len().max(part(entry.user).len()) > 0x3fff {
        return;
    }
    let mut again = Vec::new();
    NewEntry {
        kind: entry.kind,
        flags: entry.flags,
        node: entry.node,
        table: entry.table,
        key: part(entry.key),
        version: entry.version,
        residency: entry.optional.residency,
        previous_residency: entry.optional.previous_residency,
        // One that is no time is read as absent, but its flag stays.
        expires_at: entry
            .flags
            .contains(Flags::EXPIRES)
            .then(|| entry.optional.expires_at.unwrap_or(f64::NAN)),
        operation: entry
            .flags
            .contains(Flags::OPERATION)
            .then_some(entry.optional.operation),
        user: part(entry.user),
        value: part(entry.value),
    }
    .encode(&mut again);
    let reread = Entry::parse(&again).expect("what is written can be read");
    for (before, after) in [
        (entry.key, reread.key),
        (entry.user, reread.user),
        (entry.value, reread.value),
    ] {
        assert_eq!(part(before), &again[after.range()]);
    }
    assert_eq!(entry.version.to_bits(), reread.version.to_bits());
    // The places of the parts may differ, since there are several ways to write a number.
    let places = |entry: Entry| Entry {
        version: 0.0,
        key: Span::default(),
        user: Span::default(),
        value: Span::default(),
        ..entry
    };
    assert_eq!(places(entry), places(reread));
}
