//! From the link's queue into the sink, in groups.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::Duration;

use replproto_core::{CommitId, Cursor, Event, Input};
use tokio::time::{Instant, timeout};

use super::latency::{Versions, wall_clock};
use super::options::Grouping;
use crate::link::Link;
use crate::progress::Progress;
use crate::sink::{Applied, Sink};

/// What one call of [`Sink::apply`] gets at most: half of what the link may have out, so that it fills the other half
/// meanwhile.
const BATCH_EVENTS: u64 = 2048;
/// The same in bytes of records.
const BATCH_BYTES: usize = 1 << 20;

/// Moves one link's events into the sink until the link is over.
///
/// A storage transaction holds either whole transactions of the publisher, as many as are waiting, or one that is too
/// large for a batch. Events are given back to the link once they are applied, and confirmed once they are durable.
pub(super) struct Pump<'a, S> {
    sink: &'a mut S,
    link: &'a Link,
    grouping: Grouping,
    transaction_wait: Duration,
    progress: &'a Progress,
    group: Option<Group>,
    versions: Versions,
    /// The cursor that is durable.
    cursor: Option<Cursor>,
    /// It has advanced.
    pub(super) has_advanced: bool,
}

/// What the open storage transaction holds.
#[derive(Debug)]
struct Group {
    since: Instant,
    /// Records were applied whose transaction has not ended.
    is_partial: bool,
    /// The time spent waiting for the peer since the sink was last asked.
    waited: Duration,
    ids: Vec<CommitId>,
    cursor: Option<Cursor>,
    records: u64,
    bytes: u64,
}

impl Group {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            is_partial: false,
            waited: Duration::ZERO,
            ids: Vec::new(),
            cursor: None,
            records: 0,
            bytes: 0,
        }
    }

    fn is_full(&self, grouping: &Grouping) -> bool {
        self.ids.len() as u64 >= grouping.transactions
            || self.records >= grouping.records
            || self.bytes >= grouping.bytes
            || self.since.elapsed() >= grouping.age
    }

    /// Takes note of an event, and says whether the sink is to have it.
    fn note(&mut self, event: &Event) -> bool {
        match event {
            Event::Records(_) | Event::RecordSkipped(_) => {
                self.is_partial = true;
                self.records += event.count();
                self.bytes += size(event) as u64;
            }
            Event::EndTransaction(end) => {
                self.is_partial = false;
                self.ends(end.id, end.cursor.as_ref());
            }
            Event::CopyCompleted(checkpoint) => {
                self.ends(checkpoint.id, Some(&checkpoint.cursor));
            }
            Event::Checkpoint(checkpoint) => {
                self.ends(checkpoint.id, Some(&checkpoint.cursor));
                return false;
            }
            _ => {}
        }
        true
    }

    fn ends(&mut self, id: CommitId, cursor: Option<&Cursor>) {
        self.ids.push(id);
        if let Some(cursor) = cursor {
            self.cursor = Some(cursor.clone());
        }
    }
}

/// What to do next.
#[derive(Debug)]
enum Next {
    Apply(Vec<Event>),
    /// Nothing is waiting that may join the group.
    Commit,
    /// The rest of a transaction has been waited for long enough to ask.
    Ask,
    Over,
}

/// The end of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worked {
    /// The link is over, and what it brought is kept.
    Over,
    /// The rest of a transaction did not come while others waited for the store. Nothing of it is kept.
    HeldUp,
}

impl<'a, S: Sink> Pump<'a, S> {
    pub(super) fn new(
        sink: &'a mut S,
        link: &'a Link,
        grouping: Grouping,
        transaction_wait: Duration,
        progress: &'a Progress,
        cursor: Option<Cursor>,
    ) -> Self {
        Self {
            sink,
            link,
            grouping,
            transaction_wait,
            progress,
            group: None,
            versions: Versions::default(),
            cursor,
            has_advanced: false,
        }
    }

    /// Works until the link is over. Whole transactions are kept then, a partial one is rolled back.
    pub(super) async fn work(&mut self) -> Result<Worked, S::Error> {
        loop {
            match self.next().await {
                Next::Apply(events) => {
                    self.apply(events).await?;
                    if self.is_due() {
                        self.commit().await?;
                    }
                }
                Next::Commit => self.commit().await?,
                Next::Ask => {
                    if !self.sink.may_wait().await? {
                        self.roll_back().await?;
                        return Ok(Worked::HeldUp);
                    }
                }
                Next::Over => {
                    match &self.group {
                        None => {}
                        Some(group) if group.is_partial => self.roll_back().await?,
                        Some(_) => self.commit().await?,
                    }
                    return Ok(Worked::Over);
                }
            }
        }
    }

    /// Forgets what is not committed.
    pub(super) async fn roll_back(&mut self) -> Result<(), S::Error> {
        self.group = None;
        self.sink.rollback().await
    }

    fn is_due(&self) -> bool {
        self.group
            .as_ref()
            .is_some_and(|group| !group.is_partial && group.is_full(&self.grouping))
    }

    async fn next(&mut self) -> Next {
        let (group, grouping) = (self.group.as_ref(), &self.grouping);
        let exchange = self.link.exchange();
        let taken = async {
            poll_fn(|context| exchange.poll_take(context, |events| take(events, group, grouping)))
                .await
                .unwrap_or(Next::Over)
        };
        let partial = group.filter(|group| group.is_partial);
        let Some(waited) = partial.map(|group| group.waited) else {
            return taken.await;
        };
        // The store is locked for others. However slowly the rest comes, it is the time in all that holds them up.
        let start = Instant::now();
        let next = timeout(self.transaction_wait.saturating_sub(waited), taken).await;
        if let Some(group) = &mut self.group {
            group.waited = match next {
                Ok(_) => waited + start.elapsed(),
                Err(_) => Duration::ZERO,
            };
        }
        next.unwrap_or(Next::Ask)
    }

