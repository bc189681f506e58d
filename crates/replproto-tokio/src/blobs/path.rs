//! Names of nodes, databases and files as names in a file system.
//!
//! Different names get different paths, also where capital letters are not told from small ones, and no name leads out of
//! the store's folder: every byte but lower-case letters, digits, `-`, `_` and inner dots is written as `%` and two digits.
//! A name that gets too long is cut and completed by its SHA-256 after `%-`, which no other name can contain.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Longest name of a file or folder in bytes, well within the 255 that file systems have.
const LENGTH_MAX: usize = 200;

/// Where a blob is kept: `peer/database/xx/file`, where `xx` spreads the files over 256 folders.
pub(super) fn blob_path(root: &Path, peer: &str, database: &str, file: &str) -> PathBuf {
    let mut path = root.join(escape(peer));
    path.push(escape(database));
    path.push(fan_out(file));
    path.push(escape(file));
    path
}

fn fan_out(file: &str) -> String {
    format!("{:02x}", Sha256::digest(file)[0])
}

fn escape(name: &str) -> String {
    if name.is_empty() {
        return "%".into();
    }
    let last = name.len() - 1;
    let mut out = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            b'.' if index > 0 && index < last => out.push('.'),
            _ => push_hex(&mut out, "%", &[byte]),
        }
    }
    if out.len() > LENGTH_MAX {
        let digest = Sha256::digest(name);
        out.truncate(LENGTH_MAX - ABBREVIATION.len() - 2 * digest.len());
        push_hex(&mut out, ABBREVIATION, &digest);
    }
    out
}

/// What comes before the digest of a long name.
const ABBREVIATION: &str = "%-";

fn push_hex(out: &mut String, before: &str, bytes: &[u8]) {
    out.push_str(before);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
}

/// The name that was escaped; that of a long one stays in its short form. `None` if this is nothing that we wrote.
pub(super) fn unescape(escaped: &str) -> Option<String> {
    if escaped.contains(ABBREVIATION) {
        return Some(escaped.to_owned());
    }
    let mut out = Vec::with_capacity(escaped.len());
    let mut rest = if escaped == "%" {
        &[]
    } else {
        escaped.as_bytes()
    };
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let (digits, after) = after.split_first_chunk::<2>()?;
            let digits = std::str::from_utf8(digits).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            out.push(first);
            rest = after;
        }
    }
    let name = String::from_utf8(out).ok()?;
    (escape(&name) == escaped).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    #[test]
    fn plain_names_stay_readable() {
        assert_eq!(escape("node-1.example.com"), "node-1.example.com");
        assert_eq!(escape("1a2b"), "1a2b");
    }

    #[test]
    fn capital_letters_and_dots_at_the_ends_are_escaped() {
        assert_eq!(escape("Data"), "%44ata");
        assert_eq!(escape("."), "%2e");
        assert_eq!(escape(".."), "%2e%2e");
        assert_eq!(escape("../x"), "%2e.%2fx");
        assert_eq!(escape("x."), "x%2e");
        assert_eq!(escape(""), "%");
        assert_eq!(escape("%41"), "%2541");
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let (a, b) = ("x".repeat(5000), format!("{}y", "x".repeat(4999)));
        assert_eq!(escape(&a).len(), LENGTH_MAX);
        assert_ne!(escape(&a), escape(&b));
        assert_ne!(escape(&a), escape(&escape(&a)));
        assert_eq!(unescape(&escape(&a)), Some(escape(&a)));
    }

    #[test]
    fn what_we_did_not_write_is_not_ours() {
        for name in ["%4", "%zz", "A", "%61", "%2e%", ".hidden", "%tmp"] {
            assert_eq!(unescape(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn names_come_back_and_stay_inside(peer in any::<String>(), database in any::<String>(), file in any::<String>()) {
            let path = blob_path(Path::new("root"), &peer, &database, &file);
            let parts: Vec<_> = path.components().collect();
            prop_assert_eq!(parts.len(), 5);
            prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))));
            prop_assert_eq!(path.to_str().unwrap().to_lowercase(), path.to_str().unwrap());
            let last = path.file_name().unwrap().to_str().unwrap();
            prop_assert!(last.len() <= LENGTH_MAX);
            if !last.contains(ABBREVIATION) {
                prop_assert_eq!(unescape(last), Some(file));
            }
        }
    }
}
