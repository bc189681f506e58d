//! Which tables a file still follows.

use std::sync::Arc;

use replproto_core::Selection;
use replproto_core::config::TableFilter;
use replproto_core::event::Checkpoint;

use super::*;

/// A cursor of these tables.
fn of(tables: &[&str], sequence: f64) -> Cursor {
    let names = tables.iter().map(ToString::to_string).collect();
    let selection = Selection::new(TableFilter::Only(names), Vec::new());
    Cursor {
        selection: Some(Arc::new(selection)),
        ..at(sequence)
    }
}

/// The tables that are followed, and those that are not any more.
fn followed(file: &TempFile) -> [String; 2] {
    [1, 0].map(|followed| {
        file.query(&format!(
            "SELECT coalesce(group_concat(name, ' '), '') FROM
             (SELECT name FROM _replproto_table WHERE followed = {followed} ORDER BY name)"
        ))
    })
}

#[tokio::test]
async fn a_table_that_is_not_followed_any_more_is_marked_and_keeps_its_rows() {
    let file = TempFile::new("followed");
    let mut sink = open(&file).await;
    let mut events = vec![schema(PEER)];
    events.extend(records(&[put("a", 1.0, &[]), put("b", 1.0, &[]).of("Cat")]));
    events.push(end(Some(2.0)));
    commit(&mut sink, events, Some(of(&["Cat", "Dog"], 2.0))).await;
    assert_eq!(followed(&file), ["Cat Dog", ""]);

    // What is undone is not marked.
    sink.begin().await.unwrap();
    sink.rollback().await.unwrap();
    commit(&mut sink, Vec::new(), Some(of(&["Cat"], 3.0))).await;
    assert_eq!(followed(&file), ["Cat", "Dog"]);

    // A copy of what is followed says nothing about the rest.
    let mut completed = copy_completed();
    if let Event::CopyCompleted(Checkpoint { cursor, .. }) = &mut completed {
        *cursor = of(&["Cat"], 4.0);
    }
    let events = vec![copy_started(Some(5.0), false), completed];
    commit(&mut sink, events, Some(of(&["Cat"], 4.0))).await;
    assert_eq!(rows(&file, "Dog"), [row("a", "{}")]);
    assert_eq!(rows(&file, "Cat"), []);

    sink.close().await;
    let mut sink = open(&file).await;
    sink.load().await.unwrap();
    commit(&mut sink, Vec::new(), Some(at(5.0))).await;
    assert_eq!(followed(&file), ["Cat Dog", ""]);
}
