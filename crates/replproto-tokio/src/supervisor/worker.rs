//! A thread that runs links.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::thread;

use replproto_core::WorkerId;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::SupervisorOptions;
use super::link::{LinkKey, LinkSetup};
use super::session::Runner;
use super::shared::{Shared, Spawn, Start, Worker};
use crate::blobs::BlobStore;
use crate::scope::Scope;
use crate::sink::Sink;

/// Says that a worker is gone, however it went. It is dropped last.
pub(super) struct Exit {
    pub(super) shared: Arc<Shared>,
    pub(super) worker: WorkerId,
}

impl Drop for Exit {
    fn drop(&mut self) {
        let worker = self.worker.index();
        tracing::debug!(worker, "a worker is gone");
        self.shared.exited(self.worker);
    }
}

/// What starts workers that run links in this way.
pub(super) fn spawner<F, R, S, B, E>(
    shared: Arc<Shared>,
    open: F,
    options: SupervisorOptions,
) -> Box<Spawn>
where
    F: Fn(LinkKey, Scope) -> R + Send + Sync + 'static,
    R: Future<Output = Result<LinkSetup<S, B>, E>> + 'static,
    S: Sink + 'static,
    B: BlobStore,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    let runner = Arc::new(Runner {
        shared: shared.clone(),
        open,
        options,
    });
    Box::new(move |worker| {
        let (orders, inbox) = mpsc::unbounded_channel();
        let shared = shared.clone();
        let runner = runner.clone();
        let thread = thread::Builder::new()
            .name(format!("replproto-{}", worker.index()))
            .spawn(move || {
                let _exit = Exit { shared, worker };
                if let Err(error) = work(&runner, inbox) {
                    tracing::error!(%error, worker = worker.index(), "a worker has no runtime");
                }
            })?;
        let orders = Some(orders);
        Ok(Worker { orders, thread })
    })
}

/// Runs links until nobody gives orders any more. When it returns all of them are gone, and what they do on the other
/// threads of the runtime is done.
fn work<F, R, S, B, E>(
    runner: &Arc<Runner<F>>,
    mut orders: mpsc::UnboundedReceiver<Start>,
) -> io::Result<()>
where
    F: Fn(LinkKey, Scope) -> R + Send + Sync + 'static,
    R: Future<Output = Result<LinkSetup<S, B>, E>> + 'static,
    S: Sink + 'static,
    B: BlobStore,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // Sessions are dropped before it: what undoes them may use the runtime.
    let _context = runtime.enter();
    // Sessions stay on this thread, so that what they are made of need not be fit for others.
    let sessions = LocalSet::new();
    sessions.block_on(&runtime, async {
        while let Some(start) = orders.recv().await {
            spawn_local(runner.clone().session(start));
        }
    });
    Ok(())
}
