//! `replproto demo`: a backlog is caught up while things go wrong, and the result is checked.

mod data;
mod faults;
mod publisher;
mod verify;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use replproto_core::{Sequence, Start};
use replproto_tokio::{
    FileBlobStore, LinkConfig, Replica, RunEnd, RunOptions, Sink, Snapshot, SqliteOptions,
    SqliteSink,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use self::data::Plan;
use self::faults::{FAILING_EVERY, FailingBlobs, Faults, STALL, StallingSink};
use self::verify::{Verdict, verify};
use crate::exit::Failure;
use crate::output::say;
use crate::progress::Progress;
use crate::signals::end_on_signals;
use crate::summary::Summary;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A publisher with a backlog (a process of its own, so that the memory shown is the follower's), a WebSocket on the loopback, and
a follower into an SQLite file. On the way the store stalls for some seconds, and on the first link the disk loses every
seventh blob: the publisher is held back, not the memory filled; the cursor stays, the link comes back, and the blobs come again.
At the end every record is compared and every blob is hashed.

Examples:
  replproto demo
  replproto demo --records 1000000 --keep demo-data

Exit codes: 0 everything is there as it should be; 1 it is not, or something went wrong; 2 usage; 130 a second interrupt.")]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    size: Size,
    /// Keep the SQLite file and the blobs in this folder, which must be empty or not there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The publisher's part; started by the demo itself.
#[derive(Debug, clap::Args)]
pub(crate) struct PublisherArgs {
    #[command(flatten)]
    size: Size,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Size {
    /// How many changes of records the backlog has
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    records: u64,
    /// How many blobs it has
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    blobs: u64,
}

impl From<Size> for Plan {
    fn from(Size { records, blobs }: Size) -> Self {
        Self { records, blobs }
    }
}

/// How long a blob that failed may hold the cursor before the link is renewed.
const BLOB_GAP: Duration = Duration::from_secs(6);

/// How long the last confirmation may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// The demo gives up after so long.
const DEADLINE: Duration = Duration::from_secs(1800);

/// Between two lines of progress in a pipe.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the publisher until the demo that started it is gone.
pub(crate) async fn publish(args: PublisherArgs) -> Result<(), Failure> {
    publisher::serve(args.size.into())
        .await
        .map_err(Failure::of)
}

/// Runs the demo.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let plan = Plan::from(args.size);
    let place = Place::choose(args.keep.as_deref())?;
    let (_publisher, port) = start_publisher(args.size).await?;
    say(format_args!(
        "A follower catches up {} changes and {} blobs from ws://127.0.0.1:{port}, into {}.",
        HumanCount(plan.records),
        HumanCount(plan.blobs),
        place.file().display()
    ));
    say(format_args!(
        "In the middle the store stalls for {} s. On the first link every {FAILING_EVERY}th blob cannot be written.",
        STALL.as_secs()
    ));

    let source = data::NODE;
    let options = SqliteOptions::new(source, data::DATABASE);
    let sink = SqliteSink::open(place.file(), options)
        .await
        .map_err(Failure::of)?;
    let blobs = FileBlobStore::open_dir(place.blobs())
        .await
        .map_err(Failure::of)?;
    let faults = Faults::new(plan.records.div_ceil(2));
    let mut sink = StallingSink::new(sink, Arc::clone(&faults));
    let start = Instant::now();
    let end = follow(port, plan, &mut sink, blobs.clone(), &faults).await?;
    let elapsed = start.elapsed();
    sink.into_inner().close().await;

    let replica = Replica::open(place.file()).map_err(Failure::of)?;
    let verdict = verify(plan, &replica, source, &blobs).map_err(Failure::of)?;
    report(&end, elapsed, &faults, &verdict);
    if let Some(folder) = &args.keep {
        say(format_args!(
            "The replica and the blobs are in {}.",
            folder.display()
        ));
    }
    if verdict.differences > 0 {
        let differences = verdict.differences;
        return Err(Failure::Runtime(format!("{differences} differences")));
    }
    Ok(())
}

/// Where the replica is.
struct Place {
    folder: PathBuf,
    /// Removed when this is dropped.
    _temporary: Option<TempDir>,
}

impl Place {
    fn choose(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(folder) = keep else {
            let temporary = TempDir::with_prefix("replproto-demo-").map_err(Failure::of)?;
            return Ok(Self {
                folder: temporary.path().to_owned(),
                _temporary: Some(temporary),
            });
        };
        std::fs::create_dir_all(folder).map_err(|error| Failure::at(folder, error))?;
        let mut entries = std::fs::read_dir(folder).map_err(|error| Failure::at(folder, error))?;
        if entries.next().is_some() {
            let folder = folder.display();
            return Err(Failure::Usage(format!("{folder} is not empty")));
        }
        Ok(Self {
            folder: folder.to_owned(),
            _temporary: None,
        })
    }

    fn file(&self) -> PathBuf {
        self.folder.join("replica.sqlite")
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }
}

/// Starts the publisher. It ends when the process handle is dropped.
async fn start_publisher(size: Size) -> Result<(Child, u16), Failure> {
    let program = std::env::current_exe().map_err(Failure::of)?;
    let mut publisher = Command::new(program)
        .arg("demo-publisher")
        .args(["--records", &size.records.to_string()])
        .args(["--blobs", &size.blobs.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Failure::of)?;
    let mut line = String::new();
    if let Some(output) = publisher.stdout.as_mut() {
        let mut output = BufReader::new(output);
        output.read_line(&mut line).await.map_err(Failure::of)?;
    }
    match line.trim().parse() {
        Ok(port) => Ok((publisher, port)),
        Err(_) => Err(Failure::Runtime("the publisher did not start".into())),
    }
}

async fn follow(
    port: u16,
    plan: Plan,
    sink: &mut StallingSink<SqliteSink>,
    blobs: FileBlobStore,
    faults: &Arc<Faults>,
) -> Result<RunEnd, Failure> {
    let endpoint = format!("ws://127.0.0.1:{port}")
        .parse()
        .map_err(Failure::of)?;
    let mut link = LinkConfig::new(endpoint, "demo-follower", data::DATABASE);
    link.core.peer_name = Some(data::NODE.into());
    link.core.timeouts.blob_gap = BLOB_GAP;
    let mut options = RunOptions::default();
    options.start = Start::At(Sequence(1.0));
    options.deadline = Some(DEADLINE);
    let snapshots = options.progress.subscribe();
    let signals = end_on_signals(options.stop.clone());
    let stop = options.stop.clone();
    let mut caught_up = snapshots.clone();
    let end = tokio::spawn(async move {
        let is_caught_up = |snapshot: &Snapshot| reached(snapshot) >= plan.last_position();
        if caught_up.wait_for(is_caught_up).await.is_ok() {
            stop.drain(DRAIN_LIMIT);
        }
    });
    let note = |snapshot: &Snapshot| {
        if faults.is_stalled() {
            "the store stalls"
        } else if snapshot.link.stats.blobs_held > 0 {
            "blobs are missing: the cursor is held"
        } else {
            ""
        }
    };
    let blobs = FailingBlobs::new(blobs, Arc::clone(faults));
    let running = replproto_tokio::run(link, sink, blobs, options);
    let progress = Progress::start(PROGRESS_INTERVAL, Some(plan.records + plan.blobs));
    let result = progress.during(running, &snapshots, note).await;
    signals.abort();
    end.abort();
    let end = result.map_err(Failure::of)?;
    if reached(&end.snapshot) < plan.last_position() {
        return Err(Failure::Runtime("interrupted; nothing was checked".into()));
    }
    Ok(end)
}

/// The position up to which everything is durable.
fn reached(snapshot: &Snapshot) -> f64 {
    let cursor = snapshot.cursor.as_ref();
    cursor.map_or(0.0, |cursor| cursor.sequence.0)
}

fn report(end: &RunEnd, elapsed: Duration, faults: &Faults, verdict: &Verdict) {
    let mut summary = Summary::of_run(&end.snapshot, elapsed);
    let failed = format!(
        "{} writes of blobs, 1 stall of {} s",
        faults.failed_blobs(),
        STALL.as_secs()
    );
    summary.line("went wrong", failed).line(
        "compared",
        format!(
            "{} records, {} blobs by SHA-256",
            HumanCount(verdict.records),
            HumanCount(verdict.blobs)
        ),
    );
    let differences = match verdict.differences {
        0 => "none: the replica is what the publisher has".to_owned(),
        count => format!("{}", HumanCount(count)),
    };
    summary.line("differences", differences);
    say(summary);
    for difference in &verdict.described {
        say(format_args!("    {difference}"));
    }
}
