//! A follower that is killed at any moment ends equal to one that never was.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::support::{Publisher, code, replproto, run, stderr};
use serde_json::Value as Json;

const KILLS: u64 = 30;

/// Delays from 1 to 200 ms, spread without a pattern: where in its work the follower dies is up to the machine.
fn delay(number: u64) -> Duration {
    Duration::from_millis(1 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 200)
}

#[test]
fn killed_at_any_moment_it_ends_equal_to_the_source() {
    let publisher = Publisher::start(20_000, 60);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let options = |file: &str, start: &str| -> Vec<String> {
        let file = path(file);
        [
            "receive",
            &publisher.url,
            "--database",
            "demo",
            "--into",
            &file,
            "--start",
            start,
            "--reconnect-delay",
            "10ms",
        ]
        .map(String::from)
        .into()
    };
    let finish = |file: &str, start: &str| -> Json {
        let state = path(&format!("{file}.json"));
        let mut options = options(file, start);
        options.extend(
            [
                "--until-idle",
                "500ms",
                "--deadline",
                "120s",
                "--export-state",
                &state,
            ]
            .map(String::from),
        );
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output = run(&options);
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        serde_json::from_slice(&std::fs::read(&state).unwrap()).expect("JSON")
    };
    for start in ["1", "copy"] {
        let (killed, whole) = (format!("killed-{start}"), format!("whole-{start}"));
        for number in 0..KILLS {
            let options = options(&killed, start);
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let mut child = replproto(&options)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the follower starts");
            sleep(delay(number));
            // SIGKILL: nothing of the program runs any more.
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
        let (killed, whole) = (finish(&killed, start), finish(&whole, start));
        assert!(killed["tables"].as_object().is_some_and(|t| t.len() == 3));
        assert_eq!(killed["tables"], whole["tables"], "start {start}");
        assert_eq!(killed["blobs"], whole["blobs"], "start {start}");
    }
}
