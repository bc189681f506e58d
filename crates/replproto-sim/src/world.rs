//! The world: a clock, a heap of events, and everything that they happen to.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use bytes::Bytes;
use replproto_core::config::Mode;
use replproto_core::{
    Backoff, BlobId, BlobTries, Command, CommitId, Config, Cursor, Epoch, Event as Handed, Input,
    Instant, Receiver, Sequence, Start, StoredCursor,
};

use crate::faults::Faults;
use crate::host::{Blob, Host, Item};
use crate::network::Network;
use crate::oracles::{Result, Shadow, Violation, hold};
use crate::peer::{Manner, Peer};
use crate::rng::Rng;
use crate::source::Source;
use crate::store::{Job, Step, Store};
use crate::trace::Trace;

/// After the faults have stopped, this many events must be enough to converge.
const EVENTS_TO_CONVERGE: u64 = 200_000;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Events with faults, before they stop.
    pub steps: u64,
    /// Adds a rule that does not hold, to prove that a broken rule is noticed.
    pub canary: bool,
    /// Prints every step.
    pub print: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            steps: 5000,
            canary: false,
            print: false,
        }
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub options: Options,
    /// The faults that the seed chose.
    pub faults: Faults,
    /// The rule that broke, if any.
    pub violation: Option<Violation>,
    /// Events that happened.
    pub steps: u64,
    /// Links that were dialled.
    pub links: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// The last steps, in words.
    pub last: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            seed,
            steps,
            canary,
            ..
        } = self.options;
        if let Some(violation) = &self.violation {
            writeln!(f, "{violation}")?;
        }
        writeln!(f, "seed {seed}, {steps} steps, faults: {}", self.faults)?;
        writeln!(f, "the last steps:")?;
        for line in &self.last {
            writeln!(f, "  {line}")?;
        }
        let canary = if canary { " --canary" } else { "" };
        write!(
            f,
            "cargo run -p replproto-sim --release -- --seed {seed} --steps {steps}{canary}"
        )
    }
}

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
    has_copied: bool,
    host: Option<Host>,
    peer: Peer,
    network: Network,
    is_delivering: bool,
    is_consuming: bool,
    tick_at: Option<u64>,
    stalled_until: u64,
    jobs: BTreeMap<u64, (Option<CommitId>, Job)>,
    next_job: u64,
    /// No job becomes durable before.
    durable_after: u64,
    epoch: u64,
    tries: BlobTries,
    backoff: Backoff,
    is_healing: bool,
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
            options,
            faults,
            violation,
            steps: world.steps,
            links: world.epoch,
            hash: world.trace.hash(),
            last: world.trace.last().map(Into::into).collect(),
        }
    }

    fn new(options: Options) -> Self {
        let mut rng = Rng::new(options.seed);
        let mut faults = Faults::draw(&mut rng);
        let is_old = rng.chance(250);
        // An old publisher has no way to say that it has forgotten something.
        faults.purge &= !is_old;
        let mut source = Source::default();
        for _ in 0..rng.range(1, 60) {
            source.write(&mut rng);
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
            has_copied: false,
            host: None,
            peer: Peer::new(Manner {
                is_old,
                failing_reads: 0,
            }),
            network: Network::default(),
            is_delivering: false,
            is_consuming: false,
            tick_at: None,
            stalled_until: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            durable_after: 0,
            epoch: 0,
            tries: BlobTries::default(),
            backoff: Backoff::default(),
            is_healing: false,
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
        for _ in 0..self.options.steps {
            self.step()?;
        }
        self.heal();
        for _ in 0..EVENTS_TO_CONVERGE {
            if self.has_converged() {
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
        self.faults = Faults {
            split: self.faults.split,
            reorder: self.faults.reorder,
            ..Faults::default()
        };
        self.stalled_until = 0;
        self.after(0, Event::Ready);
    }

    fn has_converged(&self) -> bool {
        let Some(host) = &self.host else {
            return false;
        };
        host.receiver.is_idle()
            && self.network.is_empty()
            && self.peer.is_caught_up(&self.source)
            && self.jobs.is_empty()
            && self.store.sequence() >= self.source.head()
    }

    /// What is still missing.
    fn pending(&self) -> String {
        let Some(host) = &self.host else {
            return "a link".into();
        };
        format!(
            "cursor {:?} of {}, {} jobs, network empty: {}, peer caught up: {}, paused for {}, {} events and {} commits out",
            self.store.cursor(),
            self.source.head(),
            self.jobs.len(),
            self.network.is_empty(),
            self.peer.is_caught_up(&self.source),
            host.receiver.pause_reasons(),
            host.receiver.events_out(),
            host.receiver.commits_out(),
        )
    }

    /// The store holds what the source holds.
    fn check_equal(&self) -> Result {
        let (ours, theirs) = (
            self.store.rows().collect::<Vec<_>>(),
            self.source.rows.iter().collect::<Vec<_>>(),
        );
        for (ours, theirs) in ours.iter().zip(&theirs) {
            hold("completeness", ours == theirs, || {
                format!("{ours:?} instead of {theirs:?}")
            })?;
        }
        let (ours, theirs) = (ours.len(), theirs.len());
        hold("completeness", ours == theirs, || {
            format!("{ours} rows instead of {theirs}")
        })?;
        let files = self
            .source
            .rows
            .values()
            .filter_map(|row| row.file.as_ref());
        for file in files.filter(|file| !self.gone.contains(file)) {
            hold("completeness", self.store.blob(file).is_some(), || {
                format!("blob {file} is missing")
            })?;
        }
        Ok(())
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
            Event::ToPeer(epoch, bytes) if epoch == self.epoch && self.host.is_some() => self
                .peer
                .receive(&bytes, &self.source)
                .map_err(|what| Violation::new("protocol", what)),
            Event::Pong(epoch) if epoch == self.epoch => self.input(Input::Pong),
            Event::ToPeer(..) | Event::Pong(_) => Ok(()),
            Event::Tick => {
                self.tick_at = None;
                self.input(Input::Tick)
            }
            Event::Consume => self.consume(),
            Event::Durable(order) => self.durable(order),
            Event::Committed(id) => {
                self.count(id.epoch, |shadow| shadow.commits_out -= 1);
                self.input(Input::Committed(id))
            }
            Event::Written(blob, bytes) => self.written(blob, bytes),
            Event::Settled(blob) => self.blob_settled(blob),
            Event::Ready => {
                if let Some(host) = &mut self.host {
                    host.shadow.is_unready = false;
                }
                self.input(Input::Ready)
            }
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

    /// Counts in the shadow of the link that is open, if it is of this epoch.
    fn count(&mut self, epoch: Epoch, count: impl FnOnce(&mut Shadow)) {
        if let Some(host) = &mut self.host
            && Epoch(host.epoch) == epoch
        {
            count(&mut host.shadow);
        }
    }

    /// An input for the open link, if there is one.
    fn input(&mut self, input: Input) -> Result {
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        let handled = host.receiver.handle(Instant::from_micros(self.now), input);
        handled.map_err(|misuse| Violation::new("contract", misuse))?;
        host.shadow.check(&host.receiver)
    }

    /// Everything that follows at once: commands, a deadline, and what the publisher can send.
    fn settle(&mut self) -> Result {
        while let Some(host) = &mut self.host {
            if let Some(command) = host.receiver.poll_command() {
                let persisted = self.store.sequence();
                host.shadow.observe(&command, persisted)?;
                host.shadow.check(&host.receiver)?;
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
            && self.host.is_some()
            && let Some(message) = self.peer.next(&self.source, &mut self.rng)
        {
            self.network.send(message, self.faults.split, &mut self.rng);
        }
        let Some(host) = &self.host else {
            return Ok(());
        };
        host.shadow.check_at_rest(&host.receiver)?;
        let is_reading = !host.receiver.is_paused();
        let deadline = host.receiver.poll_timeout().map(Instant::as_micros);
        let has_items = !host.queue.is_empty();
        if is_reading && !self.is_delivering && !self.network.is_empty() {
            self.is_delivering = true;
            let latency = self.rng.range(1, 2000);
            self.after(latency, Event::Deliver);
        }
        if has_items && !self.is_consuming {
            self.is_consuming = true;
            let pause = self
                .rng
                .range(1, if self.faults.slow { 20_000 } else { 500 });
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

    fn dial(&mut self) -> Result {
        if !self.jobs.is_empty() {
            // Commits that are under way are awaited before the cursor is read.
            self.after(5000, Event::Dial);
            return Ok(());
        }
        self.epoch += 1;
        hold("canary", !self.options.canary || self.epoch < 2, || {
            "a link was dialled twice".into()
        })?;
        let stored = match self.store.cursor() {
            Some(cursor) => StoredCursor::Found(cursor.clone()),
            None => StoredCursor::Absent,
        };
        let start = Start::choose(stored, self.first_start.clone())
            .map_err(|error| Violation::new("cursor", error))?;
        let now = Instant::from_micros(self.now);
        let receiver = Receiver::new(self.config.clone(), start, Epoch(self.epoch), now)
            .map_err(|error| Violation::new("config", error))?
            .with_blob_tries(self.tries.clone());
        let shadow = Shadow::new(self.config.clone(), self.store.sequence());
        self.host = Some(Host::new(self.epoch, receiver, shadow));
        self.peer = Peer::new(Manner {
            is_old: self.is_old,
            failing_reads: self.faults.failing_reads,
        });
        self.network = Network::default();
        self.input(Input::Connected)
    }

    fn deliver(&mut self) -> Result {
        self.is_delivering = false;
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        if host.receiver.is_paused() {
            return Ok(());
        }
        let Some(part) = self.network.deliver() else {
            return Ok(());
        };
        host.shadow.part(part.bytes.len() as u64, part.last);
        self.input(Input::Message {
            bytes: part.bytes,
            last: part.last,
        })
    }

    fn obey(&mut self, command: Command) -> Result {
        match &command {
            Command::BlobChunk { blob, bytes, last } => {
                self.trace.note(format_args!(
                    "chunk of {blob}, {} bytes, last: {last}",
                    bytes.len()
                ));
            }
            Command::Event(Handed::Record(_) | Handed::Table(_)) | Command::Transmit(_) => {}
            other => self.trace.note(format_args!("{other:?}")),
        }
        match command {
            Command::Transmit(bytes) => {
                let latency = self.rng.range(1, 5000);
                self.after(latency, Event::ToPeer(self.epoch, bytes));
            }
            Command::Ping => {
                let latency = self.rng.range(1, 5000);
                self.after(latency, Event::Pong(self.epoch));
            }
            Command::Event(event) => return self.queue(event),
            Command::OpenBlob { blob, file, .. } => {
                let is_failing =
                    self.faults.failing_saves > 0 && self.rng.below(self.faults.failing_saves) == 0;
                let blob_of = Blob {
                    file: file.to_string(),
                    content: Vec::new(),
                    is_failing,
                };
                if let Some(host) = &mut self.host {
                    host.blobs.insert(blob, blob_of);
                }
            }
            Command::BlobChunk { blob, bytes, last } => self.blob_chunk(blob, &bytes, last),
            Command::AbortBlob { blob, .. } => {
                let aborted = self.host.as_mut().and_then(|host| host.blobs.remove(&blob));
                self.forget_unwritten(blob);
                return hold("blobs", aborted.is_some(), || {
                    format!("{blob} is aborted after its end")
                });
            }
            Command::Close(_) => self.closed(),
            _ => {}
        }
        Ok(())
    }

    fn queue(&mut self, event: Handed) -> Result {
        match &event {
            Handed::BlobGone(failure) => self.gone.push(failure.file.to_string()),
            Handed::CopyStarted(_) => self.has_copied = true,
            _ => {}
        }
        match &mut self.host {
            Some(host) => host.queue(event, &mut self.peer.expected),
            None => Ok(()),
        }
    }

    fn blob_chunk(&mut self, blob: BlobId, bytes: &[u8], last: bool) {
        let Some(host) = &mut self.host else {
            return;
        };
        let Some(written) = host.blobs.get_mut(&blob) else {
            return;
        };
        written.content.extend_from_slice(bytes);
        let is_failing = written.is_failing;
        let delay = self.rng.range(1, 10_000);
        self.after(delay, Event::Written(blob, bytes.len() as u64));
        if last || (is_failing && self.rng.chance(300)) {
            let delay = delay + self.rng.range(1, 10_000);
            self.after(delay, Event::Settled(blob));
        }
    }

    fn written(&mut self, blob: BlobId, bytes: u64) -> Result {
        let is_known = self
            .host
            .as_ref()
            .is_some_and(|host| host.blobs.contains_key(&blob));
        if is_known {
            self.count(blob.epoch, |shadow| shadow.blob_bytes_out -= bytes);
        }
        self.input(Input::BlobWritten { blob, bytes })
    }

    fn blob_settled(&mut self, blob: BlobId) -> Result {
        let Some(settled) = self.host.as_mut().and_then(|host| host.blobs.remove(&blob)) else {
            // Aborted meanwhile, or of an earlier link: the late answer must do no harm.
            return if blob.epoch < Epoch(self.epoch) {
                self.input(Input::BlobSaved(blob))
            } else {
                Ok(())
            };
        };
        self.forget_unwritten(blob);
        if settled.is_failing {
            self.count(blob.epoch, |shadow| shadow.failures += 1);
            return self.input(Input::BlobFailed {
                blob,
                why: "disk full".into(),
            });
        }
        let is_right = settled.content == Source::content(&settled.file);
        hold("blobs", is_right, || {
            format!("blob {} has other bytes than its source", settled.file)
        })?;
        self.store.save_blob(settled.file, settled.content);
        self.count(blob.epoch, |shadow| shadow.saves += 1);
        self.input(Input::BlobSaved(blob))
    }

    /// The blob is over: none of its bytes is out any more.
    fn forget_unwritten(&mut self, blob: BlobId) {
        let unwritten: u64 = self
            .heap
            .values()
            .filter_map(|event| match event {
                Event::Written(written, bytes) if *written == blob => Some(*bytes),
                _ => None,
            })
            .sum();
        self.count(blob.epoch, |shadow| shadow.blob_bytes_out -= unwritten);
    }

    fn consume(&mut self) -> Result {
        self.is_consuming = false;
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        let most = if self.faults.slow {
            1
        } else {
            self.rng.range(1, 200)
        };
        let events = most.min(host.queue.len() as u64);
        let items: Vec<Item> = host.queue.drain(..events as usize).collect();
        host.shadow.events_out -= events;
        self.input(Input::Consumed { events })?;
        for item in items {
            self.apply(item);
        }
        Ok(())
    }

    fn apply(&mut self, item: Item) {
        let Some(host) = &mut self.host else {
            return;
        };
        match item {
            Item::Change(step) => host.staged.push(step),
            Item::Commit { id, cursor } => {
                let steps = std::mem::take(&mut host.staged);
                self.begin_job(id, steps, cursor, false);
            }
            Item::CopyCompleted { id, cursor, pass } => {
                self.begin_job(id, vec![Step::Sweep { pass }], Some(cursor), true);
            }
            Item::Other => {}
        }
    }

    /// Something begins to become durable. Nothing overtakes a `barrier`.
    fn begin_job(&mut self, id: CommitId, steps: Vec<Step>, cursor: Option<Cursor>, barrier: bool) {
        self.next_job += 1;
        let order = self.next_job;
        let mut at = (self.now + self.rng.range(1, 30_000)).max(self.durable_after);
        if barrier || !self.faults.reorder {
            self.durable_after = at.max(self.durable_after);
            at = self.durable_after;
        }
        self.jobs.insert(
            order,
            (
                Some(id),
                Job {
                    steps,
                    cursor,
                    order,
                },
            ),
        );
        self.after(at - self.now, Event::Durable(order));
    }

    fn durable(&mut self, order: u64) -> Result {
        // A crash may have taken it.
        let Some((id, job)) = self.jobs.remove(&order) else {
            return Ok(());
        };
        let before = self.store.sequence();
        self.store.commit(job);
        if self.store.sequence() > before {
            self.backoff.cursor_advanced();
        }
        self.check_prefix()?;
        if let Some(id) = id {
            let delay = self
                .rng
                .range(0, if self.faults.reorder { 50_000 } else { 100 });
            self.after(delay, Event::Committed(id));
        }
        Ok(())
    }

    /// Everything up to the durable cursor is durable, with its blobs.
    fn check_prefix(&mut self) -> Result {
        let end = self.source.after(self.store.sequence());
        for transaction in &self.source.log[self.checked.min(end)..end] {
            for change in &transaction.changes {
                let version = self.store.version(&change.place);
                let newest = self.source.rows.get(&change.place);
                let is_superseded = newest.is_none_or(|row| row.version > transaction.sequence);
                let is_there = version.is_some_and(|version| version >= transaction.sequence);
                hold("durability", is_there || is_superseded, || {
                    format!(
                        "{:?} of {} is not durable",
                        change.place, transaction.sequence
                    )
                })?;
                let file = change.row.as_ref().and_then(|row| row.file.as_ref());
                if let Some(file) = file
                    && version == Some(transaction.sequence)
                {
                    // A row that went away while it was being copied is not sent again; the log takes it away.
                    let is_passing = self.has_copied && is_superseded;
                    let is_there =
                        self.store.blob(file).is_some() || self.gone.contains(file) || is_passing;
                    hold("durability", is_there, || {
                        format!("blob {file} is passed and not saved")
                    })?;
                }
            }
        }
        self.checked = self.checked.max(end);
        Ok(())
    }

    fn closed(&mut self) {
        let Some(host) = self.host.take() else {
            return;
        };
        self.tries = host.receiver.blob_tries().clone();
        let delay = self.backoff.next_delay();
        self.after(delay.as_micros() as u64, Event::Dial);
    }

    fn trouble(&mut self) -> Result {
        if self.is_healing {
            return Ok(());
        }
        let pause = self.rng.range(5000, 3_000_000);
        self.after(pause, Event::Trouble);
        match self.rng.below(6) {
            0 if self.faults.cut => {
                self.trace.note(format_args!("cut"));
                self.input(Input::TransportLost)
            }
            1 if self.faults.crash => {
                self.trace.note(format_args!("crash"));
                self.crash();
                Ok(())
            }
            2 if self.faults.stall => {
                self.stalled_until = self.now + self.rng.range(1000, 100_000_000);
                Ok(())
            }
            3 if self.faults.not_ready => {
                let until_ready = self.rng.range(1000, 70_000_000);
                self.after(until_ready, Event::Ready);
                if let Some(host) = &mut self.host {
                    host.shadow.is_unready = true;
                }
                self.input(Input::NotReady)
            }
            4 if self.faults.purge => {
                let end = self.source.log.len() as u64;
                let from = self.rng.range(self.source.kept_from as u64, end);
                self.source.kept_from = from as usize;
                Ok(())
            }
            5 if self.faults.drain => {
                if let Some(host) = &mut self.host {
                    host.shadow.is_draining = true;
                }
                let deadline = Instant::from_micros(self.now).after(Duration::from_secs(5));
                self.input(Input::Drain { deadline })
            }
            _ => Ok(()),
        }
    }

    /// The process dies: only the store is left.
    fn crash(&mut self) {
        self.jobs.clear();
        self.durable_after = 0;
        self.tries = BlobTries::default();
        if self.host.take().is_some() {
            let delay = self.rng.range(1000, 2_000_000);
            self.after(delay, Event::Dial);
        }
    }
}

fn draw_config(rng: &mut Rng, is_old: bool) -> Config {
    let mut config = Config::new("us", "data");
    config.peer_name = Some("peer".into());
    if is_old && rng.chance(500) {
        config.mode = Mode::A;
    }
    let flow = &mut config.flow;
    let pick = |rng: &mut Rng, choices: [u64; 3]| choices[rng.below(3) as usize];
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
