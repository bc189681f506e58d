//! The end of a run, asked for from outside.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::driver::later;

/// Ends a [`run`](super::run) from outside. Clones end the same run.
///
/// ```
/// use std::time::Duration;
/// use replproto_tokio::Stop;
///
/// let stop = Stop::new();
/// let handle = stop.clone();
/// // When the user presses a key:
/// handle.drain(Duration::from_secs(10));
/// ```
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<Option<StopRequest>>);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopRequest {
    Drain { deadline: Instant },
    Shutdown,
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// Nothing asked for yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Reads no more, finishes and confirms what is in hand, and ends; at the latest after `limit`, with what is done then.
    pub fn drain(&self, limit: Duration) {
        let deadline = later(Instant::now(), limit);
        self.0.send_if_modified(|request| {
            let is_first = request.is_none();
            request.get_or_insert(StopRequest::Drain { deadline });
            is_first
        });
    }

    /// Ends now: what is not durable comes again next time.
    pub fn shutdown(&self) {
        self.0.send_replace(Some(StopRequest::Shutdown));
    }

    /// What has been asked for.
    pub(crate) fn requested(&self) -> Option<StopRequest> {
        *self.0.borrow()
    }

    /// Waits until something other than `seen` is asked for.
    pub(crate) async fn next(&self, seen: Option<StopRequest>) -> StopRequest {
        let mut receiver = self.0.subscribe();
        let is_new = |request: &Option<StopRequest>| request.is_some() && *request != seen;
        let request = match receiver.wait_for(is_new).await {
            Ok(request) => *request,
            Err(_) => None,
        };
        match request {
            Some(request) => request,
            // It holds a sender itself, so there is always one.
            None => std::future::pending().await,
        }
    }
}
