//! The world: a clock, a heap of events, and everything that they happen to.

mod account;
mod checks;
mod disk;
mod draw;
mod heap;
mod link;
mod memory;
mod report;
mod trouble;

use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;
use replproto_core::{
    BlobId, BlobTries, CommitId, Config, Input, Instant, Receiver, Reconnect, Start,
};

use crate::alloc::for_link;
use crate::coverage::{self, Coverage};
use crate::faults::{Fault, Faults};
use crate::host::Host;
use crate::hostile;
use crate::model::{Model, is_lifted_by_decoding};
use crate::network::{Network, Way};
use crate::oracles::{Result, Violation, hold};
use crate::peer::Peer;
use crate::recording::Recorder;
use crate::rules;
use crate::source::{Contents, Source};
use crate::store::Store;
use crate::trace::{Trace, Words};
use account::Account;
use checks::Checks;
use disk::Disk;
pub(crate) use draw::RECORD_MAX;
use draw::{Dice, Drawn};
use heap::Heap;
use memory::Memory;

pub use crate::options::Options;
pub use report::Report;

/// After the faults have stopped, this many events must be enough to converge, and as many again for each transaction of
/// the log.
const EVENTS_TO_CONVERGE: u64 = 100_000;
const EVENTS_PER_TRANSACTION: u64 = 500;

/// So long nothing is consumed when a flood comes.
const FLOOD_MICROS: u64 = 2_000_000;

/// How late a busy host comes for a deadline, at most.
const LATEST_MICROS: u64 = 20_000;

/// So many calls at once without a command are too many: each looks at a thousand entries or a megabyte.
const IDLE_CALLS: u32 = 1000;

#[derive(Clone, Debug)]
enum Event {
    Dial,
    /// The socket of this link is open.
    Connected(u64),
    /// The next part arrives at the receiver.
    Deliver,
    /// A message arrives at the publisher of this link.
    ToPeer(u64, Bytes),
    Pong(u64),
    /// The deadline at this time, unless another has taken its place.
    Tick(u64),
    Consume,
    /// A job becomes durable.
    Durable(u64),
    Committed(CommitId),
    Written(BlobId, u64),
    /// A blob is durable, or has failed.
    Settled(BlobId),
    /// Nothing of an aborted blob is at work any more.
    Aborted(BlobId),
    Ready,
    /// The publisher commits a transaction of its own.
    Write,
    Trouble,
}

/// A world under way.
pub struct World {
    options: Options,
    faults: Faults,
    dice: Dice,
    now: u64,
    heap: Heap<Event>,
    drawn: Drawn,
    config: Config,
    first_start: Start,
    source: Source,
    contents: Contents,
    store: Store,
    checks: Checks,
    host: Option<Host>,
    /// The link before. Whatever it is told now, nothing may come of it.
    retired: Option<Receiver>,
    peer: Peer,
    network: Network,
    disk: Disk,
    memory: Memory,
    account: Account,
    is_delivering: bool,
    is_consuming: bool,
    tick_at: Option<u64>,
    /// The consumer does nothing before, and nothing arrives before.
    stalled_until: u64,
    lagging_until: u64,
    epoch: u64,
    tries: BlobTries,
    /// When the next link is dialled.
    reconnect: Reconnect,
    /// When this link was set up.
    set_up_at: Option<Instant>,
    is_healing: bool,
    /// The link is not wanted any more, and another takes its place.
    is_superseded: bool,
    /// What was acknowledged last.
    last_committed: Option<CommitId>,
    coverage: Coverage,
    steps: u64,
    trace: Trace,
    /// What the newest link was told, if words are asked for.
    recorder: Option<Recorder>,
}

impl World {
    /// Runs a world to its end. One that breaks a rule is run again, for the words of its last steps.
    pub fn run(options: Options) -> Report {
        let report = Self::run_with(
            options,
            if options.print {
                Words::Printed
            } else {
                Words::None
            },
        );
        if report.violation.is_none() || options.print {
            return report;
        }
        Self::run_with(options, Words::Last)
    }

