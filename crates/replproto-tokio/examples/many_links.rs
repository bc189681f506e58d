//! Many links in one process: a database of each of several nodes, on a few threads, with one bound for the memory of all.
//!
//! ```text
//! cargo run -p replproto-tokio --example many_links -- data replicas/ ws://10.0.0.1:9933 ws://10.0.0.2:9933
//! ```
//!
//! A [`Supervisor`] keeps the links up: whatever goes wrong with one (its publisher is gone, its disk is full, its code
//! panics) touches no other. Orders are taken from standard input while it runs: `remove 10.0.0.1:9933`, `add
//! 10.0.0.1:9933`, `status`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use replproto_tokio::{
    ConnectError, Ended, Endpoint, FileBlobStore, LinkConfig, LinkKey, LinkResult, LinkSetup,
    LinkStatus, MemoryBudget, Scope, SqliteOptions, SqliteSink, Supervisor, SupervisorOptions,
};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

mod common;

use common::{DRAIN_LIMIT, Failure};

const USAGE: &str = "\
Follows a database of many nodes, each into an SQLite file of its own.

usage: many_links DATABASE FOLDER ADDRESS...

  FOLDER   for the files; made if it is not there
  ADDRESS  of a publisher: ws://HOST[:PORT], or wss://... for TLS

On standard input: status | remove HOST:PORT | add HOST:PORT";

/// What all links together may hold of messages that came, in bytes.
const BUDGET: u64 = 64 << 20;

/// Between two lines about each link.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")] // The supervisor has threads of its own.
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, folder, addresses @ ..] = &arguments[..] else {
        return common::misused(USAGE);
    };
    let parsed: Result<Vec<Endpoint>, _> = addresses.iter().map(|text| text.parse()).collect();
    match parsed {
        Ok(endpoints) if !endpoints.is_empty() => {
            let fleet = Fleet::new(database, Path::new(folder), endpoints);
            let supervised = fleet.supervise(orders(), io::stdout(), common::interrupted());
            common::ended(supervised.await)
        }
        Ok(_) => common::misused(USAGE),
        Err(error) => common::ended(Err(error.into())),
    }
}

/// What a user may ask for while links are running.
#[derive(Debug)]
pub(crate) enum Order {
    Add(String),
    Remove(String),
    Status,
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["add", peer] => Some(Self::Add(peer.to_owned())),
            ["remove", peer] => Some(Self::Remove(peer.to_owned())),
            ["status"] => Some(Self::Status),
            _ => None,
        }
    }
}

/// The orders on standard input. They are read on a thread, since reading them cannot be given up.
fn orders() -> mpsc::UnboundedReceiver<Order> {
    let (sender, orders) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match Order::parse(&line) {
                Some(order) => {
                    if sender.send(order).is_err() {
                        return;
                    }
                }
                None => eprintln!("status | remove HOST:PORT | add HOST:PORT"),
            }
        }
    });
    orders
}

/// What the links have in common. It is shared with the threads on which they run.
pub(crate) struct Fleet {
    database: String,
    folder: PathBuf,
    /// By the names that the links have here.
    endpoints: BTreeMap<String, Endpoint>,
    /// One for all: a link that would take more than is left is not read until its turn has come.
    budget: MemoryBudget,
}

impl Fleet {
    pub(crate) fn new(database: &str, folder: &Path, endpoints: Vec<Endpoint>) -> Self {
        let named = endpoints.into_iter().map(|endpoint| {
            let name = format!("{}:{}", endpoint.host(), endpoint.port());
            (name, endpoint)
        });
        Self {
            database: database.to_owned(),
            folder: folder.to_owned(),
            endpoints: named.collect(),
            budget: MemoryBudget::new(BUDGET),
        }
    }

    fn key(&self, peer: &str) -> LinkKey {
        LinkKey::new(&self.database, peer)
    }

    fn config(&self, endpoint: &Endpoint) -> LinkConfig {
        LinkConfig::new(endpoint.clone(), "many-links-example", &*self.database)
    }

    /// Looks for mistakes that would fail each dial, before there is any.
    async fn check(&self) -> Result<(), ConnectError> {
        for endpoint in self.endpoints.values() {
            self.config(endpoint).check().await?;
        }
        Ok(())
    }

