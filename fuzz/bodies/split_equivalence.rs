//! The same messages whole and in parts: the commands are the same.
//!
//! The first byte chooses the options, then come the same pieces as those of `receiver_messages`.

use std::collections::BTreeMap;

use bytes::Bytes;
use replproto_core::{BlobId, Command, Event};

use super::alloc;
use super::host::{Host, option};
use super::receiver_messages::pieces;

/// Marks and laziness change when things are paused, and low limits count the overhead of parts.
const OPTIONS: u8 = option::HANDSHAKE | option::MODE_A | option::START;
/// Up to here the messages are also fed byte by byte.
const SHORT: usize = 512;
/// The traces are part of it.
const BYTES_PER_BYTE: usize = 2048;
const FREE: usize = 128 * 1024;

/// Runs the input.
///
/// # Panics
/// The commands differ, or the receiver breaks one of its rules.
pub fn run(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else {
        return;
    };
    let options = options & OPTIONS;
    alloc::within(FREE + BYTES_PER_BYTE * data.len(), || {
        let messages = join(rest);
        let whole = Trace::of(options, &messages, usize::MAX);
        let parts: Vec<_> = pieces(rest).collect();
        compare(&whole, &Trace::of(options, &close(parts), usize::MAX));
        if data.len() <= SHORT {
            compare(&whole, &Trace::of(options, &messages, 1));
        }
    });
}

#[track_caller]
fn compare(whole: &Trace, parts: &Trace) {
    for (whole, parts) in whole.lines.iter().zip(&parts.lines) {
        assert_eq!(whole, parts, "whole and in parts");
    }
    assert_eq!(whole.lines.len(), parts.lines.len());
    assert_eq!(whole.blobs, parts.blobs);
}

/// The last message is never left open.
fn close(mut parts: Vec<(&[u8], bool)>) -> Vec<(&[u8], bool)> {
    if let Some((_, last)) = parts.last_mut() {
        *last = true;
    }
    parts
}

fn join(rest: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let mut messages: Vec<(Vec<u8>, bool)> = Vec::new();
    let mut is_open = false;
    for (piece, last) in pieces(rest) {
        match messages.last_mut() {
            Some((message, _)) if is_open => message.extend_from_slice(piece),
            _ => messages.push((piece.to_vec(), true)),
        }
        is_open = !last;
    }
    messages
}

/// All commands, without pauses, which depend on what is held, and with the chunks of each blob joined.
#[derive(Default)]
struct Trace {
    lines: Vec<String>,
    blobs: BTreeMap<BlobId, (Vec<u8>, bool)>,
}

impl Trace {
    fn of<B: AsRef<[u8]>>(options: u8, parts: &[(B, bool)], most: usize) -> Self {
        let mut trace = Self::default();
        let longest = parts.iter().map(|(part, _)| part.as_ref().len()).max();
        let mut host = Host::new(options, longest.unwrap_or(0), |command| trace.add(command));
        for (part, last) in parts {
            let part = part.as_ref();
            if part.is_empty() {
                host.feed(Bytes::new(), *last);
            }
            let mut chunks = part.chunks(most).peekable();
            while let Some(chunk) = chunks.next() {
                let is_end = chunks.peek().is_none();
                host.feed(Bytes::copy_from_slice(chunk), *last && is_end);
            }
        }
        host.end();
        drop(host);
        trace
    }

    fn add(&mut self, command: &Command) {
        match command {
            Command::Pause(_) | Command::Resume(_) => {}
            Command::BlobChunk { blob, bytes, last } => {
                let (content, ended) = self.blobs.entry(*blob).or_default();
                content.extend_from_slice(bytes);
                *ended |= last;
            }
            // How many records come together depends on the cuts.
            Command::Event(Event::Records(records)) => {
                self.lines.extend(records.iter().map(|record| {
                    format!(
                        "{record:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                        record.key_bytes(),
                        record.user_bytes(),
                        record.value().map(|value| value.bytes().to_vec()),
                        record.expires_at(),
                        record.residency(),
                        record.previous_residency(),
                    )
                }));
            }
            // What was in hand at the end depends on when it came.
            Command::Close(close) => self
                .lines
                .push(format!("{:?} {:?}", close.reason, close.frame)),
            command => self.lines.push(format!("{command:?}")),
        }
    }
}
