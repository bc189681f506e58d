//! Arbitrary inputs in any order, from a host that answers late, partly, in any order or wrongly, with a shadow of what
//! the rules I1 to I7 of the core say.
//!
//! The first byte chooses the options. Then come steps: a byte that chooses one, and the bytes that it takes.

mod choices;
mod shadow;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use replproto_core::{Command, CommitId, Epoch, Event, Input, Instant, Misuse, Receiver};

use super::alloc;
use super::alloc::for_link;
use super::host::{Account, configure, option};
use choices::Choices;
use shadow::Shadow;

/// The largest part: a message of a flood.
const PART: usize = 40 << 10;
/// A step of two bytes may build a message with some entries.
const BYTES_PER_BYTE: usize = 2048;
/// The receiver, the handshake, and messages that are made and not fed.
const FREE: usize = 64 * 1024 + 6 * PART;
/// The number of the first link, so that there are ids of earlier and later ones.
const EPOCH: Epoch = Epoch(2);

/// Runs the input.
///
/// # Panics
/// The receiver breaks one of its rules.
pub fn run(data: &[u8]) {
    let Some((options, steps)) = data.split_first() else {
        return;
    };
    let (sent, usage) = alloc::measure(|| {
        let mut link = Link::new(*options);
        let mut choices = Choices::new(steps);
        while let Some(step) = choices.next() {
            link.step(step, &mut choices);
        }
        link.end();
        link.sent
    });
    let limit = FREE + BYTES_PER_BYTE * (data.len() + sent);
    assert!(usage.peak <= limit, "{} > {limit}", usage.peak);
}

struct Link {
    receiver: Receiver,
    shadow: Shadow,
    now: Instant,
    account: Account,
    /// The bytes of messages that were fed.
    sent: usize,
    /// Events that are not consumed to their end, oldest first, with how much of them is left.
    held: VecDeque<(u64, Event)>,
}

impl Link {
    fn new(options: u8) -> Self {
        let (config, start) = configure(options);
        let now = Instant::from_micros(1_000_000);
        let shadow = Shadow::new(&config, &start);
        let account = Account::new(&config, PART);
        let receiver = for_link(|| Receiver::new(config, start, EPOCH, now)).expect("valid");
        let mut link = Self {
            receiver,
            shadow,
            now,
            account,
            sent: 0,
            held: VecDeque::new(),
        };
        link.input(Input::Connected);
        if options & option::HANDSHAKE == 0 && options & option::START == option::MIDDLE {
            for_link(|| link.receiver.assume_set_up("node-a"));
        }
        link
    }

    fn step(&mut self, step: u8, choices: &mut Choices<'_>) {
        match step & 0x0f {
            0 => self.message(choices.handshake()),
            1 => self.message(choices.batch()),
            2 => self.message(choices.command()),
            3 => {
                let last = step & 0x10 != 0;
                let part = choices.bytes();
                self.shadow.is_well_formed = false;
                self.part(part, last);
            }
            4 => {
                self.consume(u64::from(choices.next().unwrap_or(0)));
            }
            5 => {
                if let Some(id) = self.shadow.commit(choices.next().unwrap_or(0)) {
                    self.input(Input::Committed(id));
                }
            }
            6 => {
                let (which, bytes) = (choices.next(), choices.next());
                if let Some((blob, bytes)) = self.shadow.write(which, bytes) {
                    self.input(Input::BlobWritten { blob, bytes });
                }
            }
            7 => {
                if let Some(blob) = self.shadow.save(choices.next()) {
                    self.input(Input::BlobSaved(blob));
                }
            }
            8 if step & 0x10 != 0 => {
                if let Some(blob) = self.shadow.abort(choices.next()) {
                    self.input(Input::BlobAborted(blob));
                }
            }
            8 => {
                if let Some(blob) = self.shadow.fail(choices.next()) {
                    let why = "the disk is full".into();
                    self.input(Input::BlobFailed { blob, why });
                }
            }
            9 => self.input(if step & 0x10 == 0 {
                Input::NotReady
            } else {
                Input::Ready
            }),
            10 => {
                let shift = choices.next().unwrap_or(0) % 36;
                self.now = self.now.after(Duration::from_micros(1 << shift));
                self.input(Input::Tick);
            }
            11 => self.poll(usize::from(step >> 4) + 1),
            12 => self.poll(usize::MAX),
            13 => self.misuse(choices),
            14 => self.input(match step >> 4 {
                0..=3 => Input::Pong,
                4..=8 => Input::Heard {
                    bytes: u64::from(step),
                },
                9..=11 => Input::Skipped { records: 1 },
                12 | 13 => Input::Allowance {
                    bytes: 100 << (choices.next().unwrap_or(0) % 20),
                },
                14 => Input::TextMessage,
                _ => Input::TooLarge { bytes: 1 << 40 },
            }),
            _ => self.finish(step >> 4, choices),
        }
        self.check();
    }

