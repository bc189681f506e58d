//! Tables and their dictionaries.

use crate::case::{ends, endures, survives};
use crate::wire::{
    Entry, GOOD, PATCH, TIME, array_head, array_of, batch, put, schema, structure, text,
};

#[test]
fn tables_with_long_names_without_end() {
    ends("too_large", |link| {
        for number in 0..60 {
            let name = |table| format!("t{number}_{table}{}", "y".repeat(1000));
            let names: Vec<String> = (0..2000).map(name).collect();
            link.send(&schema(names.iter().map(String::as_str), None));
        }
    });
}

#[test]
fn tables_with_short_names_without_end() {
    ends("too_large", |link| {
        for number in 0..100 {
            let names: Vec<String> = (0..5000)
                .map(|table| format!("t{number}_{table}"))
                .collect();
            link.send(&schema(names.iter().map(String::as_str), None));
        }
    });
}

#[test]
fn names_that_differ_in_their_capitals_only() {
    let names: Vec<String> = (0..2048)
        .map(|number: u32| {
            let letter = |bit: u32| char::from(b'a' + bit as u8);
            let is_capital = |bit| number >> bit & 1 == 1;
            (0..11)
                .map(|bit| {
                    if is_capital(bit) {
                        letter(bit).to_ascii_uppercase()
                    } else {
                        letter(bit)
                    }
                })
                .collect()
        })
        .collect();
    let end = survives(|link| link.send(&schema(names.iter().map(String::as_str), None)));
    let tables =
        end.number("SELECT count(DISTINCT name) FROM _replproto_table WHERE length(name) = 11");
    assert!(tables == 2048 || tables == 0, "{tables}");
}

#[test]
fn table_ids_without_end() {
    ends("too_large", |link| {
        for id in 2..400_000 {
            link.send(&structure(id, "Cat", &[&["k"]], None));
        }
    });
}

#[test]
fn a_table_id_that_is_renamed_again_and_again() {
    ends("too_large", |link| {
        for number in 0..20_000 {
            link.send(&structure(
                2,
                &format!("Cat{number}{}", "t".repeat(1000)),
                &[&["k"]],
                None,
            ));
        }
    });
}

#[test]
fn a_dictionary_that_is_replaced_again_and_again() {
    survives(|link| {
        let names: Vec<String> = (0..2000).map(|field| format!("field{field}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for _ in 0..100 {
            link.send(&structure(1, "Dog", &[&names], None));
        }
        link.send(&structure(1, "Dog", &[&["k"]], None));
    });
}

#[test]
fn dictionaries_that_unfold() {
    let lists = [
        array_of(b"\x90", 1_000_000),
        array_of(b"\x91\xa0", 1_000_000),
        array_of(b"\x93\x00\x01\xa0", 500_000),
        array_of(b"\x91\x93\x00\x01\xa0", 500_000),
        array_of(&array_of(b"\xa0", 1000), 1000),
    ];
    endures(lists.map(|list| structure(2, "Cat", &[], Some(list))));
}

#[test]
fn typed_structures_of_odd_kinds() {
    let structures = [
        b"\x93\x00\x01\xa1a".as_slice(),
        b"\x93\x07\x07\xa1a",
        b"\x93\x00\xce\xff\xff\xff\xff\xa1a",
        b"\x94\x00\x01\xa1a\xd2\x80\x00\x00\x00",
        b"\x94\x01\x04\xa1a\xff",
        b"\x93\x10\x08\xa1a",
        b"\x93\xc0\xc0\xc0",
        b"\x90",
    ];
    let values = [
        b"\x20".as_slice(),
        b"\x20\x00",
        b"\x20\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x38\xff",
        b"\x3b\xff\xff\xff\xff",
    ];
    endures(structures.into_iter().flat_map(|definition| {
        let typed = [b"\x91\x91", definition].concat();
        let dictionary = structure(1, "Dog", &[&["k"]], Some(typed));
        let records = values.map(|value| put(b"k2", value, TIME));
        [dictionary].into_iter().chain(records)
    }));
}

#[test]
fn a_structure_of_a_hundred_thousand_fields() {
    survives(|link| {
        let names: Vec<String> = (0..100_000).map(|field| format!("f{field}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        link.send(&structure(1, "Dog", &[&names], None));
        let value = [b"\x40".as_slice(), &b"\xc0".repeat(names.len())].concat();
        for number in 0..20 {
            link.send(&put(format!("k{number}").as_bytes(), &value, TIME + 1.0));
        }
        link.send(&structure(1, "Dog", &[&["k"]], None));
    });
}

#[test]
fn a_structure_that_names_one_field_again_and_again() {
    survives(|link| {
        let names = vec!["k"; 100_000];
        link.send(&structure(1, "Dog", &[&names], None));
        let value = [b"\x40".as_slice(), &b"\x01".repeat(names.len())].concat();
        link.send(&put(b"k1", &value, TIME + 1.0));
        let patch = Entry {
            action: PATCH,
            ..Entry::put(b"k1", &value)
        };
        link.send(&batch(&[patch.bytes()], None));
        // Its own structure, in the value.
        let mut value = b"\xd4\x72\x41".to_vec();
        value.extend(array_head(100_000));
        value.extend(text(b"k").repeat(100_000));
        value.extend(b"\x01".repeat(100_000));
        link.send(&put(b"k2", &value, TIME + 2.0));
        link.send(&structure(1, "Dog", &[&["k"]], None));
        link.send(&put(b"k3", GOOD, TIME + 3.0));
    });
}
