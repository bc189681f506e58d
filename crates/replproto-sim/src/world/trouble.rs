//! What befalls a world from outside its links.

use std::time::Duration;

use bytes::Bytes;
use replproto_core::{BlobId, BlobTries, CommitId, Epoch, Input};

use super::{Event, World};
use crate::coverage::LinkState;
use crate::faults::Fault;
use crate::network::Way;
use crate::oracles::{Result, hold};
use crate::store::Store;

impl World {
    pub(super) fn trouble(&mut self) -> Result {
        if self.is_healing {
            return Ok(());
        }
        let pause = self.dice.trouble.range(5000, self.drawn.trouble_micros);
        self.after(pause, Event::Trouble);
        self.befall()
    }

    /// One of the faults strikes, if this world has it.
    pub(super) fn befall(&mut self) -> Result {
        const KINDS: [Fault; 15] = [
            Fault::Cut,
            Fault::Crash,
            Fault::Stall,
            Fault::NotReady,
            Fault::Purge,
            Fault::Drain,
            Fault::HalfOpen,
            Fault::UnreportedClose,
            Fault::PeerClose,
            Fault::Supersede,
            Fault::FullDisk,
            Fault::Lag,
            Fault::Stray,
            Fault::Scarce,
            Fault::Hostile,
        ];
        let fault = KINDS[self.dice.trouble.below(KINDS.len() as u64) as usize];
        let is_possible = match fault {
            Fault::PeerClose | Fault::Hostile => self.is_connected(),
            Fault::Crash
            | Fault::Stall
            | Fault::Purge
            | Fault::FullDisk
            | Fault::Lag
            | Fault::Scarce => true,
            _ => self.host.is_some(),
        };
        if !is_possible || !self.faults.has(fault) {
            return Ok(());
        }
        // The others strike when they have an effect.
        if !matches!(fault, Fault::NotReady | Fault::FullDisk) {
            self.coverage.strike(fault);
        }
        self.trace.note(format_args!("{}", fault.as_str()));
        match fault {
            Fault::Cut => self.input(Input::TransportLost),
            Fault::Crash => {
                self.crash();
                Ok(())
            }
            Fault::Stall => {
                self.stalled_until = self.now + self.dice.trouble.range(1000, 100_000_000);
                Ok(())
            }
            Fault::NotReady => self.unready(),
            Fault::Purge => {
                let end = self.source.log.len() as u64;
                let from = self.dice.trouble.range(self.source.kept_from as u64, end);
                self.source.kept_from = from as usize;
                Ok(())
            }
            Fault::Drain => {
                let deadline = self.time().after(Duration::from_secs(5));
                self.input(Input::Drain { deadline })
            }
            Fault::HalfOpen => {
                self.network.way = Way::Dead;
                Ok(())
            }
            Fault::UnreportedClose => {
                self.network.way = self.network.way.max(Way::Ending);
                Ok(())
            }
            Fault::PeerClose if self.dice.trouble.chance(300) => {
                self.peer.disconnect();
                Ok(())
            }
            Fault::PeerClose => {
                let codes = [1000, 1001, 1005, 1006, 1008, 1009, 1011, 1012];
                let code = codes[self.dice.trouble.below(codes.len() as u64) as usize];
                let reason = String::from("bye");
                self.input(Input::PeerClosed { code, reason })
            }
            Fault::Supersede => {
                self.is_superseded = self.host.is_some();
                self.input(Input::Shutdown)
            }
            Fault::FullDisk => {
                self.disk.full_until = self.now + self.dice.trouble.range(1000, 3_000_000);
                Ok(())
            }
            Fault::Lag => {
                self.lagging_until = self.now + self.dice.trouble.range(1000, 20_000_000);
                Ok(())
            }
            Fault::Stray => self.stray(),
            Fault::Scarce => {
                self.crowd();
                Ok(())
            }
            Fault::Hostile if self.dice.trouble.chance(200) => {
                self.distrust();
                let input = if self.dice.trouble.chance(500) {
                    Input::TextMessage
                } else {
                    Input::TooLarge { bytes: 1 << 40 }
                };
                self.input(input)
            }
            _ => Ok(()),
        }
    }

