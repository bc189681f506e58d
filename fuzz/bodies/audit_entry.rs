//! Arbitrary bytes as an audit entry.

use replproto_core::wire::NewEntry;
use replproto_core::wire::entry::{Action, Entry, Span};

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
    assert!(entry.version.is_finite() && entry.optional.expires_at.is_none_or(f64::is_finite));
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
        expires_at: entry.optional.expires_at,
        operation: entry
            .flags
            .contains(replproto_core::wire::entry::Flags::OPERATION)
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
    // The places of the parts may differ, since there are several ways to write a number.
    let places = |entry: Entry| Entry {
        key: Span::default(),
        user: Span::default(),
        value: Span::default(),
        ..entry
    };
    assert_eq!(places(entry), places(reread));
}
