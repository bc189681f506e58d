//! The inputs that the fuzzer starts from, and those in which it has found something, on the stable toolchain.

#[path = "../../fuzz/bodies/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "these modules are a library for the fuzz targets"
)]
mod bodies;

use std::fs;

/// The kept inputs of a target, with their names.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");
    let mut inputs = Vec::new();
    for entry in fs::read_dir(format!("{folder}/{target}")).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a file").to_string_lossy();
        // Others are what a run on this machine has left behind.
        if name.starts_with("seed-") || name.starts_with("found-") {
            inputs.push((name.into_owned(), fs::read(&path).expect("readable")));
        }
    }
    inputs.sort();
    inputs
}

#[test]
fn every_kept_input_runs() {
    for (target, run) in bodies::TARGETS {
        let inputs = inputs(target);
        assert!(inputs.len() >= 4, "{target}: {} inputs", inputs.len());
        for (name, data) in inputs {
            println!("{target} {name}");
            run(&data);
        }
    }
}

#[test]
fn every_truncated_or_flipped_input_runs() {
    // Longer ones would take more time than they are worth here.
    const LONGEST: usize = 200;
    for (target, run) in bodies::TARGETS {
        for (_, data) in inputs(target) {
            if data.len() > LONGEST {
                continue;
            }
            for length in 0..data.len() {
                run(&data[..length]);
            }
            for bit in 0..data.len() * 8 {
                let mut data = data.clone();
                data[bit / 8] ^= 1 << (bit % 8);
                run(&data);
            }
        }
    }
}

#[test]
fn messages_run_under_all_options() {
    for (name, mut data) in inputs("receiver_messages") {
        println!("{name}");
        for options in 0..=u8::MAX {
            data[0] = options;
            bodies::receiver_messages::run(&data);
        }
    }
}