    /// Called for each run of a link, on the thread where it will run: everything is opened anew, so nothing of a run that
    /// failed is left. The `scope` is closed after the run; what should end with it can be registered there.
    async fn open(
        self: Arc<Self>,
        link: LinkKey,
        scope: Scope,
    ) -> Result<LinkSetup<SqliteSink, FileBlobStore>, Failure> {
        let endpoint = self.endpoints.get(&*link.peer);
        let endpoint = endpoint.ok_or_else(|| format!("{} has no address", link.peer))?;
        // An IPv6 address has characters that not all file systems take.
        let folder = self.folder.join(link.peer.replace([':', '[', ']'], "_"));
        let blobs = FileBlobStore::open_dir(folder.join("blobs")).await?;
        // Held by this run alone: the file is locked until the sink of the run before has finished.
        let names = SqliteOptions::new(&*link.peer, &*link.database);
        let sink = SqliteSink::open(folder.join("replica.db"), names).await?;
        scope.register(move || eprintln!("a run of {link} is over"));
        let mut setup = LinkSetup::new(self.config(endpoint), sink, blobs);
        // Links that lose their publishers together should not come back together.
        setup.options.jitter = Some(seed(&folder));
        Ok(setup)
    }

    /// Keeps the links up until `end`.
    pub(crate) async fn supervise(
        self,
        mut orders: mpsc::UnboundedReceiver<Order>,
        mut out: impl Write,
        end: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        self.check().await?;
        let fleet = Arc::new(self);
        let opening = fleet.clone();
        let mut options = SupervisorOptions::default();
        options.budget = Some(fleet.budget.clone());
        let supervisor = Supervisor::start(options, move |link, scope| {
            opening.clone().open(link, scope)
        });
        for peer in fleet.endpoints.keys() {
            supervisor.add(fleet.key(peer));
        }
        let mut end = pin!(end);
        let mut status = interval(STATUS_INTERVAL);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let order = tokio::select! {
                () = &mut end => break,
                _ = status.tick() => Order::Status,
                Some(order) = orders.recv() => order,
            };
            match order {
                // Its address is known, or the link fails with this as its reason, and is tried again.
                Order::Add(peer) => {
                    supervisor.add(fleet.key(&peer));
                }
                // Nothing is left of the link when this is ready: its files could be moved away now. Its cursor stays in the
                // file, so it can be added again and goes on where it was.
                Order::Remove(peer) => {
                    let ended = supervisor.remove(&fleet.key(&peer)).await;
                    writeln!(out, "{peer}: removed, {}", summary(&ended))?;
                }
                Order::Status => {
                    for link in supervisor.links() {
                        writeln!(out, "{}", line(&link))?;
                    }
                    let (held, waiting) = (fleet.budget.leased(), fleet.budget.waiting());
                    writeln!(
                        out,
                        "{held} bytes lent of {BUDGET}, {waiting} links waiting"
                    )?;
                }
            }
        }
        // Each link reads no more, stores and confirms what it has in hand, and ends.
        for (link, ended) in supervisor.drain(DRAIN_LIMIT).await {
            writeln!(out, "{}: {}", link.peer, summary(&ended))?;
        }
        Ok(())
    }
}

/// What there is to say about a link.
fn line(link: &LinkStatus) -> String {
    let snapshot = link.progress.borrow();
    let mut line = format!(
        "{}: {} records, {}",
        link.key.peer,
        snapshot.total().records,
        common::line(&snapshot)
    );
    if !snapshot.link.pauses.is_empty() {
        line.push_str(&format!(", paused for {}", snapshot.link.pauses));
    }
    if let Some(why) = &link.last_failure {
        line.push_str(&format!(", failed {} times: {why}", link.failures));
    }
    line
}

fn summary(ended: &LinkResult) -> String {
    let end = match ended {
        Ok(Some(end)) => end,
        Ok(None) => return "not running".to_owned(),
        Err(error) => return format!("failed while it ended: {error}"),
    };
    let how = match end.how {
        Ended::Drained => "all in hand is stored",
        Ended::DrainTimedOut => "what was not stored in time comes again",
        _ => "ended at once",
    };
    format!("{} records, {how}", end.stats.records)
}

/// Another for each link, the same each time.
fn seed(folder: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    hasher.finish()
}
