//! The same publisher and database under another address.

use super::*;

/// A second follower of the same database, which knows the publisher by another address.
fn elsewhere() -> SqliteOptions {
    SqliteOptions::new("10.0.0.5:9933", "data")
}

/// A file in which a link has stored a row and a cursor.
async fn followed(name: &str) -> (TempFile, SqliteSink) {
    let file = TempFile::new(name);
    let mut sink = open(&file).await;
    let mut events = vec![schema(PEER)];
    events.extend(records(&[put("a", 1.0, &[])]));
    commit(&mut sink, events, Some(at(2.0))).await;
    (file, sink)
}

/// What comes of meeting the publisher.
async fn meet(sink: &mut SqliteSink) -> Result<Applied, SqliteError> {
    sink.begin().await.unwrap();
    let met = sink.apply(vec![schema(PEER)]).await;
    sink.rollback().await.unwrap();
    met
}

fn sources(file: &TempFile) -> Vec<String> {
    let links = Replica::open(file.path()).unwrap().links().unwrap();
    links.into_iter().map(|link| link.source).collect()
}

#[tokio::test]
async fn a_publisher_that_is_met_at_another_address_is_gone_on_with() {
    let (file, sink) = followed("twin").await;
    sink.close().await;
    let mut sink = SqliteSink::open(file.path(), elsewhere()).await.unwrap();
    assert_eq!(sink.load().await.unwrap().cursor, StoredCursor::Absent);
    let error = meet(&mut sink).await.unwrap_err();
    assert!(
        matches!(&error, SqliteError::SameLink { source_name, .. } if source_name == "node-a:9933"),
        "{error:?}"
    );
    let stored = sink.load().await.unwrap();
    assert_eq!(stored.cursor, StoredCursor::Found(at(2.0)));
    assert_eq!(sources(&file), ["10.0.0.5:9933"]);
    let mut events = vec![schema(PEER)];
    events.extend(records(&[put("b", 3.0, &[])]));
    commit(&mut sink, events, Some(at(4.0))).await;
    assert_eq!(file.query::<i64>("SELECT count(*) FROM Dog"), 2);
    // It has the lock of the link that it is now.
    let again = SqliteSink::open(file.path(), elsewhere()).await;
    assert!(matches!(again, Err(SqliteError::InUse { .. })), "{again:?}");
}

#[tokio::test]
async fn a_second_copy_is_refused_unless_it_is_asked_for() {
    let (file, _first) = followed("second").await;
    let mut second = SqliteSink::open(file.path(), elsewhere()).await.unwrap();
    for _ in 0..2 {
        second.load().await.unwrap();
        let error = meet(&mut second).await.unwrap_err();
        assert!(matches!(error, SqliteError::SecondCopy { .. }), "{error:?}");
    }
    second.close().await;
    let options = SqliteOptions {
        second_copy: true,
        ..elsewhere()
    };
    let mut second = SqliteSink::open(file.path(), options).await.unwrap();
    let mut events = vec![schema(PEER)];
    events.extend(records(&[put("b", 1.0, &[])]));
    commit(&mut second, events, Some(at(2.0))).await;
    assert_eq!(file.query::<i64>("SELECT count(*) FROM Dog"), 1);
    assert_eq!(file.query::<i64>("SELECT count(*) FROM \"data.Dog\""), 1);
}

#[tokio::test]
async fn a_link_with_data_of_its_own_does_not_become_another() {
    let (file, sink) = followed("own").await;
    sink.close().await;
    let mut sink = SqliteSink::open(file.path(), elsewhere()).await.unwrap();
    let mut events = vec![schema("node-b")];
    events.extend(records(&[put("b", 1.0, &[])]));
    commit(&mut sink, events, Some(at(2.0))).await;
    let error = meet(&mut sink).await.unwrap_err();
    assert!(matches!(error, SqliteError::SecondCopy { .. }), "{error:?}");
    assert_eq!(sources(&file).len(), 2);
}
