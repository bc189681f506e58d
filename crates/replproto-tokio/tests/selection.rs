//! A cursor is used for what it was made for, and for nothing else.

mod support;

use replproto_core::config::TableFilter;
use replproto_core::wire::Message;
use replproto_core::{Selection, Sequence, WallTime};
use replproto_tokio::{Ended, LinkConfig, MemorySink, MemoryView, NoBlobs, OnWider, RunError, run};
use support::{Peer, Publisher, TABLE, TIME, keys, options, soon};

/// The time of the copies of these tests.
const COPY: f64 = TIME + 1000.0;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A follower that is started again and again, with another selection each time.
struct Follower {
    publisher: Publisher,
    sink: MemorySink,
    on_wider: OnWider,
}

impl Follower {
    async fn new() -> Self {
        Self {
            publisher: Publisher::bind().await,
            sink: MemorySink::new(),
            on_wider: OnWider::default(),
        }
    }

    fn view(&self) -> MemoryView {
        self.sink.view()
    }

    fn config(&self, tables: &[&str], excluded: &[&str]) -> LinkConfig {
        let mut config = self.publisher.config();
        config.core.tables = TableFilter::Only(names(tables));
        config.core.excluded_origins = names(excluded);
        config
    }

    /// Follows these tables until the publisher has said all that it has to say. Gives where the link was asked to start.
    async fn follow(
        &mut self,
        (tables, excluded): (&[&str], &[&str]),
        say: impl AsyncFnOnce(&mut Peer),
    ) -> Sequence {
        let config = self.config(tables, excluded);
        let mut options = options();
        options.on_wider = self.on_wider;
        let stop = options.stop.clone();
        let running = run(config, &mut self.sink, NoBlobs, options);
        let (end, start) = tokio::join!(soon(running), async {
            let (mut peer, request) = self.publisher.link().await;
            say(&mut peer).await;
            stop.shutdown();
            request.subscriptions[0].start
        });
        assert_eq!(end.unwrap().how, Ended::Shutdown);
        start
    }

    fn selection(&self) -> Option<Selection> {
        let cursor = self.view().cursor()?;
        Some((*cursor.selection?).clone())
    }
}

/// The publisher sends one record, and waits until it is durable.
async fn put(peer: &mut Peer, key: &str, sequence: f64) {
    peer.put(&[key], sequence).await;
    peer.confirmed_up_to(sequence).await;
}

/// A base copy that brings one row, and the log after it.
async fn copy(peer: &mut Peer, key: &str) {
    let (start, order) = (WallTime(COPY), 1);
    peer.send(&Message::CopyStart { start, order }).await;
    peer.put(&[key], COPY).await;
    peer.send(&Message::CopyComplete).await;
    put(peer, "late", COPY + 1.0).await;
}

#[tokio::test]
async fn a_wider_selection_is_copied_and_a_narrower_one_goes_on() {
    let mut follower = Follower::new().await;
    let start = follower.follow((&["Dog"], &[]), async |peer| put(peer, "a", 2.0).await);
    assert_eq!(start.await, Sequence(1.0));

    let both = (&["Dog", "Cat"][..], &[][..]);
    let start = follower.follow(both, async |peer| copy(peer, "b").await);
    assert_eq!(start.await, Sequence(0.0));
    assert_eq!(keys(&follower.view()), ["b", "late"]);
    let tables = TableFilter::Only(names(&["Cat", "Dog"]));
    assert_eq!(
        follower.selection(),
        Some(Selection::new(tables, Vec::new()))
    );

    // As long as the cursor stays, nothing has been missed.
    let start = follower.follow((&["Cat"], &[]), async |_| {}).await;
    assert_eq!(start, Sequence(COPY + 1.0));
    let start = follower.follow(both, async |_| {}).await;
    assert_eq!(start, Sequence(COPY + 1.0));
    let start = follower.follow((&["Cat"], &[]), async |peer| {
        put(peer, "c", COPY + 2.0).await
    });
    assert_eq!(start.await, Sequence(COPY + 1.0));
    let start = follower.follow(both, async |_| {}).await;
    assert_eq!(start, Sequence(0.0));
}

#[tokio::test]
async fn a_copy_that_breaks_off_is_begun_again_for_the_wider_selection() {
    let mut follower = Follower::new().await;
    let start = follower.follow((&["Dog"], &[]), async |peer| put(peer, "a", 2.0).await);
    start.await;
    for _ in 0..2 {
        // It comes to nothing that could be stored.
        let start = follower.follow((&["Cat", "Dog"], &[]), async |_| {}).await;
        assert_eq!(start, Sequence(0.0));
    }
}

#[tokio::test]
async fn what_a_node_wrote_belongs_to_the_selection() {
    let mut follower = Follower::new().await;
    let without = (&["Dog"][..], &["node-c"][..]);
    let start = follower.follow(without, async |peer| put(peer, "a", 2.0).await);
    start.await;
    let start = follower.follow(without, async |_| {}).await;
    assert_eq!(start, Sequence(2.0));
    let start = follower.follow((&["Dog"], &[]), async |_| {}).await;
    assert_eq!(start, Sequence(0.0));
}

#[tokio::test]
async fn a_copy_removes_nothing_from_tables_that_it_does_not_bring() {
    let mut follower = Follower::new().await;
    let start = follower.follow((&["Dog"], &[]), async |peer| put(peer, "a", 2.0).await);
    start.await;
    let start = follower.follow((&["Cat"], &[]), async |peer| {
        let (start, order) = (WallTime(COPY), 1);
        peer.send(&Message::CopyStart { start, order }).await;
        peer.send(&Message::CopyComplete).await;
        peer.send(&Message::SequenceUpdate(Sequence(COPY))).await;
        peer.confirmed_up_to(COPY).await;
    });
    assert_eq!(start.await, Sequence(0.0));
    assert_eq!(follower.view().rows(TABLE).len(), 1);
}

#[tokio::test]
async fn a_wider_selection_can_be_refused_or_its_past_ignored() {
    let mut follower = Follower::new().await;
    let start = follower.follow((&["Dog"], &["node-c"]), async |peer| {
        put(peer, "a", 2.0).await;
    });
    start.await;
    let mut options = options();
    options.on_wider = OnWider::Refuse;
    let config = follower.config(&["Cat", "Dog"], &[]);
    let refused = run(config, &mut follower.sink, NoBlobs, options).await;
    let Err(error @ RunError::Wider(_)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        error.to_string(),
        "the store's cursor was made without the tables Cat and what node-c wrote"
    );

    follower.on_wider = OnWider::Ignore;
    let both = (&["Cat", "Dog"][..], &[][..]);
    let start = follower.follow(both, async |peer| put(peer, "b", 3.0).await);
    assert_eq!(start.await, Sequence(2.0));
    // Ignored once and for all.
    follower.on_wider = OnWider::Refuse;
    let start = follower.follow(both, async |_| {}).await;
    assert_eq!(start, Sequence(3.0));
}