    fn run_with(options: Options, words: Words) -> Report {
        let mut world = Self::new(options, words);
        let faults = world.faults;
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| world.live()));
        let violation = match outcome {
            Ok(result) => result.err(),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
                Some(Violation::new(
                    "no panic",
                    text.unwrap_or("a panic without words"),
                ))
            }
        };
        Report {
            options: Options {
                faults: Some(faults),
                ..options
            },
            violation,
            steps: world.steps,
            links: world.epoch,
            hash: world.trace.hash(),
            coverage: world.coverage,
            last: world.trace.last().map(Into::into).collect(),
            recording: world.recorder.map(Recorder::finish),
        }
    }

    fn live(&mut self) -> Result {
        rules::check(self.options.seed)?;
        let faults = self.faults;
        self.faults = Faults::NONE;
        for step in 0..self.options.steps {
            if step == self.options.calm {
                self.faults = faults;
            }
            self.step()?;
        }
        self.heal();
        let transactions = self.source.log.len() as u64;
        for _ in 0..EVENTS_TO_CONVERGE + transactions * EVENTS_PER_TRANSACTION {
            if self.has_converged() {
                if let Some(host) = &self.host {
                    self.coverage.link(host.receiver.stats());
                }
                return self.check_equal();
            }
            self.step()?;
        }
        Err(Violation::new(
            "liveness",
            format!("not converged: {}", self.pending()),
        ))
    }

    /// From now on nothing goes wrong any more.
    fn heal(&mut self) {
        self.is_healing = true;
        if self.faults.has(Fault::Hostile) {
            // What is stored may be anything. A new start from nothing must lead to what the source has.
            self.wipe();
        }
        let harmless = Faults::from_iter([Fault::Split, Fault::Reorder]);
        self.faults = self.faults.and(harmless);
        self.stalled_until = 0;
        self.lagging_until = 0;
        self.memory.be_alone();
        self.open_gate();
        self.after(0, Event::Ready);
    }

    fn after(&mut self, micros: u64, event: Event) {
        self.heap.push(self.now + micros, event);
    }

    fn time(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    fn step(&mut self) -> Result {
        let Some((at, event)) = self.heap.pop() else {
            return Err(Violation::new("liveness", "nothing is left to happen"));
        };
        self.now = self.now.max(at);
        self.steps += 1;
        self.trace.number(self.now);
        self.trace.note(format_args!("{} {event:?}", self.now));
        self.happen(event)?;
        self.settle()
    }

    fn happen(&mut self, event: Event) -> Result {
        match event {
            Event::Dial => self.dial(),
            Event::Connected(epoch) if epoch == self.epoch => self.connected(),
            Event::Deliver => self.deliver(),
            Event::ToPeer(epoch, bytes) if epoch == self.epoch && self.reaches_peer() => self
                .peer
                .receive(&bytes, &self.source)
                .map_err(|what| Violation::new("protocol", what)),
            Event::Pong(epoch) if epoch == self.epoch && self.reaches_peer() => {
                self.input(Input::Pong)
            }
            Event::Connected(_) | Event::ToPeer(..) | Event::Pong(_) => Ok(()),
            Event::Tick(at) if self.tick_at == Some(at) => {
                self.tick_at = None;
                self.input(Input::Tick)
            }
            Event::Tick(_) => Ok(()),
            Event::Consume => self.consume(),
            Event::Durable(order) => self.durable(order),
            Event::Committed(id) => {
                self.last_committed = Some(id);
                self.acknowledge(id.epoch, &Input::Committed(id))
            }
            Event::Written(blob, bytes) => {
                self.acknowledge(blob.epoch, &Input::BlobWritten { blob, bytes })
            }
            Event::Settled(blob) => self.blob_settled(blob),
            Event::Aborted(blob) => self.blob_aborted(blob),
            Event::Ready => self.input(Input::Ready),
            Event::Write => {
                if !self.is_healing {
                    self.write();
                    let pause = self.dice.source.range(1000, self.drawn.write_micros);
                    self.after(pause, Event::Write);
                }
                Ok(())
            }
            Event::Trouble => self.trouble(),
        }
    }

    /// The publisher commits a transaction, unless the receiver has too much to catch up with. A copy needs nothing of the log
    /// before it.
    fn write(&mut self) {
        let durable = self.store.sequence();
        let behind = self.source.log.len() - self.source.after(durable);
        let most = self.options.transactions * if durable > 0.0 { 1 } else { 4 };
        if (behind as u64) < most {
            self.source.write(&mut self.dice.source);
        }
    }

    /// How much the host does now. A busy one leaves the rest for later.
    fn patience(&mut self) -> u64 {
        let few = self.dice.host.below(4);
        let is_busy = self.dice.host.chance(300) && self.faults.has(Fault::Busy);
        if !is_busy {
            return u64::MAX;
        }
        self.coverage.strike(Fault::Busy);
        few
    }

    /// Whether what is sent arrives at the publisher.
    fn reaches_peer(&self) -> bool {
        self.host.as_ref().is_some_and(|host| host.is_connected) && self.network.way == Way::Open
    }

    /// An input for the open link, if there is one.
    fn input(&mut self, input: Input) -> Result {
        let now = self.time();
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        self.coverage.input(host.state(), &input);
        self.trace.number(coverage::kind(&input) as u64);
        if let Some(recorder) = &mut self.recorder {
            recorder.input(now, &input);
        }
        if !host.receiver.is_closing() {
            host.model.told(&input, now);
        }
        let handled = for_link(|| host.receiver.handle(now, input));
        handled.map_err(|misuse| Violation::new("contract", misuse))?;
        self.account.check(host.receiver.retained_bytes())?;
        host.model.check(&host.receiver)
    }

    /// Everything that follows at once: commands, a deadline, and what the publisher can send.
    fn settle(&mut self) -> Result {
        let mut idle_calls = 0;
        let mut patience = self.patience();
        while let Some(host) = &mut self.host
            && patience > 0
        {
            patience -= 1;
            if let Some(command) = for_link(|| host.receiver.poll_command()) {
                self.account.check(host.receiver.retained_bytes())?;
                host.model.observe(&command)?;
                host.model.check(&host.receiver)?;
                self.coverage.pause(host.receiver.pause_reasons());
                self.obey(command)?;
                idle_calls = 0;
                continue;
            }
            // A call that gives no command may have changed something too.
            host.model.check(&host.receiver)?;
            let due = host.receiver.poll_timeout();
            if due.is_some_and(|due| due.as_micros() <= self.now) {
                self.input(Input::Tick)?;
                idle_calls += 1;
                hold("work", idle_calls < IDLE_CALLS, || {
                    "asks to be called at once, and does nothing".into()
                })?;
            } else if !self.share_memory()? {
                break;
            }
        }
        if let Some(host) = &self.host
            && host.receiver.is_set_up()
        {
            let now = self.time();
            self.set_up_at.get_or_insert(now);
        }
        self.send();
        self.check_at_rest()?;
        self.schedule();
        Ok(())
    }

    /// The publisher sends what fits.
    fn send(&mut self) {
        let is_split = self.faults.has(Fault::Split);
        let is_hostile = self.faults.has(Fault::Hostile);
        while self.network.has_room()
            && self.reaches_peer()
            && let Some(message) = self.peer.next(&self.source, &mut self.dice.peer)
        {
            if is_hostile && self.dice.network.chance(20) {
                self.coverage.strike(Fault::Hostile);
                self.distrust();
                let messages = hostile::corrupt(message, &mut self.dice.network);
                if messages.len() > 2 {
                    // A flood does most when nobody takes what comes.
                    self.stalled_until = self.now + FLOOD_MICROS;
                }
                for message in messages {
                    self.network.send(message, is_split, &mut self.dice.network);
                }
            } else {
                self.network.send(message, is_split, &mut self.dice.network);
            }
        }
        for fault in std::mem::take(&mut self.peer.struck).iter() {
            self.coverage.strike(fault);
        }
        if let Some(host) = &mut self.host
            && self.peer.is_to_blame
        {
            host.may_blame_peer();
        }
    }

    /// What was sent cannot be compared with what arrives any more.
    fn distrust(&mut self) {
        if let Some(host) = &mut self.host {
            host.is_tainted = true;
            host.may_blame_peer();
        }
    }

    /// What is to happen next, unless it is on its way already.
    fn schedule(&mut self) {
        let Some(host) = &self.host else {
            return;
        };
        let can_read = self.can_read(host);
        let mut deadline = host.receiver.poll_timeout().map(Instant::as_micros);
        let has_items = !host.queue.is_empty();
        if can_read && !self.is_delivering && !self.network.is_empty() {
            self.is_delivering = true;
            let latency = self.dice.network.range(1, 2000);
            let wait = self.lagging_until.saturating_sub(self.now);
            self.after(latency + wait, Event::Deliver);
        }
        if has_items && !self.is_consuming {
            self.is_consuming = true;
            let slowest = if self.faults.has(Fault::Slow) {
                20_000
            } else {
                500
            };
            let pause = self.dice.host.range(1, slowest);
            let wait = self.stalled_until.saturating_sub(self.now);
            self.after(pause + wait, Event::Consume);
        }
        if self.faults.has(Fault::Busy) {
            let delay = self.dice.host.below(LATEST_MICROS);
            deadline = deadline.map(|at| at.max(self.now) + delay);
        }
        if let Some(at) = deadline
            && self.tick_at.is_none_or(|tick| at < tick)
        {
            self.tick_at = Some(at);
            self.after(at.saturating_sub(self.now), Event::Tick(at));
        }
    }

    /// Whether the host reads. One that has bytes in its hands may still give them although reading is paused.
    fn can_read(&self, host: &Host) -> bool {
        if !host.is_connected || self.network.way == Way::Dead {
            return false;
        }
        let overruns = || {
            let high = self.config.flow.inbound.high.bytes;
            self.faults.has(Fault::Overrun) && host.receiver.retained_bytes() <= high
        };
        !host.receiver.is_paused() || overruns()
    }

    fn check_at_rest(&mut self) -> Result {
        let is_waiting = self.reconnect.deadline().is_some();
        hold("reconnect", is_waiting == self.host.is_none(), || {
            format!("a link: {}, a dial to come: {is_waiting}", !is_waiting)
        })?;
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        if host
            .receiver
            .poll_timeout()
            .is_some_and(|due| due.as_micros() <= self.now)
        {
            // A busy host has left something to do.
            return Ok(());
        }
        host.model.check_at_rest(&host.receiver)?;
        let reasons = host.receiver.pause_reasons();
        self.coverage.pause(reasons);
        let is_decoding = reasons.iter().all(is_lifted_by_decoding);
        let delivered = self.network.delivered;
        // What an ending link hands out is known when it closes.
        if host.is_tainted || !is_decoding || host.receiver.is_ending() {
            return Ok(());
        }
        let handed_out = host.handed_out;
        hold("progress", handed_out >= delivered.expected, || {
            format!("{handed_out} of {} handed out", delivered.expected)
        })?;
        let is_set_up = host.receiver.is_set_up();
        hold("setup", !is_set_up || delivered.is_answered, || {
            "set up without an answer".into()
        })?;
        if delivered.is_final {
            host.model.must_end();
        }
        // What is still on its way may have come in part.
        let sent = self.network.sent().skipped;
        Model::check_skipped(host.receiver.stats(), &delivered.skipped, &sent)?;
        if delivered.copies != host.copies {
            host.copies = delivered.copies;
            let [begun, ended] = delivered.copies;
            if begun == ended {
                host.model.rows_ended();
            }
        }
        Ok(())
    }
}
