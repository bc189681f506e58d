//! Values of records: deep, large, and larger once they are unfolded.

use crate::case::{Case, survives, survives_large};
use crate::publisher::Link;
use crate::wire::{
    Entry, PATCH, TIME, array_head, batch, binary, extension, field, put, structure, text,
};

/// Just below the largest record.
const LARGEST: usize = 16_000_000;

/// A record whose JSON is many times longer, which takes its time.
const LARGE: usize = 6 << 20;

/// Sends a record of this value; it may be stored or passed over, and is told as that.
fn one_record(value: &[u8]) {
    let end = survives_large(value.len(), |link| {
        link.send(&put(b"k1", value, TIME + 1.0))
    });
    let stored = end.number("SELECT count(*) FROM Dog WHERE id = '\"k1\"'");
    let listed = end.number("SELECT count(*) FROM _replproto_skipped");
    assert_eq!((stored + listed, end.skipped()), (1, listed), "{}", end.log);
}

#[test]
fn everything_that_can_be_nested() {
    let depth = 1_000_000;
    let end = survives(|link| {
        link.send(&structure(
            1,
            "Dog",
            &[&["k"]],
            Some(b"\x91\x91\x93\x01\x02\xa1o".to_vec()),
        ));
        let starts: [&[u8]; 13] = [
            b"\x91",
            b"\x81\xa1a",
            // A key of a map.
            b"\x81",
            b"\xdc\x00\x01",
            b"\xdf\x00\x00\x00\x01",
            // A record, and one that brings its own structure.
            b"\x40",
            b"\xd4\x72\x41\x91\xa1a",
            b"\xd5\x72\x60\x00\x91\xa1a",
            // A set, and a regular expression.
            b"\xd4\x73\x00",
            b"\xd4\x78\x00",
            b"\xc7\x01\x73\x00",
            // Different ones in turn.
            b"\x91\xd4\x73\x00\x81\xa1a\x40",
            // A slot of a typed record.
            b"\x20\x00\x00",
        ];
        for (number, start) in starts.into_iter().enumerate() {
            let nested = start.repeat(depth / start.len());
            for value in [
                nested.clone(),
                field(&nested),
                [b"\x40", nested.as_slice()].concat(),
            ] {
                link.send(&put(format!("k{number}").as_bytes(), &value, TIME + 1.0));
            }
        }
    });
    assert_eq!(end.number("SELECT count(*) FROM Dog"), 1, "{}", end.log);
    assert_eq!(end.skipped(), 39);
}

#[test]
fn nesting_within_a_blob_and_a_patch() {
    let deep = b"\xd4\x73\x00".repeat(100_000);
    let end = survives(|link| {
        let blob = extension(0x0b, &[b"\x93", deep.as_slice()].concat());
        link.send(&put(b"k1", &field(&blob), TIME + 1.0));
        link.send(&put(b"k2", b"\x40\xa1x", TIME + 2.0));
        let patch = Entry {
            action: PATCH,
            version: TIME + 3.0,
            ..Entry::put(b"k2", &[])
        };
        let value = field(&deep);
        let patch = Entry {
            value: &value,
            ..patch
        };
        link.send(&batch(&[patch.bytes()], Some(TIME + 3.0)));
    });
    assert_eq!(
        end.texts("SELECT record FROM Dog WHERE id = '\"k2\"'"),
        ["{\"k\":\"x\"}"]
    );
}

#[test]
fn a_record_of_control_characters() {
    one_record(&field(&text(&vec![1; LARGE])));
}

#[test]
fn a_record_of_quotes() {
    one_record(&field(&text(&vec![b'"'; LARGE])));
}

#[test]
fn a_record_of_text_that_is_none() {
    one_record(&field(&text(&vec![0xff; LARGE])));
}

#[test]
fn a_record_of_bytes() {
    one_record(&field(&binary(&vec![0xfb; LARGEST - 100])));
}

/// A record of one array of these elements.
fn array(element: &[u8], length: usize) -> Vec<u8> {
    let count = length / element.len();
    field(&[array_head(count as u32), element.repeat(count)].concat())
}

#[test]
fn a_record_of_empty_maps() {
    one_record(&array(b"\x80", LARGEST));
}

#[test]
fn a_record_of_empty_records() {
    one_record(&array(b"\xd4\x72\x41\x90", LARGE));
}

