//! The memory bound of a link, for the help.

use std::fmt::Write;

use indicatif::HumanBytes;
use replproto_tokio::core::MemoryBound;
use replproto_tokio::{Endpoint, LinkConfig};

/// Each part of the formula with what it follows from, in the order of [`MemoryBound::parts`].
const FROM: [&str; 8] = [
    "3 × (`--inbound-bytes` + 64 KiB)",
    "2 × (`--max-record` + 64 KiB)",
    "`--consumer-bytes` + 64 KiB",
    "3 × `Limits::context`",
    "`--blob-bytes` + 64 KiB",
    "`Limits::open_blobs`, `blob_references`, `finished_blobs`",
    "`--commits` × 2.5 KiB",
    "a constant",
];

/// With the defaults.
fn defaults() -> MemoryBound {
    let nowhere: Endpoint = "ws://localhost".parse().expect("an address");
    LinkConfig::new(nowhere, "", "").memory_bound()
}

/// What, from which option or limit, and how much.
fn rows(bound: &MemoryBound) -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let parts = bound.parts().into_iter().zip(FROM);
    parts.map(|((what, bytes), from)| (what, from, HumanBytes(bytes).to_string()))
}

/// The table of the help.
pub(super) fn help() -> String {
    let bound = defaults();
    let mut out = String::from(
        "Memory: whatever the publisher sends, and however slow the disk is, a link takes at most, with the defaults,\n",
    );
    for (what, from, bytes) in rows(&bound) {
        let from = from.replace('`', "");
        let _ = writeln!(out, "  {bytes:>10}  {what:<39} {from}");
    }
    let total = HumanBytes(bound.total());
    let _ = write!(
        out,
        "  {total:>10}  in all; usually about a hundredth of that. The program and SQLite come on top: see docs/operating.md.",
        total = total.to_string()
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../../../docs/operating.md");

    #[test]
    fn the_guide_has_the_table() {
        let bound = defaults();
        let total = HumanBytes(bound.total());
        let mut lines: Vec<String> = rows(&bound)
            .map(|(what, from, bytes)| format!("| {what} | {from} | {bytes} |"))
            .collect();
        lines.push(format!("| **one link** | | **{total}** |"));
        let table = lines.join("\n");
        assert!(GUIDE.contains(&table), "docs/operating.md has not\n{table}");
    }

    #[test]
    fn the_unit_for_systemd_leaves_room_for_all_of_it() {
        let limit = GUIDE.split_once("\nMemoryMax=").unwrap().1;
        let limit: u64 = limit.split_once("M\n").unwrap().0.parse().unwrap();
        // Read buffers, SQLite, a row and what it is made of, blobs under way, and the program.
        let store = (576 << 10) + (4 << 20) + 2 * (20 << 20) + (40 << 20) + (20 << 20);
        assert!(defaults().total() + store <= limit << 20);
    }
}
