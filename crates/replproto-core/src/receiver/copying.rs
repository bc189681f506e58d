//! Base copies (`protocol.md` section 8.3): which rows they have brought, when they end, and what their batches do to the
//! cursor.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::config::OnGap;
use crate::cursor::CopyCursor;
use crate::error::LinkError;
use crate::event::{CopyStarted, Event};
use crate::id::Name;
use crate::time::{Instant, Sequence, WallTime};

use super::Receiver;
use super::ledger::{Advance, CopyStep};
use super::timers::Timer;

/// The limit for the last step of a copy, however much progress there is, is this many times its usual one
/// (`protocol.md` section 10, #678).
const COPY_FINISH_FACTOR: u32 = 4;

/// The longest record id in bytes that a copy can be resumed after.
pub(super) const KEY_MAX: usize = 2048;

/// The base copy of a link, if it has one.
#[derive(Debug, Default)]
pub(super) struct Copying {
    phase: Phase,
    /// A copy has begun. Only the first of a link goes on with one of an earlier link.
    has_begun: bool,
}

#[derive(Debug, Default)]
enum Phase {
    /// No copy is under way.
    #[default]
    No,
    /// Rows come.
    Running {
        /// The copy's identity and the version of its order; `None` with an old peer, whose copies cannot be resumed and end
        /// with their first terminator.
        identity: Option<(WallTime, u32)>,
        /// The position in the log from which to go on after the copy.
        end: Option<Sequence>,
        /// A row has come.
        has_rows: bool,
        /// The last row of the batch: its table, and its id.
        last_row: Option<Name>,
        last_key: Vec<u8>,
    },
    /// All rows are here, but not durable yet. `ceiling`: however much progress there is, it ends by then.
    Finishing { ceiling: Instant },
}

impl Copying {
    /// Whether a base copy is under way. That of an old peer is from its first row on: the peer does not announce it, and
    /// sends nothing at all if it has no rows.
    pub(super) const fn is_under_way(&self) -> bool {
        !matches!(
            self.phase,
            Phase::No
                | Phase::Running {
                    identity: None,
                    has_rows: false,
                    ..
                }
        )
    }

    /// Whether no copy is under way, or about to begin, or not durable yet.
    #[inline]
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::No)
    }

    /// Whether it matters which row came last.
    #[inline]
    pub(super) const fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// A record is handed out. Gives whether a copy begins with it: that of an old peer, which announces none. A row whose id
    /// is very long is no place to go on from: a copy that is interrupted goes on after the row before it.
    pub(super) fn note_row(&mut self, table: &Name, key: &[u8]) -> bool {
        if let Phase::Running {
            identity,
            has_rows,
            last_row,
            last_key,
            ..
        } = &mut self.phase
        {
            if identity.is_none() {
                return !core::mem::replace(has_rows, true);
            }
            *has_rows = true;
            if key.len() > KEY_MAX {
                return false;
            }
            if last_row.as_ref() != Some(table) {
                *last_row = Some(table.clone());
            }
            last_key.clear();
            last_key.extend_from_slice(key);
        }
        false
    }

    /// The step of the cursor at the end of a batch.
    fn batch_ends(&mut self, sequence: Option<Sequence>) -> Advance {
        let Phase::Running {
            identity,
            end,
            last_row,
            last_key,
            ..
        } = &mut self.phase
        else {
            return Advance {
                sequence,
                ..Advance::default()
            };
        };
        let Some((copy_start, order)) = *identity else {
            return Advance {
                copy: sequence.map(CopyStep::Complete),
                ..Advance::default()
            };
        };
        *end = sequence.or(*end);
        let copy = last_row.take().map(|table| {
            CopyStep::At(Box::new(CopyCursor {
                copy_start,
                table,
                after_key: bytes::Bytes::copy_from_slice(last_key),
                order,
            }))
        });
        Advance {
            copy,
            ..Advance::default()
        }
    }
}

impl Receiver {
    /// COPY_START, or what stands for it. A second one begins a new pass.
    pub(super) fn start_copy(&mut self, identity: Option<(WallTime, u32)>) {
        let (start, resume) = self.session.request_start(self.config.mode);
        // A copy from the beginning of the log leaves nothing out.
        let forced = start.0 > 1.0;
        if let Some((copy_start, _)) =
            identity.filter(|_| forced && self.config.on_gap == OnGap::Close)
        {
            return self.fail(LinkError::Gap {
                from: start,
                copy_start,
            });
        }
        let is_first = !core::mem::replace(&mut self.copying.has_begun, true);
        let resumed = is_first
            && resume
                .as_ref()
                .is_some_and(|resume| identity == Some((resume.start, resume.order)));
        if self.copying.is_under_way() {
            self.ledger.discard_copy();
        }
        self.progress.forget();
        self.copying.phase = Phase::Running {
            identity,
            end: None,
            has_rows: false,
            last_row: None,
            last_key: Vec::new(),
        };
        self.timers.clear(Timer::CopyFinish);
        self.heard();
        self.copy_frame();
        let event = Event::CopyStarted(CopyStarted {
            copy_start: identity.map(|(start, _)| start),
            forced,
            resumed,
        });
        self.pending.push_back(event);
    }

    /// A frame of a base copy came. An old peer with an empty source sends none at all, so its copies are not watched.
    #[inline]
    pub(super) fn copy_frame(&mut self) {
        if let Phase::Running {
            identity: Some(_), ..
        } = self.copying.phase
        {
            self.timers
                .set(Timer::CopyProgress, self.config.timeouts.blob);
        }
    }

    /// A batch ends: what it does to the cursor.
    pub(super) fn batch_ends(&mut self, sequence: Option<Sequence>) -> Advance {
        self.note_end(sequence);
        let advance = self.copying.batch_ends(sequence);
        if matches!(advance.copy, Some(CopyStep::Complete(_))) {
            self.copy_rows_end();
        }
        advance
    }

    /// SEQUENCE_ID_UPDATE.
    pub(super) fn sequence_update(&mut self, sequence: Sequence) {
        if !self.copying.is_running() {
            self.ledger.mark(Advance {
                sequence: Some(sequence),
                ..Advance::default()
            });
        }
    }

    /// COPY_COMPLETE.
    pub(super) fn copy_complete(&mut self) {
        if let Phase::Running {
            identity: Some((start, _)),
            end,
            ..
        } = self.copying.phase
        {
            self.ledger.mark(Advance {
                copy: Some(CopyStep::Complete(end.unwrap_or(Sequence(start.0)))),
                ..Advance::default()
            });
            self.copy_rows_end();
        }
    }

    fn copy_rows_end(&mut self) {
        let limit = self.config.timeouts.copy_timeout;
        let now = self.timers.now();
        self.copying.phase = Phase::Finishing {
            ceiling: now.after(limit.saturating_mul(COPY_FINISH_FACTOR)),
        };
        self.timers.clear(Timer::CopyProgress);
        self.timers.set(Timer::CopyFinish, limit);
    }

    /// Something became durable that the end of a copy may have waited for.
    pub(super) fn copy_progress(&mut self) {
        if let Phase::Finishing { ceiling } = self.copying.phase {
            let next = self.timers.now().after(self.config.timeouts.copy_timeout);
            self.timers.set_at(Timer::CopyFinish, next.min(ceiling));
        }
    }

    /// The copy is complete and durable.
    pub(super) fn copy_finished(&mut self) {
        self.copying.phase = Phase::No;
        self.timers.clear(Timer::CopyFinish);
    }
}