#[test]
fn a_record_of_floats() {
    let number = [b"\xca".as_slice(), &(-1.234_567_8e-30_f32).to_be_bytes()].concat();
    one_record(&array(&number, LARGEST));
}

#[test]
fn a_record_of_undefined() {
    one_record(&array(b"\xd4\0\0", LARGEST));
}

#[test]
fn a_record_of_numbers_that_are_none() {
    one_record(&array(b"\xca\x7f\xc0\0\0", LARGE));
}

#[test]
fn a_record_of_dates() {
    one_record(&array(b"\xd6\xff\xff\xff\xff\xff", LARGE));
}

#[test]
fn a_record_of_large_integers() {
    one_record(&array(b"\xd3\x80\0\0\0\0\0\0\0", LARGE));
}

#[test]
fn a_record_of_sets_and_regular_expressions() {
    one_record(&array(b"\xd4\x73\x00\x90", LARGE));
    one_record(&array(b"\xd4\x78\x00\x92\xa0\xa0", LARGE));
}

#[test]
fn integers_of_a_million_digits() {
    for length in [1 << 10, 1 << 20, LARGE] {
        one_record(&field(&extension(0x42, &vec![0x7f; length])));
    }
}

#[test]
fn dates_and_other_extensions_of_every_length() {
    survives(|link| {
        for kind in [0xff, 0, 0x0b, 0x42, 0x72, 0x73, 0x78, 0x69, 0x74] {
            for length in [0, 1, 2, 3, 4, 8, 12, 16, 17, 1 << 20] {
                let value = field(&extension(kind, &vec![0xff; length]));
                link.send(&put(b"k1", &value, TIME + 1.0));
            }
        }
    });
}

/// A structure with this name, and a record that uses it so many times.
fn expands(name: usize, times: usize) {
    let value = field(&[array_head(times as u32), b"\x40\xc0".repeat(times)].concat());
    let end = survives_large(value.len(), |link| {
        link.send(&structure(1, "Dog", &[&["k".repeat(name).as_str()]], None));
        link.send(&put(b"k1", &value, TIME + 1.0));
        link.send(&structure(1, "Dog", &[&["k"]], None));
    });
    let stored = end.number("SELECT count(*) FROM Dog WHERE id = '\"k1\"'");
    assert_eq!((stored, end.skipped()), (0, 1), "{}", end.log);
}

#[test]
fn a_record_that_repeats_a_long_name() {
    expands(100_000, 10_000);
    expands(1_000_000, 3000);
}

#[test]
fn records_that_repeat_the_names_of_their_own_structures() {
    let mut value = b"\xd4\x72\x41\x91".to_vec();
    value.extend(text(&vec![b'k'; 1 << 20]));
    value.extend(array_head(4000));
    value.extend(b"\x41\xc0".repeat(4000));
    one_record(&value);
}

/// Patches of one record, each with a field of its own.
fn patches(element: &[u8], length: usize, count: u8) {
    let list = [
        array_head((length / element.len()) as u32),
        element.repeat(length / element.len()),
    ]
    .concat();
    let end = survives_large(length, |link: &Link| {
        for number in 0..count {
            let value = [b"\xde\x00\x01\xa1", [b'A' + number].as_slice(), &list].concat();
            let version = TIME + f64::from(number);
            let patch = Entry {
                action: PATCH,
                version,
                ..Entry::put(b"k1", &value)
            };
            link.send(&batch(&[patch.bytes()], Some(version)));
        }
    });
    let row = end.number("SELECT coalesce(max(length(record)), 0) FROM Dog");
    println!("{} patches skipped, a row of {row} bytes", end.skipped());
}

#[test]
fn patches_of_one_record_without_end() {
    patches(b"\x80", LARGE, 8);
}

#[test]
fn many_patches_of_one_record() {
    patches(b"\x01", 64 << 10, 24);
}

#[test]
fn a_small_patch_of_a_large_record_again_and_again() {
    let case = Case::start();
    let link = case.link();
    let value = field(&text(&vec![b'x'; 4 << 20]));
    link.send(&put(b"k1", &value, TIME + 1.0));
    for number in 0..40 {
        let version = TIME + 2.0 + f64::from(number);
        let patch = Entry {
            action: PATCH,
            version,
            ..Entry::put(b"k1", b"\xde\x00\x01\xa1b\x01")
        };
        link.send(&batch(&[patch.bytes()], Some(version)));
    }
    case.end_with_last(&link, value.len());
}
