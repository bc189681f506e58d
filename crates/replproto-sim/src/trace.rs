//! What a world did: a hash of all of it, and, when it is asked for, the steps in words.

use std::collections::VecDeque;
use std::fmt;

/// Steps that are kept in words.
const KEPT: usize = 20;

/// How much of a trace is put into words, besides the hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Words {
    /// Nothing: words cost more than all the rest.
    #[default]
    None,
    /// The last steps.
    Last,
    /// All of them, printed as they come.
    Printed,
}

/// The trace of a run.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    words: Words,
    last: VecDeque<String>,
}

impl Trace {
    /// An empty trace.
    pub const fn new(words: Words) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            words,
            last: VecDeque::new(),
        }
    }

    /// Something happened, in numbers.
    #[inline]
    pub const fn number(&mut self, number: u64) {
        // One round of a multiplicative hash: every bit of every number reaches the end.
        self.hash = (self.hash ^ number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }

    /// Something happened, in bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    /// Something happened, in words.
    #[inline]
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        if self.words != Words::None {
            self.put(what);
        }
    }

    fn put(&mut self, what: fmt::Arguments<'_>) {
        if self.words == Words::Printed {
            println!("  {what}");
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(what.to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_every_byte_count() {
        let hash = |parts: &[&[u8]]| {
            let mut trace = Trace::new(Words::None);
            parts.iter().for_each(|part| trace.bytes(part));
            trace.hash()
        };
        assert_eq!(hash(&[b"ab", b"c"]), hash(&[b"ab", b"c"]));
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"c", b"ab"]));
        assert_ne!(hash(&[&[0; 9]]), hash(&[&[0; 10]]));
    }

    #[test]
    fn words_do_not_change_the_hash() {
        let mut silent = Trace::new(Words::None);
        let mut wordy = Trace::new(Words::Last);
        for trace in [&mut silent, &mut wordy] {
            trace.number(7);
            trace.note(format_args!("seven"));
        }
        assert_eq!(silent.hash(), wordy.hash());
        assert_eq!((silent.last().count(), wordy.last().count()), (0, 1));
    }
}
