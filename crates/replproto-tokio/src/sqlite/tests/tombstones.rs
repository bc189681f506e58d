//! What is known of deletions when runs of the log overlap.

use super::*;

#[tokio::test]
async fn a_position_of_a_later_run_says_nothing_about_an_earlier_one() {
    let file = TempFile::new("overlap");
    let mut sink = open(&file).await;
    let count = || file.query::<i64>("SELECT count(*) FROM _replproto_tombstone");
    sink.load().await.unwrap();
    let mut events = records(&[put("a", 1.0, &[])]);
    events.push(end(Some(5.0)));
    commit(&mut sink, events, Some(at(5.0))).await;
    // The first run brings a deletion, and breaks off before a position after it is announced.
    commit(&mut sink, records(&[delete("a", 8.0)]), None).await;
    assert_eq!(count(), 1);

    // The second one goes on from the cursor, and announces a position before the deletion.
    sink.load().await.unwrap();
    commit(&mut sink, vec![end(Some(6.0))], Some(at(6.0))).await;
    assert_eq!(count(), 1);
    // What it repeats is older than the deletion.
    commit(&mut sink, records(&[put("a", 7.0, &[])]), None).await;
    assert_eq!(rows(&file, "Dog"), []);

    // A deletion that the first run had not brought shows that this one has come further.
    let mut events = records(&[delete("a", 8.0), delete("b", 9.0)]);
    events.push(end(Some(KEPT + 10.0)));
    commit(&mut sink, events, Some(at(KEPT + 10.0))).await;
    assert_eq!(count(), 0);
    sink.close().await;
}
