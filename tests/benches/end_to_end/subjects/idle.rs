//! Links on which nothing happens.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use replproto_core::{Event, Start};
use replproto_tokio::{Link, NoBlobs};
use tokio::time::sleep;

use super::{Outcome, link};
use crate::Result;
use crate::link_setup::START;
use crate::plan::Plan;
use crate::usage;

/// How long nothing happens.
const QUIET: Duration = Duration::from_millis(300);

/// Opens links, waits until all are set up, and looks at what they take when that is over.
pub(super) async fn hold(port: u16, plan: Plan, links: u64) -> Result<Outcome> {
    let start = Instant::now();
    let mut open = Vec::new();
    for _ in 0..links {
        let config = link::config(port, plan)?;
        let mut link = Link::connect(&config, Start::At(START), NoBlobs).await?;
        while !matches!(link.next().await.as_deref(), Some(Event::Schema(_))) {}
        open.push(link);
    }
    let outcome = Outcome::since(start);
    sleep(QUIET).await;
    Ok(Outcome {
        memory: Some(usage::memory().resident),
        ..outcome
    })
}
