//! What a world did: a hash of all of it, and the last steps in words.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// Steps that are kept in words.
const KEPT: usize = 20;

/// The trace of a run.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    last: VecDeque<String>,
    is_printed: bool,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            last: VecDeque::new(),
            is_printed: false,
        }
    }
}

/// FNV-1a over what is written.
struct Hasher<'a>(&'a mut u64);

impl Write for Hasher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Trace {
    /// A trace whose steps are printed as they come.
    pub fn printed() -> Self {
        Self {
            is_printed: true,
            ..Self::default()
        }
    }

    /// Something happened.
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        let mut line = if self.last.len() < KEPT {
            String::new()
        } else {
            self.last.pop_front().unwrap_or_default()
        };
        line.clear();
        // Writing to a text cannot fail.
        let _ = line.write_fmt(what);
        if self.is_printed {
            println!("  {line}");
        }
        let _ = Hasher(&mut self.hash).write_str(&line);
        self.last.push_back(line);
    }

    /// The hash of everything that happened.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The last steps.
    pub fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}