    /// Many messages of one kind, up to the first pause, for each of which the host takes what there is. It keeps that, or
    /// consumes it at once.
    fn flood(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.next().unwrap_or(0);
        for _ in 0..choices.next().unwrap_or(0) {
            for message in choices.numbered(kind) {
                self.message(message);
            }
            self.poll(usize::MAX);
            if kind & 8 != 0 {
                self.consume(u64::MAX);
                self.poll(usize::MAX);
            }
            if self.receiver.is_paused() || self.shadow.is_closed {
                break;
            }
        }
    }

    /// Most of these only pass the time, so that not every input ends at once.
    fn finish(&mut self, how: u8, choices: &mut Choices<'_>) {
        match how {
            0 => self.input(Input::Shutdown),
            1 => self.input(Input::TransportLost),
            2 => self.input(Input::PeerClosed {
                code: 1006,
                reason: String::new(),
            }),
            3..=5 => {
                let deadline = self.now.after(Duration::from_secs(u64::from(how)));
                self.input(Input::Drain { deadline });
            }
            12.. => self.flood(choices),
            _ => self.input(Input::Tick),
        }
    }

    fn input(&mut self, input: Input) {
        for_link(|| self.receiver.handle(self.now, input)).expect("no misuse");
        self.account.check();
    }

    /// Consumes at most so many of the events that are out.
    fn consume(&mut self, most: u64) {
        let events = most.min(self.shadow.events_out);
        self.shadow.events_out -= events;
        self.release(events);
        self.input(Input::Consumed { events });
    }

    /// So many events are consumed.
    fn release(&mut self, events: u64) {
        let mut left = events;
        while left > 0
            && let Some((count, _)) = self.held.front_mut()
        {
            let taken = left.min(*count);
            left -= taken;
            *count -= taken;
            if *count == 0 {
                self.held.pop_front();
            }
        }
    }

    fn message(&mut self, message: Vec<u8>) {
        self.part(message, true);
    }

    fn part(&mut self, part: Vec<u8>, last: bool) {
        if self.receiver.is_paused() {
            return;
        }
        self.shadow.part(part.len() as u64, last);
        self.sent += part.len();
        let bytes = for_link(|| Bytes::copy_from_slice(&part));
        self.input(Input::Message { bytes, last });
    }

    fn poll(&mut self, most: usize) {
        for _ in 0..most {
            let command = for_link(|| self.receiver.poll_command());
            self.account.check();
            let Some(command) = command else {
                let is_due = self
                    .receiver
                    .poll_timeout()
                    .is_some_and(|at| at <= self.now);
                // Work that is spread over several calls goes on at once.
                if most == usize::MAX && is_due {
                    continue;
                }
                break;
            };
            self.shadow.observe(&command);
            if let Command::Event(event) = command {
                self.held.push_back((event.count(), event));
            }
            self.check();
        }
        assert_eq!(self.receiver.is_closed(), self.shadow.is_closed);
    }

    /// What the host must not do is refused, and changes nothing.
    fn misuse(&mut self, choices: &mut Choices<'_>) {
        let number = 1 << 40 | u64::from(choices.next().unwrap_or(0));
        let unknown = CommitId {
            epoch: EPOCH,
            number,
        };
        let events = self.shadow.events_out + 1;
        let inputs = [
            Input::Connected,
            Input::Consumed { events },
            Input::Committed(unknown),
        ];
        let state = |receiver: &Receiver| {
            (
                receiver.poll_timeout(),
                receiver.pause_reasons(),
                receiver.retained_bytes(),
                receiver.commits_out(),
                *receiver.stats(),
            )
        };
        let is_closing = self
            .receiver
            .handle(self.now, Input::Consumed { events })
            .is_ok();
        let before = state(&self.receiver);
        for input in inputs {
            let answer = self.receiver.handle(self.now, input);
            assert_eq!(answer.is_ok(), is_closing, "{answer:?}");
        }
        if !is_closing {
            let early = Instant::from_micros(self.now.as_micros() - 1);
            let answer = self.receiver.handle(early, Input::Tick);
            assert_eq!(answer, Err(Misuse::TimeWentBack));
        }
        assert_eq!(state(&self.receiver), before);
        // An earlier link's acknowledgements come late, and are no misuse.
        self.input(Input::Committed(CommitId {
            epoch: Epoch(1),
            number,
        }));
    }

    fn check(&self) {
        self.shadow.check(&self.receiver);
    }

    fn end(&mut self) {
        self.input(Input::Shutdown);
        self.poll(usize::MAX);
        self.check();
        assert!(self.shadow.is_closed);
        let receiver = &self.receiver;
        let held = receiver.retained_bytes() + receiver.events_out() + receiver.blob_bytes_out();
        assert_eq!(held, 0, "something is held after the close");
    }
}
