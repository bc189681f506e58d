//! Tables whose names are many, long or alike.

use std::collections::HashSet;

use super::*;

async fn announce(file: &TempFile, names: Vec<String>) -> Result<(), SqliteError> {
    use replproto_core::TableDefinition;
    use replproto_core::event::Schema;

    let tables = names.into_iter().map(|table| TableDefinition {
        table,
        ..TableDefinition::default()
    });
    let mut sink = open(file).await;
    sink.begin().await?;
    let schema = Schema {
        peer: PEER.into(),
        database: "data".into(),
        tables: tables.collect(),
    };
    sink.apply(vec![Event::Schema(schema)]).await?;
    sink.commit(None).await?;
    sink.close().await;
    Ok(())
}

fn sql_names(file: &TempFile) -> Vec<String> {
    let (replica, link) = link(file);
    let tables = replica.tables(&link).unwrap();
    tables.into_iter().map(|table| table.sql_name).collect()
}

#[tokio::test]
async fn names_that_differ_in_case_only_are_numbered_by_their_tables() {
    let file = TempFile::new("case");
    let spell = |bits: u32| {
        let letters = "abcdefgh".chars().enumerate();
        let spelled = letters.map(|(at, letter)| match bits >> at & 1 {
            0 => letter,
            _ => letter.to_ascii_uppercase(),
        });
        spelled.collect::<String>()
    };
    announce(&file, (0..256).map(spell).collect())
        .await
        .unwrap();
    let names = sql_names(&file);
    let folded: HashSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!((names.len(), folded.len()), (256, 256));
    assert!(names.iter().any(|name| name.starts_with("t256.")));
}

#[tokio::test]
async fn names_that_were_made_up_may_be_taken() {
    let file = TempFile::new("taken");
    let names = ["a", "data.a", "t2.a", "t6.a", "t6-4.A", "A"];
    announce(&file, names.map(str::to_owned).to_vec())
        .await
        .unwrap();
    assert!(sql_names(&file).contains(&"t6-5.A".to_owned()));
    // An index has taken the name.
    file.connection()
        .execute_batch("CREATE INDEX Late ON a (version)")
        .unwrap();
    announce(&file, vec!["late".into()]).await.unwrap();
    assert!(sql_names(&file).contains(&"data.late".to_owned()));
}

#[tokio::test]
async fn only_the_beginning_of_a_long_name_is_used() {
    let file = TempFile::new("long");
    let name = |last: char| format!("{}{last}", "\u{e9}".repeat(500));
    announce(&file, vec![name('a'), name('b')]).await.unwrap();
    let names = sql_names(&file);
    assert_eq!(names[0], "\u{e9}".repeat(64));
    assert_eq!(names[1], format!("data.{}", names[0]));

    let error = announce(&file, vec!["x".repeat(1025)]).await.unwrap_err();
    assert!(
        matches!(
            error,
            SqliteError::LongTableName {
                length: 1025,
                limit: 1024,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("--exclude-tables"), "{error}");
}

#[tokio::test]
async fn a_file_holds_a_bounded_number_of_tables() {
    let file = TempFile::new("many");
    announce(&file, vec!["first".into()]).await.unwrap();
    let fill = "INSERT INTO _replproto_table (id, link, name, sql_name) VALUES (4095, 1, 'x', 'x'); CREATE TABLE x (y)";
    file.connection().execute_batch(fill).unwrap();
    announce(&file, vec!["last".into()]).await.unwrap();
    announce(&file, vec!["first".into()]).await.unwrap();
    let error = announce(&file, vec!["more".into()]).await.unwrap_err();
    assert!(
        matches!(error, SqliteError::TooManyTables { limit: 4096, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_table_that_somebody_has_taken_away_is_not_made_anew_without_a_word() {
    for change in ["DROP TABLE Dog", "ALTER TABLE Dog RENAME TO Hund"] {
        let file = TempFile::new("gone");
        let mut sink = open(&file).await;
        commit(&mut sink, records(&[put("a", 1.0, &[])]), Some(at(1.0))).await;
        file.connection().execute_batch(change).unwrap();
        // While the file is followed into.
        sink.begin().await.unwrap();
        assert!(sink.apply(records(&[put("b", 2.0, &[])])).await.is_err());
        sink.rollback().await.unwrap();
        let error = sink.load().await.unwrap_err();
        assert!(matches!(error, SqliteError::TableGone { .. }), "{error:?}");
        sink.close().await;
        // At the start.
        let error = SqliteSink::open(file.path(), options()).await.unwrap_err();
        assert!(error.to_string().contains(r#""Dog" is gone"#), "{error}");
        // It is made anew if that is what is wanted.
        let options = SqliteOptions {
            makes_tables_anew: true,
            ..options()
        };
        let mut sink = SqliteSink::open(file.path(), options).await.unwrap();
        commit(&mut sink, records(&[put("b", 2.0, &[])]), None).await;
        assert_eq!(rows(&file, "Dog"), [row("b", "{}")]);
        sink.close().await;
    }
}
