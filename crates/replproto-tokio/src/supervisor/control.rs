//! The task that carries out what the roster says.

use std::future::pending;
use std::io;
use std::sync::Arc;

use replproto_core::WorkerId;
use tokio::time::sleep_until;

use super::shared::{Shared, Worker};

/// Starts a worker.
pub(super) type Spawn = dyn Fn(WorkerId) -> io::Result<Worker> + Send;

/// Without this task nothing would start any more, so nothing may go on.
struct Closes(Arc<Shared>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Runs until the supervisor is closed and its workers are gone.
pub(super) async fn run(shared: Arc<Shared>, spawn: Box<Spawn>) {
    let shared = Closes(shared);
    let shared = &shared.0;
    loop {
        for thread in shared.take_exited() {
            // It has said that it is gone, so this takes no time worth mentioning.
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        if shared.is_over() {
            return;
        }
        let next = shared.carry_out(&*spawn);
        let due = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = shared.changed() => {}
            () = due => {}
        }
    }
}
