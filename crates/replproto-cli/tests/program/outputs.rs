//! Where things are to be written: what cannot be is named at the start, once.

use std::process::Output;

use crate::support::{code, replproto, stderr};

/// Follows nobody, in this folder; a start that goes well ends at the deadline.
fn receive(folder: &std::path::Path, options: &[&str]) -> Output {
    let mut all = vec!["receive", "ws://127.0.0.1:1", "--database", "data"];
    all.extend(["--deadline", "100ms"]);
    all.extend(options);
    let output = replproto(&all).current_dir(folder).output();
    output.expect("the program starts")
}

#[test]
fn an_output_that_cannot_be_written_is_named_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("folder")).unwrap();
    std::fs::write(path.join("file"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    for option in ["--export-state", "--record"] {
        for (output, why) in [
            ("no/such/x", "No such file"),
            ("file/x", "ot a directory"),
            ("folder", "not a regular file"),
            ("socket", "not a regular file"),
            ("/dev/null", "not a regular file"),
            ("/proc/x", "/proc/x"),
        ] {
            let ended = receive(path, &["--into", "r.db", option, output]);
            let told = stderr(&ended);
            assert_eq!(code(&ended), Some(1), "{option} {output}: {told}");
            assert!(told.contains(why), "{option} {output}: {told}");
            let times = told.matches(output).count();
            assert_eq!(times, 1, "{option} {output}: {told}");
            assert!(!path.join("r.db").exists());
        }
    }
    for option in ["--export-state", "--record", "--into"] {
        assert_eq!(code(&receive(path, &[option, ""])), Some(2), "{option}");
    }
    let ended = receive(
        path,
        &["--into", "r.db", "--export-state", "x", "--record", "y"],
    );
    assert_eq!(code(&ended), Some(3), "{}", stderr(&ended));
}

#[test]
fn what_names_no_file_for_the_replica_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for into in [
        ":memory:",
        "file:x.db",
        "file:x.db?mode=memory",
        "/dev/null",
    ] {
        let ended = receive(folder.path(), &["--into", into, "--blobs", "blobs"]);
        assert_eq!(code(&ended), Some(1), "{into}: {}", stderr(&ended));
        assert!(stderr(&ended).contains("is no file"), "{}", stderr(&ended));
    }
}

#[test]
fn no_output_is_written_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("r.db"), "").unwrap();
    std::os::unix::fs::symlink("r.db", path.join("link")).unwrap();
    for options in [
        ["--into", "r.db", "--record", "./r.db"],
        ["--into", "r.db", "--record", "link"],
        ["--into", "new", "--export-state", "./new"],
        ["--export-state", "new", "--record", "new"],
    ] {
        let ended = receive(path, &options);
        assert_eq!(code(&ended), Some(2), "{}", stderr(&ended));
        assert!(
            stderr(&ended).contains("the same file"),
            "{}",
            stderr(&ended)
        );
    }
}
