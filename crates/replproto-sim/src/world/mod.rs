//! The world: a clock, a heap of events, and everything that they happen to.

mod checks;
mod disk;
mod link;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;
use replproto_core::config::{Mode, TableFilter};
use replproto_core::{
    Backoff, BlobId, BlobTries, CommitId, Config, Input, Instant, Sequence, Start,
};

use crate::coverage::Coverage;
use crate::faults::{Fault, Faults};
use crate::fleet;
use crate::host::Host;
use crate::network::{Network, Way};
use crate::oracles::{Result, Violation, hold};
use crate::peer::{Manner, Peer};
use crate::rng::Rng;
use crate::source::{Source, UNWANTED};
use crate::store::{Job, Store};
use crate::trace::Trace;

pub use crate::options::Options;
pub use report::Report;

/// After the faults have stopped, this many events must be enough to converge, and as many again for each transaction of
/// the log.
const EVENTS_TO_CONVERGE: u64 = 100_000;
const EVENTS_PER_TRANSACTION: u64 = 500;

#[derive(Clone, Debug)]
enum Event {
    Dial,
    /// The next part arrives at the receiver.
    Deliver,
    /// A message arrives at the publisher of this link.
    ToPeer(u64, Bytes),
    Pong(u64),
    Tick,
    Consume,
    /// A job becomes durable.
    Durable(u64),
    Committed(CommitId),
    Written(BlobId, u64),
    /// A blob is durable, or has failed.
    Settled(BlobId),
    Ready,
    /// The publisher commits a transaction of its own.
    Write,
    Trouble,
}

/// A world under way.
pub struct World {
    options: Options,
    faults: Faults,
    rng: Rng,
    now: u64,
    heap: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    config: Config,
    is_old: bool,
    first_start: Start,
    source: Source,
    store: Store,
    /// Up to here the log was found in the store.
    checked: usize,
    gone: Vec<String>,
    /// The links on which a blob has failed at the source.
    failed_on: BTreeMap<String, BTreeSet<u64>>,
    has_copied: bool,
    host: Option<Host>,
    peer: Peer,
    network: Network,
    is_delivering: bool,
    is_consuming: bool,
    tick_at: Option<u64>,
    stalled_until: u64,
    jobs: BTreeMap<u64, (CommitId, Job)>,
    next_job: u64,
    /// No job becomes durable before.
    durable_after: u64,
    /// When the last of the jobs becomes durable.
    last_durable: u64,
    epoch: u64,
    tries: BlobTries,
    backoff: Backoff,
    is_healing: bool,
    /// The next link follows at once.
    is_superseded: bool,
    coverage: Coverage,
    steps: u64,
    trace: Trace,
}

