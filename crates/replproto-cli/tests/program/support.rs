//! The program as a process, and a publisher for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

pub(crate) fn replproto(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replproto"));
    command.args(options).env_remove("RUST_LOG");
    command
}

pub(crate) fn run(options: &[&str]) -> Output {
    replproto(options).output().expect("the program starts")
}

pub(crate) fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// Ends a program in order. Its number is its own until it is waited for.
pub(crate) fn stop(pid: u32) {
    let stopped = Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status();
    assert!(stopped.expect("kill is there").success());
}

/// The page of metrics at an address, with its head.
pub(crate) fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("an answer");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    response
}

/// The publisher of the demo. It is gone when this is dropped.
pub(crate) struct Publisher {
    child: Child,
    pub(crate) url: String,
}

impl Publisher {
    pub(crate) fn start(records: u64, blobs: u64) -> Self {
        let (records, blobs) = (records.to_string(), blobs.to_string());
        let mut child = replproto(&["demo-publisher", "--records", &records, "--blobs", &blobs])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the publisher starts");
        let mut port = String::new();
        let output = child.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut port).expect("a port");
        let url = format!("ws://127.0.0.1:{}", port.trim());
        Self { child, url }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