    async fn apply(&mut self, mut events: Vec<Event>) -> Result<(), S::Error> {
        let count = events.iter().map(Event::count).sum();
        if self.group.is_none() {
            self.sink.begin().await?;
        }
        let group = self.group.get_or_insert_with(Group::new);
        events.retain(|event| {
            self.versions.note(event);
            group.note(event)
        });
        let mut applied = Applied::default();
        if !events.is_empty() {
            applied = self.sink.apply(events).await?;
        }
        let exchange = self.link.exchange();
        exchange.consume(count);
        if applied.skipped > 0 {
            let records = applied.skipped;
            exchange.answer(Input::Skipped { records });
        }
        if applied.doubts.total() > 0 {
            self.progress
                .update(|snapshot| snapshot.doubts += applied.doubts);
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), S::Error> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        self.sink.commit(group.cursor.clone()).await?;
        let now = wall_clock();
        if group.cursor.is_some() && group.cursor != self.cursor {
            self.has_advanced = true;
            self.cursor = group.cursor;
        }
        tracing::trace!(
            transactions = group.ids.len(),
            records = group.records,
            bytes = group.bytes,
            "committed"
        );
        let committed = group.ids.into_iter().map(Input::Committed);
        self.link.exchange().answer_all(committed);
        self.progress.update(|snapshot| {
            snapshot.storage_commits += 1;
            self.versions.are_durable(now, &mut snapshot.latencies);
            snapshot.cursor.clone_from(&self.cursor);
        });
        Ok(())
    }
}

/// Takes a batch that ends between two transactions if there is one, and else a part of one if nothing else is in the
/// group: only whole transactions share a storage transaction, so that a partial one never takes others with it.
fn take(events: &mut VecDeque<Event>, group: Option<&Group>, grouping: &Grouping) -> Option<Next> {
    let mut is_partial = group.is_some_and(|group| group.is_partial);
    let may_be_partial = group.is_none() || is_partial;
    let mut transactions = group.map_or(0, |group| group.ids.len() as u64);
    let mut scanned = 0;
    let mut bytes = 0;
    let mut whole = 0;
    let mut count = 0;
    for event in events.iter() {
        bytes += size(event);
        count += event.count();
        scanned += 1;
        match event {
            Event::Records(_) | Event::RecordSkipped(_) => is_partial = true,
            Event::EndTransaction(_) => is_partial = false,
            _ => {}
        }
        if !is_partial {
            whole = scanned;
        }
        transactions += u64::from(ends_something(event));
        if count >= BATCH_EVENTS || bytes >= BATCH_BYTES || transactions >= grouping.transactions {
            break;
        }
    }
    let count = if whole == 0 && may_be_partial {
        scanned
    } else {
        whole
    };
    if count > 0 {
        Some(Next::Apply(events.drain(..count).collect()))
    } else if may_be_partial {
        None
    } else {
        Some(Next::Commit)
    }
}

const fn ends_something(event: &Event) -> bool {
    matches!(
        event,
        Event::EndTransaction(_) | Event::Checkpoint(_) | Event::CopyCompleted(_)
    )
}

/// Bytes of records; other events are small.
fn size(event: &Event) -> usize {
    match event {
        Event::Records(records) => records.size(),
        _ => 0,
    }
}

/// The bounds that go with a link: it must be able to go on while a group is committed.
pub(super) fn bounded(grouping: Grouping, commits_high: u64) -> Grouping {
    Grouping {
        transactions: grouping.transactions.min(commits_high / 2).max(1),
        age: grouping.age.max(Duration::from_nanos(1)),
        ..grouping
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, put, records};
    use replproto_core::Epoch;
    use replproto_core::event::EndTransaction;

    fn ends(number: u64, cursor: Option<f64>) -> Event {
        Event::EndTransaction(EndTransaction {
            id: CommitId {
                epoch: Epoch(1),
                number,
            },
            sequence: None,
            cursor: cursor.map(at),
        })
    }

    #[test]
    fn a_group_is_stored_with_its_newest_cursor() {
        let mut group = Group::new();
        for event in [ends(0, Some(2.0)), ends(1, Some(3.0)), ends(2, None)] {
            assert!(group.note(&event));
        }
        assert_eq!(group.cursor, Some(at(3.0)));
        assert_eq!(group.ids.len(), 3);
    }

    #[test]
    fn half_a_transaction_joins_no_others() {
        let half = || records(&[put("a", 1.0, &[]), put("b", 1.0, &[])]);
        let take = |events: &mut VecDeque<Event>, group: Option<&Group>| match take(
            events,
            group,
            &Grouping::default(),
        ) {
            Some(Next::Apply(taken)) => Some(taken.len()),
            Some(_) => Some(0),
            None => None,
        };
        let mut events = VecDeque::from(half());
        events.push_back(ends(0, None));
        events.extend(half());
        // The whole one first; then what holds it is committed, and the half one has the next to itself.
        assert_eq!(take(&mut events, None), Some(3));
        let mut group = Group::new();
        group.note(&ends(0, None));
        assert_eq!(take(&mut events, Some(&group)), Some(0));
        assert_eq!(take(&mut events, None), Some(2));
        let mut partial = Group::new();
        partial.is_partial = true;
        assert_eq!(take(&mut events, Some(&partial)), None);
        events.extend(half());
        assert_eq!(take(&mut events, Some(&partial)), Some(2));
    }
}
