//! What a seed chooses before anything happens.

use std::time::Duration;

use replproto_core::config::{Mode, TableFilter, Timeouts};
use replproto_core::{Backoff, BlobTries, Config, Epoch, Instant, Reconnect, Sequence, Start};

use super::account::Account;
use super::checks::Checks;
use super::disk::Disk;
use super::heap::Heap;
use super::memory::Memory;
use super::{Event, Options, World};
use crate::coverage::Coverage;
use crate::faults::{Fault, Faults};
use crate::network::Network;
use crate::peer::{Manner, Peer};
use crate::recording::Recorder;
use crate::rng::Rng;
use crate::source::{Contents, Source, UNWANTED};
use crate::store::Store;
use crate::trace::{Trace, Words};

/// Each part of a world draws from a generator of its own, so that what one does not draw leaves the others as they are.
pub(super) struct Dice {
    pub(super) source: Rng,
    pub(super) peer: Rng,
    pub(super) network: Rng,
    pub(super) host: Rng,
    pub(super) disk: Rng,
    pub(super) trouble: Rng,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self {
            source: Rng::named(seed, "source"),
            peer: Rng::named(seed, "peer"),
            network: Rng::named(seed, "network"),
            host: Rng::named(seed, "host"),
            disk: Rng::named(seed, "disk"),
            trouble: Rng::named(seed, "trouble"),
        }
    }
}

/// How strongly the faults of a world strike, and with whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    pub(super) is_old: bool,
    /// Something befalls the world about as often, in microseconds.
    pub(super) trouble_micros: u64,
    /// The publisher writes about as often, in microseconds.
    pub(super) write_micros: u64,
    /// One read of a blob at the source, one save, and one commit of so many fails.
    pub(super) reads_per_failure: u64,
    pub(super) saves_per_failure: u64,
    pub(super) commits_per_failure: u64,
    /// How far clocks may be apart. The publisher writes about once in a millisecond.
    pub(super) clock_margin: Duration,
}

impl Drawn {
    fn new(rng: &mut Rng, seed: u64) -> Self {
        let margins = [0, 1, 60_000].map(Duration::from_millis);
        Self {
            is_old: rng.chance(250),
            trouble_micros: [100_000, 1_000_000, 5_000_000][rng.below(3) as usize],
            write_micros: [100_000, 2_000_000, 20_000_000][rng.below(3) as usize],
            reads_per_failure: [2, 11, 40][rng.below(3) as usize],
            saves_per_failure: [2, 7, 40][rng.below(3) as usize],
            commits_per_failure: [20, 100][rng.below(2) as usize],
            clock_margin: margins[Rng::named(seed, "margin").below(3) as usize],
        }
    }

    /// How a connection of the publisher behaves while there are these faults.
    pub(super) const fn manner(&self, faults: Faults) -> Manner {
        Manner {
            is_old: self.is_old,
            faults,
            reads_per_failure: self.reads_per_failure,
            margin: self.clock_margin.as_secs_f64() * 1000.0,
        }
    }
}

