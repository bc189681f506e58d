//! `replproto receive`: follows a publisher into an SQLite file.

mod args;
mod bound;
mod choices;
mod marks;
mod places;
mod tls;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::BufWriter;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use replproto_core::Stats;
use replproto_tokio::{
    Authorization, AuthorizationProvider, ConnectError, Ended, FileBlobStore, LinkConfig, Recorder,
    Replica, RunError, RunOptions, Sink, SqliteError, SqliteOptions, SqliteSink,
};
use tokio::time::timeout;

pub(crate) use self::args::ReceiveArgs;
use self::places::Places;
use crate::exit::Failure;
use crate::metrics::MetricsServer;
use crate::output::{say, tell};
use crate::progress::Progress;
use crate::signals::end_on_signals;
use crate::state;
use crate::summary::Summary;

/// Between two lines of progress in a pipe.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// How long the store may take to close.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// The delay between dials doubles up to this.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Follows a publisher to the end that the options name.
pub(crate) async fn run(args: ReceiveArgs) -> Result<(), Failure> {
    let metrics = match &args.metrics {
        Some(address) => Some(MetricsServer::bind(address).await?),
        None => None,
    };
    let places = Places::choose(&args)?;
    let link = link_config(&args)?;
    link.check().await.map_err(not_connected)?;
    let most = HumanBytes(link.memory_bound().total());
    tracing::info!("the link takes at most {most} of memory, usually about a hundredth of that");
    let metrics = metrics.map(|server| tokio::spawn(server.serve()));
    let source = match args::given(args.peer.as_ref()) {
        Some(peer) => peer.to_owned(),
        None => format!("{}:{}", args.url.host(), args.url.port()),
    };
    let options = SqliteOptions {
        event_log: args.export_state.is_some(),
        max_row: args.max_row,
        makes_tables_anew: args.ignore_cursor,
        second_copy: args.second_copy,
        ..SqliteOptions::new(&source, &args.database)
    };
    let mut sink = SqliteSink::open(&places.file, options)
        .await
        .map_err(Failure::of)?;
    let blobs = FileBlobStore::open_dir(&places.blobs)
        .await
        .map_err(Failure::of)?;

    let options = run_options(&args);
    let snapshots = options.progress.subscribe();
    let signals = end_on_signals(options.stop.clone());
    let start = Instant::now();
    let progress = Progress::start(PROGRESS_INTERVAL, None);
    let running = replproto_tokio::run(link, &mut sink, blobs.clone(), options);
    let result = progress.during(running, &snapshots, |_| "").await;
    if let Some(task) = metrics {
        task.abort();
    }
    if timeout(CLOSE_TIME, sink.close()).await.is_err() {
        tell("the store does not finish what it has begun; it is left to itself");
    }

    say(Summary::of_run(&snapshots.borrow(), start.elapsed()));
    // What there is after a failure is worth looking at too.
    let exported = match &args.export_state {
        Some(path) => export(path, &places, &source, &args.database, &blobs),
        None => Ok(()),
    };
    // Until here a second one ends the program.
    signals.abort();
    match result {
        Ok(end) => {
            say(format_args!("ended: {}", how(end.how, lost(&end.stats))));
            if let Some(report) = &end.report
                && !matches!(end.how, Ended::Idle)
            {
                say(format_args!("finished while ending: {}", report.done));
                say(format_args!(
                    "abandoned, to come again: {}",
                    report.abandoned
                ));
            }
            exported
        }
        Err(error) => {
            if let Err(failure) = exported {
                tell(failure);
            }
            Err(match error {
                RunError::Deadline(_) => Failure::Deadline(error.to_string()),
                RunError::NotConnected(error) => not_connected(error),
                RunError::WrongDatabase(error) => {
                    Failure::Runtime(format!("{error}. Check --database and the address."))
                }
                RunError::Gap(error) => Failure::Runtime(format!(
                    "{error}. --on-gap copy asks for a complete copy, --on-gap keep for what has changed since."
                )),
                RunError::Wider(_) => Failure::Runtime(format!(
                    "{error}. --on-wider copy asks for a complete copy; to go on without what is older, --on-wider ignore."
                )),
                RunError::OtherPublisher { .. } => Failure::Runtime(format!(
                    "{error}. Give the other one a file of its own, or start over with --ignore-cursor."
                )),
                _ => Failure::of(error),
            })
        }
    }
}

fn link_config(args: &ReceiveArgs) -> Result<LinkConfig, Failure> {
    let mut link = LinkConfig::new(args.url.clone(), "", &args.database);
    link.core = args.config(link.core.flow)?;
    link.authorization = authorization(args)?;
    link.tls = args.tls.config(&args.url)?;
    if let Some(path) = &args.record {
        let file = File::create(path).map_err(|error| Failure::at(path, error))?;
        link.recorder = Some(Recorder::new(BufWriter::new(file)));
    }
    Ok(link)
}

fn authorization(args: &ReceiveArgs) -> Result<Option<AuthorizationProvider>, Failure> {
    let value = args::given(args.authorization.as_ref());
    match (value, &args.authorization_file) {
        (None, None) => Ok(None),
        (None, Some(file)) => Ok(Some(AuthorizationProvider::file(file))),
        (Some(value), None) => match Authorization::new(value) {
            Ok(authorization) => Ok(Some(authorization.into())),
            Err(error) => Err(Failure::Usage(error.to_string())),
        },
        (Some(_), Some(_)) => Err(Failure::Usage(
            "--authorization (or REPLPROTO_AUTHORIZATION) and --authorization-file cannot be combined"
                .into(),
        )),
    }
}

/// No dial can succeed.
fn not_connected(error: ConnectError) -> Failure {
    let advice = error.advice();
    Failure::Runtime(format!("{}. {advice}", Failure::of(error)))
}

fn run_options(args: &ReceiveArgs) -> RunOptions {
    let mut options = RunOptions::default();
    options.start = args.start.clone();
    options.ignore_cursor = args.ignore_cursor;
    options.on_gap = args.on_gap.into();
    options.on_wider = args.on_wider.into();
    options.until_idle = args.until_idle;
    options.deadline = args.deadline;
    options.first_delay = args.reconnect_delay;
    options.longest_delay = args.reconnect_delay.max(LONGEST_DELAY);
    if args.reconnect_jitter {
        options.jitter = Some(RandomState::new().hash_one(std::process::id()));
    }
    options
}

fn export(
    path: &Path,
    places: &Places,
    source: &str,
    database: &str,
    blobs: &FileBlobStore,
) -> Result<(), Failure> {
    let replica = Replica::open(&places.file).map_err(|error: SqliteError| Failure::of(error))?;
    state::export(path, &replica, source, database, blobs).map_err(|error| Failure::at(path, error))
}

/// Records that were passed over, and blobs that their source has lost.
const fn lost(stats: &Stats) -> u64 {
    stats.skipped_undecodable + stats.skipped_by_host + stats.blobs_gone
}

fn how(ended: Ended, lost: u64) -> String {
    match ended {
        Ended::Idle if lost > 0 => {
            return format!(
                "nothing came any more, but the replica is not complete: {lost} records or blobs were passed over; see \
                 _replproto_skipped and _replproto_blob_gone"
            );
        }
        Ended::Idle => "nothing came any more, and all is complete",
        Ended::Drained => "as asked; what was in hand is stored",
        Ended::DrainTimedOut => "as asked; what was not stored in time comes again",
        Ended::DrainInterrupted => {
            "as asked; the link broke first, and what was not stored comes again"
        }
        Ended::Shutdown => "at once, as asked",
        _ => "well",
    }
    .to_owned()
}
