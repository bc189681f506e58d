//! The inputs that the fuzzer starts from, and those in which it has found something, on the stable toolchain.

#[path = "../../fuzz/bodies/receiver_messages.rs"]
mod receiver_messages;

fn entry_name(path: &std::path::Path) -> String {
    let name = path.file_name().expect("a file");
    name.to_string_lossy().into_owned()
}

#[test]
fn every_kept_input_runs() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fuzz/corpus/receiver_messages"
    );
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let data = std::fs::read(&path).expect("readable");
        let name = entry_name(&path);
        if !["seed-", "found-"]
            .iter()
            .any(|kept| name.starts_with(kept))
        {
            continue;
        }
        println!("{name}");
        receiver_messages::run(&data);
        // The same bytes under all other options.
        for options in 0..128 {
            let mut data = data.clone();
            data[0] = options;
            receiver_messages::run(&data);
        }
        inputs += 1;
    }
    assert!(inputs >= 10, "{inputs} inputs");
}

#[test]
fn every_truncated_or_flipped_input_runs() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fuzz/corpus/receiver_messages"
    );
    for name in ["seed-known-0", "seed-known-1", "seed-known-2"] {
        let data = std::fs::read(format!("{folder}/{name}")).expect("readable");
        for length in 0..data.len() {
            receiver_messages::run(&data[..length]);
        }
        for bit in 0..data.len() * 8 {
            let mut data = data.clone();
            data[bit / 8] ^= 1 << (bit % 8);
            receiver_messages::run(&data);
        }
    }
}
