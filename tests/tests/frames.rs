//! Files of messages: what `replproto inspect --json` shows of them is what the published JavaScript packages read.
//!
//! `REPLPROTO_FRAMES` names another folder of such files (`frames/README.md`).

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use replproto_cli::inspect::{JsonLines, inspect};
use serde_json::Value as Json;

/// The kinds of lines that are compared.
const COMPARED: [&str; 3] = ["record", "end_transaction", "table"];

#[test]
fn every_line_means_what_it_should() {
    let folder = replproto_tests::golden_folder("frames", "REPLPROTO_FRAMES");
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut compared = 0;
    for entry in entries {
        let path = entry.expect("an entry of the folder").path();
        let expected = path.with_extension("jsonl");
        if path.extension().is_some_and(|extension| extension == "bin") && expected.exists() {
            compare(&path, &expected);
            compared += 1;
        }
    }
    assert!(compared > 0, "{} has no files to compare", folder.display());
}

fn compare(messages: &Path, expected: &Path) {
    let name = messages.display();
    let open = |path| BufReader::new(File::open(path).expect("a file that can be read"));
    let mut lines = JsonLines::new(Vec::new());
    let stats =
        inspect(open(messages), &mut lines).unwrap_or_else(|error| panic!("{name}: {error}"));
    let actual = String::from_utf8(lines.into_inner()).expect("UTF-8");
    let mut actual = actual.lines().filter_map(compared_line);
    let mut count = 0;
    for (index, line) in open(expected).lines().enumerate() {
        let expected =
            compared_line(&line.expect("UTF-8")).expect("a line of a kind that is compared");
        let place = format!("{name}, line {} of the expected ones", index + 1);
        let Some(actual) = actual.next() else {
            panic!("{place}: missing: {expected}");
        };
        assert!(
            actual == expected,
            "{place}\nexpected {expected}\n     got {actual}"
        );
        count += u64::from(expected["event"] == "record");
    }
    assert_eq!(actual.next(), None, "{name}: more than was expected");
    assert_eq!(stats.records, count, "{name}");
    println!("{name}: {count} records");
}

/// The line without what is not compared; `None` if all of it is not.
fn compared_line(line: &str) -> Option<Json> {
    let mut json: Json = serde_json::from_str(line).expect("JSON");
    let event = json["event"]
        .as_str()
        .expect("the name of an event")
        .to_owned();
    if event == "table" {
        json.as_object_mut()?
            .retain(|member, _| matches!(member.as_str(), "event" | "table"));
    }
    drop_decimals(&mut json);
    COMPARED.contains(&event.as_str()).then_some(json)
}

/// Of a tagged number the bits count; there are several ways to write it as a decimal.
fn drop_decimals(json: &mut Json) {
    match json {
        Json::Array(elements) => elements.iter_mut().for_each(drop_decimals),
        Json::Object(members) => {
            if members.contains_key("bits") {
                members.remove("$f64");
            }
            members.values_mut().for_each(drop_decimals);
        }
        _ => {}
    }
}
