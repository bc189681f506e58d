//! Links on sockets, each with a consumer that takes its events as they come.

use std::mem::take;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, future};
use replproto_core::Start;
use replproto_tokio::{DiscardBlobs, Link, LinkConfig};
use tokio::time::sleep;

use super::Outcome;
use crate::Result;
use crate::events::{self, Reader};
use crate::link_setup::{DATABASE, RECEIVER, START};
use crate::plan::Plan;

/// Messages may be of any size: the largest that is sent here is more than the default.
const MESSAGE_MAX: u64 = 4 << 30;

/// After so many records the consumer stalls, if it does.
const RECORDS_BEFORE_STALL: u64 = 1000;

/// A link that asks for this.
pub(crate) fn config(port: u16, plan: Plan) -> Result<LinkConfig> {
    let endpoint = format!("ws://127.0.0.1:{port}{plan}").parse()?;
    let mut config = LinkConfig::new(endpoint, RECEIVER, DATABASE);
    config.core.limits.message = MESSAGE_MAX;
    Ok(config)
}

pub(super) async fn receive(
    port: u16,
    plan: Plan,
    reads_fields: bool,
    links: u64,
    stall_seconds: u64,
) -> Result<Outcome> {
    let stall = Duration::from_secs(stall_seconds);
    let start = Instant::now();
    let work = (0..links).map(|_| async move {
        let config = config(port, plan)?;
        tokio::spawn(follow(config, Reader::new(reads_fields), stall)).await?
    });
    let readers = future::try_join_all(work).await?;
    let mut outcome = Outcome::since(start);
    outcome.seconds -= stall.as_secs_f64();
    let mut total = Reader::new(reads_fields);
    for reader in readers {
        total.records += reader.records;
        total.fields += reader.fields;
    }
    Ok(outcome.read(&total))
}

async fn follow(config: LinkConfig, mut reader: Reader, mut stall: Duration) -> Result<Reader> {
    let mut link = Link::connect(&config, Start::At(START), DiscardBlobs).await?;
    while let Some(event) = link.next().await {
        reader.event(&event)?;
        event.commit();
        if events::is_last(&event) {
            return Ok(reader);
        }
        if reader.records >= RECORDS_BEFORE_STALL && !stall.is_zero() {
            // The event is kept meanwhile, and its place in the queue with it.
            sleep(take(&mut stall)).await;
        }
    }
    Err(link.end().await.close.reason.to_string().into())
}
