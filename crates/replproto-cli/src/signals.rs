//! Interrupts.

use std::io;
use std::time::Duration;

use replproto_tokio::Stop;
use tokio::task::JoinHandle;

/// How long the first signal waits for what is in hand.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// What shells expect of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// The first interrupt or SIGTERM asks the run to end in order; the second ends the program. From the return on no signal is
/// missed: it must not depend on when the task gets its turn.
pub(crate) fn end_on_signals(stop: Stop) -> JoinHandle<()> {
    let signals = Signals::new();
    tokio::spawn(async move {
        match signals {
            Ok(mut signals) => {
                signals.next().await;
                tracing::info!("ending; interrupt again to end at once");
                stop.drain(DRAIN_LIMIT);
                signals.next().await;
                std::process::exit(INTERRUPTED);
            }
            Err(error) => tracing::warn!(%error, "cannot catch interrupts: one ends all at once"),
        }
    })
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self(tokio::signal::windows::ctrl_c()?))
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
