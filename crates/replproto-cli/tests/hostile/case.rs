//! A case: the program, a publisher that plays something to it, and what must hold in the end.

use std::net::TcpListener;
use std::sync::OnceLock;

use replproto_core::Config;

use crate::program::{End, Program};
use crate::publisher::{Dial, LAST, LAST_KEY, Link};
use crate::wire::{GOOD, TIME, put};

/// What one link may take above an idle program, in bytes, without its large records (`docs/operating.md`, "Memory and the
/// marks"): messages, events and blobs at their marks, a command, what has to be remembered, was, and is about to be, the
/// read buffer and SQLite's cache.
const LINK_BYTES_MAX: u64 = (2 + 4 + 1 + 4 + 3 * 16 + 1 + 4) << 20;

#[test]
fn the_bound_of_a_case_is_within_that_of_a_link() {
    let config = Config::new("us", "data");
    assert!(LINK_BYTES_MAX <= config.memory_bound(64 << 10).total());
}

/// What a publisher plays on a link that is set up, and all is well: a last record arrives.
pub(crate) fn survives(play: impl FnOnce(&Link)) -> End {
    survives_large(0, play)
}

/// The same with a record of so many bytes.
pub(crate) fn survives_large(record: usize, play: impl FnOnce(&Link)) -> End {
    let case = Case::start();
    let link = case.link();
    play(&link);
    case.end_with_last(&link, record)
}

/// What a publisher plays on a link that is set up, and the receiver ends the link for this cause.
pub(crate) fn ends(cause: &str, play: impl FnOnce(&Link)) -> End {
    let case = Case::start();
    let link = case.link();
    play(&link);
    case.end_after(cause)
}

/// Messages that may each end their link, or do nothing. After each of them a record arrives, on the same link or the next.
pub(crate) fn endures(messages: impl IntoIterator<Item = Vec<u8>>) -> End {
    let case = Case::persistent();
    let mut link = case.link();
    let mut sequence = TIME;
    for message in messages {
        link.send(&message);
        sequence += 1.0;
        link.send(&put(b"k1", GOOD, sequence));
        if !link.is_confirmed(sequence) {
            link = case.link();
            link.send(&put(b"k1", GOOD, sequence));
            assert!(link.is_confirmed(sequence), "{}", case.program.log());
        }
    }
    case.end_with_last(&link, 0)
}

/// A program that follows a publisher of ours.
pub(crate) struct Case {
    listener: TcpListener,
    pub(crate) program: Program,
}

impl Case {
    /// A program that dials once, and follows from the beginning of the log.
    pub(crate) fn start() -> Self {
        Self::with(&["--start", "1", "--reconnect-delay", "1h"])
    }

    /// A program that dials again at once, as long as it makes progress.
    pub(crate) fn persistent() -> Self {
        Self::with(&["--start", "1", "--reconnect-delay", "1ms"])
    }

    pub(crate) fn with(options: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let program = Program::start(&format!("ws://{address}"), options);
        Self { listener, program }
    }

    /// The next connection, before its upgrade.
    pub(crate) fn dial(&self) -> Dial {
        let (stream, _) = self.listener.accept().expect("a connection");
        Dial::accept(stream).expect("a request")
    }

    /// The next connection, after its upgrade.
    pub(crate) fn open(&self) -> Link {
        self.dial().upgrade()
    }

    /// The next link, set up.
    pub(crate) fn link(&self) -> Link {
        let link = self.open();
        link.set_up();
        link
    }

    /// Sends the last record, which must become durable, and ends the program.
    pub(crate) fn end_with_last(self, link: &Link, record: usize) -> End {
        link.send_last();
        if !link.is_confirmed(LAST) {
            panic!("the link has ended: {}", self.program.log());
        }
        let end = self.end_within(record);
        let last = format!("SELECT count(*) FROM Dog WHERE id = '\"{LAST_KEY}\"'");
        assert_eq!(end.number(&last), 1, "{}", end.log);
        end
    }

    /// Waits until the receiver ends its link for this cause, and ends the program.
    pub(crate) fn end_after(mut self, cause: &str) -> End {
        self.program.wait_for_cause(cause);
        self.end_within(0)
    }

    /// Ends the program in order. It had a record of so many bytes, and took no more memory than it may.
    pub(crate) fn end_within(self, record: usize) -> End {
        let end = self.program.end();
        let bound = LINK_BYTES_MAX + record as u64 * 5 / 2;
        match (end.peak, idle_peak()) {
            (Some(peak), Some(idle)) => {
                let growth = peak.saturating_sub(idle);
                println!(
                    "{} KiB above an idle program, at most {}",
                    growth >> 10,
                    bound >> 10
                );
                assert!(
                    growth <= bound,
                    "{growth} bytes, at most {bound}: {}",
                    end.log
                );
            }
            _ => println!("SKIPPED the memory: the system does not tell it"),
        }
        end
    }
}

/// The most memory of a program that has received one small record.
fn idle_peak() -> Option<u64> {
    static IDLE: OnceLock<Option<u64>> = OnceLock::new();
    *IDLE.get_or_init(|| {
        let case = Case::start();
        let link = case.link();
        link.send_last();
        assert!(link.is_confirmed(LAST));
        case.program.peak()
    })
}
