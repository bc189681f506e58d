use super::*;
use replproto_core::StoredCursor;
use replproto_core::replica::RETENTION;

use crate::testing::{
    PEER, at, copy_completed, copy_started, delete, end, in_copy, patch, put, records, schema,
};

async fn commit(sink: &mut MemorySink, events: Vec<Event>, cursor: Option<Cursor>) {
    sink.begin().await.unwrap();
    sink.apply(events).await.unwrap();
    sink.commit(cursor).await.unwrap();
}

fn texts(view: &MemoryView) -> Vec<(String, String)> {
    let rows = view.rows("Dog").into_values();
    rows.map(|row| (row.id, row.record)).collect()
}

#[tokio::test]
async fn what_is_committed_is_seen_and_survives() {
    let mut sink = MemorySink::new();
    let view = sink.view();
    assert_eq!(sink.load().await.unwrap().cursor, StoredCursor::Absent);
    sink.begin().await.unwrap();
    let mut events = vec![schema(PEER)];
    events.extend(records(&[put("a", 5.0, &[("n", 1.5)])]));
    sink.apply(events).await.unwrap();
    assert_eq!(texts(&view), []);
    sink.commit(Some(at(7.0))).await.unwrap();
    drop(sink);

    assert_eq!(texts(&view), [("\"a\"".into(), "{\"n\":1.5}".into())]);
    let stored = view.reopen().load().await.unwrap();
    assert_eq!(stored.cursor, StoredCursor::Found(at(7.0)));
    assert_eq!(stored.peer.as_deref(), Some(PEER));
    view.make_cursor_unreadable("disk");
    let stored = view.reopen().load().await.unwrap();
    assert_eq!(
        stored.cursor,
        StoredCursor::Unreadable { why: "disk".into() }
    );
}

#[tokio::test]
async fn a_rollback_restores_all() {
    let mut sink = MemorySink::new();
    let view = sink.view();
    commit(
        &mut sink,
        records(&[put("a", 1.0, &[("n", 1.0)]), put("b", 1.0, &[])]),
        None,
    )
    .await;
    let before = texts(&view);
    sink.begin().await.unwrap();
    sink.apply(records(&[delete("a", 2.0), put("c", 2.0, &[])]))
        .await
        .unwrap();
    sink.rollback().await.unwrap();
    commit(&mut sink, Vec::new(), None).await;
    assert_eq!(texts(&view), before);
    assert_eq!(view.tombstones(), 0);
}

#[tokio::test]
async fn older_entries_have_no_effect_until_the_cursor_passes_a_deletion() {
    let mut sink = MemorySink::new();
    let view = sink.view();
    let old = records(&[put("a", 1.0, &[]), patch("a", 2.0, &[("n", 1.0)])]);
    commit(&mut sink, old.clone(), None).await;
    commit(&mut sink, records(&[delete("a", 3.0)]), None).await;
    commit(&mut sink, old, Some(at(1.0))).await;
    assert_eq!(texts(&view), []);
    // Something late may still come.
    let kept = RETENTION.as_millis() as f64;
    commit(&mut sink, vec![end(Some(4.0))], Some(at(2.9 + kept))).await;
    assert_eq!(view.tombstones(), 1);
    commit(&mut sink, Vec::new(), Some(at(3.0 + kept))).await;
    assert_eq!(view.tombstones(), 0);
}

#[tokio::test]
async fn a_copy_removes_what_it_did_not_bring() {
    let mut sink = MemorySink::new();
    let view = sink.view();
    commit(
        &mut sink,
        records(&[put("a", 5.0, &[]), put("b", 1.0, &[])]),
        None,
    )
    .await;
    commit(&mut sink, vec![copy_started(Some(9.0), false)], None).await;
    let mut sink = view.reopen();
    let mut events = vec![copy_started(Some(9.0), true)];
    events.extend(records(&[put("a", 4.0, &[("stale", 1.0)])]));
    events.push(copy_completed());
    commit(&mut sink, events, Some(at(9.0))).await;
    assert_eq!(texts(&view), [("\"a\"".into(), "{}".into())]);
}

#[tokio::test]
async fn a_copy_that_begins_anew_forgets_how_far_an_earlier_one_had_come() {
    let mut sink = MemorySink::new();
    let started = vec![copy_started(Some(7.0), false)];
    commit(&mut sink, started, Some(in_copy(3.0, 7.0))).await;
    commit(&mut sink, vec![copy_started(Some(8.0), false)], None).await;
    let cursor = sink.load().await.unwrap().cursor;
    assert_eq!(cursor, StoredCursor::Found(at(3.0)));
}

#[tokio::test]
async fn a_planned_failure_is_an_error_of_the_call() {
    let mut sink = MemorySink::new();
    let view = sink.view();
    view.plan(|step| {
        let result = match step {
            SinkStep::Commit => Err("full".into()),
            _ => Ok(()),
        };
        (Duration::ZERO, result)
    });
    sink.begin().await.unwrap();
    sink.apply(records(&[put("a", 1.0, &[])])).await.unwrap();
    assert_eq!(
        sink.commit(None).await,
        Err(MemorySinkError::Injected("full".into()))
    );
    sink.rollback().await.unwrap();
    assert_eq!(texts(&view), []);
    assert_eq!(
        sink.commit(None).await,
        Err(MemorySinkError::OutOfOrder(SinkStep::Commit))
    );
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_is_counted() {
    let mut sink = MemorySink::new();
    let view = sink.view();
    sink.begin().await.unwrap();
    let undecodable = put("a", 1.0, &[]).with(1, vec![0xc1]);
    let applied = sink.apply(records(&[undecodable])).await.unwrap();
    assert_eq!(applied.skipped, 1);
    sink.commit(None).await.unwrap();
    assert_eq!((view.skipped(), texts(&view).len()), (1, 0));
}
