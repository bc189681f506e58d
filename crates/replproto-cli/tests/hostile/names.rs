//! Names of nodes, databases, tables and users, which end in logs, SQL, files and metrics.

use replproto_core::wire::Message;
use replproto_core::wire::message::TableStructure;

use crate::case::{Case, ends, survives};
use crate::publisher::NODE;
use crate::wire::{Entry, GOOD, TIME, array_of, batch, structure, text};

const NAMES: [&str; 24] = [
    "",
    " ",
    ".",
    "..",
    "/etc/passwd",
    "a\0b",
    "\0",
    "a\nb\r\u{1b}[31m",
    "\u{202e}\u{85}\u{2028}",
    "\"",
    "a\"b",
    "'; DROP TABLE _replproto_link; --",
    "\"; DROP TABLE _replproto_link; --",
    "_replproto_link",
    "_REPLPROTO_TABLE",
    "_replproto_new",
    "sqlite_master",
    "SQLITE_SEQUENCE",
    "sqlite_",
    "table",
    "main.Dog",
    "dog",
    "DOG",
    "t2.Dog",
];

#[test]
fn tables_of_every_name() {
    let end = survives(|link| {
        for (number, name) in NAMES.into_iter().enumerate() {
            let id = 10 + number as u32;
            link.send(&structure(id, name, &[&["k"]], None));
            let entry = Entry {
                table: id,
                ..Entry::put(b"k1", GOOD)
            };
            link.send(&batch(&[entry.bytes()], Some(TIME + number as f64)));
        }
    });
    let tables = end.texts("SELECT sql_name FROM _replproto_table ORDER BY id");
    assert_eq!(tables.len(), NAMES.len() + 1, "{tables:?}");
    for table in tables {
        let query = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
        assert_eq!(end.number(&query), 1, "{table:?}");
    }
    assert_eq!(end.number("SELECT count(*) FROM _replproto_link"), 1);
    assert_eq!(end.texts("PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn nodes_of_every_name() {
    survives(|link| {
        for (number, name) in NAMES.into_iter().enumerate() {
            let ids = vec![(NODE.into(), 0), (name.into(), 1)];
            let subscribed = vec![name.into()];
            link.send(&Message::NodeMap { ids, subscribed }.encode());
            let mut entry = Entry::put(format!("k{number}").as_bytes(), GOOD).bytes();
            // Its origin.
            entry[1] = 1;
            link.send(&batch(&[entry], Some(TIME + number as f64)));
        }
    });
}

#[test]
fn publishers_of_every_name() {
    let long = "n".repeat(200);
    for name in NAMES
        .into_iter()
        .filter(|name| !name.is_empty())
        .chain([long.as_str()])
    {
        println!("{:?}", &name[..name.len().min(80)]);
        let case = Case::start();
        let link = case.open();
        link.greet(name);
        let (_, request) = link.subscription();
        link.answer(request);
        case.end_with_last(&link, 0);
    }
}

#[test]
fn a_publisher_whose_name_is_a_book() {
    let case = Case::start();
    case.open().greet(&"n".repeat(1 << 20));
    case.end_after("protocol");
}

/// The store refuses it, and says how to leave it out.
#[test]
fn a_table_whose_name_is_a_book() {
    let end = ends("storage", |link| {
        link.send(&structure(9, &"n".repeat(1 << 20), &[&["k"]], None));
    });
    assert!(end.log.contains("--exclude-tables"), "{}", end.log);
}

#[test]
fn a_field_whose_name_is_a_book() {
    survives(|link| {
        link.send(&structure(9, "Cat", &[&[&"n".repeat(1 << 20)]], None));
        let entry = Entry {
            table: 9,
            ..Entry::put(b"k1", GOOD)
        };
        link.send(&batch(&[entry.bytes()], Some(TIME)));
    });
}

#[test]
fn attributes_of_every_name() {
    survives(|link| {
        for name in NAMES {
            let mut structure = TableStructure {
                table: 1,
                ..TableStructure::default()
            };
            structure.definition.table = "Dog".into();
            structure.named = Some([b"\x91\x91", text(name.as_bytes()).as_slice()].concat());
            link.send(&Message::TableStructure(structure).encode());
            link.send(&batch(&[Entry::put(b"k1", GOOD).bytes()], Some(TIME)));
        }
        let many = TableStructure {
            table: 1,
            named: Some(array_of(b"\x91\xa1k", 10_000)),
            ..TableStructure::default()
        };
        link.send(&Message::TableStructure(many).encode());
        link.send(&structure(1, "Dog", &[&["k"]], None));
    });
}