impl World {
    /// Runs a world to its end.
    pub fn run(options: Options) -> Report {
        let mut world = Self::new(options);
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
        }
    }

    fn new(options: Options) -> Self {
        let mut rng = Rng::named(options.seed, "world");
        let mut faults = options.faults.unwrap_or_else(|| Faults::draw(options.seed));
        let is_old = rng.chance(250);
        // An old publisher has no way to say that it has forgotten something.
        if is_old {
            faults = faults.without(Fault::Purge);
        }
        let mut source = Source::default();
        let mut log = Rng::named(options.seed, "source");
        for _ in 0..log.range(1, options.transactions) {
            source.write(&mut log);
        }
        let first_start = if rng.chance(500) {
            Start::Copy
        } else {
            Start::At(Sequence(1.0))
        };
        let config = draw_config(&mut rng, is_old);
        let mut world = Self {
            options,
            faults,
            now: 1,
            heap: BTreeMap::new(),
            next_event: 0,
            config,
            is_old,
            first_start,
            source,
            store: Store::default(),
            checked: 0,
            gone: Vec::new(),
            failed_on: BTreeMap::new(),
            has_copied: false,
            host: None,
            peer: Peer::new(Manner {
                is_old,
                failing_reads: false,
                recopies: false,
                is_strange: false,
                blob_bytes: options.blob_bytes,
            }),
            network: Network::default(),
            is_delivering: false,
            is_consuming: false,
            tick_at: None,
            stalled_until: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            durable_after: 0,
            last_durable: 0,
            epoch: 0,
            tries: BlobTries::default(),
            backoff: Backoff::default(),
            is_healing: false,
            is_superseded: false,
            coverage: Coverage::default(),
            steps: 0,
            trace: if options.print {
                Trace::printed()
            } else {
                Trace::default()
            },
            rng,
        };
        world.after(0, Event::Dial);
        world.after(1000, Event::Trouble);
        world.after(1000, Event::Write);
        world
    }

    fn live(&mut self) -> Result {
        fleet::check(self.options.seed)?;
        for _ in 0..self.options.steps {
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
        let harmless = Faults::from_iter([Fault::Split, Fault::Reorder]);
        self.faults = self.faults.and(harmless);
        self.stalled_until = 0;
        self.after(0, Event::Ready);
    }

    fn after(&mut self, micros: u64, event: Event) {
        self.heap
            .insert((self.now + micros, self.next_event), event);
        self.next_event += 1;
    }

    fn step(&mut self) -> Result {
        let Some(((at, _), event)) = self.heap.pop_first() else {
            return Err(Violation::new("liveness", "nothing is left to happen"));
        };
        self.now = self.now.max(at);
        self.steps += 1;
        self.trace.note(format_args!("{} {event:?}", self.now));
        self.happen(event)?;
        self.settle()
    }

    fn happen(&mut self, event: Event) -> Result {
        match event {
            Event::Dial => self.dial(),
            Event::Deliver => self.deliver(),
            Event::ToPeer(epoch, bytes) if epoch == self.epoch && self.reaches_peer() => self
                .peer
                .receive(&bytes, &self.source)
                .map_err(|what| Violation::new("protocol", what)),
            Event::Pong(epoch) if epoch == self.epoch && self.reaches_peer() => {
                self.input(Input::Pong)
            }
            Event::ToPeer(..) | Event::Pong(_) => Ok(()),
            Event::Tick => {
                self.tick_at = None;
                self.input(Input::Tick)
            }
            Event::Consume => self.consume(),
            Event::Durable(order) => self.durable(order),
            Event::Committed(id) => self.input(Input::Committed(id)),
            Event::Written(blob, bytes) => self.input(Input::BlobWritten { blob, bytes }),
            Event::Settled(blob) => self.blob_settled(blob),
            Event::Ready => self.input(Input::Ready),
            Event::Write => {
                if !self.is_healing {
                    self.source.write(&mut self.rng);
                    let pause = self.rng.range(1000, 300_000);
                    self.after(pause, Event::Write);
                }
                Ok(())
            }
            Event::Trouble => self.trouble(),
        }
    }

    /// Whether what is sent arrives at the publisher.
    fn reaches_peer(&self) -> bool {
        self.host.is_some() && self.network.way == Way::Open
    }

    /// An input for the open link, if there is one.
    fn input(&mut self, input: Input) -> Result {
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        host.shadow.told(&input);
        let handled = host.receiver.handle(Instant::from_micros(self.now), input);
        handled.map_err(|misuse| Violation::new("contract", misuse))?;
        host.shadow.check(&host.receiver)
    }

    /// Everything that follows at once: commands, a deadline, and what the publisher can send.
    fn settle(&mut self) -> Result {
        while let Some(host) = &mut self.host {
            if let Some(command) = host.receiver.poll_command() {
                host.shadow.observe(&command)?;
                host.shadow.check(&host.receiver)?;
                self.coverage.pause(host.receiver.pause_reasons());
                self.obey(command)?;
            } else if host
                .receiver
                .poll_timeout()
                .is_some_and(|at| at.as_micros() <= self.now)
            {
                self.input(Input::Tick)?;
            } else {
                break;
            }
        }
        while self.network.has_room()
            && self.reaches_peer()
            && let Some(message) = self.peer.next(&self.source, &mut self.rng)
        {
            self.network
                .send(message, self.faults.has(Fault::Split), &mut self.rng);
        }
        for fault in std::mem::take(&mut self.peer.struck).iter() {
            self.coverage.strike(fault);
        }
        let Some(host) = &self.host else {
            return Ok(());
        };
        host.shadow.check_at_rest(&host.receiver)?;
        let blob_bytes = host.receiver.blob_bytes_out();
        hold("bounds", blob_bytes == 0 || !host.blobs.is_empty(), || {
            format!("{blob_bytes} bytes of no blob are out")
        })?;
        self.coverage.pause(host.receiver.pause_reasons());
        let is_reading = !host.receiver.is_paused() && self.network.way != Way::Dead;
        let deadline = host.receiver.poll_timeout().map(Instant::as_micros);
        let has_items = !host.queue.is_empty();
        if is_reading && !self.is_delivering && !self.network.is_empty() {
            self.is_delivering = true;
            let latency = self.rng.range(1, 2000);
            self.after(latency, Event::Deliver);
        }
        if has_items && !self.is_consuming {
            self.is_consuming = true;
            let pause = self.rng.range(
                1,
                if self.faults.has(Fault::Slow) {
                    20_000
                } else {
                    500
                },
            );
            let wait = self.stalled_until.saturating_sub(self.now);
            self.after(pause + wait, Event::Consume);
        }
        if let Some(at) = deadline
            && self.tick_at.is_none_or(|tick| at < tick)
        {
            self.tick_at = Some(at);
            self.after(at.saturating_sub(self.now), Event::Tick);
        }
        Ok(())
    }
}

fn draw_config(rng: &mut Rng, is_old: bool) -> Config {
    let mut config = Config::new("us", "data");
    config.peer_name = Some("peer".into());
    config.tables = TableFilter::Except(vec![UNWANTED.into()]);
    if is_old && rng.chance(500) {
        config.mode = Mode::A;
    }
    // All marks tiny at once, so that reasons to pause come together.
    let choices = if rng.chance(250) { 1 } else { 3 };
    let pick = |rng: &mut Rng, values: [u64; 3]| values[rng.below(choices) as usize];
    config.limits.blob_tries = [1, 2, 5][rng.below(3) as usize];
    let flow = &mut config.flow;
    flow.consumer.high.items = pick(rng, [1, 7, 100]);
    flow.consumer.low.items = rng.below(flow.consumer.high.items);
    flow.commits.high.items = pick(rng, [1, 4, 150]);
    flow.commits.low.items = rng.below(flow.commits.high.items);
    flow.inbound.high.bytes = pick(rng, [700, 16 << 10, 4 << 20]);
    flow.inbound.low.bytes = flow.inbound.high.bytes / 2;
    flow.blobs.high.bytes = pick(rng, [1500, 20_000, 1 << 20]);
    flow.blobs.low.bytes = flow.blobs.high.bytes / 2;
    flow.blobs.high.items = pick(rng, [2, 20, 1024]);
    flow.blobs.low.items = flow.blobs.high.items / 2;
    config
}
