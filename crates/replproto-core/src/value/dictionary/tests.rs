use super::*;
use crate::value::ValueErrorKind;

fn typed(bytes: &[u8]) -> Result<Dictionary, ValueError> {
    Dictionary::decode(Some(bytes), None)
}

#[test]
fn absent_lists_are_empty() {
    for absent in [None, Some(&[0xc0][..]), Some(&[0xd4, 0, 0]), Some(&[0x90])] {
        let dictionary = Dictionary::decode(absent, absent).unwrap();
        assert!(dictionary.record(0).is_none());
        assert!(dictionary.structure(0).is_none());
        assert_eq!(dictionary.heap_bytes(), 0);
    }
}

#[test]
fn holes_keep_the_ids_of_their_neighbours() {
    let dictionary = Dictionary::decode(
        None,
        Some(&[0x93, 0x91, 0xa1, b'a', 0xc0, 0x91, 0xa1, b'b']),
    )
    .unwrap();
    let names = [0, 1, 2].map(|index| {
        let shape = dictionary.record(index)?;
        Some(dictionary.name(dictionary.names(shape)[0]))
    });
    assert_eq!(names, [Some("a"), None, Some("b")]);
}

#[test]
fn an_unknown_slot_type_spoils_only_its_structure() {
    let dictionary = typed(&[
        0x92, 0x91, 0x93, 9, 1, 0xa1, b'a', 0x91, 0x93, 0, 1, 0xa1, b'b',
    ])
    .unwrap();
    assert!(dictionary.structure(0).is_none());
    assert!(dictionary.structure(1).is_some());
}

#[test]
fn fields_are_found_by_name_and_the_last_of_equal_ones_wins() {
    let dictionary = Dictionary::decode(
        None,
        Some(&[
            0x91, 0x94, 0xa1, b'b', 0xa1, b'a', 0xa1, b'b', 0xa2, b'b', b'c',
        ]),
    )
    .unwrap();
    let shape = dictionary.record(0).unwrap();
    assert_eq!(dictionary.find(shape, "a"), Some(1));
    assert_eq!(dictionary.find(shape, "b"), Some(2));
    assert_eq!(dictionary.find(shape, "bc"), Some(3));
    for absent in ["", "aa", "c"] {
        assert_eq!(dictionary.find(shape, absent), None);
    }
}

#[test]
fn malformed_lists_are_named_with_their_place() {
    let malformed: [(&[u8], ValueErrorKind, usize); 6] = [
        (&[], ValueErrorKind::UnexpectedEnd, 0),
        (&[0x05], ValueErrorKind::BadDictionary, 0),
        (&[0x91, 0x05], ValueErrorKind::BadDictionary, 1),
        (&[0x91, 0x91, 0x92, 0, 1], ValueErrorKind::BadDictionary, 2),
        (
            &[0xdd, 0xff, 0xff, 0xff, 0xff],
            ValueErrorKind::UnexpectedEnd,
            5,
        ),
        (&[0x90, 0x90], ValueErrorKind::TrailingBytes, 1),
    ];
    for (bytes, kind, offset) in malformed {
        assert_eq!(typed(bytes).unwrap_err(), ValueError { kind, offset });
    }
}

#[test]
fn memory_is_linear_in_the_input() {
    // The cheapest fields there are: empty names in slots without bytes.
    let mut list = std::vec![0x91, 0xdc, 0x10, 0x00];
    for _ in 0..0x1000 {
        list.extend([0x93, 3, 0, 0xa0]);
    }
    let dictionary = typed(&list).unwrap();
    assert!(dictionary.heap_bytes() <= 24 * list.len());
    let mut holes = std::vec![0xdc, 0x10, 0x00];
    holes.resize(3 + 0x1000, 0xc0);
    assert!(typed(&holes).unwrap().heap_bytes() <= 34 * holes.len());
    // Names that stand for a word.
    for word in [0xc0, 0xc2] {
        let mut names = std::vec![0x91, 0xdc, 0x10, 0x00];
        names.resize(4 + 0x1000, word);
        let dictionary = Dictionary::decode(None, Some(&names)).unwrap();
        assert!(dictionary.heap_bytes() <= 34 * names.len() + 100);
        // It is given up as soon as it is too large, not afterwards.
        let room = dictionary.heap_bytes();
        let within = |room| Dictionary::decode_within(None, Some(&names), room);
        assert!(within(room).unwrap().is_some());
        assert!(within(room - 1).unwrap().is_none());
    }
}
