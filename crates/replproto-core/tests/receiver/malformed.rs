//! Bytes that no peer should send: a typed error or a valid reading, never a panic, and the same however they are cut.

use replproto_core::wire::WireError;
use replproto_core::{CloseReason, LinkError};

use crate::driver::{Driver, config};
use crate::splits::trace;
use crate::wire::{self, Batch, Chunk, file};

/// One message of each kind that a publisher sends.
fn golden() -> Vec<bytes::Bytes> {
    vec![
        wire::node_name("peer"),
        wire::schema(Some(1)),
        wire::node_map(),
        wire::table(wire::TABLE, "Dog"),
        wire::sequence_update(1_747_252_561_000.25),
        wire::copy_start(1_747_252_561_000.0),
        wire::copy_complete(),
        wire::disconnect(),
        wire::unknown(20),
        Batch::new()
            .put_blobs("k1", &[file("1a")])
            .put("k2")
            .end_at(1_747_252_561_003.0),
        Chunk::of("1a").transfer(9).size(3).last(b"abc"),
        Chunk::of("1a").error(Some("ENOENT"), Some(404)),
    ]
}

/// Feeds a message to a link that knows its context, whole and in two cuts. Gives the error, if it ended the link.
fn feed(bytes: &[u8]) -> Option<LinkError> {
    let run = |parts: &[usize]| {
        let mut driver = Driver::following(config());
        driver.feed_parts(bytes::Bytes::copy_from_slice(bytes), parts);
        driver
    };
    let whole = run(&[usize::MAX]);
    for parts in [&[1][..], &[3, 11]] {
        assert_eq!(
            trace(&run(parts).commands),
            trace(&whole.commands),
            "{bytes:02x?}"
        );
    }
    match whole.close?.reason {
        CloseReason::Error(error) => Some(error),
        _ => None,
    }
}

#[test]
fn every_first_byte_is_a_command_a_batch_or_an_error() {
    for first in 0..=255_u8 {
        for length in [1, 8, 9, 30] {
            let mut message = vec![first];
            message.resize(length, 0);
            match feed(&message) {
                Some(LinkError::Malformed {
                    message: 4, error, ..
                }) => {
                    if first < 0x80 && first != wire::BATCH {
                        assert_eq!(error, WireError::FirstByte(first));
                    }
                }
                // An array that starts with 0 is a command that nobody knows.
                None => assert!(matches!(first, 0x91..=0x9f) && length > 1, "{first:#x}"),
                error => panic!("{first:#x}: {error:?}"),
            }
        }
    }
    assert!(matches!(
        feed(&[]),
        Some(LinkError::Malformed {
            error: WireError::EmptyMessage,
            ..
        })
    ));
}

#[test]
fn a_batch_needs_more_than_its_header() {
    let batch = Batch::new().end();
    for length in 1..=8 {
        assert!(feed(&batch[..length]).is_some(), "{length}");
    }
}

#[test]
fn every_truncation_is_refused_or_ends_between_two_entries() {
    for message in golden() {
        for length in 0..message.len() {
            let error = feed(&message[..length]);
            let is_batch = message[0] == wire::BATCH;
            // An unknown command is not looked into.
            let is_unknown = message[..] == wire::unknown(20)[..] && length > 2;
            assert!(
                error.is_some() || is_batch || is_unknown,
                "{length} of {message:02x?}"
            );
        }
    }
}

#[test]
fn any_flipped_bit_is_an_error_or_a_valid_message() {
    for message in golden() {
        for bit in 0..message.len() * 8 {
            let mut message = message.to_vec();
            message[bit / 8] ^= 1 << (bit % 8);
            feed(&message);
        }
    }
}

#[test]
fn bytes_after_a_command_are_refused() {
    for message in golden() {
        if message[0] != wire::BATCH && message[..] != wire::unknown(20)[..] {
            let mut message = message.to_vec();
            message.push(0xc0);
            let is_disconnect = message.len() == 4;
            assert!(feed(&message).is_some(), "{message:02x?} {is_disconnect}");
        }
    }
}

#[test]
fn after_an_error_no_later_byte_is_applied() {
    for bad in 0..20 {
        let mut driver = Driver::following(config());
        for message in 0..20 {
            let good = Batch::new().put(message).end_at(f64::from(message) + 2.0);
            driver.feed(if message == bad {
                good.slice(..good.len() - 1)
            } else {
                good
            });
        }
        assert_eq!(driver.ends().count(), bad as usize);
        assert_eq!(driver.close_code(), Some(1002));
    }
}
