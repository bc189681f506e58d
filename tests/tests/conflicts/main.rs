//! The rules of a replica against recorded histories: `tests/conflicts`, or the folder that `REPLPROTO_CONFLICTS` names.

mod history;

use std::fs;

use history::Vector;
use replproto_tests::golden_folder;
use serde_json::Value as Json;

fn vectors() -> Vec<Vector> {
    let folder = golden_folder("conflicts", "REPLPROTO_CONFLICTS");
    let mut vectors = Vec::new();
    for entry in
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).expect("a readable file");
        let json: Json = serde_json::from_slice(&text).expect("JSON");
        let all = json["vectors"].as_array().expect("vectors");
        vectors.extend(all.iter().map(Vector::read));
    }
    assert!(!vectors.is_empty(), "{} has no vectors", folder.display());
    vectors
}

#[test]
fn the_rules_give_the_row_of_each_history() {
    let mut wrong = Vec::new();
    let mut run = 0;
    for vector in vectors().iter().filter(|vector| vector.applies()) {
        run += 1;
        if let Err(why) = vector.check_rules() {
            wrong.push(format!("{}: {why}", vector.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {run} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
