//! The delay between dials, the cursor as bytes, and what a configuration may be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use replproto_core::config::{Level, Marks, TableFilter};
use replproto_core::wire::close::{MAX_REASON, truncate_reason};
use replproto_core::{
    Backoff, Config, CopyCursor, Cursor, Epoch, Instant, Receiver, Selection, Sequence, Start,
    WallTime,
};

use crate::oracles::{Result, hold};
use crate::rng::Rng;

/// The delay doubles from dial to dial, up to the longest, and starts again only after progress.
pub(super) fn check_backoff(seed: u64) -> Result {
    let mut rng = Rng::named(seed, "backoff");
    let (first, longest) = (Duration::from_millis(500), Duration::from_secs(30));
    let mut backoff = Backoff::default();
    let mut expected = first;
    for dial in 0..30 {
        let delay = backoff.next_delay();
        hold("backoff", delay == expected, || {
            format!("dial {dial} after {delay:?}, not {expected:?}")
        })?;
        expected = (expected * 2).min(longest);
        match rng.below(6) {
            0 => {
                backoff.cursor_advanced();
                expected = first;
            }
            1 => {
                let healthy = Duration::from_millis(rng.range(0, 60_000));
                backoff.was_healthy_for(healthy);
                if healthy >= Duration::from_secs(30) {
                    expected = first;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn selection(rng: &mut Rng) -> Selection {
    let mut names = || {
        let count = rng.below(4);
        (0..count).map(|_| format!("T{}", rng.below(5))).collect()
    };
    let (tables, origins) = (names(), names());
    let tables = match rng.below(3) {
        0 => TableFilter::All,
        1 => TableFilter::Only(tables),
        _ => TableFilter::Except(tables),
    };
    Selection::new(tables, origins)
}

/// A cursor is read as it was written, and any damage is noticed.
pub(super) fn check_cursor(seed: u64) -> Result {
    let mut rng = Rng::named(seed, "cursor");
    let copy = rng.chance(700).then(|| CopyCursor {
        copy_start: WallTime(rng.below(1 << 41) as f64 + 0.25),
        table: ["Cat", "", "Tierärztin"][rng.below(3) as usize].into(),
        after_key: (0..rng.below(20))
            .map(|_| rng.next() as u8)
            .collect::<Bytes>(),
        order: rng.next() as u32,
    });
    let sequence = Sequence(rng.below(1 << 41) as f64 + 0.5);
    let cursor = Cursor {
        sequence,
        announced: [sequence, Sequence(rng.below(1 << 41) as f64)][rng.below(2) as usize],
        copy: copy.map(Box::new),
        selection: rng.chance(500).then(|| Arc::new(selection(&mut rng))),
    };
    let mut bytes = cursor.to_bytes();
    let read = Cursor::from_bytes(&bytes);
    hold("cursor", read.as_ref() == Ok(&cursor), || {
        format!("{cursor:?} is read as {read:?}")
    })?;
    let at = rng.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << rng.below(8);
    hold("cursor", Cursor::from_bytes(&bytes).is_err(), || {
        format!("damage at byte {at} of {cursor:?} goes unnoticed")
    })?;
    let cut = rng.below(bytes.len() as u64) as usize;
    hold("cursor", Cursor::from_bytes(&bytes[..cut]).is_err(), || {
        format!("{cut} bytes of {cursor:?} are taken for all")
    })
}

/// A close reason is the beginning of what is to be said, as much as fits a frame, and ends with a whole character.
pub(super) fn check_close_reason(seed: u64) -> Result {
    let mut rng = Rng::named(seed, "close");
    let text: String = (0..rng.below(200))
        .map(|_| ['a', 'ä', '…', '𝄞'][rng.below(4) as usize])
        .collect();
    let cut = truncate_reason(text.clone());
    let is_full = cut == text || cut.len() + 4 > MAX_REASON;
    let is_right = text.starts_with(&cut) && cut.len() <= 123 && is_full;
    hold("close", is_right, || format!("{text:?} becomes {cut:?}"))
}

/// A mark of zero, an inverted pair and a wait of zero are refused: none of them switches a bound off.
pub(super) fn check_config(seed: u64) -> Result {
    let mut rng = Rng::named(seed, "config");
    let mut config = Config::new("us", "data");
    let flow = &mut config.flow;
    let marks = [
        &mut flow.inbound,
        &mut flow.consumer,
        &mut flow.commits,
        &mut flow.blobs,
    ];
    let timeouts = &mut config.timeouts;
    let waits = [
        &mut timeouts.ping_interval,
        &mut timeouts.ping_timeout,
        &mut timeouts.copy_timeout,
        &mut timeouts.setup,
        &mut timeouts.blob,
        &mut timeouts.blob_gap,
        &mut timeouts.pause_stall,
        &mut timeouts.not_ready,
        &mut timeouts.message,
        &mut timeouts.confirm_delay,
    ];
    let kind = rng.below(4);
    let which = rng.next() as usize;
    let level = |items, bytes| Level { items, bytes };
    if kind == 3 {
        *waits.into_iter().nth(which % 9).expect("one of 9") = Duration::ZERO;
    } else {
        let zero = level(0, 0);
        *marks.into_iter().nth(which % 4).expect("one of 4") = match kind {
            0 => Marks::new(level(0, 10), zero),
            1 => Marks::new(level(10, 0), zero),
            _ => Marks::new(level(10, 10), level(11, 10)),
        };
    }
    let made = Receiver::new(config.clone(), Start::Copy, Epoch(1), Instant::ZERO);
    hold("config", made.is_err(), || {
        format!("accepted: {:?} {:?}", config.flow, config.timeouts)
    })
}