    fn is_connected(&self) -> bool {
        self.host.as_ref().is_some_and(|host| host.is_connected)
    }

    pub(super) fn unready(&mut self) -> Result {
        self.coverage.strike(Fault::NotReady);
        let until_ready = self.dice.trouble.range(1000, 70_000_000);
        self.after(until_ready, Event::Ready);
        self.input(Input::NotReady)
    }

    /// The host says something that is of no use: it is late, or says nothing new.
    fn stray(&mut self) -> Result {
        let input = self.useless_input();
        let needs_socket = matches!(input, Input::Heard { .. } | Input::Pong);
        if needs_socket && !self.is_connected() {
            return Ok(());
        }
        self.input(input)
    }

    fn useless_input(&mut self) -> Input {
        let blob = BlobId {
            epoch: Epoch(self.epoch.saturating_sub(1)),
            number: self.dice.trouble.below(50),
        };
        match self.dice.trouble.below(12) {
            0 => Input::Heard {
                bytes: self.dice.trouble.below(3),
            },
            1 => Input::Pong,
            2 => Input::Skipped { records: 1 },
            3 => Input::Committed(match self.last_committed {
                Some(again) if again.epoch.0 == self.epoch => again,
                _ => CommitId {
                    epoch: blob.epoch,
                    number: blob.number,
                },
            }),
            4 => Input::BlobWritten { blob, bytes: 1 },
            5 => Input::BlobSaved(blob),
            6 => Input::BlobFailed {
                blob,
                why: "late".into(),
            },
            7 => Input::Consumed { events: 0 },
            8 => Input::Ready,
            // Those of a link that shares nothing are told so again.
            9 => self.memory.again(),
            10 => Input::BlobAborted(blob),
            _ => Input::Tick,
        }
    }

    /// The link before is told more than it should be: it stays silent.
    pub(super) fn bother_retired(&mut self) -> Result {
        let now = self.time();
        let inputs = [
            self.useless_input(),
            self.useless_input(),
            match self.dice.trouble.below(10) {
                0 => Input::Connected,
                1 => Input::Message {
                    bytes: Bytes::from_static(b"\x92\x01\x02"),
                    last: true,
                },
                2 => Input::TransportLost,
                3 => Input::PeerClosed {
                    code: 1000,
                    reason: String::new(),
                },
                4 => Input::NotReady,
                5 => Input::Drain { deadline: now },
                6 => Input::Shutdown,
                7 => Input::TextMessage,
                8 => Input::TooLarge { bytes: 1 },
                _ => Input::Consumed { events: 1 },
            },
        ];
        for input in inputs {
            self.tell_retired(&input)?;
        }
        Ok(())
    }

    /// An input for the link before. Nothing comes of it.
    pub(super) fn tell_retired(&mut self, input: &Input) -> Result {
        let now = self.time();
        let Some(retired) = &mut self.retired else {
            return Ok(());
        };
        self.coverage.input(LinkState::Closed, input);
        let is_silent = retired.handle(now, input.clone()).is_ok()
            && retired.poll_command().is_none()
            && retired.poll_timeout().is_none();
        hold("silence after close", is_silent, || format!("{input:?}"))
    }

    /// An acknowledgement, for the link that it belongs to and for the one that is open now.
    pub(super) fn acknowledge(&mut self, epoch: Epoch, input: &Input) -> Result {
        if epoch < Epoch(self.epoch) || self.host.is_none() {
            self.tell_retired(input)?;
        }
        self.input(input.clone())
    }

    /// The process dies: only the store is left.
    pub(super) fn crash(&mut self) {
        self.disk.crash();
        self.tries = BlobTries::default();
        self.retired = None;
        self.memory.leave();
        self.set_up_at = None;
        if let Some(host) = self.host.take() {
            self.coverage.link(host.receiver.stats());
            let delay = self.dice.trouble.range(1000, 2_000_000);
            self.reconnect_after(delay);
        }
    }

    /// The process dies, and what it had stored is thrown away.
    pub(super) fn wipe(&mut self) {
        self.crash();
        self.store = Store::default();
        self.checks.forget();
    }
}
