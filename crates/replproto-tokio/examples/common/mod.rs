//! What the examples share: how they end, what they say meanwhile, and errors with advice.
#![allow(dead_code)] // Each example uses a part of it.

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use replproto_tokio::{ConnectError, Interruption, Phase, RunError, RunOptions, Snapshot};
use tokio::sync::watch;

/// Anything that ends an example.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How long what is in hand may still take after Ctrl-C.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// The arguments make no sense.
pub(crate) fn misused(usage: &str) -> ExitCode {
    eprintln!("{usage}");
    ExitCode::from(2)
}

/// Says what went wrong, if anything did.
pub(crate) fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Waits for Ctrl-C. The second one, and any after it, ends the program at once.
pub(crate) async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("Ctrl-C will end this at once: {error}");
        pending().await
    }
    eprintln!("ending; press Ctrl-C again to end at once");
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
}

/// An error with its causes, and with what may be done about a dial that came to nothing.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        text.push_str(&format!(". {}", error.advice()));
    }
    text
}

/// Why a run cannot go on. A dial that shows a mistake of ours stays recognisable, for its advice.
pub(crate) fn failed<E: Error + Send + Sync + 'static>(error: RunError<E>) -> Failure {
    match error {
        RunError::NotConnected(error) => error.into(),
        error => error.into(),
    }
}

/// What a link is doing, in one line.
pub(crate) fn line(snapshot: &Snapshot) -> String {
    let phase = snapshot.phase;
    match (phase, &snapshot.last_interruption) {
        (Phase::Waiting(_), Some(Interruption::NotConnected(error))) => {
            format!("{phase}: {}", explain(&**error))
        }
        (Phase::Waiting(_), Some(why)) => format!("{phase}: {why}"),
        _ => phase.to_string(),
    }
}

/// Attends to a run with these options: says what it is doing whenever that changes, and lets it end in order after `end`.
pub(crate) fn attend<F: Future<Output = ()>>(
    options: &RunOptions,
    end: F,
) -> impl Future<Output = Infallible> + use<F> {
    let stop = options.stop.clone();
    let progress = options.progress.subscribe();
    async move {
        let mut told = pin!(tell(progress));
        tokio::select! {
            never = &mut told => match never {},
            () = end => stop.drain(DRAIN_LIMIT),
        }
        told.await
    }
}

async fn tell(mut progress: watch::Receiver<Snapshot>) -> Infallible {
    let mut said = String::new();
    loop {
        let now = line(&progress.borrow_and_update());
        if now != said {
            eprintln!("{now}");
            said = now;
        }
        if progress.changed().await.is_err() {
            // The run is over, and whoever runs it knows.
            pending().await
        }
    }
}