impl World {
    pub(super) fn new(options: Options, words: Words) -> Self {
        let mut rng = Rng::named(options.seed, "world");
        let mut faults = options.faults.unwrap_or_else(|| Faults::draw(options.seed));
        let drawn = Drawn::new(&mut rng, options.seed);
        // An old publisher has no way to say that it has forgotten something.
        if drawn.is_old {
            faults = faults.without(Fault::Purge);
        }
        let mut source = Source::default();
        let mut dice = Dice::new(options.seed);
        for _ in 0..dice.source.range(1, options.transactions) {
            source.write(&mut dice.source);
        }
        let first_start = if rng.chance(500) {
            Start::Copy
        } else {
            Start::At(Sequence(1.0))
        };
        let mut config = draw_config(&mut rng, drawn.is_old);
        config.clock_margin = drawn.clock_margin;
        if faults.has(Fault::Hostile) {
            tighten(&mut config);
        }
        let account = Account::new(&config);
        let memory = Memory::new(&mut Rng::named(options.seed, "memory"));
        let contents = Contents::new(options.blob_bytes);
        let mut world = Self {
            options,
            faults,
            now: 1,
            heap: Heap::new(),
            drawn,
            config,
            first_start,
            source,
            contents: contents.clone(),
            store: Store::default(),
            checks: Checks::new(faults),
            host: None,
            retired: None,
            peer: Peer::new(drawn.manner(faults), contents, &mut dice.peer),
            network: Network::default(),
            disk: Disk::default(),
            memory,
            account,
            is_delivering: false,
            is_consuming: false,
            tick_at: None,
            stalled_until: 0,
            lagging_until: 0,
            epoch: 0,
            tries: BlobTries::default(),
            reconnect: Reconnect::new(Backoff::default(), Epoch(0), Instant::from_micros(1)),
            set_up_at: None,
            is_healing: false,
            is_superseded: false,
            last_committed: None,
            coverage: Coverage::default(),
            steps: 0,
            trace: Trace::new(words),
            recorder: (words == Words::Last).then(Recorder::default),
            dice,
        };
        world.after(0, Event::Dial);
        world.after(1000, Event::Trouble);
        world.after(1000, Event::Write);
        world
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
    config.limits.record = RECORD_MAX;
    config.limits.blob_tries = [1, 2, 5][rng.below(3) as usize];
    // As many as can come before their records.
    config.limits.finished_blobs = [40, 16_384][rng.below(2) as usize];
    let flow = &mut config.flow;
    flow.consumer.high.items = pick(rng, [1, 7, 100]);
    flow.consumer.low.items = rng.below(flow.consumer.high.items);
    flow.consumer.high.bytes = pick(rng, [1200, 4 << 20, 4 << 20]);
    flow.consumer.low.bytes = flow.consumer.high.bytes / 2;
    flow.commits.high.items = pick(rng, [1, 4, 150]);
    flow.commits.low.items = rng.below(flow.commits.high.items);
    flow.inbound.high.bytes = pick(rng, [700, 16 << 10, 4 << 20]);
    flow.inbound.low.bytes = flow.inbound.high.bytes / 2;
    flow.blobs.high.bytes = pick(rng, [1500, 20_000, 1 << 20]);
    flow.blobs.low.bytes = flow.blobs.high.bytes / 2;
    flow.blobs.high.items = pick(rng, [2, 20, 1024]);
    flow.blobs.low.items = flow.blobs.high.items / 2;
    if rng.chance(500) {
        config.timeouts = short_timeouts();
    }
    config
}

/// The largest record that a receiver takes, in bytes.
pub(crate) const RECORD_MAX: usize = 64 << 10;

/// Bounds that a flood can pass, if anything of it is not counted.
fn tighten(config: &mut Config) {
    config.limits.command = 256 << 10;
    config.limits.context = 256 << 10;
    config.limits.open_blobs = 64;
    config.limits.blob_references = 500;
    config.limits.finished_blobs = config.limits.finished_blobs.min(256);
    let flow = &mut config.flow;
    for marks in [&mut flow.inbound, &mut flow.consumer, &mut flow.blobs] {
        marks.high.bytes = marks.high.bytes.min(64 << 10);
        marks.low.bytes = marks.low.bytes.min(32 << 10);
    }
    flow.blobs.high.items = flow.blobs.high.items.min(20);
    flow.blobs.low.items = flow.blobs.low.items.min(10);
    // What an event costs is to pause reading, and not how many there are.
    flow.consumer.high.items = 1000;
}

/// So short that every one of them comes into play.
const fn short_timeouts() -> Timeouts {
    Timeouts {
        ping_interval: Duration::from_secs(1),
        ping_timeout: Duration::from_secs(3),
        copy_timeout: Duration::from_secs(5),
        setup: Duration::from_secs(2),
        blob: Duration::from_secs(6),
        blob_gap: Duration::from_secs(5),
        pause_stall: Duration::from_secs(10),
        not_ready: Duration::from_secs(4),
        message: Duration::from_secs(2),
        confirm_delay: Duration::from_millis(2),
        settle: Duration::from_secs(2),
    }
}
